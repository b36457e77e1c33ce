//! What a plugin is given: its configuration, what a relay says of itself, requests, inputs.

use super::{Bytes, Id, Window};

/// A value of the strategy's section of the configuration.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its key.
    pub key: Bytes,
    /// The text of a text; of anything else its JSON.
    pub text: Bytes,
    /// One of [`setting`].
    pub kind: u32,
    /// 0.
    pub reserved: u32,
    /// A whole number's value; 1 and 0 for true and false.
    pub integer: i64,
    /// Where it is a text such as `30s`: milliseconds; otherwise [`NONE`].
    pub duration_ms: u64,
}

/// What [`Setting::kind`] can be.
pub mod setting {
    /// A whole number that fits 64 bits with a sign.
    pub const INTEGER: u32 = 1;
    /// True or false.
    pub const BOOL: u32 = 2;
    /// A text.
    pub const TEXT: u32 = 3;
    /// Anything else: read its JSON.
    pub const OTHER: u32 = 4;
}

/// The strategy's section of the configuration.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// The size that the host knows of this struct.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// All of it as JSON, an object.
    pub json: Bytes,
    /// Its values, for who has no reader of JSON.
    pub settings: *const Setting,
    /// How many.
    pub settings_len: usize,
}

/// What `check_config` answers. The host sets `struct_size`, the plugin the rest.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Checked {
    /// The size that the host knows of this struct: what lies beyond it isn't there.
    pub struct_size: u32,
    /// Sessions at once on one connection, 1 to 64.
    pub concurrency: u32,
    /// Ids per request when what it needs is fetched, 1 to 10,000.
    pub fetch_chunk: u32,
    /// 0.
    pub reserved: u32,
    /// How long a request for what it needs, or an upload, may stay without an answer, milliseconds.
    pub answer_timeout_ms: u64,
    /// Where it failed: the key that is wrong. Like the two that follow good until the plugin is called again on this thread.
    pub key: Bytes,
    /// The value that was found, as JSON.
    pub value: Bytes,
    /// What is allowed, in words.
    pub allowed: Bytes,
}

/// What a relay says of itself (NIP-11): not to be believed. [`NONE`]: not said.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// The size that the host knows of this struct.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// NIPs that it claims.
    pub nips: *const u16,
    /// How many.
    pub nips_len: usize,
    /// Software and version, for people.
    pub software: Bytes,
    /// Subscriptions on one connection.
    pub max_subscriptions: u64,
    /// Filters in one REQ.
    pub max_filters: u64,
    /// Events that one filter answers.
    pub max_limit: u64,
    /// Bytes of a message that it takes.
    pub max_message_length: u64,
}

/// A filter (NIP-01), whole as JSON, and the conditions that a strategy may narrow by themselves.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Filter {
    /// All of it.
    pub json: Bytes,
    /// Its kinds; null where it has no such condition.
    pub kinds: *const u16,
    /// How many.
    pub kinds_len: usize,
    /// Its authors; null where it has no such condition.
    pub authors: *const Id,
    /// How many.
    pub authors_len: usize,
    /// Its ids; null where it has no such condition.
    pub ids: *const Id,
    /// How many.
    pub ids_len: usize,
}

/// What a session is opened with: one filter, one window. Good during `create` only.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// The size that the host knows of this struct.
    pub struct_size: u32,
    /// Which way events are to move: 1 from the relay to us, 2 from us to the relay, 3 both.
    pub direction: u32,
    /// The filter. Times in it bound the window further.
    pub filter: Filter,
    /// The window. Its `until` may be [`NONE`]; what needs it fixed takes the time of the start.
    pub window: Window,
    /// What was drained before and needn't be read again.
    pub drained: *const Window,
    /// How many.
    pub drained_len: usize,
    /// What this strategy last asked to remember of this relay; empty at first.
    pub remembered: Bytes,
    /// What the relay says of itself.
    pub profile: *const Profile,
    /// For whatever is to look random.
    pub seed: u64,
    /// 1 where a session of this strategy was answered on this connection before: silence is then a stall, not a sign that the
    /// relay doesn't know it.
    pub proven: u32,
    /// 0.
    pub reserved: u32,
}

