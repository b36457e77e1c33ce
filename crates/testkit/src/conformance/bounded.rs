//! Relays that answer for ever, in every way that there is, and relays that never do: a session ends all the same.

use std::collections::VecDeque;
use std::sync::Arc;

use nostr::event::EventId;
use nostr::filter::Filter;
use sync_core::response::{SaidIn, classify};
use sync_core::strategy::{CheckVerdict, Message, Output, SyncStrategy, Window};
use sync_core::time::Jitter;

use super::garbage::{array, fingerprint_of_nobody, one_id};
use super::given::Given;
use super::host::{Conduct, play};
use super::narrowing;
use super::player::Player;
use super::rules::Rule;
use super::scene::{BEGIN, Scene};
use super::{Case, ended};
use crate::sim::Dice;

/// Virtual time that a session may take with a relay that never ends: ten days.
const TIME_MS: u64 = 10 * 86_400_000;
/// Inputs that such a session may be given.
const INPUTS: u64 = 600_000;
/// Events of a page that a relay makes up.
const PAGE: usize = 3;

/// How a relay goes on and on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endless {
    /// Each page has an older event.
    Older,
    /// Each page is full, of events of its last second that were never shown before.
    Dense,
    /// Each page has events from all over what was asked for, and is said not to be the last.
    Scattered,
    /// Each page has an event, and ends by CLOSED.
    Closed,
    /// A page has a new event every now and then, and no end.
    NoEnd,
    /// A page has the same event again and again, and no end.
    Repeats,
    /// Nothing.
    Silent,
}

const ENDLESS: [Endless; 7] = [
    Endless::Older,
    Endless::Dense,
    Endless::Scattered,
    Endless::Closed,
    Endless::NoEnd,
    Endless::Repeats,
    Endless::Silent,
];

/// One endless relay.
pub(super) fn endless(strategy: &Arc<dyn SyncStrategy>, seed: u64) -> Case {
    let Some(scene) = Scene::new(seed, strategy) else { return Case::Skipped };
    let mut scene = scene.plain();
    let way = ENDLESS[usize::try_from(seed).unwrap_or(0) % ENDLESS.len()];
    let mut dice = Dice(Jitter::new(seed ^ 0xe4d1e55));
    // Time is long; a walk down all of it, second by second, is what a session must not do.
    let all = dice.one_in(4);
    if !all {
        let since = BEGIN.unix_s - dice.within(1, 3_000);
        scene.request.window = Window { since, until: BEGIN.unix_s };
    }
    let result = Relay { way, queue: VecDeque::new(), asked: None, dice }.run(strategy, &scene);
    ended(result.map_err(|text| format!("{way:?}: {text}")), || scene.told())
}

/// A relay with an end: what is asked and told is in proportion to what it has.
pub(super) fn measured(strategy: &Arc<dyn SyncStrategy>, seed: u64) -> Case {
    let Some(scene) = Scene::new(seed, strategy) else { return Case::Skipped };
    let player = play(strategy, &scene, &Conduct::default());
    ended(player.keeps(&[Rule::Bounds]), || scene.told())
}

struct Relay {
    way: Endless,
    queue: VecDeque<Given>,
    /// The last REQ that is open.
    asked: Option<(u32, Window)>,
    dice: Dice,
}

