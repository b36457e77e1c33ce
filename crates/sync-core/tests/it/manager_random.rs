//! Whatever happens in whatever order: no panic, no forbidden transition, no second attempt at once, and what isn't
//! wanted is neither confirmed nor asked.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sync_core::link::{LinkCommand, LinkNotice};
use sync_core::manager::{ManagerConfig, ManagerInput, ManagerOutput};
use sync_core::model::{BatchOutcome, BatchRequest, ConnectionStatus, Failure, FailureReason, RelayUrl, kinds};
use sync_core::plan::{compute_actions, derive_relay_targets};
use sync_core::strategy::RelayProfile;
use sync_core::transport::FaultKind;

use crate::kit::*;

const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Step {
    Announce(u64, Vec<usize>),
    Withdraw(u64),
    Issue(u64, u64),
    RemoveIssue(u64),
    Wanted(u64, Vec<usize>),
    Connected(usize, bool),
    ConnectFailed(usize, bool),
    Lost(usize, bool),
    Done(usize, u8),
    DoneUnknown(usize, u64),
    RateLimited(usize),
    Refused(usize, u64),
    Restored(usize, u64),
    Pass(u64),
    ClockJump(i64),
    Shutdown,
}

fn step() -> impl Strategy<Value = Step> {
    let relay = 0..NAMES.len();
    prop_oneof![
        4 => (0..4u64, prop::collection::vec(0..3usize, 0..3)).prop_map(|(r, relays)| Step::Announce(r, relays)),
        1 => (0..4u64).prop_map(Step::Withdraw),
        3 => (100..120u64, 0..4u64).prop_map(|(n, r)| Step::Issue(n, r)),
        1 => (100..120u64).prop_map(Step::RemoveIssue),
        2 => (200..220u64, prop::collection::vec(0..3usize, 1..4)).prop_map(|(n, relays)| Step::Wanted(n, relays)),
        6 => (relay.clone(), any::<bool>()).prop_map(|(r, tight)| Step::Connected(r, tight)),
        1 => (relay.clone(), any::<bool>()).prop_map(|(r, lasting)| Step::ConnectFailed(r, lasting)),
        2 => (relay.clone(), any::<bool>()).prop_map(|(r, asked)| Step::Lost(r, asked)),
        10 => (relay.clone(), 0..5u8).prop_map(|(r, outcome)| Step::Done(r, outcome)),
        1 => (relay.clone(), 0..50u64).prop_map(|(r, batch)| Step::DoneUnknown(r, batch)),
        1 => relay.clone().prop_map(Step::RateLimited),
        1 => (relay.clone(), 0..12u64).prop_map(|(r, key)| Step::Refused(r, key)),
        1 => (relay, 0..12u64).prop_map(|(r, key)| Step::Restored(r, key)),
        6 => prop_oneof![4 => 0..6_000u64, 4 => 0..20 * MINUTE, 1 => 0..30 * HOUR].prop_map(Step::Pass),
        1 => (-100_000..100_000i64).prop_map(Step::ClockJump),
        1 => prop::bool::weighted(0.02).prop_map(|stop| if stop { Step::Shutdown } else { Step::Pass(5_000) }),
    ]
}

/// The world outside, as far as it must agree with what the manager says.
#[derive(Default)]
struct Outside {
    connecting: BTreeMap<RelayUrl, bool>,
    status: BTreeMap<RelayUrl, ConnectionStatus>,
    open: Vec<(RelayUrl, BatchRequest)>,
    live: BTreeMap<RelayUrl, bool>,
}

impl Outside {
    fn hear(&mut self, rig: &mut Rig) -> Result<(), TestCaseError> {
        for output in std::mem::take(&mut rig.said) {
            match output {
                ManagerOutput::Connect(target) => {
                    let before = self.connecting.insert(target.relay.clone(), true);
                    prop_assert_ne!(before, Some(true), "two attempts at {}", target.relay);
                    self.live.insert(target.relay, false);
                }
                ManagerOutput::Status { relay, from, to, .. } => {
                    let before = self.status.insert(relay, to).unwrap_or(ConnectionStatus::Disconnected);
                    prop_assert_eq!(before, from);
                    prop_assert!(from.may_become(to), "{} → {}", from, to);
                }
                ManagerOutput::Link { relay, command } => match command {
                    LinkCommand::Live(_) => drop(self.live.insert(relay, true)),
                    LinkCommand::Batch(batch) => {
                        prop_assert_eq!(self.live.get(&relay), Some(&true), "live opens before history");
                        prop_assert!(!batch.filters.is_empty() && batch.filters.len() <= 30);
                        prop_assert!(batch.filters.iter().all(|f| f.limit.is_none()));
                        self.open.push((relay, batch));
                    }
                    LinkCommand::Cancel(id) => self.open.retain(|(_, batch)| batch.id != id),
                    LinkCommand::Retry => {}
                },
                _ => {}
            }
        }
        Ok(())
    }

    fn answered(&mut self, name: &str) {
        self.connecting.insert(relay(name), false);
    }
}

