//! `import`: events as JSON lines, checked on every core, stored in the order of the input.
//!
//! Reader → checkers → submitter, over bounded queues. The reader hands each chunk to whichever checker is free, and
//! the place where its answer will appear to the submitter: so the order stays, and no more chunks than the queues
//! hold are in memory.

mod check;
mod lines;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use indicatif::ProgressBar;
use sync_core::store::{EventStore, IntakeOutcome, StoreError, Submission};

use self::check::{Bounds, Checked, check};
use self::lines::{Chunk, Lines};
use super::now;
use crate::cli::{Common, ImportArgs};
use crate::config::{Config, Limits};
use crate::exit::{CliError, Exit};
use crate::output::{plain, print, progress, say};
use crate::store::{Access, open};

/// Chunks that wait for a checker, and chunks that wait to be submitted.
const QUEUE: usize = 16;
/// Submissions whose answer is awaited; the writer gathers several into one commit.
const IN_FLIGHT: usize = 16;
/// Refused lines that are told one by one.
const TOLD: u64 = 10;

/// What became of the input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// In the store because of this.
    pub stored: u64,
    /// In the store already, or twice in the input.
    pub duplicate: u64,
    /// Kept aside until what they depend on arrives, by reason.
    pub deferred: BTreeMap<&'static str, u64>,
    /// Refused by the checks or kept out by the store, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
}

impl Summary {
    /// Whether there was something, and none of it an event.
    fn is_no_events(&self) -> bool {
        let malformed = self.rejected.get(sync_core::strategy::BadEvent::Malformed.as_str()).copied().unwrap_or(0);
        let others = self.stored + self.duplicate + sum(&self.deferred) + sum(&self.rejected) - malformed;
        malformed > 0 && others == 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stored {}, duplicate {}", self.stored, self.duplicate)?;
        if !self.deferred.is_empty() {
            write!(f, ", deferred {}", Reasons(&self.deferred))?;
        }
        write!(f, ", rejected {}", Reasons(&self.rejected))
    }
}

struct Reasons<'a>(&'a BTreeMap<&'static str, u64>);

impl fmt::Display for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", sum(self.0))?;
        if !self.0.is_empty() {
            let reasons: Vec<_> = self.0.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
            write!(f, " ({})", reasons.join(", "))?;
        }
        Ok(())
    }
}

fn sum(reasons: &BTreeMap<&'static str, u64>) -> u64 {
    reasons.values().sum()
}

/// Imports and prints the summary.
///
/// # Errors
/// The input can't be read or holds no event, or the store fails; what was stored until then is stored, and told.
pub fn run(args: &ImportArgs, common: &Common, config: &Config) -> Result<Exit, CliError> {
    let quiet = common.quiet;
    let (input, bar): (Box<dyn BufRead + Send>, _) = match args.file.as_deref().filter(|path| *path != Path::new("-")) {
        Some(path) => {
            let failed = |error| CliError::Failed(format!("{}: {error}", path.display()));
            let file = File::open(path).map_err(failed)?;
            let length = file.metadata().ok().filter(|data| data.is_file()).map(|data| data.len());
            (Box::new(BufReader::with_capacity(1 << 18, file)), progress(length, quiet))
        }
        None => (Box::new(BufReader::with_capacity(1 << 18, io::stdin())), progress(None, quiet)),
    };
    let store: Arc<dyn EventStore> = Arc::new(open(config, Access::Write, None)?);
    let mut summary = Summary::default();
    let result = import(&store, input, &config.limits, &bar, &mut summary);
    bar.finish_and_clear();
    print(&format!("{summary}\n"))?;
    result?;
    if summary.is_no_events() {
        return Err(CliError::Failed("no line of the input is an event".to_owned()));
    }
    Ok(Exit::Done)
}

/// Imports `input` into `store`; `summary` is true up to the moment of an error too.
///
/// # Errors
/// The input can't be read, or the store fails.
pub fn import(
    store: &Arc<dyn EventStore>,
    input: impl BufRead + Send,
    limits: &Limits,
    bar: &ProgressBar,
    summary: &mut Summary,
) -> Result<(), CliError> {
    let bounds = Bounds { max_event_size: limits.max_event_size, max_tags: limits.max_tags };
    let (to_checkers, jobs) = sync_channel::<Job>(QUEUE);
    let (to_submitter, answers) = sync_channel::<Receiver<CheckResult>>(QUEUE);
    let jobs = Mutex::new(jobs);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZeroUsize::get) {
            scope.spawn(|| check_all(&jobs, bounds, store));
        }
        let reader =
            scope.spawn(move || read_all(Lines::new(input, bounds.max_event_size), &to_checkers, &to_submitter));
        let mut submitter = Submitter { store, summary, bar, told: 0, waiting: VecDeque::new() };
        let submitted = submitter.submit_all(&answers);
        // A reader that still has something to say sees that nobody listens, and ends; the checkers end after it.
        drop(answers);
        let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        submitted.and(read.map_err(|error| CliError::Failed(format!("can't read the input: {error}"))))
    })
}

