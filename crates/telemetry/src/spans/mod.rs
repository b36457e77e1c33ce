//! The spans of CONTRACT.md, "Traces": one root per batch, one child per session, with every field in its place.
//!
//! A span exists from the start of what it stands for to its end. What is known only then is declared empty and recorded
//! by `end`, which also writes one DEBUG line in the span's context. A batch that is dropped without an end was superseded.
//! Texts that a relay had a say in are recorded as strings, which the log quotes and escapes.

pub mod names;

use opentelemetry::trace::{SpanContext, Status, TraceContextExt};
use tracing::field::Empty;
use tracing::{Span, debug, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

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
    pub caused_by: Option<&'a BatchLink>,
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
    ended: bool,
}

/// What a later batch needs to point back at the one that gave rise to it. Outlives that one's span.
#[derive(Debug, Clone)]
pub struct BatchLink(SpanContext);

impl BatchSpan {
    /// Opens the root span of a batch.
    pub fn start(batch: BatchStart<'_>) -> Self {
        let span = info_span!(
            target: TARGET,
            parent: None,
            name::BATCH,
            { field::RELAY_URL } = batch.relay,
            { field::BATCH_ID } = batch.id,
            { field::BATCH_REASON } = batch.reason,
            { field::BATCH_LAYER } = batch.layer,
            { field::BATCH_FILTERS } = batch.filters,
            { field::BATCH_REPOS } = batch.repos,
            { field::BATCH_ROOT_EVENTS } = batch.root_events,
            { field::SYNC_STRATEGY } = Empty,
            { field::EVENTS_NEEDED } = Empty,
            { field::EVENTS_RECEIVED } = Empty,
            { field::EVENTS_STORED } = Empty,
            { field::EVENTS_REJECTED } = Empty,
            { field::BYTES_UP } = Empty,
            { field::BYTES_DOWN } = Empty,
            { field::OUTCOME } = Empty,
            { field::TRACE_ID } = Empty,
        );
        if let Some(BatchLink(cause)) = batch.caused_by
            && cause.is_valid()
        {
            span.add_link(cause.clone());
        }
        let open = Self { span, ended: false };
        let BatchLink(context) = open.link();
        if context.is_valid() {
            open.span.record(field::TRACE_ID, context.trace_id().to_string().as_str());
        }
        open
    }

    /// The span itself, to open others within or to be entered while working on the batch.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// What batches that this one gives rise to point back with.
    pub fn link(&self) -> BatchLink {
        BatchLink(self.span.context().span().span_context().clone())
    }

    /// Opens the span of a session of this batch.
    pub fn session(&self, strategy: &str, filter: &str, window: &str) -> SessionSpan {
        SessionSpan(info_span!(
            target: TARGET,
            parent: &self.span,
            name::SESSION,
            { field::STRATEGY_NAME } = strategy,
            { field::FILTER } = filter,
            { field::WINDOW } = window,
            { field::ROUNDS } = Empty,
            { field::OUTCOME } = Empty,
        ))
    }

    /// A session passed from one strategy to the next: an event of the batch. `to` is empty where none was left.
    pub fn fell_back(&self, from: &str, to: &str, reason: &str) {
        debug!(target: TARGET, parent: &self.span, from, to, reason, "fallback");
    }

    /// Records how the batch ended, and closes its span.
    pub fn end(mut self, end: BatchEnd<'_>) {
        self.span.record(field::SYNC_STRATEGY, end.strategy);
        self.span.record(field::EVENTS_NEEDED, end.needed);
        self.span.record(field::EVENTS_RECEIVED, end.received);
        self.span.record(field::EVENTS_STORED, end.stored);
        self.span.record(field::EVENTS_REJECTED, end.rejected);
        self.span.record(field::BYTES_UP, end.bytes_up);
        self.span.record(field::BYTES_DOWN, end.bytes_down);
        self.close(end.outcome);
    }

    fn close(&mut self, outcome: BatchOutcome<'_>) {
        self.ended = true;
        self.span.record(field::OUTCOME, outcome.as_str());
        if let BatchOutcome::Failed { reason } = outcome {
            self.span.set_status(Status::error(reason.to_owned()));
            debug!(target: TARGET, parent: &self.span, reason, "batch ended");
        } else {
            debug!(target: TARGET, parent: &self.span, "batch ended");
        }
    }
}

impl Drop for BatchSpan {
    fn drop(&mut self) {
        if !self.ended {
            self.close(BatchOutcome::Superseded);
        }
    }
}

/// The open span of a session.
#[derive(Debug)]
pub struct SessionSpan(Span);

impl SessionSpan {
    /// The span itself, to open rounds, pages, fetching and ingesting within.
    pub fn span(&self) -> &Span {
        &self.0
    }

    /// Records how the session ended, and closes its span. `outcome`: `complete`, or the reason.
    pub fn end(self, rounds: u64, outcome: &str) {
        self.0.record(field::ROUNDS, rounds);
        self.0.record(field::OUTCOME, outcome);
        debug!(target: TARGET, parent: &self.0, "session ended");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::log::tests::Kept;
    use crate::log::{LogOptions, subscriber};

    const START: BatchStart<'_> = BatchStart {
        relay: "wss://a.b",
        id: 7,
        reason: "new_items",
        layer: "2+3",
        filters: 3,
        repos: 2,
        root_events: 1,
        caused_by: None,
    };

