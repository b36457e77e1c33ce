//! A relay over a store in a directory of its own, and clients that wait for what they are told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use nostr::event::{Event, Tag};
use own_relay::{Observe, RelayConfig, RelayLimits};
use serde_json::{Value, json};
use store_lmdb::{LmdbStore, Options};
use sync_core::admission::{AdmissionConfig, AdmissionMode, AdmissionPolicy};
use sync_core::check::EventLimits;
use sync_core::store::{EventStore, IntakeOutcome, Submission};
use testkit::world::{keys, sign};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};
use tokio_util::sync::CancellationToken;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// When events here are made.
pub(crate) const START: u64 = 1_700_000_000;

/// Something that must happen soon.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens soon")
}

/// Counts what the relay says of itself.
#[derive(Default)]
pub(crate) struct Counts {
    counts: Mutex<BTreeMap<&'static str, u64>>,
    open: watch::Sender<usize>,
    changed: watch::Sender<()>,
}

impl Counts {
    fn add(&self, name: &'static str, more: u64) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += more;
        self.changed.send_replace(());
    }

    pub(crate) fn of(&self, name: &str) -> u64 {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied().unwrap_or(0)
    }

    /// Waits until `name` was counted.
    pub(crate) async fn counted(&self, name: &str) {
        let mut changed = self.changed.subscribe();
        soon(async {
            while self.of(name) == 0 {
                changed.changed().await.expect("it lives");
            }
        })
        .await;
    }

    /// Waits until `name` was counted so often: what is counted after it was sent may come after it was read.
    pub(crate) async fn comes_to(&self, name: &str, count: u64) {
        let mut changed = self.changed.subscribe();
        soon(async {
            while self.of(name) != count {
                changed.changed().await.expect("it lives");
            }
        })
        .await;
    }

    /// Waits until so many connections are open.
    pub(crate) async fn connections(&self, open: usize) {
        soon(self.open.subscribe().wait_for(|now| *now == open)).await.expect("it lives");
    }
}

impl Observe for Counts {
    fn connections(&self, open: usize) {
        self.open.send_replace(open);
    }

    fn limit_hit(&self, limit: &'static str) {
        self.add(limit, 1);
    }

    fn received(&self, outcome: &'static str) {
        self.add(outcome, 1);
    }

    fn sent(&self, events: u64) {
        self.add("sent", events);
    }
}

pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<LmdbStore>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) config: RelayConfig,
    pub(crate) cancel: CancellationToken,
    pub(crate) task: JoinHandle<std::io::Result<()>>,
    _dir: tempfile::TempDir,
}

pub(crate) fn config() -> RelayConfig {
    RelayConfig {
        name: "own".to_owned(),
        description: "a relay of tests".to_owned(),
        version: "1.2.3".to_owned(),
        supported_grasps: Vec::new(),
        limits: RelayLimits::default(),
        events: EventLimits { max_event_size: 100_000, max_tags: 100 },
        max_future_s: 900,
        max_message: 1 << 20,
    }
}

/// Accepts every announcement, and what is related to one.
pub(crate) fn mirror() -> Option<AdmissionPolicy> {
    let config = AdmissionConfig { mode: AdmissionMode::All, ..AdmissionConfig::default() };
    Some(AdmissionPolicy::new(config).expect("a policy"))
}

impl Relay {
    /// A relay that accepts what a mirror accepts.
    pub(crate) async fn start(change: impl FnOnce(&mut RelayConfig)) -> Self {
        Self::start_with(mirror(), change).await
    }

    /// A relay whose store takes everything, unjudged: its feed stays empty.
    pub(crate) async fn start_open(change: impl FnOnce(&mut RelayConfig)) -> Self {
        Self::start_with(None, change).await
    }

