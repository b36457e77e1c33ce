//! What a relay says in place of an answer, and when it says nothing.

use serde_json::json;
use sync_core::model::FailureReason;
use sync_core::response::{SaidIn, classify};
use sync_core::strategy::{Direction, Input, Message, Output, SessionOutcome};

use crate::harness::{Responder, START, give, item, neg_err, open, opened, request};

fn refused(prefix: &str, text: &str) -> SessionOutcome {
    let reason = FailureReason::Refused { prefix: prefix.to_owned() };
    SessionOutcome::Failed { reason, text: text.to_owned() }
}

fn unsupported(text: &str) -> SessionOutcome {
    SessionOutcome::Unsupported { text: text.to_owned() }
}

fn outcome(outputs: Vec<Output>) -> SessionOutcome {
    match outputs.into_iter().last() {
        Some(Output::Done(outcome)) => outcome,
        other => panic!("not an end: {other:?}"),
    }
}

#[test]
fn words_in_place_of_the_first_answer() {
    for (text, cap, expected) in [
        ("blocked: Negentropy sync is disabled", None, unsupported("blocked: Negentropy sync is disabled")),
        ("blocked: no", None, unsupported("blocked: no")),
        ("invalid: x", None, unsupported("invalid: x")),
        ("PROTOCOL-ERROR", None, unsupported("PROTOCOL-ERROR")),
        ("", None, unsupported("ended without a reason")),
        (
            "blocked: too many query results",
            Some(9),
            SessionOutcome::TooBig { cap: Some(9), text: "blocked: too many query results".to_owned() },
        ),
        ("auth-required: x", None, refused("auth-required", "auth-required: x")),
        ("restricted: x", None, refused("restricted", "restricted: x")),
        ("rate-limited: x", None, refused("rate-limited", "rate-limited: x")),
        ("CLOSED", None, refused("session-gone", "CLOSED")),
        ("ERROR: too many concurrent NEG requests", None, {
            refused("too-many-at-once", "ERROR: too many concurrent NEG requests")
        }),
    ] {
        let (mut session, _) = opened(false);
        assert_eq!(neg_err(&mut *session, text, cap), vec![Output::Done(expected)], "{text}");
        assert_eq!(session.next_timeout(), None);
        assert_eq!(neg_err(&mut *session, text, cap), vec![], "nothing follows the end");
    }
}

#[test]
fn errors_of_a_relay_that_knows_the_protocol_are_no_lack_of_support() {
    let (mut session, _) = opened(true);
    assert_eq!(outcome(neg_err(&mut *session, "error: database", None)), refused("error", "error: database"));
}

#[test]
fn words_after_an_answer_say_nothing_on_support() {
    let remote: Vec<_> = (0..5_000).map(|n| item(n, n)).collect();
    let mut relay = Responder::new(&remote, 4_096);
    for text in ["blocked: no", "invalid: x", "PROTOCOL-ERROR", "ERROR: bad msg: unknown cmd"] {
        let (mut session, outputs) = opened(false);
        let [Output::Send(Message::NegOpen { payload, .. })] = outputs.as_slice() else { panic!("{outputs:?}") };
        let payload = relay.answer(payload);
        give(&mut *session, Input::NegMsg { sub: 0, payload: &payload }, START);
        let end = outcome(neg_err(&mut *session, text, None));
        assert!(matches!(end, SessionOutcome::Failed { reason: FailureReason::Refused { .. }, .. }), "{end:?}");
    }
}

#[test]
fn closed_ends_a_reconciliation_like_neg_err() {
    let (mut session, _) = opened(false);
    let said = classify(SaidIn::Closed, "blocked: filters must specify at least one kind", None);
    let outputs = give(&mut *session, Input::Closed { sub: 0, said: &said }, START);
    assert_eq!(outcome(outputs), unsupported("blocked: filters must specify at least one kind"));
}

#[test]
fn a_notice_is_an_answer_where_its_words_are() {
    let (mut session, _) = opened(false);
    let said = classify(SaidIn::Notice, "welcome to our relay", None);
    assert_eq!(give(&mut *session, Input::Notice { said: &said }, START), vec![]);
    let said = classify(SaidIn::Notice, "ERROR: bad msg: negentropy disabled", None);
    let outputs = give(&mut *session, Input::Notice { said: &said }, START);
    assert_eq!(outcome(outputs), unsupported("ERROR: bad msg: negentropy disabled"));
}

#[test]
fn another_version_is_unsupported() {
    let (mut session, _) = opened(false);
    let outputs = give(&mut *session, Input::NegMsg { sub: 0, payload: &[0x62] }, START);
    assert_eq!(outcome(outputs), unsupported("speaks version 0x62 of the protocol at most, not 0x61"));
}

#[test]
fn silence_is_unsupported_only_before_the_first_answer_of_a_connection() {
    let (mut session, _) = opened(false);
    let due = START.plus_ms(30_000);
    assert_eq!(session.next_timeout(), Some((due.mono_ms, "answer to NEG-OPEN")));
    assert_eq!(give(&mut *session, Input::Timeout, START.plus_ms(29_999)), vec![], "not yet due");
    let outputs = give(&mut *session, Input::Timeout, due);
    assert_eq!(outputs[0], Output::Send(Message::NegClose { sub: 0 }));
    assert_eq!(outcome(outputs), unsupported("no answer to NEG-OPEN within 30s"));

    let mut session = open(json!({"timeout": "250ms"}), request(Direction::Down, true));
    give(&mut *session, Input::Start, START);
    let outputs = give(&mut *session, Input::Timeout, START.plus_ms(250));
    let text = "no answer to NEG-OPEN within 250ms".to_owned();
    assert_eq!(outcome(outputs), SessionOutcome::Failed { reason: FailureReason::Timeout, text });
}

#[test]
fn each_answer_restarts_the_clock() {
    let remote: Vec<_> = (0..5_000).map(|n| item(n, n)).collect();
    let mut relay = Responder::new(&remote, 4_096);
    let (mut session, outputs) = opened(false);
    let [Output::Send(Message::NegOpen { payload, .. })] = outputs.as_slice() else { panic!("{outputs:?}") };
    let payload = relay.answer(payload);
    give(&mut *session, Input::NegMsg { sub: 0, payload: &payload }, START.plus_ms(20_000));
    assert_eq!(session.next_timeout(), Some((START.plus_ms(50_000).mono_ms, "answer to NEG-MSG")));
    let end = outcome(give(&mut *session, Input::Timeout, START.plus_ms(50_000)));
    let text = "no answer to NEG-MSG within 30s".to_owned();
    assert_eq!(end, SessionOutcome::Failed { reason: FailureReason::Timeout, text });
}

#[test]
fn a_lost_connection_ends_it_at_any_time() {
    for started in [false, true] {
        let mut session = open(json!({}), request(Direction::Down, false));
        if started {
            give(&mut *session, Input::Start, START);
        }
        let outputs = give(&mut *session, Input::ConnectionLost, START);
        let [Output::Done(SessionOutcome::Failed { reason: FailureReason::ConnectionLost, .. })] = outputs.as_slice()
        else {
            panic!("{outputs:?}")
        };
    }
}
