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
    }
}

/// What did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The flag that runs it again.
    pub command: &'static str,
    /// The seed that shows it.
    pub seed: u64,
    /// When, virtual milliseconds since the start.
    pub at_ms: u64,
    /// What.
    pub text: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, seed, at_ms, text } = self;
        write!(
            f,
            "seed {seed}: after {}.{:03} s: {text}\nrun it again, with a trace: cargo xtask sim {command} {seed} -v",
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
    catch_unwind(AssertUnwindSafe(|| shell::Sim::new(seed, trace).run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Broken { command: "--seed", seed, at_ms: 0, text: format!("panicked: {}", text.unwrap_or_default()) })
    })
}
