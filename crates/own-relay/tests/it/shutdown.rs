//! The end of the relay.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Relay, large, soon};

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_and_nobody_holds_it_up() {
    let mut relay = Relay::start(|_| {}).await;
    for part in 0..8 {
        relay.store((part * 50..part * 50 + 50).map(large).collect()).await;
    }
    let (mut polite, mut stuck) = (relay.client().await, relay.client().await);
    polite.stored("a", &[json!({"limit": 1})]).await;
    stuck.send(json!(["REQ", "a", {}])).await;
    relay.counts.connections(2).await;
    let begun = Instant::now();
    relay.cancel.cancel();
    assert_eq!(polite.close_code().await, Some(1001));
    soon(&mut relay.task).await.expect("no panic").expect("no failure");
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    assert!(tokio::net::TcpStream::connect(relay.address).await.is_err(), "the port is free");
    drop(stuck);
}
