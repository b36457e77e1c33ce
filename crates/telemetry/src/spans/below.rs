//! What lies below a session, and connections: spans of a trace without log lines, made directly.
//!
//! There are many of them, so that what they cost matters: nothing where the batch isn't recorded, and no lock or
//! look-up otherwise. None stands for a single event.

use opentelemetry::trace::{Span as _, SpanBuilder, Status, TraceContextExt, Tracer as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use super::names::{field, name};
use super::{SpanLink, count};

/// Makes the spans of this module. The default makes none.
#[derive(Debug, Clone, Default)]
pub struct Tracer(Option<SdkTracer>);

impl Tracer {
    pub(crate) fn new(tracer: Option<SdkTracer>) -> Self {
        Self(tracer)
    }

    fn start(&self, name: &'static str, parent: Option<&SpanLink>, attributes: Vec<KeyValue>) -> Option<Span> {
        let tracer = self.0.as_ref()?;
        // Not the present context, which may be anything.
        let context = match parent {
            Some(SpanLink(parent)) => Context::new().with_remote_span_context(parent.clone()),
            None => Context::new(),
        };
        Some(tracer.build_with_context(SpanBuilder::from_name(name).with_attributes(attributes), &context))
    }
}

/// The open span of a connection: a trace of its own, so that a batch's trace stays one batch.
#[derive(Debug)]
pub struct ConnectionSpan(Option<Span>);

impl ConnectionSpan {
    /// Opens it.
    pub fn start(tracer: &Tracer, relay: &str) -> Self {
        Self(tracer.start(name::CONNECTION, None, vec![KeyValue::new(field::RELAY_URL, relay.to_owned())]))
    }

    /// What batches on the connection point at; `None` where it isn't exported.
    pub fn link(&self) -> Option<SpanLink> {
        let context = self.0.as_ref()?.span_context();
        context.is_sampled().then(|| SpanLink(context.clone()))
    }

    /// Closes it. `fault`: what ended it, where it wasn't us.
    pub fn end(self, batches: u64, fault: Option<&str>) {
        let Some(mut span) = self.0 else { return };
        span.set_attribute(KeyValue::new(field::BATCHES, count(batches)));
        if let Some(fault) = fault {
            span.set_status(Status::error(fault.to_owned()));
        }
        span.end();
    }
}

/// What a session asks a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Question {
    /// A message of a reconciliation.
    Round,
    /// A REQ with a filter.
    Page,
    /// A REQ for so many ids.
    Fetch {
        /// How many.
        ids: u64,
    },
}

/// How a question ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer<'a> {
    /// With the end that belongs to it.
    Whole,
    /// The relay refused, or broke off, in these words; or it said nothing.
    Broken(&'a str),
    /// It was taken back: by the strategy, or with its session.
    TakenBack,
}

/// The open span of a question: `negentropy.round`, `req.page` or `events.fetch`.
#[derive(Debug)]
pub struct QuestionSpan(Option<Span>);

impl QuestionSpan {
    /// Opens it, below a session, which may have ended.
    pub fn start(tracer: &Tracer, session: &SpanLink, question: Question) -> Self {
        let (name, attributes) = match question {
            Question::Round => (name::ROUND, Vec::new()),
            Question::Page => (name::PAGE, Vec::new()),
            Question::Fetch { ids } => (name::FETCH, vec![KeyValue::new(field::EVENTS_ASKED, count(ids))]),
        };
        Self(tracer.start(name, Some(session), attributes))
    }

    /// Closes it. `received`: events that came by it.
    pub fn end(self, received: u64, answer: Answer<'_>) {
        let Some(mut span) = self.0 else { return };
        span.set_attribute(KeyValue::new(field::EVENTS_RECEIVED, count(received)));
        match answer {
            Answer::Whole => {}
            Answer::Broken(text) => span.set_status(Status::error(text.to_owned())),
            Answer::TakenBack => span.set_attribute(KeyValue::new(field::OUTCOME, "taken back")),
        }
        span.end();
    }
}

/// What became of the events that one question brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ingested {
    /// All of them.
    pub received: u64,
    /// In the store because of it.
    pub stored: u64,
    /// Known already.
    pub duplicate: u64,
    /// Kept out.
    pub rejected: u64,
    /// Bytes of JSON.
    pub bytes: u64,
}

/// The span `events.ingest`: from the first event of a question on its way to the checks to the last one's fate.
#[derive(Debug)]
pub struct IngestSpan(Option<Span>);

impl IngestSpan {
    /// Opens it, below a session, which may have ended.
    pub fn start(tracer: &Tracer, session: &SpanLink) -> Self {
        Self(tracer.start(name::INGEST, Some(session), Vec::new()))
    }

    /// Closes it.
    pub fn end(self, ingested: Ingested) {
        let Some(mut span) = self.0 else { return };
        for (key, number) in [
            (field::EVENTS_RECEIVED, ingested.received),
            (field::EVENTS_STORED, ingested.stored),
            (field::EVENTS_DUPLICATE, ingested.duplicate),
            (field::EVENTS_REJECTED, ingested.rejected),
            (field::BYTES_DOWN, ingested.bytes),
        ] {
            span.set_attribute(KeyValue::new(key, count(number)));
        }
        span.end();
    }
}
