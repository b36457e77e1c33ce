//! What stands between an address and an open WebSocket, and how each failure is called.

use std::time::Duration;

use sync_core::transport::{Connector, FaultKind, Target};
use transport_ws::{SetupError, TransportConfig, WsConnector};

use crate::support::{Relay, answering, connect, connector, http, listen, refusal, refusing, relay_url, soon};

#[tokio::test]
async fn answers_that_are_no_websocket_are_named_by_status() {
    let cases = [
        ("404 Not Found", "", FaultKind::Protocol),
        ("200 OK", "", FaultKind::Protocol),
        ("403 Forbidden", "", FaultKind::Protocol),
        ("429 Too Many Requests", "retry-after: 60\r\n", FaultKind::Network),
        ("502 Bad Gateway", "", FaultKind::Network),
        ("503 Service Unavailable", "", FaultKind::Network),
    ];
    let connector = connector(TransportConfig::default());
    for (status, headers, kind) in cases {
        let url = answering(http(status, headers, b"a page")).await;
        let fault = refusal(&connector, &url).await;
        assert_eq!(fault.kind, kind, "{fault}");
        assert!(fault.text.contains(status), "{fault}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (elsewhere, url) = listen().await;
    let location = format!("location: {url}/x\r\n");
    let redirecting = answering(http("301 Moved Permanently", &location, b"")).await;
    let fault = refusal(&connector(TransportConfig::default()), &redirecting).await;
    assert_eq!(fault.kind, FaultKind::Protocol, "{fault}");
    assert!(fault.text.contains("301") && fault.text.contains(url.as_str()), "{fault}");
    let elsewhere = elsewhere.into_std().expect("non-blocking");
    assert!(elsewhere.accept().is_err(), "nobody connects to the target of the redirect");
}

#[tokio::test]
async fn garbage_and_broken_handshakes_are_protocol_faults() {
    let wrong_key = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
        sec-websocket-accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n";
    let endless = [b"HTTP/1.1 101 Switching Protocols\r\nx: ".as_slice(), &[b'x'; 200_000]].concat();
    let connector = connector(TransportConfig::default());
    for bytes in [b"SSH-2.0-OpenSSH_9.6\r\n\r\n".to_vec(), wrong_key.to_vec(), endless] {
        let fault = refusal(&connector, &answering(bytes).await).await;
        assert_eq!(fault.kind, FaultKind::Protocol, "{fault}");
    }
}

#[tokio::test]
async fn a_peer_that_closes_at_once_may_be_tried_again() {
    let fault = refusal(&connector(TransportConfig::default()), &answering(Vec::new()).await).await;
    assert_eq!(fault.kind, FaultKind::Closed, "{fault}");
    assert!(!fault.kind.is_lasting());
}

#[tokio::test]
async fn a_refused_connection_names_the_address() {
    let (_socket, url) = refusing();
    let fault = refusal(&connector(TransportConfig::default()), &url).await;
    assert_eq!(fault.kind, FaultKind::Network, "{fault}");
    assert!(fault.text.contains(&format!("127.0.0.1:{}", url.port())), "{fault}");
}

#[tokio::test]
async fn a_peer_that_says_nothing_ends_in_the_timeout() {
    let config = TransportConfig { connect_timeout: Duration::from_millis(150), ..TransportConfig::default() };
    let connector = connector(config);
    // TCP connects by the listener's backlog; nobody answers.
    let (_listener, url) = listen().await;
    let fault = refusal(&connector, &url).await;
    assert_eq!(fault.kind, FaultKind::Timeout, "{fault}");
    assert!(fault.text.contains("WebSocket handshake"), "{fault}");
    let fault = refusal(&connector, &relay_url(&format!("wss://127.0.0.1:{}", url.port()))).await;
    assert_eq!(fault.kind, FaultKind::Timeout, "{fault}");
    assert!(fault.text.contains("TLS handshake"), "{fault}");
}

#[tokio::test]
async fn the_next_address_of_a_name_is_tried() {
    // `localhost` has two addresses on most machines, and the listener is at one of them.
    let mut relay = Relay::start().await;
    let url = relay_url(&format!("ws://localhost:{}/path", relay.url.port()));
    let connection = connect(&connector(TransportConfig::default()), &url).await;
    assert!(connection.is_ok());
    relay.peer().await;
}

#[tokio::test]
async fn a_connect_that_is_given_up_ends() {
    let (listener, url) = listen().await;
    let connector = connector(TransportConfig { max_connections_per_host: 1, ..TransportConfig::default() });
    let target = Target { relay: url, named: true };
    {
        let mut attempt = connector.connect(target);
        let accepted = tokio::select! {
            accepted = soon(listener.accept()) => accepted,
            _ = &mut attempt => panic!("nobody answers"),
        };
        accepted.expect("connected");
    }
    let (_socket, url) = refusing();
    let fault = refusal(&connector, &url).await;
    assert!(!fault.text.contains("max_connections_per_host"), "its place is free again: {fault}");
}

#[tokio::test]
async fn impossible_values_are_refused_at_the_start() {
    let config = TransportConfig { send_timeout: Duration::ZERO, ..TransportConfig::default() };
    assert!(matches!(WsConnector::new(config), Err(SetupError::Value { key: "send_timeout", .. })));
    let config = TransportConfig { extra_roots: vec![b"no certificate".to_vec().into()], ..TransportConfig::default() };
    assert!(matches!(WsConnector::new(config), Err(SetupError::Tls(_))));
}
