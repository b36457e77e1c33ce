//! Fetching by id and uploading.

use serde_json::json;
use sync_core::model::{BatchOutcome, FailureReason};
use sync_core::strategy::Output;

use super::*;

fn needing(ids: Vec<EventId>) -> Bench {
    let mut bench = Bench::new(vec![Scripted::new("s", vec![vec![vec![need(ids), done()]]])]);
    bench.batch(1, vec![Filter::new()]);
    bench
}

#[test]
fn several_requests_by_id_are_in_flight() {
    let mut bench = needing((1..=9).map(id).collect());
    let fetches = Bench::fetches(&bench.take_sent());
    assert_eq!(fetches.iter().map(|(_, ids)| ids.len()).collect::<Vec<_>>(), vec![3, 3, 3]);
    for (wire, ids) in fetches {
        for id in ids {
            bench.relay_says(event_frame(&wire, EventId::from_hex(&id).expect("hex")));
        }
        bench.relay_says(json!(["EOSE", wire]));
    }
    assert_eq!(bench.reports[0].outcome, BatchOutcome::Confirmed);
    assert_eq!(bench.reports[0].counts.stored, 9);
}

#[test]
fn what_is_known_by_then_is_not_asked_for() {
    let strategy = Scripted::new("s", vec![vec![vec![need(vec![id(1), id(2)]), done()]]]);
    let mut bench = Bench::new(vec![strategy]);
    bench.local.known.insert(id(1));
    bench.batch(1, vec![Filter::new()]);
    assert_eq!(Bench::fetches(&bench.take_sent())[0].1, vec![id(2).to_hex()]);
}

#[test]
fn what_is_not_served_is_asked_for_while_there_is_progress_and_then_named() {
    let mut bench = needing(vec![id(1), id(2)]);
    let mut asked = Vec::new();
    for round in 0..3 {
        let (wire, ids) = Bench::fetches(&bench.take_sent()).remove(0);
        asked.push(ids.len());
        if round == 0 {
            bench.relay_says(event_frame(&wire, id(1)));
        }
        bench.relay_says(json!(["EOSE", wire]));
    }
    assert_eq!(asked, vec![2, 1, 1], "again after progress, and once more");
    let BatchOutcome::Failed(failures) = &bench.reports[0].outcome else { panic!("an id is missing") };
    assert_eq!(failures[0].reason, FailureReason::NotServed { ids: vec![id(2)], count: 1 });
}

#[test]
fn closed_ends_a_request_as_eose_does() {
    let mut bench = needing(vec![id(1)]);
    let (wire, _) = Bench::fetches(&bench.take_sent()).remove(0);
    bench.relay_says(event_frame(&wire, id(1)));
    bench.relay_says(json!(["CLOSED", wire, ""]));
    assert_eq!(bench.reports[0].outcome, BatchOutcome::Confirmed);
}

#[test]
fn silence_ends_a_request_after_its_time() {
    let mut bench = needing(vec![id(1)]);
    bench.pass(100_000);
    assert!(matches!(&bench.reports[0].outcome, BatchOutcome::Failed(failures)
        if matches!(failures[0].reason, FailureReason::NotServed { count: 1, .. })));
}

#[test]
fn uploads_are_paced_by_answers_and_refusals_counted_by_reason() {
    let events: Vec<Event> = (0..100).map(note).collect();
    let have = Output::Have(events.iter().map(|event| event.id).collect());
    let strategy = Scripted::new("s", vec![vec![vec![have, done()]]]);
    let mut bench = Bench::with(vec![strategy], RelayProfile::default(), Direction::Up);
    bench.local.events = events.iter().map(|event| (event.id, event.clone())).collect();
    bench.batch(1, vec![Filter::new()]);
    let mut answered = 0;
    loop {
        let sent = bench.take_sent();
        if sent.is_empty() {
            break;
        }
        assert!(sent.len() <= 64, "uploads without an answer are bounded");
        for frame in sent {
            let refuse = answered % 10 == 0;
            let text = if refuse { "blocked: not here" } else { "" };
            bench.relay_says(json!(["OK", frame[1]["id"], !refuse, text]));
            answered += 1;
        }
    }
    let counts = &bench.reports[0].counts;
    assert_eq!((counts.have, counts.uploaded, counts.upload_refused.get("blocked")), (100, 90, Some(&10)));
    let BatchOutcome::Failed(failures) = &bench.reports[0].outcome else { panic!("the relay lacks what it refused") };
    assert_eq!(failures.len(), 1, "said once");
    assert_eq!(failures[0].text, "uploads refused: blocked: not here");
}

#[test]
fn a_relay_that_answers_no_upload_is_not_sent_all_of_them() {
    let events: Vec<Event> = (0..200).map(note).collect();
    let have = Output::Have(events.iter().map(|event| event.id).collect());
    let strategy = Scripted::new("s", vec![vec![vec![have, done()]]]);
    let mut bench = Bench::with(vec![strategy], RelayProfile::default(), Direction::Up);
    bench.local.events = events.iter().map(|event| (event.id, event.clone())).collect();
    bench.batch(1, vec![Filter::new()]);
    bench.pass(31_000);
    assert!(matches!(&bench.reports[0].outcome, BatchOutcome::Failed(failures)
        if failures[0].reason == FailureReason::Timeout));
    assert_eq!(bench.take_sent().len(), 64);
}

#[test]
fn rate_limits_keep_everything_quiet_for_the_cool_down() {
    let mut bench = needing((1..=9).map(id).collect());
    let fetches = Bench::fetches(&bench.take_sent());
    for (wire, _) in &fetches {
        bench.relay_says(json!(["CLOSED", wire, "rate-limited: slow down"]));
    }
    assert!(bench.notices.iter().any(|notice| matches!(notice, LinkNotice::RateLimited { .. })));
    bench.pass(64_000);
    assert_eq!(bench.take_sent(), Vec::<Value>::new());
    bench.pass(2_000);
    assert_eq!(Bench::fetches(&bench.take_sent()).len(), 3, "nothing is given up");
}

/// A batch that brings 200 events, and this many that nobody asked for.
fn with_bad(bad: u8) -> BatchOutcome {
    let mut bench = needing((1..=200).map(id).collect());
    let mut sent = 0;
    loop {
        let fetches = Bench::fetches(&bench.take_sent());
        if fetches.is_empty() {
            return bench.reports.remove(0).outcome;
        }
        for (wire, ids) in fetches {
            if sent < bad {
                bench.relay_says(event_frame(&wire, id(255)));
                sent += 1;
            }
            for id in ids {
                bench.relay_says(event_frame(&wire, EventId::from_hex(&id).expect("hex")));
            }
            bench.relay_says(json!(["EOSE", wire]));
        }
    }
}

#[test]
fn a_relay_that_sends_many_bad_events_is_said_to() {
    assert_eq!(with_bad(9), BatchOutcome::Confirmed);
    let BatchOutcome::Failed(failures) = with_bad(10) else { panic!("ten are many") };
    assert_eq!(failures[0].text, "10 of the 210 events that it sent are bad: not_asked 10");
}
