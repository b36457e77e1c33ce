//! `RepoSyncIndex`, derived from the feed of accepted events alone (SPEC §5, §9), with what changed since it was last
//! asked.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use nostr::event::{Event, EventId};

use super::OwnAddresses;
use crate::model::{PendingItems, RelayUrl, RepoAddress, RepoSyncIndex, RepoSyncNeeds, kinds};
use crate::store::{FeedChange, FeedEntry};

/// Bounds of what announcements may ask for (SPEC §13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexLimits {
    /// Relays of one repository that are followed: the first ones that it lists.
    pub max_relays_per_repo: usize,
    /// Repositories that are followed at one relay: the first ones that list it; others take their place as they leave.
    pub max_repos_per_relay: usize,
}

/// What an entry did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Whether what is wanted changed.
    pub changed: bool,
    /// Bounds that were hit: the key of the limit, and what it concerns.
    pub limits: Vec<(&'static str, String)>,
}

/// What changed since [`RepoIndex::take_changes`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Repositories that gained relays.
    pub repos: BTreeSet<RepoAddress>,
    /// Root events that gained repositories.
    pub root_events: BTreeSet<EventId>,
    /// What may no longer be wanted from a relay: ask [`RepoIndex::wants_repo`] and [`RepoIndex::wants_root_event`].
    pub lost: BTreeMap<RelayUrl, PendingItems>,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.repos.is_empty() && self.root_events.is_empty() && self.lost.is_empty()
    }
}

/// What we want. Root events and announcements may come in any order.
#[derive(Debug, Clone)]
pub struct RepoIndex {
    limits: IndexLimits,
    own: OwnAddresses,
    /// Asked for every repository, listed or not.
    bootstrap: BTreeSet<RelayUrl>,
    needs: RepoSyncIndex,
    /// The version of each accepted announcement: time and id.
    announced: HashMap<RepoAddress, (u64, EventId)>,
    /// The repositories that each accepted root event tags.
    tagged: HashMap<EventId, Vec<RepoAddress>>,
    by_relay: BTreeMap<RelayUrl, BTreeSet<RepoAddress>>,
    /// Repositories that list a relay which is full.
    beyond: BTreeMap<RelayUrl, BTreeSet<RepoAddress>>,
    changes: Changes,
}

impl RepoIndex {
    /// Repositories that one root event may tag; what it tags beyond isn't followed by it.
    pub const MAX_REPOS_PER_ROOT: usize = 64;
    /// The longest identifier of a repository that is followed, in bytes: it must fit into a filter.
    pub const MAX_IDENTIFIER: usize = 512;
    /// How many values of `relays` tags are looked at, for each that may be followed.
    const TRIES_PER_RELAY: usize = 4;

    /// An empty index. Bootstrap relays count as listed by every announcement, beyond its bound: a person who names one
    /// relay wants what is there, whatever addresses the announcements know it by.
    pub fn new(own: OwnAddresses, limits: IndexLimits, bootstrap: BTreeSet<RelayUrl>) -> Self {
        let bootstrap = bootstrap.into_iter().filter(|relay| !own.contains(relay)).collect();
        Self {
            limits,
            own,
            bootstrap,
            needs: RepoSyncIndex::new(),
            announced: HashMap::new(),
            tagged: HashMap::new(),
            by_relay: BTreeMap::new(),
            beyond: BTreeMap::new(),
            changes: Changes::default(),
        }
    }

    /// Takes one entry of the feed.
    pub fn apply(&mut self, entry: &FeedEntry) -> Applied {
        let mut applied = Applied::default();
        match &entry.change {
            FeedChange::Accepted(event) => match event.kind.as_u16() {
                kinds::ANNOUNCEMENT => self.announce(event, &mut applied),
                kind if kinds::ROOT_EVENTS.contains(&kind) => self.add_root(event, &mut applied),
                _ => {}
            },
            FeedChange::Removed { id, address, .. } => {
                if let Some(address) = address
                    && self.announced.get(address).is_some_and(|(_, announced)| announced == id)
                {
                    self.announced.remove(address);
                    self.set_relays(address, BTreeSet::new(), &mut applied);
                }
                self.remove_root(id, &mut applied);
            }
            FeedChange::Wanted { .. } => {}
        }
        applied
    }

