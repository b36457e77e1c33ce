//! The names of the metrics: each is registered here, and described for tests and documents.

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Metric, Registry};

use super::Inner;

/// What sort of metric it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Only goes up, until the process ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations by size.
    Histogram,
}

impl Kind {
    /// Its name, as in the text that is exposed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric as whoever reads it knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The name, of a counter with its `_total`; of a histogram without `_bucket`, `_sum` and `_count`.
    pub name: String,
    /// What sort it is.
    pub kind: Kind,
    /// The names of its labels, in order, but for a histogram's `le`.
    pub labels: &'static [&'static str],
    /// What it is, in a few words.
    pub help: &'static str,
}

/// The registry, and what is in it.
#[derive(Debug, Default)]
pub(super) struct Registered {
    registry: Registry,
    described: Vec<Described>,
}

impl Registered {
    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(super) fn described(&self) -> &[Described] {
        &self.described
    }

    /// `name` is without a counter's `_total`, which the encoder adds.
    fn add(&mut self, name: &str, help: &'static str, labels: &'static [&'static str], metric: impl Metric) {
        let kind = match metric.metric_type() {
            MetricType::Counter => Kind::Counter,
            MetricType::Histogram => Kind::Histogram,
            _ => Kind::Gauge,
        };
        let shown = if kind == Kind::Counter { format!("{name}_total") } else { name.to_owned() };
        self.described.push(Described { name: shown, kind, labels, help });
        self.registry.register(name, help, metric);
    }
}

impl Inner {
    /// Names everything. Where a counter's name ends in `_total`, the encoder adds that; the three gauges that end so carry
    /// it in their name, as the dashboards of the field know them.
    pub(super) fn register(&mut self) {
        let mut to = std::mem::take(&mut self.registered);
        self.register_relays(&mut to);
        self.register_work(&mut to);
        self.register_own(&mut to);
        self.register_process(&mut to);
        self.registered = to;
    }

    fn register_relays(&self, to: &mut Registered) {
        to.add(
            "ngit_sync_relay_connected",
            "Connection and history of a relay: 0 disconnected, 1 connecting, 2 syncing, 3 connected, 4 degraded",
            &["relay"],
            self.relay_connected.clone(),
        );
        to.add(
            "ngit_sync_relay_status",
            "Health of a relay: 1 healthy, 2 disconnected, 3 degraded, 4 dead, 5 rate limited",
            &["relay"],
            self.relay_status.clone(),
        );
        to.add("ngit_sync_relay_failures", "Failures of a relay in a row", &["relay"], self.relay_failures.clone());
        to.add(
            "grasp_sync_relay_memory_bytes",
            "What the connection to a relay holds of what that sent",
            &["relay"],
            self.relay_memory.clone(),
        );
        to.add(
            "ngit_sync_connection_attempts",
            "Attempts to connect, by result",
            &["relay", "result"],
            self.connection_attempts.clone(),
        );
        to.add("grasp_sync_bytes", "Bytes of messages to and from relays", &["relay", "direction"], self.bytes.clone());
        to.add("ngit_sync_relays_tracked_total", "Relays that are known", &[], self.relays_tracked.clone());
        to.add(
            "ngit_sync_relays_connected_total",
            "Relays with an open connection",
            &[],
            self.relays_connected.clone(),
        );
        to.add("ngit_sync_relays_dead_total", "Relays given up but for a daily try", &[], self.relays_dead.clone());
        to.add("grasp_sync_relays", "Relays, by where they stand", &["status"], self.relays_by_status.clone());
    }

    fn register_work(&self, to: &mut Registered) {
        to.add("grasp_sync_repositories", "Repositories that are followed", &[], self.repositories.clone());
        to.add("grasp_sync_root_events", "Root events that are followed", &[], self.root_events.clone());
        to.add("grasp_sync_pending_batches", "Batches under way", &[], self.pending_batches.clone());
        to.add("grasp_sync_batches", "Batches that ended", &["strategy", "reason", "outcome"], self.batches.clone());
        to.add("grasp_sync_batch_seconds", "How long batches took", &["strategy"], self.batch_seconds.clone());
        to.add(
            "grasp_sync_fallbacks",
            "Sessions that passed to another strategy",
            &["from", "to"],
            self.fallbacks.clone(),
        );
        to.add(
            "ngit_sync_events_synced",
            "Events that came from relays into the store",
            &[],
            self.events_synced.clone(),
        );
        to.add(
            "grasp_sync_events_received",
            "Events that relays sent, by what became of them",
            &["outcome"],
            self.events_received.clone(),
        );
        to.add("grasp_sync_limit_hits", "Bounds that were hit, by name", &["limit"], self.limit_hits.clone());
        to.add(
            "grasp_sync_rejected_index_size",
            "Rows of the rejected-events index",
            &["tier"],
            self.rejected_index_size.clone(),
        );
        to.add("grasp_sync_store_events", "Events in the store", &[], self.store_events.clone());
        to.add("grasp_sync_store_used_bytes", "What the store holds", &[], self.store_used.clone());
        to.add("grasp_sync_store_map_bytes", "What the store may hold at most", &[], self.store_map.clone());
        to.add(
            "grasp_sync_store_commit_seconds",
            "How long durable commits took",
            &[],
            self.store_commit_seconds.clone(),
        );
    }

    fn register_own(&self, to: &mut Registered) {
        to.add("grasp_sync_own_relay_up", "Whether the own relay can be used", &[], self.own_up.clone());
        to.add("grasp_sync_outbox_events", "Events that wait for the own relay", &[], self.outbox_events.clone());
        to.add(
            "grasp_sync_own_relay_connections",
            "Clients of the embedded own relay",
            &[],
            self.own_connections.clone(),
        );
        to.add(
            "grasp_sync_own_relay_received",
            "Events published to the embedded own relay, by what became of them",
            &["outcome"],
            self.own_received.clone(),
        );
        to.add("grasp_sync_own_relay_sent", "Events that the embedded own relay has sent", &[], self.own_sent.clone());
    }

    fn register_process(&self, to: &mut Registered) {
        to.add(
            "grasp_sync_spans_exported",
            "Spans that the collector of traces took",
            &[],
            self.spans_exported.clone(),
        );
        to.add(
            "grasp_sync_spans_dropped",
            "Spans that it didn't get, by cause",
            &["cause"],
            self.spans_dropped.clone(),
        );
        to.add("grasp_sync_healthy", "Whether the process can do its work", &[], self.healthy.clone());
        to.add("grasp_sync_plugins", "Plugins, by what became of them", &["state"], self.plugins.clone());
        to.add("grasp_sync_build_info", "What runs", &["version"], self.build_info.clone());
        to.add("process_start_time_seconds", "When the process began", &[], self.start_time.clone());
        to.add("process_resident_memory_bytes", "Memory of the process", &[], self.resident_memory.clone());
        to.add("process_open_fds", "Files that the process has open", &[], self.open_files.clone());
        to.add("process_max_fds", "Files that the process may have open", &[], self.max_files.clone());
    }
}
