//! What a correct strategy is: a suite that runs over any [`SyncStrategy`], built in or not, and knows none by name.
//!
//! Each check has cases of its own, and a seed decides all of a case: two sets, a filter and a window, a relay and what is
//! wrong with it. The same check with the same seed does the same again. A panic of the strategy is a finding.
//!
//! | module | what |
//! |---|---|
//! | `honest` | what is claimed is true, and what is missing is named; sessions, and whole syncs through the link |
//! | `same` | the same inputs yield the same outputs, whatever a clock says |
//! | `bounded` | relays that answer for ever, or never |
//! | `outcomes` | refusals and silence are named for what they are |
//! | `ends` | one end, nothing after it, and connections that are lost at any moment |
//! | `garbage` | what no relay sends |
//! | `memory` | what was drained and remembered comes back |
//! | `views` | the local set changes between calls, and isn't read again and again |
//! | `sane` | what a strategy says of itself |
//! | `rules` | what must hold after every input |
//! | `model` | the reference that claims are held against |
//! | `host`, `wire`, `player`, `view`, `scene`, `given`, `narrowing` | a session at work with a scripted relay, and watched |

mod bounded;
mod ends;
mod garbage;
mod given;
mod honest;
mod host;
mod memory;
mod model;
mod narrowing;
mod outcomes;
mod player;
mod report;
mod rules;
mod same;
mod sane;
mod scene;
mod view;
mod views;
mod wire;

use std::sync::Arc;
use std::time::Instant;

use sync_core::strategy::SyncStrategy;

pub use report::{Finding, Report, Row};

use crate::sim::caught;

/// Which cases are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The first seed.
    pub first: u64,
    /// How many seeds. Checks whose cases are long take fewer of them, and at least one.
    pub seeds: u64,
    /// This check alone.
    pub only: Option<String>,
}

impl Default for Options {
    /// A hundred seeds, all checks.
    fn default() -> Self {
        Self { first: 1, seeds: 100, only: None }
    }
}

/// What became of a case.
enum Case {
    Held,
    /// The strategy doesn't suit anything that was drawn.
    Skipped,
    Broken(String),
}

/// A check.
struct Check {
    name: &'static str,
    asks: &'static str,
    /// One seed in so many is run.
    one_in: u64,
    run: fn(&Arc<dyn SyncStrategy>, u64) -> Case,
}

const fn check_of(
    name: &'static str,
    one_in: u64,
    run: fn(&Arc<dyn SyncStrategy>, u64) -> Case,
    asks: &'static str,
) -> Check {
    Check { name, asks, one_in, run }
}

/// All checks.
const CHECKS: &[Check] = &[
    check_of("correct", 1, honest::correct, "what is claimed is true, and what is missing is named"),
    check_of("alone", 1, honest::alone, "so it is through the link"),
    check_of("fallback", 1, honest::with_fallback, "and before one that reads, nothing is missing without a cause"),
    check_of("messages", 1, honest::messages, "what is sent asks for no more than the session is for"),
    check_of("same", 1, same::again, "the same inputs yield the same, beside other sessions, too"),
    check_of("time", 1, same::time, "time comes from the host alone"),
    check_of("measured", 1, bounded::measured, "questions and outputs are in proportion to what came"),
    check_of("endless", 4, bounded::endless, "relays that answer for ever, or never, are given up"),
    check_of("refusals", 4, outcomes::refusals, "refusals and silence are named for what they are"),
    check_of("outcomes", 1, outcomes::outcomes, "complete is what was asked for and answered"),
    check_of("once", 1, ends::once, "one end, and nothing after it"),
    check_of("cut", 4, ends::cut, "a connection that is lost at any moment leaves nothing untrue"),
    check_of("garbage", 1, garbage::garbage, "what no relay sends does no harm"),
    check_of("garbage-messages", 1, garbage::messages, "and leads to no message that isn't allowed"),
    check_of("resumed", 2, memory::resumed, "what was drained and remembered is of use"),
    check_of("forged", 2, memory::forged, "what nobody asked to remember does no harm"),
    check_of("views", 1, views::shifting, "the local set may change between calls, and is read once"),
    check_of("sane", 2, sane::sane, "name, hints and suitability make sense"),
];

/// Findings of one check that are told.
const MAX_TOLD: usize = 3;
/// Broken cases after which a check is given up.
const MAX_BROKEN: u64 = 20;

/// The names of all checks.
pub fn checks() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|check| check.name)
}

/// Runs the suite over `strategy`.
pub fn check(strategy: &Arc<dyn SyncStrategy>, options: &Options) -> Report {
    let described = strategy.descriptor();
    let mut report = Report { strategy: format!("{} {}", described.name, described.version), ..Report::default() };
    for check in CHECKS.iter().filter(|check| options.only.as_ref().is_none_or(|only| only == check.name)) {
        run(check, strategy, options, &mut report);
    }
    report
}

fn run(check: &Check, strategy: &Arc<dyn SyncStrategy>, options: &Options, report: &mut Report) {
    let started = Instant::now();
    let mut row =
        Row { check: check.name, asks: check.asks, cases: 0, skipped: 0, broken: 0, took: std::time::Duration::ZERO };
    let seeds = options.seeds.div_ceil(check.one_in);
    for seed in options.first..options.first.saturating_add(seeds) {
        if row.broken >= MAX_BROKEN {
            break;
        }
        let case = caught(check.name, seed, || Ok((check.run)(strategy, seed)));
        let text = match case {
            Ok(Case::Held) => {
                row.cases += 1;
                continue;
            }
            Ok(Case::Skipped) => {
                row.skipped += 1;
                continue;
            }
            Ok(Case::Broken(text)) => text,
            Err(broken) => broken.text,
        };
        row.cases += 1;
        row.broken += 1;
        if row.broken <= MAX_TOLD as u64 {
            report.findings.push(Finding { check: check.name, seed, text });
        }
    }
    row.took = started.elapsed();
    report.rows.push(row);
}

/// What became of a case; `told` is what it was.
fn ended(result: Result<(), String>, told: impl FnOnce() -> String) -> Case {
    match result {
        Ok(()) => Case::Held,
        Err(text) => Case::Broken(match told() {
            told if told.is_empty() => text,
            told => format!("{text}\n  {told}"),
        }),
    }
}
