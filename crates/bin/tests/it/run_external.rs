//! `run` beside an own relay that is another process: everything accepted is published there, and nothing counts before
//! it is.

use std::collections::BTreeSet;

use nostr::event::Event;
use testkit::relay::{OkAnswer, RunningRelay};
use testkit::world::{World, WorldSpec};

use crate::daemon::{Daemon, relay};
use crate::net::{Net, daemon_place, ids, stored};
use crate::one_repo::{LONG_AGO, announcement, comment, issue, now, repo};
use crate::program::Place;

/// A world over `count` relays, and an own relay, the last of the net, which is empty.
fn world(count: usize) -> (Net, World) {
    let (mut net, world) = Net::world(count, WorldSpec::default());
    net.add(testkit::relay::RelayOptions::default());
    (net, world)
}

fn own(net: &Net) -> &RunningRelay {
    net.relays.last().expect("a relay")
}

fn place(net: &Net, more: &str) -> Place {
    let own = own(net).url().as_str();
    daemon_place(&[net.url(0)], &format!("service.own_relay = {own:?}\n{more}"))
}

/// Everything that is accepted is there; and beside it only what its author has withdrawn by a version which isn't accepted,
/// and so is offered to nobody.
fn assert_holds(relay: &RunningRelay, expected: &BTreeSet<String>) {
    let events = relay.events();
    let missing: Vec<_> = expected.difference(&ids(&events)).cloned().collect();
    assert!(missing.is_empty(), "{missing:?}");
    let more = events.iter().filter(|event| !expected.contains(&event.id.to_hex()));
    let odd: Vec<_> = more.filter(|event| !matches!(event.kind.as_u16(), 30617 | 10317)).collect();
    assert!(odd.is_empty(), "{odd:?}");
}

/// The most often that any event was published to a relay.
fn most_offered(relay: &RunningRelay) -> u64 {
    relay.stats().events_offered.into_values().max().unwrap_or(0)
}

/// Waits until the own relay is up, and nothing waits for it.
fn wait_published(daemon: &mut Daemon) {
    daemon.wait_status(|status| status["own_relay"]["up"] == true && status["own_relay"]["held"] == 0);
}

#[test]
fn a_cold_start_fills_the_own_relay_and_offers_each_event_once() {
    let (net, world) = world(3);
    let place = place(&net, "");
    let mut daemon = Daemon::start(&place);
    let status = daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(status["own_relay"]["embedded"], false);
    assert_eq!(status["own_relay"]["url"], own(&net).url().as_str());
    wait_published(&mut daemon);
    let expected = ids(&world.accepted());
    assert_holds(own(&net), &expected);
    assert_eq!(stored(&place), expected);
    assert_eq!(most_offered(own(&net)), 1);
    assert_eq!(daemon.fetch("/healthz").0, 200);

    // Live events go the same way.
    let (at, event) = world.live_issue(1, now());
    let _ = net.relays[at].publish(event.clone());
    daemon.wait_status(|status| status["totals"]["store_events"] == expected.len() + 1);
    assert!(own(&net).has(&event.id));
    assert_eq!(daemon.stop().status.code(), Some(0));
}

#[test]
fn what_others_publish_at_the_own_relay_counts_as_ours_and_leads_further() {
    let mut net = Net::of([Vec::new(), Vec::new()]);
    let (far, own) = (net.url(0).to_owned(), net.url(1).to_owned());
    let before = repo("r", &[far.as_str()]);
    before.iter().for_each(|event| _ = net.relays[1].publish(event.clone()));
    let theirs = comment(&issue("r", 0, LONG_AGO + 100), 50, LONG_AGO + 107);
    let _ = net.relays[0].publish(theirs.clone());
    let place = daemon_place(&[], &format!("service.own_relay = {own:?}\n"));
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays([far.as_str(), &own], "Connected");
    let mut expected: Vec<Event> = [before, vec![theirs.clone()]].concat();
    daemon.wait_status(|status| status["totals"]["store_events"] == expected.len());
    assert!(net.relays[1].has(&theirs.id), "and what was found there is published here");

    // An announcement that is published at the own relay now names a relay that nobody knew.
    let new = net.add(testkit::relay::RelayOptions::default()).url().to_string();
    let (announced, found) = (announcement("s", now(), &[new.as_str()]), issue("s", 1, now()));
    let _ = net.relays[2].publish(found.clone());
    let _ = net.relays[1].publish(announced.clone());
    daemon.wait_relays([new.as_str()], "Connected");
    expected.extend([announced, found.clone()]);
    daemon.wait_status(|status| status["totals"]["store_events"] == expected.len());
    assert_eq!(stored(&place), ids(&expected));
    assert!(net.relays[1].has(&found.id));
    assert_eq!(most_offered(&net.relays[1]), 1, "what it had was not offered to it");
    assert_eq!(daemon.stop().status.code(), Some(0));
}

