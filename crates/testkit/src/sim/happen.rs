//! What the plan lets happen to relays, network, clock and process; and the verdict when all of it is over.

use sync_core::manager::ManagerInput;
use sync_core::transport::FaultKind;

use super::plan::{HOUR, Happening};
use super::queue::{Inner, Step};
use super::shell::{SILENCE, Sim};
use super::troubles::Trouble;
use super::weather::Loss;

/// How long a process that was told to stop may take.
const GOOD_BYE: u64 = 3_000;

impl Sim {
    pub(super) fn happen(&mut self, happening: Happening) {
        self.tell(|| format!("== {happening:?}"));
        match happening {
            Happening::Trouble(place, trouble) => {
                let core = self.plan.relays[place].core.clone();
                core.set_faults(|faults| trouble.apply(faults));
                if trouble == Trouble::Down {
                    core.drop_connections();
                }
                self.relay_speaks(place);
                if trouble == Trouble::HalfOpen {
                    self.falls_silent(place);
                }
            }
            Happening::Mend(place) => self.mend(place),
            Happening::Drop(place) => {
                self.plan.relays[place].core.drop_connections();
                self.relay_speaks(place);
            }
            Happening::Crash(away) => self.kill(away),
            Happening::Stop(away) => {
                if self.process.is_some() {
                    self.take(ManagerInput::Shutdown);
                    self.close_everything();
                    // Whatever has not ended by then is cut off.
                    let away = away.max(GOOD_BYE + 1);
                    self.plan.happenings.push((self.ms + GOOD_BYE, Happening::Crash(away)));
                    self.queue.put(self.ms + GOOD_BYE, Step::Plan(self.plan.happenings.len() - 1));
                }
            }
            Happening::Full => self.store.set_full(true),
            Happening::Room => self.store.set_full(false),
            Happening::Publish(number) => self.publish(number),
            Happening::Clock(off) => self.clock_off = off,
            Happening::Lose(place, loss) => self.lose(place, loss),
            Happening::CutOff(places, kind) => {
                for place in places {
                    self.cut_off.insert(place, kind);
                    if kind == FaultKind::Network {
                        self.falls_silent(place);
                    }
                }
            }
            Happening::Joined(places) => self.join(&places),
            Happening::Peace => {
                self.store.set_full(false);
                self.clock_off = self.plan.climate.skew;
                self.join(&(0..self.plan.relays.len()).collect::<Vec<_>>());
                for place in 0..self.plan.relays.len() {
                    self.mend(place);
                }
                self.queue.put(self.ms + HOUR / 6, Step::Verdict);
            }
        }
    }

    fn mend(&mut self, place: usize) {
        let lasting = self.plan.relays[place].lasting.clone();
        self.plan.relays[place].core.set_faults(|faults| *faults = lasting);
        self.hear_held(place);
        self.relay_speaks(place);
    }

    /// A relay is started again without a part of what it held. What it lost is not owed any more: what is compared in
    /// the end is what relays hold then.
    fn lose(&mut self, place: usize, loss: Loss) {
        let relay = &self.plan.relays[place];
        let mut events = match loss {
            Loss::Everything => Vec::new(),
            Loss::Backup => self.plan.world.events_for(place),
            Loss::Newest(_) => relay.core.events(),
        };
        if let Loss::Newest(kept) = loss {
            let gone = events.len() as u64 * (100 - kept) / 100;
            events.drain(..usize::try_from(gone).unwrap_or_default());
        }
        relay.core.restart_with(events);
        self.relay_speaks(place);
    }

    /// Nothing is heard on the relay's connection from here on, unless that ends in time.
    fn falls_silent(&mut self, place: usize) {
        if let Some(wire) = self.wire_of(place) {
            self.put(self.ms + SILENCE, Inner::Silent(wire));
        }
    }

    fn join(&mut self, places: &[usize]) {
        for place in places {
            if self.cut_off.remove(place).is_some() {
                self.hear_held(*place);
                self.relay_speaks(*place);
            }
        }
    }

    fn kill(&mut self, away: u64) {
        if self.process.take().is_some() {
            self.lives += 1;
            self.queue.put(self.ms + away, Step::Start);
        }
    }

    /// Checks the final state, or waits on; see [`Judge`].
    pub(super) fn verdict(&mut self) {
        match self.final_state() {
            Err(text) if self.ms > self.plan.peace + self.plan.patience() => self.broke(text),
            Err(text) => {
                self.tell(|| format!("not yet: {text}"));
                self.queue.put(self.ms + HOUR, Step::Verdict);
            }
            Ok(()) => {
                self.tell(|| "complete");
                let ids = self.probe();
                self.queue.put(self.ms + 5 * 60_000, Step::Probed(ids));
            }
        }
    }
}
