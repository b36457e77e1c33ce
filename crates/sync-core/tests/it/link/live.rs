//! Live subscriptions.

use serde_json::json;
use sync_core::link::LiveSubscription;

use super::*;

fn live(key: u64, kind: u16) -> LiveSubscription {
    LiveSubscription { key, filters: vec![Filter::new().kind(nostr::event::Kind::from_u16(kind))] }
}

#[test]
fn the_new_opens_before_the_old_closes() {
    let mut bench = Bench::new(vec![]);
    bench.command(LinkCommand::Live(vec![live(1, 1)]));
    let old = bench.take_sent().remove(0);
    assert_eq!((&old[0], &old[2]["limit"]), (&json!("REQ"), &json!(0)));
    bench.command(LinkCommand::Live(vec![live(2, 2)]));
    let new = bench.take_sent();
    assert_eq!((new.len(), &new[0][0]), (1, &json!("REQ")), "what is on its way by the old one is not to be missed");
    bench.relay_says(json!(["EOSE", new[0][1]]));
    assert_eq!(bench.take_sent(), vec![json!(["CLOSE", old[1]])]);
}

#[test]
fn the_old_stays_open_while_the_relay_is_silent() {
    let mut bench = Bench::new(vec![Scripted::new("s", vec![vec![vec![req(1)], vec![done()]]])]);
    bench.command(LinkCommand::Live(vec![live(1, 1)]));
    let old = bench.take_sent().remove(0);
    bench.relay_says(json!(["EOSE", old[1]]));
    bench.command(LinkCommand::Live(vec![live(2, 1)]));
    bench.take_sent();
    bench.pass(31_000);
    assert!(bench.take_sent().is_empty(), "a relay that says nothing may not have read what replaces it");
    bench.batch(1, vec![Filter::new()]);
    let page = text(&bench.take_sent()[0][1]);
    bench.relay_says(json!(["EOSE", page]));
    assert!(bench.take_sent().contains(&json!(["CLOSE", old[1]])), "what was asked later is answered");
}

#[test]
fn an_event_that_was_on_its_way_when_its_subscription_was_replaced_is_stored() {
    let mut bench = Bench::new(vec![]);
    bench.command(LinkCommand::Live(vec![live(1, 1)]));
    let old = text(&bench.take_sent()[0][1]);
    bench.command(LinkCommand::Live(vec![live(1, 2)]));
    bench.relay_says(event_frame(&old, id(1)));
    assert!(bench.local.known.contains(&id(1)));
}

#[test]
fn a_replacement_waits_for_room_where_the_relay_holds_no_more() {
    let profile = RelayProfile { max_subscriptions: Some(2), ..RelayProfile::default() };
    let mut bench =
        Bench::with(vec![Scripted::new("s", vec![vec![vec![req(1)], vec![done()]]])], profile, Direction::Down);
    bench.command(LinkCommand::Live(vec![live(1, 1)]));
    let old = text(&bench.take_sent()[0][1]);
    bench.relay_says(json!(["EOSE", old]));
    bench.batch(1, vec![Filter::new()]);
    let page = text(&bench.take_sent()[0][1]);
    bench.command(LinkCommand::Live(vec![live(1, 2)]));
    assert!(bench.take_sent().is_empty(), "two are open, and no more may be");
    bench.relay_says(json!(["EOSE", page]));
    let sent = bench.take_sent();
    assert_eq!((&sent[0][0], &sent[1][0]), (&json!("CLOSE"), &json!("REQ")));
}

#[test]
fn a_notice_of_rate_limits_leaves_no_unanswered_subscription_taken_for_open() {
    let mut bench = Bench::new(vec![]);
    bench.command(LinkCommand::Live(vec![live(1, 1)]));
    bench.take_sent();
    bench.relay_says(json!(["NOTICE", "rate-limited: slow down"]));
    assert!(bench.notices.iter().any(|notice| matches!(notice, LinkNotice::LiveRefused { key: 1, .. })));
    bench.take_sent();
    bench.pass(66_000);
    let sent = bench.take_sent();
    let again = text(&sent.iter().find(|frame| frame[0] == "REQ").expect("it is asked again")[1]);
    bench.relay_says(json!(["EOSE", again]));
    assert!(matches!(bench.notices.last(), Some(LinkNotice::LiveRestored { key: 1 })), "{:?}", bench.notices);
}

#[test]
fn rate_limits_again_and_again_leave_room_for_history() {
    let mut bench = Bench::new(vec![Scripted::new("s", vec![vec![vec![req(1)]]])]);
    bench.command(LinkCommand::Live(vec![live(1, 1), live(2, 2)]));
    for _ in 0..30 {
        bench.relay_says(json!(["NOTICE", "rate-limited: slow down"]));
        bench.pass(66_000);
    }
    bench.pass(31_000);
    bench.take_sent();
    bench.batch(1, vec![Filter::new()]);
    assert_eq!(bench.take_sent().len(), 1, "what was refused holds no place");
}

#[test]
fn a_subscription_that_is_never_answered_counts_as_open_in_the_end() {
    let mut bench = Bench::new(vec![]);
    bench.command(LinkCommand::Live(vec![live(1, 1)]));
    bench.relay_says(json!(["NOTICE", "rate-limited: slow down"]));
    bench.pass(66_000);
    bench.pass(31_000);
    assert!(matches!(bench.notices.last(), Some(LinkNotice::LiveRestored { key: 1 })));
}

