//! What an operator sees of the relays: the document behind `GET /status` and `grasp-sync status` (CONTRACT.md).

use serde::{Deserialize, Serialize};

use super::Incident;
use crate::model::{BatchId, ConnectionStatus, FilterCoverage, HealthState, RelayUrl};

/// One relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayReport {
    /// Normalised address.
    pub url: RelayUrl,
    /// SPEC §6.
    pub status: ConnectionStatus,
    /// SPEC §12.
    pub health: HealthState,
    /// Why it isn't `Connected`; empty where it is.
    pub reason: String,
    /// Strategies that carried its last batches, joined by commas; empty before the first.
    pub strategy: String,
    /// Confirmed repositories.
    pub repos: u64,
    /// Confirmed root events.
    pub root_events: u64,
    /// Batches in flight.
    pub pending_batches: u64,
    /// How far those have come: filters with the windows that are drained and those that aren't, at most
    /// [`RelayReport::MAX_COVERAGE`].
    #[serde(default)]
    pub coverage: Vec<FilterCoverage>,
    /// Events that came from this relay into the store since the process started.
    pub events_stored: u64,
    /// Unix seconds; `None` for never.
    pub last_connected: Option<u64>,
    /// The last fault of its connection.
    pub last_error: Option<String>,
}

impl RelayReport {
    /// How many filters a report tells the coverage of.
    pub const MAX_COVERAGE: usize = 32;
}

/// A batch in flight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchProgress {
    /// Whom it asks.
    pub relay: RelayUrl,
    /// Its number, as in traces and the log.
    pub id: BatchId,
    /// Why it was made, by the name in traces.
    pub reason: String,
    /// What its filters belong to, by the name in traces.
    pub layer: String,
    /// The strategy of its last session; empty before the first.
    pub strategy: String,
    /// When it was made, unix seconds.
    pub since: u64,
    /// How often it was tried before.
    pub tries: u32,
    /// Its filters.
    pub filters: u64,
    /// Filters of which everything is drained.
    pub filters_drained: u64,
    /// Windows that are drained, as far as [`FilterCoverage`] names them.
    pub windows_drained: u64,
    /// Windows that aren't, as far as [`FilterCoverage`] names them.
    pub windows_open: u64,
    /// Sessions that have ended: one for each filter, window and strategy tried.
    pub sessions: u64,
    /// Repositories that its success confirms.
    pub repos: u64,
    /// Root events that its success confirms.
    pub root_events: u64,
}

/// The relay that is kept complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnRelayReport {
    /// Whether it is served by this process.
    pub embedded: bool,
    /// Its address.
    pub url: String,
    /// Whether it can be used.
    pub up: bool,
    /// Why not, or what doesn't go well; else empty.
    pub reason: String,
    /// Accepted events that it hasn't taken yet.
    pub held: u64,
}

/// A strategy from a shared library, or a file that was to be one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginReport {
    /// The name in `sync.strategies`; `None` where it isn't known.
    pub name: Option<String>,
    /// Its version, where it is known.
    pub version: Option<String>,
    /// The file.
    pub file: String,
    /// The version of the interface that it was built for, where it is known.
    pub abi: Option<String>,
    /// SHA-256 of the file in hex, where it was read.
    pub sha256: Option<String>,
    /// What became of it.
    pub state: PluginState,
    /// Why it can't be used; else empty.
    pub reason: String,
}

/// Whether a plugin can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginState {
    /// It can.
    Loaded,
    /// It could not be loaded, or refuses its configuration.
    Failed,
    /// It did not return from a call, and isn't called any more.
    Barred,
}

impl PluginState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Loaded, Self::Failed, Self::Barred];

    /// Its name, as in the status document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Failed => "failed",
            Self::Barred => "barred",
        }
    }
}

/// All relays, with sums.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The program's version.
    pub version: String,
    /// Unix seconds of this report.
    pub at: u64,
    /// What keeps the process from its work; empty where it works.
    #[serde(default)]
    pub trouble: String,
    /// The relay that is kept complete; `None` where the process serves none.
    #[serde(default)]
    pub own_relay: Option<OwnRelayReport>,
    /// Strategies from shared libraries.
    #[serde(default)]
    pub plugins: Vec<PluginReport>,
    /// Sums.
    pub totals: Totals,
    /// Events that came from relays into the store in each of the last seconds, oldest first, ending at `at`; at most
    /// [`StatusReport::MAX_SECONDS`].
    #[serde(default)]
    pub events_per_second: Vec<u64>,
    /// Batches in flight, oldest first; at most [`StatusReport::MAX_BATCHES`], all are counted in `totals`.
    #[serde(default)]
    pub batches: Vec<BatchProgress>,
    /// What went wrong lately, newest first; at most [`Incident::MAX`].
    #[serde(default)]
    pub incidents: Vec<Incident>,
    /// Every relay that is known, by address.
    pub relays: Vec<RelayReport>,
}

impl StatusReport {
    /// For how many seconds events are told.
    pub const MAX_SECONDS: usize = 120;
    /// How many batches in flight are told.
    pub const MAX_BATCHES: usize = 100;
}

/// Sums over the relays, and the store's size.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Relays known.
    pub relays: u64,
    /// Relays with an open connection.
    pub connected: u64,
    /// Relays whose history is complete.
    pub complete: u64,
    /// Relays with something missing.
    pub degraded: u64,
    /// Relays given up but for a daily try.
    pub dead: u64,
    /// Repositories that are followed.
    pub repos: u64,
    /// Root events that are followed.
    pub root_events: u64,
    /// Batches in flight.
    pub pending_batches: u64,
    /// Events in the store.
    pub store_events: u64,
}
