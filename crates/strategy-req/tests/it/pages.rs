//! Every event of the window is asked for, whatever the cap, the order and the way that pages end.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;
use sync_core::nostr::filter::Filter;
use sync_core::nostr::types::Timestamp;
use sync_core::strategy::{Direction, ItemKey, SessionOutcome, VecSet, Window};

use crate::harness::{Asked, End, Order, Relay, START, Sent, covers, drive, id_of, ids, item, open, request};

/// How many events lie in each second.
fn seconds(events: &[ItemKey]) -> BTreeMap<u64, usize> {
    let mut seconds = BTreeMap::new();
    for event in events {
        *seconds.entry(event.created_at).or_default() += 1;
    }
    seconds
}

fn relay(most_in_a_second: usize, orders: Vec<Order>) -> impl Strategy<Value = Relay> {
    let gaps = prop::collection::vec((1..40u64, 1..=most_in_a_second), 0..60);
    let ends = prop::sample::select(vec![End::Eose, End::EoseTwice, End::Closed, End::Hint]);
    (gaps, 2..40usize, prop::sample::select(orders), ends).prop_map(|(gaps, cap, order, end)| {
        let (mut at, mut number, mut events) = (0, 0, Vec::new());
        for (gap, count) in gaps {
            at += gap;
            for _ in 0..count {
                number += 1;
                events.push(item(at, number));
            }
        }
        Relay { events, cap, order, end }
    })
}

const ORDERS: [Order; 3] = [Order::NewestFirst, Order::Shuffled, Order::OldestFirst];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(384))]

    #[test]
    fn everything_is_delivered_where_no_second_is_dense(
        mut relay in relay(6, ORDERS.to_vec()),
        page_size in 2..60usize,
        cap_told in any::<bool>(),
        ours in prop::collection::vec(any::<bool>(), 64),
        only_ours in prop::collection::vec(0..2_500u64, 0..20),
    ) {
        let densest = seconds(&relay.events).values().copied().max().unwrap_or(0);
        relay.cap = relay.cap.max(densest + 1);
        let page_size = page_size.max(densest + 1);
        let mut asked = request(Direction::Both);
        asked.profile.max_limit = cap_told.then_some(relay.cap);

        let only_ours: Vec<_> = only_ours.iter().zip(1_000_000..).map(|(at, number)| item(*at, number)).collect();
        let shared = relay.events.iter().zip(ours.iter().cycle()).filter(|(_, ours)| **ours).map(|(event, _)| *event);
        let local: VecSet = shared.chain(only_ours.iter().copied()).collect();

        let window = asked.window;
        let mut session = open(json!({ "page_size": page_size }), asked);
        let told = drive(&mut *session, &local, |asked| relay.answer(asked));
        prop_assert_eq!(told.outcome, Some(SessionOutcome::Complete));
        prop_assert_eq!(&told.delivered, &ids(&relay.events));
        prop_assert_eq!(told.haves, ids(&only_ours));
        prop_assert!(covers(told.drained.clone(), window), "{:?}", told.drained);
    }

    #[test]
    fn everything_is_delivered_but_what_dense_seconds_hold(
        mut relay in relay(12, ORDERS.to_vec()),
        page_size in 2..60usize,
        cap_told in any::<bool>(),
    ) {
        // A relay that shows one second only gives nothing to tell an untold cap by.
        relay.events.extend([item(5_000, 1_000_001), item(5_001, 1_000_002)]);
        let most = relay.cap.min(page_size);
        let mut asked = request(Direction::Down);
        asked.profile.max_limit = cap_told.then_some(relay.cap);
        let window = asked.window;
        let mut session = open(json!({ "page_size": page_size }), asked);
        let told = drive(&mut *session, &VecSet::default(), |asked| relay.answer(asked));
        let seconds = seconds(&relay.events);
        let missing = |at: u64| relay.events.iter().any(|e| e.created_at == at && !told.delivered.contains(&id_of(e)));
        prop_assert_eq!(told.outcome, Some(SessionOutcome::Complete));
        for (second, shown) in &told.dense {
            // What may have been cut by a cap that was never seen holds as many as a relay is believed to show at least.
            let least = if told.unsure.contains(second) { 10 } else { most };
            prop_assert!(seconds[second] >= least, "second {} is not dense", second);
            prop_assert!(*shown as usize <= seconds[second]);
        }
        // What isn't dense is delivered whatever became of the others, and what is drained was shown.
        for (second, count) in &seconds {
            prop_assert!(*count >= most || !missing(*second), "second {}", second);
            prop_assert!(!missing(*second) || told.dense.contains_key(second), "second {}", second);
        }
        let dense = told.dense.keys().map(|second| Window { since: *second, until: *second });
        prop_assert!(covers(told.drained.iter().copied().chain(dense).collect(), window), "{:?}", told.drained);
    }
}

