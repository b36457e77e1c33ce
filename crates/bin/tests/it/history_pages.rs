//! `sync` of a long history with relays that speak no NIP-77: page by page, and a second that holds more than a page
//! by narrower filters.

use std::collections::BTreeSet;

use nostr::event::Event;
use serde_json::json;
use testkit::relay::{NoNegentropy, TooBig, TooBigWording};

use crate::history_world::{KINDS, SECOND, WHOLE, complete, degraded, history, holds, relay_with, sound};
use crate::net::{Net, ids};
use crate::one_repo::{LONG_AGO, address, issue};
use crate::program::Place;
use crate::sync_command::sync;

fn paged(events: &[Event], page: usize) -> Net {
    relay_with(events, page, |faults| faults.no_negentropy = Some(NoNegentropy::NoticeDisabled))
}

fn the_second() -> String {
    format!("second {SECOND}:")
}

fn kinds() -> String {
    json!({ "kinds": KINDS }).to_string()
}

#[test]
fn a_second_beyond_a_page_is_whole_by_the_kinds_that_are_asked_for() {
    let events = history(WHOLE);
    let net = paged(&events, 500);
    let place = Place::new();
    let synced = sync(&place, &net, &["--filter", &kinds()]);
    complete(&synced);
    let line = synced.only();
    assert_eq!((&line["strategy"], &line["stored"]), (&json!("negentropy,req"), &json!(WHOLE)), "{line:#}");
    holds(&place, &events);
}

/// The second in which all of it lies is named, also when it is asked for again by what is known of it.
fn named_as_dense(net: &Net, repos: &[&str]) {
    let place = Place::new();
    let addresses: Vec<_> = repos.iter().map(|repo| address(repo)).collect();
    let filter = json!({ "#a": addresses }).to_string();
    for _ in 0..3 {
        let synced = sync(&place, net, &["--filter", &filter]);
        degraded(&synced, &[&format!("second {LONG_AGO}:"), "more than 40 events"]);
    }
}

#[test]
fn a_share_of_a_second_that_is_cut_where_pages_are_is_named_though_the_relay_says_it_shows_more() {
    let of = |repo: &str, count: u64| (0..count).map(|n| issue(repo, n, LONG_AGO)).collect::<Vec<_>>();
    let events =
        [of("one", 130), of("two", 130), (0..40).map(|n| issue("one", 1_000 + n, LONG_AGO - 100 - n)).collect()];
    let events = events.concat();
    let net = relay_with(&events, 500, |faults| {
        faults.no_negentropy = Some(NoNegentropy::NoticeDisabled);
        faults.page_cap = Some(40);
    });
    named_as_dense(&net, &["one", "two"]);
}

#[test]
fn a_second_of_which_less_is_shown_than_a_reconciliation_found_too_big_is_named() {
    let mut events: Vec<Event> = (0..150).map(|n| issue("one", n, LONG_AGO)).collect();
    events.extend((0..40).map(|n| issue("one", 1_000 + n, LONG_AGO - 100 - n)));
    let net = relay_with(&events, 500, |faults| {
        faults.too_big = Some(TooBig { cap: 40, wording: TooBigWording::default() });
        faults.page_cap = Some(40);
    });
    named_as_dense(&net, &["one"]);
}

#[test]
fn a_second_beyond_a_page_is_named_where_everything_is_asked_for_and_got_as_far_as_it_can_be() {
    let events = history(WHOLE);
    let net = paged(&events, 500);
    let place = Place::new();
    let synced = sync(&place, &net, &[]);
    degraded(&synced, &[&the_second(), "more than 500 events"]);
    let line = synced.only();
    let open = &line["coverage"][0]["open"];
    assert_eq!(open, &json!([{ "since": SECOND, "until": SECOND }]), "{line:#}");
    // The page that was shown of it has events of every kind, and each kind's share fits on a page.
    holds(&place, &events);
}

#[test]
fn kinds_that_do_not_fit_on_a_page_are_whole_only_by_the_authors_that_are_asked_for() {
    let events = history(4_000);
    let net = paged(&events, 30);
    let by_kinds = Place::new();
    let synced = sync(&by_kinds, &net, &["--filter", &kinds()]);
    degraded(&synced, &[&the_second(), "more than 30 events"]);
    // An author whom no page shows is missed.
    let held = sound(&by_kinds);
    let (within, outside): (Vec<_>, Vec<_>) = events.iter().partition(|event| event.created_at.as_secs() == SECOND);
    assert!(ids(outside).is_subset(&held), "{} held", held.len());
    let (all, here) = (within.len(), ids(within).intersection(&held).count());
    assert!(here * 10 >= all * 9, "{here} of {all} are here of the second");

    let authors: BTreeSet<_> = events.iter().map(|event| event.pubkey.to_hex()).collect();
    let place = Place::new();
    let filter = json!({ "kinds": KINDS, "authors": authors }).to_string();
    let synced = sync(&place, &net, &["--filter", &filter]);
    complete(&synced);
    holds(&place, &events);
}
