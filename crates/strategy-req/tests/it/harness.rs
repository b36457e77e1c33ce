//! A relay that is a vector of events, and the driver between it and a session.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use strategy_req::ReqStrategy;
use sync_core::Now;
use sync_core::model::FailureReason;
use sync_core::nostr::event::EventId;
use sync_core::nostr::filter::Filter;
use sync_core::strategy::{
    BadEvent, CheckVerdict, Direction, Input, ItemKey, Message, Output, RelayProfile, SessionOutcome, SessionRequest,
    SetView, SubId, SyncSession, SyncStrategy, VecSet, Window,
};

pub(crate) const START: Now = Now { mono_ms: 1_000, unix_s: 1_700_000_000 };

/// An item with an id that only its number decides.
pub(crate) fn item(created_at: u64, number: u64) -> ItemKey {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&sync_core::time::Jitter::new(number).next_u64().to_be_bytes());
    id[24..].copy_from_slice(&number.to_be_bytes());
    ItemKey { created_at, id }
}

pub(crate) fn id_of(item: &ItemKey) -> EventId {
    EventId::from_byte_array(item.id)
}

pub(crate) fn ids(items: &[ItemKey]) -> BTreeSet<EventId> {
    items.iter().map(id_of).collect()
}

pub(crate) fn request(direction: Direction) -> SessionRequest {
    SessionRequest {
        filter: Filter::new(),
        window: Window { since: 0, until: 2_000_000_000 },
        drained: Vec::new(),
        remembered: Vec::new(),
        profile: RelayProfile::default(),
        direction,
        proven: false,
        seed: 1,
    }
}

pub(crate) fn open(config: serde_json::Value, request: SessionRequest) -> Box<dyn SyncSession> {
    ReqStrategy::from_config(&config).expect("valid configuration").open(request)
}

/// One input, then everything that it yields; the local set is empty.
pub(crate) fn give(session: &mut dyn SyncSession, input: Input<'_>, now: Now) -> Vec<Output> {
    session.handle(input, &VecSet::default(), now).expect("no breach of contract");
    std::iter::from_fn(|| session.poll()).collect()
}

/// What is asked by a REQ.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) since: u64,
    pub(crate) until: u64,
    pub(crate) limit: usize,
}

/// One thing that a relay sends in answer to a REQ.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sent {
    Event(ItemKey),
    Bad(BadEvent),
    Eose(Option<bool>),
    /// CLOSED without a word.
    Closed,
    /// The connection breaks.
    Break,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Order {
    NewestFirst,
    /// The newest, in no order.
    Shuffled,
    /// The oldest, from the oldest on.
    OldestFirst,
}

/// A relay that keeps NIP-01, or nearly.
#[derive(Debug, Clone)]
pub(crate) struct Relay {
    pub(crate) events: Vec<ItemKey>,
    pub(crate) cap: usize,
    pub(crate) order: Order,
    pub(crate) end: End,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum End {
    Eose,
    EoseTwice,
    Closed,
    /// EOSE with NIP-67's hint.
    Hint,
}

impl Relay {
    pub(crate) fn new(events: Vec<ItemKey>, cap: usize) -> Self {
        Self { events, cap, order: Order::NewestFirst, end: End::Eose }
    }

    pub(crate) fn answer(&self, asked: Asked) -> Vec<Sent> {
        let mut page: Vec<_> =
            self.events.iter().filter(|event| (asked.since..=asked.until).contains(&event.created_at)).collect();
        let matching = page.len();
        page.sort_by_key(|event| (std::cmp::Reverse(event.created_at), event.id));
        if self.order == Order::OldestFirst {
            page.reverse();
        }
        page.truncate(asked.limit.min(self.cap));
        let whole = page.len() == matching;
        if self.order == Order::Shuffled {
            page.sort_by_key(|event| event.id);
        }
        let mut sent: Vec<_> = page.into_iter().map(|event| Sent::Event(*event)).collect();
        match self.end {
            End::Eose => sent.push(Sent::Eose(None)),
            End::EoseTwice => sent.extend([Sent::Eose(None), Sent::Eose(None)]),
            End::Closed => sent.push(Sent::Closed),
            End::Hint => sent.push(Sent::Eose(Some(whole))),
        }
        sent
    }
}

/// Everything that a session said and was sent.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) delivered: BTreeSet<EventId>,
    pub(crate) haves: BTreeSet<EventId>,
    pub(crate) drained: Vec<Window>,
    /// How many were shown of each dense second.
    pub(crate) dense: BTreeMap<u64, u64>,
    /// Those of them of which it isn't known that they are.
    pub(crate) unsure: BTreeSet<u64>,
    /// What was last asked to be remembered.
    pub(crate) remembered: Option<Vec<u8>>,
    pub(crate) pages: usize,
    pub(crate) items: u64,
    pub(crate) outcome: Option<SessionOutcome>,
}

