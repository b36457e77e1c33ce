//! [`LmdbStore`]: the traits of `sync-core` over the rooms beside this one.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nostr::event::{Event, EventId};
use nostr::filter::Filter;
use sync_core::model::RelayUrl;
use sync_core::store::{
    EventStore, FeedListener, FeedPage, FeedSeq, HeldEvent, KnownEvent, LocalSets, OutboxState, OwnVerdict, PageSize,
    Query, Reply, StateTable, StateWrite, StoreError, StoreSize, Submission,
};
use sync_core::strategy::{ItemKey, SetView, Window};

use crate::error::from_heed;
use crate::open::{Locks, OpenError, Options, Shared, SharedRef, open};
use crate::schema::Meta;
use crate::view::LocalView;
use crate::writer::{Answer, Job, Listeners, QUEUE, STEP, Work, Writer, state_key};
use crate::{events, feed, outbox, query, rejected};

/// A store in a directory. Reads run on the caller's thread, beside the writer's.
///
/// Dropping it stops the writer after what is queued, as [`LmdbStore::close`] does.
pub struct LmdbStore {
    // Dropped in this order: the writer ends, the file is unmapped, the locks are released.
    writer: WriterHandle,
    listeners: Listeners,
    pub(crate) shared: SharedRef,
    pub(crate) locks: Locks,
    pub(crate) path: PathBuf,
    pub(crate) read_only: bool,
}

/// The writer's thread, until it is closed; never there in a store that is only read.
struct WriterHandle(Mutex<Option<RunningWriter>>);

struct RunningWriter {
    jobs: SyncSender<Job>,
    thread: JoinHandle<()>,
}

impl WriterHandle {
    fn close(&self) -> Result<(), StoreError> {
        let writer = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(RunningWriter { jobs, thread }) = writer else { return Ok(()) };
        drop(jobs);
        thread.join().map_err(|_| StoreError::Io("the writer's thread panicked".to_owned()))
    }

    fn jobs(&self) -> Option<SyncSender<Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|writer| writer.jobs.clone())
    }
}

impl Drop for WriterHandle {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the store did not close cleanly");
        }
    }
}

impl LmdbStore {
    /// Opens the store in the directory `path`, which is created where it is to be written. Under a policy other than
    /// the one that the store was last opened with, the rejected index and the feed are void from here on, until
    /// [`EventStore::judge_backlog`] has judged everything again; and so is what relays were read for.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let opened = open(path, &options)?;
        let shared = Arc::new(Shared { env: opened.env, dbs: opened.dbs, judging: options.policy.is_some() });
        let listeners = Listeners::default();
        let writer = if options.read_only {
            None
        } else {
            let writer = Writer {
                shared: Arc::clone(&shared),
                policy: options.policy,
                intake: options.intake,
                on_commit: options.on_commit,
                listeners: Arc::clone(&listeners),
                sweep_at: 0,
            };
            let (jobs, receiver) = sync_channel(QUEUE);
            let thread = std::thread::Builder::new()
                .name("store-writer".to_owned())
                .spawn(move || writer.run(&receiver))
                .map_err(|error| OpenError::Io { path: path.to_owned(), reason: error.to_string() })?;
            Some(RunningWriter { jobs, thread })
        };
        Ok(Self {
            path: path.to_owned(),
            shared,
            locks: opened.locks,
            read_only: options.read_only,
            writer: WriterHandle(Mutex::new(writer)),
            listeners,
        })
    }

    /// Stops the writer after what is queued. Reading stays possible; whatever writes is [`StoreError::Closed`].
    ///
    /// # Errors
    /// The writer had died; what it had answered for is stored.
    pub fn close(&self) -> Result<(), StoreError> {
        self.writer.close()
    }

    /// Lets go of everything that is due at `now`, unix seconds; the writer does some of it by itself after
    /// submissions. Returns how many events and rows went.
    ///
    /// # Errors
    /// The store failed; what went is gone.
    pub fn maintain(&self, now: u64) -> Result<u64, StoreError> {
        let mut swept = 0;
        loop {
            let steps = self.ask(|answer| Job::Sweep { now, answer })?;
            swept += steps as u64;
            if steps < STEP {
                return Ok(swept);
            }
        }
    }

    fn send(&self, job: Job) -> Result<(), StoreError> {
        if self.read_only {
            return Err(StoreError::Io("it was opened for reading only".to_owned()));
        }
        // Not held while waiting for room in the queue, so that closing isn't held up.
        let jobs = self.writer.jobs().ok_or(StoreError::Closed)?;
        jobs.send(job).map_err(|_| StoreError::Closed)
    }

    fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, StoreError> {
        let (answer, receiver) = sync_channel(1);
        self.send(job(answer))?;
        receiver.recv().map_err(|_| StoreError::Closed)?
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&crate::schema::Databases, &heed::RoTxn<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let txn = self.shared.env.read_txn().map_err(from_heed)?;
        read(&self.shared.dbs, &txn)
    }
}

