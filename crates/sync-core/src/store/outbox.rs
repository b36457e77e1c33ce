//! The outbox: accepted events that an external own relay has not taken yet (SPEC §3, §9).
//!
//! A held event is durable and known, so that nothing fetches it again; it is in neither events nor feed, and nothing that
//! depends on it is accepted before it is. So whatever the outbox offers depends on nothing else that is in it: it may be
//! offered in any order, and many at once.

use nostr::event::{Event, EventId};

/// The longest pause before an event is offered again, seconds. What is to be offered later than that, by its record, was
/// put off by a clock that was set back since, and is due.
pub const MAX_PAUSE_S: u64 = 3600;

/// How often the own relay may say that it takes an event later before nothing waits for its word on it any longer.
const PATIENCE: u32 = 4;

/// An event in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRow {
    /// The event.
    pub event: Box<Event>,
    /// Its number: rises from row to row, and outlives changes of the row. 0 for the store to give it the next.
    pub number: u64,
    /// Whether it was stored before it was held: it is stored again, though not accepted, where the own relay refuses it.
    pub was_stored: bool,
    /// When it may be offered, unix seconds; 0 until it was answered once.
    pub next_at: u64,
    /// How often the own relay said that it takes it later.
    pub refusals: u32,
    /// How often the own relay took it, to serve it when more arrives (`purgatory`).
    pub purgatories: u32,
}

impl HeldRow {
    /// An event that was never offered.
    pub fn new(event: Event, was_stored: bool) -> Self {
        Self { event: Box::new(event), number: 0, was_stored, next_at: 0, refusals: 0, purgatories: 0 }
    }

    /// Whether the own relay has put it off for so long that its word isn't waited for.
    pub fn is_put_off(&self) -> bool {
        self.purgatories > 0 || self.refusals >= PATIENCE
    }
}

/// An event that may be offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldEvent {
    /// The event.
    pub event: Event,
    /// Since when it may be offered, unix seconds; 0 where it was never answered.
    pub next_at: u64,
}

/// How the outbox stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutboxState {
    /// Events in it.
    pub held: u64,
    /// The number that was given out last; 0 for none yet.
    pub newest: u64,
    /// The lowest number of those whose answer is waited for ([`HeldRow::is_put_off`] is not).
    pub oldest_open: Option<u64>,
    /// Whether some are put off.
    pub has_put_off: bool,
    /// When the next event may be offered, unix seconds: 0 while there are events that were never answered.
    pub next_at: Option<u64>,
}

/// What an own relay's word on an event comes to (WIRE.md, "OK answers of an own relay").
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OwnAnswer {
    /// It has the event: stored now, or before.
    Has,
    /// It takes the event, and doesn't serve it before more arrives: offered again on a timer, a bounded number of times.
    Purgatory {
        /// Its words.
        text: String,
    },
    /// It doesn't take it now: offered again, less and less often.
    Later {
        /// Its words, or what happened.
        text: String,
    },
    /// It never will: rejected, with its words.
    Never {
        /// Its words.
        text: String,
    },
}

/// An answer, and the event that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnVerdict {
    /// The event.
    pub id: EventId,
    /// What the own relay said.
    pub answer: OwnAnswer,
}
