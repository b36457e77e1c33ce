//! Whom the manager connects to, when it tries again, and what each connection begins with.

use sync_core::manager::{ManagerConfig, ManagerInput, ManagerOutput};
use sync_core::model::{BatchReason, ConnectionStatus, HealthState, Layer, kinds};
use sync_core::strategy::RelayProfile;
use sync_core::transport::FaultKind;

use crate::kit::*;

#[test]
fn bootstrap_relays_are_connected_at_start_as_named() {
    let mut rig = Rig::new(bootstrap("a"));
    assert_eq!(rig.connects("a"), [true]);
    assert_eq!(rig.status("a"), ConnectionStatus::Connecting);
}

#[test]
fn a_discovered_relay_is_connected_when_the_window_closes_and_is_not_named() {
    let mut rig = Rig::new(ManagerConfig::default());
    rig.feed([announcement(1, "r", &["a"])]);
    rig.pass(4_999);
    assert!(rig.connects("a").is_empty());
    rig.pass(1);
    assert_eq!(rig.connects("a"), [false]);
}

#[test]
fn later_entries_do_not_reset_the_window() {
    let mut rig = Rig::new(ManagerConfig::default());
    rig.feed([announcement(1, "r", &["a"])]);
    rig.pass(4_000);
    rig.feed([announcement(2, "s", &["b"])]);
    rig.pass(1_000);
    assert_eq!((rig.connects("a").len(), rig.connects("b").len()), (1, 1));
}

#[test]
fn without_discovery_only_named_relays_are_connected() {
    let config = ManagerConfig { discover: false, named_relays: [relay("b")].into(), ..ManagerConfig::default() };
    let mut rig = Rig::new(config);
    rig.fold([announcement(1, "r", &["a", "b"])]);
    assert!(rig.connects("a").is_empty());
    assert_eq!(rig.connects("b"), [true]);
}

#[test]
fn neither_the_service_nor_disabled_relays_are_connected() {
    let config = ManagerConfig {
        domains: vec!["a.example".to_owned()],
        disabled_relays: [relay("b")].into(),
        bootstrap_relays: [relay("a"), relay("b")].into(),
        ..ManagerConfig::default()
    };
    let mut rig = Rig::new(config);
    rig.fold([announcement(1, "r", &["a", "b", "c"])]);
    assert!(rig.connects("a").is_empty() && rig.connects("b").is_empty());
    assert_eq!(rig.connects("c").len(), 1);
}

#[test]
fn relays_beyond_the_bound_are_told_once_and_follow_when_there_is_room() {
    let mut rig = Rig::new(ManagerConfig { max_relays: 1, ..ManagerConfig::default() });
    rig.fold([announcement(1, "r", &["a", "b"])]);
    rig.fold([announcement(2, "s", &["b"])]);
    assert_eq!((rig.connects("a").len(), rig.connects("b").len(), rig.limits("max_relays")), (1, 0, 1));
    rig.connected("a");
    rig.confirm_all("a");
    rig.fold([announcement(3, "r", &["b"])]);
    assert_eq!(rig.disconnects("a"), 1);
    rig.give(ManagerInput::Disconnected { relay: relay("a"), fault: None });
    rig.fold([announcement(4, "r", &[]), announcement(5, "s", &["b"])]);
    assert_eq!(rig.connects("b").len(), 1);
    assert!(!rig.manager.relays().contains_key(&relay("a")));
}

#[test]
fn relays_per_repository_and_repositories_per_relay_are_bounded() {
    let config = ManagerConfig { max_relays_per_repo: 2, max_repos_per_relay: 1, ..ManagerConfig::default() };
    let mut rig = Rig::new(config);
    rig.fold([announcement(1, "r", &["a", "b", "c"]), announcement(2, "s", &["a"])]);
    assert!(rig.connects("c").is_empty());
    assert_eq!((rig.limits("max_relays_per_repo"), rig.limits("max_repos_per_relay")), (1, 1));
    assert!(!rig.manager.index().wants_repo(&relay("a"), &repo("s")));
    rig.fold([removed(1, kinds::ANNOUNCEMENT, Some("r"))]);
    assert!(rig.manager.index().wants_repo(&relay("a"), &repo("s")), "it takes the place that is free");
}

