//! The suite over shared libraries: the built-in strategies as plugins, and the examples in Rust and in C.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use strategy_host::{Limits, Plugin};
use sync_core::strategy::SyncStrategy;
use testkit::conformance::{self, Options};
use testkit::plugins::{by_author_library, rust_library};

/// Seeds that every build runs: `cargo xtask strategy check FILE` runs more.
const SEEDS: u64 = 12;

/// The strategy of a library, with its defaults.
fn load(library: &Path) -> Arc<dyn SyncStrategy> {
    // Other tests take the cores, too.
    let limits = Limits { call: Duration::from_secs(60), ..Limits::default() };
    let plugin = Plugin::load(library, None, limits).expect("it loads");
    plugin.strategy(&serde_json::json!({})).expect("defaults")
}

fn conforms(library: &Path) {
    let report = conformance::check(&load(library), &Options { seeds: SEEDS, ..Options::default() });
    assert!(report.is_clean(), "{report}");
    assert!(report.rows.iter().all(|row| row.cases > 0 && row.skipped == 0), "{report}");
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
