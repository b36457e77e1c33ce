//! NIP-09.

use super::*;

fn archive() -> MemoryStore {
    MemoryStore::new(None, IntakeConfig::default())
}

#[test]
fn an_author_deletes_own_events_before_and_after_they_come() {
    let note = event::<&str>(1, -9, 1, []);
    let request = deletion(1, -8, &[&note]);
    for order in [[&note, &request], [&request, &note]] {
        let store = archive();
        for event in order {
            take(&store, event);
        }
        assert_eq!(store.events(), std::slice::from_ref(&request));
        assert_eq!(take(&store, &note), rejected(RejectReason::Deleted));
    }
}

#[test]
fn nobody_deletes_the_events_of_others() {
    let note = event::<&str>(1, -9, 1, []);
    let theirs = deletion(2, -8, &[&note]);
    for order in [[&note, &theirs], [&theirs, &note]] {
        let store = archive();
        for event in order {
            assert_eq!(take(&store, event), IntakeOutcome::Stored);
        }
    }
    let store = archive();
    let page = event(1, -9, 30_023, [vec!["d", "x"]]);
    take(&store, &deletion_of_address(2, -8, 30_023, 1, "x"));
    assert_eq!(take(&store, &page), IntakeOutcome::Stored);
}

#[test]
fn deletions_can_t_be_deleted() {
    let store = archive();
    let note = event::<&str>(1, -9, 1, []);
    let request = deletion(1, -8, &[&note]);
    for event in [&request, &deletion(1, -7, &[&request])] {
        assert_eq!(take(&store, event), IntakeOutcome::Stored);
    }
    assert_eq!(store.event_count(), Ok(2));
    assert_eq!(take(&store, &note), rejected(RejectReason::Deleted));
}

#[test]
fn an_address_is_deleted_up_to_the_time_of_the_deletion() {
    let version = |at| event(1, at, 30_023, [vec!["d", "x"]]);
    let (old, same, new) = (version(-9), version(-8), version(-7));
    let request = deletion_of_address(1, -8, 30_023, 1, "x");
    let store = archive();
    take(&store, &old);
    take(&store, &request);
    assert_eq!(store.events(), std::slice::from_ref(&request));
    assert_eq!(take(&store, &same), rejected(RejectReason::Deleted));
    assert_eq!(take(&store, &new), IntakeOutcome::Stored);
    take(&store, &request);
    assert_eq!(ids(&store.events()), ids([&request, &new]));
}

#[test]
fn a_deleted_version_keeps_older_ones_out_in_any_order() {
    let (old, new) = (announcement(1, -9, "r", true, &[]), announcement(1, -8, "r", true, &[]));
    let request = deletion(1, -7, &[&new]);
    for order in [[&old, &new, &request], [&request, &old, &new], [&new, &request, &old]] {
        let store = archive();
        for event in order {
            take(&store, event);
        }
        assert_eq!(store.events(), std::slice::from_ref(&request));
    }
}

#[test]
fn deleting_an_announcement_withdraws_the_repository_and_its_maintainers() {
    for by_address in [false, true] {
        let store = service();
        let (root, two) = (announcement(1, -9, "r", true, &[2]), announcement(2, -9, "r", false, &[]));
        take(&store, &two);
        take(&store, &root);
        let request = if by_address {
            deletion_of_address(1, -8, kinds::ANNOUNCEMENT, 1, "r")
        } else {
            deletion(1, -8, &[&root])
        };
        assert_eq!(take(&store, &request), IntakeOutcome::Stored);
        assert_eq!(told(&store), ids([&request]));
        assert_eq!(take(&store, &root), rejected(RejectReason::Deleted));
        assert_eq!(take(&store, &two), NOT_YET);
    }
}

#[test]
fn a_waiting_deletion_takes_effect_as_soon_as_it_is_related() {
    let store = service();
    let root = issue(5, -8, &repo(1, "r"));
    let request = deletion(5, -7, &[&root]);
    assert_eq!(take(&store, &request), ORPHAN);
    take(&store, &announcement(1, -9, "r", true, &[]));
    assert_eq!(take(&store, &root), rejected(RejectReason::Deleted));
    assert!(told(&store).contains(&request.id) && !told(&store).contains(&root.id));
}

#[test]
fn a_deletion_reaches_what_waits() {
    let store = service();
    let (waiting, related) = (issue(5, -8, &repo(2, "x")), issue(5, -8, &repo(1, "r")));
    take(&store, &announcement(1, -9, "r", true, &[]));
    take(&store, &related);
    take(&store, &waiting);
    take(&store, &deletion(5, -7, &[&related, &waiting]));
    assert_eq!(take(&store, &waiting), rejected(RejectReason::Deleted));
    assert_eq!(store.rejected_count(), Ok((0, 2)));
}
