//! What one relay is asked, what becomes of it, and when its history is complete (SPEC §6, §7, §10).

use std::collections::BTreeSet;
use std::mem::discriminant;

use nostr::event::EventId;
use nostr::filter::Filter;

use super::underway::Underway;
use super::{Env, RelayLife, latest_retry};
use crate::filters::build_announcement_filter;
use crate::link::LinkCommand;
use crate::manager::{Cause, ManagerOutput};
use crate::model::{
    BatchOutcome, BatchReason, BatchReport, BatchRequest, ConnectionStatus, Failure, Layer, PendingBatch, PendingItems,
};
use crate::plan::FailedGroup;
use crate::plan::is_withheld;
use crate::store::FeedSeq;

/// Filters in one batch: each is a session of its own.
pub(crate) const MAX_BATCH_FILTERS: usize = 30;
/// The first wait before what our own store didn't take is asked for again, milliseconds; it doubles.
const LOCAL_RETRY_MS: u64 = 5_000;
/// Batches in flight on one connection. What waits beyond them is kept as items, not as filters.
pub(crate) const MAX_IN_FLIGHT: usize = 4;

impl RelayLife {
    /// A batch ended. A report of a batch that isn't in flight is ignored: it was cancelled, or lost with its connection.
    /// Returns whether other relays may be asked for what this one was.
    pub fn handle_batch_done(&mut self, report: &BatchReport, feed_head: FeedSeq, env: &mut Env<'_>) -> bool {
        if report.is_cut_off() {
            // The connection is gone: `handle_disconnect`, which follows, gives the batch up, and its items are asked for
            // again on the next connection.
            self.events_stored = self.events_stored.saturating_add(report.counts.stored);
            return false;
        }
        let Some(batch) = self.in_flight.remove(&report.id) else { return false };
        self.underway.remove(&report.id);
        let covers = self.covers.remove(&report.id);
        let asked = self.asked.remove(&report.id).unwrap_or_default();
        let passed_on = !asked.is_empty();
        env.wanted.tried(&self.url, asked.iter().copied());
        self.barrier = self.barrier.max(feed_head);
        if env.outbox.oldest_open.is_some() {
            self.awaits = Some(env.outbox.newest);
        }
        self.settled_at = env.now.mono_ms.saturating_add(env.config.settle_ms);
        self.events_stored = self.events_stored.saturating_add(report.counts.stored);
        if !report.methods.is_empty() {
            self.strategy = report.methods.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(",");
        }
        match &report.outcome {
            BatchOutcome::Confirmed => self.confirm(batch, &asked),
            BatchOutcome::Failed(failures) => {
                self.fail(batch, covers.unwrap_or_default(), asked, failures.clone(), env);
            }
        }
        let caught_up = self.catch_up.is_empty() && self.covers.is_empty() && !self.asks_announcements();
        if self.catching_up && caught_up {
            self.catching_up = false;
            self.catch_up_from = None;
            self.head_dirty = true;
        }
        passed_on
    }

    /// Of what is held for an external own relay, this is the lowest number whose answer is waited for, by the time that the
    /// feed had this head. Whether what this relay's batches brought is answered thereby.
    pub fn handle_answered(&mut self, oldest_open: Option<u64>, feed_head: FeedSeq) -> bool {
        let answered = self.awaits.is_some_and(|upto| oldest_open.is_none_or(|oldest| oldest > upto));
        if answered {
            self.awaits = None;
            self.barrier = self.barrier.max(feed_head);
        }
        answered
    }

    /// What is confirmed is what the batch covered and is wanted still.
    fn confirm(&mut self, batch: PendingBatch, asked: &BTreeSet<EventId>) {
        let layer_1 = batch.layer == Layer::Announcements;
        self.failed.remove(layer_1, &batch.items);
        self.failed.remove_ids(asked);
        if layer_1 && !self.state.announcements_synced {
            self.state.announcements_synced = true;
            self.head_dirty = true;
        }
        for repo in batch.items.repos {
            if let Some(chunk) = self.book.chunk_of_repo(&repo) {
                self.state.repos.insert(repo);
                self.book.touch(chunk);
            }
        }
        for event in batch.items.root_events {
            if let Some(chunk) = self.book.chunk_of_root_event(&event) {
                self.state.root_events.insert(event);
                self.book.touch(chunk);
            }
        }
    }

