//! How one filter is reconciled with one relay: the contract that every strategy keeps, built in or not.
//!
//! A [`SyncStrategy`] is a factory; a [`SyncSession`] carries **one filter over one time window** with one relay.
//! A session is a machine: [`SyncSession::handle`] takes an input, then [`SyncSession::poll`] is drained until
//! `None`. It speaks in numbers of its own ([`SubId`]) that [`crate::link`] maps to wire ids and charges to the
//! relay's budget. It never sees an event that didn't pass the checks, and it fetches nothing by id itself: it
//! says what it needs ([`Output::Need`]), and what becomes of each id is accounted for outside.

mod config;
mod set;

use std::sync::Arc;

use nostr::event::EventId;
use nostr::filter::Filter;
use serde::{Deserialize, Serialize};

pub use config::{Section, duration_text, parse_duration_ms};
pub use set::{ItemKey, KeyRange, SetView, VecSet, fingerprint_of};

use crate::model::SyncMethod;
use crate::response::Said;
use crate::time::{MonoMillis, Now};

/// A subscription number of one session. REQ and NEG numbers share one space within the session.
pub type SubId = u32;

/// A span of `created_at`, both ends included (NIP-01 `since` and `until`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Window {
    /// First second.
    pub since: u64,
    /// Last second.
    pub until: u64,
}

impl Window {
    /// All of time.
    pub const ALL: Self = Self { since: 0, until: u64::MAX };

    /// Whether `second` lies within.
    pub fn contains(&self, second: u64) -> bool {
        (self.since..=self.until).contains(&second)
    }

    /// What `done` leaves of it, oldest first. Windows that end before they begin are nothing. Costs as much as sorting `done`.
    pub fn without(self, done: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut done: Vec<Self> = done.into_iter().filter(|done| done.since <= done.until).collect();
        done.sort_unstable();
        let mut gaps = Vec::new();
        let mut from = Some(self.since);
        for Self { since, until } in done {
            let Some(open) = from.filter(|_| since <= self.until) else { break };
            if since > open {
                gaps.push(Self { since: open, until: since - 1 });
            }
            if until >= open {
                from = until.checked_add(1);
            }
        }
        gaps.extend(from.filter(|open| *open <= self.until).map(|since| Self { since, until: self.until }));
        gaps
    }

    /// `filter` with `since` and `until` narrowed to this window; ends that don't bound anything are left out.
    pub fn narrow(&self, filter: &Filter) -> Filter {
        let mut filter = filter.clone();
        let since = self.since.max(filter.since.map_or(0, |t| t.as_secs()));
        let until = self.until.min(filter.until.map_or(u64::MAX, |t| t.as_secs()));
        filter.since = (since > 0).then(|| nostr::types::Timestamp::from_secs(since));
        filter.until = (until < u64::MAX).then(|| nostr::types::Timestamp::from_secs(until));
        filter
    }
}

/// Who a strategy is, and what it asks of the link.
#[derive(Debug, Clone)]
pub struct StrategyDescriptor {
    /// The name in `sync.strategies`.
    pub name: SyncMethod,
    /// Its version.
    pub version: String,
    /// It compares sets, so that a second session after ingest must find nothing (SPEC §7, verification round).
    pub compares_sets: bool,
    /// The first question of a connection goes alone, so that an answer without an id is unmistakable.
    pub probes_alone: bool,
}

/// What a strategy's configuration asks of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionHints {
    /// Sessions at once on one connection, at least 1.
    pub concurrency: usize,
    /// Ids per request when what it needs is fetched, at least 1.
    pub fetch_chunk: usize,
    /// How long a request for what it needs, or an upload, may stay without an answer, milliseconds.
    pub answer_timeout_ms: u64,
}

/// What a relay says of itself (NIP-11), with lies clamped to what can be used. `None`: not said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelayProfile {
    /// NIPs that it claims. Not to be believed (WIRE.md).
    pub supported_nips: Vec<u16>,
    /// `software` and `version`, for people.
    pub software: String,
    /// Subscriptions on one connection.
    pub max_subscriptions: Option<usize>,
    /// Filters in one REQ.
    pub max_filters: Option<usize>,
    /// Events that one filter answers.
    pub max_limit: Option<usize>,
    /// Bytes of a message that it takes.
    pub max_message_length: Option<usize>,
    /// Characters of a subscription id.
    pub max_subid_length: Option<usize>,
}

impl RelayProfile {
    /// Subscriptions to count on where NIP-11 says nothing: what the strictest relays of the field allow (WIRE.md).
    pub const DEFAULT_MAX_SUBSCRIPTIONS: usize = 20;

