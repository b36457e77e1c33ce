//! Batches: the unit that is confirmed, failed, counted and traced (SPEC §5, §7).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use nostr::event::EventId;
use nostr::filter::Filter;
use serde::{Deserialize, Serialize};

use super::RepoAddress;
use crate::strategy::Window;

/// The number of a batch, unique within a process.
pub type BatchId = u64;

/// Why a batch was made; the names are those of the traces (CONTRACT.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BatchReason {
    /// A fresh start: the relay was never connected before.
    InitialConnect,
    /// The relay was away for longer than the quick reconnect window.
    StaleReconnect,
    /// The daily sync.
    DailySync,
    /// The relay was away briefly: catch-up with `since`.
    QuickReconnect,
    /// `compute_actions` found new repositories or root events.
    NewItems,
    /// A historic sync that a person asked for (`grasp-sync sync`).
    Requested,
}

impl BatchReason {
    /// The name in traces and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InitialConnect => "initial_connect",
            Self::StaleReconnect => "stale_reconnect",
            Self::DailySync => "daily_sync",
            Self::QuickReconnect => "quick_reconnect",
            Self::NewItems => "new_items",
            Self::Requested => "requested",
        }
    }
}

/// The layers that a batch's filters belong to (SPEC §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Layer {
    /// Layer 1.
    Announcements,
    /// Layers 2 and 3.
    Repositories,
    /// Single events that the rejected index let go of, by their ids (SPEC §11).
    Wanted,
    /// Filters that a person gave.
    Free,
}

impl Layer {
    /// The name in traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Announcements => "1",
            Self::Repositories => "2+3",
            Self::Wanted => "ids",
            Self::Free => "free",
        }
    }
}

/// The strategy that carries a batch, by name: `negentropy`, `req`, or a plugin's. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncMethod(Arc<str>);

impl SyncMethod {
    /// The strategy of that name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SyncMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a batch confirms when it succeeds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingItems {
    /// Repositories of layer 2.
    pub repos: BTreeSet<RepoAddress>,
    /// Root events of layer 3.
    pub root_events: BTreeSet<EventId>,
}

impl PendingItems {
    /// Whether there is nothing to confirm.
    pub fn is_empty(&self) -> bool {
        self.repos.is_empty() && self.root_events.is_empty()
    }

    /// How many repositories and root events there are.
    pub fn len(&self) -> usize {
        self.repos.len() + self.root_events.len()
    }
}

/// A batch as it is handed to the connection that carries it.
#[derive(Debug, Clone)]
pub struct BatchRequest {
    /// Its number.
    pub id: BatchId,
    /// Why it exists.
    pub reason: BatchReason,
    /// What its filters belong to.
    pub layer: Layer,
    /// What is asked for; each filter is a session of its own. Without `limit`.
    pub filters: Vec<Filter>,
    /// What its success confirms.
    pub items: PendingItems,
    /// The batch whose discoveries this one follows up, for the trace's link.
    pub caused_by: Option<BatchId>,
    /// Whether it is asked for by those of the connection's strategies alone that read and compare no sets, in their order: with
    /// a `since`, or ids, that is cheaper than reconciling. Where none of them reads, all are asked.
    pub reads: bool,
    /// Windows that were drained by batches since this moment (unix seconds), on whichever connection, aren't asked for
    /// again, and those that this one drains are kept: the run that the batch belongs to began then. `None`: everything
    /// is asked for, nothing is kept.
    pub run_since: Option<u64>,
}

/// A batch in flight (SPEC §5).
#[derive(Debug, Clone)]
pub struct PendingBatch {
    /// Its number.
    pub batch_id: BatchId,
    /// Why it exists.
    pub reason: BatchReason,
    /// What its filters belong to.
    pub layer: Layer,
    /// What its success confirms.
    pub items: PendingItems,
    /// How often it was tried before.
    pub retry_count: u32,
}

/// A change of strategy for one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    /// The strategy that gave up.
    pub from: String,
    /// The strategy that took over; empty where none was left.
    pub to: String,
    /// Why.
    pub reason: String,
}

/// Why something is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureReason {
    /// The relay offered these ids and doesn't serve them. At most [`Failure::MAX_IDS`] are named.
    NotServed {
        /// Named ids.
        ids: Vec<EventId>,
        /// How many there are in all.
        count: u64,
    },
    /// One second holds more events than the relay shows of it.
    DenseSecond {
        /// The second, unix time.
        second: u64,
        /// At least this many events are in it.
        more_than: u64,
    },
    /// The relay finds the reconciliation too big.
    TooBig {
        /// The largest number of records that it takes, where it said so.
        cap: Option<u64>,
    },
    /// No strategy was left that could carry the filter.
    Unsupported,
    /// The relay refused: the classified word, such as `auth-required`.
    Refused {
        /// Prefix of the relay's answer.
        prefix: String,
    },
    /// No answer within the time allowed.
    Timeout,
    /// The connection ended first.
    ConnectionLost,
    /// The relay's answers break the protocol, or don't end.
    Protocol,
    /// Our side could not store or read.
    Local,
}

