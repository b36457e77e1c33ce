//! What a relay says in place of events, and when it says nothing.

use serde_json::json;
use sync_core::model::FailureReason;
use sync_core::nostr::event::EventId;
use sync_core::response::{SaidIn, classify};
use sync_core::strategy::{BadEvent, CheckVerdict, Direction, Input, Message, Output, SessionOutcome, SyncSession};

use crate::harness::{START, give, open, request};

fn started() -> Box<dyn SyncSession> {
    let mut session = open(json!({}), request(Direction::Down));
    give(&mut *session, Input::Start, START);
    session
}

fn refused(prefix: &str, text: &str) -> SessionOutcome {
    let reason = FailureReason::Refused { prefix: prefix.to_owned() };
    SessionOutcome::Failed { reason, text: text.to_owned() }
}

fn event(session: &mut dyn SyncSession, ms: u64, verdict: CheckVerdict, id: u8) {
    let id = EventId::from_byte_array([id; 32]);
    give(session, Input::Event { sub: 0, id, created_at: 5, verdict }, START.plus_ms(ms));
}

#[test]
fn closed_with_a_reason_ends_it_with_the_reason() {
    for (text, expected) in [
        ("auth-required: x", refused("auth-required", "auth-required: x")),
        ("restricted: x", refused("restricted", "restricted: x")),
        ("rate-limited: too many REQs", refused("rate-limited", "rate-limited: too many REQs")),
        ("blocked: x", refused("blocked", "blocked: x")),
        ("error: x", refused("error", "error: x")),
        ("no idea", refused("unknown", "no idea")),
        ("error: too many subscriptions", refused("too-many-at-once", "error: too many subscriptions")),
        (
            "blocked: query matches too many records (7 > 5)",
            SessionOutcome::TooBig { cap: Some(5), text: "blocked: query matches too many records (7 > 5)".to_owned() },
        ),
    ] {
        let mut session = started();
        let said = classify(SaidIn::Closed, text, None);
        let outputs = give(&mut *session, Input::Closed { sub: 0, said: &said }, START);
        assert_eq!(outputs, vec![Output::Done(expected)], "{text}");
    }
}

#[test]
fn closed_in_place_of_eose_ends_the_page() {
    for (text, events) in [("", 0), ("", 1), ("bye", 1)] {
        let mut session = started();
        (0..events).for_each(|id| event(&mut *session, 0, CheckVerdict::New, id));
        let said = classify(SaidIn::Closed, text, None);
        let outputs = give(&mut *session, Input::Closed { sub: 0, said: &said }, START);
        assert_eq!(outputs[0], Output::Progress { items: u64::from(events) });
        let asks = outputs.iter().any(|output| matches!(output, Output::Send(Message::Req { sub: 1, .. })));
        assert_eq!(asks, events > 0, "{outputs:?}");
    }
}

#[test]
fn part_of_the_events_and_then_auth_required_is_a_refusal() {
    let mut session = started();
    event(&mut *session, 0, CheckVerdict::New, 1);
    let said = classify(SaidIn::Closed, "auth-required: the rest is private", None);
    let outputs = give(&mut *session, Input::Closed { sub: 0, said: &said }, START);
    assert_eq!(outputs, vec![Output::Done(refused("auth-required", "auth-required: the rest is private"))]);
}

#[test]
fn a_notice_counts_where_its_words_can_mean_us() {
    let mut session = started();
    for text in ["welcome", "ERROR: bad msg: negentropy disabled"] {
        let said = classify(SaidIn::Notice, text, None);
        assert_eq!(give(&mut *session, Input::Notice { said: &said }, START), vec![], "{text}");
    }
    let said = classify(SaidIn::Notice, "Rate limit exceeded.", None);
    let outputs = give(&mut *session, Input::Notice { said: &said }, START);
    assert_eq!(
        outputs,
        vec![Output::Send(Message::Close { sub: 0 }), Output::Done(refused("rate-limited", "Rate limit exceeded.")),]
    );
}

#[test]
fn the_page_ends_and_the_next_is_asked_in_one_go() {
    let mut session = started();
    event(&mut *session, 0, CheckVerdict::New, 1);
    let outputs = give(&mut *session, Input::Eose { sub: 0, finished: None }, START);
    assert!(
        matches!(
            outputs.as_slice(),
            [
                Output::Send(Message::Close { sub: 0 }),
                Output::Progress { items: 1 },
                Output::Drained(_),
                Output::Send(Message::Req { sub: 1, .. })
            ]
        ),
        "{outputs:?}"
    );
}

#[test]
fn silence_ends_it_and_new_events_put_that_off() {
    let mut session = started();
    let due = |ms: u64| Some((START.plus_ms(ms).mono_ms, "an event or EOSE"));
    assert_eq!(session.next_timeout(), due(30_000));
    event(&mut *session, 20_000, CheckVerdict::New, 1);
    assert_eq!(session.next_timeout(), due(50_000));
    // Neither a repeat nor an invalid event is a sign of life.
    event(&mut *session, 30_000, CheckVerdict::Known, 1);
    event(&mut *session, 30_000, CheckVerdict::Bad(BadEvent::Malformed), 2);
    assert_eq!(session.next_timeout(), due(50_000));
    assert_eq!(give(&mut *session, Input::Timeout, START.plus_ms(49_999)), vec![], "not yet due");
    let outputs = give(&mut *session, Input::Timeout, START.plus_ms(50_000));
    let text = "neither a new event nor EOSE within 30s".to_owned();
    let end = SessionOutcome::Failed { reason: FailureReason::Timeout, text };
    assert_eq!(outputs, vec![Output::Send(Message::Close { sub: 0 }), Output::Done(end)]);
}

#[test]
fn a_trickle_ends_after_twenty_timeouts() {
    let mut session = started();
    for second in 1..=29u8 {
        event(&mut *session, u64::from(second) * 20_000, CheckVerdict::New, second);
    }
    assert_eq!(session.next_timeout(), Some((START.plus_ms(600_000).mono_ms, "the end of a page")));
    let outputs = give(&mut *session, Input::Timeout, START.plus_ms(600_000));
    let text = "a page took longer than 10m".to_owned();
    assert_eq!(outputs.last(), Some(&Output::Done(SessionOutcome::Failed { reason: FailureReason::Timeout, text })));
}

#[test]
fn a_lost_connection_ends_it_at_any_time() {
    for mut session in [started(), open(json!({}), request(Direction::Down))] {
        let outputs = give(&mut *session, Input::ConnectionLost, START);
        assert!(
            matches!(
                outputs.as_slice(),
                [Output::Done(SessionOutcome::Failed { reason: FailureReason::ConnectionLost, .. })]
            ),
            "{outputs:?}"
        );
    }
}
