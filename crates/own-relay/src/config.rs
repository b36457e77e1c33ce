//! What a relay is told at its start: who it is, what it bounds, and who counts what it does.

use std::time::Duration;

use sync_core::check::EventLimits;

/// Characters of a subscription's id (NIP-01).
pub const MAX_SUBSCRIPTION_ID: usize = 64;

/// Who the relay is, and its bounds.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// Its name in NIP-11.
    pub name: String,
    /// Its description in NIP-11.
    pub description: String,
    /// The version of the software, for NIP-11.
    pub version: String,
    /// The GRASP documents that the whole service follows, such as `GRASP-01`; said in NIP-11 only where there are any.
    pub supported_grasps: Vec<String>,
    /// Bounds on what clients may cost.
    pub limits: RelayLimits,
    /// Bounds on one published event.
    pub events: EventLimits,
    /// How far in the future a published event may be dated, in seconds. The store holds its own to it as well.
    pub max_future_s: u64,
    /// Bytes of one message from a client, at least 1; 4 MiB is usual.
    pub max_message: usize,
}

/// Bounds on what clients may cost. None of them is to be 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayLimits {
    /// Connections at a time; more are closed at once. Default 4,096.
    pub max_connections: usize,
    /// How long a client may take to send the head of its HTTP request. Default 5 s.
    pub header_timeout: Duration,
    /// Subscriptions of one connection. Default 256.
    pub max_subscriptions: usize,
    /// Bytes of the REQs of one connection's open subscriptions, which is about what their filters take. Default 1 MiB.
    pub max_filter_bytes: u64,
    /// Those of all connections together. Default 256 MiB.
    pub max_all_filter_bytes: u64,
    /// Filters of one REQ or COUNT. Default 32.
    pub max_filters: usize,
    /// Ids, authors, kinds and tag values in the filters of one message, all together. Default 5,000.
    pub max_filter_values: usize,
    /// Pairs of an author and a kind that the filters of one message ask for, all together; a filter without either
    /// counts as one of it. Default 10,000.
    pub max_filter_combinations: usize,
    /// Stored events that one filter may contribute, whatever it asks for. Default 100,000.
    pub max_limit: usize,
    /// COUNTs of one connection that wait for their answer. Default 16.
    pub max_counts: usize,
    /// Rows that a COUNT looks at, in steps of 20,000, before it says that it is approximate. Default 1,000,000.
    pub max_count: u64,
    /// Reconciliations (NIP-77) that one connection may have open. Default 16.
    pub max_reconciliations: usize,
    /// Events of one reconciliation; told to the client where it asks for more. Default 1,000,000, of 40 bytes each.
    pub max_reconciliation_items: u64,
    /// Events of all reconciliations of one connection. Default 2,000,000, so that one client leaves room for others.
    pub max_connection_reconciliation_items: u64,
    /// Events of all reconciliations of all connections. Default 8,000,000, of 40 bytes each.
    pub max_all_reconciliation_items: u64,
    /// How long a reconciliation is kept for a client that says nothing about it. Default 5 min.
    pub reconciliation_idle: Duration,
    /// Published events of one connection that wait to be taken up; its socket isn't read while there are as many.
    /// Default 64, which is also how many are checked and stored together.
    pub max_pending_events: usize,
    /// Messages that make no sense, without a good one in between, that end a connection. Default 50.
    pub max_bad_messages: u32,
    /// Accepted events that are kept in memory for all connections together. Default 16,384.
    pub ring_events: usize,
    /// Their bytes. Default 32 MiB.
    pub ring_bytes: usize,
    /// Places of the feed that a reader of live events may lag behind. Default 200,000.
    pub max_lag: u64,
    /// How long the socket of a client may take nothing while something is due to it. Default 30 s.
    pub slow_reader: Duration,
    /// How often a client is pinged. Default 60 s.
    pub ping_every: Duration,
    /// How long a client may be silent, pongs included, before it is taken for gone. Default 5 min.
    pub max_silence: Duration,
    /// Stored events read at a time for one connection. Default 500.
    pub page_events: usize,
    /// Their bytes, as far as events are smaller than that. Default 256 KiB.
    pub page_bytes: usize,
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self {
            max_connections: 4_096,
            header_timeout: Duration::from_secs(5),
            max_subscriptions: 256,
            max_filter_bytes: 1 << 20,
            max_all_filter_bytes: 256 << 20,
            max_filters: 32,
            max_filter_values: 5_000,
            max_filter_combinations: 10_000,
            max_limit: 100_000,
            max_counts: 16,
            max_count: 1_000_000,
            max_reconciliations: 16,
            max_reconciliation_items: 1_000_000,
            max_connection_reconciliation_items: 2_000_000,
            max_all_reconciliation_items: 8_000_000,
            reconciliation_idle: Duration::from_secs(300),
            max_pending_events: 64,
            max_bad_messages: 50,
            ring_events: 16_384,
            ring_bytes: 32 << 20,
            max_lag: 200_000,
            slow_reader: Duration::from_secs(30),
            ping_every: Duration::from_secs(60),
            max_silence: Duration::from_secs(300),
            page_events: 500,
            page_bytes: 256 << 10,
        }
    }
}

/// Who counts what the relay does. Called from its tasks: must not block.
pub trait Observe: Send + Sync {
    /// Connections open from here on.
    fn connections(&self, open: usize) {
        let _ = open;
    }

    /// A bound was hit; its name, such as `max_subscriptions`.
    fn limit_hit(&self, limit: &'static str) {
        let _ = limit;
    }

    /// What became of a published event: `stored`, `duplicate`, or the reason against it, such as `bad_signature`.
    fn received(&self, outcome: &'static str) {
        let _ = outcome;
    }

    /// Events that were sent, stored and live ones.
    fn sent(&self, events: u64) {
        let _ = events;
    }
}

/// Counts nothing.
impl Observe for () {}
