//! Batches on a link: how they begin, and are given up.

use nostr::event::EventId;
use nostr::filter::Filter;

use super::machine::RelayLink;
use super::memory::Scope;
use super::part::{Carried, Known, Part};
use crate::model::{BatchId, BatchRequest, Layer};
use crate::store::LocalSets;
use crate::strategy::Window;
use crate::time::Now;

impl RelayLink {
    pub(super) fn begin(&mut self, mut request: BatchRequest, local: &dyn LocalSets, now: Now) {
        if request.layer == Layer::Wanted {
            pass_over_known(&mut request.filters, local);
        }
        let strategies = &self.config.strategies;
        let mut order: Vec<usize> = (0..strategies.len()).collect();
        if request.reads && strategies.iter().any(|strategy| !strategy.descriptor().compares_sets) {
            order.retain(|at| !strategies[*at].descriptor().compares_sets);
        }
        let scope = Scope { up: self.config.direction.up(), free: request.layer == Layer::Free };
        let resumes = request.run_since.filter(|_| !self.config.dry_run);
        if let Some(since) = resumes {
            self.memory.begin_run(since, now.unix_s);
        }
        // Fixed here: a verification round needs a span that stands still. Later events would be refused in any case.
        let last = now.unix_s.saturating_add(self.config.max_future_s);
        let mut parts = Vec::with_capacity(request.filters.len());
        for filter in &request.filters {
            let window = Window {
                since: filter.since.map_or(0, |since| since.as_secs()),
                until: filter.until.map_or(last, |until| until.as_secs().min(last)),
            };
            let mut plain = filter.clone();
            (plain.since, plain.until, plain.limit) = (None, None, None);
            let cut = match resumes {
                Some(_) => self.memory.covered(&plain, scope),
                None => vec![(plain, Vec::new())],
            };
            parts.extend(cut.into_iter().map(|(filter, covered)| {
                let (dense, shares_drained) = match resumes {
                    Some(_) => self.memory.dense_seconds(&filter, scope),
                    None => Default::default(),
                };
                let share = |share: &Filter, second| self.memory.share(share, scope, second);
                Part::new(filter, window, Known { covered, dense, shares_drained, share: &share })
            }));
        }
        self.batches.insert(request.id, Carried::new(request, parts, order, now.unix_s));
    }

    pub(super) fn drop_batch(&mut self, batch: BatchId, local: &dyn LocalSets) {
        let sessions: Vec<u64> =
            self.sessions.iter().filter(|(_, running)| running.at.batch == batch).map(|(id, _)| *id).collect();
        for session in sessions {
            self.end_session(session);
        }
        let fetches: Vec<u64> =
            self.fetches.iter().filter(|(_, fetch)| fetch.at.batch == batch).map(|(id, _)| *id).collect();
        for fetch in fetches {
            if let Some(fetch) = self.fetches.remove(&fetch) {
                self.close_sub(&fetch.wire);
                self.release(fetch.open.keys().copied(), local);
            }
        }
        let probes: Vec<u64> =
            self.probes.iter().filter(|(_, probe)| probe.at.batch == batch).map(|(id, _)| *id).collect();
        for probe in probes {
            if let Some(probe) = self.probes.remove(&probe) {
                self.close_sub(&probe.wire);
            }
        }
        self.uploads.retain(|_, upload| upload.at.batch != batch);
        self.batches.remove(&batch);
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
