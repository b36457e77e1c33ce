//! `grasp-sync.example.toml` in the repository's root is true.

use std::path::Path;

use crate::program::Place;

fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../grasp-sync.example.toml");
    std::fs::read_to_string(path).expect("the example is there")
}

#[test]
fn it_holds_every_key_with_its_default() {
    let (default, example) = (Place::new().shown(&[]), Place::with_config(&example()).shown(&[]));
    let (default, example) = (default.as_object().expect("an object"), example.as_object().expect("an object"));
    assert_eq!(default.keys().collect::<Vec<_>>(), example.keys().collect::<Vec<_>>());
    for (key, value) in default {
        assert_eq!(value["value"], example[key]["value"], "{key}");
        assert_eq!(example[key]["source"], "file ./grasp-sync.toml", "{key} is missing in the example");
    }
}

#[test]
fn every_key_has_a_comment() {
    let example = example();
    let lines: Vec<_> = example.lines().filter(|line| !line.is_empty()).collect();
    for pair in lines.windows(2) {
        let is_key = pair[1].contains(" = ") && !pair[1].starts_with('#');
        assert!(!is_key || pair[0].starts_with("# "), "no comment above: {}", pair[1]);
    }
}

#[test]
fn what_is_commented_out_is_possible_too() {
    let text = example().replace("# [sync.relays", "[sync.relays");
    let keys = [
        "strategies",
        "disabled",
        "max_subscriptions",
        "max_filters",
        "max_limit",
        "max_message_length",
        "max_subid_length",
    ];
    let text = keys.iter().fold(text, |text, key| text.replace(&format!("\n# {key} = "), &format!("\n{key} = ")));
    let shown = Place::with_config(&text).shown(&[]);
    assert_eq!(shown["sync.relays.\"wss://relay.example.com\".strategies"]["value"], serde_json::json!(["req"]));
    assert_eq!(shown["sync.relays.\"wss://relay.example.com\".limits.max_subid_length"]["value"], 64);
}
