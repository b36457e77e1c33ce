//! What the shell provides as storage.
//!
//! Calls block for the time of a disk access, [`EventStore::submit`] as long as the writer's queue is full:
//! that is the back-pressure. None is called while a decision is made but those of [`LocalSets`].

mod outbox;
mod query;
mod txn;

use std::ops::ControlFlow;
use std::sync::Arc;

use nostr::event::{Event, EventId};
use nostr::filter::Filter;
use serde::{Deserialize, Serialize};

pub use outbox::{HeldEvent, HeldRow, MAX_PAUSE_S, OutboxState, OwnAnswer, OwnVerdict};
pub use query::{Beyond, PageSize, Query, QueryPart};
pub use txn::{Dependency, EventRow, RejectedRow, Slot, SlotHead, StoreTxn, Tier};

use crate::admission::{DeferReason, RejectReason};
use crate::model::{RelayUrl, RepoAddress, kinds};
use crate::strategy::{ItemKey, SetView, Window};

/// A place in the accepted feed; the first is 1.
pub type FeedSeq = u64;

/// Why the store could not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The map or the disk is full: nothing was written, nothing was lost; intake must stop until there is room.
    #[error("the store is full: {0}")]
    Full(String),
    /// Reading or writing failed.
    #[error("the store failed: {0}")]
    Io(String),
    /// What was read makes no sense.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// It is closed.
    #[error("the store is closed")]
    Closed,
}

/// What the store knows of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownEvent {
    /// The time on record, unix seconds.
    pub created_at: u64,
    /// Whether it is stored; otherwise it was kept out (rejected, superseded, deleted, expired, deferred) or is held for
    /// the own relay.
    pub stored: bool,
}

/// What became of a submitted event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntakeOutcome {
    /// In the store, durably.
    Stored,
    /// Accepted, and kept durably in the outbox until the external own relay has said its word (SPEC §3, §9).
    Held,
    /// Was in the store already.
    Duplicate,
    /// Kept aside until something it depends on arrives.
    Deferred(DeferReason),
    /// Kept out; its id is remembered, so that it isn't fetched again.
    Rejected(RejectReason),
}

/// Events on their way in, all from one source.
#[derive(Debug, Clone, Default)]
pub struct Submission {
    /// Checked events (id and signature).
    pub events: Vec<Event>,
    /// Known ids that were kept out and that `relay` offers, too: from then on they count as what it offers (SPEC §7).
    pub offered: Vec<EventId>,
    /// The relay that sent them; `None` for an import.
    pub relay: Option<RelayUrl>,
    /// Records to be written with them.
    pub state: Vec<StateWrite>,
    /// Unix seconds.
    pub now: u64,
}

/// Called once, from the writer's thread, after the commit that the answer depends on. Must not block.
pub type Reply = Box<dyn FnOnce(Result<Vec<IntakeOutcome>, StoreError>) + Send>;

/// Called from the writer's thread with the feed's newest place, after every commit that moved it or changed the outbox. Must not
/// block. `false` lets the listener go.
pub type FeedListener = Box<dyn Fn(FeedSeq) -> bool + Send + Sync>;

/// A change to what is accepted.
#[derive(Debug, Clone, PartialEq)]
pub enum FeedChange {
    /// An event was accepted and is stored.
    Accepted(Arc<Event>),
    /// An accepted event is gone: superseded, deleted, expired, or its repository was withdrawn.
    Removed {
        /// Its id.
        id: EventId,
        /// Its kind.
        kind: u16,
        /// The repository, for an announcement.
        address: Option<RepoAddress>,
    },
    /// What a kept-out event waited for has arrived, and its body is gone: it is to be fetched again (SPEC §11). Told
    /// until the event is known again, or its row's time is up.
    Wanted {
        /// Its id.
        id: EventId,
        /// The relays that offered it, at least one.
        relays: Vec<RelayUrl>,
    },
}

impl FeedChange {
    /// Whether it bears on what is wanted from other relays (SPEC §9): a shell may leave the rest out of what it tells
    /// the manager.
    pub fn is_of_interest(&self) -> bool {
        let kind = match self {
            Self::Accepted(event) => event.kind.as_u16(),
            Self::Removed { kind, .. } => *kind,
            Self::Wanted { .. } => return true,
        };
        matches!(kind, kinds::ANNOUNCEMENT | kinds::DELETION) || kinds::ROOT_EVENTS.contains(&kind)
    }
}