    /// What failed is confirmed no longer, and is read whole when it is due: that covers a failed catch-up too.
    fn fail(
        &mut self,
        batch: PendingBatch,
        covers: PendingItems,
        asked: BTreeSet<EventId>,
        mut failures: Vec<Failure>,
        env: &Env<'_>,
    ) {
        let layer_1 = batch.layer == Layer::Announcements;
        let mut items = batch.items;
        items.repos.extend(covers.repos);
        items.root_events.extend(covers.root_events);
        items.repos.retain(|repo| self.book.chunk_of_repo(repo).is_some());
        items.root_events.retain(|event| self.book.chunk_of_root_event(event).is_some());
        for repo in &items.repos {
            self.state.repos.remove(repo);
            self.book.chunk_of_repo(repo).into_iter().for_each(|chunk| self.book.touch(chunk));
        }
        for event in &items.root_events {
            self.state.root_events.remove(event);
            self.book.chunk_of_root_event(event).into_iter().for_each(|chunk| self.book.touch(chunk));
        }
        self.state.announcements_synced &= !layer_1;
        self.head_dirty = true;
        if failures.is_empty() {
            failures.push(Failure {
                filter: format!("layer {}", batch.layer.as_str()),
                window: None,
                reason: crate::model::FailureReason::Local,
                text: "failed without naming what is missing".to_owned(),
            });
        }
        let tries = self.failed.tries(layer_1, &items).max(self.failed.tries_of_ids(&asked)).saturating_add(1);
        let latest = latest_retry(env);
        let retry_at = if is_withheld(&failures) {
            latest
        } else {
            // What failed for want of room is due when there is some, and there may be already. Without any nothing is asked.
            let ours = failures.iter().all(|failure| failure.reason == crate::model::FailureReason::Local);
            let base = if ours { env.config.retry_base_ms.min(LOCAL_RETRY_MS) } else { env.config.retry_base_ms };
            let wait = base.saturating_mul(1 << (tries - 1).min(32)) / 1000;
            env.now.unix_s.saturating_add(wait.clamp(1, 24 * 3600)).min(latest)
        };
        self.failed.add(FailedGroup { ids: asked, ..FailedGroup::new(layer_1, items, failures, retry_at, tries) });
    }

    /// The store takes events again: what failed for it is due at once, and live subscriptions that were closed for it open.
    pub fn handle_store_works(&mut self, env: &mut Env<'_>) {
        let for_the_store =
            |group: &FailedGroup| group.failures.iter().any(|f| f.reason == crate::model::FailureReason::Local);
        self.failed.make_due(|group| !group.retrying && for_the_store(group));
        if self.status().is_connected() {
            self.tell(LinkCommand::Retry, env);
        }
    }

    /// Sends what may be sent: live subscriptions first, then layer 1, then catch-up, then single events that are wanted,
    /// then what is new. Nothing during a cool-down.
    pub(super) fn dispatch(&mut self, env: &mut Env<'_>) {
        if self.health.cooling_until(env.now).is_some() {
            return;
        }
        if let Some(by) = self.consolidate_by {
            if !self.in_flight.is_empty() && env.now.mono_ms < by {
                return;
            }
            self.consolidate_by = None;
            self.book.rebuild(self.book.limits());
            self.live_dirty = true;
        }
        if self.live_dirty {
            self.live_dirty = false;
            let live = self.book.live();
            self.live_keys = live.iter().map(|live| live.key).collect();
            let keys = &self.live_keys;
            self.live_refused.retain(|key, _| keys.contains(key));
            self.tell(LinkCommand::Live(live), env);
        }
        while self.in_flight.len() < MAX_IN_FLIGHT {
            let Some((request, covers)) = self.next_request(env) else { break };
            let pending = PendingBatch {
                batch_id: request.id,
                reason: request.reason,
                layer: request.layer,
                items: request.items.clone(),
                retry_count: self.failed.tries(request.layer == Layer::Announcements, &request.items),
            };
            self.in_flight.insert(request.id, pending);
            self.underway.insert(request.id, Underway::new(request.filters.len(), env.now));
            covers.into_iter().for_each(|covers| drop(self.covers.insert(request.id, covers)));
            self.tell(LinkCommand::Batch(request), env);
        }
    }

