//! Checks received events on all cores and hands them to the store (SPEC §8).
//!
//! A fixed set of threads takes work from one bounded queue: parse, known?, id, filter, signature, in the order of
//! what each costs. Answers go back to the connection that asked; valid events go to the store's writer, whose full
//! queue holds the threads, whose full queue holds the connections, whose full backlog holds the socket.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use sync_core::admission::RejectReason;
use sync_core::check::{Candidate, EventLimits};
use sync_core::link::{CheckJob, Checked, Token};
use sync_core::model::RelayUrl;
use sync_core::nostr::event::{Event, EventId};
use sync_core::store::{EventStore, IntakeOutcome, KnownEvent, StateWrite, StoreError, Submission};
use sync_core::strategy::{BadEvent, CheckVerdict};
use telemetry::metrics::Metrics;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::Span;

use crate::trouble::Trouble;
use crate::{Clock, gate};

/// Events in one piece of work: small enough to share between cores, large enough to be worth a hand-over.
pub const MAX_JOBS: usize = 64;
/// Pieces of work at once, over all connections.
const MAX_WORK: usize = 64;
/// Answers that a connection may be owed: two for each piece of work.
pub const MAX_ANSWERS: usize = 2 * MAX_WORK;

/// What comes back to a connection.
#[derive(Debug)]
pub enum Answer {
    /// What the checks said, job by job.
    Checked(Vec<Checked>),
    /// What became of the valid ones in the store; always follows `Checked`.
    Settled {
        /// Bytes of JSON that the piece of work held.
        bytes: usize,
        /// Whether it held records.
        records: bool,
        /// Those of them that could not be written: to be handed over again.
        unwritten: Vec<StateWrite>,
        /// Outcomes by job.
        outcomes: Vec<(Token, EventId, Result<IntakeOutcome, StoreError>)>,
    },
}

/// A place in the queue.
pub struct Place(OwnedSemaphorePermit);

/// A piece of work from one connection.
pub struct Work {
    /// Events to check and store, at most [`MAX_JOBS`].
    pub jobs: Vec<CheckJob>,
    /// Known ids that the relay offers.
    pub offered: Vec<EventId>,
    /// Records to be written with them. Pieces of work may overtake each other: of one connection's, one at a time may hold
    /// records.
    pub state: Vec<StateWrite>,
    /// The relay.
    pub relay: RelayUrl,
    /// The span that log lines about it are written in.
    pub context: Span,
}

/// Work, and who waits for it.
struct Queued {
    work: Work,
    answers: mpsc::Sender<Answer>,
    place: OwnedSemaphorePermit,
}

/// An external own relay, as far as the intake is concerned.
#[derive(Debug, Clone)]
pub struct OwnRelay {
    /// Its address; `None` where there is none.
    pub url: Option<RelayUrl>,
    /// Events held for it, at which intake stops (`limits.max_outbox`). What is under way by then is held as well.
    pub max_outbox: u64,
}

impl Default for OwnRelay {
    fn default() -> Self {
        Self { url: None, max_outbox: u64::MAX }
    }
}

/// The checking threads.
pub struct Ingest {
    queue: Option<SyncSender<Queued>>,
    places: Arc<Semaphore>,
    threads: Vec<JoinHandle<()>>,
    trouble: Trouble,
    full: Trouble,
    max_outbox: u64,
}