#[test]
fn a_fresh_start_opens_live_then_layer_1_then_everything() {
    let mut rig = Rig::new(ManagerConfig::default());
    rig.fold([announcement(1, "r", &["a"]), issue(2, "r")]);
    rig.connected("a");
    assert_eq!(rig.status("a"), ConnectionStatus::Syncing);
    let order: Vec<String> = rig
        .said
        .iter()
        .filter_map(|output| match output {
            ManagerOutput::Link { command: sync_core::link::LinkCommand::Live(live), .. } => {
                Some(format!("live {}", live.iter().map(|l| l.filters.len()).sum::<usize>()))
            }
            ManagerOutput::Link { command: sync_core::link::LinkCommand::Batch(batch), .. } => {
                Some(format!("batch {} {}", batch.layer.as_str(), batch.filters.len()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(order, ["live 8", "batch 1 1", "batch 2+3 7"]);
    let batches = rig.batches("a");
    assert!(batches.iter().all(|b| b.reason == BatchReason::InitialConnect && !b.reads));
    assert!(batches.iter().flat_map(|b| &b.filters).all(|f| f.since.is_none() && f.limit.is_none()));
    assert_eq!(batches[1].items.len(), 2);
}

#[test]
fn failed_attempts_back_off_and_never_overlap() {
    let mut rig = Rig::new(bootstrap("a"));
    assert_eq!(rig.connects("a").len(), 1);
    for doublings in 0..5 {
        rig.give(ManagerInput::ConnectFailed { relay: relay("a"), fault: fault(FaultKind::Network) });
        assert_eq!(rig.status("a"), ConnectionStatus::Disconnected);
        let full = 5_000 << doublings;
        rig.pass(full * 4 / 5 - 1);
        assert!(rig.connects("a").is_empty());
        rig.pass(full / 5 + 1);
        assert_eq!(rig.connects("a").len(), 1);
    }
}

#[test]
fn an_attempt_that_is_never_answered_is_given_up_once() {
    let mut rig = Rig::new(bootstrap("a"));
    rig.pass(HOUR);
    assert_eq!((rig.connects("a").len(), rig.disconnects("a")), (1, 1));
    rig.give(ManagerInput::Disconnected { relay: relay("a"), fault: Some(fault(FaultKind::Timeout)) });
    rig.pass(MINUTE);
    assert_eq!(rig.connects("a").len(), 1);
}

#[test]
fn a_quick_reconnect_catches_up_by_req_and_confirms_nothing_again() {
    let mut rig = Rig::synced();
    let left = rig.now.unix_s;
    rig.lost("a");
    assert_eq!(rig.status("a"), ConnectionStatus::Disconnected);
    rig.pass(10_000);
    rig.connected("a");
    let batches = rig.batches("a");
    assert_eq!(batches.iter().map(|b| b.layer).collect::<Vec<_>>(), [Layer::Announcements, Layer::Repositories]);
    for batch in &batches {
        assert_eq!(batch.reason, BatchReason::QuickReconnect);
        assert!(batch.items.is_empty());
        assert!(batch.reads);
        assert!(batch.filters.iter().all(|f| f.since.map(|t| t.as_secs()) == Some(left - 900)));
    }
    assert_eq!(rig.manager.relays()[&relay("a")].state().root_events.len(), 1);
    for batch in &batches {
        rig.done("a", batch, sync_core::model::BatchOutcome::Confirmed);
    }
    assert_eq!(rig.status("a"), ConnectionStatus::Connected);
}

#[test]
fn an_unfinished_catch_up_is_covered_by_the_next() {
    let mut rig = Rig::synced();
    let left = rig.now.unix_s;
    for _ in 0..3 {
        rig.lost("a");
        rig.pass(10_000);
        rig.connected("a");
        let batches = rig.batches("a");
        assert_eq!(batches.len(), 2);
        assert!(batches.iter().flat_map(|b| &b.filters).all(|f| f.since.map(|t| t.as_secs()) == Some(left - 900)));
        rig.pass(10 * MINUTE);
    }
}

#[test]
fn a_layer_that_was_never_completed_is_read_whole_on_a_quick_reconnect() {
    let mut rig = Rig::new(bootstrap("a"));
    rig.fold([announcement(1, "r", &["a"])]);
    rig.connected("a");
    rig.lost("a");
    rig.batches("a");
    rig.pass(10_000);
    rig.connected("a");
    let batches = rig.batches("a");
    assert_eq!(batches.len(), 2);
    assert!(batches.iter().flat_map(|b| &b.filters).all(|f| f.since.is_none()));
    assert!(batches.iter().all(|b| !b.reads));
}

#[test]
fn a_stale_reconnect_starts_over() {
    let mut rig = Rig::synced();
    rig.lost("a");
    rig.pass(4_000);
    rig.give(ManagerInput::ConnectFailed { relay: relay("a"), fault: fault(FaultKind::Network) });
    rig.now = rig.now.plus_ms(16 * MINUTE);
    rig.give(ManagerInput::Timeout);
    rig.connected("a");
    assert_eq!(rig.manager.relays()[&relay("a")].state().repos.len(), 0);
    let batches = rig.batches("a");
    assert!(batches.iter().all(|b| b.reason == BatchReason::StaleReconnect && !b.reads));
    assert_eq!(batches[1].items.len(), 2);
}

#[test]
fn a_clock_that_was_set_back_counts_as_stale() {
    let mut rig = Rig::synced();
    rig.lost("a");
    rig.now = sync_core::Now { mono_ms: rig.now.mono_ms + MINUTE, unix_s: START.unix_s - 1_000_000 };
    rig.give(ManagerInput::Timeout);
    rig.connected("a");
    assert!(rig.batches("a").iter().all(|b| b.reason == BatchReason::StaleReconnect));
}

#[test]
fn the_daily_sync_reads_everything_anew_without_a_disconnect() {
    let mut rig = Rig::synced();
    rig.pass(23 * HOUR - MINUTE);
    assert!(rig.batches("a").is_empty());
    rig.pass(2 * HOUR + MINUTE);
    assert_eq!(rig.status("a"), ConnectionStatus::Syncing);
    assert_eq!((rig.disconnects("a"), rig.connects("a").len()), (0, 0));
    assert!(rig.live("a").is_some());
    let batches = rig.confirm_all("a");
    assert!(batches.iter().all(|b| b.reason == BatchReason::DailySync));
    assert_eq!(batches.iter().map(|b| b.layer).collect::<Vec<_>>(), [Layer::Announcements, Layer::Repositories]);
    assert_eq!(rig.status("a"), ConnectionStatus::Connected);
}

#[test]
fn no_daily_sync_where_there_is_to_be_none() {
    let mut rig = Rig::new(ManagerConfig { daily_sync_ms: None, ..bootstrap("a") });
    rig.connected("a");
    rig.confirm_all("a");
    rig.feed([]);
    rig.pass(50 * HOUR);
    assert!(rig.batches("a").is_empty());
}

#[test]
fn a_relay_that_nobody_needs_is_closed_but_bootstrap_stays() {
    let mut rig = Rig::new(bootstrap("a"));
    rig.fold([announcement(1, "r", &["a", "b"])]);
    for name in ["a", "b"] {
        rig.connected(name);
        rig.confirm_all(name);
    }
    rig.fold([removed(1, kinds::ANNOUNCEMENT, Some("r"))]);
    assert_eq!((rig.disconnects("a"), rig.disconnects("b")), (0, 1));
    rig.give(ManagerInput::Disconnected { relay: relay("b"), fault: None });
    rig.pass(HOUR);
    assert!(rig.connects("b").len() == 1, "only the first one");
    assert_eq!(rig.manager.relays()[&relay("a")].state().repos.len(), 0);
}

#[test]
fn a_relay_in_its_first_sync_is_not_closed() {
    let mut rig = Rig::new(ManagerConfig::default());
    rig.fold([announcement(1, "r", &["a"])]);
    rig.connected("a");
    rig.fold([removed(1, kinds::ANNOUNCEMENT, Some("r"))]);
    assert_eq!((rig.disconnects("a"), rig.status("a")), (0, ConnectionStatus::Syncing));
    rig.confirm_all("a");
    assert_eq!(rig.disconnects("a"), 1);
}

#[test]
fn nothing_is_asked_during_a_cool_down() {
    let mut rig = Rig::synced();
    rig.notice("a", sync_core::link::LinkNotice::RateLimited { text: "rate-limited: slow down".to_owned() });
    assert_eq!(rig.manager.status(rig.now).relays[0].health, HealthState::RateLimited);
    rig.fold([announcement(3, "s", &["a"])]);
    rig.pass(59_000);
    assert!(rig.batches("a").is_empty() && rig.live("a").is_none());
    rig.pass(2_000);
    assert!(rig.live("a").is_some());
    assert_eq!(rig.batches("a").len(), 1);
}

#[test]
fn contradictory_reports_are_ignored() {
    let mut rig = Rig::synced();
    rig.connected_as("a", RelayProfile::default());
    rig.connected("stranger");
    rig.give(ManagerInput::ConnectFailed { relay: relay("a"), fault: fault(FaultKind::Network) });
    assert_eq!(
        (rig.status("a"), rig.disconnects("a"), rig.disconnects("stranger")),
        (ConnectionStatus::Connected, 0, 1)
    );
    rig.lost("a");
    rig.lost("a");
    rig.lost("stranger");
    assert_eq!(rig.manager.relays()[&relay("a")].state().repos.len(), 1);
}

#[test]
fn a_shutdown_closes_and_persists_and_connects_no_more() {
    let mut rig = Rig::synced();
    rig.table.clear();
    rig.give(ManagerInput::Shutdown);
    assert_eq!(rig.disconnects("a"), 1);
    assert!(!rig.table.is_empty());
    rig.lost("a");
    assert_eq!((rig.manager.next_timeout(), rig.connects("a").len()), (None, 0));
}

#[test]
fn an_attempt_that_is_never_answered_is_given_up_and_is_a_failure() {
    let mut rig = Rig::new(bootstrap("a"));
    assert_eq!(rig.connects("a").len(), 1);
    for wait in [4_000, 8_000, 16_000] {
        rig.pass(20_000);
        assert_eq!(rig.disconnects("a"), 1);
        rig.give(ManagerInput::Disconnected { relay: relay("a"), fault: None });
        assert_eq!(rig.status("a"), ConnectionStatus::Disconnected);
        assert!(rig.reason("a").contains("answered in time"), "{}", rig.reason("a"));
        rig.pass(wait - 1);
        assert!(rig.connects("a").is_empty(), "not before {wait} ms");
        rig.pass(wait / 4 + 1);
        assert_eq!(rig.connects("a").len(), 1);
    }
}
