//! Pings in both directions, and what silence means.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use sync_core::transport::FaultKind;
use tokio_tungstenite::tungstenite::Message;
use transport_ws::TransportConfig;

use crate::support::{Relay, receive, soon};

#[tokio::test]
async fn pings_are_answered_though_nothing_is_sent() {
    let mut relay = Relay::start().await;
    let (mut connection, mut peer) = relay.connected(TransportConfig::default()).await;
    let receiving = tokio::spawn(async move { receive(&mut connection.source, 9).await });
    for payload in ["one", "two"] {
        peer.send(Message::Ping(payload.into())).await.expect("sent");
        assert_eq!(soon(peer.next()).await.expect("open").expect("a message"), Message::Pong(payload.into()));
    }
    peer.send(Message::text("done")).await.expect("sent");
    assert_eq!(soon(receiving).await.expect("no panic").expect("open"), ["done"]);
}

#[tokio::test]
async fn a_quiet_peer_is_pinged_and_kept_while_it_answers() {
    let mut relay = Relay::start().await;
    let config = TransportConfig {
        ping_interval: Duration::from_millis(20),
        silence_timeout: Duration::from_secs(10),
        ..TransportConfig::default()
    };
    let (mut connection, mut peer) = relay.connected(config).await;
    let receiving = tokio::spawn(async move { receive(&mut connection.source, 9).await });
    for _ in 0..4 {
        // The next read sends the pong.
        assert!(matches!(soon(peer.next()).await, Some(Ok(Message::Ping(_)))));
    }
    peer.send(Message::text("still here")).await.expect("sent");
    assert_eq!(soon(receiving).await.expect("no panic").expect("open"), ["still here"]);
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_silent() {
    let mut relay = Relay::start().await;
    let config = TransportConfig {
        ping_interval: Duration::from_millis(30),
        silence_timeout: Duration::from_millis(90),
        ..TransportConfig::default()
    };
    // The peer's end stays open, and is never read.
    let (mut connection, peer) = relay.connected(config).await;
    let begun = Instant::now();
    let fault = receive(&mut connection.source, 9).await.expect_err("silence");
    assert_eq!(fault.kind, FaultKind::Silent, "{fault}");
    assert!(begun.elapsed() >= Duration::from_millis(60), "the peer had its time to answer");
    assert_eq!(receive(&mut connection.source, 9).await, Err(fault), "it stays so");
    drop(peer);
}

#[tokio::test]
async fn messages_that_waited_for_us_are_no_silence() {
    let mut relay = Relay::start().await;
    let config = TransportConfig {
        ping_interval: Duration::from_millis(1),
        silence_timeout: Duration::from_millis(2),
        ..TransportConfig::default()
    };
    let (mut connection, mut peer) = relay.connected(config).await;
    peer.send(Message::text("here all the time")).await.expect("sent");
    // Both deadlines pass while nobody receives.
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(receive(&mut connection.source, 9).await.expect("not silent"), ["here all the time"]);
}
