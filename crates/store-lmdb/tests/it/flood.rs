//! Bounds of the rejected index while relays send more than it may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use store_lmdb::{OnCommit, Options};
use sync_core::admission::{AdmissionConfig, AdmissionPolicy};
use sync_core::intake::IntakeConfig;
use sync_core::store::{EventStore, IntakeOutcome};

use crate::support::{NOW, assert_sound, event, open, submit};

const MAX: u64 = 1_000;

/// A store that keeps everything of this file out.
fn judging(intake: IntakeConfig) -> Options {
    let policy = Some(AdmissionPolicy::new(AdmissionConfig::default()).expect("valid"));
    Options { max_size: 256 << 20, policy, intake, ..Options::default() }
}

#[test]
fn a_flood_leaves_no_more_rows_than_allowed() {
    let forgotten = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&forgotten);
    let on_commit: OnCommit = Box::new(move |commit| _ = told.fetch_add(commit.forgotten, Ordering::Relaxed));
    let options = judging(IntakeConfig { max_rejected: MAX, ..IntakeConfig::default() });
    let (_dir, store) = open(Options { on_commit: Some(on_commit), ..options });
    for first in (0..50_000).step_by(5_000) {
        let outcomes = submit(&store, (first..first + 5_000).map(|n| event(n, 1, 1, NOW - 100_000 + n, &[])).collect());
        assert!(outcomes.expect("room").iter().all(|outcome| matches!(outcome, IntakeOutcome::Deferred(_))));
        let (hot, cold) = store.rejected_count().expect("reads");
        assert!(hot + cold <= MAX, "{hot} hot rows and {cold} cold ones after {}", first + 5_000);
    }
    assert_eq!(store.rejected_count(), Ok((MAX, 0)));
    assert_eq!(forgotten.load(Ordering::Relaxed) as u64, 50_000 - MAX, "each is told");
    assert_sound(&store);
}

#[test]
fn a_bound_that_was_lowered_is_reached_in_steps() {
    let (dir, store) = open(judging(IntakeConfig::default()));
    submit(&store, (0..5_000).map(|n| event(n, 1, 1, NOW - 100_000 + n, &[])).collect()).expect("room");
    drop(store);
    let lower = judging(IntakeConfig { max_rejected: MAX, ..IntakeConfig::default() });
    let store = store_lmdb::LmdbStore::open(dir.path(), lower).expect("opens");
    let count = || store.rejected_count().map(|(hot, cold)| hot + cold).expect("reads");
    for n in 5_000..5_010 {
        submit(&store, vec![event(n, 1, 1, NOW, &[])]).expect("room");
    }
    assert_eq!(count(), MAX);
    assert_sound(&store);
}
