//! `docs/metrics.md` is true: it has every metric that there is, with its type, unit and labels, and none that there isn't.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{described, quoted, rows};

/// A row of a metric: name, type, unit, labels.
type Told = (String, String, String, Vec<String>);

fn told() -> Vec<Told> {
    let of_metrics = rows().into_iter().filter(|row| row.len() == 5 && row[0] != "metric" && !row[0].starts_with("--"));
    of_metrics
        .map(|row| {
            assert!(row.iter().all(|cell| !cell.is_empty()), "every cell says something: {row:?}");
            let name = row[0].trim_matches('`');
            let (name, labels) = name.split_once('{').unwrap_or((name, ""));
            let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
            (name.to_owned(), row[1].clone(), row[2].clone(), labels.map(str::to_owned).collect())
        })
        .collect()
}

#[test]
fn every_metric_is_told_of_and_nothing_else() {
    let told: BTreeMap<String, (String, Vec<String>)> =
        told().into_iter().map(|(name, kind, _, labels)| (name, (kind, labels))).collect();
    let there: BTreeMap<String, (String, Vec<String>)> = described()
        .into_iter()
        .map(|metric| {
            let labels = metric.labels.iter().map(|label| (*label).to_owned()).collect();
            (metric.name, (metric.kind.as_str().to_owned(), labels))
        })
        .collect();
    assert_eq!(told, there);
}

#[test]
fn units_are_what_the_names_say() {
    for (name, _, unit, _) in told() {
        let base = name.strip_suffix("_total").unwrap_or(&name);
        for of_name in ["bytes", "seconds", "events"] {
            let says = base == of_name || base.ends_with(&format!("_{of_name}"));
            assert!(!says || unit == of_name, "{name} counts {unit}");
        }
    }
}

#[test]
fn every_label_is_told_of_for_every_metric_that_has_it() {
    let of_labels: Vec<Vec<String>> =
        rows().into_iter().filter(|row| row.len() == 3 && row[0].starts_with('`')).collect();
    let mut told = BTreeSet::new();
    for row in &of_labels {
        let label = row[0].trim_matches('`').to_owned();
        assert!(!row[2].is_empty(), "{label} has values");
        if row[1] == "all that have it" {
            let having = described().into_iter().filter(|metric| metric.labels.contains(&&*label));
            told.extend(having.map(|metric| (label.clone(), metric.name)));
        } else {
            told.extend(quoted(&row[1]).into_iter().map(|metric| (label.clone(), metric.to_owned())));
        }
    }
    let there: BTreeSet<(String, String)> = described()
        .into_iter()
        .flat_map(|metric| metric.labels.iter().map(move |label| ((*label).to_owned(), metric.name.clone())))
        .collect();
    assert_eq!(told, there);
}
