//! What the manager is told by the operator (CONTRACT.md `[sync]`, `[health]`, `[limits]`), with the defaults.

use std::collections::BTreeSet;

use crate::health::HealthConfig;
use crate::model::RelayUrl;

/// The longest wait before an external own relay is tried again, milliseconds.
pub const OWN_RETRY_MS: u64 = 30_000;
/// Longer than any process lives, and far from the end of the numbers.
const NEVER_MS: u64 = 1000 * 365 * 86_400_000;

/// The manager's configuration. Spans in milliseconds unless said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagerConfig {
    /// `service.domain`: host or host:port. Never targets.
    pub domains: Vec<String>,
    /// Further addresses of the own relay. Never targets.
    pub own_urls: Vec<RelayUrl>,
    /// `service.own_relay`, where it is external: read and followed as a bootstrap relay, whatever `domains` says, and tried
    /// again soon whenever it is away.
    pub own_relay: Option<RelayUrl>,
    /// `sync.bootstrap_relays`: connected at start, and never closed for want of work.
    pub bootstrap_relays: BTreeSet<RelayUrl>,
    /// The keys of `sync.relays`: named by the operator, and so not held to the address guard.
    pub named_relays: BTreeSet<RelayUrl>,
    /// Those of `sync.relays` that are disabled: never connected to.
    pub disabled_relays: BTreeSet<RelayUrl>,
    /// `sync.discover`: whether relays that only announcements name are connected to.
    pub discover: bool,
    /// `sync.batch_window`: how long the feed is gathered before it is folded in.
    pub batch_window_ms: u64,
    /// `sync.settle`: how long after its last batch a relay's history counts as settled. 0 with the embedded own relay,
    /// whose feed has sequence numbers; 6 s with an external one.
    pub settle_ms: u64,
    /// `sync.quick_reconnect_window`.
    pub quick_reconnect_window_ms: u64,
    /// `sync.catch_up_overlap`.
    pub catch_up_overlap_ms: u64,
    /// `sync.consolidation_threshold`: live filters per relay.
    pub consolidation_threshold: usize,
    /// `sync.consolidation_wait`.
    pub consolidation_wait_ms: u64,
    /// `sync.daily_sync`: the shortest and the longest time between; `None` for never.
    pub daily_sync_ms: Option<(u64, u64)>,
    /// `sync.chunk_size`: items per filter.
    pub chunk_size: usize,
    /// `sync.connect_timeout`. The connector keeps it; the manager gives up an attempt that wasn't answered for twice as long.
    pub connect_timeout_ms: u64,
    /// The wait before what failed is tried again; it doubles up to a day.
    pub retry_base_ms: u64,
    /// How often what changed is persisted, at most.
    pub persist_interval_ms: u64,
    /// `[health]`.
    pub health: HealthConfig,
    /// `limits.max_relays`.
    pub max_relays: usize,
    /// `limits.max_relays_per_repo`.
    pub max_relays_per_repo: usize,
    /// Repositories that are followed at one relay.
    pub max_repos_per_relay: usize,
    /// For jitter.
    pub seed: u64,
}

impl Default for ManagerConfig {
    fn default() -> Self {
        const MINUTE: u64 = 60_000;
        const HOUR: u64 = 60 * MINUTE;
        Self {
            domains: Vec::new(),
            own_urls: Vec::new(),
            own_relay: None,
            bootstrap_relays: BTreeSet::new(),
            named_relays: BTreeSet::new(),
            disabled_relays: BTreeSet::new(),
            discover: true,
            batch_window_ms: 5_000,
            settle_ms: 0,
            quick_reconnect_window_ms: 15 * MINUTE,
            catch_up_overlap_ms: 15 * MINUTE,
            consolidation_threshold: 70,
            consolidation_wait_ms: 30_000,
            daily_sync_ms: Some((23 * HOUR, 25 * HOUR)),
            chunk_size: crate::filters::DEFAULT_CHUNK_SIZE,
            connect_timeout_ms: 10_000,
            retry_base_ms: 5 * MINUTE,
            persist_interval_ms: 5_000,
            health: HealthConfig::default(),
            max_relays: 2_000,
            max_relays_per_repo: 20,
            max_repos_per_relay: 20_000,
            seed: 0,
        }
    }
}

impl ManagerConfig {
    /// Whether the operator named the relay.
    pub fn names(&self, relay: &RelayUrl) -> bool {
        self.is_bootstrap(relay) || self.named_relays.contains(relay)
    }

    /// Whether it is connected at start, and never closed for want of work.
    pub fn is_bootstrap(&self, relay: &RelayUrl) -> bool {
        self.bootstrap_relays.contains(relay) || self.is_own(relay)
    }

    /// Whether it is the external own relay.
    pub fn is_own(&self, relay: &RelayUrl) -> bool {
        self.own_relay.as_ref() == Some(relay)
    }

    /// By what a relay's health is judged. The own relay is nobody's to spare: it never counts as dead, and is tried at least
    /// every [`OWN_RETRY_MS`].
    pub fn health_of(&self, relay: &RelayUrl) -> HealthConfig {
        if !self.is_own(relay) {
            return self.health;
        }
        let soon = |wait: u64| wait.min(OWN_RETRY_MS);
        HealthConfig {
            base_backoff_ms: soon(self.health.base_backoff_ms),
            max_backoff_ms: soon(self.health.max_backoff_ms),
            fault_memory_ms: soon(self.health.fault_memory_ms),
            dead_after_ms: NEVER_MS,
            ..self.health
        }
    }
}
