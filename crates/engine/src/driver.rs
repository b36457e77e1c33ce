//! One connection: a [`RelayLink`] between the socket and the ingest.
//!
//! One task owns the link. It waits for whatever comes first (frames, answers of the ingest, commands, a deadline,
//! room in a queue) and never for one thing alone, so that no queue can hold up another. It stops reading the
//! socket while too much that was read waits for the ingest: `limits.memory_per_relay` bounds that by bytes.

mod pressure;
mod spawn;
mod tell;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sync_core::MonoMillis;
use sync_core::link::{CheckJob, LinkCommand, LinkConfig, LinkNotice, LinkOutput, RelayLink};
use sync_core::model::{BatchReport, RelayUrl};
use sync_core::nostr::event::{Event, EventId};
use sync_core::store::{EventStore, FeedSeq, OwnVerdict, StateWrite};
use sync_core::transport::{Connection, Fault, FaultKind, FrameSink};
use telemetry::metrics::{Direction, Metrics};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::Clock;
use crate::ingest::{Answer, Ingest, MAX_ANSWERS, Place, Work};
use crate::local::Local;
use crate::parking::{Holder, Parking};
use crate::trace::{ConnectionTraces, Traces};
pub use spawn::{Driven, spawn};
use tell::wire_text;

/// Frames taken from the socket at once.
const READ_AT_ONCE: usize = 256;
/// Frames between the link and the socket.
const SEND_QUEUE: usize = 64;
/// How long is read from a connection that takes nothing any more.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long a connection may take to say good-bye.
const GOOD_BYE: Duration = Duration::from_secs(1);

/// What every connection shares.
#[derive(Clone)]
pub struct Shared {
    /// The store.
    pub store: Arc<dyn EventStore>,
    /// The checking threads.
    pub ingest: Arc<Ingest>,
    /// The clock.
    pub clock: Clock,
    /// The metrics.
    pub metrics: Metrics,
    /// Bytes of received events that may wait for one connection (`limits.memory_per_relay`).
    pub memory_per_relay: usize,
    /// Which ids are being fetched.
    pub parking: Arc<Parking>,
    /// Whether connections wait while the store has no room, so that nothing fails for it. Otherwise what can't be stored is
    /// reported as missing.
    pub waits_for_room: bool,
    /// What makes spans of what happens.
    pub traces: Traces,
}

/// What a connection tells its owner.
#[derive(Debug)]
pub enum RelayEvent {
    /// A batch has ended.
    BatchDone {
        /// How.
        report: Box<BatchReport>,
        /// The head of the feed when every verdict on the batch was in.
        feed_head: FeedSeq,
    },
    /// Live subscriptions brought this many events into the store.
    LiveStored(u64),
    /// Something happened on the connection.
    Notice {
        /// What.
        notice: LinkNotice,
        /// What log lines that come of it belong to: the span of a batch, or none.
        context: tracing::Span,
    },
    /// The connection has ended; nothing follows.
    Ended(Option<Fault>),
}

/// The own relay's connection: events to publish, and where its answers go (SPEC §9).
pub struct OutboxEnd {
    /// What is to be published.
    pub offers: mpsc::Receiver<Event>,
    /// What the own relay said; must have room for whatever is in flight.
    pub answers: mpsc::Sender<OwnVerdict>,
}

