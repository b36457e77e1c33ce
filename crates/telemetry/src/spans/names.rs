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
