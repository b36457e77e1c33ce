//! A small client, to ask a relay directly what it holds: the judge between it and the product.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// How long a relay may be silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// Ids in one request.
const IDS: usize = 100;

/// A connection to a relay.
pub struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    /// Connects.
    pub async fn connect(url: &str) -> Self {
        let (stream, _) = connect_async(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        Self(stream)
    }

    /// Sends one message.
    pub async fn send(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).await.expect("the relay reads");
    }

    /// The next message.
    pub async fn receive(&mut self) -> Value {
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.expect("the relay answers in time");
            let message = message.expect("the connection is open").expect("a WebSocket message");
            if let Message::Text(text) = message {
                return serde_json::from_str(&text).expect("relays speak JSON");
            }
        }
    }

    /// Publishes an event; whether the relay took it, and its words.
    pub async fn publish(&mut self, event: &Value) -> (bool, String) {
        self.send(&json!(["EVENT", event])).await;
        loop {
            let answer = self.receive().await;
            if answer[0] == "OK" && answer[1] == event["id"] {
                return (answer[2] == true, answer[3].as_str().unwrap_or_default().to_owned());
            }
        }
    }

    /// Those of `ids` that the relay serves.
    pub async fn served<'a>(&mut self, ids: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
        let ids: Vec<_> = ids.into_iter().collect();
        let mut served = BTreeSet::new();
        for (number, chunk) in ids.chunks(IDS).enumerate() {
            // A name of its own for each: some relays close a subscription after its EOSE, when the next one is open.
            let name = format!("judge-{number}");
            self.send(&json!(["REQ", name, { "ids": chunk }])).await;
            loop {
                let answer = self.receive().await;
                match answer[0].as_str().filter(|_| answer[1] == name.as_str()) {
                    Some("EVENT") => drop(served.insert(answer[2]["id"].as_str().unwrap_or_default().to_owned())),
                    Some("EOSE" | "CLOSED") => break,
                    _ => {}
                }
            }
            self.send(&json!(["CLOSE", name])).await;
        }
        served
    }
}
