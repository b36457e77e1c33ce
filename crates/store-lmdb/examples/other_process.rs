//! The other process of the tests about two processes on one store: `other_process ROLE DIRECTORY`.

#[path = "../tests/it/support.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod support;

use nostr::filter::Filter;
use store_lmdb::{LmdbStore, Options};
use sync_core::store::{EventStore, StoreError};

use support::{NOW, assert_sound, notes, query, small, submit};

fn main() {
    let mut words = std::env::args().skip(1);
    let (role, directory) = (words.next().expect("a role"), words.next().expect("a directory"));
    let reading = || Options { read_only: true, ..small() };
    match role.as_str() {
        "write-until-killed" => {
            let store = LmdbStore::open(directory, small()).expect("opens");
            let mut next = store.event_count().expect("reads");
            while next < 60_000 {
                submit(&store, notes(next..next + 20)).expect("stored");
                next += 20;
                println!("stored {next}");
            }
        }
        "read" => {
            let store = LmdbStore::open(directory, reading()).expect("opens beside the writer");
            println!("read {} events", query(&store, &[Filter::new()], NOW).len());
            let refused = submit(&store, notes(0..1)).expect_err("nothing can be written");
            assert!(matches!(&refused, StoreError::Io(text) if text.contains("reading only")), "{refused}");
            assert_sound(&store);
        }
        "hold-open" => {
            let _store = LmdbStore::open(directory, reading()).expect("opens");
            println!("holding");
            std::io::stdin().read_line(&mut String::new()).expect("until the end");
        }
        other => panic!("no role `{other}`"),
    }
}
