//! Verifying finds what is wrong, and only that; counts and sizes are those of what is stored.

use std::sync::{Arc, Mutex};

use heed::types::Bytes;
use heed::{Database, EnvOpenOptions};
use store_lmdb::{Commit, LmdbStore, Options};

use crate::support::{assert_sound, event, id, notes, open, small, submit};

/// Changes a store behind its back.
#[allow(unsafe_code)]
pub(crate) fn damage(
    dir: &std::path::Path,
    name: &str,
    change: impl FnOnce(Database<Bytes, Bytes>, &mut heed::RwTxn<'_>),
) {
    let mut options = EnvOpenOptions::new();
    options.map_size(64 << 20).max_dbs(32);
    // SAFETY: no one else has the store open.
    let env = unsafe { options.open(dir) }.expect("opens");
    let mut txn = env.write_txn().expect("begins");
    let database = env.open_database(&txn, Some(name)).expect("reads").expect("is there");
    change(database, &mut txn);
    txn.commit().expect("commits");
    env.prepare_for_closing().wait();
}

fn problems(dir: &std::path::Path) -> Vec<String> {
    let store = LmdbStore::open(dir, small()).expect("opens");
    let report = store.verify().expect("reads");
    assert_eq!(report.problem_count, report.problems.len() as u64);
    report.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_lost_row_a_false_row_and_a_broken_event_are_named() {
    let (dir, store) = open(small());
    submit(&store, notes(0..50)).expect("stored");
    assert_sound(&store);
    drop(store);

    damage(dir.path(), "by_tag", |db, txn| assert!(first_deleted(db, txn)));
    let found = problems(dir.path());
    assert!(found.iter().any(|text| text.starts_with("by_tag: event") && text.contains("no row")), "{found:?}");
    assert!(found.iter().any(|text| text.contains("49 rows where 50 belong")), "{found:?}");

    damage(dir.path(), "by_time", |db, txn| db.put(txn, &[1; 40], &7u64.to_be_bytes()).expect("put"));
    let found = problems(dir.path());
    assert!(found.iter().any(|text| text.starts_with("by_time: the row 0101")), "{found:?}");

    damage(dir.path(), "feed", |db, txn| {
        db.put(txn, &1u64.to_be_bytes(), &3u64.to_be_bytes()).expect("put");
    });
    let found = problems(dir.path());
    assert!(found.iter().any(|text| text.starts_with("feed: place 1")), "{found:?}");

    damage(dir.path(), "events", |db, txn| {
        db.put(txn, &0u64.to_be_bytes(), b"no event at all").expect("put");
    });
    let found = problems(dir.path());
    assert!(found.iter().any(|text| text.starts_with("events: ") && text.contains("event number 0")), "{found:?}");
}

fn first_deleted(db: Database<Bytes, Bytes>, txn: &mut heed::RwTxn<'_>) -> bool {
    let key = db.first(txn).expect("reads").expect("has a row").0.to_vec();
    db.delete(txn, &key).expect("deletes")
}

#[test]
fn stats_count_by_kind_and_commits_are_told() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let hook = Arc::clone(&told);
    let on_commit = Box::new(move |commit: &Commit| hook.lock().expect("unpoisoned").push(commit.events));
    let (_dir, store) = open(Options { on_commit: Some(on_commit), ..small() });
    submit(&store, notes(0..30)).expect("stored");
    submit(&store, vec![event(100, 1, 7, 5, &[]), event(101, 1, u16::MAX, 5, &[])]).expect("stored");
    let stats = store.stats().expect("reads");
    assert_eq!(stats.events, 32);
    assert_eq!(stats.kinds.into_iter().collect::<Vec<_>>(), [(1, 30), (7, 1), (u16::MAX, 1)]);
    assert_eq!((stats.rejected_hot, stats.rejected_cold, stats.feed_head), (0, 0, 0));
    assert_eq!(stats.map_size, 64 << 20);
    assert!(stats.file_size > 0 && stats.used_size > 0 && stats.used_size <= stats.file_size);
    assert_eq!(*told.lock().expect("unpoisoned"), [30, 2]);
    assert!(query_has(&store, 100));
}

fn query_has(store: &LmdbStore, number: u64) -> bool {
    sync_core::store::LocalSets::event(store, &id(number)).expect("reads").is_some()
}
