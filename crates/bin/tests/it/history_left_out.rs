//! `sync` with relays whose reconciliations leave events out without a word, and with relays that offer what they don't
//! serve.

use testkit::relay::RelayOptions;

use crate::history_world::{complete, degraded, holding, holds, relay_with};
use crate::net::{Net, notes};
use crate::program::Place;
use crate::sync_command::sync;

#[test]
fn a_relay_that_compares_its_newest_events_alone_is_read_whole() {
    let events = notes(3_000);
    let net = relay_with(&events, 500, |faults| faults.truncate_negentropy = Some(500));
    let place = Place::new();
    let synced = sync(&place, &net, &[]);
    complete(&synced);
    holds(&place, &events);
}

#[test]
fn a_relay_that_compares_its_newest_events_alone_is_read_whole_where_those_are_here_already() {
    let events = notes(3_000);
    for have in [500, 1_500] {
        let net = relay_with(&events, 500, |faults| faults.truncate_negentropy = Some(500));
        let place = holding(&events[events.len() - have..]);
        let synced = sync(&place, &net, &[]);
        complete(&synced);
        assert_eq!(synced.only()["stored"], events.len() - have, "{:#}", synced.only());
        holds(&place, &events);
    }
}

#[test]
fn a_responder_that_forgets_events_where_a_frame_is_cut_hides_none() {
    let events = notes(6_000);
    for have in [0, 2] {
        let mut net = Net::of([]);
        net.add(RelayOptions { events: events.clone(), frame_limit: 4_096, ..RelayOptions::default() });
        net.relays[0].set_faults(|faults| faults.old_negentropy = true);
        // Nothing, or every second event.
        let here = events.iter().enumerate().filter(|(place, _)| have > 0 && place % have == 0);
        let place = holding(here.map(|(_, event)| event));
        let synced = sync(&place, &net, &[]);
        complete(&synced);
        holds(&place, &events);
    }
}

#[test]
fn events_that_are_offered_and_withheld_are_counted_and_one_is_named() {
    let events = notes(1_000);
    let withheld = [&events[3], &events[500], &events[997]];
    let net = relay_with(&events, 500, |faults| faults.withheld = withheld.iter().map(|event| event.id).collect());
    let place = Place::new();
    let synced = sync(&place, &net, &[]);
    degraded(&synced, &["3 offered events"]);
    let reason = synced.only()["reason"].as_str().unwrap_or_default();
    assert!(withheld.iter().any(|event| reason.contains(&event.id.to_hex())), "{reason}");
    holds(&place, events.iter().filter(|event| !withheld.contains(event)));
}
