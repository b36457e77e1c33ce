//! Where ended spans wait to be exported. Whoever ends a span puts it here and goes on; without room it is dropped and
//! counted.
//!
//! Roots of batches wait by themselves and go first: one ends last, when a slow collector's queue is full of what lies below
//! it, and says more than any of that.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::metrics::{Metrics, SpanLoss};
use crate::spans::names::name;

/// The part of the queue that is the roots' alone; they may take room of the rest, too.
const PART_OF_ROOTS: usize = 8;

/// The side that spans are put in on.
#[derive(Debug)]
pub(super) struct Queue {
    roots: mpsc::Sender<SpanData>,
    others: mpsc::Sender<SpanData>,
    metrics: Metrics,
}

/// The side that they are taken out on.
#[derive(Debug)]
pub(super) struct Waiting {
    roots: mpsc::Receiver<SpanData>,
    others: mpsc::Receiver<SpanData>,
}

impl Queue {
    /// A queue of `max` spans, two at least, and its other end.
    pub(super) fn new(max: usize, metrics: Metrics) -> (Self, Waiting) {
        let for_roots = (max / PART_OF_ROOTS).max(1);
        let (roots, roots_waiting) = mpsc::channel(for_roots);
        let (others, others_waiting) = mpsc::channel(max.saturating_sub(for_roots).max(1));
        (Self { roots, others, metrics }, Waiting { roots: roots_waiting, others: others_waiting })
    }
}

impl Waiting {
    /// Waits for spans and adds them to `batch`, up to `max` in all. `false` where nobody is left to end any; there may be
    /// some for [`Waiting::take`] then.
    pub(super) async fn wait(&mut self, batch: &mut Vec<SpanData>, max: usize) -> bool {
        let first = tokio::select! {
            biased;
            span = self.roots.recv() => span,
            span = self.others.recv() => span,
        };
        let Some(first) = first else { return false };
        batch.push(first);
        self.take(batch, max);
        true
    }

    /// Adds what waits by now to `batch`, up to `max` in all.
    pub(super) fn take(&mut self, batch: &mut Vec<SpanData>, max: usize) {
        while batch.len() < max
            && let Some(span) = self.roots.try_recv().or_else(|_| self.others.try_recv()).ok()
        {
            batch.push(span);
        }
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    /// Says nothing where a span is dropped: it is called while locks of the subscriber are held. The worker does.
    fn on_end(&self, span: SpanData) {
        let sent = if span.name == name::BATCH {
            match self.roots.try_send(span) {
                Err(TrySendError::Full(span)) => self.others.try_send(span),
                sent => sent,
            }
        } else {
            self.others.try_send(span)
        };
        match sent {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.metrics.spans_dropped(SpanLoss::QueueFull, 1),
            Err(TrySendError::Closed(_)) => self.metrics.spans_dropped(SpanLoss::Stopped, 1),
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    /// The worker's handle ends the export, with a time limit of its own.
    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Span as _, TraceContextExt, Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    #[test]
    fn a_root_finds_room_behind_all_that_lies_below_it_and_goes_first() {
        let metrics = Metrics::new();
        let (queue, mut waiting) = Queue::new(16, metrics.clone());
        let provider = SdkTracerProvider::builder().with_span_processor(queue).build();
        let tracer = provider.tracer("test");
        let mut root = tracer.start(name::BATCH);
        let within = Context::new().with_remote_span_context(root.span_context().clone());
        for _ in 0..100 {
            tracer.start_with_context("below", &within).end();
        }
        root.end();
        assert_eq!(metrics.spans_overflown(), 100 - 14);
        let mut batch = Vec::new();
        waiting.take(&mut batch, 4);
        let names: Vec<_> = batch.iter().map(|span| span.name.as_ref()).collect();
        assert_eq!(names, [name::BATCH, "below", "below", "below"]);
        waiting.take(&mut batch, 100);
        assert_eq!(batch.len(), 1 + 14);
    }
}
