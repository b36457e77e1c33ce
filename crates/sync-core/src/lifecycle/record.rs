//! What of a relay outlives the process: its head, its chunks with what is confirmed in each, what failed, its health.
//! Each is a record of its own, so that only what changed is written.

use nostr::event::EventId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Env, RelayLife};
use crate::filters::{ChunkBook, ChunkId, ChunkLimits, ChunkRecord};
use crate::health::{HealthRecord, RelayHealth};
use crate::manager::ManagerConfig;
use crate::model::{ConnectionStatus, RelayState, RelayUrl, RepoAddress};
use crate::plan::{FailedGroup, FailedItems};
use crate::store::{StateTable, StateWrite};
use crate::strategy::RelayProfile;
use crate::time::Now;

/// The start of every key of a relay: its address, or the hash of one that is too long for a key. An address holds no `#`:
/// what follows one is a number within the relay.
pub fn relay_key(relay: &RelayUrl) -> String {
    const LONGEST: usize = 400;
    if relay.as_str().len() <= LONGEST {
        return relay.as_str().to_owned();
    }
    let digest = Sha256::digest(relay.as_str().as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A relay's head: [`RelayState`] without what is confirmed, which stands with the chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeadRow {
    pub(crate) url: RelayUrl,
    pub(crate) status: ConnectionStatus,
    pub(crate) last_connected: u64,
    pub(crate) disconnected_at: Option<u64>,
    pub(crate) announcements_synced: bool,
    pub(crate) historic_sync_completed: bool,
    pub(crate) catch_up_from: Option<u64>,
    pub(crate) full_sync_at: u64,
    #[serde(default)]
    pub(crate) heard_at: u64,
}

/// A chunk, and which of its items aren't confirmed, by their place in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChunkRow {
    #[serde(flatten)]
    pub(crate) chunk: ChunkRecord,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) unconfirmed: Vec<usize>,
}

/// What the store holds of a relay.
#[derive(Debug, Clone, Default)]
pub struct RestoredRelay {
    pub(crate) head: Option<HeadRow>,
    pub(crate) chunks: Vec<(ChunkId, ChunkRow)>,
    pub(crate) failed: Vec<(u64, FailedGroup)>,
    pub(crate) health: HealthRecord,
}

impl RelayLife {
    /// The relay as its records say. One that was connected counts as disconnected when that was last known.
    pub fn restore(url: RelayUrl, restored: RestoredRelay, config: &ManagerConfig, now: Now) -> Self {
        let health = config.health_of(&url);
        let mut life = Self::new(url, config);
        life.health = RelayHealth::restore(health, restored.health, now);
        life.told_health = life.health.state(now);
        life.failed = FailedItems::restore(restored.failed);
        life.reason = "not tried since the start".to_owned();
        let Some(head) = restored.head else { return life };
        for (_, row) in &restored.chunks {
            let confirmed = |at: &usize| !row.unconfirmed.contains(at);
            let repos = row.chunk.repos.iter().enumerate().filter(|(at, _)| confirmed(at));
            life.state.repos.extend(repos.map(|(_, repo): (usize, &RepoAddress)| repo.clone()));
            let events = row.chunk.root_events.iter().enumerate().filter(|(at, _)| confirmed(at));
            life.state.root_events.extend(events.map(|(_, event): (usize, &EventId)| *event));
        }
        let limits = ChunkLimits::new(config.chunk_size, &RelayProfile::default());
        life.book = ChunkBook::restore(limits, restored.chunks.into_iter().map(|(id, row)| (id, row.chunk)));
        let was_connected = head.status.is_connected();
        life.state = RelayState {
            last_connected: head.last_connected,
            disconnected_at: if was_connected { Some(head.last_connected) } else { head.disconnected_at },
            announcements_synced: head.announcements_synced,
            historic_sync_completed: head.historic_sync_completed,
            ..life.state
        };
        life.catch_up_from = head.catch_up_from;
        life.full_sync_at = head.full_sync_at;
        life.heard_at = head.heard_at;
        life
    }

    /// Whether something changed that isn't persisted.
    pub fn is_dirty(&self) -> bool {
        self.head_dirty || self.health_dirty || self.book.is_dirty() || self.failed.is_dirty()
    }

    /// Writes what changed. All of it belongs into one transaction.
    pub fn persist(&mut self, env: &Env<'_>, writes: &mut Vec<StateWrite>) {
        let key = relay_key(&self.url);
        if std::mem::take(&mut self.head_dirty) {
            writes.push(write(StateTable::Relay, key.clone(), Some(&self.head())));
        }
        for id in self.book.take_dirty() {
            let row = self.book.record(id).map(|chunk| self.chunk_row(chunk));
            writes.push(write(StateTable::Relay, format!("{key}#{id}"), row.as_ref()));
        }
        for number in self.failed.take_dirty() {
            writes.push(write(StateTable::Failed, format!("{key}#{number}"), self.failed.groups().get(&number)));
        }
        if std::mem::take(&mut self.health_dirty) {
            writes.push(write(StateTable::Health, key, Some(&self.health.record(env.now))));
        }
    }

    /// Removes every record of the relay.
    pub fn erase(mut self, writes: &mut Vec<StateWrite>) {
        let key = relay_key(&self.url);
        let items = self.book.items();
        self.book.touch_all();
        self.remove(&items);
        for id in self.book.take_dirty() {
            writes.push(write::<ChunkRow>(StateTable::Relay, format!("{key}#{id}"), None));
        }
        let mut numbers = self.failed.take_dirty();
        numbers.extend(self.failed.groups().keys());
        for number in numbers {
            writes.push(write::<FailedGroup>(StateTable::Failed, format!("{key}#{number}"), None));
        }
        writes.push(write::<HealthRecord>(StateTable::Health, key.clone(), None));
        writes.push(write::<HeadRow>(StateTable::Relay, key, None));
    }

    fn head(&self) -> HeadRow {
        HeadRow {
            url: self.url.clone(),
            status: self.status(),
            last_connected: self.state.last_connected,
            disconnected_at: self.state.disconnected_at,
            announcements_synced: self.state.announcements_synced,
            historic_sync_completed: self.state.historic_sync_completed,
            catch_up_from: self.catch_up_from,
            full_sync_at: self.full_sync_at,
            heard_at: self.heard_at,
        }
    }

    fn chunk_row(&self, chunk: &ChunkRecord) -> ChunkRow {
        let repos = chunk.repos.iter().map(|repo| self.state.repos.contains(repo));
        let events = chunk.root_events.iter().map(|event| self.state.root_events.contains(event));
        // A chunk holds one kind, so a place is unmistakable.
        let unconfirmed =
            repos.chain(events).enumerate().filter(|(_, confirmed)| !confirmed).map(|(place, _)| place).collect();
        ChunkRow { chunk: chunk.clone(), unconfirmed }
    }
}

/// JSON of plain structs with text keys can't fail; if it ever did, the record is removed rather than left stale.
fn write<T: Serialize>(table: StateTable, key: String, value: Option<&T>) -> StateWrite {
    StateWrite::new(table, key, value.and_then(|value| serde_json::to_vec(value).ok()))
}