    /// What is wanted, by repository. Holds repositories that aren't announced yet too, without relays.
    pub fn needs(&self) -> &RepoSyncIndex {
        &self.needs
    }

    /// The service's own addresses.
    pub fn own(&self) -> &OwnAddresses {
        &self.own
    }

    /// Accepted repositories and root events.
    pub fn counts(&self) -> (usize, usize) {
        (self.announced.len(), self.tagged.len())
    }

    /// The relays that some repository lists.
    pub fn relays(&self) -> impl Iterator<Item = &RelayUrl> {
        self.by_relay.keys()
    }

    /// Whether some repository lists `relay`.
    pub fn lists(&self, relay: &RelayUrl) -> bool {
        self.by_relay.contains_key(relay)
    }

    /// The repositories that list `relay`, ascending.
    pub fn repos_of(&self, relay: &RelayUrl) -> impl Iterator<Item = &RepoAddress> {
        self.by_relay.get(relay).into_iter().flatten()
    }

    /// The repositories that a root event tags.
    pub fn repos_tagged_by(&self, event: &EventId) -> impl Iterator<Item = &RepoAddress> {
        self.tagged.get(event).into_iter().flatten()
    }

    /// Whether `repo` is wanted from `relay`.
    pub fn wants_repo(&self, relay: &RelayUrl, repo: &RepoAddress) -> bool {
        self.by_relay.get(relay).is_some_and(|repos| repos.contains(repo))
    }

    /// Whether `event` is wanted from `relay`.
    pub fn wants_root_event(&self, relay: &RelayUrl, event: &EventId) -> bool {
        self.repos_tagged_by(event).any(|repo| self.wants_repo(relay, repo))
    }

