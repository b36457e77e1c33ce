//! Which events are accepted, deferred, rejected (SPEC §3, §11).

use serde::{Deserialize, Serialize};

use crate::model::RepoAddress;

/// How announcements are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdmissionMode {
    /// Those that list the service, and those of their maintainers.
    #[default]
    Grasp,
    /// Every announcement: a mirror of all git events.
    All,
}

/// An entry of the allow or deny list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ListEntry {
    /// Everything by this author.
    Author(nostr::key::PublicKey),
    /// One repository: `npub/identifier`.
    Repo(RepoAddress),
}

/// What decides about admission; part of the store's state, for a change voids what was decided before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AdmissionConfig {
    /// The service's domains: `host`, `host:port`, or with a path.
    pub domains: Vec<String>,
    /// How announcements are chosen.
    pub mode: AdmissionMode,
    /// Accepted before every other rule.
    pub allow: Vec<ListEntry>,
    /// Rejected before every other rule, and before `allow`.
    pub deny: Vec<ListEntry>,
}

/// Why an event was kept out for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RejectReason {
    /// A newer version is known (replaceable and addressable events).
    Superseded,
    /// Its author deleted it (NIP-09).
    Deleted,
    /// Its time is up (NIP-40).
    Expired,
    /// Of a kind that is never stored (NIP-01).
    Ephemeral,
    /// Dated further in the future than `limits.max_future`.
    FutureDated,
    /// An announcement that doesn't list the service.
    NotListed,
    /// A grasp list that doesn't name the service.
    GraspListElsewhere,
    /// On the deny list.
    Denied,
    /// More bytes than the store can take.
    TooLarge,
}

impl RejectReason {
    /// The name in counts, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Superseded => "superseded",
            Self::Deleted => "deleted",
            Self::Expired => "expired",
            Self::Ephemeral => "ephemeral",
            Self::FutureDated => "future_dated",
            Self::NotListed => "not_listed",
            Self::GraspListElsewhere => "grasp_list_elsewhere",
            Self::Denied => "denied",
            Self::TooLarge => "too_large",
        }
    }
}

/// Why an event waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeferReason {
    /// An announcement or state whose author may still turn out to be a maintainer.
    MaintainerNotYetValid,
    /// Related to nothing that is accepted, so far.
    Orphan,
}

impl DeferReason {
    /// The name in counts, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaintainerNotYetValid => "maintainer_not_yet_valid",
            Self::Orphan => "orphan",
        }
    }
}

/// The rules of one configuration.
#[derive(Debug, Clone)]
pub struct AdmissionPolicy {
    config: AdmissionConfig,
}

impl AdmissionPolicy {
    /// The rules of `config`.
    pub fn new(config: AdmissionConfig) -> Self {
        Self { config }
    }

    /// What it was made from.
    pub fn config(&self) -> &AdmissionConfig {
        &self.config
    }
}