impl LocalSets for LmdbStore {
    fn view<'a>(&'a self, filter: &Filter, window: Window, relay: &RelayUrl) -> Box<dyn SetView + 'a> {
        Box::new(LocalView::new(&self.shared, filter, window, relay))
    }

    fn known(&self, ids: &[EventId]) -> Result<Vec<Option<KnownEvent>>, StoreError> {
        self.read(|dbs, txn| ids.iter().map(|id| events::known(dbs, txn, id, self.shared.judging)).collect())
    }

    fn event(&self, id: &EventId) -> Result<Option<Event>, StoreError> {
        self.read(|dbs, txn| events::event(dbs, txn, id))
    }
}

impl EventStore for LmdbStore {
    fn query_page(&self, query: &mut Query, now: u64, size: PageSize) -> Result<Vec<Event>, StoreError> {
        query::events(&self.shared, query, now, size)
    }

    fn query_items(&self, query: &mut Query, now: u64, max: usize) -> Result<Vec<ItemKey>, StoreError> {
        query::items(&self.shared, query, now, max)
    }

    fn submit(&self, submission: Submission, reply: Reply) -> Result<(), StoreError> {
        submission.state.iter().try_for_each(|write| state_key(write.table, &write.key).map(drop))?;
        self.send(Job::Write(Work::Events(submission, reply)))
    }

    fn write_state(&self, writes: Vec<StateWrite>) -> Result<(), StoreError> {
        for write in &writes {
            state_key(write.table, &write.key)?;
        }
        self.ask(|answer| Job::Write(Work::State(writes, answer)))
    }

    fn read_state_of(&self, table: StateTable, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let room = state_key(table, &[])?;
        let start = state_key(table, prefix)?;
        self.read(|dbs, txn| {
            let mut records = Vec::new();
            for row in dbs.state.prefix_iter(txn, &start).map_err(from_heed)? {
                let (key, value) = row.map_err(from_heed)?;
                records.push((key[room.len()..].to_vec(), value.to_vec()));
            }
            Ok(records)
        })
    }

    fn feed(&self, after: FeedSeq, max: usize) -> Result<FeedPage, StoreError> {
        self.read(|dbs, txn| feed::page(dbs, txn, after, max))
    }

    fn feed_head(&self) -> Result<FeedSeq, StoreError> {
        self.read(|dbs, txn| Ok(dbs.number(txn, Meta::FeedHead)?.unwrap_or(0)))
    }

    fn on_feed(&self, wake: FeedListener) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(wake);
    }

    fn judge_backlog(&self, now: u64) -> Result<u64, StoreError> {
        self.maintain(now)?;
        let mut judged = 0;
        // One bounded transaction at a time, so that submissions get their turn in between.
        while let Some(step) = self.ask(|answer| Job::Judge { now, answer })? {
            judged += step;
        }
        Ok(judged)
    }

    fn outbox(&self, now: u64, max: usize) -> Result<Vec<HeldEvent>, StoreError> {
        self.read(|dbs, txn| outbox::due(dbs, txn, now, max))
    }

    fn outbox_state(&self) -> Result<OutboxState, StoreError> {
        self.read(outbox::state)
    }

    fn answer_outbox(&self, answers: Vec<OwnVerdict>, now: u64) -> Result<(), StoreError> {
        self.ask(|answer| Job::Answers { answers, now, answer })
    }

    fn event_count(&self) -> Result<u64, StoreError> {
        self.read(|dbs, txn| dbs.events.len(txn).map_err(from_heed))
    }

    fn rejected_count(&self) -> Result<(u64, u64), StoreError> {
        self.read(rejected::count)
    }

    fn size(&self) -> Result<Option<StoreSize>, StoreError> {
        let env = &self.shared.env;
        let used = env.non_free_pages_size().map_err(from_heed)?;
        Ok(Some(StoreSize { used, max: env.info().map_size as u64 }))
    }
}
