//! The functions of the C interface over any [`Strategy`]. A panic ends here: it fails the call, and the session is not
//! entered again.

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use crate::ffi;
use crate::ffi::{Bytes, FAILED, NONE, OK, PANICKED, SOME};
use crate::host::{Host, Set};
use crate::plugin::{
    Direction, Filter, Input, Narrow, Outcome, Output, Profile, Reason, Request, Session, Strategy, Verdict,
};
use crate::settings::{ConfigError, Settings};

/// Outputs that may wait to be polled: one more than the host takes at once, so that it sees by itself that they are too many.
pub const MAX_OUTPUTS: usize = 100_001;
/// Bytes that the outputs of one call may point to: more than the host takes at once, by ids and by other bytes.
const MAX_BYTES: usize = 160 << 20;

thread_local! {
    /// What the last call without a session left on this thread: key, value, what is allowed; or a reason alone, as the last.
    static LAST: RefCell<[String; 3]> = const { RefCell::new([const { String::new() }; 3]) };
}

/// What stands behind a session's pointer.
struct Boxed<S> {
    session: S,
    /// Good while this lives, within its calls.
    host: ffi::Host,
    outputs: VecDeque<Output>,
    /// What the outputs of this call point to.
    bytes: usize,
    /// The output that was told last: its pointers are good until the next call.
    told: Option<Output>,
    error: String,
    poisoned: bool,
}

/// The table of a strategy.
pub const fn table<S: Strategy>() -> ffi::StrategyV1 {
    ffi::StrategyV1 {
        magic: ffi::MAGIC,
        abi_major: ffi::ABI_MAJOR,
        abi_minor: ffi::ABI_MINOR,
        struct_size: size_of::<ffi::StrategyV1>() as u32,
        name: Bytes::of(S::NAME.as_bytes()),
        version: Bytes::of(S::VERSION.as_bytes()),
        flags: (S::COMPARES_SETS as u32 * ffi::COMPARES_SETS) | (S::PROBES_ALONE as u32 * ffi::PROBES_ALONE),
        reserved: 0,
        check_config: check_config::<S>,
        suits: suits::<S>,
        create: create::<S>,
        handle: handle::<S::Session>,
        poll: poll::<S::Session>,
        next_timeout: next_timeout::<S::Session>,
        last_error: last_error::<S::Session>,
        destroy: destroy::<S::Session>,
    }
}

/// # Safety
/// As [`ffi::StrategyV1::check_config`] says: both point to what the host keeps for the call.
#[allow(unsafe_code)]
unsafe extern "C" fn check_config<S: Strategy>(config: *const ffi::Config, checked: *mut ffi::Checked) -> i32 {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (settings, checked) = unsafe { (Settings::read(&*config), &mut *checked) };
        match S::configure(&settings) {
            Ok(strategy) => {
                let hints = strategy.hints();
                checked.concurrency = hints.concurrency;
                checked.fetch_chunk = hints.fetch_chunk;
                checked.answer_timeout_ms = hints.answer_timeout_ms;
                OK
            }
            Err(ConfigError { key, value, allowed }) => {
                [checked.key, checked.value, checked.allowed] = leave([key, value, allowed]);
                FAILED
            }
        }
    })
}

/// # Safety
/// As [`ffi::StrategyV1::suits`] says.
#[allow(unsafe_code)]
unsafe extern "C" fn suits<S: Strategy>(
    config: *const ffi::Config,
    profile: *const ffi::Profile,
    filter: *const ffi::Filter,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (settings, profile, filter) = unsafe { (Settings::read(&*config), &*profile, &*filter) };
        let strategy = match S::configure(&settings) {
            Ok(strategy) => strategy,
            Err(error) => return refuse(error.allowed, FAILED),
        };
        // SAFETY: as above.
        let (profile, filter) = unsafe { (own_profile(profile), own_filter(filter)) };
        strategy.suits(&profile, &filter).map_or_else(|reason| refuse(reason, OK), |()| SOME)
    })
}

