//! The daemon: the manager's task, and the hands that carry out what it decides.
//!
//! One task owns the [`SyncManager`]. It takes what happened (feed, connections, batches, deadlines), drains the
//! manager, and hands on: connection attempts to tasks of their own, commands to the connections, records to the
//! persister. Nothing is awaited between an input and its outputs.

mod feed;
mod outbox;
mod persist;
mod rates;
mod show;
mod warned;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sync_core::Now;
use sync_core::link::{LinkCommand, LinkConfig, RelayMemory};
use sync_core::manager::{ManagerConfig, ManagerInput, ManagerOutput, PluginReport, RestoredState, SyncManager};
use sync_core::model::RelayUrl;
use sync_core::nostr::key::Keys;
use sync_core::store::{EventStore, FeedSeq, StateTable, StoreError};
use sync_core::strategy::{Direction, StrategyOrder};
use sync_core::transport::{Connection, Connector, Fault, FaultKind, Target};
use telemetry::metrics::{AttemptResult, Metrics};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Level, Span};

use crate::driver::{self, Driven, RelayEvent, Shared};
use crate::gate;
use crate::ingest::limit_hit;
use crate::local::memory;
use crate::trouble::Trouble;
use outbox::Outbox;
use rates::Rates;
pub use show::{Health, Serving, Shown};
use warned::Warned;

/// What connections may have told before the manager hears it.
const EVENTS: usize = 1_024;
/// Results of connection attempts under way; more wait in their tasks.
const ATTEMPTS: usize = 64;
/// How often the status document is made anew.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// Pause before stored events are judged again, where there was no room for the verdicts.
const JUDGE_AGAIN: Duration = Duration::from_secs(5);
/// How long connections may take to end at shutdown; the process promises five seconds in all.
const GOOD_BYE: Duration = Duration::from_secs(3);

/// How the daemon is to run.
pub struct DaemonConfig {
    /// What the manager decides by.
    pub manager: ManagerConfig,
    /// Strategies in order of preference.
    pub strategies: StrategyOrder,
    /// Relays with an order of their own.
    pub relay_strategies: HashMap<RelayUrl, StrategyOrder>,
    /// How long nothing is asked of a relay that spoke of rate limits.
    pub rate_limit_cooldown: Duration,
    /// Events dated further ahead aren't asked for, seconds.
    pub max_future_s: u64,
    /// The service's keys, for relays that ask who we are (NIP-42).
    pub keys: Option<Keys>,
    /// The own relay that this process serves, where it does.
    pub serving: Option<Serving>,
    /// Tells of the strategies from shared libraries.
    pub plugins: Plugins,
    /// For whatever wants to look random.
    pub seed: u64,
    /// The program's version, for the status document.
    pub version: String,
}

/// Tells of the strategies from shared libraries, as they are now.
pub type Plugins = Arc<dyn Fn() -> Vec<PluginReport> + Send + Sync>;

