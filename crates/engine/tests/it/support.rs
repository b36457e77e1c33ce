//! A wire in memory with a scripted relay at its other end, and a store that can be held up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use engine::Clock;
use engine::driver::Shared;
use engine::ingest::{Ingest, OwnRelay};
use engine::trace::Traces;
use sync_core::check::EventLimits;
use sync_core::intake::IntakeConfig;
use sync_core::link::{LinkConfig, RelayMemory};
use sync_core::model::RelayUrl;
use sync_core::nostr::event::{Event, EventId};
use sync_core::nostr::filter::Filter;
use sync_core::store::{
    EventStore, FeedListener, FeedPage, FeedSeq, HeldEvent, KnownEvent, LocalSets, OutboxState, OwnVerdict, PageSize,
    Query, Reply, StateRecord, StateTable, StateWrite, StoreError, Submission,
};
use sync_core::strategy::{Direction, ItemKey, RelayProfile, SetView, StrategyConfig, StrategyOrder, Window};
use sync_core::transport::{BoxFuture, Connection, Connector, Fault, FaultKind, FrameSink, FrameSource, Target};
use telemetry::Metrics;
use testkit::relay::{Outgoing, RelayCore};
use testkit::store::MemoryStore;
use tokio::sync::{mpsc, watch};

/// Frames on their way.
const WIRE: usize = 8;

/// A connection that syncs down by these strategies.
pub(crate) fn config(strategies: StrategyOrder) -> LinkConfig {
    LinkConfig {
        relay: url(),
        profile: RelayProfile::default(),
        strategies,
        direction: Direction::Down,
        dry_run: false,
        rate_limit_cooldown_ms: 65_000,
        max_future_s: 900,
        keys: None,
        memory: RelayMemory::default(),
        seed: 1,
    }
}

/// Connects to one relay, whatever the address.
pub(crate) struct MemoryConnector {
    pub(crate) relay: RelayCore,
    /// The relay never reads.
    pub(crate) deaf: bool,
    pub(crate) connections: AtomicU64,
    pub(crate) bytes_read: Arc<AtomicU64>,
}

impl MemoryConnector {
    pub(crate) fn new(relay: RelayCore) -> Arc<Self> {
        Arc::new(Self { relay, deaf: false, connections: AtomicU64::new(0), bytes_read: Arc::default() })
    }

    pub(crate) fn open(&self) -> Connection {
        self.connections.fetch_add(1, Ordering::SeqCst);
        let (to_relay, from_client) = mpsc::channel(WIRE);
        let (to_client, from_relay) = mpsc::channel(WIRE);
        if self.deaf {
            tokio::spawn(async move {
                to_client.closed().await;
                drop(from_client);
            });
        } else {
            tokio::spawn(serve(self.relay.clone(), from_client, to_client));
        }
        Connection {
            sink: Box::new(Sink(Some(to_relay))),
            source: Box::new(Source { frames: from_relay, bytes: Arc::clone(&self.bytes_read) }),
            profile: RelayProfile::default(),
        }
    }
}

impl Connector for MemoryConnector {
    fn connect(&self, _: Target) -> BoxFuture<'_, Result<Connection, Fault>> {
        Box::pin(async { Ok(self.open()) })
    }
}

async fn serve(relay: RelayCore, mut requests: mpsc::Receiver<String>, answers: mpsc::Sender<String>) {
    let clock = Clock::start();
    let mut connection = relay.connect();
    loop {
        while let Some(out) = connection.poll() {
            match out {
                Outgoing::Text(text) => {
                    if answers.send(text).await.is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
        let Some(request) = requests.recv().await else { return };
        connection.receive(&request, clock.now());
    }
}

struct Sink(Option<mpsc::Sender<String>>);

impl FrameSink for Sink {
    fn send(&mut self, frames: Vec<String>) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            for frame in frames {
                let sent = match &self.0 {
                    Some(relay) => relay.send(frame).await.is_ok(),
                    None => false,
                };
                if !sent {
                    return Err(Fault { kind: FaultKind::Network, text: "the relay is gone".to_owned() });
                }
            }
            Ok(())
        })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        self.0 = None;
        Box::pin(async {})
    }
}

struct Source {
    frames: mpsc::Receiver<String>,
    bytes: Arc<AtomicU64>,
}

impl FrameSource for Source {
    fn receive(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<String>, Fault>> {
        Box::pin(async move {
            let mut frames = Vec::new();
            self.frames.recv_many(&mut frames, max).await;
            self.bytes.fetch_add(frames.iter().map(|frame| frame.len() as u64).sum(), Ordering::SeqCst);
            Ok(frames)
        })
    }
}

/// A [`MemoryStore`] that takes a given number of submissions, and holds up the rest until it is told to go on.
pub(crate) struct SlowStore {
    pub(crate) inner: MemoryStore,
    allowed: Mutex<u64>,
    changed: Condvar,
    /// The writer is gone.
    pub(crate) closed: AtomicBool,
    /// Records can't be written.
    pub(crate) records_full: AtomicBool,
    /// Who reads the feed panics.
    pub(crate) feed_broken: AtomicBool,
    /// Judging is held up like submissions.
    pub(crate) judging_held: AtomicBool,
    /// Whether judging has begun.
    pub(crate) judging: watch::Sender<bool>,
}

impl SlowStore {
    pub(crate) fn new(inner: MemoryStore, allowed: u64) -> Arc<Self> {
        Arc::new(Self {
            inner,
            allowed: Mutex::new(allowed),
            changed: Condvar::new(),
            closed: AtomicBool::default(),
            records_full: AtomicBool::default(),
            feed_broken: AtomicBool::default(),
            judging_held: AtomicBool::default(),
            judging: watch::Sender::new(false),
        })
    }

