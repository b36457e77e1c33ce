//! What a relay does wrong, each fault by itself; the wordings are those of WIRE.md.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

use nostr::event::EventId;
use serde::{Deserialize, Serialize};

/// The faults of a relay. The default is a relay without any. Can be read from a JSON object of the same names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    // Negentropy
    /// NIP-77 is absent or turned off; says so in this way.
    pub no_negentropy: Option<NoNegentropy>,
    /// Refuses to reconcile where more records match the filter than a cap.
    pub too_big: Option<TooBig>,
    /// Reconciles only the newest events that match the filter, this many, without a word (khatru).
    pub truncate_negentropy: Option<usize>,
    /// Answers as the crate `negentropy` did before 0.5.3: where a frame is cut, the fingerprint of what remains may
    /// leave out events, so that nobody learns of them. Shows where `frame_limit` is small.
    pub old_negentropy: bool,
    /// The most reconciliations open at once; beyond, a NOTICE about concurrency (strfry).
    pub max_negentropy: Option<usize>,
    /// Forgets a reconciliation after this many answers: NEG-ERR `closed: unknown subscription handle`.
    pub forget_negentropy_after: Option<u64>,

    // REQ
    /// Serves at most this many events a filter, whatever NIP-11 says.
    pub max_limit: Option<usize>,
    /// Serves at most this many events a REQ, all its filters together.
    pub page_cap: Option<usize>,
    /// Takes `limit: 0` for no limit, and sends stored events.
    pub ignore_limit_zero: bool,
    /// Never ends the stored events of a REQ whose every filter has `limit: 0`.
    pub limit_zero_never_eose: bool,
    /// Takes no notice of `until`.
    pub ignore_until: bool,
    /// Sends the right events in an order of its own.
    pub unordered: bool,
    /// Starts at the oldest: where it can't send all, it sends the oldest, oldest first.
    pub oldest_first: bool,
    /// Serves at most this many events of a REQ by ids, all its filters together, and calls that all.
    pub max_ids: Option<usize>,
    /// Says EOSE twice.
    pub repeat_eose: bool,
    /// Sends this many of the stored events after EOSE.
    pub events_after_eose: usize,
    /// Sends one more event of a subscription that was closed.
    pub event_after_close: bool,
    /// Ends a REQ by ids with `["CLOSED", sub, ""]` instead of EOSE (chorus).
    pub closed_after_ids: bool,
    /// Announces these in negentropy, and never serves them.
    pub withheld: BTreeSet<EventId>,
    /// Answers every REQ with CLOSED and this reason.
    pub refuse_req: Option<String>,
    /// The most subscriptions open at once on a connection; beyond, CLOSED `error: too many concurrent REQs`.
    pub max_subscriptions: Option<usize>,
    /// Asks to slow down.
    pub rate_limit: Option<RateLimit>,

    // EVENT
    /// Answers every published event so, and doesn't store it.
    pub ok: Option<OkAnswer>,

    // What is sent
    /// Every n-th EVENT frame of a connection has an id that isn't the event's.
    pub wrong_id_every: Option<NonZeroU64>,
    /// Every n-th EVENT frame of a connection has a signature that isn't the author's.
    pub bad_signature_every: Option<NonZeroU64>,
    /// Before every n-th EVENT frame of a connection, one comes that doesn't match the subscription.
    pub mismatch_every: Option<NonZeroU64>,
    /// Before every n-th frame of a connection, one comes that isn't JSON.
    pub invalid_json_every: Option<NonZeroU64>,
    /// The first frame of a connection is a NOTICE of this many bytes.
    pub oversized_notice: Option<usize>,
    /// The frame after this many is sent by half; nothing follows it.
    pub half_message_after: Option<u64>,
    /// Frames come in small pieces.
    pub drip: Option<Drip>,
    /// Says nothing on a connection that has sent this many frames: 0 is at once. It still reads.
    pub stall_after: Option<u64>,
    /// Neither reads nor writes: no pong either.
    pub half_open: bool,

    // Connections
    /// Drops connections.
    pub drop_after: Option<DropAfter>,
    /// Takes connections and drops them before the handshake.
    pub refuse_connections: bool,
    /// Answers the handshake with this HTTP status.
    pub refuse_handshake: Option<u16>,
    /// Never answers the handshake.
    pub hang_handshake: bool,
    /// What is wrong with the relay's information document.
    pub nip11: Option<Nip11Fault>,
}

