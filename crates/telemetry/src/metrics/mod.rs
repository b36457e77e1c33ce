//! Every metric of CONTRACT.md under its name, behind one typed method each, in a registry of its own.
//!
//! Announcements are written by anybody, so the number of series is bounded: the first [`MAX_RELAYS`] relays that are
//! named have series of their own, all others share [`OTHER`]. Counters of the others add up there. Their gauges are left
//! out: a state, or failures in a row, of many relays at once is no number. Every other label is a word of this program
//! or the name of a strategy that the operator configured.

mod labels;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use labels::{
    AttemptLabels, BatchLabels, BytesLabels, CauseLabel, FallbackLabels, LimitLabel, OutcomeLabel, RelayLabel,
    RelayNames, StrategyLabel, TierLabel,
};
pub use labels::{AttemptResult, Direction, OTHER, SpanLoss, Tier};

/// How many relays have series of their own.
pub const MAX_RELAYS: usize = 500;

/// The media type of what [`Metrics::encode`] yields.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The label value where no strategy carried a batch, or none was left to fall back to.
pub const NO_STRATEGY: &str = "none";

/// The metrics of one process. Clones are handles to the same numbers.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
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
    outbox_events: Gauge,
    own_connections: Gauge,
    own_received: Family<OutcomeLabel, Counter>,
    own_sent: Counter,
    store_commit_seconds: Histogram,
    spans_exported: Counter,
    spans_dropped: Family<CauseLabel, Counter>,
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
            registry: Registry::default(),
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
            batches: Family::default(),
            batch_seconds: Family::new_with_constructor(batch_buckets),
            events_received: Family::default(),
            bytes: Family::default(),
            rejected_index_size: Family::default(),
            fallbacks: Family::default(),
            limit_hits: Family::default(),
            limits_told: Mutex::default(),
            store_events: Gauge::default(),
            outbox_events: Gauge::default(),
            own_connections: Gauge::default(),
            own_received: Family::default(),
            own_sent: Counter::default(),
            store_commit_seconds: commit_buckets(),
            spans_exported: Counter::default(),
            spans_dropped: Family::default(),
        };
        all.register();
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

    /// `ngit_sync_relays_tracked_total`, `ngit_sync_relays_connected_total`, `ngit_sync_relays_dead_total`: relays that
    /// are known, that have an open connection, that are given up but for a daily try.
    pub fn relays(&self, tracked: u64, connected: u64, dead: u64) {
        self.0.relays_tracked.set(clamped(tracked));
        self.0.relays_connected.set(clamped(connected));
        self.0.relays_dead.set(clamped(dead));
    }

    /// `grasp_sync_batches_total{strategy,reason,outcome}` and `grasp_sync_batch_seconds{strategy}`: one batch has ended.
    /// `strategy` names all that carried it, joined by commas; empty where none did. `reason` and `outcome` are the words
    /// of the span `sync.batch`.
    pub fn batch_done(&self, strategy: &str, reason: &'static str, outcome: &'static str, took: Duration) {
        let strategy = named(strategy);
        self.0.batches.get_or_create(&BatchLabels { strategy: strategy.clone(), reason, outcome }).inc();
        self.0.batch_seconds.get_or_create(&StrategyLabel { strategy }).observe(took.as_secs_f64());
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

    /// All metrics as text, of the media type [`CONTENT_TYPE`].
    ///
    /// # Errors
    /// A value can't be formatted; none of those above is of that sort.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.0.registry)?;
        Ok(text)
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

impl Inner {
    /// Names everything. Where a counter's name ends in `_total`, the encoder adds that; the three gauges that end so carry
    /// it in their name, as the dashboards of the field know them.
    fn register(&mut self) {
        let to = &mut self.registry;
        to.register(
            "ngit_sync_relay_connected",
            "Connection and history of a relay: 0 disconnected, 1 connecting, 2 syncing, 3 connected, 4 degraded",
            self.relay_connected.clone(),
        );
        to.register(
            "ngit_sync_relay_status",
            "Health of a relay: 1 healthy, 2 disconnected, 3 degraded, 4 dead, 5 rate limited",
            self.relay_status.clone(),
        );
        to.register("ngit_sync_relay_failures", "Failures of a relay in a row", self.relay_failures.clone());
        to.register(
            "grasp_sync_relay_memory_bytes",
            "What the connection to a relay holds of what that sent",
            self.relay_memory.clone(),
        );
        to.register(
            "ngit_sync_connection_attempts",
            "Attempts to connect, by result",
            self.connection_attempts.clone(),
        );
        to.register(
            "ngit_sync_events_synced",
            "Events that came from relays into the store",
            self.events_synced.clone(),
        );
        to.register("ngit_sync_relays_tracked_total", "Relays that are known", self.relays_tracked.clone());
        to.register(
            "ngit_sync_relays_connected_total",
            "Relays with an open connection",
            self.relays_connected.clone(),
        );
        to.register("ngit_sync_relays_dead_total", "Relays given up but for a daily try", self.relays_dead.clone());
        to.register("grasp_sync_batches", "Batches that ended", self.batches.clone());
        to.register("grasp_sync_batch_seconds", "How long batches took", self.batch_seconds.clone());
        to.register(
            "grasp_sync_events_received",
            "Events that relays sent, by what became of them",
            self.events_received.clone(),
        );
        to.register("grasp_sync_bytes", "Bytes of messages to and from relays", self.bytes.clone());
        to.register(
            "grasp_sync_rejected_index_size",
            "Rows of the rejected-events index",
            self.rejected_index_size.clone(),
        );
        to.register("grasp_sync_fallbacks", "Sessions that passed to another strategy", self.fallbacks.clone());
        to.register("grasp_sync_limit_hits", "Bounds that were hit, by key of [limits]", self.limit_hits.clone());
        to.register("grasp_sync_store_events", "Events in the store", self.store_events.clone());
        to.register("grasp_sync_outbox_events", "Events that wait for the own relay", self.outbox_events.clone());
        to.register(
            "grasp_sync_own_relay_connections",
            "Clients of the embedded own relay",
            self.own_connections.clone(),
        );
        to.register(
            "grasp_sync_own_relay_received",
            "Events published to the embedded own relay, by what became of them",
            self.own_received.clone(),
        );
        to.register("grasp_sync_own_relay_sent", "Events that the embedded own relay has sent", self.own_sent.clone());
        to.register(
            "grasp_sync_store_commit_seconds",
            "How long durable commits took",
            self.store_commit_seconds.clone(),
        );
        to.register(
            "grasp_sync_spans_exported",
            "Spans that the collector of traces took",
            self.spans_exported.clone(),
        );
        to.register("grasp_sync_spans_dropped", "Spans that it didn't get, by cause", self.spans_dropped.clone());
    }
}

fn named(strategy: &str) -> String {
    if strategy.is_empty() { NO_STRATEGY } else { strategy }.to_owned()
}

fn clamped(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sets every metric once.
    fn exercised(metrics: &Metrics) {
        metrics.relay_status("wss://a.b", 3);
        metrics.relay_health("wss://a.b", 1);
        metrics.relay_failures("wss://a.b", 2);
        metrics.relay_memory("wss://a.b", 4_096);
        metrics.connection_attempt("wss://a.b", AttemptResult::Success);
        metrics.events_synced(7);
        metrics.relays(5, 4, 1);
        metrics.batch_done("negentropy,req", "new_items", "confirmed", Duration::from_millis(200));
        metrics.event_received("stored");
        metrics.bytes("wss://a.b", Direction::Down, 100);
        metrics.rejected_index(Tier::Hot, 9);
        metrics.fallback("negentropy", "");
        metrics.limit_hit("max_relays");
        metrics.store_events(11);
        metrics.store_commit(Duration::from_millis(3));
        metrics.spans_exported(12);
        metrics.spans_dropped(SpanLoss::Refused, 4);
    }

    #[test]
    fn every_name_of_the_contract_is_exposed_with_its_labels_and_type() {
        let metrics = Metrics::new();
        exercised(&metrics);
        let text = metrics.encode().expect("encodes");
        for line in [
            r#"ngit_sync_relay_connected{relay="wss://a.b"} 3"#,
            r#"ngit_sync_relay_status{relay="wss://a.b"} 1"#,
            r#"ngit_sync_relay_failures{relay="wss://a.b"} 2"#,
            r#"ngit_sync_connection_attempts_total{relay="wss://a.b",result="success"} 1"#,
            "ngit_sync_events_synced_total 7",
            "ngit_sync_relays_tracked_total 5",
            "ngit_sync_relays_connected_total 4",
            "ngit_sync_relays_dead_total 1",
            r#"grasp_sync_batches_total{strategy="negentropy,req",reason="new_items",outcome="confirmed"} 1"#,
            r#"grasp_sync_batch_seconds_count{strategy="negentropy,req"} 1"#,
            r#"grasp_sync_batch_seconds_bucket{le="0.2",strategy="negentropy,req"} 1"#,
            r#"grasp_sync_events_received_total{outcome="stored"} 1"#,
            r#"grasp_sync_bytes_total{relay="wss://a.b",direction="down"} 100"#,
            r#"grasp_sync_rejected_index_size{tier="hot"} 9"#,
            r#"grasp_sync_fallbacks_total{from="negentropy",to="none"} 1"#,
            r#"grasp_sync_limit_hits_total{limit="max_relays"} 1"#,
            "grasp_sync_store_events 11",
            "grasp_sync_store_commit_seconds_count 1",
            "grasp_sync_spans_exported_total 12",
            r#"grasp_sync_spans_dropped_total{cause="refused"} 4"#,
            "# TYPE ngit_sync_relays_tracked_total gauge",
            "# TYPE grasp_sync_batches counter",
            "# TYPE grasp_sync_store_commit_seconds histogram",
        ] {
            assert!(text.lines().any(|found| found == line), "`{line}` is missing in:\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn clones_share_their_numbers_and_processes_do_not() {
        let metrics = Metrics::new();
        metrics.clone().events_synced(1);
        assert!(metrics.encode().expect("encodes").contains("ngit_sync_events_synced_total 1\n"));
        assert!(Metrics::new().encode().expect("encodes").contains("ngit_sync_events_synced_total 0\n"));
    }

    #[test]
    fn past_the_bound_counters_share_a_label_and_gauges_are_left_out() {
        let metrics = Metrics::with_max_relays(2);
        for relay in ["wss://a", "wss://b", "wss://c", "wss://d", "wss://a"] {
            metrics.relay_status(relay, 4);
            metrics.bytes(relay, Direction::Up, 10);
        }
        let text = metrics.encode().expect("encodes");
        let series = |name: &str| {
            let mut lines: Vec<_> = text.lines().filter(|line| line.starts_with(name)).collect();
            lines.sort_unstable();
            lines
        };
        assert_eq!(
            series("grasp_sync_bytes_total"),
            [
                r#"grasp_sync_bytes_total{relay="other",direction="up"} 20"#,
                r#"grasp_sync_bytes_total{relay="wss://a",direction="up"} 20"#,
                r#"grasp_sync_bytes_total{relay="wss://b",direction="up"} 10"#,
            ]
        );
        assert_eq!(
            series("ngit_sync_relay_connected"),
            [r#"ngit_sync_relay_connected{relay="wss://a"} 4"#, r#"ngit_sync_relay_connected{relay="wss://b"} 4"#]
        );
    }

    #[test]
    fn the_bound_is_five_hundred_relays() {
        let metrics = Metrics::new();
        for number in 0..2_000 {
            metrics.connection_attempt(&format!("wss://{number}.example"), AttemptResult::Failure);
        }
        let text = metrics.encode().expect("encodes");
        let series = text.lines().filter(|line| line.starts_with("ngit_sync_connection_attempts_total")).count();
        assert_eq!(series, 501);
        assert!(text.contains(r#"{relay="other",result="failure"} 1500"#));
    }

    #[test]
    fn a_limit_is_news_once_for_each_relay() {
        let metrics = Metrics::with_max_relays(2);
        let hits = ["wss://a", "wss://a", "wss://b", "wss://c", "wss://d"]
            .map(|relay| metrics.relay_limit_hit(relay, "max_tags"));
        assert_eq!(hits, [true, false, true, true, false], "the last two share a label");
        assert!(metrics.relay_limit_hit("wss://a", "max_future"));
        assert!(metrics.encode().expect("encodes").contains("grasp_sync_limit_hits_total{limit=\"max_tags\"} 5\n"));
    }

    #[test]
    fn hostile_label_values_are_escaped() {
        let metrics = Metrics::new();
        metrics.relay_status("wss://a\"} 1\nforged{x=\"\\", 3);
        let text = metrics.encode().expect("encodes");
        assert!(
            text.contains(r#"ngit_sync_relay_connected{relay="wss://a\"} 1\nforged{x=\"\\"} 3"#),
            "the value must stay within its quotes:\n{text}"
        );
        assert!(!text.lines().any(|line| line.starts_with("forged")));
    }
}
