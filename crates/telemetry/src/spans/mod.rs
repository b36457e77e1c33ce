//! The spans of CONTRACT.md, "Traces": one root per batch, one child per session, with every field in its place.
//!
//! A span exists from the start of what it stands for to its end. What is known only then is declared empty and recorded
//! by `end`, which also writes one line in the span's context: at DEBUG, and at INFO for a batch that failed and that
//! nobody waits for. A batch that is dropped without an end was superseded,
//! or its task panicked. Texts that a relay had a say in are recorded as strings, which the log quotes and escapes.
//!
//! Batches and sessions are spans of `tracing` too, of the level ERROR: log lines of every level that are written within
//! carry their fields, the trace's id among them. What lies below (`below`) is in the trace alone.

mod below;
pub mod names;

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanContext, Status, TraceContextExt};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use tracing::field::Empty;
use tracing::{Span, debug, error_span, info};
use tracing_opentelemetry::OpenTelemetrySpanExt;

pub use below::{Answer, ConnectionSpan, IngestSpan, Ingested, Question, QuestionSpan, Tracer};
use names::{field, name};

/// The target of these spans and of their lines, for log filters: `sync=debug`.
pub const TARGET: &str = "sync";

/// What is known of a batch when it starts.
#[derive(Debug, Clone, Copy)]
pub struct BatchStart<'a> {
    /// The relay's normalised address.
    pub relay: &'a str,
    /// Its number.
    pub id: u64,
    /// Why it was made: a word of CONTRACT.md.
    pub reason: &'a str,
    /// What its filters belong to.
    pub layer: &'a str,
    /// How many filters it has.
    pub filters: u64,
    /// How many repositories its success confirms.
    pub repos: u64,
    /// How many root events its success confirms.
    pub root_events: u64,
    /// The batch whose discoveries it follows up: a link, not a parent.
    pub caused_by: Option<&'a SpanLink>,
    /// The connection that carries it: a link too.
    pub connection: Option<&'a SpanLink>,
    /// Whether somebody waits for it, who is told how it ended: then the log says so at DEBUG alone.
    pub awaited: bool,
}

/// What a batch ended as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchOutcome<'a> {
    /// Everything it asked for is accounted for.
    Confirmed,
    /// Something is missing.
    Failed {
        /// What, and why.
        reason: &'a str,
    },
    /// It was given up for another.
    Superseded,
}

impl BatchOutcome<'_> {
    /// The word of CONTRACT.md, for the span and for `grasp_sync_batches_total`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Failed { .. } => "failed",
            Self::Superseded => "superseded",
        }
    }
}

/// What is known of a batch when it ends.
#[derive(Debug, Clone, Copy)]
pub struct BatchEnd<'a> {
    /// All strategies that carried it, joined by commas.
    pub strategy: &'a str,
    /// Ids that the relay has and we lacked.
    pub needed: u64,
    /// Events that came.
    pub received: u64,
    /// Events that were stored.
    pub stored: u64,
    /// Events that were kept out.
    pub rejected: u64,
    /// Bytes of frames sent.
    pub bytes_up: u64,
    /// Bytes of frames received.
    pub bytes_down: u64,
    /// What it ended as.
    pub outcome: BatchOutcome<'a>,
}

/// The open root span of a batch.
#[derive(Debug)]
pub struct BatchSpan {
    span: Span,
    awaited: bool,
    ended: bool,
}

/// What a batch needs to point at another span. Outlives that span.
#[derive(Debug, Clone)]
pub struct SpanLink(SpanContext);

impl BatchSpan {
    /// Opens the root span of a batch.
    pub fn start(batch: BatchStart<'_>) -> Self {
        let span = error_span!(
            target: TARGET,
            parent: None,
            name::BATCH,
            { field::RELAY_URL } = batch.relay,
            { field::BATCH_ID } = count(batch.id),
            { field::BATCH_REASON } = batch.reason,
            { field::BATCH_LAYER } = batch.layer,
            { field::BATCH_FILTERS } = count(batch.filters),
            { field::BATCH_REPOS } = count(batch.repos),
            { field::BATCH_ROOT_EVENTS } = count(batch.root_events),
            { field::SYNC_STRATEGY } = Empty,
            { field::EVENTS_NEEDED } = Empty,
            { field::EVENTS_RECEIVED } = Empty,
            { field::EVENTS_STORED } = Empty,
            { field::EVENTS_REJECTED } = Empty,
            { field::BYTES_UP } = Empty,
            { field::BYTES_DOWN } = Empty,
            { field::OUTCOME } = Empty,
            { field::SPANS_LEFT_OUT } = Empty,
            { field::TRACE_ID } = Empty,
        );
        for (word, link) in [("caused_by", batch.caused_by), ("connection", batch.connection)] {
            if let Some(SpanLink(to)) = link.filter(|SpanLink(to)| to.is_valid()) {
                span.add_link_with_attributes(to.clone(), vec![KeyValue::new(field::LINK, word)]);
            }
        }
        let open = Self { span, awaited: batch.awaited, ended: false };
        let SpanLink(context) = open.link();
        // Where no traces are made, the lines of a batch still belong together.
        let trace = if context.is_valid() { context.trace_id() } else { RandomIdGenerator::default().new_trace_id() };
        open.span.record(field::TRACE_ID, trace.to_string().as_str());
        open
    }

