//! The relay behind its socket.

use nostr::filter::Filter;
use serde_json::{Value, json};
use testkit::relay::{Drip, DropAfter, Faults, Nip11Fault, RelayOptions, RunningRelay, ScriptedRelay};
use testkit::world::{EventSpec, keys};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Client, event_ids, http, ids, notes, patiently, req};

async fn relay(count: usize, faults: Faults) -> RunningRelay {
    let options = RelayOptions { events: notes(count), max_limit: 5_000, ..RelayOptions::default() };
    let relay = ScriptedRelay::start(options).await.expect("starts");
    relay.set_faults(|held| *held = faults);
    relay
}

#[tokio::test]
async fn stored_events_are_served_and_new_ones_follow() {
    let relay = relay(5_000, Faults::default()).await;
    let mut client = Client::connect(relay.addr()).await.expect("connects");
    client.say(&req("s", &[Filter::new().limit(5_000)])).await;
    assert_eq!(ids(&client.hear_until("EOSE").await, "s"), event_ids(&relay.events()));

    let mut writer = Client::connect(relay.addr()).await.expect("connects");
    let published = EventSpec::new(1).at(7).content("by a client").sign(&keys(1, 1));
    writer.say(&json!(["EVENT", published])).await;
    assert_eq!(writer.hear().await, Some(json!(["OK", published.id, true, ""])));
    assert_eq!(client.hear().await, Some(json!(["EVENT", "s", published])));
    let injected = EventSpec::new(1).at(8).content("by the test").sign(&keys(1, 1));
    relay.publish(injected.clone());
    assert_eq!(client.hear().await, Some(json!(["EVENT", "s", injected])));

    let stats = relay.stats();
    assert_eq!((stats.connections, stats.received("REQ"), stats.events_out()), (2, 1, 5_002));
    assert_eq!(stats.reqs[0].filters, [Filter::new().limit(5_000)]);
    drop((client, writer));
    relay.wait_for(|stats| stats.connections_open == 0 && stats.is_idle()).await.expect("both leave");
}

#[tokio::test]
async fn the_information_document_is_served_on_the_same_port() {
    let relay = relay(0, Faults { max_subscriptions: Some(20), ..Faults::default() }).await;
    let answer = http(relay.addr(), "application/nostr+json").await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/nostr+json"), "{head}");
    let document: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(document["limitation"]["max_limit"], 5_000);
    assert_eq!(document["limitation"]["max_subscriptions"], 20);
    assert_eq!(document["supported_nips"], json!([1, 9, 11, 42, 77]));

    relay.set_faults(|faults| faults.nip11 = Some(Nip11Fault::NotFound));
    assert!(http(relay.addr(), "application/nostr+json").await.starts_with("HTTP/1.1 404"));
    relay.set_faults(|faults| faults.nip11 = Some(Nip11Fault::Oversized(200_000)));
    assert!(http(relay.addr(), "application/nostr+json").await.len() > 200_000);
    assert!(http(relay.addr(), "text/html").await.starts_with("HTTP/1.1 426"));
    assert_eq!(relay.stats().nip11_requests, 3);
}

#[tokio::test]
async fn a_stopped_relay_refuses_and_comes_back_on_its_port() {
    let relay = relay(2, Faults::default()).await;
    let mut client = Client::connect(relay.addr()).await.expect("connects");
    relay.stop().await;
    assert_eq!(client.hear().await, None);
    assert!(TcpStream::connect(relay.addr()).await.is_err());
    assert_eq!(relay.stats().connections_open, 0);

    relay.restart().await.expect("the port is free");
    let mut client = Client::connect(relay.addr()).await.expect("connects");
    client.say(&req("s", &[Filter::new()])).await;
    assert_eq!(client.hear_until("EOSE").await.len(), 3);
}

