//! The primitives of a write transaction, from which [`crate::intake`] builds what storing means.
//!
//! A store implements these few operations; replacing, deleting, expiring, admitting, deferring and judging again
//! are decided once, in [`crate::intake`], over them.

use nostr::event::{Event, EventId};
use nostr::key::PublicKey;
use serde::{Deserialize, Serialize};

use super::{FeedSeq, HeldRow, StoreError};
use crate::admission::{DeferReason, RejectReason};
use crate::model::{RelayUrl, RepoAddress};

/// The slot of a replaceable (`identifier` empty) or addressable event: only the newest in a slot is stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// Kind.
    pub kind: u16,
    /// Author.
    pub pubkey: PublicKey,
    /// The `d` tag of an addressable event.
    pub identifier: String,
}

/// The newest version that a slot has seen. `stored` is false where that version itself was kept out (an announcement
/// that no longer qualifies): older versions are superseded all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotHead {
    /// Its time.
    pub created_at: u64,
    /// Its id.
    pub id: EventId,
    /// Whether it is stored.
    pub stored: bool,
}

/// What is known of a stored event without reading it whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRow {
    /// Its number in the store.
    pub seq: u64,
    /// Its time.
    pub created_at: u64,
    /// Its kind.
    pub kind: u16,
    /// Its place in the feed, where it was accepted.
    pub accepted: Option<FeedSeq>,
}

/// What a deferred event waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Dependency {
    /// An event with this id is accepted, or an accepted event names this id.
    Event(EventId),
    /// The announcement at this address is accepted.
    Repo(RepoAddress),
    /// Some announcement with this identifier is accepted or changes (a chain of maintainers may reach further).
    Identifier(String),
}

/// Which tier of the rejected index a row is in (SPEC §11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Tier {
    /// Whole event kept, to be judged again at once.
    Hot,
    /// Only its description.
    Cold,
}

/// A row of the rejected index: why an event was kept out, and what is needed to count it as "don't want".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RejectedRow {
    /// Id.
    pub id: EventId,
    /// Time.
    pub created_at: u64,
    /// Kind.
    pub kind: u16,
    /// Author.
    pub pubkey: PublicKey,
    /// Single-letter tags with their values, for filters.
    pub tags: Vec<(char, String)>,
    /// Why it was kept out: exactly one of `rejected` and `deferred` is set.
    pub rejected: Option<RejectReason>,
    /// Why it waits.
    pub deferred: Option<DeferReason>,
    /// The own relay's words, where it refused the event; else empty.
    pub said: String,
    /// What it waits for; empty where it was rejected for good.
    pub waits_for: Vec<Dependency>,
    /// The relays that offered it, at most [`RejectedRow::MAX_RELAYS`].
    pub relays: Vec<RelayUrl>,
    /// When the hot tier lets go of the body, unix seconds.
    pub hot_until: u64,
    /// When the row itself goes, unix seconds.
    pub cold_until: u64,
    /// The place in the feed that tells that the event is wanted again: from then on its id counts as unknown, and
    /// nothing of the row as waiting. Set by [`StoreTxn::release`] alone.
    pub wanted: Option<FeedSeq>,
    /// The whole event, while hot.
    pub body: Option<Box<Event>>,
}

impl RejectedRow {
    /// The most relays that a row remembers.
    pub const MAX_RELAYS: usize = 32;

    /// Whether the event counts as one that is known and not wanted, in a store that judges or doesn't. One that
    /// doesn't takes in what only a policy kept out before (`import`, `sync`).
    pub fn is_known(&self, judging: bool) -> bool {
        self.wanted.is_none() && (judging || self.rejected.is_some_and(RejectReason::is_lasting))
    }
}

/// One write transaction, seen from [`crate::intake`]. All reads see the transaction's own writes.
///
/// # Errors
/// Every method fails as the store fails; the caller aborts the transaction then.
pub trait StoreTxn {
    /// The row of a stored event.
    fn row(&self, id: &EventId) -> Result<Option<EventRow>, StoreError>;

    /// A stored event.
    fn event(&self, id: &EventId) -> Result<Option<Event>, StoreError>;

    /// Adds an event and its index rows, not accepted. The id must not be stored. `expires_at` is its NIP-40 time.
    fn insert(&mut self, event: &Event, expires_at: Option<u64>) -> Result<(), StoreError>;

    /// Removes a stored event and its index rows, the slot's head excepted. Its place in the feed, if any, is left dangling.
    fn remove(&mut self, id: &EventId) -> Result<(), StoreError>;

    /// The newest version that a slot has seen.
    fn slot(&self, slot: &Slot) -> Result<Option<SlotHead>, StoreError>;

