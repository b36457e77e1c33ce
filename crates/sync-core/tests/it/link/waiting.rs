//! What waits for us (a cool-down, the budget, ids still being fetched) is not held against the relay, and ends.

use serde_json::json;
use sync_core::link::LiveSubscription;
use sync_core::model::BatchOutcome;
use sync_core::strategy::Output;

use super::*;

fn many(n: u32) -> Vec<EventId> {
    let id = |n: u32| {
        let mut bytes = [7; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        EventId::from_byte_array(bytes)
    };
    (0..n).map(id).collect()
}

fn neg_msg(sub: u32) -> Output {
    Output::Send(Message::NegMsg { sub, payload: vec![0x61] })
}

fn live(key: u64) -> LiveSubscription {
    LiveSubscription { key, filters: vec![Filter::new().kind(nostr::event::Kind::from_u16(1))] }
}

fn refused(prefix: &str) -> Output {
    let reason = FailureReason::Refused { prefix: prefix.to_owned() };
    Output::Done(SessionOutcome::Failed { reason, text: prefix.to_owned() })
}

fn profile(max_subscriptions: usize) -> RelayProfile {
    RelayProfile { max_subscriptions: Some(max_subscriptions), ..RelayProfile::default() }
}

/// Answers every request by id among `sent`.
fn serve(bench: &mut Bench, sent: &[Value]) {
    for (wire, ids) in Bench::fetches(sent) {
        for id in ids {
            bench.relay_says(event_frame(&wire, EventId::from_hex(&id).expect("hex")));
        }
        bench.relay_says(json!(["EOSE", wire]));
    }
}

#[test]
fn a_session_asks_nothing_during_a_cool_down_and_does_not_fail_for_it() {
    let close = Output::Send(Message::Close { sub: 1 });
    let script = vec![vec![req(1)], vec![close, req(2)], vec![done()]];
    let strategy = Scripted::timed("req", false, false, vec![script], Some(30_000));
    let mut bench = Bench::new(vec![strategy.clone()]);
    bench.batch(1, vec![Filter::new()]);
    bench.take_sent();
    bench.relay_says(json!(["NOTICE", "Rate limit exceeded."]));
    bench.pass(64_000);
    let quiet: Vec<Value> = bench.take_sent().into_iter().filter(|frame| frame[0] != "CLOSE").collect();
    assert_eq!(quiet, Vec::<Value>::new());
    bench.pass(2_000);
    let asked = bench.take_sent().remove(0);
    bench.relay_says(json!(["EOSE", asked[1]]));
    assert_eq!(bench.reports[0].outcome, BatchOutcome::Confirmed);
    assert_eq!(strategy.opened.lock().expect("lock").len(), 1);
}

#[test]
fn what_is_said_during_a_cool_down_does_not_lengthen_it() {
    let mut bench = Bench::new(vec![Scripted::new("s", vec![vec![vec![req(1)], vec![req(2)]]])]);
    bench.batch(1, vec![Filter::new()]);
    bench.take_sent();
    for _ in 0..7 {
        bench.relay_says(json!(["NOTICE", "Rate limit exceeded."]));
        bench.pass(10_000);
    }
    assert!(bench.take_sent().iter().any(|frame| frame[0] == "REQ"), "a relay can't keep us silent by notices alone");
}

#[test]
fn a_round_that_waits_for_ids_to_be_fetched_does_not_time_out() {
    let script = vec![vec![neg_open(1)], vec![need(many(8_270)), neg_msg(1)], vec![done()]];
    let strategy = Scripted::timed("negentropy", false, true, vec![script], Some(30_000));
    let mut bench = Bench::new(vec![strategy.clone()]);
    bench.batch(1, vec![Filter::new()]);
    let open = bench.take_sent().remove(0);
    bench.relay_says(json!(["NEG-MSG", open[1], "61"]));
    let mut rounds = 0;
    for _ in 0..6 {
        let sent = bench.take_sent();
        rounds += sent.iter().filter(|frame| frame[0] == "NEG-MSG").count();
        bench.pass(10_000);
        serve(&mut bench, &sent);
    }
    assert_eq!(rounds, 1);
    assert_eq!(strategy.opened.lock().expect("lock").len(), 1, "the relay was never silent");
}

#[test]
fn one_subscription_is_enough_to_reconcile_and_fetch() {
    let script = vec![vec![neg_open(1)], vec![need(many(8_222)), neg_msg(1)], vec![done()]];
    let strategy = Scripted::timed("negentropy", false, true, vec![script], Some(30_000));
    let mut bench = Bench::with(vec![strategy], profile(1), Direction::Down);
    bench.batch(1, vec![Filter::new()]);
    let open = bench.take_sent().remove(0);
    bench.relay_says(json!(["NEG-MSG", open[1], "61"]));
    assert_eq!(Bench::fetches(&bench.take_sent()).len(), 1);
}

#[test]
fn reconciliations_leave_room_to_fetch() {
    let script = vec![vec![neg_open(1)], vec![need(many(8_222)), neg_msg(1)], vec![done()]];
    let strategy = Scripted::timed("negentropy", false, false, vec![script], Some(30_000));
    let mut bench = Bench::with(vec![strategy], profile(4), Direction::Down);
    bench.batch(1, vec![Filter::new(); 4]);
    let sent = bench.take_sent();
    for open in sent.iter().filter(|frame| frame[0] == "NEG-OPEN") {
        bench.relay_says(json!(["NEG-MSG", open[1], "61"]));
    }
    assert!(!Bench::fetches(&bench.take_sent()).is_empty());
}

#[test]
fn a_retry_that_has_no_room_yet_does_not_spin() {
    let fails = vec![vec![req(1)], vec![refused("error")]];
    let waits = vec![vec![req(1)]];
    let strategy = Scripted::timed("req", false, false, vec![fails, waits], None);
    let mut bench = Bench::with(vec![strategy], profile(1), Direction::Down);
    bench.batch(1, vec![Filter::new(), Filter::new()]);
    let wire = text(&bench.take_sent()[0][1]);
    bench.relay_says(json!(["EOSE", wire]));
    bench.pass(3_000);
    let next = bench.link.next_timeout();
    assert!(next.is_none_or(|(at, _)| at > bench.now.mono_ms), "{next:?} at {:?}", bench.now);
}

#[test]
fn too_many_at_once_says_nothing_about_support() {
    let no = || vec![vec![neg_open(1)], vec![refused("too-many-at-once")]];
    let scripts = vec![no(), no(), no(), vec![vec![done()]]];
    let neg = Scripted::with("negentropy", false, false, scripts);
    let req = Scripted::new("req", vec![vec![vec![done()]]]);
    let mut bench = Bench::new(vec![neg, req.clone()]);
    bench.batch(1, vec![Filter::new()]);
    for _ in 0..3 {
        let open = bench.take_sent().remove(0);
        bench.relay_says(json!(["NEG-ERR", open[1], "too many concurrent NEG requests"]));
        bench.pass(3_000);
    }
    assert_eq!(bench.reports[0].outcome, BatchOutcome::Confirmed);
    assert!(bench.reports[0].fallbacks.is_empty() && req.opened.lock().expect("lock").is_empty());
}

#[test]
fn a_notice_of_too_many_binds_to_the_newest_question() {
    let script = vec![vec![neg_open(1)], vec![refused("too-many-at-once")]];
    let mut bench = Bench::new(vec![Scripted::with("negentropy", false, false, vec![script])]);
    bench.batch(1, vec![Filter::new(), Filter::new()]);
    let sent = bench.take_sent();
    bench.relay_says(json!(["NOTICE", "ERROR: too many concurrent NEG requests"]));
    assert_eq!(bench.take_sent(), vec![json!(["NEG-CLOSE", sent[1][1]])]);
}

#[test]
fn a_smaller_budget_takes_room_from_live_rather_than_stop_history() {
    let strategy = Scripted::new("s", vec![vec![vec![need(vec![id(1)]), done()]]]);
    let mut bench = Bench::with(vec![strategy], profile(10), Direction::Down);
    bench.command(LinkCommand::Live((0..5).map(live).collect()));
    bench.batch(1, vec![Filter::new()]);
    let fetch = Bench::fetches(&bench.take_sent()).remove(0);
    bench.relay_says(json!(["CLOSED", fetch.0, "error: too many subscriptions"]));
    assert!(bench.notices.iter().any(|notice| matches!(notice, LinkNotice::LiveRefused { .. })));
    let sent = bench.take_sent();
    serve(&mut bench, &sent);
    assert_eq!(bench.reports[0].outcome, BatchOutcome::Confirmed);
}

#[test]
fn live_waits_for_a_place_within_the_budget() {
    let strategy = Scripted::new("s", vec![vec![vec![req(1)], vec![done()]]]);
    let mut bench = Bench::with(vec![strategy], profile(5), Direction::Down);
    bench.batch(1, vec![Filter::new(); 8]);
    bench.command(LinkCommand::Live(vec![live(1), live(2)]));
    let sent = bench.take_sent();
    assert!(sent.len() <= 5, "{sent:?}");
    bench.relay_says(json!(["EOSE", sent[0][1]]));
    bench.relay_says(json!(["EOSE", sent[1][1]]));
    let opened = bench.take_sent();
    let all = sent.iter().chain(&opened);
    assert_eq!(all.filter(|frame| text(&frame[1]).starts_with('l') && frame[0] == "REQ").count(), 2);
    assert!(bench.notices.iter().all(|notice| !matches!(notice, LinkNotice::LiveRefused { .. })));
}

#[test]
fn one_cool_down_is_one_wait_however_many_answers_speak_of_it() {
    let events: Vec<Event> = (0..60).map(note).collect();
    let have = Output::Have(events.iter().map(|event| event.id).collect());
    let strategy = Scripted::new("s", vec![vec![vec![have, done()]]]);
    let mut bench = Bench::with(vec![strategy], RelayProfile::default(), Direction::Up);
    bench.local.events = events.iter().map(|event| (event.id, event.clone())).collect();
    bench.batch(1, vec![Filter::new()]);
    for frame in bench.take_sent() {
        bench.relay_says(json!(["OK", frame[1]["id"], false, "rate-limited: slow down"]));
    }
    bench.pass(66_000);
    for frame in bench.take_sent() {
        bench.relay_says(json!(["OK", frame[1]["id"], true, ""]));
    }
    let counts = &bench.reports[0].counts;
    assert_eq!((counts.uploaded, counts.upload_refused.len()), (60, 0));
}
