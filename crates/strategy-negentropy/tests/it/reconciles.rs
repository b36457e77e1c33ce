//! What is needed is what the relay has and we have not; what we have and it has not is the other way round.

use proptest::prelude::*;
use serde_json::json;
use sync_core::strategy::{Direction, Message, Output, SessionOutcome, VecSet, Window};

use crate::harness::{Responder, START, Told, drive, give, item, lacking, open, opened, request, two_sets};

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
        prop_assert_eq!(told.outcome, Some(SessionOutcome::Complete));
        prop_assert_eq!(told.needs, lacking(&remote, &local));
        prop_assert_eq!(told.haves, lacking(&local, &remote));
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
fn a_direction_tells_only_of_its_own_side() {
    let down = between(100, 150, Direction::Down);
    assert_eq!((down.needs.len(), down.haves.len()), (50, 0));
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
            let more = give(&mut *session, sync_core::strategy::Input::NegMsg { sub: 0, payload: &payload }, START);
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
    let outputs = give(&mut *session, sync_core::strategy::Input::Start, START);
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
