//! A local set gives what a vector of the matching events gives.

use std::ops::ControlFlow;

use nostr::event::Event;
use proptest::prelude::*;
use store_lmdb::{LmdbStore, Options};
use sync_core::admission::{AdmissionConfig, AdmissionPolicy};
use sync_core::model::RelayUrl;
use sync_core::store::{EventStore, IntakeOutcome, LocalSets};
use sync_core::strategy::{ItemKey, KeyRange, SetView, VecSet, Window};

use crate::support::{NOW, assert_sound, event, filter, offer, open, small, submit};

const FILTERS: [&str; 6] = [
    "{}",
    r#"{"kinds":[1]}"#,
    r##"{"#t":["a","b"]}"##,
    r##"{"kinds":[1,2],"#t":["a"]}"##,
    r#"{"authors":["0101010101010101010101010101010101010101010101010101010101010101"]}"#,
    r#"{"kinds":[9]}"#,
];

fn worlds() -> impl Strategy<Value = Vec<Event>> {
    let tag = prop_oneof![Just("a"), Just("b"), Just("c")];
    proptest::collection::vec((0u8..3, prop_oneof![Just(1u16), Just(2), Just(4)], 0u64..6, tag), 0..50).prop_map(
        |parts| {
            let parts = parts.into_iter().enumerate();
            parts
                .map(|(at, (by, kind, second, tag))| event(at as u64, by, kind, 100 + second, &[&["t", tag]]))
                .collect()
        },
    )
}

fn items(view: &dyn SetView, range: KeyRange) -> Vec<ItemKey> {
    let mut items = Vec::new();
    view.items(range, &mut |item| {
        items.push(item);
        ControlFlow::Continue(())
    });
    items
}

fn relay() -> RelayUrl {
    RelayUrl::parse("wss://relay.example.com").expect("a relay")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_range_is_that_of_a_vector(
        events in worlds(), which in 0..FILTERS.len(), bounds in any::<[u8; 4]>(), parts in 0usize..9,
        since in 98u64..107, length in 0u64..9,
    ) {
        let (_dir, store) = open(small());
        submit(&store, events.clone()).expect("stored");
        let filter = filter(FILTERS[which]);
        let window = if length == 0 { Window::ALL } else { Window { since, until: since + length - 1 } };
        let model: VecSet = events.iter()
            .filter(|event| filter.match_event(event, nostr::filter::MatchEventOptions::new()))
            .filter(|event| window.contains(event.created_at.as_secs()))
            .map(|event| ItemKey::new(event.created_at.as_secs(), &event.id))
            .collect();
        let view = store.view(&filter, window, &relay());
        let place = |second: u8, id: u8| ItemKey { created_at: 98 + u64::from(second % 10), id: [id; 32] };
        let (a, b) = (place(bounds[0], bounds[1]), place(bounds[2], bounds[3]));
        for range in [KeyRange::ALL, KeyRange { start: a.min(b), end: a.max(b) }] {
            prop_assert_eq!(view.count(range), model.count(range));
            prop_assert_eq!(items(&*view, range), items(&model, range));
            prop_assert_eq!(view.fingerprint(range), model.fingerprint(range));
            prop_assert_eq!(view.split(range, parts), model.split(range, parts));
        }
    }
}

#[test]
fn without_a_policy_what_only_a_policy_kept_out_is_neither_known_nor_shown() {
    let (dir, store) = open(Options { policy: Some(policy()), ..small() });
    let issue = event(1, 1, 1621, NOW - 60, &[&["a", "30617:x:y"]]);
    let list = event(2, 1, 10317, NOW - 50, &[&["g", "wss://elsewhere.example"]]);
    let (old, new) = (event(3, 1, 30618, NOW - 40, &[&["d", "r"]]), event(4, 1, 30618, NOW - 30, &[&["d", "r"]]));
    let all = vec![issue.clone(), list.clone(), new.clone(), old.clone()];
    offer(&store, &relay(), all, NOW).expect("kept out");
    let known = |store: &LmdbStore| -> Vec<bool> {
        let ids = [issue.id, list.id, new.id, old.id];
        store.known(&ids).expect("reads").into_iter().map(|known| known.is_some()).collect()
    };
    let count = |store: &LmdbStore, json: &str| store.view(&filter(json), Window::ALL, &relay()).count(KeyRange::ALL);
    assert_eq!(known(&store), [true; 4]);
    assert_eq!((count(&store, "{}"), count(&store, r#"{"kinds":[1621,10317,30618]}"#)), (4, 4));
    drop(store);

    let store = LmdbStore::open(dir.path(), small()).expect("opens");
    assert_eq!(known(&store), [false, false, false, true], "a superseded version is superseded under any policy");
    assert_eq!((count(&store, "{}"), count(&store, r#"{"kinds":[1621,10317,30618]}"#)), (1, 1));
    let items = items(&*store.view(&filter("{}"), Window::ALL, &relay()), KeyRange::ALL);
    assert_eq!(items, [ItemKey::new(NOW - 40, &old.id)]);
    assert_eq!(submit(&store, vec![issue, list, new]), Ok(vec![IntakeOutcome::Stored; 3]));
    assert_sound(&store);
}

fn policy() -> AdmissionPolicy {
    let config = AdmissionConfig { domains: vec!["git.example.com".to_owned()], ..AdmissionConfig::default() };
    AdmissionPolicy::new(config).expect("a domain")
}

#[test]
fn what_is_stored_is_known() {
    let (_dir, store) = open(small());
    let events = vec![event(1, 1, 1, 100, &[]), event(2, 1, 1, 200, &[])];
    submit(&store, events.clone()).expect("stored");
    let known = store.known(&[events[1].id, crate::support::id(9), events[0].id]).expect("reads");
    let times: Vec<_> = known.iter().map(|known| known.map(|known| (known.created_at, known.stored))).collect();
    assert_eq!(times, [Some((200, true)), None, Some((100, true))]);
    assert_eq!(LocalSets::event(&store, &events[0].id).expect("reads"), Some(events[0].clone()));
    assert_eq!(store.event_count().expect("reads"), 2);
}
