//! The life of a relay's connection through kills of the daemon and of the relay, and through daily syncs.

use std::time::{Duration, Instant};

use nostr::event::Event;
use store_lmdb::{LmdbStore, Options};
use sync_core::store::{EventStore, StateTable};
use testkit::relay::RelayStats;

use crate::daemon::{Daemon, PATIENCE, relay};
use crate::net::{Net, daemon_place, ids, stored};
use crate::one_repo::{LONG_AGO, comment, issue, now, repo};
use crate::program::Place;

/// One relay that holds a repository which lists it; an issue of it.
fn world() -> (Net, Vec<Event>, Event) {
    let net = Net::of([Vec::new()]);
    let events = repo("r", &net.urls());
    events.iter().for_each(|event| _ = net.relays[0].publish(event.clone()));
    (net, events, issue("r", 0, LONG_AGO + 100))
}

/// Waits until the records of a relay that is complete are on the disk: they are written every few seconds. What a
/// daemon that is killed leaves behind can be seen nowhere else. Pages are written before the commit that makes them
/// count, so the words alone are not enough: a copy is opened as the next daemon will open it.
fn wait_recorded(place: &Place) {
    let deadline = Instant::now() + PATIENCE;
    let wanted: &[u8] = b"\"status\":\"Connected\"";
    let says_so = |bytes: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    loop {
        let bytes = std::fs::read(place.path().join("grasp-sync-data/data.mdb")).expect("the store's file");
        if says_so(&bytes) {
            let copy = tempfile::tempdir().expect("a place for the copy");
            std::fs::write(copy.path().join("data.mdb"), bytes).expect("the copy");
            let options = Options { read_only: true, ..Options::default() };
            // A copy made while pages were written may make no sense; the next one will.
            let records = LmdbStore::open(copy.path(), options).ok().and_then(|s| s.read_state(StateTable::Relay).ok());
            if records.is_some_and(|records| records.iter().any(|(_, value)| says_so(value))) {
                return;
            }
        }
        assert!(Instant::now() < deadline, "no record of the relay");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A daemon that has everything, and whose records say so, killed.
fn killed(net: &Net, place: &Place) {
    let mut daemon = Daemon::start(place);
    daemon.wait_relays(net.urls(), "Connected");
    wait_recorded(place);
    daemon.signal("KILL");
}

/// What was asked for after `before`, but for live subscriptions and single events.
fn history_since(before: &RelayStats, after: &RelayStats) -> Vec<nostr::filter::Filter> {
    let new = after.reqs.iter().skip(before.reqs.len()).flat_map(|request| request.filters.clone());
    new.filter(|filter| filter.limit != Some(0) && filter.ids.is_none()).collect()
}

#[test]
fn a_daemon_that_is_killed_and_soon_started_again_catches_up_by_since_alone() {
    let (net, events, issue) = world();
    let place = daemon_place(&net.urls(), "sync.catch_up_overlap = \"2m\"\n");
    let started = now();
    killed(&net, &place);
    let before = net.relays[0].stats();
    // A comment makes nothing wanted that wasn't: whatever is compared is compared for the reconnect.
    let missed = comment(&issue, 9, now());
    let _ = net.relays[0].publish(missed.clone());
    let mut daemon = Daemon::start(&place);
    daemon.wait_line(|line| line.contains("quick reconnect"));
    daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(stored(&place), ids(events.iter().chain([&missed])));
    let after = net.relays[0].stats();
    assert_eq!(after.neg_opens.len(), before.neg_opens.len(), "{:#?}", after.neg_opens.back());
    let history = history_since(&before, &after);
    assert!(history.len() >= 3, "all three layers: {history:#?}");
    for filter in &history {
        // From the last moment that is recorded: the one at which it connected, for a daemon killed in its first minute.
        let since = filter.since.unwrap_or_else(|| panic!("from the start: {filter:?}")).as_secs();
        assert!((started - 120..=now() - 120).contains(&since), "{since}, started at {started}: {filter:?}");
    }
    let sent = after.events_sent.iter().filter(|(id, times)| before.events_sent.get(id) != Some(times));
    let sent: Vec<_> = sent.map(|(id, _)| *id).collect();
    assert_eq!(sent, [missed.id], "what is here isn't read again");
    assert_eq!(daemon.stop().status.code(), Some(0));
}

#[test]
fn a_daemon_that_is_killed_and_started_past_the_window_reads_everything_anew() {
    let (net, events, issue) = world();
    let place = daemon_place(&net.urls(), "sync.quick_reconnect_window = \"1s\"\n");
    killed(&net, &place);
    let before = net.relays[0].stats();
    let missed = [comment(&issue, 9, now()), comment(&issue, 10, LONG_AGO)];
    missed.iter().for_each(|event| _ = net.relays[0].publish(event.clone()));
    // What counts is when the connection was last recorded as open, which is seconds ago whenever this runs: a kill
    // counts as an absence since then.
    let mut daemon = Daemon::start(&place);
    daemon.wait_line(|line| line.contains("stale reconnect"));
    daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(stored(&place), ids(events.iter().chain(&missed)));
    let after = net.relays[0].stats();
    let compared: Vec<_> =
        after.neg_opens.iter().skip(before.neg_opens.len()).flat_map(|request| &request.filters).collect();
    assert!(compared.iter().any(|filter| filter.kinds.is_some()), "layer 1: {compared:#?}");
    // Where something is missing, windows of time are compared beside.
    let whole = compared.iter().filter(|filter| filter.since.is_none());
    assert!(whole.count() >= 8, "all three layers: {compared:#?}");
    assert_eq!(daemon.stop().status.code(), Some(0));
}

#[test]
fn a_relay_that_is_away_is_tried_ever_more_rarely_and_is_well_again_when_it_is_back() {
    let (net, events, issue) = world();
    let url = net.url(0).to_owned();
    let place = daemon_place(&net.urls(), "health.stable_after = \"2s\"\n");
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    net.relays[0].set_faults(|faults| faults.refuse_connections = true);
    let gone = Instant::now();
    net.relays[0].drop_connections();
    let failed = format!("ngit_sync_relay_failures{{relay={url:?}}}");
    daemon.wait_status_with(|daemon, _| daemon.metric(&failed) >= Some(4.0));
    // The waits after the loss, which is a failure too, and after two failures more: each at least four fifths of 200 ms · 2^n.
    assert!(gone.elapsed() >= Duration::from_millis(160 + 320 + 640), "{:?}", gone.elapsed());
    let status = daemon.wait_status(|status| relay(status, &url).is_some_and(|r| r["status"] == "Disconnected"));
    let shown = relay(&status, &url).expect("listed");
    assert_eq!(shown["health"], "Degraded", "{shown:#}");
    assert!(shown["last_error"].is_string(), "{shown:#}");

    let missed = comment(&issue, 9, now());
    let _ = net.relays[0].publish(missed.clone());
    net.relays[0].set_faults(|faults| faults.refuse_connections = false);
    daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(stored(&place), ids(events.iter().chain([&missed])));
    daemon.wait_status(|status| relay(status, &url).is_some_and(|r| r["health"] == "Healthy"));
    daemon.wait_status_with(|daemon, _| daemon.metric(&failed) == Some(0.0));

    // Live sync is on again, over one connection.
    let live = comment(&issue, 10, now());
    let _ = net.relays[0].publish(live.clone());
    daemon.wait_status(|status| status["totals"]["store_events"] == events.len() + 2);
    let stats = net.relays[0].stats();
    assert_eq!((stats.connections, stats.connections_open), (2, 1), "{stats:?}");
    assert_eq!(daemon.stop().status.code(), Some(0));
}

#[test]
fn a_daily_sync_finds_what_was_published_with_an_older_date_while_nobody_looked() {
    let (net, events, issue) = world();
    let url = net.url(0).to_owned();
    let place = daemon_place(&net.urls(), "sync.daily_sync = [\"2s\", \"3s\"]\nsync.catch_up_overlap = \"1m\"\n");
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    net.runtime.block_on(net.relays[0].stop());
    daemon.wait_status(|status| relay(status, &url).is_some_and(|r| r["status"] == "Disconnected"));
    // A catch-up, which asks since a minute ago, doesn't show it, nor does a live subscription.
    let old = comment(&issue, 9, LONG_AGO);
    let _ = net.relays[0].publish(old.clone());
    let before = net.relays[0].stats();
    net.runtime.block_on(net.relays[0].restart()).expect("its port is free");
    daemon.wait_line(|line| line.contains("quick reconnect"));
    daemon.wait_status(|status| status["totals"]["store_events"] == events.len() + 1);
    assert_eq!(stored(&place), ids(events.iter().chain([&old])));
    let after = net.relays[0].stats();
    let by_id = after.reqs.iter().skip(before.reqs.len()).flat_map(|request| &request.filters);
    assert!(by_id.flat_map(|filter| filter.ids.iter().flatten()).any(|id| *id == old.id), "it was compared");

    // The next ones go on over the same connection, leave no subscription behind, and are nobody's fault.
    let opened = after.neg_opens.iter().filter(|request| request.filters[0].kinds.is_some()).count();
    let again = |stats: &RelayStats| {
        stats.neg_opens.iter().filter(|request| request.filters[0].kinds.is_some()).count() >= opened + 3
    };
    net.runtime.block_on(net.relays[0].wait_for(again)).expect("layer 1 is compared again");
    let status = daemon.wait_relays(net.urls(), "Connected");
    let shown = relay(&status, &url).expect("listed");
    assert_eq!(shown["reason"], "", "{shown:#}");
    let stats = net.relays[0].stats();
    assert_eq!((stats.connections, stats.connections_open), (2, 1));
    let attempts = format!("ngit_sync_connection_attempts_total{{relay={url:?},result=\"success\"}}");
    assert_eq!(daemon.metric(&attempts), Some(2.0));
    let live = stats.reqs.iter().filter(|request| request.filters.iter().all(|filter| filter.limit == Some(0)));
    let names: std::collections::BTreeSet<_> = live.map(|request| (request.connection, &request.id)).collect();
    assert!(names.len() > 6, "new live subscriptions each time: {names:?}");
    assert!(stats.subscriptions <= 7, "the old ones are closed: {}", stats.subscriptions);
    let after_daily = comment(&issue, 10, now());
    let _ = net.relays[0].publish(after_daily.clone());
    daemon.wait_status(|status| status["totals"]["store_events"] == events.len() + 2);
    assert_eq!(daemon.stop().status.code(), Some(0));
}
