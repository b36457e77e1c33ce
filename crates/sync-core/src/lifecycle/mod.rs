//! The life of one relay (SPEC §6): its status and every change of it, what runs on each connection, and when its
//! history is complete. Knows nothing of other relays; what it wants done goes to [`Env::out`].

mod batches;
mod case;
mod connection;
mod record;
mod underway;

pub use case::ConnectCase;
pub(crate) use record::{ChunkRow, HeadRow};
pub use record::{RestoredRelay, relay_key};

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use nostr::event::EventId;

use crate::filters::{ChunkBook, ChunkLimits};
use crate::health::RelayHealth;
use crate::link::{LinkNotice, LiveKey};
use crate::manager::{Cause, ManagerConfig, ManagerOutput, RelayReport, WantedIds};
use crate::model::{
    BatchId, BatchReason, ConnectionStatus, HealthState, PendingBatch, PendingItems, RelayState, RelayUrl,
};
use crate::plan::{FailedItems, Progress, RelayActions, RepoIndex, compute_relay_actions};
use crate::store::{FeedSeq, OutboxState};
use crate::strategy::RelayProfile;
use crate::time::{Jitter, MonoMillis, Now};
use underway::Underway;

/// What surrounds a relay while it takes an input.
#[derive(Debug)]
pub struct Env<'a> {
    /// The operator's settings.
    pub config: &'a ManagerConfig,
    /// What is wanted.
    pub index: &'a RepoIndex,
    /// Events to be fetched again by their ids, from whichever relay has room first.
    pub wanted: &'a mut WantedIds,
    /// Where outputs go.
    pub out: &'a mut VecDeque<ManagerOutput>,
    /// For spreading things in time.
    pub jitter: &'a mut Jitter,
    /// The number of the next batch.
    pub next_batch: &'a mut BatchId,
    /// Up to where the feed has been folded in.
    pub folded: FeedSeq,
    /// How the outbox stands, where there is an external own relay.
    pub outbox: OutboxState,
    /// The moment.
    pub now: Now,
}

/// One relay: its record, and what goes on with it.
#[derive(Debug)]
pub struct RelayLife {
    url: RelayUrl,
    named: bool,
    state: RelayState,
    book: ChunkBook,
    failed: FailedItems,
    health: RelayHealth,
    told_health: HealthState,

    /// Layer 1 is to be asked, with this `since`.
    layer_1: Option<Option<u64>>,
    /// Confirmed items whose catch-up is to be asked.
    catch_up: PendingItems,
    /// New items that are to be asked.
    planned: PendingItems,
    in_flight: BTreeMap<BatchId, PendingBatch>,
    /// What the catch-up batches in flight cover.
    covers: BTreeMap<BatchId, PendingItems>,
    /// How far the batches in flight have come.
    underway: BTreeMap<BatchId, Underway>,
    /// The ids that batches in flight ask for (SPEC §11).
    asked: BTreeMap<BatchId, BTreeSet<EventId>>,
    /// Ids that failed here, to be asked for again.
    ask_again: BTreeSet<EventId>,
    /// The batch whose discoveries the planned items are.
    caused_by: Option<BatchId>,
    /// Live sync may have missed what was published since (unix seconds), until a catch-up from there is done.
    catch_up_from: Option<u64>,
    /// When the relay was last heard, unix seconds; 0 where that isn't known. What it told later was lost with the
    /// connection.
    heard_at: u64,
    catching_up: bool,
    /// What runs since the status became `Syncing`.
    run: BatchReason,
    /// When everything was last read anew, unix seconds.
    full_sync_at: u64,
    daily_at: Option<MonoMillis>,

    /// A `Disconnect` is out and not answered.
    closing: bool,
    give_up_at: Option<MonoMillis>,
    /// The attempt that is being ended was given up: that it ends is a failure of the relay.
    given_up: bool,
    live_dirty: bool,
    live_keys: BTreeSet<LiveKey>,
    live_refused: BTreeMap<LiveKey, String>,
    consolidate_by: Option<MonoMillis>,
    barrier: FeedSeq,
    /// What its batches brought may wait for an external own relay's word, up to this number of the outbox.
    awaits: Option<u64>,
    settled_at: MonoMillis,

    reason: String,
    strategy: String,
    events_stored: u64,
    head_dirty: bool,
    health_dirty: bool,
}

