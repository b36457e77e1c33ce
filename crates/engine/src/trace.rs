//! A batch's spans, filled from what the link tells of it.

use std::collections::HashMap;
use std::time::Instant;

use sync_core::link::LinkNotice;
use sync_core::model::{BatchId, BatchOutcome, BatchReport, BatchRequest, RelayUrl, SyncMethod};
use telemetry::metrics::Metrics;
use telemetry::spans::{self, BatchEnd, BatchLink, BatchSpan, BatchStart, SessionSpan};

/// Batches whose span a later one may point back at.
const MAX_LINKS: usize = 64;

struct Traced {
    span: BatchSpan,
    reason: &'static str,
    started: Instant,
    /// The strategies of its sessions so far, in the order in which they came.
    strategies: Vec<String>,
    sessions: HashMap<u64, SessionSpan>,
}

/// The open spans of one connection.
#[derive(Default)]
pub(crate) struct Traces {
    open: HashMap<BatchId, Traced>,
    links: Vec<(BatchId, BatchLink)>,
}

impl Traces {
    pub(crate) fn begin(&mut self, relay: &RelayUrl, request: &BatchRequest) {
        let cause = request.caused_by.and_then(|cause| self.links.iter().find(|(id, _)| *id == cause));
        let span = BatchSpan::start(BatchStart {
            relay: relay.as_str(),
            id: request.id,
            reason: request.reason.as_str(),
            layer: request.layer.as_str(),
            filters: request.filters.len() as u64,
            repos: request.items.repos.len() as u64,
            root_events: request.items.root_events.len() as u64,
            caused_by: cause.map(|(_, link)| link),
        });
        if self.links.len() == MAX_LINKS {
            self.links.remove(0);
        }
        self.links.push((request.id, span.link()));
        let traced = Traced {
            span,
            reason: request.reason.as_str(),
            started: Instant::now(),
            strategies: Vec::new(),
            sessions: HashMap::new(),
        };
        self.open.insert(request.id, traced);
    }

    /// The batch was given up; its span says so as it closes.
    pub(crate) fn superseded(&mut self, batch: BatchId, metrics: &Metrics) {
        if let Some(traced) = self.open.remove(&batch) {
            metrics.batch_superseded(&traced.strategies.join(","), traced.reason);
        }
    }

    pub(crate) fn end(&mut self, report: &BatchReport, metrics: &Metrics) {
        let Some(Traced { span, reason, started, sessions, .. }) = self.open.remove(&report.id) else { return };
        for session in sessions.into_values() {
            session.end(0, "cut off");
        }
        let strategy = report.methods.iter().map(SyncMethod::as_str).collect::<Vec<_>>().join(",");
        let failures = match &report.outcome {
            BatchOutcome::Failed(failures) => failures.iter().map(|failure| failure.text.as_str()).collect(),
            BatchOutcome::Confirmed => Vec::new(),
        }
        .join("; ");
        let outcome = match &report.outcome {
            BatchOutcome::Confirmed => spans::BatchOutcome::Confirmed,
            BatchOutcome::Failed(_) => spans::BatchOutcome::Failed { reason: &failures },
        };
        let counts = &report.counts;
        metrics.batch_done(&strategy, reason, outcome.as_str(), started.elapsed());
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
                if let Some(traced) = self.open.get_mut(batch) {
                    if !traced.strategies.contains(strategy) {
                        traced.strategies.push(strategy.clone());
                    }
                    let window = format!("{}..={}", window.since, window.until);
                    traced.sessions.insert(*session, traced.span.session(strategy, filter, &window));
                }
            }
            LinkNotice::SessionEnded { batch, session, rounds, outcome } => {
                if let Some(session) = self.open.get_mut(batch).and_then(|traced| traced.sessions.remove(session)) {
                    session.end(*rounds, outcome);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use sync_core::model::{BatchReason, Layer, PendingItems};
    use sync_core::strategy::Window;

    use super::*;

    #[test]
    fn a_batch_that_is_given_up_is_counted_once_with_the_strategies_that_carried_it() {
        let (mut traces, metrics) = (Traces::default(), Metrics::new());
        let relay = RelayUrl::parse("wss://relay.example.com").expect("valid");
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
        for (session, strategy) in [(1, "negentropy"), (2, "req"), (3, "negentropy")] {
            traces.observe(&LinkNotice::SessionStarted {
                batch: request.id,
                session,
                strategy: strategy.to_owned(),
                filter: String::new(),
                window: Window::ALL,
            });
        }
        traces.superseded(request.id, &metrics);
        traces.superseded(request.id, &metrics);
        let text = metrics.encode().expect("encodes");
        let labels = r#"{strategy="negentropy,req",reason="daily_sync",outcome="superseded"}"#;
        assert!(text.contains(&format!("grasp_sync_batches_total{labels} 1\n")), "{text}");
    }
}
