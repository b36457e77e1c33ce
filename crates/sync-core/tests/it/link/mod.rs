//! The link, driven frame by frame: a strategy that plays a script, a local set of ids, and checks that always pass.

mod auth;
mod batches;
mod bounds;
mod claims;
mod hostile;
mod live;
mod probing;
mod publishing;
mod questions;
mod silence;
mod transfer;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nostr::event::{Event, EventId};
use nostr::filter::Filter;
use nostr::key::{Keys, PublicKey};
use serde_json::{Value, json};
use sync_core::link::{Checked, LinkCommand, LinkConfig, LinkNotice, LinkOutput, RelayLink, RelayMemory};
use sync_core::model::{
    BatchReason, BatchReport, BatchRequest, FailureReason, Layer, PendingItems, RelayUrl, SyncMethod,
};
use sync_core::store::{IntakeOutcome, KnownEvent, LocalSets, OwnVerdict, StoreError};
use sync_core::strategy::{
    CheckVerdict, Direction, Input, Message, Output, ProtocolError, RelayProfile, SessionHints, SessionOutcome,
    SessionRequest, SetView, StrategyDescriptor, Suitability, SyncSession, SyncStrategy, VecSet, Window,
};
use sync_core::transport::Fault;
use sync_core::{MonoMillis, Now};

/// What a session of the script does at each input: the next list of outputs.
pub(crate) type Script = Vec<Vec<Output>>;

pub(crate) fn need(ids: Vec<EventId>) -> Output {
    Output::Need { ids, within: Window::ALL }
}

/// A strategy whose sessions play scripts, one after the other; the last one is played again.
pub(crate) struct Scripted {
    descriptor: StrategyDescriptor,
    hints: SessionHints,
    scripts: Mutex<VecDeque<Script>>,
    /// A session that is left alone for so long fails.
    timeout_ms: Option<u64>,
    pub(crate) opened: Mutex<Vec<SessionRequest>>,
    /// Why it suits nothing.
    unsuited: Option<String>,
    /// How often it was asked whether it suits.
    asked: AtomicUsize,
}

impl Scripted {
    pub(crate) fn new(name: &str, scripts: Vec<Script>) -> Arc<Self> {
        Self::with(name, false, false, scripts)
    }

    pub(crate) fn with(name: &str, compares_sets: bool, probes_alone: bool, scripts: Vec<Script>) -> Arc<Self> {
        Self::timed(name, compares_sets, probes_alone, scripts, None)
    }

    pub(crate) fn timed(
        name: &str,
        compares_sets: bool,
        probes_alone: bool,
        scripts: Vec<Script>,
        timeout_ms: Option<u64>,
    ) -> Arc<Self> {
        let name = SyncMethod::new(name);
        Arc::new(Self {
            descriptor: StrategyDescriptor { name, version: "1".into(), compares_sets, probes_alone },
            hints: SessionHints { concurrency: 4, fetch_chunk: 3, answer_timeout_ms: 30_000 },
            scripts: Mutex::new(scripts.into()),
            timeout_ms,
            opened: Mutex::new(Vec::new()),
            unsuited: None,
            asked: AtomicUsize::new(0),
        })
    }

    /// One that says of every filter that it doesn't suit.
    fn unsuited(name: &str, reason: &str) -> Arc<Self> {
        let mut strategy = Arc::into_inner(Self::new(name, Vec::new())).expect("nobody else has it");
        strategy.unsuited = Some(reason.to_owned());
        Arc::new(strategy)
    }
}

impl SyncStrategy for Scripted {
    fn descriptor(&self) -> &StrategyDescriptor {
        &self.descriptor
    }

    fn hints(&self) -> SessionHints {
        self.hints
    }

    fn suits(&self, _: &RelayProfile, _: &Filter) -> Suitability {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.unsuited.clone().map_or(Suitability::Suits, Suitability::No)
    }

    fn open(&self, request: SessionRequest) -> Box<dyn SyncSession> {
        self.opened.lock().expect("lock").push(request);
        let mut scripts = self.scripts.lock().expect("lock");
        let script = if scripts.len() > 1 { scripts.pop_front() } else { scripts.front().cloned() };
        Box::new(ScriptedSession {
            script: script.unwrap_or_default().into(),
            out: VecDeque::new(),
            timeout_ms: self.timeout_ms,
            deadline: None,
        })
    }
}

struct ScriptedSession {
    script: VecDeque<Vec<Output>>,
    out: VecDeque<Output>,
    timeout_ms: Option<u64>,
    deadline: Option<MonoMillis>,
}

