//! From the raw type to the checked one: every value that can't be is named, all at once.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use sync_core::model::RelayUrl;

use super::layers::{KeyPath, Layers};
use super::problem::{ConfigErrors, Problem};
use super::settings::{
    Admin, Config, Health, Limits, LogFormat, Plugins, Rejected, Relay, RelayLimits, Service, Store, Sync, Telemetry,
};
use super::units::{duration_in, format_duration, size_in};
use super::{raw, values};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Checks every value.
///
/// # Errors
/// All that can't be.
pub(super) fn check(layers: &Layers) -> Result<Config, ConfigErrors> {
    let raw = layers.raw()?;
    let mut checker = Checker { layers, problems: Vec::new() };
    let config = checker.config(raw);
    if checker.problems.is_empty() { Ok(config) } else { Err(ConfigErrors(checker.problems)) }
}

struct Checker<'a> {
    layers: &'a Layers,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    /// The value, or its type's default and a problem noted: then the whole is thrown away.
    fn take<T: Default, E: Display>(&mut self, key: &str, result: Result<T, E>) -> T {
        self.take_at(&KeyPath::new(key), result)
    }

    fn take_at<T: Default, E: Display>(&mut self, path: &KeyPath, result: Result<T, E>) -> T {
        result.unwrap_or_else(|allowed| {
            self.problems.push(self.layers.problem(path, format!("must be {allowed}")));
            T::default()
        })
    }

    fn time(&mut self, key: &str, text: &str, allowed: RangeInclusive<Duration>) -> Duration {
        self.take(key, duration_in(text, allowed))
    }

    fn count(&mut self, key: &str, number: u64, allowed: RangeInclusive<u64>) -> usize {
        self.take(key, values::count_in(number, allowed))
    }

    /// Notes a problem with `key` where `wrong`.
    fn refuse_if(&mut self, wrong: bool, key: &str, text: impl Into<String>) {
        if wrong {
            self.problems.push(self.layers.problem(&KeyPath::new(key), text));
        }
    }

    fn config(&mut self, raw: raw::Raw) -> Config {
        let service = self.service(&raw.service);
        let mut admission =
            sync_core::admission::AdmissionConfig { domains: service.domain.clone(), ..Default::default() };
        admission.mode = self.take("admission.mode", values::admission_mode(&raw.admission.mode));
        admission.allow = self.take("admission.allow", values::each(&raw.admission.allow, values::list_entry));
        admission.deny = self.take("admission.deny", values::each(&raw.admission.deny, values::list_entry));
        Config {
            service,
            store: self.store(&raw.store),
            sync: self.sync(&raw.sync),
            strategy: raw.strategy.0,
            plugins: self.plugins(&raw.plugins),
            admission,
            health: self.health(&raw.health),
            limits: self.limits(&raw.limits),
            rejected: self.rejected(&raw.rejected),
            admin: Admin {
                listen: self.take("admin.listen", values::optional(&raw.admin.listen, values::address)),
                hosts: self.take("admin.hosts", values::each(&raw.admin.hosts, values::host_name)),
            },
            telemetry: self.telemetry(&raw.telemetry),
        }
    }

    fn service(&mut self, raw: &raw::Service) -> Service {
        let own_relay = self.take("service.own_relay", values::own_relay(&raw.own_relay));
        self.refuse_if(
            !raw.secret_key.is_empty() && !raw.secret_key_file.is_empty(),
            "service.secret_key_file",
            "service.secret_key is set too; give only one of them",
        );
        let from_file =
            self.take("service.secret_key_file", values::optional(&raw.secret_key_file, values::keys_in_file));
        let direct = self.take("service.secret_key", values::optional(&raw.secret_key, values::keys));
        let listen: Option<SocketAddr> = self.take("service.listen", values::address(&raw.listen).map(Some));
        Service {
            own_relay,
            domain: self.take("service.domain", values::each(&raw.domain, values::domain)),
            listen,
            supported_grasps: self.take("service.supported_grasps", values::each(&raw.supported_grasps, values::word)),
            keys: direct.or(from_file),
        }
    }

    fn store(&mut self, raw: &raw::Store) -> Store {
        let path = if raw.path.is_empty() { Err("the path of a directory") } else { Ok(raw.path.clone().into()) };
        Store {
            path: self.take("store.path", path),
            max_size: self.take("store.max_size", size_in(&raw.max_size, 1 << 20..=64 << 40)),
        }
    }

    fn sync(&mut self, raw: &raw::Sync) -> Sync {
        Sync {
            bootstrap_relays: self.take("sync.bootstrap_relays", values::relays(&raw.bootstrap_relays)),
            strategies: self.take("sync.strategies", values::strategies(&raw.strategies)),
            discover: raw.discover,
            batch_window: self.time("sync.batch_window", &raw.batch_window, Duration::ZERO..=HOUR),
            settle: self.time("sync.settle", &raw.settle, Duration::ZERO..=HOUR),
            quick_reconnect_window: self.time(
                "sync.quick_reconnect_window",
                &raw.quick_reconnect_window,
                Duration::ZERO..=YEAR,
            ),
            catch_up_overlap: self.time("sync.catch_up_overlap", &raw.catch_up_overlap, Duration::ZERO..=YEAR),
            consolidation_threshold: self.count(
                "sync.consolidation_threshold",
                raw.consolidation_threshold,
                1..=1_000_000,
            ),
            consolidation_wait: self.time("sync.consolidation_wait", &raw.consolidation_wait, Duration::ZERO..=HOUR),
            daily_sync: self.take("sync.daily_sync", values::interval(&raw.daily_sync, SECOND..=YEAR)),
            chunk_size: self.count("sync.chunk_size", raw.chunk_size, 1..=10_000),
            connect_timeout: self.time("sync.connect_timeout", &raw.connect_timeout, Duration::from_millis(100)..=HOUR),
            relays: self.relays(&raw.relays),
        }
    }

    fn relays(&mut self, raw: &BTreeMap<String, raw::Relay>) -> BTreeMap<RelayUrl, Relay> {
        let mut relays = BTreeMap::new();
        for (text, raw) in raw {
            let path = KeyPath::new("sync.relays").join(text);
            let limit = |checker: &mut Self, key: &str, number: Option<u64>| {
                let number = number.map(|number| values::count_in(number, 1..=u64::from(u32::MAX))).transpose();
                checker.take_at(&path.join("limits").join(key), number)
            };
            let limits = RelayLimits {
                max_subscriptions: limit(self, "max_subscriptions", raw.limits.max_subscriptions),
                max_filters: limit(self, "max_filters", raw.limits.max_filters),
                max_limit: limit(self, "max_limit", raw.limits.max_limit),
                max_message_length: limit(self, "max_message_length", raw.limits.max_message_length),
                max_subid_length: limit(self, "max_subid_length", raw.limits.max_subid_length),
            };
            let strategies = raw.strategies.as_deref().map(values::strategies).transpose();
            let strategies = self.take_at(&path.join("strategies"), strategies);
            match RelayUrl::parse(text) {
                Ok(url) if relays.contains_key(&url) => {
                    self.problems.push(
                        self.layers.problem(&path, format!("another spelling of {url}, which has a table already")),
                    );
                }
                Ok(url) => {
                    relays.insert(url, Relay { strategies, limits, disabled: raw.disabled });
                }
                Err(error) => {
                    self.problems.push(self.layers.problem(&path, format!("must be named by a relay's URL: {error}")))
                }
            }
        }
        relays
    }

    fn plugins(&mut self, raw: &raw::Plugins) -> Plugins {
        Plugins {
            dir: self.take("plugins.dir", values::optional(&raw.dir, values::absolute)),
            load: self.take("plugins.load", values::plugin_files(&raw.load)),
            call_timeout: self.time("plugins.call_timeout", &raw.call_timeout, Duration::from_millis(10)..=HOUR),
        }
    }

    fn health(&mut self, raw: &raw::Health) -> Health {
        let positive = || Duration::from_millis(1)..=YEAR;
        let health = Health {
            base_backoff: self.time("health.base_backoff", &raw.base_backoff, positive()),
            max_backoff: self.time("health.max_backoff", &raw.max_backoff, positive()),
            dead_after: self.time("health.dead_after", &raw.dead_after, positive()),
            dead_retry: self.time("health.dead_retry", &raw.dead_retry, positive()),
            rate_limit_cooldown: self.time("health.rate_limit_cooldown", &raw.rate_limit_cooldown, positive()),
            stable_after: self.time("health.stable_after", &raw.stable_after, Duration::ZERO..=YEAR),
            fault_memory: self.time("health.fault_memory", &raw.fault_memory, Duration::ZERO..=YEAR),
        };
        self.at_least("health.max_backoff", health.max_backoff, "health.base_backoff", health.base_backoff);
        health
    }

    /// One duration may not be shorter than another. Zero stands for one that was refused already, or bounds nothing.
    fn at_least(&mut self, key: &str, value: Duration, other: &str, min: Duration) {
        let wrong = !value.is_zero() && value < min;
        self.refuse_if(wrong, key, format!("must be at least {other}, which is {}", format_duration(min)));
    }

    fn limits(&mut self, raw: &raw::Limits) -> Limits {
        let many = || 1..=1_000_000;
        let limits = Limits {
            allow_private_addresses: raw.allow_private_addresses,
            max_relays: self.count("limits.max_relays", raw.max_relays, many()),
            max_relays_per_repo: self.count("limits.max_relays_per_repo", raw.max_relays_per_repo, many()),
            max_connections_per_host: self.count(
                "limits.max_connections_per_host",
                raw.max_connections_per_host,
                many(),
            ),
            max_event_size: self.bytes("limits.max_event_size", &raw.max_event_size, 1024..=64 << 20),
            max_message_size: self.bytes("limits.max_message_size", &raw.max_message_size, 4096..=256 << 20),
            max_tags: self.count("limits.max_tags", raw.max_tags, many()),
            max_future: self.time("limits.max_future", &raw.max_future, Duration::ZERO..=YEAR),
            memory_per_relay: self.bytes("limits.memory_per_relay", &raw.memory_per_relay, 1 << 20..=16 << 30),
            max_outbox: self.take("limits.max_outbox", values::number_in(raw.max_outbox, 1..=100_000_000)),
        };
        let fits = limits.max_message_size == 0 || limits.max_message_size >= limits.max_event_size;
        self.refuse_if(
            !fits,
            "limits.max_message_size",
            "must be at least limits.max_event_size: an event comes in a message",
        );
        let fits = limits.memory_per_relay == 0 || limits.memory_per_relay >= limits.max_message_size;
        self.refuse_if(
            !fits,
            "limits.memory_per_relay",
            "must be at least limits.max_message_size: a message is held whole",
        );
        limits
    }

    fn bytes(&mut self, key: &str, text: &str, allowed: RangeInclusive<u64>) -> usize {
        let size = size_in(text, allowed.clone());
        self.take(key, size.and_then(|size| values::count_in(size, allowed)))
    }

    fn rejected(&mut self, raw: &raw::Rejected) -> Rejected {
        let rejected = Rejected {
            hot: self.time("rejected.hot", &raw.hot, SECOND..=24 * HOUR),
            cold: self.time("rejected.cold", &raw.cold, SECOND..=YEAR),
            max_entries: self.take("rejected.max_entries", values::number_in(raw.max_entries, 1000..=1_000_000_000)),
        };
        self.at_least("rejected.cold", rejected.cold, "rejected.hot", rejected.hot);
        rejected
    }

    fn telemetry(&mut self, raw: &raw::Telemetry) -> Telemetry {
        let log_format = match raw.log_format.as_str() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("\"text\" or \"json\""),
        };
        let sample_ratio = match raw.sample_ratio {
            ratio if (0.0..=1.0).contains(&ratio) => Ok(ratio),
            _ => Err("a number from 0.0 to 1.0"),
        };
        Telemetry {
            otlp_endpoint: self.take("telemetry.otlp_endpoint", values::optional(&raw.otlp_endpoint, values::http_url)),
            service_name: self.take("telemetry.service_name", values::word(&raw.service_name)),
            sample_ratio: self.take("telemetry.sample_ratio", sample_ratio),
            log_format: self.take("telemetry.log_format", log_format),
        }
    }
}
