//! A store in memory: the reference that other stores are compared with, and the simulator's disk.
//!
//! It runs the same [`sync_core::intake`] as every store, over maps (`state`). A submission is taken in at once, in
//! the caller's thread, as one transaction; its reply has been called when `submit` returns.

mod state;
mod txn;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nostr::event::{Event, EventId};
use nostr::filter::Filter;
use sync_core::admission::AdmissionPolicy;
use sync_core::intake::{self, IntakeConfig};
use sync_core::model::RelayUrl;
use sync_core::store::{
    EventStore, FeedChange, FeedPage, FeedSeq, HeldEvent, IntakeOutcome, KnownEvent, LocalSets, OutboxState,
    OwnVerdict, RejectedRow, Reply, StateTable, StateWrite, StoreError, Submission,
};
use sync_core::strategy::{ItemKey, SetView, VecSet, Window};

use state::{State, Stored};
use txn::MemoryTxn;

type Listener = Arc<dyn Fn(FeedSeq) + Send + Sync>;

/// An [`EventStore`] over maps.
pub struct MemoryStore {
    inner: Mutex<Inner>,
    config: IntakeConfig,
}

struct Inner {
    state: State,
    policy: Option<Arc<AdmissionPolicy>>,
    listener: Option<Listener>,
    full: bool,
}

impl MemoryStore {
    /// An empty store. Without a policy it stores what it is told to, as `sync` and `import` do.
    pub fn new(policy: Option<AdmissionPolicy>, config: IntakeConfig) -> Self {
        let inner = Inner { state: State::default(), policy: policy.map(Arc::new), listener: None, full: false };
        Self { inner: Mutex::new(inner), config }
    }

    /// What a restart under another policy does: whatever was judged is void; the stored events stay, and wait for
    /// [`EventStore::judge_backlog`].
    pub fn change_policy(&self, policy: Option<AdmissionPolicy>) {
        let mut inner = self.inner();
        inner.policy = policy.map(Arc::new);
        inner.state.forget_judgements();
    }

    /// What a restart with other bounds, or another own relay, does: what was judged is void, as by
    /// [`MemoryStore::change_policy`].
    pub fn reconfigured(self, config: IntakeConfig) -> Self {
        self.inner().state.forget_judgements();
        Self { inner: self.inner, config }
    }

    /// Makes every later write fail for want of room, or ends that.
    pub fn set_full(&self, full: bool) {
        self.inner().full = full;
    }

    /// Takes in one event; see [`intake::take`].
    ///
    /// # Errors
    /// The store is full; nothing was written.
    pub fn take(&self, event: &Event, relay: Option<&RelayUrl>, now: u64) -> Result<IntakeOutcome, StoreError> {
        self.write(|txn, policy| intake::take(txn, policy, &self.config, event, relay, now))
    }

    /// Stores an event unjudged, whatever the policy: what `sync` and `import` do to a service's store.
    ///
    /// # Errors
    /// The store is full; nothing was written.
    pub fn import(&self, event: &Event, now: u64) -> Result<IntakeOutcome, StoreError> {
        self.write(|txn, _| {
            txn.insert_unjudged();
            intake::take(txn, None, &self.config, event, None, now)
        })
    }

    /// Lets go of what is due, at most `max` of it; see [`intake::sweep`]. Submissions do so, too.
    ///
    /// # Errors
    /// The store is full; nothing was written.
    pub fn sweep(&self, now: u64, max: usize) -> Result<usize, StoreError> {
        self.write(|txn, policy| intake::sweep(txn, policy, &self.config, now, max))
    }

    /// Every stored event, by time and id.
    pub fn events(&self) -> Vec<Event> {
        let mut events: Vec<Event> = self.inner().state.events().map(|stored| Event::clone(&stored.event)).collect();
        events.sort_by_key(|event| (event.created_at, event.id));
        events
    }

    /// The ids of accepted events.
    pub fn accepted(&self) -> BTreeSet<EventId> {
        let inner = self.inner();
        inner.state.events().filter(|stored| stored.accepted.is_some()).map(|stored| stored.event.id).collect()
    }

