//! One client's connection: its subscriptions and what it is still to be sent. Messages in, messages out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use sync_core::Now;

use super::core::{RelayCore, State};
use super::index::{StoredEvent, matches};
use super::message::{self, ClientMessage};
use super::negentropy::Reconciliation;
use nostr::filter::Filter;

/// What the relay does next on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// A whole message.
    Text(String),
    /// The first half of a message; nothing follows it.
    Half(String),
    /// A message in pieces.
    Drip {
        /// All of it.
        text: String,
        /// Bytes of a piece, at least 1.
        piece: usize,
        /// Milliseconds before each piece but the first.
        pause_ms: u64,
    },
    /// The connection ends, without a good-bye.
    Drop,
}

/// The machine of one connection. Call [`receive`](Self::receive) for each message, and drain
/// [`poll`](Self::poll) after that, and after anything that [`RelayCore`] was told or that `receive` of another
/// connection answered with `true`.
pub struct RelayConnection {
    pub(super) core: RelayCore,
    pub(super) number: u64,
    pub(super) subscriptions: BTreeMap<String, Subscription>,
    pub(super) reconciliations: BTreeMap<String, Reconciliation>,
    pub(super) challenge: Option<String>,
    queue: VecDeque<Queued>,
    /// The place in the relay's arrivals up to which live events were queued.
    read: usize,
    sent: Sent,
    ended: bool,
}

/// An open REQ.
pub(super) struct Subscription {
    pub(super) filters: Vec<Filter>,
    /// Its id as JSON.
    pub(super) quoted: Arc<str>,
    /// Arrivals before this place were among the stored events, if they matched.
    pub(super) live_from: usize,
}

/// A message that waits; an event is written out only when it is sent.
pub(super) struct Queued {
    pub(super) name: &'static str,
    /// The subscription it belongs to, its id as JSON: goes when that is closed.
    pub(super) of: Option<Arc<str>>,
    pub(super) body: Body,
}

pub(super) enum Body {
    Text(String),
    Event(Arc<StoredEvent>),
    Drop,
}

/// Counts of this connection, which faults go by.
#[derive(Default)]
struct Sent {
    /// All frames.
    frames: u64,
    /// Frames that are no intruders.
    regular: u64,
    /// EVENT frames that are no intruders.
    events: u64,
    nonsense_before: u64,
    mismatch_before: u64,
    oversized: bool,
}

impl RelayConnection {
    /// Beyond this many waiting messages a shell should stop reading: [`is_congested`](Self::is_congested).
    pub const HIGH_WATER: usize = 16_384;

    pub(super) fn new(core: RelayCore) -> Self {
        let mut state = core.lock();
        let number = state.stats.connections;
        state.stats.connections += 1;
        state.stats.connections_open += 1;
        let read = state.arrivals.len();
        drop(state);
        let mut connection = Self {
            number,
            subscriptions: BTreeMap::new(),
            reconciliations: BTreeMap::new(),
            challenge: core.options.require_auth.then(|| format!("challenge-{number}")),
            queue: VecDeque::new(),
            read,
            sent: Sent::default(),
            ended: false,
            core,
        };
        if let Some(challenge) = &connection.challenge {
            let text = message::auth(challenge);
            connection.say("AUTH", text);
        }
        connection
    }

    /// Takes one text message. Returns whether other connections may have something to send because of it.
    pub fn receive(&mut self, text: &str, now: Now) -> bool {
        if self.ended {
            return false;
        }
        let parsed = ClientMessage::parse(text);
        let core = self.core.clone();
        let refused = match &parsed {
            Ok(ClientMessage::Event(event)) if core.options.verify => event.verify().err(),
            _ => None,
        };
        let mut state = core.lock();
        // What came in before goes out before the answer: a live event isn't overtaken by an EOSE that was asked for later.
        self.queue_live(&state);
        let arrived = state.arrivals.len();
        state.stats.bytes_in += text.len() as u64;
        let name = parsed.as_ref().map_or("invalid", ClientMessage::name);
        *state.stats.frames_in.entry(name).or_default() += 1;
        match parsed {
            Err(unreadable) => self.say(unreadable.name, unreadable.answer),
            Ok(message) => self.answer(&mut state, message, refused, now),
        }
        state.arrivals.len() > arrived
    }

    /// What the relay does next; `None` when there is nothing to do until something happens.
    pub fn poll(&mut self) -> Option<Outgoing> {
        if self.ended {
            return None;
        }
        let core = self.core.clone();
        let mut state = core.lock();
        if self.is_cut(&mut state) {
            return Some(self.end(&mut state));
        }
        let faults = &state.faults;
        if faults.half_open || faults.stall_after.is_some_and(|frames| self.sent.frames >= frames) {
            return None;
        }
        if faults.half_message_after.is_some_and(|frames| self.sent.frames > frames) {
            return None;
        }
        let (name, text) = self.intruder(&mut state).or_else(|| self.regular(&mut state))?;
        let Some(text) = text else { return Some(self.end(&mut state)) };
        self.sent.frames += 1;
        *state.stats.frames_out.entry(name).or_default() += 1;
        state.stats.bytes_out += text.len() as u64;
        Some(self.dress(&state, text))
    }

    /// Whether so much waits to be sent that nothing more should be read.
    pub fn is_congested(&self) -> bool {
        self.queue.len() > Self::HIGH_WATER
    }

    /// Whether the connection neither reads nor writes ([`super::Faults::half_open`]).
    pub fn is_half_open(&self) -> bool {
        self.core.lock().faults.half_open
    }

    pub(super) fn say(&mut self, name: &'static str, text: String) {
        self.push(Queued { name, of: None, body: Body::Text(text) });
    }

