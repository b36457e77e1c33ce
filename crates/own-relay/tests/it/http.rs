//! HTTP: the NIP-11 document, and what is not WebSocket.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Relay, soon};

/// The head and the body of the answer to a request.
async fn ask(relay: &Relay, head: &str) -> (String, String) {
    let mut stream = soon(TcpStream::connect(relay.address)).await.expect("connects");
    let request = format!("{head}\r\nHost: relay\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_lowercase(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_says_what_the_relay_holds_to() {
    let relay = Relay::start(|config| config.supported_grasps = vec!["GRASP-01".to_owned()]).await;
    let (head, body) = ask(&relay, "GET / HTTP/1.1\r\nAccept: application/nostr+json").await;
    assert!(head.starts_with("http/1.1 200") && head.contains("content-type: application/nostr+json"), "{head}");
    assert!(head.contains("access-control-allow-origin: *"), "{head}");
    let document: Value = serde_json::from_str(&body).expect("JSON");
    let (config, limits) = (&relay.config, &relay.config.limits);
    assert_eq!(document["name"], json!(config.name));
    assert_eq!(document["version"], json!("1.2.3"));
    assert_eq!(document["supported_nips"], json!(own_relay::SUPPORTED_NIPS));
    assert!(!own_relay::SUPPORTED_NIPS.contains(&50), "a search is refused");
    assert_eq!(document["supported_grasps"], json!(["GRASP-01"]));
    assert_eq!(
        document["limitation"],
        json!({
            "max_message_length": config.max_message,
            "max_subscriptions": limits.max_subscriptions,
            "max_filters": limits.max_filters,
            "max_limit": limits.max_limit,
            "default_limit": limits.max_limit,
            "max_subid_length": own_relay::MAX_SUBSCRIPTION_ID,
            "max_event_tags": config.events.max_tags,
            "created_at_upper_limit": config.max_future_s,
            "auth_required": false,
            "payment_required": false,
            "restricted_writes": true,
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_a_proxy_leaves_in_place_leads_to_the_relay_too() {
    let relay = Relay::start(|_| {}).await;
    let (head, _) = ask(&relay, "GET /relay HTTP/1.1\r\nAccept: application/nostr+json").await;
    assert!(head.starts_with("http/1.1 200") && head.contains("content-type: application/nostr+json"), "{head}");
    let upgrade = "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13";
    let mut stream = soon(TcpStream::connect(relay.address)).await.expect("connects");
    let request = format!(
        "GET /relay HTTP/1.1\r\nHost: relay\r\n{upgrade}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut status = [0; 12];
    soon(stream.read_exact(&mut status)).await.expect("answered");
    assert_eq!(&status, b"HTTP/1.1 101");
}

#[tokio::test(flavor = "multi_thread")]
async fn grasps_are_said_only_where_there_are_any() {
    let relay = Relay::start(|_| {}).await;
    let (_, body) = ask(&relay, "GET / HTTP/1.1\r\nAccept: text/html, application/nostr+json;q=0.9").await;
    let document: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(document.get("supported_grasps"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_requests_have_their_answer() {
    let relay = Relay::start(|_| {}).await;
    let websocket = "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13";
    for (request, status) in [
        ("GET / HTTP/1.1".to_owned(), "200"),
        ("OPTIONS / HTTP/1.1".to_owned(), "204"),
        ("GET /elsewhere HTTP/1.1".to_owned(), "404"),
        ("POST / HTTP/1.1\r\nContent-Length: 0".to_owned(), "405"),
        (format!("GET / HTTP/1.1\r\n{websocket}"), "400"),
        (format!("GET / HTTP/1.1\r\n{websocket}\r\nSec-WebSocket-Key: short"), "400"),
        (format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(40_000)), "431"),
    ] {
        let (head, _) = ask(&relay, &request).await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{request:.60}: {head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_and_counted() {
    let relay = Relay::start(|config| config.limits.max_connections = 2).await;
    let first = relay.client().await;
    let _second = relay.client().await;
    relay.counts.connections(2).await;
    let mut refused = soon(TcpStream::connect(relay.address)).await.expect("connects");
    assert!(matches!(soon(refused.read(&mut [0; 1])).await, Ok(0) | Err(_)), "it is closed at once");
    relay.counts.counted("max_connections").await;
    drop(first);
    relay.counts.connections(1).await;
    relay.client().await.assert_silent().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_ends_its_head_is_let_go() {
    let relay = Relay::start(|config| config.limits.header_timeout = std::time::Duration::from_millis(100)).await;
    let mut stream = soon(TcpStream::connect(relay.address)).await.expect("connects");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: re").await.expect("sent");
    let mut rest = Vec::new();
    let _ = soon(stream.read_to_end(&mut rest)).await;
    relay.counts.connections(0).await;
}