fn check(rig: &Rig, is_stopping: bool) -> Result<(), TestCaseError> {
    let index = rig.manager.index();
    for (url, life) in rig.manager.relays() {
        let state = life.state();
        // What fails once the process is stopping comes with the connection's end, which the next status tells.
        if life.status() == ConnectionStatus::Connected && !is_stopping {
            prop_assert!(life.failed().is_empty());
            prop_assert!(state.announcements_synced && state.historic_sync_completed);
        }
        if life.status() == ConnectionStatus::Disconnected {
            prop_assert!(life.in_flight().is_empty() && life.planned().is_empty() && !life.is_asking_for_ids());
        }
        prop_assert!(life.in_flight().len() <= 4);
        for repo in &state.repos {
            prop_assert!(life.book().chunk_of_repo(repo).is_some(), "{url}: {repo} is confirmed and not live");
        }
        for event in &state.root_events {
            prop_assert!(life.book().chunk_of_root_event(event).is_some());
        }
    }
    // Nothing is left to do that wasn't planned, once everything that was told is folded in.
    if rig.manager.folded() == rig.seq {
        let targets = derive_relay_targets(index.needs(), index.own());
        let progress = |url: &RelayUrl| rig.manager.relays().get(url).map(|life| life.progress());
        let left = compute_actions(&targets, progress, 0);
        prop_assert!(left.is_empty(), "not planned: {left:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_inputs_keeps_the_invariants(steps in prop::collection::vec(step(), 1..120), chunk_size in 1..4usize) {
        let config = ManagerConfig { chunk_size, consolidation_threshold: 8, seed: 7, ..bootstrap("a") };
        let mut rig = Rig::new(config);
        let mut outside = Outside::default();
        let mut versions: BTreeMap<u64, u64> = BTreeMap::new();
        let (mut next, mut is_stopping) = (1_000, false);
        rig.feed([]);
        outside.hear(&mut rig)?;
        for step in steps {
            match step {
                Step::Announce(n, relays) => {
                    next += 1;
                    versions.insert(n, next);
                    let names: Vec<&str> = relays.iter().map(|at| NAMES[*at]).collect();
                    rig.feed([announcement(next, &format!("r{n}"), &names)]);
                }
                Step::Withdraw(n) => {
                    if let Some(version) = versions.remove(&n) {
                        rig.feed([removed(version, kinds::ANNOUNCEMENT, Some(&format!("r{n}")))]);
                    }
                }
                Step::Issue(n, r) => rig.feed([issue(n, &format!("r{r}"))]),
                Step::Wanted(n, relays) => {
                    let names: Vec<&str> = relays.iter().map(|at| NAMES[*at]).collect();
                    rig.feed([wanted(n, &names)]);
                }
                Step::RemoveIssue(n) => rig.feed([removed(n, kinds::ISSUE, None)]),
                Step::Connected(at, tight) => {
                    outside.answered(NAMES[at]);
                    let profile = RelayProfile {
                        max_filters: tight.then_some(2),
                        max_subscriptions: tight.then_some(4),
                        ..RelayProfile::default()
                    };
                    rig.connected_as(NAMES[at], profile);
                }
                Step::ConnectFailed(at, lasting) => {
                    outside.answered(NAMES[at]);
                    let kind = if lasting { FaultKind::Tls } else { FaultKind::Network };
                    rig.give(ManagerInput::ConnectFailed { relay: relay(NAMES[at]), fault: fault(kind) });
                }
                Step::Lost(at, asked) => {
                    outside.answered(NAMES[at]);
                    let fault = (!asked).then(|| fault(FaultKind::Closed));
                    rig.give(ManagerInput::Disconnected { relay: relay(NAMES[at]), fault });
                }
                Step::Done(at, outcome) => {
                    let Some(found) = outside.open.iter().position(|(url, _)| *url == relay(NAMES[at])) else { continue };
                    let (_, batch) = outside.open.remove(found);
                    let failed = |reason| BatchOutcome::Failed(vec![Failure { filter: "{}".to_owned(), window: None, reason, text: "no".to_owned() }]);
                    let outcome = match outcome {
                        0 => failed(FailureReason::Timeout),
                        1 => failed(FailureReason::NotServed { ids: Vec::new(), count: 1 }),
                        2 => BatchOutcome::Failed(Vec::new()),
                        _ => BatchOutcome::Confirmed,
                    };
                    rig.done(NAMES[at], &batch, outcome);
                }
                Step::DoneUnknown(at, id) => {
                    let Some((_, batch)) = outside.open.first().cloned() else { continue };
                    rig.done(NAMES[at], &BatchRequest { id: id + 10_000, ..batch }, BatchOutcome::Confirmed);
                }
                Step::RateLimited(at) => rig.notice(NAMES[at], LinkNotice::RateLimited { text: String::new() }),
                Step::Refused(at, key) => rig.notice(NAMES[at], LinkNotice::LiveRefused { key, text: String::new() }),
                Step::Restored(at, key) => rig.notice(NAMES[at], LinkNotice::LiveRestored { key }),
                Step::Pass(ms) => rig.pass(ms),
                Step::ClockJump(s) => rig.now.unix_s = rig.now.unix_s.saturating_add_signed(s),
                Step::Shutdown => {
                    is_stopping = true;
                    rig.give(ManagerInput::Shutdown);
                }
            }
            outside.hear(&mut rig)?;
            check(&rig, is_stopping)?;
        }
    }
}
