//! One connection to one relay: live subscriptions, batches, sessions and their fallback, fetching by id, uploads,
//! and the budget that they share (SPEC §7).
//!
//! [`RelayLink`] is a machine: the shell hands it frames, results of checks and commits, and commands; it yields
//! frames to send, events to check, and what became of each batch.
//!
//! | module | decides |
//! |---|---|
//! | `machine` | its state, its entrances, and where each frame goes |
//! | `inbox` | when a frame is acted on: after the checks of the events before it |
//! | `batches`, `part` | how a batch begins and ends; what of one filter is still to be carried, and what is missing |
//! | `piece`, `settle` | one window of a filter; what follows when its session has ended |
//! | `windows`, `narrow` | how long windows are; how a second is asked for that is too dense |
//! | `session`, `running`, `outcome`, `answers` | which strategy carries a piece, what it hears of the relay, what its end means |
//! | `probe` | whether a relay left something out without a word |
//! | `memory`, `overlap` | what outlives the connection: drained windows, what was learnt of the relay; what two filters share |
//! | `fetch`, `upload` | what is asked for by id, and what is offered |
//! | `publish` | what the outbox hands over for the own relay, and that relay's word |
//! | `verdicts` | what checks and store said of events |
//! | `auth` | how a relay is told who we are |
//! | `silence` | when the relay was last heard, and when it is given up for its silence |
//! | `live` | which live subscriptions are open |
//! | `subs` | what is open on the wire, and whose it is |
//! | `questions` | what is told of each question to whoever observes |
//! | `wire` | how frames are read and written |

mod answers;
mod auth;
mod batches;
mod fetch;
mod inbox;
mod live;
mod machine;
mod memory;
mod narrow;
mod outcome;
mod overlap;
mod part;
mod piece;
mod probe;
mod publish;
mod questions;
mod running;
mod session;
mod settle;
mod silence;
mod subs;
mod upload;
mod verdicts;
mod windows;
mod wire;

use std::sync::Arc;

use nostr::event::EventId;
use nostr::filter::Filter;

use crate::model::{BatchId, BatchReport, BatchRequest, FilterCoverage};
use crate::store::{OwnVerdict, StateWrite};
use crate::strategy::CheckVerdict;
use crate::transport::Fault;

pub use machine::{LinkConfig, RelayLink};
pub use memory::RelayMemory;
pub use questions::Surround;

/// The number of a live subscription, chosen by who asks for it.
pub type LiveKey = u64;

/// A live subscription that should be open.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveSubscription {
    /// Its number. The same key with other filters replaces what was open under it, without a gap.
    pub key: LiveKey,
    /// Its filters, without `limit`; the link adds `limit: 0`, or a `since` a little ago where the relay mishandles that.
    pub filters: Vec<Filter>,
}

/// What the manager asks of a connection.
#[derive(Debug, Clone)]
pub enum LinkCommand {
    /// These live subscriptions, and no others, are to be open: what is new is opened before what is gone is closed.
    Live(Vec<LiveSubscription>),
    /// Carry this batch; it ends in one [`LinkOutput::BatchDone`], unless it is cancelled.
    Batch(BatchRequest),
    /// Give up this batch; no report follows.
    Cancel(BatchId),
    /// What kept live subscriptions closed is over: those that wait open at once.
    Retry,
}

/// Ties what the shell brings back to what the link asked for.
pub type Token = u64;

/// An event that the shell is to check, in the order of the wire.
#[derive(Debug, Clone)]
pub struct CheckJob {
    /// Comes back in [`RelayLink::checked`].
    pub token: Token,
    /// The event as JSON, unparsed.
    pub json: String,
    /// What it was asked by.
    pub filters: Arc<[Filter]>,
    /// Whether it is to be stored when it is valid and new.
    pub store: bool,
    /// The batch that it came for; `None` where it came by a live subscription.
    pub batch: Option<BatchId>,
    /// The question that brought it: [`LinkNotice::Asked`].
    pub question: Option<u64>,
}

/// What the checks said of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// The job.
    pub token: Token,
    /// Its id as claimed; zeros where the JSON can't be read.
    pub id: EventId,
    /// Its time: checked where the verdict is `New`, on record where `Known`.
    pub created_at: u64,
    /// The verdict.
    pub verdict: CheckVerdict,
}

