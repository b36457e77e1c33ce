//! A full store says so, loses nothing, and goes on.

use nostr::filter::Filter;
use store_lmdb::Options;
use sync_core::store::{EventStore, IntakeOutcome, StateTable, StateWrite, StoreError};

use crate::support::{NOW, assert_sound, event, notes, open, query, small, submit};

#[test]
fn a_full_map_refuses_and_the_store_goes_on() {
    let (_dir, store) = open(Options { max_size: 2 << 20, ..Options::default() });
    let mut stored = 0;
    let refused = loop {
        match submit(&store, notes(stored..stored + 200)) {
            Ok(outcomes) => {
                stored += outcomes.iter().filter(|outcome| **outcome == IntakeOutcome::Stored).count() as u64
            }
            Err(error) => break error,
        }
        assert!(stored < 100_000, "two MiB don't hold so many");
    };
    assert!(matches!(&refused, StoreError::Full(text) if text.contains("store.max_size")), "{refused}");
    let size = store.size().expect("reads").expect("it has a bound");
    assert_eq!(size.max, 2 << 20);
    assert!((size.max * 3 / 4..=size.max).contains(&size.used), "who watches the size sees it coming: {size:?}");
    assert!(stored > 0);
    assert_eq!(store.event_count().expect("reads"), stored);
    assert_eq!(query(&store, &[Filter::new()], NOW).len() as u64, stored);
    assert_sound(&store);
    assert_eq!(submit(&store, notes(0..1)), Ok(vec![IntakeOutcome::Duplicate]));
    let write = StateWrite::new(StateTable::Relay, b"a", Some(b"b".to_vec()));
    assert_eq!(store.write_state(vec![write]), Ok(()), "a small record still fits");
}

#[test]
fn the_size_grows_with_what_is_stored() {
    let (_dir, store) = open(small());
    let size = || store.size().expect("reads").expect("it has a bound");
    let before = size();
    assert_eq!(before.max, 64 << 20);
    submit(&store, notes(0..2_000)).expect("stored");
    let after = size();
    assert!(after.used > before.used + 2_000 * 100, "{before:?}, {after:?}");
    let stats = store.stats().expect("reads");
    assert_eq!((after.used, after.max), (stats.used_size, stats.map_size));
}

#[test]
fn one_that_does_not_fit_takes_no_other_along() {
    let (_dir, store) = open(Options { max_size: 4 << 20, ..Options::default() });
    let mut huge = event(1, 1, 1, 5, &[]);
    huge.content = "x".repeat(8 << 20);
    // Handed over without waiting, so that they share a group when the writer is busy.
    let answers: Vec<_> = [vec![huge], notes(10..20), notes(20..30)]
        .into_iter()
        .map(|events| {
            let (answer, answers) = std::sync::mpsc::sync_channel(1);
            let submission = sync_core::store::Submission { events, now: NOW, ..Default::default() };
            let reply = Box::new(move |outcomes| answer.send(outcomes).expect("somebody waits"));
            store.submit(submission, reply).expect("queued");
            answers
        })
        .collect();
    let answers: Vec<_> = answers.into_iter().map(|answers| answers.recv().expect("answered")).collect();
    assert!(matches!(answers[0], Err(StoreError::Full(_))), "{answers:?}");
    assert!(answers[1..].iter().all(|answer| *answer == Ok(vec![IntakeOutcome::Stored; 10])), "{answers:?}");
    assert_sound(&store);
}