impl Ingest {
    /// Starts a thread for each core. What an external own relay sends and is held for it is thereby confirmed.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn start(
        store: Arc<dyn EventStore>,
        limits: EventLimits,
        clock: Clock,
        metrics: Metrics,
        own: OwnRelay,
    ) -> std::io::Result<Self> {
        let (queue, work) = sync_channel::<Queued>(MAX_WORK);
        let work = Arc::new(Mutex::new(work));
        let (trouble, full) = (Trouble::default(), Trouble::default());
        let max_outbox = own.max_outbox;
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let threads = (0..cores)
            .map(|core| {
                let checker = Checker {
                    store: Arc::clone(&store),
                    limits,
                    clock,
                    metrics: metrics.clone(),
                    own: own.clone(),
                    work: Arc::clone(&work),
                    trouble: trouble.clone(),
                    full: full.clone(),
                };
                std::thread::Builder::new().name(format!("ingest-{core}")).spawn(move || checker.run())
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { queue: Some(queue), places: Arc::new(Semaphore::new(MAX_WORK)), threads, trouble, full, max_outbox })
    }

    /// Why events can't be stored, where they can't.
    pub fn trouble(&self) -> Option<String> {
        self.full.text().or_else(|| self.trouble.text())
    }

    /// Whether events can't be stored for want of room.
    pub fn is_full(&self) -> bool {
        self.full.is_raised()
    }

    /// Says while events can't be stored for want of room. It is cleared by an event that is stored, and by whoever finds
    /// that there is room again.
    pub fn full(&self) -> &Trouble {
        &self.full
    }

    /// How much may be held for an external own relay before intake stops; `u64::MAX` where nothing is held.
    pub fn max_outbox(&self) -> u64 {
        self.max_outbox
    }

    /// Takes note of how many events are held for the own relay. Whether that stops intake from here on.
    pub fn note_held(&self, held: u64) -> bool {
        held >= self.max_outbox && self.full.raise(&gate::too_many(self.max_outbox))
    }

    /// Waits for a place in the queue. `None` once the ingest is stopped.
    pub async fn place(&self) -> Option<Place> {
        Arc::clone(&self.places).acquire_owned().await.ok().map(Place)
    }

    /// Hands over work. `answers` must have room for two messages more than it is owed: a channel of [`MAX_ANSWERS`]
    /// always has.
    pub fn submit(&self, place: Place, work: Work, answers: mpsc::Sender<Answer>) {
        if let Some(queue) = &self.queue {
            // As many places as the queue is long: this neither blocks nor fails while the threads live.
            let _ = queue.send(Queued { work, answers, place: place.0 });
        }
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("an ingest thread panicked");
            }
        }
    }
}

struct Checker {
    store: Arc<dyn EventStore>,
    limits: EventLimits,
    clock: Clock,
    metrics: Metrics,
    own: OwnRelay,
    work: Arc<Mutex<Receiver<Queued>>>,
    trouble: Trouble,
    full: Trouble,
}

impl Checker {
    fn run(&self) {
        loop {
            let work = self.work.lock().unwrap_or_else(PoisonError::into_inner).recv();
            match work {
                Ok(queued) => queued.work.context.clone().in_scope(|| self.check(queued)),
                Err(_) => return,
            }
        }
    }

    fn check(&self, queued: Queued) {
        let Queued { work: Work { jobs, offered, state, relay, context }, answers, place } = queued;
        let bytes = jobs.iter().map(|job| job.json.len()).sum();
        let candidates: Vec<Candidate> = jobs.iter().map(|job| Candidate::parse(&job.json, &self.limits)).collect();
        let known = self.known(&candidates);

        let is_own = self.own.url.as_ref() == Some(&relay);
        let mut checked = Vec::with_capacity(jobs.len());
        let mut fresh = Vec::new();
        let mut events = Vec::new();
        for ((job, candidate), known) in jobs.iter().zip(candidates).zip(known) {
            // What is held for the own relay, or was refused by it, and comes from there, is news: the store decides.
            let known = known.filter(|known| known.stored || !is_own);
            let (answer, event) = candidate.check(job, known, Event::verify_signature);
            fresh.extend(event.as_ref().map(|event| (job.token, event.id)));
            events.extend(event);
            self.count(answer.verdict, &relay);
            checked.push(answer);
        }
        // A connection that is gone has no use for its answers; its events are stored all the same.
        let _ = answers.try_send(Answer::Checked(checked));
        let (metrics, trouble, full) = (self.metrics.clone(), self.trouble.clone(), self.full.clone());
        let settle = Settle {
            fresh,
            bytes,
            state: state.clone(),
            written: false,
            told: false,
            answers,
            is_own,
            metrics,
            trouble,
            full,
            store: Arc::clone(&self.store),
            max_outbox: self.own.max_outbox,
            context,
            _place: place,
        };
        if events.is_empty() && offered.is_empty() && state.is_empty() {
            return settle.with(Ok(Vec::new()));
        }
        let (metrics, sender) = (self.metrics.clone(), relay.clone());
        let submission = Submission { events, offered, relay: Some(relay), state, now: self.clock.now().unix_s };
        let reply = move |result: Result<Vec<IntakeOutcome>, StoreError>| {
            settle.context.clone().in_scope(|| {
                let ahead = IntakeOutcome::Rejected(RejectReason::FutureDated);
                for _ in result.iter().flatten().filter(|outcome| **outcome == ahead) {
                    let text = "the event is kept out until it isn't dated so far ahead";
                    limit_hit(&metrics, &sender, "max_future", text);
                }
                settle.with(result);
            });
        };
        if let Err(error) = self.store.submit(submission, Box::new(reply)) {
            tracing::error!(%error, "the store takes no events");
        }
    }

