//! Relays made of a loopback listener, and connectors that reach them.

use std::time::Duration;

use sync_core::model::RelayUrl;
use sync_core::transport::{Connection, Connector, Fault, FrameSource, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::{WebSocketStream, accept_async};
use transport_ws::{TransportConfig, WsConnector};

/// An upper bound on anything a test awaits: passing it means that the event never came.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// The server's end of a connection.
pub(crate) type Peer = WebSocketStream<TcpStream>;

/// How a request without an upgrade (NIP-11) is answered.
#[derive(Clone)]
pub(crate) enum Plain {
    /// With these bytes, then the connection is closed.
    Bytes(Vec<u8>),
    /// Never; the connection stays open.
    Silence,
}

impl Plain {
    pub(crate) fn absent() -> Self {
        Self::Bytes(http("404 Not Found", "", b"nothing here"))
    }
}

/// An HTTP/1.1 answer; `headers` end in CRLF each.
pub(crate) fn http(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A listener that accepts WebSockets and answers other requests as told.
pub(crate) struct Relay {
    pub(crate) url: RelayUrl,
    peers: mpsc::Receiver<Peer>,
    /// Heads of the requests without an upgrade.
    pub(crate) requests: mpsc::Receiver<String>,
}

impl Relay {
    pub(crate) async fn start() -> Self {
        Self::with_plain(Plain::absent()).await
    }

    pub(crate) async fn with_plain(plain: Plain) -> Self {
        let (listener, url) = listen().await;
        let (peer_out, peers) = mpsc::channel(16);
        let (request_out, requests) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, plain.clone(), peer_out.clone(), request_out.clone()));
            }
        });
        Self { url, peers, requests }
    }

    pub(crate) async fn peer(&mut self) -> Peer {
        soon(self.peers.recv()).await.expect("the listener lives")
    }

    /// Connects, and returns both ends.
    pub(crate) async fn connected(&mut self, config: TransportConfig) -> (Connection, Peer) {
        let connection = connect(&connector(config), &self.url).await.expect("connects");
        (connection, self.peer().await)
    }
}

async fn serve(mut stream: TcpStream, plain: Plain, peers: mpsc::Sender<Peer>, requests: mpsc::Sender<String>) {
    let mut head = [0; 4096];
    let head = loop {
        match stream.peek(&mut head).await {
            Ok(size) if head[..size].ends_with(b"\r\n\r\n") => {
                break String::from_utf8_lossy(&head[..size]).into_owned();
            }
            Ok(0) | Err(_) => return,
            Ok(_) => tokio::task::yield_now().await,
        }
    };
    if head.to_ascii_lowercase().contains("upgrade: websocket") {
        if let Ok(peer) = accept_async(stream).await {
            let _ = peers.send(peer).await;
        }
        return;
    }
    let _ = requests.send(head).await;
    match plain {
        Plain::Bytes(bytes) => answer(&mut stream, &bytes).await,
        Plain::Silence => std::future::pending().await,
    }
}

/// Reads the request, writes `bytes`, and closes without a reset.
async fn answer(stream: &mut TcpStream, bytes: &[u8]) {
    let mut rest = vec![0; 4096];
    let _ = stream.read(&mut rest).await;
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    while matches!(stream.read(&mut rest).await, Ok(size) if size > 0) {}
}

/// A listener that answers every connection with the same bytes, whatever is asked.
pub(crate) async fn answering(bytes: Vec<u8>) -> RelayUrl {
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let bytes = bytes.clone();
            tokio::spawn(async move { answer(&mut stream, &bytes).await });
        }
    });
    url
}

pub(crate) async fn listen() -> (TcpListener, RelayUrl) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    (listener, relay_url(&format!("ws://127.0.0.1:{port}")))
}

/// An address that refuses connections as long as the socket lives: bound, and not listening.
pub(crate) fn refusing() -> (TcpSocket, RelayUrl) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let port = socket.local_addr().expect("bound").port();
    (socket, relay_url(&format!("ws://127.0.0.1:{port}")))
}

pub(crate) fn relay_url(text: &str) -> RelayUrl {
    RelayUrl::parse(text).expect("a relay's address")
}

pub(crate) fn connector(config: TransportConfig) -> WsConnector {
    WsConnector::new(config).expect("a valid configuration")
}

/// Connects as to a relay that the operator named.
pub(crate) async fn connect(connector: &WsConnector, url: &RelayUrl) -> Result<Connection, Fault> {
    soon(connector.connect(Target { relay: url.clone(), named: true })).await
}

/// The fault of a connection that can't be made.
pub(crate) async fn refusal(connector: &WsConnector, url: &RelayUrl) -> Fault {
    match connect(connector, url).await {
        Ok(_) => panic!("{url} should have refused"),
        Err(fault) => fault,
    }
}

pub(crate) async fn receive(source: &mut Box<dyn FrameSource>, max: usize) -> Result<Vec<String>, Fault> {
    soon(source.receive(max)).await
}

pub(crate) async fn soon<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, event).await.expect("the awaited event comes")
}
