//! One historic sync with one relay, as `grasp-sync sync` asks for it: no manager, no live subscriptions.

use std::sync::Arc;
use std::time::Duration;

use sync_core::link::{LinkCommand, LinkConfig, LinkNotice};
use sync_core::model::{
    BatchOutcome, BatchReason, BatchReport, BatchRequest, Counts, Failure, FailureReason, Fallback, FilterCoverage,
    Layer, PendingItems, SyncMethod,
};
use sync_core::nostr::filter::Filter;
use sync_core::nostr::key::Keys;
use sync_core::strategy::{Direction, StrategyOrder};
use sync_core::transport::{Connector, Fault, Target};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::driver::{self, RelayEvent, Shared};
use crate::local::memory;

/// Connections in a row that bring nothing before a relay is given up.
const MAX_IDLE_TRIES: u32 = 3;
/// Pause before connecting again; shorter where the last connection brought something: it may be the relay's way to
/// end connections after so many messages.
const PAUSE: Duration = Duration::from_millis(500);
const SHORT_PAUSE: Duration = Duration::from_millis(50);
/// How old what a former run drained may be to count, seconds: as long as a daemon's confirmed history stands before it
/// is read anew.
const RESUME_S: u64 = 24 * 3600;
/// What a connection may have told before it is heard.
const EVENTS: usize = 256;

/// What is to be synchronised, with whom.
#[derive(Clone)]
pub struct SyncRequest {
    /// The relay; named by a person.
    pub target: Target,
    /// What is asked for, each with its own `since` and `until`.
    pub filters: Vec<Filter>,
    /// Which way events move.
    pub direction: Direction,
    /// Compare only.
    pub dry_run: bool,
    /// In order of preference.
    pub strategies: StrategyOrder,
    /// How long nothing is asked after the relay spoke of rate limits.
    pub rate_limit_cooldown: Duration,
    /// Events dated further ahead aren't asked for, seconds.
    pub max_future_s: u64,
    /// The service's keys, for relays that ask who we are (NIP-42).
    pub keys: Option<Keys>,
    /// What was drained so shortly before a former run was cut off is read again.
    pub overlap: Duration,
    /// For whatever wants to look random.
    pub seed: u64,
}

/// How a relay's sync ended.
#[derive(Debug, Clone)]
pub struct SyncResult {
    /// The relay was reached.
    pub connected: bool,
    /// Empty where everything is here (or there).
    pub failures: Vec<Failure>,
    /// Strategies that carried it.
    pub methods: Vec<SyncMethod>,
    /// What moved, over all connections.
    pub counts: Counts,
    /// Changes of strategy.
    pub fallbacks: Vec<Fallback>,
    /// What is drained, filter by filter, with what former runs had drained.
    pub coverage: Vec<FilterCoverage>,
}

/// Runs one historic sync; connects again while a lost connection had brought something.
pub async fn sync(
    connector: Arc<dyn Connector>,
    shared: Shared,
    request: SyncRequest,
    cancel: CancellationToken,
) -> SyncResult {
    let mut result = SyncResult {
        connected: false,
        failures: Vec::new(),
        methods: Vec::new(),
        counts: Counts::default(),
        fallbacks: Vec::new(),
        coverage: Vec::new(),
    };
    // The most that was drained after any connection.
    let (mut idle, mut most) = (0, 0);
    let mut batch = 1;
    // What lies ahead of it moves with the clock, and is no progress.
    let started = shared.clock.now().unix_s;
    loop {
        let attempt = attempt(&*connector, &shared, &request, batch, &cancel).await;
        batch += 1;
        match attempt {
            Attempt::Failed(fault) => {
                idle += 1;
                result.failures = vec![connection_failure(&fault)];
                if !result.connected || fault.kind.is_lasting() {
                    return result;
                }
            }
            Attempt::Broken(fault) => {
                idle += 1;
                result.connected = true;
                result.failures = vec![connection_failure(&fault)];
            }
            Attempt::Reported(report) => {
                result.connected = true;
                let BatchReport { outcome, methods, counts, fallbacks, coverage, .. } = *report;
                let covered = drained(&coverage, started);
                let progress = counts.stored + counts.uploaded > 0 || covered > most;
                most = most.max(covered);
                result.coverage = coverage;
                result.counts.add(&counts);
                for method in methods {
                    if !result.methods.contains(&method) {
                        result.methods.push(method);
                    }
                }
                for fallback in fallbacks {
                    if !result.fallbacks.contains(&fallback) {
                        result.fallbacks.push(fallback);
                    }
                }
                result.failures = match outcome {
                    BatchOutcome::Confirmed => Vec::new(),
                    BatchOutcome::Failed(failures) => failures,
                };
                if !result.failures.iter().any(|failure| failure.reason == FailureReason::ConnectionLost) {
                    return result;
                }
                idle = if progress { 0 } else { idle + 1 };
            }
        }
        if idle >= MAX_IDLE_TRIES || cancel.is_cancelled() {
            return result;
        }
        tokio::select! {
            () = cancel.cancelled() => return result,
            () = tokio::time::sleep(if idle == 0 { SHORT_PAUSE } else { PAUSE }) => {}
        }
    }
}

