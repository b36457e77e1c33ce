//! `sync` of a long history with relays that reconcile only so many records at once: in windows, and each event once.

use nostr::event::Event;
use serde_json::json;
use testkit::relay::{TooBig, TooBigWording};

use crate::history_world::{KINDS, SECOND, WHOLE, complete, history, holds, relay_with};
use crate::net::Net;
use crate::program::Place;
use crate::sync_command::{Synced, sync};

/// What a relay shows of a REQ.
const PAGE: usize = 500;

fn capped(events: &[Event], cap: u64, wording: TooBigWording) -> Net {
    relay_with(events, PAGE, |faults| faults.too_big = Some(TooBig { cap, wording }))
}

/// Complete by reconciliation alone, in windows, and of a hundred events at most `twice` came twice.
fn by_windows(synced: &Synced, net: &Net, count: usize, twice: u64) {
    complete(synced);
    let line = synced.only();
    assert_eq!((&line["strategy"], &line["fallbacks"]), (&json!("negentropy"), &json!([])), "{line:#}");
    assert_eq!(line["stored"], count, "{line:#}");
    assert!(line["windows"].as_u64() > Some(1), "{line:#}");
    let sent = net.relays[0].stats().events_out();
    assert!(sent * 100 <= count as u64 * (100 + twice), "{sent} EVENT frames for {count} events: {line:#}");
}

#[test]
fn a_history_beyond_the_cap_is_reconciled_in_windows_and_comes_once() {
    let events = history(WHOLE);
    let net = capped(&events, 5_000, TooBigWording::FourthElement);
    let place = Place::new();
    let synced = sync(&place, &net, &[]);
    by_windows(&synced, &net, WHOLE, 5);
    holds(&place, &events);
    let opened = net.relays[0].stats().neg_opens.len();
    // Which of the windows in flight ends first says how long the next are: some 90 on an idle machine.
    assert!(opened < 150, "{opened} reconciliations for {WHOLE} events, 5,000 at once");
}

#[test]
fn a_cap_that_is_told_in_other_words_or_not_at_all_is_found() {
    let events = history(4_000);
    for wording in [TooBigWording::Bare, TooBigWording::Prose] {
        let net = capped(&events, 700, wording);
        let place = Place::new();
        let synced = sync(&place, &net, &[]);
        // A look for what was left out may end in the second, and shows up to 400 events of it again.
        by_windows(&synced, &net, events.len(), 20);
        holds(&place, &events);
    }
}

#[test]
fn a_second_beyond_the_cap_is_reconciled_by_the_kinds_that_are_asked_for() {
    let events = history(4_000);
    let net = capped(&events, 100, TooBigWording::FourthElement);
    let place = Place::new();
    let filter = json!({ "kinds": KINDS }).to_string();
    let synced = sync(&place, &net, &["--filter", &filter]);
    // Where the cap is so small, what each share is asked for its end counts.
    by_windows(&synced, &net, events.len(), 40);
    holds(&place, &events);
}

#[test]
fn a_second_beyond_the_cap_is_read_where_nothing_narrower_can_be_asked() {
    let events = history(4_000);
    let net = capped(&events, 300, TooBigWording::FourthElement);
    let place = Place::new();
    let synced = sync(&place, &net, &[]);
    complete(&synced);
    let line = synced.only();
    assert_eq!(line["strategy"], "negentropy,req", "{line:#}");
    holds(&place, &events);
    let reads = net.relays[0].stats().reqs.into_iter().flat_map(|request| request.filters);
    let paged = reads.filter(|filter| filter.ids.is_none() && filter.limit == Some(PAGE));
    let elsewhere: Vec<_> = paged
        .filter(|filter| [filter.since, filter.until].iter().any(|at| at.map(|at| at.as_secs()) != Some(SECOND)))
        .collect();
    assert!(elsewhere.is_empty(), "no other second is read by pages: {elsewhere:#?}");
}
