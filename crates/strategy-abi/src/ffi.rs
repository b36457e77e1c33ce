//! The types that cross the boundary, as C sees them. `include/grasp_strategy.h` says the same, and a test holds the two
//! against each other.
//!
//! Everything is plain: integers, bytes, pointers to them with a length, functions. Who reads what, and how long a
//! pointer is good, stands with each of them and in `docs/plugin-abi.md`.

use std::ffi::c_void;

/// The first eight bytes of a [`StrategyV1`], read as a number: `GRSPSYNC`.
pub const MAGIC: u64 = u64::from_be_bytes(*b"GRSPSYNC");
/// The version of this interface that must be equal on both sides.
pub const ABI_MAJOR: u16 = 1;
/// The version of this interface that may differ: a higher one has more at the ends of its structs.
pub const ABI_MINOR: u16 = 0;
/// The one symbol of a library.
pub const SYMBOL: &str = "grasp_sync_strategy_v1";

/// The type of the function behind [`SYMBOL`].
pub type Entry = unsafe extern "C" fn() -> *const StrategyV1;

/// It worked.
pub const OK: i32 = 0;
/// It worked, and there is one: an output, a deadline. Of `suits`: yes.
pub const SOME: i32 = 1;
/// It failed, for the reason that `last_error` tells; a session is over.
pub const FAILED: i32 = -1;
/// The plugin panicked; a session is over.
pub const PANICKED: i32 = -2;

/// Of [`StrategyV1::flags`]: it compares sets, so that a second session after the first one's events are stored must find nothing.
pub const COMPARES_SETS: u32 = 1;
/// Of [`StrategyV1::flags`]: the first question of a connection goes alone, so that an answer without an id is unmistakable.
pub const PROBES_ALONE: u32 = 2;

/// Stands for "not said", "none", or "without end", where a number could be.
pub const NONE: u64 = u64::MAX;

/// Bytes that somebody else owns. Where `len` is 0 the pointer may be null.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Bytes {
    /// The first of them.
    pub ptr: *const u8,
    /// How many.
    pub len: usize,
}

/// An id of an event, or a public key.
pub type Id = [u8; 32];

/// A span of `created_at`, both ends included.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First second, unix time.
    pub since: u64,
    /// Last second.
    pub until: u64,
}

/// A place in the order of a set: by time, then id.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// Unix seconds.
    pub created_at: u64,
    /// The id.
    pub id: Id,
}

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
    pub profile: Profile,
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

/// What we have or don't want of the filter and window, asked during `handle`, on its thread. One state for the whole call; it may
/// be another in the next.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Set {
    /// The size that the host knows of this struct.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// To be handed to the functions.
    pub ctx: *mut c_void,
    /// How many items lie from `start`, included, to `end`, not included.
    pub count: unsafe extern "C" fn(ctx: *mut c_void, start: *const Item, end: *const Item) -> u64,
    /// NIP-77's fingerprint of them, written to 16 bytes.
    pub fingerprint: unsafe extern "C" fn(ctx: *mut c_void, start: *const Item, end: *const Item, out: *mut u8),
    /// The first `cap` of them in ascending order, written to `out`; answers how many. The next ones follow from the last
    /// one's place, its id counted up by one.
    pub items: unsafe extern "C" fn(
        ctx: *mut c_void,
        start: *const Item,
        end: *const Item,
        out: *mut Item,
        cap: usize,
    ) -> usize,
    /// Places that cut them into at most `parts` pieces of about equal count, at most `parts - 1` of them, written to `out`; answers
    /// how many.
    pub split: unsafe extern "C" fn(
        ctx: *mut c_void,
        start: *const Item,
        end: *const Item,
        parts: usize,
        out: *mut Item,
    ) -> usize,
}

/// What a session may ask of the host, from within a call of the session, on its thread. Good until `destroy` has returned.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// The size that the host knows of this struct.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// To be handed to the functions.
    pub ctx: *mut c_void,
    /// Writes a line to the log, with the plugin's name. `level`: one of [`level`].
    pub log: unsafe extern "C" fn(ctx: *mut c_void, level: u32, text: Bytes),
    /// Begins a span in the batch's trace; answers its number. Spans that are open when the call returns are ended.
    pub span_begin: unsafe extern "C" fn(ctx: *mut c_void, name: Bytes) -> u64,
    /// Ends it.
    pub span_end: unsafe extern "C" fn(ctx: *mut c_void, span: u64),
}

