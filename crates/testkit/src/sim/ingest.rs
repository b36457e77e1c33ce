//! The way of a connection's events through checks and store, as `engine::ingest` has it.

use std::sync::{Arc, Mutex, PoisonError};

use nostr::event::EventId;
use sync_core::link::{CheckJob, Checked, Token};
use sync_core::manager::ManagerInput;
use sync_core::store::{EventStore, IntakeOutcome, StoreError, Submission};

use super::queue::{Inner, Wire};
use super::shell::Sim;

/// Jobs in one piece of work.
const MAX_JOBS: usize = 64;

impl Sim {
    pub(super) fn hand_on(&mut self, wire: Wire) {
        let at = self.later(self.plan.slow / 4);
        let Some(peer) = self.peer(wire) else { return };
        let waits = !peer.jobs.is_empty() || !peer.offered.is_empty() || !peer.state.is_empty();
        if waits && peer.ending.is_none() && !std::mem::replace(&mut peer.handing_over, true) {
            self.put(at, Inner::HandOver(wire));
        }
    }

    /// A piece of work is checked.
    pub(super) fn hand_over(&mut self, wire: Wire) {
        let store = Arc::clone(&self.store);
        let most = self.dice.below(MAX_JOBS) + 1;
        let now = self.unix();
        let relay = self.plan.relays[wire.relay].url.clone();
        let Some(peer) = self.peer(wire) else { return };
        peer.handing_over = false;
        if peer.ending.is_some() {
            return;
        }
        let jobs: Vec<CheckJob> = peer.jobs.drain(..peer.jobs.len().min(most)).collect();
        let mut offered = std::mem::take(&mut peer.offered);
        let state = std::mem::take(&mut peer.state);
        peer.owed += 1;
        let bytes = jobs.iter().map(|job| job.json.len()).sum();
        let (mut answers, mut tokens, mut events) = (Vec::new(), Vec::new(), Vec::new());
        for job in &jobs {
            let (answer, event) = self.checker.check(job, &store);
            self.confirm_by_service(wire.relay, &answer, &mut offered);
            answers.push(answer);
            if let Some(event) = event {
                tokens.push(answer.token);
                events.push(event);
            }
        }
        let answered = self.later(self.plan.slow / 4);
        self.put(answered, Inner::Checked(wire, answers));
        if events.is_empty() && offered.is_empty() && state.is_empty() {
            self.put(answered, Inner::Settled(wire, bytes, Vec::new()));
        } else {
            let took = self.dice.within(1, self.plan.slow);
            let Some(process) = &mut self.process else { return };
            process.writer_free = process.writer_free.max(answered) + took;
            let at = process.writer_free;
            let submission = Submission { events, offered, relay: Some(relay), state, now };
            self.put(at, Inner::Commit(wire, bytes, tokens, submission));
        }
        self.hand_on(wire);
    }

    pub(super) fn checked(&mut self, wire: Wire, answers: Vec<Checked>) {
        let (now, store) = (self.now(), Arc::clone(&self.store));
        for answer in answers {
            if let Some(peer) = self.peer(wire) {
                peer.link.checked(answer, &*store, now);
            }
        }
        self.work(wire);
    }

    /// The writer commits; a connection that is gone changes nothing about that.
    pub(super) fn commit(&mut self, wire: Wire, bytes: usize, tokens: &[Token], submission: Submission) {
        let ids: Vec<EventId> = submission.events.iter().map(|event| event.id).collect();
        let answer = Arc::new(Mutex::new(None));
        let reply = Arc::clone(&answer);
        // What the own relay offers is taken out of the outbox.
        let arriving = (ids.len() + submission.offered.len()) as u64;
        let before = self.store_size();
        let submitted = self.store.submit(
            submission,
            Box::new(move |outcomes| *reply.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcomes)),
        );
        let answer = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let outcomes: Vec<Result<IntakeOutcome, StoreError>> = match (submitted, answer) {
            (Ok(()), Some(Ok(outcomes))) => outcomes.into_iter().map(Ok).collect(),
            (Err(error), _) | (_, Some(Err(error))) => vec![Err(error); ids.len()],
            (Ok(()), None) => vec![Err(StoreError::Closed); ids.len()],
        };
        for (id, outcome) in ids.iter().zip(&outcomes) {
            self.tell(|| format!("relay{} commit {} {outcome:?}", wire.relay, &id.to_hex()[..8]));
        }
        self.watch_the_rejected(arriving, before);
        self.watch_the_accepted();
        let settled = tokens.iter().zip(ids).zip(outcomes).map(|((token, id), outcome)| (*token, id, outcome));
        let (settled, at) = (settled.collect(), self.later(3));
        self.put(at, Inner::Settled(wire, bytes, settled));
        self.wake_feed();
        self.wake_outbox();
    }

    pub(super) fn settled(
        &mut self,
        wire: Wire,
        bytes: usize,
        outcomes: Vec<(Token, EventId, Result<IntakeOutcome, StoreError>)>,
    ) {
        let (now, store) = (self.now(), Arc::clone(&self.store));
        let relay = self.plan.relays[wire.relay].url.clone();
        let Some(peer) = self.peer(wire) else { return };
        peer.owed -= 1;
        peer.bytes_waiting -= bytes;
        let mut count = 0;
        for (token, id, outcome) in outcomes {
            count += u64::from(peer.link.settled(token, id, &outcome, &*store, now));
        }
        if count > 0 {
            self.report(wire, ManagerInput::LiveStored { relay, count });
        }
        self.work(wire);
        self.finish(wire);
    }
}
