//! How far the batches in flight have come, for the operator: nothing is decided by it.

use super::RelayLife;
use crate::manager::BatchProgress;
use crate::model::{BatchId, FilterCoverage, PendingBatch};
use crate::time::Now;

/// What is known of a batch in flight beside what it is to confirm.
#[derive(Debug)]
pub(super) struct Underway {
    since: u64,
    filters: u64,
    strategy: String,
    sessions: u64,
    pub(super) coverage: Vec<FilterCoverage>,
}

impl Underway {
    /// A batch of so many filters, which begins.
    pub(super) fn new(filters: usize, now: Now) -> Self {
        let (strategy, coverage) = (String::new(), Vec::new());
        Self { since: now.unix_s, filters: filters as u64, strategy, sessions: 0, coverage }
    }

    /// A session of it began.
    pub(super) fn session_began(&mut self, strategy: String) {
        self.strategy = strategy;
    }

    /// A session of it ended.
    pub(super) fn session_ended(&mut self) {
        self.sessions = self.sessions.saturating_add(1);
    }
}

impl RelayLife {
    /// How far the batches in flight have come.
    pub fn progress_of_batches(&self) -> impl Iterator<Item = BatchProgress> + '_ {
        self.in_flight.iter().filter_map(|(id, batch)| Some(self.progress_of(self.underway.get(id)?, *id, batch)))
    }

    fn progress_of(&self, underway: &Underway, id: BatchId, batch: &PendingBatch) -> BatchProgress {
        let whole = underway.coverage.iter().filter(|filter| filter.open.is_empty()).count();
        let windows = |of: fn(&FilterCoverage) -> usize| underway.coverage.iter().map(of).sum::<usize>() as u64;
        BatchProgress {
            relay: self.url.clone(),
            id,
            reason: batch.reason.as_str().to_owned(),
            layer: batch.layer.as_str().to_owned(),
            strategy: underway.strategy.clone(),
            since: underway.since,
            tries: batch.retry_count,
            filters: underway.filters,
            filters_drained: (whole as u64).min(underway.filters),
            windows_drained: windows(|filter| filter.drained.len()),
            windows_open: windows(|filter| filter.open.len()),
            sessions: underway.sessions,
            repos: batch.items.repos.len() as u64,
            root_events: batch.items.root_events.len() as u64,
        }
    }
}
