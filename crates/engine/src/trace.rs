//! The spans of one connection's batches, filled from what the link tells of them (CONTRACT.md, "Traces").
//!
//! Nothing here decides anything, and nothing is kept of a batch whose trace isn't exported but its root.

mod below;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use sync_core::link::{Asked, LinkNotice, RelayLink, Surround};
use sync_core::model::{
    BatchId, BatchOutcome, BatchReason, BatchReport, BatchRequest, Counts, Failure, RelayUrl, SyncMethod,
};
use telemetry::metrics::Metrics;
use telemetry::spans::{self, BatchEnd, BatchSpan, BatchStart, ConnectionSpan, SessionSpan, SpanLink, Tracer};
use tracing::Span;

use below::Below;

/// Batches whose span a later one may point back at, over all connections.
const MAX_LINKS: usize = 4_096;
/// Spans of one batch: beyond them, what happens is counted in an attribute of the root. A relay can ask for many.
const MAX_SPANS: u64 = 10_000;

/// Failures that the status of a root names, and characters that it has at most: texts are the relays' own.
const MAX_FAILURES: usize = 8;
const MAX_STATUS: usize = 2_000;

/// What is missing, for the status of a root.
fn told(failures: &[Failure]) -> String {
    let mut lines: Vec<String> = failures.iter().take(MAX_FAILURES).map(Failure::line).collect();
    if let Some(more) = failures.len().checked_sub(MAX_FAILURES).filter(|more| *more > 0) {
        lines.push(format!("and {more} more"));
    }
    let text = lines.join("; ");
    match text.char_indices().nth(MAX_STATUS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// What all connections share to make spans.
#[derive(Debug, Clone, Default)]
pub struct Traces {
    tracer: Tracer,
    /// Numbers of batches ascend, so that the oldest go first.
    links: Arc<Mutex<BTreeMap<BatchId, SpanLink>>>,
}

impl Traces {
    /// Spans by `tracer`; the default's make none but the batches' own.
    pub fn new(tracer: Tracer) -> Self {
        Self { tracer, links: Arc::default() }
    }

    fn link_of(&self, batch: BatchId) -> Option<SpanLink> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).get(&batch).cloned()
    }

    fn remember(&self, batch: BatchId, link: SpanLink) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.insert(batch, link);
        if links.len() > MAX_LINKS {
            links.pop_first();
        }
    }
}

struct Traced {
    span: BatchSpan,
    /// Whether its trace is exported.
    recorded: bool,
    reason: &'static str,
    started: Instant,
    sessions: HashMap<u64, SessionSpan>,
    /// Spans that may be made yet, and those that were not.
    room: u64,
    left_out: u64,
}

impl Traced {
    /// Takes room for a span, or counts it as left out.
    fn take_room(&mut self) -> bool {
        let taken = self.room > 0;
        self.room -= u64::from(taken);
        self.left_out += u64::from(!taken);
        taken
    }
}

/// The open spans of one connection.
pub(crate) struct ConnectionTraces {
    shared: Traces,
    connection: Option<ConnectionSpan>,
    batches: u64,
    open: HashMap<BatchId, Traced>,
    below: Below,
    contexts: Arc<Contexts>,
}

impl ConnectionTraces {
    pub(crate) fn begin_connection(shared: &Traces, relay: &RelayUrl) -> Self {
        Self {
            connection: Some(ConnectionSpan::start(&shared.tracer, relay.as_str())),
            below: Below::new(shared.tracer.clone()),
            shared: shared.clone(),
            batches: 0,
            open: HashMap::new(),
            contexts: Arc::default(),
        }
    }

    /// The connection is over: by `fault`, or because we ended it.
    pub(crate) fn end_connection(&mut self, fault: Option<&str>) {
        if let Some(connection) = self.connection.take() {
            connection.end(self.batches, fault);
        }
    }

    /// What stands around the work of strategies.
    pub(crate) fn surround(&self) -> Arc<dyn Surround> {
        Arc::clone(&self.contexts) as Arc<dyn Surround>
    }

    /// The span of a batch, for log lines that belong to it.
    pub(crate) fn context(&self, batch: Option<BatchId>) -> Span {
        batch.and_then(|batch| self.open.get(&batch)).map_or_else(Span::none, |traced| traced.span.span().clone())
    }

