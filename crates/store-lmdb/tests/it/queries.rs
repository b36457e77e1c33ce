//! Filters give what a naive reading of NIP-01 gives.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

use nostr::event::{Event, Kind};
use nostr::filter::{Filter, SingleLetterTag};
use nostr::types::Timestamp;
use proptest::prelude::*;
use sync_core::store::EventStore;

use crate::support::{NOW, any_time, author, event, filter, id, ids, notes, open, query, small, submit};

/// Regular kinds, of which every event stays.
const KINDS: [u16; 3] = [1, 2, 4];

/// Few values, so that events share them; one too long to stand in a key, one that is packed.
fn value(number: u8) -> String {
    match number {
        0 => "x".to_owned(),
        1 => "long".repeat(200),
        2 => id(1).to_hex(),
        3 => String::new(),
        number => format!("v{number}"),
    }
}

prop_compose! {
    fn worlds()(parts in proptest::collection::vec(
        (0u8..4, 0..KINDS.len(), 0u64..8, proptest::collection::vec((prop_oneof![Just('t'), Just('E')], 0u8..5), 0..3)), 0..60,
    )) -> Vec<Event> {
        parts.into_iter().enumerate().map(|(number, (by, kind, second, tags))| {
            let tags: Vec<[String; 2]> =
                tags.into_iter().map(|(letter, number)| [letter.to_string(), value(number)]).collect();
            let tags: Vec<Vec<&str>> = tags.iter().map(|tag| tag.iter().map(String::as_str).collect()).collect();
            let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
            event(number as u64, by, KINDS[kind], 1000 + second, &tags)
        }).collect()
    }
}

prop_compose! {
    fn filters()(
        ids in proptest::option::weighted(0.15, proptest::collection::btree_set(0u64..60, 0..12)),
        authors in proptest::option::weighted(0.4, proptest::collection::btree_set(0u8..4, 0..3)),
        kinds in proptest::option::weighted(0.4, proptest::collection::btree_set(0..KINDS.len(), 0..3)),
        tags in proptest::collection::btree_map(
            prop_oneof![Just('t'), Just('E')], proptest::collection::btree_set(0u8..5, 0..4), 0..2),
        since in proptest::option::weighted(0.3, 999u64..1009),
        until in proptest::option::weighted(0.3, 999u64..1009),
        limit in proptest::option::weighted(0.5, 0usize..20),
    ) -> Filter {
        let mut filter = Filter::new();
        filter.ids = ids.map(|set| set.into_iter().map(id).collect());
        filter.authors = authors.map(|set| set.into_iter().map(author).collect());
        filter.kinds = kinds.map(|set| set.into_iter().map(|kind| Kind::from_u16(KINDS[kind])).collect());
        filter.generic_tags = tags.into_iter().map(|(letter, values)| {
            (SingleLetterTag::from_char(letter).expect("a letter"), values.into_iter().map(value).collect())
        }).collect();
        filter.since = since.map(Timestamp::from_secs);
        filter.until = until.map(Timestamp::from_secs);
        filter.limit = limit;
        filter
    }
}

/// NIP-01 by scanning; an empty set matches nothing.
fn naive_match(filter: &Filter, event: &Event) -> bool {
    let empty = |len: Option<usize>| len == Some(0);
    !empty(filter.ids.as_ref().map(BTreeSet::len))
        && !empty(filter.authors.as_ref().map(BTreeSet::len))
        && !empty(filter.kinds.as_ref().map(BTreeSet::len))
        && filter.match_event(event, nostr::filter::MatchEventOptions::new())
}

fn naive(events: &[Event], filters: &[Filter]) -> Vec<Event> {
    let mut sorted = events.to_vec();
    sorted.sort_by_key(|event| (Reverse(event.created_at), event.id));
    let mut told = BTreeSet::new();
    for filter in filters {
        let matching = sorted.iter().filter(|event| naive_match(filter, event));
        told.extend(matching.take(filter.limit.unwrap_or(usize::MAX)).map(|event| event.id));
    }
    sorted.retain(|event| told.contains(&event.id));
    sorted
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_filters_give_what_a_scan_gives(
        events in worlds(),
        queries in proptest::collection::vec(proptest::collection::vec(filters(), 1..4), 12),
    ) {
        let (_dir, store) = open(small());
        submit(&store, events.clone()).expect("stored");
        for filters in queries {
            prop_assert_eq!(ids(&query(&store, &filters, NOW)), ids(&naive(&events, &filters)), "{:?}", filters);
        }
    }
}

#[test]
fn pages_join_without_gap_or_repeat() {
    let (_dir, store) = open(small());
    // Three thousand in one second, and as many spread out: several pages either way.
    let dense = (0..3000).map(|number| event(number, (number % 5) as u8, 1, 5_000, &[]));
    let spread = (3000..6000).map(|number| event(number, (number % 5) as u8, 2, number, &[]));
    let events: Vec<Event> = dense.chain(spread).collect();
    submit(&store, events.clone()).expect("stored");
    for json in ["{}", r#"{"kinds":[1,2]}"#, r#"{"kinds":[1,2,3],"limit":2500}"#, r#"{"search":"CONTENT of 1"}"#] {
        let filters = [filter(json)];
        assert_eq!(ids(&query(&store, &filters, NOW)), ids(&naive(&events, &filters)), "{json}");
    }
    let two = [filter(r#"{"kinds":[2],"limit":1500}"#), filter(r#"{"since":4990,"limit":2000}"#)];
    assert_eq!(ids(&query(&store, &two, NOW)), ids(&naive(&events, &two)));
}

#[test]
fn a_visitor_that_has_enough_is_not_called_again() {
    let (_dir, store) = open(small());
    submit(&store, notes(0..200)).expect("stored");
    let mut seen = 0;
    let visit = &mut |_| {
        seen += 1;
        if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    store.query(&[Filter::new()], NOW, visit).expect("reads");
    assert_eq!(seen, 3);
}

#[test]
fn the_ends_of_time_are_in_reach() {
    let (_dir, store) = open(any_time());
    let events =
        vec![event(1, 1, 1, 0, &[]), event(2, 1, 1, u64::from(u32::MAX) + 7, &[]), event(3, 1, 1, u64::MAX, &[])];
    submit(&store, events).expect("stored");
    assert_eq!(ids(&query(&store, &[Filter::new()], NOW)), [id(3), id(2), id(1)]);
    assert_eq!(ids(&query(&store, &[filter(r#"{"until":0}"#)], NOW)), [id(1)]);
    assert_eq!(ids(&query(&store, &[filter(r#"{"since":4294967296,"until":4294967400}"#)], NOW)), [id(2)]);
}
