//! What an operator sees of a running grasp-sync: log lines, metrics, spans.
//!
//! The names are a contract (CONTRACT.md, "Metrics" and "Traces"): each stands here once, and whoever measures something
//! calls a typed method. This crate knows no relay, store or engine; numbers and names are handed in.
//!
//! Nothing is global but the subscriber that [`log::install`] sets for the process.

pub mod log;
pub mod metrics;
pub mod spans;
pub mod traces;

pub use metrics::Metrics;