/// Drives `connection` until it ends or `cancel` asks for it. Everything that happens goes to `events`, with
/// [`RelayEvent::Ended`] last.
pub async fn drive(
    connection: Connection,
    config: LinkConfig,
    shared: Shared,
    outbox: Option<OutboxEnd>,
    mut commands: mpsc::Receiver<LinkCommand>,
    events: mpsc::Sender<(RelayUrl, RelayEvent)>,
    cancel: CancellationToken,
) {
    let Connection { sink, mut source, .. } = connection;
    let relay = config.relay.clone();
    let (frames, to_send) = mpsc::channel(SEND_QUEUE);
    let mut writer = tokio::spawn(write(sink, to_send));
    let (answers, mut from_ingest) = mpsc::channel(MAX_ANSWERS);
    let mut driver = Driver {
        link: RelayLink::new(config),
        traces: ConnectionTraces::begin_connection(&shared.traces, &relay),
        shared: shared.clone(),
        relay: relay.clone(),
        holder: Arc::new(Holder::new(Arc::clone(&shared.parking), shared.clock)),
        jobs: VecDeque::new(),
        offered: Vec::new(),
        state: Vec::new(),
        records_owed: false,
        records_failed: false,
        frames: VecDeque::new(),
        told: VecDeque::new(),
        bytes_waiting: 0,
        shown_memory: 0,
        is_over: false,
        shut_since: None,
        stands_since: None,
        stood_ms: 0,
        owed: 0,
        published: None,
        close: None,
    };
    driver.link.surround(driver.traces.surround());
    let mut offers = None;
    if let Some(OutboxEnd { offers: to_publish, answers }) = outbox {
        (offers, driver.published) = (Some(to_publish), Some(answers));
    }

    // Kept across turns, so that a connection doesn't lose its place in the queue for one; polled only while there
    // is something to hand over.
    let mut place = Box::pin(shared.ingest.place());
    let holder = Arc::clone(&driver.holder);
    let mut full = shared.ingest.full().subscribe();
    // Nothing can be sent any more; what the relay had sent by then is still read.
    let mut unsendable: Option<(Fault, tokio::time::Instant)> = None;
    let fault = loop {
        driver.drain();
        driver.watch_the_room();
        let last_words = unsendable.as_ref().map(|(_, until)| *until);
        if unsendable.is_some() {
            driver.frames.clear();
        }
        if let Some(fault) = driver.close.take() {
            break Some(fault);
        }
        driver.set_time();
        driver.show_memory();
        let deadline = driver.deadline().map(|at| shared.clock.at(at));
        tokio::select! {
            biased;
            () = cancel.cancelled() => break None,
            ended = &mut writer, if unsendable.is_none() => {
                let fault = ended.unwrap_or_else(|error| Fault {
                    kind: FaultKind::Network,
                    text: format!("the sending task ended: {error}"),
                });
                unsendable = Some((fault, tokio::time::Instant::now() + LAST_WORDS));
            }
            () = sleep_until(last_words), if last_words.is_some() => break unsendable.take().map(|(fault, _)| fault),
            Some(answer) = from_ingest.recv() => driver.answer(answer),
            // It may read again, or must not any more.
            Ok(()) = full.changed(), if shared.waits_for_room => {}
            room = events.reserve(), if !driver.told.is_empty() => match room {
                Ok(room) => if let Some(event) = driver.told.pop_front() { room.send((relay.clone(), event)) },
                Err(_) => break None,
            },
            room = frames.reserve(), if !driver.frames.is_empty() && unsendable.is_none() => match room {
                Ok(room) => if let Some(frame) = driver.frames.pop_front() { room.send(frame) },
                // The writer has ended; its fault comes by the branch above.
                Err(_) => driver.frames.clear(),
            },
            got = &mut place, if driver.has_work() => match got {
                Some(got) => {
                    place.set(shared.ingest.place());
                    driver.hand_over(got, answers.clone());
                }
                None => break None,
            },
            Some(command) = commands.recv() => driver.command(command),
            Some(event) = next_offer(&mut offers), if driver.link.publish_room() > 0 => driver.publish(event),
            () = sleep_until(deadline), if deadline.is_some() => {
                let local = Local(&*shared.store, &driver.holder);
                let now = driver.now();
                driver.link.timeout(&local, now);
            },
            ids = holder.released() => {
                let now = driver.now();
                driver.link.unparked(&ids, &Local(&*shared.store, &driver.holder), now);
            },
            received = source.receive(READ_AT_ONCE), if driver.may_read() => match received {
                Ok(frames) if frames.is_empty() => break Some(unsendable.take().map_or_else(
                    || Fault { kind: FaultKind::Closed, text: "the relay closed the connection".to_owned() },
                    |(fault, _)| fault,
                )),
                Ok(frames) => driver.receive(frames),
                Err(fault) => break Some(unsendable.take().map_or(fault, |(fault, _)| fault)),
            },
        }
    };

    // What was handed to the ingest is answered before the batches are reported, so that their counts are true.
    while driver.owed > 0
        && let Some(answer) = from_ingest.recv().await
    {
        driver.answer(answer);
        driver.drain();
    }
    let reason =
        fault.as_ref().map_or_else(|| "the connection was closed by us".to_owned(), |fault| fault.text.clone());
    let now = driver.now();
    driver.link.lost(&reason, &Local(&*shared.store, &driver.holder), now);
    driver.drain();
    // What was not handed over by now comes again: nobody would hear what became of it.
    driver.jobs.clear();
    // What is remembered of the relay is there for the next connection, which may follow at once.
    if !driver.state.is_empty()
        && let Some(place) = shared.ingest.place().await
    {
        driver.hand_over(place, answers.clone());
        while driver.owed > 0
            && let Some(answer) = from_ingest.recv().await
        {
            driver.owed -= usize::from(matches!(answer, Answer::Settled { .. }));
        }
    }
    drop(frames);
    if !writer.is_finished() && tokio::time::timeout(GOOD_BYE, &mut writer).await.is_err() {
        writer.abort();
    }
    for event in std::mem::take(&mut driver.told) {
        if events.send((relay.clone(), event)).await.is_err() {
            return;
        }
    }
    shared.metrics.relay_memory(relay.as_str(), 0);
    driver.traces.end_connection(fault.as_ref().map(|fault| fault.text.as_str()));
    let _ = events.send((relay, RelayEvent::Ended(fault))).await;
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    if let Some(deadline) = deadline {
        tokio::time::sleep_until(deadline).await;
    }
}

