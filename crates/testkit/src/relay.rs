//! A relay that does what a test says: NIP-01, 09, 11, 42, 67 and 77, with faults that are set while it runs.
//!
//! [`RelayCore`] and [`RelayConnection`] are machines without sockets or clock: text in, [`Outgoing`] out, time
//! handed in. The simulator drives them on virtual time; [`ScriptedRelay`] puts them behind a loopback socket.

mod answer;
mod connection;
mod core;
mod faults;
mod http;
mod index;
mod message;
mod negentropy;
mod server;
mod socket;
mod stats;

pub use connection::{Outgoing, RelayConnection};
pub use core::{RelayCore, RelayOptions};
pub use faults::{
    Drip, DropAfter, Faults, Nip11Fault, NoNegentropy, OkAnswer, RateLimit, RateLimitAnswer, TooBig, TooBigWording,
};
pub use index::{EventIndex, Inserted, StoredEvent};
pub use server::{RunningRelay, ScriptedRelay, TimedOut};
pub use stats::{RelayStats, SeenRequest};
