//! `contrib/grafana/grasp-sync.json` asks for metrics and labels that there are, and shows each panel once.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::promql::mistakes;
use crate::support::file;

fn dashboard() -> Value {
    serde_json::from_str(&file("contrib/grafana/grasp-sync.json")).expect("JSON")
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of[name].as_array().map(Vec::as_slice).unwrap_or_else(|| panic!("no list `{name}` in {of:#}"))
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    list(dashboard, "panels").iter().filter(|panel| panel["type"] != "row").collect()
}

/// The labels of a legend such as `{{relay}} {{direction}}`.
fn shown(legend: &str) -> Vec<String> {
    let parts = legend.split("{{").skip(1);
    parts.filter_map(|part| Some(part.split_once("}}")?.0.trim().to_owned())).collect()
}

#[test]
fn every_expression_speaks_of_what_there_is() {
    let dashboard = dashboard();
    let mut found = Vec::new();
    for panel in panels(&dashboard) {
        for target in list(panel, "targets") {
            let expression = target["expr"].as_str().unwrap_or_else(|| panic!("no expression in {target:#}"));
            found.extend(mistakes(expression, &shown(target["legendFormat"].as_str().unwrap_or_default())));
        }
    }
    for variable in list(&dashboard["templating"], "list").iter().filter(|variable| variable["type"] == "query") {
        let query = variable["query"]["query"].as_str().unwrap_or_else(|| panic!("no query in {variable:#}"));
        assert_eq!(variable["definition"], query, "both forms of the query are the same");
        found.extend(mistakes(query, &[]));
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn it_can_be_imported_anywhere() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64() >= Some(39), "{}", dashboard["schemaVersion"]);
    assert!(dashboard["id"].is_null(), "an id belongs to one Grafana");
    let variables = list(&dashboard["templating"], "list");
    let source = variables.iter().find(|variable| variable["type"] == "datasource").expect("a variable for the source");
    assert_eq!(source["query"], "prometheus");
    let uid = format!("${{{}}}", source["name"].as_str().expect("a name"));
    let mut ids = BTreeSet::new();
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().filter(|title| !title.is_empty()).expect("a title");
        assert_eq!(panel["datasource"]["uid"], uid, "{title}");
        assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{title} says what it shows");
        assert!(list(panel, "targets").iter().all(|target| target["datasource"]["uid"] == uid), "{title}");
    }
    for panel in list(&dashboard, "panels") {
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "the id {} is there twice", panel["id"]);
    }
}

#[test]
fn panels_lie_beside_each_other() {
    let dashboard = dashboard();
    let place = |panel: &Value| {
        ["x", "y", "w", "h"]
            .map(|side| panel["gridPos"][side].as_u64().unwrap_or_else(|| panic!("{side} of {panel:#}")))
    };
    let places: Vec<_> = list(&dashboard, "panels").iter().map(place).collect();
    for (at, [x, y, w, h]) in places.iter().enumerate() {
        assert!(x + w <= 24, "a row is 24 wide");
        for [ox, oy, ow, oh] in &places[at + 1..] {
            let apart = x + w <= *ox || ox + ow <= *x || y + h <= *oy || oy + oh <= *y;
            assert!(apart, "panels at {x},{y} and {ox},{oy} overlap");
        }
    }
}
