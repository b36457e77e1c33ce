//! The label sets of the metrics, and the bound on how many relays get a series of their own.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

/// The label value that relays share once [`MAX_RELAYS`](super::MAX_RELAYS) have a series of their own.
pub const OTHER: &str = "other";

/// A label value that is one of a fixed set of words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word in the label.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    };
}

words! {
    /// How an attempt to connect ended.
    AttemptResult {
        /// The connection is open.
        Success = "success",
        /// It isn't.
        Failure = "failure",
    }
}

words! {
    /// The way that bytes went.
    Direction {
        /// To the relay.
        Up = "up",
        /// From the relay.
        Down = "down",
    }
}

words! {
    /// Why spans were lost on their way to the collector.
    SpanLoss {
        /// The queue had no room: the collector is slower than spans are made.
        QueueFull = "queue_full",
        /// No connection to the collector, or it broke.
        Unreachable = "unreachable",
        /// The collector didn't answer in time.
        Timeout = "timeout",
        /// The collector answered by an error.
        Refused = "refused",
        /// The collector took the request but for these spans.
        Rejected = "rejected",
        /// The process ended before they were sent.
        Stopped = "stopped",
    }
}

words! {
    /// A tier of the rejected-events index (SPEC §11).
    Tier {
        /// Whole deferred events.
        Hot = "hot",
        /// Rows without a body.
        Cold = "cold",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RelayLabel {
    pub(super) relay: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AttemptLabels {
    pub(super) relay: Arc<str>,
    pub(super) result: AttemptResult,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BytesLabels {
    pub(super) relay: Arc<str>,
    pub(super) direction: Direction,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BatchLabels {
    pub(super) strategy: String,
    pub(super) reason: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StrategyLabel {
    pub(super) strategy: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FallbackLabels {
    pub(super) from: String,
    pub(super) to: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutcomeLabel {
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LimitLabel {
    pub(super) limit: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CauseLabel {
    pub(super) cause: SpanLoss,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TierLabel {
    pub(super) tier: Tier,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StatusLabel {
    pub(super) status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StateLabel {
    pub(super) state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct VersionLabel {
    pub(super) version: String,
}

/// The relays that have series of their own: the first that were named, up to a bound. Announcements are written by
/// anybody, so the names are too.
#[derive(Debug)]
pub(super) struct RelayNames {
    max: usize,
    named: Mutex<HashSet<Arc<str>>>,
    other: Arc<str>,
}

impl RelayNames {
    pub(super) fn new(max: usize) -> Self {
        Self { max, named: Mutex::default(), other: OTHER.into() }
    }

    /// The relay's own label value; `None` where it is beyond the bound.
    pub(super) fn own(&self, relay: &str) -> Option<Arc<str>> {
        // A set of names is whole after every step, whatever panicked while it was locked.
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = named.get(relay) {
            return Some(name.clone());
        }
        if named.len() >= self.max {
            return None;
        }
        let name: Arc<str> = relay.into();
        named.insert(name.clone());
        Some(name)
    }

    /// The relay's label value: its own, or the one that is shared.
    pub(super) fn own_or_other(&self, relay: &str) -> Arc<str> {
        self.own(relay).unwrap_or_else(|| self.other.clone())
    }
    /// Lets go of the relays that `is_known` doesn't hold for, and names them.
    pub(super) fn retain(&self, is_known: impl Fn(&str) -> bool) -> Vec<Arc<str>> {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> = named.iter().filter(|relay| !is_known(relay)).cloned().collect();
        gone.iter().for_each(|relay| _ = named.remove(relay));
        gone
    }
}
