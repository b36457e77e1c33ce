//! Hostile answers: nothing panics, everything ends.

use proptest::prelude::*;
use serde_json::json;
use sync_core::model::FailureReason;
use sync_core::strategy::{Direction, Input, SessionOutcome, VecSet};

use crate::harness::{Responder, START, Told, drive, item, open, request, two_sets};

/// Bytes that a mutation may put anywhere.
#[derive(Debug, Clone)]
enum Damage {
    Cut(prop::sample::Index),
    Flip(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Replace(Vec<u8>),
    Twice,
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any::<prop::sample::Index>().prop_map(Damage::Cut),
        (any::<prop::sample::Index>(), 1..=255u8).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        (any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..80))
            .prop_map(|(at, b)| Damage::Insert(at, b)),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Damage::Replace),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|mut bytes| {
            bytes.insert(0, 0x61);
            Damage::Replace(bytes)
        }),
        Just(Damage::Twice),
    ]
}

fn damaged(mut payload: Vec<u8>, damage: &Damage) -> Vec<u8> {
    match damage {
        Damage::Cut(at) => payload.truncate(at.index(payload.len() + 1)),
        Damage::Flip(at, bits) if !payload.is_empty() => {
            let at = at.index(payload.len());
            payload[at] ^= bits;
        }
        Damage::Flip(..) => {}
        Damage::Insert(at, bytes) => {
            let at = at.index(payload.len() + 1);
            payload.splice(at..at, bytes.iter().copied());
        }
        Damage::Replace(bytes) => payload.clone_from(bytes),
        Damage::Twice => payload.extend_from_within(payload.len().min(1)..),
    }
    payload
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn damaged_answers_end(
        (local, remote) in two_sets(600),
        damages in prop::collection::vec(prop::option::of(damage()), 1..6),
    ) {
        let mut relay = Responder::new(&remote, 4_096);
        let mut session = open(json!({}), request(Direction::Both, false));
        let set: VecSet = local.iter().copied().collect();
        let mut round = 0;
        let told = drive(&mut *session, &set, |payload| {
            // What the session sends stays well-formed whatever it was told before.
            let answer = relay.answer(payload);
            let damage = &damages[round % damages.len()];
            round += 1;
            damage.as_ref().map_or(answer.clone(), |damage| damaged(answer, damage))
        });
        prop_assert!(told.largest <= 60_000);
    }

    #[test]
    fn garbage_ends_within_the_bounds(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..8)) {
        let set: VecSet = (0..200).map(|n| item(n / 5, n)).collect();
        let mut session = open(json!({}), request(Direction::Both, false));
        let mut round = 0;
        drive(&mut *session, &set, |_| {
            round += 1;
            payloads[round % payloads.len()].clone()
        });
    }
}

fn against(answer: impl FnMut(&[u8]) -> Vec<u8>) -> Told {
    let set: VecSet = (0..1_000).map(|n| item(n, n)).collect();
    drive(&mut *open(json!({}), request(Direction::Both, false)), &set, answer)
}