    pub(crate) fn begin(&mut self, relay: &RelayUrl, request: &BatchRequest) {
        let cause = request.caused_by.and_then(|cause| self.shared.link_of(cause));
        let connection = self.connection.as_ref().and_then(ConnectionSpan::link);
        let span = BatchSpan::start(BatchStart {
            relay: relay.as_str(),
            id: request.id,
            reason: request.reason.as_str(),
            layer: request.layer.as_str(),
            filters: request.filters.len() as u64,
            repos: request.items.repos.len() as u64,
            root_events: request.items.root_events.len() as u64,
            caused_by: cause.as_ref(),
            connection: connection.as_ref(),
            awaited: request.reason == BatchReason::Requested,
        });
        if span.is_recorded() {
            self.shared.remember(request.id, span.link());
        }
        self.contexts.open(request.id, span.span());
        self.batches += 1;
        let traced = Traced {
            recorded: span.is_recorded(),
            span,
            reason: request.reason.as_str(),
            started: Instant::now(),
            sessions: HashMap::new(),
            room: MAX_SPANS,
            left_out: 0,
        };
        self.open.insert(request.id, traced);
    }

    /// The batch was given up; its span says so, and what it had moved by then.
    pub(crate) fn superseded(&mut self, batch: BatchId, link: &RelayLink, metrics: &Metrics) {
        self.close(batch, link.progress(batch), spans::BatchOutcome::Superseded, metrics);
    }

    /// The connection's task ends without an end of its batches: it panics, or the process ends.
    pub(crate) fn cut_off(&mut self, link: &RelayLink, reason: &str, metrics: &Metrics) {
        for batch in self.open.keys().copied().collect::<Vec<_>>() {
            self.close(batch, link.progress(batch), spans::BatchOutcome::Failed { reason }, metrics);
        }
        self.end_connection(Some(reason));
    }

    pub(crate) fn end(&mut self, report: &BatchReport, metrics: &Metrics) {
        let failures = match &report.outcome {
            BatchOutcome::Failed(failures) => told(failures),
            BatchOutcome::Confirmed => String::new(),
        };
        let outcome = match &report.outcome {
            BatchOutcome::Confirmed => spans::BatchOutcome::Confirmed,
            BatchOutcome::Failed(_) => spans::BatchOutcome::Failed { reason: &failures },
        };
        self.close(report.id, Some((&report.counts, &report.methods)), outcome, metrics);
    }

    fn close(
        &mut self,
        batch: BatchId,
        moved: Option<(&Counts, &[SyncMethod])>,
        outcome: spans::BatchOutcome<'_>,
        metrics: &Metrics,
    ) {
        let Some(Traced { span, reason, started, sessions, left_out, .. }) = self.open.remove(&batch) else { return };
        self.contexts.close(batch);
        self.below.end(batch);
        // Sessions that are open were cut off, and say so as they go.
        match outcome {
            spans::BatchOutcome::Superseded => sessions.into_values().for_each(spans::SessionSpan::give_up),
            _ => drop(sessions),
        }
        if left_out > 0 {
            span.left_out(left_out);
        }
        let nothing = Counts::default();
        let (counts, methods) = moved.unwrap_or((&nothing, &[]));
        let strategy = methods.iter().map(SyncMethod::as_str).collect::<Vec<_>>().join(",");
        match outcome {
            spans::BatchOutcome::Superseded => metrics.batch_superseded(&strategy, reason),
            _ => metrics.batch_done(&strategy, reason, outcome.as_str(), started.elapsed()),
        }
        span.end(BatchEnd {
            strategy: &strategy,
            needed: counts.need,
            received: counts.received,
            stored: counts.stored,
            rejected: counts.rejected.values().sum(),
            bytes_up: counts.bytes_up,
            bytes_down: counts.bytes_down,
            outcome,
        });
    }

    pub(crate) fn observe(&mut self, notice: &LinkNotice) {
        match notice {
            LinkNotice::FellBack { batch, from, to, reason, .. } => {
                if let Some(traced) = self.open.get(batch) {
                    traced.span.fell_back(from, to, reason);
                }
            }
            LinkNotice::SessionStarted { batch, session, strategy, filter, window } => {
                let Some(traced) = self.open.get_mut(batch) else { return };
                if traced.take_room() {
                    let window = format!("{}..={}", window.since, window.until);
                    let span = traced.span.session(strategy, filter, &window);
                    self.contexts.open_session(*batch, *session, span.span());
                    if traced.recorded {
                        self.below.session(*batch, *session, span.link());
                    }
                    traced.sessions.insert(*session, span);
                }
            }
            LinkNotice::SessionEnded { batch, session, rounds, outcome, failed } => {
                self.contexts.close_session(*batch, *session);
                if let Some(span) = self.open.get_mut(batch).and_then(|traced| traced.sessions.remove(session)) {
                    span.end(*rounds, outcome, *failed);
                }
            }
            LinkNotice::Asked { batch, session, question, kind } => {
                let span = self.open.get_mut(batch).and_then(|traced| traced.sessions.get_mut(session));
                if let Some(span) = span.filter(|_| matches!(kind, Asked::Round | Asked::Page)) {
                    span.round();
                }
                if let Some(traced) = self.open.get_mut(batch).filter(|traced| traced.recorded)
                    && traced.take_room()
                {
                    self.below.asked(*batch, *session, *question, *kind);
                }
            }
            LinkNotice::Answered { batch, question, received, end } => {
                self.below.answered(*batch, *question, *received, end);
            }
            _ => {}
        }
    }

