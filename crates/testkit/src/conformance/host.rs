//! A session and a scripted relay, on virtual time: frames to and fro, events checked and handed on in the order of the
//! wire, deadlines kept, and what is needed taken as fetched.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use nostr::event::EventId;
use sync_core::Now;
use sync_core::check::{Candidate, EventLimits};
use sync_core::link::CheckJob;
use sync_core::store::KnownEvent;
use sync_core::strategy::{CheckVerdict, ItemKey, Message, Output, SyncStrategy, VecSet};
use sync_core::time::Jitter;

use super::given::Given;
use super::player::Player;
use super::rules::Rule;
use super::scene::{BEGIN, PageEnd, Scene, Sets, key};
use super::wire::{Arrived, Wires};
use crate::relay::{Outgoing, RelayConnection};
use crate::sim::Dice;

/// As wide as the defaults of the configuration.
const LIMITS: EventLimits = EventLimits { max_event_size: 512 * 1024, max_tags: 5_000 };
/// Inputs of one session with a relay that holds a few hundred events.
const MAX_INPUTS: usize = 100_000;
/// Questions that such a relay may be asked: so many, and so many for each event that it serves.
const QUESTIONS: u64 = 2_000;
const QUESTIONS_AN_EVENT: u64 = 20;

/// What comes between a session and its relay.
#[derive(Debug, Clone, Default)]
pub(super) struct Conduct {
    /// The connection is lost in place of this input, counted from 0.
    pub(super) lost_at: Option<usize>,
    /// From this question on, counted from 0, the relay says this to each, and nothing else.
    pub(super) refusal: Option<(u64, Refusal)>,
}

/// A relay's word against a question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    pub(super) place: sync_core::response::SaidIn,
    pub(super) text: &'static str,
    pub(super) cap: Option<u64>,
}

impl Refusal {
    /// What a session hears of it about `sub`.
    pub(super) fn given(self, sub: u32) -> Given {
        use sync_core::response::{SaidIn, classify};
        let said = classify(self.place, self.text, self.cap);
        match self.place {
            SaidIn::Notice => Given::Notice { said },
            SaidIn::NegErr => Given::NegErr { sub, said },
            SaidIn::Closed | SaidIn::Ok => Given::Closed { sub, said },
        }
    }
}

/// Plays a scene until its session has ended.
pub(super) fn play(strategy: &Arc<dyn SyncStrategy>, scene: &Scene, conduct: &Conduct) -> Player {
    Host::new(strategy, scene, conduct.clone()).play()
}

struct Host<'a> {
    scene: &'a Scene,
    conduct: Conduct,
    player: Player,
    relay: RelayConnection,
    wires: Wires,
    ready: VecDeque<Given>,
    set: Arc<VecSet>,
    /// Everything that the local set may hold, by id.
    items: BTreeMap<EventId, ItemKey>,
    held: BTreeSet<ItemKey>,
    known: BTreeSet<EventId>,
    refused: bool,
    most_questions: u64,
    now: Now,
    dice: Dice,
}

impl<'a> Host<'a> {
    fn new(strategy: &Arc<dyn SyncStrategy>, scene: &'a Scene, conduct: Conduct) -> Self {
        let held: BTreeSet<ItemKey> = scene.ours().map(key).collect();
        Self {
            player: Player::new(strategy, &scene.request),
            relay: scene.relay().connect(),
            wires: Wires::default(),
            ready: VecDeque::new(),
            set: scene.set(),
            items: scene.ours().chain(scene.served()).map(|event| (event.id, key(event))).collect(),
            known: scene.ours().map(|event| event.id).collect(),
            held,
            refused: false,
            most_questions: QUESTIONS + QUESTIONS_AN_EVENT * scene.served().count() as u64,
            now: BEGIN,
            dice: Dice(Jitter::new(scene.seed ^ 0x4057)),
            scene,
            conduct,
        }
    }

    fn play(mut self) -> Player {
        let first = if self.conduct.lost_at == Some(0) { Given::ConnectionLost } else { Given::Start };
        self.give(first);
        while !self.player.is_over() {
            let given = self.next();
            let lost = self.conduct.lost_at.is_some_and(|at| self.player.steps.len() >= at);
            self.give(if lost { Given::ConnectionLost } else { given });
        }
        self.player
    }