    /// The rows of the rejected index, by id.
    pub fn rejected(&self) -> Vec<RejectedRow> {
        self.inner().state.rejected_rows().cloned().collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic under the lock leaves whole transactions behind: the one under way rolls back as it is dropped.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One transaction: all of it or, on an error, nothing. Wakes the listener after it.
    fn write<T>(
        &self,
        work: impl FnOnce(&mut MemoryTxn<'_>, Option<&AdmissionPolicy>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (done, head, listener) = {
            let mut inner = self.inner();
            let Inner { state, policy, listener, full } = &mut *inner;
            let before = (state.feed_head(), state.held.len());
            let mut txn = MemoryTxn::new(state, policy.is_some());
            let done = work(&mut txn, policy.as_deref())?;
            if *full {
                return Err(StoreError::Full("no room left, as the test asked".to_owned()));
            }
            txn.commit();
            let head = state.feed_head();
            (done, head, listener.clone().filter(|_| (head, state.held.len()) != before))
        };
        if let Some(listener) = listener {
            listener(head);
        }
        Ok(done)
    }
}

impl LocalSets for MemoryStore {
    fn view<'a>(&'a self, filter: &Filter, window: Window, relay: &RelayUrl) -> Box<dyn SetView + 'a> {
        let inner = self.inner();
        let have = inner
            .state
            .matching(filter, window)
            .into_iter()
            .map(|stored| ItemKey::new(stored.event.created_at.as_secs(), &stored.event.id));
        let do_not_want = inner
            .state
            .rejected_rows()
            .filter(|row| {
                row.is_known(inner.policy.is_some()) && row.relays.contains(relay) && row_matches(filter, row)
            })
            .map(|row| ItemKey::new(row.created_at, &row.id));
        let set: VecSet = have.chain(do_not_want).filter(|item| window.contains(item.created_at)).collect();
        Box::new(set)
    }

    fn known(&self, ids: &[EventId]) -> Result<Vec<Option<KnownEvent>>, StoreError> {
        let inner = self.inner();
        Ok(ids.iter().map(|id| inner.state.known(id, inner.policy.is_some())).collect())
    }

    fn event(&self, id: &EventId) -> Result<Option<Event>, StoreError> {
        Ok(self.inner().state.stored(id).map(|stored| Event::clone(&stored.event)))
    }
}

