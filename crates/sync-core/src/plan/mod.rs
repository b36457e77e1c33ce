//! What is to be done: what is wanted, minus what is pending, confirmed, or failed and not yet due (SPEC §5).
//!
//! [`derive_relay_targets`] and [`compute_actions`] are the reference: pure, over everything. [`compute_changed_actions`]
//! looks only at what changed, and equals them where nothing was left to do before the change.

mod failed;
mod index;

pub(crate) use failed::is_withheld;
pub use failed::{Due, FailedGroup, FailedItems};
pub use index::{Applied, Changes, IndexLimits, RepoIndex};

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use nostr::event::EventId;

use crate::model::{BatchId, PendingBatch, PendingItems, RelayState, RelayUrl, RepoAddress, RepoSyncIndex};

/// The addresses of the service itself, which are never targets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnAddresses {
    /// Host, and port where it isn't the scheme's.
    hosts: Vec<(String, Option<u16>)>,
    urls: Vec<RelayUrl>,
    /// An address of the service that is connected to all the same.
    connected: Option<RelayUrl>,
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
        Self { hosts, urls: urls.into_iter().collect(), connected: None }
    }

    /// Leaves out the external own relay, where there is one: it is read and followed like others (SPEC §9).
    pub fn without(self, own_relay: Option<RelayUrl>) -> Self {
        Self { connected: own_relay, ..self }
    }

    /// Whether `relay` is the service itself.
    pub fn contains(&self, relay: &RelayUrl) -> bool {
        if self.connected.as_ref() == Some(relay) {
            return false;
        }
        let default_port = if relay.is_tls() { 443 } else { 80 };
        self.hosts.iter().any(|(host, port)| relay.host() == host && relay.port() == port.unwrap_or(default_port))
            || self.urls.contains(relay)
    }
}

/// What is wanted from each relay. Addresses are borrowed; root events stand once, side by side, however many relays
/// want them: planning over everything is a matter of memory, not of arithmetic.
#[derive(Debug, Default)]
pub struct RelayTargets<'a> {
    root_events: Vec<EventId>,
    by_relay: HashMap<&'a RelayUrl, Vec<(&'a RepoAddress, Range<usize>)>>,
}

impl<'a> RelayTargets<'a> {
    /// The relays, in no order.
    pub fn relays(&self) -> impl Iterator<Item = &'a RelayUrl> {
        self.by_relay.keys().copied()
    }

    /// The repositories that `relay` lists, with their root events.
    pub fn of(&self, relay: &RelayUrl) -> impl Iterator<Item = (&'a RepoAddress, &[EventId])> {
        let repos = self.by_relay.get(relay).into_iter().flatten();
        repos.map(|(repo, range)| (*repo, self.root_events.get(range.clone()).unwrap_or_default()))
    }
}

/// Inverts repository → relays to relay → needs, leaving out the service's own addresses.
pub fn derive_relay_targets<'a>(index: &'a RepoSyncIndex, own: &OwnAddresses) -> RelayTargets<'a> {
    let mut targets = RelayTargets::default();
    for (repo, needs) in index.iter().filter(|(_, needs)| !needs.relays.is_empty()) {
        let start = targets.root_events.len();
        targets.root_events.extend(&needs.root_events);
        for relay in &needs.relays {
            targets.by_relay.entry(relay).or_default().push((repo, start..targets.root_events.len()));
        }
    }
    targets.by_relay.retain(|relay, _| !own.contains(relay));
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
        // Ids are random: their first bytes decide, and compare faster than all of them.
        self.root_events.sort_unstable_by(|a, b| prefix(a).cmp(&prefix(b)).then_with(|| a.cmp(b)));
        self.root_events.dedup();
    }
}

fn prefix(event: &EventId) -> u64 {
    let mut prefix = [0; 8];
    prefix.copy_from_slice(&event.as_bytes()[..8]);
    u64::from_be_bytes(prefix)
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
        warm(progress.state);
        let new = relay_actions(targets.of(relay), &progress, now);
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
    let needs = index.repos_of(relay).filter_map(|repo| Some((repo, &index.needs().get(repo)?.root_events)));
    relay_actions(needs, progress, now)
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
            let new = relay_actions(std::iter::once((repo, &needs.root_events)), &progress, now);
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

/// Reads the confirmed set once in the order of memory. The look-ups that follow go through it at random, and would each
/// wait for memory otherwise: with everything at once that is most of the time.
fn warm(state: &RelayState) {
    std::hint::black_box(state.root_events.iter().fold(0, |sum: u8, event| sum ^ event.as_bytes()[0]));
}

fn relay_actions<'a, E: IntoIterator<Item = &'a EventId>>(
    targets: impl Iterator<Item = (&'a RepoAddress, E)>,
    progress: &Progress<'_>,
    now: u64,
) -> RelayActions {
    let mut actions = RelayActions::default();
    for (repo, root_events) in targets {
        if progress.misses_repo(repo, now) {
            actions.repos.push(repo.clone());
        }
        actions.root_events.extend(root_events.into_iter().filter(|event| progress.misses_root_event(event, now)));
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
