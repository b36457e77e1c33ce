//! What happens to the relays.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use nostr::event::{Event, EventId};
use sync_core::time::Jitter;
use testkit::relay::{DropAfter, Faults, NoNegentropy, RateLimit, RateLimitAnswer, RunningRelay};
use testkit::world::{World, accepted};

use super::Error;

/// Troubles, and what is published between them.
pub(crate) struct Troubles {
    numbers: Jitter,
    world: World,
    /// Everything that relays hold.
    all: Vec<Event>,
    /// Relays that don't listen.
    stopped: BTreeSet<usize>,
    pub(crate) published: u64,
    pub(crate) count: u64,
    pub(crate) accepted: usize,
}

impl Troubles {
    pub(crate) fn new(seed: u64, world: World) -> Self {
        let all = world.events();
        Self { numbers: Jitter::new(seed), world, all, stopped: BTreeSet::new(), published: 0, count: 0, accepted: 0 }
    }

    /// Something happens: an issue is published, or a relay gets into trouble, or is mended.
    pub(crate) async fn happen(&mut self, relays: &[RunningRelay]) -> Result<(), Error> {
        let place = self.below(relays.len());
        let relay = &relays[place];
        match self.below(3) {
            0 => {
                let (place, event) = self.world.live_issue(self.published, now());
                self.published += 1;
                self.all.push(event.clone());
                let _ = relays[place].publish(event);
            }
            1 => {
                self.count += 1;
                self.trouble(place, relay).await;
            }
            _ => self.mend(place, relay).await?,
        }
        Ok(())
    }

    async fn trouble(&mut self, place: usize, relay: &RunningRelay) {
        let some = self.numbers.between(1, 60);
        let fault: &dyn Fn(&mut Faults) = match self.below(9) {
            0 => {
                self.stopped.insert(place);
                return relay.stop().await;
            }
            1 => return relay.drop_connections(),
            2 => &|faults| faults.stall_after = Some(some),
            3 => &|faults| faults.half_open = true,
            4 => &|faults| faults.drop_after = Some(DropAfter { frames: some, times: Some(5) }),
            5 => &|faults| faults.half_message_after = Some(some),
            6 => &|faults| faults.hang_handshake = true,
            7 => &|faults| {
                let answer = RateLimitAnswer::NoticeAndDrop;
                faults.rate_limit = Some(RateLimit { after: some, per_ms: 60_000, answer });
            },
            _ => &|faults| faults.no_negentropy = Some(NoNegentropy::ALL[0]),
        };
        relay.set_faults(fault);
    }

    async fn mend(&mut self, place: usize, relay: &RunningRelay) -> Result<(), Error> {
        relay.set_faults(|faults| *faults = Faults::default());
        if self.stopped.remove(&place) {
            relay.restart().await?;
        }
        Ok(())
    }

    /// All troubles are over.
    pub(crate) async fn end(&mut self, relays: &[RunningRelay]) -> Result<(), Error> {
        for (place, relay) in relays.iter().enumerate() {
            self.mend(place, relay).await?;
        }
        Ok(())
    }

    /// How many events should be stored, and aren't.
    pub(crate) fn missing(&mut self, stored: &BTreeSet<EventId>, domain: &str) -> usize {
        let should = accepted(&self.all, domain, now());
        self.accepted = stored.len();
        should.iter().filter(|event| !stored.contains(&event.id)).count()
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.numbers.between(0, end.max(1) as u64 - 1)).unwrap_or_default()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
