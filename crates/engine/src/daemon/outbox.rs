//! Hands what the outbox holds to the external own relay, and its answers to the store (SPEC §3, §9).
//!
//! One task, for as long as the daemon runs. Each connection of the own relay is attached to it in turn: events go one way,
//! answers the other, both by bounded channels. The store is the only memory: what isn't answered when a connection ends is
//! read again for the next one.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sync_core::nostr::event::{Event, EventId};
use sync_core::store::{EventStore, FeedSeq, MAX_PAUSE_S, OwnAnswer, OwnVerdict};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::spawn_store;
use crate::Clock;
use crate::driver::OutboxEnd;
use crate::trouble::Trouble;

/// Events read at once.
const READ: usize = 64;
/// Events between the outbox and the connection.
const OFFERS: usize = 16;
/// Answers between the connection and the outbox: as many as a link has in flight, so that it never waits.
const ANSWERS: usize = 256;
/// Connections that may wait to be attached: one lives at a time.
const CONNECTIONS: usize = 8;
/// Pause after the store could not be read or written.
const RETRY: Duration = Duration::from_secs(1);

/// The task's end of a connection.
struct Line {
    offers: mpsc::Sender<Event>,
    answers: mpsc::Receiver<OwnVerdict>,
}

/// Handle of the task.
pub(super) struct Outbox {
    lines: mpsc::Sender<Line>,
}

impl Outbox {
    /// A new connection's end; the one before is let go of. `None` where the task doesn't take it up.
    pub(super) fn attach(&self) -> Option<OutboxEnd> {
        let (offers, to_publish) = mpsc::channel(OFFERS);
        let (answers, said) = mpsc::channel(ANSWERS);
        if self.lines.try_send(Line { offers, answers: said }).is_err() {
            tracing::error!("the outbox doesn't answer; nothing is published on this connection");
            return None;
        }
        Some(OutboxEnd { offers: to_publish, answers })
    }
}

/// Starts the task. `woken` tells of every commit that may concern it, `trouble` says while it can't work.
pub(super) fn start(
    store: Arc<dyn EventStore>,
    clock: Clock,
    woken: watch::Receiver<FeedSeq>,
    trouble: Trouble,
    cancel: CancellationToken,
) -> Outbox {
    let (lines, attached) = mpsc::channel(CONNECTIONS);
    let publisher = Publisher {
        store,
        clock,
        trouble,
        offers: None,
        answers: None,
        in_flight: HashSet::new(),
        queue: VecDeque::new(),
        unwritten: Vec::new(),
        look_again: None,
        blocked_until: None,
    };
    tokio::spawn(publisher.run(attached, woken, cancel));
    Outbox { lines }
}

struct Publisher {
    store: Arc<dyn EventStore>,
    clock: Clock,
    trouble: Trouble,
    /// The ends of the present connection.
    offers: Option<mpsc::Sender<Event>>,
    answers: Option<mpsc::Receiver<OwnVerdict>>,
    /// Handed to the connection, and not answered.
    in_flight: HashSet<EventId>,
    /// Read, and not handed over yet.
    queue: VecDeque<Event>,
    /// Answers that are not in the store yet.
    unwritten: Vec<OwnVerdict>,
    /// When something may be offered again.
    look_again: Option<Instant>,
    /// The store could not be read or written: it is left alone until then.
    blocked_until: Option<Instant>,
}

