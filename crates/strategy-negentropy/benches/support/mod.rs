//! Two sets that differ, a relay that answers, and the driver between it and a session; shared with `examples/`.

#![allow(dead_code)]

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use strategy_negentropy::NegentropyStrategy;
use sync_core::Now;
use sync_core::nostr::filter::Filter;
use sync_core::strategy::{
    Direction, Input, ItemKey, Message, Output, RelayProfile, SessionOutcome, SessionRequest, SetView, SyncSession,
    SyncStrategy, VecSet, Window,
};
use sync_core::time::Jitter;

const NOW: Now = Now { mono_ms: 0, unix_s: 1_800_000_000 };
/// Bytes of a frame that is sent, as configured by default, and of one that strfry answers with.
pub(crate) const OURS: u64 = 60_000;
pub(crate) const THEIRS: u64 = 500_000;

/// What the two sides hold: `count` items each, three a second, and how many of them the other side lacks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct World {
    pub(crate) count: u64,
    pub(crate) differ: u64,
}

impl std::fmt::Display for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} differ of {}", self.differ, self.count)
    }
}

impl World {
    /// Each side: what both have, and what it alone has, spread evenly. Local, then remote.
    pub(crate) fn sides(self) -> (Vec<ItemKey>, Vec<ItemKey>) {
        // Of the items that differ, half are ours and half the relay's.
        let every = self.count.checked_div(self.differ).unwrap_or(u64::MAX);
        let lacked_by = |number: u64| (number % every == every - 1).then_some(number / every % 2);
        let side =
            |side: u64| (0..self.count).filter(|number| lacked_by(*number) != Some(side)).map(item).collect::<Vec<_>>();
        (side(0), side(1))
    }
}

fn item(number: u64) -> ItemKey {
    let mut jitter = Jitter::new(number);
    let mut id = [0; 32];
    for part in id.as_chunks_mut::<8>().0 {
        *part = jitter.next_u64().to_be_bytes();
    }
    ItemKey { created_at: 1_700_000_000 + number / 3, id }
}

/// Items as the `negentropy` crate stores them.
pub(crate) fn storage(items: &[ItemKey]) -> NegentropyStorageVector {
    let mut storage = NegentropyStorageVector::with_capacity(items.len());
    for item in items {
        storage.insert(item.created_at, Id::from_byte_array(item.id)).expect("not sealed");
    }
    storage.seal().expect("not sealed");
    storage
}

/// The relay's half.
pub(crate) fn relay(remote: &[ItemKey]) -> impl FnMut(&[u8]) -> Vec<u8> {
    let mut relay = Negentropy::owned(storage(remote), THEIRS).expect("frame size in range");
    move |payload| relay.reconcile(payload).expect("well-formed")
}

/// What passed between the two sides.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    pub(crate) sent: Vec<usize>,
    pub(crate) answers: Vec<Vec<u8>>,
    pub(crate) needs: usize,
    pub(crate) haves: usize,
}

/// A session until its end; `answer` gets the number of the round and what was sent.
pub(crate) fn run_session(local: &VecSet, mut answer: impl FnMut(usize, &[u8]) -> Vec<u8>) -> Conversation {
    let mut session = open();
    let mut talk = Conversation::default();
    session.handle(Input::Start, local as &dyn SetView, NOW).expect("starts");
    loop {
        let mut sent = None;
        while let Some(output) = session.poll() {
            match output {
                Output::Send(Message::NegOpen { payload, .. } | Message::NegMsg { payload, .. }) => {
                    sent = Some(payload)
                }
                Output::Need { ids, .. } => talk.needs += ids.len(),
                Output::Have(ids) => talk.haves += ids.len(),
                Output::Done(outcome) => assert_eq!(outcome, SessionOutcome::Complete),
                _ => {}
            }
        }
        let Some(payload) = sent else { return talk };
        let payload_in = answer(talk.sent.len(), &payload);
        talk.sent.push(payload.len());
        session.handle(Input::NegMsg { sub: 0, payload: &payload_in }, local, NOW).expect("goes on");
        talk.answers.push(payload_in);
    }
}

/// The same by the `negentropy` crate, with its items made ready.
pub(crate) fn run_crate(
    local: NegentropyStorageVector,
    mut answer: impl FnMut(usize, &[u8]) -> Vec<u8>,
) -> Conversation {
    let mut machine = Negentropy::owned(local, OURS).expect("frame size in range");
    let mut talk = Conversation::default();
    let (mut haves, mut needs) = (Vec::new(), Vec::new());
    let mut next = Some(machine.initiate().expect("first"));
    while let Some(payload) = next {
        let payload_in = answer(talk.sent.len(), &payload);
        talk.sent.push(payload.len());
        next = machine.reconcile_with_ids(&payload_in, &mut haves, &mut needs).expect("well-formed");
        talk.answers.push(payload_in);
    }
    (talk.haves, talk.needs) = (haves.len(), needs.len());
    talk
}

fn open() -> Box<dyn SyncSession> {
    let strategy = NegentropyStrategy::from_config(&serde_json::json!({})).expect("defaults");
    strategy.open(SessionRequest {
        filter: Filter::new(),
        window: Window::ALL,
        drained: Vec::new(),
        remembered: Vec::new(),
        profile: RelayProfile::default(),
        direction: Direction::Both,
        proven: true,
        seed: 1,
    })
}
