//! Announcements, their maintainers, grasp lists, and the lists of the operator.

use super::*;
use sync_core::admission::AdmissionMode;

#[test]
fn one_that_lists_the_service_is_accepted_and_its_state() {
    let store = service();
    let (a, s) = (announcement(1, -9, "r", true, &[]), state(1, -8, "r"));
    assert_eq!(take(&store, &a), IntakeOutcome::Stored);
    assert_eq!(take(&store, &s), IntakeOutcome::Stored);
    assert_eq!(take(&store, &a), IntakeOutcome::Duplicate);
    assert_eq!(told(&store), ids([&a, &s]));
}

#[test]
fn one_that_lists_it_elsewhere_waits_to_be_named() {
    let store = service();
    let a = announcement(1, -9, "r", false, &[]);
    assert_eq!(take(&store, &a), NOT_YET);
    assert_eq!(take(&store, &a), NOT_YET);
    assert!(store.events().is_empty() && told(&store).is_empty());
}

#[test]
fn without_a_domain_nothing_could_ever_name_it() {
    let store = store_with(AdmissionConfig::default());
    assert_eq!(take(&store, &announcement(1, -9, "r", true, &[])), rejected(RejectReason::NotListed));
}

#[test]
fn mode_all_accepts_every_announcement() {
    let store = store_with(AdmissionConfig { mode: AdmissionMode::All, ..AdmissionConfig::default() });
    let a = announcement(1, -9, "r", false, &[]);
    assert_eq!(take(&store, &a), IntakeOutcome::Stored);
    assert_eq!(told(&store), ids([&a]));
}

#[test]
fn lists_come_first_and_deny_before_allow() {
    let config = AdmissionConfig {
        allow: vec![author_entry(1), author_entry(2), "03".repeat(32).parse().expect("an entry")],
        deny: vec![author_entry(2), ListEntry::Repo(repo(3, "bad"))],
        ..policy()
    };
    let store = store_with(config);
    let note = event::<&str>(1, -9, 1, []);
    assert_eq!(take(&store, &note), IntakeOutcome::Stored);
    assert_eq!(take(&store, &announcement(2, -9, "r", true, &[])), rejected(RejectReason::Denied));
    assert_eq!(take(&store, &announcement(3, -9, "bad", true, &[])), rejected(RejectReason::Denied));
    assert_eq!(take(&store, &state(3, -9, "bad")), rejected(RejectReason::Denied));
    assert_eq!(take(&store, &announcement(3, -9, "good", false, &[])), IntakeOutcome::Stored);
}

#[test]
fn a_denied_author_isn_t_let_in_by_being_named() {
    let store = store_with(AdmissionConfig { deny: vec![author_entry(2)], ..policy() });
    let root = announcement(1, -9, "r", true, &[2]);
    take(&store, &announcement(2, -9, "r", false, &[3]));
    take(&store, &announcement(3, -9, "r", false, &[]));
    take(&store, &root);
    assert_eq!(told(&store), ids([&root]));
}

#[test]
fn a_chain_of_maintainers_is_accepted_when_its_root_arrives() {
    let store = service();
    let chain: Vec<Event> = (2..8).map(|n| announcement(n, -9, "r", false, &[n + 1])).collect();
    let last_state = state(8, -5, "r");
    for event in chain.iter().chain([&last_state]) {
        assert_eq!(take(&store, event), NOT_YET);
    }
    let (root, other) = (announcement(1, -9, "r", true, &[2]), announcement(9, -9, "other", true, &[2]));
    assert_eq!(take(&store, &other), IntakeOutcome::Stored);
    assert_eq!(told(&store), ids([&other]));
    assert_eq!(take(&store, &root), IntakeOutcome::Stored);
    assert_eq!(told(&store), ids(chain.iter().chain([&root, &other, &last_state])));
    assert!(store.rejected().is_empty());
}

#[test]
fn a_maintainer_arriving_late_is_accepted_at_once() {
    let store = service();
    let (root, maintainer) = (announcement(1, -9, "r", true, &[2]), announcement(2, -9, "r", false, &[1]));
    take(&store, &root);
    assert_eq!(take(&store, &state(2, -9, "r")), IntakeOutcome::Stored);
    assert_eq!(take(&store, &maintainer), IntakeOutcome::Stored);
    assert_eq!(take(&store, &announcement(3, -9, "r", false, &[1])), NOT_YET);
}

