//! Where ended spans wait to be exported. Whoever ends a span puts it here and goes on; without room it is dropped and
//! counted.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::metrics::{Metrics, SpanLoss};

/// The side that spans are put in on.
#[derive(Debug)]
pub(super) struct Queue {
    spans: mpsc::Sender<SpanData>,
    metrics: Metrics,
}

impl Queue {
    /// A queue of `max` spans, and its other end.
    pub(super) fn new(max: usize, metrics: Metrics) -> (Self, mpsc::Receiver<SpanData>) {
        let (spans, waiting) = mpsc::channel(max.max(1));
        (Self { spans, metrics }, waiting)
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    /// Says nothing where a span is dropped: it is called while locks of the subscriber are held. The worker does.
    fn on_end(&self, span: SpanData) {
        match self.spans.try_send(span) {
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
