//! The outbox: accepted events that an external own relay has not taken yet (SPEC §3, §9).
//!
//! A held event is durable and known, so that nothing fetches it again; it is in neither events nor feed, and nothing that
//! depends on it is accepted before it is. So whatever the outbox offers depends on nothing else that is in it: it may be
//! offered in any order, and many at once.

use nostr::event::{Event, EventId};

/// The longest pause before an event is offered again, seconds. What is to be offered later than that, by its record, was
/// put off by a clock that was set back since, and is due.
pub const MAX_PAUSE_S: u64 = 3600;

/// An event in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRow {
    /// The event.
    pub event: Box<Event>,
    /// When it may be offered, unix seconds; 0 until it was answered once.
    pub next_at: u64,
    /// How often the own relay said that it takes it later.
    pub refusals: u32,
    /// How often the own relay took it, to serve it when more arrives (`purgatory`).
    pub purgatories: u32,
}

impl HeldRow {
    /// An event that was never offered.
    pub fn new(event: Event) -> Self {
        Self { event: Box::new(event), next_at: 0, refusals: 0, purgatories: 0 }
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
    /// When the next event may be offered, unix seconds: 0 while there are events that were never answered.
    pub next_at: Option<u64>,
}

impl OutboxState {
    /// Whether there are events that the own relay has said nothing of.
    pub fn has_unanswered(&self) -> bool {
        self.next_at == Some(0)
    }
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
