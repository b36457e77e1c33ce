//! Runs the simulator over many seeds: `cargo xtask sim --seeds 1000`.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use testkit::sim::{self, Broken, Summary};

const USAGE: &str = "usage: sim [--seeds N] [--from N] [--seed N] [-v]
  --seeds N   run this many seeds (default 100)
  --from N    the first of them (default 1)
  --seed N    run this one alone
  -v          tell on stderr what happens";

struct Options {
    from: u64,
    count: u64,
    trace: bool,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { from: 1, count: 100, trace: false };
        while let Some(flag) = words.next() {
            if flag == "-v" {
                options.trace = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{flag} needs a value"))?;
            let number = value.parse().map_err(|error| format!("{flag} {value}: {error}"))?;
            match flag.as_str() {
                "--seeds" => options.count = number,
                "--from" => options.from = number,
                "--seed" => (options.from, options.count) = (number, 1),
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
    let (total, broken) = run(&options);
    for broken in &broken {
        eprintln!("{broken}\n");
    }
    let Summary { steps, virtual_ms, connections, batches, restarts, accepted } = total;
    println!(
        "{} seeds, {} broken: {} hours of virtual time, {steps} steps, {connections} connections, {batches} batches, {restarts} \
         restarts, {accepted} events accepted, in {:.1} s",
        options.count,
        broken.len(),
        virtual_ms / 3_600_000,
        started.elapsed().as_secs_f64()
    );
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All seeds, on all cores.
fn run(options: &Options) -> (Summary, Vec<Broken>) {
    let next = AtomicU64::new(options.from);
    let end = options.from.saturating_add(options.count);
    let results = Mutex::new((Summary::default(), Vec::new()));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let result = sim::run(seed, options.trace);
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    match result {
                        Ok(summary) => results.0.add(summary),
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
