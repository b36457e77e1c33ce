//! How connections end, from either side.

use futures_util::{SinkExt, StreamExt};
use sync_core::transport::FaultKind;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use transport_ws::TransportConfig;

use crate::support::{Relay, receive, soon};

#[tokio::test]
async fn an_orderly_close_is_an_empty_batch_and_is_answered() {
    let mut relay = Relay::start().await;
    for code in [CloseCode::Normal, CloseCode::Away] {
        let (mut connection, mut peer) = relay.connected(TransportConfig::default()).await;
        peer.feed(Message::text("last words")).await.expect("sent");
        peer.close(Some(CloseFrame { code, reason: "".into() })).await.expect("sent");
        assert_eq!(receive(&mut connection.source, 9).await.expect("before it"), ["last words"]);
        for _ in 0..2 {
            assert_eq!(receive(&mut connection.source, 9).await, Ok(Vec::new()));
        }
        let answer = soon(peer.next()).await.expect("an answer").expect("a message");
        assert!(answer.is_close());
    }
}

#[tokio::test]
async fn a_close_for_a_reason_is_a_fault_that_tells_it() {
    let mut relay = Relay::start().await;
    let (mut connection, mut peer) = relay.connected(TransportConfig::default()).await;
    let frame = CloseFrame { code: CloseCode::Policy, reason: "rate-limited: slow\ndown".into() };
    peer.close(Some(frame)).await.expect("sent");
    let fault = receive(&mut connection.source, 9).await.expect_err("a reason");
    assert_eq!(fault.kind, FaultKind::Closed);
    assert!(fault.text.contains("1008: rate-limited: slow down"), "{fault}");
}

#[tokio::test]
async fn half_a_message_then_nothing_is_a_fault() {
    let mut relay = Relay::start().await;
    let (mut connection, mut peer) = relay.connected(TransportConfig::default()).await;
    peer.get_mut().write_all(&[0x81, 100, b'h', b'a', b'l', b'f']).await.expect("sent");
    peer.get_mut().shutdown().await.expect("closed");
    let fault = receive(&mut connection.source, 9).await.expect_err("no whole message");
    assert_eq!(fault.kind, FaultKind::Closed, "{fault}");
    drop(peer);
    let fault = soon(async {
        loop {
            // The first send after the peer has gone may still be taken by the system.
            if let Err(fault) = connection.sink.send(vec!["x".to_owned()]).await {
                break fault;
            }
        }
    })
    .await;
    assert!(matches!(fault.kind, FaultKind::Network | FaultKind::Closed), "{fault}");
}

#[tokio::test]
async fn we_say_good_bye_and_hear_the_answer() {
    let mut relay = Relay::start().await;
    let (mut connection, mut peer) = relay.connected(TransportConfig::default()).await;
    connection.sink.send(vec!["x".to_owned()]).await.expect("sent");
    connection.sink.close().await;
    assert_eq!(soon(peer.next()).await.expect("open").expect("a message"), Message::text("x"));
    assert!(soon(peer.next()).await.expect("open").expect("a message").is_close());
    // Drives the answer out, and ends.
    assert!(soon(peer.next()).await.is_none());
    assert_eq!(receive(&mut connection.source, 9).await, Ok(Vec::new()));
    let fault = connection.sink.send(vec!["late".to_owned()]).await.expect_err("closed");
    assert_eq!(fault.kind, FaultKind::Closed);
    soon(connection.sink.close()).await;
}

#[tokio::test]
async fn dropping_both_halves_ends_the_connection() {
    let mut relay = Relay::start().await;
    let (connection, mut peer) = relay.connected(TransportConfig::default()).await;
    drop(connection.sink);
    peer.send(Message::text("one half is left")).await.expect("sent");
    drop(connection.source);
    while let Some(Ok(_)) = soon(peer.next()).await {}
}
