//! An event store served as a Nostr relay: NIP-01, 09, 11, 40, 45, 67, 70, and 77 as the answering side.
//!
//! [`serve`] takes a listener and an [`EventStore`](sync_core::store::EventStore), and knows nothing of who else reads or
//! writes that store: what is published here goes through the store's own admission, and what anybody else stores is
//! found in the store's feed.
//!
//! One task for each connection reads, decides and writes (`connection`); what it decides is a machine without I/O
//! (`session`). Whatever reads the store runs on a blocking thread in short pieces (`work`), one at a time for each
//! connection and a few at a time for all, and never while it waits for a client. What is accepted is kept for a while in
//! one ring that all connections read from, each at its own pace (`live`).

mod budget;
mod clock;
mod config;
mod connection;
mod filters;
mod http;
mod info;
mod live;
mod message;
mod publish;
mod server;
mod session;
mod socket;
mod work;

pub use config::{MAX_SUBSCRIPTION_ID, Observe, RelayConfig, RelayLimits};
pub use info::SUPPORTED_NIPS;
pub use server::serve;
