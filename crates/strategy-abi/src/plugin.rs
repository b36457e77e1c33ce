//! What a strategy in Rust is made of.

use crate::ffi::{Id, Window, meaning};
use crate::host::{Host, Set};
use crate::settings::{ConfigError, Settings};

/// A way to reconcile: a factory of sessions, made anew of its configuration for each.
pub trait Strategy: Sized {
    /// The name in `sync.strategies`: 1 to 64 of `a-z`, `0-9`, `-`, `_`.
    const NAME: &'static str;
    /// Its version.
    const VERSION: &'static str;
    /// Whether it compares sets, so that a second session after the first one's events are stored must find nothing.
    const COMPARES_SETS: bool = false;
    /// Whether the first question of a connection goes alone, so that an answer without an id is unmistakable.
    const PROBES_ALONE: bool = false;

    /// Its sessions.
    type Session: Session;

    /// Reads its section of the configuration. Must not take long: it is read for every session.
    ///
    /// # Errors
    /// An unknown key, a wrong type, a value out of its range.
    fn configure(settings: &Settings<'_>) -> Result<Self, ConfigError>;

    /// What its configuration asks of the host.
    fn hints(&self) -> Hints {
        Hints::default()
    }

    /// Whether it is worth trying with this relay and filter. What a relay says of itself must not rule it out alone.
    ///
    /// # Errors
    /// The reason why not.
    fn suits(&self, _profile: &Profile, _filter: &Filter) -> Result<(), String> {
        Ok(())
    }

    /// Opens a session, which acts on [`Input::Start`]. `host` is for this call; each later one lends it by [`Set::host`].
    ///
    /// # Errors
    /// Why it can't.
    fn open(&self, request: Request, host: &Host<'_>) -> Result<Self::Session, String>;
}

/// One filter over one window with one relay. Called by one thread at a time, not always the same.
pub trait Session: Send {
    /// Takes an input that came at `mono_ms` (a clock that only goes forward, milliseconds) and `unix_s`.
    ///
    /// # Errors
    /// What the relay sent can't be worked with. The session is over; its outputs so far stand.
    fn handle(&mut self, input: Input<'_>, set: &Set<'_>, mono_ms: u64, unix_s: u64) -> Result<(), String>;

    /// The next output. Drained until `None` after each input.
    fn poll(&mut self) -> Option<Output>;

    /// When to give [`Input::Timeout`], and what for. Wherever a question is open there must be one: relays fall silent.
    fn next_timeout(&self) -> Option<(u64, &'static str)>;
}

/// What a strategy's configuration asks of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hints {
    /// Sessions at once on one connection, 1 to 64.
    pub concurrency: u32,
    /// Ids per request when what it needs is fetched, 1 to 10,000.
    pub fetch_chunk: u32,
    /// How long a request for what it needs, or an upload, may stay without an answer, milliseconds.
    pub answer_timeout_ms: u64,
}

impl Default for Hints {
    fn default() -> Self {
        Self { concurrency: 4, fetch_chunk: 256, answer_timeout_ms: 30_000 }
    }
}

/// What a relay says of itself (NIP-11): not to be believed. `None`: not said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// NIPs that it claims.
    pub nips: Vec<u16>,
    /// Software and version, for people.
    pub software: String,
    /// Subscriptions on one connection.
    pub max_subscriptions: Option<u64>,
    /// Filters in one REQ.
    pub max_filters: Option<u64>,
    /// Events that one filter answers.
    pub max_limit: Option<u64>,
    /// Bytes of a message that it takes.
    pub max_message_length: Option<u64>,
}

/// A filter (NIP-01): whole as JSON, and the conditions that a strategy may narrow by themselves. `None`: no such condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// All of it.
    pub json: String,
    /// Its kinds.
    pub kinds: Option<Vec<u16>>,
    /// Its authors.
    pub authors: Option<Vec<Id>>,
    /// Its ids.
    pub ids: Option<Vec<Id>>,
}

/// Which way events are to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the relay to us.
    Down,
    /// From us to the relay.
    Up,
    /// Both.
    Both,
}

impl Direction {
    /// Whether events go to the relay.
    pub fn up(self) -> bool {
        self != Self::Down
    }

    /// Whether events come to us.
    pub fn down(self) -> bool {
        self != Self::Up
    }
}

