//! Events without keys (the store takes what was checked) and stores in directories that go with the test.

use std::ops::ControlFlow;
use std::sync::mpsc::sync_channel;

use nostr::event::{Event, EventId, Kind, Signature, Tag};
use nostr::filter::Filter;
use nostr::key::PublicKey;
use nostr::types::Timestamp;
use store_lmdb::{LmdbStore, Options};
use sync_core::intake::IntakeConfig;
use sync_core::model::RelayUrl;
use sync_core::store::{EventStore, IntakeOutcome, StoreError, Submission};
use tempfile::TempDir;

pub(crate) const NOW: u64 = 1_800_000_000;

pub(crate) fn author(number: u8) -> PublicKey {
    PublicKey::from_byte_array([number; 32])
}

pub(crate) fn id(number: u64) -> EventId {
    let mut bytes = [0; 32];
    // Spread, as hashes are, and yet without two alike.
    bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes[8..16].copy_from_slice(&number.to_be_bytes());
    EventId::from_byte_array(bytes)
}

pub(crate) fn event(number: u64, by: u8, kind: u16, created_at: u64, tags: &[&[&str]]) -> Event {
    let tags = tags.iter().map(|tag| Tag::parse(tag.iter().copied()).expect("a tag has a name"));
    Event::new(
        id(number),
        author(by),
        Timestamp::from_secs(created_at),
        Kind::from_u16(kind),
        tags,
        format!("content of {number}"),
        Signature::from_byte_array([7; 64]),
    )
}

pub(crate) fn notes(numbers: std::ops::Range<u64>) -> Vec<Event> {
    numbers.map(|number| event(number, 1, 1, 1_000 + number / 3, &[&["t", "note"]])).collect()
}

pub(crate) fn small() -> Options {
    Options { max_size: 64 << 20, ..Options::default() }
}

/// However far in the future an event is dated, it is stored.
pub(crate) fn any_time() -> Options {
    Options { intake: IntakeConfig { max_future_s: u64::MAX, ..IntakeConfig::default() }, ..small() }
}

pub(crate) fn open(options: Options) -> (TempDir, LmdbStore) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = LmdbStore::open(dir.path(), options).expect("opens");
    (dir, store)
}

pub(crate) fn submit(store: &LmdbStore, events: Vec<Event>) -> Result<Vec<IntakeOutcome>, StoreError> {
    send(store, Submission { events, now: NOW, ..Submission::default() })
}

/// Submits what `relay` sent at `now`.
pub(crate) fn offer(
    store: &LmdbStore,
    relay: &RelayUrl,
    events: Vec<Event>,
    now: u64,
) -> Result<Vec<IntakeOutcome>, StoreError> {
    send(store, Submission { events, relay: Some(relay.clone()), now, ..Submission::default() })
}

fn send(store: &LmdbStore, submission: Submission) -> Result<Vec<IntakeOutcome>, StoreError> {
    let (answer, answers) = sync_channel(1);
    store.submit(submission, Box::new(move |outcomes| answer.send(outcomes).expect("somebody waits")))?;
    answers.recv().expect("every submission is answered")
}

pub(crate) fn query(store: &LmdbStore, filters: &[Filter], now: u64) -> Vec<Event> {
    let mut found = Vec::new();
    store
        .query(filters, now, &mut |event| {
            found.push(event);
            ControlFlow::Continue(())
        })
        .expect("reads");
    found
}

pub(crate) fn filter(json: &str) -> Filter {
    serde_json::from_str(json).expect("a filter")
}

pub(crate) fn ids(events: &[Event]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

pub(crate) fn assert_sound(store: &LmdbStore) {
    let report = store.verify().expect("reads");
    assert!(report.is_sound(), "{:#?}", report.problems);
    assert_eq!(report.events, store.event_count().expect("reads"));
}
