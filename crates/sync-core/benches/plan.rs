//! What planning costs: over everything, and for one changed repository.
//!
//! The larger size is 10,000 repositories at 5 of 500 relays each, with 100,000 root events.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use divan::{Bencher, black_box};
use sync_core::model::{BatchId, ConnectionStatus, PendingBatch, PendingItems, RelayState, RelayUrl, kinds};
use sync_core::nostr::event::{Event, EventId, Kind, Signature, Tag};
use sync_core::nostr::key::PublicKey;
use sync_core::nostr::types::Timestamp;
use sync_core::plan::{
    Changes, FailedItems, IndexLimits, OwnAddresses, Progress, RepoIndex, compute_actions, compute_changed_actions,
    derive_relay_targets,
};
use sync_core::store::{FeedChange, FeedEntry};
use sync_core::time::Jitter;

const SIZES: [usize; 2] = [1_000, 10_000];

fn main() {
    divan::main();
}

struct World {
    index: RepoIndex,
    own: OwnAddresses,
    relays: HashMap<RelayUrl, RelayState>,
    no_batches: BTreeMap<BatchId, PendingBatch>,
    nothing_planned: PendingItems,
    nothing_failed: FailedItems,
}

impl World {
    fn progress(&self, relay: &RelayUrl) -> Option<Progress<'_>> {
        self.relays.get(relay).map(|state| Progress {
            state,
            in_flight: &self.no_batches,
            planned: &self.nothing_planned,
            failed: &self.nothing_failed,
        })
    }
}

fn event(jitter: &mut Jitter, kind: u16, tags: Vec<Vec<String>>) -> FeedEntry {
    let mut id = [0; 32];
    id.chunks_mut(8).for_each(|part| part.copy_from_slice(&jitter.next_u64().to_be_bytes()));
    let event = Event::new(
        EventId::from_byte_array(id),
        PublicKey::from_slice(&[7; 32]).expect("32 bytes"),
        Timestamp::from_secs(1_800_000_000),
        Kind::from_u16(kind),
        tags.into_iter().map(|tag| Tag::parse(tag).expect("a tag has a name")),
        "",
        Signature::from_byte_array([0; 64]),
    );
    FeedEntry { seq: 1, change: FeedChange::Accepted(Arc::new(event)) }
}

fn announcement(jitter: &mut Jitter, n: usize, repos: usize) -> FeedEntry {
    let mut relays = vec!["relays".to_owned()];
    relays.extend((0..5).map(|_| format!("wss://r{}.example", jitter.between(0, repos as u64 / 20 - 1))));
    event(jitter, kinds::ANNOUNCEMENT, vec![vec!["d".to_owned(), format!("r{n}")], relays])
}

/// With everything confirmed at every relay, or nothing.
fn world(repos: usize, confirmed: bool) -> World {
    let mut jitter = Jitter::new(1);
    let own = OwnAddresses::new(["git.example"], []);
    let limits = IndexLimits { max_relays_per_repo: 20, max_repos_per_relay: 20_000 };
    let mut index = RepoIndex::new(own.clone(), limits, BTreeSet::new());
    for n in 0..repos {
        index.apply(&announcement(&mut jitter, n, repos));
    }
    let address = |n: u64| format!("30617:{}:r{n}", "07".repeat(32));
    for _ in 0..repos * 10 {
        let repo = jitter.between(0, repos as u64 - 1);
        index.apply(&event(&mut jitter, kinds::ISSUE, vec![vec!["a".to_owned(), address(repo)]]));
    }
    index.take_changes();
    let mut relays = HashMap::new();
    for relay in index.relays() {
        let mut state = RelayState::new(false);
        state.connection_status = ConnectionStatus::Connected;
        if confirmed {
            state.repos = index.repos_of(relay).cloned().collect();
            state.root_events =
                index.repos_of(relay).flat_map(|repo| index.needs()[repo].root_events.clone()).collect();
        }
        relays.insert(relay.clone(), state);
    }
    World {
        index,
        own,
        relays,
        no_batches: BTreeMap::new(),
        nothing_planned: PendingItems::default(),
        nothing_failed: FailedItems::default(),
    }
}

/// The inversion alone.
#[divan::bench(args = SIZES)]
fn derive_targets(bencher: Bencher, repos: usize) {
    let world = world(repos, false);
    bencher.bench(|| black_box(derive_relay_targets(world.index.needs(), &world.own)).relays().count());
}

/// Targets and actions over everything, where everything is confirmed: the steady state.
#[divan::bench(args = SIZES)]
fn full_confirmed(bencher: Bencher, repos: usize) {
    let world = world(repos, true);
    bencher.bench(|| {
        let targets = derive_relay_targets(world.index.needs(), &world.own);
        black_box(compute_actions(&targets, |relay| world.progress(relay), 0)).len()
    });
}

/// The same where nothing is confirmed: the first connection to every relay at once.
#[divan::bench(args = SIZES)]
fn full_fresh(bencher: Bencher, repos: usize) {
    let world = world(repos, false);
    bencher.bench(|| {
        let targets = derive_relay_targets(world.index.needs(), &world.own);
        black_box(compute_actions(&targets, |relay| world.progress(relay), 0)).len()
    });
}

/// The entry of a new version of one announcement, and what it changes.
#[divan::bench(args = SIZES)]
fn one_changed_repository(bencher: Bencher, repos: usize) {
    let mut world = world(repos, true);
    let mut jitter = Jitter::new(2);
    world.index.apply(&announcement(&mut jitter, 0, repos));
    let mut changes: Changes = world.index.take_changes();
    changes.repos.extend(world.index.needs().keys().next().cloned());
    bencher
        .bench(|| black_box(compute_changed_actions(&world.index, &changes, |relay| world.progress(relay), 0)).len());
}