#[test]
fn an_own_relay_that_is_away_from_the_start_is_said_so_and_filled_when_it_comes() {
    let (net, world) = world(2);
    net.runtime.block_on(own(&net).stop());
    let place = place(&net, "");
    let mut daemon = Daemon::start(&place);
    // Announcements are taken in and held; what depends on them waits, and nothing is shown to anybody.
    let status = daemon.wait_status(|status| status["own_relay"]["held"].as_u64() > Some(0));
    assert_eq!(status["own_relay"]["up"], false);
    assert_eq!(status["totals"]["store_events"], 0);
    let (code, text) = daemon.fetch("/healthz");
    assert_eq!(code, 503);
    assert!(text.contains("own relay") && text.contains(own(&net).url().as_str()), "{text}");
    assert_eq!(stored(&place), BTreeSet::new());
    assert_ne!(relay(&status, net.url(0)).expect("listed")["status"], "Connected", "not complete before its word");

    // Killed meanwhile: what is held outlives it.
    daemon.wait_status_with(|daemon, _| {
        let attempts = "ngit_sync_connection_attempts_total";
        daemon.metric(&format!("{attempts}{{relay={:?},result=\"failure\"}}", own(&net).url().as_str())) >= Some(3.0)
    });
    let said = daemon.said();
    let warned = said.lines().filter(|line| line.contains("WARN") && line.contains(own(&net).url().as_str())).count();
    assert_eq!(warned, 1, "once, however often it is tried: {said}");
    daemon.signal("KILL");
    drop(daemon);
    net.runtime.block_on(own(&net).restart()).expect("its port is free");
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    wait_published(&mut daemon);
    let expected = ids(&world.accepted());
    assert_holds(own(&net), &expected);
    assert_eq!(stored(&place), expected);
    assert_eq!(daemon.fetch("/healthz").0, 200);
    assert_eq!(most_offered(own(&net)), 1);
    assert_eq!(daemon.stop().status.code(), Some(0));
    assert_eq!(place.run(&["store", "verify"]).code, Some(0));
}

#[test]
fn an_outbox_that_is_full_stops_the_intake_until_the_own_relay_has_taken_some() {
    let (net, world) = world(2);
    net.runtime.block_on(own(&net).stop());
    let place = place(&net, "limits.max_outbox = 5\n");
    let mut daemon = Daemon::start(&place);
    // What comes in one transaction is held as a whole; the next finds no room.
    let status = daemon.wait_status(|status| status["own_relay"]["held"].as_u64() >= Some(5));
    let late = announcement("late", now(), &[net.url(0)]);
    let _ = net.relays[0].publish(late.clone());
    daemon.wait_line(|line| line.contains("intake waits for the own relay"));
    assert_eq!(status["own_relay"]["up"], false);
    daemon.wait_status_with(|daemon, _| daemon.fetch("/healthz").1.contains("5 events or more wait for the own relay"));
    assert_eq!(daemon.metric("grasp_sync_outbox_events"), status["own_relay"]["held"].as_f64());
    daemon
        .wait_status_with(|daemon, _| daemon.metric("grasp_sync_limit_hits_total{limit=\"max_outbox\"}") >= Some(1.0));

    net.runtime.block_on(own(&net).restart()).expect("its port is free");
    daemon.wait_relays(net.urls(), "Connected");
    wait_published(&mut daemon);
    let mut expected = ids(&world.accepted());
    expected.insert(late.id.to_hex());
    daemon.wait_status(|status| status["totals"]["store_events"] == expected.len());
    assert_holds(own(&net), &expected);
    assert_eq!(stored(&place), expected);
    assert_eq!(daemon.fetch("/healthz").0, 200);
    assert_eq!(daemon.stop().status.code(), Some(0));
}

#[test]
fn an_own_relay_that_is_killed_in_the_middle_is_complete_afterwards_and_was_offered_nothing_thrice() {
    let (net, world) = world(3);
    let place = place(&net, "");
    own(&net).set_faults(|faults| {
        faults.drop_after = Some(testkit::relay::DropAfter { frames: 40, times: Some(2) });
    });
    let mut daemon = Daemon::start(&place);
    daemon.wait_status(|_| own(&net).stats().connections_dropped == 2);
    daemon.wait_relays(net.urls(), "Connected");
    wait_published(&mut daemon);
    let expected = ids(&world.accepted());
    assert_holds(own(&net), &expected);
    assert_eq!(stored(&place), expected);
    let offered = own(&net).stats().events_offered;
    assert!(offered.values().all(|times| *times <= 3), "once for each connection at most: {offered:?}");
    assert_eq!(daemon.stop().status.code(), Some(0));
}

