//! `grasp-sync import` of a file: into an empty store, where every signature is checked and every event written, and
//! again, where every event is known.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::{Bench, Measured, Row};
use crate::run::{Failure, run as run_command};

pub(super) fn run(bench: &Bench<'_>) -> Result<Measured, Failure> {
    let Some(file) = bench.events else {
        return Ok(Measured::Skipped("name a file of events, one JSON object per line, with --events".to_owned()));
    };
    let text = fs::read(file).map_err(|error| Failure(format!("{}: {error}", file.display())))?;
    let events = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count() as f64;
    let mut rows = vec![Row { what: "events in the file".to_owned(), value: events, unit: "events" }];
    let store = bench.scratch.join("store");
    for what in ["into an empty store", "again, all known"] {
        let started = Instant::now();
        run_command(
            Command::new(bench.binary).arg("import").arg(file).arg("--store").arg(&store).stdout(Stdio::null()),
        )?;
        let seconds = started.elapsed().as_secs_f64();
        rows.push(Row { what: what.to_owned(), value: seconds, unit: "s" });
        rows.push(Row { what: what.to_owned(), value: events / seconds, unit: "events/s" });
    }
    Ok(Measured::Rows(rows))
}
