//! `SyncManager`: all relays together, behind one `handle`.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use super::connections::MAX_CONNECTING;
use super::incidents::Incidents;
use super::{
    ManagerConfig, ManagerInput, ManagerOutput, OwnRelayReport, RestoredState, StatusReport, Totals, WantedIds,
};
use crate::lifecycle::{Env, RelayLife};
use crate::model::{BatchId, ConnectionStatus, HealthState, PendingSyncIndex, RelaySyncIndex, RelayUrl};
use crate::plan::{IndexLimits, OwnAddresses, RepoIndex, compute_changed_actions};
use crate::store::{FeedChange, FeedPage, FeedSeq, OutboxState, StateWrite};
use crate::time::{Jitter, MonoMillis, Now};

/// How often a connection that is open is noted as such, in milliseconds: what a crash may cost of `last_connected`.
const ALIVE_INTERVAL_MS: u64 = 60_000;
/// Hits of bounds that are remembered, so that each is told once.
const MAX_TOLD: usize = 4_096;

/// All relays: takes inputs with the time they happened, yields outputs. Call [`SyncManager::handle`], drain
/// [`SyncManager::poll`], then wait until [`SyncManager::next_timeout`] or the next input.
#[derive(Debug)]
pub struct SyncManager {
    pub(super) config: ManagerConfig,
    pub(super) index: RepoIndex,
    wanted: WantedIds,
    pub(super) relays: BTreeMap<RelayUrl, RelayLife>,
    pub(super) out: VecDeque<ManagerOutput>,
    jitter: Jitter,
    next_batch: BatchId,

    /// Up to where the feed was told, and up to where it was folded in.
    fed: FeedSeq,
    folded: FeedSeq,
    /// The first entry that waits for the window to close, and when that is.
    pub(super) waiting: Option<(FeedSeq, MonoMillis)>,
    /// The feed's head when it was first read. Until that was folded in, what a record holds isn't known to be unwanted.
    first_head: Option<FeedSeq>,
    pub(super) first_fold_done: bool,
    /// How the outbox stands, where there is an external own relay.
    outbox: OutboxState,
    /// The last batch that stored something, and the feed's head at its end.
    last_source: Option<(BatchId, FeedSeq)>,

    /// Some relay was refused for want of room.
    pub(super) refused: bool,
    told: HashSet<String>,
    pub(super) incidents: Incidents,
    pub(super) erased: Vec<StateWrite>,
    persist_at: Option<MonoMillis>,
    alive_at: Option<MonoMillis>,
    pub(super) stopping: bool,
    /// The moment of the last input: timers in unix time are told relative to it.
    last: Now,
}

impl SyncManager {
    /// The manager with what a former run left. Bootstrap relays are connected at once.
    pub fn new(config: ManagerConfig, restored: RestoredState, now: Now) -> Self {
        let own = OwnAddresses::new(config.domains.iter().map(String::as_str), config.own_urls.iter().cloned())
            .without(config.own_relay.clone());
        let bootstrap: BTreeSet<RelayUrl> =
            config.bootstrap_relays.iter().chain(&config.own_relay).filter(|url| !own.contains(url)).cloned().collect();
        let limits = IndexLimits {
            max_relays_per_repo: config.max_relays_per_repo,
            max_repos_per_relay: config.max_repos_per_relay,
        };
        let mut relays: BTreeMap<RelayUrl, RelayLife> = BTreeMap::new();
        for (url, relay) in restored.relays {
            if !own.contains(&url) {
                relays.insert(url.clone(), RelayLife::restore(url, relay, &config, now));
            }
        }
        for url in &bootstrap {
            relays.entry(url.clone()).or_insert_with(|| RelayLife::new(url.clone(), &config));
        }
        let mut manager = Self {
            index: RepoIndex::new(own, limits, bootstrap),
            wanted: WantedIds::default(),
            relays,
            out: VecDeque::new(),
            jitter: Jitter::new(config.seed),
            next_batch: 1,
            fed: 0,
            folded: 0,
            waiting: None,
            first_head: None,
            first_fold_done: false,
            outbox: OutboxState::default(),
            last_source: None,
            refused: false,
            told: HashSet::new(),
            incidents: Incidents::default(),
            erased: Vec::new(),
            persist_at: None,
            alive_at: None,
            stopping: false,
            last: now,
            config,
        };
        manager.sweep(now);
        manager
    }

