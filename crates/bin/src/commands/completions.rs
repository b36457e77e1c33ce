//! `completions`: a completion script for a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::{CliError, Exit};
use crate::output::print;

/// Prints the script. Made in memory first: clap panics where it can't write.
///
/// # Errors
/// Stdout can't be written.
pub fn run(shell: Shell) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "grasp-sync", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
