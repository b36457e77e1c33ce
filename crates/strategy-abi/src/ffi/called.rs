//! What a session may call.

use std::ffi::c_void;

use super::{Bytes, Item};

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

/// What a session may ask of the host, from within a call of the session, on its thread. Good during `create` only: copy it. What is in
/// it is good until `destroy` has returned.
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
