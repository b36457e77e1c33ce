//! Every metric of CONTRACT.md under its name, behind one typed method each, in a registry of its own.
//!
//! Announcements are written by anybody, so the number of series is bounded: the first [`MAX_RELAYS`] relays that are
//! named have series of their own, all others share [`OTHER`]. Counters of the others add up there. Their gauges are left
//! out: a state, or failures in a row, of many relays at once is no number. A relay that is let go of gives its series back
//! ([`Metrics::retain_relays`]). Every other label is a word of this program or the name of a strategy that the operator
//! configured.
//!
//! `docs/metrics.md` tells operators of each; tests hold it, the dashboard and the alert rules against what is registered.

mod format;
mod labels;
mod optional;
mod registry;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

pub use format::Format;
use labels::{
    AttemptLabels, BatchLabels, BytesLabels, CauseLabel, FallbackLabels, LimitLabel, OutcomeLabel, RelayLabel,
    RelayNames, StateLabel, StatusLabel, StrategyLabel, TierLabel, VersionLabel,
};
pub use labels::{AttemptResult, Direction, OTHER, SpanLoss, Tier};
use optional::OptionalGauge;
pub use registry::{Described, Kind};

/// How many relays have series of their own.
pub const MAX_RELAYS: usize = 500;

/// The label value where no strategy carried a batch, or none was left to fall back to.
pub const NO_STRATEGY: &str = "none";

/// The metrics of one process. Clones are handles to the same numbers.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registered: registry::Registered,
    relays: RelayNames,
    relay_connected: Family<RelayLabel, Gauge>,
    relay_status: Family<RelayLabel, Gauge>,
    relay_failures: Family<RelayLabel, Gauge>,
    relay_memory: Family<RelayLabel, Gauge>,
    connection_attempts: Family<AttemptLabels, Counter>,
    events_synced: Counter,
    relays_tracked: Gauge,
    relays_connected: Gauge,
    relays_dead: Gauge,
    relays_by_status: Family<StatusLabel, Gauge>,
    repositories: Gauge,
    root_events: Gauge,
    pending_batches: Gauge,
    batches: Family<BatchLabels, Counter>,
    batch_seconds: Family<StrategyLabel, Histogram, fn() -> Histogram>,
    events_received: Family<OutcomeLabel, Counter>,
    bytes: Family<BytesLabels, Counter>,
    rejected_index_size: Family<TierLabel, Gauge>,
    fallbacks: Family<FallbackLabels, Counter>,
    limit_hits: Family<LimitLabel, Counter>,
    /// Who hit which limit before, relays by their label: bounded as those are.
    limits_told: Mutex<HashSet<(&'static str, Arc<str>)>>,
    store_events: Gauge,
    store_used: Gauge,
    store_map: Gauge,
    outbox_events: OptionalGauge,
    own_up: OptionalGauge,
    own_connections: Gauge,
    own_received: Family<OutcomeLabel, Counter>,
    own_sent: Counter,
    store_commit_seconds: Histogram,
    spans_exported: Counter,
    spans_dropped: Family<CauseLabel, Counter>,
    healthy: Gauge,
    plugins: Family<StateLabel, Gauge>,
    build_info: Family<VersionLabel, Gauge>,
    resident_memory: OptionalGauge,
    open_files: OptionalGauge,
    max_files: OptionalGauge,
    start_time: OptionalGauge,
}

/// What the system says of the process; `None` where it doesn't.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Process {
    /// Bytes of memory that it takes up.
    pub resident_bytes: Option<u64>,
    /// Files that it has open.
    pub open_files: Option<u64>,
    /// Files that it may have open.
    pub max_files: Option<u64>,
}

/// 50 ms to 27 min: from a reconciliation that finds nothing to a history of millions of events.
fn batch_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.05, 2.0, 16))
}

/// 0.5 ms to 8 s: from a commit on fast flash to a disk that is about to fail.
fn commit_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 15))
}

impl Metrics {
    /// All metrics, at zero. Those with labels appear with their first value.
    pub fn new() -> Self {
        Self::with_max_relays(MAX_RELAYS)
    }

