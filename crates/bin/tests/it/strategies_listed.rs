//! `strategies`: what is available, in the configured order.

use crate::program::Place;

fn names(place: &Place) -> Vec<(String, String)> {
    let ended = place.run(&["strategies", "--json"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    let rows: Vec<serde_json::Value> = serde_json::from_str(&ended.stdout).expect("one JSON document");
    for row in &rows {
        assert_eq!(row["kind"], "built-in");
        assert_eq!(row["version"], env!("CARGO_PKG_VERSION"));
    }
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    rows.iter().map(|row| (text(&row["name"]), text(&row["state"]))).collect()
}

#[test]
fn they_come_in_the_configured_order() {
    let pair = |name: &str, state: &str| (name.to_owned(), state.to_owned());
    assert_eq!(names(&Place::new()), [pair("negentropy", "preferred"), pair("req", "fallback")]);
    let place = Place::new().var("GRASP_SYNC_SYNC__STRATEGIES", "req");
    assert_eq!(names(&place), [pair("req", "preferred"), pair("negentropy", "unused")]);
    let text = place.run(&["strategies"]).stdout;
    let first_words: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(first_words, ["NAME", "req", "negentropy"]);
}
