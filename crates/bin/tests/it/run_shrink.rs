//! `run` where less is wanted than before: relays that nothing lists any more are left.

use testkit::relay::RelayStats;
use testkit::world::{EventSpec, keys};

use crate::daemon::{Daemon, relay};
use crate::net::{Net, daemon_place, ids, stored};
use crate::one_repo::{LONG_AGO, address, announcement, now};

/// Left, and not tried again.
fn is_left(net: &Net, at: usize, daemon: &mut Daemon) {
    net.runtime.block_on(net.relays[at].wait_for(|stats| stats.connections_open == 0)).expect("it is left");
    let url = net.url(at);
    let status = daemon.wait_status(|status| relay(status, url).is_none_or(|r| r["status"] == "Disconnected"));
    if let Some(shown) = relay(&status, url) {
        assert_eq!(shown["reason"], "closed by us", "{shown:#}");
        assert_ne!(shown["health"], "Degraded", "no fault of its own: {shown:#}");
    }
    assert_eq!(net.relays[at].stats().connections, 1);
}

fn is_open(stats: &RelayStats) -> bool {
    (stats.connections, stats.connections_open) == (1, 1)
}

#[test]
fn a_relay_that_the_newer_announcement_no_longer_lists_is_left() {
    let net = Net::of(vec![Vec::new(); 3]);
    let _ = net.relays[0].publish(announcement("r", LONG_AGO, &[net.url(1)]));
    let place = daemon_place(&[net.url(0)], "");
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays([net.url(0), net.url(1)], "Connected");
    assert!(relay(&daemon.status(), net.url(2)).is_none());

    let newer = announcement("r", LONG_AGO + 1, &[net.url(2)]);
    let _ = net.relays[0].publish(newer.clone());
    is_left(&net, 1, &mut daemon);
    // The new one is there; the bootstrap relay, which no announcement lists, stays.
    daemon.wait_relays([net.url(0), net.url(2)], "Connected");
    assert!([0, 2].into_iter().all(|at| is_open(&net.relays[at].stats())));
    assert_eq!(stored(&place), ids([&newer]));
    assert_eq!(daemon.stop().status.code(), Some(0));

    // Nor does a restart go there, by what it remembers.
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays([net.url(0), net.url(2)], "Connected");
    assert_eq!(net.relays[1].stats().connections, 1);
    assert_eq!(daemon.stop().status.code(), Some(0));
}

#[test]
fn relays_of_a_deleted_announcement_are_left_unless_the_operator_named_them() {
    let net = Net::of(vec![Vec::new(); 3]);
    let kept = announcement("kept", LONG_AGO, &[net.url(2)]);
    let _ = net.relays[0].publish(announcement("r", LONG_AGO, &[net.url(0), net.url(1), net.url(2)]));
    let _ = net.relays[0].publish(kept.clone());
    let place = daemon_place(&[net.url(0)], "");
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(daemon.status()["totals"]["repos"], 2);

    let deletion = EventSpec::new(5).at(now()).tag(["a", &address("r")]).tag(["k", "30617"]).sign(&keys(1, 1));
    let _ = net.relays[0].publish(deletion.clone());
    is_left(&net, 1, &mut daemon);
    let status = daemon.wait_relays([net.url(0), net.url(2)], "Connected");
    assert_eq!(status["totals"]["repos"], 1, "{status:#}");
    assert!([0, 2].into_iter().all(|at| is_open(&net.relays[at].stats())), "listed by another, or named");
    assert!(!stored(&place).contains(&announcement("r", LONG_AGO, &net.urls()).id.to_hex()));
    assert!(stored(&place).is_superset(&ids([&kept, &deletion])));
    assert_eq!(daemon.stop().status.code(), Some(0));
}
