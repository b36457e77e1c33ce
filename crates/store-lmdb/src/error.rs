//! What goes wrong below, in the words of [`StoreError`].

use std::io;

use heed::MdbError;
use sync_core::store::StoreError;

use crate::bytes::Damaged;

/// `no space left on device`, `quota exceeded`, `file too large`: no room, though nothing is broken.
fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

pub(crate) fn from_heed(error: heed::Error) -> StoreError {
    match error {
        heed::Error::Mdb(MdbError::MapFull) => {
            StoreError::Full("the map has reached store.max_size; raise it, or compact the store".to_owned())
        }
        heed::Error::Mdb(MdbError::MapResized) => StoreError::Io(
            "another process has let the store grow beyond the size that this one mapped; open it again".to_owned(),
        ),
        heed::Error::Mdb(
            error @ (MdbError::PageNotFound | MdbError::Corrupted | MdbError::Panic | MdbError::Invalid),
        ) => StoreError::Corrupt(error.to_string()),
        heed::Error::Io(error) if is_no_room(&error) => StoreError::Full(error.to_string()),
        other => StoreError::Io(other.to_string()),
    }
}

pub(crate) fn damaged(what: &str, why: Damaged) -> StoreError {
    StoreError::Corrupt(format!("{what}: {}", why.0))
}
