//! Connections that break within a page: the next session asks for less, and for more again once that works.

use serde_json::json;
use sync_core::strategy::{Direction, SessionOutcome, SessionRequest, VecSet, Window};

use crate::harness::{Asked, Relay, START, Sent, Told, covers, drive, ids, item, open, request};

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

/// What is remembered of a relay whose pages are to be this large.
fn pages_of(limit: u8) -> Vec<u8> {
    [&[3, 0, 0, 0, limit][..], &[0; 24]].concat()
}

/// The page size that was asked to be remembered.
fn remembered_limit(told: &Told) -> Option<u32> {
    let bytes = told.remembered.as_ref()?.get(1..5)?;
    bytes.try_into().map(u32::from_be_bytes).ok()
}

fn limits(asks: &[Asked]) -> Vec<usize> {
    asks.iter().map(|asked| asked.limit).collect()
}

#[test]
fn half_of_what_came_is_asked_for_next() {
    let relay = Relay::new((0..300).map(|n| item(n, n)).collect(), 500);
    let (asks, told) = connect(&relay, 41, &[], &[]);
    assert_eq!((limits(&asks), remembered_limit(&told)), (vec![100], Some(21)));
    // Sizes double while pages are whole, until one isn't again.
    let (asks, told) = connect(&relay, 41, &told.drained, &told.remembered.expect("remembered"));
    assert_eq!((limits(&asks), remembered_limit(&told)), (vec![21, 42], Some(20)));
    assert!(covers(told.drained, Window { since: 280, until: 2_000_000_000 }));
}

#[test]
fn a_relay_that_recovers_is_asked_for_whole_pages_again() {
    let relay = Relay::new((0..300).map(|n| item(n, n)).collect(), 500);
    let (asks, told) = connect(&relay, usize::MAX, &[], &pages_of(30));
    assert_eq!(limits(&asks)[..4], [30, 60, 100, 100]);
    assert_eq!((told.remembered, told.outcome), (Some(vec![]), Some(SessionOutcome::Complete)));
    assert_eq!(told.delivered, ids(&relay.events));
}

#[test]
fn what_is_remembered_in_a_way_that_nobody_knows_counts_for_nothing() {
    let relay = Relay::new(vec![], 500);
    for remembered in [&[1, 0, 0, 0, 30][..], &[3, 0, 0], &pages_of(30)[..28]] {
        assert_eq!(limits(&connect(&relay, usize::MAX, &[], remembered).0), [100]);
    }
    assert_eq!(
        limits(&connect(&relay, usize::MAX, &[], &[&[3, 0, 0, 255, 0][..], &[0; 24]].concat()).0),
        [100],
        "never more than configured"
    );
}

#[test]
fn a_second_that_fills_a_small_page_is_asked_for_at_full_size() {
    let relay = dense();
    let (asks, told) = connect(&relay, usize::MAX, &[], &pages_of(5));
    assert_eq!((asks[1].since, asks[1].until, asks[1].limit), (1_000, 1_000, 100));
    assert_eq!(told.outcome, Some(SessionOutcome::Complete));
    assert!(told.dense.is_empty() && told.delivered.len() == 70);
    assert!(covers(told.drained, request(Direction::Down).window));
}

/// 50 events in one second, and some below it.
fn dense() -> Relay {
    let mut events: Vec<_> = (0..50).map(|n| item(1_000, n)).collect();
    events.extend((0..20).map(|n| item(n, 900 + n)));
    Relay::new(events, 500)
}

#[test]
fn a_second_over_which_two_connections_broke_is_named() {
    let relay = dense();
    let (_, told) = connect(&relay, 30, &[], &pages_of(5));
    let remembered = told.remembered.expect("remembered");
    // Other pages went before it: it is tried once more.
    assert_eq!((remembered.len(), &remembered[29..37], remembered[45]), (46, &1_000u64.to_be_bytes()[..], 1));
    let (asks, told) = connect(&relay, 30, &told.drained, &remembered);
    assert!(asks.iter().any(|asked| (asked.since, asked.until, asked.limit) == (1_000, 1_000, 100)));
    let remembered = told.remembered.expect("remembered");
    assert_eq!((&remembered[..5], remembered[45]), (&[3, 0, 0, 0, 5][..], 2));
    let (asks, told) = connect(&relay, 30, &told.drained, &remembered);
    assert!(asks.iter().all(|asked| asked.since < 1_000), "not asked for by itself");
    assert_eq!(told.dense.keys().copied().collect::<Vec<_>>(), [1_000]);
}

#[test]
fn all_of_a_second_is_asked_for_where_nothing_else_is_left() {
    let relay = dense();
    let second = Window { since: 1_000, until: 1_000 };
    let drained = request(Direction::Down).window.without([second]);
    let mut remembered = pages_of(5);
    // A larger page was seen: nothing of this one is left out.
    remembered[8] = 60;
    remembered[9..17].copy_from_slice(&START.unix_s.to_be_bytes());
    let (asks, told) = connect(&relay, 60, &drained, &remembered);
    assert_eq!(limits(&asks), [100]);
    assert!(told.dense.is_empty() && covers(told.drained, second));
    assert_eq!(told.outcome, Some(SessionOutcome::Complete));
    // Where it isn't there, nothing is named.
    let (asks, told) = connect(&Relay::new(vec![], 500), 60, &drained, &pages_of(5));
    assert_eq!((limits(&asks), told.dense.len()), (vec![100], 0));
    assert!(covers(told.drained, second));
}
