//! Events that the rejected index let go of: what they waited for is here, their bodies are gone (SPEC §11).
//!
//! Each is asked by its id of one relay after the other that offered it, of each once, as they are connected and have
//! room for a batch. A link passes over what is known meanwhile, so that the first relay that serves an event ends the
//! search. An event that no relay serves any more is no failure of theirs: they offered it once, and may have deleted it
//! since. Its id stays unknown to the store, so that the next full sync asks whoever offers it still, and names it where it
//! isn't served. A request that fails is one: its ids join what failed at that relay, and are asked for again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use nostr::event::EventId;

use crate::model::RelayUrl;

/// Ids to be fetched again, by the relays that are still to be asked.
#[derive(Debug, Default)]
pub struct WantedIds {
    /// Told by the feed, and not folded in.
    gathered: Vec<(EventId, Vec<RelayUrl>)>,
    ids: HashMap<EventId, Wanted>,
    /// The ids in the order of their coming.
    order: BTreeMap<u64, EventId>,
    next: u64,
    /// What each relay may be asked for.
    by_relay: HashMap<RelayUrl, BTreeSet<EventId>>,
}

#[derive(Debug)]
struct Wanted {
    number: u64,
    /// Relays that weren't asked.
    left: Vec<RelayUrl>,
    /// Some relay is being asked.
    asked: bool,
}

impl WantedIds {
    /// Ids that are kept at once. The oldest go; they come with the next full sync, or are told again at the next start.
    pub const MAX_IDS: usize = 20_000;
    /// Relays of one id that are asked.
    pub const MAX_RELAYS: usize = 8;

    /// Takes what the feed tells, until the window closes. Whether there was room.
    pub(crate) fn gather(&mut self, id: EventId, relays: &[RelayUrl]) -> bool {
        let room = self.gathered.len() < Self::MAX_IDS;
        if room {
            self.gathered.push((id, relays.iter().take(Self::MAX_RELAYS).cloned().collect()));
        }
        room
    }

    /// The window has closed: what was gathered may be asked for. Whether all of it found room.
    pub(crate) fn fold(&mut self) -> bool {
        let mut room = true;
        for (id, relays) in std::mem::take(&mut self.gathered) {
            self.forget(&id);
            if self.ids.len() >= Self::MAX_IDS
                && let Some(oldest) = self.order.first_entry().map(|oldest| *oldest.get())
            {
                self.forget(&oldest);
                room = false;
            }
            self.next += 1;
            self.order.insert(self.next, id);
            self.ids.insert(id, Wanted { number: self.next, left: relays, asked: false });
            self.offer(&id);
        }
        room
    }

    /// The event is here, or nobody is to be asked for it any more.
    pub(crate) fn forget(&mut self, id: &EventId) {
        self.withdraw(id);
        if let Some(wanted) = self.ids.remove(id) {
            self.order.remove(&wanted.number);
        }
    }

    /// Whether `relay` is to be asked for something.
    pub(crate) fn waits_for(&self, relay: &RelayUrl) -> bool {
        self.by_relay.contains_key(relay)
    }

    /// What `relay` is to be asked for, at most `max` ids: no other is asked for them until they are given back or tried.
    pub(crate) fn take(&mut self, relay: &RelayUrl, max: usize) -> BTreeSet<EventId> {
        let taken: BTreeSet<EventId> = self.by_relay.get(relay).into_iter().flatten().take(max).copied().collect();
        for id in &taken {
            self.withdraw(id);
            self.ids.entry(*id).and_modify(|wanted| wanted.asked = true);
        }
        taken
    }

    /// The request came to nothing: the same relay may be asked again.
    pub(crate) fn give_back(&mut self, ids: impl IntoIterator<Item = EventId>) {
        for id in ids {
            self.ids.entry(id).and_modify(|wanted| wanted.asked = false);
            self.offer(&id);
        }
    }

    /// `relay` was asked; what it didn't serve is for the others.
    pub(crate) fn tried(&mut self, relay: &RelayUrl, ids: impl IntoIterator<Item = EventId>) {
        for id in ids {
            let Some(wanted) = self.ids.get_mut(&id) else { continue };
            wanted.left.retain(|left| left != relay);
            wanted.asked = false;
            if wanted.left.is_empty() {
                self.forget(&id);
            } else {
                self.offer(&id);
            }
        }
    }

    fn offer(&mut self, id: &EventId) {
        let Some(wanted) = self.ids.get(id).filter(|wanted| !wanted.asked) else { return };
        for relay in &wanted.left {
            self.by_relay.entry(relay.clone()).or_default().insert(*id);
        }
    }

    fn withdraw(&mut self, id: &EventId) {
        for relay in self.ids.get(id).map(|wanted| &wanted.left).into_iter().flatten() {
            if let Some(ids) = self.by_relay.get_mut(relay) {
                ids.remove(id);
                if ids.is_empty() {
                    self.by_relay.remove(relay);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> EventId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
        EventId::from_byte_array(bytes)
    }

    fn relay(name: &str) -> RelayUrl {
        RelayUrl::parse(&format!("wss://{name}.example")).expect("valid")
    }

    #[test]
    fn one_relay_after_the_other_is_asked_each_once() {
        let mut wanted = WantedIds::default();
        assert!(wanted.gather(id(1), &[relay("a"), relay("b")]));
        assert!(!wanted.waits_for(&relay("a")), "not before the window closes");
        assert!(wanted.fold());
        let taken = wanted.take(&relay("b"), 10);
        assert_eq!(taken.len(), 1);
        assert!(!wanted.waits_for(&relay("a")) && !wanted.waits_for(&relay("b")));
        wanted.give_back(taken);
        let taken = wanted.take(&relay("b"), 10);
        wanted.tried(&relay("b"), taken);
        assert!(wanted.waits_for(&relay("a")) && !wanted.waits_for(&relay("b")));
        let taken = wanted.take(&relay("a"), 10);
        wanted.tried(&relay("a"), taken);
        assert!(wanted.ids.is_empty() && wanted.order.is_empty() && wanted.by_relay.is_empty());
    }

    #[test]
    fn the_oldest_make_room() {
        let mut wanted = WantedIds::default();
        (0..WantedIds::MAX_IDS).for_each(|n| assert!(wanted.gather(id(n), &[relay("a")])));
        assert!(!wanted.gather(id(0), &[relay("a")]));
        assert!(wanted.fold());
        assert!(wanted.gather(id(WantedIds::MAX_IDS), &[relay("b")]));
        assert!(!wanted.fold());
        assert_eq!((wanted.ids.len(), wanted.order.len()), (WantedIds::MAX_IDS, WantedIds::MAX_IDS));
        assert!(!wanted.ids.contains_key(&id(0)) && wanted.waits_for(&relay("b")));
    }
}
