//! The boundary between grasp-sync and sync strategies in shared libraries.
//!
//! | module | holds |
//! |---|---|
//! | [`ffi`] | the types as C sees them; `include/grasp_strategy.h` says the same |
//! | [`Strategy`], [`Session`] and their words | what a strategy in Rust is made of, without a pointer in sight |
//! | `settings` | how it reads its section of the configuration |
//! | `host` | what it may ask of the host |
//! | `export` | the functions of the C interface over any [`Strategy`] |
//! | [`req`] | what every strategy that asks by REQ needs: answers, their sizes, what the relay lacks |
//! | `window` | what a strategy reckons with windows |
//! | [`testing`] | what a strategy's own tests need where the host would be |
//!
//! A strategy in Rust implements [`Strategy`], is built as a `cdylib`, and says [`export_strategy!`] once. The interface has a
//! version of its own ([`ffi::ABI_MAJOR`]); `docs/plugin-abi.md` has the rules, `docs/writing-a-strategy.md` the way there.
//! This crate depends on nothing.

#[doc(hidden)]
pub mod export;
pub mod ffi;
mod host;
mod plugin;
pub mod req;
mod settings;
pub mod testing;
mod window;

pub use ffi::{Id, Item, Window};
pub use host::{Host, Level, Set, Span};
pub use plugin::{
    Direction, Filter, Hints, Input, Narrow, Outcome, Output, Profile, Reason, Request, Session, Strategy, Verdict,
};
pub use settings::{ConfigError, Settings};

/// Makes a library of a [`Strategy`]: `export_strategy!(MyStrategy);`, once, in a crate of type `cdylib`.
#[macro_export]
macro_rules! export_strategy {
    ($strategy:ty) => {
        /// The one symbol that the host asks for.
        // SAFETY: the name belongs to this interface, and a library has one strategy.
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        pub extern "C" fn grasp_sync_strategy_v1() -> *const $crate::ffi::StrategyV1 {
            static TABLE: $crate::ffi::StrategyV1 = $crate::export::table::<$strategy>();
            &TABLE
        }
    };
}
