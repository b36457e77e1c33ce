//! Opening the store as a command needs it.

use store_lmdb::{LmdbStore, Options};

use crate::config::Config;
use crate::exit::CliError;

/// What a command wants of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only to read, beside whoever writes.
    Read,
    /// To write, as the only one.
    Write,
}

/// Opens the store of the configuration without an admission policy: what is stored is not judged until the daemon
/// does so (SPEC §3).
///
/// # Errors
/// It can't be opened; the text names the directory and what to do.
pub fn open(config: &Config, access: Access) -> Result<LmdbStore, CliError> {
    let read_only = access == Access::Read;
    let options = Options { max_size: config.store.max_size, intake: config.intake(), read_only, ..Options::default() };
    LmdbStore::open(&config.store.path, options).map_err(|error| CliError::Failed(error.to_string()))
}