/// Runs until `cancel`; returns after everything is closed and persisted.
///
/// # Errors
/// The store could not be read or judged at the start.
pub async fn run(
    config: DaemonConfig,
    connector: Arc<dyn Connector>,
    shared: Shared,
    shown: Shown,
    cancel: CancellationToken,
) -> Result<(), StoreError> {
    let (store, clock) = (Arc::clone(&shared.store), shared.clock);
    let now = clock.now();
    let judging = Arc::clone(&store);
    let Some(judged) = judge(judging, now.unix_s, &shown, &cancel).await? else { return Ok(()) };
    if judged > 0 {
        tracing::info!(events = judged, "stored events judged under the present rules");
    }
    let reading = Arc::clone(&store);
    let restored = spawn_store(move || {
        Ok(RestoredState::from_rows(
            reading.read_state(StateTable::Relay)?,
            reading.read_state(StateTable::Failed)?,
            reading.read_state(StateTable::Health)?,
        ))
    })
    .await?;
    for problem in &restored.problems {
        tracing::warn!("{problem}");
    }

    let (persist_trouble, feed_trouble) = (Trouble::default(), Trouble::default());
    let (persister, persisting) = persist::start(Arc::clone(&store), persist_trouble.clone());
    let (pages, mut feed) = mpsc::channel(feed::PAGES);
    let (wake, mut woken) = watch::channel::<FeedSeq>(0);
    store.on_feed(Box::new(move |head| wake.send(head).is_ok()));
    let follow = feed::follow(Arc::clone(&store), woken.clone(), pages, feed_trouble.clone(), cancel.clone());
    let following = tokio::spawn(follow);
    let outbox_trouble = Trouble::default();
    let outbox = config
        .manager
        .own_relay
        .as_ref()
        .map(|_| outbox::start(Arc::clone(&store), clock, woken.clone(), outbox_trouble.clone(), cancel.clone()));
    let (room, mut has_room) = mpsc::channel(1);
    let max_outbox = shared.ingest.max_outbox();
    let gate =
        tokio::spawn(gate::watch(Arc::clone(&store), shared.ingest.full().clone(), max_outbox, woken.clone(), room));
    let (events, mut happened) = mpsc::channel(EVENTS);
    let (attempts, mut attempted) = mpsc::channel(ATTEMPTS);
    let synced = shared.metrics.events_synced_total();
    let health = &config.manager.health;
    let warned = Warned::new(health.fault_memory_ms, health.stable_after_ms);
    let mut daemon = Daemon {
        manager: SyncManager::new(config.manager.clone(), restored, now),
        config,
        connector,
        shared,
        shown,
        persister,
        unsaved: Vec::new(),
        rates: Rates::new(synced, now.mono_ms),
        troubles: [persist_trouble, feed_trouble, outbox_trouble],
        outbox,
        events,
        attempts,
        relays: HashMap::new(),
        tasks: JoinSet::new(),
        warned,
        is_stopping: false,
    };
    daemon.carry_out();
    daemon.look_at_outbox();
    let mut tick = tokio::time::interval(STATUS_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);

    loop {
        let deadline = daemon.manager.next_timeout().map(|(at, _)| clock.at(at));
        tokio::select! {
            () = cancel.cancelled() => break,
            Some(page) = feed.recv() => daemon.take(ManagerInput::Feed(page)),
            Some((relay, event)) = happened.recv() => daemon.relay_event(relay, event),
            Some((relay, result)) = attempted.recv() => daemon.attempted(relay, result),
            Some(()) = has_room.recv() => daemon.take(ManagerInput::StoreWorks),
            Some(_) = daemon.tasks.join_next() => {}
            Ok(()) = woken.changed(), if daemon.outbox.is_some() => daemon.look_at_outbox(),
            () = sleep_until(deadline), if deadline.is_some() => daemon.take(ManagerInput::Timeout),
            _ = tick.tick() => {
                daemon.persist(Vec::new());
                if daemon.troubles[0].is_raised() {
                    // What could not be written is tried again. A full queue does that by itself.
                    let _ = daemon.persister.try_send(Vec::new());
                }
                daemon.show();
            }
        }
    }

    daemon.is_stopping = true;
    daemon.take(ManagerInput::Shutdown);
    for relay in daemon.relays.values() {
        relay.cancel();
    }
    let closing = async {
        // Their last words (counts, lost batches) still go to the manager, which persists them.
        while !daemon.relays.is_empty() {
            tokio::select! {
                Some((relay, event)) = happened.recv() => daemon.relay_event(relay, event),
                Some((relay, result)) = attempted.recv() => daemon.attempted(relay, result),
                else => break,
            }
        }
    };
    if tokio::time::timeout(GOOD_BYE, closing).await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
    daemon.show();
    daemon.tasks.abort_all();
    following.abort();
    gate.abort();
    let unsaved = std::mem::take(&mut daemon.unsaved);
    if !unsaved.is_empty() && daemon.persister.send(unsaved).await.is_err() {
        tracing::error!("the persister has ended; the last state is not written");
    }
    drop(daemon);
    if let Err(error) = persisting.await {
        tracing::error!(%error, "the persister ended badly");
    }
    Ok(())
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    if let Some(deadline) = deadline {
        tokio::time::sleep_until(deadline).await;
    }
}

/// Judges what is stored; where there is no room for the verdicts, says so and waits for it. `None`: it was told to stop.
async fn judge(
    store: Arc<dyn EventStore>,
    now: u64,
    shown: &Shown,
    cancel: &CancellationToken,
) -> Result<Option<u64>, StoreError> {
    let trouble = Trouble::default();
    loop {
        let judging = Arc::clone(&store);
        // Each step of it is durable: what is left at the end is judged at the next start.
        let judged = tokio::select! {
            () = cancel.cancelled() => return Ok(None),
            judged = spawn_store(move || judging.judge_backlog(now)) => judged,
        };
        match judged {
            Err(error @ StoreError::Full(_)) => {
                if trouble.raise(&error) {
                    tracing::error!(%error, "stored events can't be judged: nothing else is done until there is room");
                }
                shown.tell(Health::Failing(error.to_string()));
            }
            judged => return judged.map(Some),
        }
        tokio::select! {
            () = cancel.cancelled() => return Ok(None),
            () = tokio::time::sleep(JUDGE_AGAIN) => {}
        }
    }
}

