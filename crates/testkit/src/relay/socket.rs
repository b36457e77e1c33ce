//! One client's socket: carries text between it and the machine of its connection, and decides nothing.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use sync_core::Now;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use super::connection::{Outgoing, RelayConnection};
use super::core::RelayCore;
use super::faults::Nip11Fault;
use super::http::{self, Head};

/// What all sockets of a server share.
pub(super) struct Shared {
    pub(super) core: RelayCore,
    /// Moves when any connection may have something to send: an event arrived, a fault was set.
    pub(super) wake: watch::Sender<()>,
    /// Moves when the counts did.
    pub(super) counted: watch::Sender<()>,
    started: Instant,
}

impl Shared {
    pub(super) fn new(core: RelayCore) -> Self {
        Self { core, wake: watch::Sender::new(()), counted: watch::Sender::new(()), started: Instant::now() }
    }

    fn now(&self) -> Now {
        let mono_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let unix_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Now { mono_ms, unix_s }
    }
}

/// Serves one client until either side ends it.
pub(super) async fn serve(shared: &Shared, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let refuse = || {
        shared.core.lock().stats.connections_refused += 1;
        shared.counted.send_replace(());
    };
    if shared.core.faults().refuse_connections {
        refuse();
        return Ok(());
    }
    let head = Head::read(&mut stream).await?;
    let faults = shared.core.faults();
    let Some(key) = head.websocket_key() else { return serve_http(shared, &head, faults.nip11, &mut stream).await };
    if faults.hang_handshake {
        refuse();
        return hang(stream).await;
    }
    if let Some(status) = faults.refuse_handshake {
        refuse();
        return http::respond(&mut stream, status, "text/plain", "refused").await;
    }
    http::switch_protocols(&mut stream, key).await?;
    let socket = WebSocketStream::from_partially_read(stream, head.rest, Role::Server, None).await;
    let (sink, source) = socket.split();
    let connection =
        Connection { shared, machine: Mutex::new(shared.core.connect()), to_send: Notify::new(), room: Notify::new() };
    shared.counted.send_replace(());
    tokio::select! {
        ended = connection.write(sink) => ended,
        ended = connection.read(source) => ended,
    }
    .map_err(io::Error::other)
}

async fn serve_http(shared: &Shared, head: &Head, fault: Option<Nip11Fault>, stream: &mut TcpStream) -> io::Result<()> {
    if !head.wants_information() {
        return http::respond(stream, 426, "text/plain", "this is a nostr relay: connect by WebSocket").await;
    }
    shared.core.lock().stats.nip11_requests += 1;
    shared.counted.send_replace(());
    let document = shared.core.information();
    match fault {
        None => http::respond(stream, 200, "application/nostr+json", &document).await,
        Some(Nip11Fault::NotFound) => http::respond(stream, 404, "text/plain", "not found").await,
        Some(Nip11Fault::NotJson) => http::respond(stream, 200, "text/html", "<html>welcome</html>").await,
        Some(Nip11Fault::Says(text)) => http::respond(stream, 200, "application/nostr+json", &text).await,
        Some(Nip11Fault::Hang) => hang(stream).await,
        Some(Nip11Fault::Oversized(bytes)) => {
            let padded = format!("{document}{}", " ".repeat(bytes));
            http::respond(stream, 200, "application/nostr+json", &padded).await
        }
    }
}

/// Holds a connection open in silence until its client gives up.
async fn hang(mut stream: impl tokio::io::AsyncRead + Unpin) -> io::Result<()> {
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
}

struct Connection<'a> {
    shared: &'a Shared,
    machine: Mutex<RelayConnection>,
    to_send: Notify,
    /// The machine sent something: it may take more.
    room: Notify,
}

type Socket = WebSocketStream<TcpStream>;
type WsError = tokio_tungstenite::tungstenite::Error;

/// Messages sent between two looks at whether the reader may go on.
const BATCH: usize = 256;

impl Connection<'_> {
    async fn read(&self, mut source: SplitStream<Socket>) -> Result<(), WsError> {
        let mut wake = self.shared.wake.subscribe();
        loop {
            if self.machine().is_half_open() {
                if wake.changed().await.is_err() {
                    return Ok(());
                }
                continue;
            }
            if self.machine().is_congested() {
                self.room.notified().await;
                continue;
            }
            let message = tokio::select! {
                // First, so that nothing is read once a fault says so.
                biased;
                changed = wake.changed() => if changed.is_ok() { continue } else { return Ok(()) },
                message = source.next() => message,
            };
            match message {
                None => return Ok(()),
                Some(message) => match message? {
                    Message::Text(text) => {
                        let arrived = self.machine().receive(&text, self.shared.now());
                        self.to_send.notify_one();
                        self.shared.counted.send_replace(());
                        if arrived {
                            self.shared.wake.send_replace(());
                        }
                    }
                    Message::Close(_) => return Ok(()),
                    _ => {}
                },
            }
        }
    }

    async fn write(&self, mut sink: SplitSink<Socket, Message>) -> Result<(), WsError> {
        let mut wake = self.shared.wake.subscribe();
        loop {
            let mut sent = 0;
            while let Some(outgoing) = self.next() {
                match outgoing {
                    Outgoing::Text(text) => sink.feed(Message::text(text)).await?,
                    Outgoing::Half(text) => sink.send(fragment(text.as_bytes(), true, false)).await?,
                    Outgoing::Drip { text, piece, pause_ms } => drip(&mut sink, &text, piece, pause_ms).await?,
                    Outgoing::Drop => {
                        sink.flush().await?;
                        return Ok(());
                    }
                }
                sent += 1;
                if sent % BATCH == 0 {
                    self.room.notify_one();
                }
            }
            if sent > 0 {
                sink.flush().await?;
                self.room.notify_one();
                self.shared.counted.send_replace(());
            }
            tokio::select! {
                () = self.to_send.notified() => {}
                changed = wake.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }

    fn next(&self) -> Option<Outgoing> {
        self.machine().poll()
    }

    fn machine(&self) -> MutexGuard<'_, RelayConnection> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn drip(sink: &mut SplitSink<Socket, Message>, text: &str, piece: usize, pause_ms: u64) -> Result<(), WsError> {
    let pieces = text.as_bytes().chunks(piece.max(1));
    let last = pieces.len().saturating_sub(1);
    for (place, piece) in pieces.enumerate() {
        if place > 0 {
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
        sink.send(fragment(piece, place == 0, place == last)).await?;
    }
    Ok(())
}

fn fragment(bytes: &[u8], first: bool, last: bool) -> Message {
    let data = if first { Data::Text } else { Data::Continue };
    Message::Frame(Frame::message(bytes.to_vec(), OpCode::Data(data), last))
}