/// What a session is opened with: one filter, one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The filter. Times in its JSON bound the window further.
    pub filter: Filter,
    /// The window. Its `until` may be `u64::MAX`; what needs it fixed takes the time of the start.
    pub window: Window,
    /// What was drained before and needn't be read again.
    pub drained: Vec<Window>,
    /// What this strategy last asked to remember of this relay; empty at first.
    pub remembered: Vec<u8>,
    /// What the relay says of itself.
    pub profile: Profile,
    /// Which way events are to move.
    pub direction: Direction,
    /// Whether a session of this strategy was answered on this connection before: silence is then a stall, not a sign that
    /// the relay doesn't know it.
    pub proven: bool,
    /// For whatever is to look random.
    pub seed: u64,
}

impl Request {
    /// What of the window is to be read. What the relay lacks is known only where all that it has was seen in this session: then
    /// what was drained before is read again.
    pub fn to_read(&self) -> Vec<Window> {
        self.window.without(if self.direction.up() { &[] } else { &self.drained })
    }
}

/// What the checks said about a received event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Valid, and not known before.
    New,
    /// Known already.
    Known,
    /// Dropped, for one of the reasons of [`crate::ffi::verdict`].
    Bad(u32),
}

/// What a session is told. Numbers of meanings are those of [`crate::ffi::meaning`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input<'a> {
    /// Begin. Given once, first.
    Start,
    /// An event of one of the session's REQs, after its checks, in the order of the wire.
    Event {
        /// Which REQ.
        sub: u32,
        /// Its id; not checked where the verdict is bad.
        id: Id,
        /// Its time, checked; 0 where the verdict is bad.
        created_at: u64,
        /// What the checks said.
        verdict: Verdict,
    },
    /// A subscription has no more stored events. NIP-67's hint: `Some(true)` for `finish`, `Some(false)` for `more`.
    Eose {
        /// Which one.
        sub: u32,
        /// NIP-67.
        finished: Option<bool>,
    },
    /// The relay ended a subscription.
    Closed {
        /// Which one.
        sub: u32,
        /// What it means.
        meaning: u32,
        /// Its words.
        text: &'a str,
        /// The largest number of records that it takes.
        cap: Option<u64>,
        /// Whether its words name negentropy.
        names_negentropy: bool,
    },
    /// A reconciliation message (NIP-77), decoded from hex.
    NegMsg {
        /// Which one.
        sub: u32,
        /// The payload.
        payload: &'a [u8],
    },
    /// The relay ended a reconciliation.
    NegErr {
        /// Which one.
        sub: u32,
        /// What it means.
        meaning: u32,
        /// Its words.
        text: &'a str,
        /// The largest number of records that it takes.
        cap: Option<u64>,
        /// Whether its words name negentropy.
        names_negentropy: bool,
    },
    /// A NOTICE that answers the session's only open question.
    Notice {
        /// What it means.
        meaning: u32,
        /// Its words.
        text: &'a str,
        /// The largest number of records that it takes.
        cap: Option<u64>,
        /// Whether its words name negentropy.
        names_negentropy: bool,
    },
    /// The deadline of [`Session::next_timeout`] has passed.
    Timeout,
    /// The connection is gone. The session may conclude; nothing that it sends is sent.
    ConnectionLost,
}

/// What of the session's filter is asked for: a strategy can narrow it, never widen it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Narrow {
    /// What of the window.
    pub window: Window,
    /// These kinds only.
    pub kinds: Option<Vec<u16>>,
    /// These authors only.
    pub authors: Option<Vec<Id>>,
    /// These of the filter's ids only.
    pub ids: Option<Vec<Id>>,
}

impl Narrow {
    fn bytes(&self) -> usize {
        let ids = |ids: &Option<Vec<Id>>| ids.as_deref().map_or(0, size_of_val);
        self.kinds.as_deref().map_or(0, size_of_val) + ids(&self.authors) + ids(&self.ids)
    }

    /// All of the filter in `window`.
    pub fn to(window: Window) -> Self {
        Self { window, kinds: None, authors: None, ids: None }
    }
}