    /// Takes an input. Drain [`SyncManager::poll`] afterwards.
    pub fn handle(&mut self, input: ManagerInput, now: Now) {
        self.last = now;
        self.note_incidents(&input, now.unix_s);
        match input {
            ManagerInput::Feed(page) => self.handle_feed(page, now),
            ManagerInput::Connected { relay, profile } => self.handle_connected(&relay, &profile, now),
            ManagerInput::ConnectFailed { relay, fault } => {
                self.with(&relay, now, |life, env| {
                    if life.status() == ConnectionStatus::Connecting {
                        life.handle_disconnect(Some(&fault), env);
                    }
                });
                self.sweep(now);
            }
            ManagerInput::Disconnected { relay, fault } => {
                self.with(&relay, now, |life, env| life.handle_disconnect(fault.as_ref(), env));
                self.sweep(now);
            }
            ManagerInput::BatchDone { relay, report, feed_head } => {
                if report.counts.stored > 0 {
                    self.last_source = Some((report.id, feed_head));
                }
                let mut passed_on = false;
                self.with(&relay, now, |life, env| passed_on = life.handle_batch_done(&report, feed_head, env));
                if passed_on {
                    self.sweep(now);
                } else {
                    self.advance(&relay, now);
                }
            }
            ManagerInput::Notice { relay, notice } => {
                self.with(&relay, now, |life, env| life.handle_notice(notice, env));
                self.advance(&relay, now);
            }
            ManagerInput::LiveStored { relay, count } => {
                self.with(&relay, now, |life, _| life.note_stored(count));
            }
            ManagerInput::Outbox { state, feed_head } => {
                self.outbox = state;
                let open = state.oldest_open;
                let answered = |life: &mut RelayLife| life.handle_answered(open, feed_head);
                if self.relays.values_mut().map(answered).fold(false, |any, freed| any | freed) {
                    self.sweep(now);
                }
            }
            ManagerInput::StoreWorks => {
                let relays: Vec<_> = self.relays.keys().cloned().collect();
                for relay in relays {
                    self.with(&relay, now, |life, env| life.handle_store_works(env));
                    self.advance(&relay, now);
                }
            }
            ManagerInput::Timeout => {
                if self.waiting.is_some_and(|(_, closes)| closes <= now.mono_ms) {
                    self.fold(now);
                }
                self.sweep(now);
            }
            ManagerInput::Shutdown => self.shutdown(now),
        }
        self.keep_records(now);
    }

    /// The next output; drain until `None` after each `handle`.
    pub fn poll(&mut self) -> Option<ManagerOutput> {
        self.out.pop_front()
    }

    /// When to give [`ManagerInput::Timeout`], and what for. Changes only by `handle`.
    pub fn next_timeout(&self) -> Option<(MonoMillis, &'static str)> {
        if self.stopping {
            return None;
        }
        let connecting = self.connecting() < MAX_CONNECTING;
        let relays = self.relays.values().filter_map(|life| {
            let reconnect = (connecting && self.wants_connection(life)).then(|| (life.next_attempt(), "reconnect"));
            [life.next_timeout(self.last), reconnect].into_iter().flatten().min()
        });
        let own = [
            self.waiting.map(|(_, closes)| (closes, "batch window")),
            self.persist_at.map(|at| (at, "persist")),
            self.alive_at.map(|at| (at, "note open connections")),
        ];
        relays.chain(own.into_iter().flatten()).min()
    }

