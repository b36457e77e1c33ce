//! A relay over a store in a temporary directory, events for it, and a client.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use nostr::event::{Event, EventId, Kind, Signature, Tag, Tags};
use nostr::types::Timestamp;
use own_relay::{RelayConfig, RelayLimits};
use serde_json::{Value, json};
use store_lmdb::{LmdbStore, Options};
use sync_core::admission::{AdmissionConfig, AdmissionMode, AdmissionPolicy};
use sync_core::check::EventLimits;
use sync_core::store::{EventStore, Submission};
use testkit::world::keys;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};
use tokio_util::sync::CancellationToken;

use crate::Outcome;

/// Events submitted together.
const CHUNK: usize = 256;
/// The time of the first event.
const START: u64 = 1_700_000_000;

pub(crate) struct Served {
    pub(crate) store: Arc<LmdbStore>,
    address: SocketAddr,
    cancel: CancellationToken,
    relay: JoinHandle<std::io::Result<()>>,
    _dir: tempfile::TempDir,
}

impl Served {
    pub(crate) async fn start() -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        let mode = AdmissionConfig { mode: AdmissionMode::All, ..AdmissionConfig::default() };
        let options = Options { policy: Some(AdmissionPolicy::new(mode)?), ..Options::default() };
        let store = Arc::new(LmdbStore::open(dir.path(), options)?);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let config = RelayConfig {
            name: "load".to_owned(),
            description: String::new(),
            version: String::new(),
            supported_grasps: Vec::new(),
            limits: RelayLimits { max_reconciliation_items: 2_000_000, ..RelayLimits::default() },
            events: EventLimits { max_event_size: 65_536, max_tags: 2_000 },
            max_future_s: 900,
            max_message: 4 << 20,
        };
        let cancel = CancellationToken::new();
        let serving: Arc<dyn EventStore> = Arc::clone(&store) as _;
        let relay = tokio::spawn(own_relay::serve(listener, config, serving, Arc::new(()), cancel.clone()));
        Ok(Self { store, address, cancel, relay, _dir: dir })
    }

    pub(crate) async fn client(&self) -> Outcome<Client> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (socket, _) = client_async(format!("ws://{}/", self.address), stream).await?;
        Ok(Client(socket))
    }

    /// Stores events, and waits until they are.
    pub(crate) async fn put(&self, events: Vec<Event>) -> Outcome<()> {
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || -> Outcome<()> {
            let chunks = events.len().div_ceil(CHUNK);
            let (done, told) = std::sync::mpsc::sync_channel(chunks);
            for events in events.chunks(CHUNK) {
                let submission =
                    Submission { events: events.to_vec(), now: START + 10_000_000, ..Submission::default() };
                let done = done.clone();
                store.submit(submission, Box::new(move |result| _ = done.send(result)))?;
            }
            for _ in 0..chunks {
                told.recv()??;
            }
            Ok(())
        })
        .await?
    }

    pub(crate) async fn stop(self) -> Outcome<()> {
        self.cancel.cancel();
        self.relay.await??;
        Ok(())
    }
}

/// An announcement of about 600 bytes, with an id that is its own and a signature that nobody checks: what is measured
/// lies behind the checks.
pub(crate) fn event(number: u64) -> Event {
    let author = keys(1, number % 16).public_key();
    let (created_at, kind) = (Timestamp::from_secs(START + number), Kind::from_u16(30_617));
    let tags = Tags::from_list(vec![Tag::custom("d".to_owned(), [format!("repo-{number}")])]);
    let content = "x".repeat(240);
    let id = EventId::compute(&author, &created_at, &kind, &tags, &content);
    Event::new(id, author, created_at, kind, tags, content, Signature::from_byte_array([7; 64]))
}

pub(crate) struct Client(WebSocketStream<TcpStream>);

impl Client {
    pub(crate) async fn send(&mut self, message: &Value) -> Outcome<()> {
        Ok(self.0.send(Message::text(message.to_string())).await?)
    }

    /// The next text, unread.
    pub(crate) async fn text(&mut self) -> Outcome<String> {
        loop {
            if let Message::Text(text) = self.0.next().await.ok_or("the relay hung up")?? {
                return Ok(text.as_str().to_owned());
            }
        }
    }
}

/// A figure.
pub(crate) fn row(what: impl Into<String>, value: f64, unit: &str) {
    println!("{}", json!({ "what": what.into(), "value": value, "unit": unit }));
}

/// The anonymous memory of the process in MiB, where the system says so. The pages of the map are the page cache's.
pub(crate) fn memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = anonymous.and_then(|text| text.trim().trim_end_matches(" kB").trim().parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}
