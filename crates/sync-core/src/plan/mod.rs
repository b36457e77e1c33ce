//! What is to be done: what is wanted, minus what is pending, confirmed, or failed and not yet due (SPEC §5).
//!
//! [`derive_relay_targets`] and [`compute_actions`] are the reference: pure, over everything. [`compute_changed_actions`]
//! looks only at what changed, and equals them where nothing was left to do before the change.

mod failed;
mod index;

pub(crate) use failed::is_withheld;
pub use failed::{FailedGroup, FailedItems};
pub use index::{Applied, Changes, IndexLimits, RepoIndex};

use std::collections::{BTreeMap, HashMap};

use nostr::event::EventId;

use crate::model::{
    BatchId, PendingBatch, PendingItems, RelayState, RelayUrl, RepoAddress, RepoSyncIndex, RepoSyncNeeds,
};

/// The addresses of the service itself, which are never targets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnAddresses {
    /// Host, and port where it isn't the scheme's.
    hosts: Vec<(String, Option<u16>)>,
    urls: Vec<RelayUrl>,
}

impl OwnAddresses {
    /// From `service.domain` (host or host:port; any scheme and path counts as the service's) and other spellings of the own relay.
    /// Domains that can't be read are left out: the configuration's check has refused them before.
    pub fn new<'a>(domains: impl IntoIterator<Item = &'a str>, urls: impl IntoIterator<Item = RelayUrl>) -> Self {
        let hosts = domains
            .into_iter()
            .filter_map(|domain| {
                let domain = domain.trim();
                let bare = domain.split_once("://").map_or(domain, |(_, rest)| rest);
                let url = RelayUrl::parse(bare).ok()?;
                // Under wss the port 443 is dropped when it is normalised; said aloud it is meant.
                Some((url.host().to_owned(), (url.port() != 443).then(|| url.port())))
            })
            .collect();
        Self { hosts, urls: urls.into_iter().collect() }
    }

    /// Whether `relay` is the service itself.
    pub fn contains(&self, relay: &RelayUrl) -> bool {
        let default_port = if relay.is_tls() { 443 } else { 80 };
        self.hosts.iter().any(|(host, port)| relay.host() == host && relay.port() == port.unwrap_or(default_port))
            || self.urls.contains(relay)
    }
}

/// What is wanted from each relay. Borrows: ids are not copied.
#[derive(Debug, Default)]
pub struct RelayTargets<'a>(HashMap<&'a RelayUrl, Vec<(&'a RepoAddress, &'a RepoSyncNeeds)>>);

impl<'a> RelayTargets<'a> {
    /// The relays, in no order.
    pub fn relays(&self) -> impl Iterator<Item = &'a RelayUrl> {
        self.0.keys().copied()
    }

    /// The repositories that `relay` lists, with their needs.
    pub fn of(&self, relay: &RelayUrl) -> &[(&'a RepoAddress, &'a RepoSyncNeeds)] {
        self.0.get(relay).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Inverts repository → relays to relay → needs, leaving out the service's own addresses.
pub fn derive_relay_targets<'a>(index: &'a RepoSyncIndex, own: &OwnAddresses) -> RelayTargets<'a> {
    let mut targets = RelayTargets::default();
    for (repo, needs) in index {
        for relay in &needs.relays {
            targets.0.entry(relay).or_default().push((repo, needs));
        }
    }
    targets.0.retain(|relay, _| !own.contains(relay));
    targets
}

/// How far one relay has come.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// Its record: what is confirmed, and whether it is connected.
    pub state: &'a RelayState,
    /// Batches in flight.
    pub in_flight: &'a BTreeMap<BatchId, PendingBatch>,
    /// Planned already, and waiting for a batch.
    pub planned: &'a PendingItems,
    /// What was tried and is not complete.
    pub failed: &'a FailedItems,
}

impl Progress<'_> {
    fn misses_repo(&self, repo: &RepoAddress, now: u64) -> bool {
        !self.state.repos.contains(repo)
            && !self.planned.repos.contains(repo)
            && !self.in_flight.values().any(|batch| batch.items.repos.contains(repo))
            && !self.failed.holds_repo(repo, now)
    }

    fn misses_root_event(&self, event: &EventId, now: u64) -> bool {
        !self.state.root_events.contains(event)
            && !self.planned.root_events.contains(event)
            && !self.in_flight.values().any(|batch| batch.items.root_events.contains(event))
            && !self.failed.holds_root_event(event, now)
    }
}

