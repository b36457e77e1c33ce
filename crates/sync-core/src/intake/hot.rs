//! The bound on the bodies of deferred events (SPEC §11, hot tier).
//!
//! A book of the bodies that were put into the rejected index, oldest first. It is kept beside the store, by whoever writes:
//! a body that left early (what it waited for has come) counts until its time is up, so that the book never says too little
//! of what this process wrote. What an earlier process left isn't in it, and is gone [`IntakeConfig::hot_s`] after the start.
//!
//! [`IntakeConfig::hot_s`]: super::IntakeConfig::hot_s

use std::collections::VecDeque;

use nostr::event::{Event, EventId};

use crate::store::{RejectedRow, StoreError, StoreTxn};

/// Bytes of bodies in the hot tier. Beyond it the oldest go first; their rows stay, so that they are known, and are fetched
/// by id where they are wanted. Room for half a million events of the usual size.
pub const MAX_HOT_BYTES: usize = 256 << 20;

/// Bytes of an event beside its content and tags: id, author, signature, and the names of the fields.
const FRAME: usize = 350;
/// Bytes of a tag's value beside itself.
const QUOTES: usize = 3;

/// One body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HotBody {
    id: EventId,
    bytes: usize,
    /// Unix seconds.
    until: u64,
}

impl HotBody {
    /// The body of `event`, which is kept until `until`, unix seconds.
    pub fn new(event: &Event, until: u64) -> Self {
        let tags = event.tags.iter().flat_map(|tag| tag.as_slice()).map(|value| value.len().saturating_add(QUOTES));
        let bytes = tags.fold(event.content.len().saturating_add(FRAME), usize::saturating_add);
        Self { id: event.id, bytes, until }
    }
}

/// The book.
#[derive(Debug)]
pub struct HotBodies {
    max: usize,
    bytes: usize,
    bodies: VecDeque<HotBody>,
}

/// What left the hot tier in a transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Departed {
    /// Entries of the book.
    entries: usize,
    /// Bodies that had to go before their time.
    pub early: usize,
}

impl HotBodies {
    /// An empty book with room for `max` bytes.
    pub fn new(max: usize) -> Self {
        Self { max, bytes: 0, bodies: VecDeque::new() }
    }

    /// Makes room for `fresh`, which this transaction put into the index: bodies that are due at `now` go, at most `max_due`
    /// of them, and of the others as many as are too many, the oldest first. [`HotBodies::settle`] is to follow when the
    /// transaction is committed.
    ///
    /// # Errors
    /// The transaction failed and must be aborted.
    pub fn make_room(
        &self,
        txn: &mut dyn StoreTxn,
        fresh: &[HotBody],
        now: u64,
        max_due: usize,
    ) -> Result<Departed, StoreError> {
        let mut bytes = fresh.iter().fold(self.bytes, |sum, body| sum.saturating_add(body.bytes));
        let mut departed = Departed::default();
        for body in self.bodies.iter().chain(fresh) {
            let is_due = body.until <= now && departed.entries < max_due;
            if !is_due && bytes <= self.max {
                break;
            }
            bytes = bytes.saturating_sub(body.bytes);
            departed.entries += 1;
            if drop_body(txn, body)? && body.until > now {
                departed.early += 1;
            }
        }
        Ok(departed)
    }

    /// Writes down what a committed transaction did.
    pub fn settle(&mut self, fresh: Vec<HotBody>, departed: Departed) {
        for body in fresh {
            self.bytes = self.bytes.saturating_add(body.bytes);
            self.bodies.push_back(body);
        }
        for body in self.bodies.drain(..departed.entries.min(self.bodies.len())) {
            self.bytes = self.bytes.saturating_sub(body.bytes);
        }
    }
}

/// Takes the body out of a row, unless it has gone or was written again since. Whether it was there.
fn drop_body(txn: &mut dyn StoreTxn, body: &HotBody) -> Result<bool, StoreError> {
    match txn.rejected(&body.id)? {
        Some(row) if row.body.is_some() && row.hot_until <= body.until => {
            txn.put_rejected(&RejectedRow { body: None, ..row })?;
            Ok(true)
        }
        _ => Ok(false),
    }
}
