//! `cargo xtask bench`: measures the release binary from outside, as a user would run it.
//!
//! A scenario is a name, a line about it, and a function that yields rows; it is listed in [`SCENARIOS`].

mod import;
mod own_relay;
mod plan;
mod plugins;
mod sync;
mod table;
mod tracing;
mod work;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::run::{Failure, release_binary, target_directory};

/// Every scenario, in the order they run.
const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "sync",
        about: "one relay on this machine, in another process; medians of three",
        run: sync::speed,
    },
    Scenario { name: "memory", about: "anonymous memory of a cold sync by negentropy", run: sync::memory },
    Scenario {
        name: "plugins",
        about: "a cold sync by a strategy that is built in, and by the same code as a shared library; medians of seven pairs",
        run: plugins::run,
    },
    Scenario {
        name: "tracing",
        about: "a cold sync without, and with every batch traced to a collector in another process; medians of eleven pairs",
        run: tracing::run,
    },
    Scenario { name: "import", about: "events from a file into an empty store, and again", run: import::run },
    Scenario {
        name: "plan",
        about: "what is wanted, minus what is confirmed: 500 relays at 10,000 repositories",
        run: plan::run,
    },
    Scenario {
        name: "own-relay",
        about: "the embedded own relay: stored events, reconciliation, live events; clients on the same machine",
        run: own_relay::run,
    },
];

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Scenarios to run; all of them where none is named
    scenarios: Vec<String>,
    /// Events as JSON lines, for `import`, instead of generated ones
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// One JSON document instead of a table
    #[arg(long)]
    json: bool,
}

struct Scenario {
    name: &'static str,
    about: &'static str,
    run: fn(&Bench<'_>) -> Result<Measured, Failure>,
}

/// What a scenario gets to work with.
pub(crate) struct Bench<'a> {
    /// The release build of `grasp-sync`.
    pub(crate) binary: &'a Path,
    /// Events as JSON lines, where the caller named a file.
    pub(crate) events: Option<&'a Path>,
    /// An empty directory of its own, removed afterwards.
    pub(crate) scratch: &'a Path,
}

/// What came of a scenario.
pub(crate) enum Measured {
    /// It ran.
    Rows(Vec<Row>),
    /// It lacks something, which the text names.
    Skipped(String),
}

/// One measured value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: String,
    /// How much.
    pub(crate) value: f64,
    /// Of what.
    pub(crate) unit: &'static str,
}

/// One scenario's part of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Section {
    pub(crate) scenario: &'static str,
    pub(crate) about: &'static str,
    pub(crate) rows: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) skipped: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let known: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
    if let Some(name) = options.scenarios.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Failure(format!("no scenario `{name}`; there are: {}", known.join(", "))));
    }
    let binary = release_binary()?;
    let mut sections = Vec::new();
    for scenario in SCENARIOS {
        if !options.scenarios.is_empty() && !options.scenarios.iter().any(|name| name == scenario.name) {
            continue;
        }
        eprintln!("running {}: {}", scenario.name, scenario.about);
        let scratch = target_directory()?.join("bench").join(format!("{}-{}", scenario.name, std::process::id()));
        fs::create_dir_all(&scratch).map_err(|error| Failure(format!("{}: {error}", scratch.display())))?;
        let bench = Bench { binary: &binary, events: options.events.as_deref(), scratch: &scratch };
        let measured = (scenario.run)(&bench);
        fs::remove_dir_all(&scratch).map_err(|error| Failure(format!("{}: {error}", scratch.display())))?;
        let (rows, skipped) = match measured? {
            Measured::Rows(rows) => (rows, None),
            Measured::Skipped(why) => (Vec::new(), Some(why)),
        };
        sections.push(Section { scenario: scenario.name, about: scenario.about, rows, skipped });
    }
    let report = table::Report::new(sections);
    if options.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| Failure(error.to_string()))?;
        println!("{text}");
    } else {
        print!("{report}");
    }
    Ok(())
}
