//! A library that was loaded: what it says of itself, whether it may still be called, and everything that can be wrong with it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use strategy_abi::ffi;

use crate::file;
use crate::limits::Limits;
use crate::pool::{CallError, Pool};
use crate::table::Table;
use crate::trial;

/// Texts of deadlines that are kept of one plugin.
const MAX_WORDS: usize = 64;
/// Characters of such a text.
const MAX_WORD: usize = 80;

/// Why a library is not a strategy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A path that depends on where the process was started.
    #[error("the path must be absolute")]
    NotAbsolute,
    /// No such file, or none that can be read.
    #[error("can't be read: {0}")]
    Unreadable(String),
    /// Anybody could have changed it.
    #[error("everybody may write to {}: take that away (chmod o-w)", .0.display())]
    WorldWritable(PathBuf),
    /// Not the file that was pinned.
    #[error("sha256 is {found}, and must be {expected}")]
    WrongHash {
        /// Of the configuration.
        expected: String,
        /// Of the file.
        found: String,
    },
    /// The system's loader refuses it.
    #[error("is no library that can be loaded: {0}")]
    NotALibrary(String),
    /// Not a strategy, or one of another interface.
    #[error("has no symbol `{symbol}`: it is no strategy, or one for another version", symbol = ffi::SYMBOL)]
    NoSymbol,
    /// The symbol answers nothing, or nothing that can be a table.
    #[error("`{symbol}` answers no table of a strategy: {0}", symbol = ffi::SYMBOL)]
    NotATable(String),
    /// Built for another interface.
    #[error("is built for version {found} of the interface; this program has {expected}")]
    WrongMajor {
        /// Ours.
        expected: u16,
        /// The library's.
        found: u16,
    },
    /// A name that can't be one.
    #[error("its name {0:?} is not 1 to 64 of a-z, 0-9, - and _")]
    BadName(String),
    /// Loading it did not return; it happened to a process that is gone now.
    #[error("loading did not return within {0:?}")]
    Hangs(Duration),
    /// Loading it ended the process that tried.
    #[error("loading it ended the process that tried: {0}")]
    EndsTheProcess(String),
    /// No process could be had to try it in.
    #[error("can't be tried in a process of its own: {0}")]
    NotTried(String),
    /// Loading it did not return in this very process. The system's loader may be locked for good: this process can't be relied on,
    /// not even to end in the usual way.
    #[error("{0}")]
    Stuck(Arc<str>),
    /// It was not loaded for a reason of our own: no thread can be had for it, say.
    #[error("can't be called: {0}")]
    NotCalled(Arc<str>),
}

/// What is known of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginInfo {
    /// The name in `sync.strategies`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The file, without links.
    pub file: PathBuf,
    /// The interface that it was built for, such as `1.0`.
    pub abi: String,
    /// Of the file, in hex.
    pub sha256: String,
}

/// A strategy that was loaded from a shared library. It stays loaded as long as the process lives.
pub struct Plugin {
    pub(crate) info: PluginInfo,
    pub(crate) table: Table,
    pub(crate) pool: Arc<Pool>,
    words: Mutex<BTreeSet<&'static str>>,
}

impl Plugin {
    /// Loads a library: `path` must be absolute, and its SHA-256 `sha256` in hex, where that is given. Takes no longer than
    /// [`Limits::call`], and as long again for the trial, beyond reading the file.
    ///
    /// # Errors
    /// Why it can't be loaded, or isn't a strategy.
    pub fn load(path: &Path, sha256: Option<&str>, limits: Limits) -> Result<Arc<Self>, LoadError> {
        let checked = file::check(path, sha256)?;
        if let Some(command) = limits.trial {
            trial::run(command, &checked.path, limits.call)?;
        }
        let label = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let pool = Pool::new(label, limits);
        let file = checked.path.clone();
        // Its constructors run here.
        let loaded = pool.call("loading", move |_| Table::load(&file), None);
        let table = loaded.map_err(|error| match error {
            CallError::Barred(reason) => LoadError::Stuck(reason),
            CallError::Failed(reason) => LoadError::NotCalled(reason),
        })??;
        Self::new(table, pool, checked.path, checked.sha256)
    }

    /// A strategy that is part of this program, called in every way as one from a library: for tests and measurements. There is no file,
    /// and no hash.
    ///
    /// # Safety
    /// The functions of `table` do what `docs/plugin-abi.md` asks of them.
    ///
    /// # Errors
    /// It isn't a table for this version.
    #[allow(unsafe_code)]
    pub unsafe fn linked(table: &'static ffi::StrategyV1, limits: Limits) -> Result<Arc<Self>, LoadError> {
        // SAFETY: it is one, static, and the caller vouches for what it does.
        let table = unsafe { Table::check(table) }?;
        Self::new(table, Pool::new(String::new(), limits), PathBuf::new(), String::new())
    }

    fn new(table: Table, pool: Arc<Pool>, file: PathBuf, sha256: String) -> Result<Arc<Self>, LoadError> {
        let info = PluginInfo { name: table.name()?, version: table.version()?, file, abi: table.abi(), sha256 };
        pool.rename(&info.name);
        Ok(Arc::new(Self { info, table, pool, words: Mutex::default() }))
    }

    /// What is known of it.
    pub fn info(&self) -> &PluginInfo {
        &self.info
    }

    /// Why it isn't called any more, where that is so.
    pub fn barred(&self) -> Option<Arc<str>> {
        self.pool.barred()
    }

    /// A text of the plugin that is kept for as long as the process lives; there is room for some.
    pub(crate) fn word(&self, text: &str) -> &'static str {
        let text: String = text.chars().take(MAX_WORD).collect();
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        match words.get(&*text) {
            Some(word) => word,
            None if words.len() >= MAX_WORDS => "an answer",
            None => {
                let word: &'static str = Box::leak(text.into_boxed_str());
                words.insert(word);
                word
            }
        }
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("info", &self.info).field("barred", &self.barred()).finish_non_exhaustive()
    }
}