    /// Subscriptions to count on.
    pub fn assumed_max_subscriptions(&self) -> usize {
        self.max_subscriptions.unwrap_or(Self::DEFAULT_MAX_SUBSCRIPTIONS)
    }
}

/// Which way events are to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// From the relay to us.
    #[default]
    Down,
    /// From us to the relay.
    Up,
    /// Both.
    Both,
}

impl Direction {
    /// Whether events come to us.
    pub fn down(self) -> bool {
        matches!(self, Self::Down | Self::Both)
    }

    /// Whether events go to the relay.
    pub fn up(self) -> bool {
        matches!(self, Self::Up | Self::Both)
    }
}

/// What a session is opened with: one filter, one window.
#[derive(Debug, Clone)]
pub struct SessionRequest {
    /// The filter, without `since`, `until` beyond the window's, and without `limit`.
    pub filter: Filter,
    /// The window. `until` may be `u64::MAX`; a session that needs it fixed uses the time of `Start`.
    pub window: Window,
    /// What was drained before and needn't be read again.
    pub drained: Vec<Window>,
    /// What this strategy last asked to remember of this relay; empty at first.
    pub remembered: Vec<u8>,
    /// What the relay says of itself.
    pub profile: RelayProfile,
    /// Which way events are to move. A strategy that can tell what the relay lacks only at a price pays it for `Up` and
    /// `Both` alone.
    pub direction: Direction,
    /// Whether a session of this strategy was answered on this connection before: silence is then a stall, not
    /// a sign that the relay doesn't know it.
    pub proven: bool,
    /// For whatever the strategy wants to look random.
    pub seed: u64,
}

/// Whether a strategy is worth trying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suitability {
    /// Try it.
    Suits,
    /// Pass it over, with the reason.
    No(String),
}

/// What is wrong with a strategy's configuration: names key, value and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("strategy.{strategy}.{key} = {value}: {allowed}")]
pub struct ConfigError {
    /// The strategy's name.
    pub strategy: String,
    /// The key.
    pub key: String,
    /// The value found.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
}

/// A strategy's section of the configuration, as JSON: `{}` where there is none. Durations and sizes are
/// texts such as `"30s"`.
pub type StrategyConfig = serde_json::Value;

/// A way to reconcile: a factory of sessions.
pub trait SyncStrategy: Send + Sync {
    /// Who it is.
    fn descriptor(&self) -> &StrategyDescriptor;

    /// What its configuration asks of the link.
    fn hints(&self) -> SessionHints;

    /// Whether it is worth trying with this relay and filter: asked once for each filter of a batch. NIP-11 alone must not rule it
    /// out (WIRE.md).
    fn suits(&self, profile: &RelayProfile, filter: &Filter) -> Suitability;

    /// Opens a session; it acts on [`Input::Start`].
    fn open(&self, request: SessionRequest) -> Box<dyn SyncSession>;
}

/// What a session is told.
#[derive(Debug)]
pub enum Input<'a> {
    /// Begin. Given once, first.
    Start,
    /// A subscription of this session has no more stored events. NIP-67's hint: `Some(true)` for `finish`,
    /// `Some(false)` for `more`.
    Eose {
        /// Which one.
        sub: SubId,
        /// NIP-67.
        finished: Option<bool>,
    },
    /// The relay ended a subscription of this session.
    Closed {
        /// Which one.
        sub: SubId,
        /// What it said, classified.
        said: &'a Said,
    },
    /// A reconciliation message (NIP-77), decoded from hex.
    NegMsg {
        /// Which one.
        sub: SubId,
        /// The payload.
        payload: &'a [u8],
    },
    /// The relay ended a reconciliation.
    NegErr {
        /// Which one.
        sub: SubId,
        /// What it said, classified; holds the cap of the 4th element.
        said: &'a Said,
    },
    /// A NOTICE that answers this session's only open question.
    Notice {
        /// What it said, classified.
        said: &'a Said,
    },
    /// An event of one of this session's REQs, after its checks, in wire order.
    Event {
        /// Which REQ.
        sub: SubId,
        /// Its id; unchecked where the verdict is `Bad`.
        id: EventId,
        /// Its time, checked; 0 where the verdict is `Bad`.
        created_at: u64,
        /// What the checks said.
        verdict: CheckVerdict,
    },
    /// The deadline of [`SyncSession::next_timeout`] has passed.
    Timeout,
    /// The connection is gone. The session may conclude; nothing that it sends is sent.
    ConnectionLost,
}

/// What the checks of SPEC §8 said about a received event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckVerdict {
    /// Valid, and not known before.
    New,
    /// Known already; `created_at` is the one on record.
    Known,
    /// Dropped.
    Bad(BadEvent),
}

