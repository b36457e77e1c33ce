//! An external own relay has the last word: what is accepted is held until it has said it.

use sync_core::store::{FeedPage, OutboxState, OwnAnswer, OwnVerdict, StoreError};

use super::*;

fn own_relay() -> RelayUrl {
    RelayUrl::parse("ws://127.0.0.1:7447").expect("a relay")
}

fn config() -> IntakeConfig {
    IntakeConfig { own_relay: Some(own_relay()), ..IntakeConfig::default() }
}

/// A service with an external own relay.
pub(super) fn external() -> MemoryStore {
    MemoryStore::new(Some(AdmissionPolicy::new(policy()).expect("valid")), config())
}

fn due(store: &MemoryStore, now: u64) -> Vec<EventId> {
    store.outbox(now, 100).expect("read").into_iter().map(|held| held.event.id).collect()
}

fn answer(store: &MemoryStore, event: &Event, answer: OwnAnswer, now: u64) {
    store.answer_outbox(vec![OwnVerdict { id: event.id, answer }], now).expect("written");
}

/// Answers what is due until nothing is.
pub(super) fn answer_all(store: &MemoryStore, answer: &OwnAnswer) {
    loop {
        let due = due(store, NOW);
        if due.is_empty() {
            return;
        }
        let answers = due.into_iter().map(|id| OwnVerdict { id, answer: answer.clone() }).collect();
        store.answer_outbox(answers, NOW).expect("written");
    }
}

fn later() -> OwnAnswer {
    OwnAnswer::Later { text: "error: busy".to_owned() }
}

#[test]
fn what_is_accepted_is_held_until_the_own_relay_has_it() {
    let store = external();
    let a = announcement(1, 0, "r", true, &[]);
    assert_eq!(take(&store, &a), IntakeOutcome::Held);
    assert_eq!(take(&store, &a), IntakeOutcome::Held, "known, and taken once");
    assert_eq!((store.events(), told(&store)), (vec![], BTreeSet::new()), "shown to nobody");
    let known = sync_core::store::LocalSets::known(&store, &[a.id]).expect("read");
    assert!(known[0].is_some_and(|known| !known.stored && known.created_at == NOW));
    let one = OutboxState { held: 1, newest: 1, oldest_open: Some(1), next_at: Some(0), ..OutboxState::default() };
    assert_eq!(store.outbox_state(), Ok(one));
    answer(&store, &a, OwnAnswer::Has, NOW);
    assert_eq!((store.events(), told(&store)), (vec![a.clone()], BTreeSet::from([a.id])));
    assert_eq!(store.outbox_state(), Ok(OutboxState { newest: 1, ..OutboxState::default() }));
    answer(&store, &a, OwnAnswer::Has, NOW);
    assert_eq!(take(&store, &a), IntakeOutcome::Duplicate);
}

#[test]
fn what_depends_on_a_held_event_is_offered_after_it() {
    let store = external();
    let a = announcement(1, 0, "r", true, &[2]);
    let theirs = announcement(2, 0, "r", false, &[]);
    let s = state(2, 0, "r");
    let i = issue(3, 0, &repo(1, "r"));
    let reply = tagging(4, 0, "e", &i);
    for event in [&reply, &i, &s, &theirs, &a] {
        take(&store, event);
    }
    let mut offered = Vec::new();
    loop {
        let due = due(&store, NOW);
        if due.is_empty() {
            break;
        }
        let answers = due.iter().map(|id| OwnVerdict { id: *id, answer: OwnAnswer::Has }).collect();
        store.answer_outbox(answers, NOW).expect("written");
        offered.push(due.into_iter().collect::<BTreeSet<_>>());
    }
    let rounds = [BTreeSet::from([a.id]), BTreeSet::from([theirs.id, s.id, i.id]), BTreeSet::from([reply.id])];
    assert_eq!(offered, rounds);
    assert_eq!(told(&store).len(), 5);
}

#[test]
fn what_the_own_relay_refuses_is_rejected_with_its_words_and_takes_nothing_with_it() {
    let store = external();
    let (first, second) = (announcement(1, 0, "r", true, &[]), announcement(1, 5, "r", true, &[3]));
    take(&store, &first);
    answer(&store, &first, OwnAnswer::Has, NOW);
    assert_eq!(take(&store, &second), IntakeOutcome::Held);
    assert_eq!(told(&store), BTreeSet::from([first.id]), "the version before stands");
    answer(&store, &second, OwnAnswer::Never { text: "blocked: full".to_owned() }, NOW);
    assert_eq!(told(&store), BTreeSet::from([first.id]), "and stands");
    let rows = store.rejected();
    assert_eq!((rows.len(), rows[0].id, rows[0].said.as_str()), (1, second.id, "blocked: full"));
    assert_eq!(take(&store, &second), rejected(RejectReason::OwnRelay), "not offered again");
    let taken = store.take(&second, Some(&own_relay()), NOW);
    assert_eq!(taken, Ok(IntakeOutcome::Stored), "unless it has it after all");
    assert_eq!(told(&store), BTreeSet::from([second.id]));
}

