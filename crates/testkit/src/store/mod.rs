//! A store in memory: the reference that other stores are compared with, and the simulator's disk.
//!
//! It runs the same [`sync_core::intake`] as every store, over maps (`state`). A submission is taken in at once, in
//! the caller's thread, as one transaction; its reply has been called when `submit` returns.

mod state;
mod txn;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nostr::event::{Event, EventId};
use nostr::filter::Filter;
use sync_core::admission::AdmissionPolicy;
use sync_core::intake::{self, IntakeConfig};
use sync_core::model::RelayUrl;
use sync_core::store::{
    Beyond, EventStore, FeedChange, FeedListener, FeedPage, FeedSeq, HeldEvent, HeldRow, IntakeOutcome, KnownEvent,
    LocalSets, MAX_PAUSE_S, OutboxState, OwnVerdict, PageSize, Query, RejectedRow, Reply, StateTable, StateWrite,
    StoreError, Submission,
};
use sync_core::strategy::{ItemKey, SetView, VecSet, Window};

use state::{State, Stored};
use txn::MemoryTxn;

/// An [`EventStore`] over maps.
pub struct MemoryStore {
    inner: Mutex<Inner>,
    listeners: Mutex<Vec<FeedListener>>,
    config: IntakeConfig,
}

struct Inner {
    state: State,
    policy: Option<Arc<AdmissionPolicy>>,
    full: bool,
}

impl MemoryStore {
    /// An empty store. Without a policy it stores what it is told to, as `sync` and `import` do.
    pub fn new(policy: Option<AdmissionPolicy>, config: IntakeConfig) -> Self {
        let inner = Inner { state: State::default(), policy: policy.map(Arc::new), full: false };
        Self { inner: Mutex::new(inner), listeners: Mutex::default(), config }
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
        Self { config, ..self }
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

    /// The next matches of `query`, until `is_full` says so of how many there are and the last.
    fn query_while(
        &self,
        query: &mut Query,
        now: u64,
        mut is_full: impl FnMut(usize, &Event) -> bool,
    ) -> Result<Vec<Event>, StoreError> {
        let inner = self.inner();
        let by_age = |stored: &Stored| (Reverse(stored.event.created_at.as_secs()), stored.event.id);
        let visible = |stored: &&Stored| {
            stored.expires_at.is_none_or(|at| at > now)
                && stored.accepted.is_none_or(|place| query.as_of.is_none_or(|as_of| place <= as_of))
        };
        let open = || query.parts.iter().filter(|part| !part.finished);
        let matching: Vec<BTreeSet<_>> = open()
            .map(|part| {
                let resume = part.resume.map(|item| (Reverse(item.created_at), EventId::from_byte_array(item.id)));
                let all = inner.state.matching(&part.filter, Window::ALL).into_iter().filter(visible).map(by_age);
                all.filter(|place| resume.is_none_or(|resume| *place > resume)).collect()
            })
            .collect();
        let told = open().zip(&matching).flat_map(|(part, matching)| matching.iter().take(part.remaining));
        let told: BTreeSet<_> = told.copied().collect();
        let mut events = Vec::new();
        let mut last = None;
        for place in told {
            let Some(stored) = inner.state.stored(&place.1) else { continue };
            events.push(Event::clone(&stored.event));
            last = Some(place);
            if is_full(events.len(), &stored.event) {
                break;
            }
        }
        for (part, matching) in query.parts.iter_mut().filter(|part| !part.finished).zip(matching) {
            let passed = matching.iter().take_while(|place| last.is_some_and(|last| **place <= last)).count();
            let cut = matching.len() > part.remaining;
            part.remaining -= passed.min(part.remaining);
            part.resume = last.map(|(Reverse(created_at), id)| ItemKey::new(created_at, &id)).or(part.resume);
            part.finished = part.remaining == 0 || passed == matching.len();
            part.beyond = match part.finished {
                true if !cut => Beyond::Nothing,
                true if query.looks_beyond => Beyond::More,
                _ => Beyond::Unknown,
            };
        }
        Ok(events)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic under the lock leaves whole transactions behind: the one under way rolls back as it is dropped.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One transaction: all of it or, on an error, nothing. Wakes the listeners after it.
    fn write<T>(
        &self,
        work: impl FnOnce(&mut MemoryTxn<'_>, Option<&AdmissionPolicy>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (done, moved_to) = {
            let mut inner = self.inner();
            let Inner { state, policy, full } = &mut *inner;
            let before = (state.feed_head(), state.held.len());
            let mut txn = MemoryTxn::new(state, policy.is_some());
            let done = work(&mut txn, policy.as_deref())?;
            if *full {
                return Err(StoreError::Full("no room left, as the test asked".to_owned()));
            }
            txn.commit();
            let head = state.feed_head();
            (done, ((head, state.held.len()) != before).then_some(head))
        };
        if let Some(head) = moved_to {
            self.listeners.lock().unwrap_or_else(PoisonError::into_inner).retain(|wake| wake(head));
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
    fn query_page(&self, query: &mut Query, now: u64, size: PageSize) -> Result<Vec<Event>, StoreError> {
        let mut bytes = 0;
        self.query_while(query, now, |told, event| {
            bytes += event.content.len();
            told >= size.events || bytes >= size.bytes
        })
    }

    fn query_items(&self, query: &mut Query, now: u64, max: usize) -> Result<Vec<ItemKey>, StoreError> {
        let events = self.query_while(query, now, |told, _| told >= max)?;
        Ok(events.iter().map(|event| ItemKey::new(event.created_at.as_secs(), &event.id)).collect())
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

    fn on_feed(&self, wake: FeedListener) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(wake);
    }

    fn judge_backlog(&self, now: u64) -> Result<u64, StoreError> {
        self.sweep(now, usize::MAX)?;
        self.write(|txn, policy| match policy {
            Some(policy) => intake::take_back(txn, policy, &self.config, now, usize::MAX).map(drop),
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
        let mut due: Vec<_> = inner
            .state
            .held
            .values()
            .filter(|row| row.next_at <= now || row.next_at > now.saturating_add(MAX_PAUSE_S))
            .collect();
        due.sort_by_key(|row| (row.next_at, row.event.id));
        let due = due.into_iter().take(max);
        Ok(due.map(|row| HeldEvent { event: Event::clone(&row.event), next_at: row.next_at }).collect())
    }

    fn outbox_state(&self) -> Result<OutboxState, StoreError> {
        let inner = self.inner();
        let held = || inner.state.held.values();
        Ok(OutboxState {
            held: inner.state.held.len() as u64,
            newest: inner.state.newest_held,
            oldest_open: held().filter(|row| !row.is_put_off()).map(|row| row.number).min(),
            has_put_off: held().any(HeldRow::is_put_off),
            next_at: held().map(|row| row.next_at).min(),
        })
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
