//! `contrib/prometheus/grasp-sync.rules.yml` speaks of metrics and labels that there are. That it is well formed, and fires when
//! it should, is for promtool to say (`cargo xtask contrib`).

use std::collections::BTreeSet;

use crate::promql::mistakes;
use crate::support::file;

/// An alert, as far as it is read here: one line for each key, but for expressions, which may take several.
#[derive(Debug, Default)]
struct Alert {
    name: String,
    expression: String,
    lines: Vec<String>,
}

fn alerts() -> Vec<Alert> {
    let text = file("contrib/prometheus/grasp-sync.rules.yml");
    let mut alerts: Vec<Alert> = Vec::new();
    let mut in_expression = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        if in_expression.is_some_and(|of| indent <= of) {
            in_expression = None;
        }
        if let Some(name) = line.trim().strip_prefix("- alert: ") {
            alerts.push(Alert { name: name.to_owned(), ..Alert::default() });
        } else if let Some(alert) = alerts.last_mut() {
            match line.trim().strip_prefix("expr:") {
                Some(expression) => {
                    alert.expression = expression.trim().trim_start_matches('|').to_owned();
                    in_expression = Some(indent);
                }
                None if in_expression.is_some() => alert.expression = format!("{} {}", alert.expression, line.trim()),
                None => alert.lines.push(line.trim().to_owned()),
            }
        }
    }
    alerts
}

/// The labels of words such as `{{ $labels.relay }}`.
fn shown(lines: &[String]) -> Vec<String> {
    let of_line = |line: &String| -> Vec<String> {
        let parts = line.split("$labels.").skip(1);
        let name = |part: &str| part.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        parts.map(name).collect()
    };
    lines.iter().flat_map(of_line).collect()
}

#[test]
fn every_expression_speaks_of_what_there_is() {
    let alerts = alerts();
    assert!(!alerts.is_empty(), "the rules are read");
    let found: Vec<String> =
        alerts.iter().flat_map(|alert| mistakes(&alert.expression, &shown(&alert.lines))).collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_alert_says_what_it_means_and_how_bad_it_is() {
    for Alert { name, lines, .. } in alerts() {
        for key in ["summary: ", "description: ", "severity: "] {
            assert!(lines.iter().any(|line| line.starts_with(key)), "{name} has no `{key}`");
        }
    }
}

#[test]
fn every_alert_is_tested_to_fire_and_not_to_fire() {
    let tests = file("contrib/prometheus/grasp-sync.test.yml");
    let named: Vec<String> = alerts().into_iter().map(|alert| alert.name).collect();
    assert_eq!(named.iter().collect::<BTreeSet<_>>().len(), named.len(), "no name is there twice");
    // A case: the lines from its `alertname` to the next.
    let cases: Vec<&str> = tests.split("alertname: ").skip(1).collect();
    for name in &named {
        let of_it = || cases.iter().filter(|case| case.lines().next().map(str::trim) == Some(name));
        assert!(of_it().any(|case| case.contains("exp_alerts:\n")), "no test lets {name} fire");
        assert!(of_it().any(|case| case.contains("exp_alerts: []")), "no test keeps {name} quiet");
    }
}
