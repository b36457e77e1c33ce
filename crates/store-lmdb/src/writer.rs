//! The one thread that writes.
//!
//! Group commit: whatever has queued up (at most [`GROUP_EVENTS`] events) is one transaction and one durable commit.
//! Nothing is waited for to fill a group: what arrives during a commit is the next one. Events of a group are taken
//! in the order of SPEC §3 (announcements, states, root events, the rest), older ones first. A group that fails is
//! undone, and its submissions are tried one by one, so that one which can't be stored doesn't take others along.
//!
//! The bounds of the rejected index are kept in the transaction that adds to it, so that no flood gets ahead of them.
//! What time takes away is swept between submissions, and while there are none.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sync_core::admission::AdmissionPolicy;
use sync_core::intake::{self, HotBodies, HotBody, IntakeConfig, MAX_HOT_BYTES};
use sync_core::store::{
    FeedListener, IntakeOutcome, OwnVerdict, Reply, StateTable, StateWrite, StoreError, Submission,
};

use crate::error::from_heed;
use crate::events::{decode_row, record, to_event};
use crate::keys::{Key, judging_rank, unjudged};
use crate::open::{Commit, OnCommit, SharedRef};
use crate::schema::{Meta, read_u64};
use crate::txn::LmdbTxn;
use crate::{events, rejected};

/// Jobs that may wait for the writer; whoever brings more waits with them.
pub(crate) const QUEUE: usize = 64;
/// Ids, authors and tag values are scattered over their indexes, so that a commit writes about one page for each row
/// of a small group: 20 MB for 1,000 events. Large groups share pages, and only form while the queue is long.
const GROUP_EVENTS: usize = 8192;
/// Events judged again, or rows swept, in one transaction.
pub(crate) const STEP: usize = 1000;
/// Events queued for judging again in one transaction: they are only noted.
const REQUEUE_STEP: usize = 20_000;
/// Seconds, by the submissions' own time, between sweeps.
const SWEEP_EVERY_S: u64 = 10;
/// Pause between sweeps while nothing is submitted.
const IDLE: Duration = Duration::from_secs(SWEEP_EVERY_S);

pub(crate) type Answer<T> = SyncSender<Result<T, StoreError>>;
pub(crate) type Listeners = Arc<Mutex<Vec<FeedListener>>>;

/// What the writer is asked to do.
pub(crate) enum Job {
    Write(Work),
    /// Judge a few events again; `None` when nothing is left to judge.
    Judge {
        now: u64,
        answer: Answer<Option<u64>>,
    },
    /// Take what the own relay said of events in the outbox.
    Answers {
        answers: Vec<OwnVerdict>,
        now: u64,
        answer: Answer<()>,
    },
    /// Sweep once.
    Sweep {
        now: u64,
        answer: Answer<usize>,
    },
}

/// What can share a transaction.
pub(crate) enum Work {
    Events(Submission, Reply),
    State(Vec<StateWrite>, Answer<()>),
}

impl Work {
    fn events(&self) -> usize {
        match self {
            Self::Events(submission, _) => submission.events.len(),
            Self::State(..) => 0,
        }
    }

    /// When it was submitted.
    fn now(&self) -> Option<u64> {
        match self {
            Self::Events(submission, _) => Some(submission.now),
            Self::State(..) => None,
        }
    }

    fn answer(self, result: Result<Vec<IntakeOutcome>, StoreError>) {
        match self {
            Self::Events(_, reply) => reply(result),
            // Whoever asked may be gone; what was written stands.
            Self::State(_, answer) => _ = answer.send(result.map(drop)),
        }
    }
}

pub(crate) struct Writer {
    pub(crate) shared: SharedRef,
    pub(crate) policy: Option<AdmissionPolicy>,
    pub(crate) intake: IntakeConfig,
    pub(crate) on_commit: Option<OnCommit>,
    pub(crate) listeners: Listeners,
    /// When the next sweep is due; at once where the last one left something.
    pub(crate) sweep_at: u64,
}

/// What the writer remembers from one transaction to the next.
struct Memory {
    bodies: HotBodies,
    /// The submissions' time, and when it was that.
    last: Option<(u64, Instant)>,
    /// Bounds that were told of: a full index stays full for days, and is no news every second.
    told_of_rows: bool,
    told_of_bodies: bool,
}

impl Memory {
    fn new() -> Self {
        Self { bodies: HotBodies::new(MAX_HOT_BYTES), last: None, told_of_rows: false, told_of_bodies: false }
    }

    /// The submissions' time by now.
    fn now(&self) -> Option<u64> {
        self.last.map(|(now, then)| now.saturating_add(then.elapsed().as_secs()))
    }

