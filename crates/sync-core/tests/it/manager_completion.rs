//! When a relay's history is complete.

use sync_core::manager::{ManagerConfig, ManagerInput, ManagerOutput};
use sync_core::model::{BatchOutcome, BatchReason, ConnectionStatus};
use sync_core::store::{FeedEntry, FeedPage};

use crate::kit::*;

#[test]
fn complete_when_the_last_batch_is_and_nothing_waits() {
    let mut rig = Rig::new(bootstrap("a"));
    rig.feed([]);
    rig.connected("a");
    let batches = rig.batches("a");
    assert_eq!(rig.status("a"), ConnectionStatus::Syncing);
    rig.done("a", &batches[0], BatchOutcome::Confirmed);
    assert_eq!(rig.status("a"), ConnectionStatus::Connected);
    assert!(rig.manager.relays()[&relay("a")].state().historic_sync_completed);
}

#[test]
fn not_complete_while_a_discovery_is_in_the_window() {
    let mut rig = Rig::new(bootstrap("a"));
    rig.feed([]);
    rig.connected("a");
    let layer_1 = rig.batches("a").remove(0);
    rig.feed([announcement(1, "r", &["a"])]);
    rig.done("a", &layer_1, BatchOutcome::Confirmed);
    assert_eq!(rig.status("a"), ConnectionStatus::Syncing);
    rig.pass(5_000);
    let batches = rig.batches("a");
    assert_eq!((rig.status("a"), batches.len()), (ConnectionStatus::Syncing, 1));
    assert_eq!(batches[0].reason, BatchReason::InitialConnect);
    rig.done("a", &batches[0], BatchOutcome::Confirmed);
    assert_eq!(rig.status("a"), ConnectionStatus::Connected);
}

#[test]
fn not_complete_before_the_feed_was_told_up_to_the_barrier() {
    let mut rig = Rig::new(bootstrap("a"));
    rig.feed([]);
    rig.connected("a");
    let layer_1 = rig.batches("a").remove(0);
    rig.seq = 1;
    rig.done("a", &layer_1, BatchOutcome::Confirmed);
    rig.pass(MINUTE);
    assert_eq!(rig.status("a"), ConnectionStatus::Syncing);
    let entries = vec![FeedEntry { seq: 1, change: announcement(1, "r", &["b"]) }];
    rig.give(ManagerInput::Feed(FeedPage { entries, upto: 1, head: 1 }));
    assert_eq!(rig.status("a"), ConnectionStatus::Syncing);
    rig.pass(5_000);
    assert_eq!(rig.status("a"), ConnectionStatus::Syncing, "the fold has made a batch");
    rig.confirm_all("a");
    assert_eq!(rig.status("a"), ConnectionStatus::Connected);
}

#[test]
fn a_bootstrap_relay_is_asked_for_repositories_that_list_others_alone() {
    let mut rig = Rig::new(bootstrap("a"));
    rig.feed([]);
    rig.connected("a");
    rig.confirm_all("a");
    rig.fold([announcement(1, "r", &["b"])]);
    let batches = rig.batches("a");
    assert_eq!(batches.iter().map(|batch| batch.items.repos.len()).sum::<usize>(), 1);
}

#[test]
fn what_concerns_nobody_completes_at_once() {
    let mut rig = Rig::new(bootstrap("a"));
    rig.feed([]);
    rig.connected("a");
    let layer_1 = rig.batches("a").remove(0);
    rig.seq = 1;
    rig.done("a", &layer_1, BatchOutcome::Confirmed);
    rig.give(ManagerInput::Feed(FeedPage { entries: Vec::new(), upto: 1, head: 1 }));
    assert_eq!(rig.status("a"), ConnectionStatus::Connected);
}

#[test]
fn with_an_external_own_relay_the_settle_time_passes_first() {
    let mut rig = Rig::new(ManagerConfig { settle_ms: 6_000, ..bootstrap("a") });
    rig.feed([]);
    rig.connected("a");
    rig.confirm_all("a");
    rig.pass(5_999);
    assert_eq!(rig.status("a"), ConnectionStatus::Syncing);
    rig.pass(1);
    assert_eq!(rig.status("a"), ConnectionStatus::Connected);
}

#[test]
fn new_items_of_a_complete_relay_are_a_batch_of_their_own() {
    let mut rig = Rig::synced();
    rig.fold([issue(3, "r"), issue(4, "r")]);
    let batches = rig.confirm_all("a");
    assert_eq!(batches.len(), 1);
    assert_eq!((batches[0].reason, batches[0].items.len()), (BatchReason::NewItems, 2));
    assert_eq!(rig.status("a"), ConnectionStatus::Connected);
    let report = rig.manager.status(rig.now);
    assert_eq!((report.relays[0].repos, report.relays[0].root_events, report.totals.root_events), (1, 3, 3));
}

#[test]
fn a_root_event_may_come_before_its_repository() {
    let mut rig = Rig::new(bootstrap("a"));
    rig.fold([issue(2, "r")]);
    rig.connected("a");
    rig.confirm_all("a");
    rig.fold([announcement(1, "r", &["a"])]);
    assert_eq!(rig.batches("a")[0].items.len(), 2);
}

#[test]
fn a_batch_names_the_one_that_it_follows_up() {
    let mut rig = Rig::new(bootstrap("a"));
    rig.feed([]);
    rig.connected("a");
    let layer_1 = rig.batches("a").remove(0);
    rig.feed([announcement(1, "r", &["a"])]);
    let report = sync_core::model::BatchReport {
        id: layer_1.id,
        outcome: BatchOutcome::Confirmed,
        methods: Vec::new(),
        counts: sync_core::model::Counts { stored: 1, ..Default::default() },
        fallbacks: Vec::new(),
        coverage: Vec::new(),
    };
    rig.give(ManagerInput::BatchDone { relay: relay("a"), report: Box::new(report), feed_head: 1 });
    rig.pass(5_000);
    assert_eq!(rig.batches("a")[0].caused_by, Some(layer_1.id));
}

#[test]
fn large_needs_are_cut_into_bounded_batches_of_which_few_are_in_flight() {
    let mut rig = Rig::new(bootstrap("a"));
    rig.fold(std::iter::once(announcement(1, "r", &["a"])).chain((2..5_002).map(|n| issue(n, "r"))));
    rig.connected("a");
    assert_eq!(rig.manager.relays()[&relay("a")].in_flight().len(), 4);
    let batches = rig.confirm_all("a");
    assert!(batches.iter().all(|b| b.filters.len() <= 30));
    assert_eq!(batches.iter().map(|b| b.items.len()).sum::<usize>(), 5_001);
    assert_eq!(rig.status("a"), ConnectionStatus::Connected);
}

#[test]
fn every_change_of_status_is_told_with_its_reason() {
    let mut rig = Rig::new(bootstrap("a"));
    rig.feed([]);
    rig.connected("a");
    rig.confirm_all("a");
    rig.lost("a");
    let told: Vec<(ConnectionStatus, ConnectionStatus)> = rig
        .said
        .iter()
        .filter_map(|output| match output {
            ManagerOutput::Status { from, to, reason, .. } => {
                assert_eq!(reason.is_empty(), *to == ConnectionStatus::Connected, "{reason}");
                Some((*from, *to))
            }
            _ => None,
        })
        .collect();
    use ConnectionStatus::*;
    assert_eq!(
        told,
        [(Disconnected, Connecting), (Connecting, Syncing), (Syncing, Connected), (Connected, Disconnected)]
    );
}
