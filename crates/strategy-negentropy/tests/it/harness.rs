//! A world of ids, a relay that answers, and the driver between it and a session.

use std::collections::{BTreeMap, BTreeSet};

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use proptest::prelude::*;
use strategy_negentropy::NegentropyStrategy;
use sync_core::Now;
use sync_core::nostr::event::EventId;
use sync_core::nostr::filter::Filter;
use sync_core::response::{SaidIn, classify};
use sync_core::strategy::{
    Direction, Input, ItemKey, Message, Output, RelayProfile, SessionOutcome, SessionRequest, SetView, SyncSession,
    SyncStrategy, VecSet, Window, fingerprint_of,
};

pub(crate) const START: Now = Now { mono_ms: 1_000, unix_s: 1_700_000_000 };

/// An item with an id that only its number decides.
pub(crate) fn item(created_at: u64, number: u64) -> ItemKey {
    let mut id = [0; 32];
    for (chunk, salt) in id.chunks_mut(8).zip(1u64..) {
        chunk.copy_from_slice(&sync_core::time::Jitter::new(number.wrapping_mul(salt)).next_u64().to_be_bytes());
    }
    ItemKey { created_at, id }
}

/// Two sets that share some items: local and remote.
pub(crate) fn two_sets(most: usize) -> impl Strategy<Value = (Vec<ItemKey>, Vec<ItemKey>)> {
    // Few seconds make many equal timestamps, one makes nothing but.
    let seconds = prop_oneof![Just(1), 1..20u64, 1..2_000u64];
    // Where an item may be: 0 local, 1 remote, beyond that both.
    let places = prop_oneof![Just(0..8u8), Just(0..8), Just(0..1), Just(1..2), Just(2..3), Just(0..200)];
    let items = prop::collection::vec((any::<u64>(), any::<u8>()), 0..most);
    (seconds, places, any::<bool>(), items).prop_map(|(seconds, places, dense, items)| {
        let items: Vec<_> = items
            .into_iter()
            .zip(0u64..)
            .map(|((at, place), number)| {
                // Where there is a dense second, every other item is in it.
                let at = if dense && number % 2 == 0 { seconds / 2 } else { at % seconds };
                (item(at, number), places.start + place % (places.end - places.start))
            })
            .collect();
        let side = |other: u8| items.iter().filter(|(_, place)| *place != other).map(|(item, _)| *item).collect();
        (side(1), side(0))
    })
}

pub(crate) fn request(direction: Direction, proven: bool) -> SessionRequest {
    SessionRequest {
        filter: Filter::new(),
        window: Window { since: 0, until: 2_000_000_000 },
        drained: Vec::new(),
        remembered: Vec::new(),
        profile: RelayProfile::default(),
        direction,
        proven,
        seed: 1,
    }
}

pub(crate) fn open(config: serde_json::Value, request: SessionRequest) -> Box<dyn SyncSession> {
    NegentropyStrategy::from_config(&config).expect("valid configuration").open(request)
}

/// A session of default settings that has sent its NEG-OPEN.
pub(crate) fn opened(proven: bool) -> (Box<dyn SyncSession>, Vec<Output>) {
    let mut session = open(serde_json::json!({}), request(Direction::Both, proven));
    let outputs = give(&mut *session, Input::Start, START);
    (session, outputs)
}

/// One input, then everything that it yields; the local set is empty.
pub(crate) fn give(session: &mut dyn SyncSession, input: Input<'_>, now: Now) -> Vec<Output> {
    session.handle(input, &VecSet::default(), now).expect("no breach of contract");
    std::iter::from_fn(|| session.poll()).collect()
}

/// What the relay says, as NEG-ERR.
pub(crate) fn neg_err(session: &mut dyn SyncSession, text: &str, cap: Option<u64>) -> Vec<Output> {
    let said = classify(SaidIn::NegErr, text, cap);
    give(session, Input::NegErr { sub: 0, said: &said }, START)
}