    pub(crate) fn allow(&self, more: u64) {
        let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        *allowed = allowed.saturating_add(more);
        self.changed.notify_all();
    }
}

impl LocalSets for SlowStore {
    fn view<'a>(&'a self, filter: &Filter, window: Window, relay: &RelayUrl) -> Box<dyn SetView + 'a> {
        self.inner.view(filter, window, relay)
    }

    fn known(&self, ids: &[EventId]) -> Result<Vec<Option<KnownEvent>>, StoreError> {
        self.inner.known(ids)
    }

    fn event(&self, id: &EventId) -> Result<Option<Event>, StoreError> {
        self.inner.event(id)
    }
}

impl EventStore for SlowStore {
    fn query_page(&self, query: &mut Query, now: u64, size: PageSize) -> Result<Vec<Event>, StoreError> {
        self.inner.query_page(query, now, size)
    }

    fn query_items(&self, query: &mut Query, now: u64, max: usize) -> Result<Vec<ItemKey>, StoreError> {
        self.inner.query_items(query, now, max)
    }

    fn submit(&self, submission: Submission, reply: Reply) -> Result<(), StoreError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(StoreError::Closed);
        }
        let allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut allowed =
            self.changed.wait_while(allowed, |allowed| *allowed == 0).unwrap_or_else(PoisonError::into_inner);
        *allowed -= 1;
        drop(allowed);
        self.inner.submit(submission, reply)
    }

    fn write_state(&self, writes: Vec<StateWrite>) -> Result<(), StoreError> {
        if self.records_full.load(Ordering::SeqCst) {
            return Err(StoreError::Full("as the test asked".to_owned()));
        }
        self.inner.write_state(writes)
    }

    fn read_state_of(&self, table: StateTable, prefix: &[u8]) -> Result<Vec<StateRecord>, StoreError> {
        self.inner.read_state_of(table, prefix)
    }

    fn feed(&self, after: FeedSeq, max: usize) -> Result<FeedPage, StoreError> {
        assert!(!self.feed_broken.load(Ordering::SeqCst), "the feed is broken, as the test asked");
        self.inner.feed(after, max)
    }

    fn feed_head(&self) -> Result<FeedSeq, StoreError> {
        self.inner.feed_head()
    }

    fn on_feed(&self, wake: FeedListener) {
        self.inner.on_feed(wake);
    }

    fn judge_backlog(&self, now: u64) -> Result<u64, StoreError> {
        self.judging.send_replace(true);
        if self.judging_held.load(Ordering::SeqCst) {
            let allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.changed.wait_while(allowed, |allowed| *allowed == 0).unwrap_or_else(PoisonError::into_inner));
        }
        self.inner.judge_backlog(now)
    }

    fn outbox(&self, now: u64, max: usize) -> Result<Vec<HeldEvent>, StoreError> {
        self.inner.outbox(now, max)
    }

    fn outbox_state(&self) -> Result<OutboxState, StoreError> {
        self.inner.outbox_state()
    }

    fn answer_outbox(&self, answers: Vec<OwnVerdict>, now: u64) -> Result<(), StoreError> {
        self.inner.answer_outbox(answers, now)
    }

    fn event_count(&self) -> Result<u64, StoreError> {
        self.inner.event_count()
    }

    fn rejected_count(&self) -> Result<(u64, u64), StoreError> {
        self.inner.rejected_count()
    }
}

pub(crate) fn memory() -> MemoryStore {
    MemoryStore::new(None, IntakeConfig::default())
}

pub(crate) fn shared(store: Arc<dyn EventStore>, memory_per_relay: usize) -> Shared {
    let (clock, metrics) = (Clock::start(), Metrics::new());
    let limits = EventLimits { max_event_size: 65_536, max_tags: 5_000 };
    let ingest =
        Ingest::start(Arc::clone(&store), limits, clock, metrics.clone(), OwnRelay::default()).expect("threads");
    Shared {
        store,
        ingest: Arc::new(ingest),
        clock,
        metrics,
        memory_per_relay,
        parking: Arc::default(),
        waits_for_room: false,
        traces: Traces::default(),
    }
}

pub(crate) fn req() -> StrategyOrder {
    vec![Arc::new(strategy_req::ReqStrategy::from_config(&StrategyConfig::Null).expect("defaults"))]
}

/// Takes a second of silence for an end.
pub(crate) fn impatient() -> StrategyOrder {
    let config = serde_json::json!({ "timeout": "1s" });
    vec![Arc::new(strategy_req::ReqStrategy::from_config(&config).expect("valid"))]
}

pub(crate) fn both() -> StrategyOrder {
    let negentropy = strategy_negentropy::NegentropyStrategy::from_config(&StrategyConfig::Null).expect("defaults");
    let mut order: StrategyOrder = vec![Arc::new(negentropy)];
    order.extend(req());
    order
}

pub(crate) fn url() -> RelayUrl {
    RelayUrl::parse("wss://relay.example").expect("valid")
}
