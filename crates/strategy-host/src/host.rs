//! The host as a plugin sees it during a call: the log, spans, and the set. Nothing of ours is locked while the plugin runs, but
//! for the moment of such a question.

use std::cell::OnceCell;
use std::ffi::c_void;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use strategy_abi::ffi::{self, Bytes, level};
use sync_core::strategy::{ItemKey, KeyRange, SetView, VecSet};
use tracing::Span;

use crate::limits::{MAX_LINES, MAX_SPANS, readable};
use crate::pool::Ask;
use crate::table::borrowed;

/// What log and spans of a session need. Stays where it is until the session was destroyed.
pub(crate) struct Desk {
    plugin: String,
    call: Mutex<Call>,
}

/// What happened within the current call.
#[derive(Default)]
struct Call {
    lines: usize,
    spans: Vec<(u64, Span)>,
    begun: usize,
    next: u64,
}

impl Desk {
    pub(crate) fn new(plugin: String) -> Arc<Self> {
        Arc::new(Self { plugin, call: Mutex::default() })
    }

    /// The host in the interface's words, good as long as somebody has this.
    pub(crate) fn raw(self: &Arc<Self>) -> ffi::Host {
        ffi::Host {
            struct_size: size_of::<ffi::Host>() as u32,
            reserved: 0,
            ctx: Arc::as_ptr(self).cast_mut().cast(),
            log,
            span_begin,
            span_end,
        }
    }

    /// A call is over: spans that are open end with it.
    pub(crate) fn call_ended(&self) {
        let mut call = self.call.lock().unwrap_or_else(PoisonError::into_inner);
        if call.lines > MAX_LINES {
            tracing::warn!(plugin = self.plugin, dropped = call.lines - MAX_LINES, "the plugin says too much at once");
        }
        *call = Call { next: call.next, ..Call::default() };
    }

    fn log(&self, level: u32, text: &str) {
        let mut call = self.call.lock().unwrap_or_else(PoisonError::into_inner);
        call.lines += 1;
        if call.lines > MAX_LINES {
            return;
        }
        let span = call.spans.last().map_or_else(Span::current, |(_, span)| span.clone());
        let plugin = &*self.plugin;
        span.in_scope(|| match level {
            level::ERROR => tracing::error!(plugin, "{text}"),
            level::WARN => tracing::warn!(plugin, "{text}"),
            level::INFO => tracing::info!(plugin, "{text}"),
            level::DEBUG => tracing::debug!(plugin, "{text}"),
            _ => tracing::trace!(plugin, "{text}"),
        });
    }

    fn span_begin(&self, name: &str) -> u64 {
        let mut call = self.call.lock().unwrap_or_else(PoisonError::into_inner);
        call.begun += 1;
        call.next += 1;
        let number = call.next;
        if call.begun <= MAX_SPANS {
            let parent = call.spans.last().map_or_else(Span::current, |(_, span)| span.clone());
            let plugin = &*self.plugin;
            let span = tracing::info_span!(parent: &parent, "strategy.plugin", otel.name = name, plugin);
            call.spans.push((number, span));
        }
        number
    }

    fn span_end(&self, number: u64) {
        let mut call = self.call.lock().unwrap_or_else(PoisonError::into_inner);
        call.spans.retain(|(open, _)| *open != number);
    }
}

/// # Safety
/// `ctx` is a [`Desk`]'s, which stays as long as the session does; `text` is there for the call.
#[allow(unsafe_code)]
unsafe extern "C" fn log(ctx: *mut c_void, level: u32, text: Bytes) {
    // SAFETY: the caller's promise; `readable` looks at the text's beginning alone.
    let (desk, text) = unsafe { (&*ctx.cast::<Desk>(), readable(borrowed(text))) };
    desk.log(level, &text);
}

/// # Safety
/// As [`log`].
#[allow(unsafe_code)]
unsafe extern "C" fn span_begin(ctx: *mut c_void, name: Bytes) -> u64 {
    // SAFETY: as in `log`.
    let (desk, name) = unsafe { (&*ctx.cast::<Desk>(), readable(borrowed(name))) };
    desk.span_begin(&name)
}

/// # Safety
/// As [`log`].
#[allow(unsafe_code)]
unsafe extern "C" fn span_end(ctx: *mut c_void, span: u64) {
    // SAFETY: as in `log`.
    unsafe { &*ctx.cast::<Desk>() }.span_end(span);
}

