//! Planning by what changed equals planning over everything.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use sync_core::model::{ConnectionStatus, Failure, FailureReason, PendingItems, RelayState, RelayUrl, kinds};
use sync_core::plan::{
    Changes, FailedGroup, FailedItems, IndexLimits, OwnAddresses, Progress, RepoIndex, compute_actions,
    compute_changed_actions, compute_relay_actions, derive_relay_targets,
};
use sync_core::store::{FeedChange, FeedEntry};

use crate::kit::*;

const RELAYS: [&str; 4] = ["a", "b", "c", "own"];

#[derive(Debug, Clone)]
enum Step {
    Announce { repo: u64, relays: Vec<usize> },
    Withdraw { repo: u64 },
    Root { event: u64, repos: Vec<u64> },
    RemoveRoot { event: u64 },
    Fold,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..5u64, prop::collection::vec(0..4usize, 0..4)).prop_map(|(repo, relays)| Step::Announce { repo, relays }),
        1 => (0..5u64).prop_map(|repo| Step::Withdraw { repo }),
        3 => (100..110u64, prop::collection::vec(0..5u64, 1..3)).prop_map(|(event, repos)| Step::Root { event, repos }),
        1 => (100..110u64).prop_map(|event| Step::RemoveRoot { event }),
        2 => Just(Step::Fold),
    ]
}

#[derive(Default)]
struct Known {
    state: Option<RelayState>,
    planned: PendingItems,
    failed: FailedItems,
}

fn progress<'a>(known: &'a BTreeMap<RelayUrl, Known>, relay: &RelayUrl) -> Option<Progress<'a>> {
    static NONE: BTreeMap<u64, sync_core::model::PendingBatch> = BTreeMap::new();
    let known = known.get(relay)?;
    let state = known.state.as_ref()?;
    Some(Progress { state, in_flight: &NONE, planned: &known.planned, failed: &known.failed })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_changed_plans_the_same_as_everything(steps in prop::collection::vec(step(), 1..60), max in 1..4usize) {
        let own = OwnAddresses::new(["own.example"], []);
        let mut index = RepoIndex::new(own.clone(), IndexLimits { max_relays_per_repo: 3, max_repos_per_relay: max }, BTreeSet::new());
        let mut known: BTreeMap<RelayUrl, Known> = BTreeMap::new();
        for (name, status) in [("a", ConnectionStatus::Connected), ("b", ConnectionStatus::Syncing), ("c", ConnectionStatus::Disconnected)] {
            let mut state = RelayState::new(false);
            state.connection_status = status;
            known.insert(relay(name), Known { state: Some(state), ..Known::default() });
        }
        let mut versions: BTreeMap<u64, u64> = BTreeMap::new();
        let mut next = 1_000;
        let mut fates = 0u64;
        for (seq, step) in steps.into_iter().chain([Step::Fold]).enumerate() {
            let change = match step {
                Step::Announce { repo: n, relays } => {
                    next += 1;
                    versions.insert(n, next);
                    let names: Vec<&str> = relays.iter().map(|at| RELAYS[*at]).collect();
                    announcement(next, &format!("r{n}"), &names)
                }
                Step::Withdraw { repo: n } => {
                    let Some(version) = versions.remove(&n) else { continue };
                    removed(version, kinds::ANNOUNCEMENT, Some(&format!("r{n}")))
                }
                Step::Root { event: n, repos } => {
                    let tags: Vec<String> = repos.iter().map(|n| repo(&format!("r{n}")).to_string()).collect();
                    let tags: Vec<[&str; 2]> = tags.iter().map(|tag| ["a", tag.as_str()]).collect();
                    let tags: Vec<&[&str]> = tags.iter().map(|tag| tag.as_slice()).collect();
                    accepted(event(n, kinds::PATCH, n, &tags))
                }
                Step::RemoveRoot { event } => removed(event, kinds::PATCH, None),
                Step::Fold => {
                    fold(&mut index, &own, &mut known, &mut fates)?;
                    continue;
                }
            };
            index.apply(&FeedEntry { seq: seq as u64, change });
        }
    }
}

