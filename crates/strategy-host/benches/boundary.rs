//! What it costs that a strategy is a plugin: one page of the strategy `req`, by itself, through the functions of the C interface, and as
//! the link sees it, on a thread of its own in batches. Beside them a message that is handed over alone.
//!
//! Cost grows with messages; a batch has 256 events. What is shared by all of a batch shows in `page_as_plugin`.

use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use serde_json::json;
use strategy_abi::ffi::{self, Bytes};
use strategy_export::{Adapter, Exported};
use strategy_host::{Limits, Plugin};
use strategy_req::ReqStrategy;
use sync_core::Now;
use sync_core::nostr::event::EventId;
use sync_core::nostr::filter::Filter;
use sync_core::strategy::{
    CheckVerdict, ConfigError, Direction, Input, Message, Output, RelayProfile, SessionRequest, StrategyConfig,
    SyncSession, SyncStrategy, VecSet, Window,
};

/// Events of a page.
const PAGE: u64 = 256;
const NOW: Now = Now { mono_ms: 1_000, unix_s: 1_700_000_000 };
const UNTIL: u64 = 1_700_000_000;

fn main() {
    divan::main();
}

struct Req;

impl Exported for Req {
    const NAME: &'static str = "req-plugin";
    const VERSION: &'static str = "1";
    const COMPARES_SETS: bool = false;
    const PROBES_ALONE: bool = false;

    fn from_config(config: &StrategyConfig) -> Result<Arc<dyn SyncStrategy>, ConfigError> {
        Ok(Arc::new(ReqStrategy::from_config(config)?))
    }
}

static TABLE: ffi::StrategyV1 = strategy_abi::export::table::<Adapter<Req>>();

fn built_in() -> Arc<dyn SyncStrategy> {
    Req::from_config(&json!({})).expect("the defaults are right")
}

#[allow(unsafe_code)]
fn plugin() -> Arc<dyn SyncStrategy> {
    // SAFETY: made by the crate that the interface is of.
    let plugin = unsafe { Plugin::linked(&TABLE, Limits::default()) }.expect("a table");
    plugin.strategy(&json!({})).expect("the defaults are right")
}

fn id(number: u64) -> [u8; 32] {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_be_bytes());
    id
}

fn take(session: &mut dyn SyncSession) -> u32 {
    let mut asked = 0;
    while let Some(output) = session.poll() {
        if let Output::Send(Message::Req { sub, .. }) = black_box(output) {
            asked = sub;
        }
    }
    asked
}

/// A session that has asked for its first page, and by which number.
fn started(strategy: &dyn SyncStrategy) -> (Box<dyn SyncSession>, u32) {
    let mut session = strategy.open(SessionRequest {
        filter: Filter::new(),
        window: Window { since: 0, until: UNTIL },
        drained: Vec::new(),
        remembered: Vec::new(),
        profile: RelayProfile::default(),
        direction: Direction::Down,
        proven: false,
        seed: 1,
    });
    session.handle(Input::Start, &VecSet::EMPTY, NOW).expect("it begins");
    let sub = take(&mut *session);
    (session, sub)
}

/// Gives it a page as the link does, message by message.
fn page((session, sub): &mut (Box<dyn SyncSession>, u32)) {
    let mut give = |input: Input<'_>| {
        session.handle(input, &VecSet::EMPTY, NOW).expect("nothing is wrong");
        take(&mut **session);
        black_box(session.next_timeout());
    };
    for number in 0..PAGE {
        let id = EventId::from_byte_array(id(number));
        give(Input::Event { sub: *sub, id, created_at: UNTIL - number, verdict: CheckVerdict::New });
    }
    give(Input::Eose { sub: *sub, finished: None });
}

#[divan::bench]
fn page_built_in(bencher: Bencher<'_, '_>) {
    let strategy = built_in();
    let bencher = bencher.counter(ItemsCount::new(PAGE + 1)).with_inputs(|| started(&*strategy));
    bencher.bench_local_refs(page);
}

#[divan::bench]
fn page_as_plugin(bencher: Bencher<'_, '_>) {
    let strategy = plugin();
    let bencher = bencher.counter(ItemsCount::new(PAGE + 1)).with_inputs(|| started(&*strategy));
    bencher.bench_local_refs(page);
}

/// The functions alone, one call of each for every message, on this thread.
#[divan::bench]
fn page_by_calls(bencher: Bencher<'_, '_>) {
    let bencher = bencher.counter(ItemsCount::new(PAGE + 1)).with_inputs(Called::started);
    bencher.bench_local_refs(|called| {
        for number in 0..PAGE {
            let event = ffi::Input {
                id: id(number),
                created_at: UNTIL - number,
                verdict: ffi::verdict::NEW,
                ..Called::input(ffi::input::EVENT, called.sub)
            };
            called.give(&event);
        }
        called.give(&Called::input(ffi::input::EOSE, called.sub));
    });
}

/// A message that waits for no other: the way to the plugin's thread and back.
#[divan::bench]
fn message_alone(bencher: Bencher<'_, '_>) {
    let strategy = plugin();
    let (mut session, sub) = started(&*strategy);
    bencher.bench_local(|| {
        let input = Input::Eose { sub: sub + 1_000, finished: None };
        session.handle(input, &VecSet::EMPTY, NOW).expect("nothing is wrong");
        take(&mut *session)
    });
}

