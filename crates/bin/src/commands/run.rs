//! `run`: the daemon (CONTRACT.md).

use super::Context;
use crate::cli::RunArgs;
use crate::exit::{CliError, Exit};

/// Runs it.
///
/// # Errors
/// It could not be done.
pub fn run(args: RunArgs, context: Context) -> Result<Exit, CliError> {
    drop((args, context));
    Err(CliError::Failed("`run` is not wired to the engine".to_owned()))
}
