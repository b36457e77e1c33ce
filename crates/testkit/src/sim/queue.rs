//! What is going to happen, in order of virtual time; what is due at the same moment happens in the order of its making.

use std::collections::BTreeMap;

use nostr::event::EventId;
use sync_core::link::{Checked, LinkCommand, Token};
use sync_core::manager::ManagerInput;
use sync_core::store::{IntakeOutcome, OwnVerdict, StateWrite, StoreError, Submission};
use sync_core::transport::Fault;

use super::backoff::Record;

/// Which connection of which relay, and of which life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wire {
    /// The relay's place.
    pub(super) relay: usize,
    /// The connection's number, unique in the run.
    pub(super) number: u64,
}

/// Something that happens.
#[derive(Debug)]
pub(super) enum Step {
    /// The plan's next happening.
    Plan(usize),
    /// The process starts.
    Start,
    /// Within a life of the process; void when that is over.
    Process(u64, Inner),
    /// Whether all is as it should be at last.
    Verdict,
    /// The probes that were published must have come by live sync.
    Probed(Vec<EventId>),
}

/// Something that happens within the process, or to its connections.
#[derive(Debug)]
pub(super) enum Inner {
    ManagerTimer(u64),
    ToManager(ManagerInput),
    Feed,
    Attempted(Wire),
    ToLink(Wire, LinkCommand),
    LinkTimer(Wire, u64),
    Up(Wire, String),
    Down(Wire, String),
    Cut(Wire, Option<Fault>),
    /// The connection is cut if the relay is still as silent as it was.
    Silent(Wire),
    HandOver(Wire),
    Checked(Wire, Vec<Checked>),
    Commit(Wire, usize, Vec<Token>, Submission),
    Settled(Wire, usize, Vec<(Token, EventId, Result<IntakeOutcome, StoreError>)>),
    /// Records are written; beside them what they say of relays' health, by place.
    Persist(Vec<StateWrite>, Vec<(usize, Record)>),
    /// What waits for the own relay is looked at, and offered.
    Outbox,
    /// What the own relay said of what was published goes to the store.
    Answered(Vec<OwnVerdict>),
    /// A connection has said everything, and has ended.
    Ended(Wire, Option<Fault>),
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    steps: BTreeMap<(u64, u64), Step>,
    next: u64,
}

impl Queue {
    /// Lets `step` happen at `at` milliseconds.
    pub(super) fn put(&mut self, at: u64, step: Step) {
        self.steps.insert((at, self.next), step);
        self.next += 1;
    }

    pub(super) fn pop(&mut self) -> Option<(u64, Step)> {
        self.steps.pop_first().map(|((at, _), step)| (at, step))
    }
}
