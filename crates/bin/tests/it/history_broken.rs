//! `sync` of a history with relays that break every connection after 50 frames.

use nostr::event::Event;
use serde_json::json;
use testkit::relay::{DropAfter, Faults, NoNegentropy, TooBig, TooBigWording};

use crate::history_world::{KINDS, SECOND, complete, degraded, history, holds, relay_with, sound};
use crate::net::{Net, ids};
use crate::program::Place;
use crate::sync_command::{Synced, sync};

const COUNT: usize = 2_000;

fn breaking(events: &[Event], set: impl FnOnce(&mut Faults)) -> Net {
    relay_with(events, 500, |faults| {
        faults.drop_after = Some(DropAfter { frames: 50, times: None });
        set(faults);
    })
}

#[test]
fn a_history_is_reconciled_whole_over_connections_that_break() {
    let events = history(COUNT);
    let net =
        breaking(&events, |faults| faults.too_big = Some(TooBig { cap: 1_000, wording: TooBigWording::FourthElement }));
    let place = Place::new();
    let synced = sync(&place, &net, &[]);
    let stats = net.relays[0].stats();
    println!("{} connections, {} EVENT frames; {:#}", stats.connections, stats.events_out(), synced.only());
    complete(&synced);
    assert_eq!(synced.only()["strategy"], "negentropy");
    holds(&place, &events);
}

/// By pages, and kind by kind where that is needed.
fn read(events: &[Event]) -> (Place, Synced) {
    let net = breaking(events, |faults| faults.no_negentropy = Some(NoNegentropy::NoticeDisabled));
    let place = Place::new();
    let filter = json!({ "kinds": KINDS }).to_string();
    let synced = sync(&place, &net, &["--filter", &filter]);
    let stats = net.relays[0].stats();
    println!("{} connections, {} EVENT frames; {:#}", stats.connections, stats.events_out(), synced.only());
    (place, synced)
}

#[test]
fn a_history_is_read_whole_by_pages_over_connections_that_break() {
    // 25 of each kind in that second: they come one kind after the other.
    let events = history(COUNT);
    let (place, synced) = read(&events);
    complete(&synced);
    holds(&place, &events);
}

#[test]
fn what_no_connection_can_show_of_a_history_is_named() {
    // 50 of each kind in that second: no connection lives to the end of them.
    let events = history(2 * COUNT);
    let (place, synced) = read(&events);
    degraded(&synced, &[&format!("second {SECOND}:"), "more than "]);
    let outside: Vec<_> = events.iter().filter(|event| event.created_at.as_secs() != SECOND).collect();
    let held = sound(&place);
    assert!(ids(outside).is_subset(&held), "{} held", held.len());
}
