//! What planning costs: the medians of the micro-benchmark in `sync-core`.

use super::{Bench, Measured, Row};
use crate::run::{Cargo, Failure};

pub(super) fn run(_: &Bench<'_>) -> Result<Measured, Failure> {
    let text = Cargo::new(["bench", "--locked", "--package", "sync-core", "--bench", "plan"]).output()?;
    let rows = rows(&text);
    if rows.is_empty() {
        return Err(Failure("the micro-benchmark printed no medians".to_owned()));
    }
    Ok(Measured::Rows(rows))
}

/// Reads the table: a name with nothing else on its line, then a line for each size whose third column is the median.
fn rows(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut name = String::new();
    for line in text.lines() {
        let line = line.trim_start_matches(['│', '├', '╰', '─', ' ']);
        let columns: Vec<&str> = line.split('│').map(str::trim).collect();
        let first: Vec<&str> = columns[0].split_whitespace().collect();
        match (first.as_slice(), columns.get(2).and_then(|median| milliseconds(median))) {
            ([size, ..], Some(median)) if size.parse::<u64>().is_ok() => {
                rows.push(Row { what: format!("{name}, {size} repositories"), value: median, unit: "ms" });
            }
            ([word], _) => name = (*word).to_owned(),
            _ => {}
        }
    }
    rows
}

fn milliseconds(text: &str) -> Option<f64> {
    let (number, unit) = text.split_once(' ')?;
    let scale = match unit {
        "ns" => 1e-6,
        "µs" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_read_from_the_table() {
        let table = "\
plan                   fastest       │ slowest       │ median        │ mean          │ samples │ iters
├─ full                              │               │               │               │         │
│  ├─ 1000             1.6 ms        │ 2 ms          │ 1.7 ms        │ 1.7 ms        │ 100     │ 100
│  ╰─ 10000            41 ms         │ 53 ms         │ 43.5 ms       │ 44 ms         │ 100     │ 100
╰─ one_changed                       │               │               │               │         │
   ╰─ 10000            3 µs          │ 9 µs          │ 4 µs          │ 4 µs          │ 100     │ 100
";
        let rows = rows(table);
        assert_eq!(rows.len(), 3);
        assert_eq!((rows[1].what.as_str(), rows[1].value), ("full, 10000 repositories", 43.5));
        assert_eq!((rows[2].what.as_str(), rows[2].value), ("one_changed, 10000 repositories", 0.004));
    }
}
