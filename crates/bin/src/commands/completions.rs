//! `completions`: a completion script for a shell.

use clap_complete::Shell;

use crate::cli;
use crate::exit::{CliError, Exit};
use crate::output::print;

/// Prints the script. Made in memory first: clap panics where it can't write.
///
/// # Errors
/// Stdout can't be written.
pub fn run(shell: Shell) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::for_users(), "grasp-sync", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