#[test]
fn the_own_relay_has_the_last_word() {
    let net = Net::of([Vec::new(), Vec::new()]);
    let (far, own) = (net.url(0).to_owned(), net.url(1).to_owned());
    let events = repo("r", &[far.as_str()]);
    events.iter().for_each(|event| _ = net.relays[0].publish(event.clone()));
    let refuse = |message: &str, accepted| {
        let answer = OkAnswer { accepted, message: message.to_owned() };
        net.relays[1].set_faults(|faults| faults.ok = Some(answer));
    };
    refuse("purgatory: waits for its git data", true);
    let place = daemon_place(&[far.as_str()], &format!("service.own_relay = {own:?}\n"));
    let mut daemon = Daemon::start(&place);
    daemon.wait_status(|_| net.relays[1].stats().events_offered.len() == 1);
    daemon.wait_relays([far.as_str(), &own], "Connected");
    let status = daemon.status();
    assert_eq!((&status["own_relay"]["held"], &status["totals"]["store_events"]), (&1.into(), &0.into()));

    // Its git data arrives: it serves the announcement, and takes what belongs to it.
    net.relays[1].set_faults(|faults| faults.ok = None);
    let _ = net.relays[1].publish(events[0].clone());
    daemon.wait_status(|status| status["totals"]["store_events"] == events.len());
    assert_eq!(most_offered(&net.relays[1]), 1);

    refuse("blocked: not here", false);
    let refused = issue("r", 20, now());
    let _ = net.relays[0].publish(refused.clone());
    daemon.wait_line(|line| line.contains("refuses") && line.contains("blocked: not here"));
    let below = comment(&refused, 1, now());
    let _ = net.relays[0].publish(below.clone());
    wait_published(&mut daemon);

    // Not now is another matter: it is offered again.
    refuse("error: database is locked", false);
    let later = issue("r", 21, now());
    let _ = net.relays[0].publish(later.clone());
    daemon.wait_status(|_| net.relays[1].stats().events_offered.contains_key(&later.id));
    net.relays[1].set_faults(|faults| faults.ok = None);
    daemon.wait_status(|status| status["totals"]["store_events"] == events.len() + 1);
    let offered = net.relays[1].stats().events_offered;
    assert_eq!((offered[&refused.id], offered.get(&below.id), offered[&later.id]), (1, None, 2));
    assert_eq!(stored(&place), ids(events.iter().chain([&later])));
    assert_eq!(daemon.stop().status.code(), Some(0));
}

#[test]
fn switching_between_an_embedded_and_an_external_own_relay_is_a_line_of_config() {
    let (net, world) = world(1);
    let embedded = daemon_place(&[net.url(0)], "");
    let mut daemon = Daemon::start(&embedded);
    daemon.wait_relays([net.url(0)], "Connected");
    assert_eq!(daemon.stop().status.code(), Some(0));
    let expected = ids(&world.accepted());
    assert_eq!(stored(&embedded), expected);

    let config = std::fs::read_to_string(embedded.path().join("grasp-sync.toml")).expect("the file");
    let external = format!("service.own_relay = {:?}\n{config}", own(&net).url().as_str());
    std::fs::write(embedded.path().join("grasp-sync.toml"), &external).expect("written");
    let mut daemon = Daemon::start(&embedded);
    daemon.wait_relays(net.urls(), "Connected");
    wait_published(&mut daemon);
    assert_holds(own(&net), &expected);
    assert_eq!(stored(&embedded), expected);
    assert_eq!(most_offered(own(&net)), 1);
    assert_eq!(daemon.stop().status.code(), Some(0));

    // Back again, with the own relay gone and something held.
    net.runtime.block_on(own(&net).stop());
    let mut daemon = Daemon::start(&embedded);
    let (at, event) = world.live_issue(1, now());
    let _ = net.relays[at].publish(event.clone());
    daemon.wait_status(|status| status["own_relay"]["held"] == 1);
    assert_eq!(daemon.stop().status.code(), Some(0));
    assert_eq!(stored(&embedded), expected);
    std::fs::write(embedded.path().join("grasp-sync.toml"), &config).expect("written");
    let mut daemon = Daemon::start(&embedded);
    daemon.wait_relays([net.url(0)], "Connected");
    let now_here: BTreeSet<String> = expected.iter().cloned().chain([event.id.to_hex()]).collect();
    assert_eq!(stored(&embedded), now_here, "nothing is lost");
    assert_eq!(daemon.stop().status.code(), Some(0));
    assert_eq!(embedded.run(&["store", "verify"]).code, Some(0));
}
