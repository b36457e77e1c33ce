//! Relays that break the rules: nothing panics, nothing loops, the end has a reason.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;
use sync_core::model::FailureReason;
use sync_core::nostr::event::EventId;
use sync_core::response::{SaidIn, classify};
use sync_core::strategy::{BadEvent, CheckVerdict, Direction, Input, Message, Output, SessionOutcome, VecSet};

use crate::harness::{Asked, Relay, START, Sent, Told, drive, give, item, open, request};

fn against(answer: impl FnMut(Asked) -> Vec<Sent>) -> Told {
    drive(&mut *open(json!({ "page_size": 10 }), request(Direction::Both)), &VecSet::default(), answer)
}

fn protocol_failure(told: Told) -> String {
    match told.outcome {
        Some(SessionOutcome::Failed { reason: FailureReason::Protocol, text }) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_relay_that_ignores_until_is_given_up() {
    let events: Vec<_> = (1_000..1_100).map(|n| item(n, n)).collect();
    let relay = Relay::new(events, 10);
    // As the checks see it, whatever doesn't match is not asked for.
    let told = against(|asked| {
        let page = relay.answer(Asked { since: 0, until: u64::MAX, ..asked });
        page.into_iter()
            .map(|sent| match sent {
                Sent::Event(event) if event.created_at > asked.until => Sent::Bad(BadEvent::NotAsked),
                other => other,
            })
            .collect()
    });
    assert_eq!(protocol_failure(told), "asked for 0 to 1089, it sent 10 events that match nothing of it");
    // The same where the checks let them pass.
    let told = against(|asked| relay.answer(Asked { since: 0, until: u64::MAX, ..asked }));
    assert_eq!(protocol_failure(told), "asked for 0 to 1089, it sent 10 events that match nothing of it");
}

#[test]
fn a_relay_that_makes_up_events_without_end_is_given_up() {
    let told = against(|asked| vec![Sent::Event(item(asked.until - 1, asked.until)), Sent::Eose(None)]);
    assert_eq!(told.pages, 100_000);
    assert_eq!(protocol_failure(told), "the relay's answers have not ended within 100000 pages");
}

#[test]
fn a_relay_that_ignores_limit_sends_all_at_once() {
    let relay = Relay::new((0..300).map(|n| item(n / 7, n)).collect(), usize::MAX);
    let told = against(|asked| relay.answer(Asked { limit: usize::MAX, ..asked }));
    assert_eq!((told.delivered.len(), told.outcome), (300, Some(SessionOutcome::Complete)));
    assert_eq!(told.dense, BTreeMap::new());
}

#[test]
fn a_relay_that_shows_one_page_again_and_again_comes_to_an_end() {
    // What it shows of the last second is named: it might hold more.
    let told = against(|asked| {
        let events = (0..10).map(|n| Sent::Event(item(asked.since.max(100), n)));
        events.chain([Sent::Eose(None)]).collect()
    });
    let text = "asked for 0 to 99, it sent 10 events that match nothing of it";
    assert_eq!((told.pages, protocol_failure(told)), (2, text.to_owned()));
}

#[test]
fn a_page_without_end_is_given_up() {
    let told = against(|asked| vec![Sent::Event(item(asked.until, 1)); 1_000_001]);
    assert_eq!(protocol_failure(told), "more than 1000000 events in one page");
}

#[test]
fn a_full_page_of_invalid_events_hides_what_is_below() {
    let told = against(|_| [vec![Sent::Bad(BadEvent::BadSignature); 10], vec![Sent::Eose(None)]].concat());
    assert_eq!(protocol_failure(told), "asked for 0 to 2000000000, it sent 10 events of which none is valid");
}

#[test]
fn a_few_invalid_events_are_no_obstacle() {
    let relay = Relay::new((0..50).map(|n| item(n, n)).collect(), 10);
    let told = against(|asked| [vec![Sent::Bad(BadEvent::WrongId)], relay.answer(asked)].concat());
    assert_eq!((told.delivered.len(), told.outcome), (50, Some(SessionOutcome::Complete)));
}

#[test]
fn more_that_never_comes_is_a_contradiction() {
    let told = against(|_| vec![Sent::Eose(Some(false))]);
    assert_eq!(
        protocol_failure(told),
        "asked for 0 to 2000000000, it sent no valid event and says that there are more"
    );
}

#[test]
fn a_second_shown_once_and_then_denied_is_passed() {
    let mut page = 0;
    let told = against(|_| {
        page += 1;
        match page {
            1 => vec![Sent::Event(item(9, 9)), Sent::Event(item(8, 8)), Sent::Eose(None)],
            2 => vec![Sent::Eose(None)],
            3 => vec![Sent::Event(item(3, 3)), Sent::Eose(None)],
            _ => vec![Sent::Eose(None)],
        }
    });
    assert_eq!(told.delivered.len(), 3);
    assert_eq!((told.dense, told.outcome), (BTreeMap::from([(8, 1)]), Some(SessionOutcome::Complete)));
}

#[test]
fn events_after_the_end_of_a_page_count_for_nothing() {
    let mut session = open(json!({}), request(Direction::Down));
    give(&mut *session, Input::Start, START);
    let outputs = give(&mut *session, Input::Eose { sub: 0, finished: None }, START);
    assert_eq!(outputs.last(), Some(&Output::Done(SessionOutcome::Complete)));
    let late =
        Input::Event { sub: 0, id: EventId::from_byte_array([1; 32]), created_at: 5, verdict: CheckVerdict::New };
    assert_eq!(give(&mut *session, late, START), vec![]);
    assert_eq!(session.next_timeout(), None);
}

/// Any input, in any order.
#[derive(Debug, Clone)]
enum Any {
    Event { back: u32, id: u8, created_at: u64, verdict: CheckVerdict },
    Eose { back: u32, finished: Option<bool> },
    Closed { back: u32, text: &'static str },
    Notice(&'static str),
    NegMsg(Vec<u8>),
    NegErr,
    Wait(u64),
}

fn any_input() -> impl Strategy<Value = Any> {
    let verdict = prop::sample::select(vec![
        CheckVerdict::New,
        CheckVerdict::New,
        CheckVerdict::Known,
        CheckVerdict::Bad(BadEvent::NotAsked),
        CheckVerdict::Bad(BadEvent::Malformed),
    ]);
    let created_at = prop_oneof![0..50u64, any::<u64>(), Just(u64::MAX), 1_999_999_990..2_000_000_010u64];
    let text = prop::sample::select(vec!["", "hello", "auth-required: x", "blocked: too many records", "CLOSED"]);
    let back = prop_oneof![9 => Just(0u32), 1 => 0..3u32];
    prop_oneof![
        8 => (back.clone(), any::<u8>(), created_at, verdict)
            .prop_map(|(back, id, created_at, verdict)| Any::Event { back, id, created_at, verdict }),
        4 => (back.clone(), any::<Option<bool>>()).prop_map(|(back, finished)| Any::Eose { back, finished }),
        1 => (back, text.clone()).prop_map(|(back, text)| Any::Closed { back, text }),
        1 => text.prop_map(Any::Notice),
        1 => prop::collection::vec(any::<u8>(), 0..9).prop_map(Any::NegMsg),
        1 => Just(Any::NegErr),
        1 => (0..40_000u64).prop_map(Any::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_inputs_in_any_order_end(inputs in prop::collection::vec(any_input(), 0..120), page_size in 1..6u64) {
        let mut session = open(json!({ "page_size": page_size }), request(Direction::Both));
        let mut now = START;
        let mut outputs = give(&mut *session, Input::Start, now);
        let mut sub = 0u32;
        for input in inputs {
            let of = |back: u32| sub.saturating_sub(back);
            let said = |place, text| classify(place, text, None);
            let more = match &input {
                Any::Event { back, id, created_at, verdict } => {
                    let id = EventId::from_byte_array([*id; 32]);
                    let event = Input::Event { sub: of(*back), id, created_at: *created_at, verdict: *verdict };
                    give(&mut *session, event, now)
                }
                Any::Eose { back, finished } => {
                    give(&mut *session, Input::Eose { sub: of(*back), finished: *finished }, now)
                }
                Any::Closed { back, text } => {
                    let said = said(SaidIn::Closed, text);
                    give(&mut *session, Input::Closed { sub: of(*back), said: &said }, now)
                }
                Any::Notice(text) => give(&mut *session, Input::Notice { said: &said(SaidIn::Notice, text) }, now),
                Any::NegMsg(payload) => give(&mut *session, Input::NegMsg { sub, payload }, now),
                Any::NegErr => give(&mut *session, Input::NegErr { sub, said: &said(SaidIn::NegErr, "") }, now),
                Any::Wait(ms) => {
                    now = now.plus_ms(*ms);
                    give(&mut *session, Input::Timeout, now)
                }
            };
            for output in &more {
                if let Output::Send(Message::Req { sub: opened, .. }) = output {
                    sub = *opened;
                }
            }
            outputs.extend(more);
        }
        while let Some((due, _)) = session.next_timeout() {
            now = now.plus_ms(due.saturating_sub(now.mono_ms));
            outputs.extend(give(&mut *session, Input::Timeout, now));
        }
        let ends = outputs.iter().filter(|output| matches!(output, Output::Done(_))).count();
        prop_assert_eq!(ends, 1);
        prop_assert!(matches!(outputs.last(), Some(Output::Done(_))), "the end comes last");
        let (mut opened, mut closed) = (Vec::new(), Vec::new());
        for output in &outputs {
            match output {
                Output::Send(Message::Req { sub, .. }) => opened.push(*sub),
                Output::Send(Message::Close { sub }) => closed.push(*sub),
                _ => {}
            }
        }
        prop_assert!(closed.iter().all(|sub| opened.contains(sub)));
        prop_assert!(opened.windows(2).all(|pair| pair[0] < pair[1]), "fresh numbers");
    }
}
