//! Which events are accepted, deferred, rejected (SPEC §3, §11): the rules that an event alone can be held to. Those
//! that depend on what is stored are in [`crate::intake`].

mod domain;
mod list;

use std::collections::{BTreeSet, HashSet};

use nostr::event::Event;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use domain::DomainError;
pub use list::{ListEntry, ListEntryError};

use crate::model::{RepoAddress, kinds};
use domain::ServiceDomain;

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
    /// The external own relay refused it; its words are kept.
    OwnRelay,
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
            Self::OwnRelay => "own_relay",
        }
    }

    /// Whether the reason lies in the event and its like, so that it holds under every policy and without one.
    pub fn is_lasting(self) -> bool {
        !matches!(self, Self::NotListed | Self::GraspListElsewhere | Self::Denied | Self::OwnRelay)
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

/// Why a configuration can't be worked with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdmissionConfigError {
    /// A domain of the service can't be read.
    #[error("service.domain: {0}")]
    Domain(#[from] DomainError),
}

/// The rules of one configuration.
#[derive(Debug, Clone)]
pub struct AdmissionPolicy {
    config: AdmissionConfig,
    domains: BTreeSet<ServiceDomain>,
    allow: HashSet<ListEntry>,
    deny: HashSet<ListEntry>,
}

impl AdmissionPolicy {
    /// The rules of `config`.
    ///
    /// # Errors
    /// A domain that can't be read.
    pub fn new(config: AdmissionConfig) -> Result<Self, AdmissionConfigError> {
        let domains = config.domains.iter().map(|text| ServiceDomain::parse(text)).collect::<Result<_, _>>()?;
        let allow = config.allow.iter().cloned().collect();
        let deny = config.deny.iter().cloned().collect();
        Ok(Self { config, domains, allow, deny })
    }

    /// What it was made from.
    pub fn config(&self) -> &AdmissionConfig {
        &self.config
    }

    /// The same for configurations that decide the same, however they are spelt or ordered; to be kept with what was
    /// decided. Stable across versions and machines.
    pub fn fingerprint(&self) -> [u8; 32] {
        let sorted = |list: &HashSet<ListEntry>| list.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let domains: BTreeSet<String> = self.domains.iter().map(ToString::to_string).collect();
        let mode = match self.config.mode {
            AdmissionMode::Grasp => "grasp",
            AdmissionMode::All => "all",
        };
        let canonical = serde_json::json!([mode, domains, sorted(&self.allow), sorted(&self.deny)]);
        Sha256::digest(canonical.to_string()).into()
    }

    /// Whether `url` (of a relay, a clone, a grasp server) lies at or under one of the service's domains.
    pub fn names_service(&self, url: &str) -> bool {
        self.domains.iter().any(|domain| domain.is_named_by(url))
    }

    /// Whether an announcement lists the service in a `relays` tag and in a `clone` tag.
    pub fn lists_service(&self, announcement: &Event) -> bool {
        ["relays", "clone"].iter().all(|name| self.has_tag_naming_service(announcement, name))
    }

    /// Whether a user's grasp list (kind 10317) names the service in a `g` tag.
    pub fn is_on_grasp_list(&self, list: &Event) -> bool {
        self.has_tag_naming_service(list, "g")
    }

    /// Whether the author, or the repository that the event announces or states, is on the deny list.
    pub fn is_denied(&self, event: &Event) -> bool {
        is_listed(&self.deny, event)
    }

    /// Whether the author, or the repository that the event announces or states, is on the allow list. The deny list
    /// comes first.
    pub fn is_allowed(&self, event: &Event) -> bool {
        is_listed(&self.allow, event)
    }

    /// Whether an event is accepted by what it says itself, whatever else is stored.
    pub fn qualifies(&self, event: &Event) -> bool {
        !self.is_denied(event)
            && (self.is_allowed(event)
                || match event.kind.as_u16() {
                    kinds::ANNOUNCEMENT => self.config.mode == AdmissionMode::All || self.lists_service(event),
                    kinds::GRASP_LIST => self.is_on_grasp_list(event),
                    _ => false,
                })
    }

    /// Whether some announcement can qualify at all, so that others may become those of its maintainers.
    pub(crate) fn can_accept_announcements(&self) -> bool {
        self.config.mode == AdmissionMode::All || !self.domains.is_empty() || !self.allow.is_empty()
    }

    fn has_tag_naming_service(&self, event: &Event, name: &str) -> bool {
        let tags = event.tags.iter().map(|tag| tag.as_slice()).filter(|tag| tag.first().is_some_and(|t| t == name));
        tags.flat_map(|tag| tag.iter().skip(1)).any(|url| self.names_service(url))
    }
}

fn is_listed(list: &HashSet<ListEntry>, event: &Event) -> bool {
    !list.is_empty()
        && (list.contains(&ListEntry::Author(event.pubkey))
            || RepoAddress::of_event(event).is_some_and(|address| list.contains(&ListEntry::Repo(address))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::testing::{author, event};

    fn policy(domains: &[&str]) -> AdmissionPolicy {
        let domains = domains.iter().map(ToString::to_string).collect();
        AdmissionPolicy::new(AdmissionConfig { domains, ..AdmissionConfig::default() }).expect("valid")
    }

    #[test]
    fn the_service_must_stand_in_relays_and_in_clone() {
        let policy = policy(&["git.example.com"]);
        let relays = ["relays", "wss://other.net", "wss://git.example.com"].as_slice();
        let clone = ["clone", "https://github.com/a/b", "https://git.example.com/npub1x/b.git"].as_slice();
        let lists = |tags: &[&[&str]]| policy.lists_service(&event(author(1), 1, kinds::ANNOUNCEMENT, tags));
        assert!(lists(&[&["d", "b"], relays, clone]));
        assert!(!lists(&[&["d", "b"], relays]));
        assert!(!lists(&[&["d", "b"], clone]));
        assert!(!lists(&[relays, &["clone", "https://evil-git.example.com/b.git"]]));
        assert!(lists(&[&["relays"], &["relays", "wss://git.example.com/"], &[], &["clone", "x"], clone]));
    }

    #[test]
    fn deny_comes_before_allow() {
        let repo = |d: &str| ListEntry::Repo(RepoAddress::new(author(1), d));
        let config = AdmissionConfig {
            allow: vec![ListEntry::Author(author(1))],
            deny: vec![repo("bad")],
            ..AdmissionConfig::default()
        };
        let policy = AdmissionPolicy::new(config).expect("valid");
        let announcement = |d: &str| event(author(1), 1, kinds::ANNOUNCEMENT, &[&["d", d]]);
        assert!(policy.qualifies(&announcement("good")));
        assert!(!policy.qualifies(&announcement("bad")));
        assert!(policy.is_denied(&event(author(1), 1, kinds::STATE, &[&["d", "bad"]])));
        assert!(!policy.qualifies(&event(author(2), 1, kinds::ANNOUNCEMENT, &[&["d", "good"]])));
    }

    #[test]
    fn spelling_and_order_leave_the_fingerprint_alone() {
        assert_eq!(
            policy(&["A.example", "b.example"]).fingerprint(),
            policy(&["b.example.", "a.example"]).fingerprint()
        );
        assert_ne!(policy(&["a.example"]).fingerprint(), policy(&["a.example:443"]).fingerprint());
        let all = AdmissionConfig { mode: AdmissionMode::All, ..AdmissionConfig::default() };
        assert_ne!(AdmissionPolicy::new(all).expect("valid").fingerprint(), policy(&[]).fingerprint());
    }

    #[test]
    fn a_bad_domain_is_an_error_that_names_the_key() {
        let config = AdmissionConfig { domains: vec!["wss://x".to_owned()], ..AdmissionConfig::default() };
        let error = AdmissionPolicy::new(config).expect_err("a scheme");
        assert!(error.to_string().starts_with("service.domain: `wss://x` has a scheme"), "{error}");
    }
}
