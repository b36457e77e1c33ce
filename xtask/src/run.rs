//! Running other programs from the workspace's root, and saying what failed.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Why a chore failed: what a person reads last.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.0)
    }
}

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or_else(|| here.clone(), PathBuf::from)
}

/// Runs `command`, which writes to our own streams.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure(format!("{}: {status}", shown(command)))),
        Err(error) => Err(Failure(format!("{}: {error}", shown(command)))),
    }
}

/// Runs `command` and returns what it wrote to stdout.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|error| Failure(format!("{}: {error}", shown(command))))?;
    if !output.status.success() {
        return Err(Failure(format!("{}: {}", shown(command), output.status)));
    }
    String::from_utf8(output.stdout).map_err(|error| Failure(format!("{}: {error}", shown(command))))
}

/// Runs a program of the system in the workspace's root.
pub(crate) fn program<A: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = A>) -> Result<(), Failure> {
    run(Command::new(name).args(args).current_dir(root()))
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// A call of the cargo that runs us.
pub(crate) struct Cargo(Command);

impl Cargo {
    pub(crate) fn new<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(args).current_dir(root());
        Self(command)
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.0.args(args);
        self
    }

    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(key, value);
        self
    }

    pub(crate) fn run(mut self) -> Result<(), Failure> {
        run(&mut self.0)
    }

    pub(crate) fn output(mut self) -> Result<String, Failure> {
        output(&mut self.0)
    }

    /// Whether the subcommand is installed.
    pub(crate) fn has(subcommand: &str) -> bool {
        let mut probe = Self::new([subcommand, "--version"]).0;
        probe.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }
}

/// Builds the release binary and returns where it lies.
pub(crate) fn release_binary() -> Result<PathBuf, Failure> {
    Cargo::new(["build", "--release", "--locked", "--bin", "grasp-sync"]).run()?;
    let name = format!("grasp-sync{}", std::env::consts::EXE_SUFFIX);
    Ok(target_directory()?.join("release").join(name))
}

/// Where builds of this workspace go.
pub(crate) fn target_directory() -> Result<PathBuf, Failure> {
    Ok(crate::tidy::workspace::Workspace::load()?.target_directory)
}
