//! The process: the manager's task, its feed, its records, its store, as `engine::daemon` has them; and the plan, which
//! happens to it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use sync_core::Now;
use sync_core::admission::{AdmissionConfig, AdmissionPolicy};
use sync_core::link::LinkCommand;
use sync_core::manager::{ManagerInput, ManagerOutput, RestoredState, SyncManager};
use sync_core::model::RelayUrl;
use sync_core::store::{EventStore, StateTable, StateWrite};
use sync_core::strategy::{StrategyConfig, StrategyOrder};
use sync_core::time::Jitter;
use sync_core::transport::FaultKind;

use super::Summary;
use super::backoff::Record;
use super::check::Checker;
use super::judge::Judge;
use super::own::Outbox;
use super::peer::Peer;
use super::plan::{DOMAIN, Dice, Plan};
use super::queue::{Inner, Queue, Step, Wire};
use crate::store::MemoryStore;

/// The monotonic clock of a process that has just begun.
const MONO_BASE: u64 = 1_000;
/// Steps at one moment, beyond which time counts as standing still.
const MAX_AT_ONCE: u64 = 20_000;
/// How long a connection may be silent on the wire's own level.
pub(super) const SILENCE: u64 = 90_000;

/// A run.
pub(super) struct Sim {
    pub(super) seed: u64,
    trace: bool,
    pub(super) plan: Plan,
    pub(super) dice: Dice,
    pub(super) queue: Queue,
    pub(super) ms: u64,
    pub(super) store: Arc<MemoryStore>,
    pub(super) strategies: StrategyOrder,
    pub(super) checker: Checker,
    pub(super) process: Option<Process>,
    pub(super) lives: u64,
    pub(super) next_wire: u64,
    /// How far the process's clock is off, seconds.
    pub(super) clock_off: i64,
    /// Relays that can't be reached, by place, and what an attempt shows.
    pub(super) cut_off: BTreeMap<usize, FaultKind>,
    pub(super) judge: Judge,
    pub(super) summary: Summary,
    pub(super) broken: Option<String>,
    pub(super) done: bool,
}

/// What dies with the process.
pub(super) struct Process {
    pub(super) life: u64,
    started: u64,
    pub(super) manager: SyncManager,
    pub(super) contacts: BTreeMap<usize, Contact>,
    timer: (u64, Option<u64>),
    late_timers: u64,
    fed: u64,
    told: Option<u64>,
    feed_waits: bool,
    persist_at: u64,
    unwritten: Vec<StateWrite>,
    /// What these say of relays' health.
    unkept: Vec<(usize, Record)>,
    pub(super) writer_free: u64,
    pub(super) outbox: Outbox,
}

/// A relay that something is under way with.
pub(super) enum Contact {
    Connecting { wire: Wire, cancelled: bool, hung: bool },
    Open(Box<Peer>),
}

impl Sim {
    pub(super) fn new(plan: Plan, seed: u64, trace: bool) -> Self {
        let policy =
            AdmissionPolicy::new(AdmissionConfig { domains: vec![DOMAIN.to_owned()], ..AdmissionConfig::default() });
        let store = Arc::new(MemoryStore::new(policy.ok(), plan.climate.intake.clone()));
        let nothing = StrategyConfig::Object(serde_json::Map::new());
        let mut strategies: StrategyOrder = Vec::new();
        if let Ok(negentropy) = strategy_negentropy::NegentropyStrategy::from_config(&nothing) {
            strategies.push(Arc::new(negentropy));
        }
        if let Ok(req) = strategy_req::ReqStrategy::from_config(&nothing) {
            strategies.push(Arc::new(req));
        }
        let mut queue = Queue::default();
        queue.put(0, Step::Start);
        for (place, (at, _)) in plan.happenings.iter().enumerate() {
            queue.put(*at, Step::Plan(place));
        }
        Self {
            seed,
            trace,
            judge: Judge::new(&plan),
            plan,
            dice: Dice(Jitter::new(seed)),
            queue,
            ms: 0,
            store,
            strategies,
            checker: Checker::default(),
            process: None,
            lives: 0,
            next_wire: 0,
            clock_off: 0,
            cut_off: BTreeMap::new(),
            summary: Summary::default(),
            broken: None,
            done: false,
        }
    }

