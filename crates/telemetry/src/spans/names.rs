//! The words of CONTRACT.md, "Traces": names of spans and of their fields.

/// Names of spans.
pub mod name {
    /// The root: one batch.
    pub const BATCH: &str = "sync.batch";
    /// One filter, one window, one strategy; a child of [`BATCH`].
    pub const SESSION: &str = "strategy.session";
    /// One round of a reconciliation; a child of [`SESSION`].
    pub const ROUND: &str = "negentropy.round";
    /// One page of a REQ; a child of [`SESSION`].
    pub const PAGE: &str = "req.page";
    /// A span that a plugin opens within a session of its own; carries the plugin's name for it.
    pub const PLUGIN: &str = "strategy.plugin";
    /// A connection to a relay: a trace of its own, which batches point at.
    pub const CONNECTION: &str = "relay.connection";
    /// What happened to a batch: a session passed from one strategy to the next.
    pub const FALLBACK: &str = "fallback";
    /// Asking for events by id; a child of [`SESSION`].
    pub const FETCH: &str = "events.fetch";
    /// Checking and storing what came; a child of [`SESSION`].
    pub const INGEST: &str = "events.ingest";
}

/// Names of fields.
pub mod field {
    /// The relay's normalised address.
    pub const RELAY_URL: &str = "relay.url";
    /// The batch's number.
    pub const BATCH_ID: &str = "batch.id";
    /// Why the batch was made.
    pub const BATCH_REASON: &str = "batch.reason";
    /// What its filters belong to.
    pub const BATCH_LAYER: &str = "batch.layer";
    /// How many filters it has.
    pub const BATCH_FILTERS: &str = "batch.filters";
    /// How many repositories its success confirms.
    pub const BATCH_REPOS: &str = "batch.repos";
    /// How many root events its success confirms.
    pub const BATCH_ROOT_EVENTS: &str = "batch.root_events";
    /// All strategies that carried it, joined by commas.
    pub const SYNC_STRATEGY: &str = "sync.strategy";
    /// Ids that the relay has and we lack.
    pub const EVENTS_NEEDED: &str = "events.needed";
    /// Events that came.
    pub const EVENTS_RECEIVED: &str = "events.received";
    /// Events that were stored.
    pub const EVENTS_STORED: &str = "events.stored";
    /// Events that were kept out.
    pub const EVENTS_REJECTED: &str = "events.rejected";
    /// Bytes of frames sent.
    pub const BYTES_UP: &str = "bytes.up";
    /// Bytes of frames received.
    pub const BYTES_DOWN: &str = "bytes.down";
    /// Spans of a batch that are left out of its trace, because it has more than a trace may hold.
    pub const SPANS_LEFT_OUT: &str = "spans.left_out";
    /// Events that a question brought and that were known already.
    pub const EVENTS_DUPLICATE: &str = "events.duplicate";
    /// Ids that were asked for.
    pub const EVENTS_ASKED: &str = "events.asked";
    /// Why a link points where it does: `caused_by` or `connection`.
    pub const LINK: &str = "link";
    /// The strategy that gave up.
    pub const FROM: &str = "from";
    /// The strategy that took over; empty where none was left.
    pub const TO: &str = "to";
    /// Why.
    pub const REASON: &str = "reason";
    /// Batches that a connection carried.
    pub const BATCHES: &str = "batches";
    /// `confirmed`, `failed` or `superseded`.
    pub const OUTCOME: &str = "outcome";
    /// The trace's id in hex, where spans are exported, so that log lines within a batch carry it.
    pub const TRACE_ID: &str = "trace.id";
    /// The strategy of a session.
    pub const STRATEGY_NAME: &str = "strategy.name";
    /// The filter of a session, as JSON.
    pub const FILTER: &str = "filter";
    /// The window of a session.
    pub const WINDOW: &str = "window";
    /// Rounds or pages of a session.
    pub const ROUNDS: &str = "rounds";
}
