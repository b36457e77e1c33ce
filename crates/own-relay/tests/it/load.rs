//! Many subscribers of many events.

use futures_util::StreamExt;
use nostr::event::Event;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Relay, START, announcement, soon};

const SUBSCRIBERS: usize = 100;
const EVENTS: u64 = 2_000;

#[tokio::test(flavor = "multi_thread")]
async fn everybody_hears_everything_in_order() {
    let relay = Relay::start(|config| config.limits.ring_events = 500).await;
    let mut subscribers = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let mut client = relay.client().await;
        client.stored("a", &[json!({"kinds": [30617], "limit": 0})]).await;
        client.stored("b", &[json!({"kinds": [1], "limit": 0})]).await;
        subscribers.push(tokio::spawn(async move {
            let mut ids = Vec::new();
            while ids.len() < EVENTS as usize {
                if let Some(Ok(Message::Text(text))) = client.socket.next().await {
                    let (_, id) = text.split_once("\"id\":\"").expect("an event");
                    ids.push(id[..64].to_owned());
                }
            }
            ids
        }));
    }
    let events: Vec<Event> = (0..EVENTS).map(|number| announcement(number, START + number)).collect();
    let expected: Vec<String> = events.iter().map(|event| event.id.to_hex()).collect();
    for events in events.chunks(100) {
        relay.store(events.to_vec()).await;
    }
    for subscriber in subscribers {
        assert_eq!(soon(subscriber).await.expect("heard"), expected);
    }
}
