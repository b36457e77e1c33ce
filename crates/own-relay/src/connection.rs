//! One connection: reads, lets the session decide, writes. The session's work runs on tasks of their own, which wait for
//! nobody's socket.
//!
//! What is due is written before anything else is read or begun, so that a client that doesn't read is not read either:
//! what waits for it is what fits one page, and the rest stays in the store.

use std::collections::VecDeque;
use std::future::{pending, ready};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Bytes, Message};
use tokio_util::sync::CancellationToken;

use crate::budget::Budgets;
use crate::clock::unix_seconds;
use crate::config::{Observe, RelayConfig};
use crate::live::{Ring, Taken};
use crate::publish::{Publisher, Verdict};
use crate::session::{Out, Received, Session};
use crate::socket::Written;
use crate::work::{Context, Done, Work};

/// Live events taken from the ring at a time.
const LIVE_EVENTS: usize = 256;
/// Their bytes.
const LIVE_BYTES: usize = 256 << 10;
/// How long a connection that ends may take to say so.
const FAREWELL: Duration = Duration::from_millis(500);
/// The longest pause between looks at the clock.
const MAX_TICK: Duration = Duration::from_secs(15);

pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) config: RelayConfig,
    pub(crate) context: Arc<Context>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) ring: Arc<Ring>,
    pub(crate) budgets: Budgets,
    /// Places on blocking threads, in the order of asking.
    pub(crate) reads: Arc<Semaphore>,
    pub(crate) publishes: Arc<Semaphore>,
    pub(crate) observe: Arc<dyn Observe>,
    pub(crate) cancel: CancellationToken,
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The other side closed it, or it broke.
    Gone,
    Shutdown,
    TooLarge,
    Nonsense,
    Silent,
    SlowReader,
    /// A piece of work failed in a way that it must not.
    Failed,
}

/// Serves a client until either side ends it.
pub(crate) async fn run(socket: Socket, written: Written, shared: Arc<Shared>) {
    let now = Instant::now();
    let mut connection = Connection {
        session: Session::new(shared.config.limits, &shared.budgets),
        socket,
        written,
        working: None,
        publishing: None,
        pending: VecDeque::new(),
        pending_bytes: 0,
        heard: now,
        pinged: now,
        ping_due: false,
        shared,
    };
    let end = connection.drive().await;
    tracing::debug!(?end, "a client's connection ends");
    connection.say_farewell(end).await;
}

struct Connection {
    shared: Arc<Shared>,
    socket: Socket,
    written: Written,
    session: Session,
    working: Option<JoinHandle<Option<Done>>>,
    publishing: Option<JoinHandle<Option<Vec<Verdict>>>>,
    /// Published events that are not taken up yet.
    pending: VecDeque<String>,
    pending_bytes: usize,
    heard: Instant,
    pinged: Instant,
    ping_due: bool,
}

/// What happens next.
enum Next {
    Cancelled,
    Message(Option<Result<Message, tungstenite::Error>>),
    Worked(Option<Done>),
    Published(Option<Vec<Verdict>>),
    Live,
    Moved,
    Tick,
}