fn run(relay: &Relay, request: sync_core::strategy::SessionRequest) -> crate::harness::Told {
    drive(&mut *open(json!({}), request), &VecSet::default(), |asked| relay.answer(asked))
}

#[test]
fn an_answer_of_nothing_takes_one_page() {
    let told = run(&Relay::new(vec![], 500), request(Direction::Down));
    assert_eq!((told.pages, told.outcome), (1, Some(SessionOutcome::Complete)));
    assert_eq!(told.drained, vec![Window { since: 0, until: 2_000_000_000 }]);
}

#[test]
fn one_event_takes_two_pages_and_one_with_the_hint() {
    let mut relay = Relay::new(vec![item(5, 1)], 500);
    let told = run(&relay, request(Direction::Down));
    assert_eq!((told.pages, told.items, told.outcome), (2, 1, Some(SessionOutcome::Complete)));
    relay.end = End::Hint;
    assert_eq!(run(&relay, request(Direction::Down)).pages, 1);
}

#[test]
fn a_page_is_no_larger_than_the_relay_says() {
    let mut asked = request(Direction::Down);
    asked.profile.max_limit = Some(20);
    let mut limits = Vec::new();
    drive(&mut *open(json!({}), asked), &VecSet::default(), |asked: Asked| {
        limits.push(asked.limit);
        vec![Sent::Eose(None)]
    });
    assert_eq!(limits, vec![20]);
}

#[test]
fn a_dense_second_is_named_and_what_is_older_is_read() {
    let mut events: Vec<_> = (0..700).map(|n| item(1_000, n)).collect();
    events.push(item(2_000, 800));
    events.extend((0..300).map(|n| item(n, 900 + n)));
    for cap in [500, 100, 37] {
        let told = run(&Relay::new(events.clone(), cap), request(Direction::Down));
        assert_eq!((told.dense, told.outcome), (BTreeMap::from([(1_000, cap as u64)]), Some(SessionOutcome::Complete)));
        assert_eq!(told.delivered.len(), 301 + cap);
        let dense = Window { since: 1_000, until: 1_000 };
        assert!(covers([told.drained, vec![dense]].concat(), request(Direction::Down).window));
    }
}

#[test]
fn a_second_alone_that_looks_cut_is_not_called_complete() {
    let events: Vec<_> = (0..150).map(|n| item(1_000, n)).collect();
    let told = run(&Relay::new(events.clone(), 100), request(Direction::Down));
    assert_eq!((told.dense, told.outcome), (BTreeMap::from([(1_000, 100)]), Some(SessionOutcome::Complete)));
    let mut asked = request(Direction::Down);
    asked.profile.max_limit = Some(500);
    let told = run(&Relay::new(events, 500), asked);
    assert_eq!((told.delivered.len(), told.outcome), (150, Some(SessionOutcome::Complete)));
}

#[test]
fn a_second_alone_that_is_as_large_as_pages_were_cut_before_is_named() {
    let mut events: Vec<_> = (0..150).map(|n| item(1_000, n)).collect();
    events.extend((0..300).map(|n| item(n, 900 + n)));
    let told = |remembered: &[u8], cap: usize, window: Window| {
        let mut asked = request(Direction::Down);
        // It says that it shows as many as are asked for.
        (asked.profile.max_limit, asked.remembered, asked.window) = (Some(500), remembered.to_vec(), window);
        run(&Relay::new(events.clone(), cap), asked)
    };
    let (all, second) = (request(Direction::Down).window, Window { since: 1_000, until: 1_000 });
    let whole = told(&[], 40, all);
    assert_eq!(whole.dense, BTreeMap::from([(1_000, 40)]));
    let remembered = whole.remembered.expect("where pages are cut");
    let alone = told(&remembered, 40, second);
    assert_eq!((alone.dense, alone.drained, alone.remembered), (BTreeMap::from([(1_000, 40)]), vec![], None));
    // It shows more now: what was seen before counts for nothing.
    let larger = told(&remembered, 500, second);
    assert_eq!((larger.delivered.len(), larger.remembered), (150, Some(vec![])));
}

