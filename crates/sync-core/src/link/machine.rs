//! The link itself: its state, its entrances, and where each frame goes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use nostr::event::EventId;
use nostr::filter::Filter;
use nostr::key::Keys;

use super::auth::Auth;
use super::fetch::{Fetch, FetchEnd};
use super::inbox::{Arrived, Inbox};
use super::live::Live;
use super::memory::RelayMemory;
use super::narrow;
use super::part::dense_text;
use super::part::{Carried, Part};
use super::piece::{At, Piece, Stage};
use super::probe::Probe;
use super::publish::Publishing;
use super::questions::{Open, Questions};
use super::running::Running;
use super::silence::Silence;
use super::upload::Upload;
use super::verdicts::Owner;
use super::wire::{self, RelayFrame};
use super::{AnswerEnd, CheckJob, Checked, LinkCommand, LinkNotice, LinkOutput, LiveKey, Token};
use crate::model::{BatchId, FailureReason, RelayUrl};
use crate::response::{Meaning, SaidIn, classify};
use crate::store::LocalSets;
use crate::strategy::{Direction, RelayProfile, StrategyOrder, SubId, Window};
use crate::time::{Jitter, MonoMillis, Now};

/// What an id costs that is held, with what is kept beside it.
const HELD_BYTES: usize = 128;
/// Requests by id in flight.
pub(super) const MAX_FETCHES: usize = 6;

/// What a link needs to know.
#[derive(Clone)]
pub struct LinkConfig {
    /// The relay.
    pub relay: RelayUrl,
    /// What it says of itself.
    pub profile: RelayProfile,
    /// Strategies in order of preference.
    pub strategies: StrategyOrder,
    /// Which way batches move events.
    pub direction: Direction,
    /// Compare only: nothing is fetched, stored or uploaded.
    pub dry_run: bool,
    /// How long nothing is asked after the relay spoke of rate limits, milliseconds. Default 65,000 (SPEC §12).
    pub rate_limit_cooldown_ms: u64,
    /// Events dated further ahead than this aren't asked for, seconds (`limits.max_future`).
    pub max_future_s: u64,
    /// The service's keys, for relays that ask who we are (NIP-42).
    pub keys: Option<Keys>,
    /// What is remembered of the relay.
    pub memory: RelayMemory,
    /// For sessions that want to look random.
    pub seed: u64,
}

