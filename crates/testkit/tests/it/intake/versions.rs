//! Which version of an event is kept, and what is remembered of the others.

use super::*;

fn profile(at: i64, name: &str) -> Event {
    event(1, at, 30_023, [vec!["d".to_owned(), "x".to_owned()], vec!["t".to_owned(), name.to_owned()]])
}

fn archive() -> MemoryStore {
    MemoryStore::new(None, IntakeConfig::default())
}

#[test]
fn the_newest_version_wins_in_either_order() {
    let (old, new) = (profile(-9, "old"), profile(-8, "new"));
    let store = archive();
    assert_eq!(take(&store, &old), IntakeOutcome::Stored);
    assert_eq!(take(&store, &new), IntakeOutcome::Stored);
    assert_eq!(take(&store, &old), rejected(RejectReason::Superseded));
    assert_eq!(store.events(), std::slice::from_ref(&new));

    let store = archive();
    assert_eq!(take(&store, &new), IntakeOutcome::Stored);
    assert_eq!(take(&store, &old), rejected(RejectReason::Superseded));
    assert_eq!(store.events(), [new]);
}

#[test]
fn on_a_tie_the_lowest_id_wins() {
    let mut versions = [profile(-9, "a"), profile(-9, "b"), profile(-9, "c")];
    versions.sort_by_key(|event| event.id);
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let store = archive();
        for n in order {
            take(&store, &versions[n]);
        }
        assert_eq!(store.events(), versions[..1]);
    }
}

#[test]
fn other_identifiers_and_authors_are_other_slots() {
    let store = archive();
    let mine = profile(-9, "a");
    let other = event(1, -8, 30_023, [vec!["d", "y"]]);
    let theirs = event(2, -8, 30_023, [vec!["d", "x"]]);
    for event in [&mine, &other, &theirs] {
        assert_eq!(take(&store, event), IntakeOutcome::Stored);
    }
}

#[test]
fn a_superseded_version_counts_as_not_wanted_from_whom_offers_it() {
    let store = archive();
    let (old, new) = (profile(-9, "old"), profile(-8, "new"));
    take(&store, &old);
    take(&store, &new);
    assert!(offered_by(&store, &old).is_empty());
    store.take(&old, Some(&relay(7)), NOW).expect("room");
    assert_eq!(offered_by(&store, &old), [relay(7)]);
}

#[test]
fn relays_that_offer_what_isn_t_wanted_are_remembered_up_to_a_bound() {
    let store = service();
    let note = event::<&str>(1, -9, 1, []);
    for n in 0..40 {
        store.take(&note, Some(&relay(n % 35)), NOW).expect("room");
    }
    let relays = offered_by(&store, &note);
    assert_eq!(relays, (0..32).map(relay).collect::<Vec<_>>());
}

#[test]
fn a_newer_version_that_waits_supersedes_the_accepted_one_and_the_waiting_one() {
    let store = service();
    let root = announcement(1, -9, "r", true, &[]);
    let page = |at, text: &str| {
        let mut tags = vec![vec!["d".to_owned(), "page".to_owned()], vec!["t".to_owned(), text.to_owned()]];
        tags.extend((text == "related").then(|| vec!["a".to_owned(), repo(1, "r").to_string()]));
        event(2, at, 30_023, tags)
    };
    take(&store, &root);
    assert_eq!(take(&store, &page(-9, "related")), IntakeOutcome::Stored);
    assert_eq!(take(&store, &page(-8, "unrelated")), ORPHAN);
    assert_eq!(told(&store), ids([&root]));
    let last = page(-7, "related");
    assert_eq!(take(&store, &last), IntakeOutcome::Stored);
    assert_eq!(take(&store, &page(-8, "unrelated")), rejected(RejectReason::Superseded));
    assert_eq!(told(&store), ids([&root, &last]));
}

#[test]
fn ephemeral_events_are_never_stored() {
    for store in [archive(), service()] {
        let event = event(1, -9, 20_001, [vec!["a".to_owned(), repo(1, "r").to_string()]]);
        assert_eq!(take(&store, &event), rejected(RejectReason::Ephemeral));
        assert!(store.events().is_empty());
    }
}