impl Publisher {
    async fn run(
        mut self,
        mut lines: mpsc::Receiver<Line>,
        mut woken: watch::Receiver<FeedSeq>,
        cancel: CancellationToken,
    ) {
        let mut look = true;
        loop {
            if look {
                woken.mark_unchanged();
                self.write().await;
                self.read().await;
            }
            let look_again = self.blocked_until.or(self.look_again);
            look = tokio::select! {
                () = cancel.cancelled() => break,
                line = lines.recv() => match line {
                    Some(Line { offers, answers }) => {
                        self.take_rest();
                        (self.offers, self.answers) = (Some(offers), Some(answers));
                        self.in_flight.clear();
                        self.queue.clear();
                        true
                    }
                    None => break,
                },
                answer = next(&mut self.answers) => {
                    match answer {
                        Some(answer) => self.take(answer),
                        None => (self.offers, self.answers) = (None, None),
                    }
                    true
                }
                sent = offer(&self.offers, &mut self.queue) => {
                    match sent {
                        Some(id) => _ = self.in_flight.insert(id),
                        None => self.offers = None,
                    }
                    self.queue.is_empty()
                }
                changed = woken.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    // What is read already is offered first.
                    self.queue.is_empty()
                }
                () = sleep_until(look_again) => true,
            };
            // What could not be written is tried again when its pause is over, not with every answer.
            look &= self.blocked_until.is_none_or(|at| at <= Instant::now());
        }
        self.write().await;
    }

    /// Takes an answer, with those that have come beside it.
    fn take(&mut self, answer: OwnVerdict) {
        self.unwritten.push(answer);
        self.take_rest();
        for OwnVerdict { id, answer } in &self.unwritten {
            match answer {
                OwnAnswer::Has => {}
                OwnAnswer::Never { text } => tracing::info!(event = %id, text, "the own relay refuses an event"),
                OwnAnswer::Later { text } | OwnAnswer::Purgatory { text } => {
                    tracing::debug!(event = %id, text, "the own relay puts an event off");
                }
                _ => {}
            }
        }
    }

    /// Takes the answers that have come by now.
    fn take_rest(&mut self) {
        while self.unwritten.len() < ANSWERS
            && let Some(Ok(answer)) = self.answers.as_mut().map(mpsc::Receiver::try_recv)
        {
            self.unwritten.push(answer);
        }
    }

    /// Writes what was answered. What can't be written is kept, and its events are not offered again meanwhile.
    async fn write(&mut self) {
        if self.unwritten.is_empty() {
            return;
        }
        let (store, answers, now) = (Arc::clone(&self.store), self.unwritten.clone(), self.clock.now().unix_s);
        match spawn_store(move || store.answer_outbox(answers, now)).await {
            Ok(()) => {
                self.trouble.clear();
                self.blocked_until = None;
                for answer in self.unwritten.drain(..) {
                    self.in_flight.remove(&answer.id);
                }
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Reads what may be offered, where there is somebody to offer it to.
    async fn read(&mut self) {
        self.look_again = None;
        // A store that doesn't take answers is not asked for more to be answered.
        if self.offers.is_none() || !self.queue.is_empty() || !self.unwritten.is_empty() {
            return;
        }
        let (store, now) = (Arc::clone(&self.store), self.clock.now().unix_s);
        let max = READ + self.in_flight.len();
        let read = move || Ok((store.outbox(now, max)?, store.outbox_state()?));
        match spawn_store(read).await {
            Ok((due, state)) => {
                self.blocked_until = None;
                let due = due.into_iter().map(|held| held.event);
                self.queue.extend(due.filter(|event| !self.in_flight.contains(&event.id)));
                let later = state.next_at.filter(|at| *at > now);
                self.look_again = later.map(|at| Instant::now() + Duration::from_secs((at - now).min(MAX_PAUSE_S)));
            }
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&mut self, error: &sync_core::store::StoreError) {
        if self.trouble.raise(error) {
            tracing::error!(%error, "the outbox can't be read or written");
        }
        self.blocked_until = Some(Instant::now() + RETRY);
    }
}

/// The next answer; `None` when the connection has ended. Never, without one.
async fn next(answers: &mut Option<mpsc::Receiver<OwnVerdict>>) -> Option<OwnVerdict> {
    match answers {
        Some(answers) => answers.recv().await,
        None => std::future::pending().await,
    }
}

/// Hands over the next event as soon as there is room, and tells its id. Never, where there is nothing to do; nothing where
/// the connection has ended.
async fn offer(offers: &Option<mpsc::Sender<Event>>, queue: &mut VecDeque<Event>) -> Option<EventId> {
    match offers {
        Some(offers) if !queue.is_empty() => {
            let room = offers.reserve().await.ok()?;
            let event = queue.pop_front()?;
            let id = event.id;
            room.send(event);
            Some(id)
        }
        _ => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
