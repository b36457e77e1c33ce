//! The command line of grasp-sync: command line → configuration → command → exit code (CONTRACT.md).
//!
//! | module | is for |
//! |---|---|
//! | [`cli`] | what can be asked |
//! | [`config`] | defaults, file, environment and flags, checked, each value with where it came from |
//! | [`commands`] | one module for each command |
//! | [`wiring`], [`store`], [`strategies`] | the parts of the program, made of the configuration |
//! | `plugins` | strategies from shared libraries |
//! | `admin` | the running daemon over HTTP |
//! | `process` | what the system says of this process |
//! | [`output`], [`exit`] | what is printed, and how a command ends |

mod admin;
pub mod cli;
pub mod commands;
pub mod config;
pub mod exit;
pub mod output;
mod own_relay;
mod plugins;
mod process;
pub mod store;
pub mod strategies;
pub mod wiring;

use std::ffi::OsString;

use clap::Parser;

use config::Environment;
use exit::Exit;
use strategies::Registry;

/// Does what `args` (the program's name first) ask, and says why where it can't.
pub fn main(args: impl IntoIterator<Item = OsString>, registry: &Registry, env: &Environment) -> Exit {
    let cli = match <cli::Cli>::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too. There is nobody to tell where it can't be printed.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    commands::dispatch(cli, registry, env).unwrap_or_else(|error| {
        if !matches!(error, exit::CliError::OutputClosed) {
            output::say(format_args!("error: {error}"));
        }
        error.exit()
    })
}