/// Levels of [`Host::log`].
pub mod level {
    /// Something that an operator must look at.
    pub const ERROR: u32 = 1;
    /// Something that an operator may want to look at.
    pub const WARN: u32 = 2;
    /// Something that an operator may want to know.
    pub const INFO: u32 = 3;
    /// For whoever looks for a fault.
    pub const DEBUG: u32 = 4;
    /// Everything.
    pub const TRACE: u32 = 5;
}

/// What a session yields. The host zeroes it and sets `struct_size` before each `poll`; pointers are good until the session
/// is called again.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// The size that the host knows of this struct: what lies beyond it isn't there.
    pub struct_size: u32,
    /// One of [`output`].
    pub kind: u32,
    /// REQ, CLOSE, NEG_OPEN, NEG_MSG, NEG_CLOSE: the session's number of the subscription.
    pub sub: u32,
    /// DENSE: 1 where it is known that there are more.
    pub certain: u32,
    /// REQ, NEG_OPEN: what of the window is asked for. NEED: the narrowest span that is known to hold the ids. DRAINED: what
    /// was shown whole.
    pub window: Window,
    /// REQ: how many events at most; 0 for no limit.
    pub limit: u64,
    /// SHARED: items that both sides have. DENSE: events that were shown of the second. PROGRESS: what the round or page
    /// brought. DONE for not served: how many there are in all.
    pub count: u64,
    /// DENSE, and DONE for a dense second: the second. SHARED: that of the oldest item, or [`NONE`].
    pub second: u64,
    /// DONE for too big: the largest number of records that the relay takes, or [`NONE`].
    pub cap: u64,
    /// NEED, HAVE, DONE for not served: the ids. REQ, NEG_OPEN: these of the filter's ids only; null for all.
    pub ids: *const Id,
    /// How many.
    pub ids_len: usize,
    /// REQ, NEG_OPEN: these kinds only; null for all of the filter's.
    pub kinds: *const u16,
    /// How many.
    pub kinds_len: usize,
    /// REQ, NEG_OPEN: these authors only; null for all of the filter's.
    pub authors: *const Id,
    /// How many.
    pub authors_len: usize,
    /// NEG_OPEN, NEG_MSG: the payload. REMEMBER: what to keep. DONE: words for people, UTF-8.
    pub bytes: Bytes,
    /// DONE: one of [`outcome`].
    pub outcome: u32,
    /// DONE for incomplete and failed: one of [`reason`].
    pub reason: u32,
    /// DONE for refused: one of [`meaning`].
    pub meaning: u32,
    /// 0.
    pub reserved: u32,
}

/// What [`Output::kind`] can be.
pub mod output {
    /// Ask for stored events: the session's filter, narrowed.
    pub const REQ: u32 = 1;
    /// End a REQ.
    pub const CLOSE: u32 = 2;
    /// Begin a reconciliation of the session's filter, narrowed.
    pub const NEG_OPEN: u32 = 3;
    /// Go on with a reconciliation.
    pub const NEG_MSG: u32 = 4;
    /// End a reconciliation.
    pub const NEG_CLOSE: u32 = 5;
    /// The relay has these and we have not: the host fetches them.
    pub const NEED: u32 = 6;
    /// We have these and the relay has not.
    pub const HAVE: u32 = 7;
    /// What was compared.
    pub const SHARED: u32 = 8;
    /// A second holds more events than the relay shows of it at once, or may do so.
    pub const DENSE: u32 = 9;
    /// Everything in a window was shown.
    pub const DRAINED: u32 = 10;
    /// Keep this for the next session with this relay.
    pub const REMEMBER: u32 = 11;
    /// A round or a page has ended.
    pub const PROGRESS: u32 = 12;
    /// The end. Nothing follows.
    pub const DONE: u32 = 13;
}

/// What [`Output::outcome`] can be.
pub mod outcome {
    /// Everything that the relay showed was named or delivered.
    pub const COMPLETE: u32 = 1;
    /// Something is known to be missing.
    pub const INCOMPLETE: u32 = 2;
    /// The relay finds it too big.
    pub const TOO_BIG: u32 = 3;
    /// The relay doesn't know this way.
    pub const UNSUPPORTED: u32 = 4;
    /// It went wrong; the same may work later.
    pub const FAILED: u32 = 5;
}