/// The relay's half of a reconciliation.
pub(crate) struct Responder(Negentropy<'static, NegentropyStorageVector>);

impl Responder {
    pub(crate) fn new(items: &[ItemKey], frame_size_limit: u64) -> Self {
        let mut storage = NegentropyStorageVector::new();
        for item in items {
            storage.insert(item.created_at, Id::from_byte_array(item.id)).expect("not sealed");
        }
        storage.seal().expect("not sealed");
        Self(Negentropy::owned(storage, frame_size_limit).expect("frame size in range"))
    }

    pub(crate) fn answer(&mut self, payload: &[u8]) -> Vec<u8> {
        self.0.reconcile(payload).expect("the session speaks the protocol")
    }
}

/// Everything that a session said.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Told {
    pub(crate) needs: BTreeSet<EventId>,
    pub(crate) haves: BTreeSet<EventId>,
    /// Each need as it was told.
    pub(crate) listed: Vec<(Window, Vec<EventId>)>,
    pub(crate) shared: Vec<(u64, Option<u64>)>,
    pub(crate) drained: Vec<Window>,
    pub(crate) rounds: usize,
    pub(crate) largest: usize,
    pub(crate) bytes_up: usize,
    pub(crate) bytes_down: usize,
    pub(crate) closes: usize,
    pub(crate) outcome: Option<SessionOutcome>,
}

/// Drives `session` until it is done; `answer` turns each payload that it sends into the relay's.
pub(crate) fn drive(
    session: &mut dyn SyncSession,
    local: &dyn SetView,
    mut answer: impl FnMut(&[u8]) -> Vec<u8>,
) -> Told {
    let mut told = Told::default();
    let nothing = fingerprint_of([]);
    session.handle(Input::Start, local, START).expect("no breach of contract");
    loop {
        let mut sent = None;
        while let Some(output) = session.poll() {
            assert_eq!(told.outcome, None, "{output:?} after the end");
            match output {
                Output::Send(Message::NegOpen { payload, .. } | Message::NegMsg { payload, .. }) => {
                    assert!(sent.is_none(), "two messages at once");
                    told.largest = told.largest.max(payload.len());
                    told.bytes_up += payload.len();
                    // What old relays compare a wrong rest with (see `frame_cut`).
                    assert!(!payload.windows(16).any(|bytes| bytes == nothing), "a fingerprint of nothing");
                    sent = Some(payload);
                }
                Output::Send(Message::NegClose { .. }) => told.closes += 1,
                Output::Need { ids, within } => {
                    assert!(within.since <= within.until, "{within:?}");
                    assert!(ids.is_sorted_by(|a, b| a < b) && !ids.is_empty(), "ascending, each once");
                    told.needs.extend(&ids);
                    told.listed.push((within, ids));
                }
                Output::Have(ids) => {
                    assert!(ids.iter().all(|id| told.haves.insert(*id)), "an item is told once");
                }
                Output::Shared { count, oldest } => told.shared.push((count, oldest)),
                Output::Drained(window) => told.drained.push(window),
                Output::Progress { .. } => told.rounds += 1,
                Output::Done(outcome) => told.outcome = Some(outcome),
                other => panic!("unexpected {other:?}"),
            }
        }
        let Some(payload) = sent else { break };
        assert!(session.next_timeout().is_some(), "an open question has a deadline");
        let payload = answer(&payload);
        told.bytes_down += payload.len();
        session.handle(Input::NegMsg { sub: 0, payload: &payload }, local, START).expect("no breach of contract");
    }
    assert!(told.outcome.is_some(), "stalled without an end");
    assert_eq!(session.next_timeout(), None);
    told
}

/// The ids of `items` that `others` lack.
pub(crate) fn lacking(items: &[ItemKey], others: &[ItemKey]) -> BTreeSet<EventId> {
    let others: BTreeSet<_> = others.iter().collect();
    items.iter().filter(|item| !others.contains(item)).map(|item| EventId::from_byte_array(item.id)).collect()
}

/// How many of `items` the others have, too, and the second of the oldest.
pub(crate) fn common(items: &[ItemKey], others: &[ItemKey]) -> (u64, Option<u64>) {
    let others: BTreeSet<_> = others.iter().collect();
    let both: Vec<_> = items.iter().filter(|item| others.contains(item)).map(|item| item.created_at).collect();
    (both.len() as u64, both.into_iter().min())
}

/// What holds of every session with an honest relay, whatever the two hold.
pub(crate) fn assert_exact(told: &Told, local: &[ItemKey], remote: &[ItemKey]) {
    assert_eq!(told.outcome, Some(SessionOutcome::Complete));
    assert_eq!(told.needs, lacking(remote, local));
    assert_eq!(told.haves, lacking(local, remote));
    assert_eq!(told.shared, [common(local, remote)]);
    let seconds: BTreeMap<_, _> = remote.iter().map(|item| (item.id, item.created_at)).collect();
    for (within, ids) in &told.listed {
        assert!(ids.iter().all(|id| within.contains(seconds[&id.to_bytes()])), "an id lies outside of {within:?}");
    }
}