impl Connection {
    async fn drive(&mut self) -> End {
        let limits = self.shared.config.limits;
        let shortest = limits.ping_every.min(limits.max_silence).min(limits.reconciliation_idle);
        let mut tick = interval((shortest / 4).clamp(Duration::from_millis(10), MAX_TICK));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut moved = self.shared.ring.subscribe();
        let cancel = self.shared.cancel.clone();
        loop {
            if let Err(end) = self.flush().await {
                return end;
            }
            self.start_work();
            self.start_publishing();
            let head = *moved.borrow_and_update();
            let place = self.session.live_place();
            let is_due = place.is_some_and(|place| place < head);
            let has_room =
                self.pending.len() < limits.max_pending_events && self.pending_bytes < self.shared.config.max_message;
            let next = tokio::select! {
                () = cancel.cancelled() => Next::Cancelled,
                message = self.socket.next(), if has_room => Next::Message(message),
                done = joined(&mut self.working) => Next::Worked(done),
                verdicts = joined(&mut self.publishing) => Next::Published(verdicts),
                () = ready(()), if is_due => Next::Live,
                _ = moved.changed(), if place.is_some() && !is_due => Next::Moved,
                _ = tick.tick() => Next::Tick,
            };
            let going_on = match next {
                Next::Cancelled => Err(End::Shutdown),
                Next::Message(message) => self.received(message, head),
                Next::Worked(done) => {
                    self.working = None;
                    done.map(|done| self.session.done(done, Instant::now())).ok_or(End::Failed)
                }
                Next::Published(verdicts) => {
                    self.publishing = None;
                    verdicts.ok_or(End::Failed).and_then(|verdicts| self.published(&verdicts))
                }
                Next::Live => {
                    let told = place.map_or(Ok(()), |place| self.tell(place, head));
                    // Where none of them is for this client, nothing else here would wait.
                    yield_now().await;
                    told
                }
                Next::Moved => Ok(()),
                Next::Tick => self.ticked(),
            };
            if let Err(end) = going_on {
                // What was said on the way still goes out, where the client takes it.
                if matches!(end, End::Nonsense | End::TooLarge) {
                    let _ = timeout(FAREWELL, self.flush()).await;
                }
                return end;
            }
        }
    }

    fn received(&mut self, message: Option<Result<Message, tungstenite::Error>>, head: u64) -> Result<(), End> {
        let now = Instant::now();
        self.heard = now;
        let received = match message {
            Some(Ok(Message::Text(text))) => self.session.receive(&text, head, now),
            Some(Ok(Message::Binary(_))) => self.session.receive_bytes(),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => return Ok(()),
            Some(Ok(Message::Close(_))) | None => return Err(End::Gone),
            Some(Err(tungstenite::Error::Capacity(_))) => {
                self.shared.observe.limit_hit("max_message");
                return Err(End::TooLarge);
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "a client's connection broke");
                return Err(End::Gone);
            }
        };
        match received {
            Received::Done => Ok(()),
            Received::Enough => Err(End::Nonsense),
            Received::Publish(json) => {
                self.pending_bytes += json.len();
                self.pending.push_back(json);
                Ok(())
            }
        }
    }

    fn published(&mut self, verdicts: &[Verdict]) -> Result<(), End> {
        for verdict in verdicts {
            self.shared.observe.received(verdict.outcome);
            if self.session.published(verdict) == Received::Enough {
                return Err(End::Nonsense);
            }
        }
        Ok(())
    }

    /// Takes the live events after `place`.
    fn tell(&mut self, place: u64, head: u64) -> Result<(), End> {
        if head - place > self.shared.config.limits.max_lag {
            self.shared.observe.limit_hit("max_lag");
            return Err(End::SlowReader);
        }
        match self.shared.ring.after(place, LIVE_EVENTS, LIVE_BYTES) {
            Taken::Events(events, upto) => self.session.tell(place, &events, upto, unix_seconds()),
            Taken::Gone => self.session.catch_up(place),
        }
        Ok(())
    }

    fn ticked(&mut self) -> Result<(), End> {
        let (now, limits) = (Instant::now(), &self.shared.config.limits);
        if now.duration_since(self.heard) >= limits.max_silence {
            return Err(End::Silent);
        }
        if now.duration_since(self.pinged) >= limits.ping_every {
            self.pinged = now;
            self.ping_due = true;
        }
        self.session.tick(now);
        Ok(())
    }

    fn start_work(&mut self) {
        if self.working.is_none()
            && let Some(work) = self.session.next_work()
        {
            let (context, places) = (Arc::clone(&self.shared.context), Arc::clone(&self.shared.reads));
            self.working = Some(tokio::spawn(run_work(work, context, places)));
        }
    }

    fn start_publishing(&mut self) {
        if self.publishing.is_none() && !self.pending.is_empty() {
            let batch = std::mem::take(&mut self.pending).into();
            self.pending_bytes = 0;
            let (publisher, places) = (Arc::clone(&self.shared.publisher), Arc::clone(&self.shared.publishes));
            self.publishing = Some(tokio::spawn(run_publishing(batch, publisher, places)));
        }
    }

    /// Writes what is due. However long that takes: an end comes of it only where the other side takes nothing.
    async fn flush(&mut self) -> Result<(), End> {
        let Out { frames, events, limits } = self.session.take_out();
        limits.into_iter().for_each(|limit| self.shared.observe.limit_hit(limit));
        let ping = std::mem::take(&mut self.ping_due);
        if frames.is_empty() && !ping {
            return Ok(());
        }
        let Self { socket, written, shared, .. } = self;
        let patience = shared.config.limits.slow_reader;
        let mut writing = pin!(async {
            if ping {
                socket.feed(Message::Ping(Bytes::new())).await?;
            }
            for frame in frames {
                socket.feed(Message::Text(frame)).await?;
            }
            socket.flush().await
        });
        let (mut taken, mut since) = (written.bytes(), Instant::now());
        loop {
            tokio::select! {
                biased;
                result = &mut writing => {
                    if events > 0 {
                        shared.observe.sent(events);
                    }
                    return result.map_err(|error| {
                        tracing::debug!(%error, "can't write to a client");
                        End::Gone
                    });
                }
                () = shared.cancel.cancelled() => return Err(End::Shutdown),
                () = sleep(patience / 4) => {
                    let bytes = written.bytes();
                    if bytes != taken {
                        (taken, since) = (bytes, Instant::now());
                    } else if since.elapsed() >= patience {
                        shared.observe.limit_hit("slow_reader");
                        return Err(End::SlowReader);
                    }
                }
            }
        }
    }

    /// Says why, to a client that may still listen.
    async fn say_farewell(mut self, end: End) {
        let (code, reason) = match end {
            End::Gone => {
                // Answers a close that was asked for.
                let _ = timeout(FAREWELL, self.socket.flush()).await;
                return;
            }
            End::SlowReader => return,
            End::Shutdown => (CloseCode::Away, "the relay is shutting down"),
            End::TooLarge => (CloseCode::Size, "the message is too large"),
            End::Nonsense => (CloseCode::Policy, "too many messages that make no sense"),
            End::Silent => (CloseCode::Away, "nothing was heard for too long"),
            End::Failed => (CloseCode::Error, "the relay failed"),
        };
        let farewell = async {
            self.socket.close(Some(CloseFrame { code, reason: reason.into() })).await?;
            // What is not read would make the system reset the connection, and the reason would be lost.
            while let Some(message) = self.socket.next().await {
                message?;
            }
            Ok::<_, tungstenite::Error>(())
        };
        let said = timeout(FAREWELL, farewell).await;
        if end == End::TooLarge && said.is_ok_and(|said| said.is_err()) {
            let _ = timeout(FAREWELL, drain(&mut self.socket)).await;
        }
    }
}