    /// What changed since the last call.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    fn announce(&mut self, event: &Event, applied: &mut Applied) {
        let Some(address) = RepoAddress::of_event(event) else { return };
        if address.identifier.len() > Self::MAX_IDENTIFIER {
            let text = format!("the identifier of {} bytes of announcement {}", address.identifier.len(), event.id);
            applied
                .limits
                .push(("max_identifier", format!("{text} is longer than the {} followed", Self::MAX_IDENTIFIER)));
            return;
        }
        // The newest version stands, the lowest id on a tie (NIP-01).
        let version = (event.created_at.as_secs(), event.id);
        let newer =
            |known: &(u64, EventId)| (version.0, std::cmp::Reverse(version.1)) > (known.0, std::cmp::Reverse(known.1));
        if !self.announced.get(&address).is_none_or(newer) {
            return;
        }
        let mut relays = self.relays_of(event, &address, applied);
        relays.extend(self.bootstrap.iter().cloned());
        self.announced.insert(address.clone(), version);
        self.needs.entry(address.clone()).or_default();
        self.set_relays(&address, relays, applied);
    }

    /// The first relays that an announcement lists, the service's own left out. What can't be read is passed over.
    fn relays_of(&self, event: &Event, address: &RepoAddress, applied: &mut Applied) -> BTreeSet<RelayUrl> {
        let max = self.limits.max_relays_per_repo;
        let values = event
            .tags
            .iter()
            .map(|tag| tag.as_slice())
            .filter(|tag| tag.first().is_some_and(|name| name == "relays"))
            .flat_map(|tag| &tag[1..]);
        let mut relays = BTreeSet::new();
        let mut unreadable = 0;
        for (at, value) in values.enumerate() {
            let over = match RelayUrl::parse(value) {
                Ok(relay) if self.own.contains(&relay) || relays.contains(&relay) => false,
                Ok(_) if relays.len() >= max => true,
                Ok(relay) => {
                    relays.insert(relay);
                    false
                }
                Err(_) => {
                    unreadable += 1;
                    false
                }
            };
            if over || at >= max.saturating_mul(Self::TRIES_PER_RELAY) {
                applied.limits.push(("max_relays_per_repo", format!("{address} lists more than {max} relays")));
                break;
            }
        }
        if unreadable > 0 {
            let text = format!("{address} lists {unreadable} relays that are no relay addresses: not followed");
            applied.limits.push(("relay_address", text));
        }
        relays
    }

    /// Makes `relays` those of `repo`, as far as they have room for it.
    fn set_relays(&mut self, repo: &RepoAddress, relays: BTreeSet<RelayUrl>, applied: &mut Applied) {
        let before = self.needs.get(repo).map(|needs| needs.relays.clone()).unwrap_or_default();
        for relay in before.difference(&relays) {
            self.unlist(repo, relay);
            applied.changed = true;
        }
        // A relay that was full still remembers the repository.
        self.beyond.retain(|relay, repos| {
            if !relays.contains(relay) {
                repos.remove(repo);
            }
            !repos.is_empty()
        });
        for relay in relays.difference(&before) {
            let listed = self.by_relay.get(relay).map_or(0, BTreeSet::len);
            if listed < self.limits.max_repos_per_relay {
                self.list(repo, relay);
                applied.changed = true;
                continue;
            }
            let waiting = self.beyond.entry(relay.clone()).or_default();
            if waiting.is_empty() {
                let text = format!("{relay} is listed by more than {listed} repositories; {repo} isn't followed there");
                applied.limits.push(("max_repos_per_relay", text));
            }
            waiting.insert(repo.clone());
        }
        self.drop_if_unused(repo);
    }

    fn list(&mut self, repo: &RepoAddress, relay: &RelayUrl) {
        self.needs.entry(repo.clone()).or_default().relays.insert(relay.clone());
        self.by_relay.entry(relay.clone()).or_default().insert(repo.clone());
        self.changes.repos.insert(repo.clone());
    }

    fn unlist(&mut self, repo: &RepoAddress, relay: &RelayUrl) {
        let lost = self.changes.lost.entry(relay.clone()).or_default();
        lost.repos.insert(repo.clone());
        if let Some(needs) = self.needs.get_mut(repo) {
            needs.relays.remove(relay);
            lost.root_events.extend(&needs.root_events);
        }
        if let Some(repos) = self.by_relay.get_mut(relay) {
            repos.remove(repo);
            if repos.is_empty() {
                self.by_relay.remove(relay);
            }
        }
        if let Some(next) = self.beyond.get_mut(relay).and_then(BTreeSet::pop_first) {
            self.list(&next, relay);
        }
    }

    fn add_root(&mut self, event: &Event, applied: &mut Applied) {
        if self.tagged.contains_key(&event.id) {
            return;
        }
        let tags = event.tags.iter().map(|tag| tag.as_slice());
        let mut repos: Vec<RepoAddress> = Vec::new();
        for value in tags.filter(|tag| tag.first().is_some_and(|name| name == "a")).filter_map(|tag| tag.get(1)) {
            let Ok(repo) = value.parse::<RepoAddress>() else { continue };
            if repo.identifier.len() > Self::MAX_IDENTIFIER || repos.contains(&repo) {
                continue;
            }
            if repos.len() == Self::MAX_REPOS_PER_ROOT {
                let text = format!("root event {} tags more than {} repositories", event.id, repos.len());
                applied.limits.push(("max_repos_per_root", text));
                break;
            }
            repos.push(repo);
        }
        if repos.is_empty() {
            return;
        }
        for repo in &repos {
            self.needs.entry(repo.clone()).or_default().root_events.insert(event.id);
        }
        self.tagged.insert(event.id, repos);
        self.changes.root_events.insert(event.id);
        applied.changed = true;
    }

    fn remove_root(&mut self, id: &EventId, applied: &mut Applied) {
        for repo in self.tagged.remove(id).unwrap_or_default() {
            if let Some(RepoSyncNeeds { relays, root_events }) = self.needs.get_mut(&repo) {
                root_events.remove(id);
                for relay in relays.iter() {
                    self.changes.lost.entry(relay.clone()).or_default().root_events.insert(*id);
                }
            }
            self.drop_if_unused(&repo);
            applied.changed = true;
        }
    }

    fn drop_if_unused(&mut self, repo: &RepoAddress) {
        let unused = |needs: &RepoSyncNeeds| needs.relays.is_empty() && needs.root_events.is_empty();
        if !self.announced.contains_key(repo) && self.needs.get(repo).is_some_and(unused) {
            self.needs.remove(repo);
        }
    }
}