    pub(crate) async fn start_with(policy: Option<AdmissionPolicy>, change: impl FnOnce(&mut RelayConfig)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let options = Options { policy, ..Options::default() };
        let store = Arc::new(LmdbStore::open(dir.path(), options).expect("opens"));
        let mut config = config();
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (counts, cancel) = (Arc::new(Counts::default()), CancellationToken::new());
        let serving: Arc<dyn EventStore> = Arc::clone(&store) as _;
        let observe: Arc<dyn Observe> = Arc::clone(&counts) as _;
        let task = tokio::spawn(own_relay::serve(listener, config.clone(), serving, observe, cancel.clone()));
        Self { address, store, counts, config, cancel, task, _dir: dir }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// A client that is about to stop reading: its system takes little for it meanwhile, whatever this one allows.
    pub(crate) async fn narrow_client(&self) -> Client {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(16 << 10).expect("set");
        let stream = soon(socket.connect(self.address)).await.expect("connects");
        Client::upgrade(stream, self.address).await
    }

    /// Puts events into the store, beside the relay, soon after they were made.
    pub(crate) async fn store(&self, events: Vec<Event>) -> Vec<IntakeOutcome> {
        self.store_at(events, START + 1_000_000).await
    }

    pub(crate) async fn store_at(&self, events: Vec<Event>, now: u64) -> Vec<IntakeOutcome> {
        let store = Arc::clone(&self.store);
        soon(tokio::task::spawn_blocking(move || store_events(&*store, events, now))).await.expect("stored")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

pub(crate) fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs()
}

pub(crate) fn store_events(store: &dyn EventStore, events: Vec<Event>, now: u64) -> Vec<IntakeOutcome> {
    let (reply, answer) = std::sync::mpsc::sync_channel(1);
    let submission = Submission { events, now, ..Submission::default() };
    let answers = move |outcomes| reply.send(outcomes).expect("somebody waits");
    store.submit(submission, Box::new(answers)).expect("the store is open");
    answer.recv().expect("an answer").expect("stored")
}

pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<TcpStream>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::upgrade(soon(TcpStream::connect(address)).await.expect("connects"), address).await
    }

    async fn upgrade(stream: TcpStream, address: SocketAddr) -> Self {
        stream.set_nodelay(true).expect("set");
        let (socket, _) = soon(client_async(format!("ws://{address}/"), stream)).await.expect("upgrades");
        Self { socket }
    }

    pub(crate) async fn send(&mut self, message: Value) {
        self.send_text(message.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: impl Into<String>) {
        soon(self.socket.send(Message::text(text.into()))).await.expect("sent");
    }

    /// The next message; `None` once the connection is closed.
    pub(crate) async fn try_next(&mut self) -> Option<Value> {
        loop {
            match soon(self.socket.next()).await {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Value {
        self.try_next().await.expect("the connection is open")
    }

    /// The code that the relay closes with, whatever it says before.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        loop {
            match soon(self.socket.next()).await {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Sends a REQ, and takes its stored events and the hint of its EOSE.
    pub(crate) async fn stored(&mut self, id: &str, filters: &[Value]) -> (Vec<String>, Option<String>) {
        let mut message = vec![json!("REQ"), json!(id)];
        message.extend_from_slice(filters);
        self.send(Value::Array(message)).await;
        self.until_eose(id).await
    }

    /// The ids of a subscription's events up to its EOSE, and the hint there. Nothing else may be said.
    pub(crate) async fn until_eose(&mut self, id: &str) -> (Vec<String>, Option<String>) {
        let mut ids = Vec::new();
        loop {
            let message = self.next().await;
            assert_eq!(message[1], id, "{message}");
            match message[0].as_str() {
                Some("EVENT") => ids.push(text(&message[2]["id"])),
                Some("EOSE") => return (ids, message[2][0].as_str().map(str::to_owned)),
                _ => panic!("{message}"),
            }
        }
    }

    /// The answer to a published event.
    pub(crate) async fn publish(&mut self, event: &Event) -> (bool, String) {
        self.send(json!(["EVENT", event])).await;
        let answer = self.next().await;
        assert_eq!((&answer[0], &answer[1]), (&json!("OK"), &json!(event.id)), "{answer}");
        (answer[2].as_bool().expect("whether"), text(&answer[3]))
    }

    /// Nothing is on its way: an answer comes first to what is asked last.
    pub(crate) async fn assert_silent(&mut self) {
        let (events, _) = self.stored("silence", &[json!({"kinds": [65_535], "limit": 0})]).await;
        assert_eq!(events, Vec::<String>::new());
        self.send(json!(["CLOSE", "silence"])).await;
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

pub(crate) fn tag(name: &str, value: &str) -> Tag {
    Tag::custom(name.to_owned(), [value.to_owned()])
}

pub(crate) fn note(number: u64) -> Event {
    sign(&keys(1, number % 5), 1, START + number / 2, [tag("t", &format!("t{}", number % 3))], format!("note {number}"))
}

/// An announcement of a repository, which a mirror accepts.
pub(crate) fn announcement(number: u64, created_at: u64) -> Event {
    sign(&keys(1, 1), 30617, created_at, [tag("d", &format!("repo-{number}"))], "")
}

/// One of many bytes.
pub(crate) fn large(number: u64) -> Event {
    let name = [tag("d", &format!("large-{number}"))];
    sign(&keys(1, 1), 30617, START + number, name, "x".repeat(60_000))
}

pub(crate) fn ids<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<String> {
    events.into_iter().map(|event| event.id.to_hex()).collect()
}

/// Newest first, lowest id first on ties.
pub(crate) fn in_order(mut events: Vec<Event>) -> Vec<Event> {
    events.sort_by_key(|event| (std::cmp::Reverse(event.created_at), event.id));
    events
}
