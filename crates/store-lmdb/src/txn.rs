//! A write transaction: [`StoreTxn`] by delegation to the rooms that know each index.

use heed::RwTxn;
use nostr::event::{Event, EventId};
use nostr::key::PublicKey;
use sync_core::model::RepoAddress;
use sync_core::store::{Dependency, EventRow, FeedSeq, HeldRow, RejectedRow, Slot, SlotHead, StoreError, StoreTxn};

use crate::error::from_heed;
use crate::schema::{Databases, Meta, StoreEnv};
use crate::{events, feed, outbox, rejected};

/// A write transaction with the numbers that it hands out.
pub(crate) struct LmdbTxn<'e> {
    pub(crate) dbs: &'e Databases,
    pub(crate) txn: RwTxn<'e>,
    pub(crate) next_seq: u64,
    pub(crate) feed_head: FeedSeq,
    pub(crate) feed_floor: FeedSeq,
    /// Whether what is inserted passes admission in this same transaction; otherwise it is noted for later.
    pub(crate) judging: bool,
    /// Reused for every value that is written.
    pub(crate) buffer: Vec<u8>,
    /// Whether something went into the outbox, or out of it.
    pub(crate) outbox_changed: bool,
    /// Events in the outbox when it began.
    held_before: u64,
    begun_with: (u64, FeedSeq),
}

impl<'e> LmdbTxn<'e> {
    pub(crate) fn begin(env: &'e StoreEnv, dbs: &'e Databases, judging: bool) -> Result<Self, StoreError> {
        let txn = env.write_txn().map_err(from_heed)?;
        let next_seq = dbs.number(&txn, Meta::NextSeq)?.unwrap_or(0);
        let feed_head = dbs.number(&txn, Meta::FeedHead)?.unwrap_or(0);
        let feed_floor = dbs.number(&txn, Meta::FeedFloor)?.unwrap_or(0);
        let held_before = dbs.outbox.len(&txn).map_err(from_heed)?;
        let begun_with = (next_seq, feed_head);
        Ok(Self {
            dbs,
            txn,
            next_seq,
            feed_head,
            feed_floor,
            judging,
            buffer: Vec::new(),
            outbox_changed: false,
            held_before,
            begun_with,
        })
    }

    /// Makes everything durable. Returns the feed's head, and whether it or the outbox changed.
    pub(crate) fn commit(mut self) -> Result<(FeedSeq, bool), StoreError> {
        if self.next_seq != self.begun_with.0 {
            self.dbs.set_number(&mut self.txn, Meta::NextSeq, self.next_seq)?;
        }
        let moved = self.feed_head != self.begun_with.1;
        if moved {
            self.dbs.set_number(&mut self.txn, Meta::FeedHead, self.feed_head)?;
        }
        self.txn.commit().map_err(from_heed)?;
        Ok((self.feed_head, moved || self.outbox_changed))
    }
}

impl StoreTxn for LmdbTxn<'_> {
    fn row(&self, id: &EventId) -> Result<Option<EventRow>, StoreError> {
        events::row(self.dbs, &self.txn, id.as_bytes(), self.feed_floor)
    }

    fn event(&self, id: &EventId) -> Result<Option<Event>, StoreError> {
        events::event(self.dbs, &self.txn, id)
    }

    fn insert(&mut self, event: &Event, expires_at: Option<u64>) -> Result<(), StoreError> {
        events::insert(self, event, expires_at)
    }

    fn remove(&mut self, id: &EventId) -> Result<(), StoreError> {
        events::remove(self, id)
    }

    fn slot(&self, slot: &Slot) -> Result<Option<SlotHead>, StoreError> {
        events::slot(self.dbs, &self.txn, slot)
    }

    fn set_slot(&mut self, slot: &Slot, head: SlotHead) -> Result<(), StoreError> {
        events::set_slot(self, slot, head)
    }

    fn remove_slot(&mut self, slot: &Slot) -> Result<(), StoreError> {
        events::remove_slot(self, slot)
    }

    fn delete_id(&mut self, id: &EventId, author: &PublicKey) -> Result<(), StoreError> {
        events::delete_id(self, id, author)
    }

    fn delete_slot(&mut self, slot: &Slot, until: u64) -> Result<(), StoreError> {
        events::delete_slot(self, slot, until)
    }

    fn is_id_deleted(&self, id: &EventId, author: &PublicKey) -> Result<bool, StoreError> {
        events::is_id_deleted(self, id, author)
    }

    fn slot_deleted_until(&self, slot: &Slot) -> Result<Option<u64>, StoreError> {
        events::slot_deleted_until(self, slot)
    }

    fn expired(&self, now: u64, max: usize) -> Result<Vec<EventId>, StoreError> {
        events::expired(self, now, max)
    }

    fn accept(&mut self, id: &EventId) -> Result<FeedSeq, StoreError> {
        feed::accept(self, id)
    }

    fn retract(&mut self, id: &EventId, kind: u16, address: Option<&RepoAddress>) -> Result<FeedSeq, StoreError> {
        feed::retract(self, id, kind, address)
    }

    fn is_named(&self, id: &EventId) -> Result<bool, StoreError> {
        feed::is_named(self, id)
    }

    fn announcements(&self, identifier: &str, max: usize) -> Result<Vec<Event>, StoreError> {
        events::announcements(self, identifier, max)
    }

    fn rejected(&self, id: &EventId) -> Result<Option<RejectedRow>, StoreError> {
        rejected::row(self.dbs, &self.txn, id.as_bytes())
    }

    fn put_rejected(&mut self, row: &RejectedRow) -> Result<(), StoreError> {
        rejected::put(self, row)
    }

    fn remove_rejected(&mut self, id: &EventId) -> Result<(), StoreError> {
        rejected::remove(self, id)
    }

    fn release(&mut self, row: &RejectedRow) -> Result<FeedSeq, StoreError> {
        rejected::release(self, row)
    }

    fn held(&self, id: &EventId) -> Result<Option<HeldRow>, StoreError> {
        outbox::row(self.dbs, &self.txn, id)
    }

    fn put_held(&mut self, row: &HeldRow) -> Result<(), StoreError> {
        outbox::put(self, row)
    }

    fn remove_held(&mut self, id: &EventId) -> Result<(), StoreError> {
        outbox::remove(self, id)
    }

    fn held_before(&self) -> Result<u64, StoreError> {
        Ok(self.held_before)
    }

    fn held_before_change(&self, max: usize) -> Result<Vec<EventId>, StoreError> {
        outbox::before_change(self.dbs, &self.txn, max)
    }

    fn waiting_for(&self, dependency: &Dependency, max: usize) -> Result<Vec<EventId>, StoreError> {
        rejected::waiting_for(self, dependency, max)
    }

    fn stored_waiting_for(&self, dependency: &Dependency, max: usize) -> Result<Vec<EventId>, StoreError> {
        feed::stored_waiting_for(self, dependency, max)
    }

    fn rejected_due(&self, now: u64, max: usize) -> Result<Vec<EventId>, StoreError> {
        rejected::due(self, now, max)
    }

    fn rejected_count(&self) -> Result<(u64, u64), StoreError> {
        rejected::count(self.dbs, &self.txn)
    }

    fn rejected_oldest(&self) -> Result<Option<EventId>, StoreError> {
        rejected::oldest(self)
    }
}

#[cfg(test)]
mod tests;