/// What a session is told. Good during `handle` only.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Input {
    /// One of [`input`].
    pub kind: u32,
    /// The session's number of the subscription that it belongs to.
    pub sub: u32,
    /// When it came, by a clock that only goes forward, milliseconds.
    pub mono_ms: u64,
    /// When it came, unix seconds.
    pub unix_s: u64,
    /// EVENT: its time, checked; 0 where the verdict is bad.
    pub created_at: u64,
    /// EVENT: its id; not checked where the verdict is bad.
    pub id: Id,
    /// EVENT: one of [`verdict`].
    pub verdict: u32,
    /// EOSE: NIP-67's hint. 1 for `finish`, 0 for `more`, -1 where there is none.
    pub finished: i32,
    /// CLOSED, NEG_ERR, NOTICE: what it means, one of [`meaning`].
    pub meaning: u32,
    /// CLOSED, NEG_ERR, NOTICE: 1 where the words name negentropy.
    pub names_negentropy: u32,
    /// CLOSED, NEG_ERR, NOTICE: the largest number of records that the relay takes, or [`NONE`].
    pub cap: u64,
    /// CLOSED, NEG_ERR, NOTICE: the relay's own words, UTF-8. NEG_MSG: the payload.
    pub bytes: Bytes,
}

/// What [`Input::kind`] can be.
pub mod input {
    /// Begin. Given once, first.
    pub const START: u32 = 1;
    /// An event of one of the session's REQs, after its checks, in the order of the wire.
    pub const EVENT: u32 = 2;
    /// A subscription has no more stored events.
    pub const EOSE: u32 = 3;
    /// The relay ended a subscription.
    pub const CLOSED: u32 = 4;
    /// A reconciliation message (NIP-77), decoded from hex.
    pub const NEG_MSG: u32 = 5;
    /// The relay ended a reconciliation.
    pub const NEG_ERR: u32 = 6;
    /// A NOTICE that answers the session's only open question.
    pub const NOTICE: u32 = 7;
    /// The deadline of `next_timeout` has passed.
    pub const TIMEOUT: u32 = 8;
    /// The connection is gone. The session may conclude; nothing that it sends is sent.
    pub const CONNECTION_LOST: u32 = 9;
}

/// What [`Input::verdict`] can be.
pub mod verdict {
    /// Valid, and not known before.
    pub const NEW: u32 = 0;
    /// Known already.
    pub const KNOWN: u32 = 1;
    /// Dropped. So is every higher number.
    pub const BAD: u32 = 16;
    /// Not an event.
    pub const BAD_MALFORMED: u32 = 17;
    /// Larger than allowed.
    pub const BAD_TOO_LARGE: u32 = 18;
    /// More tags than allowed.
    pub const BAD_TOO_MANY_TAGS: u32 = 19;
    /// The id isn't the hash of the content.
    pub const BAD_WRONG_ID: u32 = 20;
    /// Matches nothing that was asked.
    pub const BAD_NOT_ASKED: u32 = 21;
    /// The signature is wrong.
    pub const BAD_SIGNATURE: u32 = 22;
}

/// What [`Input::meaning`] can be. Numbers that a plugin doesn't know count as [`meaning::UNKNOWN`].
pub mod meaning {
    /// Nothing, or nothing that is known.
    pub const UNKNOWN: u32 = 0;
    /// It doesn't know this message, or has it turned off.
    pub const UNSUPPORTED: u32 = 1;
    /// Too many records for one reconciliation or query.
    pub const TOO_BIG: u32 = 2;
    /// It no longer knows the reconciliation.
    pub const SESSION_GONE: u32 = 3;
    /// It wants NIP-42 first.
    pub const AUTH_REQUIRED: u32 = 4;
    /// It doesn't serve this to us.
    pub const RESTRICTED: u32 = 5;
    /// Too fast.
    pub const RATE_LIMITED: u32 = 6;
    /// Too many subscriptions or reconciliations at once. Says nothing about support.
    pub const TOO_MANY_AT_ONCE: u32 = 7;
    /// It won't, for a reason of its own that isn't size.
    pub const BLOCKED: u32 = 8;
    /// It finds the message wrong.
    pub const INVALID: u32 = 9;
    /// It broke, or says that we broke the protocol.
    pub const ERROR: u32 = 10;
    /// It has the event already: an answer to EVENT, as are the two that follow. Relays have been seen to mix them up.
    pub const DUPLICATE: u32 = 11;
    /// Accepted, but not served until more arrives.
    pub const PURGATORY: u32 = 12;
    /// It wants proof of work.
    pub const POW: u32 = 13;
}
