//! The configuration as the program uses it: checked, in the types that the rest works with.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use nostr::key::Keys;
use sync_core::admission::AdmissionConfig;
use sync_core::intake::IntakeConfig;
use sync_core::model::{RelayUrl, SyncMethod};
use sync_core::strategy::StrategyConfig;

/// Events that may be under way when the outbox is as full as it may be: they are held all the same.
const UNDER_WAY: u64 = 16_384;

/// Everything an operator can set (CONTRACT.md). Every value is possible by itself and with the others.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `[service]`
    pub service: Service,
    /// `[store]`
    pub store: Store,
    /// `[sync]`
    pub sync: Sync,
    /// `[strategy.NAME]` by name, unchecked: see [`crate::strategies::Registry::build`].
    pub strategy: BTreeMap<String, StrategyConfig>,
    /// `[plugins]`
    pub plugins: Plugins,
    /// `[admission]`, with the domains of `[service]`.
    pub admission: AdmissionConfig,
    /// `[health]`
    pub health: Health,
    /// `[limits]`
    pub limits: Limits,
    /// `[rejected]`
    pub rejected: Rejected,
    /// `[admin]`
    pub admin: Admin,
    /// `[telemetry]`
    pub telemetry: Telemetry,
}

impl Config {
    /// The bounds of the intake.
    pub fn intake(&self) -> IntakeConfig {
        IntakeConfig {
            max_future_s: self.limits.max_future.as_secs(),
            hot_s: self.rejected.hot.as_secs(),
            cold_s: self.rejected.cold.as_secs(),
            max_rejected: self.rejected.max_entries,
            own_relay: self.service.own_relay.clone(),
            max_held: self.limits.max_outbox.saturating_add(UNDER_WAY),
        }
    }

    /// The order of strategies for a relay: its own, else everybody's.
    pub fn strategies_for(&self, relay: &RelayUrl) -> &[SyncMethod] {
        let own = self.sync.relays.get(relay).and_then(|relay| relay.strategies.as_deref());
        own.unwrap_or(&self.sync.strategies)
    }
}

/// Strategies from shared libraries.
#[derive(Debug, Clone, Default)]
pub struct Plugins {
    /// Every library in it is loaded.
    pub dir: Option<PathBuf>,
    /// Single files.
    pub load: Vec<PluginFile>,
    /// How long one call may take before its plugin is barred.
    pub call_timeout: Duration,
}

/// A file to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginFile {
    /// Where it is.
    pub path: PathBuf,
    /// What its SHA-256 must be, in hex.
    pub sha256: Option<String>,
}

/// The own relay and who it is.
#[derive(Debug, Clone, Default)]
pub struct Service {
    /// What announcements list us by: `host`, `host:port`, or with a path.
    pub domain: Vec<String>,
    /// The own relay, where it is another process; `None` where it is embedded.
    pub own_relay: Option<RelayUrl>,
    /// Where the embedded own relay listens.
    pub listen: Option<SocketAddr>,
    /// For NIP-11.
    pub supported_grasps: Vec<String>,
    /// The service's key, for NIP-42.
    pub keys: Option<Keys>,
}

/// Where events are kept.
#[derive(Debug, Clone, Default)]
pub struct Store {
    /// A directory; made when it isn't there.
    pub path: PathBuf,
    /// Bytes of the memory map.
    pub max_size: u64,
}

/// How it is synchronised.
#[derive(Debug, Clone, Default)]
pub struct Sync {
    /// Relays that are always connected to.
    pub bootstrap_relays: Vec<RelayUrl>,
    /// In order of preference; at least one.
    pub strategies: Vec<SyncMethod>,
    /// Whether relays that announcements list are connected to.
    pub discover: bool,
    /// How long events are gathered before they are acted on.
    pub batch_window: Duration,
    /// The settle time of the completion check.
    pub settle: Duration,
    /// Up to this long away is a quick reconnect.
    pub quick_reconnect_window: Duration,
    /// How far a catch-up reaches back beyond the last connection.
    pub catch_up_overlap: Duration,
    /// Live filters beyond which consolidation is considered.
    pub consolidation_threshold: usize,
    /// How long consolidation waits for what is pending.
    pub consolidation_wait: Duration,
    /// Between daily syncs, random within; `None` for never.
    pub daily_sync: Option<RangeInclusive<Duration>>,
    /// Items in one filter.
    pub chunk_size: usize,
    /// The bound of one attempt.
    pub connect_timeout: Duration,
    /// What differs for single relays.
    pub relays: BTreeMap<RelayUrl, Relay>,
}

/// What differs for one relay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relay {
    /// In order of preference; `None`: as for every relay.
    pub strategies: Option<Vec<SyncMethod>>,
    /// NIP-11 `limitation` as the operator knows it; overrides what the relay says.
    pub limits: RelayLimits,
    /// Never connected to.
    pub disabled: bool,
}

/// NIP-11 `limitation` by the operator's word; `None`: as the relay says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelayLimits {
    /// Subscriptions on one connection.
    pub max_subscriptions: Option<usize>,
    /// Filters in one REQ.
    pub max_filters: Option<usize>,
    /// Events that one filter answers.
    pub max_limit: Option<usize>,
    /// Bytes of a message that it takes.
    pub max_message_length: Option<usize>,
    /// Characters of a subscription id.
    pub max_subid_length: Option<usize>,
}

/// SPEC §12.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// The first back-off.
    pub base_backoff: Duration,
    /// The longest.
    pub max_backoff: Duration,
    /// Failing this long is dead.
    pub dead_after: Duration,
    /// A dead relay is tried this often.
    pub dead_retry: Duration,
    /// How long nothing is asked of a relay that spoke of rates.
    pub rate_limit_cooldown: Duration,
    /// Connected this long is healthy.
    pub stable_after: Duration,
    /// How long a lasting fault is remembered.
    pub fault_memory: Duration,
}

/// SPEC §13.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Whether discovered relays may be on private addresses.
    pub allow_private_addresses: bool,
    /// Relays in all.
    pub max_relays: usize,
    /// Relays of one repository.
    pub max_relays_per_repo: usize,
    /// Connections to one host.
    pub max_connections_per_host: usize,
    /// Bytes of an event as JSON.
    pub max_event_size: usize,
    /// Bytes of a message.
    pub max_message_size: usize,
    /// Tags of an event.
    pub max_tags: usize,
    /// How far ahead an event may be dated.
    pub max_future: Duration,
    /// Bytes.
    pub memory_per_relay: usize,
    /// Accepted events that may wait for an external own relay.
    pub max_outbox: u64,
}

/// SPEC §11.
#[derive(Debug, Clone, Default)]
pub struct Rejected {
    /// How long a deferred event is kept whole.
    pub hot: Duration,
    /// How long a row is kept.
    pub cold: Duration,
    /// Rows.
    pub max_entries: u64,
}

/// The admin endpoint.
#[derive(Debug, Clone, Default)]
pub struct Admin {
    /// `None` for off.
    pub listen: Option<SocketAddr>,
    /// Names that it answers to beside `localhost` and IP addresses; none: all, but for who comes by a
    /// loopback address.
    pub hosts: Vec<String>,
}

/// Logs and traces.
#[derive(Debug, Clone, Default)]
pub struct Telemetry {
    /// OTLP over HTTP; `None` for off.
    pub otlp_endpoint: Option<String>,
    /// The resource's `service.name`.
    pub service_name: String,
    /// 0 to 1.
    pub sample_ratio: f64,
    /// How log lines look.
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
