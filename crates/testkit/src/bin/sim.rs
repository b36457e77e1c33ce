//! Runs the simulator over many seeds: `cargo xtask sim --seeds 1000`.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use testkit::history::{self, Tally};
use testkit::sim::{self, Broken, Summary};

const USAGE: &str = "usage: sim [--seeds N] [--from N] [--seed N] [-v]
  --seeds N   run this many seeds (default 100)
  --from N    the first of them (default 1)
  --seed N    run this one alone
  --large N       run systems of N relays and twenty times as many repositories, one of them unless told otherwise
  --histories N   run this many syncs of one relay in place of whole systems
  --history N     run this one alone
  -v          tell on stderr what happens";

/// Broken seeds that are told in words.
const MAX_TOLD: usize = 20;

struct Options {
    from: u64,
    count: u64,
    trace: bool,
    /// Syncs of one relay, in place of whole systems.
    histories: bool,
    /// Relays of large systems.
    large: Option<usize>,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { from: 1, count: 100, trace: false, histories: false, large: None };
        while let Some(flag) = words.next() {
            if flag == "-v" {
                options.trace = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{flag} needs a value"))?;
            let number: u64 = value.parse().map_err(|error| format!("{flag} {value}: {error}"))?;
            match flag.as_str() {
                "--seeds" => options.count = number,
                "--from" => options.from = number,
                "--seed" => (options.from, options.count) = (number, 1),
                "--large" => {
                    let relays = usize::try_from(number).ok().filter(|relays| (1..=10_000).contains(relays));
                    options.large = Some(relays.ok_or_else(|| format!("{flag} {value}: allowed is 1 to 10000"))?);
                    options.count = 1;
                }
                "--histories" => (options.count, options.histories) = (number, true),
                "--history" => (options.from, options.count, options.histories) = (number, 1, true),
                _ => return Err(format!("unknown flag {flag}")),
            }
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let started = Instant::now();
    let (broken, told) = if options.histories { histories(&options) } else { systems(&options) };
    for broken in broken.iter().take(MAX_TOLD) {
        eprintln!("{broken}\n");
    }
    let took = started.elapsed().as_secs_f64();
    println!("{} seeds, {} broken: {told}, in {took:.1} s", options.count, broken.len());
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whole systems.
fn systems(options: &Options) -> (Vec<Broken>, String) {
    let system = |seed, trace| match options.large {
        Some(relays) => sim::run_large(relays, seed, trace),
        None => sim::run(seed, trace),
    };
    let (total, broken) = run(options, system, Summary::add);
    let Summary { steps, virtual_ms, connections, batches, restarts, accepted, relays, most_held } = total;
    let hours = virtual_ms / 3_600_000;
    let told = format!(
        "{hours} hours of virtual time, {steps} steps, {connections} connections, {batches} batches, {restarts} restarts, \
         {accepted} events accepted of {relays} relays, at most {} KiB held for one relay",
        most_held >> 10
    );
    (broken, told)
}

/// Syncs of one relay.
fn histories(options: &Options) -> (Vec<Broken>, String) {
    let (total, broken) = run(options, history::run, Tally::add);
    let Tally { steps, connections, complete, degraded, windows, events } = total;
    let told = format!(
        "{complete} complete, {degraded} degraded and named, {steps} steps, {connections} connections, {windows} windows, \
         {events} events sent"
    );
    (broken, told)
}

/// All seeds, on all cores.
fn run<T: Default + Send>(
    options: &Options,
    run: impl Fn(u64, bool) -> Result<T, Broken> + Sync,
    add: impl Fn(&mut T, T) + Sync,
) -> (T, Vec<Broken>) {
    let next = AtomicU64::new(options.from);
    let end = options.from.saturating_add(options.count);
    let results = Mutex::new((T::default(), Vec::new()));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let result = run(seed, options.trace);
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    match result {
                        Ok(summary) => add(&mut results.0, summary),
                        Err(broken) => results.1.push(broken),
                    }
                }
            });
        }
    });
    let (total, mut broken) = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    broken.sort_by_key(|broken| broken.seed);
    (total, broken)
}
