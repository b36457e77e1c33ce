//! The configuration as it is written: every key of CONTRACT.md with its default, nothing checked but the shape.

use std::collections::BTreeMap;

use figment::value::{Dict, Value};
use serde::{Deserialize, Deserializer, Serialize};

macro_rules! section {
    ($name:ident { $($(#[$attr:meta])* $field:ident: $type:ty = $default:expr),* $(,)? }) => {
        #[derive(Debug, Clone, Serialize, Deserialize)]
        pub(super) struct $name {
            $($(#[$attr])* pub(super) $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default.into(),)* }
            }
        }
    };
}

/// The whole file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Raw {
    pub(super) service: Service,
    pub(super) store: Store,
    pub(super) sync: Sync,
    pub(super) strategy: Strategies,
    pub(super) plugins: Plugins,
    pub(super) admission: Admission,
    pub(super) health: Health,
    pub(super) limits: Limits,
    pub(super) rejected: Rejected,
    pub(super) admin: Admin,
    pub(super) telemetry: Telemetry,
}

section!(Service {
    domain: Vec<String> = [],
    own_relay: String = "embedded",
    listen: String = "127.0.0.1:7447",
    supported_grasps: Vec<String> = [],
    secret_key: String = "",
    secret_key_file: String = "",
});

section!(Store {
    path: String = "./grasp-sync-data",
    #[serde(deserialize_with = "size")]
    max_size: String = "64GiB",
});

section!(Sync {
    bootstrap_relays: Vec<String> = [],
    strategies: Vec<String> = ["negentropy".to_owned(), "req".to_owned()],
    discover: bool = true,
    batch_window: String = "5s",
    settle: String = "6s",
    quick_reconnect_window: String = "15m",
    catch_up_overlap: String = "15m",
    consolidation_threshold: u64 = 70u64,
    consolidation_wait: String = "30s",
    daily_sync: Vec<String> = ["23h".to_owned(), "25h".to_owned()],
    chunk_size: u64 = 100u64,
    connect_timeout: String = "10s",
    relays: BTreeMap<String, Relay> = BTreeMap::new(),
});

/// `[sync.relays."wss://…"]`: what is left out is as for every relay.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Relay {
    pub(super) strategies: Option<Vec<String>>,
    pub(super) limits: RelayLimits,
    pub(super) disabled: bool,
}

/// NIP-11 `limitation`, where the relay doesn't say it or lies.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RelayLimits {
    pub(super) max_subscriptions: Option<u64>,
    pub(super) max_filters: Option<u64>,
    pub(super) max_limit: Option<u64>,
    pub(super) max_message_length: Option<u64>,
    pub(super) max_subid_length: Option<u64>,
}

/// `[strategy.NAME]`: for the strategy to check.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Strategies(pub(super) BTreeMap<String, serde_json::Value>);

impl Default for Strategies {
    fn default() -> Self {
        let negentropy =
            serde_json::json!({ "frame_size_limit": 60000, "fetch_chunk": 256, "concurrency": 4, "timeout": "30s" });
        let req = serde_json::json!({ "page_size": 500, "timeout": "30s" });
        Self([("negentropy".to_owned(), negentropy), ("req".to_owned(), req)].into())
    }
}

section!(Plugins {
    dir: String = "",
    call_timeout: String = "10s",
    load: Vec<serde_json::Value> = [],
});

section!(Admission {
    mode: String = "grasp",
    allow: Vec<String> = [],
    deny: Vec<String> = [],
});

section!(Health {
    base_backoff: String = "5s",
    max_backoff: String = "1h",
    dead_after: String = "24h",
    dead_retry: String = "24h",
    rate_limit_cooldown: String = "65s",
    stable_after: String = "5m",
    fault_memory: String = "12h",
});

section!(Limits {
    allow_private_addresses: bool = false,
    max_relays: u64 = 2000u64,
    max_relays_per_repo: u64 = 20u64,
    max_connections_per_host: u64 = 4u64,
    #[serde(deserialize_with = "size")]
    max_event_size: String = "512KiB",
    #[serde(deserialize_with = "size")]
    max_message_size: String = "4MiB",
    max_tags: u64 = 5000u64,
    max_future: String = "15m",
    #[serde(deserialize_with = "size")]
    memory_per_relay: String = "32MiB",
    max_outbox: u64 = 100_000u64,
});

section!(Rejected { hot: String = "2m", cold: String = "7d", max_entries: u64 = 1_000_000u64 });

section!(Admin { listen: String = "127.0.0.1:7448", hosts: Vec<String> = [] });

section!(Telemetry {
    otlp_endpoint: String = "",
    service_name: String = "grasp-sync",
    sample_ratio: f64 = 1.0,
    log_format: String = "text",
});

/// The keys of `[sync.relays."…"]`, each with a value of its type.
pub(super) fn relay_template() -> Dict {
    let limits = ["max_subscriptions", "max_filters", "max_limit", "max_message_length", "max_subid_length"];
    let limits: Dict = limits.into_iter().map(|key| (key.to_owned(), Value::from(20u64))).collect();
    Dict::from([
        ("strategies".to_owned(), Value::from(vec!["req"])),
        ("limits".to_owned(), Value::from(limits)),
        ("disabled".to_owned(), Value::from(false)),
    ])
}

/// A size may be a plain number of bytes.
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Size {
        Bytes(u64),
        Text(String),
    }
    Ok(match Size::deserialize(deserializer)? {
        Size::Bytes(bytes) => bytes.to_string(),
        Size::Text(text) => text,
    })
}
