//! Signed events of worlds that never were: NIP-34 repositories spread over relays, and plain notes in bulk.
//!
//! Everything follows from a seed; the same call yields the same bytes. What a service must accept of a world is
//! computed here too, simply and apart from the product, so that tests have something to compare with.

mod bulk;
mod event;
mod generate;
mod jsonl;
mod reference;
mod spec;

use std::collections::{BTreeMap, BTreeSet};

use nostr::event::{Event, EventId};
use sync_core::model::{RelayUrl, RepoAddress};

pub use bulk::{BulkSpec, bulk_events};
pub use event::{EventSpec, keys, sign};
pub use jsonl::{JsonlError, from_jsonl, to_jsonl};
pub use reference::{accepted, asked_for, reachable};
pub use spec::WorldSpec;

/// A generated world: events, the relays that hold them, and what becomes of them.
#[derive(Debug, Clone)]
pub struct World {
    spec: WorldSpec,
    relays: Vec<RelayUrl>,
    domain: String,
    events: Vec<Placed>,
    repos: Vec<Repo>,
}

/// An event and the relays (by place) that hold it.
#[derive(Debug, Clone)]
struct Placed {
    event: Event,
    relays: BTreeSet<usize>,
}

/// A repository that lists the service.
#[derive(Debug, Clone)]
struct Repo {
    address: RepoAddress,
    /// Relays (by place) that it lists.
    relays: Vec<usize>,
}

impl World {
    /// Makes the world of `spec` on these relays, for a service with this domain (`host` or `host:port`).
    ///
    /// The first relay is where discovery starts. A relay at hop *n* is listed only by announcements that relays at
    /// hop *n* − 1 hold (see [`WorldSpec::hops`]).
    ///
    /// # Panics
    /// Without a relay that isn't a trap.
    pub fn generate(spec: WorldSpec, relays: &[RelayUrl], domain: &str) -> Self {
        generate::generate(spec, relays, domain)
    }

    /// What it was made from.
    pub fn spec(&self) -> &WorldSpec {
        &self.spec
    }

    /// The relays, in the order given.
    pub fn relays(&self) -> &[RelayUrl] {
        &self.relays
    }

    /// The service's domain.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repositories that list the service, without those that were withdrawn or deleted; the maintainers' versions
    /// not counted.
    pub fn repos(&self) -> impl Iterator<Item = &RepoAddress> {
        self.repos.iter().map(|repo| &repo.address)
    }

    /// Every event, once, newest first, lowest id first on ties.
    pub fn events(&self) -> Vec<Event> {
        self.sorted(|_| true)
    }

    /// What a relay holds: newest first, lowest id first on ties, older versions and deleted events included.
    pub fn events_for(&self, relay: usize) -> Vec<Event> {
        self.sorted(|placed| placed.relays.contains(&relay))
    }

    /// What the service accepts of all events together (SPEC §3), at [`WorldSpec::end`] or later: newest first, lowest
    /// id first on ties.
    pub fn accepted(&self) -> Vec<Event> {
        accepted(&self.events(), &self.domain, self.spec.end())
    }

    /// The ids of [`accepted`](Self::accepted).
    pub fn accepted_ids(&self) -> BTreeSet<EventId> {
        self.accepted().iter().map(|event| event.id).collect()
    }

    /// What a service accepts that starts with these relays (by place), discovers the others by what it has accepted,
    /// and asks each for the three layers (SPEC §4). Equals [`accepted`](Self::accepted) where discovery starts at the
    /// first relay, every relay but the traps is some repository's home, and `unreachable` is 0.
    pub fn reachable(&self, bootstrap: &[usize]) -> Vec<Event> {
        let held: BTreeMap<usize, Vec<Event>> =
            (0..self.relays.len()).map(|relay| (relay, self.events_for(relay))).collect();
        reachable(&self.relays, &held, bootstrap, &self.domain, self.spec.end())
    }

    /// The `n`-th of an endless row of issues that the service accepts, made at `created_at`; and the relay (by place)
    /// to publish it to.
    ///
    /// # Panics
    /// In a world without repositories.
    pub fn live_issue(&self, n: u64, created_at: u64) -> (usize, Event) {
        let place = usize::try_from(n % self.repos.len() as u64).unwrap_or_default();
        let repo = &self.repos[place];
        let event = EventSpec::new(1621)
            .at(created_at)
            .tag(["a", &repo.address.to_string()])
            .tag(["p", &repo.address.pubkey.to_hex()])
            .tag(["subject", &format!("live issue {n}")])
            .content(format!("issue {n}, written while everybody watches"))
            .sign(&keys(self.spec.seed, n % self.spec.authors.max(1) as u64));
        (repo.relays[place % repo.relays.len()], event)
    }

    fn sorted(&self, wanted: impl Fn(&Placed) -> bool) -> Vec<Event> {
        let mut events: Vec<Event> =
            self.events.iter().filter(|placed| wanted(placed)).map(|placed| placed.event.clone()).collect();
        events.sort();
        events
    }
}
