//! nostr-sdk as a client of the daemon's embedded relay: it publishes, queries, subscribes and reconciles.

use std::collections::BTreeSet;
use std::time::Duration;

use interop::table;
use nostr_sdk::prelude::*;
use tokio::sync::broadcast;
use tokio::time::timeout;

use crate::embedded::Embedded;

/// How long the relay may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a list of GRASP services is told that doesn't name this one.
const NOT_NAMED: &str = "blocked: the list does not name this service";

async fn client(keys: &Keys, url: &str) -> Client {
    let events = MemoryDatabase::with_opts(MemoryDatabaseOptions { events: true, max_events: None });
    let client = Client::builder().signer(keys.clone()).database(events).build();
    client.add_relay(url).await.expect("an address");
    let connected = client.try_connect(PATIENCE).await;
    assert_eq!((connected.success.len(), connected.failed.len()), (1, 0), "{connected:?}");
    client
}

/// Fails where the two sets differ, and names a few of those that do.
fn assert_same(got: &BTreeSet<EventId>, wanted: &BTreeSet<EventId>, all: &[Event], what: &str) {
    let missing = wanted.difference(got).count();
    let some = wanted.symmetric_difference(got).take(5);
    let some: Vec<_> =
        some.map(|id| all.iter().find(|event| event.id == *id).map_or(id.to_hex(), Event::as_json)).collect();
    assert!(some.is_empty(), "{what}: {} for {}, {missing} missing: {some:#?}", got.len(), wanted.len());
}

/// What the daemon exports.
fn exported(embedded: &Embedded) -> Vec<Event> {
    embedded.store.export().iter().map(|event| Event::from_json(event.to_string()).expect("an event")).collect()
}

/// Whether nostr-sdk passes over it, whoever serves it: it takes no deletion that names somebody else's event, and those
/// that a service accepts name the repository that they belong to.
fn is_passed_over(event: &Event) -> bool {
    event.kind == Kind::EventDeletion && event.tags.coordinates().any(|repo| repo.public_key != event.pubkey)
}

fn ids<'a>(events: impl IntoIterator<Item = &'a Event>) -> BTreeSet<EventId> {
    events.into_iter().map(|event| event.id).collect()
}

/// The same event, as nostr-sdk knows it.
fn theirs(event: &sync_core::nostr::event::Event) -> Event {
    Event::from_json(event.as_json()).expect("an event")
}

fn announcement(keys: &Keys, name: &str, host: &str) -> Event {
    let npub = keys.public_key().to_bech32().expect("a key");
    let tags = [
        vec!["d".to_owned(), name.to_owned()],
        vec!["clone".to_owned(), format!("https://{host}/{npub}/{name}.git")],
        vec!["relays".to_owned(), format!("wss://{host}")],
    ];
    signed(keys, EventBuilder::new(Kind::GitRepoAnnouncement, ""), tags)
}

fn issue(keys: &Keys, name: &str, subject: &str) -> Event {
    let address = format!("30617:{}:{name}", keys.public_key());
    let tags = [vec!["a".to_owned(), address], vec!["subject".to_owned(), subject.to_owned()]];
    signed(keys, EventBuilder::new(Kind::GitIssue, subject), tags)
}

fn list_of_another_service(keys: &Keys) -> Event {
    let tags = [vec!["g".to_owned(), "wss://git.elsewhere.example".to_owned()]];
    signed(keys, EventBuilder::new(Kind::Custom(10317), ""), tags)
}

fn signed<const N: usize>(keys: &Keys, event: EventBuilder, tags: [Vec<String>; N]) -> Event {
    event.tags(tags.map(|tag| Tag::parse(tag).expect("a tag"))).sign_with_keys(keys).expect("signed")
}

/// What the relay refuses an event with, as the client tells it.
async fn refusal(client: &Client, event: &Event) -> String {
    let sent = client.send_event(event).await.expect("a connection");
    assert!(sent.success.is_empty(), "{} is taken", event.kind);
    sent.failed.into_values().next().expect("the relay's words")
}

async fn publish(client: &Client, event: &Event) {
    let sent = client.send_event(event).await.expect("a connection");
    assert_eq!((sent.success.len(), sent.failed.len()), (1, 0), "{sent:?}");
}

async fn next_event(notifications: &mut broadcast::Receiver<RelayPoolNotification>) -> Event {
    let event = async {
        loop {
            if let RelayPoolNotification::Event { event, .. } = notifications.recv().await.expect("notifications") {
                return *event;
            }
        }
    };
    timeout(PATIENCE, event).await.expect("a live event arrives")
}

