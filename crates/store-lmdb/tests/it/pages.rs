//! Queries page by page: together the pages are the query, as of a place in the feed, with a word on what was cut.

use nostr::event::EventId;
use nostr::filter::Filter;
use store_lmdb::LmdbStore;
use sync_core::store::{Beyond, EventStore, PageSize, Query};

use crate::support::{NOW, any_time, event, filter, ids, notes, open, query, submit};

/// Everything a query tells, in pages of `events`.
fn told(store: &LmdbStore, query: &mut Query, events: usize) -> Vec<EventId> {
    let mut told = Vec::new();
    while !query.is_finished() {
        let page = store.query_page(query, 0, PageSize { events, bytes: usize::MAX }).expect("reads");
        assert!(page.len() <= events);
        told.extend(ids(&page));
    }
    told
}

/// The same by places only.
fn places(store: &LmdbStore, filters: &[Filter], max: usize, now: u64) -> Vec<EventId> {
    let mut query = Query::new(filters.iter().cloned());
    let mut told = Vec::new();
    while !query.is_finished() {
        let page = store.query_items(&mut query, now, max).expect("reads");
        assert!(page.len() <= max);
        told.extend(page.iter().map(|item| EventId::from_byte_array(item.id)));
    }
    told
}

#[test]
fn pages_of_every_size_add_up() {
    let (_dir, store) = open(any_time());
    submit(&store, notes(0..200)).expect("stored");
    submit(&store, (200..300).map(|n| event(n, 2, 7, 1_000 + n % 50, &[&["t", "x"]])).collect()).expect("stored");
    for filters in [
        vec![filter("{}")],
        vec![filter(r#"{"kinds":[1],"limit":50}"#), filter(r#"{"kinds":[7]}"#)],
        vec![filter(r##"{"#t":["x"],"since":1010}"##), filter(r#"{"until":1020,"limit":7}"#), filter("{}")],
        vec![filter(r#"{"kinds":[]}"#), filter(r#"{"limit":0}"#)],
    ] {
        let whole = ids(&query(&store, &filters, 0));
        for size in [1, 7, 1_000] {
            assert_eq!(told(&store, &mut Query::new(filters.iter().cloned()), size), whole, "{filters:?}");
            assert_eq!(places(&store, &filters, size, 0), whole, "{filters:?}");
        }
    }
}

#[test]
fn bytes_end_a_page_too() {
    let (_dir, store) = open(any_time());
    submit(&store, notes(0..10)).expect("stored");
    let mut query = Query::new([Filter::new()]);
    let page = store.query_page(&mut query, 0, PageSize { events: 1_000, bytes: 1 }).expect("reads");
    assert_eq!((page.len(), query.is_finished()), (1, false));
}

#[test]
fn what_lies_beyond_a_limit_is_known_to_who_asked() {
    let (_dir, store) = open(any_time());
    submit(&store, notes(0..10)).expect("stored");
    for (filters, beyond) in [
        (vec![r#"{"limit":9}"#], Beyond::More),
        (vec![r#"{"limit":10}"#], Beyond::Nothing),
        (vec!["{}"], Beyond::Nothing),
        (vec![r#"{"kinds":[]}"#], Beyond::Nothing),
        (vec![r#"{"limit":0}"#], Beyond::Unknown),
        (vec!["{}", r#"{"limit":3}"#], Beyond::More),
        (vec!["{}", r#"{"limit":0}"#], Beyond::Unknown),
    ] {
        let made = || Query::new(filters.iter().map(|json| filter(json)));
        for size in [1, 1_000] {
            let mut query = made().looking_beyond();
            told(&store, &mut query, size);
            assert_eq!(query.beyond(), beyond, "{filters:?}");
            let mut query = made();
            told(&store, &mut query, size);
            assert_ne!(query.beyond(), Beyond::More, "nobody looked: {filters:?}");
        }
    }
}

#[test]
fn what_is_accepted_later_is_left_out_and_does_not_count() {
    let (_dir, store) = open(crate::feed::judging("git.example.com"));
    let announcement = |number: u64, at: u64| event(number, 1, 30617, at, &[&["d", &number.to_string()]]);
    submit(&store, (0..10).map(|number| announcement(number, NOW - 100 + number)).collect()).expect("stored");
    let place = store.feed_head().expect("reads");
    let before = ids(&query(&store, &[Filter::new()], 0));
    let mut pages = Query::new([filter(r#"{"limit":8}"#)]).as_of(place);
    let first = store.query_page(&mut pages, 0, PageSize { events: 3, bytes: usize::MAX }).expect("reads");
    assert_eq!(ids(&first), before[..3]);
    // Newer than all, between what was told and what is to come, and older than all.
    let later = vec![announcement(20, NOW), announcement(21, NOW - 95), announcement(22, NOW - 200)];
    submit(&store, later).expect("stored");
    assert_eq!(told(&store, &mut pages, 3), before[3..8]);
    assert_eq!(told(&store, &mut Query::new([Filter::new()]).as_of(place), 4), before);
    assert_eq!(told(&store, &mut Query::new([Filter::new()]), 4).len(), 13);
}

#[test]
fn places_leave_out_what_has_expired() {
    let (_dir, store) = open(any_time());
    let expiring = |number: u64, at: u64| event(number, 1, 1, number, &[&["expiration", &at.to_string()]]);
    let events = vec![event(1, 1, 1, 1, &[]), expiring(2, NOW + 10), expiring(3, NOW + 20)];
    submit(&store, events.clone()).expect("stored");
    let newest_first = |numbers: &[usize]| numbers.iter().map(|number| events[number - 1].id).collect::<Vec<_>>();
    for filters in [vec![Filter::new()], vec![filter(r#"{"kinds":[1]}"#)], vec![filter(r#"{"search":"content"}"#)]] {
        assert_eq!(places(&store, &filters, 10, NOW), newest_first(&[3, 2, 1]));
        assert_eq!(places(&store, &filters, 10, NOW + 15), newest_first(&[3, 1]));
        assert_eq!(places(&store, &filters, 10, NOW + 25), newest_first(&[1]));
    }
}

#[test]
fn every_listener_is_told_until_it_has_had_enough() {
    let (_dir, store) = open(crate::feed::judging("git.example.com"));
    let (patient, heard) = std::sync::mpsc::channel();
    let (brief, heard_once) = std::sync::mpsc::channel();
    store.on_feed(Box::new(move |head| patient.send(head).is_ok()));
    store.on_feed(Box::new(move |head| brief.send(head).is_err()));
    for number in 0..3 {
        submit(&store, vec![event(number, 1, 30617, NOW, &[&["d", &number.to_string()]])]).expect("stored");
    }
    store.close().expect("closes");
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(heard_once.try_iter().collect::<Vec<_>>(), [1]);
}
