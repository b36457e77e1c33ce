//! What survives the end of the process.

use sync_core::Now;
use sync_core::model::{BatchReason, ConnectionStatus, FailureReason, RelayUrl, kinds};
use sync_core::store::StateTable;

use crate::kit::*;

/// The same store after a kill, `away_s` seconds later; the monotonic clock begins anew.
fn restart(rig: Rig, away_s: u64) -> Rig {
    let now = Now { mono_ms: START.mono_ms, unix_s: rig.now.unix_s + away_s };
    Rig::restored(bootstrap("a"), rig.table, now)
}

#[test]
fn a_killed_process_leaves_a_fair_time_and_reconnects_quickly() {
    let mut rig = Rig::synced();
    rig.pass(2 * HOUR);
    rig.heard("a", rig.now.unix_s);
    rig.pass(10_000);
    let killed = rig.now.unix_s;
    let mut rig = restart(rig, 60);
    assert_eq!(rig.status("a"), ConnectionStatus::Connecting);
    rig.connected("a");
    let batches = rig.batches("a");
    assert!(batches.iter().all(|b| b.reason == BatchReason::QuickReconnect));
    let since = batches[0].filters[0].since.expect("a catch-up").as_secs();
    assert!((killed - 900 - 70..=killed - 900).contains(&since), "{since} for {killed}");
    rig.seq = 0;
    rig.feed([announcement(1, "r", &["a"]), issue(2, "r")]);
    for batch in batches {
        rig.done("a", &batch, sync_core::model::BatchOutcome::Confirmed);
    }
    rig.now = rig.now.plus_ms(5_000);
    rig.give(sync_core::manager::ManagerInput::Timeout);
    assert_eq!(rig.status("a"), ConnectionStatus::Connected);
    assert!(rig.batches("a").is_empty(), "what was confirmed is confirmed still");
}

#[test]
fn what_a_silent_relay_may_have_published_is_asked_for_from_when_it_was_last_heard() {
    let mut rig = Rig::synced();
    rig.pass(MINUTE);
    let heard = rig.now.unix_s;
    rig.heard("a", heard);
    rig.pass(3 * HOUR);
    rig.heard("a", heard);
    rig.lost("a");
    rig.pass(10_000);
    rig.connected("a");
    let batches = rig.batches("a");
    assert!(batches.iter().all(|batch| batch.reason == BatchReason::QuickReconnect));
    let since = batches[0].filters[0].since.expect("a catch-up").as_secs();
    assert_eq!(since, heard - 900, "the connection broke three hours later");
}

#[test]
fn a_relay_that_was_mute_for_long_was_away_for_long() {
    let mut rig = Rig::synced();
    rig.pass(MINUTE);
    let heard = rig.now.unix_s;
    rig.pass(3 * HOUR);
    rig.heard("a", heard);
    let mute = fault(sync_core::transport::FaultKind::Mute);
    rig.give(sync_core::manager::ManagerInput::Disconnected { relay: relay("a"), fault: Some(mute) });
    rig.pass(10_000);
    rig.connected("a");
    assert!(rig.batches("a").iter().all(|batch| batch.reason == BatchReason::StaleReconnect));
}

#[test]
fn records_that_do_not_know_when_a_relay_was_heard_are_read() {
    let mut rig = Rig::synced();
    rig.pass(10 * MINUTE);
    let mut heads = 0;
    for ((table, _), value) in &mut rig.table {
        let mut record: serde_json::Value = serde_json::from_slice(value).expect("JSON");
        if *table == StateTable::Relay && record.as_object_mut().expect("an object").remove("heard_at").is_some() {
            *value = serde_json::to_vec(&record).expect("JSON");
            heads += 1;
        }
    }
    assert_eq!(heads, 1);
    let killed = rig.now.unix_s;
    let mut rig = restart(rig, 60);
    rig.connected("a");
    let since = rig.batches("a")[0].filters[0].since.expect("a catch-up").as_secs();
    assert!((killed - 900 - 70..=killed - 900).contains(&since), "as long as it was connected: {since} for {killed}");
}

