//! Events of the future, expiries, the bounds of the rejected index; and the store in memory itself.

use super::*;
use nostr::filter::Filter;
use std::ops::ControlFlow;
use sync_core::store::{LocalSets, StateTable, StateWrite, StoreError, Submission};

fn expiring(by: u8, at: i64, expires: u64) -> Event {
    event(by, at, 1, [vec!["expiration".to_owned(), expires.to_string()]])
}

fn archive() -> MemoryStore {
    MemoryStore::new(None, IntakeConfig::default())
}

#[test]
fn events_of_the_future_are_refused_until_they_are_due() {
    for store in [archive(), service()] {
        let near = event(1, 900, kinds::ANNOUNCEMENT, LISTS.map(Vec::from));
        let far = event(2, 901, kinds::ANNOUNCEMENT, LISTS.map(Vec::from));
        assert_eq!(take(&store, &near), IntakeOutcome::Stored);
        assert_eq!(take(&store, &far), rejected(RejectReason::FutureDated));
        assert_eq!(take(&store, &far), rejected(RejectReason::FutureDated));
        assert_eq!(take_at(&store, &far, NOW + 1), IntakeOutcome::Stored);
    }
}

#[test]
fn a_future_version_supersedes_nothing() {
    let store = service();
    let root = announcement(1, -9, "r", true, &[]);
    take(&store, &root);
    assert_eq!(take(&store, &announcement(1, 10_000_000, "r", false, &[])), rejected(RejectReason::FutureDated));
    assert_eq!(told(&store), ids([&root]));
}

#[test]
fn expired_events_are_refused_not_served_and_swept() {
    let store = archive();
    assert_eq!(take(&store, &expiring(1, -9, NOW)), rejected(RejectReason::Expired));
    let event = expiring(1, -8, NOW + 1);
    assert_eq!(take(&store, &event), IntakeOutcome::Stored);
    let served = |now| {
        let mut served = 0;
        let mut visit = |_| {
            served += 1;
            ControlFlow::Continue(())
        };
        store.query(&[Filter::new()], now, &mut visit).expect("readable");
        served
    };
    assert_eq!((served(NOW), served(NOW + 1)), (1, 0));
    assert_eq!(store.sweep(NOW, 10), Ok(0));
    assert_eq!(store.sweep(NOW + 1, 10), Ok(1));
    assert!(store.events().is_empty());
    assert_eq!(take_at(&store, &event, NOW + 1), rejected(RejectReason::Expired));
}

#[test]
fn an_expired_announcement_withdraws_the_repository_and_its_maintainers() {
    let store = service();
    let mut tags: Vec<Vec<String>> = LISTS.map(|tag| tag.map(str::to_owned).to_vec()).to_vec();
    tags.push(vec!["d".to_owned(), "r".to_owned()]);
    tags.push(vec!["maintainers".to_owned(), author(2).to_hex()]);
    tags.push(vec!["expiration".to_owned(), (NOW + 5).to_string()]);
    take(&store, &announcement(2, -9, "r", false, &[]));
    take(&store, &event(1, -9, kinds::ANNOUNCEMENT, tags));
    assert_eq!(told(&store).len(), 2);
    store.sweep(NOW + 5, 10).expect("room");
    assert!(told(&store).is_empty());
}

#[test]
fn a_waiting_event_that_expires_meanwhile_isn_t_accepted() {
    let store = service();
    let tags = [("a", repo(1, "r").to_string()), ("expiration", (NOW + 5).to_string())];
    let waiting = event(5, -9, kinds::ISSUE, tags.map(|(name, value)| vec![name.to_owned(), value]));
    assert_eq!(take(&store, &waiting), ORPHAN);
    take_at(&store, &announcement(1, -9, "r", true, &[]), NOW + 5);
    assert_eq!(told(&store).len(), 1);
    assert_eq!(take_at(&store, &waiting, NOW + 5), rejected(RejectReason::Expired));
}

