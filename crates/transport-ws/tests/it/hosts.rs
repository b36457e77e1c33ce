//! The bound on connections to one host.

use sync_core::transport::FaultKind;
use transport_ws::TransportConfig;

use crate::support::{Relay, connect, connector, refusal, refusing};

#[tokio::test]
async fn a_host_has_so_many_connections_and_no_more() {
    let (relay, other_port) = (Relay::start().await, Relay::start().await);
    let connector = connector(TransportConfig { max_connections_per_host: 2, ..TransportConfig::default() });
    let first = connect(&connector, &relay.url).await.expect("one");
    let second = connect(&connector, &other_port.url).await.expect("two, at another port of the host");

    let fault = refusal(&connector, &relay.url).await;
    assert_eq!(fault.kind, FaultKind::HostFull);
    assert!(fault.text.contains("127.0.0.1 has 2 connections (limits.max_connections_per_host)"), "{fault}");

    drop(first.sink);
    assert_eq!(refusal(&connector, &relay.url).await.kind, FaultKind::HostFull, "half of it still lives");
    drop(first.source);
    let third = connect(&connector, &relay.url).await.expect("a place is free");
    drop((second, third));
}

#[tokio::test]
async fn failed_attempts_keep_no_place() {
    let connector = connector(TransportConfig { max_connections_per_host: 1, ..TransportConfig::default() });
    let (_socket, url) = refusing();
    for _ in 0..3 {
        let fault = refusal(&connector, &url).await;
        assert!(!fault.text.contains("max_connections_per_host"), "{fault}");
    }
}