fn text_of(outcome: Option<SessionOutcome>) -> String {
    match outcome {
        Some(SessionOutcome::Failed { reason: FailureReason::Protocol, text }) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_relay_that_only_differs_is_given_up() {
    // Everything differs, for ever: a fingerprint of nothing over the whole range.
    let told = against(|_| [&[0x61, 0, 0, 1][..], &[7; 16]].concat());
    assert_eq!(text_of(told.outcome), "64 rounds in a row named no id");
    assert_eq!((told.rounds, told.closes), (64, 1));
}

#[test]
fn a_relay_that_never_ends_is_given_up() {
    let set = VecSet::default();
    let mut session = open(json!({}), request(Direction::Down, false));
    let mut number = 0u64;
    let told = drive(&mut *session, &set, |_| {
        // One more id up to second 1, then a difference in the rest.
        number += 1;
        let ids = [&[0x61, 3, 0, 2, 1][..], &item(0, number).id].concat();
        [&ids[..], &[0, 0, 1], &[7; 16]].concat()
    });
    assert_eq!(text_of(told.outcome), "the reconciliation has not ended within 10000 rounds");
    assert_eq!(told.needs.len(), 10_000);
}

#[test]
fn a_payload_of_ids_without_end_is_given_up() {
    let set = VecSet::default();
    let mut session = open(json!({}), request(Direction::Up, false));
    // 120,000 ids (0x7, 0x29, 0x40 in groups of seven bits), then a difference: 84 rounds make ten million.
    let mut payload = vec![0x61, 3, 0, 2, 0x80 | 0x7, 0x80 | 0x29, 0x40];
    for number in 0..120_000 {
        payload.extend(item(0, number).id);
    }
    payload.extend([0, 0, 1]);
    payload.extend([7; 16]);
    let told = drive(&mut *session, &set, |_| payload.clone());
    assert_eq!(text_of(told.outcome), "the reconciliation has named more than 10000000 ids");
}

#[test]
fn a_payload_beyond_four_mebibytes_is_refused() {
    let told = against(|_| vec![0x61; (4 << 20) + 1]);
    assert_eq!(text_of(told.outcome), "a reconciliation message of 4194305 bytes is longer than 4194304");
}

#[test]
fn garbage_is_unsupported_first_and_a_protocol_failure_later() {
    let told = against(|_| vec![0x61, 1]);
    assert!(matches!(told.outcome, Some(SessionOutcome::Unsupported { .. })), "{:?}", told.outcome);
    let mut first = true;
    let told = against(|_| if std::mem::take(&mut first) { [&[0x61, 0, 0, 1][..], &[7; 16]].concat() } else { vec![] });
    assert_eq!(text_of(told.outcome), "a reconciliation message can't be read: it is empty");
}

#[test]
fn what_is_not_of_this_session_is_passed_over() {
    let mut session = open(json!({}), request(Direction::Down, false));
    let empty = VecSet::default();
    let mut handle = |input: Input<'_>| session.handle(input, &empty, START);
    assert_eq!(handle(Input::NegMsg { sub: 0, payload: b"early" }), Ok(()));
    assert_eq!(handle(Input::Start), Ok(()));
    assert_eq!(handle(Input::NegMsg { sub: 9, payload: b"not ours" }), Ok(()));
    assert_eq!(handle(Input::Eose { sub: 0, finished: None }), Ok(()));
    assert!(handle(Input::Start).is_err(), "a second start is a breach of contract");
    assert_eq!(std::iter::from_fn(|| session.poll()).count(), 1, "NEG-OPEN alone");
}

#[test]
fn a_relay_that_lists_the_same_again_and_again_is_given_up() {
    let mut number = 0u64;
    let told = against(|_| {
        // One id more up to second 500, then a difference in the rest.
        number += 1;
        let ids = [&[0x61, 0x83, 0x74, 0, 2, 1][..], &item(0, 1_000_000 + number).id].concat();
        [&ids[..], &[0, 0, 1], &[7; 16]].concat()
    });
    assert_eq!(
        text_of(told.outcome),
        "a reconciliation message can't be read: it lists the same ranges again and again"
    );
    assert_eq!((told.rounds, told.haves.len()), (32, 499));
}

#[test]
fn ids_where_none_can_be_are_refused() {
    // Nothing lies between a bound and the same bound.
    let ids = [&[2, 1][..], &[7; 32]].concat();
    let told = against(|_| [&[0x61, 5, 0, 0, 1, 0][..], &ids].concat());
    let Some(SessionOutcome::Unsupported { text }) = told.outcome else { panic!("{told:?}") };
    assert_eq!(text, "a reconciliation message can't be read: it lists ids in a range that holds none");
}

#[test]
fn every_cut_of_a_message_is_refused() {
    let remote: Vec<_> = (0..600).filter(|n| n % 150 != 0).map(|n| item(n / 9, n)).collect();
    let local: VecSet = (0..600).map(|n| item(n / 9, n)).collect();
    let mut payloads = Vec::new();
    let mut relay = Responder::new(&remote, 4_096);
    drive(&mut *open(json!({}), request(Direction::Both, true)), &local, |payload| {
        payloads.push(relay.answer(payload));
        payloads[payloads.len() - 1].clone()
    });
    assert!(payloads.len() > 1);
    for (at, payload) in payloads.iter().enumerate() {
        let ends = range_ends(payload);
        for cut in 0..payload.len() {
            let mut round = 0;
            let told = drive(&mut *open(json!({}), request(Direction::Both, true)), &local, |_| {
                round += 1;
                match round - 1 {
                    before if before < at => payloads[before].clone(),
                    here if here == at => payload[..cut].to_vec(),
                    // A cut between two ranges is a message: the session goes on, and any answer will do.
                    _ => vec![0x61],
                }
            });
            if ends.contains(&cut) {
                assert_eq!(told.outcome, Some(SessionOutcome::Complete), "round {at}, cut at {cut}");
            } else {
                text_of(told.outcome);
            }
        }
    }
}

/// Where the ranges of a well-formed payload end; its own walk, so that the reader under test isn't its own judge.
fn range_ends(payload: &[u8]) -> Vec<usize> {
    let number = |at: &mut usize| {
        let mut value = 0usize;
        loop {
            let byte = payload[*at];
            *at += 1;
            value = value << 7 | usize::from(byte & 0x7f);
            if byte < 0x80 {
                return value;
            }
        }
    };
    let (mut at, mut ends) = (1, vec![1]);
    while at < payload.len() {
        number(&mut at);
        at += number(&mut at);
        at += match number(&mut at) {
            0 => 0,
            1 => 16,
            _ => number(&mut at) * 32,
        };
        ends.push(at);
    }
    ends
}
