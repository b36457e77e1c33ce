//! How a command ends: the exit codes of CONTRACT.md and the errors behind them, in one place.

use std::io;
use std::process::ExitCode;

use crate::config::ConfigErrors;

/// The exit codes (CONTRACT.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done and complete.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// Done, but something is missing, and was named.
    Incomplete = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// The command line asks for something that can't be.
    #[error("{0}")]
    Usage(String),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// It could not be done.
    #[error("{0}")]
    Failed(String),
    /// Whoever read our output has read enough: no failure.
    #[error("the reader of the output is gone")]
    OutputClosed,
}

impl CliError {
    /// The exit code that goes with it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::Config(_) => Exit::Usage,
            Self::Failed(_) => Exit::Failed,
            Self::OutputClosed => Exit::Done,
        }
    }

    /// What a failed write to stdout means.
    pub fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Failed(format!("can't write the output: {error}")),
        }
    }
}

impl From<sync_core::store::StoreError> for CliError {
    fn from(error: sync_core::store::StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}