/// Drives `session` until it is done.
pub(crate) fn drive(
    session: &mut dyn SyncSession,
    local: &dyn SetView,
    mut answer: impl FnMut(Asked) -> Vec<Sent>,
) -> Told {
    let mut told = Told::default();
    let mut wire: VecDeque<(SubId, Sent)> = VecDeque::new();
    let mut open_sub = None;
    let mut subs = BTreeSet::new();
    session.handle(Input::Start, local, START).expect("no breach of contract");
    loop {
        while let Some(output) = session.poll() {
            assert_eq!(told.outcome, None, "{output:?} after the end");
            match output {
                Output::Send(Message::Req { sub, filter }) => {
                    assert!(subs.insert(sub), "each REQ has a number of its own");
                    assert_eq!(open_sub.replace(sub), None, "one page at a time");
                    told.pages += 1;
                    let asked = Asked {
                        since: filter.since.map_or(0, |since| since.as_secs()),
                        until: filter.until.map_or(u64::MAX, |until| until.as_secs()),
                        limit: filter.limit.expect("a page has a limit"),
                    };
                    wire.extend(answer(asked).into_iter().map(|sent| (sub, sent)));
                }
                Output::Send(Message::Close { sub }) => assert_eq!(open_sub.take(), Some(sub)),
                Output::Have(ids) => {
                    assert!(told.haves.is_disjoint(&ids.iter().copied().collect()), "offered twice");
                    told.haves.extend(ids);
                }
                Output::Drained(window) => {
                    assert!(window.since <= window.until, "{window:?}");
                    told.drained.push(window);
                }
                Output::Dense { second, shown, certain } => {
                    told.unsure.extend((!certain).then_some(second));
                    assert_eq!(told.dense.insert(second, shown), None, "second {second} is told twice");
                }
                Output::Remember(bytes) => told.remembered = Some(bytes),
                Output::Progress { items } => told.items += items,
                Output::Done(outcome) => told.outcome = Some(outcome),
                other => panic!("unexpected {other:?}"),
            }
        }
        if let Some(outcome) = &told.outcome {
            let lost = matches!(outcome, SessionOutcome::Failed { reason: FailureReason::ConnectionLost, .. });
            assert_eq!((session.next_timeout(), open_sub.filter(|_| !lost)), (None, None));
            assert!(!told.drained.iter().any(|window| told.dense.range(window.since..=window.until).next().is_some()));
            return told;
        }
        assert!(session.next_timeout().is_some(), "an open question has a deadline");
        let Some((sub, sent)) = wire.pop_front() else { panic!("asks nothing and doesn't end") };
        let said = sync_core::response::classify(sync_core::response::SaidIn::Closed, "", None);
        let bad = |reason| Input::Event {
            sub,
            id: EventId::from_byte_array([0; 32]),
            created_at: 0,
            verdict: CheckVerdict::Bad(reason),
        };
        let input = match sent {
            Sent::Event(event) => {
                let id = id_of(&event);
                let known = !told.delivered.insert(id) || in_set(local, event);
                let verdict = if known { CheckVerdict::Known } else { CheckVerdict::New };
                Input::Event { sub, id, created_at: event.created_at, verdict }
            }
            Sent::Bad(reason) => bad(reason),
            Sent::Break => Input::ConnectionLost,
            Sent::Eose(finished) => Input::Eose { sub, finished },
            Sent::Closed => {
                if open_sub == Some(sub) {
                    open_sub = None;
                }
                Input::Closed { sub, said: &said }
            }
        };
        session.handle(input, local, START).expect("no breach of contract");
    }
}

fn in_set(local: &dyn SetView, event: ItemKey) -> bool {
    let mut id = event.id;
    id[31] = id[31].wrapping_add(1);
    let range = sync_core::strategy::KeyRange { start: event, end: ItemKey { id, ..event } };
    local.count(range) > 0
}

/// Whether `drained` tells each second of `window` once: sorted, without gap or overlap.
pub(crate) fn covers(mut drained: Vec<Window>, window: Window) -> bool {
    drained.sort_unstable();
    let ends =
        drained.first().map(|w| w.since) == Some(window.since) && drained.last().map(|w| w.until) == Some(window.until);
    ends && drained.windows(2).all(|pair| pair[0].until.checked_add(1) == Some(pair[1].since))
}