/// What [`Output::reason`] can be.
pub mod reason {
    /// No answer within the time allowed.
    pub const TIMEOUT: u32 = 1;
    /// The connection ended first.
    pub const CONNECTION_LOST: u32 = 2;
    /// The relay's answers break the protocol, or don't end.
    pub const PROTOCOL: u32 = 3;
    /// Our side could not store or read.
    pub const LOCAL: u32 = 4;
    /// The relay refused: [`super::Output::meaning`] says how.
    pub const REFUSED: u32 = 5;
    /// The relay offered ids and doesn't serve them.
    pub const NOT_SERVED: u32 = 6;
    /// One second holds more events than the relay shows of it.
    pub const DENSE_SECOND: u32 = 7;
    /// The relay finds it too big.
    pub const TOO_BIG: u32 = 8;
    /// The relay doesn't know this way.
    pub const UNSUPPORTED: u32 = 9;
}

/// A strategy: what [`SYMBOL`] answers, good as long as the process lives. The first six fields stand where they are in every
/// version.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct StrategyV1 {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`ABI_MAJOR`].
    pub abi_major: u16,
    /// [`ABI_MINOR`].
    pub abi_minor: u16,
    /// The size that the plugin knows of this struct.
    pub struct_size: u32,
    /// The name in `sync.strategies`: 1 to 64 of `a-z`, `0-9`, `-`, `_`.
    pub name: Bytes,
    /// Its own version, UTF-8, 1 to 64 bytes.
    pub version: Bytes,
    /// [`COMPARES_SETS`] and [`PROBES_ALONE`], or 0.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
    /// Checks the section of the configuration, and says what follows from it. [`OK`], or [`FAILED`] with key, value and what is allowed.
    pub check_config: unsafe extern "C" fn(config: *const Config, checked: *mut Checked) -> i32,
    /// Whether it is worth trying with this relay and filter: [`SOME`], or [`OK`] for no, with the reason in `last_error`.
    pub suits: unsafe extern "C" fn(config: *const Config, profile: *const Profile, filter: *const Filter) -> i32,
    /// Opens a session, which acts on [`input::START`], and writes what stands for it. The configuration was checked.
    pub create: unsafe extern "C" fn(
        config: *const Config,
        host: *const Host,
        request: *const Request,
        session: *mut *mut c_void,
    ) -> i32,
    /// Takes inputs, in order.
    pub handle:
        unsafe extern "C" fn(session: *mut c_void, inputs: *const Input, inputs_len: usize, set: *const Set) -> i32,
    /// The next output: [`SOME`] with one, [`OK`] without. Called until there is none after each `handle`.
    pub poll: unsafe extern "C" fn(session: *mut c_void, output: *mut Output) -> i32,
    /// When [`input::TIMEOUT`] is due, milliseconds of [`Input::mono_ms`], and what for: [`SOME`] with one, [`OK`] without.
    pub next_timeout: unsafe extern "C" fn(session: *mut c_void, mono_ms: *mut u64, what: *mut Bytes) -> i32,
    /// Why the last call failed: of a session, or, with null, of the last call on this thread that had none. UTF-8, good until
    /// the next call.
    pub last_error: unsafe extern "C" fn(session: *mut c_void, text: *mut Bytes),
    /// Ends a session. Called once, last.
    pub destroy: unsafe extern "C" fn(session: *mut c_void),
}

// SAFETY: what its pointers show is static and never written.
#[allow(unsafe_code)]
unsafe impl Sync for StrategyV1 {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Send for StrategyV1 {}

impl Bytes {
    /// None at all.
    pub const EMPTY: Self = Self { ptr: std::ptr::null(), len: 0 };

    /// The bytes of `slice`, good as long as that is.
    pub const fn of(slice: &[u8]) -> Self {
        Self { ptr: slice.as_ptr(), len: slice.len() }
    }
}

impl Item {
    /// Before every item.
    pub const MIN: Self = Self { created_at: 0, id: [0; 32] };
    /// After every item that can exist.
    pub const MAX: Self = Self { created_at: u64::MAX, id: [0; 32] };
}
