//! Killed again and again within one sync of a long history: the store is sound each time, the end is complete, and
//! what was reconciled is hardly fetched twice.

use std::collections::{BTreeSet, HashMap};
use std::process::Stdio;

use nostr::event::{Event, EventId};
use sync_core::time::Jitter;
use testkit::relay::{Faults, NoNegentropy, RelayStats, TooBig, TooBigWording};

use crate::history_world::{KINDS, complete, history, holds, relay_with, sound};
use crate::net::{Net, ids};
use crate::program::Place;
use crate::sync_command::sync;

/// The moments follow from it.
const SEED: u64 = 20_261_128;
const KILLS: u64 = 20;
const COUNT: usize = 12_000;
/// Few events for each request: there are many moments, and little is on its way at each.
const SMALL_STEPS: &str = "strategy.negentropy.fetch_chunk = 10\nstrategy.req.page_size = 200\n";

/// What was sent since `before`, and isn't in the store: it was on its way.
fn in_flight(before: &HashMap<EventId, u64>, after: &RelayStats, held: &BTreeSet<String>) -> u64 {
    let sent = after.events_sent.iter().filter(|(id, count)| before.get(*id) != Some(*count));
    sent.filter(|(id, _)| !held.contains(&id.to_hex())).count() as u64
}

/// Starts a sync and kills it when the relay has sent `more` EVENT frames; `false` where it ended before that.
fn kill_after(net: &Net, place: &Place, flags: &[&str], more: u64) -> bool {
    let relay = &net.relays[0];
    let (connections, moment) = (relay.stats().connections, relay.stats().events_out() + more);
    let mut command = place.command(&[&["sync", net.url(0)], flags].concat());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    let ended = |stats: &RelayStats| stats.connections > connections && stats.connections_open == 0;
    let reached = relay.wait_for(|stats| stats.events_out() >= moment || ended(stats));
    let waited = net.runtime.block_on(reached);
    child.kill().expect("it runs");
    child.wait().expect("our child");
    let stats = waited.unwrap_or_else(|error| panic!("seed {SEED}: {error}"));
    // What is sent counts until the relay sees that nobody is there.
    net.runtime.block_on(relay.wait_for(|stats| stats.connections_open == 0)).expect("the connection ends");
    stats.events_out() >= moment
}

/// What was sent over all runs.
struct Sent {
    all: u64,
    /// By a run that nobody killed.
    clean: u64,
    /// On its way when a run was killed.
    lost: u64,
}

fn killed_often(events: &[Event], flags: &[&str], set: impl Fn(&mut Faults)) -> Sent {
    let net = relay_with(events, 500, &set);
    let synced = sync(&Place::with_config(SMALL_STEPS), &net, flags);
    complete(&synced);
    let clean = net.relays[0].stats().events_out();

    let net = relay_with(events, 500, &set);
    let (relay, place, all) = (&net.relays[0], Place::with_config(SMALL_STEPS), ids(events));
    let mut numbers = Jitter::new(SEED);
    let (mut lost, mut held) = (0, BTreeSet::new());
    for kill in 0..KILLS {
        let before = relay.stats().events_sent;
        // Spread over the whole sync, and never beyond its end.
        let most = 2 * (all.len() - held.len()) as u64 / (KILLS - kill + 2);
        let more = 1 + numbers.next_u64() % most.max(1);
        assert!(kill_after(&net, &place, flags, more), "seed {SEED}, kill {kill}: nothing is left to kill");
        held = sound(&place);
        assert!(held.is_subset(&all), "seed {SEED}, kill {kill}: it holds what the relay has not");
        let stats = relay.stats();
        let on_the_way = in_flight(&before, &stats, &held);
        lost += on_the_way;
        println!(
            "seed {SEED}, kill {kill}: after {more} events more; {} sent in all, {on_the_way} on the way, {} held",
            stats.events_out(),
            held.len()
        );
    }
    let synced = sync(&place, &net, flags);
    complete(&synced);
    holds(&place, events);
    let all = relay.stats().events_out();
    println!("seed {SEED}: {all} sent over all runs, {clean} by a clean one, {lost} lost on the way");
    Sent { all, clean, lost }
}

#[test]
fn a_reconciled_history_killed_twenty_times_is_whole_and_hardly_anything_comes_twice() {
    let Sent { all, clean, lost } = killed_often(&history(COUNT), &[], |faults| {
        faults.too_big = Some(TooBig { cap: 2_000, wording: TooBigWording::FourthElement });
    });
    assert!(all * 10 <= clean * 13 + lost * 10, "seed {SEED}: {all} sent; a clean run {clean}, lost {lost}");
}

#[test]
fn a_history_read_by_pages_killed_twenty_times_is_whole_and_hardly_anything_comes_twice() {
    let filter = serde_json::json!({ "kinds": KINDS }).to_string();
    let Sent { all, clean, lost } = killed_often(&history(COUNT), &["--filter", &filter], |faults| {
        faults.no_negentropy = Some(NoNegentropy::NoticeDisabled);
    });
    assert!(all * 10 <= clean * 13 + lost * 10, "seed {SEED}: {all} sent; a clean run {clean}, lost {lost}");
}
