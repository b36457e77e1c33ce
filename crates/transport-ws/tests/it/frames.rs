//! Frames arrive whole and in order, batched, and survive cancellation.

use futures_util::{FutureExt, SinkExt, StreamExt};
use sync_core::transport::FaultKind;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use transport_ws::TransportConfig;

use crate::support::{Peer, Relay, receive, soon};

async fn send_numbered(peer: &mut Peer, count: usize, padding: usize) {
    for number in 0..count {
        peer.feed(Message::text(format!("{number}:{}", "x".repeat(padding)))).await.expect("sent");
    }
    peer.flush().await.expect("sent");
}

fn number(frame: &str) -> usize {
    frame.split(':').next().and_then(|number| number.parse().ok()).expect("a numbered frame")
}

#[tokio::test]
async fn frames_are_sent_in_order() {
    let mut relay = Relay::start().await;
    let (mut connection, mut peer) = relay.connected(TransportConfig::default()).await;
    connection.sink.send(Vec::new()).await.expect("nothing is sent");
    connection.sink.send(vec!["a".to_owned(), String::new(), "ü".to_owned()]).await.expect("sent");
    connection.sink.send(vec!["last".to_owned()]).await.expect("sent");
    for expected in ["a", "", "ü", "last"] {
        let message = soon(peer.next()).await.expect("open").expect("a message");
        assert_eq!(message.to_text().expect("text"), expected);
    }
}

#[tokio::test]
async fn what_has_arrived_is_taken_along_up_to_the_maximum() {
    let mut relay = Relay::start().await;
    let (mut connection, mut peer) = relay.connected(TransportConfig::default()).await;
    send_numbered(&mut peer, 50, 10).await;
    let mut sizes = Vec::new();
    let mut seen = Vec::new();
    while seen.len() < 50 {
        let frames = receive(&mut connection.source, 20).await.expect("open");
        sizes.push(frames.len());
        seen.extend(frames.iter().map(|frame| number(frame)));
    }
    assert_eq!(sizes, [20, 20, 10]);
    assert_eq!(seen, (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_batch_is_bounded_in_bytes() {
    let mut relay = Relay::start().await;
    let config = TransportConfig { max_message_size: 1000, ..TransportConfig::default() };
    let (mut connection, mut peer) = relay.connected(config).await;
    send_numbered(&mut peer, 20, 396).await;
    let frames = receive(&mut connection.source, 20).await.expect("open");
    assert_eq!(frames.len(), 3, "two messages hold less than 1000 bytes, the third passes it");
}

#[tokio::test]
async fn a_cold_sync_arrives_whole_both_ways_at_once() {
    const COUNT: usize = 20_000;
    let mut relay = Relay::start().await;
    let (mut connection, peer) = relay.connected(TransportConfig::default()).await;
    let (mut out, mut incoming) = peer.split();
    let sender = tokio::spawn(async move {
        for number in 0..COUNT {
            out.feed(Message::text(format!("{number}:{}", "x".repeat(700)))).await.expect("sent");
        }
        out.flush().await.expect("sent");
        out
    });
    let reader = tokio::spawn(async move {
        for expected in 0..COUNT / 100 {
            let message = soon(incoming.next()).await.expect("open").expect("a message");
            assert_eq!(message.to_text().expect("text"), expected.to_string());
        }
        incoming
    });
    let mut seen = 0;
    let mut sent = 0;
    while seen < COUNT {
        for frame in receive(&mut connection.source, 256).await.expect("open") {
            assert_eq!(number(&frame), seen);
            seen += 1;
            if seen % 100 == 0 {
                connection.sink.send(vec![sent.to_string()]).await.expect("sent");
                sent += 1;
            }
        }
    }
    let halves = (soon(sender).await.expect("sends all"), soon(reader).await.expect("reads all"));
    drop(halves);
}

#[tokio::test]
async fn a_cancelled_receive_loses_nothing() {
    let mut relay = Relay::start().await;
    let (mut connection, mut peer) = relay.connected(TransportConfig::default()).await;
    let sender = tokio::spawn(async move {
        for at in 0..300 {
            peer.send(Message::text(format!("{at}:"))).await.expect("sent");
            tokio::task::yield_now().await;
        }
        peer
    });
    let mut seen = Vec::new();
    while seen.len() < 300 {
        // Polled once and dropped, mostly before anything has come.
        if let Some(frames) = connection.source.receive(3).now_or_never() {
            seen.extend(frames.expect("open").iter().map(|frame| number(frame)));
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(seen, (0..300).collect::<Vec<_>>());
    soon(sender).await.expect("sends all");
}

#[tokio::test]
async fn messages_beyond_the_limit_are_faults_in_both_directions() {
    let config = || TransportConfig { max_message_size: 1000, ..TransportConfig::default() };
    let mut relay = Relay::start().await;

    let (mut connection, mut peer) = relay.connected(config()).await;
    peer.feed(Message::text("x".repeat(1000))).await.expect("sent");
    peer.send(Message::text("x".repeat(1001))).await.expect("sent");
    assert_eq!(receive(&mut connection.source, 9).await.expect("allowed").len(), 1);
    let fault = receive(&mut connection.source, 9).await.expect_err("too large");
    assert_eq!(fault.kind, FaultKind::TooLarge, "{fault}");
    assert!(fault.text.contains("1001") && fault.text.contains("1000"), "{fault}");

    let fault = connection.sink.send(vec!["x".repeat(1001)]).await.expect_err("too large");
    assert_eq!(fault.kind, FaultKind::TooLarge, "{fault}");

    // In fragments, each of them allowed.
    let (mut connection, mut peer) = relay.connected(config()).await;
    let fragment = |kind, last| Message::Frame(Frame::message("x".repeat(600), OpCode::Data(kind), last));
    peer.feed(fragment(Data::Text, false)).await.expect("sent");
    peer.send(fragment(Data::Continue, true)).await.expect("sent");
    let fault = receive(&mut connection.source, 9).await.expect_err("too large");
    assert_eq!(fault.kind, FaultKind::TooLarge, "{fault}");

    // By a header that promises 2^62 bytes: refused before any of them comes.
    let (mut connection, mut peer) = relay.connected(config()).await;
    peer.get_mut().write_all(&[0x81, 127, 0x40, 0, 0, 0, 0, 0, 0, 0]).await.expect("sent");
    let fault = receive(&mut connection.source, 9).await.expect_err("too large");
    assert_eq!(fault.kind, FaultKind::TooLarge, "{fault}");
}

#[tokio::test]
async fn what_breaks_the_protocol_is_a_fault_after_what_came_before() {
    let mut relay = Relay::start().await;
    let cases: [(&str, &[u8]); 5] = [
        ("binary", &[0x82, 1, b'x']),
        ("compressed, though nothing was agreed on", &[0xc1, 1, b'x']),
        ("masked", &[0x81, 0x81, 1, 2, 3, 4, b'x']),
        ("not UTF-8", &[0x81, 2, 0xff, 0xfe]),
        ("an unknown opcode", &[0x83, 0]),
    ];
    for (name, bytes) in cases {
        let (mut connection, mut peer) = relay.connected(TransportConfig::default()).await;
        let whole = [&[0x81, 2, b'o', b'k'], bytes].concat();
        peer.get_mut().write_all(&whole).await.expect("sent");
        assert_eq!(receive(&mut connection.source, 9).await.expect("before it"), ["ok"], "{name}");
        for _ in 0..2 {
            let fault = receive(&mut connection.source, 9).await.expect_err(name);
            assert_eq!(fault.kind, FaultKind::Protocol, "{name}: {fault}");
        }
    }
}
