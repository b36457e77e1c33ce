//! What it costs that a strategy is a shared library: a cold `sync` by the built-in one and by the same code as a plugin, in pairs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::sync::expect_stored;
use super::work::{Relay, Tools, Watched, median, watch};
use super::{Bench, Measured, Row};
use crate::run::{Cargo, Failure, target_directory};

const SIZES: [usize; 2] = [10_000, 100_000];
/// Pairs; the machine's noise is about as large as what is looked for.
const RUNS: usize = 7;

pub(super) fn run(bench: &Bench<'_>) -> Result<Measured, Failure> {
    let tools = Tools::build()?;
    let config = config(bench.scratch)?;
    let mut rows = Vec::new();
    for events in SIZES {
        let relay = tools.relay(&tools.events(events)?)?;
        for strategy in ["negentropy", "req"] {
            let plugin = format!("{strategy}-plugin");
            let (mut built_in, mut library, mut more) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..RUNS {
                let one = cold(bench, &config, &relay, strategy, events)?;
                let other = cold(bench, &config, &relay, &plugin, events)?;
                more.push((other / one - 1.0) * 100.0);
                built_in.push(one);
                library.push(other);
            }
            for (name, seconds) in [(strategy, built_in), (plugin.as_str(), library)] {
                let what = format!("{events} events, {name}, cold");
                rows.push(Row { what, value: median(seconds), unit: "s" });
            }
            let what = format!("{events} events, {strategy}: the library, pair by pair");
            rows.push(Row { what, value: median(more), unit: "% longer" });
        }
    }
    Ok(Measured::Rows(rows))
}

/// A configuration that loads both libraries, for both runs of a pair: what loading costs is not what is asked here.
fn config(scratch: &Path) -> Result<PathBuf, Failure> {
    let packages = ["plugin-negentropy", "plugin-req"];
    let build = Cargo::new(["build", "--release", "--locked"]);
    packages.iter().fold(build, |build, package| build.args(["--package", package])).run()?;
    let release = target_directory()?.join("release");
    let mut text = String::new();
    for package in packages {
        let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        let library = release.join(format!("{prefix}{}{suffix}", package.replace('-', "_")));
        text += &format!("[[plugins.load]]\npath = {:?}\n", library.display().to_string());
    }
    let file = scratch.join("plugins.toml");
    fs::write(&file, text).map_err(|error| Failure(format!("{}: {error}", file.display())))?;
    Ok(file)
}

fn cold(bench: &Bench<'_>, config: &Path, relay: &Relay, strategy: &str, events: usize) -> Result<f64, Failure> {
    let store = bench.scratch.join("store");
    let mut command = Command::new(bench.binary);
    command.args(["sync", &relay.url, "--strategy", strategy, "--json", "--quiet", "--config"]).arg(config);
    let run: Watched = watch(command.arg("--store").arg(&store))?;
    expect_stored(&run, events)?;
    fs::remove_dir_all(&store).map_err(|error| Failure(format!("{}: {error}", store.display())))?;
    Ok(run.seconds)
}