    const END: BatchEnd<'_> = BatchEnd {
        strategy: "negentropy,req",
        needed: 10,
        received: 9,
        stored: 8,
        rejected: 1,
        bytes_up: 100,
        bytes_down: 200,
        outcome: BatchOutcome::Confirmed,
    };

    #[derive(Debug, Clone, Default)]
    struct Exported(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Exported {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().expect("not poisoned").extend(batch);
            Ok(())
        }
    }

    /// What `work` logs at `level`, and what it exports, by name of the span.
    fn observed(level: &str, work: impl FnOnce()) -> (String, Vec<SpanData>) {
        let (kept, exported) = (Kept::default(), Exported::default());
        let provider = SdkTracerProvider::builder().with_simple_exporter(exported.clone()).build();
        let options = LogOptions { filter: Some(level.to_owned()), ..LogOptions::default() };
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = subscriber(&options, kept.clone()).expect("valid").with(layer);
        tracing::subscriber::with_default(subscriber, work);
        let spans = std::mem::take(&mut *exported.0.lock().expect("not poisoned"));
        (kept.text(), spans)
    }

    fn attribute(span: &SpanData, key: &str) -> String {
        let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
        found.map(|attribute| attribute.value.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_batch_is_one_trace_with_every_field_of_the_contract() {
        let (_, spans) = observed("error", || {
            let batch = BatchSpan::start(START);
            batch.session("negentropy", r#"{"kinds":[1]}"#, "all").end(4, "complete");
            batch.end(END);
        });
        let [session, batch] = spans.as_slice() else { panic!("two spans, not {spans:?}") };
        for (key, value) in [
            ("relay.url", "wss://a.b"),
            ("batch.id", "7"),
            ("batch.reason", "new_items"),
            ("batch.layer", "2+3"),
            ("batch.filters", "3"),
            ("batch.repos", "2"),
            ("batch.root_events", "1"),
            ("sync.strategy", "negentropy,req"),
            ("events.needed", "10"),
            ("events.received", "9"),
            ("events.stored", "8"),
            ("events.rejected", "1"),
            ("bytes.up", "100"),
            ("bytes.down", "200"),
            ("outcome", "confirmed"),
        ] {
            assert_eq!(attribute(batch, key), value, "{key}");
        }
        for (key, value) in
            [("strategy.name", "negentropy"), ("filter", r#"{"kinds":[1]}"#), ("window", "all"), ("rounds", "4")]
        {
            assert_eq!(attribute(session, key), value, "{key}");
        }
        assert_eq!((batch.name.as_ref(), session.name.as_ref()), ("sync.batch", "strategy.session"));
        assert_eq!(session.parent_span_id, batch.span_context.span_id());
        assert_eq!(session.span_context.trace_id(), batch.span_context.trace_id());
        assert_eq!(batch.status, Status::Unset);
    }

    #[test]
    fn a_failed_batch_has_the_status_error_and_says_why() {
        let outcome = BatchOutcome::Failed { reason: "12 ids not served" };
        let (log, spans) = observed("debug", || BatchSpan::start(START).end(BatchEnd { outcome, ..END }));
        assert_eq!(spans[0].status, Status::error("12 ids not served"));
        assert_eq!(attribute(&spans[0], "outcome"), "failed");
        assert!(log.contains("12 ids not served"), "{log}");
    }

    #[test]
    fn a_batch_that_is_dropped_was_superseded() {
        let (log, spans) = observed("debug", || drop(BatchSpan::start(START)));
        assert_eq!(attribute(&spans[0], "outcome"), "superseded");
        assert!(log.contains("superseded"), "{log}");
    }

    #[test]
    fn a_batch_links_to_the_one_that_gave_rise_to_it_even_after_that_has_ended() {
        let (_, spans) = observed("error", || {
            let cause = BatchSpan::start(START);
            let link = cause.link();
            cause.end(END);
            BatchSpan::start(BatchStart { id: 8, caused_by: Some(&link), ..START }).end(END);
        });
        let [cause, follower] = spans.as_slice() else { panic!("two spans, not {spans:?}") };
        assert_ne!(cause.span_context.trace_id(), follower.span_context.trace_id());
        let links: Vec<_> = follower.links.iter().map(|link| link.span_context.clone()).collect();
        assert_eq!(links, std::slice::from_ref(&cause.span_context));
    }

    #[test]
    fn the_end_is_one_line_with_the_fields_and_the_trace_id() {
        let (log, spans) = observed("debug", || {
            let batch = BatchSpan::start(START);
            batch.fell_back("negentropy", "req", "unsupported: \x1b[31mno\nsuch thing");
            batch.end(END);
        });
        let lines: Vec<_> = log.lines().collect();
        assert_eq!(lines.len(), 2, "{log}");
        assert!(lines[0].contains("fallback") && lines[0].contains("\"req\""), "{log}");
        let trace_id = spans[0].span_context.trace_id().to_string();
        for part in ["batch ended", "wss://a.b", "events.stored=8", "outcome=\"confirmed\"", trace_id.as_str()] {
            assert!(lines[1].contains(part), "{part}: {log}");
        }
        assert!(!log.contains('\x1b'), "{log}");
        assert_eq!(spans[0].events.events.iter().filter(|event| event.name == "fallback").count(), 1);
    }

    #[test]
    fn without_an_exporter_the_lines_are_the_same_but_for_the_trace_id() {
        let kept = Kept::default();
        let options = LogOptions { filter: Some("sync=debug".to_owned()), ..LogOptions::default() };
        tracing::subscriber::with_default(subscriber(&options, kept.clone()).expect("valid"), || {
            let cause = BatchSpan::start(START);
            BatchSpan::start(BatchStart { caused_by: Some(&cause.link()), ..START }).end(END);
        });
        let log = kept.text();
        assert!(log.contains("events.stored=8") && !log.contains("trace.id"), "{log}");
    }
}