/// A session on the other side of the interface.
struct Called {
    session: *mut c_void,
    sub: u32,
}

#[allow(unsafe_code)]
impl Called {
    fn started() -> Self {
        let (config, host) = (Self::config(), Self::host());
        let profile = ffi::Profile {
            struct_size: size_of::<ffi::Profile>() as u32,
            reserved: 0,
            nips: null(),
            nips_len: 0,
            software: Bytes::EMPTY,
            max_subscriptions: ffi::NONE,
            max_filters: ffi::NONE,
            max_limit: ffi::NONE,
            max_message_length: ffi::NONE,
        };
        let filter = ffi::Filter {
            json: Bytes::of(b"{}"),
            kinds: null(),
            kinds_len: 0,
            authors: null(),
            authors_len: 0,
            ids: null(),
            ids_len: 0,
        };
        let request = ffi::Request {
            struct_size: size_of::<ffi::Request>() as u32,
            direction: 1,
            filter,
            window: ffi::Window { since: 0, until: UNTIL },
            drained: null(),
            drained_len: 0,
            remembered: Bytes::EMPTY,
            profile: &raw const profile,
            seed: 1,
            proven: 0,
            reserved: 0,
        };
        let mut session = null_mut();
        // SAFETY: all of it lives for the call, and the host's functions for ever.
        let code = unsafe { (TABLE.create)(&raw const config, &raw const host, &raw const request, &raw mut session) };
        assert_eq!(code, ffi::OK);
        let mut called = Self { session, sub: 0 };
        called.give(&Self::input(ffi::input::START, 0));
        called
    }

    fn give(&mut self, input: &ffi::Input) {
        let set = Self::set();
        // SAFETY: the session is open, and input and set live for the call.
        assert_eq!(unsafe { (TABLE.handle)(self.session, input, 1, &raw const set) }, ffi::OK);
        loop {
            // SAFETY: plain numbers and pointers, of which nothing but zeros is asked.
            let mut output: ffi::Output = unsafe { std::mem::zeroed() };
            output.struct_size = size_of::<ffi::Output>() as u32;
            // SAFETY: as above.
            if unsafe { (TABLE.poll)(self.session, &raw mut output) } != ffi::SOME {
                break;
            }
            if output.kind == ffi::output::REQ {
                self.sub = output.sub;
            }
        }
        let (mut at, mut what) = (0, Bytes::EMPTY);
        // SAFETY: as above.
        black_box(unsafe { (TABLE.next_timeout)(self.session, &raw mut at, &raw mut what) });
    }

    fn input(kind: u32, sub: u32) -> ffi::Input {
        ffi::Input {
            kind,
            sub,
            mono_ms: NOW.mono_ms,
            unix_s: NOW.unix_s,
            created_at: 0,
            id: [0; 32],
            verdict: 0,
            finished: -1,
            meaning: 0,
            names_negentropy: 0,
            cap: ffi::NONE,
            bytes: Bytes::EMPTY,
        }
    }

    fn config() -> ffi::Config {
        let json = Bytes::of(b"{}");
        ffi::Config {
            struct_size: size_of::<ffi::Config>() as u32,
            reserved: 0,
            json,
            settings: null(),
            settings_len: 0,
        }
    }

    fn host() -> ffi::Host {
        unsafe extern "C" fn log(_: *mut c_void, _: u32, _: Bytes) {}
        unsafe extern "C" fn span_begin(_: *mut c_void, _: Bytes) -> u64 {
            0
        }
        unsafe extern "C" fn span_end(_: *mut c_void, _: u64) {}
        ffi::Host {
            struct_size: size_of::<ffi::Host>() as u32,
            reserved: 0,
            ctx: null_mut(),
            log,
            span_begin,
            span_end,
        }
    }

    /// An empty one.
    fn set() -> ffi::Set {
        unsafe extern "C" fn count(_: *mut c_void, _: *const ffi::Item, _: *const ffi::Item) -> u64 {
            0
        }
        unsafe extern "C" fn fingerprint(_: *mut c_void, _: *const ffi::Item, _: *const ffi::Item, out: *mut u8) {
            // SAFETY: the caller's 16 bytes.
            unsafe { out.write_bytes(0, 16) };
        }
        unsafe extern "C" fn items(
            _: *mut c_void,
            _: *const ffi::Item,
            _: *const ffi::Item,
            _: *mut ffi::Item,
            _: usize,
        ) -> usize {
            0
        }
        unsafe extern "C" fn split(
            _: *mut c_void,
            _: *const ffi::Item,
            _: *const ffi::Item,
            _: usize,
            _: *mut ffi::Item,
        ) -> usize {
            0
        }
        ffi::Set {
            struct_size: size_of::<ffi::Set>() as u32,
            reserved: 0,
            ctx: null_mut(),
            count,
            fingerprint,
            items,
            split,
        }
    }
}

#[allow(unsafe_code)]
impl Drop for Called {
    fn drop(&mut self) {
        // SAFETY: once, last.
        unsafe { (TABLE.destroy)(self.session) };
    }
}