    /// Runs to the verdict. An error says when, in virtual milliseconds, and what did not hold.
    pub(super) fn run(mut self) -> Result<Summary, (u64, String)> {
        let mut at_once = 0;
        while let Some((at, step)) = self.queue.pop() {
            at_once = if at == self.ms { at_once + 1 } else { 0 };
            self.ms = at;
            self.summary.steps += 1;
            self.step(step);
            if at_once > MAX_AT_ONCE || self.summary.steps > self.plan.max_steps {
                self.broke(format!("busy without end: {} steps, {at_once} of them at this moment", self.summary.steps));
            }
            if let Some(text) = self.broken.take() {
                return Err((self.ms, text));
            }
            if self.done {
                self.summary.virtual_ms = self.ms;
                self.summary.relays = self.process.as_ref().map_or(0, |process| process.manager.relays().len() as u64);
                self.summary.accepted = self.store.accepted().len() as u64;
                return Ok(self.summary);
            }
        }
        Err((self.ms, "nothing is going to happen any more".to_owned()))
    }

    /// The moment as it is.
    pub(super) fn true_unix(&self) -> u64 {
        self.plan.start + self.ms / 1000
    }

    /// The moment as the process's wall clock has it.
    pub(super) fn unix(&self) -> u64 {
        self.true_unix().saturating_add_signed(self.clock_off)
    }

    /// The moment as relays see it.
    pub(super) fn true_now(&self) -> Now {
        Now { mono_ms: MONO_BASE + self.ms, unix_s: self.true_unix() }
    }

    /// The moment as the process sees it: its monotonic clock begins with it.
    pub(super) fn now(&self) -> Now {
        let started = self.process.as_ref().map_or(0, |process| process.started);
        Now { mono_ms: MONO_BASE + self.ms - started, unix_s: self.unix() }
    }

    /// When a deadline of the process is.
    pub(super) fn at(&self, mono_ms: u64) -> u64 {
        let started = self.process.as_ref().map_or(0, |process| process.started);
        (mono_ms.saturating_sub(MONO_BASE).saturating_add(started)).max(self.ms)
    }

    pub(super) fn later(&mut self, within: u64) -> u64 {
        self.ms + self.dice.within(0, within)
    }

    /// Puts a step into the life of this process.
    pub(super) fn put(&mut self, at: u64, inner: Inner) {
        self.queue.put(at, Step::Process(self.lives, inner));
    }

    pub(super) fn broke(&mut self, text: String) {
        self.tell(|| format!("BROKEN {text}"));
        self.broken.get_or_insert(text);
    }

    /// A line of the trace.
    pub(super) fn tell<T: fmt::Display>(&self, line: impl FnOnce() -> T) {
        if self.trace {
            eprintln!("{:>9}.{:03}  {}", self.ms / 1000, self.ms % 1000, line());
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Plan(place) => {
                let happening = self.plan.happenings[place].1.clone();
                self.happen(happening);
            }
            Step::Start => self.start(),
            Step::Process(life, inner) => {
                if self.process.as_ref().is_some_and(|process| process.life == life) {
                    self.inner(inner);
                }
            }
            Step::Verdict => self.verdict(),
            Step::Probed(ids) => self.probed(&ids),
        }
    }

