//! The suite over the built-in strategies and over libraries, in which it finds nothing, and over bad ones, in each of which it
//! finds what is wrong. `conformance --seeds 1000 req` runs more of it.

mod bad;
mod libraries;

use std::sync::Arc;

use sync_core::strategy::SyncStrategy;
use testkit::conformance::{self, Options, Report};

/// Seeds that every build runs.
const SEEDS: u64 = 40;

fn reads() -> Arc<dyn SyncStrategy> {
    Arc::new(strategy_req::ReqStrategy::from_config(&serde_json::json!({})).expect("defaults"))
}

fn compares() -> Arc<dyn SyncStrategy> {
    Arc::new(strategy_negentropy::NegentropyStrategy::from_config(&serde_json::json!({})).expect("defaults"))
}

fn only(strategy: &Arc<dyn SyncStrategy>, check: &str, first: u64, seeds: u64) -> Report {
    conformance::check(strategy, &Options { first, seeds, only: Some(check.to_owned()) })
}

#[test]
fn reading_conforms() {
    let report = conformance::check(&reads(), &Options { seeds: SEEDS, ..Options::default() });
    assert!(report.is_clean(), "{report}");
    assert!(report.rows.iter().all(|row| row.cases > 0 && row.skipped == 0), "{report}");
}

#[test]
fn comparing_conforms() {
    let report = conformance::check(&compares(), &Options { seeds: SEEDS, ..Options::default() });
    assert!(report.is_clean(), "{report}");
    assert!(report.rows.iter().all(|row| row.cases > 0 && row.skipped == 0), "{report}");
}

#[test]
fn other_settings_conform() {
    let small = serde_json::json!({ "page_size": 7, "timeout": "3s" });
    let pages: Arc<dyn SyncStrategy> = Arc::new(strategy_req::ReqStrategy::from_config(&small).expect("valid"));
    let small = serde_json::json!({ "frame_size_limit": 4_096, "timeout": "1h" });
    let frames: Arc<dyn SyncStrategy> =
        Arc::new(strategy_negentropy::NegentropyStrategy::from_config(&small).expect("valid"));
    for strategy in [pages, frames] {
        // Pages that are smaller than the relay's are a cause of their own: seconds don't fit.
        for check in conformance::checks().filter(|check| *check != "fallback") {
            let report = only(&strategy, check, 1_000, 20);
            assert!(report.is_clean(), "{report}");
        }
    }
}

#[test]
fn a_finding_is_found_again_by_its_seed() {
    let (strategy, check) = bad::stops_after_one_page();
    let report = only(&strategy, check, 1, 60);
    let found = report.findings.first().expect("a finding");
    assert_eq!(only(&strategy, check, found.seed, 1).findings, std::slice::from_ref(found));
    let text = report.to_string();
    assert!(text.contains("BROKEN") && text.contains(&format!("--first {}", found.seed)), "{text}");
}

#[test]
fn what_suits_little_is_checked_by_that() {
    let report = conformance::check(&bad::picky(), &Options { seeds: 30, ..Options::default() });
    assert!(report.is_clean(), "{report}");
    assert!(report.rows.iter().all(|row| row.cases > row.skipped), "{report}");
}

#[test]
fn what_is_left_to_the_next_is_not_held_against_anybody() {
    for check in ["correct", "alone", "fallback", "once"] {
        let report = only(&bad::gives_up(), check, 1, SEEDS);
        assert!(report.is_clean(), "{report}");
    }
}

#[test]
fn what_is_wrong_is_found() {
    let finds = |strategy: &Arc<dyn SyncStrategy>, check: &str| {
        (1..=SEEDS).any(|seed| !only(strategy, check, seed, 1).is_clean())
    };
    let missed: Vec<String> = bad::all()
        .into_iter()
        .filter(|(strategy, check)| !finds(strategy, check))
        .map(|(strategy, check)| format!("{} by {check}", strategy.descriptor().name))
        .collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
