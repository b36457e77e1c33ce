//! The shell over a wire in memory: what happens when something is slow, ends, or is asked to end.

mod connections;
mod daemon;
mod ingest;
mod limits;
mod support;
mod syncing;
mod traces;
