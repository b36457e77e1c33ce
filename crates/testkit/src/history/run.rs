//! The case at work: frames to and fro without delay, checks and commits that take a few steps, deadlines that are
//! jumped to when nothing else is to do.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use nostr::event::{Event, EventId};
use sync_core::Now;
use sync_core::check::{Candidate, EventLimits};
use sync_core::intake::IntakeConfig;
use sync_core::link::{CheckJob, Checked, LinkCommand, LinkConfig, LinkOutput, RelayLink, RelayMemory, Token};
use sync_core::model::{
    BatchOutcome, BatchReason, BatchReport, BatchRequest, Failure, FailureReason, Layer, PendingItems, RelayUrl,
};
use sync_core::store::{EventStore, LocalSets, StateWrite, Submission};
use sync_core::strategy::{StrategyConfig, StrategyOrder};

use super::case::{Case, START, Strategies};
use super::judge::{self, Chain};
use super::{Promise, Tally};
use crate::relay::{Outgoing, RelayConnection, RelayCore};
use crate::store::MemoryStore;

/// Steps of a case.
const MAX_STEPS: u64 = 400_000;
/// Connections in a row that bring nothing before it is given up, as `grasp-sync sync` does.
const MAX_IDLE: u32 = 3;
/// The most connections of a case.
const MAX_CONNECTIONS: u64 = 600;
/// What was drained that shortly before a connection ended is read again, seconds.
const OVERLAP_S: u64 = 0;
/// As wide as the defaults of the configuration.
const LIMITS: EventLimits = EventLimits { max_event_size: 512 * 1024, max_tags: 5_000 };

/// A case at work.
pub(super) struct Run {
    case: Case,
    chain: Chain,
    trace: bool,
    core: RelayCore,
    store: MemoryStore,
    relay: RelayUrl,
    strategies: StrategyOrder,
    ms: u64,
    steps: u64,
    tally: Tally,
}

/// A piece of work on its way through check and commit.
struct Work {
    due: u64,
    jobs: Vec<CheckJob>,
    offered: Vec<EventId>,
    state: Vec<StateWrite>,
}

/// A connection.
struct Wire {
    link: RelayLink,
    relay: RelayConnection,
    jobs: Vec<CheckJob>,
    offered: Vec<EventId>,
    state: Vec<StateWrite>,
    works: VecDeque<Work>,
    up: VecDeque<String>,
    report: Option<BatchReport>,
    cut: Option<String>,
}

impl Run {
    /// With the strategies that the seed configures.
    pub(super) fn new(case: Case, trace: bool) -> Self {
        let nothing = StrategyConfig::Object(serde_json::Map::new());
        let mut strategies: StrategyOrder = Vec::new();
        if case.strategies != Strategies::Req
            && let Ok(strategy) = strategy_negentropy::NegentropyStrategy::from_config(&nothing)
        {
            strategies.push(Arc::new(strategy));
        }
        if case.strategies != Strategies::Negentropy
            && let Ok(strategy) = strategy_req::ReqStrategy::from_config(&nothing)
        {
            strategies.push(Arc::new(strategy));
        }
        Self::with(case, strategies, Promise::Whole, trace)
    }

    /// With these strategies, which keep `promise`.
    pub(super) fn with(case: Case, strategies: StrategyOrder, promise: Promise, trace: bool) -> Self {
        let mut options = case.options.clone();
        options.events = case.remote.clone();
        let core = RelayCore::new(options);
        core.set_faults(|faults| *faults = case.faults.clone());
        let store = MemoryStore::new(None, IntakeConfig::default());
        for event in &case.local {
            // The store has room: nothing can go wrong.
            let _ = store.take(event, None, START);
        }
        let chain = Chain::new(&strategies, promise);
        let relay = RelayUrl::parse("wss://relay.example").unwrap_or_else(|error| unreachable!("{error}"));
        Self { case, chain, trace, core, store, relay, strategies, ms: 1_000, steps: 0, tally: Tally::default() }
    }

    fn now(&self) -> Now {
        Now { mono_ms: self.ms, unix_s: START + self.ms / 1000 }
    }

    fn tell(&self, line: impl FnOnce() -> String) {
        if self.trace {
            let line: String = line().chars().take(2_000).collect();
            eprintln!("{:>6} {:>9} {line}", self.steps, self.ms);
        }
    }

