//! `sync`: one historic sync with each relay that the command line names (CONTRACT.md).

use super::Context;
use crate::cli::SyncArgs;
use crate::exit::{CliError, Exit};

/// Runs it.
///
/// # Errors
/// It could not be done.
pub fn run(args: SyncArgs, context: Context) -> Result<Exit, CliError> {
    drop((args, context));
    Err(CliError::Failed("`sync` is not wired to the engine".to_owned()))
}