/// Seconds up to `upto` that are drained, and shares of seconds, over all filters.
fn drained(coverage: &[FilterCoverage], upto: u64) -> u64 {
    let windows = coverage.iter().flat_map(|filter| &filter.drained);
    let seconds = windows.map(|window| (window.until.min(upto) + 1).saturating_sub(window.since));
    seconds.chain(coverage.iter().map(|filter| filter.shares)).fold(0, u64::saturating_add)
}

enum Attempt {
    /// No connection.
    Failed(Fault),
    /// The connection ended before it had heard what was asked of it.
    Broken(Fault),
    /// It carried the batch, whole or in part.
    Reported(Box<BatchReport>),
}

async fn attempt(
    connector: &dyn Connector,
    shared: &Shared,
    request: &SyncRequest,
    batch: u64,
    cancel: &CancellationToken,
) -> Attempt {
    // Once connected, the connection itself hears of a cancellation, and reports what was done until then.
    let connected = tokio::select! {
        () = cancel.cancelled() => Err(interrupted()),
        connected = connector.connect(request.target.clone()) => connected,
    };
    let connection = match connected {
        Ok(connection) => connection,
        Err(fault) => return Attempt::Failed(fault),
    };
    let now = shared.clock.now().unix_s;
    let config = LinkConfig {
        relay: request.target.relay.clone(),
        profile: connection.profile.clone(),
        strategies: request.strategies.clone(),
        direction: request.direction,
        dry_run: request.dry_run,
        rate_limit_cooldown_ms: u64::try_from(request.rate_limit_cooldown.as_millis()).unwrap_or(u64::MAX),
        max_future_s: request.max_future_s,
        keys: request.keys.clone(),
        memory: memory(&*shared.store, &request.target.relay, request.overlap.as_secs(), now),
        seed: request.seed.wrapping_add(batch),
    };
    let (events, mut happened) = mpsc::channel(EVENTS);
    let driven = driver::spawn(connection, config, shared.clone(), None, events, cancel.child_token());
    let command = LinkCommand::Batch(BatchRequest {
        id: batch,
        reason: BatchReason::Requested,
        layer: Layer::Free,
        filters: request.filters.clone(),
        items: PendingItems::default(),
        caused_by: None,
        reads: false,
        run_since: Some(now.saturating_sub(RESUME_S)),
    });
    // Where the connection is gone already its end is told below.
    let _ = driven.commands.send(command).await;
    let mut report = None;
    let mut lost = None;
    while let Some((_, event)) = happened.recv().await {
        match event {
            RelayEvent::BatchDone { report: done, .. } => {
                report = Some(done);
                driven.cancel.cancel();
            }
            RelayEvent::Ended(fault) => {
                lost = fault;
                break;
            }
            RelayEvent::Notice { notice: LinkNotice::RateLimited { text }, .. } => {
                tracing::warn!(relay = %request.target.relay, said = %text, "rate limited; nothing is asked for a while");
            }
            RelayEvent::LiveStored(_) | RelayEvent::Notice { .. } => {}
        }
    }
    match report {
        Some(report) => Attempt::Reported(report),
        None => Attempt::Broken(lost.unwrap_or_else(interrupted)),
    }
}

fn interrupted() -> Fault {
    Fault { kind: sync_core::transport::FaultKind::Closed, text: "interrupted".to_owned() }
}

fn connection_failure(fault: &Fault) -> Failure {
    Failure { filter: String::new(), window: None, reason: FailureReason::ConnectionLost, text: fault.text.clone() }
}
