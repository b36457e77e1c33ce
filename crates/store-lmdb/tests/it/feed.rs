//! What was stored without a policy is judged when there is one, once, and shown in the feed.

use std::sync::mpsc::channel;

use nostr::event::{Event, EventId};
use store_lmdb::{LmdbStore, Options};
use sync_core::admission::{AdmissionConfig, AdmissionMode, AdmissionPolicy};
use sync_core::model::RelayUrl;
use sync_core::store::{EventStore, FeedChange, LocalSets, StateTable, StateWrite};
use sync_core::strategy::{KeyRange, Window};

use crate::support::{NOW, assert_sound, author, event, filter, id, offer, open, small, submit};

pub(crate) fn judging(domain: &str) -> Options {
    let config =
        AdmissionConfig { domains: vec![domain.to_owned()], mode: AdmissionMode::All, ..AdmissionConfig::default() };
    Options { policy: Some(AdmissionPolicy::new(config).expect("a domain")), ..small() }
}

/// An announcement and an issue on it: whatever the policy's domain, mode `all` accepts both.
fn repository(number: u64, name: &str) -> Vec<Event> {
    let address = format!("30617:{}:{name}", author(1).to_hex());
    vec![event(number + 1, 2, 1621, NOW - 50, &[&["a", &address]]), event(number, 1, 30617, NOW - 100, &[&["d", name]])]
}

fn accepted(store: &LmdbStore) -> Vec<u16> {
    let (mut after, mut kinds) = (0, Vec::new());
    loop {
        let page = store.feed(after, 3).expect("reads");
        for entry in page.entries {
            assert!(entry.seq > after && entry.seq <= page.upto);
            match entry.change {
                FeedChange::Accepted(event) => kinds.push(event.kind.as_u16()),
                FeedChange::Removed { .. } | FeedChange::Wanted { .. } => {}
            }
        }
        if page.upto == page.head {
            return kinds;
        }
        after = page.upto;
    }
}

#[test]
fn the_backlog_is_judged_once_in_order_of_dependency() {
    let (dir, store) = open(small());
    submit(&store, repository(10, "a")).expect("stored");
    submit(&store, repository(20, "b")).expect("stored");
    assert_eq!(store.feed_head(), Ok(0));
    drop(store);

    let store = LmdbStore::open(dir.path(), judging("git.example.com")).expect("opens");
    let (heads, woken) = channel();
    store.on_feed(Box::new(move |head| heads.send(head).is_ok()));
    store.judge_backlog(NOW).expect("judged");
    assert_eq!(woken.try_iter().last(), Some(4));
    let mut kinds = accepted(&store);
    assert_eq!(kinds[0], 30617, "nothing is accepted before a repository is");
    kinds.sort_unstable();
    assert_eq!(kinds, [1621, 1621, 30617, 30617]);
    assert_eq!(store.judge_backlog(NOW), Ok(0), "nothing is left");
    assert_sound(&store);
    drop(store);

    let store = LmdbStore::open(dir.path(), judging("git.example.com")).expect("opens");
    assert_eq!(accepted(&store).len(), 4, "the verdicts stand");
    assert_eq!(store.judge_backlog(NOW), Ok(0), "under the same policy nothing is judged again");
}

#[test]
fn a_changed_policy_voids_the_feed_and_judges_everything_again() {
    let (dir, store) = open(judging("old.example.com"));
    store.judge_backlog(NOW).expect("judged");
    submit(&store, repository(10, "a")).expect("stored");
    store.judge_backlog(NOW).expect("judged");
    let record = |table| StateWrite::new(table, b"wss://relay.example", Some(b"read".to_vec()));
    let rooms = [StateTable::Relay, StateTable::Failed, StateTable::Health, StateTable::Coverage];
    store.write_state(rooms.map(record).into()).expect("written");
    drop(store);
    let store = LmdbStore::open(dir.path(), judging("new.example.com")).expect("opens");
    assert_eq!(accepted(&store), [0u16; 0], "what another policy accepted is not shown");
    let left = rooms.map(|table| store.read_state(table).expect("reads").len());
    assert_eq!(left, [0, 0, 1, 0], "what another policy kept out is asked for again; health stays");
    assert_sound(&store);
    let before = store.feed_head().expect("reads");
    assert!(store.judge_backlog(NOW).expect("judged") > 0);
    assert_eq!(accepted(&store), [30617, 1621]);
    assert!(store.feed_head().expect("reads") > before, "places are never given twice");
    assert_sound(&store);
}