/// One entry of the accepted feed.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedEntry {
    /// Its place.
    pub seq: FeedSeq,
    /// What changed.
    pub change: FeedChange,
}

/// A piece of the feed. Entries whose event was removed since, or isn't wanted any longer, are left out, so `upto` may pass the last entry.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FeedPage {
    /// Entries in order.
    pub entries: Vec<FeedEntry>,
    /// Everything up to and including this place has been told.
    pub upto: FeedSeq,
    /// The newest place at the time of reading.
    pub head: FeedSeq,
}

/// How much room a store takes and may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreSize {
    /// Bytes that hold something.
    pub used: u64,
    /// Bytes that it can hold at most.
    pub max: u64,
}

/// Named rooms for small records, kept as bytes that only their owner reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StateTable {
    /// `RelayState` by relay URL.
    Relay,
    /// What is tried and not complete, by relay URL.
    Failed,
    /// Health by relay URL.
    Health,
    /// Drained windows by relay and filter.
    Coverage,
    /// What strategies remember, by relay and strategy.
    Remembered,
    /// Written, and taken away again, to see whether anything can be.
    Probe,
}

/// A write to a [`StateTable`]: `None` removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateWrite {
    /// Which room.
    pub table: StateTable,
    /// Which record, at most 500 bytes.
    pub key: Vec<u8>,
    /// Its new value.
    pub value: Option<Vec<u8>>,
    /// Written only where all of these are known by then ([`LocalSets::known`]), those included that are stored in the same
    /// transaction; otherwise nothing happens. So what speaks of events can be committed with them, and never before.
    pub if_known: Vec<EventId>,
}

impl StateWrite {
    /// A write that depends on nothing.
    pub fn new(table: StateTable, key: impl Into<Vec<u8>>, value: Option<Vec<u8>>) -> Self {
        Self { table, key: key.into(), value, if_known: Vec::new() }
    }
}

/// A record of a [`StateTable`]: key and value.
pub type StateRecord = (Vec<u8>, Vec<u8>);

/// The local sets that sessions reconcile against; the part of the store that [`crate::link`] may call.
pub trait LocalSets {
    /// What we have or don't want (matching events, and what `relay` has offered and was kept out) for `filter` in
    /// `window`. Cheap to make; each call on the view reads the store as it is then.
    fn view<'a>(&'a self, filter: &Filter, window: Window, relay: &RelayUrl) -> Box<dyn SetView + 'a>;

    /// What is known of each id, in order. A store that isn't judging doesn't know what only a policy kept out: see
    /// [`RejectedRow::is_known`].
    ///
    /// # Errors
    /// The store can't be read.
    fn known(&self, ids: &[EventId]) -> Result<Vec<Option<KnownEvent>>, StoreError>;

    /// A stored event, for an upload.
    ///
    /// # Errors
    /// The store can't be read.
    fn event(&self, id: &EventId) -> Result<Option<Event>, StoreError>;

    /// Asks to be the only connection that fetches these ids: `false`, in order, for each that another one is fetching. When
    /// that has ended, [`crate::link::RelayLink::unparked`] is told. Where there is one connection alone all are granted.
    fn claim(&self, ids: &[EventId]) -> Vec<bool> {
        vec![true; ids.len()]
    }

    /// What became of these claimed ids is in the store, or nothing comes of them.
    fn release(&self, ids: &[EventId]) {
        let _ = ids;
    }
}

/// The events, the feed of what is accepted, and the state of the synchronisation.
pub trait EventStore: LocalSets + Send + Sync {
    /// The next events of `query`, which is moved on past them. A page may hold none and not be the last: how far the
    /// store looks in one call is bounded. Reads the store as it is at the time of the call.
    ///
    /// # Errors
    /// The store can't be read; `query` is as far as it was, or further by what is lost with this page.
    fn query_page(&self, query: &mut Query, now: u64, size: PageSize) -> Result<Vec<Event>, StoreError>;

