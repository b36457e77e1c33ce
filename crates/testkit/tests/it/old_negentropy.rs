//! The fault of old responders: a frame that is cut hides events from both sides.

use std::collections::BTreeSet;

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use nostr::event::{Event, EventId};
use serde_json::{Value, json};
use testkit::relay::{Faults, RelayCore, RelayOptions};
use testkit::world::{EventSpec, keys};

use crate::client::say;

/// What the client needs, found out by reconciling in frames of 4096 bytes.
fn needed(relay: &RelayCore, ours: &[Event]) -> BTreeSet<EventId> {
    let mut storage = NegentropyStorageVector::new();
    for event in ours {
        storage.insert(event.created_at.as_secs(), Id::from_byte_array(event.id.to_bytes())).expect("inserts");
    }
    storage.seal().expect("seals");
    let mut machine = Negentropy::owned(storage, 4_096).expect("a frame limit that is allowed");
    let mut connection = relay.connect();
    let (mut have, mut need, mut all) = (Vec::new(), Vec::new(), BTreeSet::new());
    let first = hex(&machine.initiate().expect("initiates"));
    let mut said = say(&mut connection, &json!(["NEG-OPEN", "n", {}, first]));
    for _ in 0..100 {
        assert_eq!(said[0][0], "NEG-MSG", "{said:?}");
        let next = machine.reconcile_with_ids(&bytes(&said[0][2]), &mut have, &mut need).expect("an answer");
        all.extend(need.drain(..).map(|id| EventId::from_byte_array(id.to_bytes())));
        let Some(next) = next else { return all };
        said = say(&mut connection, &json!(["NEG-MSG", "n", hex(&next)]));
    }
    panic!("doesn't end");
}

/// It takes two cuts: ours, before a stretch in which we have nothing, and the relay's, within that stretch. Few sizes do
/// that, so they are pinned, and the ids follow from the arguments.
#[test]
fn a_frame_that_is_cut_wrongly_hides_events() {
    let person = keys(1, 1);
    let note = |at: u64, name: String| EventSpec::new(1).at(at).content(name).sign(&person);
    let notes = |name: &str, times: &mut dyn Iterator<Item = u64>| -> Vec<_> {
        times.enumerate().map(|(place, at)| note(at, format!("{name} {place}"))).collect()
    };
    let shared = notes("shared", &mut (0..1_500).map(|n| 1_000 + n * 10).chain((0..40).map(|n| 15_900 + n * 2)));
    let ours = notes("ours", &mut (0..25).map(|n| 1_005 + n * 230));
    let clumps = (0..50).map(|n| 1_201 + n / 35 * 1_000 + n % 35 % 8);
    let theirs = notes("theirs", &mut clumps.chain((0..110).map(|n| 50_000 + n * 10)));

    let events = [shared.clone(), theirs.clone()].concat();
    let relay = RelayCore::new(RelayOptions { events, frame_limit: 4_246, ..RelayOptions::default() });
    let (ours, theirs) = ([shared, ours].concat(), theirs.iter().map(|event| event.id).collect());
    assert_eq!(needed(&relay, &ours), theirs);
    relay.set_faults(|faults| *faults = Faults { old_negentropy: true, ..Faults::default() });
    let found = needed(&relay, &ours);
    assert!(found.is_subset(&theirs), "what the relay hasn't");
    assert_eq!((found.len(), theirs.len()), (64, 160));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().expect("hex");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}
