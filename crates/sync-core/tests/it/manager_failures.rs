//! What becomes of batches that fail.

use sync_core::model::{BatchOutcome, BatchReason, ConnectionStatus, FailureReason, kinds};

use crate::kit::*;

fn degraded(reason: FailureReason) -> Rig {
    let mut rig = Rig::synced();
    rig.fold([issue(3, "r")]);
    rig.fail_all("a", reason);
    assert_eq!(rig.status("a"), ConnectionStatus::ConnectedDegraded);
    rig
}

#[test]
fn a_failed_batch_degrades_with_the_filter_and_what_is_missing() {
    let rig = degraded(FailureReason::Timeout);
    assert!(rig.reason("a").contains("#e") && rig.reason("a").contains("silence"), "{}", rig.reason("a"));
}

#[test]
fn what_failed_is_tried_again_later_and_later_until_it_is_drained() {
    let mut rig = degraded(FailureReason::Timeout);
    for wait in [5, 10, 20] {
        rig.pass(wait * MINUTE - 1_000);
        assert!(rig.batches("a").is_empty());
        rig.pass(2_000);
        let batches = rig.fail_all("a", FailureReason::Timeout);
        assert_eq!((batches.len(), batches[0].items.len()), (1, 1));
        assert_eq!(rig.status("a"), ConnectionStatus::ConnectedDegraded);
    }
    rig.pass(41 * MINUTE);
    rig.confirm_all("a");
    assert_eq!((rig.status("a"), rig.reason("a")), (ConnectionStatus::Connected, String::new()));
}

#[test]
fn withheld_ids_are_not_chased_before_the_daily_sync() {
    let mut rig = degraded(FailureReason::NotServed { ids: vec![id(9)], count: 1 });
    let since = rig.now;
    while rig.manager.relays()[&relay("a")].status() != ConnectionStatus::Syncing {
        assert!(rig.batches("a").is_empty());
        rig.pass(10 * MINUTE);
    }
    assert!(rig.now.mono_ms - since.mono_ms > 22 * HOUR);
    let batches = rig.confirm_all("a");
    assert!(batches.iter().all(|b| b.reason == BatchReason::DailySync));
    assert_eq!(rig.status("a"), ConnectionStatus::Connected);
}

#[test]
fn a_failure_in_the_first_sync_ends_it_degraded() {
    let mut rig = Rig::new(bootstrap("a"));
    rig.fold([announcement(1, "r", &["a"])]);
    rig.connected("a");
    rig.fail_all("a", FailureReason::Timeout);
    assert_eq!(rig.status("a"), ConnectionStatus::ConnectedDegraded);
    assert!(rig.manager.relays()[&relay("a")].state().historic_sync_completed);
    rig.pass(6 * MINUTE);
    let batches = rig.confirm_all("a");
    assert_eq!(batches.len(), 2, "layer 1 is tried again too");
    assert_eq!(rig.status("a"), ConnectionStatus::Connected);
}

#[test]
fn a_failed_catch_up_is_no_longer_confirmed_and_is_read_whole() {
    let mut rig = Rig::synced();
    rig.lost("a");
    rig.pass(10_000);
    rig.connected("a");
    rig.fail_all("a", FailureReason::Timeout);
    assert_eq!(rig.status("a"), ConnectionStatus::ConnectedDegraded);
    let state = rig.manager.relays()[&relay("a")].state().clone();
    assert!(state.repos.is_empty() && !state.announcements_synced);
    rig.pass(6 * MINUTE);
    let batches = rig.confirm_all("a");
    assert!(batches.iter().flat_map(|b| &b.filters).all(|f| f.since.is_none()));
    assert_eq!(rig.status("a"), ConnectionStatus::Connected);
}

#[test]
fn failures_outlive_a_reconnect_but_a_lost_connection_is_tried_at_once() {
    let mut rig = degraded(FailureReason::Timeout);
    rig.lost("a");
    rig.pass(10_000);
    rig.connected("a");
    rig.confirm_all("a");
    assert_eq!(rig.status("a"), ConnectionStatus::ConnectedDegraded);

    let mut rig = Rig::synced();
    rig.fold([issue(3, "r")]);
    rig.fail_all("a", FailureReason::ConnectionLost);
    assert!(rig.manager.relays()[&relay("a")].failed().is_empty(), "a batch cut off is none that failed");
    rig.lost("a");
    rig.pass(10_000);
    rig.connected("a");
    let batches = rig.confirm_all("a");
    assert_eq!(batches.iter().map(|batch| batch.items.len()).sum::<usize>(), 1);
    assert_eq!(rig.status("a"), ConnectionStatus::Connected);
}

#[test]
fn a_withdrawn_repository_takes_its_failures_along() {
    let mut rig = degraded(FailureReason::Timeout);
    rig.fold([removed(1, kinds::ANNOUNCEMENT, Some("r"))]);
    assert_eq!(rig.status("a"), ConnectionStatus::Connected);
    assert_eq!(rig.manager.relays()[&relay("a")].book().live_filters(), 1);
}

#[test]
fn what_is_withdrawn_and_wanted_again_while_in_flight_is_asked_again() {
    let mut rig = Rig::synced();
    rig.fold([announcement(3, "s", &["a"])]);
    let old = rig.batches("a").remove(0);
    rig.fold([removed(3, kinds::ANNOUNCEMENT, Some("s"))]);
    rig.fold([announcement(4, "s", &["a"])]);
    let new = rig.batches("a");
    assert_eq!(new.len(), 1);
    rig.done("a", &old, BatchOutcome::Confirmed);
    assert_eq!(rig.manager.relays()[&relay("a")].state().repos.len(), 1);
    rig.done("a", &new[0], BatchOutcome::Confirmed);
    assert_eq!(rig.manager.relays()[&relay("a")].state().repos.len(), 2);
}

#[test]
fn reports_of_unknown_batches_change_nothing() {
    let mut rig = Rig::synced();
    rig.fold([issue(3, "r")]);
    let batch = rig.batches("a").remove(0);
    rig.lost("a");
    rig.done("a", &batch, BatchOutcome::Confirmed);
    assert_eq!(rig.manager.relays()[&relay("a")].state().root_events.len(), 1);
}