#[test]
fn bodies_and_then_rows_go_when_their_time_is_up() {
    let (store, config) = (service(), IntakeConfig::default());
    take(&store, &event::<&str>(1, -9, 1, []));
    take(&store, &announcement(2, -9, "r", false, &[]));
    assert_eq!(store.rejected_count(), Ok((2, 0)));
    assert_eq!(store.sweep(NOW + config.hot_s - 1, 10), Ok(0));
    assert_eq!(store.sweep(NOW + config.hot_s, 1), Ok(1));
    assert_eq!(store.rejected_count(), Ok((1, 1)));
    assert_eq!(store.sweep(NOW + config.hot_s, 10), Ok(1));
    assert_eq!(store.sweep(NOW + config.cold_s, 10), Ok(2));
    assert_eq!(store.rejected_count(), Ok((0, 0)));
    assert_eq!(take_at(&store, &announcement(2, -10, "r", true, &[]), NOW + config.cold_s), IntakeOutcome::Stored);
}

#[test]
fn rows_beyond_the_bound_go_oldest_first() {
    let config = IntakeConfig { max_rejected: 3, ..IntakeConfig::default() };
    let store = MemoryStore::new(Some(AdmissionPolicy::new(policy()).expect("valid")), config);
    let events: Vec<Event> = (0..5).map(|n| event::<&str>(n, -9, 1, [])).collect();
    for (age, event) in events.iter().enumerate() {
        take_at(&store, event, NOW + age as u64);
    }
    assert_eq!(store.sweep(NOW + 5, 1), Ok(1));
    assert_eq!(store.sweep(NOW + 5, 10), Ok(1));
    let left: BTreeSet<EventId> = store.rejected().iter().map(|row| row.id).collect();
    assert_eq!(left, ids(&events[2..]));
}

#[test]
fn a_full_store_takes_nothing_and_loses_nothing() {
    let store = service();
    let (root, waiting) = (announcement(1, -9, "r", true, &[]), issue(5, -8, &repo(1, "r")));
    take(&store, &waiting);
    store.set_full(true);
    let (tell, told_outcome) = std::sync::mpsc::channel();
    let submission =
        Submission { events: vec![root.clone()], relay: Some(relay(1)), now: NOW, ..Submission::default() };
    let reply = move |outcome| tell.send(outcome).expect("somebody listens");
    store.submit(submission.clone(), Box::new(reply)).expect("open");
    assert!(matches!(told_outcome.recv(), Ok(Err(StoreError::Full(_)))));
    assert!(store.events().is_empty() && told(&store).is_empty());
    assert_eq!((store.rejected_count(), store.feed_head()), (Ok((1, 0)), Ok(0)));
    let write = StateWrite::new(StateTable::Relay, [1], Some(vec![2]));
    assert!(store.write_state(vec![write.clone()]).is_err());

    store.set_full(false);
    store.write_state(vec![write]).expect("room");
    assert_eq!(store.read_state(StateTable::Relay), Ok(vec![(vec![1], vec![2])]));
    let (tell, woken) = std::sync::mpsc::channel();
    store.on_feed(Box::new(move |head| tell.send(head).is_ok()));
    store.submit(submission, Box::new(|outcome| assert_eq!(outcome, Ok(vec![IntakeOutcome::Stored])))).expect("open");
    assert_eq!(woken.try_recv(), Ok(2));
    assert_eq!(told(&store), ids([&root, &waiting]));
    assert_eq!(store.event(&root.id), Ok(Some(root)));
}

#[test]
fn queries_answer_newest_first_within_each_filter_s_limit() {
    let store = archive();
    let events: Vec<Event> = (0..4).map(|n| event::<&str>(n, -i64::from(n / 2), 1, [])).collect();
    for event in &events {
        take(&store, event);
    }
    let mut sorted = events.clone();
    sorted.sort();
    let answer = |filters: &[Filter]| {
        let mut found = Vec::new();
        let mut visit = |event| {
            found.push(event);
            ControlFlow::Continue(())
        };
        store.query(filters, NOW, &mut visit).expect("readable");
        found
    };
    assert_eq!(answer(&[Filter::new()]), sorted);
    assert_eq!(answer(&[Filter::new().limit(3), Filter::new().limit(1)]), sorted[..3]);
    let two = [Filter::new().author(author(3)), Filter::new().author(author(0))];
    assert_eq!(answer(&two), [events[0].clone(), events[3].clone()]);
    assert_eq!(answer(&[]), []);
}
