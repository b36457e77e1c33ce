//! The types that cross the boundary, as C sees them. `include/grasp_strategy.h` says the same, and a test holds the two
//! against each other.
//!
//! Everything is plain: integers, bytes, pointers to them with a length, functions. Who reads what, and how long a
//! pointer is good, stands with each of them and in `docs/plugin-abi.md`.

use std::ffi::c_void;

mod called;
mod given;
mod yielded;

pub use called::{Host, Set, level};
pub use given::{Checked, Config, Filter, Input, Profile, Request, Setting, input, meaning, setting, verdict};
pub use yielded::{Output, outcome, output, reason};

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