    pub(super) fn push(&mut self, queued: Queued) {
        self.queue.push_back(queued);
    }

    /// Takes a subscription out, with what waits to be sent of it.
    pub(super) fn forget(&mut self, state: &mut State, id: &str) -> Option<Subscription> {
        let gone = self.subscriptions.remove(id)?;
        state.stats.subscriptions -= 1;
        self.queue.retain(|queued| queued.of.as_ref() != Some(&gone.quoted));
        Some(gone)
    }

    fn is_cut(&self, state: &mut State) -> bool {
        if self.number < state.dropped_below {
            return true;
        }
        let Some(cut) = state.faults.drop_after.filter(|cut| self.sent.frames >= cut.frames) else { return false };
        match cut.times {
            None => true,
            Some(0) => false,
            Some(times) => {
                state.faults.drop_after = Some(super::DropAfter { times: Some(times - 1), ..cut });
                true
            }
        }
    }

    fn end(&mut self, state: &mut State) -> Outgoing {
        self.ended = true;
        self.queue.clear();
        state.stats.connections_dropped += 1;
        Outgoing::Drop
    }

    /// A message that nobody asked for, where a fault wants one now.
    fn intruder(&mut self, state: &mut State) -> Option<(&'static str, Option<String>)> {
        let faults = &state.faults;
        if let Some(bytes) = faults.oversized_notice
            && !std::mem::replace(&mut self.sent.oversized, true)
        {
            return Some((
                "NOTICE",
                Some(message::notice(&"x".repeat(bytes.saturating_sub(message::notice("").len())))),
            ));
        }
        if self.queue.is_empty() {
            self.queue_live(state);
        }
        let next = self.queue.front()?;
        let number = self.sent.regular + 1;
        if state.faults.invalid_json_every.is_some_and(|every| number % every == 0)
            && std::mem::replace(&mut self.sent.nonsense_before, number) != number
        {
            return Some(("invalid", Some("[\"EVENT\",{nonsense".to_owned())));
        }
        let number = self.sent.events + 1;
        if matches!(next.body, Body::Event(_))
            && state.faults.mismatch_every.is_some_and(|every| number % every == 0)
            && std::mem::replace(&mut self.sent.mismatch_before, number) != number
            && let Some(quoted) = &next.of
            && let Some(subscription) = self.subscriptions.values().find(|held| held.quoted == *quoted)
        {
            let foreign = state.index.iter().take(MISMATCH_SEARCH);
            let foreign = foreign.into_iter().find(|stored| !subscription.wants(stored))?;
            return Some(("EVENT", Some(message::event(quoted, &foreign.json))));
        }
        None
    }

    /// The next message in turn; `None` inside where the connection ends.
    fn regular(&mut self, state: &mut State) -> Option<(&'static str, Option<String>)> {
        let queued = self.queue.pop_front()?;
        self.sent.regular += 1;
        let text = match queued.body {
            Body::Text(text) => Some(text),
            Body::Drop => None,
            Body::Event(stored) => {
                self.sent.events += 1;
                *state.stats.events_sent.entry(stored.event.id).or_default() += 1;
                let frame = message::event(queued.of.as_deref().unwrap_or_default(), &stored.json);
                Some(self.forged(state, &stored, frame))
            }
        };
        Some((queued.name, text))
    }

    fn forged(&self, state: &State, stored: &StoredEvent, frame: String) -> String {
        let spoilt = |hex: String| {
            let first = if hex.starts_with('0') { "1" } else { "0" };
            frame.replacen(&hex, &format!("{first}{}", &hex[1..]), 1)
        };
        let due = |every: Option<std::num::NonZeroU64>| every.is_some_and(|every| self.sent.events % every == 0);
        if due(state.faults.wrong_id_every) {
            spoilt(stored.event.id.to_hex())
        } else if due(state.faults.bad_signature_every) {
            spoilt(stored.event.sig.to_hex())
        } else {
            frame
        }
    }

    fn dress(&self, state: &State, text: String) -> Outgoing {
        if state.faults.half_message_after.is_some_and(|frames| self.sent.frames > frames) {
            let half = (0..=text.len() / 2).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
            return Outgoing::Half(text[..half].to_owned());
        }
        match state.faults.drip {
            Some(drip) => Outgoing::Drip { text, piece: drip.piece.max(1), pause_ms: drip.pause_ms },
            None => Outgoing::Text(text),
        }
    }

    /// Queues what arrived since for the open subscriptions, as far as there is room.
    fn queue_live(&mut self, state: &State) {
        while let Some(stored) = state.arrivals.get(self.read)
            && !self.is_congested()
        {
            let place = self.read;
            self.read += 1;
            if state.faults.withheld.contains(&stored.event.id) {
                continue;
            }
            let wanting = self.subscriptions.values().filter(|held| held.live_from <= place && held.wants(stored));
            self.queue.extend(wanting.map(|subscription| Queued {
                name: "EVENT",
                of: Some(Arc::clone(&subscription.quoted)),
                body: Body::Event(Arc::clone(stored)),
            }));
        }
    }
}

/// How many events are looked at for one that doesn't match.
const MISMATCH_SEARCH: usize = 1_000;

impl Subscription {
    fn wants(&self, stored: &StoredEvent) -> bool {
        self.filters.iter().any(|filter| matches(filter, &stored.event))
    }
}

impl Drop for RelayConnection {
    fn drop(&mut self) {
        let mut state = self.core.lock();
        state.stats.connections_open -= 1;
        state.stats.subscriptions -= self.subscriptions.len() as u64;
        state.stats.reconciliations -= self.reconciliations.len() as u64;
    }
}
