//! The thread that exports: takes what waits, sends it, and says once for each cause why it can't.
//!
//! It has a runtime of its own, since the program's may have ended by the time of the last request.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::watch;

use super::client::{Told, Undelivered};
use super::queue::Waiting;
use crate::metrics::{Metrics, SpanLoss};

/// What of the time for the end is left to report it, at most.
const MARGIN: Duration = Duration::from_millis(50);

/// What a worker works with.
pub(super) struct Work {
    pub(super) exporter: SpanExporter,
    pub(super) told: Told,
    pub(super) waiting: Waiting,
    pub(super) metrics: Metrics,
    /// As it may be shown.
    pub(super) endpoint: String,
    pub(super) timeout: Duration,
    pub(super) max_batch: usize,
    pub(super) delay: Duration,
}

/// Ends the thread.
#[derive(Debug)]
pub(super) struct Handle {
    stop: watch::Sender<Option<Instant>>,
    ended: std::sync::mpsc::Receiver<()>,
}

impl Handle {
    /// Sends what waits, until `deadline`; a thread that is stuck is left behind then.
    pub(super) fn finish(self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        self.stop.send_replace(Some(deadline - MARGIN.min(left / 10)));
        if self.ended.recv_timeout(left) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("the export of traces doesn't end; it is left behind");
        }
    }
}

/// The thread's state.
pub(super) struct Worker {
    work: Work,
    stop: watch::Receiver<Option<Instant>>,
    /// Causes that were warned of, with the status of an answer: each once in the life of the process.
    warned: BTreeSet<(&'static str, u16)>,
    /// A warning was given, and nothing was delivered since.
    failing: bool,
    /// Spans for which there was no room, at the last look.
    overflown: u64,
}

impl Worker {
    /// # Errors
    /// The system gives no thread, or nothing to wait with.
    pub(super) fn start(work: Work) -> std::io::Result<Handle> {
        let (stop, stopped) = watch::channel(None);
        let (last_word, ended) = std::sync::mpsc::sync_channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let worker = Self { work, stop: stopped, warned: BTreeSet::new(), failing: false, overflown: 0 };
        std::thread::Builder::new().name("traces".to_owned()).spawn(move || {
            runtime.block_on(worker.run());
            // A look-up of a name that hangs must not hold up the end.
            runtime.shutdown_background();
            // Nobody waits where the process ends without an end of the export.
            let _ = last_word.send(());
        })?;
        Ok(Handle { stop, ended })
    }

    async fn run(mut self) {
        let mut batch = Vec::with_capacity(self.work.max_batch);
        while self.gather(&mut batch).await {
            self.export(&mut batch).await;
            self.look_for_overflow();
        }
        // The end: what waits goes out while there is time.
        loop {
            self.work.waiting.take(&mut batch, self.work.max_batch);
            if batch.is_empty() {
                break;
            }
            self.export(&mut batch).await;
        }
        self.look_for_overflow();
    }

    /// Waits for spans until there are enough, or the first has waited long enough. `false` once it is to end; then there may
    /// be some all the same.
    async fn gather(&mut self, batch: &mut Vec<SpanData>) -> bool {
        let mut due = None;
        while batch.len() < self.work.max_batch {
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return false,
                () = until(due), if due.is_some() => break,
                came = self.work.waiting.wait(batch, self.work.max_batch) => {
                    if !came {
                        return false;
                    }
                    due.get_or_insert_with(|| tokio::time::Instant::now() + self.work.delay);
                }
            }
        }
        true
    }

    async fn export(&mut self, batch: &mut Vec<SpanData>) {
        let spans = batch.len() as u64;
        let request = self.work.exporter.export(std::mem::take(batch));
        let result = match in_time(&mut self.stop, request).await {
            Some(result) => result,
            None => {
                return self.lost(SpanLoss::Stopped, 0, spans, "the process ends before the collector has answered");
            }
        };
        let told = self.work.told.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (result, told) {
            (Ok(()), None) => self.delivered(spans),
            (Ok(()), Some(Undelivered::InPart { spans: rejected, text })) => {
                self.delivered(spans.saturating_sub(rejected));
                self.lost(SpanLoss::Rejected, 0, rejected.min(spans), &text);
            }
            (_, Some(Undelivered::Unreachable(text))) => self.lost(SpanLoss::Unreachable, 0, spans, &text),
            (_, Some(Undelivered::Late)) => {
                let text = format!("no answer within {:?}", self.work.timeout);
                self.lost(SpanLoss::Timeout, 0, spans, &text);
            }
            (_, Some(Undelivered::Refused { status, text })) => {
                self.lost(SpanLoss::Refused, status, spans, &format!("status {status}: {text}"));
            }
            (Err(error), _) => self.lost(SpanLoss::Refused, 0, spans, &text_of(&error)),
        }
    }

    fn delivered(&mut self, spans: u64) {
        self.work.metrics.spans_exported(spans);
        if std::mem::take(&mut self.failing) {
            tracing::info!(endpoint = %self.work.endpoint, "traces are exported again");
        }
    }

    /// Counts spans that are lost, and warns where that is a new cause.
    fn lost(&mut self, why: SpanLoss, status: u16, spans: u64, text: &str) {
        self.work.metrics.spans_dropped(why, spans);
        if self.warned.insert((why.as_str(), status)) {
            self.failing |= !matches!(why, SpanLoss::Rejected);
            tracing::warn!(
                endpoint = %self.work.endpoint,
                cause = why.as_str(),
                spans,
                reason = text,
                "traces are lost; later losses for this cause are counted in grasp_sync_spans_dropped_total and not said"
            );
        } else {
            tracing::debug!(endpoint = %self.work.endpoint, cause = why.as_str(), spans, reason = text, "traces are lost");
        }
    }

    /// Spans that found no room were counted where that happened; here it is said.
    fn look_for_overflow(&mut self) {
        let overflown = self.work.metrics.spans_overflown();
        let more = overflown.saturating_sub(std::mem::replace(&mut self.overflown, overflown));
        if more > 0 && self.warned.insert((SpanLoss::QueueFull.as_str(), 0)) {
            tracing::warn!(
                endpoint = %self.work.endpoint,
                cause = SpanLoss::QueueFull.as_str(),
                spans = more,
                "traces are lost: the collector is slower than spans are made; OTEL_BSP_MAX_QUEUE_SIZE gives them more room"
            );
        }
    }
}

/// Comes when the worker is to end, or nobody is left to say so.
async fn stopped(stop: &mut watch::Receiver<Option<Instant>>) {
    // An error: the handle is gone, and with it whoever could ask.
    let _ = stop.wait_for(Option::is_some).await;
}

/// What comes of `work`; `None` where the time for the end is over first.
async fn in_time<T>(stop: &mut watch::Receiver<Option<Instant>>, work: impl Future<Output = T>) -> Option<T> {
    let over = async {
        stopped(stop).await;
        let deadline = *stop.borrow();
        if let Some(deadline) = deadline {
            tokio::time::sleep_until(deadline.into()).await;
        }
    };
    tokio::select! {
        biased;
        result = work => Some(result),
        () = over => None,
    }
}

async fn until(due: Option<tokio::time::Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due).await;
    }
}

fn text_of(error: &OTelSdkError) -> String {
    match error {
        OTelSdkError::InternalFailure(text) => text.clone(),
        other => other.to_string(),
    }
}
