//! Relays that ask who we are (NIP-42).

use nostr::key::SecretKey;
use serde_json::json;
use sync_core::link::LiveSubscription;
use sync_core::model::BatchOutcome;

use super::*;

fn keys() -> Keys {
    Keys::new(SecretKey::from_slice(&[7; 32]).expect("a key"))
}

/// A link that asks for one page, over and over where it is refused.
fn asking(keys: Option<Keys>) -> Bench {
    let refused = || {
        let reason = FailureReason::Refused { prefix: "auth-required".to_owned() };
        Output::Done(SessionOutcome::Failed { reason, text: "auth-required: who are you".to_owned() })
    };
    let sessions = (0..12).map(|_| vec![vec![req(1)], vec![refused()]]).collect();
    Bench::known_as(keys, vec![Scripted::new("s", sessions)], RelayProfile::default(), Direction::Down)
}

/// The answer to a challenge among what was sent.
fn answer(sent: &[Value]) -> Option<Event> {
    let frame = sent.iter().find(|frame| frame[0] == "AUTH")?;
    Some(serde_json::from_value(frame[1].clone()).expect("an event"))
}

fn refused(reqs: &[Value]) -> Vec<Value> {
    let reqs = reqs.iter().filter(|frame| frame[0] == "REQ");
    reqs.map(|frame| json!(["CLOSED", frame[1], "auth-required: who are you"])).collect()
}

#[test]
fn a_challenge_is_answered_and_what_was_refused_is_asked_again() {
    let mut bench = asking(Some(keys()));
    bench.batch(1, vec![Filter::new()]);
    let live = LiveSubscription { key: 1, filters: vec![Filter::new()] };
    bench.command(LinkCommand::Live(vec![live]));
    let asked = bench.take_sent();
    assert_eq!(asked.len(), 2, "{asked:?}");
    bench.relay_says(json!(["AUTH", "abc"]));
    let event = answer(&bench.take_sent()).expect("an answer");
    assert!(event.verify().is_ok());
    assert_eq!((event.kind.as_u16(), event.pubkey), (22_242, keys().public_key()));
    let tags: Vec<Vec<String>> = event.tags.iter().map(|tag| tag.clone().to_vec()).collect();
    assert_eq!(tags, [["relay", "wss://relay.example"], ["challenge", "abc"]]);

    refused(&asked).into_iter().for_each(|frame| bench.relay_says(frame));
    bench.pass(5_000);
    assert_eq!(bench.take_sent(), Vec::<Value>::new(), "nothing is asked before the relay has said its word");
    bench.relay_says(json!(["OK", event.id.to_hex(), true, ""]));
    let again = bench.take_sent();
    assert_eq!(again.iter().filter(|frame| frame[0] == "REQ").count(), 2, "{again:?}");
    assert!(bench.reports.is_empty());
}

#[test]
fn without_a_key_the_refusal_is_the_reason() {
    let mut bench = asking(None);
    bench.batch(1, vec![Filter::new()]);
    bench.relay_says(json!(["AUTH", "abc"]));
    for _ in 0..4 {
        let sent = bench.take_sent();
        assert!(answer(&sent).is_none());
        refused(&sent).into_iter().for_each(|frame| bench.relay_says(frame));
        bench.pass(5_000);
    }
    let told = LinkNotice::AuthRequired { challenge: "abc".to_owned(), answered: false };
    assert!(bench.notices.contains(&told));
}

#[test]
fn a_relay_that_does_not_accept_us_is_not_asked_for_ever() {
    let mut bench = asking(Some(keys()));
    bench.batch(1, vec![Filter::new()]);
    bench.relay_says(json!(["AUTH", "abc"]));
    let mut sent = bench.take_sent();
    let event = answer(&sent).expect("an answer");
    bench.relay_says(json!(["OK", event.id.to_hex(), false, "restricted: members alone"]));
    assert!(bench.notices.contains(&LinkNotice::AuthRefused { text: "restricted: members alone".to_owned() }));
    for _ in 0..4 {
        refused(&sent).into_iter().for_each(|frame| bench.relay_says(frame));
        bench.pass(5_000);
        sent = bench.take_sent();
    }
    assert_eq!(sent, Vec::<Value>::new());
}

