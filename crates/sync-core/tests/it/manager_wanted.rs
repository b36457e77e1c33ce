//! Events that the rejected index let go of are fetched by id, from the relays that offered them.

use std::collections::BTreeSet;

use sync_core::manager::{ManagerConfig, WantedIds};
use sync_core::model::{BatchOutcome, BatchReason, BatchRequest, ConnectionStatus, FailureReason, Layer};
use sync_core::nostr::event::EventId;

use crate::kit::*;

/// Bootstrap relays, synced, with one repository at the first.
fn synced(names: &[&str]) -> Rig {
    let config =
        ManagerConfig { bootstrap_relays: names.iter().map(|name| relay(name)).collect(), ..ManagerConfig::default() };
    let mut rig = Rig::new(config);
    rig.fold([announcement(1, "r", &names[..1])]);
    for name in names {
        rig.connected(name);
        rig.confirm_all(name);
        assert_eq!(rig.status(name), ConnectionStatus::Connected);
    }
    rig
}

fn asked(batches: &[BatchRequest]) -> BTreeSet<EventId> {
    assert!(batches.iter().all(|batch| batch.layer == Layer::Wanted && batch.items.is_empty()));
    batches.iter().flat_map(|batch| &batch.filters).flat_map(|filter| filter.ids.iter().flatten()).copied().collect()
}

fn ids(numbers: impl IntoIterator<Item = u64>) -> BTreeSet<EventId> {
    numbers.into_iter().map(id).collect()
}

#[test]
fn a_batch_asks_for_what_the_window_gathered() {
    let mut rig = synced(&["a"]);
    rig.feed([wanted(8, &["a"])]);
    rig.pass(3_000);
    rig.feed([wanted(9, &["a"])]);
    assert!(rig.batches("a").is_empty());
    rig.pass(2_000);
    let batches = rig.confirm_all("a");
    assert_eq!((batches.len(), asked(&batches)), (1, ids([8, 9])));
    assert_eq!(batches[0].reason, BatchReason::NewItems);
    assert!(batches[0].reads);
    assert_eq!(rig.status("a"), ConnectionStatus::Connected);
    rig.pass(HOUR);
    assert!(rig.batches("a").is_empty(), "each relay is asked once");
}

#[test]
fn one_relay_after_the_other_is_asked() {
    let mut rig = synced(&["a", "b", "c"]);
    rig.fold([wanted(9, &["a", "b"])]);
    let first = rig.batches("a");
    assert_eq!(asked(&first), ids([9]));
    assert!(rig.batches("b").is_empty());
    rig.done("a", &first[0], BatchOutcome::Confirmed);
    assert_eq!(asked(&rig.confirm_all("b")), ids([9]));
    assert!(rig.batches("a").is_empty() && rig.batches("c").is_empty());
}

#[test]
fn an_event_that_came_meanwhile_is_asked_of_nobody_else() {
    let mut rig = synced(&["a", "b"]);
    rig.fold([wanted(9, &["a", "b"])]);
    let first = rig.batches("a");
    rig.feed([issue(9, "r")]);
    rig.done("a", &first[0], BatchOutcome::Confirmed);
    rig.pass(5_000);
    assert!(rig.batches("b").iter().all(|batch| batch.layer != Layer::Wanted));
}

#[test]
fn a_relay_that_is_away_is_asked_when_it_is_back() {
    let mut rig = synced(&["a"]);
    rig.lost("a");
    rig.fold([wanted(9, &["a"])]);
    rig.pass(5_000);
    rig.connected("a");
    let batches = rig.batches("a");
    let wanted: Vec<BatchRequest> = batches.iter().filter(|batch| batch.layer == Layer::Wanted).cloned().collect();
    assert_eq!(asked(&wanted), ids([9]));
    for batch in batches.iter().filter(|batch| batch.layer != Layer::Wanted) {
        rig.done("a", batch, BatchOutcome::Confirmed);
    }
    assert_eq!(rig.status("a"), ConnectionStatus::Syncing, "its history is not complete before that batch is");
    rig.done("a", &wanted[0], BatchOutcome::Confirmed);
    assert_eq!(rig.status("a"), ConnectionStatus::Connected);
}

