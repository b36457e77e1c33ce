//! `run` once everything is here: what is published arrives; relays go away and come back.

use std::time::{SystemTime, UNIX_EPOCH};

use nostr::event::Event;
use testkit::world::WorldSpec;

use crate::daemon::{Daemon, relay};
use crate::net::{Net, daemon_place, ids, stored};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Waits until the store has as many events, by what the daemon shows.
fn wait_stored(daemon: &mut Daemon, count: usize) {
    daemon.wait_status(|status| status["totals"]["store_events"].as_u64() >= Some(count as u64));
}

#[test]
fn what_is_published_reaches_the_store_within_seconds() {
    let (net, world) = Net::world(3, WorldSpec::default());
    let place = daemon_place(&[net.url(0)], "");
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    let mut expected = ids(&world.accepted());
    let published = std::time::Instant::now();
    let issues: Vec<(usize, Event)> = (0..6).map(|n| world.live_issue(n, now())).collect();
    for (place, event) in &issues {
        expected.insert(event.id.to_hex());
        let _ = net.relays[*place].publish(event.clone());
    }
    wait_stored(&mut daemon, expected.len());
    assert!(published.elapsed().as_secs() < 10, "{:?}", published.elapsed());
    assert_eq!(stored(&place), expected, "read while the daemon runs");
    daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(daemon.stop().status.code(), Some(0));
}

#[test]
fn a_relay_that_comes_back_is_caught_up_with_by_since() {
    let (net, world) = Net::world(1, WorldSpec::default());
    let place = daemon_place(&net.urls(), "sync.catch_up_overlap = \"2m\"\n");
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    let started = now();
    let asked_before = net.relays[0].stats();

    net.runtime.block_on(net.relays[0].stop());
    daemon.wait_relays(net.urls(), "Disconnected");
    let mut expected = ids(&world.accepted());
    for n in 0..3 {
        let (_, event) = world.live_issue(n, now());
        expected.insert(event.id.to_hex());
        let _ = net.relays[0].publish(event);
    }
    net.runtime.block_on(net.relays[0].restart()).expect("its port is free");
    daemon.wait_relays(net.urls(), "Connected");
    wait_stored(&mut daemon, expected.len());
    assert_eq!(stored(&place), expected);

    let after = net.relays[0].stats();
    // Only what came of the new issues: the catch-up itself goes by REQ.
    let compared = after.neg_opens.iter().skip(asked_before.neg_opens.len()).flat_map(|request| &request.filters);
    assert!(compared.clone().all(|filter| filter.kinds.is_none()), "{:#?}", compared.collect::<Vec<_>>());
    let history: Vec<_> = after
        .reqs
        .iter()
        .skip(asked_before.reqs.len())
        .flat_map(|request| &request.filters)
        .filter(|filter| filter.limit != Some(0) && filter.ids.is_none())
        .collect();
    // What came of the new issues is asked for from the start, by their ids alone.
    let caught_up: Vec<_> = history.iter().filter(|filter| filter.since.is_some()).collect();
    assert!(caught_up.len() >= 3, "all three layers: {history:#?}");
    for filter in &caught_up {
        let since = filter.since.map_or(0, |since| since.as_secs());
        assert!((started - 180..=now()).contains(&since), "{since} at {started}: {filter:?}");
    }
    let whole: Vec<_> = history.iter().filter(|filter| filter.since.is_none()).collect();
    assert!(whole.iter().all(|filter| filter.kinds.is_none()), "nothing is read again from the start: {whole:#?}");

    let value =
        daemon.metric(&format!("ngit_sync_connection_attempts_total{{relay={:?},result=\"success\"}}", net.url(0)));
    assert_eq!(value, Some(2.0));
    assert_eq!(daemon.stop().status.code(), Some(0));
}

#[test]
fn a_restart_of_the_daemon_catches_up_too() {
    let (net, world) = Net::world(2, WorldSpec::default());
    let place = daemon_place(&[net.url(0)], "");
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(daemon.stop().status.code(), Some(0));

    let before = net.relays[0].stats();
    let mut expected = ids(&world.accepted());
    let (at, event) = world.live_issue(0, now());
    expected.insert(event.id.to_hex());
    let _ = net.relays[at].publish(event);
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    wait_stored(&mut daemon, expected.len());
    assert_eq!(stored(&place), expected);
    let after = net.relays[0].stats();
    assert!(after.events_out() - before.events_out() < 20, "what is here isn't read again");
}

#[test]
fn a_relay_without_nip_77_is_read_by_req_with_one_warning() {
    let (net, world) = Net::world(2, WorldSpec::default());
    net.relays[1].set_faults(|faults| faults.no_negentropy = Some(testkit::relay::NoNegentropy::NoticeDisabled));
    let place = daemon_place(&[net.url(0)], "");
    let mut daemon = Daemon::start(&place);
    let status = daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(stored(&place), ids(&world.accepted()));
    let strategies = relay(&status, net.url(1)).expect("listed")["strategy"].clone();
    assert_eq!(strategies, "req", "{status:#}");
    let fallbacks = daemon.metric("grasp_sync_fallbacks_total{from=\"negentropy\",to=\"req\"}");
    assert!(fallbacks >= Some(1.0), "{fallbacks:?}");
    let said = daemon.stop().stderr;
    let warnings: Vec<_> = said.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 1, "{said}");
    assert!(warnings[0].contains(net.url(1)) && warnings[0].contains("negentropy disabled"), "{}", warnings[0]);
}
