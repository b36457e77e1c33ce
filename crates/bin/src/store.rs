//! The store as the commands see it: events by [`EventStore`], and the looking after that only a store on disk needs.

use std::collections::BTreeMap;
use std::sync::Arc;

use sync_core::store::{EventStore, StoreError};

use store_lmdb::LmdbStore;

use crate::config::Config;
use crate::exit::CliError;
use crate::wiring::{self, Access};

/// What `store stats` tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Stored events by kind.
    pub kinds: BTreeMap<u16, u64>,
    /// Rows of the rejected index: hot, cold.
    pub rejected: (u64, u64),
    /// The newest place in the accepted feed.
    pub feed_head: u64,
    /// Bytes of the files on disk.
    pub disk_bytes: u64,
    /// Bytes of them that hold something.
    pub used_bytes: u64,
    /// Bytes that the map may grow to.
    pub max_bytes: u64,
}

/// What `store verify` tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// Events read and checked.
    pub events: u64,
    /// Rows of indexes and trees checked against them.
    pub index_rows: u64,
    /// What is wrong, one line each, bounded by whoever verifies.
    pub problems: Vec<String>,
}

/// What `store compact` tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compaction {
    /// Bytes on disk before.
    pub before: u64,
    /// Bytes on disk after.
    pub after: u64,
}

/// A store on disk, looked after while no daemon has it open.
pub trait StoreKeeper {
    /// Counts and sizes.
    ///
    /// # Errors
    /// The store can't be read.
    fn stats(&self) -> Result<StoreStats, StoreError>;

    /// Checks every index and tree against the events.
    ///
    /// # Errors
    /// The store can't be read at all; what is merely wrong is in the answer.
    fn verify(&self) -> Result<Verification, StoreError>;

    /// Rewrites the store without its unused space.
    ///
    /// # Errors
    /// It could not be rewritten; the store is as it was.
    fn compact(self: Box<Self>) -> Result<Compaction, StoreError>;
}

impl StoreKeeper for LmdbStore {
    fn stats(&self) -> Result<StoreStats, StoreError> {
        let stats = LmdbStore::stats(self)?;
        Ok(StoreStats {
            kinds: stats.kinds,
            rejected: (stats.rejected_hot, stats.rejected_cold),
            feed_head: stats.feed_head,
            disk_bytes: stats.file_size,
            used_bytes: stats.used_size,
            max_bytes: stats.map_size,
        })
    }

    fn verify(&self) -> Result<Verification, StoreError> {
        let report = LmdbStore::verify(self)?;
        let mut problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
        let untold = report.problem_count.saturating_sub(problems.len() as u64);
        if untold > 0 {
            problems.push(format!("and {untold} more"));
        }
        Ok(Verification { events: report.events, index_rows: report.rows, problems })
    }

    fn compact(self: Box<Self>) -> Result<Compaction, StoreError> {
        let compacted = LmdbStore::compact(*self)?;
        Ok(Compaction { before: compacted.before, after: compacted.after })
    }
}

/// Opens the store for `import` (to write) and `export` (to read), without an admission policy: they store what they are
/// told to (SPEC §3).
///
/// # Errors
/// It can't be opened.
pub fn open(config: &Config, access: Access) -> Result<Arc<dyn EventStore>, CliError> {
    Ok(Arc::new(wiring::open_store(config, access, None)?))
}

/// Opens the store to look after it: to read beside a daemon, or to rewrite it.
///
/// # Errors
/// It can't be opened.
pub fn keeper(config: &Config, access: Access) -> Result<Box<dyn StoreKeeper>, CliError> {
    Ok(Box::new(wiring::open_store(config, access, None)?))
}