/// # Safety
/// As [`ffi::StrategyV1::create`] says.
#[allow(unsafe_code)]
unsafe extern "C" fn create<S: Strategy>(
    config: *const ffi::Config,
    host: *const ffi::Host,
    request: *const ffi::Request,
    session: *mut *mut c_void,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (settings, request, host) = unsafe { (Settings::read(&*config), own_request(&*request), *host) };
        let strategy = match S::configure(&settings) {
            Ok(strategy) => strategy,
            Err(error) => return refuse(error.allowed, FAILED),
        };
        // SAFETY: as above.
        match strategy.open(request, &unsafe { Host::new(&host) }) {
            Ok(opened) => {
                let (outputs, told, error) = (VecDeque::new(), None, String::new());
                let boxed = Box::new(Boxed { session: opened, host, outputs, bytes: 0, told, error, poisoned: false });
                // SAFETY: the caller's promise: it can be written.
                unsafe { *session = Box::into_raw(boxed).cast() };
                OK
            }
            Err(reason) => refuse(reason, FAILED),
        }
    })
}

/// # Safety
/// `session` is one that `create` made and `destroy` has not taken; nobody else is in it.
#[allow(unsafe_code)]
unsafe extern "C" fn handle<S: Session>(
    session: *mut c_void,
    inputs: *const ffi::Input,
    inputs_len: usize,
    set: *const ffi::Set,
) -> i32 {
    // SAFETY: the caller's promises.
    let (boxed, inputs, set) = unsafe { (&mut *session.cast::<Boxed<S>>(), slice(inputs, inputs_len), &*set) };
    boxed.enter(|boxed| {
        let host = boxed.host;
        // SAFETY: the caller's promise: both are for this call.
        let set = unsafe { Set::new(set, &host) };
        boxed.bytes = 0;
        for raw in inputs {
            // SAFETY: as above.
            let Some(input) = (unsafe { input(raw) }) else { continue };
            let result = boxed.session.handle(input, &set, raw.mono_ms, raw.unix_s);
            if let Err(reason) = boxed.drain() {
                return boxed.poison(reason);
            }
            if let Err(reason) = result {
                boxed.error = reason;
                return FAILED;
            }
        }
        OK
    })
}

/// # Safety
/// As [`handle`]; `output` is one that the host has zeroed.
#[allow(unsafe_code)]
unsafe extern "C" fn poll<S: Session>(session: *mut c_void, output: *mut ffi::Output) -> i32 {
    // SAFETY: the caller's promises.
    let (boxed, output) = unsafe { (&mut *session.cast::<Boxed<S>>(), &mut *output) };
    if boxed.poisoned {
        return PANICKED;
    }
    boxed.told = boxed.outputs.pop_front();
    match &boxed.told {
        Some(told) => {
            tell(told, output);
            SOME
        }
        None => OK,
    }
}

/// # Safety
/// As [`handle`]; the others can be written.
#[allow(unsafe_code)]
unsafe extern "C" fn next_timeout<S: Session>(session: *mut c_void, mono_ms: *mut u64, what: *mut Bytes) -> i32 {
    // SAFETY: the caller's promises.
    let (boxed, mono_ms, what) = unsafe { (&mut *session.cast::<Boxed<S>>(), &mut *mono_ms, &mut *what) };
    boxed.enter(|boxed| match boxed.session.next_timeout() {
        Some((at, why)) => {
            (*mono_ms, *what) = (at, Bytes::of(why.as_bytes()));
            SOME
        }
        None => OK,
    })
}

