//! Opening, reopening, and who may open beside whom.

use std::process::Command;

use nostr::event::Event;
use nostr::filter::Filter;
use store_lmdb::{LmdbStore, OpenError, Options};
use sync_core::store::{EventStore, IntakeOutcome, StateTable, StateWrite, StoreError, Submission};

use crate::support::{NOW, assert_sound, ids, notes, open, query, small, submit};
use crate::verifying::damage;

/// The example `other_process` in a role of its own, on the store in `dir`. Cargo builds examples with the tests.
pub(crate) fn other_process(role: &str, dir: &std::path::Path) -> Command {
    let here = std::env::current_exe().expect("this binary");
    let built = here.parent().and_then(std::path::Path::parent).expect("cargo's folder");
    let mut command =
        Command::new(built.join("examples").join(format!("other_process{}", std::env::consts::EXE_SUFFIX)));
    command.arg(role).arg(dir);
    command
}

fn write(table: StateTable, key: &[u8], value: Option<&[u8]>) -> StateWrite {
    StateWrite::new(table, key, value.map(<[u8]>::to_vec))
}

#[test]
fn a_record_that_depends_on_events_is_written_with_them_or_not_at_all() {
    let (_dir, store) = open(small());
    let events = notes(0..2);
    let record = |name: &[u8], if_known: &[Event]| StateWrite {
        if_known: if_known.iter().map(|event| event.id).collect(),
        ..write(StateTable::Coverage, name, Some(b"drained"))
    };
    let keys = || {
        let records = store.read_state(StateTable::Coverage).expect("reads");
        records.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    store.write_state(vec![record(b"too early", &events)]).expect("written");
    assert!(keys().is_empty());
    let (said, outcome) = std::sync::mpsc::sync_channel(1);
    let state = vec![record(b"with two of which one comes", &events), record(b"with it", &events[..1])];
    let submission = Submission { events: events[..1].to_vec(), state, now: NOW, ..Submission::default() };
    store.submit(submission, Box::new(move |result| _ = said.send(result))).expect("submitted");
    assert_eq!(outcome.recv().expect("answered"), Ok(vec![IntakeOutcome::Stored]));
    assert_eq!(keys(), [b"with it".to_vec()]);
    submit(&store, events.clone()).expect("stored");
    store.write_state(vec![record(b"later", &events)]).expect("written");
    assert_eq!(keys(), [b"later".to_vec(), b"with it".to_vec()]);
}

#[test]
fn everything_is_there_after_reopening() {
    let (dir, store) = open(small());
    submit(&store, notes(0..500)).expect("stored");
    store
        .write_state(vec![
            write(StateTable::Relay, b"wss://b", Some(b"two")),
            write(StateTable::Relay, b"wss://a", Some(b"one")),
            write(StateTable::Failed, b"wss://a", Some(b"other room")),
        ])
        .expect("written");
    let before = query(&store, &[Filter::new()], NOW);
    drop(store);

    let store = LmdbStore::open(dir.path(), small()).expect("opens again");
    assert_eq!(query(&store, &[Filter::new()], NOW), before);
    let relays = store.read_state(StateTable::Relay).expect("reads");
    assert_eq!(relays, [(b"wss://a".to_vec(), b"one".to_vec()), (b"wss://b".to_vec(), b"two".to_vec())]);
    store.write_state(vec![write(StateTable::Relay, b"wss://a", None)]).expect("written");
    assert_eq!(store.read_state(StateTable::Relay).expect("reads").len(), 1);
    assert!(matches!(
        store.write_state(vec![write(StateTable::Relay, &[0; 501], None)]),
        Err(StoreError::Io(text)) if text.contains("501")
    ));
    assert_sound(&store);
}

#[test]
fn a_second_writer_is_refused_with_the_first_ones_name() {
    let (dir, store) = open(small());
    let Err(OpenError::Busy { holder, .. }) = LmdbStore::open(dir.path(), small()) else { panic!("two writers") };
    assert!(holder.contains(&std::process::id().to_string()), "{holder}");
    drop(store);
    LmdbStore::open(dir.path(), small()).expect("the lock goes with its holder");
}

#[test]
fn nothing_is_created_for_reading() {
    let dir = tempfile::tempdir().expect("a directory");
    let reading = || Options { read_only: true, ..small() };
    assert!(matches!(LmdbStore::open(dir.path().join("none"), reading()), Err(OpenError::Missing(_))));
    assert!(!dir.path().join("none").exists());
    let file = dir.path().join("file");
    std::fs::write(&file, "no directory").expect("written");
    let refused = LmdbStore::open(&file, small()).map(drop).expect_err("a file is no directory");
    assert!(matches!(&refused, OpenError::NotWritable { path, .. } if *path == file), "{refused}");
    assert!(refused.to_string().contains("file is not writable"), "{refused}");
}

#[test]
fn a_reader_in_another_process_sees_what_the_writer_commits() {
    let (dir, store) = open(small());
    submit(&store, notes(0..100)).expect("stored");
    let output = other_process("read", dir.path()).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("read 100 events"), "{output:?}");
    submit(&store, notes(100..120)).expect("the writer goes on");
    assert_eq!(ids(&query(&store, &[Filter::new()], NOW)).len(), 120);
}

