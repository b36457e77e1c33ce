//! The threads of one plugin, and the watch over them.
//!
//! A call is handed to a thread, and whoever handed it over waits. A call that takes longer than [`Limits::call`] bars the
//! plugin: its thread is abandoned with all that it holds, nothing is handed over any more, and whoever waits is told why.
//! Those who wait are the watch; while nobody waits, a call that hangs harms nobody.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sync_core::strategy::VecSet;

use crate::limits::Limits;

/// How long a hand-off is waited for on the spot: most are over sooner than a thread's tasks can be moved.
const ON_THE_SPOT: Duration = Duration::from_micros(100);

/// What a call asks of whoever waits for it.
enum Told<T> {
    /// A copy of the set.
    Set,
    Done(T),
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// A call did not return: the plugin isn't called any more.
    #[error("{0}")]
    Barred(Arc<str>),
    /// Our own side failed: no thread can be had, or what is around the call ended before it. The plugin isn't to blame.
    #[error("{0}")]
    Failed(Arc<str>),
}

type Job = Box<dyn FnOnce() + Send>;

/// The threads.
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    limits: Limits,
    state: Mutex<State>,
    /// There is work, or there will be none any more.
    work: Condvar,
}

struct State {
    label: String,
    /// At most one job for each session, and one for each that is being ended.
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
    /// What runs, and since when.
    running: Vec<(u64, &'static str, Instant)>,
    next: u64,
    closed: bool,
    barred: Option<Arc<str>>,
}

impl Pool {
    pub(crate) fn new(label: String, limits: Limits) -> Arc<Self> {
        let state = State {
            label,
            queue: VecDeque::new(),
            threads: 0,
            idle: 0,
            running: Vec::new(),
            next: 0,
            closed: false,
            barred: None,
        };
        Arc::new(Self(Arc::new(Shared { limits, state: Mutex::new(state), work: Condvar::new() })))
    }

    /// Takes the plugin's own name for threads and words.
    pub(crate) fn rename(&self, name: &str) {
        name.clone_into(&mut self.0.state().label);
    }

    pub(crate) fn barred(&self) -> Option<Arc<str>> {
        self.0.state().barred.clone()
    }

    /// Has `work` done on one of the threads, in the span that is current here, and waits for it. `set` is asked for a copy of the
    /// set where the work wants one.
    ///
    /// # Errors
    /// The plugin is barred, or the call failed on our side.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Ask) -> T + Send + 'static,
        mut set: Option<&mut dyn FnMut() -> Option<Arc<VecSet>>>,
    ) -> Result<T, CallError> {
        let (told, hears) = sync_channel(1);
        let (sets, gets) = sync_channel(1);
        let (shared, span) = (Arc::clone(&self.0), tracing::Span::current());
        let asks: Box<dyn Fn() -> bool + Send> = {
            let told = told.clone();
            Box::new(move || told.send(Told::Set).is_ok())
        };
        let job = Box::new(move || {
            let number = shared.begin(what);
            let ask = Ask { asks, gets, shared: Arc::clone(&shared), number };
            let done = span.in_scope(|| catch_unwind(AssertUnwindSafe(|| work(&ask))));
            shared.end(number);
            // Nobody waits any more where the plugin was barred meanwhile.
            if let Ok(done) = done {
                let _ = told.send(Told::Done(done));
            }
        });
        self.0.submit(job)?;
        let mut result = None;
        let mut step = |patience: Duration| match hears.recv_timeout(patience) {
            Ok(Told::Set) => {
                let copy = set.as_mut().and_then(|set| set());
                // The other side waits for it, unless it is gone.
                let _ = sets.send(copy);
                false
            }
            Ok(Told::Done(done)) => {
                result = Some(Ok(done));
                true
            }
            Err(RecvTimeoutError::Timeout) => match self.0.overdue() {
                Ok(_) => false,
                Err(reason) => {
                    result = Some(Err(CallError::Barred(reason)));
                    true
                }
            },
            Err(RecvTimeoutError::Disconnected) => {
                let failed = || CallError::Failed("the host's side of the call failed".into());
                result = Some(Err(self.barred().map_or_else(failed, CallError::Barred)));
                true
            }
        };
        if !step(ON_THE_SPOT) {
            let shared = &self.0;
            (shared.limits.wait)(&mut || while !step(shared.patience()) {});
        }
        result.unwrap_or_else(|| Err(CallError::Failed("the call was not waited for".into())))
    }