    /// What happens next.
    fn next(&mut self) -> Given {
        let (inputs, questions) = (self.player.steps.len(), self.player.watch.questions);
        if inputs > MAX_INPUTS || questions > self.most_questions {
            let text = || format!("{inputs} inputs and {questions} questions, and no end");
            self.player.watch.breach(Rule::Bounds, text);
            return Given::ConnectionLost;
        }
        if self.player.deadline().is_some_and(|at| at <= self.now.mono_ms) {
            return Given::Timeout;
        }
        loop {
            if let Some(given) = self.ready.pop_front() {
                return given;
            }
            let frame = if self.refused { None } else { self.relay.poll() };
            match frame {
                Some(Outgoing::Text(frame)) => {
                    self.pass();
                    if let Some(given) = self.arrived(&frame) {
                        self.ready.push_back(given);
                    }
                }
                Some(_) => return Given::ConnectionLost,
                None => match self.player.deadline() {
                    Some(at) => {
                        self.wait_until(at);
                        return Given::Timeout;
                    }
                    // The rules have taken note of it.
                    None => return Given::ConnectionLost,
                },
            }
            // The relay may have taken its time.
            if self.player.deadline().is_some_and(|at| at <= self.now.mono_ms) {
                return Given::Timeout;
            }
        }
    }

    fn pass(&mut self) {
        let slow = self.scene.slow_ms;
        let ms = if slow > 1_000 && !self.dice.one_in(20) { 5 } else { self.dice.within(0, slow) };
        self.wait_until(self.now.mono_ms + ms);
    }

    fn wait_until(&mut self, at: u64) {
        let mono_ms = self.now.mono_ms.max(at);
        self.now = BEGIN.plus_ms(mono_ms - BEGIN.mono_ms);
    }

    fn arrived(&mut self, frame: &str) -> Option<Given> {
        match self.wires.arrived(frame) {
            Arrived::Nothing => None,
            Arrived::Given(Given::Eose { sub, .. }) if self.scene.page_end == PageEnd::Closed => {
                self.wires.forget(sub);
                let said = sync_core::response::classify(sync_core::response::SaidIn::Closed, "", None);
                Some(Given::Closed { sub, said })
            }
            Arrived::Given(given) => Some(given),
            Arrived::Event { sub, filter, json } => Some(self.checked(sub, filter, json)),
        }
    }

    fn checked(&mut self, sub: u32, filter: nostr::filter::Filter, json: String) -> Given {
        let candidate = Candidate::parse(&json, &LIMITS);
        let place = self.items.get(&candidate.id()).filter(|item| self.known.contains(&id_of(item)));
        let known = place.map(|item| KnownEvent { created_at: item.created_at, stored: true });
        let job = CheckJob { token: 0, json, filters: Arc::new([filter]), store: true, batch: None, question: None };
        let answer = candidate.check(&job, known, |_| true).0;
        if answer.verdict == CheckVerdict::New {
            self.known.insert(answer.id);
            self.items.entry(answer.id).or_insert(ItemKey::new(answer.created_at, &answer.id));
        }
        Given::Event { sub, id: answer.id, created_at: answer.created_at, verdict: answer.verdict }
    }

    fn give(&mut self, given: Given) {
        self.look_again();
        let outputs = self.player.give(given, self.now, &self.set).outputs.clone();
        for output in outputs {
            match output {
                Output::Send(message) => self.send(&message),
                Output::Need { ids, .. } => self.known.extend(ids),
                _ => {}
            }
        }
    }

    fn send(&mut self, message: &Message) {
        let asks = matches!(message, Message::Req { .. } | Message::NegOpen { .. } | Message::NegMsg { .. });
        if let Some((from, refusal)) = self.conduct.refusal
            && asks
            && self.player.watch.questions > from
        {
            self.refused = true;
            let (Message::Req { sub, .. } | Message::NegOpen { sub, .. } | Message::NegMsg { sub, .. }) = message
            else {
                return;
            };
            return self.ready.push_back(refusal.given(*sub));
        }
        for frame in self.wires.frames(message) {
            self.relay.receive(&frame, self.now);
        }
    }

    /// The local set as the next input finds it.
    fn look_again(&mut self) {
        match self.scene.sets {
            Sets::Still => return,
            Sets::Grows if !self.dice.one_in(8) => return,
            Sets::Grows => self.held.extend(self.known.iter().filter_map(|id| self.items.get(id))),
            Sets::Shifts => {
                let dice = &mut self.dice;
                self.held = self.items.values().filter(|_| dice.one_in(2)).copied().collect();
            }
        }
        self.set = Arc::new(self.held.iter().copied().collect());
    }
}

fn id_of(item: &ItemKey) -> EventId {
    EventId::from_byte_array(item.id)
}
