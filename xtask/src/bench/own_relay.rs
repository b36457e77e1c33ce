//! What the embedded own relay costs: the rows that its load program prints.

use super::{Bench, Measured, Row};
use crate::run::{Cargo, Failure};

const PARTS: [&str; 3] = ["stored", "reconcile", "fan-out"];

pub(super) fn run(_: &Bench<'_>) -> Result<Measured, Failure> {
    let mut rows = Vec::new();
    for part in PARTS {
        let run = ["run", "--release", "--locked", "--package", "own-relay", "--example", "load", "--", part];
        rows.extend(read(&Cargo::new(run).output()?)?);
    }
    Ok(Measured::Rows(rows))
}

fn read(text: &str) -> Result<Vec<Row>, Failure> {
    #[derive(serde::Deserialize)]
    struct Figure {
        what: String,
        value: f64,
        unit: String,
    }
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| {
            let Figure { what, value, unit } =
                serde_json::from_str(line).map_err(|error| Failure(format!("{line}: {error}")))?;
            let known = ["events/s", "deliveries/s", "s", "MiB"].into_iter().find(|known| *known == unit);
            let unit = known.ok_or_else(|| Failure(format!("a figure in {unit}")))?;
            Ok(Row { what, value, unit })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_and_the_rest_is_passed_over() {
        let rows = read("noise\n{\"what\":\"w\",\"value\":1.5,\"unit\":\"s\"}\n").expect("rows");
        assert_eq!(rows, [Row { what: "w".to_owned(), value: 1.5, unit: "s" }]);
        assert!(read("{\"what\":\"w\",\"value\":1,\"unit\":\"parsecs\"}").is_err());
    }
}
