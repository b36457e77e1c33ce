//! `sync` with relays that break the rules: an end, a clear word, the right exit code, and every good event stored.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::process::Stdio;

use nostr::event::Event;
use serde_json::{Value, json};
use testkit::relay::{Faults, NoNegentropy, RateLimit, RateLimitAnswer, RelayOptions, TooBig, TooBigWording};
use testkit::world::{BulkSpec, bulk_events};

use crate::net::{Net, ids, notes, stored};
use crate::program::Place;
use crate::sync_command::{Synced, sync};

/// What is wrong with a relay.
type Fault = fn(&mut Faults);

/// Short times, so that silence is noticed soon.
const HASTY: &str = "sync.connect_timeout = \"1s\"\nstrategy.negentropy.timeout = \"700ms\"\n\
                     strategy.req.timeout = \"700ms\"\n";

fn hasty() -> Place {
    Place::with_config(HASTY)
}

/// One sync with a relay that has these faults.
fn met(events: &[Event], flags: &[&str], set: impl FnOnce(&mut Faults)) -> (Place, Synced) {
    let net = Net::faulty(events.to_vec(), set);
    let place = hasty();
    let synced = sync(&place, &net, flags);
    (place, synced)
}

/// It ended degraded, with a reason that holds `words`, and exit 3.
fn degraded(synced: &Synced, words: &[&str]) {
    let line = synced.only();
    assert_eq!((synced.code(), &line["status"]), (Some(3), &json!("degraded")), "{line:#}");
    let reason = line["reason"].as_str().unwrap_or_default();
    assert!(words.iter().all(|word| reason.contains(word)), "{words:?} in {reason:?}");
    assert!(!synced.ended.stderr.contains("panicked"), "{}", synced.ended.stderr);
}

fn complete(synced: &Synced) {
    let line = synced.only();
    assert_eq!((synced.code(), &line["status"]), (Some(0), &json!("complete")), "{line:#}\n{}", synced.ended.stderr);
}

fn every(n: u64) -> Option<NonZeroU64> {
    NonZeroU64::new(n)
}

fn rejected(line: &Value, reason: &str) -> u64 {
    line["rejected"][reason].as_u64().unwrap_or_default()
}

#[test]
fn frames_that_are_not_json_are_passed_over() {
    let events = notes(300);
    for strategy in ["negentropy", "req"] {
        let (place, synced) = met(&events, &["--strategy", strategy], |faults| faults.invalid_json_every = every(7));
        complete(&synced);
        assert_eq!(stored(&place), ids(&events), "{strategy}");
    }
}

#[test]
fn events_with_wrong_ids_are_dropped_and_a_relay_that_sends_many_is_degraded() {
    let events = notes(200);
    for strategy in ["negentropy", "req"] {
        let (place, synced) = met(&events, &["--strategy", strategy], |faults| faults.wrong_id_every = every(10));
        let line = synced.only();
        assert!(rejected(line, "wrong_id") >= 20, "{line:#}");
        degraded(&synced, &["wrong_id"]);
        let held = stored(&place);
        assert!(held.len() >= 180 && held.is_subset(&ids(&events)), "{strategy}: {}", held.len());
    }
}

#[test]
fn events_with_bad_signatures_are_dropped_and_a_relay_that_sends_many_is_degraded() {
    let events = notes(200);
    for strategy in ["negentropy", "req"] {
        let (place, synced) = met(&events, &["--strategy", strategy], |faults| faults.bad_signature_every = every(10));
        let line = synced.only();
        assert!(rejected(line, "bad_signature") >= 20, "{line:#}");
        degraded(&synced, &["bad_signature"]);
        let held = stored(&place);
        assert!(held.len() >= 180 && held.is_subset(&ids(&events)), "{strategy}: {}", held.len());
    }
}

#[test]
fn an_id_that_came_with_a_forgery_is_asked_for_again() {
    let events = notes(200);
    let (place, synced) = met(&events, &["--strategy", "negentropy"], |faults| faults.bad_signature_every = every(5));
    assert!(rejected(synced.only(), "bad_signature") >= 40, "{synced:#?}");
    degraded(&synced, &["bad_signature"]);
    assert_eq!(stored(&place), ids(&events), "each is served well when it is asked for again");

    // Where nothing else is served, all of it is missing, and that stays so.
    let (place, synced) = met(&events, &["--strategy", "negentropy"], |faults| faults.bad_signature_every = every(1));
    degraded(&synced, &["200 offered events aren't served"]);
    assert_eq!(stored(&place), BTreeSet::new());
    let line = synced.only();
    assert_ne!(line["coverage"][0]["open"], json!([]), "{line:#}");
}