impl RelayLife {
    /// A relay that was never connected.
    pub fn new(url: RelayUrl, config: &ManagerConfig) -> Self {
        let limits = ChunkLimits::new(config.chunk_size, &RelayProfile::default());
        Self {
            named: config.names(&url),
            state: RelayState::new(config.is_bootstrap(&url)),
            book: ChunkBook::new(limits),
            failed: FailedItems::default(),
            health: RelayHealth::new(config.health_of(&url)),
            told_health: HealthState::Disconnected,
            layer_1: None,
            catch_up: PendingItems::default(),
            planned: PendingItems::default(),
            in_flight: BTreeMap::new(),
            covers: BTreeMap::new(),
            underway: BTreeMap::new(),
            asked: BTreeMap::new(),
            ask_again: BTreeSet::new(),
            caused_by: None,
            catch_up_from: None,
            heard_at: 0,
            catching_up: false,
            run: BatchReason::InitialConnect,
            full_sync_at: 0,
            daily_at: None,
            closing: false,
            give_up_at: None,
            given_up: false,
            live_dirty: false,
            live_keys: BTreeSet::new(),
            live_refused: BTreeMap::new(),
            consolidate_by: None,
            barrier: 0,
            awaits: None,
            settled_at: 0,
            reason: "not tried yet".to_owned(),
            strategy: String::new(),
            events_stored: 0,
            head_dirty: false,
            health_dirty: false,
            url,
        }
    }

    /// Its address.
    pub fn url(&self) -> &RelayUrl {
        &self.url
    }

    /// Its record.
    pub fn state(&self) -> &RelayState {
        &self.state
    }

    /// Where it stands.
    pub fn status(&self) -> ConnectionStatus {
        self.state.connection_status
    }

    /// What was tried and is not complete.
    pub fn failed(&self) -> &FailedItems {
        &self.failed
    }

    /// Batches in flight.
    pub fn in_flight(&self) -> &BTreeMap<BatchId, PendingBatch> {
        &self.in_flight
    }

    /// New items that wait for a batch.
    pub fn planned(&self) -> &PendingItems {
        &self.planned
    }

    /// Its chunks.
    pub fn book(&self) -> &ChunkBook {
        &self.book
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress<'_> {
        Progress { state: &self.state, in_flight: &self.in_flight, planned: &self.planned, failed: &self.failed }
    }