#[tokio::test]
async fn connections_are_refused_and_dropped() {
    let relay = relay(3, Faults { refuse_connections: true, ..Faults::default() }).await;
    assert!(Client::connect(relay.addr()).await.is_err());
    relay.set_faults(|faults| *faults = Faults { refuse_handshake: Some(503), ..Faults::default() });
    assert!(Client::connect(relay.addr()).await.is_err());
    relay.wait_for(|stats| stats.connections_refused == 2).await.expect("counted");

    let drop_after = Some(DropAfter { frames: 2, times: None });
    relay.set_faults(|faults| *faults = Faults { drop_after, ..Faults::default() });
    let mut client = Client::connect(relay.addr()).await.expect("connects");
    client.say(&req("s", &[Filter::new()])).await;
    assert!(client.hear().await.is_some() && client.hear().await.is_some());
    assert_eq!(client.hear().await, None);

    relay.set_faults(|faults| *faults = Faults::default());
    let mut client = Client::connect(relay.addr()).await.expect("connects");
    client.say(&req("s", &[Filter::new()])).await;
    client.hear_until("EOSE").await;
    relay.drop_connections();
    assert_eq!(client.hear().await, None);
    relay.wait_for(|stats| stats.connections_dropped == 2 && stats.connections_open == 0).await.expect("dropped");
}

#[tokio::test]
async fn dripped_frames_arrive_whole() {
    let relay = relay(1, Faults { drip: Some(Drip { piece: 100, pause_ms: 1 }), ..Faults::default() }).await;
    let mut client = Client::connect(relay.addr()).await.expect("connects");
    client.say(&req("s", &[Filter::new()])).await;
    assert_eq!(ids(&client.hear_until("EOSE").await, "s"), event_ids(&relay.events()));
}

#[tokio::test]
async fn half_a_message_is_on_the_wire_and_nothing_after_it() {
    let relay = relay(1, Faults { half_message_after: Some(0), ..Faults::default() }).await;
    let mut stream = TcpStream::connect(relay.addr()).await.expect("connects");
    let handshake = "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    // The REQ comes in the same breath as the handshake, masked with zeros.
    let req = req("s", &[Filter::new()]).to_string();
    let length = u8::try_from(req.len()).expect("short");
    let frame = [&[0x81, 0x80 | length, 0, 0, 0, 0], req.as_bytes()].concat();
    stream.write_all(&[handshake.as_bytes(), &frame].concat()).await.expect("sends");

    let mut bytes = Vec::new();
    while !bytes.windows(8).any(|window| window == b"[\"EVENT\"") {
        assert_ne!(patiently(stream.read_buf(&mut bytes)).await.expect("reads"), 0);
    }
    relay.wait_for(|stats| stats.frames_out.values().sum::<u64>() == 1).await.expect("one frame");
    let start = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    assert!(bytes.starts_with(b"HTTP/1.1 101") && bytes[start] == 0x01, "text, not its last frame");
}

#[tokio::test]
async fn a_half_open_relay_hears_nothing_until_it_recovers() {
    let relay = relay(1, Faults::default()).await;
    let mut client = Client::connect(relay.addr()).await.expect("connects");
    relay.wait_for(|stats| stats.connections_open == 1).await.expect("connected");
    relay.set_faults(|faults| faults.half_open = true);
    client.say(&req("s", &[Filter::new()])).await;
    // Another connection's whole life passes without the first being read.
    let mut other = Client::connect(relay.addr()).await.expect("connects");
    other.say(&req("t", &[Filter::new()])).await;
    drop(other);
    assert_eq!(relay.stats().received("REQ"), 0);
    relay.set_faults(|faults| faults.half_open = false);
    assert_eq!(client.hear_until("EOSE").await.len(), 2);
}

#[tokio::test]
async fn waiting_in_vain_ends_with_what_was_seen() {
    let relay = relay(0, Faults::default()).await;
    let within = std::time::Duration::from_millis(20);
    let error = relay.wait_for_within(within, |stats| stats.connections == 1).await.expect_err("nobody connects");
    assert_eq!(error.stats.connections, 0);
}