    /// # Errors
    /// What did not hold, and when.
    pub(super) fn run(mut self) -> Result<Tally, (u64, String)> {
        self.tell(|| {
            let Case { filter, direction, faults, options, profile, densest, .. } = &self.case;
            let strategies: Vec<_> = self.strategies.iter().map(|strategy| &strategy.descriptor().name).collect();
            let (local, remote) = (self.case.local.len(), self.case.remote.len());
            format!(
                "local {local} remote {remote} densest {densest} {direction:?} {strategies:?} page {} {profile:?}\n{}\n{faults:?}",
                options.max_limit,
                serde_json::to_string(filter).unwrap_or_default()
            )
        });
        let result = self.attempts().and_then(|failures| {
            self.tell(|| format!("ended: {failures:?}"));
            judge::judge(&self.case, &self.chain, &self.core, &self.store, &failures)?;
            if failures.is_empty() {
                self.tally.complete += 1;
            } else {
                self.tally.degraded += 1;
            }
            Ok(())
        });
        self.tally.steps = self.steps;
        self.tally.events = self.core.with_stats(crate::relay::RelayStats::events_out);
        result.map(|()| self.tally).map_err(|text| (self.ms, text))
    }

    /// Connects until the sync has ended, as `grasp-sync sync` does.
    fn attempts(&mut self) -> Result<Vec<Failure>, String> {
        let (mut idle, mut stored) = (0, 0);
        loop {
            if self.tally.connections >= MAX_CONNECTIONS {
                return Err(format!("{MAX_CONNECTIONS} connections, and no end"));
            }
            let failures = match self.connection()? {
                // Our own end: what matters is what follows.
                None => {
                    idle = 0;
                    continue;
                }
                Some(report) => match report.outcome {
                    BatchOutcome::Confirmed => return Ok(Vec::new()),
                    BatchOutcome::Failed(failures) => failures,
                },
            };
            if !failures.iter().any(|failure| failure.reason == FailureReason::ConnectionLost) {
                return Ok(failures);
            }
            let before = std::mem::replace(&mut stored, self.progress());
            idle = if stored > before { 0 } else { idle + 1 };
            if idle >= MAX_IDLE {
                return Ok(failures);
            }
            self.ms += 500;
        }
    }

    /// What only grows while there is progress: events here, and seconds drained.
    fn progress(&self) -> u64 {
        self.store.event_count().unwrap_or(0) + self.core.with_stats(|stats| stats.events_stored)
    }