/// What a wire id stands for.
#[derive(Debug, Clone)]
pub(super) struct Sub {
    pub(super) target: SubTarget,
    /// What an event that comes by it must match.
    pub(super) filters: Arc<[Filter]>,
    /// The batch that its bytes are counted for.
    pub(super) batch: Option<BatchId>,
    /// What of a session's questions is open on it.
    pub(super) question: Option<Open>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SubTarget {
    Live(LiveKey),
    Session { session: u64, sub: SubId, neg: bool },
    Fetch(u64),
    Probe(u64),
}

/// One connection. Feed it by [`command`](Self::command), [`frame`](Self::frame), [`checked`](Self::checked),
/// [`settled`](Self::settled), [`timeout`](Self::timeout) and [`lost`](Self::lost); drain [`poll`](Self::poll) after each.
///
/// Cost: a frame takes time that doesn't depend on how many events came before; what is held grows with the
/// requests in flight, which are bounded, and with the ids of one reconciliation message.
pub struct RelayLink {
    pub(super) config: LinkConfig,
    pub(super) out: VecDeque<LinkOutput>,
    pub(super) inbox: Inbox,
    /// Jobs whose fate (check or commit) is open, by who waits for them.
    pub(super) owners: HashMap<Token, Owner>,
    pub(super) subs: HashMap<String, Sub>,
    pub(super) next_wire: u64,
    pub(super) live: BTreeMap<LiveKey, Live>,
    /// Live subscriptions that were replaced, and stay open until those that replace them are.
    pub(super) outlived: Vec<String>,
    /// The number of the newest subscription that the relay answered in any way.
    pub(super) heard_upto: u64,
    pub(super) batches: BTreeMap<BatchId, Carried>,
    pub(super) sessions: BTreeMap<u64, Running>,
    pub(super) next_session: u64,
    pub(super) questions: Questions,
    pub(super) fetches: BTreeMap<u64, Fetch>,
    pub(super) next_fetch: u64,
    pub(super) uploads: BTreeMap<EventId, Upload>,
    pub(super) publishing: Publishing,
    /// Strategies that turned out unsupported on this connection.
    pub(super) unsupported: BTreeSet<usize>,
    /// Strategies that were answered on this connection.
    pub(super) proven: BTreeSet<usize>,
    /// The most records that each strategy has compared here with nothing left out.
    pub(super) compared: BTreeMap<usize, u64>,
    /// The session that asks alone.
    pub(super) probing: Option<u64>,
    pub(super) memory: RelayMemory,
    pub(super) probes: BTreeMap<u64, Probe>,
    /// Ids that no other connection is to ask for meanwhile.
    pub(super) claimed: HashSet<EventId>,
    /// When ids that another connection is asking for are asked for here all the same.
    pub(super) parked_until: Option<MonoMillis>,
    /// When coverage was last told.
    pub(super) told_at: MonoMillis,
    /// Windows ended since.
    pub(super) to_tell: BTreeSet<BatchId>,
    /// The budget: subscriptions of any kind at once.
    pub(super) max_subs: usize,
    pub(super) max_sessions: usize,
    pub(super) fetch_chunk: usize,
    /// Nothing is asked before this moment.
    pub(super) quiet_until: MonoMillis,
    /// When the relay last spoke of rate limits.
    pub(super) limited_at: Option<MonoMillis>,
    pub(super) jitter: Jitter,
    pub(super) auth: Auth,
    pub(super) silence: Silence,
    /// Events and frames of no use, and good events.
    pub(super) bad: u64,
    pub(super) good: u64,
    /// The shell was told to close.
    pub(super) closing: bool,
    pub(super) dirty: bool,
}

impl RelayLink {
    /// A link over a connection that has just opened.
    pub fn new(mut config: LinkConfig) -> Self {
        let max_subs = config.profile.assumed_max_subscriptions().clamp(1, 1_000);
        Self {
            jitter: Jitter::new(config.seed),
            out: VecDeque::new(),
            inbox: Inbox::default(),
            owners: HashMap::new(),
            subs: HashMap::new(),
            next_wire: 0,
            live: BTreeMap::new(),
            outlived: Vec::new(),
            heard_upto: 0,
            batches: BTreeMap::new(),
            sessions: BTreeMap::new(),
            next_session: 1,
            questions: Questions::default(),
            fetches: BTreeMap::new(),
            next_fetch: 1,
            uploads: BTreeMap::new(),
            publishing: Publishing::default(),
            unsupported: BTreeSet::new(),
            proven: BTreeSet::new(),
            compared: BTreeMap::new(),
            probing: None,
            memory: std::mem::take(&mut config.memory),
            probes: BTreeMap::new(),
            claimed: HashSet::new(),
            parked_until: None,
            told_at: 0,
            to_tell: BTreeSet::new(),
            config,
            max_subs,
            max_sessions: usize::MAX,
            fetch_chunk: usize::MAX,
            quiet_until: 0,
            limited_at: None,
            auth: Auth::default(),
            silence: Silence::default(),
            bad: 0,
            good: 0,
            closing: false,
            dirty: false,
        }
    }

    /// Does what the manager asks.
    pub fn command(&mut self, command: LinkCommand, local: &dyn LocalSets, now: Now) {
        match command {
            LinkCommand::Live(wanted) => self.set_live(wanted, now),
            LinkCommand::Batch(request) => self.begin(request, local, now),
            LinkCommand::Cancel(batch) => self.drop_batch(batch, local),
            LinkCommand::Retry => self.live_again(now),
        }
        self.pump(local, now);
    }