    /// Has `work` done on one of the threads some time, unless the plugin is barred.
    pub(crate) fn spawn(&self, what: &'static str, work: impl FnOnce() + Send + 'static) {
        let shared = Arc::clone(&self.0);
        let job = Box::new(move || {
            let number = shared.begin(what);
            // What panics there is told to nobody: it was the end of it.
            let _ = catch_unwind(AssertUnwindSafe(work));
            shared.end(number);
        });
        let _ = self.0.submit(job);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.work.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(self: &Arc<Self>, job: Job) -> Result<(), CallError> {
        let mut state = self.state();
        if let Some(reason) = &state.barred {
            return Err(CallError::Barred(Arc::clone(reason)));
        }
        state.queue.push_back(job);
        if state.idle < state.queue.len() && state.threads < self.limits.threads.max(1) {
            let name = format!("plugin {}", state.label);
            let shared = Arc::clone(self);
            match std::thread::Builder::new().name(name).spawn(move || shared.run()) {
                Ok(_) => state.threads += 1,
                Err(error) if state.threads == 0 => {
                    state.queue.pop_back();
                    return Err(CallError::Failed(format!("no thread can be had for the plugin: {error}").into()));
                }
                // The others will come to it.
                Err(_) => {}
            }
        }
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// The life of a thread.
    fn run(&self) {
        let mut state = self.state();
        loop {
            if state.barred.is_some() {
                return;
            }
            match state.queue.pop_front() {
                Some(job) => {
                    drop(state);
                    job();
                    state = self.state();
                }
                None if state.closed => return,
                None => {
                    state.idle += 1;
                    state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                    state.idle -= 1;
                }
            }
        }
    }

    fn begin(&self, what: &'static str) -> u64 {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.running.push((number, what, Instant::now()));
        number
    }

    fn end(&self, number: u64) -> Option<&'static str> {
        let mut state = self.state();
        let place = state.running.iter().position(|(running, ..)| *running == number)?;
        Some(state.running.swap_remove(place).1)
    }

    /// How long it is until the next call is overdue.
    fn patience(&self) -> Duration {
        let state = self.state();
        let oldest = state.running.iter().map(|(_, _, since)| since.elapsed()).max().unwrap_or_default();
        self.limits.call.saturating_sub(oldest).max(Duration::from_millis(1))
    }

    /// Bars the plugin where a call takes too long.
    ///
    /// # Errors
    /// Why it is barred, now or before.
    fn overdue(&self) -> Result<(), Arc<str>> {
        let mut state = self.state();
        if let Some(reason) = &state.barred {
            return Err(Arc::clone(reason));
        }
        let limit = self.limits.call;
        let Some((_, what, _)) = state.running.iter().find(|(_, _, since)| since.elapsed() >= limit) else {
            return Ok(());
        };
        let reason: Arc<str> = format!("{what} did not return within {limit:?}").into();
        tracing::error!(plugin = state.label, %reason, "the plugin is barred until the next start");
        state.barred = Some(Arc::clone(&reason));
        let waiting = std::mem::take(&mut state.queue);
        drop(state);
        // Whoever waits for one of these is told at once.
        drop(waiting);
        self.work.notify_all();
        Err(reason)
    }
}

/// How work on a thread of the pool speaks with the watch, and asks for the set.
pub(crate) struct Ask {
    asks: Box<dyn Fn() -> bool + Send>,
    gets: Receiver<Option<Arc<VecSet>>>,
    shared: Arc<Shared>,
    number: u64,
}

impl Ask {
    /// A copy of the set; `None` where there is none, or it is too large. The watch doesn't count the time that this takes.
    pub(crate) fn set(&self) -> Option<Arc<VecSet>> {
        let what = self.shared.end(self.number);
        let set = if (self.asks)() { self.gets.recv().ok().flatten() } else { None };
        if let Some(what) = what {
            self.shared.state().running.push((self.number, what, Instant::now()));
        }
        set
    }

    /// Names the function that is entered now, for whoever is told that it did not return.
    pub(crate) fn enters(&self, what: &'static str) {
        let mut state = self.shared.state();
        if let Some(running) = state.running.iter_mut().find(|(number, ..)| *number == self.number) {
            running.1 = what;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn what_fails_on_our_side_bars_nobody() {
        let pool = Pool::new("p".to_owned(), Limits::default());
        let failed = pool.call("suits", |_| panic!("on our side"), None::<&mut dyn FnMut() -> _>);
        assert_eq!(failed, Err::<(), _>(CallError::Failed("the host's side of the call failed".into())));
        assert_eq!(pool.call("suits", |_| 7, None), Ok(7), "it is called again");
        let nobody_waits = Limits { wait: |_| {}, ..Limits::default() };
        let pool = Pool::new("p".to_owned(), nobody_waits);
        let (goes_on, waits) = channel::<()>();
        let failed = pool.call("suits", move |_| waits.recv(), None);
        assert_eq!(failed, Err(CallError::Failed("the call was not waited for".into())));
        drop(goes_on);
        assert_eq!(pool.barred(), None);
    }

    #[test]
    fn what_hangs_bars_the_plugin() {
        let limits = Limits { call: Duration::from_millis(20), ..Limits::default() };
        let pool = Pool::new("p".to_owned(), limits);
        let (goes_on, waits) = channel::<()>();
        let hung = pool.call("suits", move |_| waits.recv(), None);
        let barred = CallError::Barred("suits did not return within 20ms".into());
        assert_eq!(hung, Err(barred.clone()));
        assert_eq!(pool.call("suits", |_| (), None), Err(barred));
        drop(goes_on);
    }
}
