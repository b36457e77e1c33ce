//! A WebSocket proxy in front of a relay: counts which events are published through it, and notes what the relay says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{accept_async, connect_async};

use crate::events;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(180);

/// What came through.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Connections asked for, also while no relay is behind the proxy.
    pub connections: usize,
    /// How often each event was offered, by id.
    pub offered: BTreeMap<String, usize>,
    /// The relay's last word about each event: whether it took it, and its words.
    pub answered: BTreeMap<String, (bool, String)>,
}

impl Seen {
    /// Those that the relay refused last, with its words.
    pub fn refused(&self) -> impl Iterator<Item = (&String, &str)> {
        self.answered.iter().filter(|(_, (taken, _))| !taken).map(|(id, (_, words))| (id, words.as_str()))
    }

    /// How many events were offered how often, without those that the relay refuses: where its words leave open whether
    /// it always will, they are offered again.
    pub fn times_offered(&self) -> BTreeMap<usize, usize> {
        let refused: BTreeSet<_> = self.refused().map(|(id, _)| id).collect();
        events::tally(self.offered.iter().filter(|(id, _)| !refused.contains(id)).map(|(_, times)| *times))
    }
}

/// The proxy, for WebSockets alone: it answers no NIP-11. Clients are turned away while the relay can't be reached.
pub struct Proxy {
    url: String,
    seen: Arc<watch::Sender<Seen>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// In front of the relay at `target`.
    pub async fn start(target: String) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let url = format!("ws://{}", listener.local_addr().expect("bound"));
        let seen = Arc::new(watch::Sender::new(Seen::default()));
        let task = tokio::spawn(serve(listener, target, Arc::clone(&seen)));
        Self { url, seen, task }
    }

    /// Its WebSocket address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What came through by now.
    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until as many different events were offered.
    pub async fn wait_offered(&self, events: usize) {
        let mut seen = self.seen.subscribe();
        let waited = timeout(PATIENCE, seen.wait_for(|seen| seen.offered.len() >= events)).await;
        assert!(waited.is_ok(), "{events} events are offered; {} were", self.seen.borrow().offered.len());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, target: String, seen: Arc<watch::Sender<Seen>>) {
    while let Ok((client, _)) = listener.accept().await {
        seen.send_modify(|seen| seen.connections += 1);
        tokio::spawn(carry(client, target.clone(), Arc::clone(&seen)));
    }
}

/// One connection, until either side ends it: then both are ended.
async fn carry(client: TcpStream, target: String, seen: Arc<watch::Sender<Seen>>) {
    let Ok((relay, _)) = connect_async(&target).await else { return };
    let Ok(client) = accept_async(client).await else { return };
    let (to_relay, from_relay) = relay.split();
    let (to_client, from_client) = client.split();
    tokio::select! {
        () = pass(from_client, to_relay, |message| note_offer(&seen, message)) => {}
        () = pass(from_relay, to_client, |message| note_answer(&seen, message)) => {}
    }
}

async fn pass<F, T>(mut from: F, mut to: T, note: impl Fn(&str))
where
    F: Stream<Item = Result<Message, Error>> + Unpin,
    T: Sink<Message> + Unpin,
{
    while let Some(Ok(message)) = from.next().await {
        match &message {
            Message::Text(text) => note(text),
            Message::Binary(_) => {}
            Message::Close(_) => return,
            // Each side's pings are answered by the library.
            _ => continue,
        }
        if to.send(message).await.is_err() {
            return;
        }
    }
}

fn note_offer(seen: &watch::Sender<Seen>, message: &str) {
    let Some(message) = parse(message, "EVENT") else { return };
    if let Some(id) = message[1]["id"].as_str() {
        seen.send_modify(|seen| *seen.offered.entry(id.to_owned()).or_default() += 1);
    }
}

fn note_answer(seen: &watch::Sender<Seen>, message: &str) {
    let Some(message) = parse(message, "OK") else { return };
    if let Some(id) = message[1].as_str() {
        let answer = (message[2] == true, message[3].as_str().unwrap_or_default().to_owned());
        seen.send_modify(|seen| drop(seen.answered.insert(id.to_owned(), answer)));
    }
}

/// A message of that type.
fn parse(message: &str, kind: &str) -> Option<Value> {
    let message: Value = serde_json::from_str(message).ok()?;
    (message[0] == kind).then_some(message)
}