    /// Takes a frame from the relay.
    pub fn frame(&mut self, text: String, local: &dyn LocalSets, now: Now) {
        self.hears(now);
        match RelayFrame::parse(&text) {
            Some(RelayFrame::Event { sub, json }) => {
                let Some(known) = self.subs.get_mut(&*sub) else { return };
                let (filters, target, batch) = (Arc::clone(&known.filters), known.target, known.batch);
                let question = known.question.as_mut().map(|open| {
                    open.received();
                    open.number
                });
                let (wire, owner) = (sub.into_owned(), self.owner_of(target));
                if let Some(carried) = batch.and_then(|batch| self.batches.get_mut(&batch)) {
                    carried.counts.bytes_down += text.len() as u64;
                    carried.counts.received += 1;
                }
                let job_json = json.get().to_owned();
                let token = self.inbox.push(Arrived::Event { wire, checked: None });
                let store = matches!(owner, Some(Owner::Live(_))) || self.stores();
                self.owners.extend(owner.map(|owner| (token, owner)));
                if let Some(Owner::Piece { at, .. }) = owner
                    && let Some(piece) = self.piece(at)
                {
                    piece.outstanding.insert(token, None);
                }
                self.out.push_back(LinkOutput::Check(CheckJob {
                    token,
                    json: job_json,
                    filters,
                    store,
                    batch,
                    question,
                }));
            }
            _ if !self.inbox.is_empty() => {
                self.inbox.push(Arrived::Frame(text));
            }
            _ => {
                self.act_on(&text, local, now);
                self.pump(local, now);
            }
        }
    }

    /// Takes what the checks said of a job.
    pub fn checked(&mut self, answer: Checked, local: &dyn LocalSets, now: Now) {
        self.inbox.answer(answer);
        while let Some(arrived) = self.inbox.pop() {
            match arrived {
                Arrived::Event { wire, checked: Some(checked) } => self.on_event(&wire, checked, local, now),
                Arrived::Event { checked: None, .. } => {}
                Arrived::Frame(text) => self.act_on(&text, local, now),
            }
        }
        self.pump_if_dirty(local, now);
    }

    /// To be called when the moment of [`next_timeout`](Self::next_timeout) has come.
    pub fn timeout(&mut self, local: &dyn LocalSets, now: Now) {
        self.session_timeouts(local, now);
        self.request_timeouts(local, now);
        self.upload_timeouts(now);
        self.publish_timeouts(now);
        self.probe_timeouts(now);
        self.parked_due(now);
        self.retries_due(now);
        self.auth_timeout(now);
        self.live_settled(now);
        self.live_in_time(now);
        self.pump(local, now);
        self.silence_ends(now);
    }

    /// The connection is gone; give all open jobs' answers before. Every batch ends in a report.
    pub fn lost(&mut self, reason: &str, local: &dyn LocalSets, now: Now) {
        self.tell_heard();
        // What the sessions have drained by then is settled; what they want remembered is kept.
        let sessions: Vec<u64> = self.sessions.keys().copied().collect();
        sessions.into_iter().for_each(|session| self.last_words(session, local, now));
        self.claim_drained(now);
        let relay = self.config.relay.clone();
        for (_, mut carried) in std::mem::take(&mut self.batches) {
            for part in carried.parts.iter_mut().filter(|part| !part.is_done()) {
                let open_second = |(second, shown): (&u64, &u64)| {
                    let open = !part.covered.iter().any(|window| window.contains(*second));
                    open.then(|| dense_text(*second, *shown, narrow::count(&part.filter, *second, &relay, local)))
                };
                let dense: Vec<String> = part.dense.iter().filter_map(open_second).collect();
                let reason = [vec![reason.to_owned()], dense].concat().join("; ");
                let open = part.window.without(part.covered.iter().copied());
                let window = open.first().zip(open.last()).map(|(a, b)| Window { since: a.since, until: b.until });
                part.fail(window, FailureReason::ConnectionLost, reason);
            }
            self.report(carried, local);
        }
        let claimed: Vec<EventId> = std::mem::take(&mut self.claimed).into_iter().collect();
        local.release(&claimed);
        self.sessions.clear();
        self.fetches.clear();
        self.probes.clear();
        self.uploads.clear();
        self.publishing_lost();
        self.subs.clear();
        self.owners.clear();
        self.live.clear();
        self.outlived.clear();
        self.out.retain(|output| !matches!(output, LinkOutput::Send(_) | LinkOutput::Check(_)));
        self.memory.settle_ahead();
        self.persist();
    }

