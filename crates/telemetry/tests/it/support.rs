//! The metrics that there are, the words that their labels take, and files of the repository.

use std::collections::BTreeSet;
use std::path::Path;

use telemetry::Metrics;
use telemetry::metrics::{Described, Kind};

/// What the scraping adds to every series.
const OF_THE_SCRAPE: [&str; 2] = ["job", "instance"];

/// A file of the repository, by its path from the root.
pub(crate) fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every metric that there can be.
pub(crate) fn described() -> Vec<Described> {
    Metrics::new().described().to_vec()
}

/// The metric whose series have this name, and the labels that those carry. `up` is told by the scraping.
pub(crate) fn series(name: &str) -> Option<(Described, BTreeSet<String>)> {
    if name == "up" {
        let up = Described { name: name.to_owned(), kind: Kind::Gauge, labels: &[], help: "" };
        return Some((up, OF_THE_SCRAPE.map(str::to_owned).into()));
    }
    let metric = described().into_iter().find(|metric| match metric.kind {
        Kind::Histogram => {
            name.strip_prefix(&*metric.name).is_some_and(|rest| ["_bucket", "_sum", "_count"].contains(&rest))
        }
        _ => metric.name == name,
    })?;
    let le = name.ends_with("_bucket").then_some("le");
    let labels = metric.labels.iter().copied().chain(OF_THE_SCRAPE).chain(le).map(str::to_owned).collect();
    Some((metric, labels))
}

/// A row of a table of `docs/metrics.md`, cell by cell.
pub(crate) fn rows() -> Vec<Vec<String>> {
    let page = file("docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.map(|row| row.split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// What stands in backticks.
pub(crate) fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The words that the page lists for a label of a metric; none where anything may stand there.
pub(crate) fn words(label: &str, metric: &str) -> BTreeSet<String> {
    let quoted_label = format!("`{label}`");
    let row = rows().into_iter().find(|row| row[0] == quoted_label && quoted(&row[1]).contains(&metric));
    let cell = row.map(|row| row[2].clone()).unwrap_or_default();
    let words: BTreeSet<String> = quoted(&cell).into_iter().map(str::to_owned).collect();
    // One word by itself is an exception beside names.
    if words.len() > 1 { words } else { BTreeSet::new() }
}