/// What a session yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Ask for stored events.
    Req {
        /// The session's number for it.
        sub: u32,
        /// What of the filter.
        narrow: Narrow,
        /// How many at most; 0 for no limit.
        limit: u64,
    },
    /// End a REQ.
    Close {
        /// Which one.
        sub: u32,
    },
    /// Begin a reconciliation.
    NegOpen {
        /// The session's number for it.
        sub: u32,
        /// What of the filter.
        narrow: Narrow,
        /// The first payload.
        payload: Vec<u8>,
    },
    /// Go on with a reconciliation.
    NegMsg {
        /// Which one.
        sub: u32,
        /// The payload.
        payload: Vec<u8>,
    },
    /// End a reconciliation.
    NegClose {
        /// Which one.
        sub: u32,
    },
    /// The relay has these and we have not: the host fetches them.
    Need {
        /// Which.
        ids: Vec<Id>,
        /// The narrowest span that is known to hold them.
        within: Window,
    },
    /// We have these and the relay has not.
    Have(Vec<Id>),
    /// What was compared, told once by a strategy that compares sets, before it is complete.
    Shared {
        /// Items that both sides have.
        count: u64,
        /// The second of the oldest of them.
        oldest: Option<u64>,
    },
    /// A second holds more events than the relay shows of it at once, or may do so. The session goes on without the rest.
    Dense {
        /// The second, unix time.
        second: u64,
        /// How many events were shown of it.
        shown: u64,
        /// Whether it is known that there are more.
        certain: bool,
    },
    /// Everything of the filter in this window was shown.
    Drained(Window),
    /// Keep this for the next session with this relay.
    Remember(Vec<u8>),
    /// A round or a page has ended, and brought so many ids or events.
    Progress(u64),
    /// The end. Nothing follows.
    Done(Outcome),
}

impl Output {
    /// How many bytes it points to.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Req { narrow, .. } => narrow.bytes(),
            Self::NegOpen { narrow, payload, .. } => narrow.bytes() + payload.len(),
            Self::NegMsg { payload: bytes, .. } | Self::Remember(bytes) => bytes.len(),
            Self::Need { ids, .. } | Self::Have(ids) => size_of_val(&**ids),
            Self::Done(Outcome::Incomplete(reason, text) | Outcome::Failed(reason, text)) => {
                text.len() + if let Reason::NotServed { ids, .. } = reason { size_of_val(&**ids) } else { 0 }
            }
            Self::Done(Outcome::TooBig(_, text) | Outcome::Unsupported(text)) => text.len(),
            Self::Close { .. }
            | Self::NegClose { .. }
            | Self::Shared { .. }
            | Self::Dense { .. }
            | Self::Drained(_)
            | Self::Progress(_)
            | Self::Done(Outcome::Complete) => 0,
        }
    }
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that the relay showed was named or delivered.
    Complete,
    /// Something is known to be missing.
    Incomplete(Reason, String),
    /// The relay finds it too big; the largest number of records that it takes, where it said so.
    TooBig(Option<u64>, String),
    /// The relay doesn't know this way.
    Unsupported(String),
    /// It went wrong; the same may work later.
    Failed(Reason, String),
}

/// What kind of failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// No answer within the time allowed.
    Timeout,
    /// The connection ended first.
    ConnectionLost,
    /// The relay's answers break the protocol, or don't end.
    Protocol,
    /// Our side could not store or read.
    Local,
    /// The relay refused: what its answer means.
    Refused(u32),
    /// The relay offered ids and doesn't serve them.
    NotServed {
        /// Some of them.
        ids: Vec<Id>,
        /// How many there are in all.
        count: u64,
    },
    /// One second holds more events than the relay shows of it.
    DenseSecond {
        /// The second.
        second: u64,
        /// At least this many events are in it.
        more_than: u64,
    },
    /// The relay finds it too big.
    TooBig(Option<u64>),
    /// The relay doesn't know this way.
    Unsupported,
}

impl Outcome {
    /// What a relay's refusal comes to for a strategy that asks by REQ: too big where it says so, otherwise a failure of the
    /// kind that it names.
    pub fn refused(meaning: u32, cap: Option<u64>, text: &str) -> Self {
        match meaning {
            meaning::TOO_BIG => Self::TooBig(cap, text.to_owned()),
            _ => Self::Failed(Reason::Refused(meaning), text.to_owned()),
        }
    }
}
