//! What a relay without faults answers.

use std::collections::{BTreeMap, BTreeSet};

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use nostr::event::{Event, EventId, Kind};
use nostr::filter::{Filter, MatchEventOptions, SingleLetterTag};
use nostr::types::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use testkit::relay::{Faults, Inserted, RelayConnection, RelayCore, RelayOptions};
use testkit::world::{EventSpec, keys};

use crate::client::{NOW, event_ids, heard, ids, notes, relay_with, req, say, types};

/// Few values of everything, so that filters hit and times tie.
fn any_events() -> impl Strategy<Value = Vec<Event>> {
    let one = (0..4u64, 0..3usize, 100..112u64, prop::collection::vec((0..3usize, 0..4u8), 0..3));
    prop::collection::vec(one, 0..40).prop_map(|specs| {
        let made = specs.into_iter().enumerate().map(|(place, (author, kind, at, tags))| {
            let spec = EventSpec::new([1, 7, 1111][kind]).at(at).content(place.to_string());
            let tagged =
                |spec: EventSpec, (name, value): (usize, u8)| spec.tag([["e", "t", "A"][name], &value.to_string()]);
            tags.into_iter().fold(spec, tagged).sign(&keys(9, author))
        });
        made.collect()
    })
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let sets = (
        prop::option::of(prop::collection::btree_set(0..5u64, 1..3)),
        prop::option::of(prop::collection::btree_set(prop::sample::select(vec![1u16, 7, 1111, 5]), 1..3)),
        prop::collection::btree_map(0..3usize, prop::collection::btree_set(0..5u8, 0..3), 0..3),
    );
    let rest = (prop::option::of(98..114u64), prop::option::of(98..114u64), prop::option::of(0..12usize));
    (sets, rest).prop_map(|((authors, kinds, tags), (since, until, limit))| {
        let mut filter = Filter::new();
        filter.authors = authors.map(|authors| authors.into_iter().map(|a| keys(9, a).public_key()).collect());
        filter.kinds = kinds.map(|kinds| kinds.into_iter().map(Kind::from).collect());
        filter.since = since.map(Timestamp::from_secs);
        filter.until = until.map(Timestamp::from_secs);
        filter.limit = limit;
        for (name, values) in tags {
            let name = [SingleLetterTag::LOWERCASE_E, SingleLetterTag::LOWERCASE_T, SingleLetterTag::UPPERCASE_A][name];
            filter = filter.custom_tags(name, values.into_iter().map(|value| value.to_string()));
        }
        filter
    })
}

/// What a relay should send: each filter by itself, then all of it newest first.
fn naive(events: &[Event], filters: &[Filter]) -> Vec<EventId> {
    let mut union = BTreeMap::new();
    for filter in filters {
        let mut matching: Vec<_> =
            events.iter().filter(|event| filter.match_event(event, MatchEventOptions::new())).collect();
        matching.sort();
        matching.truncate(filter.limit.unwrap_or(500).min(500));
        union.extend(matching.into_iter().map(|event| (event, event.id)));
    }
    union.into_values().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn req_is_answered_as_a_scan_would(
        events in any_events(),
        mut filters in prop::collection::vec(any_filter(), 1..4),
        by_ids in prop::option::of(prop::collection::btree_set(0..60usize, 1..10)),
    ) {
        if let Some(places) = by_ids {
            let ids = places.into_iter().filter_map(|place| events.get(place)).map(|event| event.id);
            filters[0] = std::mem::take(&mut filters[0]).ids(ids);
        }
        let mut connection = relay_with(&events, Faults::default()).connect();
        let frames = say(&mut connection, &req("s", &filters));
        prop_assert_eq!(ids(&frames, "s"), naive(&events, &filters));
        prop_assert_eq!(types(&frames).pop(), Some("EOSE"));
    }

    #[test]
    fn a_client_of_negentropy_ends_with_the_same_set(
        count in 0..900usize,
        ours in prop::collection::vec(any::<bool>(), 900),
        theirs in prop::collection::vec(any::<bool>(), 900),
        frame_limit in prop::sample::select(vec![0, 4096, 60_000]),
    ) {
        let all: Vec<Event> = NOTES.with(|notes| notes[..count].to_vec());
        let pick = |flags: &[bool]| -> Vec<Event> {
            all.iter().zip(flags).filter(|(_, flag)| **flag).map(|(event, _)| event.clone()).collect()
        };
        let (local, remote) = (pick(&ours), pick(&theirs));
        let core = RelayCore::new(RelayOptions { events: remote.clone(), frame_limit, ..RelayOptions::default() });
        let (have, need) = reconcile(&mut core.connect(), &local, frame_limit);
        let set = |events: &[Event]| -> BTreeSet<EventId> { events.iter().map(|event| event.id).collect() };
        let (local, remote) = (set(&local), set(&remote));
        prop_assert_eq!(need, &remote - &local);
        prop_assert_eq!(have, &local - &remote);
    }
}

