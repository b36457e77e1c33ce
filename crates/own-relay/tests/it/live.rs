//! Live events: the seam to the stored ones, the ring and what lies behind it.

use std::collections::BTreeSet;
use std::sync::Arc;

use nostr::event::Event;
use serde_json::json;

use crate::support::{Client, Relay, START, announcement, ids, large, now, soon, store_events, tag, text};

/// The ids of the next `count` events, each of which comes once.
async fn events(client: &mut Client, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    while ids.len() < count {
        let message = client.next().await;
        if message[0] == "EVENT" {
            ids.push(text(&message[2]["id"]));
        }
    }
    let distinct: BTreeSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "none comes twice");
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_is_told_to_whoever_asked() {
    let relay = Relay::start(|_| {}).await;
    let (mut asked, mut publisher) = (relay.client().await, relay.client().await);
    asked.stored("all", &[json!({"limit": 0})]).await;
    asked.stored("notes", &[json!({"kinds": [1]})]).await;
    asked.stored("future", &[json!({"since": START + 100})]).await;
    let event = announcement(1, START);
    publisher.publish(&event).await;
    let told = asked.next().await;
    assert_eq!(told[1], "all");
    assert_eq!(told[2], json!(event), "the event as it was published");
    asked.assert_silent().await;
    publisher.assert_silent().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missed_or_told_twice_between_stored_and_live() {
    let relay = Relay::start(|config| config.limits.page_events = 5).await;
    let before: Vec<Event> = (0..600).map(|number| announcement(number, START + 10 * number)).collect();
    relay.store(before.clone()).await;
    // Newer, older and in between.
    let during: Vec<Event> =
        (600..1_200).map(|number| announcement(number, START + (number * 7_919) % 9_000)).collect();
    let all: BTreeSet<String> = ids(before.iter().chain(&during)).into_iter().collect();
    let writing = {
        let (store, during) = (Arc::clone(&relay.store), during.clone());
        tokio::task::spawn_blocking(move || {
            for event in during {
                store_events(&*store, vec![event], START + 1_000_000);
            }
        })
    };
    let mut readers = Vec::new();
    for number in 0..6 {
        let mut client = relay.client().await;
        let all = all.clone();
        readers.push(tokio::spawn(async move {
            // Each begins at another moment of the writing.
            tokio::time::sleep(std::time::Duration::from_millis(number * 40)).await;
            client.send(json!(["REQ", "a", {}])).await;
            let told = events(&mut client, all.len()).await;
            assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), all);
            client.assert_silent().await;
        }));
    }
    soon(writing).await.expect("written");
    for reader in readers {
        soon(reader).await.expect("told");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fell_out_of_the_ring_gets_everything_from_the_store() {
    let relay = Relay::start(|config| config.limits.ring_events = 4).await;
    let mut client = relay.client().await;
    client.stored("a", &[json!({"limit": 0})]).await;
    // More than sockets hold: the rest waits in the store.
    let events: Vec<Event> = (0..300).map(large).collect();
    let told = ids(&events);
    for events in events.chunks(50) {
        relay.store(events.to_vec()).await;
    }
    assert_eq!(self::events(&mut client, 300).await, told, "in the order of acceptance");
    client.assert_silent().await;
    let next = announcement(1, START);
    relay.store(vec![next.clone()]).await;
    assert_eq!(self::events(&mut client, 1).await, ids([&next]));
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_and_removed_events_are_not_told() {
    let relay = Relay::start(|_| {}).await;
    let mut client = relay.client().await;
    client.stored("a", &[json!({"limit": 0})]).await;
    let now = now();
    let expiration = |at: u64| [tag("d", &at.to_string()), tag("expiration", &at.to_string())];
    // The store's clock is behind, so that it takes what has expired.
    let gone = testkit::world::sign(&testkit::world::keys(1, 1), 30617, START, expiration(now - 10), "");
    let kept = testkit::world::sign(&testkit::world::keys(1, 1), 30617, START, expiration(now + 1_000), "");
    relay.store(vec![gone]).await;
    relay.store(vec![kept.clone()]).await;
    assert_eq!(events(&mut client, 1).await, ids([&kept]));
    client.assert_silent().await;
}
