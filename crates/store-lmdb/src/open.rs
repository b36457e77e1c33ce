//! Opening a store's directory: options, locks, the environment, errors that say what to do.
//!
//! Two lock files stand beside LMDB's own. `writer.lock` is held exclusively by the one process that writes, for as
//! long as it does. `open.lock` is held, shared, by whoever has the store open, so that compaction, which puts another
//! file in the place of the data, can be sure to be alone.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use heed::{EnvFlags, EnvOpenOptions};
use sha2::{Digest, Sha256};
use sync_core::admission::AdmissionPolicy;
use sync_core::intake::IntakeConfig;
use sync_core::store::{StateTable, StoreError};

use crate::error::from_heed;
use crate::schema::{ADMISSION, Databases, Meta, SCHEMA, StoreEnv};
use crate::writer::state_key;

pub(crate) const DATA_FILE: &str = "data.mdb";
const LMDB_LOCK_FILE: &str = "lock.mdb";
const WRITER_LOCK_FILE: &str = "writer.lock";
const OPEN_LOCK_FILE: &str = "open.lock";

/// LMDB wants a multiple of the page size; no platform's page is larger than this.
const MAP_GRANULE: u64 = 64 * 1024;

/// Readers at once, over all processes: the LMDB default of 126 is few for a server with a pool of blocking threads.
const MAX_READERS: u32 = 1024;

/// What one group commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Commit {
    /// Events that were submitted in it.
    pub events: usize,
    /// How long its transaction took, the durable commit included.
    pub took: Duration,
    /// Rows of the rejected index that it let go of because there were more than [`IntakeConfig::max_rejected`].
    pub forgotten: usize,
    /// Events that it keeps by their id alone before their time, because deferred events took too much room.
    pub stripped: usize,
}

/// Told after each group commit.
pub type OnCommit = Box<dyn Fn(&Commit) + Send + Sync>;

/// How to open a store.
pub struct Options {
    /// Bytes of the memory map: address space, not disk. Rounded up to 64 KiB. Default 64 GiB.
    pub max_size: u64,
    /// Judges what is submitted; without one, whatever can be stored is stored, and judged when the store is next
    /// opened with a policy.
    pub policy: Option<AdmissionPolicy>,
    /// Bounds of the intake.
    pub intake: IntakeConfig,
    /// Opens beside a writer in another process; nothing can be written.
    pub read_only: bool,
    /// Called from the writer's thread after each group commit. Must not block.
    pub on_commit: Option<OnCommit>,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_size: 64 << 30, policy: None, intake: IntakeConfig::default(), read_only: false, on_commit: None }
    }
}

/// Why a store could not be opened. Every text names the directory and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no store, and one that is only read isn't created.
    #[error("there is no store at {path}: check store.path, or create it by a command that writes, such as `import`", path = .0.display())]
    Missing(PathBuf),
    /// The directory or a file in it can't be created or written.
    #[error("the store at {path} is not writable ({reason}): check its owner and permissions, or choose another store.path", path = .path.display())]
    NotWritable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// Another process writes to it.
    #[error("another process ({holder}) writes to the store at {path}: stop it first, or use another store.path", path = .path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
        /// The process, as far as it is known.
        holder: String,
    },
    /// It is being compacted.
    #[error("the store at {path} is being compacted: try again when that is done", path = .0.display())]
    Compacting(PathBuf),
    /// This process has it open already.
    #[error("the store at {path} is open in this process already", path = .0.display())]
    AlreadyOpen(PathBuf),
    /// A newer version of the program wrote it.
    #[error("the store at {path} has schema {found}, this version knows schemas up to {known}: use the newer version that wrote it", path = .path.display())]
    Newer {
        /// The directory.
        path: PathBuf,
        /// The schema found.
        found: u64,
        /// The newest schema known.
        known: u64,
    },
    /// An older version wrote it, and migrating means writing.
    #[error("the store at {path} has the older schema {found}: open it once for writing, by `run` or `import`, to migrate it", path = .path.display())]
    Older {
        /// The directory.
        path: PathBuf,
        /// The schema found.
        found: u64,
    },
    /// `max_size` can't be mapped here.
    #[error("store.max_size = {0} bytes is more than this machine can map: choose a smaller one")]
    TooLarge(u64),
    /// The system refused.
    #[error("the store at {path} can't be opened: {reason}", path = .path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// What lies there is no store, is damaged or full.
    #[error("the store at {path} can't be used: {reason}", path = .path.display())]
    Store {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        reason: StoreError,
    },
}

/// An open environment with its locks.
pub(crate) struct Opened {
    pub(crate) env: StoreEnv,
    pub(crate) dbs: Databases,
    pub(crate) locks: Locks,
}

