//! COUNT (NIP-45).

use serde_json::json;

use crate::support::{Relay, note};

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_of_all_filters_together_and_say_where_they_are_rough() {
    let relay = Relay::start_open(|_| {}).await;
    relay.store((0..100).map(note).collect()).await;
    let mut client = relay.client().await;
    for (filters, count) in [
        (vec![json!({})], 100),
        (vec![json!({"#t": ["t0"]})], 34),
        (vec![json!({"#t": ["t0"]}), json!({"#t": ["t0", "t1"]})], 67),
        (vec![json!({"limit": 3})], 100),
        (vec![json!({"kinds": [7]})], 0),
    ] {
        let mut message = vec![json!("COUNT"), json!("c")];
        message.extend(filters);
        client.send(message.into()).await;
        assert_eq!(client.next().await, json!(["COUNT", "c", {"count": count}]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_is_too_large_is_approximate() {
    let relay = Relay::start_open(|config| config.limits.max_count = 20_000).await;
    for part in 0..3 {
        let spec = testkit::world::BulkSpec { count: 10_000, content_len: 1, seed: part, ..Default::default() };
        relay.store(testkit::world::bulk_events(&spec)).await;
    }
    let mut client = relay.client().await;
    client.send(json!(["COUNT", "c", {}])).await;
    assert_eq!(client.next().await, json!(["COUNT", "c", {"count": 20_000, "approximate": true}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_counts_are_closed() {
    let relay = Relay::start_open(|config| config.limits.max_filters = 1).await;
    let mut client = relay.client().await;
    client.send(json!(["COUNT", "c", {"ids": ["x"]}])).await;
    let answer = client.next().await;
    assert_eq!((&answer[0], &answer[1]), (&json!("CLOSED"), &json!("c")), "{answer}");
    client.send(json!(["COUNT", "c", {}, {}])).await;
    assert_eq!(client.next().await[0], "CLOSED");
    relay.counts.counted("max_filters").await;
}
