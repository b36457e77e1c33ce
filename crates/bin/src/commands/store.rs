//! `store stats`, `store verify` and `store compact`: what the store tells of itself, for people.

use std::fmt::Write as _;

use store_lmdb::{StoreStats, VerifyReport};

use crate::cli::StoreCommand;
use crate::config::{Config, format_size};
use crate::exit::{CliError, Exit};
use crate::output::print;
use crate::store::{Access, open};

/// Looks after the store.
///
/// # Errors
/// It can't be opened, read or rewritten; or `verify` found it damaged.
pub fn run(command: StoreCommand, config: &Config) -> Result<Exit, CliError> {
    match command {
        StoreCommand::Stats => print(&stats(&open(config, Access::Read, None)?.stats()?))?,
        StoreCommand::Verify => {
            let report = open(config, Access::Read, None)?.verify()?;
            print(&verified(&report))?;
            if !report.is_sound() {
                return Err(CliError::Failed(format!("the store at {} is damaged", config.store.path.display())));
            }
        }
        StoreCommand::Compact => {
            let compacted = open(config, Access::Write, None)?.compact()?;
            let (before, after) = (approximate(compacted.before), approximate(compacted.after));
            print(&format!("compacted: {before} before, {after} after\n"))?;
        }
    }
    Ok(Exit::Done)
}

fn stats(stats: &StoreStats) -> String {
    let mut text = format!("{:>8}  {:>12}\n", "KIND", "EVENTS");
    for (kind, count) in &stats.kinds {
        let _ = writeln!(text, "{kind:>8}  {count:>12}");
    }
    let _ = writeln!(text, "{:>8}  {:>12}\n", "all", stats.events);
    let _ = writeln!(
        text,
        "accepted  {}; {} wait to be judged; feed at {}",
        stats.accepted, stats.unjudged, stats.feed_head
    );
    let _ = writeln!(text, "rejected  {} hot, {} cold", stats.rejected_hot, stats.rejected_cold);
    let (file, used) = (approximate(stats.file_size), approximate(stats.used_size));
    let _ = writeln!(text, "size      {file} on disk, {used} of it used; at most {}", format_size(stats.map_size));
    text
}

fn verified(report: &VerifyReport) -> String {
    let mut text = String::new();
    for problem in &report.problems {
        let _ = writeln!(text, "{problem}");
    }
    let named = report.problems.len() as u64;
    if report.problem_count > named {
        let _ = writeln!(text, "… and {} more", report.problem_count - named);
    }
    let verdict = match report.problem_count {
        0 => "sound".to_owned(),
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    };
    let _ = writeln!(text, "{} events and {} index rows checked: {verdict}", report.events, report.rows);
    text
}

/// Bytes to three digits or so, for people.
fn approximate(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10).min(5);
    let (whole, unit) = (bytes as f64 / f64::from(1u32 << 10).powi(power as i32), UNITS[power as usize - 1]);
    format!("{whole:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        assert_eq!(approximate(1023), "1023 B");
        assert_eq!(approximate(1536), "1.5 KiB");
        assert_eq!(approximate(64 << 30), "64.0 GiB");
        assert_eq!(approximate(u64::MAX), "16384.0 PiB");
    }

    #[test]
    fn problems_beyond_those_named_are_counted() {
        let report = VerifyReport { events: 5, rows: 20, problem_count: 3, ..VerifyReport::default() };
        assert_eq!(verified(&report), "… and 3 more\n5 events and 20 index rows checked: 3 problems\n");
    }
}
