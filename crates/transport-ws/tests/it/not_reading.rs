//! A peer that never reads.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use sync_core::transport::FaultKind;
use tokio_tungstenite::tungstenite::Message;
use transport_ws::TransportConfig;

use crate::support::{Relay, receive, soon};

#[tokio::test]
async fn sending_times_out_and_receiving_goes_on() {
    let mut relay = Relay::start().await;
    let config = TransportConfig { send_timeout: Duration::from_millis(200), ..TransportConfig::default() };
    let (mut connection, mut peer) = relay.connected(config).await;
    // More than the buffers of both sockets hold.
    let frames = vec!["x".repeat(1 << 20); 64];
    let fault = soon(connection.sink.send(frames)).await.expect_err("nobody reads");
    assert_eq!(fault.kind, FaultKind::Timeout, "{fault}");

    peer.send(Message::text("hello")).await.expect("sent");
    assert_eq!(receive(&mut connection.source, 9).await.expect("open"), ["hello"]);

    // The stuck write ends with the connection, not with its own timeout.
    soon(connection.sink.close()).await;
    drop(connection);
    while let Some(Ok(_)) = soon(peer.next()).await {}
}