/// The set during one call: copied when the plugin first asks, and the same until the call ends.
pub(crate) struct Copy<'a> {
    ask: &'a Ask,
    set: OnceCell<Option<Arc<VecSet>>>,
}

impl<'a> Copy<'a> {
    pub(crate) fn new(ask: &'a Ask) -> Self {
        Self { ask, set: OnceCell::new() }
    }

    /// The set in the interface's words, good as long as this stays where it is.
    pub(crate) fn raw(&self) -> ffi::Set {
        ffi::Set {
            struct_size: size_of::<ffi::Set>() as u32,
            reserved: 0,
            ctx: std::ptr::from_ref(self).cast_mut().cast(),
            count,
            fingerprint,
            items,
            split,
        }
    }

    /// Whether the plugin asked for what it can't have: more than there is room for.
    pub(crate) fn was_too_large(&self) -> bool {
        matches!(self.set.get(), Some(None))
    }

    fn get(&self) -> &VecSet {
        static NOTHING: VecSet = VecSet::EMPTY;
        self.set.get_or_init(|| self.ask.set()).as_deref().unwrap_or(&NOTHING)
    }
}

/// What a plugin's function gets: the set, and the range that it means.
///
/// # Safety
/// `ctx` is a [`Copy`]'s, within its call and on its thread; `start` and `end` are there for the call.
#[allow(unsafe_code)]
unsafe fn asked<'a>(ctx: *mut c_void, start: *const ffi::Item, end: *const ffi::Item) -> (&'a VecSet, KeyRange) {
    let key = |item: ffi::Item| ItemKey { created_at: item.created_at, id: item.id };
    // SAFETY: the caller's promise.
    unsafe { ((*ctx.cast::<Copy<'a>>()).get(), KeyRange { start: key(*start), end: key(*end) }) }
}

/// # Safety
/// As [`asked`].
#[allow(unsafe_code)]
unsafe extern "C" fn count(ctx: *mut c_void, start: *const ffi::Item, end: *const ffi::Item) -> u64 {
    // SAFETY: the caller's promise.
    let (set, range) = unsafe { asked(ctx, start, end) };
    set.count(range)
}

/// # Safety
/// As [`asked`]; 16 bytes can be written to `out`.
#[allow(unsafe_code)]
unsafe extern "C" fn fingerprint(ctx: *mut c_void, start: *const ffi::Item, end: *const ffi::Item, out: *mut u8) {
    // SAFETY: the caller's promise.
    let (set, range) = unsafe { asked(ctx, start, end) };
    let fingerprint = set.fingerprint(range);
    // SAFETY: as above.
    unsafe { out.cast::<[u8; 16]>().write(fingerprint) };
}

/// # Safety
/// As [`asked`]; `cap` items can be written to `out`.
#[allow(unsafe_code)]
unsafe extern "C" fn items(
    ctx: *mut c_void,
    start: *const ffi::Item,
    end: *const ffi::Item,
    out: *mut ffi::Item,
    cap: usize,
) -> usize {
    // SAFETY: the caller's promise.
    let (set, range) = unsafe { asked(ctx, start, end) };
    let mut written = 0;
    set.items(range, &mut |item| {
        if written == cap {
            return ControlFlow::Break(());
        }
        // SAFETY: as above, and fewer than `cap` were written.
        unsafe { out.add(written).write(ffi::Item { created_at: item.created_at, id: item.id }) };
        written += 1;
        ControlFlow::Continue(())
    });
    written
}

/// # Safety
/// As [`asked`]; `parts - 1` items can be written to `out`.
#[allow(unsafe_code)]
unsafe extern "C" fn split(
    ctx: *mut c_void,
    start: *const ffi::Item,
    end: *const ffi::Item,
    parts: usize,
    out: *mut ffi::Item,
) -> usize {
    // SAFETY: the caller's promise.
    let (set, range) = unsafe { asked(ctx, start, end) };
    let places = set.split(range, parts);
    let places = &places[..places.len().min(parts.saturating_sub(1))];
    for (place, item) in places.iter().enumerate() {
        // SAFETY: as above, and there are no more than `parts - 1`.
        unsafe { out.add(place).write(ffi::Item { created_at: item.created_at, id: item.id }) };
    }
    places.len()
}
