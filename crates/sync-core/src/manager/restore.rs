//! The manager's memory of a former run, read from the store's records.

use std::collections::{BTreeMap, HashMap};

use serde::de::DeserializeOwned;

use crate::lifecycle::{ChunkRow, HeadRow, RestoredRelay};
use crate::model::RelayUrl;

/// What the store remembers of every relay.
#[derive(Debug, Clone, Default)]
pub struct RestoredState {
    pub(crate) relays: BTreeMap<RelayUrl, RestoredRelay>,
    /// Records that could not be read and are left out, one line each: for the log.
    pub problems: Vec<String>,
}

/// A record as [`crate::store::EventStore::read_state`] returns it: key, value.
pub type StateRow = (Vec<u8>, Vec<u8>);

impl RestoredState {
    /// From all rows of the tables `Relay`, `Failed` and `Health`. Rows of a relay without a head are left out: it is then
    /// a relay that was never connected.
    pub fn from_rows(relay: Vec<StateRow>, failed: Vec<StateRow>, health: Vec<StateRow>) -> Self {
        let mut problems = Vec::new();
        let mut by_key: HashMap<String, (RelayUrl, RestoredRelay)> = HashMap::new();
        let (numbered, heads): (Vec<_>, Vec<_>) = relay.into_iter().partition(|(key, _)| key.contains(&b'#'));
        for (key, value) in heads {
            let (key, _) = split_key(&key);
            let Some(head) = read::<HeadRow>(&key, &value, &mut problems) else { continue };
            by_key.insert(key, (head.url.clone(), RestoredRelay { head: Some(head), ..RestoredRelay::default() }));
        }
        for (key, value) in numbered {
            let (key, number) = split_key(&key);
            let Some((_, relay)) = by_key.get_mut(&key) else { continue };
            let row = read::<ChunkRow>(&key, &value, &mut problems);
            relay.chunks.extend(number.zip(row));
        }
        for (key, value) in failed {
            let (key, number) = split_key(&key);
            let Some((_, relay)) = by_key.get_mut(&key) else { continue };
            relay.failed.extend(number.zip(read(&key, &value, &mut problems)));
        }
        for (key, value) in health {
            let (key, _) = split_key(&key);
            let Some((_, relay)) = by_key.get_mut(&key) else { continue };
            relay.health = read(&key, &value, &mut problems).unwrap_or_default();
        }
        for (_, relay) in by_key.values_mut() {
            // Keys are ordered as text, chunks by number.
            relay.chunks.sort_by_key(|(id, _)| *id);
        }
        Self { relays: by_key.into_values().collect(), problems }
    }
}

fn split_key(key: &[u8]) -> (String, Option<u64>) {
    let key = String::from_utf8_lossy(key);
    match key.rsplit_once('#') {
        Some((relay, number)) => (relay.to_owned(), number.parse().ok()),
        None => (key.into_owned(), None),
    }
}

fn read<T: DeserializeOwned>(key: &str, value: &[u8], problems: &mut Vec<String>) -> Option<T> {
    serde_json::from_slice(value)
        .map_err(|error| problems.push(format!("the record of {key} can't be read and is left out: {error}")))
        .ok()
}
