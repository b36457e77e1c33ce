//! The admin endpoint as a client sees it, over real sockets on loopback.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use sync_core::manager::{RelayReport, StatusReport, Totals};
use sync_core::model::{ConnectionStatus, HealthState, RelayUrl};
use telemetry::Metrics;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::events::MAX_STREAMS;
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
        let state = AdminState { status: status_seen, health: health_seen, metrics: metrics.clone() };
        let server = tokio::spawn(serve(listener, state, shutdown.clone()));
        Self { address, status, health, metrics, shutdown, server }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connects")
    }

    /// Header and body of the answer to a request for `path`.
    async fn get(&self, path: &str) -> (String, String) {
        let mut stream = self.connect().await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        let (header, body) = answer.split_once("\r\n\r\n").expect("a header");
        (header.to_ascii_lowercase(), body.to_owned())
    }

    async fn stream(&self) -> EventReader {
        let mut stream = self.connect().await;
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
        EventReader(BufReader::new(stream))
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.server.await.expect("no panic").expect("no error");
    }
}

struct EventReader(BufReader<TcpStream>);

impl EventReader {
    /// The next line that starts with `prefix`; `None` at the end of the stream.
    async fn line(&mut self, prefix: &str) -> Option<String> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.0.read_line(&mut line).await.expect("readable") == 0 {
                return None;
            }
            if let Some(rest) = line.strip_prefix(prefix) {
                return Some(rest.trim().to_owned());
            }
        }
    }

    /// Name and data of the next event.
    async fn next(&mut self) -> Option<(String, serde_json::Value)> {
        let name = self.line("event: ").await?;
        let data = self.line("data: ").await?;
        Some((name, serde_json::from_str(&data).expect("JSON")))
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
    assert!(endpoint.get("/").await.1.contains("the store is full"));
    endpoint.stop().await;
}

#[tokio::test]
async fn metrics_are_served_with_their_media_type() {
    let endpoint = Endpoint::start(vec![]).await;
    endpoint.metrics.events_synced(5);
    let (header, body) = endpoint.get("/metrics").await;
    assert!(header.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{header}");
    assert!(body.contains("ngit_sync_events_synced_total 5\n") && body.ends_with("# EOF\n"), "{body}");
    endpoint.stop().await;
}

#[tokio::test]
async fn the_page_shows_relays_and_escapes_what_strangers_wrote() {
    let mut hostile =
        relay("wss://a.b/%3Cp%3E", ConnectionStatus::Disconnected, "<script>alert('1')</script> & \"so\"");
    hostile.last_error = Some("<img src=x>".to_owned());
    let endpoint = Endpoint::start(vec![hostile]).await;
    let (header, body) = endpoint.get("/").await;
    assert!(header.contains("content-type: text/html") && header.contains("default-src 'none'"), "{header}");
    assert!(body.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;so&quot;"), "{body}");
    assert!(!body.contains("<script") && !body.contains("<img"), "{body}");
    for part in ["Disconnected", "wss://a.b", "60 s ago", "Version 1.2.3"] {
        assert!(body.contains(part), "{part}: {body}");
    }
    endpoint.stop().await;
}

#[tokio::test]
async fn events_tell_what_changed_and_nothing_else() {
    let steady = relay("wss://steady", ConnectionStatus::Connected, "");
    let endpoint = Endpoint::start(vec![relay("wss://moving", ConnectionStatus::Connecting, ""), steady.clone()]).await;
    let mut events = endpoint.stream().await;
    let (name, data) = events.next().await.expect("the state at the start");
    assert_eq!((name.as_str(), data["relays"].as_array().map(Vec::len)), ("status", Some(2)));

    let moved = relay("wss://moving", ConnectionStatus::Syncing, "");
    endpoint.status.send_replace(report(vec![moved, steady.clone()]));
    let (name, data) = events.next().await.expect("a change");
    assert_eq!((name.as_str(), &data["url"], &data["status"]), ("relay", &"wss://moving".into(), &"Syncing".into()));

    let new = relay("wss://new", ConnectionStatus::Connecting, "");
    endpoint.status.send_replace(report(vec![new, steady]));
    let (name, data) = events.next().await.expect("a new relay");
    assert_eq!((name.as_str(), &data["url"]), ("relay", &"wss://new".into()));
    let (name, data) = events.next().await.expect("a relay that is gone");
    assert_eq!((name.as_str(), &data["url"]), ("gone", &"wss://moving".into()));

    endpoint.stop().await;
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_reader_that_lags_gets_the_last_state() {
    let endpoint = Endpoint::start(vec![]).await;
    let mut events = endpoint.stream().await;
    events.next().await.expect("the state at the start");
    for count in 0..=10_000 {
        let mut changed = relay("wss://busy", ConnectionStatus::Connected, "");
        changed.events_stored = count;
        endpoint.status.send_replace(report(vec![changed]));
    }
    loop {
        let (_, data) = events.next().await.expect("more");
        if data["events_stored"] == 10_000 {
            break;
        }
    }
    endpoint.stop().await;
}

#[tokio::test]
async fn streams_are_bounded_and_leave_room_for_others() {
    let endpoint = Endpoint::start(vec![]).await;
    let mut open = Vec::new();
    for _ in 0..MAX_STREAMS {
        let mut events = endpoint.stream().await;
        events.next().await.expect("the state at the start");
        open.push(events);
    }
    let (header, body) = endpoint.get("/events").await;
    assert!(header.starts_with("http/1.1 503") && body.contains("16 event streams"), "{header} {body}");
    assert_eq!(endpoint.get("/healthz").await.1, "ok\n");
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
    stream.write_all(b"POST /status HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await.expect("sent");
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