    /// What the store knows of each candidate. Where it can't be read everything counts as new: the writer, which
    /// decides, will see.
    fn known(&self, candidates: &[Candidate]) -> Vec<Option<KnownEvent>> {
        let ids: Vec<EventId> = candidates.iter().map(Candidate::id).collect();
        self.store.known(&ids).unwrap_or_else(|error| {
            tracing::warn!(%error, "can't look up known events");
            vec![None; ids.len()]
        })
    }

    fn count(&self, verdict: CheckVerdict, relay: &RelayUrl) {
        match verdict {
            CheckVerdict::New => {}
            CheckVerdict::Known => self.metrics.event_received("duplicate"),
            CheckVerdict::Bad(reason) => {
                self.metrics.event_received(reason.as_str());
                let limit = match reason {
                    BadEvent::TooLarge => "max_event_size",
                    BadEvent::TooManyTags => "max_tags",
                    _ => return,
                };
                limit_hit(&self.metrics, relay, limit, "the event is dropped");
            }
        }
    }
}

/// Counts a bound that was hit with `relay`, and says so: aloud once for each relay and limit.
pub(crate) fn limit_hit(metrics: &Metrics, relay: &RelayUrl, limit: &'static str, text: &str) {
    if metrics.relay_limit_hit(relay.as_str(), limit) {
        tracing::info!(%relay, limit, text, "limit hit; not said again of this relay");
    } else {
        tracing::debug!(%relay, limit, text, "limit hit");
    }
}

/// What a connection is still owed for a piece of work: told once, also where the store drops its answer.
struct Settle {
    fresh: Vec<(Token, EventId)>,
    bytes: usize,
    /// Records that were handed over, and whether they are written.
    state: Vec<StateWrite>,
    written: bool,
    told: bool,
    answers: mpsc::Sender<Answer>,
    /// Whether it came from the external own relay.
    is_own: bool,
    metrics: Metrics,
    trouble: Trouble,
    full: Trouble,
    store: Arc<dyn EventStore>,
    max_outbox: u64,
    context: Span,
    _place: OwnedSemaphorePermit,
}

impl Settle {
    fn with(mut self, result: Result<Vec<IntakeOutcome>, StoreError>) {
        let fresh = std::mem::take(&mut self.fresh);
        match &result {
            Err(error @ StoreError::Full(_)) => {
                if self.full.raise(error) {
                    tracing::error!(%error, "events can't be stored: intake waits until there is room");
                }
            }
            Err(error) if self.trouble.raise(error) => tracing::error!(%error, "events can't be stored"),
            Err(_) => {}
            Ok(outcomes) if outcomes.iter().all(|outcome| *outcome == IntakeOutcome::Duplicate) => {}
            Ok(_) => {
                self.trouble.clear();
                // In a full outbox there is room for whatever isn't accepted.
                if self.full.is_raised() && gate::outbox_has_room(&*self.store, self.max_outbox).is_ok() {
                    self.full.clear();
                }
            }
        }
        let outcomes: Vec<Result<IntakeOutcome, StoreError>> = match result {
            Ok(outcomes) => {
                self.written = true;
                outcomes.into_iter().map(Ok).collect()
            }
            Err(error) => vec![Err(error); fresh.len()],
        };
        for outcome in &outcomes {
            self.metrics.event_received(match outcome {
                Ok(IntakeOutcome::Stored) => "stored",
                Ok(IntakeOutcome::Held) => "held",
                Ok(IntakeOutcome::Duplicate) => "duplicate",
                Ok(IntakeOutcome::Deferred(reason)) => reason.as_str(),
                Ok(IntakeOutcome::Rejected(reason)) => reason.as_str(),
                Err(_) => "store_error",
            });
        }
        let taken = |outcome: &&_| matches!(outcome, Ok(IntakeOutcome::Stored | IntakeOutcome::Held));
        // What the own relay confirms was counted when it came from elsewhere.
        let synced = if self.is_own { 0 } else { outcomes.iter().filter(taken).count() };
        self.metrics.events_synced(synced as u64);
        self.send(fresh.into_iter().zip(outcomes).map(|((token, id), outcome)| (token, id, outcome)).collect());
    }

    fn send(&mut self, outcomes: Vec<(Token, EventId, Result<IntakeOutcome, StoreError>)>) {
        self.told = true;
        let state = std::mem::take(&mut self.state);
        let records = !state.is_empty();
        let unwritten = if self.written { Vec::new() } else { state };
        let _ = self.answers.try_send(Answer::Settled { bytes: self.bytes, records, unwritten, outcomes });
    }
}

impl Drop for Settle {
    fn drop(&mut self) {
        if !self.told {
            let lost = std::mem::take(&mut self.fresh);
            self.send(lost.into_iter().map(|(token, id)| (token, id, Err(StoreError::Closed))).collect());
        }
    }
}
