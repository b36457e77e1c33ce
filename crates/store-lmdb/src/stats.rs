//! What a store holds and how large it is (`grasp-sync store stats`).

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::Serialize;
use sync_core::store::{FeedSeq, StoreError};

use crate::error::from_heed;
use crate::keys::kind_prefix;
use crate::rejected;
use crate::schema::Meta;
use crate::store::LmdbStore;

/// Counts and sizes of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreStats {
    /// Stored events.
    pub events: u64,
    /// Stored events by kind.
    pub kinds: BTreeMap<u16, u64>,
    /// Rows of the rejected index with their event's body.
    pub rejected_hot: u64,
    /// Rows of the rejected index without.
    pub rejected_cold: u64,
    /// Accepted events that wait for the own relay.
    pub held: u64,
    /// The newest place in the feed.
    pub feed_head: FeedSeq,
    /// Accepted events.
    pub accepted: u64,
    /// Stored events that wait to be judged.
    pub unjudged: u64,
    /// Bytes of the data file on disk.
    pub file_size: u64,
    /// Bytes of the file that hold something; the rest is free for reuse, or for `compact`.
    pub used_size: u64,
    /// Bytes of the memory map, `store.max_size`.
    pub map_size: u64,
}

impl LmdbStore {
    /// Counts and sizes. Reads the whole index by kind, which is some tens of bytes an event.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn stats(&self) -> Result<StoreStats, StoreError> {
        let (env, dbs) = (&self.shared.env, &self.shared.dbs);
        let txn = env.read_txn().map_err(from_heed)?;
        let mut kinds = BTreeMap::new();
        let mut from = Some(0u16);
        while let Some(kind) = from {
            let start = kind_prefix(kind);
            let range = (Bound::Included(&start[..]), Bound::Unbounded);
            let Some(first) = dbs.by_kind.range(&txn, &range).map_err(from_heed)?.next() else { break };
            let prefix = first.map_err(from_heed)?.0.first_chunk::<2>().copied();
            let Some(prefix) = prefix else {
                return Err(StoreError::Corrupt("a key of the index by kind is too short".to_owned()));
            };
            let mut count = 0;
            for row in dbs.by_kind.prefix_iter(&txn, &prefix).map_err(from_heed)? {
                row.map_err(from_heed)?;
                count += 1;
            }
            let found = u16::from_be_bytes(prefix);
            kinds.insert(found, count);
            from = found.checked_add(1);
        }
        let (rejected_hot, rejected_cold) = rejected::count(dbs, &txn)?;
        Ok(StoreStats {
            events: dbs.events.len(&txn).map_err(from_heed)?,
            kinds,
            rejected_hot,
            rejected_cold,
            held: dbs.outbox.len(&txn).map_err(from_heed)?,
            feed_head: dbs.number(&txn, Meta::FeedHead)?.unwrap_or(0),
            accepted: dbs.feed.len(&txn).map_err(from_heed)?,
            unjudged: dbs.unjudged.len(&txn).map_err(from_heed)?,
            file_size: env.real_disk_size().map_err(from_heed)?,
            used_size: env.non_free_pages_size().map_err(from_heed)?,
            map_size: env.info().map_size as u64,
        })
    }
}
