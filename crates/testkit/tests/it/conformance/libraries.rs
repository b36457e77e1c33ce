//! The suite over shared libraries: the built-in strategies as plugins, the examples in Rust and in C, and what is laid down for
//! a new one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use strategy_host::{Limits, Plugin};
use sync_core::strategy::SyncStrategy;
use testkit::conformance::{self, Options};
use testkit::plugins::{by_author_library, new_strategy_library, rust_library};

/// Seeds that every build runs: the fewest that have the suite show relays that answer for ever in every way it knows.
/// `cargo xtask strategy check FILE` runs more.
const SEEDS: u64 = 28;
/// Seeds that showed a mistake once: what a relay lacks of a second that may be whole was kept from it.
const SHOWED: &[(&str, u64)] = &[("alone", 159), ("alone", 516), ("alone", 808)];

/// The strategy of a library, with its defaults.
fn load(library: &Path) -> Arc<dyn SyncStrategy> {
    // Other tests take the cores, too.
    let limits = Limits { call: Duration::from_secs(60), ..Limits::default() };
    let plugin = Plugin::load(library, None, limits).expect("it loads");
    plugin.strategy(&serde_json::json!({})).expect("defaults")
}

fn conforms(library: &Path) {
    let strategy = load(library);
    let report = conformance::check(&strategy, &Options { seeds: SEEDS, ..Options::default() });
    assert!(report.is_clean(), "{report}");
    assert!(report.rows.iter().all(|row| row.cases > 0 && row.skipped == 0), "{report}");
    for &(check, seed) in SHOWED {
        let report = super::only(&strategy, check, seed, 1);
        assert!(report.is_clean(), "{report}");
    }
}

#[test]
fn reading_as_a_library_conforms() {
    conforms(&rust_library("plugin-req"));
}

#[test]
fn comparing_as_a_library_conforms() {
    conforms(&rust_library("plugin-negentropy"));
}

#[test]
fn windows_conform() {
    conforms(&rust_library("window-req"));
}

#[test]
fn author_by_author_conforms() {
    conforms(&by_author_library());
}

#[test]
fn what_is_laid_down_conforms() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-strategy");
    conforms(&new_strategy_library("my-own-way", &folder));
}
