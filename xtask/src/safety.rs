//! `cargo xtask miri` and `cargo xtask sanitize`: the boundary to plugins under tools that see what tests can't. What was run, and
//! what it showed, is in `docs/plugin-safety.md`.

use std::process::Command;

use clap::ValueEnum;

use crate::run::{Cargo, Failure, root, run, target_directory};

/// What watches the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tool {
    /// AddressSanitizer
    Asan,
    /// valgrind's memcheck
    Valgrind,
}

/// For whom these tools build and run.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The unit tests of both sides: a table that is part of the program, and the host over it. Miri loads no libraries.
pub(crate) fn miri() -> Result<(), Failure> {
    let mut command = Command::new("cargo");
    command.args(["+nightly", "miri", "test", "--locked", "--package", "strategy-abi", "--package", "strategy-host"]);
    command.args(["--lib", "--target-dir"]).arg(target_directory()?.join("miri")).current_dir(root());
    // Threads wait for one another by the clock.
    command.env("MIRIFLAGS", "-Zmiri-disable-isolation");
    run(&mut command)
}

/// All tests of the host, those that load libraries included.
pub(crate) fn sanitize(tool: Option<Tool>) -> Result<(), Failure> {
    if tool != Some(Tool::Valgrind) {
        asan()?;
    }
    if tool != Some(Tool::Asan) { valgrind() } else { Ok(()) }
}

fn asan() -> Result<(), Failure> {
    println!("the host's tests under AddressSanitizer");
    let mut command = Command::new("cargo");
    command.args(["+nightly", "test", "--locked", "--package", "strategy-abi", "--package", "strategy-host"]);
    command.args(["--lib", "--tests"]);
    // By variables: the tests build libraries, which must be built the same way. With a target, build scripts and macros are left out.
    command.env("CARGO_BUILD_TARGET", TARGET).env("CARGO_TARGET_DIR", target_directory()?.join("asan"));
    // What libraries call of its runtime is in the program.
    command.env("RUSTFLAGS", "-Zsanitizer=address -Clink-arg=-rdynamic");
    // Threads that were abandoned, and libraries that stay loaded, are no leaks.
    command.env("ASAN_OPTIONS", "detect_leaks=0").current_dir(root());
    run(&mut command)
}

fn valgrind() -> Result<(), Failure> {
    println!("the host's tests under valgrind");
    // Everything runs fifty times as slowly, and one thread at a time.
    Cargo::new(["test", "--locked", "--package", "strategy-abi", "--package", "strategy-host", "--lib", "--test", "*"])
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", "valgrind --quiet --error-exitcode=99 --fair-sched=yes")
        .run()
}
