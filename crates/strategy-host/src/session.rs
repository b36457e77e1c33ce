//! A plugin's session as ours: inputs are handed over in batches, outputs are converted and checked before anybody sees them.
//!
//! Events wait for each other, for [`BATCH_MS`] at most; anything else is handed over at once, with what waits. Nobody notices but by
//! the clock: every input keeps the time at which it came.

use std::collections::VecDeque;
use std::sync::Arc;

use sync_core::model::FailureReason;
use sync_core::strategy::Input;
use sync_core::strategy::{
    ItemKey, KeyRange, Output, ProtocolError, SessionOutcome, SessionRequest, SetView, SyncSession, VecSet,
};
use sync_core::{MonoMillis, Now};

use crate::give::{Config, Given, lend_request};
use crate::guard::Guard;
use crate::host::{Copy, Desk};
use crate::library::Plugin;
use crate::limits::{BATCH, BATCH_MS, MAX_ITEMS};
use crate::pool::{Ask, CallError};
use crate::table::{Failed, Session, Table};
use crate::take::{Basket, Scope, Taken};

/// What travels to the plugin's thread and back.
struct Core {
    table: Table,
    config: Arc<Config>,
    scope: Scope,
    /// Until it is opened.
    request: Option<Box<SessionRequest>>,
    session: Option<Session>,
    /// Outlives the session.
    desk: Arc<Desk>,
}

/// What a hand-off comes to.
struct Returned {
    core: Core,
    taken: Vec<Taken>,
    deadline: Option<(MonoMillis, String)>,
    /// Why the session is over.
    broke: Option<Broke>,
}

/// Why a session is over before its end.
enum Broke {
    /// It says that it can't work with what the relay sent.
    Says(String),
    /// It did what it must not.
    Did(String),
    /// It wants to see more of the set than is copied.
    TooLarge,
}

/// One filter, one window, one relay, and a plugin that works on it.
pub(crate) struct PluginSession {
    plugin: Arc<Plugin>,
    /// `None` once it is over.
    core: Option<Core>,
    guard: Guard,
    waiting: Vec<Given>,
    /// Since when the first of them waits.
    waiting_since: MonoMillis,
    deadline: Option<(MonoMillis, &'static str)>,
    out: VecDeque<Output>,
}

impl PluginSession {
    pub(crate) fn new(plugin: Arc<Plugin>, config: Arc<Config>, request: SessionRequest, patience_ms: u64) -> Self {
        let core = Core {
            table: plugin.table,
            config,
            scope: Scope::new(&request),
            session: None,
            desk: Desk::new(plugin.info.name.clone()),
            request: None,
        };
        let guard = Guard::new(&request, patience_ms);
        let core = Some(Core { request: Some(Box::new(request)), ..core });
        let (waiting, out) = (Vec::new(), VecDeque::new());
        Self { plugin, core, guard, waiting, waiting_since: 0, deadline: None, out }
    }

    /// Hands over what waits.
    fn hand_over(&mut self, local: &dyn SetView) -> Result<(), ProtocolError> {
        let given = std::mem::take(&mut self.waiting);
        let Some(core) = self.core.take() else { return Ok(()) };
        let mut copy = || copy_of(local);
        let returned = self.plugin.pool.call("create", move |ask| core.run(&given, ask), Some(&mut copy));
        match returned {
            Ok(Returned { core, taken, deadline, broke }) => {
                self.core = Some(core);
                self.deadline = deadline.map(|(at, what)| (at, self.plugin.word(&what)));
                self.receive(taken, broke, local)
            }
            Err(CallError::Barred(reason)) => {
                let text = format!("the plugin {} is barred: {reason}", self.plugin.info.name);
                self.end(SessionOutcome::Unsupported { text });
                Ok(())
            }
            Err(CallError::Failed(reason)) => {
                let text = format!("the plugin {} can't be called: {reason}", self.plugin.info.name);
                self.end(SessionOutcome::Failed { reason: FailureReason::Local, text });
                Ok(())
            }
        }
    }

    fn receive(&mut self, taken: Vec<Taken>, broke: Option<Broke>, local: &dyn SetView) -> Result<(), ProtocolError> {
        let (mut end, mut count) = (None, None);
        let mut held = || *count.get_or_insert_with(|| local.count(KeyRange::ALL));
        for Taken { output, asked } in taken {
            if let Err(what) = self.guard.output(&output, asked, &mut held) {
                return self.broke(&what);
            }
            match output {
                // It counts when nothing follows.
                Output::Done(outcome) => end = Some(outcome),
                output => self.out.push_back(output),
            }
        }
        match (broke, end) {
            (Some(Broke::Did(what)), _) => self.broke(&what),
            (Some(Broke::TooLarge), _) => {
                let text = format!("more than {MAX_ITEMS} items here to compare with");
                self.end(SessionOutcome::TooBig { cap: Some(MAX_ITEMS), text });
                Ok(())
            }
            (Some(Broke::Says(what)), None) => {
                self.close();
                Err(ProtocolError(what))
            }
            (_, Some(outcome)) => {
                self.end(outcome);
                Ok(())
            }
            (None, None) => match self.guard.waits(self.deadline.is_some()) {
                Ok(()) => Ok(()),
                Err(what) => self.broke(&what),
            },
        }
    }

    /// Ends it for something that a strategy must not do.
    fn broke(&mut self, what: &str) -> Result<(), ProtocolError> {
        let name = &self.plugin.info.name;
        tracing::warn!(plugin = name, "a session of the plugin {what}");
        let text = format!("the plugin {name} {what}");
        self.end(SessionOutcome::Failed { reason: FailureReason::Local, text });
        Ok(())
    }