/// How a relay without NIP-77 answers NEG-OPEN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoNegentropy {
    /// NOTICE `ERROR: bad msg: negentropy disabled` (strfry, primal).
    NoticeDisabled,
    /// NOTICE `ERROR: bad msg: unknown cmd` (old strfry).
    NoticeUnknownCommand,
    /// NOTICE `failed to parse envelope: unknown envelope label` (khatru).
    NoticeUnknownLabel,
    /// NOTICE `could not parse command` (nostr-rs-relay).
    NoticeCouldNotParse,
    /// NOTICE `invalid: …` (nostream).
    NoticeInvalid,
    /// NEG-ERR `blocked: Negentropy sync is disabled` (chorus).
    NegErrDisabled,
    /// CLOSED `blocked: filters must specify at least one kind`, then NOTICE `failed to parse envelope…` (purplepag.es).
    ClosedAndNotice,
    /// Nothing (nostr.wine, khatru).
    Silence,
    /// A NEG-MSG that isn't hex.
    Garbage,
    /// A NEG-MSG of one byte: the highest version that it speaks, which is another one.
    OtherVersion,
}

/// A cap on reconciliations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TooBig {
    /// The most records.
    pub cap: u64,
    /// How it says so.
    #[serde(default)]
    pub wording: TooBigWording,
}

/// The wording of a NEG-ERR about size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TooBigWording {
    /// `blocked: too many query results`, with the cap as 4th element.
    #[default]
    FourthElement,
    /// `blocked: too many query results`, without the cap.
    Bare,
    /// `blocked: query matches too many records (2988225 > 1000000)`.
    Prose,
}

/// A limit on how often the relay is asked: REQ and NEG-OPEN of all its connections together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Requests that it answers.
    pub after: u64,
    /// The time, in milliseconds, after which it counts from zero again; 0 for never.
    #[serde(default)]
    pub per_ms: u64,
    /// What it says to the others.
    pub answer: RateLimitAnswer,
}

/// What a relay says that was asked too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RateLimitAnswer {
    /// CLOSED (NEG-ERR for NEG-OPEN) `rate-limited: too many REQs`.
    Closed,
    /// NOTICE `rate-limited: slow down`.
    Notice,
    /// NOTICE `Rate limit exceeded.`, and the connection is dropped (chorus).
    NoticeAndDrop,
}

/// An OK that is said of every published event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OkAnswer {
    /// Whether the event is said to be taken.
    pub accepted: bool,
    /// The reason, such as `blocked: not on the list` or `purgatory: waits for its git data`.
    pub message: String,
}

/// Frames sent slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drip {
    /// Bytes of a piece, at least 1.
    pub piece: usize,
    /// Milliseconds between pieces.
    pub pause_ms: u64,
}

/// Connections that break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropAfter {
    /// Frames that a connection sends before it is dropped.
    pub frames: u64,
    /// How many connections break; `None` for all.
    #[serde(default)]
    pub times: Option<u64>,
}

/// What is wrong with a relay's information document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Nip11Fault {
    /// 404.
    NotFound,
    /// 200, and not JSON.
    NotJson,
    /// The request is never answered.
    Hang,
    /// A document of at least this many bytes.
    Oversized(usize),
    /// 200, and these words.
    Says(String),
}

impl NoNegentropy {
    /// Every way there is.
    pub const ALL: [Self; 10] = [
        Self::NoticeDisabled,
        Self::NoticeUnknownCommand,
        Self::NoticeUnknownLabel,
        Self::NoticeCouldNotParse,
        Self::NoticeInvalid,
        Self::NegErrDisabled,
        Self::ClosedAndNotice,
        Self::Silence,
        Self::Garbage,
        Self::OtherVersion,
    ];
}
