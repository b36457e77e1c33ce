//! Load: many subscribers of many events on one machine, clients included.
//!
//! `cargo run --release -p own-relay --example load -- [SUBSCRIBERS] [EVENTS]`, 1,000 and 20,000 by default. Needs two
//! file descriptors for each subscriber (`ulimit -n`).

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use own_relay::{RelayConfig, RelayLimits};
use store_lmdb::{LmdbStore, Options};
use sync_core::admission::{AdmissionConfig, AdmissionMode, AdmissionPolicy};
use sync_core::check::EventLimits;
use sync_core::store::{EventStore, Submission};
use testkit::world::{keys, sign};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};
use tokio_util::sync::CancellationToken;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;
type Client = WebSocketStream<TcpStream>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let subscribers: usize = arguments.next().map_or(Ok(1_000), |text| text.parse())?;
    let count: u64 = arguments.next().map_or(Ok(20_000), |text| text.parse())?;

    let dir = tempfile::tempdir()?;
    let mode = AdmissionConfig { mode: AdmissionMode::All, ..AdmissionConfig::default() };
    let options = Options { policy: Some(AdmissionPolicy::new(mode)?), ..Options::default() };
    let store = Arc::new(LmdbStore::open(dir.path(), options)?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}/", listener.local_addr()?);
    let address = listener.local_addr()?;
    let config = RelayConfig {
        name: "load".to_owned(),
        description: String::new(),
        version: String::new(),
        supported_grasps: Vec::new(),
        limits: RelayLimits::default(),
        events: EventLimits { max_event_size: 65_536, max_tags: 2_000 },
        max_future_s: 900,
        max_message: 4 << 20,
    };
    let cancel = CancellationToken::new();
    let serving: Arc<dyn EventStore> = Arc::clone(&store) as _;
    let relay = tokio::spawn(own_relay::serve(listener, config, serving, Arc::new(()), cancel.clone()));

    let mut hearing = Vec::new();
    for _ in 0..subscribers {
        let (mut client, _) = client_async(&url, TcpStream::connect(address).await?).await?;
        client.send(Message::text(r#"["REQ","live",{"kinds":[30617],"limit":0}]"#)).await?;
        client.next().await;
        hearing.push(tokio::spawn(hear(client, count)));
    }
    println!("{subscribers} subscribers connected, {} of memory", memory());

    let author = keys(1, 1);
    let begun = Instant::now();
    let events: Vec<_> = (0..count)
        .map(|number| {
            let name = nostr::event::Tag::custom("d".to_owned(), [format!("repo-{number}")]);
            sign(&author, 30617, 1_700_000_000 + number, [name], "x".repeat(200))
        })
        .collect();
    println!("{count} events signed in {:.1?}", begun.elapsed());

    let begun = Instant::now();
    let writing = {
        let store = Arc::clone(&store);
        tokio::task::spawn_blocking(move || -> Outcome<Duration> {
            for events in events.chunks(64) {
                let submission = Submission { events: events.to_vec(), now: 1_700_100_000, ..Submission::default() };
                store.submit(submission, Box::new(|_| {}))?;
            }
            Ok(begun.elapsed())
        })
    };
    for client in hearing {
        client.await??;
    }
    let took = begun.elapsed();
    let deliveries = subscribers as u64 * count;
    println!("written in {:.1?}", writing.await??);
    println!(
        "{deliveries} deliveries in {took:.1?}: {:.0} a second, {} of memory",
        deliveries as f64 / took.as_secs_f64(),
        memory()
    );

    let (mut client, _) = client_async(&url, TcpStream::connect(address).await?).await?;
    let begun = Instant::now();
    client.send(Message::text(r#"["REQ","stored",{}]"#)).await?;
    let client = hear(client, count).await?;
    println!("{count} stored events read in {:.1?}", begun.elapsed());
    drop(client);

    cancel.cancel();
    relay.await??;
    Ok(())
}

/// Reads so many messages.
async fn hear(mut client: Client, count: u64) -> Outcome<Client> {
    for _ in 0..count {
        client.next().await.ok_or("the relay hung up")??;
    }
    Ok(client)
}

/// The resident memory of the process, where the system says so.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    resident.map_or("an unknown amount", str::trim).to_owned()
}
