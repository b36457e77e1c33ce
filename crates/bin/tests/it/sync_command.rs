//! `sync` as a process: what it prints, and what it exits with.

use serde_json::Value;

use crate::net::Net;
use crate::program::{Ended, Place};

/// How a `sync --json` ended.
#[derive(Debug)]
pub(crate) struct Synced {
    pub(crate) ended: Ended,
    /// A line for each relay.
    pub(crate) relays: Vec<Value>,
    pub(crate) summary: Value,
}

impl Synced {
    /// The only relay's line.
    pub(crate) fn only(&self) -> &Value {
        assert_eq!(self.relays.len(), 1, "{self:#?}");
        &self.relays[0]
    }

    pub(crate) fn of(&self, url: &str) -> &Value {
        self.relays.iter().find(|line| line["relay"] == url).unwrap_or_else(|| panic!("no line of {url}: {self:#?}"))
    }

    pub(crate) fn code(&self) -> Option<i32> {
        self.ended.code
    }
}

/// `sync --json` with all relays of `net`.
pub(crate) fn sync(place: &Place, net: &Net, flags: &[&str]) -> Synced {
    sync_with(place, &net.urls(), flags)
}

pub(crate) fn sync_with(place: &Place, relays: &[&str], flags: &[&str]) -> Synced {
    let ended = place.run(&[&["sync", "--json"], relays, flags].concat());
    let mut relays: Vec<Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON on every line")).collect();
    let summary = relays.pop().unwrap_or_else(|| panic!("nothing on stdout: {ended:?}"))["summary"].clone();
    assert!(summary.is_object(), "the last line is the summary: {ended:?}");
    relays.iter().for_each(has_every_field);
    Synced { ended, relays, summary }
}

/// The fields of CONTRACT.md, each of its type.
fn has_every_field(line: &Value) {
    let fields = line.as_object().expect("an object");
    let of_type = |names: &[&str], holds: fn(&Value) -> bool| {
        for name in names {
            assert!(fields.get(*name).is_some_and(holds), "{name} in {line:#}");
        }
        names.len()
    };
    let mut count = of_type(&["relay", "strategy", "status", "reason"], Value::is_string);
    let numbers = [
        "local_before",
        "have",
        "need",
        "received",
        "stored",
        "duplicate",
        "uploaded",
        "rounds",
        "windows",
        "bytes_up",
        "bytes_down",
        "elapsed_ms",
    ];
    count += of_type(&numbers, Value::is_u64);
    count += of_type(&["rejected", "upload_refused"], |value| {
        value.as_object().is_some_and(|reasons| reasons.values().all(Value::is_u64))
    });
    count += of_type(&["fallbacks"], |value| {
        value.as_array().is_some_and(|all| {
            all.iter().all(|fallback| ["from", "to", "reason"].iter().all(|key| fallback[*key].is_string()))
        })
    });
    count += of_type(&["coverage"], is_coverage);
    assert_eq!(count, fields.len(), "{line:#}");
    let status = line["status"].as_str();
    assert!(matches!(status, Some("complete" | "degraded" | "failed")), "{line:#}");
    assert_eq!(status == Some("complete"), line["reason"] == "", "a reason where one is due: {line:#}");
}

/// Filters, each with the windows that are drained and those that aren't.
fn is_coverage(value: &Value) -> bool {
    let is_window = |window: &Value| window["since"].is_u64() && window["until"].is_u64();
    let are_windows = |value: &Value| value.as_array().is_some_and(|all| all.iter().all(is_window));
    let is_filter = |filter: &Value| {
        filter["filter"].is_string() && are_windows(&filter["drained"]) && are_windows(&filter["open"])
    };
    value.as_array().is_some_and(|all| all.iter().all(is_filter))
}
