//! The host as a plugin sees it during a call: the log, spans, and the set. Nothing of ours is locked while the plugin runs, but
//! for the moment of such a question.

use std::cell::{Cell, OnceCell};
use std::ffi::c_void;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use strategy_abi::ffi::{self, Bytes, level};
use sync_core::strategy::{ItemKey, KeyRange, SetView, VecSet};
use tracing::Span;

use crate::limits::{MAX_LINES, MAX_SESSION_SPANS, MAX_SPANS};
use crate::pool::Ask;
use crate::table;

/// What log and spans of a session need. Stays where it is until the session was destroyed.
pub(crate) struct Desk {
    plugin: String,
    call: Mutex<Call>,
}

/// What happened within the current call, and what is carried from one to the next.
#[derive(Default)]
struct Call {
    lines: usize,
    spans: Vec<(u64, Span)>,
    begun: usize,
    next: u64,
    /// Spans of the session so far.
    made: usize,
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
        *call = Call { next: call.next, made: call.made, ..Call::default() };
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
        if call.made == MAX_SESSION_SPANS && call.begun == 1 {
            tracing::debug!(plugin = &*self.plugin, "the plugin begins too many spans; the session gets no more");
        }
        if call.begun <= MAX_SPANS && call.made < MAX_SESSION_SPANS {
            call.made += 1;
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
    // SAFETY: the caller's promise.
    let (desk, text) = unsafe { (&*ctx.cast::<Desk>(), table::text(text)) };
    desk.log(level, &text);
}

/// # Safety
/// As [`log`].
#[allow(unsafe_code)]
unsafe extern "C" fn span_begin(ctx: *mut c_void, name: Bytes) -> u64 {
    // SAFETY: as in `log`.
    let (desk, name) = unsafe { (&*ctx.cast::<Desk>(), table::text(name)) };
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
    misused: Cell<bool>,
}

impl<'a> Copy<'a> {
    pub(crate) fn new(ask: &'a Ask) -> Self {
        Self { ask, set: OnceCell::new(), misused: Cell::new(false) }
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

    /// Whether the plugin asked by pointers that show nothing: null, or not aligned. It was told of an empty set.
    pub(crate) fn was_misused(&self) -> bool {
        self.misused.get()
    }

    fn get(&self) -> &VecSet {
        self.set.get_or_init(|| self.ask.set()).as_deref().unwrap_or(&NOTHING)
    }

    /// The pointer, unless nothing can be behind it.
    fn checked<T>(&self, pointer: *const T) -> Option<*const T> {
        let good = !pointer.is_null() && pointer.is_aligned();
        if !good {
            self.misused.set(true);
        }
        good.then_some(pointer)
    }
}

static NOTHING: VecSet = VecSet::EMPTY;

/// What a plugin's function gets: the set, and the range that it means. Where its pointers show none: an empty set.
///
/// # Safety
/// `copy` is as it was given to the plugin, within its call and on its thread; `start` and `end` are null, not aligned, or there for
/// the call.
#[allow(unsafe_code)]
unsafe fn asked<'a>(copy: &'a Copy<'_>, start: *const ffi::Item, end: *const ffi::Item) -> (&'a VecSet, KeyRange) {
    let key = |item: ffi::Item| ItemKey { created_at: item.created_at, id: item.id };
    match (copy.checked(start), copy.checked(end)) {
        // SAFETY: the caller's promise, and both are neither null nor askew.
        (Some(start), Some(end)) => unsafe { (copy.get(), KeyRange { start: key(*start), end: key(*end) }) },
        _ => (&NOTHING, KeyRange::ALL),
    }
}

/// # Safety
/// `ctx` is a [`Copy`]'s; all else as [`asked`].
#[allow(unsafe_code)]
unsafe extern "C" fn count(ctx: *mut c_void, start: *const ffi::Item, end: *const ffi::Item) -> u64 {
    // SAFETY: the caller's promise.
    let (set, range) = unsafe { asked(&*ctx.cast::<Copy<'_>>(), start, end) };
    set.count(range)
}

/// # Safety
/// As [`count`]; `out` is null, or 16 bytes can be written to it.
#[allow(unsafe_code)]
unsafe extern "C" fn fingerprint(ctx: *mut c_void, start: *const ffi::Item, end: *const ffi::Item, out: *mut u8) {
    // SAFETY: the caller's promise.
    let copy = unsafe { &*ctx.cast::<Copy<'_>>() };
    // SAFETY: as above.
    let (set, range) = unsafe { asked(copy, start, end) };
    if copy.checked(out).is_some() {
        // SAFETY: as above, and it is not null.
        unsafe { out.cast::<[u8; 16]>().write(set.fingerprint(range)) };
    }
}

/// # Safety
/// As [`count`]; `out` is null, not aligned, or `cap` items can be written to it.
#[allow(unsafe_code)]
unsafe extern "C" fn items(
    ctx: *mut c_void,
    start: *const ffi::Item,
    end: *const ffi::Item,
    out: *mut ffi::Item,
    cap: usize,
) -> usize {
    // SAFETY: the caller's promise.
    let copy = unsafe { &*ctx.cast::<Copy<'_>>() };
    // SAFETY: as above.
    let (set, range) = unsafe { asked(copy, start, end) };
    if cap == 0 || copy.checked(out).is_none() {
        return 0;
    }
    let mut written = 0;
    set.items(range, &mut |item| {
        if written == cap {
            return ControlFlow::Break(());
        }
        // SAFETY: as above; it is neither null nor askew, and fewer than `cap` were written.
        unsafe { out.add(written).write(ffi::Item { created_at: item.created_at, id: item.id }) };
        written += 1;
        ControlFlow::Continue(())
    });
    written
}

/// # Safety
/// As [`count`]; `out` is null, not aligned, or `parts - 1` items can be written to it.
#[allow(unsafe_code)]
unsafe extern "C" fn split(
    ctx: *mut c_void,
    start: *const ffi::Item,
    end: *const ffi::Item,
    parts: usize,
    out: *mut ffi::Item,
) -> usize {
    // SAFETY: the caller's promise.
    let copy = unsafe { &*ctx.cast::<Copy<'_>>() };
    // SAFETY: as above.
    let (set, range) = unsafe { asked(copy, start, end) };
    if parts <= 1 || copy.checked(out).is_none() {
        return 0;
    }
    let places = set.split(range, parts);
    let places = &places[..places.len().min(parts - 1)];
    for (place, item) in places.iter().enumerate() {
        // SAFETY: as above; it is neither null nor askew, and there are no more than `parts - 1`.
        unsafe { out.add(place).write(ffi::Item { created_at: item.created_at, id: item.id }) };
    }
    places.len()
}

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use std::ptr::{from_ref, null, null_mut};

    use strategy_abi::ffi::Item;

    use super::*;
    use crate::limits::{Limits, MAX_TEXT};
    use crate::pool::Pool;

    /// What comes of one call in which the plugin asks like that, and whether it misused the set.
    fn asks<T: Send + 'static>(how: impl FnOnce(&ffi::Set, &mut [Item; 4]) -> T + Send + 'static) -> (T, bool) {
        let pool = Pool::new("p".to_owned(), Limits::default());
        let mut set = || Some(Arc::new((1..=3).map(|n| ItemKey { created_at: n, id: [0; 32] }).collect()));
        let work = move |ask: &Ask| {
            let copy = Copy::new(ask);
            let result = how(&copy.raw(), &mut [Item::MIN; 4]);
            (result, copy.was_misused())
        };
        pool.call("handle", work, Some(&mut set)).expect("it returns")
    }

    #[test]
    fn what_is_asked_by_good_pointers_is_answered() {
        let (start, end) = (Item::MIN, Item::MAX);
        // SAFETY: all that is pointed to is there.
        let (answer, misused) = asks(move |set, out| unsafe {
            let count = (set.count)(set.ctx, &start, &end);
            let items = (set.items)(set.ctx, &start, &end, out.as_mut_ptr(), 2);
            let places = (set.split)(set.ctx, &start, &end, 3, out.as_mut_ptr());
            // Nothing is to be written there.
            (count, items, places, (set.items)(set.ctx, &start, &end, null_mut(), 0))
        });
        assert_eq!((answer, misused), ((3, 2, 2, 0), false));
    }

    #[test]
    fn pointers_that_show_nothing_are_not_followed_and_count_as_misuse() {
        let (start, end) = (Item::MIN, Item::MAX);
        let askew = |item: &Item| from_ref(item).wrapping_byte_add(1);
        // SAFETY: pointers that are null or askew are not followed.
        unsafe {
            assert_eq!(asks(move |set, _| (set.count)(set.ctx, null(), &end)), (0, true));
            assert_eq!(asks(move |set, _| (set.count)(set.ctx, &start, null())), (0, true));
            assert_eq!(asks(move |set, _| (set.count)(set.ctx, askew(&start), &end)), (0, true));
            assert_eq!(asks(move |set, out| (set.items)(set.ctx, null(), &end, out.as_mut_ptr(), 4)), (0, true));
            assert_eq!(asks(move |set, _| (set.items)(set.ctx, &start, &end, null_mut(), 4)), (0, true));
            let items =
                asks(move |set, out| (set.items)(set.ctx, &start, &end, out.as_mut_ptr().wrapping_byte_add(1), 3));
            assert_eq!(items, (0, true));
            assert_eq!(asks(move |set, _| (set.split)(set.ctx, &start, &end, 2, null_mut())), (0, true));
            assert_eq!(asks(move |set, _| (set.fingerprint)(set.ctx, &start, &end, null_mut())), ((), true));
        }
    }

    #[test]
    fn neither_a_hand_off_nor_a_session_makes_spans_without_end() {
        let desk = Desk::new("p".to_owned());
        let begun = |times: usize| (0..times).fold(0, |_, _| desk.span_begin("x"));
        let open = || desk.call.lock().expect("nobody panics").spans.len();
        for _ in 0..MAX_SESSION_SPANS / MAX_SPANS - 1 {
            begun(MAX_SPANS + 5);
            assert_eq!(open(), MAX_SPANS);
            desk.call_ended();
        }
        begun(MAX_SPANS - 1);
        desk.call_ended();
        let last = begun(5);
        assert_eq!(open(), 1);
        // A number without a span is no error.
        desk.span_end(last);
        assert_eq!(open(), 1);
    }

    #[test]
    fn of_a_line_that_claims_to_be_endless_the_beginning_is_read() {
        let desk = Desk::new("p".to_owned());
        let (host, beginning) = (desk.raw(), [b'x'; 4 * MAX_TEXT]);
        let endless = Bytes { len: usize::MAX, ..Bytes::of(&beginning) };
        // SAFETY: the desk is there, and as much of the text as is looked at.
        unsafe {
            (host.log)(host.ctx, level::INFO, endless);
            let span = (host.span_begin)(host.ctx, endless);
            assert_eq!(desk.call.lock().expect("nobody panics").spans.len(), 1);
            (host.span_end)(host.ctx, span);
        }
        let call = desk.call.lock().expect("nobody panics");
        assert_eq!((call.lines, call.spans.len()), (1, 0));
    }
}