/// Reads the store away from the runtime's threads.
async fn spawn_store<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(read).await.map_err(|error| StoreError::Io(error.to_string()))?
}

/// Counts a bound that ended a connection or an attempt.
fn count_limit(metrics: &Metrics, relay: &RelayUrl, fault: &Fault) {
    let limit = match fault.kind {
        FaultKind::Forbidden => "allow_private_addresses",
        FaultKind::HostFull => "max_connections_per_host",
        FaultKind::NoSockets => "open_files",
        FaultKind::TooLarge => "max_message_size",
        _ => return,
    };
    limit_hit(metrics, relay, limit, &fault.text);
}

/// A relay that something is under way with.
enum Relay {
    Connecting(CancellationToken),
    Open(Driven),
}

impl Relay {
    fn cancel(&self) {
        match self {
            Self::Connecting(cancel) => cancel.cancel(),
            Self::Open(driven) => driven.cancel.cancel(),
        }
    }
}

struct Daemon {
    manager: SyncManager,
    config: DaemonConfig,
    connector: Arc<dyn Connector>,
    shared: Shared,
    shown: Shown,
    persister: mpsc::Sender<persist::Job>,
    /// Records that the persister had no room for.
    unsaved: persist::Job,
    /// What keeps the persister, the follower of the feed and the outbox from their work.
    troubles: [Trouble; 3],
    /// How many events came in the last seconds.
    rates: Rates,
    /// Hands events to the external own relay, where there is one.
    outbox: Option<Outbox>,
    events: mpsc::Sender<(RelayUrl, RelayEvent)>,
    attempts: mpsc::Sender<(RelayUrl, Result<Connection, Fault>)>,
    relays: HashMap<RelayUrl, Relay>,
    tasks: JoinSet<()>,
    warned: Warned,
    is_stopping: bool,
}

impl Daemon {
    fn now(&self) -> Now {
        self.shared.clock.now()
    }

    fn take(&mut self, input: ManagerInput) {
        let now = self.now();
        self.manager.handle(input, now);
        self.carry_out();
    }

    fn relay_event(&mut self, relay: RelayUrl, event: RelayEvent) {
        match event {
            RelayEvent::BatchDone { report, feed_head } => {
                // What the batch brought is in the outbox by now, or has left it.
                self.look_at_outbox();
                self.take(ManagerInput::BatchDone { relay, report, feed_head })
            }
            RelayEvent::LiveStored(count) => self.take(ManagerInput::LiveStored { relay, count }),
            RelayEvent::Notice { notice, context } => {
                self.manager.handle(ManagerInput::Notice { relay, notice }, self.now());
                self.carry_out_within(&context);
            }
            RelayEvent::Ended(fault) => {
                self.relays.remove(&relay);
                if let Some(fault) = &fault {
                    count_limit(&self.shared.metrics, &relay, fault);
                }
                self.take(ManagerInput::Disconnected { relay, fault });
            }
        }
    }

    fn attempted(&mut self, relay: RelayUrl, result: Result<Connection, Fault>) {
        let cancelled = match self.relays.remove(&relay) {
            Some(Relay::Connecting(cancel)) => cancel.is_cancelled(),
            Some(open @ Relay::Open(_)) => {
                self.relays.insert(relay, open);
                return;
            }
            None => true,
        };
        if cancelled {
            self.take(ManagerInput::Disconnected { relay, fault: None });
            return;
        }
        let metrics = &self.shared.metrics;
        match result {
            Ok(connection) => {
                metrics.connection_attempt(relay.as_str(), AttemptResult::Success);
                let profile = connection.profile.clone();
                let config = LinkConfig {
                    relay: relay.clone(),
                    profile: profile.clone(),
                    strategies: self.config.relay_strategies.get(&relay).unwrap_or(&self.config.strategies).clone(),
                    direction: Direction::Down,
                    dry_run: false,
                    rate_limit_cooldown_ms: u64::try_from(self.config.rate_limit_cooldown.as_millis())
                        .unwrap_or(u64::MAX),
                    max_future_s: self.config.max_future_s,
                    keys: self.config.keys.clone(),
                    memory: self.memory(&relay),
                    seed: self.config.seed,
                };
                let is_own = self.config.manager.is_own(&relay);
                // While too much waits for it the own relay is listened to all the same: that is what it is waited for.
                let waits_for_room = self.shared.waits_for_room && !is_own;
                let shared = Shared { waits_for_room, ..self.shared.clone() };
                let outbox = self.outbox.as_ref().filter(|_| is_own).and_then(Outbox::attach);
                let cancel = CancellationToken::new();
                let driven = driver::spawn(connection, config, shared, outbox, self.events.clone(), cancel);
                self.relays.insert(relay.clone(), Relay::Open(driven));
                self.take(ManagerInput::Connected { relay, profile });
            }
            Err(fault) => {
                metrics.connection_attempt(relay.as_str(), AttemptResult::Failure);
                count_limit(metrics, &relay, &fault);
                self.take(ManagerInput::ConnectFailed { relay, fault });
            }
        }
    }

