//! The admin endpoint as a client sees it, over real sockets on loopback.

#[cfg(feature = "e2e")]
mod browser;
mod page;
mod streams;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use sync_core::manager::{RelayReport, StatusReport, Totals};
use sync_core::model::{ConnectionStatus, HealthState, RelayUrl};
use telemetry::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::server::REQUEST_TIMEOUT;
use super::{AdminState, Health, bind, serve};

struct Endpoint {
    address: SocketAddr,
    status: watch::Sender<Arc<StatusReport>>,
    health: watch::Sender<Health>,
    metrics: Metrics,
    shutdown: CancellationToken,
    server: JoinHandle<io::Result<()>>,
}

fn relay(url: &str, status: ConnectionStatus, reason: &str) -> RelayReport {
    RelayReport {
        url: RelayUrl::parse(url).expect("valid"),
        status,
        health: HealthState::Healthy,
        reason: reason.to_owned(),
        strategy: "negentropy".to_owned(),
        repos: 2,
        root_events: 3,
        pending_batches: 0,
        coverage: Vec::new(),
        events_stored: 40,
        last_connected: Some(1_700_000_000),
        last_error: None,
    }
}

fn report(relays: Vec<RelayReport>) -> Arc<StatusReport> {
    let totals = Totals { relays: relays.len() as u64, ..Totals::default() };
    Arc::new(StatusReport { version: "1.2.3".to_owned(), at: 1_700_000_060, totals, relays, ..StatusReport::default() })
}

impl Endpoint {
    async fn start(relays: Vec<RelayReport>) -> Self {
        let (status, status_seen) = watch::channel(report(relays));
        let (health, health_seen) = watch::channel(Health::Ok);
        let (metrics, shutdown) = (Metrics::new(), CancellationToken::new());
        let listener = bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let state =
            AdminState { status: status_seen, health: health_seen, metrics: metrics.clone(), hosts: Arc::from([]) };
        let server = tokio::spawn(serve(listener, state, shutdown.clone()));
        Self { address, status, health, metrics, shutdown, server }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connects")
    }

    /// Header and body of the answer to a request for `path`.
    async fn get(&self, path: &str) -> (String, String) {
        self.get_with(path, "").await
    }

    /// The same, with a line of a header, or several.
    async fn get_with(&self, path: &str, lines: &str) -> (String, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n")).await
    }

    /// Header and body of the answer to a whole request.
    async fn ask(&self, request: &str) -> (String, String) {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        let (header, body) = answer.split_once("\r\n\r\n").expect("a header");
        (header.to_ascii_lowercase(), body.to_owned())
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.server.await.expect("no panic").expect("no error");
    }
}

#[tokio::test]
async fn status_is_the_report_as_json() {
    let endpoint = Endpoint::start(vec![relay("wss://a.b", ConnectionStatus::ConnectedDegraded, "12 ids")]).await;
    let (header, body) = endpoint.get("/status").await;
    assert!(header.starts_with("http/1.1 200") && header.contains("content-type: application/json"), "{header}");
    let found: StatusReport = serde_json::from_str(&body).expect("a report");
    assert_eq!(found, **endpoint.status.borrow());
    assert!(body.contains(r#""status":"ConnectedDegraded","health":"Healthy","reason":"12 ids""#), "{body}");
    endpoint.stop().await;
}

#[tokio::test]
async fn healthz_says_why_the_process_cannot_work() {
    let endpoint = Endpoint::start(vec![]).await;
    let (header, body) = endpoint.get("/healthz").await;
    assert!(header.starts_with("http/1.1 200"), "{header}");
    assert_eq!(body, "ok\n");
    endpoint.health.send_replace(Health::Failing("the store is full".to_owned()));
    let (header, body) = endpoint.get("/healthz").await;
    assert!(header.starts_with("http/1.1 503"), "{header}");
    assert_eq!(body, "the store is full\n");
    endpoint.stop().await;
}

#[tokio::test]
async fn metrics_are_served_with_their_media_type() {
    let endpoint = Endpoint::start(vec![]).await;
    endpoint.metrics.events_synced(5);
    let (header, body) = endpoint.get("/metrics").await;
    assert!(header.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{header}");
    let counter = "# TYPE ngit_sync_events_synced_total counter\nngit_sync_events_synced_total 5\n";
    assert!(body.contains(counter) && !body.contains("# EOF"), "{body}");
    let accept = "Accept: text/plain;q=0.5\r\nAccept: application/openmetrics-text;version=1.0.0\r\n";
    let (header, body) = endpoint.get_with("/metrics", accept).await;
    assert!(header.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{header}");
    assert!(body.contains("ngit_sync_events_synced_total 5\n") && body.ends_with("# EOF\n"), "{body}");
    endpoint.stop().await;
}

#[tokio::test]
async fn nothing_is_told_to_who_asks_by_a_strangers_name() {
    let endpoint = Endpoint::start(vec![relay("wss://a.b", ConnectionStatus::Connected, "")]).await;
    for path in ["/", "/status", "/events", "/metrics", "/healthz", "/page.js", "/nothing"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: rebound.example:7448\r\n\r\n");
        let (header, body) = endpoint.ask(&request).await;
        assert!(header.starts_with("http/1.1 421") && header.contains("x-content-type-options: nosniff"), "{header}");
        assert!(body.contains("admin.hosts") && !body.contains("wss://a.b"), "{path}: {body}");
    }
    endpoint.stop().await;
}

#[tokio::test]
async fn a_header_that_is_too_large_is_refused() {
    let endpoint = Endpoint::start(vec![]).await;
    let mut stream = endpoint.connect().await;
    let request = format!("GET / HTTP/1.1\r\nX-Large: {}\r\n\r\n", "x".repeat(64 * 1024));
    let (mut read, mut write) = stream.split();
    let mut answer = Vec::new();
    let (_sent, _received) = tokio::join!(write.write_all(request.as_bytes()), read.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(endpoint.get("/healthz").await.1, "ok\n");
    endpoint.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_cut_off() {
    let endpoint = Endpoint::start(vec![]).await;
    let mut silent = endpoint.connect().await;
    let mut slow = endpoint.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nX: ").await.expect("sent");
    let mut answer = Vec::new();
    for stream in [&mut silent, &mut slow] {
        tokio::time::timeout(REQUEST_TIMEOUT * 2, stream.read_to_end(&mut answer)).await.expect("cut off").ok();
    }
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    endpoint.stop().await;
}

#[tokio::test]
async fn unknown_addresses_and_methods_are_refused() {
    let endpoint = Endpoint::start(vec![]).await;
    assert!(endpoint.get("/nothing").await.0.starts_with("http/1.1 404"));
    let mut stream = endpoint.connect().await;
    stream.write_all(b"POST /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    endpoint.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_named_with_what_to_do() {
    let taken = bind("127.0.0.1:0").await.expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let error = bind(&address).await.expect_err("taken").to_string();
    assert!(error.contains(&format!("admin.listen = \"{address}\"")) && error.contains("another port"), "{error}");
    let error = bind("nonsense").await.expect_err("no address").to_string();
    assert!(error.contains("host:port"), "{error}");
}