#[tokio::test(flavor = "multi_thread")]
async fn it_publishes_and_is_told_why_something_is_refused() {
    let embedded = Embedded::start().await;
    let before = embedded.store.ids().len();
    let keys = Keys::generate();
    let client = client(&keys, &embedded.url).await;
    let announced = announcement(&keys, "here", embedded.world.domain());
    let filed = issue(&keys, "here", "an issue of it");
    publish(&client, &announced).await;
    publish(&client, &filed).await;

    let past = Timestamp::now() - Duration::from_secs(100);
    let expired = EventBuilder::text_note("late").tag(Tag::expiration(past)).sign_with_keys(&keys).expect("signed");
    let protected = EventBuilder::text_note("mine").tag(Tag::protected()).sign_with_keys(&keys).expect("signed");
    let refused = [
        (list_of_another_service(&keys), NOT_NAMED),
        (expired, "invalid: the event has expired"),
        (protected, "blocked: protected events (NIP-70) are not taken here"),
    ];
    for (event, words) in &refused {
        assert_eq!(refusal(&client, event).await, *words);
    }
    // Either could still come to belong to a repository of this service: kept aside, and not served.
    publish(&client, &issue(&keys, "nowhere", "an issue of nothing")).await;
    publish(&client, &announcement(&keys, "elsewhere", "git.elsewhere.example")).await;
    let served = client.fetch_events(Filter::new().author(keys.public_key()), PATIENCE).await.expect("an answer");
    assert_eq!(ids(served.iter()), ids([&announced, &filed]));
    assert_eq!(embedded.store.ids().len(), before + 2);
    table::print(
        "nostr-sdk publishes at the embedded relay",
        [
            (2, "taken, stored and served".to_owned()),
            (2, "kept aside: an issue of nothing, an announcement for another service".to_owned()),
        ]
        .into_iter()
        .chain(refused.iter().map(|(_, words)| (1, format!("refused ({words})")))),
    );
    client.shutdown().await;
    assert_eq!(embedded.daemon.stop().code(), Some(0));
}

/// The newest `limit` of those that match are what a relay is to serve; by id, without those that the client passes over.
fn expected(all: &[Event], filter: &Filter) -> BTreeSet<EventId> {
    let mut found: Vec<_> = all.iter().filter(|event| filter.match_event(event, MatchEventOptions::new())).collect();
    found.sort_by_key(|event| (std::cmp::Reverse(event.created_at), event.id));
    found.truncate(filter.limit.unwrap_or(usize::MAX));
    ids(found.into_iter().filter(|event| !is_passed_over(event)))
}

