//! NIP-77 as the answering side.

use std::collections::BTreeSet;
use std::time::Duration;

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use nostr::event::Event;
use serde_json::{Value, json};

use crate::support::{Client, Relay, note, text};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16).expect("hex")).collect();
    digits.as_chunks::<2>().0.iter().map(|[high, low]| u8::try_from(high * 16 + low).expect("a byte")).collect()
}

fn initiator(events: &[Event], frame: u64) -> Negentropy<'static, NegentropyStorageVector> {
    let mut storage = NegentropyStorageVector::new();
    for event in events {
        storage.insert(event.created_at.as_secs(), Id::from_byte_array(event.id.to_bytes())).expect("inserted");
    }
    storage.seal().expect("sealed");
    Negentropy::owned(storage, frame).expect("a machine")
}

/// Reconciles, and returns what we have and they lack, and what they have and we lack.
async fn reconcile(client: &mut Client, id: &str, filter: Value, ours: &[Event]) -> [BTreeSet<String>; 2] {
    let mut machine = initiator(ours, 4_096);
    let opening = hex(&machine.initiate().expect("a message"));
    client.send(json!(["NEG-OPEN", id, filter, opening])).await;
    let (mut have, mut need) = (Vec::new(), Vec::new());
    loop {
        let answer = client.next().await;
        assert_eq!((&answer[0], &answer[1]), (&json!("NEG-MSG"), &json!(id)), "{answer}");
        let answer = unhex(&text(&answer[2]));
        assert!(answer.len() <= 60_000);
        match machine.reconcile_with_ids(&answer, &mut have, &mut need).expect("understood") {
            Some(message) => client.send(json!(["NEG-MSG", id, hex(&message)])).await,
            None => break,
        }
    }
    client.send(json!(["NEG-CLOSE", id])).await;
    [have, need].map(|ids| ids.iter().map(|id| hex(id.as_bytes())).collect())
}

fn ids(events: &[Event]) -> BTreeSet<String> {
    events.iter().map(|event| event.id.to_hex()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_learn_what_they_lack() {
    let relay = Relay::start_open(|_| {}).await;
    let notes: Vec<Event> = (0..3_000).map(note).collect();
    relay.store(notes[..2_500].to_vec()).await;
    let mut client = relay.client().await;
    let ours = &notes[1_000..];
    let both = [ids(&notes[2_500..]), ids(&notes[..1_000])];
    assert_eq!(reconcile(&mut client, "a", json!({}), ours).await, both);
    assert_eq!(reconcile(&mut client, "a", json!([{"kinds": [1]}]), ours).await, both, "an array of one is taken");
    let [_, need] = reconcile(&mut client, "b", json!({"kinds": [2]}), &[]).await;
    assert_eq!(need, BTreeSet::new());
    let [_, need] = reconcile(&mut client, "b", json!({"limit": 10}), &[]).await;
    let newest = crate::support::in_order(notes[..2_500].to_vec());
    assert_eq!(need, ids(&newest[..10]), "a limit takes the newest");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_big_is_said_with_the_most_that_is_taken() {
    let relay = Relay::start_open(|config| config.limits.max_reconciliation_items = 99).await;
    relay.store((0..100).map(note).collect()).await;
    let mut client = relay.client().await;
    let opening = hex(&initiator(&[], 0).initiate().expect("a message"));
    client.send(json!(["NEG-OPEN", "a", {}, opening])).await;
    assert_eq!(client.next().await, json!(["NEG-ERR", "a", "blocked: too many query results", 99]));
    client.send(json!(["NEG-OPEN", "a", {"limit": 99}, opening])).await;
    assert_eq!(client.next().await[0], "NEG-MSG");
    relay.counts.counted("max_reconciliation_items").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_many_at_once_is_bounded_for_each_and_for_all() {
    let relay = Relay::start_open(|config| {
        config.limits.max_reconciliations = 2;
        config.limits.max_all_reconciliation_items = 250;
    })
    .await;
    relay.store((0..100).map(note).collect()).await;
    let opening = hex(&initiator(&[], 0).initiate().expect("a message"));
    let mut client = relay.client().await;
    for id in ["a", "b"] {
        client.send(json!(["NEG-OPEN", id, {}, opening])).await;
        assert_eq!(client.next().await[0], "NEG-MSG");
    }
    let refused = |id: &str| json!(["NEG-ERR", id, "error: too many concurrent NEG requests, try again later"]);
    client.send(json!(["NEG-OPEN", "c", {}, opening])).await;
    assert_eq!(client.next().await, refused("c"));
    let mut other = relay.client().await;
    other.send(json!(["NEG-OPEN", "a", {}, opening])).await;
    assert_eq!(other.next().await, refused("a"), "250 items for all");
    // What is closed makes room.
    client.send(json!(["NEG-CLOSE", "a"])).await;
    client.assert_silent().await;
    other.send(json!(["NEG-OPEN", "a", {}, opening])).await;
    assert_eq!(other.next().await[0], "NEG-MSG");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_not_there_or_are_misused_end() {
    let relay = Relay::start_open(|config| config.limits.reconciliation_idle = Duration::from_millis(200)).await;
    let mut client = relay.client().await;
    client.send(json!(["NEG-MSG", "a", "61"])).await;
    assert_eq!(client.next().await, json!(["NEG-ERR", "a", "closed: unknown subscription handle"]));
    client.send(json!(["NEG-CLOSE", "a"])).await;
    for bad in ["", "zz", "61000001"] {
        client.send(json!(["NEG-OPEN", "a", {}, bad])).await;
        let answer = client.next().await;
        assert_eq!(answer[0], "NEG-ERR", "{bad}: {answer}");
        assert!(text(&answer[2]).starts_with("PROTOCOL-ERROR: "), "{bad}: {answer}");
    }
    client.send(json!(["NEG-OPEN", "a", {}, "62"])).await;
    assert_eq!(client.next().await, json!(["NEG-MSG", "a", "61"]), "the version that is spoken here");
    let opening = hex(&initiator(&[], 0).initiate().expect("a message"));
    client.send(json!(["NEG-OPEN", "a", {}, opening])).await;
    assert_eq!(client.next().await[0], "NEG-MSG");
    let answer = client.next().await;
    assert_eq!(answer, json!(["NEG-ERR", "a", "closed: idle for too long"]));
}
