//! What a strategy may ask of the host: the set that we have, the log, spans.

use std::marker::PhantomData;
use std::ops::ControlFlow;

use crate::ffi;
use crate::ffi::{Bytes, Item};

/// Items that are fetched at a time.
const CHUNK: usize = 256;

/// What we have or don't want of the filter and window: one state for one call, and maybe another in the next. With it comes the
/// host, for the same call.
pub struct Set<'a> {
    raw: &'a ffi::Set,
    host: Host<'a>,
}

#[allow(unsafe_code)]
impl<'a> Set<'a> {
    /// # Safety
    /// `raw` is as [`ffi::Set`] says, and `host` as [`Host::new`] asks, for `'a`, on this thread.
    pub(crate) unsafe fn new(raw: &'a ffi::Set, host: &'a ffi::Host) -> Self {
        // SAFETY: the caller's promise.
        Self { raw, host: unsafe { Host::new(host) } }
    }

    /// The host, for this call.
    pub fn host(&self) -> &Host<'a> {
        &self.host
    }

    /// How many items lie from `start`, included, to `end`, not included.
    pub fn count(&self, start: Item, end: Item) -> u64 {
        // SAFETY: within the call that the set was given for, and the places live until it answers.
        unsafe { (self.raw.count)(self.raw.ctx, &start, &end) }
    }

    /// NIP-77's fingerprint of them.
    pub fn fingerprint(&self, start: Item, end: Item) -> [u8; 16] {
        let mut out = [0; 16];
        // SAFETY: as in `count`; the host writes 16 bytes.
        unsafe { (self.raw.fingerprint)(self.raw.ctx, &start, &end, out.as_mut_ptr()) };
        out
    }

    /// Visits them in ascending order, until told to stop.
    pub fn items(&self, mut start: Item, end: Item, mut visit: impl FnMut(Item) -> ControlFlow<()>) {
        let mut buffer = [Item::MIN; CHUNK];
        loop {
            // SAFETY: as in `count`; the host writes `CHUNK` items at most.
            let count = unsafe { (self.raw.items)(self.raw.ctx, &start, &end, buffer.as_mut_ptr(), CHUNK) };
            let items = &buffer[..count.min(CHUNK)];
            if items.iter().any(|item| visit(*item).is_break()) {
                return;
            }
            match items.last().and_then(next) {
                Some(after) if items.len() == CHUNK => start = after,
                _ => return,
            }
        }
    }

    /// Places that cut them into at most `parts` pieces of about equal count: the first of each piece but the first.
    pub fn split(&self, start: Item, end: Item, parts: usize) -> Vec<Item> {
        let mut out = vec![Item::MIN; parts.saturating_sub(1)];
        if out.is_empty() {
            return out;
        }
        // SAFETY: as in `count`; the host writes `parts - 1` items at most.
        let count = unsafe { (self.raw.split)(self.raw.ctx, &start, &end, parts, out.as_mut_ptr()) };
        out.truncate(count);
        out
    }
}

/// The place right after an item's.
fn next(item: &Item) -> Option<Item> {
    let mut after = *item;
    for byte in after.id.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(after);
        }
    }
    after.created_at = after.created_at.checked_add(1)?;
    Some(after)
}

/// How loud a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something that an operator must look at.
    Error,
    /// Something that an operator may want to look at.
    Warn,
    /// Something that an operator may want to know.
    Info,
    /// For whoever looks for a fault.
    Debug,
    /// Everything.
    Trace,
}

/// The host, for one call: log and spans come out with the plugin's name. It can neither be kept for later nor be taken to another
/// thread, where it might be gone:
///
/// ```compile_fail
/// fn opens(host: &strategy_abi::Host<'_>) {
///     std::thread::scope(|scope| {
///         scope.spawn(|| host.log(strategy_abi::Level::Info, "still here?"));
///     });
/// }
/// ```
///
/// ```compile_fail
/// fn opens(host: &strategy_abi::Host<'_>) -> Box<dyn std::any::Any> {
///     Box::new(host)
/// }
/// ```
#[derive(Debug)]
pub struct Host<'a> {
    raw: &'a ffi::Host,
    call: PhantomData<*mut ()>,
}

#[allow(unsafe_code)]
impl<'a> Host<'a> {
    /// # Safety
    /// `raw` is as [`ffi::Host`] says, for `'a`, on this thread.
    pub(crate) unsafe fn new(raw: &'a ffi::Host) -> Self {
        Self { raw, call: PhantomData }
    }

    /// Writes a line to the log.
    pub fn log(&self, level: Level, text: &str) {
        let level = match level {
            Level::Error => ffi::level::ERROR,
            Level::Warn => ffi::level::WARN,
            Level::Info => ffi::level::INFO,
            Level::Debug => ffi::level::DEBUG,
            Level::Trace => ffi::level::TRACE,
        };
        // SAFETY: within the call that the host was given for, and the text lives until it answers.
        unsafe { (self.raw.log)(self.raw.ctx, level, Bytes::of(text.as_bytes())) };
    }

    /// A span in the batch's trace, until it is dropped or the call of the session returns.
    pub fn span(&self, name: &str) -> Span<'_> {
        // SAFETY: as in `log`.
        let number = unsafe { (self.raw.span_begin)(self.raw.ctx, Bytes::of(name.as_bytes())) };
        Span { host: self, number }
    }
}

/// A span that is open.
#[derive(Debug)]
pub struct Span<'a> {
    host: &'a Host<'a>,
    number: u64,
}

#[allow(unsafe_code)]
impl Drop for Span<'_> {
    fn drop(&mut self) {
        // SAFETY: as in `Host::log`; a span that the host has ended itself is none any more.
        unsafe { (self.host.raw.span_end)(self.host.raw.ctx, self.number) };
    }
}
