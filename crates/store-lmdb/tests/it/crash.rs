//! A process that is killed while it writes leaves a sound store, with everything that it was answered for.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use store_lmdb::LmdbStore;
use sync_core::store::EventStore;

use crate::opening::other_process;
use crate::support::{assert_sound, small};

#[test]
fn a_killed_writer_leaves_a_sound_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut answered = 0;
    for round in 1..=3u64 {
        let mut writer = other_process("write-until-killed", dir.path()).stdout(Stdio::piped()).spawn().expect("runs");
        let lines = BufReader::new(writer.stdout.take().expect("piped")).lines();
        for line in lines {
            let line = line.expect("text");
            if let Some(count) = line.strip_prefix("stored ") {
                answered = count.parse().expect("a number");
                // Killed at another moment in each round, in the middle of what follows.
                if answered % 500 >= round * 100 {
                    break;
                }
            }
        }
        writer.kill().expect("killed");
        writer.wait().expect("ends");
        let store = LmdbStore::open(dir.path(), small()).expect("opens, though its writer died holding the lock");
        assert!(store.event_count().expect("reads") >= answered);
        assert_sound(&store);
    }
    assert!(answered > 0);
}