thread_local! {
    static NOTES: Vec<Event> = notes(900);
}

/// Reconciles with the crate's own client; what it has and needs.
fn reconcile(connection: &mut RelayConnection, local: &[Event], limit: u64) -> (BTreeSet<EventId>, BTreeSet<EventId>) {
    let mut storage = NegentropyStorageVector::new();
    for event in local {
        storage.insert(event.created_at.as_secs(), Id::from_byte_array(event.id.to_bytes())).expect("not sealed");
    }
    storage.seal().expect("once");
    let mut client = Negentropy::owned(storage, limit).expect("a fair limit");
    let (mut have, mut need) = (Vec::new(), Vec::new());
    let first = hex(&client.initiate().expect("starts"));
    let mut message = json!(["NEG-OPEN", "n", {}, first]);
    for _ in 0..200 {
        let answer = say(connection, &message);
        assert_eq!(types(&answer), ["NEG-MSG"]);
        let answer = unhex(answer[0][2].as_str().expect("hex"));
        assert!(limit == 0 || answer.len() as u64 <= limit);
        match client.reconcile_with_ids(&answer, &mut have, &mut need).expect("sense") {
            Some(next) => message = json!(["NEG-MSG", "n", hex(&next)]),
            None => {
                let ids = |ids: Vec<Id>| ids.into_iter().map(|id| EventId::from_byte_array(id.to_bytes())).collect();
                return (ids(have), ids(need));
            }
        }
    }
    panic!("the reconciliation doesn't end");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

#[test]
fn filters_without_limit_get_500_events_and_no_filter_more() {
    let events = notes(700);
    let mut connection = relay_with(&events, Faults::default()).connect();
    for (filter, count) in [(Filter::new(), 500), (Filter::new().limit(600), 500), (Filter::new().limit(7), 7)] {
        assert_eq!(ids(&say(&mut connection, &req("s", &[filter])), "s"), event_ids(&events[..count]));
    }
}

#[test]
fn new_events_reach_the_open_subscriptions_that_match_once() {
    let events = notes(4);
    let core = relay_with(&events[2..], Faults::default());
    let (mut reader, mut other, mut writer) = (core.connect(), core.connect(), core.connect());
    say(&mut reader, &req("live", &[Filter::new().limit(0), Filter::new().kind(Kind::from(1)).limit(0)]));
    say(&mut other, &req("else", &[Filter::new().kind(Kind::from(2))]));
    assert!(writer.receive(&json!(["EVENT", events[0]]).to_string(), NOW), "others have something to hear");
    assert_eq!(heard(&mut writer), [json!(["OK", events[0].id, true, ""])]);
    assert_eq!(core.publish(events[1].clone()), Inserted::Stored);

    assert_eq!(ids(&heard(&mut reader), "live"), event_ids(&events[..2]));
    assert_eq!(heard(&mut other), Vec::<Value>::new());
    assert_eq!(
        ids(&say(&mut other, &req("all", &[Filter::new()])), "all"),
        event_ids(&events),
        "stored, not told twice"
    );
    say(&mut reader, &json!(["CLOSE", "live"]));
    core.publish(EventSpec::new(1).at(5).sign(&keys(1, 1)));
    assert_eq!(heard(&mut reader), Vec::<Value>::new());
    assert_eq!(core.stats().events_sent[&events[0].id], 2);
    assert_eq!(core.stats().max_subscriptions, 2);
}

#[test]
fn published_events_are_checked() {
    let good = EventSpec::new(1).at(5).content("good").sign(&keys(1, 1));
    let core = relay_with(&[], Faults::default());
    let mut connection = core.connect();
    let mut publish = |event: &Value| say(&mut connection, &json!(["EVENT", event])).remove(0);
    let mut forged = serde_json::to_value(&good).expect("JSON");
    forged["content"] = json!("forged");
    assert_eq!(publish(&forged)[2], false);
    let mut unsigned = serde_json::to_value(&good).expect("JSON");
    unsigned["sig"] = json!("11".repeat(64));
    assert_eq!(publish(&unsigned)[2], false);
    assert_eq!(core.events(), []);
    let good = serde_json::to_value(&good).expect("JSON");
    assert_eq!(publish(&good)[2], true);
    assert_eq!(publish(&good)[3], "duplicate: have this event");
    assert_eq!(core.events().len(), 1);
}

#[test]
fn newer_versions_replace_older_ones_and_deletions_hold() {
    let (author, other) = (keys(1, 1), keys(1, 2));
    let version = |at, d: &str| EventSpec::new(30617).at(at).tag(["d", d]).sign(&author);
    let core = relay_with(&[version(10, "a"), version(10, "b")], Faults::default());
    assert_eq!(core.publish(version(9, "a")), Inserted::Superseded);
    assert_eq!(core.publish(version(11, "a")), Inserted::Stored);
    assert_eq!(core.events().len(), 2);

    let b = format!("30617:{}:b", author.public_key().to_hex());
    assert_eq!(core.publish(EventSpec::new(5).at(12).tag(["a", &b]).sign(&other)), Inserted::Stored);
    assert!(core.has(&version(10, "b").id), "not theirs to delete");
    core.publish(EventSpec::new(5).at(12).tag(["a", &b]).tag(["e", &version(11, "a").id.to_hex()]).sign(&author));
    assert!(!core.has(&version(10, "b").id) && !core.has(&version(11, "a").id));
    assert_eq!(core.publish(version(12, "b")), Inserted::Deleted);
    assert_eq!(core.publish(version(11, "a")), Inserted::Deleted);
    assert_eq!(core.publish(version(13, "b")), Inserted::Stored);
    assert_eq!(core.publish(EventSpec::new(20_001).sign(&author)), Inserted::Ephemeral);
}

#[test]
fn nonsense_is_answered_and_hurts_nobody() {
    let mut connection = relay_with(&notes(2), Faults::default()).connect();
    for (nonsense, answer) in [
        ("", "NOTICE"),
        ("{}", "NOTICE"),
        ("[]", "NOTICE"),
        ("[1]", "NOTICE"),
        ("[\"REQ\"]", "NOTICE"),
        ("[\"REQ\",\"\",{}]", "NOTICE"),
        ("[\"REQ\",\"s\"]", "CLOSED"),
        ("[\"REQ\",\"s\",{\"ids\":[\"zz\"]}]", "CLOSED"),
        ("[\"REQ\",\"s\",{\"kinds\":[-1]}]", "CLOSED"),
        ("[\"EVENT\",{\"id\":\"x\"}]", "OK"),
        ("[\"EVENT\",7]", "NOTICE"),
        ("[\"NEG-OPEN\",\"n\",[{}],\"61\"]", "NEG-ERR"),
        ("[\"NEG-OPEN\",\"n\",{},\"6\"]", "NEG-ERR"),
        ("[\"NEG-OPEN\",\"n\",{},\"61000002ff\"]", "NEG-ERR"),
        ("[\"NEG-MSG\",\"none\",\"61\"]", "NEG-ERR"),
        ("[\"COUNT\",\"s\",{}]", "NOTICE"),
    ] {
        connection.receive(nonsense, NOW);
        assert_eq!(types(&heard(&mut connection)), [answer], "{nonsense}");
    }
    assert_eq!(ids(&say(&mut connection, &req("s", &[Filter::new()])), "s").len(), 2);
}

#[test]
fn clients_authenticate_where_the_relay_wants_it() {
    let options = RelayOptions { events: notes(1), require_auth: true, ..RelayOptions::default() };
    let core = RelayCore::new(options);
    let mut connection = core.connect();
    let challenge = heard(&mut connection)[0][1].as_str().expect("a challenge").to_owned();
    let closed = say(&mut connection, &req("s", &[Filter::new()]));
    assert!(closed[0][0] == "CLOSED" && closed[0][2].as_str().is_some_and(|why| why.starts_with("auth-required:")));
    let refused = say(&mut connection, &json!(["NEG-OPEN", "n", {}, "61"]));
    assert!(refused[0][0] == "NEG-ERR" && refused[0][2].as_str().is_some_and(|why| why.starts_with("auth-required:")));

    let auth = |challenge: &str| {
        let spec = EventSpec::new(22242).at(NOW.unix_s).tag(["challenge", challenge]).tag(["relay", "ws://localhost"]);
        json!(["AUTH", spec.sign(&keys(1, 1))])
    };
    assert_eq!(say(&mut connection, &auth("another"))[0][2], false);
    assert_eq!(say(&mut connection, &auth(&challenge))[0][2], true);
    assert_eq!(types(&say(&mut connection, &req("s", &[Filter::new()]))), ["EVENT", "EOSE"]);
    assert_eq!(core.stats().authenticated, 1);
}

#[test]
fn eose_tells_whether_that_was_all_where_the_relay_does_so() {
    let core = RelayCore::new(RelayOptions { events: notes(5), eose_hint: true, ..RelayOptions::default() });
    let mut connection = core.connect();
    let eose = |frames: Vec<Value>| frames.last().cloned().expect("EOSE");
    assert_eq!(eose(say(&mut connection, &req("s", &[Filter::new().limit(4)]))), json!(["EOSE", "s", ["more"]]));
    assert_eq!(eose(say(&mut connection, &req("s", &[Filter::new().limit(5)]))), json!(["EOSE", "s", ["finish"]]));
}
