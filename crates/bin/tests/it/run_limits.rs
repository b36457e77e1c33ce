//! `run` with what is more than it follows, and with a store from a later version.

use std::time::{Duration, Instant};

use testkit::world::{EventSpec, keys};

use crate::daemon::{Daemon, relay};
use crate::net::{DOMAIN, Net, daemon_place, ids, stored};
use crate::one_repo::{LONG_AGO, address, announcement, issue, now};
use crate::program::Place;

/// Addresses that nobody connects to: private ones, which discovered relays may not have.
fn many_relays(count: u32) -> Vec<String> {
    (0..count).map(|n| format!("ws://10.1.{}.{}", n / 250, n % 250 + 1)).collect()
}

/// Discovered relays on loopback or private addresses are not connected to.
fn public_only(net: &Net) -> Place {
    daemon_place(&net.urls(), "").var("GRASP_SYNC_LIMITS__ALLOW_PRIVATE_ADDRESSES", "false")
}

#[test]
fn an_announcement_that_lists_ten_thousand_relays_is_followed_to_twenty_of_them() {
    let greedy = announcement("greedy", LONG_AGO, &many_relays(10_000));
    let net = Net::of([vec![greedy.clone()]]);
    let place = public_only(&net);
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    let line = daemon.wait_line(|line| line.contains("WARN") && line.contains("max_relays_per_repo"));
    assert!(line.contains(&address("greedy")) && line.contains("more than 20"), "{line}");
    assert_eq!(daemon.metric("grasp_sync_limit_hits_total{limit=\"max_relays_per_repo\"}"), Some(1.0));
    let status = daemon.wait_status(|status| status["totals"]["relays"].as_u64() > Some(1));
    assert_eq!(status["totals"]["relays"], 21, "{}", status["totals"]);
    assert_eq!(stored(&place), ids([&greedy]));

    // It goes on as if nothing were.
    let live = issue("greedy", 1, now());
    let published = Instant::now();
    let _ = net.relays[0].publish(live.clone());
    daemon.wait_status(|status| status["totals"]["store_events"] == 2);
    assert!(published.elapsed() < Duration::from_secs(10), "{:?}", published.elapsed());
    assert_eq!(daemon.fetch("/healthz").0, 200);
    let status = daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(relay(&status, net.url(0)).expect("listed")["reason"], "", "{status:#}");
    let stopped = daemon.stop();
    assert_eq!(stopped.status.code(), Some(0));
    let told = stopped.stderr.lines().filter(|line| line.contains("max_relays_per_repo")).count();
    assert_eq!(told, 1, "{}", stopped.stderr);
}

#[test]
fn relays_in_all_are_bounded_over_many_announcements() {
    let all = many_relays(100);
    let announcements = all.chunks(10).enumerate().map(|(n, relays)| announcement(&n.to_string(), LONG_AGO, relays));
    let net = Net::of([announcements.collect()]);
    let place = public_only(&net).var("GRASP_SYNC_LIMITS__MAX_RELAYS", "30");
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    daemon.wait_line(|line| line.contains("WARN") && line.contains("max_relays"));
    assert!(daemon.metric("grasp_sync_limit_hits_total{limit=\"max_relays\"}") >= Some(1.0));
    let status = daemon.wait_status(|status| status["totals"]["relays"].as_u64() > Some(1));
    assert_eq!(status["totals"]["relays"], 30, "{}", status["totals"]);
    assert_eq!(status["totals"]["repos"], 10, "all are followed where there is room: {}", status["totals"]);
    assert_eq!(daemon.stop().status.code(), Some(0));
}

#[test]
fn an_announcement_with_too_many_tags_is_turned_away_and_counted() {
    let relays = many_relays(6_000);
    let tags = EventSpec::new(30617).at(LONG_AGO).tag(["d", "wide"]);
    let tags = tags.tag(["clone", &format!("https://{DOMAIN}/wide.git")]).tag(["relays", &format!("wss://{DOMAIN}")]);
    let wide = relays.iter().fold(tags, |event, relay| event.tag(["relays", relay])).sign(&keys(1, 1));
    let good = announcement("good", LONG_AGO, &[] as &[&str]);
    let net = Net::of([vec![wide, good.clone()]]);
    let place = public_only(&net);
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(daemon.metric("grasp_sync_events_received_total{outcome=\"too_many_tags\"}"), Some(1.0));
    assert_eq!(stored(&place), ids([&good]));
    assert_eq!(daemon.stop().status.code(), Some(0));
}

/// Writes another number in the place of the store's schema, as a later version would have: the key, and eight bytes
/// after it, stand in the file as they are. Returns what stood there.
fn set_schema(place: &Place, schema: u64) -> u64 {
    let path = place.path().join("grasp-sync-data/data.mdb");
    let mut bytes = std::fs::read(&path).expect("the store's file");
    let key = b"schema";
    let found: Vec<usize> = bytes
        .windows(14)
        .enumerate()
        .filter(|(_, row)| row.starts_with(key) && row[6..13] == [0; 7])
        .map(|(at, _)| at)
        .collect();
    assert!(!found.is_empty(), "no schema in the file");
    let before = u64::from(bytes[found[0] + 13]);
    for at in found {
        bytes[at + 6..at + 14].copy_from_slice(&schema.to_be_bytes());
    }
    std::fs::write(path, bytes).expect("written");
    before
}

#[test]
fn a_store_of_a_later_version_is_refused_by_name_and_left_as_it_is() {
    let net = Net::of([vec![announcement("r", LONG_AGO, &[] as &[&str])]]);
    let place = daemon_place(&net.urls(), "");
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(daemon.stop().status.code(), Some(0));
    let before = stored(&place);
    let schema = set_schema(&place, 99);
    for args in [&["run"][..], &["export"], &["sync", net.url(0)], &["store", "verify"]] {
        let ended = place.run(args);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{args:?}: {ended:?}");
        let error = ended.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        for word in ["grasp-sync-data", "schema 99", "newer version"] {
            assert!(error.contains(word), "{args:?}: {ended:?}");
        }
    }
    set_schema(&place, schema);
    assert_eq!(stored(&place), before);
}

/// More relays than a process with so few files can connect to.
fn crowd() -> Net {
    Net::of((0..60).map(|_| Vec::new()))
}

#[test]
fn a_low_limit_of_open_files_is_raised_to_what_the_relays_need() {
    let net = crowd();
    let place = daemon_place(&net.urls(), "").after("ulimit -Sn 48");
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    assert!(!daemon.said().contains("ulimit"), "{}", daemon.said());
}

#[test]
fn a_limit_of_open_files_that_can_not_be_raised_is_told_and_survived() {
    let net = crowd();
    let place = daemon_place(&net.urls(), "").after("ulimit -n 48");
    let mut daemon = Daemon::start(&place);
    daemon.wait_line(|line| line.contains("WARN") && line.contains("files=48") && line.contains("ulimit -n"));
    daemon.wait_status(|status| status["totals"]["connected"].as_u64() >= Some(10));
    let stopped = daemon.stop();
    assert_eq!(stopped.status.code(), Some(0), "{stopped:?}");
}