#[test]
fn compaction_keeps_everything_and_wants_to_be_alone() {
    let (dir, store) = open(small());
    submit(&store, notes(0..3000)).expect("stored");
    let before = query(&store, &[Filter::new()], NOW);
    let gained = store.compact().expect("compacts");
    assert!(gained.after <= gained.before, "{gained:?}");

    let store = LmdbStore::open(dir.path(), small()).expect("opens the new file");
    assert_eq!(query(&store, &[Filter::new()], NOW), before);
    submit(&store, notes(3000..3100)).expect("and writes to it");
    assert_sound(&store);

    let mut reader = other_process("hold-open", dir.path());
    let mut reader =
        reader.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().expect("runs");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(reader.stdout.take().expect("piped")));
    assert!(lines.any(|line| line.expect("text").contains("holding")), "the reader opened it");
    let refused = store.compact().expect_err("somebody reads");
    assert!(matches!(&refused, StoreError::Io(text) if text.contains("open for reading")), "{refused}");
    drop(reader.stdin.take());
    assert!(reader.wait().expect("ends").success());
    let store = LmdbStore::open(dir.path(), small()).expect("is as it was");
    assert_eq!(store.event_count().expect("reads"), 3100);
}

#[test]
fn a_closed_store_reads_and_says_so_when_written_to() {
    let (_dir, store) = open(small());
    submit(&store, notes(0..10)).expect("stored");
    store.close().expect("closes");
    store.close().expect("closing twice is closing");
    assert_eq!(submit(&store, notes(10..20)), Err(StoreError::Closed));
    assert_eq!(store.event_count().expect("reads"), 10);
}

#[test]
fn a_newer_schema_is_refused_by_name_and_an_older_one_migrated_by_a_writer() {
    let (dir, store) = open(small());
    submit(&store, notes(0..10)).expect("stored");
    drop(store);
    let set = |schema: u64| {
        damage(dir.path(), "meta", |db, txn| db.put(txn, b"schema", &schema.to_be_bytes()).expect("put"));
    };
    set(99);
    for read_only in [false, true] {
        let refused = LmdbStore::open(dir.path(), Options { read_only, ..small() }).map(drop).expect_err("too new");
        assert!(matches!(refused, OpenError::Newer { found: 99, .. }), "{refused}");
    }
    set(0);
    let reading = LmdbStore::open(dir.path(), Options { read_only: true, ..small() }).map(drop).expect_err("too old");
    assert!(matches!(reading, OpenError::Older { found: 0, .. }), "{reading}");
    let store = LmdbStore::open(dir.path(), small()).expect("migrates");
    assert_eq!(store.event_count(), Ok(10));
    drop(store);
    LmdbStore::open(dir.path(), Options { read_only: true, ..small() }).expect("is of our schema");
}
