//! What is accepted for what it tags or is tagged by, and what waits for that.

use super::*;
use std::ops::ControlFlow;
use sync_core::intake::MAX_DEPENDENCIES;
use sync_core::store::LocalSets;
use sync_core::strategy::{KeyRange, Window};

#[test]
fn what_tags_an_accepted_repository_is_accepted() {
    let store = service();
    take(&store, &announcement(1, -9, "r", true, &[]));
    for name in ["a", "A", "q"] {
        let event = event(5, -8, 1, [vec![name.to_owned(), repo(1, "r").to_string()]]);
        assert_eq!(take(&store, &event), IntakeOutcome::Stored, "{name}");
    }
    assert_eq!(take(&store, &issue(5, -8, &repo(1, "other"))), ORPHAN);
    assert_eq!(take(&store, &event(5, -8, 1, [vec!["p".to_owned(), repo(1, "r").to_string()]])), ORPHAN);
}

#[test]
fn what_tags_an_accepted_event_is_accepted() {
    let store = service();
    let root = issue(5, -8, &repo(1, "r"));
    take(&store, &announcement(1, -9, "r", true, &[]));
    take(&store, &root);
    for name in ["e", "E", "q"] {
        assert_eq!(take(&store, &tagging(6, -7, name, &root)), IntakeOutcome::Stored, "{name}");
    }
}

#[test]
fn what_an_accepted_event_names_is_accepted_before_and_after() {
    let (early, late) = (event::<&str>(6, -9, 1, []), event::<&str>(7, -9, 1, []));
    let store = service();
    take(&store, &announcement(1, -9, "r", true, &[]));
    assert_eq!(take(&store, &early), ORPHAN);
    let tags = [("a", repo(1, "r").to_string()), ("q", early.id.to_hex()), ("e", late.id.to_hex())];
    let quote = event(5, -8, 1, tags.map(|(name, value)| vec![name.to_owned(), value]));
    assert_eq!(take(&store, &quote), IntakeOutcome::Stored);
    assert_eq!(take(&store, &late), IntakeOutcome::Stored);
    assert!(told(&store).is_superset(&ids([&early, &late, &quote])));
}

#[test]
fn a_state_needs_a_maintainer_whatever_else_it_tags() {
    let store = service();
    let tags = |d: &str| vec![vec!["d".to_owned(), d.to_owned()], vec!["a".to_owned(), repo(1, "r").to_string()]];
    let (stranger, owner) = (event(5, -8, kinds::STATE, tags("r")), event(1, -8, kinds::STATE, tags("r")));
    assert_eq!(take(&store, &stranger), NOT_YET);
    assert_eq!(take(&store, &owner), NOT_YET);
    let root = announcement(1, -9, "r", true, &[]);
    take(&store, &root);
    assert_eq!(told(&store), ids([&root, &owner]));
}

#[test]
fn everything_that_waits_is_accepted_in_one_step_however_long_the_chain() {
    let store = service();
    let mut chain = vec![issue(5, -8, &repo(1, "r"))];
    for n in 1..3000 {
        chain.push(tagging(6, n % 7, "e", &chain[chain.len() - 1]));
    }
    for event in chain.iter().rev() {
        assert_eq!(take(&store, event), ORPHAN);
    }
    take(&store, &announcement(1, -9, "r", true, &[]));
    assert_eq!(told(&store).len(), chain.len() + 1);
    assert_eq!(store.rejected_count(), Ok((0, 0)));
}

#[test]
fn a_crowd_that_waits_for_one_event_is_accepted_whole() {
    let store = service();
    let root = issue(5, -8, &repo(1, "r"));
    for n in 0..2500 {
        take(&store, &tagging(6, -n, "e", &root));
    }
    take(&store, &root);
    take(&store, &announcement(1, -9, "r", true, &[]));
    assert_eq!(told(&store).len(), 2502);
}

#[test]
fn a_waiting_event_without_a_body_is_released() {
    let store = service();
    let root = issue(5, -8, &repo(1, "r"));
    take(&store, &root);
    let later = NOW + IntakeConfig::default().hot_s;
    store.sweep(later, 100).expect("room");
    assert_eq!(take_at(&store, &root, later), ORPHAN);
    take_at(&store, &announcement(1, -9, "r", true, &[]), later);
    assert!(store.rejected()[0].wanted.is_some());
    assert_eq!(take_at(&store, &root, later), IntakeOutcome::Stored);
    assert!(store.rejected().is_empty());
}

#[test]
fn thousands_of_tags_wait_for_a_bounded_number_and_still_relate_by_any() {
    let store = service();
    let mut tags: Vec<Vec<String>> = (0..5000u32).map(|n| vec!["e".to_owned(), format!("{n:064x}")]).collect();
    let unrelated = event(5, -8, 1, tags.clone());
    assert_eq!(take(&store, &unrelated), ORPHAN);
    assert_eq!(store.rejected()[0].waits_for.len(), MAX_DEPENDENCIES + 1);
    take(&store, &announcement(1, -9, "r", true, &[]));
    tags.push(vec!["a".to_owned(), repo(1, "r").to_string()]);
    assert_eq!(take(&store, &event(5, -8, 1, tags)), IntakeOutcome::Stored);
}

#[test]
fn the_local_set_holds_what_is_stored_and_what_this_relay_offered_in_vain() {
    let store = service();
    let (root, waiting) = (announcement(1, -9, "r", true, &[]), issue(5, -8, &repo(2, "x")));
    take(&store, &root);
    take(&store, &waiting);
    let items = |filter: &str, relay: &RelayUrl| {
        let filter = serde_json::from_str(filter).expect("a filter");
        let mut items = Vec::new();
        store.view(&filter, Window::ALL, relay).items(KeyRange::ALL, &mut |item| {
            items.push(EventId::from_byte_array(item.id));
            ControlFlow::Continue(())
        });
        items
    };
    assert_eq!(items("{}", &relay(1)), [root.id, waiting.id]);
    assert_eq!(items("{}", &relay(2)), [root.id]);
    assert_eq!(items(&format!(r##"{{"#a":["{}"]}}"##, repo(2, "x")), &relay(1)), [waiting.id]);
    assert_eq!(items(r##"{"kinds":[1],"#a":["x"]}"##, &relay(1)), []);
    let known = store.known(&[root.id, waiting.id, EventId::from_byte_array([9; 32])]).expect("readable");
    let stored: Vec<_> = known.iter().map(|known| known.map(|known| known.stored)).collect();
    assert_eq!(stored, [Some(true), Some(false), None]);
}
