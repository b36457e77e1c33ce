//! An external own relay: where a seed has one, what happens to it, and the outbox, as `engine::daemon::outbox` has it.

use std::collections::{BTreeSet, HashSet};

use nostr::event::EventId;
use sync_core::lifecycle::relay_key;
use sync_core::link::Checked;
use sync_core::manager::{ManagerConfig, ManagerInput};
use sync_core::model::RelayUrl;
use sync_core::store::{EventStore, FeedSeq, LocalSets, OwnVerdict};
use sync_core::strategy::{CheckVerdict, RelayProfile};
use sync_core::time::Jitter;

use super::plan::{Dice, HOUR, Happening, Honesty, MINUTE, RelayPlan};
use super::queue::Inner;
use super::shell::{Contact, Sim};
use super::troubles::{NotTaken, Trouble, passing};
use super::weather::Climate;
use crate::relay::{Faults, RelayCore, RelayOptions};

/// Events read at once.
const READ: usize = 40;
/// Pause after the store did not take what was answered.
const RETRY: u64 = 1_000;

/// A seed's own relay.
pub(super) struct OwnPlan {
    dice: Dice,
}

impl OwnPlan {
    /// One seed of three has one. Its numbers are its own, so that the rest of a seed stays what it is.
    pub(super) fn new(seed: u64) -> Option<Self> {
        let mut dice = Dice(Jitter::new(seed.wrapping_mul(0xa076_1d64_78bd_642f) ^ 0x00f7));
        dice.one_in(3).then_some(Self { dice })
    }

    /// Adds the relay, the last of all: one without lasting faults, which everything is read from.
    pub(super) fn add(
        &mut self,
        relays: &mut Vec<RelayPlan>,
        bootstrap: &mut Vec<usize>,
        climate: &mut Climate,
        manager: &mut ManagerConfig,
    ) {
        let Ok(url) = RelayUrl::parse("wss://own.sim.example") else { return };
        let core = RelayCore::new(RelayOptions { name: "own".to_owned(), verify: false, ..RelayOptions::default() });
        let (lasting, honesty) = (Faults::default(), Honesty::Whole);
        // Every repository is followed there: in twenty subscriptions they may have no room.
        let profile = RelayProfile { max_subscriptions: Some(1_000), ..RelayProfile::default() };
        let latency = (1, [2, 40, 400][self.dice.below(3)]);
        let key = relay_key(&url).into_bytes();
        manager.own_relay = Some(url.clone());
        climate.intake.own_relay = Some(url.clone());
        climate.asks.push(false);
        bootstrap.push(relays.len());
        relays.push(RelayPlan { url, key, core, lasting, profile, honesty, latency });
    }

    /// What happens to it, at `place`, before `peace`.
    pub(super) fn happenings(&mut self, place: usize, peace: u64) -> Vec<(u64, Happening)> {
        let mut all = Vec::new();
        for _ in 0..self.dice.below(5) {
            let short = self.dice.one_in(2);
            let lasts = self.dice.within(1_000, if short { 2 * MINUTE } else { 2 * HOUR });
            let early = self.dice.one_in(3);
            let at = self.dice.within(0, if early { MINUTE } else { peace });
            let trouble = match self.dice.below(5) {
                0 => Trouble::TakesNothing(NotTaken::Locked),
                1 => Trouble::TakesNothing(NotTaken::TooFast),
                2 => Trouble::TakesNothing(NotTaken::Purgatory),
                3 => Trouble::Down,
                _ => passing(&mut self.dice),
            };
            all.push((at, Happening::Trouble(place, trouble)));
            all.push((at + lasts, Happening::Mend(place)));
        }
        for _ in 0..self.dice.below(4) {
            all.push((self.dice.within(0, peace), Happening::Drop(place)));
        }
        all.retain(|(at, _)| *at < peace);
        all
    }
}

/// What dies with the process.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Handed to the connection, and not answered.
    in_flight: HashSet<EventId>,
    /// It is to be looked at.
    waits: bool,
}

impl Sim {
    /// Lets the outbox be looked at, soon.
    pub(super) fn wake_outbox(&mut self) {
        self.wake_outbox_at(self.ms);
    }