#[test]
fn what_it_takes_later_is_offered_again_less_and_less_often_and_is_never_given_up() {
    let store = external();
    let a = announcement(1, 0, "r", true, &[]);
    take(&store, &a);
    let (mut now, mut offers) = (NOW, Vec::new());
    while offers.len() < 100 {
        let state = store.outbox_state().expect("read");
        assert_eq!(state.oldest_open.is_some(), offers.len() < 4, "its word is waited for a little over a minute");
        assert_eq!(state.has_put_off, offers.len() >= 4);
        now = now.max(state.next_at.expect("held"));
        assert_eq!(due(&store, now), [a.id]);
        offers.push(now);
        answer(&store, &a, later(), now);
        assert!(due(&store, now).is_empty());
    }
    let waits: Vec<u64> = offers.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!((&waits[..4], waits.iter().max()), (&[5, 10, 20, 40][..], Some(&3600)));
    answer(&store, &a, OwnAnswer::Has, now);
    assert_eq!(told(&store), BTreeSet::from([a.id]));
}

#[test]
fn a_clock_that_was_set_back_puts_nothing_off_for_long() {
    let store = external();
    let a = announcement(1, 0, "r", true, &[]);
    take(&store, &a);
    answer(&store, &a, later(), NOW);
    assert!(due(&store, NOW).is_empty());
    assert_eq!(due(&store, NOW - 86_400), [a.id]);
}

#[test]
fn what_was_refused_once_and_is_offered_by_the_own_relay_is_fetched_from_there() {
    let store = external();
    let a = announcement(1, 0, "r", true, &[]);
    take(&store, &a);
    answer(&store, &a, OwnAnswer::Never { text: "blocked: no".to_owned() }, NOW);
    let offered = sync_core::store::Submission {
        offered: vec![a.id],
        relay: Some(own_relay()),
        now: NOW,
        ..sync_core::store::Submission::default()
    };
    store.submit(offered, Box::new(|result| assert!(result.is_ok()))).expect("taken");
    let feed = store.feed(0, 100).expect("read");
    let wanted = feed.entries.iter().any(
        |entry| matches!(&entry.change, FeedChange::Wanted { id, relays } if *id == a.id && *relays == [own_relay()]),
    );
    assert!(wanted, "{feed:?}");
    assert_eq!(store.take(&a, Some(&own_relay()), NOW), Ok(IntakeOutcome::Stored));
}

#[test]
fn what_was_stored_and_is_refused_stays_stored() {
    let store = external();
    let a = announcement(1, 0, "r", true, &[]);
    store.import(&a, NOW).expect("stored");
    store.judge_backlog(NOW).expect("judged");
    assert_eq!(due(&store, NOW), [a.id]);
    answer(&store, &a, OwnAnswer::Never { text: "restricted: members only".to_owned() }, NOW);
    assert_eq!((store.events(), told(&store)), (vec![a.clone()], BTreeSet::new()), "as an import left it");
    // Whose word is the last is changed: it counts again.
    let embedded = store.reconfigured(IntakeConfig::default());
    embedded.judge_backlog(NOW).expect("judged");
    assert_eq!(told(&embedded), BTreeSet::from([a.id]));
}

#[test]
fn a_changed_policy_decides_about_what_is_held() {
    let store = external();
    let (a, b) = (announcement(1, 0, "r", true, &[]), announcement(2, 0, "s", true, &[]));
    take(&store, &a);
    take(&store, &b);
    let denying = AdmissionConfig { deny: vec![author_entry(2)], ..policy() };
    store.change_policy(Some(AdmissionPolicy::new(denying).expect("valid")));
    store.judge_backlog(NOW).expect("judged");
    assert_eq!(due(&store, NOW), [a.id], "who is denied is not published");
}