#[test]
fn history_is_not_complete_while_one_waits_in_the_window() {
    let mut rig = Rig::new(bootstrap("a"));
    rig.feed([]);
    rig.connected("a");
    let layer_1 = rig.batches("a").remove(0);
    rig.feed([wanted(9, &["a"])]);
    rig.done("a", &layer_1, BatchOutcome::Confirmed);
    assert_eq!(rig.status("a"), ConnectionStatus::Syncing);
    rig.pass(5_000);
    assert_eq!(asked(&rig.confirm_all("a")), ids([9]));
    assert_eq!(rig.status("a"), ConnectionStatus::Connected);
}

#[test]
fn a_lost_connection_passes_the_search_on_and_may_be_asked_again() {
    let mut rig = synced(&["a", "b"]);
    rig.fold([wanted(9, &["a", "b"])]);
    assert_eq!(asked(&rig.batches("a")), ids([9]));
    rig.lost("a");
    let second = rig.batches("b");
    assert_eq!(asked(&second), ids([9]));
    rig.done("b", &second[0], BatchOutcome::Confirmed);
    rig.pass(10_000);
    rig.connected("a");
    assert!(rig.confirm_all("a").iter().any(|batch| batch.layer == Layer::Wanted));
}

#[test]
fn a_request_that_fails_degrades_and_is_made_again_even_after_a_restart() {
    let mut rig = synced(&["a"]);
    rig.fold([wanted(9, &["a"])]);
    rig.fail_all("a", FailureReason::Timeout);
    assert_eq!(rig.status("a"), ConnectionStatus::ConnectedDegraded);
    rig.pass(10_000);

    let mut rig = Rig::restored(bootstrap("a"), rig.table, rig.now);
    rig.fold([announcement(1, "r", &["a"])]);
    rig.connected("a");
    rig.confirm_all("a");
    assert_eq!(rig.status("a"), ConnectionStatus::ConnectedDegraded);
    rig.pass(6 * MINUTE);
    assert_eq!(asked(&rig.confirm_all("a")), ids([9]));
    assert_eq!(rig.status("a"), ConnectionStatus::Connected);
}

#[test]
fn a_relay_without_work_is_closed_after_it_was_asked() {
    let mut rig = synced(&["a"]);
    rig.fold([announcement(2, "s", &["x"])]);
    rig.connected("x");
    rig.confirm_all("x");
    rig.fold([wanted(9, &["x"]), removed(2, sync_core::model::kinds::ANNOUNCEMENT, Some("s"))]);
    assert_eq!(rig.disconnects("x"), 0);
    assert_eq!(asked(&rig.confirm_all("x")), ids([9]));
    assert_eq!(rig.disconnects("x"), 1);
}

#[test]
fn the_daily_sync_takes_the_search_over() {
    let mut rig = synced(&["a"]);
    rig.pass(22 * HOUR);
    rig.fold([wanted(9, &["a"])]);
    assert_eq!(asked(&rig.batches("a")), ids([9]));
    rig.pass(4 * HOUR);
    assert_eq!(rig.status("a"), ConnectionStatus::Syncing);
    assert!(rig.confirm_all("a").iter().any(|batch| batch.layer == Layer::Wanted));
    assert_eq!(rig.status("a"), ConnectionStatus::Connected);
}

#[test]
fn filters_are_of_the_size_of_chunks_and_what_waits_is_bounded() {
    let mut rig = synced(&["a"]);
    let all = 100..100 + WantedIds::MAX_IDS as u64 + 10;
    rig.fold(all.map(|number| wanted(number, &["a"])));
    assert_eq!(rig.limits("max_wanted"), 1);
    let batches = rig.confirm_all("a");
    assert_eq!(asked(&batches).len(), WantedIds::MAX_IDS);
    let size = |filter: &sync_core::nostr::filter::Filter| filter.ids.as_ref().map_or(0, BTreeSet::len);
    assert!(batches.iter().all(|batch| batch.filters.len() <= 30 && batch.filters.iter().all(|f| size(f) <= 100)));
}
