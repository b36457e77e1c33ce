//! WebDriver's commands as HTTP requests, one connection each; and the base64 of its pictures.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::BrowserError;

/// How long an answer may take: longer than anything in the page is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of an answer: a picture of a long page.
const MAX_ANSWER: usize = 64 << 20;

/// A driver's port on loopback.
#[derive(Debug)]
pub(super) struct Wire(u16);

impl Wire {
    pub(super) fn new(port: u16) -> Self {
        Self(port)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, BrowserError> {
        self.send("POST", path, &body.to_string())
    }

    pub(super) fn delete(&self, path: &str) -> Result<Value, BrowserError> {
        self.send("DELETE", path, "")
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Result<Value, BrowserError> {
        let answer = self.exchange(method, path, body).map_err(|error| BrowserError::Io(path.to_owned(), error))?;
        let mut answer: Value = serde_json::from_slice(&answer).map_err(|error| {
            BrowserError::Protocol(format!("{error}: {}", String::from_utf8_lossy(&answer[..answer.len().min(200)])))
        })?;
        let value = answer["value"].take();
        match value["error"].as_str() {
            None => Ok(value),
            Some(error) => Err(BrowserError::Refused {
                command: path.to_owned(),
                error: error.to_owned(),
                // The first line: what follows are addresses within the browser.
                message: value["message"].as_str().and_then(|text| text.lines().next()).unwrap_or_default().to_owned(),
            }),
        }
    }

    fn exchange(&self, method: &str, path: &str, body: &str) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.0))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}",
            self.0
        )?;
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
        }
        if length > MAX_ANSWER {
            return Err(std::io::Error::other(format!("an answer of {length} bytes, more than {MAX_ANSWER}")));
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer)?;
        Ok(answer)
    }
}

/// What a text in base64 (RFC 4648, padded) stands for; `None` where it is none.
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let end = text.len() - text.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut held, mut bits) = (0_u32, 0_u32);
    for byte in &text[..end] {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = (held << 6) | u32::from(six);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_as_the_rfc_has_it() {
        let cases =
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob"), ("Zm9vYmFy", "foobar")];
        for (text, bytes) in cases {
            assert_eq!(from_base64(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(from_base64("+/+/"), Some(vec![0xfb, 0xff, 0xbf]));
        for wrong in ["Zg", "Z!==", "Z===", "=Zm9"] {
            assert_eq!(from_base64(wrong), None, "{wrong}");
        }
    }
}