impl EventStore for MemoryStore {
    fn query(
        &self,
        filters: &[Filter],
        now: u64,
        visit: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut found = BTreeSet::new();
        let by_age = |stored: &Stored| (Reverse(stored.event.created_at), stored.event.id);
        let found: Vec<Arc<Event>> = {
            let inner = self.inner();
            for filter in filters {
                let matching: BTreeSet<_> = inner
                    .state
                    .matching(filter, Window::ALL)
                    .into_iter()
                    .filter(|stored| stored.expires_at.is_none_or(|at| at > now))
                    .map(by_age)
                    .collect();
                found.extend(matching.into_iter().take(filter.limit.unwrap_or(usize::MAX)));
            }
            found.iter().filter_map(|(_, id)| inner.state.stored(id)).map(|stored| stored.event.clone()).collect()
        };
        for event in found {
            if visit(Event::clone(&event)).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn submit(&self, submission: Submission, reply: Reply) -> Result<(), StoreError> {
        let Submission { events, offered, relay, state, now } = submission;
        let outcomes = self.write(|txn, policy| {
            intake::sweep(txn, policy, &self.config, now, usize::MAX)?;
            for id in &offered {
                relay.iter().try_for_each(|relay| intake::note_offer(txn, policy, &self.config, id, relay, now))?;
            }
            events.iter().map(|event| intake::take(txn, policy, &self.config, event, relay.as_ref(), now)).collect()
        });
        if outcomes.is_ok() {
            let mut inner = self.inner();
            let judging = inner.policy.is_some();
            inner.state.write_records(state, judging);
        }
        reply(outcomes);
        Ok(())
    }

    fn write_state(&self, writes: Vec<StateWrite>) -> Result<(), StoreError> {
        let mut inner = self.inner();
        if inner.full {
            return Err(StoreError::Full("no room left, as the test asked".to_owned()));
        }
        let judging = inner.policy.is_some();
        inner.state.write_records(writes, judging);
        Ok(())
    }

    fn read_state_of(&self, table: StateTable, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let records = self.inner().state.records(table);
        Ok(records.into_iter().filter(|(key, _)| key.starts_with(prefix)).collect())
    }

    fn feed(&self, after: FeedSeq, max: usize) -> Result<FeedPage, StoreError> {
        let inner = self.inner();
        let head = inner.state.feed_head();
        let upto = after.saturating_add(max as u64).min(head).max(after);
        let is_current = |seq: FeedSeq, change: &FeedChange| match change {
            FeedChange::Accepted(event) => {
                inner.state.stored(&event.id).is_some_and(|stored| stored.accepted == Some(seq))
            }
            FeedChange::Removed { .. } => true,
            FeedChange::Wanted { id, .. } => inner.state.rejected_row(id).is_some_and(|row| row.wanted == Some(seq)),
        };
        let entries = inner.state.feed_between(after, upto).iter();
        let entries = entries.filter(|entry| is_current(entry.seq, &entry.change)).cloned().collect();
        Ok(FeedPage { entries, upto, head })
    }

    fn feed_head(&self) -> Result<FeedSeq, StoreError> {
        Ok(self.inner().state.feed_head())
    }

    fn on_feed(&self, wake: Box<dyn Fn(FeedSeq) + Send + Sync>) {
        self.inner().listener = Some(Arc::from(wake));
    }

    fn judge_backlog(&self, now: u64) -> Result<u64, StoreError> {
        self.sweep(now, usize::MAX)?;
        self.write(|txn, policy| match policy {
            Some(_) => intake::take_back(txn, policy, &self.config, now, usize::MAX).map(drop),
            None => Ok(()),
        })?;
        let backlog = self.inner().state.backlog();
        for event in &backlog {
            self.write(|txn, policy| {
                let Some(policy) = policy else { return Ok(()) };
                txn.mark_judged(&event.id);
                intake::judge_stored(txn, policy, &self.config, event, now)
            })?;
        }
        Ok(if self.inner().policy.is_some() { backlog.len() as u64 } else { 0 })
    }

    fn outbox(&self, now: u64, max: usize) -> Result<Vec<HeldEvent>, StoreError> {
        let inner = self.inner();
        let mut due: Vec<_> = inner.state.held.values().filter(|row| row.next_at <= now).collect();
        due.sort_by_key(|row| (row.next_at, row.event.id));
        let due = due.into_iter().take(max);
        Ok(due.map(|row| HeldEvent { event: Event::clone(&row.event), next_at: row.next_at }).collect())
    }

    fn outbox_state(&self) -> Result<OutboxState, StoreError> {
        let inner = self.inner();
        let max = self.config.own_relay.as_ref().map_or(0, |_| self.config.max_held);
        let next_at = inner.state.held.values().map(|row| row.next_at).min();
        Ok(OutboxState { held: inner.state.held.len() as u64, max, next_at })
    }

    fn answer_outbox(&self, answers: Vec<OwnVerdict>, now: u64) -> Result<(), StoreError> {
        self.write(|txn, policy| {
            answers
                .iter()
                .try_for_each(|OwnVerdict { id, answer }| intake::answer(txn, policy, &self.config, id, answer, now))
        })
    }

    fn event_count(&self) -> Result<u64, StoreError> {
        Ok(self.inner().state.event_count())
    }

    fn rejected_count(&self) -> Result<(u64, u64), StoreError> {
        Ok(self.inner().state.rejected_count())
    }
}

fn row_matches(filter: &Filter, row: &RejectedRow) -> bool {
    let tags = filter.generic_tags.iter().all(|(name, values)| {
        row.tags.iter().any(|(letter, value)| *letter == char::from(name.as_byte()) && values.contains(value))
    });
    tags && filter.ids.as_ref().is_none_or(|ids| ids.contains(&row.id))
        && filter.authors.as_ref().is_none_or(|authors| authors.contains(&row.pubkey))
        && filter.kinds.as_ref().is_none_or(|kinds| kinds.contains(&row.kind.into()))
        && filter.since.is_none_or(|since| row.created_at >= since.as_secs())
        && filter.until.is_none_or(|until| row.created_at <= until.as_secs())
}
