//! What a relay has seen and done, for tests to ask.

use std::collections::{BTreeMap, HashMap, VecDeque};

use nostr::event::EventId;
use nostr::filter::Filter;

/// A REQ or NEG-OPEN as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRequest {
    /// The number of the connection, from 0.
    pub connection: u64,
    /// The subscription or reconciliation id.
    pub id: String,
    /// Its filters; one for NEG-OPEN.
    pub filters: Vec<Filter>,
}

/// Counts since the relay's core was made; they outlive connections and restarts of the server.
#[derive(Debug, Clone, Default)]
pub struct RelayStats {
    /// Connections that got as far as a handshake.
    pub connections: u64,
    /// Connections that are open.
    pub connections_open: u64,
    /// Connections turned away before or in the handshake.
    pub connections_refused: u64,
    /// Connections that the relay broke off.
    pub connections_dropped: u64,
    /// Answers to requests for the information document (NIP-11), failures included.
    pub nip11_requests: u64,
    /// Frames received by type, such as `REQ`; `invalid` for what can't be read.
    pub frames_in: BTreeMap<&'static str, u64>,
    /// Frames sent by type, such as `EVENT`; `invalid` for deliberate nonsense.
    pub frames_out: BTreeMap<&'static str, u64>,
    /// Bytes of text received.
    pub bytes_in: u64,
    /// Bytes of text sent.
    pub bytes_out: u64,
    /// REQs in order of arrival, the last [`RelayStats::MAX_REQUESTS`].
    pub reqs: VecDeque<SeenRequest>,
    /// NEG-OPENs in order of arrival, the last [`RelayStats::MAX_REQUESTS`].
    pub neg_opens: VecDeque<SeenRequest>,
    /// Subscriptions open on all connections.
    pub subscriptions: u64,
    /// The most subscriptions that one connection had open.
    pub max_subscriptions: u64,
    /// Reconciliations open on all connections.
    pub reconciliations: u64,
    /// The most reconciliations that one connection had open.
    pub max_reconciliations: u64,
    /// How often each event was sent.
    pub events_sent: HashMap<EventId, u64>,
    /// How often each event was published by clients.
    pub events_offered: HashMap<EventId, u64>,
    /// Published events that were stored.
    pub events_stored: u64,
    /// Connections that authenticated (NIP-42).
    pub authenticated: u64,
}

impl RelayStats {
    /// How many requests of a kind are remembered.
    pub const MAX_REQUESTS: usize = 65_536;

    /// Frames of a type received.
    pub fn received(&self, frame: &str) -> u64 {
        self.frames_in.get(frame).copied().unwrap_or_default()
    }

    /// Frames of a type sent.
    pub fn sent(&self, frame: &str) -> u64 {
        self.frames_out.get(frame).copied().unwrap_or_default()
    }

    /// EVENT frames sent, repeats included.
    pub fn events_out(&self) -> u64 {
        self.sent("EVENT")
    }

    /// Whether no subscription and no reconciliation is open.
    pub fn is_idle(&self) -> bool {
        self.subscriptions == 0 && self.reconciliations == 0
    }
}

pub(super) fn remember(requests: &mut VecDeque<SeenRequest>, request: SeenRequest) {
    if requests.len() == RelayStats::MAX_REQUESTS {
        requests.pop_front();
    }
    requests.push_back(request);
}
