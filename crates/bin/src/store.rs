//! Opening the store as a command needs it.

use store_lmdb::{Commit, LmdbStore, OnCommit, Options};
use sync_core::admission::AdmissionPolicy;
use telemetry::Metrics;

use crate::config::Config;
use crate::exit::CliError;

/// What a command wants of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only to read, beside whoever writes.
    Read,
    /// To write, as the only one, without an admission policy: what is stored is not judged until the daemon does so
    /// (SPEC §3).
    Write,
    /// To write, as the only one, judging by the configured policy.
    Judge,
}

/// Opens the store of the configuration; `metrics` are told of its commits.
///
/// # Errors
/// It can't be opened; the text names the directory and what to do.
pub fn open(config: &Config, access: Access, metrics: Option<Metrics>) -> Result<LmdbStore, CliError> {
    let policy = match access {
        Access::Judge => {
            Some(AdmissionPolicy::new(config.admission.clone()).map_err(|error| CliError::Usage(error.to_string()))?)
        }
        Access::Read | Access::Write => None,
    };
    let options = Options {
        max_size: config.store.max_size,
        policy,
        intake: config.intake(),
        read_only: access == Access::Read,
        on_commit: metrics.map(|metrics| -> OnCommit { Box::new(move |commit| count(&metrics, commit)) }),
    };
    LmdbStore::open(&config.store.path, options).map_err(|error| CliError::Failed(error.to_string()))
}

fn count(metrics: &Metrics, commit: &Commit) {
    metrics.store_commit(commit.took);
    if commit.forgotten > 0 {
        metrics.limit_hit("rejected.max_entries");
    }
    if commit.stripped > 0 {
        metrics.limit_hit("rejected.hot");
    }
}
