//! Real git events as their authors would have published them had they used another relay: the address of one relay
//! replaced, and everything signed again by keys that stand for the authors. What refers to what stays the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use testkit::world::{EventSpec, keys};

use crate::events;

/// The keys that stand for authors follow from it.
const SEED: u64 = 0x006d_6f76_6564;
/// Hex digits of an id or a public key.
const HEX: usize = 64;

/// `events`, with `to` wherever `from` stood.
pub fn moved(events: &[Value], from: &str, to: &str) -> Vec<Value> {
    let authors: BTreeSet<_> = events.iter().filter_map(|event| event["pubkey"].as_str()).collect();
    let authors: BTreeMap<_, _> = authors.into_iter().zip(0..).collect();
    // What stands for what: first authors, then each event that was signed.
    let mut stands_for: BTreeMap<String, String> = authors
        .iter()
        .map(|(author, number)| (String::from(*author), keys(SEED, *number).public_key().to_hex()))
        .collect();
    let mut waiting: BTreeMap<String, &Value> = events.iter().map(|event| (events::id(event), event)).collect();
    let mut signed = Vec::with_capacity(events.len());
    while !waiting.is_empty() {
        let ready: Vec<_> = waiting.iter().filter(|(id, event)| is_ready(id, event, &waiting)).collect();
        let ready: Vec<_> = ready.into_iter().map(|(id, event)| (id.clone(), *event)).collect();
        assert!(!ready.is_empty(), "ids are hashes: events can't refer to each other in a circle");
        for (id, event) in ready {
            waiting.remove(&id);
            let author = event["pubkey"].as_str().and_then(|author| authors.get(author)).expect("counted above");
            let event = sign(event, *author, |text| replace(text, &stands_for).replace(from, to));
            stands_for.insert(id, events::id(&event));
            signed.push(event);
        }
    }
    signed
}

/// Whether nothing in it waits, but itself.
fn is_ready(id: &str, event: &Value, waiting: &BTreeMap<String, &Value>) -> bool {
    let text = event.to_string();
    (0..text.len()).filter_map(|at| text.get(at..at + HEX)).all(|word| word == id || !waiting.contains_key(word))
}

fn sign(event: &Value, author: u64, change: impl Fn(&str) -> String) -> Value {
    let kind = u16::try_from(events::kind(event)).expect("git events have ordinary kinds");
    let text = |value: &Value| change(value.as_str().unwrap_or_default());
    let mut spec =
        EventSpec::new(kind).at(event["created_at"].as_u64().expect("a time")).content(text(&event["content"]));
    for tag in event["tags"].as_array().into_iter().flatten() {
        spec = spec.tag(tag.as_array().into_iter().flatten().map(text));
    }
    serde_json::from_str(&spec.sign(&keys(SEED, author)).as_json()).expect("an event is JSON")
}

fn replace(text: &str, stands_for: &BTreeMap<String, String>) -> String {
    let mut changed = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(other) = rest.get(..HEX).and_then(|word| stands_for.get(word)) {
            changed.push_str(other);
            rest = &rest[HEX..];
        } else {
            changed.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_follow() {
        let (id, author) = ("a".repeat(HEX), "b".repeat(HEX));
        let repo = json!({ "id": id, "pubkey": author, "kind": 30617, "created_at": 5, "content": "é",
            "tags": [["d", "x"], ["relays", "wss://old.example"]] });
        let reply = json!({ "id": "c".repeat(HEX), "pubkey": author, "kind": 1, "created_at": 4, "content": "",
            "tags": [["a", format!("30617:{author}:x")], ["e", id]] });
        let moved = moved(&[reply, repo], "wss://old.example", "ws://new.example");
        assert_eq!(moved[0]["tags"], json!([["d", "x"], ["relays", "ws://new.example"]]));
        let address = format!("30617:{}:x", moved[0]["pubkey"].as_str().expect("text"));
        assert_eq!(moved[1]["tags"], json!([["a", address], ["e", moved[0]["id"]]]));
    }
}
