//! As much of HTTP/1.1 as an exporter speaks: requests with a length, one after the other.

use std::io::{self, Read, Write};

use super::Head;

/// Bytes of a head, and of a body, that are read.
const MAX_HEAD: usize = 64 * 1024;
const MAX_BODY: usize = 64 * 1024 * 1024;

/// A request.
pub(super) struct Request {
    pub(super) head: Head,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// The next request; `None` where the connection ends before one begins.
    pub(super) fn read(stream: &mut impl Read) -> io::Result<Option<Self>> {
        let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read(&mut byte)? == 0 {
                return if head.is_empty() { Ok(None) } else { Err(invalid("the request ends in its head")) };
            }
            head.push(byte[0]);
            if head.len() > MAX_HEAD {
                return Err(invalid("the head is too long"));
            }
        }
        let head = String::from_utf8(head).map_err(|_| invalid("the head is not UTF-8"))?;
        let mut lines = head.split("\r\n").filter(|line| !line.is_empty());
        let first = lines.next().ok_or_else(|| invalid("no request line"))?;
        let target = first.rsplit_once(' ').map(|(target, _)| target).ok_or_else(|| invalid("no request line"))?;
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        let head = Head { target: target.to_owned(), headers };
        let length = head.header("content-length").and_then(|length| length.parse().ok());
        let length: usize = length.filter(|length| *length <= MAX_BODY).ok_or_else(|| invalid("no possible length"))?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        Ok(Some(Self { head, body }))
    }
}

/// Answers, and leaves the connection open.
pub(super) fn answer(stream: &mut impl Write, status: u16, body: &[u8]) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} told\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    stream.flush()
}