    fn with_max_relays(max: usize) -> Self {
        let mut all = Inner {
            registered: registry::Registered::default(),
            relays: RelayNames::new(max),
            relay_connected: Family::default(),
            relay_status: Family::default(),
            relay_failures: Family::default(),
            relay_memory: Family::default(),
            connection_attempts: Family::default(),
            events_synced: Counter::default(),
            relays_tracked: Gauge::default(),
            relays_connected: Gauge::default(),
            relays_dead: Gauge::default(),
            relays_by_status: Family::default(),
            repositories: Gauge::default(),
            root_events: Gauge::default(),
            pending_batches: Gauge::default(),
            batches: Family::default(),
            batch_seconds: Family::new_with_constructor(batch_buckets),
            events_received: Family::default(),
            bytes: Family::default(),
            rejected_index_size: Family::default(),
            fallbacks: Family::default(),
            limit_hits: Family::default(),
            limits_told: Mutex::default(),
            store_events: Gauge::default(),
            store_used: Gauge::default(),
            store_map: Gauge::default(),
            outbox_events: OptionalGauge::default(),
            own_up: OptionalGauge::default(),
            own_connections: Gauge::default(),
            own_received: Family::default(),
            own_sent: Counter::default(),
            store_commit_seconds: commit_buckets(),
            spans_exported: Counter::default(),
            spans_dropped: Family::default(),
            healthy: Gauge::default(),
            plugins: Family::default(),
            build_info: Family::default(),
            resident_memory: OptionalGauge::default(),
            open_files: OptionalGauge::default(),
            max_files: OptionalGauge::default(),
            start_time: OptionalGauge::default(),
        };
        all.register();
        // A loss is seen to begin where there was a 0 before it.
        for cause in SpanLoss::ALL {
            all.spans_dropped.get_or_create(&CauseLabel { cause: *cause }).inc_by(0);
        }
        Self(Arc::new(all))
    }

    /// `ngit_sync_relay_connected{relay}`: where the connection and its history stand, 0–4 (SPEC §6).
    pub fn relay_status(&self, relay: &str, status: u8) {
        self.set_of_relay(&self.0.relay_connected, relay, status.into());
    }

    /// `ngit_sync_relay_status{relay}`: the health state, 1–5 (SPEC §12).
    pub fn relay_health(&self, relay: &str, state: u8) {
        self.set_of_relay(&self.0.relay_status, relay, state.into());
    }

    /// `ngit_sync_relay_failures{relay}`: failures in a row, 0 after a success.
    pub fn relay_failures(&self, relay: &str, failures: u64) {
        self.set_of_relay(&self.0.relay_failures, relay, clamped(failures));
    }

    /// `grasp_sync_relay_memory_bytes{relay}`: what a connection holds of what its relay sent.
    pub fn relay_memory(&self, relay: &str, bytes: u64) {
        self.set_of_relay(&self.0.relay_memory, relay, clamped(bytes));
    }

    /// `ngit_sync_connection_attempts_total{relay,result}`: one attempt to connect has ended.
    pub fn connection_attempt(&self, relay: &str, result: AttemptResult) {
        let labels = AttemptLabels { relay: self.0.relays.own_or_other(relay), result };
        self.0.connection_attempts.get_or_create(&labels).inc();
    }

    /// `ngit_sync_events_synced_total`: events that came from relays into the store.
    pub fn events_synced(&self, count: u64) {
        self.0.events_synced.inc_by(count);
    }

    /// What [`Metrics::events_synced`] has counted.
    pub fn events_synced_total(&self) -> u64 {
        self.0.events_synced.get()
    }

    /// `ngit_sync_relays_tracked_total`, `ngit_sync_relays_connected_total`, `ngit_sync_relays_dead_total`: relays that
    /// are known, that have an open connection, that are given up but for a daily try.
    pub fn relays(&self, tracked: u64, connected: u64, dead: u64) {
        self.0.relays_tracked.set(clamped(tracked));
        self.0.relays_connected.set(clamped(connected));
        self.0.relays_dead.set(clamped(dead));
    }

    /// `grasp_sync_relays{status}`: how many relays are in the status of that name (SPEC §6).
    pub fn relays_in_status(&self, status: &'static str, relays: u64) {
        self.0.relays_by_status.get_or_create(&StatusLabel { status }).set(clamped(relays));
    }