/// What is new for one relay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelayActions {
    /// Repositories, ascending.
    pub repos: Vec<RepoAddress>,
    /// Root events, ascending.
    pub root_events: Vec<EventId>,
}

impl RelayActions {
    fn is_empty(&self) -> bool {
        self.repos.is_empty() && self.root_events.is_empty()
    }

    fn sort(&mut self) {
        self.repos.sort_unstable();
        self.repos.dedup();
        self.root_events.sort_unstable();
        self.root_events.dedup();
    }
}

/// What is new, by relay; relays without anything new are left out.
pub type Actions = BTreeMap<RelayUrl, RelayActions>;

/// The only place that decides what is new: target − pending − confirmed − failed-not-yet-due, relays that aren't
/// connected (or unknown to `progress`) skipped. Layer 1 and catch-up are not its business. `now` in unix seconds.
pub fn compute_actions<'p>(
    targets: &RelayTargets<'_>,
    progress: impl Fn(&RelayUrl) -> Option<Progress<'p>>,
    now: u64,
) -> Actions {
    let mut actions = Actions::new();
    for relay in targets.relays() {
        let Some(progress) = progress(relay).filter(|p| p.state.connection_status.is_connected()) else { continue };
        let new = relay_actions(targets.of(relay).iter().copied(), &progress, now);
        if !new.is_empty() {
            actions.insert(relay.clone(), new);
        }
    }
    actions
}

/// [`compute_actions`] for one relay.
pub fn compute_relay_actions(index: &RepoIndex, relay: &RelayUrl, progress: &Progress<'_>, now: u64) -> RelayActions {
    if !progress.state.connection_status.is_connected() {
        return RelayActions::default();
    }
    relay_actions(index.repos_of(relay).filter_map(|repo| index.needs().get_key_value(repo)), progress, now)
}

/// [`compute_actions`] for what changed only: equal to it where it would have found nothing before the changes.
pub fn compute_changed_actions<'p>(
    index: &RepoIndex,
    changes: &Changes,
    progress: impl Fn(&RelayUrl) -> Option<Progress<'p>>,
    now: u64,
) -> Actions {
    let connected = |relay: &RelayUrl| progress(relay).filter(|p| p.state.connection_status.is_connected());
    let mut actions = Actions::new();
    for (repo, needs) in changes.repos.iter().filter_map(|repo| index.needs().get_key_value(repo)) {
        for relay in &needs.relays {
            let Some(progress) = connected(relay) else { continue };
            let new = relay_actions(std::iter::once((repo, needs)), &progress, now);
            if !new.is_empty() {
                let actions = actions.entry(relay.clone()).or_default();
                actions.repos.extend(new.repos);
                actions.root_events.extend(new.root_events);
            }
        }
    }
    for event in &changes.root_events {
        for relay in index.repos_tagged_by(event).filter_map(|repo| index.needs().get(repo)).flat_map(|n| &n.relays) {
            if connected(relay).is_some_and(|progress| progress.misses_root_event(event, now)) {
                actions.entry(relay.clone()).or_default().root_events.push(*event);
            }
        }
    }
    actions.values_mut().for_each(RelayActions::sort);
    actions
}

fn relay_actions<'a>(
    targets: impl Iterator<Item = (&'a RepoAddress, &'a RepoSyncNeeds)>,
    progress: &Progress<'_>,
    now: u64,
) -> RelayActions {
    let mut actions = RelayActions::default();
    for (repo, needs) in targets {
        if progress.misses_repo(repo, now) {
            actions.repos.push(repo.clone());
        }
        actions.root_events.extend(needs.root_events.iter().filter(|event| progress.misses_root_event(event, now)));
    }
    actions.sort();
    actions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_recognised_in_every_spelling() {
        let own = OwnAddresses::new(["git.example.com", "https://other.example:8443/x"], []);
        let contains = |text: &str| own.contains(&RelayUrl::parse(text).expect("valid"));
        for text in [
            "wss://git.example.com",
            "WS://Git.Example.com:80/",
            "wss://git.example.com/npub1/repo",
            "wss://other.example:8443",
        ] {
            assert!(contains(text), "{text}");
        }
        for text in ["wss://git.example.com:7000", "wss://evil-git.example.com", "wss://other.example"] {
            assert!(!contains(text), "{text}");
        }
    }
}