    /// The same, for whoever needs the places of the events only: at most `max` of them.
    ///
    /// # Errors
    /// As [`EventStore::query_page`].
    fn query_items(&self, query: &mut Query, now: u64, max: usize) -> Result<Vec<ItemKey>, StoreError>;

    /// Visits the stored events that match any of `filters`, each once, newest first, lowest id first on ties;
    /// each filter's `limit` bounds what it contributes.
    ///
    /// # Errors
    /// The store can't be read.
    fn query(
        &self,
        filters: &[Filter],
        now: u64,
        visit: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut query = Query::new(filters.iter().cloned());
        // The first page is small, for whoever wants only the newest few.
        let mut size = PageSize { events: 32, bytes: 8 << 20 };
        while !query.is_finished() {
            for event in self.query_page(&mut query, now, size)? {
                if visit(event).is_break() {
                    return Ok(());
                }
            }
            size.events = (size.events * 4).min(1_000);
        }
        Ok(())
    }

    /// Hands events to the writer: blocks while its queue is full. `reply` gets one outcome for each event, in order.
    ///
    /// # Errors
    /// The writer is gone; `reply` was not called.
    fn submit(&self, submission: Submission, reply: Reply) -> Result<(), StoreError>;

    /// Writes state records, durably, before it returns.
    ///
    /// # Errors
    /// Nothing was written.
    fn write_state(&self, writes: Vec<StateWrite>) -> Result<(), StoreError>;

    /// All records of a room whose keys begin with `prefix`, by ascending key.
    ///
    /// # Errors
    /// The store can't be read.
    fn read_state_of(&self, table: StateTable, prefix: &[u8]) -> Result<Vec<StateRecord>, StoreError>;

    /// All records of a room, by ascending key.
    ///
    /// # Errors
    /// The store can't be read.
    fn read_state(&self, table: StateTable) -> Result<Vec<StateRecord>, StoreError> {
        self.read_state_of(table, &[])
    }

    /// The feed after `after`, at most `max` places further.
    ///
    /// # Errors
    /// The store can't be read.
    fn feed(&self, after: FeedSeq, max: usize) -> Result<FeedPage, StoreError>;

    /// The newest place in the feed.
    ///
    /// # Errors
    /// The store can't be read.
    fn feed_head(&self) -> Result<FeedSeq, StoreError>;

    /// Adds a listener, which is called from the next commit on that moves the feed's head or changes the outbox, until it
    /// says `false`.
    fn on_feed(&self, wake: FeedListener);

    /// Judges again whatever was stored without having been judged under the present policy; and removes what has
    /// expired by `now`. Returns how many events were judged.
    ///
    /// # Errors
    /// The store failed; what was judged so far stands.
    fn judge_backlog(&self, now: u64) -> Result<u64, StoreError>;

    /// What of the outbox may be offered to the own relay at `now`: first what was never answered, then what is to be
    /// offered again, soonest first; at most `max`.
    ///
    /// # Errors
    /// The store can't be read.
    fn outbox(&self, now: u64, max: usize) -> Result<Vec<HeldEvent>, StoreError>;

    /// How the outbox stands.
    ///
    /// # Errors
    /// The store can't be read.
    fn outbox_state(&self) -> Result<OutboxState, StoreError>;

    /// Takes what the own relay said of events in the outbox, with everything that follows from it, durably, before it
    /// returns. Events that are no longer held are passed over.
    ///
    /// # Errors
    /// Nothing was written.
    fn answer_outbox(&self, answers: Vec<OwnVerdict>, now: u64) -> Result<(), StoreError>;

    /// Stored events.
    ///
    /// # Errors
    /// The store can't be read.
    fn event_count(&self) -> Result<u64, StoreError>;

    /// Rows of the rejected index: hot, cold.
    ///
    /// # Errors
    /// The store can't be read.
    fn rejected_count(&self) -> Result<(u64, u64), StoreError>;

    /// How much room it takes; `None` for a store that has no bound.
    ///
    /// # Errors
    /// The store can't be read.
    fn size(&self) -> Result<Option<StoreSize>, StoreError> {
        Ok(None)
    }
}
