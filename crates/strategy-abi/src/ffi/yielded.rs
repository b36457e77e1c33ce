//! What a session yields.

use super::{Bytes, Id, Window};

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
