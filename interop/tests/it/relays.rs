//! The relays themselves: they start, take events, serve them, and differ as the other tests presume.

use std::collections::BTreeSet;

use interop::client::Client;
use interop::events;
use interop::relays::{Relay, RelayBuilderRelay, RsRelay};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A valid event, from the examples of NIP-77's neighbourhood: kind 1 of the year 1970.
fn event() -> Value {
    json!({
        "id": "60d30048a2ff1a9fa342ae001d1530cccd84d0d320af9bd2eaccb545900f1b36",
        "pubkey": "b481fd802f8eeb3b7fa05c67e63ed2f47c9824a6284aff173fde18d95562434f",
        "created_at": 0,
        "kind": 1,
        "tags": [],
        "content": "Hello, world!",
        "sig": "efa65b8058b9a0a7ed2865f73df1894eecec6dfda26da0e8ec710b17e9e9f3a0e3e470beac769223965ced3c0c874e84f6186bd87ca1fba7d35d74fdba689d27"
    })
}

async fn takes_and_serves(relay: &dyn Relay) {
    let mut client = Client::connect(&relay.url()).await;
    let event = event();
    let id = events::id(&event);
    let (taken, words) = client.publish(&event).await;
    assert!(taken, "{words}");
    assert_eq!(client.served([&id, &"0".repeat(64)]).await, [id].into());

    // An empty set: version byte, then a fingerprint-free list of no ids up to infinity.
    client.send(&json!(["NEG-OPEN", "n", {}, "6100000200"])).await;
    let answer = client.receive().await;
    let reconciles = answer[0] == "NEG-MSG";
    assert_eq!(reconciles, relay.reconciles(), "{answer}");
}

#[tokio::test]
async fn relay_builder_answers_and_speaks_nip_77() {
    takes_and_serves(&RelayBuilderRelay::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_relay_answers_and_has_no_nip_77() {
    let folder = TempDir::new().expect("a temporary folder");
    takes_and_serves(&RsRelay::start(folder.path())).await;
}

/// Whether a REQ that asks for nothing stored is answered before a later one is.
async fn ends_what_is_empty(relay: &dyn Relay) -> bool {
    let mut client = Client::connect(&relay.url()).await;
    client.send(&json!(["REQ", "nothing", { "limit": 0 }])).await;
    client.send(&json!(["REQ", "later", { "limit": 1 }])).await;
    let mut ended = false;
    loop {
        let answer = client.receive().await;
        match (answer[0].as_str(), answer[1].as_str()) {
            (Some("EOSE"), Some("nothing")) => ended = true,
            (Some("EOSE"), Some("later")) => return ended,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_zero_is_ended_by_one_of_them_only() {
    assert!(ends_what_is_empty(&RelayBuilderRelay::start().await).await);
    let folder = TempDir::new().expect("a temporary folder");
    assert!(!ends_what_is_empty(&RsRelay::start(folder.path())).await);
}

/// What the other tests rest on: a relay serves what it takes of the real events, and says no to the rest.
async fn serves_what_it_takes(relay: &dyn Relay) {
    let Some(file) = events::data("general.jsonl.gz") else { return };
    let all = events::read(&file);
    let left_out = events::left_out(&all);
    let mut client = Client::connect(&relay.url()).await;
    let (mut taken, mut refused) = (BTreeSet::new(), Vec::new());
    for event in all.iter().filter(|event| !left_out.contains_key(&events::id(event))) {
        match client.publish(event).await {
            (true, _) => drop(taken.insert(events::id(event))),
            (false, words) => refused.push(words),
        }
    }
    eprintln!("{} taken, refused: {:?}", taken.len(), events::tally(refused.iter().map(String::as_str)));
    let served = client.served(&taken).await;
    let lost: Vec<_> = taken.difference(&served).collect();
    assert_eq!(lost, Vec::<&String>::new(), "taken, but not served");
}

#[tokio::test]
async fn relay_builder_serves_what_it_takes() {
    serves_what_it_takes(&RelayBuilderRelay::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_relay_serves_what_it_takes() {
    let folder = TempDir::new().expect("a temporary folder");
    serves_what_it_takes(&RsRelay::start(folder.path())).await;
}
