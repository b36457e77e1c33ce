//! The project's own chores, `cargo xtask …`: checks, demonstration, measurements, tests against foreign relays.
//!
//! It runs other programs and reads sources; it links nothing of the product, so that it builds in seconds.

mod bench;
mod contrib;
mod dist;
mod e2e;
mod fuzz;
mod interop;
mod new_strategy;
mod run;
mod safety;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use run::{Cargo, Failure};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The chores of grasp-sync", disable_version_flag = true)]
struct Options {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Everything that must hold before a change is taken: .ci/run, then, where cargo-deny is installed, licences and
    /// bans, and advisories where their database can be fetched
    Ci,
    /// The invariants of the architecture and of the house's style, read from manifests and sources
    Tidy,
    /// The demonstration: a whole little world in one process
    Demo {
        /// Handed to `grasp-sync demo`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Measurements of the release build, as a table with the machine they were made on
    Bench(bench::Options),
    /// The status page in a real browser, headless Chromium, with pictures of it in target/e2e
    E2e {
        /// Where Chromium isn't installed, say so and succeed
        #[arg(long)]
        if_installed: bool,
    },
    /// Tests against relays and clients that others wrote, in a workspace of their own
    Interop {
        /// Handed to the test binary, such as a part of a test's name
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// What arrives from outside, made up by a fuzzer: needs a nightly toolchain and cargo-fuzz
    Fuzz {
        /// What to fuzz; everything, where none is given
        #[arg(value_parser = fuzz::TARGETS)]
        target: Option<String>,
        /// For how long each
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// A new sync strategy as a shared library: a crate that builds at once, and is honest
    NewStrategy {
        /// Its name, in the configuration, too: a-z, 0-9, - and _
        name: String,
        /// The folder to be made for it, outside of this workspace; among its plugins, where none is given
        #[arg(long, value_name = "DIR")]
        path: Option<PathBuf>,
    },
    /// Alert rules, dashboard and service, checked by promtool, jq and systemd-analyze, where those are installed
    Contrib,
    /// The release binary with manual, completions and all that goes along, as an archive in target/dist
    Dist,
    /// Both sides of the boundary to plugins under Miri, linked into one program: needs a nightly toolchain with Miri
    Miri,
    /// The tests of the plugins' host, with real libraries, under AddressSanitizer (needs a nightly toolchain) and valgrind
    Sanitize {
        /// With which; with both, where none is given
        tool: Option<safety::Tool>,
    },
    /// What becomes of sync strategies
    #[command(subcommand)]
    Strategy(StrategyChore),
    /// The release binary beside relays that misbehave, for a while: memory, file descriptors, processor time (Linux)
    Soak {
        /// Handed on, such as `--minutes 10 --relays 50 --seed 1`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// The simulator of testkit: the whole engine on virtual time, with faults from a seed
    Sim {
        /// Handed to the simulator, such as `--seeds 1000`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
enum StrategyChore {
    /// The conformance suite over a strategy, built in or a shared library: what defines a correct one
    Check {
        /// `negentropy`, `req`, or the path of a shared library
        strategy: String,
        /// Handed on, such as `--seeds 1000`, `--first 7 --only endless`, `--config '{"page_size":7}'`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    let outcome = match Options::parse().chore {
        Chore::Ci => ci(),
        Chore::Tidy => tidy::run(&run::root()),
        Chore::Demo { args } => {
            Cargo::new(["run", "--release", "--locked", "--bin", "grasp-sync", "--", "demo"]).args(args).run()
        }
        Chore::Bench(options) => bench::run(&options),
        Chore::E2e { if_installed } => e2e::run(if_installed),
        Chore::Interop { args } => interop::run(&args),
        Chore::Fuzz { target, seconds } => fuzz::run(target.as_deref(), seconds),
        Chore::NewStrategy { name, path } => new_strategy::run(&name, path.as_deref()),
        Chore::Contrib => contrib::check(),
        Chore::Dist => dist::run_it(),
        Chore::Miri => safety::miri(),
        Chore::Sanitize { tool } => safety::sanitize(tool),
        Chore::Strategy(StrategyChore::Check { strategy, args }) => check(&strategy, &args),
        Chore::Soak { args } => soak(&args),
        Chore::Sim { args } => {
            Cargo::new(["run", "--release", "--locked", "--package", "testkit", "--bin", "sim", "--"]).args(args).run()
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn check(strategy: &str, args: &[String]) -> Result<(), Failure> {
    // The suite runs at the workspace's root: a file is meant from here.
    let path = Path::new(strategy);
    let strategy = if path.is_file() { std::path::absolute(path).unwrap_or_else(|_| path.into()) } else { path.into() };
    let suite = Cargo::new(["run", "--release", "--locked", "--package", "testkit", "--bin", "conformance", "--"]);
    suite.args(args).args([strategy]).run()
}

fn soak(args: &[String]) -> Result<(), Failure> {
    let binary = run::release_binary()?;
    let soak = Cargo::new(["run", "--release", "--locked", "--package", "testkit", "--bin", "soak", "--", "--binary"]);
    soak.args([&binary]).args(args).run()
}

fn ci() -> Result<(), Failure> {
    run::program("bash", [".ci/run"])?;
    if !Cargo::has("deny") {
        eprintln!("SKIPPED: licences and advisories (cargo-deny is not installed: cargo install --locked cargo-deny)");
        return Ok(());
    }
    Cargo::new(["deny", "check", "bans", "licenses", "sources"]).run()?;
    // Their database is in nobody's lock file: without a network that part can't be had, which is no fault of a change.
    if let Err(failure) = Cargo::new(["deny", "fetch", "db"]).run() {
        eprintln!("SKIPPED: advisories (their database can't be fetched: {})", failure.0);
        return Ok(());
    }
    Cargo::new(["deny", "check", "advisories"]).run()
}
