//! A write transaction over the tables in memory. Dropped without a commit it leaves nothing behind.

use std::sync::Arc;

use nostr::event::{Event, EventId};
use nostr::key::PublicKey;
use sync_core::intake;
use sync_core::model::{RepoAddress, kinds};
use sync_core::store::{
    Dependency, EventRow, FeedChange, FeedEntry, FeedSeq, HeldRow, RejectedRow, Slot, SlotHead, StoreError, StoreTxn,
};

use super::state::{State, Stored};

/// How to take one change back.
enum Undo {
    Event(EventId, Option<Stored>),
    Rejected(EventId, Option<RejectedRow>),
    Held(EventId, Option<HeldRow>),
    Slot(Slot, Option<SlotHead>),
    DeletedId(EventId, PublicKey),
    DeletedSlot(Slot, Option<u64>),
    Feed,
}

pub(super) struct MemoryTxn<'a> {
    state: &'a mut State,
    undo: Vec<Undo>,
    judging: bool,
    held_before: u64,
}

impl<'a> MemoryTxn<'a> {
    /// `judging`: whether what is inserted counts as judged.
    pub(super) fn new(state: &'a mut State, judging: bool) -> Self {
        let held_before = state.held.len() as u64;
        Self { state, undo: Vec::new(), judging, held_before }
    }

    pub(super) fn commit(mut self) {
        self.undo.clear();
    }

    /// What is inserted from here on counts as not judged.
    pub(super) fn insert_unjudged(&mut self) {
        self.judging = false;
    }

    pub(super) fn mark_judged(&mut self, id: &EventId) {
        if let Some(stored) = self.state.stored(id).cloned() {
            self.set_event(*id, Some(Stored { judged: true, ..stored }));
        }
    }

    fn set_event(&mut self, id: EventId, stored: Option<Stored>) {
        let before = self.state.set_event(id, stored);
        self.undo.push(Undo::Event(id, before));
    }

    fn set_rejected(&mut self, id: EventId, row: Option<RejectedRow>) {
        let before = self.state.set_rejected(id, row);
        self.undo.push(Undo::Rejected(id, before));
    }

    fn append(&mut self, change: FeedChange) -> FeedSeq {
        let seq = self.state.feed_head() + 1;
        self.state.feed.push(FeedEntry { seq, change });
        self.undo.push(Undo::Feed);
        seq
    }
}

impl Drop for MemoryTxn<'_> {
    fn drop(&mut self) {
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Event(id, before) => drop(self.state.set_event(id, before)),
                Undo::Rejected(id, before) => drop(self.state.set_rejected(id, before)),
                Undo::Held(id, Some(before)) => drop(self.state.held.insert(id, before)),
                Undo::Held(id, None) => drop(self.state.held.remove(&id)),
                Undo::Slot(slot, Some(before)) => drop(self.state.slots.insert(slot, before)),
                Undo::Slot(slot, None) => drop(self.state.slots.remove(&slot)),
                Undo::DeletedId(id, author) => drop(self.state.deleted_ids.remove(&(id, author))),
                Undo::DeletedSlot(slot, Some(before)) => drop(self.state.deleted_slots.insert(slot, before)),
                Undo::DeletedSlot(slot, None) => drop(self.state.deleted_slots.remove(&slot)),
                Undo::Feed => drop(self.state.feed.pop()),
            }
        }
    }
}

