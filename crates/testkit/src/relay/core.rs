//! What all connections of a relay share: its events, faults, counts. No sockets, no clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nostr::event::{Event, EventId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sync_core::Now;

use super::connection::RelayConnection;
use super::faults::{Faults, RateLimit};
use super::index::{EventIndex, Inserted, StoredEvent};
use super::stats::RelayStats;

/// What a relay is; fixed for its life. Can be read from a JSON object of the same names.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelayOptions {
    /// The loopback port; 0 for a free one. Only the socket server looks at it.
    pub port: u16,
    /// The name in the information document (NIP-11).
    pub name: String,
    /// What it holds at the start; taken as it is, without checks.
    #[serde(skip)]
    pub events: Vec<Event>,
    /// Checks id and signature of published events.
    pub verify: bool,
    /// Keeps only the newest of replaceable and addressable events (NIP-01).
    pub replace: bool,
    /// Obeys deletions (NIP-09).
    pub deletions: bool,
    /// Events served for a filter without `limit`.
    pub default_limit: usize,
    /// The most events served for a filter; the `max_limit` of NIP-11.
    pub max_limit: usize,
    /// The largest negentropy message sent, bytes before hex: 0 for no limit, else at least 4096.
    pub frame_limit: u64,
    /// Serves and takes nothing before NIP-42 AUTH.
    pub require_auth: bool,
    /// Says with EOSE whether the stored events were all sent (NIP-67).
    pub eose_hint: bool,
    /// The information document (NIP-11), where it shall differ from the truth.
    pub information: Option<serde_json::Value>,
}

impl Default for RelayOptions {
    /// A free port, no events, all checks on; 500 events a filter, 60,000 bytes a negentropy message.
    fn default() -> Self {
        Self {
            port: 0,
            name: "scripted".to_owned(),
            events: Vec::new(),
            verify: true,
            replace: true,
            deletions: true,
            default_limit: 500,
            max_limit: 500,
            frame_limit: 60_000,
            require_auth: false,
            eose_hint: false,
            information: None,
        }
    }
}

/// A relay without its socket. Clones are handles to the same relay.
#[derive(Debug, Clone)]
pub struct RelayCore {
    pub(super) options: Arc<RelayOptions>,
    state: Arc<Mutex<State>>,
}

/// What changes.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) index: EventIndex,
    pub(super) faults: Faults,
    pub(super) stats: RelayStats,
    /// Everything that arrived since the start, for the live subscriptions; each connection reads it at its own pace.
    pub(super) arrivals: Vec<Arc<StoredEvent>>,
    /// Connections with a lower number are to be dropped.
    pub(super) dropped_below: u64,
    window: RateWindow,
}

/// How often the relay was asked in the present window of its rate limit.
#[derive(Debug, Default)]
struct RateWindow {
    started_ms: u64,
    requests: u64,
}

impl RelayCore {
    /// A relay that holds `options.events`.
    pub fn new(mut options: RelayOptions) -> Self {
        let mut state = State::default();
        for event in std::mem::take(&mut options.events) {
            state.index.insert(Arc::new(event.into()), options.replace, options.deletions);
        }
        Self { options: Arc::new(options), state: Arc::new(Mutex::new(state)) }
    }

    /// Opens a connection.
    pub fn connect(&self) -> RelayConnection {
        RelayConnection::new(self.clone())
    }

    /// The faults as they are.
    pub fn faults(&self) -> Faults {
        self.lock().faults.clone()
    }

    /// Changes the faults, with effect from the next message on. Machines that stalled may have something to say then.
    /// `change` must not call the relay.
    pub fn set_faults<R>(&self, change: impl FnOnce(&mut Faults) -> R) -> R {
        change(&mut self.lock().faults)
    }

    /// Takes an event without checks, as if it had been published; open subscriptions are told of it.
    pub fn publish(&self, event: Event) -> Inserted {
        self.lock().take(event, &self.options)
    }

    /// Loses an event.
    pub fn remove(&self, id: &EventId) -> bool {
        self.lock().index.remove(id).is_some()
    }

    /// Restarts with these events in place of what it held, as from an older backup or from nothing: all connections
    /// break, and what was deleted or replaced before is forgotten.
    pub fn restart_with(&self, events: Vec<Event>) {
        let mut state = self.lock();
        state.index = EventIndex::default();
        for event in events {
            state.index.insert(Arc::new(event.into()), self.options.replace, self.options.deletions);
        }
        state.dropped_below = state.stats.connections;
    }

    /// What it holds, newest first.
    pub fn events(&self) -> Vec<Event> {
        self.lock().index.iter().map(|stored| stored.event.clone()).collect()
    }

    /// Whether it holds an event.
    pub fn has(&self, id: &EventId) -> bool {
        self.lock().index.event(id).is_some()
    }

    /// What it has seen and done.
    pub fn stats(&self) -> RelayStats {
        self.lock().stats.clone()
    }

    /// Looks at what it has seen and done without copying it. `look` must not call the relay.
    pub fn with_stats<R>(&self, look: impl FnOnce(&RelayStats) -> R) -> R {
        look(&self.lock().stats)
    }

    /// Breaks off all connections: the next thing that each says is [`super::Outgoing::Drop`].
    pub fn drop_connections(&self) {
        let mut state = self.lock();
        state.dropped_below = state.stats.connections;
    }

    /// The information document (NIP-11), as JSON.
    pub fn information(&self) -> String {
        let RelayOptions { name, max_limit, default_limit, require_auth, information, .. } = &*self.options;
        let document = information.clone().unwrap_or_else(|| {
            let faults = self.faults();
            let mut nips = vec![1, 11, 42, 77];
            nips.extend(self.options.deletions.then_some(9));
            nips.extend(self.options.eose_hint.then_some(67));
            nips.sort_unstable();
            let mut limitation = json!({
                "max_limit": max_limit,
                "default_limit": default_limit,
                "max_subid_length": super::message::MAX_ID_LENGTH,
                "auth_required": require_auth,
            });
            if let Some(max) = faults.max_subscriptions {
                limitation["max_subscriptions"] = max.into();
            }
            json!({ "name": name, "software": "scripted-relay", "supported_nips": nips, "limitation": limitation })
        });
        document.to_string()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn take(&mut self, event: Event, options: &RelayOptions) -> Inserted {
        let stored = Arc::new(StoredEvent::from(event));
        let inserted = self.index.insert(Arc::clone(&stored), options.replace, options.deletions);
        if matches!(inserted, Inserted::Stored | Inserted::Ephemeral) {
            self.arrivals.push(stored);
        }
        inserted
    }

    /// Counts a request against the rate limit; the limit, where it is beyond it.
    pub(super) fn count_request(&mut self, now: Now) -> Option<RateLimit> {
        let limit = self.faults.rate_limit?;
        if limit.per_ms > 0 && now.mono_ms.saturating_sub(self.window.started_ms) >= limit.per_ms {
            self.window = RateWindow { started_ms: now.mono_ms, requests: 0 };
        }
        self.window.requests += 1;
        (self.window.requests > limit.after).then_some(limit)
    }
}
