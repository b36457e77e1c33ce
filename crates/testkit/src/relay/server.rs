//! A relay on a loopback port, and the handle by which a test rules it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nostr::event::{Event, EventId};
use sync_core::model::RelayUrl;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use super::core::{RelayCore, RelayOptions};
use super::faults::Faults;
use super::index::Inserted;
use super::socket::{self, Shared};
use super::stats::RelayStats;

/// Starts relays.
#[derive(Debug)]
pub struct ScriptedRelay;

impl ScriptedRelay {
    /// Starts a relay on loopback.
    ///
    /// # Errors
    /// The port can't be had.
    pub async fn start(options: RelayOptions) -> io::Result<RunningRelay> {
        let port = options.port;
        Self::serve(RelayCore::new(options), port).await
    }

    /// Puts an existing relay behind a loopback port; 0 for a free one.
    ///
    /// # Errors
    /// The port can't be had.
    pub async fn serve(core: RelayCore, port: u16) -> io::Result<RunningRelay> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let addr = listener.local_addr()?;
        let url = RelayUrl::parse(&format!("ws://{addr}")).map_err(io::Error::other)?;
        let shared = Arc::new(Shared::new(core));
        let listening = Mutex::new(Some(Listening::start(Arc::clone(&shared), listener)));
        Ok(RunningRelay { shared, addr, url, listening })
    }
}

/// A relay that runs until it is stopped or dropped. Needs the tokio runtime that it was started in.
pub struct RunningRelay {
    shared: Arc<Shared>,
    addr: SocketAddr,
    url: RelayUrl,
    listening: Mutex<Option<Listening>>,
}

/// A condition that did not come true in time, and what the relay had seen and done by then.
#[derive(Debug, thiserror::Error)]
#[error("waited {within:?} in vain; {stats:?}")]
pub struct TimedOut {
    /// How long was waited.
    pub within: Duration,
    /// The counts at the end.
    pub stats: Box<RelayStats>,
}

impl RunningRelay {
    /// How long [`wait_for`](Self::wait_for) waits.
    pub const PATIENCE: Duration = Duration::from_secs(20);

    /// `ws://127.0.0.1:PORT`.
    pub fn url(&self) -> &RelayUrl {
        &self.url
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The relay behind the socket. What is changed there reaches open connections with their next message only.
    pub fn core(&self) -> &RelayCore {
        &self.shared.core
    }

    /// The faults as they are.
    pub fn faults(&self) -> Faults {
        self.core().faults()
    }

    /// Changes the faults, with effect at once. `change` must not call the relay.
    pub fn set_faults<R>(&self, change: impl FnOnce(&mut Faults) -> R) -> R {
        let result = self.core().set_faults(change);
        self.shared.wake.send_replace(());
        result
    }

    /// Takes an event without checks, as if it had been published; open subscriptions are told of it.
    pub fn publish(&self, event: Event) -> Inserted {
        let inserted = self.core().publish(event);
        self.shared.wake.send_replace(());
        inserted
    }

    /// What it holds, newest first.
    pub fn events(&self) -> Vec<Event> {
        self.core().events()
    }

    /// Whether it holds an event.
    pub fn has(&self, id: &EventId) -> bool {
        self.core().has(id)
    }

    /// What it has seen and done.
    pub fn stats(&self) -> RelayStats {
        self.core().stats()
    }

    /// Waits until `condition` holds, for [`Self::PATIENCE`] at most, and returns the counts of that moment.
    ///
    /// # Errors
    /// It didn't hold in time.
    pub async fn wait_for(&self, condition: impl FnMut(&RelayStats) -> bool) -> Result<RelayStats, TimedOut> {
        self.wait_for_within(Self::PATIENCE, condition).await
    }

    /// Waits until `condition` holds, and returns the counts of that moment. It must not call the relay.
    ///
    /// # Errors
    /// It didn't hold in time.
    pub async fn wait_for_within(
        &self,
        within: Duration,
        mut condition: impl FnMut(&RelayStats) -> bool,
    ) -> Result<RelayStats, TimedOut> {
        let mut counted = self.shared.counted.subscribe();
        let holds = async {
            loop {
                if let Some(stats) = self.core().with_stats(|stats| condition(stats).then(|| stats.clone())) {
                    return stats;
                }
                if counted.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        match tokio::time::timeout(within, holds).await {
            Ok(stats) => Ok(stats),
            Err(_) => Err(TimedOut { within, stats: Box::new(self.stats()) }),
        }
    }

    /// Breaks off all connections, and goes on listening.
    pub fn drop_connections(&self) {
        self.core().drop_connections();
        self.shared.wake.send_replace(());
    }

    /// Breaks off all connections and stops listening: the port refuses. Events and counts stay.
    pub async fn stop(&self) {
        let listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Listening { stop, task }) = listening {
            drop(stop);
            if let Err(error) = task.await {
                tracing::error!(%error, "the relay's listener failed");
            }
        }
    }

    /// Listens again on the same port, after [`stop`](Self::stop).
    ///
    /// # Errors
    /// The port can't be had.
    pub async fn restart(&self) -> io::Result<()> {
        self.stop().await;
        let listener = TcpListener::bind(self.addr).await?;
        let listening = Listening::start(Arc::clone(&self.shared), listener);
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = Some(listening);
        Ok(())
    }
}

/// The task that accepts connections; ends, with all of them, when `stop` is dropped.
struct Listening {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Listening {
    fn start(shared: Arc<Shared>, listener: TcpListener) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, task: tokio::spawn(accept(shared, listener, stopped)) }
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, mut stopped: oneshot::Receiver<()>) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            Some(_) = clients.join_next() => {}
            accepted = listener.accept() => match accepted {
                Err(error) => {
                    tracing::error!(%error, "the relay accepts no more connections");
                    break;
                }
                Ok((stream, _)) => {
                    let shared = Arc::clone(&shared);
                    clients.spawn(async move {
                        if let Err(error) = socket::serve(&shared, stream).await {
                            tracing::debug!(%error, "a connection ended");
                        }
                        shared.counted.send_replace(());
                    });
                }
            },
        }
    }
    drop(listener);
    clients.shutdown().await;
    shared.counted.send_replace(());
}
