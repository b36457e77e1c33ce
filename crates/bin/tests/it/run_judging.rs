//! What was stored without judgement is judged by the daemon; what was judged, again when the rules change.

use testkit::world::{World, WorldSpec, to_jsonl};

use crate::daemon::Daemon;
use crate::net::{DOMAIN, Net, daemon_place, ids, stored};
use crate::program::Place;

fn relays() -> Vec<sync_core::model::RelayUrl> {
    ["wss://a.example", "wss://b.example"].map(|url| sync_core::model::RelayUrl::parse(url).expect("valid")).into()
}

fn offline(place: Place) -> Place {
    place.var("GRASP_SYNC_SYNC__DISCOVER", "false")
}

/// `accepted N` of `store stats`.
fn accepted(place: &Place) -> u64 {
    let stats = place.run(&["store", "stats"]);
    let line = stats.stdout.lines().find_map(|line| line.strip_prefix("accepted")).expect("a line of it").to_owned();
    let number = line.split(';').next().unwrap_or_default().trim();
    number.parse().unwrap_or_else(|_| panic!("{stats:?}"))
}

#[test]
fn imported_events_are_judged_before_the_daemon_acts_on_them() {
    let world = World::generate(WorldSpec::default(), &relays(), DOMAIN);
    let place = offline(daemon_place(&[], "")).file("events.jsonl", &to_jsonl(&world.events()));
    let import = place.run(&["import", "events.jsonl"]);
    assert_eq!(import.code, Some(0), "{import:?}");
    assert_eq!(accepted(&place), 0, "stored is not admitted");
    let mut daemon = Daemon::start(&place);
    daemon.wait_line(|line| line.contains("stored events judged"));
    let repos = world.repos().count() as u64;
    let status = daemon.wait_status(|status| status["totals"]["repos"].as_u64() >= Some(repos));
    assert_eq!(status["totals"]["relays"], 0, "nobody is discovered");
    assert_eq!(daemon.stop().status.code(), Some(0));
    assert_eq!(accepted(&place), world.accepted().len() as u64);
    assert!(stored(&place).is_superset(&ids(&world.accepted())), "what was imported stays");
}

#[test]
fn relays_of_imported_announcements_are_synced_from() {
    let (net, world) = Net::world(2, WorldSpec::default());
    let announcements: Vec<_> = world.events().into_iter().filter(|event| event.kind.as_u16() == 30617).collect();
    let place = daemon_place(&[], "").file("events.jsonl", &to_jsonl(&announcements));
    assert_eq!(place.run(&["import", "events.jsonl"]).code, Some(0));
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(accepted(&place), world.accepted().len() as u64);
    assert!(stored(&place).is_superset(&ids(&world.accepted())));
}

#[test]
fn another_domain_brings_what_it_lists() {
    let other = "git.example.org";
    let (net, world) = Net::world(1, WorldSpec::default());
    let foreign =
        World::generate(WorldSpec { seed: 2, repos: 3, ..WorldSpec::default() }, &[net.relays[0].url().clone()], other);
    foreign.events().into_iter().for_each(|event| _ = net.relays[0].publish(event));

    let place = daemon_place(&net.urls(), "");
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(daemon.stop().status.code(), Some(0));
    let held = stored(&place);
    let theirs = ids(&foreign.accepted());
    assert_eq!(held.intersection(&theirs).count(), 0, "listed elsewhere");
    assert!(held.is_superset(&ids(&world.accepted())));

    let place = place.var("GRASP_SYNC_SERVICE__DOMAIN", &format!("[\"{DOMAIN}\",\"{other}\"]"));
    let mut daemon = Daemon::start(&place);
    let all: std::collections::BTreeSet<_> = ids(&world.accepted()).union(&theirs).cloned().collect();
    daemon.wait_status(|status| status["totals"]["store_events"].as_u64() >= Some(all.len() as u64));
    daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(daemon.stop().status.code(), Some(0));
    assert_eq!(stored(&place), all);
}