/// Held while the store is open; released by the system when the process ends, however it ends.
pub(crate) struct Locks {
    /// Absent for a store that is only read.
    writer: Option<File>,
    /// Absent on a read-only medium.
    pub(crate) open: Option<File>,
}

impl Drop for Locks {
    /// Given up by name: a process that another thread has just forked holds copies of the files until it runs its own
    /// program, and with them the locks.
    fn drop(&mut self) {
        for file in [&self.writer, &self.open].into_iter().flatten() {
            if let Err(error) = file.unlock() {
                tracing::warn!(%error, "a lock of the store could not be given up; it goes with the process");
            }
        }
    }
}

pub(crate) fn open(path: &Path, options: &Options) -> Result<Opened, OpenError> {
    let locks = if options.read_only { lock_reading(path)? } else { lock_writing(path)? };
    let map = if options.read_only { None } else { Some(map_size(options.max_size)?) };
    let env = map_file(path, map).map_err(|error| match error {
        heed::Error::EnvAlreadyOpened => OpenError::AlreadyOpen(path.to_owned()),
        heed::Error::Io(error) => OpenError::Io { path: path.to_owned(), reason: error.to_string() },
        other => OpenError::Store { path: path.to_owned(), reason: from_heed(other) },
    })?;
    let dbs = if options.read_only { read_schema(path, &env)? } else { write_schema(path, &env, options)? };
    Ok(Opened { env, dbs, locks })
}

fn lock_reading(path: &Path) -> Result<Locks, OpenError> {
    if !path.join(DATA_FILE).is_file() {
        return Err(OpenError::Missing(path.to_owned()));
    }
    match File::open(path.join(OPEN_LOCK_FILE)) {
        Ok(file) => Ok(Locks { writer: None, open: Some(lock_shared(path, file)?) }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Locks { writer: None, open: None }),
        Err(error) => Err(OpenError::Io { path: path.to_owned(), reason: error.to_string() }),
    }
}

fn lock_writing(path: &Path) -> Result<Locks, OpenError> {
    let not_writable = |reason| OpenError::NotWritable { path: path.to_owned(), reason };
    let lock_file =
        |name: &str| OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path.join(name));
    std::fs::create_dir_all(path).map_err(not_writable)?;
    let mut writer = lock_file(WRITER_LOCK_FILE).map_err(not_writable)?;
    match writer.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let holder = match writer.read_to_string(&mut text) {
                Ok(_) if !text.trim().is_empty() => format!("process {}", text.trim()),
                _ => "unknown".to_owned(),
            };
            return Err(OpenError::Busy { path: path.to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(not_writable(error)),
    }
    writer.set_len(0).and_then(|()| writer.rewind()).map_err(not_writable)?;
    writeln!(writer, "{}", std::process::id()).map_err(not_writable)?;
    let open = lock_shared(path, lock_file(OPEN_LOCK_FILE).map_err(not_writable)?)?;
    Ok(Locks { writer: Some(writer), open: Some(open) })
}

fn lock_shared(path: &Path, file: File) -> Result<File, OpenError> {
    match file.try_lock_shared() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Compacting(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(OpenError::Io { path: path.to_owned(), reason: error.to_string() }),
    }
}

fn map_size(max_size: u64) -> Result<usize, OpenError> {
    max_size
        .max(1)
        .checked_next_multiple_of(MAP_GRANULE)
        .and_then(|size| usize::try_from(size).ok())
        .ok_or(OpenError::TooLarge(max_size))
}

/// Maps the data file: `Some(size)` for writing; for reading as large as its writer mapped it.
#[allow(unsafe_code)]
fn map_file(path: &Path, size: Option<usize>) -> heed::Result<StoreEnv> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.max_dbs(Databases::COUNT).max_readers(MAX_READERS);
    // Index lookups are scattered, and the file may be larger than memory: reading ahead would push out what is used.
    let mut flags = EnvFlags::NO_READ_AHEAD;
    match size {
        Some(size) => _ = options.map_size(size),
        None => flags |= EnvFlags::READ_ONLY,
    }
    // SAFETY: neither flag gives up LMDB's locking or syncing. The file is changed by LMDB alone: its lock file keeps
    // readers and the writer apart across processes, `writer.lock` admits one writing process, and compaction replaces
    // the file only while `open.lock` shows that nobody has it mapped.
    unsafe { options.flags(flags).open(path) }
}

fn read_schema(path: &Path, env: &StoreEnv) -> Result<Databases, OpenError> {
    let failed = |reason| OpenError::Store { path: path.to_owned(), reason };
    let txn = env.read_txn().map_err(from_heed).map_err(failed)?;
    let dbs = Databases::open(env, &txn).map_err(failed)?.ok_or_else(|| OpenError::Missing(path.to_owned()))?;
    let found = dbs.number(&txn, Meta::Schema).map_err(failed)?.unwrap_or(0);
    // Handles outlive the transaction that opened them only where it is committed.
    txn.commit().map_err(from_heed).map_err(failed)?;
    match found.cmp(&SCHEMA) {
        std::cmp::Ordering::Less => Err(OpenError::Older { path: path.to_owned(), found }),
        std::cmp::Ordering::Equal => Ok(dbs),
        std::cmp::Ordering::Greater => Err(OpenError::Newer { path: path.to_owned(), found, known: SCHEMA }),
    }
}