    /// One connection: its report, or `None` where our process died under it.
    fn connection(&mut self) -> Result<Option<BatchReport>, String> {
        self.tally.connections += 1;
        self.tell(|| "== connects".to_owned());
        let prefix = RelayMemory::prefix(&self.relay);
        let [coverage, remembered] =
            RelayMemory::TABLES.map(|table| self.store.read_state_of(table, &prefix).unwrap_or_default());
        let memory = RelayMemory::restore(&self.relay, coverage, remembered, OVERLAP_S, self.now().unix_s);
        if let Some(problem) = memory.problems.first() {
            return Err(format!("a record can't be read: {problem}"));
        }
        let config = LinkConfig {
            relay: self.relay.clone(),
            profile: self.case.profile.clone(),
            strategies: self.strategies.clone(),
            direction: self.case.direction,
            dry_run: false,
            rate_limit_cooldown_ms: 65_000,
            max_future_s: 900,
            keys: None,
            memory,
            seed: self.case.seed,
        };
        let mut wire = Wire {
            link: RelayLink::new(config),
            relay: self.core.connect(),
            jobs: Vec::new(),
            offered: Vec::new(),
            state: Vec::new(),
            works: VecDeque::new(),
            up: VecDeque::new(),
            report: None,
            cut: None,
        };
        let request = BatchRequest {
            id: self.tally.connections,
            reason: BatchReason::Requested,
            layer: Layer::Free,
            filters: vec![self.case.filter.clone()],
            items: PendingItems::default(),
            caused_by: None,
            reads: false,
            run_since: Some(START),
        };
        wire.link.command(LinkCommand::Batch(request), &self.store, self.now());
        while wire.report.is_none() {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return Err(format!("{MAX_STEPS} steps, and no end"));
            }
            if self.case.kills.remove(&self.steps) {
                self.tell(|| "== killed".to_owned());
                return Ok(None);
            }
            self.step(&mut wire)?;
        }
        // What is remembered is written before anybody connects again.
        let _ = self.store.write_state(std::mem::take(&mut wire.state));
        let report = wire.report.take();
        self.tally.windows += report.as_ref().map_or(0, |report| report.counts.windows);
        Ok(report)
    }

    fn step(&mut self, wire: &mut Wire) -> Result<(), String> {
        self.drain(wire);
        if wire.report.is_some() {
            return Ok(());
        }
        if let Some(reason) = wire.cut.take() {
            self.tell(|| format!("== cut: {reason}"));
            // What was handed over is answered before the end.
            while let Some(work) = wire.works.pop_front() {
                self.work(wire, work);
                self.drain(wire);
            }
            wire.link.lost(&reason, &self.store, self.now());
            self.drain(wire);
            return if wire.report.is_some() { Ok(()) } else { Err("a lost connection left no report".to_owned()) };
        }
        if wire.works.front().is_some_and(|work| work.due <= self.steps) {
            if let Some(work) = wire.works.pop_front() {
                self.work(wire, work);
            }
            return Ok(());
        }
        if let Some(frame) = wire.up.pop_front() {
            self.tell(|| format!("-> {frame}"));
            wire.relay.receive(&frame, self.now());
            return Ok(());
        }
        match wire.relay.poll() {
            Some(Outgoing::Text(text)) => {
                self.tell(|| format!("<- {text}"));
                wire.link.frame(text, &self.store, self.now());
            }
            Some(_) => wire.cut = Some("connection reset by peer".to_owned()),
            None => match (wire.works.pop_front(), wire.link.next_timeout()) {
                (Some(work), _) => self.work(wire, work),
                (None, Some((at, what))) => {
                    self.tell(|| format!("-- {what} at {at}"));
                    self.ms = self.ms.max(at);
                    wire.link.timeout(&self.store, self.now());
                }
                (None, None) => return Err("nothing is going to happen any more".to_owned()),
            },
        }
        Ok(())
    }

    fn drain(&mut self, wire: &mut Wire) {
        while let Some(output) = wire.link.poll() {
            match output {
                LinkOutput::Send(frame) => wire.up.push_back(frame),
                LinkOutput::Check(job) => wire.jobs.push(job),
                LinkOutput::Offered(ids) => wire.offered.extend(ids),
                LinkOutput::Persist(writes) => wire.state.extend(writes),
                LinkOutput::BatchDone(report) => {
                    self.tell(|| format!("report {:?} {:?}", report.outcome, report.counts));
                    wire.report = Some(*report);
                }
                LinkOutput::Close(fault) => wire.cut = Some(fault.text),
                LinkOutput::Notice(notice) => self.tell(|| format!("notice {notice:?}")),
                _ => {}
            }
        }
        if wire.jobs.is_empty() && wire.offered.is_empty() && wire.state.is_empty() {
            return;
        }
        let due = self.steps + self.case.dice.within(0, self.case.slow);
        let due = wire.works.back().map_or(due, |last| last.due.max(due));
        wire.works.push_back(Work {
            due,
            jobs: std::mem::take(&mut wire.jobs),
            offered: std::mem::take(&mut wire.offered),
            state: std::mem::take(&mut wire.state),
        });
    }

    /// Checks, then commits.
    fn work(&mut self, wire: &mut Wire, work: Work) {
        let now = self.now();
        let (mut answers, mut tokens, mut events): (Vec<Checked>, Vec<Token>, Vec<Event>) = Default::default();
        for job in &work.jobs {
            let candidate = Candidate::parse(&job.json, &LIMITS);
            let known = self.store.known(&[candidate.id()]).ok().and_then(|known| known.into_iter().next().flatten());
            let (answer, event) = candidate.check(job, known, |_| true);
            answers.push(answer);
            tokens.extend(event.as_ref().map(|_| answer.token));
            events.extend(event);
        }
        for answer in answers {
            wire.link.checked(answer, &self.store, now);
        }
        let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
        let outcomes = Arc::new(Mutex::new(None));
        let reply = Arc::clone(&outcomes);
        let submission = Submission {
            events,
            offered: work.offered,
            relay: Some(self.relay.clone()),
            state: work.state,
            now: now.unix_s,
        };
        let told = Box::new(move |outcome| *reply.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome));
        let _ = self.store.submit(submission, told);
        let outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Ok(outcomes)) = outcomes else { return };
        for ((token, id), outcome) in tokens.into_iter().zip(ids).zip(outcomes) {
            wire.link.settled(token, id, &Ok(outcome), &self.store, now);
        }
    }
}
