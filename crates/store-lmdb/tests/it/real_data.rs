//! Real events, where they are present beside the repository.

use std::path::Path;

use nostr::event::Event;
use nostr::filter::Filter;
use sync_core::store::LocalSets;

use crate::support::{any_time, assert_sound, open, query, submit};

/// The events of a file; lines that are no event (kind −1) are left out. `None` where the file is absent.
fn load(name: &str) -> Option<Vec<Event>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("SKIP: {} is absent", path.display());
        return None;
    };
    Some(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

#[test]
fn real_events_come_back_exactly() {
    for name in ["nip34-git.jsonl", "edge.jsonl"] {
        let Some(events) = load(name) else { continue };
        assert!(!events.is_empty(), "{name}");
        let (_dir, store) = open(any_time());
        submit(&store, events.clone()).expect("stored");
        let mut found = 0;
        for event in &events {
            if let Some(stored) = store.event(&event.id).expect("reads") {
                found += 1;
                assert!(stored.verify().is_ok(), "{}", event.id);
                assert_eq!(serde_json::to_string(&stored).expect("JSON"), serde_json::to_string(event).expect("JSON"));
            }
        }
        assert_eq!(query(&store, &[Filter::new()], 0).len(), found);
        assert!(found > 0, "{name}");
        assert_sound(&store);
    }
}
