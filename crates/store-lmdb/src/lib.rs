//! The store: events, their indexes, the accepted feed, the rejected index and sync state, in LMDB.
//!
//! What storing, replacing, deleting, admitting and deferring mean is decided in [`sync_core::intake`]; here are
//! only the primitives ([`sync_core::store::StoreTxn`] over a write transaction), the reading, and the writer.
//!
//! | module | does |
//! |---|---|
//! | `store` | the traits of `sync-core` over all of these |
//! | `open`, `error` | opens a directory: options, locks; what goes wrong |
//! | `schema` | the databases of the environment, their keys in one table, the schema's version |
//! | `codec`, `bytes` | an event as compact bytes, and back |
//! | `keys` | keys of every index |
//! | `txn`, `events`, `feed`, `rejected` | the primitives of a write transaction |
//! | `outbox` | accepted events that wait for the own relay |
//! | `rejected_row` | a row of the rejected index as bytes |
//! | `matching`, `plan`, `query` | filters: whether they match, by which index, newest first |
//! | `view` | the local set of a filter, for reconciliation |
//! | `writer` | the one thread that writes: group commit, sweeping, judging again |
//! | `stats`, `verify`, `compact` | what an operator asks of a store |
//!
//! Writers are kept apart by a lock file; readers in other processes need none and never wait. The only `unsafe`
//! is the call that maps the file.

mod bytes;
mod codec;
mod compact;
mod error;
mod events;
mod feed;
mod keys;
mod matching;
mod open;
mod outbox;
mod plan;
mod query;
mod rejected;
mod rejected_row;
mod schema;
mod stats;
mod store;
mod txn;
mod verify;
mod view;
mod writer;

pub use compact::Compacted;
pub use open::{Commit, OnCommit, OpenError, Options};
pub use stats::StoreStats;
pub use store::LmdbStore;
pub use verify::{Problem, VerifyReport};
