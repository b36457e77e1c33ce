//! Bounds that relays hit are counted, each under its name, and what a relay fails at is counted as its health has it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use engine::daemon::{self, DaemonConfig, Health, Shown};
use engine::ingest::{Answer, MAX_ANSWERS, Work};
use sync_core::health::HealthConfig;
use sync_core::link::CheckJob;
use sync_core::manager::{ManagerConfig, StatusReport};
use sync_core::model::RelayUrl;
use sync_core::nostr::event::Tag;
use sync_core::nostr::filter::Filter;
use sync_core::strategy::RelayProfile;
use sync_core::transport::{BoxFuture, Connection, Connector, Fault, FaultKind, FrameSink, FrameSource, Target};
use telemetry::Metrics;
use telemetry::metrics::Format;
use testkit::world::{keys, sign};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::daemon::config;
use crate::support::{memory, req, shared, url};

fn value(metrics: &Metrics, series: &str) -> Option<u64> {
    let text = metrics.encode(Format::OpenMetrics).expect("encodes");
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

fn hits(metrics: &Metrics, limit: &str) -> Option<u64> {
    value(metrics, &format!("grasp_sync_limit_hits_total{{limit={limit:?}}}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn events_beyond_a_bound_are_counted() {
    let shared = shared(Arc::new(memory()), 32 << 20);
    let now = shared.clock.now().unix_s;
    let note = |at, tags, text: &str| sign(&keys(1, 0), 1, at, tags, text);
    let many = (0..5_001).map(|n| Tag::parse(["t", &n.to_string()]).expect("a tag")).collect();
    let events = [
        note(now, Vec::new(), &"x".repeat(70_000)),
        note(now, many, ""),
        note(now + 100_000, Vec::new(), "early"),
        note(now, Vec::new(), "fine"),
    ];
    let jobs = events.iter().zip(0..).map(|(event, token)| CheckJob {
        token,
        json: serde_json::to_string(event).expect("an event"),
        filters: Arc::new([Filter::new()]),
        store: true,
        batch: None,
        question: None,
    });
    let (answers, mut answered) = mpsc::channel(MAX_ANSWERS);
    let work = Work {
        jobs: jobs.collect(),
        offered: Vec::new(),
        state: Vec::new(),
        relay: url(),
        context: tracing::Span::none(),
    };
    shared.ingest.submit(shared.ingest.place().await.expect("runs"), work, answers);
    while !matches!(answered.recv().await, Some(Answer::Settled { .. })) {}
    for (limit, count) in [("max_event_size", Some(1)), ("max_tags", Some(1)), ("max_future", Some(1))] {
        assert_eq!(hits(&shared.metrics, limit), count, "{limit}");
    }
}

/// Fails with one kind after the other, then connects and drops each connection at once.
struct Unlucky {
    faults: Vec<FaultKind>,
    attempts: AtomicUsize,
}

impl Connector for Unlucky {
    fn connect(&self, target: Target) -> BoxFuture<'_, Result<Connection, Fault>> {
        Box::pin(async move {
            let attempt = self.attempts.fetch_add(1, Ordering::SeqCst);
            match self.faults.get(attempt) {
                Some(kind) => Err(Fault { kind: *kind, text: format!("{}: as the test asked", target.relay) }),
                None => Ok(Connection {
                    sink: Box::new(Dropped),
                    source: Box::new(Dropped),
                    profile: RelayProfile::default(),
                }),
            }
        })
    }
}

/// A connection that the relay has ended already.
struct Dropped;

impl FrameSink for Dropped {
    fn send(&mut self, _: Vec<String>) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async { Ok(()) })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

impl FrameSource for Dropped {
    fn receive(&mut self, _: usize) -> BoxFuture<'_, Result<Vec<String>, Fault>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// Runs the daemon with one relay until `until` holds of its metrics.
async fn run_until(connector: Unlucky, until: impl Fn(&Metrics) -> bool) {
    let relays: BTreeSet<RelayUrl> = BTreeSet::from([url()]);
    let health =
        HealthConfig { base_backoff_ms: 10, max_backoff_ms: 20, fault_memory_ms: 20, ..HealthConfig::default() };
    let manager = ManagerConfig { bootstrap_relays: relays, health, ..ManagerConfig::default() };
    let config = DaemonConfig { manager, strategies: req(), ..config() };
    let shared = shared(Arc::new(memory()), 32 << 20);
    let (cancel, metrics) = (CancellationToken::new(), shared.metrics.clone());
    let shown =
        Shown { status: watch::channel(Arc::new(StatusReport::default())).0, health: watch::channel(Health::Ok).0 };
    let running = daemon::run(config, Arc::new(connector), shared, shown, cancel.clone());
    let watching = async {
        let seen = async {
            while !until(&metrics) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let seen = tokio::time::timeout(Duration::from_secs(15), seen).await;
        cancel.cancel();
        assert!(seen.is_ok(), "it never came:\n{}", metrics.encode(Format::OpenMetrics).expect("encodes"));
    };
    let (ended, ()) = tokio::join!(running, watching);
    assert_eq!(ended, Ok(()));
}

fn unlucky(faults: &[FaultKind]) -> Unlucky {
    Unlucky { faults: faults.to_vec(), attempts: AtomicUsize::new(0) }
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_that_end_attempts_are_counted_under_their_names() {
    use FaultKind::{Forbidden, HostFull, NoSockets, TooLarge};
    run_until(unlucky(&[Forbidden, HostFull, NoSockets, TooLarge]), |metrics| {
        ["allow_private_addresses", "max_connections_per_host", "open_files", "max_message_size"]
            .iter()
            .all(|limit| hits(metrics, limit) == Some(1))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_dropped_count_as_failures() {
    let failures = format!("ngit_sync_relay_failures{{relay=\"{}\"}}", url());
    run_until(unlucky(&[FaultKind::Network]), |metrics| value(metrics, &failures).is_some_and(|count| count >= 3))
        .await;
}
