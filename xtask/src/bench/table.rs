//! The report of a run: what was measured, and on which machine.

use std::fmt;
use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use serde::Serialize;

use super::Section;
use crate::run::output;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    cpu: String,
    cores: usize,
    sections: Vec<Section>,
}

impl Report {
    pub(super) fn new(sections: Vec<Section>) -> Self {
        Self { cpu: cpu(), cores: available_parallelism().map_or(1, Into::into), sections }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({} cores)", self.cpu, self.cores)?;
        let widest = self.sections.iter().flat_map(|section| &section.rows).map(|row| row.what.chars().count()).max();
        let width = widest.unwrap_or(0);
        for section in &self.sections {
            writeln!(f, "\n{}: {}", section.scenario, section.about)?;
            for row in &section.rows {
                writeln!(f, "  {:width$}  {:>14}  {}", row.what, grouped(row.value), row.unit)?;
            }
            if let Some(why) = &section.skipped {
                writeln!(f, "  SKIPPED: {why}")?;
            }
        }
        Ok(())
    }
}

/// Large values without decimals and in groups of three, small ones with three decimals.
fn grouped(value: f64) -> String {
    if value.abs() < 100.0 {
        return format!("{value:.3}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && digit.is_ascii_digit() && (digits.len() - at).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn cpu() -> String {
    let linux = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| model_name(&text));
    let other = || output(Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"])).ok();
    let name = if cfg!(target_os = "macos") { other() } else { linux };
    name.map_or_else(|| format!("unknown {} CPU", std::env::consts::ARCH), |name| name.trim().to_owned())
}

fn model_name(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name") || line.starts_with("Model"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Row;

    #[test]
    fn the_table_names_the_machine_and_lines_its_columns_up() {
        let rows = vec![
            Row { what: "first".to_owned(), value: 1_234_567.4, unit: "events/s" },
            Row { what: "second run".to_owned(), value: 0.25, unit: "s" },
        ];
        let ran = Section { scenario: "import", about: "a file", rows, skipped: None };
        let skipped =
            Section { scenario: "sync", about: "two stores", rows: vec![], skipped: Some("no relay".to_owned()) };
        let report = Report { cpu: "Some CPU".to_owned(), cores: 2, sections: vec![ran, skipped] };
        let expected = "Some CPU (2 cores)\n\nimport: a file\n  first            1,234,567  events/s\n  \
                        second run           0.250  s\n\nsync: two stores\n  SKIPPED: no relay\n";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (value, text) in [(99.9, "99.900"), (100.0, "100"), (-123_456.0, "-123,456"), (1e9, "1,000,000,000")] {
            assert_eq!(grouped(value), text);
        }
    }

    #[test]
    fn the_model_is_read_from_cpuinfo() {
        let text = "processor\t: 0\nmodel name\t: Big CPU @ 3 GHz\n";
        assert_eq!(model_name(text).as_deref(), Some("Big CPU @ 3 GHz"));
        assert_eq!(model_name("processor: 0"), None);
    }
}
