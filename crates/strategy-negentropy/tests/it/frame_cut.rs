//! Relays that cut their frames the old way: the fingerprint of the rest leaves out the range that didn't fit, and where
//! what it covers equals what the asking side has from that range on, the items of the range are never named.

use std::collections::BTreeSet;

use negentropy_old::{Bytes, Id, Negentropy, NegentropyStorageVector};
use proptest::prelude::*;
use serde_json::json;
use sync_core::nostr::event::EventId;
use sync_core::strategy::{Direction, ItemKey, VecSet};
use sync_core::time::Jitter;

use crate::harness::{Told, assert_exact, drive, item, lacking, open, request, two_sets};

/// A relay of `negentropy` 0.4.
struct OldResponder(Negentropy<NegentropyStorageVector>);

impl OldResponder {
    fn new(items: &[ItemKey], frame_size_limit: u64) -> Self {
        let mut storage = NegentropyStorageVector::new();
        for item in items {
            storage.insert(item.created_at, Id::new(item.id)).expect("not sealed");
        }
        storage.seal().expect("not sealed");
        Self(Negentropy::new(storage, frame_size_limit).expect("frame size in range"))
    }

    fn answer(&mut self, payload: &[u8]) -> Vec<u8> {
        self.0.reconcile(&Bytes::from_slice(payload)).expect("the session speaks the protocol").to_bytes()
    }
}

/// The ids that the crate's own asking side is told to need by `answer`.
fn needs_by_crate(local: &[ItemKey], frame_size_limit: u64, mut answer: impl FnMut(&[u8]) -> Vec<u8>) -> usize {
    let mut storage = negentropy::NegentropyStorageVector::new();
    for item in local {
        storage.insert(item.created_at, negentropy::Id::from_byte_array(item.id)).expect("not sealed");
    }
    storage.seal().expect("not sealed");
    let mut machine = negentropy::Negentropy::owned(storage, frame_size_limit).expect("frame size in range");
    let mut needs = Vec::new();
    let mut next = Some(machine.initiate().expect("first"));
    while let Some(payload) = next {
        next = machine.reconcile_with_ids(&answer(&payload), &mut Vec::new(), &mut needs).expect("well-formed");
    }
    needs.iter().map(|id| id.to_bytes()).collect::<BTreeSet<_>>().len()
}

/// Sets that differ here and there, and of which the relay has the newest items alone. At these sizes and limits the
/// crate's frames and the relay's are full at just the wrong places.
fn with_news() -> (Vec<ItemKey>, Vec<ItemKey>) {
    let shared: Vec<_> = (0..2_086).map(|number| item(1_000 + number * 10, number)).collect();
    let odd = |seed: u64, numbers: std::ops::Range<u64>| -> Vec<_> {
        let second = |number| 1_000 + Jitter::new(seed + number).next_u64() % 20_860;
        numbers.map(|number| item(second(number), number)).collect()
    };
    let (ours, theirs) = (odd(133_133, 10_000..10_037), odd(134_862, 20_000..20_200));
    let news: Vec<_> = (30_000..30_196).map(|number| item(21_860 + number, number)).collect();
    ([&shared[..], &ours].concat(), [&shared[..], &theirs, &news].concat())
}
const OURS: u64 = 4_096;
const THEIRS: u64 = 5_628;

fn session(local: &[ItemKey], remote: &[ItemKey], ours: u64, theirs: u64) -> Told {
    let mut relay = OldResponder::new(remote, theirs);
    let set: VecSet = local.iter().copied().collect();
    let mut session = open(json!({ "frame_size_limit": ours }), request(Direction::Both, false));
    drive(&mut *session, &set, |payload| relay.answer(payload))
}

#[test]
fn what_the_old_cut_hides_from_the_crate_is_found() {
    let (local, remote) = with_news();
    let mut relay = OldResponder::new(&remote, THEIRS);
    let found = needs_by_crate(&local, OURS, |payload| relay.answer(payload));
    assert_eq!(lacking(&remote, &local).len() - found, 185, "these sets don't show the old cut");
    assert_exact(&session(&local, &remote, OURS, THEIRS), &local, &remote);
}

#[test]
fn sessions_over_what_was_received_end_with_everything() {
    let (mut local, remote) = with_news();
    for _ in 0..3 {
        let needs = session(&local, &remote, OURS, THEIRS).needs;
        if needs.is_empty() {
            break;
        }
        local.extend(remote.iter().filter(|item| needs.contains(&EventId::from_byte_array(item.id))));
    }
    assert_eq!(lacking(&remote, &local).len(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn old_relays_are_reconciled_in_one_session(
        (local, remote) in two_sets(3_000),
        ours in prop_oneof![Just(4_096u64), 4_096..60_000u64],
        theirs in prop_oneof![Just(0u64), Just(4_096), 4_096..20_000u64],
    ) {
        assert_exact(&session(&local, &remote, ours, theirs), &local, &remote);
    }
}
