//! The spans of batches that end in every way there is, as a collector gets them.

use std::sync::Arc;
use std::time::Duration;

use engine::driver::{self, RelayEvent, Shared};
use engine::trace::Traces as Spans;
use serde_json::Value;
use sync_core::link::{LinkCommand, LinkNotice};
use sync_core::model::{BatchReason, BatchRequest, Layer, PendingItems, SyncMethod};
use sync_core::nostr::filter::Filter;
use sync_core::strategy::{
    Input, Message, Output, ProtocolError, RelayProfile, SessionHints, SessionOutcome, SessionRequest, SetView,
    StrategyDescriptor, StrategyOrder, Suitability, SyncSession, SyncStrategy,
};
use sync_core::{MonoMillis, Now};
use telemetry::log::{LogOptions, subscriber};
use telemetry::traces::{Service, TraceOptions, Traces};
use testkit::otlp::{Receiver, Span};
use testkit::relay::{RelayCore, RelayOptions};
use testkit::world::{BulkSpec, bulk_events};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt;

use crate::support::{MemoryConnector, config, memory, req, shared};

const PATIENCE: Duration = Duration::from_secs(20);

/// A strategy that asks for everything and then does this.
struct Does(StrategyDescriptor, fn(&Input<'_>), bool);

impl Does {
    /// Ends with the relay's answer where it `ends`; otherwise never.
    fn order(ends: bool, does: fn(&Input<'_>)) -> StrategyOrder {
        let name = SyncMethod::new("tested");
        let descriptor = StrategyDescriptor { name, version: "1".into(), compares_sets: false, probes_alone: false };
        vec![Arc::new(Self(descriptor, does, ends))]
    }
}

impl SyncStrategy for Does {
    fn descriptor(&self) -> &StrategyDescriptor {
        &self.0
    }

    fn hints(&self) -> SessionHints {
        SessionHints { concurrency: 1, fetch_chunk: 10, answer_timeout_ms: 30_000 }
    }

    fn suits(&self, _: &RelayProfile, _: &Filter) -> Suitability {
        Suitability::Suits
    }

    fn open(&self, request: SessionRequest) -> Box<dyn SyncSession> {
        let message = Message::Req { sub: 1, filter: Box::new(request.filter) };
        Box::new(Session { does: self.1, ends: self.2, out: vec![Output::Send(message)], begun: false })
    }
}

struct Session {
    does: fn(&Input<'_>),
    ends: bool,
    out: Vec<Output>,
    begun: bool,
}

impl SyncSession for Session {
    fn handle(&mut self, input: Input<'_>, _: &dyn SetView, _: Now) -> Result<(), ProtocolError> {
        self.begun = true;
        (self.does)(&input);
        if self.ends && matches!(input, Input::Eose { .. }) {
            self.out.push(Output::Done(SessionOutcome::Complete));
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Output> {
        if self.begun { self.out.pop() } else { None }
    }

    fn next_timeout(&self) -> Option<(MonoMillis, &'static str)> {
        None
    }
}

/// A relay with so many events, and a collector.
struct Scene {
    connector: Arc<MemoryConnector>,
    receiver: Receiver,
    traces: Traces,
    shared: Shared,
    commands: Option<mpsc::Sender<LinkCommand>>,
    happened: mpsc::Receiver<(sync_core::model::RelayUrl, RelayEvent)>,
    cancel: CancellationToken,
}

impl Scene {
    /// Connected, with everything on this thread's subscriber.
    fn begin(events: usize, strategies: StrategyOrder) -> (Self, tracing::subscriber::DefaultGuard) {
        let receiver = Receiver::start().expect("a port");
        let (store, events) = (Arc::new(memory()), BulkSpec { count: events, ..BulkSpec::default() });
        let mut shared = shared(store, 1 << 20);
        let service = Service { name: "tested", version: "1" };
        let options = TraceOptions::resolve(Some(&receiver.endpoint()), service, 1.0, |_| None).expect("valid");
        let traces = Traces::start(&options.expect("on"), &shared.metrics).expect("starts");
        shared.traces = Spans::new(traces.tracer());
        let log = LogOptions { filter: Some("off".to_owned()), ..LogOptions::default() };
        let subscriber = subscriber(&log, std::io::stderr).expect("valid").with(traces.layer());
        let guard = tracing::subscriber::set_default(subscriber);
        let options = RelayOptions { events: bulk_events(&events), ..RelayOptions::default() };
        let connector = MemoryConnector::new(RelayCore::new(options));
        let (events, happened) = mpsc::channel(256);
        let cancel = CancellationToken::new();
        let config = config(strategies);
        let driven = driver::spawn(connector.open(), config, shared.clone(), None, events, cancel.clone());
        let commands = Some(driven.commands);
        (Self { connector, receiver, traces, shared, commands, happened, cancel }, guard)
    }

    async fn batch(&mut self, id: u64, caused_by: Option<u64>) {
        let command = LinkCommand::Batch(BatchRequest {
            id,
            reason: BatchReason::Requested,
            layer: Layer::Free,
            filters: vec![Filter::new()],
            items: PendingItems::default(),
            caused_by,
            reads: false,
            run_since: None,
        });
        self.command(command).await;
    }

    async fn command(&mut self, command: LinkCommand) {
        self.commands.as_ref().expect("open").send(command).await.expect("it listens");
    }

    async fn wait(&mut self, wanted: impl Fn(&RelayEvent) -> bool) {
        let waiting = async {
            while let Some((_, event)) = self.happened.recv().await {
                if wanted(&event) {
                    return;
                }
            }
            panic!("the connection ended without it");
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("in time");
    }

    async fn ended(&mut self) {
        self.wait(|event| matches!(event, RelayEvent::Ended(_))).await;
    }

    /// What the collector got of it all.
    fn spans(self) -> Vec<Span> {
        let Self { receiver, traces, connector: _connector, .. } = self;
        traces.finish(PATIENCE);
        assert_eq!(receiver.problems(), Vec::<String>::new());
        receiver.spans()
    }
}

fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "one {name} in {spans:#?}");
    found[0]
}

#[tokio::test]
async fn a_confirmed_batch_is_a_trace_down_to_what_each_page_brought() {
    let (mut scene, _guard) = Scene::begin(1_200, req());
    scene.batch(3, None).await;
    scene.wait(|event| matches!(event, RelayEvent::BatchDone { .. })).await;
    scene.cancel.cancel();
    scene.ended().await;
    let spans = scene.spans();
    let root = only(&spans, "sync.batch");
    assert_eq!((root.text("outcome"), root.number("events.stored")), ("confirmed", Some(1_200)));
    let session = only(&spans, "strategy.session");
    assert_eq!((session.parent.as_ref(), session.text("outcome")), (Some(&root.id), "complete"));
    let pages: Vec<_> = spans.iter().filter(|span| span.name == "req.page").collect();
    assert_eq!(session.number("rounds"), i64::try_from(pages.len()).ok());
    assert!(pages.len() >= 3, "{}", pages.len());
    let sum = |name: &str, key: &str| -> i64 {
        spans.iter().filter(|span| span.name == name).filter_map(|span| span.number(key)).sum()
    };
    let received = root.number("events.received").expect("a number");
    assert_eq!((sum("req.page", "events.received"), sum("events.ingest", "events.received")), (received, received));
    assert_eq!(sum("events.ingest", "events.stored"), 1_200);
    assert_eq!(sum("events.ingest", "events.duplicate"), received - 1_200);
    for span in spans.iter().filter(|span| matches!(span.name.as_str(), "req.page" | "events.ingest")) {
        assert_eq!((span.parent.as_ref(), &span.trace), (Some(&session.id), &root.trace), "{span:#?}");
        assert!(span.time.0 <= span.time.1 && root.time.0 <= span.time.0 && span.time.1 <= root.time.1, "{span:#?}");
    }
    let count = spans.len();
    assert!(count < 50, "{count} spans for 1,200 events: none for a single one");
}

#[tokio::test]
async fn a_batch_points_at_its_connection_and_at_the_one_that_caused_it_on_another() {
    let (mut scene, _guard) = Scene::begin(10, req());
    scene.batch(1, None).await;
    scene.wait(|event| matches!(event, RelayEvent::BatchDone { .. })).await;
    // Another connection of the same process.
    let (events, mut happened) = mpsc::channel(256);
    let other = RelayCore::new(RelayOptions::default());
    let other = MemoryConnector::new(other);
    let cancel = CancellationToken::new();
    let driven = driver::spawn(other.open(), config(req()), scene.shared.clone(), None, events, cancel.clone());
    let own = scene.commands.replace(driven.commands);
    scene.batch(2, Some(1)).await;
    while !matches!(happened.recv().await, Some((_, RelayEvent::BatchDone { .. }))) {}
    cancel.cancel();
    while !matches!(happened.recv().await, Some((_, RelayEvent::Ended(_)))) {}
    scene.commands = own;
    scene.cancel.cancel();
    scene.ended().await;
    let spans = scene.spans();
    let batch = |id| spans.iter().find(|span| span.number("batch.id") == Some(id)).expect("its root");
    let (cause, follower) = (batch(1), batch(2));
    let link = |span: &Span, word: &str| {
        let found = span.links.iter().find(|link| link.attributes["link"] == word);
        found.map(|link| (link.trace.clone(), link.id.clone()))
    };
    assert_ne!(cause.trace, follower.trace);
    assert_eq!(link(follower, "caused_by"), Some((cause.trace.clone(), cause.id.clone())));
    assert_eq!(link(cause, "caused_by"), None);
    let connections: Vec<_> = spans.iter().filter(|span| span.name == "relay.connection").collect();
    assert_eq!(connections.len(), 2);
    for span in [cause, follower] {
        let (trace, id) = link(span, "connection").expect("a link");
        let connection = connections.iter().find(|connection| connection.id == id).expect("exported");
        assert_eq!((&connection.trace, connection.number("batches")), (&trace, Some(1)));
        assert_ne!(connection.trace, span.trace);
    }
}

#[tokio::test]
async fn a_batch_that_is_given_up_says_so_with_what_it_had_moved() {
    let (mut scene, _guard) = Scene::begin(5, Does::order(false, |_| {}));
    scene.batch(1, None).await;
    scene.wait(|event| matches!(event, RelayEvent::Notice { notice: LinkNotice::SessionStarted { .. }, .. })).await;
    scene.command(LinkCommand::Cancel(1)).await;
    // Its turn comes when the other was given up.
    scene.batch(2, None).await;
    scene
        .wait(|event| matches!(event, RelayEvent::Notice { notice: LinkNotice::SessionStarted { batch: 2, .. }, .. }))
        .await;
    scene.cancel.cancel();
    scene.ended().await;
    let spans = scene.spans();
    let root = spans.iter().find(|span| span.number("batch.id") == Some(1)).expect("exported");
    assert_eq!((root.text("outcome"), root.text("sync.strategy")), ("superseded", "tested"));
    assert!(root.number("bytes.up") > Some(0) && root.error.is_none(), "{root:#?}");
    let session = spans.iter().find(|span| span.parent.as_ref() == Some(&root.id)).expect("its session");
    assert_eq!(session.text("outcome"), "cut off");
}

#[tokio::test]
async fn a_batch_whose_connection_ends_has_failed_and_says_why() {
    // It never says that it is done.
    let (mut scene, _guard) = Scene::begin(5, Does::order(false, |_| {}));
    scene.batch(1, None).await;
    scene.wait(|event| matches!(event, RelayEvent::Notice { notice: LinkNotice::SessionStarted { .. }, .. })).await;
    scene.cancel.cancel();
    scene.ended().await;
    let spans = scene.spans();
    let root = only(&spans, "sync.batch");
    assert_eq!(root.text("outcome"), "failed");
    assert!(root.error.as_deref().is_some_and(|reason| reason.contains("closed by us")), "{root:#?}");
    assert_eq!(only(&spans, "strategy.session").text("outcome"), "cut off");
}

#[tokio::test]
async fn a_strategy_that_panics_leaves_a_failed_batch_with_every_attribute() {
    let panics = |input: &Input<'_>| {
        if matches!(input, Input::Eose { .. }) {
            std::panic::resume_unwind(Box::new("told to"));
        }
    };
    let (mut scene, _guard) = Scene::begin(5, Does::order(false, panics));
    scene.batch(1, None).await;
    scene.ended().await;
    let spans = scene.spans();
    let root = only(&spans, "sync.batch");
    assert_eq!((root.text("outcome"), root.error.as_deref()), ("failed", Some("the connection's task panicked")));
    assert_eq!(root.number("events.received"), Some(5), "{root:#?}");
    assert!(only(&spans, "relay.connection").error.is_some());
}

#[tokio::test]
async fn what_a_strategy_logs_belongs_to_its_batch() {
    // A span of a plugin shows what it is within, as its lines would.
    let logs = |input: &Input<'_>| {
        let name = if matches!(input, Input::Start) { "at the start" } else { "later" };
        drop(tracing::info_span!("strategy.plugin", otel.name = name));
    };
    let (mut scene, _guard) = Scene::begin(1, Does::order(true, logs));
    scene.batch(1, None).await;
    scene.wait(|event| matches!(event, RelayEvent::BatchDone { .. })).await;
    scene.cancel.cancel();
    scene.ended().await;
    let spans = scene.spans();
    let (root, session) = (only(&spans, "sync.batch"), only(&spans, "strategy.session"));
    assert_eq!(only(&spans, "at the start").parent.as_ref(), Some(&root.id));
    let later = spans.iter().find(|span| span.name == "later").expect("a second turn");
    assert_eq!(later.parent.as_ref(), Some(&session.id));
    assert_eq!(later.attribute("otel.name"), &Value::Null);
}