type CheckResult = Result<Checked, StoreError>;

/// A chunk, and where its answer goes.
struct Job {
    chunk: Chunk,
    answer: SyncSender<CheckResult>,
}

fn read_all<R: BufRead>(
    mut lines: Lines<R>,
    to_checkers: &SyncSender<Job>,
    to_submitter: &SyncSender<Receiver<CheckResult>>,
) -> io::Result<()> {
    while let Some(chunk) = lines.next_chunk()? {
        let (answer, place) = sync_channel(1);
        if to_submitter.send(place).is_err() || to_checkers.send(Job { chunk, answer }).is_err() {
            break;
        }
    }
    Ok(())
}

fn check_all(jobs: &Mutex<Receiver<Job>>, bounds: Bounds, store: &Arc<dyn EventStore>) {
    loop {
        // The lock is let go before the chunk is checked.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { chunk, answer }) = job else { return };
        // Where the submitter has given up there is nobody to tell.
        let _ = answer.send(check(chunk, bounds, store));
    }
}

type IntakeResult = Result<Vec<IntakeOutcome>, StoreError>;

struct Submitter<'a> {
    store: &'a Arc<dyn EventStore>,
    summary: &'a mut Summary,
    bar: &'a ProgressBar,
    told: u64,
    waiting: VecDeque<Receiver<IntakeResult>>,
}

impl Submitter<'_> {
    fn submit_all(&mut self, answers: &Receiver<Receiver<CheckResult>>) -> Result<(), CliError> {
        let mut result = Ok(());
        while let Ok(place) = answers.recv() {
            // A chunk without an answer: its checker is gone, and the scope tells why.
            let Ok(checked) = place.recv() else { break };
            result = checked.map_err(CliError::from).and_then(|checked| self.submit(checked));
            if result.is_err() {
                break;
            }
        }
        // What is under way is waited for after an error too: it may have been stored.
        while let Some(reply) = self.waiting.pop_front() {
            let counted = self.count(&reply);
            result = result.and(counted);
        }
        result
    }

    fn submit(&mut self, checked: Checked) -> Result<(), CliError> {
        self.summary.duplicate += checked.known;
        for (number, reason, words) in checked.bad {
            *self.summary.rejected.entry(reason.as_str()).or_default() += 1;
            self.told += 1;
            if self.told <= TOLD {
                self.bar.suspend(|| say(format_args!("line {number}: {}: {}", reason.as_str(), plain(&words))));
            } else if self.told == TOLD + 1 {
                self.bar.suspend(|| say("further refused lines are counted only"));
            }
        }
        self.bar.inc(checked.bytes);
        if checked.events.is_empty() {
            return Ok(());
        }
        while self.waiting.len() >= IN_FLIGHT {
            let Some(reply) = self.waiting.pop_front() else { break };
            self.count(&reply)?;
        }
        let (answer, reply) = sync_channel(1);
        let submission = Submission { events: checked.events, now: now(), ..Submission::default() };
        // The queue holds its one answer, so the writer is never kept waiting.
        self.store.submit(submission, Box::new(move |result| drop(answer.send(result))))?;
        self.waiting.push_back(reply);
        Ok(())
    }

    fn count(&mut self, reply: &Receiver<IntakeResult>) -> Result<(), CliError> {
        let outcomes = reply.recv().unwrap_or(Err(StoreError::Closed))?;
        for outcome in outcomes {
            match outcome {
                IntakeOutcome::Stored => self.summary.stored += 1,
                IntakeOutcome::Duplicate | IntakeOutcome::Held => self.summary.duplicate += 1,
                IntakeOutcome::Deferred(reason) => *self.summary.deferred.entry(reason.as_str()).or_default() += 1,
                IntakeOutcome::Rejected(reason) => *self.summary.rejected.entry(reason.as_str()).or_default() += 1,
            }
        }
        Ok(())
    }
}
