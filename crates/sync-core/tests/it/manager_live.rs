//! Live subscriptions: what is refused is named, and what is sparse is consolidated.

use sync_core::link::LinkNotice;
use sync_core::manager::ManagerConfig;
use sync_core::model::{ConnectionStatus, kinds};

use crate::kit::*;

#[test]
fn a_refused_live_subscription_degrades_and_its_return_is_caught_up() {
    let mut rig = Rig::synced();
    let key = rig.manager.relays()[&relay("a")].book().live()[1].key;
    rig.notice("a", LinkNotice::LiveRefused { key, text: "blocked: too many".to_owned() });
    assert_eq!(rig.status("a"), ConnectionStatus::ConnectedDegraded);
    assert!(rig.reason("a").contains("too many"));
    let refused = rig.now.unix_s;
    rig.pass(HOUR);
    rig.notice("a", LinkNotice::LiveRestored { key });
    assert_eq!(rig.status("a"), ConnectionStatus::ConnectedDegraded);
    let batches = rig.confirm_all("a");
    assert!(batches.iter().flat_map(|b| &b.filters).all(|f| f.since.map(|t| t.as_secs()) == Some(refused - 900)));
    assert_eq!(rig.status("a"), ConnectionStatus::Connected);
}

#[test]
fn what_a_replaced_subscription_lost_is_caught_up_without_waiting_for_it() {
    let mut rig = Rig::synced();
    rig.notice("a", LinkNotice::LiveRefused { key: 999, text: String::new() });
    let lost = rig.now.unix_s;
    let batches = rig.confirm_all("a");
    assert!(!batches.is_empty());
    assert!(batches.iter().flat_map(|b| &b.filters).all(|f| f.since.map(|t| t.as_secs()) == Some(lost - 900)));
    assert_eq!(rig.status("a"), ConnectionStatus::Connected);
}

#[test]
fn a_catch_up_covers_what_is_being_read_for_the_first_time() {
    let mut rig = Rig::synced();
    rig.fold([announcement(7, "late", &["a"])]);
    let key = rig.manager.relays()[&relay("a")].book().live()[1].key;
    rig.notice("a", LinkNotice::LiveRefused { key, text: "rate-limited: slow down".to_owned() });
    rig.notice("a", LinkNotice::LiveRestored { key });
    let batches = rig.confirm_all("a");
    let late = |f: &nostr::filter::Filter| f.since.is_some() && serde_json::json!(f).to_string().contains(":late");
    assert!(batches.iter().flat_map(|b| &b.filters).any(late), "{batches:?}");
}

/// A relay with 20 chunks of ten repositories each; one issue's batch is unanswered if `busy`; then half of the
/// repositories are withdrawn.
fn sparse(busy: bool) -> Rig {
    let mut rig = Rig::new(ManagerConfig { chunk_size: 10, ..bootstrap("a") });
    rig.fold((1..=200).map(|n| announcement(n, &format!("r{n}"), &["a"])));
    rig.connected("a");
    rig.confirm_all("a");
    if busy {
        rig.fold([issue(400, "r1")]);
    }
    rig.fold((1..=200).filter(|n| n % 2 == 0).map(|n| removed(n, kinds::ANNOUNCEMENT, Some(&format!("r{n}")))));
    assert_eq!(rig.manager.relays()[&relay("a")].book().live_filters(), 81 + if busy { 3 } else { 0 });
    rig.live("a");
    rig
}

fn live_filters(rig: &mut Rig) -> Option<usize> {
    rig.live("a").map(|live| live.iter().map(|l| l.filters.len()).sum())
}

#[test]
fn sparse_filters_are_consolidated_when_others_are_added() {
    let mut rig = sparse(false);
    rig.fold([announcement(300, "new", &["a"])]);
    assert_eq!(live_filters(&mut rig), Some(1 + 11 * 4));
    let batches = rig.confirm_all("a");
    assert_eq!((batches.len(), batches[0].items.len()), (1, 1), "history isn't run again");
}

#[test]
fn consolidation_waits_for_what_is_pending() {
    let mut rig = sparse(true);
    let pending = rig.batches("a").remove(0);
    rig.fold([announcement(300, "new", &["a"])]);
    assert!(rig.live("a").is_none() && rig.batches("a").is_empty());
    rig.done("a", &pending, sync_core::model::BatchOutcome::Confirmed);
    assert_eq!(live_filters(&mut rig), Some(1 + 11 * 4 + 3));
    assert_eq!(rig.batches("a").len(), 1);
}

#[test]
fn consolidation_does_not_wait_for_ever() {
    let mut rig = sparse(true);
    rig.batches("a");
    rig.fold([announcement(300, "new", &["a"])]);
    rig.pass(29_000);
    assert!(rig.live("a").is_none());
    rig.pass(1_000);
    assert_eq!(live_filters(&mut rig), Some(1 + 11 * 4 + 3));
}

#[test]
fn events_of_live_subscriptions_are_counted() {
    let mut rig = Rig::synced();
    rig.give(sync_core::manager::ManagerInput::LiveStored { relay: relay("a"), count: 3 });
    assert_eq!(rig.manager.status(rig.now).relays[0].events_stored, 3);
}

#[test]
fn tight_relays_get_smaller_requests() {
    let mut rig = Rig::new(bootstrap("a"));
    rig.fold([announcement(1, "r", &["a"])]);
    let profile = sync_core::strategy::RelayProfile { max_filters: Some(1), ..Default::default() };
    rig.connected_as("a", profile);
    let live = rig.live("a").expect("live");
    assert_eq!((live.len(), live.iter().all(|l| l.filters.len() == 1)), (5, true));
}
