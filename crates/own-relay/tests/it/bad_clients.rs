//! Clients that break the rules: each has its answer, and nobody else notices.

use futures_util::SinkExt;
use nostr::event::Event;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Relay, START, announcement, ids, in_order, note, text};

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_noticed_and_too_much_of_it_ends_the_connection() {
    let relay = Relay::start(|config| config.limits.max_bad_messages = 5).await;
    let mut client = relay.client().await;
    for round in 0..2 {
        for bad in ["", "{", "[\"HELLO\"]", "[\"EVENT\",1]", "[\"EVENT\",{\"kind\":1}]"] {
            client.send_text(bad).await;
            let answer = client.next().await;
            assert_eq!(answer[0], "NOTICE", "{bad}: {answer}");
            assert!(text(&answer[1]).starts_with("invalid: "), "{answer}");
        }
        // A good one in between forgives.
        if round == 0 {
            client.assert_silent().await;
        }
    }
    client.send_text("[").await;
    assert_eq!(client.close_code().await, Some(1008));
    relay.counts.counted("max_bad_messages").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_messages_are_nonsense() {
    let relay = Relay::start(|_| {}).await;
    let mut client = relay.client().await;
    client.socket.send(Message::binary(vec![1, 2, 3])).await.expect("sent");
    assert_eq!(client.next().await[0], "NOTICE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_ends_the_connection_with_its_code() {
    let relay = Relay::start(|config| config.max_message = 10_000).await;
    let mut client = relay.client().await;
    client.send_text(format!("[\"CLOSE\",\"{}\"]", "x".repeat(20_000))).await;
    assert_eq!(client.close_code().await, Some(1009));
    relay.counts.counted("max_message").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_frame_ends_the_connection_alone() {
    use tokio::io::AsyncWriteExt;
    let relay = Relay::start(|_| {}).await;
    let (mut broken, mut other) = (relay.client().await, relay.client().await);
    broken.socket.get_mut().write_all(&[0xff; 64]).await.expect("sent");
    while broken.try_next().await.is_some() {}
    other.assert_silent().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_have_their_answer_and_are_counted() {
    let relay = Relay::start(|config| {
        config.limits.max_subscriptions = 2;
        config.limits.max_filters = 3;
        config.limits.max_filter_values = 10;
        config.limits.max_filter_combinations = 3;
    })
    .await;
    let mut client = relay.client().await;
    client.stored("a", &[json!({})]).await;
    client.stored("b", &[json!({})]).await;
    client.send(json!(["REQ", "c", {}])).await;
    let answer = client.next().await;
    assert_eq!((&answer[0], &answer[1]), (&json!("CLOSED"), &json!("c")));
    assert!(text(&answer[2]).starts_with("error: too many subscriptions"), "{answer}");
    // Replacing one is no more.
    client.stored("a", &[json!({})]).await;
    for (filters, start) in [
        (vec![json!({}); 4], "error: too many filters"),
        (vec![json!({"kinds": (0..11).collect::<Vec<_>>()})], "invalid: the filters are too large"),
        (vec![json!({"kinds": [1, 2]}), json!({"kinds": [3, 4]})], "invalid: the filters are too large"),
        (vec![json!({"#t": ["x".repeat(900_000)]})], "invalid: the filters are too large"),
        (vec![json!({"authors": ["abc"]})], "invalid: "),
    ] {
        let mut message = vec![json!("REQ"), json!("a")];
        message.extend(filters);
        client.send(Value::Array(message)).await;
        let answer = client.next().await;
        assert!(answer[0] == "CLOSED" && text(&answer[2]).starts_with(start), "{start}: {answer}");
    }
    for bad in [json!(["REQ", "", {}]), json!(["REQ", "x".repeat(65), {}])] {
        client.send(bad).await;
        assert_eq!(client.next().await[0], "NOTICE");
    }
    for limit in ["max_subscriptions", "max_filters", "max_filter_values", "max_filter_combinations"] {
        assert!(relay.counts.of(limit) > 0, "{limit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_bad_events_leaves_room_for_others() {
    let relay = Relay::start_open(|_| {}).await;
    let notes: Vec<Event> = (0..500).map(note).collect();
    relay.store(notes.clone()).await;
    let notes = ids(&in_order(notes));
    // Each is asked for its signature, which is wrong.
    let mut bad = announcement(1, START);
    bad.sig = announcement(2, START).sig;
    let frame = json!(["EVENT", bad]).to_string();
    let mut floods = Vec::new();
    for _ in 0..4 {
        let (mut client, frame) = (relay.client().await, frame.clone());
        floods.push(tokio::spawn(async move {
            for _ in 0..10 {
                for _ in 0..50 {
                    client.send_text(frame.clone()).await;
                }
                for _ in 0..50 {
                    let answer = client.next().await;
                    assert!(answer[2] == false && text(&answer[3]).starts_with("invalid: "), "{answer}");
                }
            }
        }));
    }
    let mut reader = relay.client().await;
    for _ in 0..10 {
        assert_eq!(reader.stored("a", &[json!({})]).await.0, notes);
    }
    for flood in floods {
        crate::support::soon(flood).await.expect("answered");
    }
    assert_eq!(relay.counts.of("bad_signature"), 2_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_only_writes_is_not_read_on_forever() {
    let relay = Relay::start(|config| config.limits.slow_reader = std::time::Duration::from_millis(400)).await;
    let mut client = relay.narrow_client().await;
    let question = format!("[\"CLOSE\",\"{}\",1]", "x".repeat(1_000));
    let asking = async {
        // Every answer is due; none is read.
        while client.socket.send(Message::text(question.clone())).await.is_ok() {}
    };
    crate::support::soon(asking).await;
    relay.counts.connections(0).await;
}
