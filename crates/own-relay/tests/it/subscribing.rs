//! REQ, CLOSE and EOSE (NIP-01), with the hint of NIP-67; expired events (NIP-40).

use nostr::event::Event;
use serde_json::json;
use testkit::world::{keys, sign};

use crate::support::{Relay, START, announcement, ids, in_order, note, now, soon, tag, text};

#[tokio::test(flavor = "multi_thread")]
async fn stored_events_come_newest_first_and_the_end_says_whether_they_are_all() {
    let relay = Relay::start_open(|config| config.limits.page_events = 7).await;
    let notes: Vec<Event> = (0..100).map(note).collect();
    relay.store(notes.clone()).await;
    let notes = in_order(notes);
    let mut client = relay.client().await;
    let finish = Some("finish".to_owned());
    let more = Some("more".to_owned());
    assert_eq!(client.stored("a", &[json!({})]).await, (ids(&notes), finish.clone()));
    assert_eq!(client.stored("a", &[json!({"limit": 100})]).await, (ids(&notes), finish.clone()));
    assert_eq!(client.stored("b", &[json!({"limit": 99})]).await, (ids(&notes[..99]), more.clone()));
    assert_eq!(client.stored("c", &[json!({"limit": 0})]).await, (vec![], None));
    assert_eq!(client.stored("c", &[json!({"kinds": [2]})]).await, (vec![], finish.clone()));
    assert_eq!(client.stored("c", &[json!({"kinds": []})]).await, (vec![], finish.clone()));
    let tagged: Vec<Event> =
        notes.iter().filter(|event| event.tags.iter().any(|tag| tag.content() == Some("t1"))).cloned().collect();
    let both = [json!({"#t": ["t1"]}), json!({"#t": ["t1"], "limit": 3})];
    assert_eq!(client.stored("d", &both).await, (ids(&tagged), more));
    assert_eq!(client.stored("d", &[json!({"#t": ["t1"], "unknown": 1})]).await, (ids(&tagged), finish));
    relay.counts.comes_to("sent", 100 + 100 + 99 + 2 * tagged.len() as u64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_limit_holds_for_who_asks_for_more_and_for_who_asks_for_none() {
    let relay = Relay::start_open(|config| config.limits.max_limit = 10).await;
    relay.store((0..30).map(note).collect()).await;
    let mut client = relay.client().await;
    for filter in [json!({}), json!({"limit": 20})] {
        let (events, hint) = client.stored("a", &[filter]).await;
        assert_eq!((events.len(), hint.as_deref()), (10, Some("more")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_equal_id_replaces_and_close_ends() {
    let relay = Relay::start(|_| {}).await;
    let mut client = relay.client().await;
    client.stored("a", &[json!({"kinds": [1]})]).await;
    client.stored("a", &[json!({"kinds": [30617]})]).await;
    let first = announcement(1, START);
    relay.store(vec![first.clone()]).await;
    let told = client.next().await;
    assert_eq!((&told[0], &told[1], text(&told[2]["id"])), (&json!("EVENT"), &json!("a"), first.id.to_hex()));
    client.send(json!(["CLOSE", "a"])).await;
    client.send(json!(["CLOSE", "never opened"])).await;
    client.assert_silent().await;
    relay.store(vec![announcement(2, START)]).await;
    client.assert_silent().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_subscription_says_no_more_though_its_page_is_being_read() {
    let relay = Relay::start_open(|config| config.limits.page_events = 1).await;
    relay.store((0..200).map(note).collect()).await;
    let mut client = relay.client().await;
    client.send(json!(["REQ", "a", {}])).await;
    client.next().await;
    client.send(json!(["REQ", "a", {"kinds": [5]}])).await;
    // What was on its way arrives; the end is that of the new one, which has nothing.
    let (events, hint) = client.until_eose("a").await;
    assert!(events.len() < 199, "{}", events.len());
    assert_eq!(hint.as_deref(), Some("finish"));
    client.assert_silent().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_subscriptions_are_served_in_turns() {
    let relay = Relay::start_open(|config| config.limits.page_events = 10).await;
    relay.store((0..500).map(note).collect()).await;
    let mut client = relay.client().await;
    client.send(json!(["REQ", "large", {}])).await;
    client.send(json!(["REQ", "small", {"limit": 1}])).await;
    let (mut large, mut ends) = (0, Vec::new());
    while ends.len() < 2 {
        let message = client.next().await;
        match message[0].as_str() {
            Some("EOSE") => ends.push(text(&message[1])),
            _ => large += usize::from(message[1] == "large"),
        }
    }
    assert_eq!((large, ends), (500, vec!["small".to_owned(), "large".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_not_served() {
    let relay = Relay::start_open(|_| {}).await;
    let now = now();
    let expiring =
        |number: u64, at: u64| sign(&keys(1, 1), 1, START + number, [tag("expiration", &at.to_string())], "soon gone");
    let (soon_gone, later_gone) = (expiring(1, now + 2), expiring(2, now + 1_000));
    let mut client = relay.client().await;
    assert_eq!(client.publish(&soon_gone).await, (true, String::new()));
    assert_eq!(client.publish(&later_gone).await, (true, String::new()));
    assert!(!client.publish(&expiring(3, now - 1)).await.0);
    let seen = soon(async {
        loop {
            let (events, _) = client.stored("a", &[json!({})]).await;
            if events.len() < 2 {
                return events;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    })
    .await;
    assert_eq!(seen, ids([&later_gone]));
}