    fn wake_outbox_at(&mut self, at: u64) {
        if self.plan.own.is_none() {
            return;
        }
        let soon = self.later(20).max(at);
        let Some(process) = &mut self.process else { return };
        if at > self.ms || !std::mem::replace(&mut process.outbox.waits, true) {
            self.put(soon, Inner::Outbox);
        }
    }

    /// A new connection of the own relay: what was on its way on the old one is offered again.
    pub(super) fn attach_outbox(&mut self, place: usize) {
        if self.plan.own == Some(place)
            && let Some(process) = &mut self.process
        {
            process.outbox.in_flight.clear();
            self.wake_outbox();
        }
    }

    /// Tells the manager how the outbox stands.
    pub(super) fn look_at_outbox(&mut self) {
        if self.plan.own.is_none() {
            return;
        }
        let state = self.store.outbox_state().unwrap_or_default();
        let feed_head = self.store.feed_head().unwrap_or(FeedSeq::MAX);
        self.take(ManagerInput::Outbox { state, feed_head });
    }

    /// Offers what may be offered.
    pub(super) fn offer(&mut self) {
        if let Some(process) = &mut self.process {
            process.outbox.waits = false;
        }
        self.look_at_outbox();
        let Some(place) = self.plan.own else { return };
        let now = self.unix();
        let Some(process) = &mut self.process else { return };
        let Some(Contact::Open(peer)) = process.contacts.get(&place) else { return };
        let (wire, room) = (peer.wire, peer.link.publish_room());
        let due = self.store.outbox(now, READ + process.outbox.in_flight.len()).unwrap_or_default();
        let in_flight = &mut process.outbox.in_flight;
        let fresh = due.into_iter().map(|held| held.event).filter(|event| !in_flight.contains(&event.id));
        let fresh: Vec<_> = fresh.take(room).collect();
        in_flight.extend(fresh.iter().map(|event| event.id));
        for event in fresh {
            self.with_link(wire, |link, store, now| link.publish(event, store, now));
        }
        let next_at = self.store.outbox_state().ok().and_then(|state| state.next_at).filter(|at| *at > now);
        if let Some(at) = next_at {
            let wait = (at - now).min(3_600) * 1_000;
            self.wake_outbox_at(self.ms + wait);
        }
    }

    /// The own relay has answered.
    pub(super) fn own_relay_said(&mut self, verdict: OwnVerdict) {
        let at = self.later(self.plan.slow);
        self.put(at, Inner::Answered(vec![verdict]));
    }

    /// Its answers are written, now or later.
    pub(super) fn answered(&mut self, verdicts: Vec<OwnVerdict>) {
        self.tell(|| format!("the own relay: {verdicts:?}"));
        if self.store.answer_outbox(verdicts.clone(), self.unix()).is_err() {
            return self.put(self.ms + RETRY, Inner::Answered(verdicts));
        }
        if let Some(process) = &mut self.process {
            for verdict in &verdicts {
                process.outbox.in_flight.remove(&verdict.id);
            }
        }
        self.watch_the_accepted();
        self.wake_feed();
        self.wake_outbox();
    }

    /// What is held for the own relay, and comes from there, is there.
    pub(super) fn confirm_by_service(&self, place: usize, answer: &Checked, offered: &mut Vec<EventId>) {
        if self.plan.own == Some(place) && answer.verdict == CheckVerdict::Known {
            let known = self.store.known(&[answer.id]).unwrap_or_default();
            if known.into_iter().flatten().any(|known| !known.stored) {
                offered.push(answer.id);
            }
        }
    }

    /// In the end nothing waits for the own relay, and it has everything that is accepted.
    pub(super) fn own_relay_is_whole(&self, accepted: &BTreeSet<EventId>) -> Result<(), String> {
        let Some(place) = self.plan.own else { return Ok(()) };
        let held = self.store.outbox_state().map_or(u64::MAX, |state| state.held);
        if held > 0 {
            return Err(format!("{held} events wait for the own relay"));
        }
        let relay = &self.plan.relays[place];
        match accepted.iter().find(|id| !relay.core.has(id)) {
            Some(id) => Err(format!("the own relay hasn't {}", self.describe(id))),
            None => Ok(()),
        }
    }
}