/// One fold: both plans agree; what they found meets a fate that keeps it from being found again.
fn fold(
    index: &mut RepoIndex,
    own: &OwnAddresses,
    known: &mut BTreeMap<RelayUrl, Known>,
    fates: &mut u64,
) -> Result<(), TestCaseError> {
    let changes: Changes = index.take_changes();
    for (relay, lost) in &changes.lost {
        let Some(Known { state: Some(state), planned, failed }) = known.get_mut(relay) else { continue };
        let mut gone = PendingItems::default();
        gone.repos.extend(lost.repos.iter().filter(|repo| !index.wants_repo(relay, repo)).cloned());
        gone.root_events.extend(lost.root_events.iter().filter(|event| !index.wants_root_event(relay, event)));
        failed.remove(false, &gone);
        for repo in &gone.repos {
            state.repos.remove(repo);
            planned.repos.remove(repo);
        }
        for event in &gone.root_events {
            state.root_events.remove(event);
            planned.root_events.remove(event);
        }
    }
    let targets = derive_relay_targets(index.needs(), own);
    let full = compute_actions(&targets, |relay| progress(known, relay), 50);
    let changed = compute_changed_actions(index, &changes, |relay| progress(known, relay), 50);
    prop_assert_eq!(&full, &changed);
    for name in RELAYS {
        let of_one = progress(known, &relay(name)).map(|p| compute_relay_actions(index, &relay(name), &p, 50));
        prop_assert_eq!(of_one.unwrap_or_default(), full.get(&relay(name)).cloned().unwrap_or_default());
    }
    prop_assert!(!full.contains_key(&relay("own")) && !full.contains_key(&relay("c")));
    for (relay, actions) in full {
        let Some(Known { state: Some(state), planned, failed }) = known.get_mut(&relay) else { continue };
        let items = PendingItems {
            repos: actions.repos.into_iter().collect(),
            root_events: actions.root_events.into_iter().collect(),
        };
        *fates += 1;
        match *fates % 3 {
            0 => {
                state.repos.extend(items.repos);
                state.root_events.extend(items.root_events);
            }
            1 => {
                planned.repos.extend(items.repos);
                planned.root_events.extend(items.root_events);
            }
            _ => {
                let failure = Failure {
                    filter: String::new(),
                    window: None,
                    reason: FailureReason::Timeout,
                    text: String::new(),
                };
                failed.add(FailedGroup::new(false, items, vec![failure], 100, 1));
            }
        }
    }
    Ok(())
}

#[test]
fn what_failed_is_new_again_when_it_is_due() {
    let own = OwnAddresses::default();
    let mut index =
        RepoIndex::new(own.clone(), IndexLimits { max_relays_per_repo: 3, max_repos_per_relay: 9 }, BTreeSet::new());
    index.apply(&FeedEntry { seq: 1, change: announcement(1, "r", &["a"]) });
    let mut state = RelayState::new(false);
    state.connection_status = ConnectionStatus::Connected;
    let mut known = Known { state: Some(state), ..Known::default() };
    let items = PendingItems { repos: [repo("r")].into(), ..PendingItems::default() };
    known.failed.add(FailedGroup::new(false, items, Vec::new(), 100, 1));
    let known = BTreeMap::from([(relay("a"), known)]);
    let targets = derive_relay_targets(index.needs(), &own);
    assert!(compute_actions(&targets, |relay| progress(&known, relay), 99).is_empty());
    assert_eq!(compute_actions(&targets, |relay| progress(&known, relay), 100)[&relay("a")].repos, [repo("r")]);
}

#[test]
fn an_older_announcement_does_not_replace_a_newer() {
    let mut index = RepoIndex::new(
        OwnAddresses::default(),
        IndexLimits { max_relays_per_repo: 3, max_repos_per_relay: 9 },
        BTreeSet::new(),
    );
    let apply = |index: &mut RepoIndex, change: FeedChange| index.apply(&FeedEntry { seq: 1, change }).changed;
    assert!(apply(&mut index, announcement(2, "r", &["a"])));
    assert!(!apply(&mut index, announcement(1, "r", &["b"])));
    assert!(!apply(&mut index, removed(1, kinds::ANNOUNCEMENT, Some("r"))));
    assert!(index.wants_repo(&relay("a"), &repo("r")));
    assert!(apply(&mut index, removed(2, kinds::ANNOUNCEMENT, Some("r"))));
    assert!(index.needs().is_empty());
}