    fn end(&mut self, outcome: SessionOutcome) {
        self.out.push_back(Output::Done(outcome));
        self.close();
    }

    /// Has the plugin forget it.
    fn close(&mut self) {
        self.deadline = None;
        self.waiting.clear();
        if let Some(core) = self.core.take()
            && core.session.is_some()
        {
            self.plugin.pool.spawn("destroy", move || core.destroy());
        }
    }

    fn timed_out(&mut self, local: &dyn SetView, now: Now) -> Result<(), ProtocolError> {
        if !self.waiting.is_empty() {
            self.hand_over(local)?;
        }
        if self.core.is_some() && now.mono_ms >= self.guard.deadline() {
            let text = "nothing was heard for too long, and the plugin did not give up".to_owned();
            self.end(SessionOutcome::Failed { reason: FailureReason::Timeout, text });
        }
        if self.core.is_some() && self.deadline.is_some_and(|(at, _)| at <= now.mono_ms) {
            if let Err(what) = self.guard.passed() {
                return self.broke(&what);
            }
            self.waiting.push(Given::new(&Input::Timeout, now));
            self.hand_over(local)?;
        }
        Ok(())
    }
}

impl SyncSession for PluginSession {
    fn handle(&mut self, input: Input<'_>, local: &dyn SetView, now: Now) -> Result<(), ProtocolError> {
        if self.core.is_none() {
            return Ok(());
        }
        self.guard.input(&input, now);
        if matches!(input, Input::Timeout) {
            return self.timed_out(local, now);
        }
        if self.waiting.is_empty() {
            self.waiting_since = now.mono_ms;
        }
        self.waiting.push(Given::new(&input, now));
        if matches!(input, Input::Event { .. }) && self.waiting.len() < BATCH {
            return Ok(());
        }
        self.hand_over(local)
    }

    fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn next_timeout(&self) -> Option<(MonoMillis, &'static str)> {
        self.core.as_ref()?;
        let events = (!self.waiting.is_empty()).then(|| (self.waiting_since + BATCH_MS, "more events"));
        let silence = Some((self.guard.deadline(), "anything at all"));
        [self.deadline, events, silence].into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

impl Drop for PluginSession {
    fn drop(&mut self) {
        self.close();
    }
}

impl Core {
    /// On a thread of the plugin: gives it the inputs, takes what it yields.
    fn run(mut self, given: &[Given], ask: &Ask) -> Returned {
        let mut basket = Basket::default();
        let result = self.step(given, ask, &mut basket);
        self.desk.call_ended();
        let (deadline, broke) = match result {
            Ok(deadline) => (deadline, None),
            Err(broke) => (None, Some(broke)),
        };
        Returned { core: self, taken: basket.taken, deadline, broke }
    }

    fn step(&mut self, given: &[Given], ask: &Ask, basket: &mut Basket) -> Result<Option<(MonoMillis, String)>, Broke> {
        self.open(ask)?;
        let Self { table, scope, session: Some(session), .. } = self else {
            return Err(Broke::Did("has no session".to_owned()));
        };
        let copy = Copy::new(ask);
        ask.enters("handle");
        let handled = table.handle(session, &Given::lend(given), &copy.raw());
        if copy.was_too_large() {
            return Err(Broke::TooLarge);
        }
        if copy.was_misused() {
            return Err(Broke::Did("asked for the set by pointers that show nothing".to_owned()));
        }
        if let Err(Failed { text, panicked: true }) = handled {
            return Err(Broke::Did(text));
        }
        ask.enters("poll");
        loop {
            match table.poll(session, |output| basket.take(output, scope)) {
                Ok(Some(Ok(()))) => {}
                Ok(Some(Err(what))) => return Err(Broke::Did(format!("yields {what}"))),
                Ok(None) => break,
                Err(Failed { text, .. }) => return Err(Broke::Did(text)),
            }
        }
        if let Err(Failed { text, .. }) = handled {
            return Err(Broke::Says(text));
        }
        ask.enters("next_timeout");
        table.next_timeout(session).map_err(|Failed { text, .. }| Broke::Did(text))
    }

    /// Opens the session where it is not open yet.
    #[allow(unsafe_code)]
    fn open(&mut self, ask: &Ask) -> Result<(), Broke> {
        if let Some(request) = self.request.take() {
            ask.enters("create");
            let host = self.desk.raw();
            let created = self.config.lend(|config| {
                // SAFETY: what the host's functions are handed is the desk, which stays until the session was destroyed.
                lend_request(&request, |request| unsafe { self.table.create(config, &host, request) })
            });
            match created {
                Ok(session) => self.session = Some(session),
                Err(Failed { text, .. }) => return Err(Broke::Did(format!("opens no session: {text}"))),
            }
        }
        Ok(())
    }

    fn destroy(mut self) {
        if let Some(session) = self.session.take() {
            self.table.destroy(session);
        }
    }
}

/// All of the set; `None` where it is too large.
fn copy_of(local: &dyn SetView) -> Option<Arc<VecSet>> {
    let count = local.count(KeyRange::ALL);
    if count > MAX_ITEMS {
        return None;
    }
    let mut items: Vec<ItemKey> = Vec::with_capacity(count as usize);
    local.items(KeyRange::ALL, &mut |item| {
        items.push(item);
        std::ops::ControlFlow::Continue(())
    });
    Some(Arc::new(items.into_iter().collect()))
}
