//! EVENT and its answers (NIP-01, NIP-09, NIP-70).

use nostr::event::Event;
use serde_json::json;
use sync_core::admission::{AdmissionConfig, AdmissionPolicy};
use testkit::world::{keys, sign};

use crate::support::{Relay, START, announcement, note, now, tag, text};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_is_stored_once_and_served() {
    let relay = Relay::start(|_| {}).await;
    let mut client = relay.client().await;
    let event = announcement(1, START);
    assert_eq!(client.publish(&event).await, (true, String::new()));
    let (events, _) = client.stored("a", &[json!({"ids": [event.id]})]).await;
    assert_eq!(events, [event.id.to_hex()], "what was answered for can be read at once");
    let (accepted, text) = client.publish(&event).await;
    assert!(accepted && text.starts_with("duplicate: "), "{text}");
    assert_eq!((relay.counts.of("stored"), relay.counts.of("duplicate")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_its_words() {
    let relay = Relay::start(|config| config.events.max_tags = 3).await;
    let mut client = relay.client().await;
    let author = keys(1, 1);
    let mut forged = announcement(1, START);
    forged.content.push('!');
    let mut unsigned = announcement(1, START);
    unsigned.sig = announcement(2, START).sig;
    let tags = (0..4).map(|number| tag("t", &number.to_string()));
    let protected = [tag("d", "p"), nostr::event::Tag::custom("-".to_owned(), Vec::<String>::new())];
    let cases: Vec<(Event, &str)> = vec![
        (forged, "invalid: the id"),
        (unsigned, "invalid: the signature"),
        (announcement(3, now() + 2_000), "invalid: created_at"),
        (sign(&author, 30617, START, protected, ""), "blocked: protected"),
        (sign(&author, 20_001, START, [], ""), "blocked: ephemeral"),
        (sign(&author, 1, START, tags, ""), "invalid: the event has more than 3 tags"),
        (sign(&author, 1, START, [], "x".repeat(100_001)), "invalid: the event has more than 100000 bytes"),
        (sign(&author, 1, START, [tag("expiration", "5")], ""), "invalid: the event has expired"),
    ];
    for (event, start) in cases {
        let (accepted, text) = client.publish(&event).await;
        assert!(!accepted && text.starts_with(start), "{start}: {text}");
    }
    assert_eq!(relay.counts.of("protected"), 1);
    let (events, _) = client.stored("a", &[json!({})]).await;
    assert_eq!(events, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn older_versions_and_deleted_events_are_told_apart_from_bad_ones() {
    let relay = Relay::start(|_| {}).await;
    let mut client = relay.client().await;
    let (older, newer) = (announcement(1, START), announcement(1, START + 10));
    assert_eq!(client.publish(&newer).await, (true, String::new()));
    assert_eq!(client.publish(&older).await, (false, "replaced: have newer event".to_owned()));
    assert_eq!(client.publish(&older).await, (false, "replaced: have newer event".to_owned()), "again, as before");
    let address = format!("30617:{}:repo-1", newer.pubkey.to_hex());
    let deletion = sign(&keys(1, 1), 5, START + 20, [tag("e", &newer.id.to_hex()), tag("a", &address)], "");
    client.publish(&deletion).await;
    let (events, _) = client.stored("a", &[json!({"kinds": [30617]})]).await;
    assert_eq!(events, Vec::<String>::new(), "NIP-09");
    assert_eq!(client.publish(&newer).await, (false, "blocked: deleted by its author".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_in_purgatory_and_what_is_not_wanted_is_blocked() {
    let config = AdmissionConfig { domains: vec!["git.example.com".to_owned()], ..AdmissionConfig::default() };
    let policy = AdmissionPolicy::new(config).expect("a policy");
    let relay = Relay::start_with(Some(policy), |_| {}).await;
    let mut client = relay.client().await;
    let orphan = note(1);
    let (accepted, text) = client.publish(&orphan).await;
    assert!(accepted && text.starts_with("purgatory: "), "{text}");
    let (accepted, text) = client.publish(&orphan).await;
    assert!(accepted && text.starts_with("purgatory: "), "again, as before: {text}");
    let clone = nostr::event::Tag::custom("clone".to_owned(), ["https://elsewhere.example/x/y.git".to_owned()]);
    let elsewhere = sign(&keys(1, 1), 30617, START, [tag("d", "x"), clone], "");
    let (accepted, text) = client.publish(&elsewhere).await;
    let is_told = text.starts_with(if accepted { "purgatory: " } else { "blocked: " });
    assert!(is_told, "{accepted} {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_events_in_a_row_are_answered_in_order() {
    let relay = Relay::start(|config| config.limits.max_pending_events = 8).await;
    let mut client = relay.client().await;
    let events: Vec<Event> = (0..300).map(|number| announcement(number, START + number)).collect();
    for event in &events {
        client.send(json!(["EVENT", event])).await;
    }
    for event in &events {
        let answer = client.next().await;
        assert_eq!((text(&answer[1]), &answer[2]), (event.id.to_hex(), &json!(true)), "{answer}");
    }
}
