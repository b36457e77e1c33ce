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
    let sent = bench.take_sent();
    assert_eq!((&sent[0][0], &sent[1]), (&json!("REQ"), &json!(["CLOSE", old[1]])));
}

#[test]
fn what_has_not_changed_stays_open() {
    let mut bench = Bench::new(vec![]);
    bench.command(LinkCommand::Live(vec![live(1, 1), live(2, 2)]));
    bench.take_sent();
    bench.command(LinkCommand::Live(vec![live(1, 1), live(2, 3)]));
    let sent = bench.take_sent();
    assert_eq!(sent.iter().map(|frame| text(&frame[0])).collect::<Vec<_>>(), vec!["REQ", "CLOSE"]);
}

#[test]
fn a_relay_that_dislikes_limit_zero_is_asked_by_since() {
    let mut bench = Bench::new(vec![]);
    bench.command(LinkCommand::Live(vec![live(1, 1)]));
    let wire = text(&bench.take_sent()[0][1]);
    bench.relay_says(json!(["CLOSED", wire, "invalid: limit must be positive"]));
    let again = bench.take_sent().remove(0);
    assert_eq!((again[2]["limit"].as_u64(), again[2]["since"].as_u64()), (None, Some(1_700_000_000)));
    assert!(bench.notices.is_empty());
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