impl SyncSession for ScriptedSession {
    fn handle(&mut self, input: Input<'_>, _: &dyn SetView, now: Now) -> Result<(), ProtocolError> {
        if let Input::Timeout = input {
            let text = "silence".to_owned();
            self.out.push_back(Output::Done(SessionOutcome::Failed { reason: FailureReason::Timeout, text }));
            return Ok(());
        }
        self.deadline = self.timeout_ms.map(|timeout| now.mono_ms + timeout);
        self.out.extend(self.script.pop_front().unwrap_or_default());
        Ok(())
    }

    fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn next_timeout(&self) -> Option<(MonoMillis, &'static str)> {
        self.deadline.map(|at| (at, "an answer"))
    }
}

/// What we have: ids, and events to upload.
#[derive(Default)]
pub(crate) struct Local {
    pub(crate) known: BTreeSet<EventId>,
    pub(crate) events: BTreeMap<EventId, Event>,
}

impl LocalSets for Local {
    fn view<'a>(&'a self, _: &Filter, _: Window, _: &RelayUrl) -> Box<dyn SetView + 'a> {
        Box::new(VecSet::default())
    }

    fn known(&self, ids: &[EventId]) -> Result<Vec<Option<KnownEvent>>, StoreError> {
        Ok(ids.iter().map(|id| self.known.contains(id).then_some(KnownEvent { created_at: 1, stored: true })).collect())
    }

    fn event(&self, id: &EventId) -> Result<Option<Event>, StoreError> {
        Ok(self.events.get(id).cloned())
    }
}

/// A link with its shell: checks pass, commits succeed, both at once unless held.
pub(crate) struct Bench {
    pub(crate) link: RelayLink,
    pub(crate) local: Local,
    pub(crate) now: Now,
    pub(crate) sent: Vec<Value>,
    pub(crate) reports: Vec<BatchReport>,
    pub(crate) notices: Vec<LinkNotice>,
    /// When the relay was heard, as told.
    pub(crate) heard: Vec<u64>,
    /// Checks that wait to be answered by [`Bench::release`].
    pub(crate) hold: Option<Vec<Checked>>,
    /// What the store says to every event, in place of taking it.
    pub(crate) store_error: Option<StoreError>,
    /// Why the link wants the connection closed.
    pub(crate) closed: Option<Fault>,
    /// What was said of what was published.
    pub(crate) verdicts: Vec<OwnVerdict>,
}

impl Bench {
    pub(crate) fn new(strategies: Vec<Arc<dyn SyncStrategy>>) -> Self {
        Self::with(strategies, RelayProfile::default(), Direction::Down)
    }

    pub(crate) fn with(strategies: Vec<Arc<dyn SyncStrategy>>, profile: RelayProfile, direction: Direction) -> Self {
        Self::known_as(None, strategies, profile, direction)
    }

    /// With keys to authenticate by.
    pub(crate) fn known_as(
        keys: Option<Keys>,
        strategies: Vec<Arc<dyn SyncStrategy>>,
        profile: RelayProfile,
        direction: Direction,
    ) -> Self {
        let link = RelayLink::new(LinkConfig {
            relay: RelayUrl::parse("wss://relay.example").expect("valid"),
            profile,
            strategies,
            direction,
            dry_run: false,
            rate_limit_cooldown_ms: 65_000,
            max_future_s: 900,
            keys,
            memory: RelayMemory::default(),
            seed: 1,
        });
        Self {
            link,
            local: Local::default(),
            now: Now { mono_ms: 1_000, unix_s: 1_700_000_000 },
            sent: Vec::new(),
            reports: Vec::new(),
            notices: Vec::new(),
            heard: Vec::new(),
            hold: None,
            store_error: None,
            closed: None,
            verdicts: Vec::new(),
        }
    }

    pub(crate) fn command(&mut self, command: LinkCommand) {
        self.link.command(command, &self.local, self.now);
        self.drain();
    }

    pub(crate) fn batch(&mut self, id: u64, filters: Vec<Filter>) {
        self.batch_of_run(id, filters, None);
    }

    /// A batch that goes on where the run that began then was.
    pub(crate) fn batch_of_run(&mut self, id: u64, filters: Vec<Filter>, run_since: Option<u64>) {
        self.command(LinkCommand::Batch(BatchRequest {
            id,
            reason: BatchReason::NewItems,
            layer: Layer::Repositories,
            filters,
            items: PendingItems::default(),
            caused_by: None,
            reads: false,
            run_since,
        }));
    }