#[test]
fn events_that_nobody_asked_for_are_dropped_and_nothing_is_missing() {
    let events = notes(200);
    let mut held = events.clone();
    held.extend(bulk_events(&BulkSpec { kind: 7, count: 3, ..BulkSpec::default() }));
    for strategy in ["negentropy", "req"] {
        let flags = ["--strategy", strategy, "--filter", r#"{"kinds":[1]}"#];
        let (place, synced) = met(&held, &flags, |faults| faults.mismatch_every = every(10));
        let line = synced.only();
        assert!(rejected(line, "not_asked") >= 10, "{line:#}");
        degraded(&synced, &["bad: not_asked"]);
        assert_eq!(stored(&place), ids(&events), "{strategy}");
    }
}

#[test]
fn a_message_beyond_the_limit_ends_the_connection_and_is_named() {
    let events = notes(20);
    let (place, synced) = met(&events, &[], |faults| faults.oversized_notice = Some(6 << 20));
    degraded(&synced, &["4194304"]);
    assert!(stored(&place).is_subset(&ids(&events)));
    // One that fits is read, and means nothing.
    let (place, synced) = met(&events, &[], |faults| faults.oversized_notice = Some(1 << 20));
    complete(&synced);
    assert_eq!(stored(&place), ids(&events));
}

#[test]
fn half_a_message_and_then_silence_is_survived_or_named() {
    let events = notes(200);
    for strategy in ["negentropy", "req"] {
        let (place, synced) = met(&events, &["--strategy", strategy], |faults| faults.half_message_after = Some(60));
        let held = stored(&place).len();
        // A new connection may bring what is left; else it is named.
        if synced.code() == Some(0) {
            complete(&synced)
        } else {
            degraded(&synced, &[])
        }
        assert!(held >= 50, "{strategy}: what came before it is kept: {synced:#?}");
    }
}

#[test]
fn a_relay_that_falls_silent_is_left_and_read_on_or_named() {
    let events = notes(200);
    for (strategy, after) in [("negentropy", 0), ("negentropy", 30), ("req", 0), ("req", 30)] {
        let (place, synced) = met(&events, &["--strategy", strategy], |faults| faults.stall_after = Some(after));
        let held = stored(&place).len() as u64;
        // A connection that says nothing is left, and a new one may bring what is left; else it is named.
        if synced.code() == Some(0) {
            complete(&synced)
        } else {
            degraded(&synced, &[])
        }
        assert!(held + 3 >= after, "{strategy}, {after}: {held} held; {synced:#?}");
    }
}

#[test]
fn silence_to_negentropy_alone_is_no_fault() {
    let events = notes(200);
    for kind in NoNegentropy::ALL {
        let (place, synced) = met(&events, &[], |faults| faults.no_negentropy = Some(kind));
        complete(&synced);
        let line = synced.only();
        assert_eq!(line["fallbacks"].as_array().map(Vec::len), Some(1), "{kind:?}: {line:#}");
        let fallback = &line["fallbacks"][0];
        assert_eq!((&fallback["from"], &fallback["to"]), (&json!("negentropy"), &json!("req")));
        assert_eq!(stored(&place), ids(&events), "{kind:?}");
    }
}

#[test]
fn events_that_are_announced_and_withheld_are_named() {
    let events = notes(200);
    let withheld = events[50].id;
    let (place, synced) = met(&events, &[], |faults| faults.withheld = [withheld].into());
    degraded(&synced, &[&withheld.to_hex()]);
    let mut expected = ids(&events);
    expected.remove(&withheld.to_hex());
    assert_eq!(stored(&place), expected);
}

#[test]
fn a_relay_that_closes_every_request_is_quoted() {
    let events = notes(20);
    for words in ["blocked: not today", "error: out of order", "restricted: members only", "no prefix at all"] {
        let (place, synced) = met(&events, &[], |faults| faults.refuse_req = Some(words.to_owned()));
        degraded(&synced, &[words]);
        assert!(stored(&place).is_empty());
    }
}

#[test]
fn a_relay_that_wants_authentication_is_a_named_reason() {
    let mut net = Net::of([]);
    net.add(RelayOptions { events: notes(20), require_auth: true, ..RelayOptions::default() });
    let place = hasty();
    let synced = sync(&place, &net, &[]);
    degraded(&synced, &["auth-required"]);
    assert!(stored(&place).is_empty());
}

#[test]
fn connections_that_never_open_are_failures() {
    let events = notes(5);
    let cases: [(Fault, &str); 3] = [
        (|faults| faults.refuse_connections = true, ""),
        (|faults| faults.refuse_handshake = Some(503), "503"),
        (|faults| faults.hang_handshake = true, "no answer in time"),
    ];
    for (set, words) in cases {
        let (_, synced) = met(&events, &[], set);
        let line = synced.only();
        assert_eq!((synced.code(), &line["status"]), (Some(3), &json!("failed")), "{line:#}");
        assert!(line["reason"].as_str().is_some_and(|reason| !reason.is_empty() && reason.contains(words)), "{line:#}");
    }
}

#[test]
fn connections_that_break_are_taken_up_again() {
    let events = notes(600);
    let (place, synced) = met(&events, &[], |faults| {
        faults.drop_after = Some(testkit::relay::DropAfter { frames: 200, times: Some(2) });
    });
    complete(&synced);
    assert_eq!(stored(&place), ids(&events));
}

#[test]
fn what_a_relay_says_can_not_move_the_cursor() {
    let net = Net::faulty(notes(2), |faults| faults.refuse_req = Some("blocked: \u{1b}[2J\r\ngone".to_owned()));
    let ended = hasty().run(&["sync", "--strategy", "req", net.url(0)]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(!ended.stdout.contains('\u{1b}') && !ended.stderr.contains('\u{1b}'), "{ended:?}");
    assert!(ended.stdout.contains("blocked:") && ended.stdout.contains("gone"), "{ended:?}");
}

#[test]
fn reconciliations_that_are_too_big_are_narrowed_or_fall_back() {
    let events = notes(1_500);
    for wording in [TooBigWording::FourthElement, TooBigWording::Bare, TooBigWording::Prose] {
        let (place, synced) = met(&events, &[], |faults| faults.too_big = Some(TooBig { cap: 200, wording }));
        complete(&synced);
        assert_eq!(stored(&place), ids(&events), "{wording:?}");
    }
}

#[test]
fn a_relay_that_speaks_of_rates_is_left_alone_for_a_while_and_then_read() {
    let events = notes(600);
    for answer in [RateLimitAnswer::Closed, RateLimitAnswer::Notice] {
        let net = Net::faulty(events.clone(), |faults| {
            faults.rate_limit = Some(RateLimit { after: 2, per_ms: 300, answer });
        });
        let place = Place::with_config(&format!("{HASTY}health.rate_limit_cooldown = \"350ms\"\n"));
        let synced = sync(&place, &net, &[]);
        complete(&synced);
        assert_eq!(stored(&place), ids(&events), "{answer:?}");
        assert!(synced.ended.stderr.contains("rate"), "said once it happens: {}", synced.ended.stderr);
    }
}

#[test]
fn an_interrupted_sync_names_what_is_unfinished_and_keeps_what_came() {
    let events = notes(300);
    let net = Net::faulty(events.clone(), |faults| faults.stall_after = Some(100));
    let place = Place::new();
    for signal in ["INT", "TERM"] {
        let before = net.relays[0].stats().connections;
        let mut command = place.command(&["sync", "--json", net.url(0)]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        let connected = net.relays[0].wait_for(|stats| stats.connections > before);
        net.runtime.block_on(connected).expect("it connects");
        let sent = std::process::Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        let asked = std::time::Instant::now();
        let output = child.wait_with_output().expect("it ends");
        assert!(asked.elapsed().as_secs() < 5, "{signal}: {:?}", asked.elapsed());
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(3), "{signal}: {output:?}");
        assert!(said.lines().count() == 2 && said.contains("\"summary\""), "{signal}: {said}");
    }
    assert!(stored(&place).is_subset(&ids(&events)));
}