/// Reads away what is on its way.
async fn drain(socket: &mut Socket) -> std::io::Result<()> {
    use tokio::io::AsyncReadExt;
    let mut buffer = [0; 4096];
    while socket.get_mut().read(&mut buffer).await? > 0 {}
    Ok(())
}

/// What a task comes to, where there is one; `None` where it panicked.
async fn joined<T>(task: &mut Option<JoinHandle<Option<T>>>) -> Option<T> {
    match task {
        Some(task) => task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a task of the relay failed");
            None
        }),
        None => pending().await,
    }
}

async fn run_work(work: Work, context: Arc<Context>, places: Arc<Semaphore>) -> Option<Done> {
    let place = places.acquire_owned().await.ok()?;
    let run = move || {
        let done = work.run(&context, unix_seconds());
        drop(place);
        done
    };
    tokio::task::spawn_blocking(run).await.ok()
}

async fn run_publishing(batch: Vec<String>, publisher: Arc<Publisher>, places: Arc<Semaphore>) -> Option<Vec<Verdict>> {
    let place = places.acquire_owned().await.ok()?;
    let run = move || {
        let underway = publisher.publish(&batch, unix_seconds());
        drop(place);
        underway
    };
    let underway = tokio::task::spawn_blocking(run).await.ok()?;
    Some(underway.verdicts().await)
}
