//! Compaction (`grasp-sync store compact`): a copy without free pages takes the data file's place.

use std::fs::{self, File};
use std::io;
use std::sync::Arc;

use heed::CompactionOption;
use serde::Serialize;
use sync_core::store::StoreError;

use crate::error::from_heed;
use crate::open::{DATA_FILE, lock_out_readers, remove_lmdb_lock};
use crate::store::LmdbStore;

/// What compaction gained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// Bytes of the data file before.
    pub before: u64,
    /// Bytes of the data file after.
    pub after: u64,
}

const COPY_FILE: &str = "compacting.mdb";

impl LmdbStore {
    /// Compacts the store and closes it. Needs room for a copy of what is in use, in the same directory, and nobody
    /// else may have the store open. Whenever it is interrupted, the data file is either the old one or the new one.
    ///
    /// # Errors
    /// The store is as it was, and closed.
    pub fn compact(self) -> Result<Compacted, StoreError> {
        if self.read_only {
            return Err(StoreError::Io("it was opened for reading only".to_owned()));
        }
        self.close()?;
        lock_out_readers(&self.locks)?;
        let (data, copy) = (self.path.join(DATA_FILE), self.path.join(COPY_FILE));
        let before = fs::metadata(&data).map_err(io_error)?.len();
        let copied = self
            .shared
            .env
            .copy_to_path(&copy, CompactionOption::Enabled)
            .map_err(from_heed)
            .and_then(|file| file.sync_all().map_err(io_error));
        if let Err(error) = copied {
            if let Err(left) = fs::remove_file(&copy) {
                tracing::warn!(path = %copy.display(), error = %left, "an unfinished copy is left");
            }
            return Err(error);
        }
        let closing = self.shared.env.clone().prepare_for_closing();
        let Self { path, locks, shared, .. } = self;
        // The writer's thread, which held the other reference, has ended.
        Arc::into_inner(shared)
            .map(|shared| drop(shared.env))
            .ok_or_else(|| StoreError::Io("the store is still in use".to_owned()))?;
        closing.wait();
        remove_lmdb_lock(&path).map_err(io_error)?;
        fs::rename(&copy, &data).map_err(io_error)?;
        File::open(&path).and_then(|directory| directory.sync_all()).map_err(io_error)?;
        let after = fs::metadata(&data).map_err(io_error)?.len();
        drop(locks);
        Ok(Compacted { before, after })
    }
}

fn io_error(error: io::Error) -> StoreError {
    from_heed(heed::Error::Io(error))
}