#[test]
fn a_long_absence_is_stale() {
    let mut rig = Rig::synced();
    rig.pass(MINUTE);
    let mut rig = restart(rig, 3_600);
    rig.connected("a");
    assert!(rig.batches("a").iter().all(|b| b.reason == BatchReason::StaleReconnect));
}

#[test]
fn a_clock_before_the_records_is_stale() {
    let mut rig = Rig::synced();
    rig.pass(MINUTE);
    let now = Now { mono_ms: START.mono_ms, unix_s: START.unix_s - 86_400 };
    let mut rig = Rig::restored(bootstrap("a"), rig.table, now);
    rig.connected("a");
    assert!(rig.batches("a").iter().all(|b| b.reason == BatchReason::StaleReconnect));
}

#[test]
fn what_failed_is_remembered_and_keeps_the_relay_degraded() {
    let mut rig = Rig::synced();
    rig.fold([issue(3, "r")]);
    rig.fail_all("a", FailureReason::NotServed { ids: vec![id(9)], count: 1 });
    rig.pass(MINUTE);
    let mut rig = restart(rig, 60);
    rig.seq = 0;
    rig.feed([announcement(1, "r", &["a"]), issue(2, "r"), issue(3, "r")]);
    rig.now = rig.now.plus_ms(5_000);
    rig.give(sync_core::manager::ManagerInput::Timeout);
    rig.connected("a");
    rig.confirm_all("a");
    assert_eq!(rig.status("a"), ConnectionStatus::ConnectedDegraded);
}

#[test]
fn what_nobody_wants_any_longer_is_forgotten_once_the_feed_was_read() {
    let mut rig = Rig::synced();
    rig.pass(MINUTE);
    let mut rig = restart(rig, 60);
    assert_eq!(rig.manager.relays()[&relay("a")].state().repos.len(), 1);
    rig.seq = 0;
    rig.feed([]);
    assert_eq!(rig.manager.relays()[&relay("a")].state().repos.len(), 0);
}

#[test]
fn the_back_off_survives() {
    let mut rig = Rig::new(bootstrap("a"));
    let fault = fault(sync_core::transport::FaultKind::Tls);
    rig.give(sync_core::manager::ManagerInput::ConnectFailed { relay: relay("a"), fault });
    rig.pass(MINUTE);
    let rig = restart(rig, 60);
    assert_eq!(rig.status("a"), ConnectionStatus::Disconnected);
}

#[test]
fn only_what_changed_is_written() {
    let mut rig = Rig::new(bootstrap("a"));
    rig.fold((1..=250).map(|n| announcement(n, &format!("r{n}"), &["a"])));
    rig.connected("a");
    rig.confirm_all("a");
    rig.pass(MINUTE);
    let before = rig.table.clone();
    assert_eq!(before.keys().filter(|(table, key)| *table == StateTable::Relay && key.contains(&b'#')).count(), 3);
    rig.fold([removed(250, kinds::ANNOUNCEMENT, Some("r250"))]);
    rig.pass(MINUTE);
    let changed = rig.table.iter().filter(|(key, value)| before.get(*key) != Some(value)).count();
    assert_eq!(changed, 2, "the head and one chunk");
}

#[test]
fn records_that_make_no_sense_are_named_and_left_out() {
    let rows =
        vec![(b"wss://a.example".to_vec(), b"nonsense".to_vec()), (b"wss://b.example#1".to_vec(), b"{}".to_vec())];
    let state = sync_core::manager::RestoredState::from_rows(rows, Vec::new(), Vec::new());
    assert_eq!(state.problems.len(), 1);
    assert!(state.problems[0].contains("wss://a.example"));
}

#[test]
fn keys_fit_the_store() {
    let url = RelayUrl::parse(&format!("wss://a.example/{}", "x".repeat(490))).expect("valid");
    assert!(sync_core::lifecycle::relay_key(&url).len() <= 400);
}