impl StoreTxn for MemoryTxn<'_> {
    fn row(&self, id: &EventId) -> Result<Option<EventRow>, StoreError> {
        Ok(self.state.stored(id).map(|stored| EventRow {
            seq: stored.seq,
            created_at: stored.event.created_at.as_secs(),
            kind: stored.event.kind.as_u16(),
            accepted: stored.accepted,
        }))
    }

    fn event(&self, id: &EventId) -> Result<Option<Event>, StoreError> {
        Ok(self.state.stored(id).map(|stored| Event::clone(&stored.event)))
    }

    fn insert(&mut self, event: &Event, expires_at: Option<u64>) -> Result<(), StoreError> {
        if self.state.stored(&event.id).is_some() {
            return Err(StoreError::Corrupt(format!("event {} is stored already", event.id)));
        }
        let seq = self.state.next_seq();
        let judged = self.judging;
        let stored = Stored { event: Arc::new(event.clone()), seq, accepted: None, expires_at, judged };
        self.set_event(event.id, Some(stored));
        Ok(())
    }

    fn remove(&mut self, id: &EventId) -> Result<(), StoreError> {
        self.set_event(*id, None);
        Ok(())
    }

    fn slot(&self, slot: &Slot) -> Result<Option<SlotHead>, StoreError> {
        Ok(self.state.slots.get(slot).copied())
    }

    fn set_slot(&mut self, slot: &Slot, head: SlotHead) -> Result<(), StoreError> {
        let before = self.state.slots.insert(slot.clone(), head);
        self.undo.push(Undo::Slot(slot.clone(), before));
        Ok(())
    }

    fn remove_slot(&mut self, slot: &Slot) -> Result<(), StoreError> {
        let before = self.state.slots.remove(slot);
        self.undo.push(Undo::Slot(slot.clone(), before));
        Ok(())
    }

    fn delete_id(&mut self, id: &EventId, author: &PublicKey) -> Result<(), StoreError> {
        if self.state.deleted_ids.insert((*id, *author)) {
            self.undo.push(Undo::DeletedId(*id, *author));
        }
        Ok(())
    }

    fn delete_slot(&mut self, slot: &Slot, until: u64) -> Result<(), StoreError> {
        let before = self.state.deleted_slots.get(slot).copied();
        self.state.deleted_slots.insert(slot.clone(), before.map_or(until, |before| before.max(until)));
        self.undo.push(Undo::DeletedSlot(slot.clone(), before));
        Ok(())
    }

    fn is_id_deleted(&self, id: &EventId, author: &PublicKey) -> Result<bool, StoreError> {
        Ok(self.state.deleted_ids.contains(&(*id, *author)))
    }

    fn slot_deleted_until(&self, slot: &Slot) -> Result<Option<u64>, StoreError> {
        Ok(self.state.deleted_slots.get(slot).copied())
    }

    fn expired(&self, now: u64, max: usize) -> Result<Vec<EventId>, StoreError> {
        Ok(self.state.expired_before(now).take(max).collect())
    }

    fn accept(&mut self, id: &EventId) -> Result<FeedSeq, StoreError> {
        let Some(stored) = self.state.stored(id).cloned() else {
            return Err(StoreError::Corrupt(format!("event {id} was accepted and is not stored")));
        };
        let seq = self.append(FeedChange::Accepted(stored.event.clone()));
        self.set_event(*id, Some(Stored { accepted: Some(seq), judged: true, ..stored }));
        Ok(seq)
    }

    fn retract(&mut self, id: &EventId, kind: u16, address: Option<&RepoAddress>) -> Result<FeedSeq, StoreError> {
        if let Some(stored) = self.state.stored(id).cloned() {
            self.set_event(*id, Some(Stored { accepted: None, ..stored }));
        }
        Ok(self.append(FeedChange::Removed { id: *id, kind, address: address.cloned() }))
    }

    fn is_named(&self, id: &EventId) -> Result<bool, StoreError> {
        Ok(self.state.tagging(&Dependency::Event(*id)).any(|stored| stored.accepted.is_some()))
    }

    fn announcements(&self, identifier: &str, max: usize) -> Result<Vec<Event>, StoreError> {
        let key = Dependency::Identifier(identifier.to_owned());
        let group = self.state.tagging(&key).filter(|stored| stored.event.kind.as_u16() == kinds::ANNOUNCEMENT);
        Ok(group.map(|stored| Event::clone(&stored.event)).take(max).collect())
    }

    fn rejected(&self, id: &EventId) -> Result<Option<RejectedRow>, StoreError> {
        Ok(self.state.rejected_row(id).cloned())
    }

    fn put_rejected(&mut self, row: &RejectedRow) -> Result<(), StoreError> {
        self.set_rejected(row.id, Some(row.clone()));
        Ok(())
    }

    fn remove_rejected(&mut self, id: &EventId) -> Result<(), StoreError> {
        self.set_rejected(*id, None);
        Ok(())
    }

    fn release(&mut self, row: &RejectedRow) -> Result<FeedSeq, StoreError> {
        let place = self.append(FeedChange::Wanted { id: row.id, relays: row.relays.clone() });
        let row = RejectedRow { waits_for: Vec::new(), wanted: Some(place), body: None, ..row.clone() };
        self.set_rejected(row.id, Some(row));
        Ok(place)
    }

    fn held(&self, id: &EventId) -> Result<Option<HeldRow>, StoreError> {
        Ok(self.state.held.get(id).cloned())
    }

    fn put_held(&mut self, row: &HeldRow) -> Result<(), StoreError> {
        let mut row = row.clone();
        if row.number == 0 {
            // A number of a transaction that is taken back is not given out again: nothing minds.
            self.state.newest_held += 1;
            row.number = self.state.newest_held;
        }
        let before = self.state.held.insert(row.event.id, row.clone());
        self.undo.push(Undo::Held(row.event.id, before));
        Ok(())
    }

    fn remove_held(&mut self, id: &EventId) -> Result<(), StoreError> {
        if let Some(before) = self.state.held.remove(id) {
            self.undo.push(Undo::Held(*id, Some(before)));
        }
        Ok(())
    }

    fn held_before(&self) -> Result<u64, StoreError> {
        Ok(self.held_before)
    }

    fn held_before_change(&self, max: usize) -> Result<Vec<EventId>, StoreError> {
        let before = self.state.held.iter().filter(|(_, row)| row.number <= self.state.retake);
        Ok(before.take(max).map(|(id, _)| *id).collect())
    }

    fn waiting_for(&self, dependency: &Dependency, max: usize) -> Result<Vec<EventId>, StoreError> {
        Ok(self.state.waiting_for(dependency).take(max).collect())
    }

    fn stored_waiting_for(&self, dependency: &Dependency, max: usize) -> Result<Vec<EventId>, StoreError> {
        let named = match dependency {
            Dependency::Event(id) => self.state.stored(id).map(|stored| stored.event.clone()),
            _ => None,
        };
        let named = named.iter().flat_map(|event| intake::references(event)).filter_map(|reference| match reference {
            Dependency::Event(id) => self.state.stored(&id),
            _ => None,
        });
        let waiting = self.state.tagging(dependency).chain(named).filter(|stored| stored.accepted.is_none());
        Ok(waiting.map(|stored| stored.event.id).take(max).collect())
    }

    fn rejected_due(&self, now: u64, max: usize) -> Result<Vec<EventId>, StoreError> {
        Ok(self.state.rejected_due(now).take(max).collect())
    }

    fn rejected_count(&self) -> Result<(u64, u64), StoreError> {
        Ok(self.state.rejected_count())
    }

    fn rejected_oldest(&self) -> Result<Option<EventId>, StoreError> {
        Ok(self.state.rejected_oldest())
    }
}
