//! The little HTTP that a relay speaks beside its WebSocket: reading a request's head, and NIP-11.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The head of a request, and what was read beyond it.
pub(super) struct Head {
    lines: Vec<String>,
    pub(super) rest: Vec<u8>,
}

const MAX_HEAD: usize = 16 * 1024;

impl Head {
    /// Reads up to the empty line.
    ///
    /// # Errors
    /// The connection failed or ended, or the head has more than 16 KiB.
    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let mut bytes = Vec::with_capacity(1024);
        loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = bytes.split_off(at + 4);
                let text = String::from_utf8_lossy(&bytes);
                return Ok(Self { lines: text.lines().map(str::to_owned).collect(), rest });
            }
            if bytes.len() > MAX_HEAD {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The key of a WebSocket handshake; `None` where the request is no such handshake.
    pub(super) fn websocket_key(&self) -> Option<&str> {
        self.header("upgrade").filter(|value| value.eq_ignore_ascii_case("websocket"))?;
        self.header("sec-websocket-key")
    }

    /// Whether the information document is asked for (NIP-11).
    pub(super) fn wants_information(&self) -> bool {
        self.header("accept").is_some_and(|value| value.contains("application/nostr+json"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.lines.iter().skip(1).find_map(|line| {
            let (held, value) = line.split_once(':')?;
            held.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Accepts a WebSocket handshake.
pub(super) async fn switch_protocols(stream: &mut (impl AsyncWrite + Unpin), key: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    stream.write_all(head.as_bytes()).await
}

/// Answers with a body and ends the connection.
pub(super) async fn respond(
    stream: &mut (impl AsyncWrite + Unpin),
    status: u16,
    content_type: &str,
    body: &str,
) -> io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
         Access-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n",
        if status < 400 { "OK" } else { "Refused" }
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}
