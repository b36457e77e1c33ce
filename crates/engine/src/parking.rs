//! Which ids are being fetched, over all connections: an event that several relays have comes from one of them (SPEC §7).
//!
//! A connection claims ids before it asks for them, and releases them when it is known what became of them. Whoever
//! wanted the same ids meanwhile is told then. What is held is bounded by the requests in flight of all connections.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sync_core::MonoMillis;
use sync_core::nostr::event::EventId;
use tokio::sync::Notify;

use crate::Clock;

/// How long a claim stands, milliseconds: a relay that answers slowly doesn't keep others from being asked.
const CLAIM_MS: MonoMillis = 30_000;

/// The claims of all connections.
#[derive(Debug, Default)]
pub struct Parking(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    claims: HashMap<EventId, Claim>,
    /// What each connection is to be told, and how it is woken.
    inboxes: HashMap<u64, (HashSet<EventId>, Arc<Notify>)>,
}

#[derive(Debug)]
struct Claim {
    holder: u64,
    until: MonoMillis,
    waiting: Vec<u64>,
}

impl Parking {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is whole before the lock is given up.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's part in it; gives up its claims when it is dropped.
#[derive(Debug)]
pub(crate) struct Holder {
    parking: Arc<Parking>,
    clock: Clock,
    number: u64,
    woken: Arc<Notify>,
}

impl Holder {
    pub(crate) fn new(parking: Arc<Parking>, clock: Clock) -> Self {
        let woken = Arc::new(Notify::new());
        let mut state = parking.state();
        state.next += 1;
        let number = state.next;
        state.inboxes.insert(number, (HashSet::new(), Arc::clone(&woken)));
        drop(state);
        Self { parking, clock, number, woken }
    }

    /// See [`sync_core::store::LocalSets::claim`].
    pub(crate) fn claim(&self, ids: &[EventId]) -> Vec<bool> {
        let now = self.clock.now().mono_ms;
        let mut state = self.parking.state();
        let mut claim = |id: &EventId| {
            let until = now.saturating_add(CLAIM_MS);
            let claim =
                state.claims.entry(*id).or_insert_with(|| Claim { holder: self.number, until, waiting: Vec::new() });
            if claim.holder != self.number && claim.until <= now {
                claim.holder = self.number;
                claim.until = until;
            }
            let granted = claim.holder == self.number;
            if !granted && !claim.waiting.contains(&self.number) {
                claim.waiting.push(self.number);
            }
            granted
        };
        ids.iter().map(&mut claim).collect()
    }

    /// See [`sync_core::store::LocalSets::release`].
    pub(crate) fn release(&self, ids: &[EventId]) {
        let mut state = self.parking.state();
        let State { claims, inboxes, .. } = &mut *state;
        for id in ids {
            // One that was taken over is another's to release.
            if claims.get(id).is_none_or(|claim| claim.holder != self.number) {
                continue;
            }
            for waiting in claims.remove(id).into_iter().flat_map(|claim| claim.waiting) {
                if let Some((told, woken)) = inboxes.get_mut(&waiting) {
                    told.insert(*id);
                    woken.notify_one();
                }
            }
        }
    }

    /// Waits for ids that others have released, and takes them. Cancel safe.
    pub(crate) async fn released(&self) -> Vec<EventId> {
        loop {
            let ids = match self.parking.state().inboxes.get_mut(&self.number) {
                Some((told, _)) => std::mem::take(told),
                None => HashSet::new(),
            };
            if !ids.is_empty() {
                return ids.into_iter().collect();
            }
            self.woken.notified().await;
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let held: Vec<EventId> = {
            let mut state = self.parking.state();
            state.inboxes.remove(&self.number);
            state.claims.iter().filter(|(_, claim)| claim.holder == self.number).map(|(id, _)| *id).collect()
        };
        self.release(&held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> EventId {
        EventId::from_byte_array([n; 32])
    }

    #[tokio::test]
    async fn an_id_is_granted_to_one_and_the_others_hear_of_its_end() {
        let parking = Arc::new(Parking::default());
        let holder = || Holder::new(Arc::clone(&parking), Clock::start());
        let (first, second) = (holder(), holder());
        assert_eq!(first.claim(&[id(1), id(2)]), [true, true]);
        assert_eq!(first.claim(&[id(1)]), [true]);
        assert_eq!(second.claim(&[id(1), id(2), id(3)]), [false, false, true]);
        first.release(&[id(1)]);
        assert_eq!(second.released().await, [id(1)]);
        assert_eq!(second.claim(&[id(1)]), [true]);
        // A connection that ends gives up what it held.
        drop(first);
        assert_eq!(second.released().await, [id(2)]);
        drop(second);
        assert!(parking.state().claims.is_empty() && parking.state().inboxes.is_empty());
    }
}
