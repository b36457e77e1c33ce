//! One historic sync with one relay, on virtual time: the real link and strategies, a random set on each side, a relay
//! with random limits and faults, connections that break and processes that die between any two messages.
//!
//! The promise that is checked (SPEC §7): after it the store holds everything that the relay serves for the filter, or
//! the outcome names what is missing; and where nothing stands in the way, nothing is missing. A seed decides
//! everything; [`run`] with the same seed does the same again.

mod case;
mod judge;
mod run;

use sync_core::strategy::StrategyOrder;

pub(crate) use case::{Case, START, filter, matches};

use crate::sim::{Broken, caught};

/// What is asked of the strategies of a case, beyond that nothing is missing that isn't named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// Nothing more.
    Named,
    /// Where nothing stands in the way, nothing is missing.
    Whole,
}

/// What cases did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages and other steps.
    pub steps: u64,
    /// Connections that were opened.
    pub connections: u64,
    /// Cases that ended complete.
    pub complete: u64,
    /// Cases that ended with something missing, and named.
    pub degraded: u64,
    /// Windows that were carried.
    pub windows: u64,
    /// EVENT frames that the relay sent.
    pub events: u64,
}

impl Tally {
    /// Adds what another case did.
    pub fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.connections += other.connections;
        self.complete += other.complete;
        self.degraded += other.degraded;
        self.windows += other.windows;
        self.events += other.events;
    }
}

/// Runs the case of one seed; with `trace`, tells on stderr what happens.
///
/// # Errors
/// What did not hold. A panic counts as that.
pub fn run(seed: u64, trace: bool) -> Result<Tally, Broken> {
    caught("--history", seed, || run::Run::new(case::Case::new(seed), trace).run())
}

/// Runs the case of one seed with `strategies`, in that order, in place of those that the seed configures.
///
/// # Errors
/// What did not hold, as for [`run`]. Running the seed again by its flags takes the seed's own strategies.
pub fn run_with(seed: u64, strategies: &StrategyOrder, promise: Promise, trace: bool) -> Result<Tally, Broken> {
    caught("--history", seed, || run::Run::with(case::Case::new(seed), strategies.clone(), promise, trace).run())
}