#[test]
fn a_newer_version_that_doesn_t_qualify_withdraws_the_repository() {
    let store = service();
    let (old, new) = (announcement(1, -9, "r", true, &[]), announcement(1, -8, "r", false, &[]));
    take(&store, &old);
    assert_eq!(take(&store, &new), NOT_YET);
    assert!(told(&store).is_empty() && store.events().is_empty());
    let page = store.feed(0, 10).expect("the feed");
    let removed = FeedChange::Removed { id: old.id, kind: kinds::ANNOUNCEMENT, address: Some(repo(1, "r")) };
    assert_eq!(page.entries.iter().map(|entry| &entry.change).collect::<Vec<_>>(), [&removed]);
    assert_eq!(take(&store, &old), rejected(RejectReason::Superseded));
}

#[test]
fn maintainers_no_longer_named_are_withdrawn_and_return_when_named_again() {
    let store = service();
    let (two, three) = (announcement(2, -9, "r", false, &[3]), announcement(3, -9, "r", false, &[2]));
    let versions = [&[2u8] as &[u8], &[], &[3]].map(|named| announcement(1, named.len() as i64, "r", true, named));
    let first = announcement(1, -9, "r", true, &[2]);
    for event in [&two, &three, &first] {
        take(&store, event);
    }
    assert_eq!(told(&store), ids([&two, &three, &first]));
    let without = announcement(1, -8, "r", true, &[]);
    take(&store, &without);
    assert_eq!(told(&store), ids([&without]));
    take(&store, &versions[2]);
    assert_eq!(told(&store), ids([&two, &three, &versions[2]]));
}

#[test]
fn a_version_that_changes_nothing_in_the_group_disturbs_nobody() {
    let store = service();
    let (root, maintainer) = (announcement(1, -9, "r", true, &[2]), announcement(2, -9, "r", false, &[1]));
    take(&store, &root);
    take(&store, &maintainer);
    let head = store.feed_head().expect("the feed");
    let newer = announcement(1, -8, "r", true, &[2]);
    take(&store, &newer);
    assert_eq!(told(&store), ids([&newer, &maintainer]));
    assert_eq!(store.feed_head(), Ok(head + 2), "one removed, one accepted");
}

#[test]
fn maintainers_who_only_name_each_other_hold_nothing_up() {
    let store = service();
    let (root, two) = (announcement(1, -9, "r", true, &[2]), announcement(2, -9, "r", false, &[1]));
    take(&store, &root);
    take(&store, &two);
    take(&store, &announcement(1, -8, "r", false, &[2]));
    assert!(told(&store).is_empty());
}

#[test]
fn a_row_whose_body_is_gone_is_released_to_be_fetched_again() {
    let store = service();
    let (two, s) = (announcement(2, -9, "r", false, &[]), state(2, -9, "r"));
    take(&store, &two);
    take(&store, &s);
    let later = NOW + IntakeConfig::default().hot_s;
    store.sweep(later, 100).expect("room");
    assert_eq!(store.rejected_count(), Ok((0, 2)));
    take_at(&store, &announcement(1, -9, "r", true, &[2]), later);
    assert!(store.rejected().iter().all(|row| row.wanted.is_some() && row.waits_for.is_empty()));
    assert_eq!(take_at(&store, &two, later), IntakeOutcome::Stored);
    assert_eq!(take_at(&store, &s, later), IntakeOutcome::Stored);
    assert_eq!(store.rejected_count(), Ok((0, 0)));
}

#[test]
fn a_crowd_of_waiting_strangers_doesn_t_hide_a_maintainer() {
    let store = service();
    let maintainer = announcement(2, -9, "r", false, &[]);
    take(&store, &maintainer);
    let strangers: Vec<Event> = (3..250).map(|n| announcement(n, -9, "r", false, &[2])).collect();
    for stranger in &strangers {
        assert_eq!(take(&store, stranger), NOT_YET);
    }
    let root = announcement(1, -9, "r", true, &[2]);
    take(&store, &root);
    assert_eq!(told(&store), ids([&root, &maintainer]));
    assert_eq!(store.rejected().len(), strangers.len());
}

#[test]
fn a_grasp_list_must_name_the_service() {
    let store = service();
    let list = |at, url| event(1, at, kinds::GRASP_LIST, [vec!["g", "wss://other.net"], vec!["g", url]]);
    let here = list(-9, "wss://git.example.com");
    assert_eq!(take(&store, &list(-10, "wss://else.net")), rejected(RejectReason::GraspListElsewhere));
    assert_eq!(take(&store, &here), IntakeOutcome::Stored);
    assert_eq!(told(&store), ids([&here]));
    assert_eq!(take(&store, &list(-8, "wss://else.net")), rejected(RejectReason::GraspListElsewhere));
    assert!(told(&store).is_empty());
}