/// Why a received event was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum BadEvent {
    /// Not an event.
    Malformed,
    /// More bytes than `limits.max_event_size`.
    TooLarge,
    /// More tags than `limits.max_tags`.
    TooManyTags,
    /// The id isn't the hash of the content.
    WrongId,
    /// Matches no filter of the subscription that it came by.
    NotAsked,
    /// The signature is wrong.
    BadSignature,
}

impl BadEvent {
    /// Whether it is not the event whose id it has: there may be another that is.
    pub fn is_forgery(self) -> bool {
        matches!(self, Self::WrongId | Self::BadSignature)
    }

    /// The name in counts and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::TooManyTags => "too_many_tags",
            Self::WrongId => "wrong_id",
            Self::NotAsked => "not_asked",
            Self::BadSignature => "bad_signature",
        }
    }
}

/// A message that a session may send.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Ask for stored events. One filter: a session has one.
    Req {
        /// The session's number for it.
        sub: SubId,
        /// The filter, with `limit` where a page is wanted. Boxed: filters are large.
        filter: Box<Filter>,
    },
    /// End a REQ.
    Close {
        /// Which one.
        sub: SubId,
    },
    /// Begin a reconciliation.
    NegOpen {
        /// The session's number for it.
        sub: SubId,
        /// What is reconciled.
        filter: Box<Filter>,
        /// The first payload.
        payload: Vec<u8>,
    },
    /// Go on with a reconciliation.
    NegMsg {
        /// Which one.
        sub: SubId,
        /// The payload.
        payload: Vec<u8>,
    },
    /// End a reconciliation.
    NegClose {
        /// Which one.
        sub: SubId,
    },
}

/// What a session yields.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send this.
    Send(Message),
    /// The relay has these and we have not: fetch them.
    Need {
        /// Which.
        ids: Vec<EventId>,
        /// The narrowest span that is known to hold them.
        within: Window,
    },
    /// We have these and the relay has not. Told whichever way events move: what a relay seems to lack is looked at
    /// for silent truncation, too (SPEC §7).
    Have(Vec<EventId>),
    /// What was compared, told once by a strategy that compares sets, before it is [`SessionOutcome::Complete`].
    Shared {
        /// Items that both sides have.
        count: u64,
        /// The second of the oldest of them.
        oldest: Option<u64>,
    },
    /// A second holds more events than the relay shows of it at once, or may do so. The session goes on without the rest; the engine
    /// asks for it by narrower filters.
    Dense {
        /// The second, unix time.
        second: u64,
        /// How many events were shown of it.
        shown: u64,
        /// Whether it is known that there are more; otherwise nothing says that there aren't.
        certain: bool,
    },
    /// Everything in this window was shown. Only the engine, which knows what became of each id, can call it complete.
    Drained(Window),
    /// Keep this for the next session with this relay.
    Remember(Vec<u8>),
    /// A round or a page has ended.
    Progress {
        /// Ids or events that it brought.
        items: u64,
    },
    /// The end. Nothing follows.
    Done(SessionOutcome),
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionOutcome {
    /// Everything that the relay showed was named or delivered.
    Complete,
    /// Something is known to be missing.
    Incomplete {
        /// What.
        reason: crate::model::FailureReason,
        /// For people.
        text: String,
    },
    /// The relay finds it too big.
    TooBig {
        /// The largest number of records that it takes.
        cap: Option<u64>,
        /// What it said.
        text: String,
    },
    /// The relay doesn't know this way.
    Unsupported {
        /// What it said or did.
        text: String,
    },
    /// It went wrong; the same may work later.
    Failed {
        /// What kind.
        reason: crate::model::FailureReason,
        /// For people.
        text: String,
    },
}

/// A session broke its contract, or the relay's answer can't be worked with. Ends the session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProtocolError(pub String);

/// One filter, one window, one relay.
pub trait SyncSession: Send {
    /// Takes an input. `local` is what we have or don't want that matches filter and window; it is frozen within
    /// the call and may differ in the next.
    ///
    /// # Errors
    /// What the relay sent can't be worked with. The session is over; its outputs so far stand.
    fn handle(&mut self, input: Input<'_>, local: &dyn SetView, now: Now) -> Result<(), ProtocolError>;

    /// The next output; drain until `None` after each `handle`.
    fn poll(&mut self) -> Option<Output>;

    /// When to give [`Input::Timeout`], and what for. Changes only by `handle`.
    fn next_timeout(&self) -> Option<(MonoMillis, &'static str)>;
}

/// The strategies of a connection, in order of preference.
pub type StrategyOrder = Vec<Arc<dyn SyncStrategy>>;