/// # Safety
/// As [`handle`], or null; `text` can be written.
#[allow(unsafe_code)]
unsafe extern "C" fn last_error<S: Session>(session: *mut c_void, text: *mut Bytes) {
    let told = match NonNull::new(session.cast::<Boxed<S>>()) {
        // SAFETY: the caller's promise.
        Some(session) => Bytes::of(unsafe { session.as_ref() }.error.as_bytes()),
        None => LAST.with_borrow(|[_, _, reason]| Bytes::of(reason.as_bytes())),
    };
    // SAFETY: the caller's promise.
    unsafe { *text = told };
}

/// # Safety
/// As [`handle`]; nobody uses the session afterwards.
#[allow(unsafe_code)]
unsafe extern "C" fn destroy<S: Session>(session: *mut c_void) {
    // SAFETY: `create` made it of a box, and this is the last that is heard of it.
    let boxed = unsafe { Box::from_raw(session.cast::<Boxed<S>>()) };
    // What panics while it ends can't be ended twice.
    let _ = catch_unwind(AssertUnwindSafe(move || drop(boxed)));
}

impl<S: Session> Boxed<S> {
    /// Takes what the session yields.
    fn drain(&mut self) -> Result<(), String> {
        while let Some(output) = self.session.poll() {
            self.bytes = self.bytes.saturating_add(output.bytes());
            self.outputs.push_back(output);
            if self.outputs.len() > MAX_OUTPUTS {
                return Err(format!("yields more than {MAX_OUTPUTS} outputs at once"));
            }
            if self.bytes > MAX_BYTES {
                return Err(format!("yields more than {MAX_BYTES} bytes at once"));
            }
        }
        Ok(())
    }
}

impl<S> Boxed<S> {
    /// The session is not entered any more.
    fn poison(&mut self, reason: String) -> i32 {
        self.poisoned = true;
        self.outputs = VecDeque::new();
        self.error = reason;
        PANICKED
    }

    /// Runs what the plugin does, unless it panicked before.
    fn enter(&mut self, work: impl FnOnce(&mut Self) -> i32) -> i32 {
        if self.poisoned {
            return PANICKED;
        }
        self.told = None;
        match catch_unwind(AssertUnwindSafe(|| work(self))) {
            Ok(code) => code,
            Err(panic) => self.poison(said(&*panic)),
        }
    }
}

/// Runs what the plugin does without a session.
fn guarded(work: impl FnOnce() -> i32) -> i32 {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| refuse(said(&*panic), PANICKED))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("without a word"))
}

fn refuse(reason: String, code: i32) -> i32 {
    leave([String::new(), String::new(), reason]);
    code
}

/// Keeps texts on this thread until the next call.
fn leave(texts: [String; 3]) -> [Bytes; 3] {
    LAST.with_borrow_mut(|last| {
        *last = texts;
        [0, 1, 2].map(|place| Bytes::of(last[place].as_bytes()))
    })
}

fn tell(output: &Output, out: &mut ffi::Output) {
    use ffi::output as kind;
    match output {
        Output::Req { sub, narrow, limit } => {
            (out.kind, out.sub, out.limit) = (kind::REQ, *sub, *limit);
            tell_narrow(narrow, out);
        }
        Output::Close { sub } => (out.kind, out.sub) = (kind::CLOSE, *sub),
        Output::NegOpen { sub, narrow, payload } => {
            (out.kind, out.sub, out.bytes) = (kind::NEG_OPEN, *sub, Bytes::of(payload));
            tell_narrow(narrow, out);
        }
        Output::NegMsg { sub, payload } => (out.kind, out.sub, out.bytes) = (kind::NEG_MSG, *sub, Bytes::of(payload)),
        Output::NegClose { sub } => (out.kind, out.sub) = (kind::NEG_CLOSE, *sub),
        Output::Need { ids, within } => {
            (out.kind, out.ids, out.ids_len, out.window) = (kind::NEED, ids.as_ptr(), ids.len(), *within);
        }
        Output::Have(ids) => (out.kind, out.ids, out.ids_len) = (kind::HAVE, ids.as_ptr(), ids.len()),
        Output::Shared { count, oldest } => {
            (out.kind, out.count, out.second) = (kind::SHARED, *count, oldest.unwrap_or(NONE));
        }
        Output::Dense { second, shown, certain } => {
            (out.kind, out.second, out.count, out.certain) = (kind::DENSE, *second, *shown, u32::from(*certain));
        }
        Output::Drained(window) => (out.kind, out.window) = (kind::DRAINED, *window),
        Output::Remember(bytes) => (out.kind, out.bytes) = (kind::REMEMBER, Bytes::of(bytes)),
        Output::Progress(items) => (out.kind, out.count) = (kind::PROGRESS, *items),
        Output::Done(outcome) => tell_outcome(outcome, out),
    }
}