    fn tell(&mut self, rows: usize, max_rows: u64, bodies: usize) {
        if rows > 0 && !std::mem::replace(&mut self.told_of_rows, true) {
            tracing::warn!(
                limit = "rejected.max_entries",
                max = max_rows,
                "limit hit: the oldest rejected ids are forgotten"
            );
        } else if rows > 0 {
            tracing::debug!(limit = "rejected.max_entries", rows, "limit hit");
        }
        if bodies > 0 && !std::mem::replace(&mut self.told_of_bodies, true) {
            let max = MAX_HOT_BYTES;
            tracing::warn!(limit = "rejected.hot", max, "limit hit: the oldest deferred events are kept by id alone");
        } else if bodies > 0 {
            tracing::debug!(limit = "rejected.hot", bodies, "limit hit");
        }
    }
}

impl Writer {
    /// Works until every sender is gone and the queue is empty.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        let mut memory = Memory::new();
        let mut held = None;
        loop {
            let job = match held.take() {
                Some(job) => job,
                None => match jobs.recv_timeout(IDLE) {
                    Ok(job) => job,
                    Err(RecvTimeoutError::Timeout) => {
                        if let Some(now) = memory.now() {
                            self.sweep_if_due(now);
                        }
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                },
            };
            match job {
                Job::Write(work) => {
                    let mut group = vec![work];
                    let mut events: usize = group.iter().map(Work::events).sum();
                    while events < GROUP_EVENTS && group.len() < QUEUE {
                        match jobs.try_recv() {
                            Ok(Job::Write(work)) => {
                                events += work.events();
                                group.push(work);
                            }
                            Ok(other) => {
                                held = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.write(group, &mut memory);
                }
                Job::Judge { now, answer } => _ = answer.send(self.judge(now)),
                Job::Answers { answers, now, answer } => _ = answer.send(self.answer_all(&answers, now)),
                Job::Sweep { now, answer } => _ = answer.send(self.sweep(now)),
            }
        }
    }

    fn write(&mut self, group: Vec<Work>, memory: &mut Memory) {
        let now = group.iter().filter_map(Work::now).max();
        match self.commit(&group, memory) {
            Ok(outcomes) => {
                for (work, outcomes) in group.into_iter().zip(outcomes) {
                    work.answer(Ok(outcomes));
                }
            }
            Err(error) if group.len() == 1 => group.into_iter().for_each(|work| work.answer(Err(error.clone()))),
            Err(error) => {
                tracing::warn!(%error, submissions = group.len(), "a group could not be stored; trying one by one");
                for work in group {
                    let result = self.commit(std::slice::from_ref(&work), memory);
                    work.answer(result.map(|outcomes| outcomes.into_iter().flatten().collect()));
                }
            }
        }
        if let Some(now) = now {
            memory.last = Some((now, Instant::now()));
            self.sweep_if_due(now);
        }
    }

    /// Everything in one transaction: all of it is durable when this returns, or none of it happened.
    fn commit(&self, group: &[Work], memory: &mut Memory) -> Result<Vec<Vec<IntakeOutcome>>, StoreError> {
        let started = Instant::now();
        let mut outcomes: Vec<Vec<IntakeOutcome>> =
            group.iter().map(|work| vec![IntakeOutcome::Duplicate; work.events()]).collect();
        let mut txn = LmdbTxn::begin(&self.shared.env, &self.shared.dbs, self.policy.is_some())?;
        let mut order: Vec<_> = group
            .iter()
            .enumerate()
            .filter_map(|(at, work)| match work {
                Work::Events(submission, _) => Some((at, submission)),
                Work::State(..) => None,
            })
            .flat_map(|(at, submission)| {
                submission.events.iter().enumerate().map(move |(index, event)| (at, index, submission, event))
            })
            .collect();
        order.sort_by_key(|(_, _, _, event)| (judging_rank(event.kind.as_u16()), event.created_at));
        let events = order.len();
        let mut fresh = Vec::new();
        for (at, index, submission, event) in order {
            let (relay, now) = (submission.relay.as_ref(), submission.now);
            let outcome = intake::take(&mut txn, self.policy.as_ref(), &self.intake, event, relay, now)?;
            if matches!(outcome, IntakeOutcome::Deferred(_)) {
                fresh.push(HotBody::new(event, now.saturating_add(self.intake.hot_s)));
            }
            outcomes[at][index] = outcome;
        }
        for work in group {
            match work {
                Work::State(writes, _) => writes.iter().try_for_each(|write| put_state(&mut txn, write))?,
                Work::Events(Submission { offered, relay, state, now, .. }, _) => {
                    for id in relay.iter().flat_map(|_| offered) {
                        let (policy, now) = (self.policy.as_ref(), *now);
                        relay
                            .iter()
                            .try_for_each(|relay| intake::note_offer(&mut txn, policy, &self.intake, id, relay, now))?;
                    }
                    state.iter().try_for_each(|write| put_state(&mut txn, write))?;
                }
            }
        }
        // Records that depend on what was kept out just now are written before that can be forgotten again.
        let now = group.iter().filter_map(Work::now).max().unwrap_or(0);
        let steps = events.saturating_add(STEP);
        let departed = memory.bodies.make_room(&mut txn, &fresh, now, steps)?;
        let rows = intake::trim(&mut txn, &self.intake, steps)?;
        self.finish(txn)?;
        memory.bodies.settle(fresh, departed);
        memory.tell(rows, self.intake.max_rejected, departed.early);
        if let Some(on_commit) = &self.on_commit {
            on_commit(&Commit { events, took: started.elapsed(), forgotten: rows, stripped: departed.early });
        }
        Ok(outcomes)
    }

    fn finish(&self, txn: LmdbTxn<'_>) -> Result<(), StoreError> {
        let (head, moved) = txn.commit()?;
        if moved {
            self.listeners.lock().unwrap_or_else(PoisonError::into_inner).retain(|wake| wake(head));
        }
        Ok(())
    }

    fn sweep_if_due(&mut self, now: u64) {
        let crowded = || {
            let txn = self.shared.env.read_txn().map_err(from_heed)?;
            let (hot, cold) = rejected::count(&self.shared.dbs, &txn)?;
            Ok::<_, StoreError>(hot + cold > self.intake.max_rejected)
        };
        let swept = match crowded() {
            Ok(crowded) if crowded || now >= self.sweep_at => self.sweep(now).map(drop),
            Ok(_) => return,
            Err(error) => Err(error),
        };
        if let Err(error) = swept {
            tracing::warn!(%error, "what is due could not be swept; trying again later");
            self.sweep_at = now.saturating_add(SWEEP_EVERY_S);
        }
    }

    fn sweep(&mut self, now: u64) -> Result<usize, StoreError> {
        // A reading process that was killed would keep pages from being reused for as long as we run.
        self.shared.env.clear_stale_readers().map_err(from_heed)?;
        let mut txn = LmdbTxn::begin(&self.shared.env, &self.shared.dbs, self.policy.is_some())?;
        let steps = intake::sweep(&mut txn, self.policy.as_ref(), &self.intake, now, STEP)?;
        self.finish(txn)?;
        self.sweep_at = if steps < STEP { now.saturating_add(SWEEP_EVERY_S) } else { now };
        Ok(steps)
    }

    /// Takes answers, all in one transaction or, where that fails, one by one, so that one which can't be taken doesn't keep
    /// the others out.
    fn answer_all(&self, answers: &[OwnVerdict], now: u64) -> Result<(), StoreError> {
        match self.answers(answers, now) {
            Err(error) if answers.len() > 1 && !matches!(error, StoreError::Full(_)) => {
                tracing::warn!(%error, answers = answers.len(), "the own relay's answers could not be taken; trying one by one");
                // Each is tried, whatever became of those before it; the first failure is told.
                let mut first = Ok(());
                for answer in answers {
                    first = first.and(self.answers(std::slice::from_ref(answer), now));
                }
                first
            }
            result => result,
        }
    }

    fn answers(&self, answers: &[OwnVerdict], now: u64) -> Result<(), StoreError> {
        let mut txn = LmdbTxn::begin(&self.shared.env, &self.shared.dbs, self.policy.is_some())?;
        for OwnVerdict { id, answer } in answers {
            intake::answer(&mut txn, self.policy.as_ref(), &self.intake, id, answer, now)?;
        }
        // What the own relay refuses, or replaces by what it has, leaves a row.
        intake::trim(&mut txn, &self.intake, answers.len().saturating_add(STEP))?;
        self.finish(txn)
    }

    fn judge(&self, now: u64) -> Result<Option<u64>, StoreError> {
        let Some(policy) = &self.policy else { return Ok(None) };
        let mut txn = LmdbTxn::begin(&self.shared.env, &self.shared.dbs, true)?;
        let taken_back = intake::take_back(&mut txn, policy, &self.intake, now, STEP)?;
        let judged = if taken_back > 0 {
            Some(taken_back as u64)
        } else if requeue(&mut txn)? {
            Some(0)
        } else {
            let due = next_unjudged(&txn)?;
            for (key, seq) in &due {
                txn.dbs.unjudged.delete(&mut txn.txn, key).map_err(from_heed)?;
                if let Some(event) = unaccepted(&txn, *seq)? {
                    intake::judge_stored(&mut txn, policy, &self.intake, &event, now)?;
                }
            }
            (!due.is_empty()).then_some(due.len() as u64)
        };
        if judged.is_some() {
            self.finish(txn)?;
        }
        Ok(judged)
    }
}

/// Writes a record, where everything is known that it depends on.
fn put_state(txn: &mut LmdbTxn<'_>, write: &StateWrite) -> Result<(), StoreError> {
    for id in &write.if_known {
        if events::known(txn.dbs, &txn.txn, id, txn.judging)?.is_none() {
            return Ok(());
        }
    }
    let key = state_key(write.table, &write.key)?;
    let state = txn.dbs.state;
    match &write.value {
        Some(value) => state.put(&mut txn.txn, &key, value).map_err(from_heed),
        None => state.delete(&mut txn.txn, &key).map(drop).map_err(from_heed),
    }
}

/// The most bytes that a record's key may have: with its room's number it fits LMDB's 511.
const MAX_STATE_KEY: usize = 500;

pub(crate) fn state_key(table: StateTable, key: &[u8]) -> Result<Vec<u8>, StoreError> {
    let room = match table {
        StateTable::Relay => 1,
        StateTable::Failed => 2,
        StateTable::Health => 3,
        StateTable::Coverage => 4,
        StateTable::Remembered => 5,
        StateTable::Probe => 6,
        other => return Err(StoreError::Io(format!("this store has no room for {other:?} records"))),
    };
    if key.len() > MAX_STATE_KEY {
        return Err(StoreError::Io(format!(
            "the key of a {table:?} record has {} bytes, at most {MAX_STATE_KEY} are allowed",
            key.len()
        )));
    }
    Ok([&[room], key].concat())
}

/// Notes some more stored events for judging, after the policy changed. Returns whether there were any.
fn requeue(txn: &mut LmdbTxn<'_>) -> Result<bool, StoreError> {
    let next = txn.dbs.number(&txn.txn, Meta::Requeue)?.unwrap_or(0);
    let end = txn.dbs.number(&txn.txn, Meta::RequeueEnd)?.unwrap_or(0);
    if next >= end {
        return Ok(false);
    }
    let mut found = Vec::new();
    let (from, to) = (next.to_be_bytes(), end.to_be_bytes());
    let range = (std::ops::Bound::Included(&from[..]), std::ops::Bound::Excluded(&to[..]));
    for row in txn.dbs.events.range(&txn.txn, &range).map_err(from_heed)?.take(REQUEUE_STEP) {
        let seq = read_u64(row.map_err(from_heed)?.0)?;
        if let Some(record) = record(txn.dbs, &txn.txn, seq)? {
            found.push((record.kind, seq));
        }
    }
    let resume = match found.last() {
        Some((_, seq)) if found.len() == REQUEUE_STEP => seq + 1,
        _ => end,
    };
    for (kind, seq) in found {
        txn.dbs.unjudged.put(&mut txn.txn, &unjudged(kind, seq), &[]).map_err(from_heed)?;
    }
    txn.dbs.set_number(&mut txn.txn, Meta::Requeue, resume)?;
    Ok(true)
}

fn next_unjudged(txn: &LmdbTxn<'_>) -> Result<Vec<(Key, u64)>, StoreError> {
    let mut due = Vec::new();
    for row in txn.dbs.unjudged.iter(&txn.txn).map_err(from_heed)?.take(STEP) {
        let (key, _) = row.map_err(from_heed)?;
        let seq = key.get(1..).ok_or_else(|| StoreError::Corrupt("an unjudged event has no number".to_owned()))?;
        due.push((Key::new(&[key]), read_u64(seq)?));
    }
    Ok(due)
}

/// Event `seq`, if it is still stored and nothing before it in the backlog had it accepted.
fn unaccepted(txn: &LmdbTxn<'_>, seq: u64) -> Result<Option<nostr::event::Event>, StoreError> {
    let Some(record) = record(txn.dbs, &txn.txn, seq)? else { return Ok(None) };
    let row = txn.dbs.ids.get(&txn.txn, record.id).map_err(from_heed)?;
    match row.map(|row| decode_row(row, txn.feed_floor)).transpose()? {
        Some(row) if row.accepted.is_none() => to_event(&record).map(Some),
        _ => Ok(None),
    }
}
