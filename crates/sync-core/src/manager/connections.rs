//! Whom to be connected to: who is followed at all, who is closed, who is tried.

use super::{Cause, ManagerOutput, SyncManager};
use crate::lifecycle::RelayLife;
use crate::model::{ConnectionStatus, RelayUrl};
use crate::strategy::RelayProfile;
use crate::time::Now;

/// Attempts under way at once.
pub(super) const MAX_CONNECTING: usize = 64;

impl SyncManager {
    /// A relay that announcements name: followed, where discovery is on and there is room.
    pub(super) fn admit(&mut self, relay: RelayUrl) {
        if self.relays.contains_key(&relay) || !self.is_allowed(&relay) {
            return;
        }
        if self.relays.len() >= self.config.max_relays && !self.make_room() {
            self.refused = true;
            let text = format!("{relay} isn't followed: {} relays are", self.relays.len());
            self.tell_limit("max_relays", text);
            return;
        }
        self.relays.insert(relay.clone(), RelayLife::new(relay, &self.config));
    }

    /// Forgets a relay that nothing is wanted from.
    pub(super) fn make_room(&mut self) -> bool {
        let idle = self.relays.values().find(|life| {
            life.status() == ConnectionStatus::Disconnected
                && !life.state().is_bootstrap
                && self.first_fold_done
                && !self.index.lists(life.url())
        });
        let Some(life) = idle.map(|life| life.url().clone()).and_then(|url| self.relays.remove(&url)) else {
            return false;
        };
        life.erase(&mut self.erased);
        true
    }

    pub(super) fn handle_connected(&mut self, relay: &RelayUrl, profile: &RelayProfile, now: Now) {
        let expected = self.relays.get(relay).is_some_and(|life| life.status() == ConnectionStatus::Connecting);
        if !expected {
            let text = "a connection that wasn't asked for is closed or ignored".to_owned();
            self.out.push_back(ManagerOutput::Warn { relay: relay.clone(), cause: Cause::NotAskedFor, text });
            if !self.relays.get(relay).is_some_and(|life| life.status().is_connected()) {
                let reason = "not asked for".to_owned();
                self.out.push_back(ManagerOutput::Disconnect { relay: relay.clone(), reason });
            }
            return;
        }
        if self.stopping {
            return;
        }
        self.with(relay, now, |life, env| life.handle_connect_or_reconnect(profile, env));
        self.sweep(now);
    }

    /// Closes relays that nothing is wanted from, when their sync has ended: one in its first sync may find something yet.
    /// Bootstrap relays stay.
    pub(super) fn check_disconnects(&mut self, now: Now) {
        if !self.first_fold_done || self.waiting.is_some() {
            return;
        }
        let (relays, mut env) = self.parts(now);
        for life in relays.values_mut() {
            let settled = matches!(life.status(), ConnectionStatus::Connected | ConnectionStatus::ConnectedDegraded);
            let asked = life.is_asking_for_ids() || env.wanted.waits_for(life.url());
            let idle = !env.index.lists(life.url()) && !asked;
            if settled && !life.state().is_bootstrap && idle {
                life.close("no repository that is followed lists it", &mut env);
            }
        }
    }

    /// Connects relays that have work, or are bootstrap relays, when their health allows it.
    pub(super) fn check_reconnects(&mut self, now: Now) {
        let room = MAX_CONNECTING.saturating_sub(self.connecting());
        let due = self.relays.values().filter(|life| self.wants_connection(life) && life.next_attempt() <= now.mono_ms);
        let due: Vec<RelayUrl> = due.take(room).map(|life| life.url().clone()).collect();
        for relay in due {
            self.with(&relay, now, |life, env| life.connect(env));
        }
    }

    pub(super) fn connecting(&self) -> usize {
        self.relays.values().filter(|life| life.status() == ConnectionStatus::Connecting).count()
    }

    pub(super) fn wants_connection(&self, life: &RelayLife) -> bool {
        life.status() == ConnectionStatus::Disconnected
            && (life.state().is_bootstrap || self.index.lists(life.url()))
            && self.is_allowed(life.url())
    }

    pub(super) fn is_allowed(&self, relay: &RelayUrl) -> bool {
        !self.config.disabled_relays.contains(relay)
            && !self.index.own().contains(relay)
            && (self.config.discover || self.config.names(relay))
    }
}
