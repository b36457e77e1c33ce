//! Whole systems on virtual time: the real manager, links, strategies, store rules and scripted relays, glued together
//! as the daemon glues them, without sockets, threads or clock.
//!
//! A seed decides everything: the world, the relays and what is wrong with them, latencies, and what happens when
//! (connections lost, relays down or cut off, relays that lose what they held, crashes of the process, a clock that jumps,
//! a full store, new events). Invariants are checked at every
//! step; when all troubles have ended the store must hold what the world's reference accepts. [`run`] with the same
//! seed does the same again.

mod attempt;
mod backoff;
mod check;
mod happen;
mod ingest;
mod judge;
mod own;
mod peer;
mod plan;
mod publish;
mod queue;
mod shell;
mod troubles;
mod watch;
mod weather;

pub(crate) use plan::Dice;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Steps of the machines.
    pub steps: u64,
    /// Virtual time, milliseconds.
    pub virtual_ms: u64,
    /// Connections that were opened.
    pub connections: u64,
    /// Batches that ended.
    pub batches: u64,
    /// Times the process was killed or stopped, and started again.
    pub restarts: u64,
    /// Events accepted at the end.
    pub accepted: u64,
    /// Relays that the process knew at the end.
    pub relays: u64,
    /// The most that one connection ever made us hold, bytes.
    pub most_held: u64,
}

impl Summary {
    /// Adds what another run did.
    pub fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.virtual_ms += other.virtual_ms;
        self.connections += other.connections;
        self.batches += other.batches;
        self.restarts += other.restarts;
        self.accepted += other.accepted;
        self.relays += other.relays;
        self.most_held = self.most_held.max(other.most_held);
    }
}

/// What did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The flags that run it again, without the seed.
    pub flags: String,
    /// The seed that shows it.
    pub seed: u64,
    /// When, virtual milliseconds since the start.
    pub at_ms: u64,
    /// What.
    pub text: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flags, seed, at_ms, text } = self;
        write!(
            f,
            "seed {seed}: after {}.{:03} s: {text}\nrun it again, with a trace: cargo xtask sim {flags} {seed} -v",
            at_ms / 1000,
            at_ms % 1000
        )
    }
}

/// Runs the system of one seed; with `trace`, tells on stderr what happens.
///
/// # Errors
/// The first invariant that did not hold. A panic counts as one.
pub fn run(seed: u64, trace: bool) -> Result<Summary, Broken> {
    caught("--seed", seed, || shell::Sim::new(plan::Plan::new(seed), seed, trace).run())
}

/// Runs a system with so many relays, at least one, and twenty times as many repositories, for an hour of troubles and
/// until it has come to rest; otherwise like [`run`].
///
/// The time it takes grows with the events, and with the bootstrap relay's share of them: every batch of that relay
/// names a hundred repositories.
///
/// # Errors
/// As for [`run`].
pub fn run_large(relays: usize, seed: u64, trace: bool) -> Result<Summary, Broken> {
    let flags = format!("--large {relays} --seed");
    caught(&flags, seed, || shell::Sim::new(plan::Plan::large(seed, relays.max(1)), seed, trace).run())
}

/// Runs a case, which yields when (virtual milliseconds) and what did not hold.
pub(crate) fn caught<T>(flags: &str, seed: u64, run: impl FnOnce() -> Result<T, (u64, String)>) -> Result<T, Broken> {
    let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err((0, format!("panicked: {}", text.unwrap_or_default())))
    });
    result.map_err(|(at_ms, text)| Broken { flags: flags.to_owned(), seed, at_ms, text })
}