/// The next event to publish. Never, where there is no outbox.
async fn next_offer(offers: &mut Option<mpsc::Receiver<Event>>) -> Option<Event> {
    match offers {
        Some(offers) => offers.recv().await,
        None => std::future::pending().await,
    }
}

/// Sends frames until the connection fails, or until nobody has any more.
async fn write(mut sink: Box<dyn FrameSink>, mut frames: mpsc::Receiver<String>) -> Fault {
    let mut batch = Vec::with_capacity(SEND_QUEUE);
    while frames.recv_many(&mut batch, SEND_QUEUE).await > 0 {
        if let Err(fault) = sink.send(std::mem::take(&mut batch)).await {
            return fault;
        }
    }
    sink.close().await;
    Fault { kind: FaultKind::Closed, text: "closed by us".to_owned() }
}

struct Driver {
    link: RelayLink,
    shared: Shared,
    relay: RelayUrl,
    holder: Arc<Holder>,
    jobs: VecDeque<CheckJob>,
    offered: Vec<EventId>,
    /// Records of the relay's memory that are to be written.
    state: Vec<StateWrite>,
    /// Earlier ones are being written: those that follow wait, so that no older version comes last.
    records_owed: bool,
    /// The last ones could not be written: they are no work by themselves, or it would be tried without end.
    records_failed: bool,
    frames: VecDeque<String>,
    told: VecDeque<RelayEvent>,
    /// Bytes of events with the ingest, or on their way to it.
    bytes_waiting: usize,
    /// What was last shown of the memory that the relay takes, bytes.
    shown_memory: usize,
    /// Nothing is read because of the bytes that wait.
    is_over: bool,
    /// Since when nothing is read because the store has no room.
    shut_since: Option<MonoMillis>,
    /// Since when the relay waits for us: its time stands still, and what it would be late with isn't due.
    stands_since: Option<MonoMillis>,
    /// How long its time has stood still before, milliseconds.
    stood_ms: u64,
    /// Pieces of work that the ingest has not settled.
    owed: usize,
    traces: ConnectionTraces,
    /// Where the own relay's answers go to what was published.
    published: Option<mpsc::Sender<OwnVerdict>>,
    close: Option<Fault>,
}

impl Driver {
    /// Whether the store has no room, and that is waited for.
    fn is_shut(&self) -> bool {
        self.shared.waits_for_room && self.shared.ingest.is_full()
    }

    fn has_work(&self) -> bool {
        if self.is_shut() {
            return false;
        }
        !self.jobs.is_empty()
            || !self.offered.is_empty()
            || (!self.state.is_empty() && !self.records_owed && !self.records_failed)
    }

    /// Hands a piece of work to the ingest.
    fn hand_over(&mut self, place: Place, answers: mpsc::Sender<Answer>) {
        let jobs = self.next_jobs();
        let work = Work {
            context: self.traces.context(jobs.first().and_then(|job| job.batch)),
            jobs,
            offered: std::mem::take(&mut self.offered),
            state: if self.records_owed { Vec::new() } else { std::mem::take(&mut self.state) },
            relay: self.relay.clone(),
        };
        self.records_owed |= !work.state.is_empty();
        self.owed += 1;
        self.shared.ingest.submit(place, work, answers);
    }

