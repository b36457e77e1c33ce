//! The `negentropy` crate as the side that asks: a session takes no more rounds, and hardly more bytes.

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use proptest::prelude::*;
use serde_json::json;
use sync_core::strategy::{Direction, ItemKey, VecSet};

use crate::harness::{Responder, assert_exact, drive, item, open, request, two_sets};

/// Rounds, and bytes both ways.
#[derive(Debug)]
struct Cost {
    rounds: usize,
    bytes: usize,
}

fn by_crate(local: &[ItemKey], remote: &[ItemKey], ours: u64, theirs: u64) -> Cost {
    let mut storage = NegentropyStorageVector::new();
    for item in local {
        storage.insert(item.created_at, Id::from_byte_array(item.id)).expect("not sealed");
    }
    storage.seal().expect("not sealed");
    let mut machine = Negentropy::owned(storage, ours).expect("frame size in range");
    let mut relay = Responder::new(remote, theirs);
    let mut cost = Cost { rounds: 0, bytes: 0 };
    let mut next = Some(machine.initiate().expect("first"));
    while let Some(payload) = next {
        let answer = relay.answer(&payload);
        cost.rounds += 1;
        cost.bytes += payload.len() + answer.len();
        next = machine.reconcile_with_ids(&answer, &mut Vec::new(), &mut Vec::new()).expect("well-formed");
    }
    cost
}

fn by_session(local: &[ItemKey], remote: &[ItemKey], ours: u64, theirs: u64) -> Cost {
    let mut relay = Responder::new(remote, theirs);
    let set: VecSet = local.iter().copied().collect();
    let mut session = open(json!({ "frame_size_limit": ours }), request(Direction::Both, false));
    let told = drive(&mut *session, &set, |payload| relay.answer(payload));
    assert_exact(&told, local, remote);
    Cost { rounds: told.rounds, bytes: told.bytes_up + told.bytes_down }
}

fn both(local: &[ItemKey], remote: &[ItemKey], ours: u64, theirs: u64) -> [Cost; 2] {
    [by_session(local, remote, ours, theirs), by_crate(local, remote, ours, theirs)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn sets_that_fit_a_frame_cost_no_more((local, remote) in two_sets(1_500)) {
        let [session, oracle] = both(&local, &remote, 60_000, 0);
        prop_assert!(session.rounds <= oracle.rounds + 2, "{:?}, {:?}", session, oracle);
        prop_assert!(session.bytes <= oracle.bytes * 13 / 10 + 256, "{:?}, {:?}", session, oracle);
    }
}

/// Where frames are cut, where they happen to be full decides on rounds more or less, for either side: single cases
/// are held to a quarter, the sum of all to a fiftieth.
#[test]
fn sets_of_many_frames_cost_no_more_in_sum() {
    let all: Vec<_> = (0..20_000).map(|n| item(n / 4, n)).collect();
    let (mut rounds, mut bytes) = ([0; 2], [0; 2]);
    for every in [2, 10, 100, 1_000] {
        let remote: Vec<_> = all.iter().zip(0..).filter(|(_, n)| n % every != 1).map(|(item, _)| *item).collect();
        let local: Vec<_> = all.iter().zip(0..).filter(|(_, n)| n % every != 0).map(|(item, _)| *item).collect();
        for ours in [4_096, 6_000, 60_000] {
            for theirs in [4_096, 12_000, 500_000] {
                let costs = both(&local, &remote, ours, theirs);
                assert!(costs[0].rounds <= costs[1].rounds * 5 / 4 + 2, "{costs:?}");
                for (side, cost) in costs.into_iter().enumerate() {
                    rounds[side] += cost.rounds;
                    bytes[side] += cost.bytes;
                }
            }
        }
    }
    assert!(rounds[0] * 50 <= rounds[1] * 51, "{rounds:?}");
    assert!(bytes[0] * 50 <= bytes[1] * 51, "{bytes:?}");
}