#[test]
fn a_relay_that_did_not_accept_us_may_accept_us_later() {
    let mut bench = asking(Some(keys()));
    bench.relay_says(json!(["AUTH", "abc"]));
    let refused = answer(&bench.take_sent()).expect("an answer");
    bench.relay_says(json!(["OK", refused.id.to_hex(), false, "invalid: created_at is too far from now"]));
    bench.pass(299_000);
    assert_eq!(bench.take_sent(), Vec::<Value>::new());
    bench.pass(1_000);
    let again = answer(&bench.take_sent()).expect("an answer to the same challenge");
    assert!(again.tags.iter().any(|tag| tag.as_slice() == ["challenge", "abc"]));
    bench.relay_says(json!(["OK", again.id.to_hex(), false, "invalid: created_at is too far from now"]));
    bench.pass(300_000);
    assert_eq!(bench.take_sent(), Vec::<Value>::new(), "more and more rarely");
    let told = bench.notices.iter().filter(|notice| matches!(notice, LinkNotice::AuthRefused { .. }));
    assert_eq!(told.count(), 1);
    bench.pass(300_000);
    let last = answer(&bench.take_sent()).expect("an answer");
    bench.relay_says(json!(["OK", last.id.to_hex(), true, ""]));
    bench.batch(1, vec![Filter::new()]);
    assert_eq!(bench.take_sent().len(), 1);
    bench.pass(10 * 3_600_000);
    assert!(answer(&bench.take_sent()).is_none(), "it knows us");
}

#[test]
fn no_timer_is_due_while_the_word_on_our_answer_is_waited_for() {
    let mut bench = asking(Some(keys()));
    let live = LiveSubscription { key: 1, filters: vec![Filter::new()] };
    bench.command(LinkCommand::Live(vec![live]));
    let asked = bench.take_sent();
    bench.relay_says(json!(["AUTH", "abc"]));
    // Without `limit: 0` it may be taken, but nothing is asked before the relay has said its word.
    bench.relay_says(json!(["CLOSED", asked[0][1], "error: limit must be positive"]));
    let due = bench.link.next_timeout().map(|(at, _)| at);
    assert!(due.is_some_and(|at| at > bench.now.mono_ms), "{due:?}");
    let event = answer(&bench.take_sent()).expect("an answer");
    bench.relay_says(json!(["OK", event.id.to_hex(), true, ""]));
    assert_eq!(bench.take_sent().len(), 1, "the live subscription opens again");
}

#[test]
fn a_relay_that_says_nothing_of_our_answer_is_asked_all_the_same() {
    let mut bench = asking(Some(keys()));
    bench.relay_says(json!(["AUTH", "abc"]));
    bench.take_sent();
    bench.batch(1, vec![Filter::new()]);
    assert_eq!(bench.take_sent(), Vec::<Value>::new());
    bench.pass(10_000);
    assert_eq!(bench.take_sent().len(), 1);
}

#[test]
fn endless_challenges_are_not_answered() {
    let mut bench = asking(Some(keys()));
    (0..100).for_each(|n| bench.relay_says(json!(["AUTH", format!("challenge {n}")])));
    assert_eq!(bench.take_sent().len(), 8);
    let mut bench = asking(Some(keys()));
    bench.relay_says(json!(["AUTH", "x".repeat(2_000)]));
    assert_eq!(bench.take_sent().len(), 0);
    assert!(!bench.reports.iter().any(|report| matches!(report.outcome, BatchOutcome::Confirmed)));
}

#[test]
fn an_answer_that_nobody_heard_is_given_again_and_a_late_word_counts() {
    let mut bench = asking(Some(keys()));
    let live = LiveSubscription { key: 1, filters: vec![Filter::new()] };
    bench.command(LinkCommand::Live(vec![live]));
    let asked = bench.take_sent();
    bench.relay_says(json!(["AUTH", "abc"]));
    assert!(answer(&bench.take_sent()).is_some());
    refused(&asked).into_iter().for_each(|frame| bench.relay_says(frame));
    bench.pass(15_000);
    let unheard = bench.take_sent();
    assert!(answer(&unheard).is_none(), "not at once: {unheard:?}");
    refused(&unheard).into_iter().for_each(|frame| bench.relay_says(frame));
    bench.pass(300_000);
    let again = answer(&bench.take_sent()).expect("once more");
    bench.pass(60_000);
    let sent = bench.take_sent();
    refused(&sent).into_iter().for_each(|frame| bench.relay_says(frame));
    bench.relay_says(json!(["OK", again.id.to_hex(), true, ""]));
    assert!(bench.take_sent().iter().any(|frame| frame[0] == "REQ"), "it knows us now");
    bench.pass(7_200_000);
    assert!(answer(&bench.take_sent()).is_none(), "that was the last time");
}

#[test]
fn a_refusal_after_a_silence_is_told() {
    let mut bench = asking(Some(keys()));
    bench.relay_says(json!(["AUTH", "abc"]));
    bench.pass(15_000);
    bench.take_sent();
    bench.pass(300_000);
    let again = answer(&bench.take_sent()).expect("once more");
    bench.relay_says(json!(["OK", again.id.to_hex(), false, "restricted: not a member"]));
    let told = LinkNotice::AuthRefused { text: "restricted: not a member".to_owned() };
    assert!(bench.notices.contains(&told), "{:?}", bench.notices);
}
