//! `demo`: a whole little world in one process (CONTRACT.md).

use super::Context;
use crate::cli::DemoArgs;
use crate::exit::{CliError, Exit};

/// Runs it.
///
/// # Errors
/// It could not be done.
pub fn run(args: DemoArgs, context: Context) -> Result<Exit, CliError> {
    drop((args, context));
    Err(CliError::Failed("`demo` is not wired to the engine".to_owned()))
}
