//! `store stats`, `store verify` and `store compact`: what the store tells of itself, for people.

use std::fmt::Write as _;

use crate::cli::StoreCommand;
use crate::config::{Config, format_size};
use crate::exit::{CliError, Exit};
use crate::output::print;
use crate::wiring::Access;
use crate::store::{StoreStats, Verification, keeper};

/// Looks after the store.
///
/// # Errors
/// It can't be opened, read or rewritten; or `verify` found it damaged.
pub fn run(command: StoreCommand, config: &Config) -> Result<Exit, CliError> {
    // Only a rewrite needs to be alone with the store.
    let access = if matches!(command, StoreCommand::Compact) { Access::Write } else { Access::Read };
    let keeper = keeper(config, access)?;
    match command {
        StoreCommand::Stats => print(&stats(&keeper.stats()?))?,
        StoreCommand::Verify => {
            let verification = keeper.verify()?;
            print(&verified(&verification))?;
            if !verification.problems.is_empty() {
                return Err(CliError::Failed(format!("{}: the store is damaged", config.store.path.display())));
            }
        }
        StoreCommand::Compact => {
            let compaction = keeper.compact()?;
            let (before, after) = (approximate(compaction.before), approximate(compaction.after));
            print(&format!("compacted: {before} before, {after} after\n"))?;
        }
    }
    Ok(Exit::Done)
}

fn stats(stats: &StoreStats) -> String {
    let total: u64 = stats.kinds.values().sum();
    let mut text = format!("{:>8}  {:>12}\n", "KIND", "EVENTS");
    for (kind, count) in &stats.kinds {
        let _ = writeln!(text, "{kind:>8}  {count:>12}");
    }
    let _ = writeln!(text, "{:>8}  {total:>12}\n", "all");
    let (hot, cold) = stats.rejected;
    let _ = writeln!(text, "accepted feed  {}", stats.feed_head);
    let _ = writeln!(text, "rejected       {hot} hot, {cold} cold");
    let (disk, used) = (approximate(stats.disk_bytes), approximate(stats.used_bytes));
    let _ = writeln!(text, "size           {disk} on disk, {used} used, at most {}", format_size(stats.max_bytes));
    text
}

fn verified(verification: &Verification) -> String {
    let Verification { events, index_rows, problems } = verification;
    let mut text = String::new();
    for problem in problems {
        let _ = writeln!(text, "{problem}");
    }
    let verdict = if problems.is_empty() { "sound".to_owned() } else { format!("{} problems", problems.len()) };
    let _ = writeln!(text, "{events} events and {index_rows} index rows checked: {verdict}");
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
    fn stats_add_up() {
        let text = stats(&StoreStats {
            kinds: [(1, 3), (30617, 4)].into(),
            rejected: (1, 2),
            max_bytes: 64 << 30,
            ..StoreStats::default()
        });
        assert!(text.contains("   30617             4\n     all             7\n"), "{text}");
        assert!(text.contains("1 hot, 2 cold") && text.contains("at most 64GiB"), "{text}");
    }

    #[test]
    fn damage_is_listed() {
        let problems = vec!["kind index: 2 rows without an event".to_owned()];
        let text = verified(&Verification { events: 5, index_rows: 20, problems });
        assert_eq!(text, "kind index: 2 rows without an event\n5 events and 20 index rows checked: 1 problems\n");
    }
}