fn wanted(store: &LmdbStore) -> Vec<(EventId, Vec<RelayUrl>)> {
    let entries = store.feed(0, 100).expect("reads").entries.into_iter();
    let wanted = entries.filter_map(|entry| match entry.change {
        FeedChange::Wanted { id, relays } => Some((id, relays)),
        _ => None,
    });
    wanted.collect()
}

#[test]
fn what_was_let_go_of_is_told_until_it_is_here_restarts_or_not() {
    let relay = RelayUrl::parse("wss://relay.example.com").expect("a relay");
    let (dir, store) = open(judging("git.example.com"));
    let [issue, announcement] = repository(10, "a").try_into().expect("two");
    offer(&store, &relay, vec![issue.clone()], NOW).expect("deferred");
    store.maintain(NOW + 120).expect("swept");
    assert_eq!(store.rejected_count(), Ok((0, 1)));
    assert_eq!(store.known(&[issue.id]).expect("reads")[0].map(|known| known.stored), Some(false));
    assert_eq!(store.view(&filter("{}"), Window::ALL, &relay).count(KeyRange::ALL), 1);

    let (heads, woken) = channel();
    store.on_feed(Box::new(move |head| heads.send(head).is_ok()));
    offer(&store, &relay, vec![announcement], NOW + 120).expect("accepted");
    assert_eq!(woken.try_iter().last(), Some(2));
    assert_eq!(store.feed(1, 1).expect("reads").entries.len(), 1, "places are exact");
    assert_eq!(store.feed(2, 1).expect("reads").entries, []);
    assert_sound(&store);
    drop(store);

    let store = LmdbStore::open(dir.path(), judging("git.example.com")).expect("opens");
    assert_eq!(wanted(&store), [(issue.id, vec![relay.clone()])]);
    assert_eq!(store.known(&[issue.id, id(99)]).expect("reads"), [None, None]);
    assert_eq!(store.view(&filter("{}"), Window::ALL, &relay).count(KeyRange::ALL), 1);
    offer(&store, &relay, vec![issue], NOW + 120).expect("accepted");
    assert_eq!((wanted(&store), accepted(&store)), (vec![], vec![30617, 1621]));
    assert_sound(&store);
}

#[test]
fn a_repository_that_expires_while_no_policy_is_at_hand_takes_its_maintainers_along() {
    let config = AdmissionConfig { domains: vec!["git.example.com".to_owned()], ..AdmissionConfig::default() };
    let grasp = || Options { policy: Some(AdmissionPolicy::new(config.clone()).expect("a domain")), ..small() };
    let (dir, store) = open(grasp());
    let (maintainer, expires) = (author(2).to_hex(), (NOW + 5).to_string());
    let tags: [&[&str]; 5] = [
        &["d", "r"],
        &["relays", "wss://git.example.com"],
        &["clone", "https://git.example.com/r.git"],
        &["maintainers", &maintainer],
        &["expiration", &expires],
    ];
    let root = event(1, 1, 30617, NOW - 9, &tags);
    submit(&store, vec![root, event(2, 2, 30617, NOW - 8, &[&["d", "r"]])]).expect("accepted");
    assert_eq!(accepted(&store), [30617, 30617]);
    drop(store);
    let store = LmdbStore::open(dir.path(), small()).expect("opens");
    store.maintain(NOW + 5).expect("swept");
    assert_sound(&store);
    drop(store);
    let store = LmdbStore::open(dir.path(), grasp()).expect("opens");
    store.judge_backlog(NOW + 5).expect("judged");
    assert_eq!(accepted(&store), [0u16; 0]);
    assert_sound(&store);
}
