//! What is needed is what the relay has and we have not; what we have and it has not is the other way round.

use proptest::prelude::*;
use serde_json::json;
use sync_core::nostr::event::EventId;
use sync_core::strategy::{Direction, Input, Message, Output, SessionOutcome, VecSet, Window};

use crate::harness::{Responder, START, Told, assert_exact, drive, give, item, open, opened, request, two_sets};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn differences_are_exact(
        (local, remote) in two_sets(3_000),
        ours in prop_oneof![Just(4_096u64), 4_096..60_000u64, Just(60_000)],
        theirs in prop_oneof![Just(0u64), Just(4_096), 4_096..60_000u64],
    ) {
        let mut relay = Responder::new(&remote, theirs);
        let mut session = open(json!({ "frame_size_limit": ours }), request(Direction::Both, false));
        let set: VecSet = local.iter().copied().collect();
        let told = drive(&mut *session, &set, |payload| relay.answer(payload));
        assert_exact(&told, &local, &remote);
        prop_assert_eq!(told.drained, vec![Window { since: 0, until: 2_000_000_000 }]);
        prop_assert_eq!(told.closes, 1);
        prop_assert!(told.largest as u64 <= ours);
    }
}

fn between(local: u64, remote: u64, direction: Direction) -> Told {
    let local: Vec<_> = (0..local).map(|n| item(n / 3, n)).collect();
    let remote: Vec<_> = (0..remote).map(|n| item(n / 3, n)).collect();
    let mut relay = Responder::new(&remote, 60_000);
    let set: VecSet = local.into_iter().collect();
    drive(&mut *open(json!({}), request(direction, false)), &set, |payload| relay.answer(payload))
}

#[test]
fn needs_are_told_where_events_come_down_and_haves_always() {
    let down = between(100, 150, Direction::Down);
    assert_eq!((down.needs.len(), down.haves.len()), (50, 0));
    let down = between(150, 100, Direction::Down);
    assert_eq!((down.needs.len(), down.haves.len()), (0, 50));
    let both = between(150, 100, Direction::Both);
    assert_eq!((both.needs.len(), both.haves.len()), (0, 50));
    let up = between(0, 150, Direction::Up);
    assert_eq!((up.needs.len(), up.haves.len()), (0, 0));
    let up = between(150, 100, Direction::Up);
    assert_eq!((up.needs.len(), up.haves.len()), (0, 50));
}

#[test]
fn equal_sets_take_one_round() {
    let told = between(20_000, 20_000, Direction::Both);
    assert_eq!((told.rounds, told.needs.len(), told.outcome), (1, 0, Some(SessionOutcome::Complete)));
}

#[test]
fn an_empty_store_learns_everything() {
    let told = between(0, 30_000, Direction::Down);
    assert_eq!((told.needs.len(), told.outcome), (30_000, Some(SessionOutcome::Complete)));
}

#[test]
fn the_same_inputs_give_the_same_outputs() {
    let remote: Vec<_> = (0..500).map(|n| item(n / 3, n)).collect();
    let run = || {
        let mut relay = Responder::new(&remote, 60_000);
        let (mut session, mut outputs) = opened(false);
        while let Some(Output::Send(Message::NegOpen { payload, .. } | Message::NegMsg { payload, .. })) =
            outputs.last()
        {
            let payload = relay.answer(payload);
            let more = give(&mut *session, Input::NegMsg { sub: 0, payload: &payload }, START);
            outputs.extend(more);
        }
        outputs
    };
    assert_eq!(run(), run());
}

#[test]
fn the_filter_is_narrowed_by_the_window() {
    let mut session = open(json!({}), {
        let mut request = request(Direction::Down, false);
        request.window = Window { since: 5, until: 9 };
        request
    });
    let outputs = give(&mut *session, Input::Start, START);
    let [Output::Send(Message::NegOpen { sub: 0, filter, .. })] = outputs.as_slice() else { panic!("{outputs:?}") };
    assert_eq!((filter.since.map(|t| t.as_secs()), filter.until.map(|t| t.as_secs())), (Some(5), Some(9)));
}