    /// The spans below sessions.
    pub(crate) fn below(&mut self) -> &mut Below {
        &mut self.below
    }
}

/// The spans of batches and sessions under way, to be entered around what strategies do.
#[derive(Default)]
struct Contexts(Mutex<HashMap<BatchId, Context>>);

struct Context {
    batch: Span,
    sessions: HashMap<u64, Span>,
}

impl Contexts {
    fn with<T>(&self, batch: BatchId, change: impl FnOnce(&mut Context) -> T) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&batch).map(change)
    }

    fn open(&self, batch: BatchId, span: &Span) {
        let context = Context { batch: span.clone(), sessions: HashMap::new() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(batch, context);
    }

    fn close(&self, batch: BatchId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&batch);
    }

    fn open_session(&self, batch: BatchId, session: u64, span: &Span) {
        self.with(batch, |context| context.sessions.insert(session, span.clone()));
    }

    fn close_session(&self, batch: BatchId, session: u64) {
        self.with(batch, |context| context.sessions.remove(&session));
    }
}

impl Surround for Contexts {
    /// A session that begins is within its batch until it was told of.
    fn around(&self, batch: BatchId, session: u64, work: &mut dyn FnMut()) {
        let span = self.with(batch, |context| context.sessions.get(&session).unwrap_or(&context.batch).clone());
        match span {
            Some(span) => span.in_scope(work),
            None => work(),
        }
    }
}

#[cfg(test)]
mod tests {
    use sync_core::link::{LinkConfig, RelayMemory};
    use sync_core::model::{BatchReason, FailureReason, Layer, PendingItems};
    use sync_core::strategy::{Direction, RelayProfile, Window};

    use super::*;

    #[test]
    fn what_is_missing_is_told_with_its_place_and_within_bounds() {
        let failure = |second, text: &str| Failure {
            filter: r#"{"kinds":[1]}"#.to_owned(),
            window: Some(Window { since: second, until: second }),
            reason: FailureReason::Timeout,
            text: text.to_owned(),
        };
        assert_eq!(told(&[failure(5, "silence")]), r#"silence (filter {"kinds":[1]}, second 5)"#);
        let many: Vec<_> = (0..10).map(|second| failure(second, "x")).collect();
        assert!(told(&many).ends_with("; and 2 more"), "{}", told(&many));
        let long: Vec<_> = (0..8).map(|second| failure(second, &"é".repeat(1_000))).collect();
        assert_eq!(told(&long).chars().count(), MAX_STATUS + 1);
    }

    #[test]
    fn a_batch_that_is_given_up_is_counted_once() {
        let relay = RelayUrl::parse("wss://relay.example.com").expect("valid");
        let link = RelayLink::new(LinkConfig {
            relay: relay.clone(),
            profile: RelayProfile::default(),
            strategies: Vec::new(),
            direction: Direction::Down,
            dry_run: false,
            rate_limit_cooldown_ms: 65_000,
            max_future_s: 900,
            keys: None,
            memory: RelayMemory::default(),
            seed: 1,
        });
        let (mut traces, metrics) = (ConnectionTraces::begin_connection(&Traces::default(), &relay), Metrics::new());
        let request = BatchRequest {
            id: 7,
            reason: BatchReason::DailySync,
            layer: Layer::Announcements,
            filters: Vec::new(),
            items: PendingItems::default(),
            caused_by: None,
            reads: false,
            run_since: None,
        };
        traces.begin(&relay, &request);
        traces.superseded(request.id, &link, &metrics);
        traces.superseded(request.id, &link, &metrics);
        let text = metrics.encode(telemetry::metrics::Format::OpenMetrics).expect("encodes");
        let labels = r#"{strategy="none",reason="daily_sync",outcome="superseded"}"#;
        assert!(text.contains(&format!("grasp_sync_batches_total{labels} 1\n")), "{text}");
    }
}
