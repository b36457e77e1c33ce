//! `run` with a relay that serves nobody whom it doesn't know (NIP-42).

use testkit::relay::RelayOptions;

use crate::daemon::{Daemon, relay};
use crate::net::{Net, daemon_place, ids, stored};
use crate::one_repo::{LONG_AGO, comment, issue, now, repo};

const SECRET: &str = "service.secret_key = \"7f7ff03d123792d6ac594bfa67bf6d0c0ab55b6b1fdb6249303fe861f1ccba9a\"\n";

/// A guarded relay, with a repository that it alone holds, and its events.
fn guarded() -> (Net, Vec<nostr::event::Event>) {
    let mut net = Net::of([]);
    net.add(RelayOptions { require_auth: true, ..RelayOptions::default() });
    let events = repo("r", &net.urls());
    events.iter().for_each(|event| _ = net.relays[0].publish(event.clone()));
    (net, events)
}

#[test]
fn the_service_s_key_opens_history_and_live_sync_again_after_each_reconnect() {
    let (net, mut events) = guarded();
    let place = daemon_place(&net.urls(), SECRET);
    let mut daemon = Daemon::start(&place);
    let status = daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(stored(&place), ids(&events));
    assert_eq!(relay(&status, net.url(0)).expect("listed")["health"], "Healthy");
    let issue = issue("r", 0, LONG_AGO + 100);
    for connection in 1..=2 {
        events.push(comment(&issue, 9 + connection, now()));
        let _ = net.relays[0].publish(events[events.len() - 1].clone());
        daemon.wait_status(|status| status["totals"]["store_events"] == events.len());
        let stats = net.relays[0].stats();
        assert_eq!((stats.authenticated, stats.connections), (connection, connection));
        if connection == 1 {
            net.relays[0].drop_connections();
            net.runtime.block_on(net.relays[0].wait_for(|stats| stats.authenticated == 2)).expect("it comes back");
            daemon.wait_relays(net.urls(), "Connected");
        }
    }
    assert_eq!(stored(&place), ids(&events));
    let said = daemon.stop().stderr;
    assert!(!said.contains("7f7ff03d") && !said.contains("nsec1"), "{said}");
}

#[test]
fn without_a_key_the_relay_s_words_are_the_reason_and_others_are_not_held_up() {
    let (mut net, events) = guarded();
    net.add(RelayOptions { events: events.clone(), ..RelayOptions::default() });
    let place = daemon_place(&net.urls(), "");
    let mut daemon = Daemon::start(&place);
    let status = daemon.wait_relays([net.url(0)], "ConnectedDegraded");
    let reason = relay(&status, net.url(0)).expect("listed")["reason"].clone();
    assert!(reason.as_str().is_some_and(|reason| reason.contains("auth-required")), "{reason}");
    daemon.wait_relays([net.url(1)], "Connected");
    assert_eq!(stored(&place), ids(&events));
    let stats = net.relays[0].stats();
    assert_eq!((stats.authenticated, stats.connections), (0, 1));
    // Named, not asked over and over.
    let requests = |stats: &testkit::relay::RelayStats| stats.received("REQ") + stats.received("NEG-OPEN");
    assert!(requests(&stats) < 100, "{} requests", requests(&stats));
    let ended = place.run(&["status", "--admin", &daemon.admin()]);
    assert!(ended.stdout.contains("auth-required"), "{ended:?}");
    assert_eq!(daemon.stop().status.code(), Some(0));
}