/// What a connection tells the shell.
#[derive(Debug)]
#[non_exhaustive]
pub enum LinkOutput {
    /// Send this frame.
    Send(String),
    /// Check this event; every job is answered, in any order.
    Check(CheckJob),
    /// These ids are known, were kept out, and the relay offers them: the store is to remember that.
    Offered(Vec<EventId>),
    /// Write these records of the relay's memory: with the next events, or soon. They speak of nothing that isn't stored.
    Persist(Vec<StateWrite>),
    /// A batch has ended, and every event of it is accounted for.
    BatchDone(Box<BatchReport>),
    /// Something happened that the manager or an observer wants to know.
    Notice(LinkNotice),
    /// What the relay said of an event that was published ([`RelayLink::publish`]).
    Published(OwnVerdict),
    /// The connection is of no use: close it, for this reason.
    Close(Fault),
}

/// What a relay is asked for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Asked {
    /// A message of a reconciliation.
    Round,
    /// A REQ with the session's filter.
    Page,
    /// A REQ for this many ids.
    Ids(u64),
    /// A REQ for a few events that a reconciliation may have left out.
    Probe,
}

/// How a question ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerEnd {
    /// With the end that belongs to it.
    Whole,
    /// The relay refused or broke off; its words.
    Broken(String),
    /// It was taken back.
    TakenBack,
}

/// What happened on a connection, for the manager, metrics and traces.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum LinkNotice {
    /// The relay asked us to slow down; nothing must be asked of it during the cool-down.
    RateLimited {
        /// Its words.
        text: String,
    },
    /// A live subscription was refused or doesn't fit the budget: live sync is incomplete.
    LiveRefused {
        /// Which one.
        key: LiveKey,
        /// Why.
        text: String,
    },
    /// A live subscription that was refused before is open.
    LiveRestored {
        /// Which one.
        key: LiveKey,
    },
    /// A session passed from one strategy to the next.
    FellBack {
        /// The batch.
        batch: BatchId,
        /// The strategy that gave up.
        from: String,
        /// The strategy that took over; empty where none was left.
        to: String,
        /// Why.
        reason: String,
        /// Whether this is the first time on this connection that `from` turned out unsupported: worth a warning.
        first: bool,
    },
    /// A session began.
    SessionStarted {
        /// The batch.
        batch: BatchId,
        /// The session, unique within the connection.
        session: u64,
        /// Its strategy.
        strategy: String,
        /// Its filter, as JSON, cut to a readable length.
        filter: String,
        /// Its window.
        window: crate::strategy::Window,
    },
    /// A session ended.
    SessionEnded {
        /// The batch.
        batch: BatchId,
        /// The session.
        session: u64,
        /// Rounds or pages.
        rounds: u64,
        /// `complete`, or the reason.
        outcome: String,
        /// Whether something is missing for it: it isn't complete, and not merely cut into smaller windows.
        failed: bool,
    },
    /// A question of a session went out: for observers alone, there are many.
    Asked {
        /// The batch.
        batch: BatchId,
        /// The session; for a request by id, the last one that named some of the ids. It may have ended.
        session: u64,
        /// The question, unique within the connection.
        question: u64,
        /// What kind of question.
        kind: Asked,
    },
    /// A question has its end: for observers alone.
    Answered {
        /// The batch.
        batch: BatchId,
        /// The question.
        question: u64,
        /// Events that came by it.
        received: u64,
        /// How it ended.
        end: AnswerEnd,
    },
    /// What is drained of a batch, filter by filter; at most [`FilterCoverage::MAX_FILTERS`], those that aren't whole first.
    /// Told when a window has ended, once a second at most.
    Coverage {
        /// The batch.
        batch: BatchId,
        /// Its filters.
        filters: Vec<FilterCoverage>,
    },
    /// The relay was heard; told once a minute at most while it is, and when the connection ends.
    Heard {
        /// When, last of all; unix seconds.
        at: u64,
    },
    /// An event failed a check and was dropped.
    Bad {
        /// Why.
        reason: crate::strategy::BadEvent,
        /// The batch that it came for.
        batch: Option<BatchId>,
    },
    /// A frame that can't be read.
    Garbage,
    /// The relay wants NIP-42 authentication.
    AuthRequired {
        /// The challenge of its AUTH message.
        challenge: String,
        /// Whether we answer, or have no key.
        answered: bool,
    },
    /// The relay doesn't accept our authentication.
    AuthRefused {
        /// Its words.
        text: String,
    },
}