    /// Sets it.
    fn set_slot(&mut self, slot: &Slot, head: SlotHead) -> Result<(), StoreError>;

    /// Forgets the newest version that a slot has seen, which is not stored.
    fn remove_slot(&mut self, slot: &Slot) -> Result<(), StoreError>;

    /// Remembers a deletion by `author` of event `id` (NIP-09); holds for events not seen yet.
    fn delete_id(&mut self, id: &EventId, author: &PublicKey) -> Result<(), StoreError>;

    /// Remembers a deletion of everything in `slot` up to and including `until`; keeps the latest.
    fn delete_slot(&mut self, slot: &Slot, until: u64) -> Result<(), StoreError>;

    /// Whether `author` deleted event `id`.
    fn is_id_deleted(&self, id: &EventId, author: &PublicKey) -> Result<bool, StoreError>;

    /// Up to when the slot was deleted.
    fn slot_deleted_until(&self, slot: &Slot) -> Result<Option<u64>, StoreError>;

    /// Stored events whose NIP-40 time is before `now`, at most `max`.
    fn expired(&self, now: u64, max: usize) -> Result<Vec<EventId>, StoreError>;

    /// Appends a stored event to the feed.
    fn accept(&mut self, id: &EventId) -> Result<FeedSeq, StoreError>;

    /// Appends a removal to the feed, and takes the mark of acceptance from the event if it is still stored.
    fn retract(&mut self, id: &EventId, kind: u16, address: Option<&RepoAddress>) -> Result<FeedSeq, StoreError>;

    /// Whether an accepted event names `id` by an `e`, `E` or `q` tag.
    fn is_named(&self, id: &EventId) -> Result<bool, StoreError>;

    /// The stored announcements (kind 30617) with this identifier, at most `max`, accepted or not.
    fn announcements(&self, identifier: &str, max: usize) -> Result<Vec<Event>, StoreError>;

    /// A row of the rejected index.
    fn rejected(&self, id: &EventId) -> Result<Option<RejectedRow>, StoreError>;

    /// Writes a row of the rejected index, replacing the one with the same id.
    fn put_rejected(&mut self, row: &RejectedRow) -> Result<(), StoreError>;

    /// Removes a row of the rejected index.
    fn remove_rejected(&mut self, id: &EventId) -> Result<(), StoreError>;

    /// Takes a row whose dependency has arrived, and whose body is gone, out of both tiers: it waits for nothing any
    /// longer, its id counts as unknown, and the feed tells that the event is wanted from the row's relays (SPEC §11).
    fn release(&mut self, row: &RejectedRow) -> Result<FeedSeq, StoreError>;

    /// An event in the outbox.
    fn held(&self, id: &EventId) -> Result<Option<HeldRow>, StoreError>;

    /// Puts an event into the outbox, or its row in place of the one with the same id; a row without a number gets the next.
    fn put_held(&mut self, row: &HeldRow) -> Result<(), StoreError>;

    /// Takes an event out of the outbox.
    fn remove_held(&mut self, id: &EventId) -> Result<(), StoreError>;

    /// Events in the outbox when the transaction began: so its bound fails a transaction at once or not at all, and is passed
    /// by as much as one transaction holds at most.
    fn held_before(&self) -> Result<u64, StoreError>;

    /// Events in the outbox that were held before what they were accepted by was changed, at most `max`. One that is held
    /// anew is not among them.
    fn held_before_change(&self, max: usize) -> Result<Vec<EventId>, StoreError>;

    /// Ids of rows that wait for `dependency`, at most `max`. Both tiers.
    fn waiting_for(&self, dependency: &Dependency, max: usize) -> Result<Vec<EventId>, StoreError>;

    /// Stored events that aren't accepted and tag `dependency` (by `e`/`E`/`q`, `a`/`A`/`q`, or `d` for kinds 30617 and
    /// 30618), or are named by it, at most `max`: what `sync` and `import` stored before it could be accepted.
    fn stored_waiting_for(&self, dependency: &Dependency, max: usize) -> Result<Vec<EventId>, StoreError>;

    /// Rows whose time is up at `now` (hot body or whole row), soonest first, at most `max`.
    fn rejected_due(&self, now: u64, max: usize) -> Result<Vec<EventId>, StoreError>;

    /// Rows of the rejected index: hot; and cold, with those that are wanted again.
    fn rejected_count(&self) -> Result<(u64, u64), StoreError>;

    /// The row that will leave the rejected index soonest.
    fn rejected_oldest(&self) -> Result<Option<EventId>, StoreError>;
}
