//! Relays that waste our time, and a store that fails.

use serde_json::json;
use sync_core::link::LiveSubscription;
use sync_core::transport::FaultKind;

use super::*;

fn with_live() -> (Bench, String) {
    let mut bench = Bench::new(vec![]);
    let filters = vec![Filter::new().id(id(1))];
    bench.command(LinkCommand::Live(vec![LiveSubscription { key: 1, filters }]));
    let wire = text(&bench.take_sent()[0][1]);
    (bench, wire)
}

#[test]
fn a_relay_that_sends_mostly_rubbish_is_left_with_a_reason() {
    let (mut bench, wire) = with_live();
    for n in 0..5_000u32 {
        match n % 2 {
            0 => bench.relay_says(event_frame(&wire, id(2))),
            _ => bench.raw("rubbish".to_owned()),
        }
    }
    let fault = bench.closed.expect("enough is enough");
    assert_eq!(fault.kind, FaultKind::Protocol);
    assert!(fault.text.contains("not_asked") || fault.text.contains("can't be read"), "{}", fault.text);
}

#[test]
fn some_rubbish_among_good_events_is_borne() {
    let (mut bench, wire) = with_live();
    for n in 0..10_000u32 {
        bench.relay_says(event_frame(&wire, id(if n % 4 == 0 { 2 } else { 1 })));
    }
    assert_eq!(bench.closed, None);
}

#[test]
fn events_that_were_not_asked_for_do_not_keep_a_request_alive() {
    let mut bench = Bench::new(vec![Scripted::new("s", vec![vec![vec![need(vec![id(1)]), done()]]])]);
    bench.batch(1, vec![Filter::new()]);
    let mut wire = String::new();
    for _ in 0..10 {
        if let Some((asked, _)) = Bench::fetches(&bench.take_sent()).pop() {
            wire = asked;
        }
        bench.pass(20_000);
        bench.relay_says(event_frame(&wire, id(9)));
    }
    assert_eq!(bench.reports.len(), 1);
}

#[test]
fn a_live_event_that_the_store_does_not_take_is_told_and_asked_for_again() {
    let (mut bench, wire) = with_live();
    bench.store_error = Some(StoreError::Full("no room".into()));
    bench.relay_says(event_frame(&wire, id(1)));
    assert!(matches!(&bench.notices[..], [LinkNotice::LiveRefused { key: 1, text }] if text.contains("no room")));
    assert_eq!(bench.take_sent(), vec![json!(["CLOSE", wire])]);
    bench.pass(301_000);
    let again = text(&bench.take_sent()[0][1]);
    bench.relay_says(json!(["EOSE", again]));
    assert!(matches!(bench.notices.last(), Some(LinkNotice::LiveRestored { key: 1 })));
}

#[test]
fn what_waits_behind_a_check_is_counted_in_bytes() {
    let (mut bench, wire) = with_live();
    bench.hold = Some(Vec::new());
    bench.relay_says(event_frame(&wire, id(1)));
    bench.raw(json!(["NOTICE", "x".repeat(100_000)]).to_string());
    assert!(bench.link.backlog_bytes() > 100_000);
    bench.release();
    assert_eq!(bench.link.backlog_bytes(), 0);
}
