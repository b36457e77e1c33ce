//! `sync` of long histories with several relays, and in both directions.

use serde_json::json;
use testkit::relay::{TooBig, TooBigWording};

use crate::history_world::{complete, holding, holds, relay_with};
use crate::net::{Net, ids, notes};
use crate::program::Place;
use crate::sync_command::{Synced, sync};

#[test]
fn both_sides_end_with_everything_in_windows_and_a_dry_run_counts_it_before() {
    let events = notes(4_000);
    let of =
        |rest: usize| events.iter().enumerate().filter(move |(place, _)| place % 2 == rest).map(|(_, event)| event);
    let theirs: Vec<_> = of(1).cloned().collect();
    let net = relay_with(&theirs, 500, |faults| {
        faults.too_big = Some(TooBig { cap: 500, wording: TooBigWording::FourthElement });
    });
    let place = holding(of(0));
    let both = ["--direction", "both"];

    let compared = sync(&place, &net, &[&both[..], &["--dry-run"]].concat());
    complete(&compared);
    let line = compared.only();
    assert_eq!((&line["need"], &line["have"]), (&json!(2_000), &json!(2_000)), "{line:#}");
    assert_eq!((&line["stored"], &line["uploaded"]), (&json!(0), &json!(0)), "{line:#}");
    assert_eq!((net.relays[0].stats().events_out(), net.relays[0].events().len()), (0, 2_000));
    holds(&place, of(0));

    let synced = sync(&place, &net, &both);
    complete(&synced);
    let line = synced.only();
    assert_eq!((&line["need"], &line["have"]), (&json!(2_000), &json!(2_000)), "{line:#}");
    assert_eq!((&line["stored"], &line["uploaded"]), (&json!(2_000), &json!(2_000)), "{line:#}");
    assert_eq!((&line["upload_refused"], &line["strategy"]), (&json!({}), &json!("negentropy")), "{line:#}");
    assert!(line["windows"].as_u64() > Some(1), "{line:#}");
    holds(&place, &events);
    assert_eq!(ids(&net.relays[0].events()), ids(&events));
}

/// All complete, and at most `most` EVENT frames came from all of them together.
fn shared(synced: &Synced, net: &Net, most: u64) {
    let whole = synced.relays.iter().all(|line| line["status"] == "complete");
    assert_eq!((synced.code(), whole), (Some(0), true), "{synced:#?}");
    let sent: Vec<u64> = net.relays.iter().map(|relay| relay.stats().events_out()).collect();
    assert!(sent.iter().sum::<u64>() <= most, "{sent:?}");
}

#[test]
fn what_two_relays_hold_comes_from_one_of_them() {
    let events = notes(3_000);
    let net = Net::of(vec![events.clone(); 2]);
    let place = Place::new();
    let synced = sync(&place, &net, &[]);
    shared(&synced, &net, 3_600);
    holds(&place, &events);
}

#[test]
fn what_twenty_relays_list_comes_once() {
    let events = notes(300);
    let net = Net::of(vec![events.clone(); 20]);
    let place = Place::new();
    let synced = sync(&place, &net, &[]);
    shared(&synced, &net, 450);
    holds(&place, &events);
}
