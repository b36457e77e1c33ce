//! `grasp-sync sync` with a relay on the same machine: cold by each strategy, and again where both sides are equal.
//! Every signature is checked and every commit is durable.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::work::{Relay, Tools, Watched, median, watch};
use super::{Bench, Measured, Row};
use crate::run::Failure;

const SIZES: [usize; 2] = [10_000, 100_000];
const MEMORY_SIZES: [usize; 3] = [100_000, 500_000, 1_000_000];
const RUNS: usize = 3;

/// Events per second at two sizes: the cost is linear.
pub(super) fn speed(bench: &Bench<'_>) -> Result<Measured, Failure> {
    let tools = Tools::build()?;
    let mut rows = Vec::new();
    for events in SIZES {
        let relay = tools.relay(&tools.events(events)?)?;
        for strategy in ["negentropy", "req"] {
            let (mut cold, mut equal, mut bytes) = (Vec::new(), Vec::new(), 0.0);
            for _ in 0..RUNS {
                let first = sync(bench, &relay, strategy)?;
                expect_stored(&first, events)?;
                cold.push(first.seconds);
                let again = sync(bench, &relay, strategy)?;
                bytes = field(&again, "bytes_up") + field(&again, "bytes_down");
                equal.push(again.seconds);
                fs::remove_dir_all(bench.scratch.join("store")).map_err(|error| Failure(error.to_string()))?;
            }
            let rate = events as f64 / median(cold);
            rows.push(Row { what: format!("{events} events, {strategy}, cold"), value: rate, unit: "events/s" });
            let seconds = median(equal);
            rows.push(Row { what: format!("{events} events, {strategy}, equal sets"), value: seconds, unit: "s" });
            rows.push(Row { what: format!("{events} events, {strategy}, equal sets"), value: bytes, unit: "bytes" });
        }
    }
    Ok(Measured::Rows(rows))
}

/// Anonymous memory at three sizes, and how it grows between the larger two: below them what is in flight, which is
/// bounded, is most of it, and differs by some MiB from run to run.
pub(super) fn memory(bench: &Bench<'_>) -> Result<Measured, Failure> {
    let tools = Tools::build()?;
    let mut rows = Vec::new();
    let mut peaks = Vec::new();
    for events in MEMORY_SIZES {
        let relay = tools.relay(&tools.events(events)?)?;
        let mut seen = Vec::new();
        for _ in 0..RUNS {
            let run = sync(bench, &relay, "negentropy")?;
            expect_stored(&run, events)?;
            fs::remove_dir_all(bench.scratch.join("store")).map_err(|error| Failure(error.to_string()))?;
            let Some(bytes) = run.anonymous else {
                return Ok(Measured::Skipped("this system doesn't tell anonymous memory".to_owned()));
            };
            seen.push(bytes as f64);
        }
        let peak = median(seen);
        rows.push(Row { what: format!("{events} events, cold: peak"), value: peak / 1_048_576.0, unit: "MiB" });
        peaks.push((events as f64, peak));
    }
    if let [.., (few, low), (many, high)] = peaks[..] {
        rows.push(Row { what: "growth".to_owned(), value: (high - low) / (many - few), unit: "bytes for each id" });
    }
    Ok(Measured::Rows(rows))
}

fn sync(bench: &Bench<'_>, relay: &Relay, strategy: &str) -> Result<Watched, Failure> {
    let mut command = Command::new(bench.binary);
    command.args(["sync", &relay.url, "--strategy", strategy, "--json", "--quiet", "--store"]);
    watch(command.arg(bench.scratch.join("store")))
}

pub(super) fn expect_stored(run: &Watched, events: usize) -> Result<(), Failure> {
    let stored = field(run, "stored");
    if stored == events as f64 { Ok(()) } else { Err(Failure(format!("{stored} of {events} events were stored"))) }
}

/// A number of the first line, which is the relay's.
fn field(run: &Watched, name: &str) -> f64 {
    let line = run.stdout.lines().next().unwrap_or_default();
    serde_json::from_str::<Value>(line).ok().and_then(|line| line[name].as_f64()).unwrap_or(f64::NAN)
}
