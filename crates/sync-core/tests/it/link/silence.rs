//! Relays that say nothing behind a connection that stays open.

use serde_json::json;
use sync_core::link::LiveSubscription;
use sync_core::transport::FaultKind;

use super::*;

/// A link whose only strategy waits for an answer for ever.
fn waiting() -> Bench {
    Bench::new(vec![Scripted::new("s", vec![vec![vec![req(1)]]])])
}

#[test]
fn a_relay_that_owes_an_answer_and_says_nothing_at_all_is_left() {
    let mut bench = waiting();
    bench.batch(1, vec![Filter::new()]);
    bench.take_sent();
    bench.pass(179_000);
    assert!(bench.closed.is_none());
    assert_eq!(bench.take_sent().len(), 1, "a sign of life is asked for");
    bench.pass(2_000);
    let fault = bench.closed.take().expect("given up");
    assert_eq!((fault.kind, &*fault.text), (FaultKind::Mute, "it owes answers and has said nothing for 3m"));
    bench.pass(3_600_000);
    assert!(bench.closed.is_none(), "once");
}

#[test]
fn a_relay_that_says_anything_is_not_silent() {
    let mut bench = waiting();
    bench.batch(1, vec![Filter::new()]);
    for _ in 0..10 {
        bench.pass(170_000);
        bench.relay_says(json!(["NOTICE", "busy"]));
    }
    assert!(bench.closed.is_none());
    assert_eq!(bench.heard.len(), 10, "{:?}", bench.heard);
}

#[test]
fn a_sign_of_life_is_enough() {
    let mut bench = waiting();
    bench.batch(1, vec![Filter::new()]);
    bench.take_sent();
    bench.pass(151_000);
    let asked = bench.take_sent().remove(0);
    bench.relay_says(json!(["EOSE", asked[1]]));
    assert_eq!(bench.take_sent(), [json!(["CLOSE", asked[1]])]);
    bench.pass(3_600_000);
    assert!(bench.closed.is_none(), "what is owed is for the strategies to give up");
}

#[test]
fn a_relay_that_wants_to_know_us_and_can_not_is_not_silent() {
    let mut bench = waiting();
    bench.batch(1, vec![Filter::new()]);
    bench.relay_says(json!(["AUTH", "abc"]));
    bench.batch(2, vec![Filter::new()]);
    bench.pass(3_600_000);
    assert!(bench.closed.is_none(), "that has a reason of its own");
}

#[test]
fn a_relay_that_owes_nothing_may_be_silent() {
    let mut bench = waiting();
    // Live subscriptions by `limit: 0` are never answered by some.
    bench.command(LinkCommand::Live(vec![LiveSubscription { key: 1, filters: vec![Filter::new()] }]));
    bench.pass(86_400_000);
    assert!(bench.closed.is_none());
}

#[test]
fn when_a_relay_was_last_heard_is_told_once_a_minute_and_in_the_end() {
    let mut bench = waiting();
    let at = |bench: &Bench| bench.now.unix_s;
    bench.relay_says(json!(["NOTICE", "hello"]));
    let first = at(&bench);
    bench.pass(30_000);
    bench.relay_says(json!(["NOTICE", "hello"]));
    let last = at(&bench);
    assert_eq!(bench.heard, [first]);
    bench.pass(3_000_000);
    bench.link.lost("reset by peer", &bench.local, bench.now);
    bench.drain();
    assert_eq!(bench.heard, [first, last]);
}