#[tokio::test(flavor = "multi_thread")]
async fn it_queries_what_the_store_holds() {
    let embedded = Embedded::start().await;
    let all = exported(&embedded);
    let client = client(&Keys::generate(), &embedded.url).await;
    let middle = &all[all.len() / 2];
    let filed = all.iter().find(|event| event.kind == Kind::GitIssue).expect("an issue");
    let repo = filed.tags.coordinates().next().expect("of a repository").clone();
    let filters = [
        ("everything", Filter::new()),
        ("by kind", Filter::new().kinds([Kind::GitIssue, Kind::GitRepoAnnouncement])),
        ("by author", Filter::new().author(middle.pubkey)),
        ("by id", Filter::new().ids(all.iter().take(20).map(|event| event.id))),
        ("by #a", Filter::new().coordinate(&repo)),
        ("by #e", Filter::new().event(filed.id)),
        ("by #E", Filter::new().custom_tag(SingleLetterTag::uppercase(Alphabet::E), filed.id)),
        ("by #d", Filter::new().kind(Kind::GitRepoAnnouncement).identifier("repo-1")),
        ("by time", Filter::new().since(middle.created_at - Duration::from_secs(86_400)).until(middle.created_at)),
        ("by author and kind", Filter::new().author(middle.pubkey).kind(Kind::Comment)),
        ("the newest 10", Filter::new().limit(10)),
        ("the newest 5 comments", Filter::new().kind(Kind::Comment).limit(5)),
        ("nothing", Filter::new().id(EventId::all_zeros())),
    ];
    let mut rows = Vec::new();
    for (name, filter) in filters {
        let events = client.fetch_events(filter.clone(), PATIENCE).await.expect("an answer");
        assert_same(&ids(events.iter()), &expected(&all, &filter), &all, name);
        rows.push((events.len(), name));
    }
    let passed_over = all.iter().filter(|event| is_passed_over(event)).count();
    rows.push((passed_over, "passed over by nostr-sdk itself: deletions that name another's repository"));
    table::print(&format!("nostr-sdk queries the embedded relay, which holds {}", all.len()), rows);
    client.shutdown().await;
    assert_eq!(embedded.daemon.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_what_arrives_live() {
    let embedded = Embedded::start().await;
    let keys = Keys::generate();
    let (reader, writer) = (client(&Keys::generate(), &embedded.url).await, client(&keys, &embedded.url).await);
    let mut notifications = reader.notifications();
    let live = Filter::new().author(keys.public_key()).since(Timestamp::now() - Duration::from_secs(60));
    let subscribed = reader.subscribe(live, None).await.expect("a connection");
    assert_eq!(subscribed.success.len(), 1);
    let announced = announcement(&keys, "here", embedded.world.domain());
    publish(&writer, &announced).await;
    assert_eq!(next_event(&mut notifications).await, announced);

    // Kept aside at first: it is told of when what it belongs to is accepted.
    let filed = issue(&keys, "there", "filed before the repository is announced");
    publish(&writer, &filed).await;
    let announced = announcement(&keys, "there", embedded.world.domain());
    publish(&writer, &announced).await;
    let both = [next_event(&mut notifications).await, next_event(&mut notifications).await];
    assert_eq!(ids(&both), ids([&announced, &filed]));
    reader.shutdown().await;
    writer.shutdown().await;
    assert_eq!(embedded.daemon.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_reconciles_down_and_up() {
    let embedded = Embedded::start().await;
    let all = exported(&embedded);
    let keys = Keys::generate();
    let client = client(&keys, &embedded.url).await;
    // It has every fourth event already.
    let had: Vec<_> = all.iter().step_by(4).filter(|event| !is_passed_over(event)).collect();
    for event in &had {
        assert!(client.database().save_event(event).await.expect("saved").is_success());
    }
    let down =
        client.sync(Filter::new(), &SyncOptions::new().direction(SyncDirection::Down)).await.expect("reconciled");
    let lacked: BTreeSet<_> = ids(&all).difference(&ids(had.iter().copied())).copied().collect();
    assert_eq!((down.failed.len(), down.local.len()), (0, 0), "{:?}", down.failed);
    let taken = ids(all.iter().filter(|event| lacked.contains(&event.id) && !is_passed_over(event)));
    assert_same(&down.remote.iter().copied().collect(), &lacked, &all, "what the client lacks");
    assert_same(&down.received.iter().copied().collect(), &taken, &all, "what it has fetched");

    let now = Timestamp::now().as_secs();
    let new: Vec<_> = (0..50).map(|n| theirs(&embedded.world.live_issue(n, now).1)).collect();
    let elsewhere = list_of_another_service(&keys);
    for event in new.iter().chain([&elsewhere]) {
        assert!(client.database().save_event(event).await.expect("saved").is_success());
    }
    let up = client.sync(Filter::new(), &SyncOptions::new().direction(SyncDirection::Up)).await.expect("reconciled");
    assert_same(&up.sent.iter().copied().collect(), &ids(&new), &new, "what is sent and taken");
    let refused: Vec<_> = up.send_failures.values().flatten().collect();
    assert_eq!(refused, [(&elsewhere.id, &NOT_NAMED.to_owned())]);
    assert_same(&ids(&exported(&embedded)), &ids(all.iter().chain(&new)), &new, "what is stored afterwards");

    let again =
        client.sync(Filter::new(), &SyncOptions::new().direction(SyncDirection::Both)).await.expect("reconciled");
    assert_eq!((again.received.len(), again.sent.len()), (0, 0), "nothing is left");
    table::print(
        "nostr-sdk reconciles with the embedded relay (NIP-77)",
        [
            (all.len(), "on the relay"),
            (had.len(), "of them known to the client"),
            (down.received.len(), "fetched"),
            (lacked.len() - taken.len(), "fetched, and passed over by nostr-sdk itself"),
            (up.sent.len(), "sent, and taken"),
            (refused.len(), "sent, and refused, with the relay's words"),
            (again.received.len() + again.sent.len(), "moved by a second round"),
        ],
    );
    client.shutdown().await;
    assert_eq!(embedded.daemon.stop().code(), Some(0));
}