    /// What an operator sees. The shell fills in what it knows alone: version, trouble, plugins, stored events.
    pub fn status(&self, now: Now) -> StatusReport {
        let relays: Vec<_> = self.relays.values().map(|life| life.report(now)).collect();
        let count = |which: &dyn Fn(&super::RelayReport) -> bool| relays.iter().filter(|r| which(r)).count() as u64;
        let (repos, root_events) = self.index.counts();
        let totals = Totals {
            relays: relays.len() as u64,
            connected: count(&|r| r.status.is_connected()),
            complete: count(&|r| r.status == ConnectionStatus::Connected),
            degraded: count(&|r| r.status == ConnectionStatus::ConnectedDegraded),
            dead: count(&|r| r.health == HealthState::Dead),
            repos: repos as u64,
            root_events: root_events as u64,
            pending_batches: relays.iter().map(|r| r.pending_batches).sum(),
            store_events: 0,
        };
        let own_relay = self.config.own_relay.as_ref().and_then(|url| self.relays.get(url)).map(|life| {
            let up = life.status().is_connected();
            let reason = match (up, self.outbox.has_put_off) {
                (false, _) => format!("{}: {}", life.status(), life.report(now).reason),
                (true, true) => "it puts off some of what is published".to_owned(),
                (true, false) => String::new(),
            };
            OwnRelayReport { embedded: false, url: life.url().to_string(), up, reason, held: self.outbox.held }
        });
        let mut batches: Vec<_> = self.relays.values().flat_map(RelayLife::progress_of_batches).collect();
        batches.sort_by_key(|batch| batch.id);
        batches.truncate(StatusReport::MAX_BATCHES);
        let incidents = self.incidents.report();
        StatusReport { at: now.unix_s, own_relay, totals, batches, incidents, relays, ..StatusReport::default() }
    }

    /// What is wanted.
    pub fn index(&self) -> &RepoIndex {
        &self.index
    }

    /// Every relay that is known, by address.
    pub fn relays(&self) -> &BTreeMap<RelayUrl, RelayLife> {
        &self.relays
    }

    /// What is confirmed, as a copy.
    pub fn relay_sync_index(&self) -> RelaySyncIndex {
        self.relays.iter().map(|(url, life)| (url.clone(), life.state().clone())).collect()
    }

    /// What is in flight, as a copy; relays without batches are left out.
    pub fn pending_sync_index(&self) -> PendingSyncIndex {
        let busy = self.relays.iter().filter(|(_, life)| !life.in_flight().is_empty());
        busy.map(|(url, life)| (url.clone(), life.in_flight().clone())).collect()
    }

    /// Up to where the feed has been folded in.
    pub fn folded(&self) -> FeedSeq {
        self.folded
    }

    fn handle_feed(&mut self, page: FeedPage, now: Now) {
        let (before, fed) = (self.folded, self.fed);
        for entry in page.entries.iter().filter(|entry| entry.seq > fed) {
            let applied = self.index.apply(entry);
            for (limit, text) in applied.limits {
                self.tell_limit(limit, text);
            }
            let mut changed = applied.changed;
            match &entry.change {
                FeedChange::Accepted(event) => self.wanted.forget(&event.id),
                FeedChange::Removed { .. } => {}
                FeedChange::Wanted { id, relays } => {
                    changed = true;
                    if !self.wanted.gather(*id, relays) {
                        self.tell_too_many_wanted();
                    }
                }
            }
            if changed && self.waiting.is_none() {
                self.waiting = Some((entry.seq, now.mono_ms.saturating_add(self.config.batch_window_ms)));
            }
        }
        self.fed = self.fed.max(page.upto);
        let first_head = *self.first_head.get_or_insert(page.head);
        match self.waiting {
            Some((_, closes)) if closes <= now.mono_ms => self.fold(now),
            Some((first, _)) => self.folded = self.folded.max(first - first.min(1)),
            None if !self.first_fold_done && self.fed >= first_head => self.fold(now),
            None => self.folded = self.fed,
        }
        if self.folded != before {
            self.sweep(now);
        }
    }

    /// Folds in what was gathered: index → targets → actions → batches (SPEC §9).
    fn fold(&mut self, now: Now) {
        let changes = self.index.take_changes();
        let caused_by = match (self.waiting.take(), self.last_source.take()) {
            (Some((first, _)), Some((batch, head))) if first <= head => Some(batch),
            _ => None,
        };
        self.folded = self.fed;
        if !self.wanted.fold() {
            self.tell_too_many_wanted();
        }
        let (relays, mut env) = self.parts(now);
        for (relay, lost) in &changes.lost {
            if let Some(life) = relays.get_mut(relay) {
                life.handle_lost(lost, &mut env);
            }
        }
        if !self.first_fold_done && self.first_head.is_some_and(|head| self.fed >= head) {
            self.first_fold_done = true;
            let (relays, mut env) = self.parts(now);
            relays.values_mut().for_each(|life| life.handle_first_fold(&mut env));
        }
        let listed =
            changes.repos.iter().filter_map(|repo| self.index.needs().get(repo)).flat_map(|needs| &needs.relays);
        let mut discovered: Vec<RelayUrl> = listed.filter(|relay| !self.relays.contains_key(relay)).cloned().collect();
        if self.refused && !changes.lost.is_empty() {
            self.refused = false;
            discovered.extend(self.index.relays().filter(|relay| !self.relays.contains_key(relay)).cloned());
        }
        discovered.into_iter().for_each(|relay| self.admit(relay));

        let progress = |relay: &RelayUrl| self.relays.get(relay).map(RelayLife::progress);
        let actions = compute_changed_actions(&self.index, &changes, progress, now.unix_s);
        let (relays, env) = self.parts(now);
        for (relay, actions) in actions {
            if let Some(life) = relays.get_mut(&relay) {
                life.plan(actions, caused_by, &env);
            }
        }
        self.sweep(now);
    }

