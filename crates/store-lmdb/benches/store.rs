//! How fast events go in, durably, and come out.

use std::ops::ControlFlow;
use std::sync::mpsc::sync_channel;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use nostr::event::{Event, EventId, Kind, Signature, Tag};
use nostr::filter::Filter;
use nostr::key::PublicKey;
use nostr::types::Timestamp;
use store_lmdb::{LmdbStore, Options};
use sync_core::store::{EventStore, LocalSets, Submission};
use sync_core::strategy::{KeyRange, Window};
use tempfile::TempDir;

const NOW: u64 = 1_800_000_000;
/// Events in a submission, as a page from a relay has.
const PAGE: usize = 500;

fn main() {
    divan::main();
}

/// Small events of the usual shape: 200 bytes of content, an `e` and a `p` tag, ids and authors spread.
fn events(count: u64) -> Vec<Event> {
    let spread = |number: u64| {
        let mut bytes = [0; 32];
        for (at, part) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(at as u32 * 16);
            *part = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_be_bytes();
        }
        bytes
    };
    let event = |number: u64| {
        let author = PublicKey::from_byte_array(spread(number % 1000));
        let tags = [["e", &EventId::from_byte_array(spread(number / 7)).to_hex()], ["p", &author.to_hex()]]
            .map(|tag| Tag::parse(tag).expect("a tag"));
        Event::new(
            EventId::from_byte_array(spread(number)),
            author,
            Timestamp::from_secs(1_700_000_000 + number / 3),
            Kind::from_u16(1),
            tags,
            "x".repeat(200),
            Signature::from_byte_array([7; 64]),
        )
    };
    (0..count).map(event).collect()
}

fn open() -> (TempDir, LmdbStore) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = LmdbStore::open(dir.path(), Options { max_size: 4 << 30, ..Options::default() }).expect("opens");
    (dir, store)
}

fn fill(store: &LmdbStore, pages: Vec<Vec<Event>>) {
    let (answer, answers) = sync_channel(pages.len());
    let count = pages.len();
    for events in pages {
        let answer = answer.clone();
        let reply = Box::new(move |outcomes| answer.send(outcomes).expect("somebody waits"));
        store.submit(Submission { events, now: NOW, ..Submission::default() }, reply).expect("queued");
    }
    for outcomes in answers.iter().take(count) {
        outcomes.expect("stored");
    }
}

#[divan::bench(args = [10_000, 100_000], sample_count = 3, sample_size = 1)]
fn insert(bencher: Bencher<'_, '_>, count: u64) {
    let pages: Vec<Vec<Event>> = events(count).chunks(PAGE).map(<[Event]>::to_vec).collect();
    bencher.counter(ItemsCount::new(count)).with_inputs(|| (open(), pages.clone())).bench_values(
        |((dir, store), pages)| {
            fill(&store, pages);
            (dir, store)
        },
    );
}

#[divan::bench(args = [r#"{"limit":100}"#, r#"{"kinds":[1]}"#], sample_count = 3)]
fn query(bencher: Bencher<'_, '_>, filter: &str) {
    let (_dir, store) = open();
    fill(&store, events(50_000).chunks(PAGE).map(<[Event]>::to_vec).collect());
    let filter: Filter = serde_json::from_str(filter).expect("a filter");
    let filters = [filter];
    bencher.bench(|| {
        let mut found = 0;
        let visit = &mut |event: Event| {
            black_box(event);
            found += 1;
            ControlFlow::Continue(())
        };
        store.query(&filters, NOW, visit).expect("reads");
        found
    });
}

#[divan::bench(sample_count = 3)]
fn fingerprint_of_everything(bencher: Bencher<'_, '_>) {
    let (_dir, store) = open();
    fill(&store, events(50_000).chunks(PAGE).map(<[Event]>::to_vec).collect());
    let relay = sync_core::model::RelayUrl::parse("wss://relay.example.com").expect("a relay");
    bencher.bench(|| store.view(&Filter::new(), Window::ALL, &relay).fingerprint(KeyRange::ALL));
}
