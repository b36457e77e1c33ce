//! Accepts connections, bounds how many there are and how long their HTTP may take, and hands those that become
//! WebSockets on.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sync_core::store::{EventStore, PageSize, StoreError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::budget::Budgets;
use crate::config::{Observe, RelayConfig};
use crate::connection::{self, Shared};
use crate::http::{Pages, Upgrade, answer};
use crate::info;
use crate::live::{Ring, follow};
use crate::publish::Publisher;
use crate::socket::{Counted, Written};
use crate::work::Context;

/// Bytes of a request's head, and of the buffer that it is read into.
const MAX_HEADER: usize = 16 * 1024;
/// Its lines.
const MAX_HEADER_LINES: usize = 64;
/// How long a connection lasts that doesn't become a WebSocket.
const HTTP_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes that each WebSocket reads and writes at a time.
const READ_BUFFER: usize = 8 * 1024;
const WRITE_BUFFER: usize = 32 * 1024;
/// How long open connections may take to end at shutdown.
const GRACE: Duration = Duration::from_secs(1);
/// The pause after a failure to accept, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Failures to accept in a row before the relay gives up.
const MAX_ACCEPT_FAILURES: u32 = 60;

/// Serves `store` at `listener` until `cancel`; open connections are then told, and have a second to end.
///
/// # Errors
/// The store's feed can't be read at the start, or accepting connections has failed for a minute.
pub async fn serve(
    listener: TcpListener,
    config: RelayConfig,
    store: Arc<dyn EventStore>,
    observe: Arc<dyn Observe>,
    cancel: CancellationToken,
) -> io::Result<()> {
    let pages = Arc::new(Pages {
        document: Bytes::from(info::document(&config).to_string()),
        text: Bytes::from(format!("{}: a Nostr relay; use a Nostr client.\n", config.name)),
    });
    // Its own, so that whatever is left ends with this call, however it ends.
    let cancel = cancel.child_token();
    let _ended = cancel.clone().drop_guard();
    let ring = start_ring(&config, &store, &cancel).await?;
    let shared = Arc::new(share(config, store, ring, observe, cancel));
    accept_until_cancelled(&listener, &shared, &pages).await
}

/// The ring, and the task that fills it.
async fn start_ring(
    config: &RelayConfig,
    store: &Arc<dyn EventStore>,
    cancel: &CancellationToken,
) -> io::Result<Arc<Ring>> {
    // Listens first, so that nothing is accepted between the head and the first wake-up without being noticed.
    let (wake, woken) = watch::channel(0);
    store.on_feed(Box::new(move |head| wake.send(head).is_ok()));
    let reading = Arc::clone(store);
    let head = tokio::task::spawn_blocking(move || reading.feed_head());
    let head = head.await.unwrap_or_else(|error| Err(StoreError::Io(error.to_string()))).map_err(io::Error::other)?;
    let ring = Arc::new(Ring::new(head, config.limits.ring_events, config.limits.ring_bytes));
    tokio::spawn(follow(Arc::clone(store), Arc::clone(&ring), head, woken, cancel.clone()));
    Ok(ring)
}

fn share(
    config: RelayConfig,
    store: Arc<dyn EventStore>,
    ring: Arc<Ring>,
    observe: Arc<dyn Observe>,
    cancel: CancellationToken,
) -> Shared {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let limits = &config.limits;
    Shared {
        context: Arc::new(Context {
            store: Arc::clone(&store),
            page: PageSize { events: limits.page_events, bytes: limits.page_bytes },
            max_items: limits.max_reconciliation_items,
        }),
        publisher: Arc::new(Publisher { store, events: config.events, max_future_s: config.max_future_s }),
        ring,
        budgets: Budgets::of_all(&config.limits),
        reads: Arc::new(Semaphore::new(cores)),
        publishes: Arc::new(Semaphore::new((cores / 2).max(1))),
        observe,
        cancel,
        config,
    }
}

async fn accept_until_cancelled(listener: &TcpListener, shared: &Arc<Shared>, pages: &Arc<Pages>) -> io::Result<()> {
    let open = Arc::new(AtomicUsize::new(0));
    let mut connections = JoinSet::new();
    let mut failures = 0;
    let outcome = loop {
        let accepted = tokio::select! {
            () = shared.cancel.cancelled() => break Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                failures = 0;
                while connections.try_join_next().is_some() {}
                if connections.len() >= shared.config.limits.max_connections {
                    shared.observe.limit_hit("max_connections");
                    continue;
                }
                let place = Place::take(&open, shared);
                let connection = connection(stream, Arc::clone(shared), Arc::clone(pages));
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) if failures == MAX_ACCEPT_FAILURES => break Err(error),
            Err(error) => {
                failures += 1;
                warn!(%error, failures, "the relay can't accept a connection");
                tokio::select! {
                    () = shared.cancel.cancelled() => break Ok(()),
                    () = sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    };
    shared.cancel.cancel();
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(GRACE, ended).await.is_err() {
        debug!("connections of the relay were cut off at shutdown");
    }
    outcome
}

/// One of the connections that are counted.
struct Place {
    open: Arc<AtomicUsize>,
    observe: Arc<dyn Observe>,
}

impl Place {
    fn take(open: &Arc<AtomicUsize>, shared: &Shared) -> Self {
        shared.observe.connections(open.fetch_add(1, Ordering::SeqCst) + 1);
        Self { open: Arc::clone(open), observe: Arc::clone(&shared.observe) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.observe.connections(self.open.fetch_sub(1, Ordering::SeqCst) - 1);
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, pages: Arc<Pages>) {
    if let Err(error) = stream.set_nodelay(true) {
        return debug!(%error, "a connection broke before it began");
    }
    let written = Written::default();
    let upgrade = Upgrade::default();
    let stream = Counted::new(stream, written.clone());
    let service = {
        let upgrade = Arc::clone(&upgrade);
        service_fn(move |request: Request<Incoming>| {
            let response = answer(request, &pages, &upgrade);
            async move { Ok::<_, Infallible>(response) }
        })
    };
    let http = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(shared.config.limits.header_timeout)
            .max_buf_size(MAX_HEADER)
            .max_headers(MAX_HEADER_LINES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    let outcome = tokio::select! {
        outcome = http => outcome,
        () = sleep(HTTP_TIMEOUT) => return debug!("an HTTP client was too slow"),
        () = shared.cancel.cancelled() => return,
    };
    if let Err(error) = outcome {
        return debug!(%error, "a connection failed before it was a WebSocket");
    }
    let way = upgrade.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(way) = way else { return };
    match way.await {
        Ok(upgraded) => {
            let max_message = Some(shared.config.max_message);
            let limits = WebSocketConfig::default()
                .read_buffer_size(READ_BUFFER)
                .write_buffer_size(WRITE_BUFFER)
                .max_message_size(max_message)
                .max_frame_size(max_message);
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(limits)).await;
            connection::run(socket, written, shared).await;
        }
        Err(error) => debug!(%error, "a connection did not become a WebSocket"),
    }
}
