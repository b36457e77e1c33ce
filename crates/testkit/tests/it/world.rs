//! Generated worlds are the same every time, and hold what they say.

use std::collections::{BTreeMap, BTreeSet};

use nostr::event::Event;
use sync_core::model::RelayUrl;
use testkit::world::{BulkSpec, World, WorldSpec, accepted, bulk_events, from_jsonl, to_jsonl};

const DOMAIN: &str = "git.example.com";

fn relays(count: usize) -> Vec<RelayUrl> {
    (0..count).map(|n| RelayUrl::parse(&format!("ws://127.0.0.1:{}", 7000 + n)).expect("a URL")).collect()
}

fn world(spec: WorldSpec) -> World {
    World::generate(spec, &relays(5), DOMAIN)
}

#[test]
fn the_same_seed_makes_the_same_bytes() {
    let make = |seed| to_jsonl(&world(WorldSpec { seed, ..WorldSpec::default() }).events());
    assert_eq!(make(3), make(3));
    assert_ne!(make(3), make(4));
}

#[test]
fn every_event_is_valid_and_within_its_time() {
    let world = world(WorldSpec::default());
    let time = world.spec().start..=world.spec().end();
    for event in world.events() {
        event.verify().expect("valid");
        assert!(time.contains(&event.created_at.as_secs()));
    }
}

#[test]
fn a_world_holds_every_kind_of_event_and_of_trouble() {
    let world = world(WorldSpec::default());
    let kinds: BTreeSet<u16> = world.events().iter().map(|event| event.kind.as_u16()).collect();
    let expected = [1, 5, 7, 1111, 1617, 1618, 1619, 1621, 1622, 1630, 1631, 1632, 1633, 10317, 30617, 30618];
    assert_eq!(kinds, BTreeSet::from(expected));
    let accepted = world.accepted_ids();
    let kept_out = |kind| {
        world.events().iter().filter(|event| event.kind.as_u16() == kind && !accepted.contains(&event.id)).count()
    };
    // Three older versions, two withdrawn repositories by two, two impostors, four unlisted, one deleted.
    assert_eq!(kept_out(30617), 3 + 4 + 2 + 4 + 1);
    // Two elsewhere, and two older ones.
    assert_eq!(kept_out(10317), 6);
    // Two impostors', four of unlisted repositories, one orphan.
    assert_eq!(kept_out(30618), 2 + 4 + 1);
    assert_eq!(kept_out(5), 0);
    // Of a fresh repository each: a state by the owner, and by the maintainers of the chains.
    let states = world.accepted().iter().filter(|event| event.kind.as_u16() == 30618).count();
    assert_eq!(states, 12 + 2 * 3);
}

#[test]
fn what_is_accepted_needs_nothing_that_is_not() {
    for seed in 0..5 {
        let world = world(WorldSpec { seed, unreachable: 3, ..WorldSpec::default() });
        let once = world.accepted();
        assert_eq!(accepted(&once, DOMAIN, world.spec().end()), once, "seed {seed}");
        assert!(once.len() > 200 && once.len() < world.events().len(), "seed {seed}: {}", once.len());
    }
}

#[test]
fn another_service_accepts_nothing_of_it() {
    let world = world(WorldSpec::default());
    assert_eq!(accepted(&world.events(), "example.com", world.spec().end()), []);
    assert_eq!(accepted(&world.events(), "GIT.example.com", world.spec().end()), world.accepted());
}

#[test]
fn everything_accepted_is_found_from_the_first_relay() {
    for (seed, hops, superseded) in [(1, 1, 0), (2, 2, 3), (3, 3, 5), (4, 4, 12)] {
        let world = world(WorldSpec { seed, hops, superseded, trap_relays: 1, ..WorldSpec::default() });
        assert_eq!(world.reachable(&[0]), world.accepted(), "seed {seed}");
    }
}

#[test]
fn deeper_relays_are_listed_by_their_parents_only() {
    let relays = relays(5);
    let world = world(WorldSpec { hops: 4, superseded: 0, ..WorldSpec::default() });
    let accepted = world.accepted_ids();
    let lists = |held: &[Event], relay: &RelayUrl| {
        held.iter().filter(|event| event.kind.as_u16() == 30617 && accepted.contains(&event.id)).any(|event| {
            let tags = event.tags.iter().filter(|tag| tag.kind() == "relays");
            tags.flat_map(|tag| tag.as_slice()).any(|url| *url == relay.to_string())
        })
    };
    for (relay, url) in relays.iter().enumerate().skip(1) {
        for holder in 0..relay {
            assert_eq!(lists(&world.events_for(holder), url), holder + 1 == relay, "{holder} lists {relay}");
        }
    }
}

#[test]
fn unreachable_events_are_accepted_and_not_found() {
    let world = world(WorldSpec { unreachable: 4, ..WorldSpec::default() });
    let (accepted, reachable) = (world.accepted(), world.reachable(&[0]));
    assert_eq!(accepted.len(), reachable.len() + 8);
    assert!(reachable.iter().all(|event| accepted.contains(event)));
}

#[test]
fn traps_are_listed_by_nothing_that_is_accepted() {
    let world = world(WorldSpec { trap_relays: 2, ..WorldSpec::default() });
    let accepted = world.accepted();
    for trap in 3..5 {
        let held = world.events_for(trap);
        assert!(!held.is_empty() && held.iter().all(|event| !accepted.contains(event)), "trap {trap}");
        let url = relays(5)[trap].to_string();
        assert!(accepted.iter().all(|event| !to_jsonl([event]).contains(&url)));
    }
}

#[test]
fn live_issues_are_accepted_where_they_are_published() {
    let world = world(WorldSpec::default());
    let mut events = world.events();
    let live: BTreeMap<_, _> = (0..30)
        .map(|n| world.live_issue(n, world.spec().end() + n))
        .map(|(relay, event)| {
            assert!(relay < 5);
            (event.id, event)
        })
        .collect();
    assert_eq!(live.len(), 30);
    events.extend(live.into_values());
    assert_eq!(accepted(&events, DOMAIN, world.spec().end()).len(), world.accepted().len() + 30);
}

#[test]
fn bulk_events_are_valid_sized_and_the_same_every_time() {
    let spec = BulkSpec { count: 301, per_second: 10, ..BulkSpec::default() };
    let events = bulk_events(&spec);
    assert_eq!(events, bulk_events(&spec));
    assert_eq!(events.len(), 301);
    assert!(
        events.iter().all(|event| event.verify().is_ok() && event.as_json().len() == 600),
        "{}",
        events[0].as_json().len()
    );
    assert_eq!(events[300].created_at.as_secs(), spec.start + 30);
}

#[test]
fn events_survive_as_json_lines() {
    let events = bulk_events(&BulkSpec { count: 3, ..BulkSpec::default() });
    assert_eq!(from_jsonl(to_jsonl(&events).as_bytes()).expect("reads"), events);
    let error = from_jsonl("\n{}\n".as_bytes()).expect_err("no event");
    assert!(error.to_string().starts_with("line 2 is no event"), "{error}");
}
