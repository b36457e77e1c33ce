//! NIP-11 beside the connection: read where it is there, never waited for.

use std::time::{Duration, Instant};

use sync_core::strategy::RelayProfile;
use transport_ws::TransportConfig;

use crate::support::{Plain, Relay, connect, connector, http, listen, relay_url, soon};

const DOCUMENT: &[u8] = br#"{"supported_nips":[1,77],"software":"s","limitation":{"max_limit":500}}"#;

fn profile() -> RelayProfile {
    RelayProfile {
        supported_nips: vec![1, 77],
        software: "s".to_owned(),
        max_limit: Some(500),
        ..RelayProfile::default()
    }
}

/// Waits for NIP-11 as long as it takes, so that only its content decides.
fn patient() -> TransportConfig {
    TransportConfig { nip11_grace: Duration::from_secs(10), ..TransportConfig::default() }
}

async fn profile_with(plain: Plain, config: TransportConfig) -> RelayProfile {
    let relay = Relay::with_plain(plain).await;
    connect(&connector(config), &relay.url).await.expect("connects whatever NIP-11 says").profile
}

#[tokio::test]
async fn a_document_is_read_from_the_relays_own_path() {
    let mut relay = Relay::with_plain(Plain::Bytes(http("200 OK", "", DOCUMENT))).await;
    let url = relay_url(&format!("{}/sub/path", relay.url));
    let connection = connect(&connector(patient()), &url).await.expect("connects");
    assert_eq!(connection.profile, profile());
    let head = soon(relay.requests.recv()).await.expect("asked").to_ascii_lowercase();
    assert!(head.starts_with("get /sub/path http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\naccept: application/nostr+json\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nhost: 127.0.0.1:{}\r\n", url.port())), "{head}");
    assert!(head.contains("\r\nuser-agent: grasp-sync/"), "{head}");
}

#[tokio::test]
async fn chunked_documents_are_read() {
    let body =
        [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n".as_slice(), &DOCUMENT[..5], b"\r\n"].concat();
    let rest = [format!("{:x}\r\n", DOCUMENT.len() - 5).as_bytes(), &DOCUMENT[5..], b"\r\n0\r\n\r\n"].concat();
    assert_eq!(profile_with(Plain::Bytes([body, rest].concat()), patient()).await, profile());
}

#[tokio::test]
async fn what_is_no_document_is_an_empty_profile() {
    let huge = [b"{\"supported_nips\":[1],\"pad\":\"".as_slice(), &vec![b'x'; 300 << 10], b"\"}"].concat();
    let endless = [b"HTTP/1.1 200 OK\r\n".to_vec(), b"x: y\r\n".repeat(50_000)].concat();
    let cut = [b"HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n".as_slice(), DOCUMENT].concat();
    let cases = [
        ("absent", http("404 Not Found", "", DOCUMENT)),
        ("garbage", http("200 OK", "", b"<!doctype html><p>Please use a Nostr client")),
        ("huge", http("200 OK", "", &huge)),
        ("endless head", endless),
        ("cut short", cut),
        ("closed at once", Vec::new()),
        ("not HTTP", b"220 smtp.example ESMTP\r\n".to_vec()),
    ];
    for (name, bytes) in cases {
        assert_eq!(profile_with(Plain::Bytes(bytes), patient()).await, RelayProfile::default(), "{name}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (elsewhere, url) = listen().await;
    let location = format!("location: http://127.0.0.1:{}/\r\n", url.port());
    let plain = Plain::Bytes(http("302 Found", &location, b""));
    assert_eq!(profile_with(plain, patient()).await, RelayProfile::default());
    let elsewhere = elsewhere.into_std().expect("non-blocking");
    assert!(elsewhere.accept().is_err(), "nobody connects to the target of the redirect");
}

#[tokio::test]
async fn a_slow_document_delays_by_the_grace_only() {
    let long = Duration::from_secs(60);
    let config = TransportConfig {
        connect_timeout: long,
        nip11_timeout: long,
        nip11_grace: Duration::from_millis(50),
        ..TransportConfig::default()
    };
    let begun = Instant::now();
    assert_eq!(profile_with(Plain::Silence, config).await, RelayProfile::default());
    assert!(begun.elapsed() < Duration::from_secs(10));
}