    pub(crate) fn relay_says(&mut self, frame: Value) {
        self.raw(frame.to_string());
    }

    pub(crate) fn raw(&mut self, frame: String) {
        self.link.frame(frame, &self.local, self.now);
        self.drain();
    }

    /// Lets time pass, with every deadline on the way.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        while let Some((at, _)) = self.link.next_timeout()
            && at <= end.mono_ms
        {
            self.now = self.now.plus_ms(at.saturating_sub(self.now.mono_ms).max(1));
            self.link.timeout(&self.local, self.now);
            self.drain();
        }
        self.now = end;
    }

    pub(crate) fn release(&mut self) {
        for checked in self.hold.take().unwrap_or_default() {
            self.answer(checked);
        }
        self.drain();
    }

    fn answer(&mut self, checked: Checked) {
        self.link.checked(checked, &self.local, self.now);
        if checked.verdict == CheckVerdict::New {
            let outcome = match &self.store_error {
                Some(error) => Err(error.clone()),
                None => {
                    self.local.known.insert(checked.id);
                    Ok(IntakeOutcome::Stored)
                }
            };
            self.link.settled(checked.token, checked.id, &outcome, &self.local, self.now);
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.link.poll() {
            match output {
                LinkOutput::Send(frame) => self.sent.push(serde_json::from_str(&frame).expect("frames are JSON")),
                LinkOutput::Check(job) => {
                    let event: Value = serde_json::from_str(&job.json).expect("JSON");
                    let id = EventId::from_hex(event["id"].as_str().expect("id")).expect("hex");
                    let asked =
                        job.filters.iter().any(|filter| filter.ids.as_ref().is_none_or(|ids| ids.contains(&id)));
                    let verdict = match () {
                        () if !asked => CheckVerdict::Bad(sync_core::strategy::BadEvent::NotAsked),
                        () if self.local.known.contains(&id) => CheckVerdict::Known,
                        () => CheckVerdict::New,
                    };
                    let checked = Checked { token: job.token, id, created_at: 1, verdict };
                    match &mut self.hold {
                        Some(held) => held.push(checked),
                        None => self.answer(checked),
                    }
                }
                LinkOutput::BatchDone(report) => self.reports.push(*report),
                LinkOutput::Notice(LinkNotice::Heard { at }) => self.heard.push(at),
                LinkOutput::Notice(notice) => self.notices.push(notice),
                LinkOutput::Published(verdict) => self.verdicts.push(verdict),
                LinkOutput::Close(fault) => self.closed = Some(fault),
                LinkOutput::Persist(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// Frames sent since the last call.
    pub(crate) fn take_sent(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.sent)
    }

    /// Wire ids of the REQs among `frames` that ask by id, with the ids.
    pub(crate) fn fetches(frames: &[Value]) -> Vec<(String, Vec<String>)> {
        frames
            .iter()
            .filter(|frame| frame[0] == "REQ" && frame[2].get("ids").is_some())
            .map(|frame| {
                let ids = frame[2]["ids"].as_array().expect("ids").iter();
                (text(&frame[1]), ids.map(text).collect())
            })
            .collect()
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

pub(crate) fn id(n: u8) -> EventId {
    EventId::from_byte_array([n; 32])
}

pub(crate) fn event_frame(wire: &str, id: EventId) -> Value {
    json!(["EVENT", wire, { "id": id.to_hex() }])
}

/// An event to upload; nobody looks at its signature here.
pub(crate) fn note(n: u8) -> Event {
    let author = PublicKey::from_byte_array([1; 32]);
    let created_at = nostr::types::Timestamp::from_secs(1_000);
    let sig = nostr::event::Signature::from_byte_array([0; 64]);
    Event::new(id(n), author, created_at, nostr::event::Kind::from_u16(1), [], format!("note {n}"), sig)
}

pub(crate) fn req(sub: u32) -> Output {
    Output::Send(Message::Req { sub, filter: Box::default() })
}

pub(crate) fn neg_open(sub: u32) -> Output {
    Output::Send(Message::NegOpen { sub, filter: Box::default(), payload: vec![0x61] })
}

pub(crate) fn done() -> Output {
    Output::Done(SessionOutcome::Complete)
}

pub(crate) fn unsupported(text: &str) -> Output {
    Output::Done(SessionOutcome::Unsupported { text: text.into() })
}
