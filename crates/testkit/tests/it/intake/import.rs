//! What was stored without a policy, and is judged later.

use super::*;

fn restart_as_service(store: &MemoryStore) -> u64 {
    store.change_policy(Some(AdmissionPolicy::new(policy()).expect("valid")));
    store.judge_backlog(NOW).expect("room")
}

#[test]
fn an_import_stores_everything_and_accepts_nothing() {
    let store = MemoryStore::new(None, IntakeConfig::default());
    for event in [event::<&str>(1, -9, 1, []), announcement(1, -9, "r", true, &[])] {
        assert_eq!(take(&store, &event), IntakeOutcome::Stored);
    }
    assert!(told(&store).is_empty());
}

#[test]
fn the_backlog_is_judged_whole_and_the_rest_stays_stored() {
    let store = MemoryStore::new(None, IntakeConfig::default());
    let root = announcement(1, -9, "r", true, &[2]);
    let wanted = [issue(5, -8, &repo(2, "r")), state(3, -8, "r"), announcement(3, -9, "r", false, &[])];
    let (two, stray) = (announcement(2, -9, "r", false, &[3]), event::<&str>(7, -9, 1, []));
    for event in wanted.iter().chain([&stray, &two, &root]) {
        take(&store, event);
    }
    assert_eq!(restart_as_service(&store), 6);
    assert_eq!(told(&store), ids(wanted.iter().chain([&two, &root])));
    assert_eq!((store.event_count(), store.judge_backlog(NOW)), (Ok(6), Ok(0)));
    let quote = event(
        5,
        -1,
        1,
        [("a", repo(1, "r").to_string()), ("q", stray.id.to_hex())].map(|(a, b)| vec![a.to_owned(), b]),
    );
    take(&store, &quote);
    assert!(told(&store).contains(&stray.id));
}

#[test]
fn stored_events_wait_in_any_number_even_among_some_that_can_t_be_accepted() {
    let store = MemoryStore::new(None, IntakeConfig::default());
    for n in 0..2200 {
        take(&store, &issue(if n % 2 == 0 { 6 } else { 5 }, -n, &repo(1, "r")));
    }
    let config = AdmissionConfig { deny: vec![author_entry(6)], ..policy() };
    store.change_policy(Some(AdmissionPolicy::new(config).expect("valid")));
    assert_eq!(store.judge_backlog(NOW), Ok(2200));
    assert!(told(&store).is_empty());
    take(&store, &announcement(1, -9, "r", true, &[]));
    assert_eq!(told(&store).len(), 1101);
}

#[test]
fn another_policy_judges_everything_anew() {
    let store = service();
    let root = announcement(1, -9, "r", true, &[]);
    let elsewhere = announcement(2, -9, "x", false, &[]);
    take(&store, &root);
    take(&store, &elsewhere);
    let config = AdmissionConfig { deny: vec![author_entry(1)], allow: vec![author_entry(2)], ..policy() };
    store.change_policy(Some(AdmissionPolicy::new(config).expect("valid")));
    assert_eq!(store.judge_backlog(NOW), Ok(1));
    assert!(told(&store).is_empty());
    assert_eq!(take(&store, &elsewhere), IntakeOutcome::Stored);
}

#[test]
fn expired_events_of_the_backlog_go() {
    let store = MemoryStore::new(None, IntakeConfig::default());
    let tags = [vec!["expiration".to_owned(), (NOW + 5).to_string()]];
    take(&store, &event(1, -9, 1, tags));
    store.change_policy(Some(AdmissionPolicy::new(policy()).expect("valid")));
    assert_eq!(store.judge_backlog(NOW + 5), Ok(0));
    assert!(store.events().is_empty());
}

#[test]
fn what_an_import_took_from_a_group_is_settled_when_the_backlog_is_judged() {
    let root = announcement(1, -9, "r", true, &[2]);
    let replaced = announcement(1, -8, "r", false, &[]);
    let by_address = deletion_of_address(1, -8, kinds::ANNOUNCEMENT, 1, "r");
    for removal in [replaced, deletion(1, -8, &[&root]), by_address] {
        let store = service();
        let two = announcement(2, -9, "r", false, &[1]);
        take(&store, &root);
        take(&store, &two);
        assert_eq!(store.import(&removal, NOW), Ok(IntakeOutcome::Stored));
        assert_eq!(told(&store), ids([&two]));
        assert_eq!(store.judge_backlog(NOW), Ok(1));
        assert!(told(&store).is_empty());
        assert_eq!(store.events(), [removal]);
    }
}

#[test]
fn an_import_takes_in_what_a_policy_kept_out_but_not_what_nobody_wants() {
    let store = service();
    let (stray, old, new) = (event::<&str>(1, -9, 1, []), state(1, -9, "r"), state(1, -8, "r"));
    for event in [&stray, &old, &new] {
        take(&store, event);
    }
    assert_eq!(store.import(&stray, NOW), Ok(IntakeOutcome::Stored));
    assert_eq!(store.import(&old, NOW), Ok(rejected(RejectReason::Superseded)));
    assert_eq!(store.import(&new, NOW), Ok(IntakeOutcome::Stored));
    assert!(told(&store).is_empty());
    take(&store, &announcement(1, -9, "r", true, &[]));
    assert!(told(&store).contains(&new.id));
}
