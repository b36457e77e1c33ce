//! Clients that don't read, and clients that are gone.

use std::time::Duration;

use futures_util::StreamExt;
use nostr::event::Event;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Relay, START, announcement, ids, in_order, large, soon};

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_nothing_is_dropped_while_others_go_on() {
    let relay = Relay::start(|config| config.limits.slow_reader = Duration::from_millis(1_500)).await;
    let events: Vec<Event> = (0..400).map(large).collect();
    for events in events.chunks(50) {
        relay.store(events.to_vec()).await;
    }
    let mut stuck = relay.narrow_client().await;
    stuck.send(json!(["REQ", "a", {}])).await;
    let mut reader = relay.client().await;
    let (told, _) = reader.stored("a", &[json!({})]).await;
    assert_eq!(told, ids(&in_order(events)));
    relay.counts.counted("slow_reader").await;
    relay.counts.connections(1).await;
    relay.store(vec![announcement(1, START)]).await;
    assert_eq!(reader.next().await[0], "EVENT", "the reader hears on");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lags_too_far_is_dropped() {
    let relay = Relay::start(|config| config.limits.max_lag = 500).await;
    let mut stuck = relay.narrow_client().await;
    let mut reader = relay.client().await;
    for client in [&mut stuck, &mut reader] {
        client.stored("a", &[json!({"limit": 0})]).await;
    }
    let large: Vec<Event> = (0..400).map(large).collect();
    let small: Vec<Event> = (0..1_200).map(|number| announcement(number, START)).collect();
    for events in large.chunks(50).chain(small.chunks(400)) {
        relay.store(events.to_vec()).await;
        // Once somebody heard of them, the relay knows how far behind the other is.
        for _ in events {
            assert_eq!(reader.next().await[0], "EVENT");
        }
    }
    // It reads again, but what it lacks is too much.
    while stuck.try_next().await.is_some() {}
    relay.counts.counted("max_lag").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_pinged_and_the_silent_are_let_go() {
    let relay = Relay::start(|config| {
        config.limits.ping_every = Duration::from_millis(50);
        config.limits.max_silence = Duration::from_millis(600);
    })
    .await;
    // Answers pings while it is read from, and stays.
    let mut lively = relay.client().await;
    let mut pings = 0;
    while pings < 20 {
        if let Some(Ok(Message::Ping(_))) = soon(lively.socket.next()).await {
            pings += 1;
        }
    }
    let silent = relay.client().await;
    relay.counts.connections(2).await;
    tokio::select! {
        () = relay.counts.connections(1) => {}
        _ = async { while let Some(Ok(_)) = lively.socket.next().await {} } => panic!("the wrong one was let go"),
    }
    drop(silent);
}
