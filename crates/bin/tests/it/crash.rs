//! Killed at any moment of a sync: the store is sound, and the next run completes.

use std::process::Stdio;
use std::time::Duration;

use nostr::event::Event;
use sync_core::time::Jitter;
use testkit::relay::RelayStats;
use testkit::world::WorldSpec;

use crate::daemon::Daemon;
use crate::net::{Net, daemon_place, ids, notes, stored};
use crate::program::Place;
use crate::sync_command::sync;

/// The moments follow from it.
const SEED: u64 = 20_260_731;
const KILLS: usize = 5;
/// Few events for each request, so that there are many moments.
const SMALL_STEPS: &str = "strategy.negentropy.fetch_chunk = 10\n";

/// Sound, and nothing in it that no relay had; how much there is.
fn check(place: &Place, all: &[Event]) -> usize {
    let verify = place.run(&["store", "verify"]);
    if verify.stderr.contains("no store") {
        return 0;
    }
    assert_eq!((verify.code, verify.stderr.as_str()), (Some(0), ""), "{verify:?}");
    let held = stored(place);
    assert!(held.is_subset(&ids(all)));
    held.len()
}

#[test]
fn sync_killed_at_any_moment_leaves_a_sound_store_that_the_next_one_completes() {
    let events = notes(5_000);
    let net = Net::of([events.clone()]);
    let mut numbers = Jitter::new(SEED);
    let place = Place::with_config(SMALL_STEPS);
    for kill in 0..KILLS {
        let mut command = place.command(&["sync", net.url(0)]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
        // By what the relay was asked, not by the clock: a busy machine is as good as a quick one. A request follows
        // on an answer, but for the first few.
        let moment = net.relays[0].stats().received("REQ") + numbers.next_u64() % 60;
        let waited = net.runtime.block_on(net.relays[0].wait_for(|stats| stats.received("REQ") > moment));
        child.kill().expect("it runs");
        let ended = child.wait().expect("our child");
        waited.unwrap_or_else(|error| panic!("seed {SEED}, kill {kill}: {error}"));
        let held = check(&place, &events);
        println!("seed {SEED}, kill {kill}: after {moment} requests, {held} held, {ended}");
    }
    let before = stored(&place).len();
    let synced = sync(&place, &net, &[]);
    assert_eq!(synced.code(), Some(0), "seed {SEED}: {synced:#?}");
    assert_eq!(synced.only()["stored"], events.len() - before, "what was kept isn't fetched again");
    assert_eq!(check(&place, &events), events.len());
}

#[test]
fn the_daemon_killed_at_any_moment_leaves_a_sound_store_that_the_next_one_completes() {
    let (net, world) =
        Net::world(3, WorldSpec { repos: 40, roots_per_repo: 8, replies_per_root: 8, ..WorldSpec::default() });
    let place = daemon_place(&[net.url(0)], SMALL_STEPS);
    let mut numbers = Jitter::new(SEED);
    for kill in 0..KILLS {
        let mut daemon = Daemon::start(&place);
        let (at, more) = (numbers.next_u64() as usize % 3, numbers.next_u64() % 60);
        let moment = net.relays[at].stats().received("REQ") + more;
        // Where little is missing there are few requests: then any moment will do.
        let within = Duration::from_secs(1);
        let asked = |stats: &RelayStats| stats.received("REQ") > moment;
        let hit = net.runtime.block_on(net.relays[at].wait_for_within(within, asked));
        daemon.signal("KILL");
        let said = daemon.said();
        drop(daemon);
        assert!(!said.contains("panicked"), "{said}");
        let held = check(&place, &world.events());
        println!("seed {SEED}, kill {kill}: relay {at} at {moment} ({}), {held} held", hit.is_ok());
    }
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(stored(&place), ids(&world.accepted()), "seed {SEED}");
    assert_eq!(daemon.stop().status.code(), Some(0));
    check(&place, &world.events());
}
