//! What is wanted, what is confirmed, what is in flight (SPEC §5).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use nostr::event::EventId;
use serde::{Deserialize, Serialize};

use super::{BatchId, ConnectionStatus, PendingBatch, RelayUrl, RepoAddress};

/// What one repository needs: where it is listed, and the root events to follow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepoSyncNeeds {
    /// Relays that its accepted announcement lists.
    pub relays: BTreeSet<RelayUrl>,
    /// Accepted root events that tag it.
    pub root_events: BTreeSet<EventId>,
}

/// What we want, derived from the feed of accepted events alone.
pub type RepoSyncIndex = HashMap<RepoAddress, RepoSyncNeeds>;

/// A set of ids. Planning over everything looks up half a million of them: a hasher that is made for short keys, and
/// seeded by the process, is worth a third of that time.
pub type IdSet = HashSet<EventId, foldhash::quality::RandomState>;

/// What is confirmed: one relay's record, which outlives its connections.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RelayState {
    /// Repositories whose history from this relay is complete.
    pub repos: HashSet<RepoAddress>,
    /// Root events whose history from this relay is complete.
    pub root_events: IdSet,
    /// Named by the operator: never closed for want of work.
    pub is_bootstrap: bool,
    /// Where it stands.
    pub connection_status: ConnectionStatus,
    /// When a connection was last known to be open, unix seconds; 0 for never.
    pub last_connected: u64,
    /// When the connection was lost, unix seconds.
    pub disconnected_at: Option<u64>,
    /// Whether layer 1 was read whole.
    pub announcements_synced: bool,
    /// Whether the historic sync of this life of the relay has ended.
    pub historic_sync_completed: bool,
}

impl RelayState {
    /// The record of a relay that was never connected.
    pub fn new(is_bootstrap: bool) -> Self {
        Self {
            repos: HashSet::new(),
            root_events: IdSet::default(),
            is_bootstrap,
            connection_status: ConnectionStatus::Disconnected,
            last_connected: 0,
            disconnected_at: None,
            announcements_synced: false,
            historic_sync_completed: false,
        }
    }
}

/// What is confirmed, by relay.
pub type RelaySyncIndex = BTreeMap<RelayUrl, RelayState>;

/// What is in flight, by relay and batch.
pub type PendingSyncIndex = BTreeMap<RelayUrl, BTreeMap<BatchId, PendingBatch>>;
