//! Clients for the tests: of a machine, and of a socket.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use nostr::event::{Event, EventId};
use nostr::filter::Filter;
use serde_json::{Value, json};
use sync_core::Now;
use testkit::relay::{Faults, Outgoing, RelayConnection, RelayCore, RelayOptions};
use testkit::world::{BulkSpec, bulk_events};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

pub(crate) const NOW: Now = Now { mono_ms: 1_000_000, unix_s: 1_800_000_000 };

/// Notes, newest first: as a relay should serve them.
pub(crate) fn notes(count: usize) -> Vec<Event> {
    let mut events = bulk_events(&BulkSpec { count, content_len: 16, per_second: 3, ..BulkSpec::default() });
    events.sort();
    events
}

pub(crate) fn relay_with(events: &[Event], faults: Faults) -> RelayCore {
    let core = RelayCore::new(RelayOptions { events: events.to_vec(), ..RelayOptions::default() });
    core.set_faults(|held| *held = faults);
    core
}

/// Says something to a machine; everything that it says then.
pub(crate) fn say(connection: &mut RelayConnection, message: &Value) -> Vec<Value> {
    connection.receive(&message.to_string(), NOW);
    heard(connection)
}

/// Everything that a machine says without being asked.
pub(crate) fn heard(connection: &mut RelayConnection) -> Vec<Value> {
    std::iter::from_fn(|| connection.poll())
        .map(|outgoing| match outgoing {
            Outgoing::Text(text) => serde_json::from_str(&text).expect("JSON"),
            other => panic!("not a whole message: {other:?}"),
        })
        .collect()
}

pub(crate) fn req(id: &str, filters: &[Filter]) -> Value {
    let mut message = vec![json!("REQ"), json!(id)];
    message.extend(filters.iter().map(|filter| serde_json::to_value(filter).expect("a filter is JSON")));
    Value::Array(message)
}

/// The ids of the EVENT frames of a subscription, in order.
pub(crate) fn ids(frames: &[Value], subscription: &str) -> Vec<EventId> {
    let events = frames.iter().filter(|frame| frame[0] == "EVENT" && frame[1] == subscription);
    events.map(|frame| EventId::from_hex(frame[2]["id"].as_str().expect("id")).expect("hex")).collect()
}

pub(crate) fn event_ids(events: &[Event]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

/// The types of frames, in order.
pub(crate) fn types(frames: &[Value]) -> Vec<&str> {
    frames.iter().map(|frame| frame[0].as_str().expect("a type")).collect()
}

/// A client of a socket.
pub(crate) struct Client(WebSocketStream<TcpStream>);

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Result<Self, Error> {
        let stream = TcpStream::connect(addr).await.map_err(Error::Io)?;
        stream.set_nodelay(true).map_err(Error::Io)?;
        let (socket, _) = tokio_tungstenite::client_async(format!("ws://{addr}/"), stream).await?;
        Ok(Self(socket))
    }

    pub(crate) async fn say(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).await.expect("sends");
    }

    /// The next text; `None` where the connection ended.
    pub(crate) async fn hear(&mut self) -> Option<Value> {
        loop {
            match patiently(self.0.next()).await {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// Everything up to and including the next frame of that type.
    pub(crate) async fn hear_until(&mut self, last: &str) -> Vec<Value> {
        let mut frames = Vec::new();
        while frames.last().is_none_or(|frame: &Value| frame[0] != last) {
            frames.push(self.hear().await.expect("the connection is open"));
        }
        frames
    }
}

/// An HTTP answer, whole.
pub(crate) async fn http(addr: SocketAddr, accept: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.expect("connects");
    let request = format!("GET / HTTP/1.1\r\nHost: {addr}\r\nAccept: {accept}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sends");
    let mut answer = String::new();
    patiently(stream.read_to_string(&mut answer)).await.expect("an answer");
    answer
}

pub(crate) async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("within 20 s")
}