    fn inner(&mut self, inner: Inner) {
        match inner {
            Inner::ManagerTimer(version) => {
                if self.process.as_ref().is_some_and(|process| process.timer.0 == version) {
                    self.take(ManagerInput::Timeout);
                }
            }
            Inner::ToManager(input) => self.take(input),
            Inner::Feed => self.feed(),
            Inner::Attempted(wire) => self.attempted(wire),
            Inner::ToLink(wire, command) => self.command(wire, command),
            Inner::LinkTimer(wire, version) => self.link_timer(wire, version),
            Inner::Up(wire, text) => self.up(wire, text),
            Inner::Down(wire, text) => self.down(wire, text),
            Inner::Cut(wire, fault) => self.end(wire, fault),
            Inner::Silent(wire) => self.silent(wire),
            Inner::HandOver(wire) => self.hand_over(wire),
            Inner::Checked(wire, answers) => self.checked(wire, answers),
            Inner::Commit(wire, bytes, tokens, submission) => self.commit(wire, bytes, &tokens, submission),
            Inner::Settled(wire, bytes, outcomes) => self.settled(wire, bytes, outcomes),
            Inner::Persist(writes, records) => {
                let Some(process) = &mut self.process else { return };
                process.unkept.extend(records);
                // What could not be written is written with the next records, the last version of each.
                let renews = |older: &StateWrite| writes.iter().any(|w| (w.table, &w.key) == (older.table, &older.key));
                process.unwritten.retain(|older| !renews(older));
                process.unwritten.extend(writes);
                if self.store.write_state(process.unwritten.clone()).is_ok() {
                    process.unwritten.clear();
                    for (place, record) in std::mem::take(&mut process.unkept) {
                        self.judge.backoff.keep(place, record);
                    }
                }
            }
            Inner::Outbox => self.offer(),
            Inner::Answered(verdicts) => self.answered(verdicts),
            Inner::Ended(wire, fault) => {
                if let Some(process) = &mut self.process {
                    process.contacts.remove(&wire.relay);
                }
                self.judge.ended(wire.relay, fault.as_ref(), self.ms);
                let relay = self.plan.relays[wire.relay].url.clone();
                self.tell(|| format!("{relay} ended: {fault:?}"));
                self.take(ManagerInput::Disconnected { relay, fault });
            }
        }
    }

    fn start(&mut self) {
        let restored = match self.restored() {
            Ok(restored) => restored,
            Err(error) => {
                self.tell(|| format!("can't start: {error}"));
                return self.queue.put(self.ms + 10_000, Step::Start);
            }
        };
        for problem in &restored.problems {
            self.broke(format!("a record can't be read: {problem}"));
        }
        self.summary.restarts += u64::from(self.lives > 0);
        self.judge.restarted(self.ms, self.clock_off);
        let now = Now { mono_ms: MONO_BASE, unix_s: self.unix() };
        self.process = Some(Process {
            life: self.lives,
            started: self.ms,
            manager: SyncManager::new(self.plan.manager.clone(), restored, now),
            contacts: BTreeMap::new(),
            timer: (0, None),
            late_timers: 0,
            fed: 0,
            told: None,
            feed_waits: true,
            persist_at: 0,
            unwritten: Vec::new(),
            unkept: Vec::new(),
            writer_free: 0,
            outbox: Outbox::default(),
        });
        self.tell(|| "the process starts");
        let at = self.later(20);
        self.put(at, Inner::Feed);
        self.carry_out();
    }

    fn restored(&self) -> Result<RestoredState, sync_core::store::StoreError> {
        self.store.judge_backlog(self.unix())?;
        Ok(RestoredState::from_rows(
            self.store.read_state(StateTable::Relay)?,
            self.store.read_state(StateTable::Failed)?,
            self.store.read_state(StateTable::Health)?,
        ))
    }

    /// Lets the feed be read, soon.
    pub(super) fn wake_feed(&mut self) {
        let Some(process) = &mut self.process else { return };
        if !std::mem::replace(&mut process.feed_waits, true) {
            let at = self.later(20);
            self.put(at, Inner::Feed);
        }
    }

    fn feed(&mut self) {
        let most = [1, 7, 1_000][self.dice.below(3)];
        let Some(process) = &mut self.process else { return };
        process.feed_waits = false;
        let Ok(mut page) = self.store.feed(process.fed, most) else { return };
        process.fed = page.upto;
        page.entries.retain(|entry| entry.change.is_of_interest());
        let more = page.upto < page.head;
        if process.told != Some(page.upto) {
            process.told = Some(page.upto);
            self.take(ManagerInput::Feed(page));
        }
        if more {
            self.wake_feed();
        }
    }

