//! Asks an admin endpoint: a document whole, or its events as they come.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::{Position, Url};

use crate::output::plain;

/// A whole exchange, or the beginning of a stream, takes no longer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long connecting may take of it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a stream may be silent: an idle one has a heartbeat every 15 s.
const SILENCE: Duration = Duration::from_secs(45);
/// A document is no larger, and neither is an event: thousands of relays with their reasons.
const MAX_DOCUMENT: usize = 64 << 20;
/// Bytes of a refusal that is read.
const MAX_REFUSAL: usize = 2_000;

/// Why there is no document, for people.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoDocument {
    /// Nobody could be asked.
    #[error("{0}")]
    NoConnection(io::Error),
    /// What came, or didn't.
    #[error("{0}")]
    Answer(String),
}

impl From<String> for NoDocument {
    fn from(why: String) -> Self {
        Self::Answer(why)
    }
}

/// The document at `url`.
///
/// # Errors
/// Why there is none.
pub(super) async fn get(url: &Url) -> Result<Bytes, NoDocument> {
    let whole = async {
        let body = Limited::new(request(url, "application/json").await?.into_body(), MAX_DOCUMENT).collect().await;
        Ok(body.map_err(|error| error.to_string())?.to_bytes())
    };
    timeout(TIMEOUT, whole).await.unwrap_or_else(|_| Err(no_answer().into()))
}

fn no_answer() -> String {
    format!("no answer within {} s", TIMEOUT.as_secs())
}

async fn request(url: &Url, accept: &str) -> Result<Response<Incoming>, NoDocument> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(80);
    let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect((host.trim_matches(['[', ']']), port)));
    let stream = connecting.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let stream = stream.map_err(NoDocument::NoConnection)?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    // Its errors come with the answer, or its body.
    tokio::spawn(connection);
    let request = Request::get(&url[Position::BeforePath..])
        .header(header::HOST, format!("{host}:{port}"))
        .header(header::ACCEPT, accept)
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    if response.status().is_success() { Ok(response) } else { Err(refusal(response).await.into()) }
}

/// An answer that isn't what was asked for: its status, and its first line, where that is a text.
async fn refusal(response: Response<Incoming>) -> String {
    let (parts, body) = response.into_parts();
    let media_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_text = media_type.is_some_and(|value| value.starts_with("text/plain"));
    // A body that can't be had, or is longer than a line has any reason to be, says nothing that is missed.
    let body = if is_text { Limited::new(body, MAX_REFUSAL).collect().await.ok() } else { None };
    let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => format!("it answers {}: {}", parts.status, plain(line)),
        _ => format!("it answers {}", parts.status),
    }
}

/// An event of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerEvent {
    /// Its name.
    pub(super) name: String,
    /// Its data, lines joined.
    pub(super) data: String,
}

/// A stream of server-sent events.
pub(super) struct Events {
    body: Incoming,
    lines: Lines,
}

impl Events {
    /// Asks for the stream at `url`.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub(super) async fn open(url: &Url) -> Result<Self, String> {
        let answer = timeout(TIMEOUT, request(url, "text/event-stream")).await.map_err(|_| no_answer())?;
        let answer = answer.map_err(|why| why.to_string())?;
        Ok(Self { body: answer.into_body(), lines: Lines::default() })
    }

    /// Events that have arrived by now, at least one; waits for it.
    ///
    /// # Errors
    /// Why there are no more, for people.
    pub(super) async fn next(&mut self) -> Result<Vec<ServerEvent>, String> {
        loop {
            let frame = timeout(SILENCE, self.body.frame()).await;
            let frame = frame.map_err(|_| format!("it has said nothing for {} s", SILENCE.as_secs()))?;
            let frame = frame.ok_or("it has ended the stream")?.map_err(|error| error.to_string())?;
            let events = frame.data_ref().map_or_else(|| Ok(Vec::new()), |bytes| self.lines.take(bytes))?;
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }
}

/// Cuts a stream into events.
#[derive(Default)]
struct Lines {
    /// A line that hasn't ended.
    line: Vec<u8>,
    name: String,
    data: Option<String>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) -> Result<Vec<ServerEvent>, String> {
        let mut events = Vec::new();
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.line.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8(line).map_err(|_| "it says what is no text".to_owned())?;
            events.extend(self.line(line.trim_end_matches('\r')));
        }
        self.line.extend_from_slice(rest);
        if self.line.len() + self.data.as_ref().map_or(0, String::len) + self.name.len() > MAX_DOCUMENT {
            return Err(format!("it sends an event of more than {MAX_DOCUMENT} bytes"));
        }
        Ok(events)
    }

    /// An empty line ends an event; one that begins with a colon is a heartbeat.
    fn line(&mut self, line: &str) -> Option<ServerEvent> {
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            return self.data.take().map(|data| ServerEvent { name, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match (field, &mut self.data) {
            ("event", _) => value.clone_into(&mut self.name),
            ("data", Some(data)) => {
                data.push('\n');
                data.push_str(value);
            }
            ("data", none) => *none = Some(value.to_owned()),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> ServerEvent {
        ServerEvent { name: name.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn events_are_found_wherever_the_stream_is_cut() {
        let stream = "event: status\nretry: 2000\ndata: {\"a\":\"grün\"}\n\n: \n\nevent:relay\r\ndata:1\r\ndata: 2\r\n\r\ndata: x\n";
        for length in 1..=stream.len() {
            let mut lines = Lines::default();
            let events: Vec<_> =
                stream.as_bytes().chunks(length).flat_map(|bytes| lines.take(bytes).expect("text")).collect();
            assert_eq!(events, [event("status", "{\"a\":\"grün\"}"), event("relay", "1\n2")], "cut at {length}");
            assert_eq!(lines.take(b"\n").expect("text"), [event("", "x")]);
        }
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let mut lines = Lines::default();
        let bytes = vec![b'x'; 1 << 20];
        assert!((0..65).any(|_| lines.take(&bytes).is_err()));
        let mut lines = Lines::default();
        let mut line = b"data:".to_vec();
        line.extend(&bytes);
        line.push(b'\n');
        assert!((0..65).any(|_| lines.take(&line).is_err()));
    }
}