    /// Lets go of everything that is labelled with a relay for which `is_known` doesn't hold, so that no state of a relay that
    /// nobody looks at any more is shown, and others get its place.
    pub fn retain_relays(&self, is_known: impl Fn(&str) -> bool) {
        for relay in self.0.relays.retain(is_known) {
            let label = RelayLabel { relay: relay.clone() };
            let of_one = [&self.0.relay_connected, &self.0.relay_status, &self.0.relay_failures, &self.0.relay_memory];
            of_one.iter().for_each(|family| _ = family.remove(&label));
            for result in [AttemptResult::Success, AttemptResult::Failure] {
                self.0.connection_attempts.remove(&AttemptLabels { relay: relay.clone(), result });
            }
            for direction in [Direction::Up, Direction::Down] {
                self.0.bytes.remove(&BytesLabels { relay: relay.clone(), direction });
            }
            let mut told = self.0.limits_told.lock().unwrap_or_else(PoisonError::into_inner);
            told.retain(|(_, of)| *of != relay);
        }
    }

    /// `grasp_sync_repositories`, `grasp_sync_root_events`, `grasp_sync_pending_batches`: what is followed, and what of it is
    /// under way.
    pub fn followed(&self, repositories: u64, root_events: u64, pending_batches: u64) {
        self.0.repositories.set(clamped(repositories));
        self.0.root_events.set(clamped(root_events));
        self.0.pending_batches.set(clamped(pending_batches));
    }

    /// `grasp_sync_batches_total{strategy,reason,outcome}` and `grasp_sync_batch_seconds{strategy}`: one batch has ended.
    /// `strategy` names all that carried it, joined by commas; empty where none did. `reason` and `outcome` are the words
    /// of the span `sync.batch`.
    pub fn batch_done(&self, strategy: &str, reason: &'static str, outcome: &'static str, took: Duration) {
        let strategy = named(strategy);
        self.0.batches.get_or_create(&BatchLabels { strategy: strategy.clone(), reason, outcome }).inc();
        self.0.batch_seconds.get_or_create(&StrategyLabel { strategy }).observe(took.as_secs_f64());
    }

    /// `grasp_sync_batches_total{strategy,reason,outcome}`: one batch was given up for another. How long it took says nothing.
    pub fn batch_superseded(&self, strategy: &str, reason: &'static str) {
        let labels = BatchLabels { strategy: named(strategy), reason, outcome: "superseded" };
        self.0.batches.get_or_create(&labels).inc();
    }