    fn shutdown(&mut self, now: Now) {
        self.stopping = true;
        let (relays, mut env) = self.parts(now);
        for life in relays.values_mut() {
            life.note_alive(env.now);
            life.close("the process is stopping", &mut env);
        }
        self.persist(now);
    }

    /// Pumps one relay, and closes it where nothing is wanted of it.
    fn advance(&mut self, relay: &RelayUrl, now: Now) {
        if self.stopping {
            return;
        }
        self.with(relay, now, |life, env| life.pump(env));
        self.check_disconnects(now);
    }

    /// Pumps every relay; closes and connects.
    pub(super) fn sweep(&mut self, now: Now) {
        if self.stopping {
            return;
        }
        let (relays, mut env) = self.parts(now);
        relays.values_mut().for_each(|life| life.pump(&mut env));
        self.check_disconnects(now);
        self.check_reconnects(now);
    }

    /// Persists what changed when it is time, and notes which connections are open.
    fn keep_records(&mut self, now: Now) {
        if self.stopping {
            return;
        }
        if self.alive_at.is_some_and(|at| at <= now.mono_ms) {
            self.alive_at = None;
            self.relays.values_mut().for_each(|life| life.note_alive(now));
        }
        if self.persist_at.is_some_and(|at| at <= now.mono_ms) {
            self.persist(now);
        }
        if self.persist_at.is_none() && (!self.erased.is_empty() || self.relays.values().any(RelayLife::is_dirty)) {
            self.persist_at = Some(now.mono_ms.saturating_add(self.config.persist_interval_ms));
        }
        if self.alive_at.is_none() && self.relays.values().any(|life| life.status().is_connected()) {
            self.alive_at = Some(now.mono_ms.saturating_add(ALIVE_INTERVAL_MS));
        }
    }

    fn persist(&mut self, now: Now) {
        self.persist_at = None;
        let mut writes = std::mem::take(&mut self.erased);
        let (relays, env) = self.parts(now);
        relays.values_mut().for_each(|life| life.persist(&env, &mut writes));
        if !writes.is_empty() {
            self.out.push_back(ManagerOutput::Persist(writes));
        }
    }

    pub(super) fn tell_limit(&mut self, limit: &'static str, text: String) {
        if self.told.len() >= MAX_TOLD {
            self.told.clear();
        }
        if self.told.insert(format!("{limit}: {text}")) {
            self.out.push_back(ManagerOutput::LimitHit { limit, text });
        }
    }

    fn tell_too_many_wanted(&mut self) {
        let text =
            format!("more than {} events are to be fetched again; the next full sync brings some", WantedIds::MAX_IDS);
        self.tell_limit("max_wanted", text);
    }

    /// Gives one relay an input; a relay that isn't known is ignored.
    pub(super) fn with(&mut self, relay: &RelayUrl, now: Now, act: impl FnOnce(&mut RelayLife, &mut Env<'_>)) {
        let (relays, mut env) = self.parts(now);
        if let Some(life) = relays.get_mut(relay) {
            act(life, &mut env);
        }
    }

    pub(super) fn parts(&mut self, now: Now) -> (&mut BTreeMap<RelayUrl, RelayLife>, Env<'_>) {
        let env = Env {
            config: &self.config,
            index: &self.index,
            wanted: &mut self.wanted,
            out: &mut self.out,
            jitter: &mut self.jitter,
            next_batch: &mut self.next_batch,
            folded: self.folded,
            outbox: self.outbox,
            now,
        };
        (&mut self.relays, env)
    }
}
