//! Event streams: the state first, then what changed; bounds.

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpSocket;

use super::*;
use crate::admin::events::MAX_STREAMS;
use crate::admin::stall::STALL;

impl Endpoint {
    async fn stream(&self) -> EventReader {
        let mut stream = self.connect().await;
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
        EventReader(BufReader::new(stream))
    }
}

struct EventReader(BufReader<TcpStream>);

impl EventReader {
    /// The next line that starts with `prefix`; `None` at the end of the stream.
    async fn line(&mut self, prefix: &str) -> io::Result<Option<String>> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.0.read_line(&mut line).await? == 0 {
                return Ok(None);
            }
            if let Some(rest) = line.strip_prefix(prefix) {
                return Ok(Some(rest.trim().to_owned()));
            }
        }
    }

    /// Name and data of the next event; `None` at the end of the stream, also within an event.
    async fn try_next(&mut self) -> io::Result<Option<(String, serde_json::Value)>> {
        let Some(name) = self.line("event: ").await? else { return Ok(None) };
        let data = self.line("data: ").await?.and_then(|data| serde_json::from_str(&data).ok());
        Ok(data.map(|data| (name, data)))
    }

    async fn next(&mut self) -> Option<(String, serde_json::Value)> {
        self.try_next().await.expect("readable")
    }
}

#[tokio::test]
async fn events_tell_what_changed_and_nothing_else() {
    let steady = relay("wss://steady", ConnectionStatus::Connected, "");
    let endpoint = Endpoint::start(vec![relay("wss://moving", ConnectionStatus::Connecting, ""), steady.clone()]).await;
    let mut events = endpoint.stream().await;
    let (name, data) = events.next().await.expect("the state at the start");
    assert_eq!((name.as_str(), data["relays"].as_array().map(Vec::len)), ("status", Some(2)));

    let moved = relay("wss://moving", ConnectionStatus::Syncing, "");
    endpoint.status.send_replace(report(vec![moved, steady.clone()]));
    let (name, data) = events.next().await.expect("a change");
    assert_eq!((name.as_str(), &data["url"], &data["status"]), ("relay", &"wss://moving".into(), &"Syncing".into()));

    let new = relay("wss://new", ConnectionStatus::Connecting, "");
    endpoint.status.send_replace(report(vec![new, steady]));
    let (name, data) = events.next().await.expect("a new relay");
    assert_eq!((name.as_str(), &data["url"]), ("relay", &"wss://new".into()));
    let (name, data) = events.next().await.expect("a relay that is gone");
    assert_eq!((name.as_str(), &data["url"]), ("gone", &"wss://moving".into()));

    // Time alone is no change; the rest is told by its members.
    let mut next = (**endpoint.status.borrow()).clone();
    next.at += 1;
    endpoint.status.send_replace(Arc::new(next.clone()));
    next.at += 1;
    next.trouble = "the store is full".to_owned();
    next.totals.store_events = 7;
    endpoint.status.send_replace(Arc::new(next.clone()));
    let (name, data) = events.next().await.expect("a change");
    let totals = serde_json::to_value(&next.totals).expect("JSON");
    let parts = serde_json::json!({ "at": next.at, "trouble": "the store is full", "totals": totals });
    assert_eq!((name.as_str(), data), ("changed", parts));

    endpoint.stop().await;
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn what_was_told_amounts_to_the_report() {
    let endpoint = Endpoint::start(vec![relay("wss://a.b", ConnectionStatus::Connecting, "")]).await;
    let mut events = endpoint.stream().await;
    let (_, mut told) = events.next().await.expect("the state at the start");
    let whole = super::page::report_with("word");
    endpoint.status.send_replace(Arc::new(whole.clone()));
    let mut relays = std::collections::BTreeMap::new();
    loop {
        let (name, data) = events.next().await.expect("changes");
        match name.as_str() {
            "relay" => drop(relays.insert(data["url"].to_string(), data)),
            "gone" => drop(relays.remove(&data["url"].to_string())),
            "changed" => {
                for (name, part) in data.as_object().expect("members") {
                    told[name] = part.clone();
                }
                break;
            }
            other => panic!("{other}"),
        }
    }
    told["relays"] = relays.into_values().collect();
    let told: StatusReport = serde_json::from_value(told).expect("a report");
    assert_eq!(told, whole);
    endpoint.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_is_dropped() {
    let endpoint = Endpoint::start(vec![]).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 * 1024).expect("a small buffer");
    let mut slow = socket.connect(endpoint.address).await.expect("connects");
    slow.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    // More than the system keeps for who doesn't read.
    let words = "x".repeat(64 * 1024);
    let many = (0..400).map(|at| relay(&format!("wss://r{at}.example"), ConnectionStatus::Connected, &words));
    let mut slow = EventReader(BufReader::new(slow));
    slow.next().await.expect("the state at the start");
    endpoint.status.send_replace(report(many.collect()));
    // Virtual time: it passes when nothing else can happen.
    tokio::time::sleep(STALL * 2).await;
    let mut taken = 0;
    while taken < 400
        && let Ok(Some(_)) = slow.try_next().await
    {
        taken += 1;
    }
    assert!(taken < 400, "it was told everything");
    endpoint.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_to_whom_nothing_is_to_be_told_stays() {
    let endpoint = Endpoint::start(vec![]).await;
    let mut events = endpoint.stream().await;
    events.next().await.expect("the state at the start");
    tokio::time::sleep(REQUEST_TIMEOUT * 10).await;
    endpoint.status.send_replace(report(vec![relay("wss://late", ConnectionStatus::Connected, "")]));
    let (name, data) = events.next().await.expect("a change");
    assert_eq!((name.as_str(), &data["url"]), ("relay", &"wss://late".into()));
    endpoint.stop().await;
}

#[tokio::test]
async fn pages_from_elsewhere_take_no_place() {
    let endpoint = Endpoint::start(vec![]).await;
    let mut stream = endpoint.connect().await;
    stream
        .write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n\r\n")
        .await
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    endpoint.stop().await;
}

#[tokio::test]
async fn a_reader_that_lags_gets_the_last_state() {
    let endpoint = Endpoint::start(vec![]).await;
    let mut events = endpoint.stream().await;
    events.next().await.expect("the state at the start");
    for count in 0..=10_000 {
        let mut changed = relay("wss://busy", ConnectionStatus::Connected, "");
        changed.events_stored = count;
        endpoint.status.send_replace(report(vec![changed]));
    }
    loop {
        let (_, data) = events.next().await.expect("more");
        if data["events_stored"] == 10_000 {
            break;
        }
    }
    endpoint.stop().await;
}

#[tokio::test]
async fn streams_are_bounded_and_leave_room_for_others() {
    let endpoint = Endpoint::start(vec![]).await;
    let mut open = Vec::new();
    for _ in 0..MAX_STREAMS {
        let mut events = endpoint.stream().await;
        events.next().await.expect("the state at the start");
        open.push(events);
    }
    let (header, body) = endpoint.get("/events").await;
    assert!(header.starts_with("http/1.1 503") && body.contains("16 event streams"), "{header} {body}");
    assert_eq!(endpoint.get("/healthz").await.1, "ok\n");
    endpoint.stop().await;
}
