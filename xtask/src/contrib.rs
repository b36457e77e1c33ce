//! `cargo xtask contrib`: what goes along with the program, checked by the tools that will read it. A tool that isn't installed is
//! said to be missing, and what it would have checked is not checked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::run::{Failure, output, program, root, run, target_directory};

const DASHBOARD: &str = "contrib/grafana/grasp-sync.json";
const RULES: &str = "contrib/prometheus/grasp-sync.rules.yml";
const RULE_TESTS: &str = "contrib/prometheus/grasp-sync.test.yml";
const UNIT: &str = "contrib/systemd/grasp-sync.service";
/// How much of the system the service may see and change, from 0 to 100, as `systemd-analyze security` counts.
const EXPOSURE: u32 = 15;

/// Checks everything in `contrib`.
pub(crate) fn check() -> Result<(), Failure> {
    let scratch = target_directory()?.join("contrib");
    made(fs::create_dir_all(&scratch), &scratch)?;
    let dashboard = read(DASHBOARD)?;
    let dashboard: Value =
        serde_json::from_str(&dashboard).map_err(|error| Failure(format!("{DASHBOARD}: {error}")))?;
    if has("jq", "the dashboard by a second reader") {
        program("jq", ["--exit-status", ".panels | length > 0", DASHBOARD])?;
    }
    if has("promtool", "alert rules, their tests, the dashboard's expressions") {
        program("promtool", ["check", "rules", RULES])?;
        program("promtool", ["test", "rules", RULE_TESTS])?;
        // A rule file is YAML, and JSON is YAML.
        let path = scratch.join("dashboard.rules.yml");
        made(fs::write(&path, as_rules(&dashboard).to_string()), &path)?;
        run(Command::new("promtool").args(["check", "rules"]).arg(&path))?;
    }
    if has("systemd-analyze", "the service") {
        let unit = verifiable(&scratch)?;
        run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit))?;
        let mut security = Command::new("systemd-analyze");
        security.args(["security", "--no-pager", "--offline=true"]).arg(format!("--threshold={EXPOSURE}")).arg(&unit);
        println!("{}", output(&mut security)?.lines().last().unwrap_or_default());
    }
    Ok(())
}

/// Whether a program is installed; says what isn't checked without it.
fn has(name: &str, what: &str) -> bool {
    let found = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("SKIPPED: {what} ({name} is not installed)");
    }
    found
}

/// The expressions of the dashboard as rules that promtool reads, with something in the place of each variable.
fn as_rules(dashboard: &Value) -> Value {
    let panels = dashboard["panels"].as_array().map(Vec::as_slice).unwrap_or_default();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let expressions = targets.filter_map(|target| target["expr"].as_str());
    let rules: Vec<Value> = (1..)
        .zip(expressions)
        .map(|(number, expression)| {
            let expression =
                expression.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$instance", ".*");
            json!({ "record": format!("dashboard:{number}"), "expr": expression })
        })
        .collect();
    json!({ "groups": [{ "name": "dashboard", "rules": rules }] })
}

/// The unit with a program in the place of ours, which need not be installed where this runs.
fn verifiable(scratch: &Path) -> Result<PathBuf, Failure> {
    let unit = read(UNIT)?;
    let start = "ExecStart=/usr/local/bin/grasp-sync ";
    if !unit.contains(start) {
        return Err(Failure(format!("{UNIT}: no `{start}`")));
    }
    let any = std::env::current_exe().map_err(|error| Failure(format!("this program has no path: {error}")))?;
    let path = scratch.join("grasp-sync.service");
    made(fs::write(&path, unit.replace(start, &format!("ExecStart={} ", any.display()))), &path)?;
    Ok(path)
}

fn read(name: &str) -> Result<String, Failure> {
    fs::read_to_string(root().join(name)).map_err(|error| Failure(format!("{name}: {error}")))
}

fn made<T>(result: std::io::Result<T>, path: &Path) -> Result<T, Failure> {
    result.map_err(|error| Failure(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_expression_of_the_dashboard_becomes_a_rule_without_variables() {
        let dashboard: Value = serde_json::from_str(&read(DASHBOARD).expect("it is there")).expect("JSON");
        let rules = as_rules(&dashboard)["groups"][0]["rules"].as_array().expect("a list").clone();
        assert!(rules.len() > 20, "{}", rules.len());
        for rule in rules {
            let expression = rule["expr"].as_str().expect("text");
            assert!(!expression.contains('$'), "{expression}");
        }
    }
}