fn tell_narrow(narrow: &Narrow, out: &mut ffi::Output) {
    fn list<T>(list: Option<&Vec<T>>) -> (*const T, usize) {
        list.map_or((std::ptr::null(), 0), |list| (list.as_ptr(), list.len()))
    }
    out.window = narrow.window;
    (out.ids, out.ids_len) = list(narrow.ids.as_ref());
    (out.kinds, out.kinds_len) = list(narrow.kinds.as_ref());
    (out.authors, out.authors_len) = list(narrow.authors.as_ref());
}

fn tell_outcome(outcome: &Outcome, out: &mut ffi::Output) {
    out.kind = ffi::output::DONE;
    let (code, text) = match outcome {
        Outcome::Complete => (ffi::outcome::COMPLETE, ""),
        Outcome::Incomplete(reason, text) => {
            tell_reason(reason, out);
            (ffi::outcome::INCOMPLETE, text.as_str())
        }
        Outcome::TooBig(cap, text) => {
            out.cap = cap.unwrap_or(NONE);
            (ffi::outcome::TOO_BIG, text.as_str())
        }
        Outcome::Unsupported(text) => (ffi::outcome::UNSUPPORTED, text.as_str()),
        Outcome::Failed(reason, text) => {
            tell_reason(reason, out);
            (ffi::outcome::FAILED, text.as_str())
        }
    };
    (out.outcome, out.bytes) = (code, Bytes::of(text.as_bytes()));
}

fn tell_reason(reason: &Reason, out: &mut ffi::Output) {
    use ffi::reason as code;
    out.reason = match reason {
        Reason::Timeout => code::TIMEOUT,
        Reason::ConnectionLost => code::CONNECTION_LOST,
        Reason::Protocol => code::PROTOCOL,
        Reason::Local => code::LOCAL,
        Reason::Refused(meaning) => {
            out.meaning = *meaning;
            code::REFUSED
        }
        Reason::NotServed { ids, count } => {
            (out.ids, out.ids_len, out.count) = (ids.as_ptr(), ids.len(), *count);
            code::NOT_SERVED
        }
        Reason::DenseSecond { second, more_than } => {
            (out.second, out.count) = (*second, *more_than);
            code::DENSE_SECOND
        }
        Reason::TooBig(cap) => {
            out.cap = cap.unwrap_or(NONE);
            code::TOO_BIG
        }
        Reason::Unsupported => code::UNSUPPORTED,
    };
}