    /// Gives the manager an input, and carries out what it wants.
    pub(super) fn take(&mut self, input: ManagerInput) {
        let now = self.now();
        if matches!(input, ManagerInput::BatchDone { .. }) {
            self.summary.batches += 1;
            self.look_at_outbox();
        }
        self.tell(|| match &input {
            ManagerInput::Feed(page) => {
                format!("feed: {} entries up to {} of {}", page.entries.len(), page.upto, page.head)
            }
            ManagerInput::BatchDone { relay, report, feed_head } => {
                format!("{relay} batch {} (head {feed_head}): {:?} {:?}", report.id, report.outcome, report.counts)
            }
            ManagerInput::Notice { relay, notice } => format!("{relay} notice {notice:?}"),
            other => format!("{other:?}"),
        });
        let Some(process) = &mut self.process else { return };
        let timeout = matches!(input, ManagerInput::Timeout);
        process.manager.handle(input, now);
        let due = process.manager.next_timeout().map(|(at, _)| at);
        let late = timeout && due.is_some_and(|at| at <= now.mono_ms);
        process.late_timers = if late { process.late_timers + 1 } else { 0 };
        if process.late_timers > 50 {
            let reason = process.manager.next_timeout();
            self.broke(format!("the manager's timer is due again and again: {reason:?}"));
        }
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.process.as_mut().and_then(|process| process.manager.poll()) {
            match output {
                ManagerOutput::Connect(target) => self.connect(&target.relay),
                ManagerOutput::Disconnect { relay, reason } => {
                    self.tell(|| format!("{relay} to be closed: {reason}"));
                    if let Some(place) = self.plan.place(&relay) {
                        self.cancel(place);
                    }
                }
                ManagerOutput::Link { relay, command } => self.link(&relay, command),
                ManagerOutput::Persist(writes) => self.persist(writes),
                ManagerOutput::Status { relay, from, to, reason, .. } => {
                    self.tell(|| format!("{relay} {from} -> {to} {reason}"));
                    if let Err(text) = self.judge.status(&relay, from, to, &reason) {
                        self.broke(text);
                    }
                }
                ManagerOutput::LimitHit { limit, text } => self.tell(|| format!("limit {limit}: {text}")),
                ManagerOutput::Warn { relay, text, .. } => self.tell(|| format!("{relay} warning: {text}")),
                _ => {}
            }
        }
        let Some(process) = &self.process else { return };
        let due = process.manager.next_timeout().map(|(at, _)| self.at(at));
        let Some(process) = &mut self.process else { return };
        if process.timer.1 != due || due.is_some_and(|at| at <= self.ms) {
            process.timer = (process.timer.0 + 1, due);
            let version = process.timer.0;
            if let Some(at) = due {
                self.put(at, Inner::ManagerTimer(version));
            }
        }
    }

    fn persist(&mut self, writes: Vec<StateWrite>) {
        let at = self.later(30);
        let Some(process) = &mut self.process else { return };
        process.persist_at = process.persist_at.max(at);
        let at = process.persist_at;
        let told = writes.iter().filter(|write| write.table == StateTable::Health);
        let places = told.filter_map(|write| self.plan.relays.iter().position(|relay| write.key == relay.key));
        let records = places.map(|place| (place, self.judge.backoff.record(place, self.ms, self.clock_off)));
        let records = records.collect();
        self.put(at, Inner::Persist(writes, records));
    }

    fn link(&mut self, relay: &RelayUrl, command: LinkCommand) {
        let Some(place) = self.plan.place(relay) else { return };
        let at = self.later(3);
        let Some(Contact::Open(peer)) = self.process.as_mut().and_then(|process| process.contacts.get_mut(&place))
        else {
            return;
        };
        let (wire, at) = (peer.wire, peer.command_at(at));
        self.put(at, Inner::ToLink(wire, command));
    }
}