    /// The next output. Drain until `None` after each call that takes an input.
    pub fn poll(&mut self) -> Option<LinkOutput> {
        self.out.pop_front()
    }

    /// When to call [`timeout`](Self::timeout), and what for. Changes by any input.
    pub fn next_timeout(&self) -> Option<(MonoMillis, &'static str)> {
        let sessions = self.sessions.values().filter_map(Running::deadline);
        let fetches = self.fetches.values().map(|fetch| (fetch.deadline, "request by id"));
        let uploads = self.uploads.values().map(|upload| (upload.deadline, "upload"));
        let published = self.publish_deadline().map(|at| (at, "word on what was published"));
        let live = self.live_deadline().map(|at| (at.max(self.quiet_until), "live subscription"));
        let quiet = (self.quiet_until > 0).then_some((self.quiet_until, "cool-down"));
        let probes = self.probes.values().map(|probe| (probe.deadline, "probe"));
        let parked = self.parked_until.map(|at| (at, "ids that others ask for"));
        let waiting = self
            .batches
            .values()
            .flat_map(|carried| &carried.parts)
            .flat_map(|part| part.pieces.values())
            .filter(|piece| piece.stage == Stage::Waiting && piece.not_before > 0)
            .map(|piece| (piece.not_before, "retry"));
        let requests = sessions.chain(fetches).chain(probes).chain(uploads);
        let auth = self.auth_deadline().map(|at| (at, "word on our authentication"));
        let silent = self.silent_until().map(|at| (at, "anything at all"));
        requests.chain(silent).chain(published).chain(parked).chain(auth).chain(live).chain(quiet).chain(waiting).min()
    }

    /// Frames and events that wait for checks: the shell stops reading where it grows.
    pub fn backlog(&self) -> usize {
        self.inbox.len()
    }

    /// Bytes of frames that wait for checks, events aside: their bytes are the shell's to count.
    pub fn backlog_bytes(&self) -> usize {
        self.inbox.bytes()
    }

    /// What the relay makes us hold, in bytes: frames that wait, and ids that are asked for, waited for or remembered as
    /// accounted for, at 128 bytes each. Events under check are the shell's to count.
    ///
    /// Bounded by what a part of a batch may remember, and by the pieces, sessions and requests that may be under way at
    /// once. Cost: the parts under way, not what they hold.
    pub fn held_bytes(&self) -> usize {
        let parts = self.batches.values().flat_map(|carried| &carried.parts).map(Part::held);
        let fetches = self.fetches.values().map(|fetch| fetch.open.len());
        let held = parts.chain(fetches).sum::<usize>() + self.owners.len() + self.claimed.len() + self.uploads.len();
        self.inbox.bytes() + held * HELD_BYTES
    }

    /// Whether a batch is under way.
    pub fn is_busy(&self) -> bool {
        !self.batches.is_empty()
    }

    pub(super) fn part(&mut self, at: At) -> Option<&mut Part> {
        self.batches.get_mut(&at.batch)?.parts.get_mut(at.part)
    }

    pub(super) fn piece(&mut self, at: At) -> Option<&mut Piece> {
        self.part(at)?.pieces.get_mut(&at.piece)
    }

    /// Every piece that is worked on.
    pub(super) fn places(&self) -> Vec<At> {
        let parts = self.batches.iter().flat_map(|(batch, carried)| {
            carried.parts.iter().enumerate().map(move |(part, carried)| (*batch, part, carried))
        });
        parts
            .flat_map(|(batch, part, carried)| {
                carried.pieces.keys().map(move |piece| At { batch, part, piece: *piece })
            })
            .collect()
    }