    fn receive(&mut self, frames: Vec<String>) {
        let (store, now) = (Arc::clone(&self.shared.store), self.now());
        let bytes: usize = frames.iter().map(String::len).sum();
        self.shared.metrics.bytes(self.relay.as_str(), Direction::Down, bytes as u64);
        for frame in frames {
            tracing::trace!(relay = %self.relay, frame = wire_text(&frame), "received");
            self.link.frame(frame, &Local(&*store, &self.holder), now);
        }
    }

    fn answer(&mut self, answer: Answer) {
        let (store, now) = (Arc::clone(&self.shared.store), self.now());
        let holder = Arc::clone(&self.holder);
        let local = Local(&*store, &holder);
        match answer {
            Answer::Checked(answers) => {
                for checked in answers {
                    self.traces.below().checked(&checked);
                    self.link.checked(checked, &local, now);
                }
            }
            Answer::Settled { bytes, records, unwritten, outcomes } => {
                self.owed = self.owed.saturating_sub(1);
                self.take_back(records, unwritten);
                self.bytes_waiting = self.bytes_waiting.saturating_sub(bytes);
                let mut live = 0;
                for (token, id, outcome) in outcomes {
                    self.traces.below().settled(token, &outcome);
                    live += u64::from(self.link.settled(token, id, &outcome, &local, now));
                }
                if live > 0 {
                    self.told.push_back(RelayEvent::LiveStored(live));
                }
            }
        }
    }

    /// Records that could not be written go along with the next work, under what is newer.
    fn take_back(&mut self, records: bool, unwritten: Vec<StateWrite>) {
        if records {
            self.records_owed = false;
            self.records_failed = !unwritten.is_empty();
        }
        let newer = std::mem::replace(&mut self.state, unwritten);
        add_state(&mut self.state, newer);
    }

    fn command(&mut self, command: LinkCommand) {
        match &command {
            LinkCommand::Batch(request) => self.traces.begin(&self.relay, request),
            LinkCommand::Cancel(batch) => self.traces.superseded(*batch, &self.link, &self.shared.metrics),
            LinkCommand::Live(_) | LinkCommand::Retry => {}
        }
        let (store, now) = (Arc::clone(&self.shared.store), self.now());
        self.link.command(command, &Local(&*store, &self.holder), now);
    }

    fn publish(&mut self, event: Event) {
        let (store, now) = (Arc::clone(&self.shared.store), self.now());
        self.link.publish(event, &Local(&*store, &self.holder), now);
    }

    fn drain(&mut self) {
        while let Some(output) = self.link.poll() {
            match output {
                LinkOutput::Send(frame) => {
                    self.shared.metrics.bytes(self.relay.as_str(), Direction::Up, frame.len() as u64);
                    tracing::trace!(relay = %self.relay, frame = wire_text(&frame), "sent");
                    self.frames.push_back(frame);
                }
                LinkOutput::Check(job) => {
                    self.bytes_waiting += job.json.len();
                    self.traces.below().checking(&job);
                    self.jobs.push_back(job);
                }
                LinkOutput::Offered(ids) => self.offered.extend(ids),
                LinkOutput::Persist(writes) => add_state(&mut self.state, writes),
                LinkOutput::Published(verdict) => {
                    if let Some(published) = &self.published
                        && published.try_send(verdict).is_err()
                    {
                        tracing::error!(relay = %self.relay, "nobody takes the own relay's answers");
                    }
                }
                LinkOutput::BatchDone(report) => self.batch_done(report),
                LinkOutput::Notice(notice) => self.notice(notice),
                LinkOutput::Close(fault) => self.close = Some(fault),
                _ => {}
            }
        }
    }
}

/// Adds records, in place of older versions of the same that are still to be written. One that may come to nothing replaces
/// only what may, too.
pub(crate) fn add_state(waiting: &mut Vec<StateWrite>, writes: Vec<StateWrite>) {
    let renewed: HashMap<_, _> =
        writes.iter().map(|write| ((write.table, write.key.as_slice()), write.if_known.is_empty())).collect();
    waiting.retain(|older| match renewed.get(&(older.table, older.key.as_slice())) {
        None => true,
        Some(surely) => !surely && older.if_known.is_empty(),
    });
    waiting.extend(writes);
}