    /// `grasp_sync_events_received_total{outcome}`: what became of one event that a relay sent.
    pub fn event_received(&self, outcome: &'static str) {
        self.0.events_received.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// `grasp_sync_bytes_total{relay,direction}`: bytes of WebSocket messages.
    pub fn bytes(&self, relay: &str, direction: Direction, count: u64) {
        let labels = BytesLabels { relay: self.0.relays.own_or_other(relay), direction };
        self.0.bytes.get_or_create(&labels).inc_by(count);
    }

    /// `grasp_sync_rejected_index_size{tier}`: rows of the rejected-events index (SPEC §11).
    pub fn rejected_index(&self, tier: Tier, rows: u64) {
        self.0.rejected_index_size.get_or_create(&TierLabel { tier }).set(clamped(rows));
    }

    /// `grasp_sync_fallbacks_total{from,to}`: a session passed from one strategy to the next; `to` is empty where none was
    /// left.
    pub fn fallback(&self, from: &str, to: &str) {
        self.0.fallbacks.get_or_create(&FallbackLabels { from: named(from), to: named(to) }).inc();
    }

    /// `grasp_sync_limit_hits_total{limit}`: a bound of SPEC §13 was hit; `limit` is its key in `[limits]`, or a word for one
    /// that isn't ours to set.
    pub fn limit_hit(&self, limit: &'static str) {
        self.0.limit_hits.get_or_create(&LimitLabel { limit }).inc();
    }

    /// [`Metrics::limit_hit`], with the relay that it happened with. Returns whether it is news: once for each relay and limit;
    /// relays that share [`OTHER`] are one.
    pub fn relay_limit_hit(&self, relay: &str, limit: &'static str) -> bool {
        self.limit_hit(limit);
        let mut told = self.0.limits_told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert((limit, self.0.relays.own_or_other(relay)))
    }

    /// `grasp_sync_outbox_events`: accepted events that an external own relay hasn't taken yet.
    pub fn outbox(&self, count: u64) {
        self.0.outbox_events.set(clamped(count));
    }

    /// `grasp_sync_own_relay_up`: whether the own relay can be used.
    pub fn own_up(&self, is_up: bool) {
        self.0.own_up.set(is_up.into());
    }

    /// `grasp_sync_own_relay_connections`: clients of the embedded own relay.
    pub fn own_connections(&self, open: u64) {
        self.0.own_connections.set(clamped(open));
    }

    /// `grasp_sync_own_relay_received_total{outcome}`: an event was published to the embedded own relay.
    pub fn own_received(&self, outcome: &'static str) {
        self.0.own_received.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// `grasp_sync_own_relay_sent_total`: events that the embedded own relay has sent.
    pub fn own_sent(&self, events: u64) {
        self.0.own_sent.inc_by(events);
    }

    /// `grasp_sync_store_events`: events in the store.
    pub fn store_events(&self, count: u64) {
        self.0.store_events.set(clamped(count));
    }

    /// `grasp_sync_store_used_bytes`, `grasp_sync_store_map_bytes`: what the store holds, and what it may at most.
    pub fn store_size(&self, used: u64, map: u64) {
        self.0.store_used.set(clamped(used));
        self.0.store_map.set(clamped(map));
    }

    /// `grasp_sync_store_commit_seconds`: one durable commit.
    pub fn store_commit(&self, took: Duration) {
        self.0.store_commit_seconds.observe(took.as_secs_f64());
    }

    /// `grasp_sync_spans_exported_total`: spans that the collector took.
    pub fn spans_exported(&self, spans: u64) {
        self.0.spans_exported.inc_by(spans);
    }

    /// `grasp_sync_spans_dropped_total{cause}`: spans that the collector didn't get.
    pub fn spans_dropped(&self, cause: SpanLoss, spans: u64) {
        self.0.spans_dropped.get_or_create(&CauseLabel { cause }).inc_by(spans);
    }

    /// Spans for which the queue had no room, so far.
    pub(crate) fn spans_overflown(&self) -> u64 {
        self.0.spans_dropped.get_or_create(&CauseLabel { cause: SpanLoss::QueueFull }).get()
    }

    /// `grasp_sync_healthy`: whether the process can do its work, as `/healthz` says.
    pub fn healthy(&self, is_healthy: bool) {
        self.0.healthy.set(is_healthy.into());
    }

    /// `grasp_sync_plugins{state}`: strategies from shared libraries by what became of them.
    pub fn plugins(&self, state: &'static str, plugins: u64) {
        self.0.plugins.get_or_create(&StateLabel { state }).set(clamped(plugins));
    }

    /// `grasp_sync_build_info{version}` and `process_start_time_seconds`: what runs, and since when, unix seconds.
    pub fn started(&self, version: &str, at: u64) {
        self.0.build_info.get_or_create(&VersionLabel { version: version.to_owned() }).set(1);
        self.0.start_time.set(clamped(at));
    }

    /// `process_resident_memory_bytes`, `process_open_fds`, `process_max_fds`.
    pub fn process(&self, process: Process) {
        let Process { resident_bytes, open_files, max_files } = process;
        let all = &self.0;
        let gauges =
            [(&all.resident_memory, resident_bytes), (&all.open_files, open_files), (&all.max_files, max_files)];
        for (gauge, value) in gauges {
            if let Some(value) = value {
                gauge.set(clamped(value));
            }
        }
    }

    /// Every metric that there can be, in the order of [`Metrics::encode`], whether it has a value by now or not.
    pub fn described(&self) -> &[Described] {
        self.0.registered.described()
    }

    /// All metrics, written in this way.
    ///
    /// # Errors
    /// A value can't be formatted; none of those above is of that sort.
    pub fn encode(&self, format: Format) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, self.0.registered.registry())?;
        Ok(if format == Format::Text { format::text_of(&text) } else { text })
    }

    fn set_of_relay(&self, family: &Family<RelayLabel, Gauge>, relay: &str, value: i64) {
        if let Some(relay) = self.0.relays.own(relay) {
            family.get_or_create(&RelayLabel { relay }).set(value);
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn named(strategy: &str) -> String {
    if strategy.is_empty() { NO_STRATEGY } else { strategy }.to_owned()
}

fn clamped(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