    /// A frame whose turn has come.
    fn act_on(&mut self, text: &str, local: &dyn LocalSets, now: Now) {
        let Some(frame) = RelayFrame::parse(text) else {
            self.out.push_back(LinkOutput::Notice(LinkNotice::Garbage));
            self.rubbish("can't be read");
            return;
        };
        let bytes = text.len() as u64;
        match frame {
            RelayFrame::Event { .. } | RelayFrame::Other => {}
            RelayFrame::Eose { sub, finished } => match self.answer_counted(&sub, bytes, AnswerEnd::Whole) {
                Some(SubTarget::Live(key)) => self.live_heard(&sub, key),
                Some(SubTarget::Session { session, sub, .. }) => self.session_eose(session, sub, finished, local, now),
                Some(SubTarget::Fetch(fetch)) => self.fetch_ended(fetch, FetchEnd::Eose, local, now),
                Some(SubTarget::Probe(probe)) => self.probe_ended(probe, FetchEnd::Eose, now),
                None => {}
            },
            RelayFrame::Closed { sub, text } => {
                let said = classify(SaidIn::Closed, &text, None);
                let (target, wire) = (self.answer_counted(&sub, bytes, AnswerEnd::Broken(said.text.clone())), sub);
                self.subs.remove(&*wire);
                self.heed(&said, now);
                match target {
                    Some(SubTarget::Live(key)) => self.live_closed(&wire, key, &said, now),
                    Some(SubTarget::Session { session, sub, .. }) => {
                        self.session_closed(session, sub, &said, local, now)
                    }
                    Some(SubTarget::Fetch(fetch)) => self.fetch_ended(fetch, FetchEnd::Said(&said), local, now),
                    Some(SubTarget::Probe(probe)) => self.probe_ended(probe, FetchEnd::Said(&said), now),
                    None => {}
                }
            }
            RelayFrame::NegMsg { sub, payload } => {
                let target = self.answer_counted(&sub, bytes, AnswerEnd::Whole);
                if let Some(SubTarget::Session { session, sub, neg: true }) = target {
                    self.session_neg_msg(session, sub, wire::unhex(&payload), local, now);
                }
            }
            RelayFrame::NegErr { sub, text, cap } => {
                let said = classify(SaidIn::NegErr, &text, cap);
                let target = self.answer_counted(&sub, bytes, AnswerEnd::Broken(said.text.clone()));
                if let Some(SubTarget::Session { session, sub: number, neg: true }) = target {
                    self.subs.remove(&*sub);
                    self.heed(&said, now);
                    self.session_neg_err(session, number, &said, local, now);
                }
            }
            RelayFrame::Notice { text } => {
                let said = classify(SaidIn::Notice, &text, None);
                self.heed(&said, now);
                if said.meaning == Meaning::RateLimited {
                    self.live_unsure(&said, now);
                }
                self.on_notice(&said, local, now);
            }
            RelayFrame::Ok { id, accepted, text } => {
                if !self.auth_answered(id, accepted, &text, now) && !self.published(id, accepted, &text, now) {
                    self.upload_answered(id, accepted, &text, now);
                }
            }
            RelayFrame::Auth { challenge } => self.challenged(&challenge, now),
        }
        self.dirty = true;
    }

    pub(super) fn touch(&mut self) {
        self.dirty = true;
    }

    pub(super) fn pump_if_dirty(&mut self, local: &dyn LocalSets, now: Now) {
        if self.dirty {
            self.pump(local, now);
        }
    }

    /// Pieces whose pause is over wait for nothing but room: they need no deadline any longer.
    fn retries_due(&mut self, now: Now) {
        let parts = self.batches.values_mut().flat_map(|carried| &mut carried.parts);
        let pieces = parts.flat_map(|part| part.pieces.values_mut());
        pieces.filter(|piece| piece.not_before <= now.mono_ms).for_each(|piece| piece.not_before = 0);
    }

    /// Moves on whatever can move: live subscriptions, sessions, requests, uploads, ends of parts and batches.
    fn pump(&mut self, local: &dyn LocalSets, now: Now) {
        loop {
            self.dirty = false;
            if self.quiet_until <= now.mono_ms {
                self.quiet_until = 0;
            }
            if self.quiet_until == 0 && !self.auth_pending() {
                self.open_live(now);
                self.send_held(now);
                self.start_sessions(local, now);
                self.start_fetches(local, now);
                self.start_probes(now);
                self.start_uploads(local, now);
                self.start_publishing(now);
            }
            self.conclude(local, now);
            if !self.dirty {
                break;
            }
        }
        self.persist();
    }
}