#[test]
fn purgatory_is_waited_for_and_ends_when_the_event_is_served() {
    let store = external();
    let a = announcement(1, 0, "r", true, &[]);
    let purgatory = || OwnAnswer::Purgatory { text: "purgatory: no git data".to_owned() };
    take(&store, &a);
    answer(&store, &a, purgatory(), NOW);
    assert!(due(&store, NOW + 1799).is_empty() && due(&store, NOW + 1800) == [a.id]);
    assert!(store.rejected().is_empty(), "neither stored nor rejected");
    // It is served after all: the own relay's live subscription brings it.
    assert_eq!(store.take(&a, Some(&own_relay()), NOW + 60), Ok(IntakeOutcome::Stored));
    assert_eq!((told(&store), store.outbox_state().expect("read").held), (BTreeSet::from([a.id]), 0));

    let b = announcement(2, 0, "s", true, &[]);
    take(&store, &b);
    let mut times = 0;
    while store.outbox_state().expect("read").held > 0 {
        times += 1;
        answer(&store, &b, purgatory(), NOW + times * 1800);
    }
    assert_eq!((times, store.rejected()[0].id), (8, b.id), "a bounded number of times");
}

#[test]
fn what_the_own_relay_offers_is_its_word() {
    let store = external();
    let a = announcement(1, 0, "r", true, &[]);
    take(&store, &a);
    let submit = |relay: RelayUrl| {
        let submission = sync_core::store::Submission {
            offered: vec![a.id],
            relay: Some(relay),
            now: NOW,
            ..sync_core::store::Submission::default()
        };
        store.submit(submission, Box::new(|result| assert!(result.is_ok()))).expect("taken");
    };
    submit(relay(1));
    assert_eq!(told(&store), BTreeSet::new(), "another's says nothing");
    submit(own_relay());
    assert_eq!(told(&store), BTreeSet::from([a.id]));
    let b = announcement(2, 0, "s", true, &[]);
    assert_eq!(store.take(&b, Some(&own_relay()), NOW), Ok(IntakeOutcome::Stored), "published there by others");
}

#[test]
fn a_full_outbox_takes_nothing_more_in_and_still_empties() {
    let store = MemoryStore::new(
        Some(AdmissionPolicy::new(policy()).expect("valid")),
        IntakeConfig { max_held: 2, ..config() },
    );
    let events: Vec<Event> = (1..=3).map(|by| announcement(by, 0, "r", true, &[])).collect();
    let i = issue(4, 0, &repo(1, "r"));
    assert_eq!(take(&store, &i), ORPHAN);
    take(&store, &events[0]);
    take(&store, &events[1]);
    assert!(matches!(store.take(&events[2], None, NOW), Err(StoreError::Full(_))));
    assert!(matches!(store.take(&issue(5, 0, &repo(9, "x")), None, NOW), Ok(IntakeOutcome::Deferred(_))));
    answer_all(&store, &OwnAnswer::Has);
    assert_eq!(take(&store, &events[2]), IntakeOutcome::Held);
    assert_eq!(told(&store), BTreeSet::from([events[0].id, events[1].id, i.id]), "what waited went through");
}

#[test]
fn what_was_stored_unjudged_is_offered_and_taken_back_where_the_own_relay_is_embedded_again() {
    let store = external();
    let (a, i) = (announcement(1, 0, "r", true, &[]), issue(2, 0, &repo(1, "r")));
    for event in [&a, &i] {
        store.import(event, NOW).expect("stored");
    }
    store.judge_backlog(NOW).expect("judged");
    assert_eq!(due(&store, NOW), [a.id]);
    answer_all(&store, &OwnAnswer::Has);
    assert_eq!(told(&store), BTreeSet::from([a.id, i.id]));

    let b = announcement(3, 0, "s", true, &[]);
    take(&store, &b);
    let embedded = store.reconfigured(IntakeConfig::default());
    embedded.judge_backlog(NOW).expect("judged");
    assert_eq!(told(&embedded), BTreeSet::from([a.id, i.id, b.id]), "nothing is lost");
    assert_eq!(embedded.outbox_state().expect("read").held, 0);
}

#[test]
fn a_deletion_reaches_what_is_held() {
    let store = external();
    let (a, i) = (announcement(1, 0, "r", true, &[]), issue(2, 0, &repo(1, "r")));
    take(&store, &a);
    answer_all(&store, &OwnAnswer::Has);
    take(&store, &i);
    answer_all(&store, &OwnAnswer::Has);
    let gone = deletion(2, 10, &[&i]);
    assert_eq!(take(&store, &gone), IntakeOutcome::Held);
    assert!(told(&store).contains(&i.id), "until the own relay has the deletion");
    answer_all(&store, &OwnAnswer::Has);
    assert!(!told(&store).contains(&i.id) && told(&store).contains(&gone.id));
    let feed: FeedPage = store.feed(0, 100).expect("read");
    assert!(feed.entries.iter().any(|entry| matches!(entry.change, FeedChange::Removed { id, .. } if id == i.id)));
}
