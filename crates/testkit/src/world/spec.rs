//! How big a world is, and what strange things it holds.

use serde::{Deserialize, Serialize};

/// What a world is made from. `WorldSpec { seed: 7, ..WorldSpec::default() }` is a small one of about 350 events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorldSpec {
    /// Everything random follows from it.
    pub seed: u64,
    /// Repositories that list the service. The home of repository *i* is relay *i* mod (relays − traps).
    pub repos: usize,
    /// People; at least 6 are made.
    pub authors: usize,
    /// Patches, pull requests and issues of each repository.
    pub roots_per_repo: usize,
    /// Comments, statuses, reactions … of each of them.
    pub replies_per_root: usize,
    /// How far from the first relay the others are: relay *i* is at hop 1 + (*i* − 1) mod `hops`. At least 1.
    pub hops: usize,
    /// How many of the repositories have an older announcement too, on another relay than the newer.
    pub superseded: usize,
    /// How many of the repositories have a chain of maintainers with announcements and states of their own, and an
    /// impostor whom nobody named.
    pub chains: usize,
    /// Further repositories whose newest announcement no longer lists the service.
    pub withdrawn: usize,
    /// Further repositories that don't list the service, or only seem to; with issues.
    pub unlisted: usize,
    /// Events that are related to nothing that is accepted.
    pub orphans: usize,
    /// Deletions: of comments, of issues, of a repository, and of what isn't their author's.
    pub deletions: usize,
    /// Comments with an expiration (NIP-40): every second one has passed, the others are far away.
    pub expiring: usize,
    /// Pairs of events that admission accepts and that no filter of the three layers finds.
    pub unreachable: usize,
    /// The last so many relays are listed only by repositories that don't list the service: nobody should go there.
    pub trap_relays: usize,
    /// The time of the oldest events, unix seconds.
    pub start: u64,
    /// How much later the newest ones are, seconds.
    pub span: u64,
}

impl WorldSpec {
    /// A time at which everything has happened, and whatever expires soon has expired; unix seconds.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.span)
    }
}

impl Default for WorldSpec {
    /// Twelve repositories by eight people within thirty days from 2023-11-14, over two hops, with some of everything
    /// but what is unreachable and traps.
    fn default() -> Self {
        Self {
            seed: 1,
            repos: 12,
            authors: 8,
            roots_per_repo: 4,
            replies_per_root: 5,
            hops: 2,
            superseded: 3,
            chains: 2,
            withdrawn: 2,
            unlisted: 4,
            orphans: 6,
            deletions: 5,
            expiring: 4,
            unreachable: 0,
            trap_relays: 0,
            start: 1_700_000_000,
            span: 30 * 24 * 3600,
        }
    }
}