    /// Whether it is asked for single events by their ids (SPEC §11).
    pub fn is_asking_for_ids(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Whether a `Disconnect` is out and not answered.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Failures since the last stable connection.
    pub fn failures(&self) -> u32 {
        self.health.failures()
    }

    /// When an attempt may be made.
    pub fn next_attempt(&self) -> MonoMillis {
        self.health.next_attempt()
    }

    /// Something happened on the connection.
    pub fn handle_notice(&mut self, notice: LinkNotice, env: &mut Env<'_>) {
        if !self.status().is_connected() {
            return;
        }
        match notice {
            LinkNotice::RateLimited { text } => {
                self.health.on_rate_limited(env.now);
                self.health_dirty = true;
                self.warn(Cause::RateLimited, format!("rate limited: {text}"), env);
            }
            LinkNotice::LiveRefused { key, text } => {
                self.miss_from(env.now.unix_s, env);
                self.catching_up = false;
                // One that was replaced since has lost something as well, and is not to be waited for.
                if self.live_keys.contains(&key) {
                    self.live_refused.insert(key, text);
                }
            }
            LinkNotice::LiveRestored { key } => {
                self.live_refused.remove(&key);
            }
            LinkNotice::FellBack { from, to, reason, first: true, .. } => {
                let text = format!(
                    "{from} is unsupported ({reason}); {}",
                    if to.is_empty() { "no strategy is left" } else { &to }
                );
                self.warn(Cause::Unsupported { strategy: from }, text, env);
            }
            LinkNotice::Coverage { batch, filters } => {
                if let Some(underway) = self.underway.get_mut(&batch) {
                    underway.coverage = filters;
                }
            }
            LinkNotice::SessionStarted { batch, strategy, .. } => {
                if let Some(underway) = self.underway.get_mut(&batch) {
                    underway.session_began(strategy);
                }
            }
            LinkNotice::SessionEnded { batch, .. } => {
                if let Some(underway) = self.underway.get_mut(&batch) {
                    underway.session_ended();
                }
            }
            LinkNotice::Heard { at } => {
                self.heard_at = at.min(env.now.unix_s);
                self.head_dirty = true;
            }
            LinkNotice::AuthRequired { answered: false, .. } if self.status() == ConnectionStatus::Syncing => {
                self.reason = "historic sync in progress; the relay asks for authentication (NIP-42), and the service \
                               has no key"
                    .to_owned();
            }
            LinkNotice::AuthRefused { text } => {
                let text = format!("the relay doesn't accept our authentication (NIP-42): {text}");
                self.warn(Cause::AuthRefused, text, env);
            }
            _ => {}
        }
    }

    /// Takes out what is wanted no longer.
    pub fn handle_lost(&mut self, lost: &PendingItems, env: &mut Env<'_>) {
        let mut gone = PendingItems::default();
        gone.repos.extend(lost.repos.iter().filter(|repo| !env.index.wants_repo(&self.url, repo)).cloned());
        gone.root_events.extend(lost.root_events.iter().filter(|event| !env.index.wants_root_event(&self.url, event)));
        self.remove(&gone);
    }

    /// The whole feed was read once: takes out what a record brought and nobody wants any longer.
    pub fn handle_first_fold(&mut self, env: &mut Env<'_>) {
        let mut items = self.book.items();
        for group in self.failed.groups().values() {
            items.repos.extend(group.items.repos.iter().cloned());
            items.root_events.extend(&group.items.root_events);
        }
        self.handle_lost(&items, env);
    }

    fn remove(&mut self, gone: &PendingItems) {
        // From what is in flight too: an item that is wanted again later is new then.
        let in_flight = self.in_flight.values_mut().map(|batch| &mut batch.items);
        let mut pending: Vec<&mut PendingItems> = in_flight.chain(self.covers.values_mut()).collect();
        for repo in &gone.repos {
            self.live_dirty |= self.book.remove_repo(repo);
            self.state.repos.remove(repo);
            self.planned.repos.remove(repo);
            self.catch_up.repos.remove(repo);
            for items in &mut pending {
                items.repos.remove(repo);
            }
        }
        for event in &gone.root_events {
            self.live_dirty |= self.book.remove_root_event(event);
            self.state.root_events.remove(event);
            self.planned.root_events.remove(event);
            self.catch_up.root_events.remove(event);
            for items in &mut pending {
                items.root_events.remove(event);
            }
        }
        self.failed.remove(false, gone);
    }

    /// What time and the state so far ask for: timers, retries, what is to be sent, completion. Called after every
    /// input that may concern the relay; calling it once more changes nothing.
    pub fn pump(&mut self, env: &mut Env<'_>) {
        self.health.tick(env.now);
        if self.give_up_at.is_some_and(|at| at <= env.now.mono_ms) {
            self.give_up_at = None;
            self.given_up = true;
            self.close(GIVEN_UP, env);
        }
        if self.status().is_connected() && !self.closing {
            self.check_daily(env);
            if self.live_refused.is_empty() && self.catch_up_from.is_some() && !self.catching_up {
                self.start_catch_up(env);
            }
            if self.failed.next_due().is_some_and(|at| at <= env.now.unix_s) {
                self.retry_due(env);
                self.plan_everything(env);
            }
            self.dispatch(env);
            self.check_and_complete_historic_sync(env);
        }
        let health = self.health.state(env.now);
        if health != self.told_health {
            self.told_health = health;
            self.health_dirty = true;
            env.out.push_back(ManagerOutput::Health { relay: self.url.clone(), state: health });
        }
    }

    /// When [`RelayLife::pump`] has something to do, and what.
    pub fn next_timeout(&self, now: Now) -> Option<(MonoMillis, &'static str)> {
        let mut next = [
            self.health.next_change().map(|at| (at, "health")),
            self.give_up_at.map(|at| (at, "connect timeout")),
            None,
            None,
            None,
            None,
        ];
        if self.status().is_connected() && !self.closing {
            let at_unix = |at: u64| now.mono_ms.saturating_add(at.saturating_sub(now.unix_s).saturating_mul(1000));
            let settled = self.status() == ConnectionStatus::Syncing && self.is_idle() && self.settled_at > now.mono_ms;
            next[2] = self.daily_at.filter(|_| self.status() != ConnectionStatus::Syncing).map(|at| (at, "daily sync"));
            next[3] = self.failed.next_due().map(|at| (at_unix(at), "retry"));
            let cooling = self.health.cooling_until(now).is_some();
            next[4] = self.consolidate_by.filter(|_| !cooling).map(|at| (at, "consolidation"));
            next[5] = settled.then_some((self.settled_at, "settle"));
        }
        next.into_iter().flatten().min()
    }

    /// A connection is known to be open at this moment: a crash leaves a fair time.
    pub fn note_alive(&mut self, now: Now) {
        if self.status().is_connected() {
            self.state.last_connected = now.unix_s;
            self.head_dirty = true;
        }
    }

    /// Events of its live subscriptions were stored.
    pub fn note_stored(&mut self, count: u64) {
        self.events_stored = self.events_stored.saturating_add(count);
    }

    /// What an operator sees of it.
    pub fn report(&self, now: Now) -> RelayReport {
        RelayReport {
            url: self.url.clone(),
            status: self.status(),
            health: self.health.state(now),
            reason: self.reason.clone(),
            strategy: self.strategy.clone(),
            repos: self.state.repos.len() as u64,
            root_events: self.state.root_events.len() as u64,
            pending_batches: self.in_flight.len() as u64,
            coverage: {
                let filters = self.underway.values().flat_map(|underway| &underway.coverage);
                filters.take(RelayReport::MAX_COVERAGE).cloned().collect()
            },
            events_stored: self.events_stored,
            last_connected: (self.state.last_connected > 0).then_some(self.state.last_connected),
            last_error: self.health.last_error().map(str::to_owned),
        }
    }

    fn plan_everything(&mut self, env: &Env<'_>) {
        let actions = compute_relay_actions(env.index, &self.url, &self.progress(), env.now.unix_s);
        self.plan(actions, None, env);
    }

    /// Takes over what [`crate::plan::compute_actions`] found for this relay; consolidates first where that pays (SPEC §10).
    pub fn plan(&mut self, actions: RelayActions, caused_by: Option<BatchId>, env: &Env<'_>) {
        self.caused_by = caused_by.or(self.caused_by);
        for repo in actions.repos {
            self.live_dirty |= self.book.append_repo(&repo);
            self.planned.repos.insert(repo);
        }
        for event in actions.root_events {
            self.live_dirty |= self.book.append_root_event(event);
            self.planned.root_events.insert(event);
        }
        let (live, rebuilt) = (self.book.live_filters(), self.book.rebuilt_filters());
        let pays = live > env.config.consolidation_threshold && (live - rebuilt.min(live)) * 10 >= live * 3;
        if self.live_dirty && pays && self.consolidate_by.is_none() {
            self.consolidate_by = Some(env.now.mono_ms.saturating_add(env.config.consolidation_wait_ms));
        }
    }

    fn set_status(&mut self, to: ConnectionStatus, reason: String, env: &mut Env<'_>) {
        let from = self.status();
        self.reason = reason;
        if from == to {
            return;
        }
        debug_assert!(from.may_become(to), "{}: {from} may not become {to}", self.url);
        self.state.connection_status = to;
        self.head_dirty = true;
        let cause = match to {
            ConnectionStatus::ConnectedDegraded => Some(self.cause()),
            ConnectionStatus::Disconnected => Some(Cause::Away),
            _ => None,
        };
        let reason = self.reason.clone();
        env.out.push_back(ManagerOutput::Status { relay: self.url.clone(), from, to, reason, cause });
    }

    fn warn(&self, cause: Cause, text: String, env: &mut Env<'_>) {
        env.out.push_back(ManagerOutput::Warn { relay: self.url.clone(), cause, text });
    }
}

/// Why an attempt is given up that the shell has lost sight of.
const GIVEN_UP: &str = "the attempt wasn't answered in time";

/// What failed is tried again by then, unix seconds: with the next daily sync, or within a day.
fn latest_retry(env: &Env<'_>) -> u64 {
    let longest = env.config.daily_sync_ms.map_or(24 * 3_600_000, |(_, high)| high);
    env.now.unix_s.saturating_add(longest / 1000)
}