/// An input, or `None` for one of a kind that this version doesn't know.
///
/// # Safety
/// What it shows is as [`ffi::Input`] says, for `'a`.
#[allow(unsafe_code)]
unsafe fn input<'a>(raw: &'a ffi::Input) -> Option<Input<'a>> {
    use ffi::input as kind;
    // SAFETY: the caller's promise.
    let bytes = unsafe { bytes(raw.bytes) };
    let text = std::str::from_utf8(bytes).unwrap_or("");
    let (sub, meaning, names_negentropy) = (raw.sub, raw.meaning, raw.names_negentropy != 0);
    let cap = some(raw.cap);
    Some(match raw.kind {
        kind::START => Input::Start,
        kind::EVENT => Input::Event {
            sub,
            id: raw.id,
            created_at: raw.created_at,
            verdict: match raw.verdict {
                ffi::verdict::NEW => Verdict::New,
                ffi::verdict::KNOWN => Verdict::Known,
                why => Verdict::Bad(why),
            },
        },
        kind::EOSE => Input::Eose { sub, finished: u32::try_from(raw.finished).ok().map(|hint| hint != 0) },
        kind::CLOSED => Input::Closed { sub, meaning, text, cap, names_negentropy },
        kind::NEG_MSG => Input::NegMsg { sub, payload: bytes },
        kind::NEG_ERR => Input::NegErr { sub, meaning, text, cap, names_negentropy },
        kind::NOTICE => Input::Notice { meaning, text, cap, names_negentropy },
        kind::TIMEOUT => Input::Timeout,
        kind::CONNECTION_LOST => Input::ConnectionLost,
        _ => return None,
    })
}

fn some(number: u64) -> Option<u64> {
    Some(number).filter(|number| *number != NONE)
}

/// # Safety
/// As [`ffi::Profile`] says.
#[allow(unsafe_code)]
unsafe fn own_profile(raw: &ffi::Profile) -> Profile {
    // SAFETY: the caller's promise.
    let (nips, software) = unsafe { (slice(raw.nips, raw.nips_len), bytes(raw.software)) };
    Profile {
        nips: nips.to_vec(),
        software: String::from_utf8_lossy(software).into_owned(),
        max_subscriptions: some(raw.max_subscriptions),
        max_filters: some(raw.max_filters),
        max_limit: some(raw.max_limit),
        max_message_length: some(raw.max_message_length),
    }
}

/// # Safety
/// As [`ffi::Filter`] says.
#[allow(unsafe_code)]
unsafe fn own_filter(raw: &ffi::Filter) -> Filter {
    // SAFETY: the caller's promise, for each of them.
    unsafe {
        Filter {
            json: String::from_utf8_lossy(bytes(raw.json)).into_owned(),
            kinds: (!raw.kinds.is_null()).then(|| slice(raw.kinds, raw.kinds_len).to_vec()),
            authors: (!raw.authors.is_null()).then(|| slice(raw.authors, raw.authors_len).to_vec()),
            ids: (!raw.ids.is_null()).then(|| slice(raw.ids, raw.ids_len).to_vec()),
        }
    }
}

/// # Safety
/// As [`ffi::Request`] says.
#[allow(unsafe_code)]
unsafe fn own_request(raw: &ffi::Request) -> Request {
    // SAFETY: the caller's promise, for each of them.
    let (filter, profile, drained, remembered) = unsafe {
        let drained = slice(raw.drained, raw.drained_len).to_vec();
        (own_filter(&raw.filter), own_profile(&*raw.profile), drained, bytes(raw.remembered).to_vec())
    };
    Request {
        filter,
        window: raw.window,
        drained,
        remembered,
        profile,
        direction: match raw.direction {
            2 => Direction::Up,
            3 => Direction::Both,
            _ => Direction::Down,
        },
        proven: raw.proven != 0,
        seed: raw.seed,
    }
}

/// The bytes that `of` shows.
///
/// # Safety
/// They live, and nobody writes them, for `'a`.
#[allow(unsafe_code)]
pub(crate) unsafe fn bytes<'a>(of: Bytes) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe { slice(of.ptr, of.len) }
}

/// `len` values from `first` on; none where there is no pointer.
///
/// # Safety
/// They live, and nobody writes them, for `'a`.
#[allow(unsafe_code)]
pub(crate) unsafe fn slice<'a, T>(first: *const T, len: usize) -> &'a [T] {
    if first.is_null() || len == 0 {
        return &[];
    }
    // SAFETY: the caller's promise, and the pointer is not null.
    unsafe { std::slice::from_raw_parts(first, len) }
}
