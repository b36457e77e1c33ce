//! Batches on a link: how they begin, are given up, and end.

use nostr::event::EventId;
use nostr::filter::Filter;

use super::LinkOutput;
use super::machine::RelayLink;
use super::part::{Carried, Stage};
use crate::model::{BatchId, BatchOutcome, BatchReport, BatchRequest, FailureReason, Layer};
use crate::store::LocalSets;
use crate::time::Now;

impl RelayLink {
    pub(super) fn begin(&mut self, mut request: BatchRequest, local: &dyn LocalSets, now: Now) {
        if request.layer == Layer::Wanted {
            pass_over_known(&mut request.filters, local);
        }
        let strategies = &self.config.strategies;
        let named = request.strategies.iter().flatten();
        let mut order: Vec<usize> = named
            .filter_map(|name| strategies.iter().position(|strategy| strategy.descriptor().name == *name))
            .collect();
        if order.is_empty() {
            // Nothing was asked for, or nothing of it is configured here.
            order = (0..strategies.len()).collect();
        }
        self.batches.insert(request.id, Carried::new(request, order, now.unix_s, self.config.max_future_s));
    }

    pub(super) fn drop_batch(&mut self, batch: BatchId) {
        let sessions: Vec<u64> =
            self.sessions.iter().filter(|(_, running)| running.batch == batch).map(|(id, _)| *id).collect();
        for session in sessions {
            self.end_session(session);
        }
        let fetches: Vec<u64> =
            self.fetches.iter().filter(|(_, fetch)| fetch.batch == batch).map(|(id, _)| *id).collect();
        for fetch in fetches {
            if let Some(fetch) = self.fetches.remove(&fetch) {
                self.close_sub(&fetch.wire);
            }
        }
        self.uploads.retain(|_, upload| upload.batch != batch);
        self.batches.remove(&batch);
    }

    /// Ends parts whose work is done, and batches whose parts have ended.
    pub(super) fn conclude(&mut self) {
        let (mut done, mut moved) = (Vec::new(), false);
        for (id, carried) in &mut self.batches {
            for part in &mut carried.parts {
                if part.stage == Stage::Settling && part.is_settled() {
                    let compares = carried
                        .order
                        .get(part.strategy)
                        .is_some_and(|at| self.config.strategies[*at].descriptor().compares_sets);
                    let fetched = self.config.direction.down() && !self.config.dry_run && part.fresh_needs > 0;
                    if compares && fetched && part.failures.is_empty() {
                        moved = true;
                        if part.verifications < 2 {
                            part.verifications += 1;
                            part.stage = Stage::Waiting;
                            continue;
                        }
                        let text = format!("the second verification round still found {} new ids", part.fresh_needs);
                        part.fail(FailureReason::Protocol, text);
                    }
                    part.finish();
                }
            }
            if carried.parts.iter().all(|part| part.stage == Stage::Finished) {
                done.push(*id);
            }
        }
        if moved {
            self.touch();
        }
        for id in done {
            if let Some(carried) = self.batches.remove(&id) {
                self.report(carried);
            }
        }
    }

    pub(super) fn report(&mut self, carried: Carried) {
        let badness = carried.badness();
        let Carried { request, parts, methods, counts, fallbacks, .. } = carried;
        let failures: Vec<_> = parts.into_iter().flat_map(|part| part.failures).chain(badness).collect();
        let outcome = if failures.is_empty() { BatchOutcome::Confirmed } else { BatchOutcome::Failed(failures) };
        let report = BatchReport { id: request.id, outcome, methods, counts, fallbacks };
        self.out.push_back(LinkOutput::BatchDone(Box::new(report)));
    }
}

/// Takes out of filters by id what came meanwhile, from wherever. What can't be read is asked for.
fn pass_over_known(filters: &mut Vec<Filter>, local: &dyn LocalSets) {
    for ids in filters.iter_mut().filter_map(|filter| filter.ids.as_mut()) {
        let asked: Vec<EventId> = ids.iter().copied().collect();
        let known = local.known(&asked).unwrap_or_default();
        for (id, _) in asked.iter().zip(known).filter(|(_, known)| known.is_some()) {
            ids.remove(id);
        }
    }
    filters.retain(|filter| filter.ids.as_ref().is_none_or(|ids| !ids.is_empty()));
}
