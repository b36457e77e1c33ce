//! Relays that others wrote, started on loopback within this process.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nostr_lmdb::NostrLMDB;
use nostr_relay_builder::builder::{RateLimit, RelayBuilder};
use nostr_relay_builder::prelude::LocalRelay;

/// How long a relay may take to listen.
const START: Duration = Duration::from_secs(30);

/// A relay that is running; dropping it stops it.
pub trait Relay {
    /// Its WebSocket address.
    fn url(&self) -> String;
    /// Whether it speaks NIP-77.
    fn reconciles(&self) -> bool;
}

/// The relay of `nostr-relay-builder`: NIP-77, events in memory or in LMDB.
pub struct RelayBuilderRelay {
    relay: LocalRelay,
    url: String,
}

impl RelayBuilderRelay {
    /// Starts it, without limits on how fast one may write.
    pub async fn start() -> Self {
        Self::run(RelayBuilder::default().addr(Ipv4Addr::LOCALHOST.into())).await
    }

    /// The same at this address, its events in an LMDB environment in `folder`.
    pub async fn start_at(address: SocketAddr, folder: &Path) -> Self {
        let events = NostrLMDB::open(folder).expect("an LMDB environment");
        Self::run(RelayBuilder::default().addr(address.ip()).port(address.port()).database(events)).await
    }

    async fn run(builder: RelayBuilder) -> Self {
        let limits = RateLimit { max_reqs: 500, notes_per_minute: u32::MAX };
        let relay = LocalRelay::new(builder.rate_limit(limits));
        relay.run().await.expect("nostr-relay-builder listens");
        let url = relay.url().await.to_string().trim_end_matches('/').to_owned();
        Self { relay, url }
    }
}

impl Relay for RelayBuilderRelay {
    fn url(&self) -> String {
        self.url.clone()
    }

    fn reconciles(&self) -> bool {
        true
    }
}

impl Drop for RelayBuilderRelay {
    fn drop(&mut self) {
        self.relay.shutdown();
    }
}

/// `nostr-rs-relay`: no NIP-77, events in SQLite.
pub struct RsRelay {
    address: SocketAddr,
    stop: mpsc::Sender<()>,
    thread: Option<thread::JoinHandle<()>>,
}

impl RsRelay {
    /// Starts it with its defaults, its database in `folder`.
    pub fn start(folder: &Path) -> Self {
        Self::start_at(free_address().expect("a free port"), folder)
    }

    /// The same at this address.
    pub fn start_at(address: SocketAddr, folder: &Path) -> Self {
        let mut settings = nostr_rs_relay::config::Settings::default();
        settings.network.address = address.ip().to_string();
        settings.network.port = address.port();
        settings.database.data_directory = folder.to_string_lossy().into_owned();
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            nostr_rs_relay::server::start_server(&settings, stopped).expect("nostr-rs-relay serves");
        });
        let relay = Self { address, stop, thread: Some(thread) };
        relay.wait();
        relay
    }

    /// It doesn't say when it listens: ask until it does.
    fn wait(&self) {
        let deadline = Instant::now() + START;
        while let Err(error) = TcpStream::connect(self.address) {
            let died = self.thread.as_ref().is_none_or(thread::JoinHandle::is_finished);
            assert!(!died && Instant::now() < deadline, "nostr-rs-relay doesn't listen: {error}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Relay for RsRelay {
    fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    fn reconciles(&self) -> bool {
        false
    }
}

impl Drop for RsRelay {
    fn drop(&mut self) {
        // Fails only where the relay has ended already.
        let _ = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An address that is free at this moment, for programs that can't be told to take any.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
