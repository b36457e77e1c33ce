//! The decisions of grasp-sync: what to sync, from whom, how, and when it is complete.
//!
//! Everything here is a state machine or a pure function. It takes inputs with the time at which they
//! happened ([`Now`]) and yields outputs; it reads no clock, socket, file or random number. A shell (the
//! `engine` crate, or the simulator of `testkit`) owns those.
//!
//! The contract of every machine: call one mutating function, then drain its `poll` until `None`, then ask
//! `next_timeout`. What `next_timeout` returns changes only by a mutating call.
//!
//! | module | decides |
//! |---|---|
//! | [`model`] | the terms: relays, repositories, batches, statuses |
//! | [`filters`] | the three layers of filters |
//! | [`plan`] | what is wanted, minus what is pending, confirmed or failed |
//! | [`lifecycle`] | the life of one relay |
//! | [`manager`] | all relays together |
//! | [`health`] | back-off, rate limits, lasting faults |
//! | [`admission`] | which events are accepted, deferred, rejected |
//! | [`check`] | whether a received event is what it says, and what was asked for |
//! | [`intake`] | what storing an event does to what is stored already |
//! | [`strategy`] | how one filter is reconciled with one relay |
//! | [`link`] | one connection: live subscriptions, batches, sessions, fetching, uploads, budgets |
//! | [`response`] | what a relay's words mean |
//! | [`store`], [`transport`] | what the shell provides |
//! | [`time`] | how time is handed in |

pub mod admission;
pub mod check;
pub mod filters;
pub mod health;
pub mod intake;
pub mod lifecycle;
pub mod link;
pub mod manager;
pub mod model;
pub mod plan;
pub mod response;
pub mod store;
pub mod strategy;
pub mod time;
pub mod transport;

pub use nostr;

pub use time::{MonoMillis, Now};