/// One thing that a batch could not complete, with the words for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The filter as JSON.
    pub filter: String,
    /// The time that it concerns; `None` for all that the filter asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// What kind of failure.
    pub reason: FailureReason,
    /// One line for the operator; holds the relay's own words where it gave any.
    pub text: String,
}

impl Failure {
    /// How many ids a failure names; the rest is counted.
    pub const MAX_IDS: usize = 64;

    /// Filter, window and what is missing, in one line for people.
    pub fn line(&self) -> String {
        let asked = match self.filter.as_str() {
            "" | "{}" => String::new(),
            filter => format!("filter {filter}"),
        };
        let when = match self.window {
            Some(Window { since, until }) if since == until => format!("second {since}"),
            Some(Window { since, until }) => format!("{since} to {until}"),
            None => String::new(),
        };
        let place: Vec<String> = [asked, when].into_iter().filter(|part| !part.is_empty()).collect();
        if place.is_empty() { self.text.clone() } else { format!("{} ({})", self.text, place.join(", ")) }
    }
}

/// What is drained of one filter: everything that the relay showed of these seconds is accounted for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterCoverage {
    /// The filter as JSON, without times.
    pub filter: String,
    /// Windows that are drained, ascending; the newest [`FilterCoverage::MAX_WINDOWS`].
    pub drained: Vec<Window>,
    /// Windows that are not, ascending; the newest [`FilterCoverage::MAX_WINDOWS`].
    pub open: Vec<Window>,
    /// Windows that are left out here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u64,
    /// Narrower filters, by which seconds were asked for that are too dense to be shown at once, and which are drained.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shares: u64,
}

impl FilterCoverage {
    /// How many windows of a kind are told.
    pub const MAX_WINDOWS: usize = 16;
    /// How many filters of a batch are told.
    pub const MAX_FILTERS: usize = 64;
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchOutcome {
    /// Everything that its filters match is here.
    Confirmed,
    /// Something is missing.
    Failed(Vec<Failure>),
}

/// What a batch, or one `sync` of a relay, moved. All counts are events unless said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Ids that the relay has and we had not.
    pub need: u64,
    /// Ids that we have and the relay had not.
    pub have: u64,
    /// Events received, repeats included.
    pub received: u64,
    /// Events that are in the store because of this.
    pub stored: u64,
    /// Events that were known already.
    pub duplicate: u64,
    /// Events kept out, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Events that the relay took from us.
    pub uploaded: u64,
    /// Events that the relay refused, by reason.
    pub upload_refused: BTreeMap<String, u64>,
    /// Reconciliation rounds and pages.
    pub rounds: u64,
    /// Sessions: one for each filter, window and strategy that was tried, verification rounds included.
    #[serde(default)]
    pub windows: u64,
    /// Bytes of frames sent.
    pub bytes_up: u64,
    /// Bytes of frames received.
    pub bytes_down: u64,
}

impl Counts {
    /// Adds `other` to `self`.
    pub fn add(&mut self, other: &Counts) {
        let Counts {
            need,
            have,
            received,
            stored,
            duplicate,
            rejected,
            uploaded,
            upload_refused,
            rounds,
            windows,
            bytes_up,
            bytes_down,
        } = other;
        self.need += need;
        self.have += have;
        self.received += received;
        self.stored += stored;
        self.duplicate += duplicate;
        self.uploaded += uploaded;
        self.rounds += rounds;
        self.windows += windows;
        self.bytes_up += bytes_up;
        self.bytes_down += bytes_down;
        for (reason, count) in rejected {
            *self.rejected.entry(reason.clone()).or_default() += count;
        }
        for (reason, count) in upload_refused {
            *self.upload_refused.entry(reason.clone()).or_default() += count;
        }
    }
}

impl BatchReport {
    /// Whether nothing but the end of the connection kept the batch from being whole.
    pub fn is_cut_off(&self) -> bool {
        match &self.outcome {
            BatchOutcome::Confirmed => false,
            BatchOutcome::Failed(failures) => {
                !failures.is_empty() && failures.iter().all(|failure| failure.reason == FailureReason::ConnectionLost)
            }
        }
    }
}

/// The end of a batch, as the connection that carried it tells it.
#[derive(Debug, Clone)]
pub struct BatchReport {
    /// Its number.
    pub id: BatchId,
    /// Confirmed, or what is missing.
    pub outcome: BatchOutcome,
    /// Every strategy that carried a session of it, in order of first use.
    pub methods: Vec<SyncMethod>,
    /// What it moved.
    pub counts: Counts,
    /// Changes of strategy.
    pub fallbacks: Vec<Fallback>,
    /// What is drained, filter by filter; at most [`FilterCoverage::MAX_FILTERS`], those that aren't whole first.
    pub coverage: Vec<FilterCoverage>,
}
