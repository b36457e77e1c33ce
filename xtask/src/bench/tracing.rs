//! What it costs that traces are exported: a cold `sync` without, and with every batch traced to a collector in another process,
//! in pairs.

use std::fs;
use std::process::Command;

use super::sync::expect_stored;
use super::work::{Collector, Relay, Tools, Watched, median, watch};
use super::{Bench, Measured, Row};
use crate::run::Failure;

const SIZES: [usize; 2] = [10_000, 100_000];
/// Pairs; the machine's noise is about as large as what is looked for.
const RUNS: usize = 11;

pub(super) fn run(bench: &Bench<'_>) -> Result<Measured, Failure> {
    let tools = Tools::build()?;
    let mut rows = Vec::new();
    for events in SIZES {
        let relay = tools.relay(&tools.events(events)?)?;
        for strategy in ["negentropy", "req"] {
            let collector = tools.collector()?;
            let (mut without, mut with, mut more) = (Vec::new(), Vec::new(), Vec::new());
            for turn in 0..RUNS {
                let cold = |to: Option<&Collector>| cold(bench, &relay, strategy, events, to);
                // Who comes first finds other things in the caches: in turn.
                let (one, other) = if turn % 2 == 0 {
                    let one = cold(None)?;
                    (one, cold(Some(&collector))?)
                } else {
                    let other = cold(Some(&collector))?;
                    (cold(None)?, other)
                };
                more.push((other / one - 1.0) * 100.0);
                without.push(one);
                with.push(other);
            }
            let came = collector.finish()?;
            if came.batches != RUNS {
                return Err(Failure(format!("{} of {RUNS} batches reached the collector", came.batches)));
            }
            for (name, seconds) in [("not traced", without), ("traced", with)] {
                let what = format!("{events} events, {strategy}, {name}, cold");
                rows.push(Row { what, value: median(seconds), unit: "s" });
            }
            let mut spread = more.clone();
            spread.sort_by(f64::total_cmp);
            let quarter = |at: usize| spread.get(spread.len() * at / 4).copied().unwrap_or(f64::NAN);
            let what = format!("{events} events, {strategy}: traced, pair by pair, the median");
            rows.push(Row { what, value: median(more), unit: "% longer" });
            for (name, at) in [("lower", 1), ("upper", 3)] {
                let what = format!("{events} events, {strategy}: the {name} quartile of that");
                rows.push(Row { what, value: quarter(at), unit: "% longer" });
            }
            let spans = came.spans as f64 / RUNS as f64;
            rows.push(Row {
                what: format!("{events} events, {strategy}: spans of a batch"),
                value: spans,
                unit: "spans",
            });
        }
    }
    Ok(Measured::Rows(rows))
}

fn cold(
    bench: &Bench<'_>,
    relay: &Relay,
    strategy: &str,
    events: usize,
    to: Option<&Collector>,
) -> Result<f64, Failure> {
    let store = bench.scratch.join("store");
    let mut command = Command::new(bench.binary);
    command.args(["sync", &relay.url, "--strategy", strategy, "--json", "--quiet", "--store"]).arg(&store);
    command.env("GRASP_SYNC_TELEMETRY__OTLP_ENDPOINT", to.map_or("", |collector| &collector.url));
    let run: Watched = watch(&mut command)?;
    expect_stored(&run, events)?;
    fs::remove_dir_all(&store).map_err(|error| Failure(format!("{}: {error}", store.display())))?;
    Ok(run.seconds)
}
