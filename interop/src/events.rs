//! Real events, where they lie beside the repository, and why a store may rightly be without one of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use flate2::read::GzDecoder;
use serde_json::Value;

/// The file `name` of the collection beside the repository; `None`, with a word about it, where there is none.
pub fn data(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let file = root.join(name);
    if file.is_file() {
        return Some(file);
    }
    eprintln!("SKIPPED: {} isn't there", file.display());
    None
}

/// Every event of a file of JSON lines, packed or not.
pub fn read(file: &Path) -> Vec<Value> {
    let open = File::open(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let packed = file.extension().is_some_and(|extension| extension == "gz");
    let reader: Box<dyn Read> = if packed { Box::new(GzDecoder::new(open)) } else { Box::new(open) };
    let lines = BufReader::new(reader).lines().map(|line| line.expect("text"));
    lines.map(|line| serde_json::from_str(&line).expect("an event")).collect()
}

/// The id of an event.
pub fn id(event: &Value) -> String {
    text(event, "id").to_owned()
}

/// For each event that a correct store leaves out: why. By id.
pub fn left_out(events: &[Value]) -> BTreeMap<String, &'static str> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut newest: BTreeMap<String, &Value> = BTreeMap::new();
    for event in events.iter().filter(|event| !is_expired(event, now)) {
        if let Some(slot) = slot(event) {
            let held = newest.entry(slot).or_insert(event);
            if is_newer(event, held) {
                *held = event;
            }
        }
    }
    let deletions: Vec<_> = events.iter().filter(|event| kind(event) == 5).collect();
    let why = |event: &Value| {
        if is_ephemeral(event) {
            Some("ephemeral")
        } else if is_expired(event, now) {
            Some("expired")
        } else if slot(event).and_then(|slot| newest.get(&slot)).is_some_and(|held| id(held) != id(event)) {
            Some("superseded")
        } else if deletions.iter().any(|deletion| deletes(deletion, event)) {
            Some("deleted")
        } else {
            None
        }
    };
    events.iter().filter_map(|event| why(event).map(|why| (id(event), why))).collect()
}

/// How often each reason occurs.
pub fn tally<R: Ord>(reasons: impl IntoIterator<Item = R>) -> BTreeMap<R, usize> {
    let mut tally = BTreeMap::new();
    for reason in reasons {
        *tally.entry(reason).or_default() += 1;
    }
    tally
}

/// The kind of an event.
pub fn kind(event: &Value) -> u64 {
    event["kind"].as_u64().unwrap_or_default()
}

/// Whether relays pass it on and never store it (NIP-01).
pub fn is_ephemeral(event: &Value) -> bool {
    (20_000..30_000).contains(&kind(event))
}

/// Whether only its author may publish it (NIP-70).
pub fn is_protected(event: &Value) -> bool {
    event["tags"].as_array().into_iter().flatten().any(|tag| tag[0] == "-")
}

fn text<'a>(event: &'a Value, key: &str) -> &'a str {
    event[key].as_str().unwrap_or_default()
}

fn created_at(event: &Value) -> u64 {
    event["created_at"].as_u64().unwrap_or_default()
}

/// The values of the tags of that name.
fn tags<'a>(event: &'a Value, name: &str) -> impl Iterator<Item = &'a str> {
    let tags = event["tags"].as_array().into_iter().flatten();
    tags.filter(move |tag| tag[0] == name).filter_map(|tag| tag[1].as_str())
}

fn is_expired(event: &Value, now: u64) -> bool {
    tags(event, "expiration").next().and_then(|at| at.parse::<u64>().ok()).is_some_and(|at| at <= now)
}

/// What at most one event may stand in: NIP-01, replaceable and addressable.
fn slot(event: &Value) -> Option<String> {
    let (kind, author) = (kind(event), text(event, "pubkey"));
    match kind {
        0 | 3 | 10_000..20_000 => Some(format!("{kind}:{author}:")),
        30_000..40_000 => Some(format!("{kind}:{author}:{}", tags(event, "d").next().unwrap_or_default())),
        _ => None,
    }
}

/// Ties go to the lowest id.
fn is_newer(event: &Value, held: &Value) -> bool {
    (created_at(event), std::cmp::Reverse(id(event))) > (created_at(held), std::cmp::Reverse(id(held)))
}

/// NIP-09: only its author's own events, and no deletions.
fn deletes(deletion: &Value, event: &Value) -> bool {
    if text(deletion, "pubkey") != text(event, "pubkey") || kind(event) == 5 {
        return false;
    }
    let by_id = tags(deletion, "e").any(|target| target == text(event, "id"));
    let by_slot = slot(event).is_some_and(|slot| tags(deletion, "a").any(|target| target == slot))
        && created_at(event) <= created_at(deletion);
    by_id || by_slot
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_reason_is_told_apart() {
        let event = |id: &str, kind: u64, at: u64, tags: Value| json!({ "id": id, "pubkey": "p", "kind": kind, "created_at": at, "tags": tags });
        let events = [
            event("kept", 1, 5, json!([])),
            event("passing", 20_001, 5, json!([])),
            event("expired", 1, 5, json!([["expiration", "6"]])),
            event("old", 30_617, 5, json!([["d", "x"]])),
            event("new", 30_617, 6, json!([["d", "x"]])),
            event("tie-b", 0, 5, json!([])),
            event("tie-a", 0, 5, json!([])),
            event("gone", 1, 5, json!([])),
            event("gone-slot", 10_002, 5, json!([])),
            event("deletion", 5, 7, json!([["e", "gone"], ["e", "deletion"], ["a", "10002:p:"]])),
        ];
        let expected = [
            ("expired", "expired"),
            ("gone", "deleted"),
            ("gone-slot", "deleted"),
            ("old", "superseded"),
            ("passing", "ephemeral"),
            ("tie-b", "superseded"),
        ];
        assert_eq!(left_out(&events), expected.map(|(id, why)| (id.to_owned(), why)).into());
    }
}
