//! `grasp-sync import` of a file: into an empty store, where every signature is checked and every event written, and
//! again, where every event is known.

use std::fs;
use std::process::Command;

use super::work::{Tools, median, watch};
use super::{Bench, Measured, Row};
use crate::run::Failure;

const SIZES: [usize; 2] = [10_000, 100_000];
const RUNS: usize = 3;

pub(super) fn run(bench: &Bench<'_>) -> Result<Measured, Failure> {
    let tools = Tools::build()?;
    let mut rows = Vec::new();
    let files = match bench.events {
        Some(file) => vec![(lines(file)?, file.to_owned())],
        None => SIZES.into_iter().map(|count| Ok((count, tools.events(count)?))).collect::<Result<_, Failure>>()?,
    };
    for (events, file) in files {
        let (mut empty, mut known) = (Vec::new(), Vec::new());
        for turn in 0..RUNS {
            let store = bench.scratch.join(format!("store-{events}-{turn}"));
            for seconds in [&mut empty, &mut known] {
                let mut command = Command::new(bench.binary);
                let watched = watch(command.arg("import").arg(&file).arg("--store").arg(&store).arg("--quiet"))?;
                seconds.push(watched.seconds);
            }
            fs::remove_dir_all(&store).map_err(|error| Failure(error.to_string()))?;
        }
        for (what, seconds) in [("into an empty store", empty), ("again, all known", known)] {
            let rate = events as f64 / median(seconds);
            rows.push(Row { what: format!("{events} events {what}"), value: rate, unit: "events/s" });
        }
    }
    Ok(Measured::Rows(rows))
}

fn lines(file: &std::path::Path) -> Result<usize, Failure> {
    let text = fs::read(file).map_err(|error| Failure(format!("{}: {error}", file.display())))?;
    Ok(text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count())
}
