//! What the suite found, to be read by people.

use std::fmt;
use std::time::Duration;

/// Something that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The check that found it.
    pub check: &'static str,
    /// The seed that shows it, by this check.
    pub seed: u64,
    /// What.
    pub text: String,
}

/// What one check did.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name.
    pub check: &'static str,
    /// What it asks for.
    pub asks: &'static str,
    /// Cases that were run.
    pub cases: u64,
    /// Cases that were left out: no filter that was drawn suits the strategy.
    pub skipped: u64,
    /// Cases in which something did not hold.
    pub broken: u64,
    /// How long it took.
    pub took: Duration,
}

/// What the suite found of a strategy.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The strategy's name and version.
    pub strategy: String,
    /// One for each check that was run.
    pub rows: Vec<Row>,
    /// The first ones of each check.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether everything held.
    pub fn is_clean(&self) -> bool {
        self.rows.iter().all(|row| row.broken == 0)
    }

    /// What a check found.
    pub fn of<'a>(&'a self, check: &'a str) -> impl Iterator<Item = &'a Finding> {
        self.findings.iter().filter(move |finding| finding.check == check)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.strategy)?;
        let width = self.rows.iter().map(|row| row.check.len()).max().unwrap_or(0);
        for Row { check, asks, cases, skipped, broken, took } in &self.rows {
            let verdict = match (broken, cases) {
                (0, 0) => "-".to_owned(),
                (0, _) => "ok".to_owned(),
                _ => format!("{broken} BROKEN"),
            };
            let left_out = if *skipped > 0 { format!(", {skipped} left out") } else { String::new() };
            let seconds = took.as_secs_f64();
            writeln!(f, "  {check:width$}  {verdict:>10}  {cases:>6} cases in {seconds:5.1} s{left_out}  {asks}")?;
        }
        for Finding { check, seed, text } in &self.findings {
            writeln!(f, "\n{check}, seed {seed}: {text}\n  run it again: --only {check} --first {seed} --seeds 1")?;
        }
        Ok(())
    }
}