impl Relay {
    fn run(mut self, strategy: &Arc<dyn SyncStrategy>, scene: &Scene) -> Result<(), String> {
        let mut player = Player::new(strategy, &scene.request).forgetful();
        let (set, mut now, mut inputs) = (scene.set(), BEGIN, 0u64);
        let mut given = Given::Start;
        loop {
            let step = player.give(given, now, &set);
            inputs += 1;
            for output in &step.outputs {
                if let Output::Send(message) = output {
                    self.hears(message);
                }
            }
            player.keeps(&[Rule::Bounds])?;
            if player.is_over() {
                return Ok(());
            }
            let (minutes, questions) = ((now.mono_ms - BEGIN.mono_ms) / 60_000, player.watch.questions);
            if now.mono_ms - BEGIN.mono_ms > TIME_MS || inputs > INPUTS {
                return Err(format!("{minutes} minutes, {inputs} inputs, {questions} questions, and no end"));
            }
            // The rules have seen to it that there is one.
            let deadline = player.deadline().unwrap_or(now.mono_ms);
            let next = self.next();
            let at = if next.is_some() { now.mono_ms + 20 } else { deadline };
            if at >= deadline {
                now = BEGIN.plus_ms(deadline.max(now.mono_ms) - BEGIN.mono_ms);
                if let Some(next) = next {
                    self.queue.push_front(next);
                }
                given = Given::Timeout;
            } else {
                now = BEGIN.plus_ms(at - BEGIN.mono_ms);
                given = next.unwrap_or(Given::Timeout);
            }
        }
    }

    /// What comes next, if anything.
    fn next(&mut self) -> Option<Given> {
        if let Some(given) = self.queue.pop_front() {
            return Some(given);
        }
        let (sub, window) = self.asked?;
        match self.way {
            Endless::NoEnd => {
                let at = self.dice.within(window.since, window.until.min(BEGIN.unix_s));
                Some(self.event(sub, at))
            }
            Endless::Repeats => {
                let id = EventId::from_byte_array([7; 32]);
                let verdict = CheckVerdict::Known;
                Some(Given::Event { sub, id, created_at: window.since.max(1), verdict })
            }
            _ => None,
        }
    }

    fn hears(&mut self, message: &Message) {
        if self.way == Endless::Silent {
            return;
        }
        match message {
            Message::Req { sub, filter } => self.answers(*sub, filter),
            Message::Close { sub } => {
                self.asked = self.asked.filter(|(open, _)| open != sub);
                self.queue.retain(
                    |given| !matches!(given, Given::Event { sub: of, .. } | Given::Eose { sub: of, .. } if of == sub),
                );
            }
            Message::NegOpen { sub, payload, .. } | Message::NegMsg { sub, payload } => {
                let payload = match self.way {
                    Endless::Older | Endless::Scattered => one_id(&mut self.dice),
                    Endless::Dense => [vec![0x61], fingerprint_of_nobody(&mut self.dice)].concat(),
                    _ => payload.clone(),
                };
                self.queue.push_back(Given::NegMsg { sub: *sub, payload });
            }
            Message::NegClose { .. } => {}
        }
    }

    fn answers(&mut self, sub: u32, filter: &Filter) {
        let window = narrowing::bounds(filter, Window { since: 0, until: BEGIN.unix_s });
        if window.since > window.until {
            return self.queue.push_back(Given::Eose { sub, finished: None });
        }
        let page = filter.limit.unwrap_or(PAGE).min(PAGE);
        match self.way {
            Endless::Older => {
                let older = self.event(sub, (window.until - 1).max(window.since));
                self.queue.extend([older, Given::Eose { sub, finished: None }]);
            }
            Endless::Dense => {
                let events: Vec<_> = (0..page).map(|_| self.event(sub, window.until)).collect();
                self.queue.extend(events);
                self.queue.push_back(Given::Eose { sub, finished: None });
            }
            Endless::Scattered => {
                for _ in 0..page {
                    let at = self.dice.within(window.since, window.until);
                    let event = self.event(sub, at);
                    self.queue.push_back(event);
                }
                self.queue.push_back(Given::Eose { sub, finished: Some(false) });
            }
            Endless::Closed => {
                let event = self.event(sub, window.until);
                let said = classify(SaidIn::Closed, "", None);
                self.queue.extend([event, Given::Closed { sub, said }]);
            }
            Endless::NoEnd | Endless::Repeats => self.asked = Some((sub, window)),
            Endless::Silent => {}
        }
    }

    /// An event that nobody has seen.
    fn event(&mut self, sub: u32, created_at: u64) -> Given {
        let id = EventId::from_byte_array(array(&mut self.dice));
        Given::Event { sub, id, created_at, verdict: CheckVerdict::New }
    }
}