fn write_schema(path: &Path, env: &StoreEnv, options: &Options) -> Result<Databases, OpenError> {
    let failed = |reason| OpenError::Store { path: path.to_owned(), reason };
    env.clear_stale_readers().map_err(from_heed).map_err(failed)?;
    let mut txn = env.write_txn().map_err(from_heed).map_err(failed)?;
    let dbs = Databases::create(env, &mut txn).map_err(failed)?;
    let found = dbs.number(&txn, Meta::Schema).map_err(failed)?;
    if let Some(found) = found.filter(|found| *found > SCHEMA) {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: SCHEMA });
    }
    dbs.migrate(&mut txn, found).map_err(failed)?;
    // Whoever folds the feed begins at its start, where what was removed since is left out: removals are told to
    // those who listen, and nobody does yet.
    dbs.feed_removed.clear(&mut txn).map_err(from_heed).map_err(failed)?;
    if let Some(policy) = &options.policy {
        void_verdicts_of_another_policy(&dbs, &mut txn, fingerprint(policy, &options.intake)).map_err(failed)?;
    }
    txn.commit().map_err(from_heed).map_err(failed)?;
    Ok(dbs)
}

/// What the verdicts of a store hold under: the policy, and whose word is the last.
fn fingerprint(policy: &AdmissionPolicy, intake: &IntakeConfig) -> [u8; 32] {
    match &intake.own_relay {
        None => policy.fingerprint(),
        Some(relay) => Sha256::new().chain_update(policy.fingerprint()).chain_update(relay.as_str()).finalize().into(),
    }
}

/// A changed policy voids the rejected index and the feed (SPEC §3). All marks are voided at once by the floor;
/// `judge_backlog` then judges every stored event, in bounded steps that survive a restart. What relays were read for
/// under the old policy is void too: what it kept out isn't here, and must be asked for again.
fn void_verdicts_of_another_policy(
    dbs: &Databases,
    txn: &mut heed::RwTxn<'_>,
    fingerprint: [u8; 32],
) -> Result<(), StoreError> {
    if dbs.meta.get(txn, ADMISSION).map_err(from_heed)? == Some(&fingerprint[..]) {
        return Ok(());
    }
    dbs.clear_rejected(txn)?;
    for table in [StateTable::Relay, StateTable::Failed, StateTable::Coverage] {
        let room = state_key(table, &[])?;
        let next: Vec<u8> = room.iter().map(|byte| byte + 1).collect();
        let range = (Bound::Included(room.as_slice()), Bound::Excluded(next.as_slice()));
        dbs.state.delete_range(txn, &range).map_err(from_heed)?;
    }
    dbs.feed.clear(txn).map_err(from_heed)?;
    dbs.unjudged.clear(txn).map_err(from_heed)?;
    let head = dbs.number(txn, Meta::FeedHead)?.unwrap_or(0);
    let end = dbs.number(txn, Meta::NextSeq)?.unwrap_or(0);
    dbs.set_number(txn, Meta::FeedFloor, head)?;
    dbs.set_number(txn, Meta::Requeue, 0)?;
    dbs.set_number(txn, Meta::RequeueEnd, end)?;
    let newest = dbs.number(txn, Meta::OutboxNewest)?.unwrap_or(0);
    dbs.set_number(txn, Meta::OutboxRetake, newest)?;
    dbs.meta.put(txn, ADMISSION, &fingerprint).map_err(from_heed)
}

/// Turns the shared lock into an exclusive one, or says that others have the store open.
pub(crate) fn lock_out_readers(locks: &Locks) -> Result<(), StoreError> {
    let Some(file) = &locks.open else { return Ok(()) };
    file.unlock().map_err(|error| StoreError::Io(error.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(StoreError::Io(
            "another process has the store open for reading: stop it, then compact again".to_owned(),
        )),
        Err(TryLockError::Error(error)) => Err(StoreError::Io(error.to_string())),
    }
}

/// Removes LMDB's lock file, whose numbers belong to the data file that was replaced. Nobody may have the store open.
pub(crate) fn remove_lmdb_lock(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path.join(LMDB_LOCK_FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What several threads need of an open store.
pub(crate) struct Shared {
    pub(crate) env: StoreEnv,
    pub(crate) dbs: Databases,
    /// Whether it was opened with a policy: without one, what only a policy kept out isn't known.
    pub(crate) judging: bool,
}

pub(crate) type SharedRef = Arc<Shared>;