#[test]
fn what_was_drained_is_not_read_again() {
    let relay = Relay::new((0..100).map(|n| item(n, n)).collect(), 30);
    let mut asked = request(Direction::Down);
    asked.drained = vec![Window { since: 20, until: 69 }, Window { since: 90, until: 1_999_999_999 }];
    let told = run(&relay, asked);
    let expected: Vec<_> =
        relay.events.iter().filter(|e| e.created_at < 20 || (70..90).contains(&e.created_at)).copied().collect();
    assert_eq!((told.delivered, told.outcome), (ids(&expected), Some(SessionOutcome::Complete)));
    assert!(covers(
        [told.drained, vec![Window { since: 20, until: 69 }, Window { since: 90, until: 1_999_999_999 }]].concat(),
        request(Direction::Down).window
    ));
}

#[test]
fn the_bounds_of_the_filter_hold() {
    let relay = Relay::new((0..100).map(|n| item(n, n)).collect(), 30);
    let mut asked = request(Direction::Down);
    asked.filter = Filter::new().since(Timestamp::from_secs(10)).until(Timestamp::from_secs(50));
    let told = run(&relay, asked.clone());
    assert_eq!(told.delivered, ids(&relay.events[10..=50]));
    assert!(covers(told.drained, asked.window));
    asked.window = Window { since: 60, until: 70 };
    let told = run(&relay, asked.clone());
    assert_eq!((told.pages, told.drained, told.outcome), (0, vec![asked.window], Some(SessionOutcome::Complete)));
}

#[test]
fn an_open_window_is_drained_up_to_the_start() {
    let relay = Relay::new(vec![item(5, 1), item(START.unix_s + 600, 2)], 500);
    let mut asked = request(Direction::Down);
    asked.window = Window::ALL;
    let told = run(&relay, asked);
    assert_eq!((told.delivered.len(), told.outcome), (2, Some(SessionOutcome::Complete)));
    assert!(covers(told.drained, Window { since: 0, until: START.unix_s }));
}

#[test]
fn what_the_relay_lacks_is_offered_at_the_end_only() {
    let local: VecSet = (0..2_500).map(|n| item(n, n)).collect();
    let relay = Relay::new((0..2_500).filter(|n| n % 2 == 0).map(|n| item(n, n)).collect(), 500);
    let mut asked = request(Direction::Up);
    asked.drained = vec![Window { since: 0, until: 1_000 }];
    let told = drive(&mut *open(json!({}), asked), &local, |asked| relay.answer(asked));
    assert_eq!((told.haves.len(), told.outcome), (1_250, Some(SessionOutcome::Complete)));
}

#[test]
fn what_was_asked_for_by_its_id_is_looked_for_until_it_has_come() {
    let events = vec![item(10, 1), item(20, 2), item(30, 3)];
    let relay = Relay::new(events.clone(), 2);
    let named = |more: Option<ItemKey>| {
        let mut asked = request(Direction::Down);
        asked.filter = Filter::new().ids(events.iter().copied().chain(more).map(|event| id_of(&event)));
        let mut session = open(json!({}), asked);
        drive(&mut *session, &VecSet::default(), |asked| relay.answer(asked))
    };
    let told = named(None);
    assert_eq!((told.delivered, told.pages), (ids(&events), 2), "the second page brings the last of them");
    assert!(covers(told.drained, Window { since: 0, until: 2_000_000_000 }));
    let told = named(Some(item(40, 4)));
    assert_eq!((told.delivered, told.outcome), (ids(&events), Some(SessionOutcome::Complete)));
    assert!(told.pages > 2, "one is not here");
}