#[test]
fn a_live_event_that_the_store_could_not_take_is_told() {
    let mut bench = Bench::new(vec![]);
    bench.command(LinkCommand::Live(vec![live(1, 1)]));
    let wire = text(&bench.take_sent()[0][1]);
    bench.hold = Some(Vec::new());
    bench.relay_says(event_frame(&wire, id(1)));
    let checked = bench.hold.take().expect("held").remove(0);
    bench.link.checked(checked, &bench.local, bench.now);
    let outcome = Err(StoreError::Full("no room".to_owned()));
    bench.link.settled(checked.token, checked.id, &outcome, &bench.local, bench.now);
    let told = std::iter::from_fn(|| bench.link.poll())
        .any(|output| matches!(output, LinkOutput::Notice(LinkNotice::LiveRefused { key: 1, text }) if text.contains("no room")));
    assert!(told);
}

#[test]
fn a_live_event_of_a_replaced_subscription_that_the_store_could_not_take_is_told() {
    let mut bench = Bench::new(vec![]);
    bench.command(LinkCommand::Live(vec![live(1, 1)]));
    let wire = text(&bench.take_sent()[0][1]);
    bench.hold = Some(Vec::new());
    bench.relay_says(event_frame(&wire, id(1)));
    bench.command(LinkCommand::Live(vec![live(2, 1)]));
    let checked = bench.hold.take().expect("held").remove(0);
    bench.link.checked(checked, &bench.local, bench.now);
    let outcome = Err(StoreError::Full("no room".to_owned()));
    bench.link.settled(checked.token, id(1), &outcome, &bench.local, bench.now);
    bench.drain();
    assert!(matches!(bench.notices.last(), Some(LinkNotice::LiveRefused { key: 1, .. })), "{:?}", bench.notices);
}

#[test]
fn what_has_not_changed_stays_open() {
    let mut bench = Bench::new(vec![]);
    bench.command(LinkCommand::Live(vec![live(1, 1), live(2, 2)]));
    bench.take_sent();
    bench.command(LinkCommand::Live(vec![live(1, 1), live(2, 3)]));
    let sent = bench.take_sent();
    assert_eq!(sent.iter().map(|frame| text(&frame[0])).collect::<Vec<_>>(), vec!["REQ"]);
}

#[test]
fn a_relay_that_dislikes_limit_zero_is_asked_by_since() {
    let mut bench = Bench::new(vec![]);
    bench.command(LinkCommand::Live(vec![live(1, 1)]));
    let wire = text(&bench.take_sent()[0][1]);
    bench.relay_says(json!(["CLOSED", wire, "invalid: limit must be positive"]));
    let again = bench.take_sent().remove(0);
    assert_eq!((again[2]["limit"].as_u64(), again[2]["since"].as_u64()), (None, Some(1_699_999_100)));
    assert!(bench.notices.is_empty());
}

#[test]
fn a_clock_that_goes_back_leaves_no_live_subscription_in_the_future() {
    let mut bench = Bench::new(vec![]);
    bench.now.unix_s += 7_200;
    bench.command(LinkCommand::Live(vec![live(1, 1), live(2, 2)]));
    let wires: Vec<String> = bench.take_sent().iter().map(|frame| text(&frame[1])).collect();
    bench.relay_says(json!(["CLOSED", wires[0], "invalid: limit must be positive"]));
    bench.take_sent();
    bench.pass(600_000);
    assert_eq!(bench.take_sent(), Vec::<Value>::new(), "the clock goes on as it was");
    bench.now.unix_s -= 7_200;
    bench.pass(300_000);
    let reqs = bench.take_sent().into_iter().filter(|frame| frame[0] == "REQ").collect::<Vec<_>>();
    assert_eq!(reqs.len(), 1, "the other one knows no time: {reqs:?}");
    assert!(reqs[0][2]["since"].as_u64() < Some(bench.now.unix_s));
    bench.pass(3_600_000);
    assert!(bench.take_sent().iter().all(|frame| frame[0] != "REQ"), "once");
}

#[test]
fn a_refused_subscription_is_told_and_tried_again() {
    let mut bench = Bench::new(vec![]);
    bench.command(LinkCommand::Live(vec![live(1, 1)]));
    let wire = text(&bench.take_sent()[0][1]);
    bench.relay_says(json!(["CLOSED", wire, "restricted: members only"]));
    assert!(matches!(&bench.notices[..], [LinkNotice::LiveRefused { key: 1, text }] if text.contains("members only")));
    bench.pass(301_000);
    let wire = text(&bench.take_sent()[0][1]);
    bench.relay_says(json!(["EOSE", wire]));
    assert!(matches!(bench.notices.last(), Some(LinkNotice::LiveRestored { key: 1 })));
}

#[test]
fn live_beyond_the_budget_is_named_and_history_keeps_room() {
    let profile = RelayProfile { max_subscriptions: Some(4), ..RelayProfile::default() };
    let mut bench = Bench::with(vec![Scripted::new("s", vec![vec![vec![req(1)]]])], profile, Direction::Down);
    bench.command(LinkCommand::Live((0..6).map(|n| live(n, 1)).collect()));
    let refused = bench.notices.iter().filter(|notice| matches!(notice, LinkNotice::LiveRefused { .. })).count();
    let opened = bench.take_sent().len();
    assert_eq!((opened, refused), (2, 4));
    bench.batch(1, vec![Filter::new()]);
    assert_eq!(bench.take_sent().len(), 1);
}
