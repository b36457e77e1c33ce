//! The shell: owns sockets, timers, threads and the store, and drives the machines of `sync-core` with them.
//!
//! | module | owns |
//! |---|---|
//! | [`ingest`] | the threads that check events and hand them to the store |
//! | [`driver`] | one connection: a [`sync_core::link::RelayLink`] between socket and ingest |
//! | [`daemon`] | the manager's task, the feed, connecting, persisting, status |
//! | [`once`] | one historic sync with one relay |
//! | [`clock`] | the one place that reads the clocks |
//! | `gate` | how intake goes on when the store has room again |
//! | [`trouble`] | what keeps a part of the process from its work |
//! | [`parking`] | which ids are being fetched, over all connections |
//! | `local` | the store as sessions read it |
//! | [`trace`] | the spans of a batch |
//!
//! Every channel is bounded. The manager awaits nothing while it decides; a relay's task never waits for the manager,
//! so that neither can hold up the other.

pub mod clock;
pub mod daemon;
pub mod driver;
pub mod ingest;
pub mod once;
pub mod parking;
pub mod trace;
pub mod trouble;

mod gate;
mod local;

pub use clock::Clock;
pub use local::blocking;
