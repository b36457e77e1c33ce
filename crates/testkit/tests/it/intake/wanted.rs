//! What waited for something that arrived too late for its body: it is wanted again, from the relays that offered it.

use super::*;
use nostr::filter::Filter;
use sync_core::store::{KnownEvent, LocalSets};
use sync_core::strategy::{KeyRange, Window};

/// When bodies are gone.
const LATER: u64 = NOW + 120;

/// What the feed tells is wanted, with the relays.
fn wanted(store: &MemoryStore) -> Vec<(EventId, Vec<RelayUrl>)> {
    let page = store.feed(0, usize::MAX).expect("the feed");
    let wanted = page.entries.into_iter().filter_map(|entry| match entry.change {
        FeedChange::Wanted { id, relays } => Some((id, relays)),
        _ => None,
    });
    wanted.collect()
}

/// The announcement of a maintainer, deferred, its body gone; then the announcement that names him.
fn let_go() -> (MemoryStore, Event, Event) {
    let store = service();
    let maintainer = announcement(2, -9, "r", false, &[]);
    assert_eq!(take(&store, &maintainer), NOT_YET);
    store.take(&maintainer, Some(&relay(2)), NOW).expect("room");
    store.sweep(LATER, 10).expect("room");
    let root = announcement(1, -8, "r", true, &[2]);
    assert_eq!(take_at(&store, &root, LATER), IntakeOutcome::Stored);
    (store, maintainer, root)
}

fn known(store: &MemoryStore, event: &Event) -> Option<KnownEvent> {
    store.known(&[event.id]).expect("readable")[0]
}

#[test]
fn its_id_is_unknown_and_the_feed_names_who_offered_it() {
    let (store, maintainer, root) = let_go();
    assert_eq!(told(&store), ids([&root]));
    assert_eq!(wanted(&store), [(maintainer.id, vec![relay(1), relay(2)])]);
    assert_eq!(known(&store, &maintainer), None);
    let view = store.view(&Filter::new(), Window::ALL, &relay(1));
    assert_eq!(view.count(KeyRange::ALL), 1, "reconciling shows it as missing");
}

#[test]
fn it_is_told_until_it_is_here() {
    let (store, maintainer, root) = let_go();
    assert_eq!(take_at(&store, &maintainer, LATER), IntakeOutcome::Stored);
    assert_eq!(told(&store), ids([&root, &maintainer]));
    assert_eq!((wanted(&store), store.rejected_count()), (vec![], Ok((0, 0))));
}

#[test]
fn it_is_told_once_however_often_it_is_named() {
    let (store, maintainer, _) = let_go();
    take_at(&store, &announcement(3, -7, "r", true, &[2]), LATER);
    assert_eq!(wanted(&store).len(), 1);
    assert_eq!(known(&store, &maintainer), None);
}

#[test]
fn a_newer_version_or_a_deletion_ends_it() {
    let (store, maintainer, _) = let_go();
    take_at(&store, &announcement(2, -1, "r", false, &[]), LATER);
    assert_eq!(wanted(&store), []);
    assert_eq!(take_at(&store, &maintainer, LATER), rejected(RejectReason::Superseded));

    let (store, maintainer, _) = let_go();
    take_at(
        &store,
        &event(
            2,
            -1,
            kinds::DELETION,
            [vec!["e".to_owned(), maintainer.id.to_hex()], vec!["a".to_owned(), repo(1, "r").to_string()]],
        ),
        LATER,
    );
    assert_eq!(wanted(&store), []);
    assert_eq!(take_at(&store, &maintainer, LATER), rejected(RejectReason::Deleted));
}

#[test]
fn it_ends_with_its_row() {
    let (store, ..) = let_go();
    store.sweep(NOW + IntakeConfig::default().cold_s, 10).expect("room");
    assert_eq!((wanted(&store), store.rejected_count()), (vec![], Ok((0, 0))));
}

#[test]
fn orphans_and_states_are_wanted_too() {
    let store = service();
    let waiting = [issue(5, -8, &repo(1, "r")), state(1, -8, "r")];
    for event in &waiting {
        take(&store, event);
    }
    store.sweep(LATER, 10).expect("room");
    take_at(&store, &announcement(1, -9, "r", true, &[]), LATER);
    let told: BTreeSet<EventId> = wanted(&store).into_iter().map(|(id, _)| id).collect();
    assert_eq!(told, ids(&waiting));
}

#[test]
fn what_nobody_offered_is_only_forgotten() {
    let store = service();
    let waiting = issue(5, -8, &repo(1, "r"));
    store.take(&waiting, None, NOW).expect("room");
    store.sweep(LATER, 10).expect("room");
    take_at(&store, &announcement(1, -9, "r", true, &[]), LATER);
    assert_eq!((wanted(&store), known(&store, &waiting)), (vec![], None));
}