    /// The span itself, to open others within or to be entered while working on the batch.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// What batches that this one gives rise to point back with.
    pub fn link(&self) -> SpanLink {
        SpanLink(self.span.context().span().span_context().clone())
    }

    /// Whether its trace is exported: whether spans below it are worth making.
    pub fn is_recorded(&self) -> bool {
        self.span.context().span().is_recording()
    }

    /// Opens the span of a session of this batch.
    pub fn session(&self, strategy: &str, filter: &str, window: &str) -> SessionSpan {
        let span = error_span!(
            target: TARGET,
            parent: &self.span,
            name::SESSION,
            { field::STRATEGY_NAME } = strategy,
            { field::FILTER } = filter,
            { field::WINDOW } = window,
            { field::ROUNDS } = Empty,
            { field::OUTCOME } = Empty,
        );
        let context = span.context().span().span_context().clone();
        SessionSpan { span, context, rounds: 0, ended: false }
    }

    /// A session passed from one strategy to the next: an event of the batch. `to` is empty where none was left.
    pub fn fell_back(&self, from: &str, to: &str, reason: &str) {
        let told = [(field::FROM, from), (field::TO, to), (field::REASON, reason)];
        let told = told.into_iter().map(|(key, value)| KeyValue::new(key, value.to_owned())).collect();
        self.span.add_event(name::FALLBACK, told);
        self.span.in_scope(|| debug!(target: TARGET, from, to, reason, "fallback"));
    }

    /// So many spans of it were not made.
    pub fn left_out(&self, spans: u64) {
        self.span.record(field::SPANS_LEFT_OUT, count(spans));
    }

    /// Records how the batch ended, and closes its span.
    pub fn end(mut self, end: BatchEnd<'_>) {
        self.span.record(field::SYNC_STRATEGY, end.strategy);
        self.span.record(field::EVENTS_NEEDED, count(end.needed));
        self.span.record(field::EVENTS_RECEIVED, count(end.received));
        self.span.record(field::EVENTS_STORED, count(end.stored));
        self.span.record(field::EVENTS_REJECTED, count(end.rejected));
        self.span.record(field::BYTES_UP, count(end.bytes_up));
        self.span.record(field::BYTES_DOWN, count(end.bytes_down));
        self.close(end.outcome);
    }

    fn close(&mut self, outcome: BatchOutcome<'_>) {
        self.ended = true;
        self.span.record(field::OUTCOME, outcome.as_str());
        if let BatchOutcome::Failed { reason } = outcome {
            self.span.set_status(Status::error(reason.to_owned()));
            self.span.in_scope(|| match self.awaited {
                true => debug!(target: TARGET, reason, "batch ended"),
                false => info!(target: TARGET, reason, "batch ended"),
            });
        } else {
            self.span.in_scope(|| debug!(target: TARGET, "batch ended"));
        }
        // Not when the last handle goes: log lines of what is still under way may hold one.
        self.span.context().span().end();
    }
}

impl Drop for BatchSpan {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if std::thread::panicking() {
            self.close(BatchOutcome::Failed { reason: PANICKED });
        } else {
            self.close(BatchOutcome::Superseded);
        }
    }
}

/// Why a batch failed whose task panicked.
const PANICKED: &str = "the connection's task panicked";
/// How a session ended that was not told how.
const CUT_OFF: &str = "cut off";

/// The open span of a session; dropped without an end, it was cut off by what failed its batch.
#[derive(Debug)]
pub struct SessionSpan {
    span: Span,
    context: SpanContext,
    /// Those that have begun.
    rounds: u64,
    ended: bool,
}

impl SessionSpan {
    /// The span itself, to be entered while working on the session.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// What spans below it need, which may begin after its end.
    pub fn link(&self) -> SpanLink {
        SpanLink(self.context.clone())
    }

    /// A round or a page begins.
    pub fn round(&mut self) {
        self.rounds += 1;
    }

    /// Records how the session ended, and closes its span. `outcome`: `complete`, or the reason, which is the span's status
    /// where `failed`.
    pub fn end(mut self, rounds: u64, outcome: &str, failed: bool) {
        self.rounds = rounds;
        self.close(outcome, failed);
    }

    /// Its batch was given up: it is cut off, and nothing failed.
    pub fn give_up(mut self) {
        self.close(CUT_OFF, false);
    }

    fn close(&mut self, outcome: &str, failed: bool) {
        self.ended = true;
        self.span.record(field::ROUNDS, count(self.rounds));
        self.span.record(field::OUTCOME, outcome);
        if failed {
            self.span.set_status(Status::error(outcome.to_owned()));
        }
        // Within it, and so within its batch: a line that only names it as its parent shows no more than that.
        self.span.in_scope(|| debug!(target: TARGET, "session ended"));
        self.span.context().span().end();
    }
}

impl Drop for SessionSpan {
    fn drop(&mut self) {
        if !self.ended {
            self.close(CUT_OFF, true);
        }
    }
}

/// A count as traces have it: they know no unsigned numbers.
fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