    /// The next batch, with what it covers where it is a catch-up.
    fn next_request(&mut self, env: &mut Env<'_>) -> Option<(BatchRequest, Option<PendingItems>)> {
        let mut request = BatchRequest {
            id: *env.next_batch,
            reason: BatchReason::QuickReconnect,
            layer: Layer::Repositories,
            filters: Vec::new(),
            items: PendingItems::default(),
            caused_by: None,
            reads: false,
            run_since: None,
        };
        let mut covers = None;
        if let Some(since) = self.layer_1.take() {
            request.layer = Layer::Announcements;
            request.filters.push(build_announcement_filter(since));
            if since.is_some() {
                request.reads = true;
            } else {
                request.reason = self.run;
                request.run_since = Some(self.full_sync_at);
            }
        } else {
            let (items, filters) = self.book.cut(&mut self.catch_up, self.catch_up_from, MAX_BATCH_FILTERS);
            if !filters.is_empty() {
                request.filters = filters;
                request.reads = true;
                covers = Some(items);
            } else if let Some((ids, filters)) = self.wanted_filters(env) {
                request.reason = BatchReason::NewItems;
                request.layer = Layer::Wanted;
                request.filters = filters;
                request.reads = true;
                self.asked.insert(request.id, ids);
            } else {
                let (items, filters) = self.book.cut(&mut self.planned, None, MAX_BATCH_FILTERS);
                if filters.is_empty() {
                    return None;
                }
                let run = self.status() == ConnectionStatus::Syncing && self.run != BatchReason::QuickReconnect;
                request.reason = if run { self.run } else { BatchReason::NewItems };
                request.filters = filters;
                request.items = items;
                request.caused_by = self.caused_by;
                request.run_since = Some(self.full_sync_at);
            }
        }
        *env.next_batch += 1;
        Some((request, covers))
    }

    /// Single events that this relay is to be asked for, with their filters.
    fn wanted_filters(&mut self, env: &mut Env<'_>) -> Option<(BTreeSet<EventId>, Vec<Filter>)> {
        let per_filter = self.book.limits().ids_per_filter();
        let max = per_filter * MAX_BATCH_FILTERS;
        let mut ids = BTreeSet::new();
        while ids.len() < max
            && let Some(id) = self.ask_again.pop_first()
        {
            ids.insert(id);
        }
        ids.extend(env.wanted.take(&self.url, max - ids.len()));
        let all: Vec<EventId> = ids.iter().copied().collect();
        let filters = all.chunks(per_filter).map(|ids| Filter::new().ids(ids.iter().copied())).collect();
        (!ids.is_empty()).then_some((ids, filters))
    }

    pub(super) fn cancel_in_flight(&mut self, env: &mut Env<'_>) {
        self.underway.clear();
        for id in std::mem::take(&mut self.in_flight).into_keys() {
            self.tell(LinkCommand::Cancel(id), env);
        }
    }

    /// Whether layer 1 is to be asked or is being asked.
    pub(super) fn asks_announcements(&self) -> bool {
        self.layer_1.is_some() || self.in_flight.values().any(|batch| batch.layer == Layer::Announcements)
    }

    /// Nothing is in flight, and nothing waits to be.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
            && self.layer_1.is_none()
            && self.catch_up.is_empty()
            && self.planned.is_empty()
            && self.ask_again.is_empty()
    }

    /// Complete, or complete but for what is named: when nothing is pending, when the feed has been folded in up to the head
    /// that it had when the last verdict was in, an external own relay's included, and when that made nothing pending again (the fold
    /// plans before this is asked).
    pub(super) fn check_and_complete_historic_sync(&mut self, env: &mut Env<'_>) {
        match self.status() {
            ConnectionStatus::Syncing => {
                let folded = self.awaits.is_none() && self.barrier <= env.folded && self.settled_at <= env.now.mono_ms;
                if !self.is_idle() || env.wanted.waits_for(&self.url) || !folded {
                    return;
                }
                self.state.historic_sync_completed = true;
                self.run = BatchReason::NewItems;
                self.head_dirty = true;
            }
            ConnectionStatus::Connected | ConnectionStatus::ConnectedDegraded => {}
            ConnectionStatus::Disconnected | ConnectionStatus::Connecting => return,
        }
        match self.missing() {
            Some(reason) => self.set_status(ConnectionStatus::ConnectedDegraded, reason, env),
            None => self.set_status(ConnectionStatus::Connected, String::new(), env),
        }
    }

    /// Why the relay is not complete.
    fn missing(&self) -> Option<String> {
        let refused = self.live_refused.iter().next().map(|(key, text)| {
            let more = self.live_refused.len() - 1;
            format!(
                "live subscription {key} refused: {text}{}",
                if more > 0 { format!(" (and {more} more)") } else { String::new() }
            )
        });
        let catching_up = || self.catch_up_from.map(|_| "catching up on what live sync missed".to_owned());
        self.failed.reason().or(refused).or_else(catching_up)
    }

    /// What kind of reason [`RelayLife::missing`] gives.
    pub(super) fn cause(&self) -> Cause {
        if !self.failed.is_empty() {
            Cause::Missing(self.failed.first().map(|failure| discriminant(&failure.reason)))
        } else if !self.live_refused.is_empty() {
            Cause::LiveRefused
        } else {
            Cause::CatchingUp
        }
    }

    fn tell(&self, command: LinkCommand, env: &mut Env<'_>) {
        env.out.push_back(ManagerOutput::Link { relay: self.url.clone(), command });
    }
}