#[test]
fn an_open_window_is_drained_up_to_the_start() {
    let mut session = open(json!({}), {
        let mut request = request(Direction::Down, false);
        request.window = Window::ALL;
        request
    });
    let told = drive(&mut *session, &VecSet::default(), |_| vec![0x61]);
    assert_eq!(told.shared, [(0, None)]);
    assert_eq!(told.drained, vec![Window { since: 0, until: START.unix_s }]);
}

#[test]
fn frames_fit_what_the_relay_takes() {
    let local: VecSet = (0..40_000).map(|n| item(n, n)).collect();
    let mut session = open(json!({}), {
        let mut request = request(Direction::Both, false);
        request.profile.max_message_length = Some(20_000);
        request
    });
    let remote: Vec<_> = (0..40_000).filter(|n| n % 40 != 0).map(|n| item(n, n)).collect();
    let mut relay = Responder::new(&remote, 0);
    let told = drive(&mut *session, &local, |payload| relay.answer(payload));
    assert_eq!((told.haves.len(), told.outcome), (1_000, Some(SessionOutcome::Complete)));
    assert!(told.largest * 2 + 256 <= 20_000, "{}", told.largest);
}

#[test]
fn needs_are_told_with_the_seconds_of_the_range_that_listed_them() {
    let local: VecSet = (10..90).map(|n| item(n, n)).collect();
    let window = Window { since: 7, until: 95 };
    let mut answers = [
        // Up to the start of second 20; up to a place in second 30; nothing; up to infinity.
        [
            &[0x61, 21, 0, 2, 1][..],
            &[1; 32],
            &[11, 1, 0x80, 2, 2],
            &[3; 32],
            &[2; 32],
            &[11, 0, 0, 0, 0, 2, 1],
            &[4; 32],
        ]
        .concat(),
        vec![0x61],
    ]
    .into_iter();
    let mut session = open(json!({}), {
        let mut request = request(Direction::Down, false);
        request.window = window;
        request
    });
    let told = drive(&mut *session, &local, |_| answers.next().expect("one round"));
    let id = |byte| EventId::from_byte_array([byte; 32]);
    let within = |since, until| Window { since, until };
    assert_eq!(
        told.listed,
        [(within(7, 19), vec![id(1)]), (within(20, 30), vec![id(2), id(3)]), (within(40, 95), vec![id(4)]),]
    );
    // Seconds 30 and 31 to 39 were passed over; the item of second 30 lies on one side of the bound or the other.
    let kept = (10..90).filter(|n| (31..40).contains(n) || (*n == 30 && item(30, 30).id[0] >= 0x80)).count() as u64;
    assert_eq!(told.shared[0].0, kept);
    assert_eq!(told.haves.len() as u64, 80 - kept);
}

#[test]
fn ids_listed_outside_of_the_window_are_told_within_it() {
    let mut session = open(json!({}), {
        let mut request = request(Direction::Down, false);
        request.window = Window { since: 50, until: 60 };
        request
    });
    let told = drive(&mut *session, &VecSet::default(), |_| [&[0x61, 21, 0, 2, 1][..], &[1; 32]].concat());
    assert_eq!(told.listed[0].0, Window { since: 50, until: 60 });
}

#[test]
fn a_session_ends_in_a_fixed_order() {
    let remote: Vec<_> = (0..10).map(|n| item(n, n)).collect();
    let mut session = open(json!({}), request(Direction::Down, false));
    let local: VecSet = (5..15).map(|n| item(n, n)).collect();
    session.handle(Input::Start, &local, START).expect("no breach of contract");
    let Some(Output::Send(Message::NegOpen { payload, .. })) = session.poll() else { panic!("no NEG-OPEN") };
    let payload = Responder::new(&remote, 0).answer(&payload);
    let outputs = give(&mut *session, Input::NegMsg { sub: 0, payload: &payload }, START);
    let [
        Output::Need { .. },
        Output::Have(_),
        Output::Progress { items: 10 },
        Output::Drained(_),
        Output::Shared { count: 5, oldest: Some(5) },
        Output::Send(Message::NegClose { sub: 0 }),
        Output::Done(SessionOutcome::Complete),
    ] = outputs.as_slice()
    else {
        panic!("{outputs:?}")
    };
}
