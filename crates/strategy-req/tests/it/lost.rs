//! Connections that break within a page: the next session asks for less, and for more again once that works.

use serde_json::json;
use sync_core::strategy::{Direction, SessionOutcome, SessionRequest, VecSet, Window};

use crate::harness::{Asked, Relay, Sent, Told, covers, drive, ids, item, open, request};

/// A relay that breaks the connection once it has sent `frames` frames. What was asked, and what became of it.
fn connect(relay: &Relay, frames: usize, drained: &[Window], remembered: &[u8]) -> (Vec<Asked>, Told) {
    let (drained, remembered) = (drained.to_vec(), remembered.to_vec());
    let request = SessionRequest { drained, remembered, ..request(Direction::Down) };
    let (mut left, mut asks) = (frames, Vec::new());
    let told = drive(&mut *open(json!({ "page_size": 100 }), request), &VecSet::default(), |asked| {
        asks.push(asked);
        let mut sent = relay.answer(asked);
        if sent.len() > left {
            sent.truncate(left);
            sent.push(Sent::Break);
        }
        left = left.saturating_sub(sent.len());
        sent
    });
    (asks, told)
}

fn limits(asks: &[Asked]) -> Vec<usize> {
    asks.iter().map(|asked| asked.limit).collect()
}

#[test]
fn half_of_what_came_is_asked_for_next() {
    let relay = Relay::new((0..300).map(|n| item(n, n)).collect(), 500);
    let (asks, told) = connect(&relay, 41, &[], &[]);
    assert_eq!((limits(&asks), told.remembered.as_deref()), (vec![100], Some(&[1, 0, 0, 0, 21][..])));
    // Sizes double while pages are whole, until one isn't again.
    let (asks, told) = connect(&relay, 41, &told.drained, &told.remembered.expect("remembered"));
    assert_eq!((limits(&asks), told.remembered.as_deref()), (vec![21, 42], Some(&[1, 0, 0, 0, 10][..])));
    assert!(covers(told.drained, Window { since: 280, until: 2_000_000_000 }));
}

#[test]
fn a_relay_that_recovers_is_asked_for_whole_pages_again() {
    let relay = Relay::new((0..300).map(|n| item(n, n)).collect(), 500);
    let (asks, told) = connect(&relay, usize::MAX, &[], &[1, 0, 0, 0, 30]);
    assert_eq!(limits(&asks)[..4], [30, 60, 100, 100]);
    assert_eq!((told.remembered, told.outcome), (Some(vec![]), Some(SessionOutcome::Complete)));
    assert_eq!(told.delivered, ids(&relay.events));
}

#[test]
fn what_is_remembered_in_a_way_that_nobody_knows_counts_for_nothing() {
    let relay = Relay::new(vec![], 500);
    for remembered in [&[9, 0, 0, 0, 30][..], &[1, 0, 0], &[1, 0, 0, 0, 0]] {
        assert_eq!(limits(&connect(&relay, usize::MAX, &[], remembered).0), [100]);
    }
    assert_eq!(limits(&connect(&relay, usize::MAX, &[], &[1, 0, 0, 255, 0]).0), [100], "never more than configured");
}

#[test]
fn a_second_that_fills_a_small_page_is_asked_for_at_full_size() {
    let mut events: Vec<_> = (0..50).map(|n| item(1_000, n)).collect();
    events.extend((0..20).map(|n| item(n, 900 + n)));
    let relay = Relay::new(events, 500);
    let (asks, told) = connect(&relay, usize::MAX, &[], &[1, 0, 0, 0, 5]);
    assert_eq!((asks[1].since, asks[1].until, asks[1].limit), (1_000, 1_000, 100));
    assert_eq!(told.outcome, Some(SessionOutcome::Complete));
    assert!(told.dense.is_empty() && told.delivered.len() == 70);
    assert!(covers(told.drained, request(Direction::Down).window));
}

#[test]
fn a_second_at_which_connections_break_is_named_the_next_time() {
    let mut events: Vec<_> = (0..50).map(|n| item(1_000, n)).collect();
    events.extend((0..20).map(|n| item(n, 900 + n)));
    let relay = Relay::new(events, 500);
    let (_, told) = connect(&relay, 30, &[], &[1, 0, 0, 0, 5]);
    let remembered = told.remembered.expect("remembered");
    assert_eq!((remembered.len(), &remembered[5..]), (13, &1_000u64.to_be_bytes()[..]));
    let (asks, told) = connect(&relay, 30, &told.drained, &remembered);
    assert!(asks.iter().all(|asked| asked.since < 1_000), "not asked for by itself");
    assert_eq!(told.dense.keys().copied().collect::<Vec<_>>(), [1_000]);
}