    fn memory(&self, relay: &RelayUrl) -> RelayMemory {
        let overlap_s = self.config.manager.catch_up_overlap_ms / 1000;
        memory(&*self.shared.store, relay, overlap_s, self.now().unix_s)
    }

    fn carry_out(&mut self) {
        self.carry_out_within(&Span::none());
    }

    /// Drains the manager. Warnings belong to the batch `within` whose span something happened.
    fn carry_out_within(&mut self, within: &Span) {
        while let Some(output) = self.manager.poll() {
            match output {
                ManagerOutput::Connect(target) => self.connect(target),
                ManagerOutput::Disconnect { relay, reason } => {
                    tracing::debug!(%relay, %reason, "closing");
                    if let Some(open) = self.relays.get(&relay) {
                        open.cancel();
                    }
                }
                ManagerOutput::Link { relay, command } => self.command(&relay, command),
                ManagerOutput::Persist(writes) => self.persist(writes),
                ManagerOutput::Status { relay, from, to, reason, cause } => {
                    let is_needed = self.config.manager.is_own(&relay) && !self.is_stopping;
                    let now = self.now().mono_ms;
                    match self.warned.level(&relay, (from, to), cause.as_ref(), is_needed, now) {
                        Level::WARN => tracing::warn!(%relay, %from, %to, %reason, "status"),
                        Level::INFO => tracing::info!(%relay, %from, %to, %reason, "status"),
                        _ => tracing::debug!(%relay, %from, %to, %reason, "status"),
                    }
                }
                ManagerOutput::Health { relay, state } => {
                    tracing::debug!(%relay, health = %state, "health");
                }
                ManagerOutput::LimitHit { limit, text } => {
                    self.shared.metrics.limit_hit(limit);
                    tracing::warn!(limit, %text, "limit hit");
                }
                ManagerOutput::Warn { relay, cause, text } => {
                    let is_news = self.warned.is_news(&relay, &cause, self.now().mono_ms);
                    within.in_scope(|| match is_news {
                        true => tracing::warn!(%relay, "{text}"),
                        false => tracing::info!(%relay, "{text}"),
                    });
                }
                _ => {}
            }
        }
    }

    fn connect(&mut self, target: Target) {
        let cancel = CancellationToken::new();
        self.relays.insert(target.relay.clone(), Relay::Connecting(cancel.clone()));
        let (connector, attempts) = (Arc::clone(&self.connector), self.attempts.clone());
        self.tasks.spawn(async move {
            let relay = target.relay.clone();
            let result = tokio::select! {
                result = connector.connect(target) => result,
                () = cancel.cancelled() => Err(Fault { kind: FaultKind::Closed, text: "given up".to_owned() }),
            };
            // The daemon is gone: nobody waits for the answer.
            let _ = attempts.send((relay, result)).await;
        });
    }

    fn command(&mut self, relay: &RelayUrl, command: LinkCommand) {
        let Some(Relay::Open(driven)) = self.relays.get(relay) else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = driven.commands.try_send(command) {
            // A task that leaves this many commands unread has hung: a new connection starts from what is confirmed.
            tracing::error!(%relay, "the connection takes no commands; closing it");
            driven.cancel.cancel();
        }
    }

    /// Hands records to the persister. What it has no room for waits here, the last version of each, in order.
    fn persist(&mut self, mut writes: persist::Job) {
        if self.unsaved.is_empty() && !writes.is_empty() {
            match self.persister.try_send(writes) {
                Ok(()) => return,
                Err(error) => writes = error.into_inner(),
            }
        }
        driver::add_state(&mut self.unsaved, writes);
        if self.unsaved.is_empty() {
            return;
        }
        if let Ok(room) = self.persister.try_reserve() {
            room.send(std::mem::take(&mut self.unsaved));
        }
    }
}
