//! Sessions: strategies at work on one filter each, and the fallback from one to the next.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use nostr::event::EventId;
use nostr::filter::Filter;

use super::machine::{RelayLink, Sub, SubTarget};
use super::part::{Part, Stage, Wanted};
use super::{LinkNotice, LinkOutput, wire};
use crate::model::{BatchId, FailureReason, Fallback, RelayUrl};
use crate::response::Meaning;
use crate::store::LocalSets;
use crate::strategy::{
    Direction, Input, ItemKey, KeyRange, Message, Output, ProtocolError, SessionOutcome, SessionRequest, SetView,
    SubId, Suitability, SyncSession, Window,
};
use crate::time::{MonoMillis, Now};

/// Ids that may wait to be fetched or uploaded before a session's next message is held back.
const MAX_BACKLOG: usize = 8_192;
/// Times that a strategy is tried on one filter before the next one's turn.
const MAX_ATTEMPTS: u32 = 2;
/// Times that a session is put off because the relay wants less at once, before that counts as a failure.
const MAX_PUT_OFF: u32 = 8;
/// Pause before a session is tried again, milliseconds.
const RETRY_MS: u64 = 2_000;

/// A session at work.
pub(super) struct Running {
    pub(super) batch: BatchId,
    pub(super) part: usize,
    /// Index into the link's strategies.
    pub(super) strategy: usize,
    pub(super) session: Box<dyn SyncSession>,
    filter: Filter,
    window: Window,
    pub(super) wires: BTreeMap<SubId, String>,
    /// Messages that wait for the budget, for the backlog to shrink or for a cool-down to end, in order.
    held: VecDeque<Message>,
    /// Since when it waits for us and not for the relay: its time stands still.
    stands_since: Option<MonoMillis>,
    /// How long its time has stood still before, milliseconds.
    stood_ms: u64,
    pub(super) rounds: u64,
}

impl Running {
    /// Whether the next move is ours. One that has another question open waits for the relay all the same.
    fn waits_for_us(&self) -> bool {
        match self.held.front() {
            Some(Message::NegMsg { .. }) => true,
            Some(Message::Req { .. } | Message::NegOpen { .. }) => self.wires.is_empty(),
            Some(Message::Close { .. } | Message::NegClose { .. }) | None => false,
        }
    }

    /// Stops or starts its time.
    fn set_time(&mut self, now: Now) {
        match (self.waits_for_us(), self.stands_since) {
            (true, None) => self.stands_since = Some(now.mono_ms),
            (false, Some(since)) => {
                self.stood_ms += now.mono_ms.saturating_sub(since);
                self.stands_since = None;
            }
            _ => {}
        }
    }

    /// What its clock shows.
    fn time(&self, now: Now) -> Now {
        let mono_ms = self.stands_since.unwrap_or(now.mono_ms).saturating_sub(self.stood_ms);
        Now { mono_ms, ..now }
    }

    /// When its deadline passes, by our clock.
    pub(super) fn deadline(&self) -> Option<(MonoMillis, &'static str)> {
        let (at, what) = self.session.next_timeout().filter(|_| self.stands_since.is_none())?;
        Some((at.saturating_add(self.stood_ms), what))
    }
}

/// The local set, read from the store only when the strategy asks.
struct LazyView<'a> {
    local: &'a dyn LocalSets,
    filter: &'a Filter,
    window: Window,
    relay: &'a RelayUrl,
}

impl LazyView<'_> {
    fn view(&self) -> Box<dyn SetView + '_> {
        self.local.view(self.filter, self.window, self.relay)
    }
}

impl SetView for LazyView<'_> {
    fn count(&self, range: KeyRange) -> u64 {
        self.view().count(range)
    }

    fn fingerprint(&self, range: KeyRange) -> [u8; 16] {
        self.view().fingerprint(range)
    }

    fn items(&self, range: KeyRange, visit: &mut dyn FnMut(ItemKey) -> ControlFlow<()>) {
        self.view().items(range, visit);
    }

    fn split(&self, range: KeyRange, parts: usize) -> Vec<ItemKey> {
        self.view().split(range, parts)
    }
}

impl RelayLink {
    /// Opens sessions for the parts whose turn it is, as far as budget and strategies allow.
    pub(super) fn start_sessions(&mut self, local: &dyn LocalSets, now: Now) {
        let batches: Vec<BatchId> = self.batches.keys().copied().collect();
        for batch in batches {
            let parts = self.batches.get(&batch).map_or(0, |carried| carried.parts.len());
            for part in 0..parts {
                if self.probing.is_some() || self.sessions.len() >= self.max_sessions {
                    return;
                }
                let waiting = self
                    .part((batch, part))
                    .is_some_and(|part| part.stage == Stage::Waiting && part.not_before <= now.mono_ms);
                if waiting && self.start_session(batch, part, local, now).is_break() {
                    return;
                }
            }
        }
    }

    /// `Break` where nothing further may start before something else has ended.
    fn start_session(&mut self, batch: BatchId, at: usize, local: &dyn LocalSets, now: Now) -> ControlFlow<()> {
        let Some(strategy) = self.next_strategy(batch, at) else { return ControlFlow::Continue(()) };
        let chosen = Arc::clone(&self.config.strategies[strategy]);
        let alone = chosen.descriptor().probes_alone && !self.proven.contains(&strategy);
        let busy = !self.sessions.is_empty() || !self.fetches.is_empty() || !self.uploads.is_empty();
        // Sessions leave a place for what they need to be fetched.
        let room = self.free_subs() > usize::from(!self.sessions.is_empty());
        if (alone && busy) || self.sessions.len() >= chosen.hints().concurrency.max(1) || !room {
            return ControlFlow::Break(());
        }
        let (profile, seed) = (self.config.profile.clone(), self.jitter.next_u64());
        let remembered = self.remembered.get(&strategy).cloned().unwrap_or_default();
        let (id, proven) = (self.next_session, self.proven.contains(&strategy));
        let Some(carried) = self.batches.get_mut(&batch) else { return ControlFlow::Continue(()) };
        let (begun, until, part) = (carried.begun, carried.until, &mut carried.parts[at]);
        let since = part.filter.since.map_or(0, |since| since.as_secs());
        // What was published while the batch was on its way is not missing: a verification round leaves it out.
        let until = if part.verifications > 0 { begun.max(since) } else { until };
        let window = Window { since, until: part.filter.until.map_or(until, |asked| asked.as_secs().min(until)) };
        let mut filter = part.filter.clone();
        (filter.since, filter.until, filter.limit) = (None, None, None);
        // A verification round looks for what is missing here; uploads were offered before it.
        let direction = if part.verifications > 0 { Direction::Down } else { self.config.direction };
        part.stage = Stage::Running(id);
        part.fresh_needs = 0;
        let session = chosen.open(SessionRequest {
            filter: filter.clone(),
            window,
            drained: Vec::new(),
            remembered,
            profile,
            direction,
            proven,
            seed,
        });
        let name = chosen.descriptor().name.clone();
        if !carried.methods.contains(&name) {
            carried.methods.push(name.clone());
        }
        self.next_session += 1;
        if alone {
            self.probing = Some(id);
        }
        self.out.push_back(LinkOutput::Notice(LinkNotice::SessionStarted {
            batch,
            session: id,
            strategy: name.to_string(),
            filter: wire::filter_text(&filter, 300),
            window,
        }));
        let running = Running {
            batch,
            part: at,
            strategy,
            session,
            filter,
            window,
            wires: BTreeMap::new(),
            held: VecDeque::new(),
            stands_since: None,
            stood_ms: 0,
            rounds: 0,
        };
        self.sessions.insert(id, running);
        self.drive(id, Input::Start, local, now);
        ControlFlow::Continue(())
    }

    /// The strategy whose turn it is for a part; ends the part where none is left.
    fn next_strategy(&mut self, batch: BatchId, at: usize) -> Option<usize> {
        loop {
            let carried = self.batches.get_mut(&batch)?;
            let part = carried.parts.get_mut(at)?;
            let Some(strategy) = carried.order.get(part.strategy).copied() else {
                if part.failures.is_empty() {
                    part.fail(FailureReason::Unsupported, "no strategy is left that this relay supports");
                }
                part.finish();
                self.touch();
                return None;
            };
            if self.unsupported.contains(&strategy) {
                part.strategy += 1;
                continue;
            }
            let filter = part.filter.clone();
            match self.config.strategies[strategy].suits(&self.config.profile, &filter) {
                Suitability::Suits => return Some(strategy),
                Suitability::No(reason) => self.fall_back(batch, at, strategy, &reason, false),
            }
        }
    }

    /// Passes a part to the next strategy.
    fn fall_back(&mut self, batch: BatchId, at: usize, strategy: usize, reason: &str, first: bool) {
        let Some(carried) = self.batches.get_mut(&batch) else { return };
        let part = &mut carried.parts[at];
        part.strategy += 1;
        part.attempts = 0;
        part.verifications = 0;
        part.not_before = 0;
        part.stage = Stage::Waiting;
        let to = carried.order[part.strategy.min(carried.order.len())..]
            .iter()
            .find(|next| !self.unsupported.contains(next))
            .map(|next| self.config.strategies[*next].descriptor().name.to_string())
            .unwrap_or_default();
        let from = self.config.strategies[strategy].descriptor().name.to_string();
        let fallback = Fallback { from: from.clone(), to: to.clone(), reason: reason.to_owned() };
        if !carried.fallbacks.contains(&fallback) {
            carried.fallbacks.push(fallback);
        }
        let notice = LinkNotice::FellBack { batch, from, to, reason: reason.to_owned(), first };
        self.out.push_back(LinkOutput::Notice(notice));
        self.touch();
    }

    /// Gives a session an input and carries out what it yields.
    pub(super) fn drive(&mut self, id: u64, input: Input<'_>, local: &dyn LocalSets, now: Now) {
        let Some(running) = self.sessions.get_mut(&id) else { return };
        let view = LazyView { local, filter: &running.filter, window: running.window, relay: &self.config.relay };
        let time = running.time(now);
        let result = running.session.handle(input, &view, time);
        let owner = (running.batch, running.part);
        let strategy = running.strategy;
        let mut outcome = None;
        while let Some(output) = self.sessions.get_mut(&id).and_then(|running| running.session.poll()) {
            match output {
                Output::Send(message) => {
                    if let Some(running) = self.sessions.get_mut(&id) {
                        running.held.push_back(message);
                    }
                }
                Output::Need { ids, .. } => self.needs(owner, ids),
                Output::Have(ids) => {
                    if let Some(carried) = self.batches.get_mut(&owner.0) {
                        carried.counts.have += ids.len() as u64;
                        if self.config.direction.up() && !self.config.dry_run {
                            carried.parts[owner.1].offers.extend(ids);
                        }
                    }
                }
                Output::Drained(_) | Output::Shared { .. } | Output::Dense { .. } => {}
                Output::Remember(bytes) => {
                    self.remembered.insert(strategy, bytes);
                }
                Output::Progress { .. } => {
                    if let Some(running) = self.sessions.get_mut(&id) {
                        running.rounds += 1;
                    }
                    if let Some(carried) = self.batches.get_mut(&owner.0) {
                        carried.counts.rounds += 1;
                    }
                }
                Output::Done(done) => outcome = Some(done),
            }
        }
        if let Err(ProtocolError(text)) = result {
            outcome.get_or_insert(SessionOutcome::Failed { reason: FailureReason::Protocol, text });
        }
        self.send_held_of(id, now);
        if let Some(outcome) = outcome {
            self.session_done(id, outcome, now);
        }
    }

    fn needs(&mut self, owner: (BatchId, usize), ids: Vec<EventId>) {
        let fetches = self.config.direction.down() && !self.config.dry_run;
        let Some(carried) = self.batches.get_mut(&owner.0) else { return };
        let part = &mut carried.parts[owner.1];
        for id in ids {
            if part.is_accounted(&id) {
                continue;
            }
            part.fresh_needs += 1;
            carried.counts.need += 1;
            if fetches {
                part.wanted.push_back(Wanted { id, last: false });
            }
        }
    }

    /// Sends what sessions hold back, as far as the budget allows.
    pub(super) fn send_held(&mut self, now: Now) {
        let holding: Vec<u64> =
            self.sessions.iter().filter(|(_, running)| !running.held.is_empty()).map(|(id, _)| *id).collect();
        for id in holding {
            self.send_held_of(id, now);
        }
    }

    fn send_held_of(&mut self, id: u64, now: Now) {
        self.send_what_may_go(id, now);
        if let Some(running) = self.sessions.get_mut(&id) {
            running.set_time(now);
        }
    }

    fn send_what_may_go(&mut self, id: u64, now: Now) {
        while let Some(running) = self.sessions.get_mut(&id) {
            let (batch, owner) = (Some(running.batch), (running.batch, running.part));
            let quiet = self.quiet_until > now.mono_ms;
            let waits = match running.held.front() {
                None => return,
                Some(Message::Req { .. } | Message::NegOpen { .. }) => quiet || self.free_subs() == 0,
                // The next round waits until what the last ones brought up has been dealt with.
                Some(Message::NegMsg { .. }) => {
                    let backlog = |part: &mut Part| part.wanted.len() + part.offers.len();
                    quiet || self.part(owner).map_or(0, backlog) > MAX_BACKLOG
                }
                Some(Message::Close { .. } | Message::NegClose { .. }) => false,
            };
            if waits {
                return;
            }
            let Some(running) = self.sessions.get_mut(&id) else { return };
            let Some(message) = running.held.pop_front() else { return };
            match message {
                Message::Req { sub, filter } => {
                    let mut asked = (*filter).clone();
                    asked.limit = None;
                    let wire = self.open_session_sub(id, sub, asked, false);
                    self.send(wire::req(&wire, std::slice::from_ref(&*filter)), batch);
                }
                Message::NegOpen { sub, filter, payload } => {
                    let wire = self.open_session_sub(id, sub, (*filter).clone(), true);
                    self.send(wire::neg_open(&wire, &filter, &payload), batch);
                }
                Message::NegMsg { sub, payload } => {
                    if let Some(wire) = running.wires.get(&sub).cloned() {
                        self.send(wire::neg_msg(&wire, &payload), batch);
                    }
                }
                Message::Close { sub } | Message::NegClose { sub } => {
                    if let Some(wire) = running.wires.remove(&sub) {
                        self.close_sub(&wire);
                    }
                }
            }
        }
    }

    fn open_session_sub(&mut self, session: u64, sub: SubId, filter: Filter, neg: bool) -> String {
        let batch = self.sessions.get(&session).map(|running| running.batch);
        let target = SubTarget::Session { session, sub, neg };
        let wire = self.open_sub(if neg { 'n' } else { 'r' }, Sub { target, filters: Arc::new([filter]), batch });
        if let Some(running) = self.sessions.get_mut(&session)
            && let Some(reused) = running.wires.insert(sub, wire.clone())
        {
            self.close_sub(&reused);
        }
        wire
    }

    /// Takes a session away and closes what it has open.
    pub(super) fn end_session(&mut self, id: u64) -> Option<Running> {
        let mut running = self.sessions.remove(&id)?;
        for wire in std::mem::take(&mut running.wires).into_values() {
            self.close_sub(&wire);
        }
        if self.probing == Some(id) {
            self.probing = None;
        }
        self.touch();
        Some(running)
    }

    pub(super) fn session_done(&mut self, id: u64, outcome: SessionOutcome, now: Now) {
        let Some(running) = self.end_session(id) else { return };
        let Running { batch, part: at, strategy, rounds, .. } = running;
        let told = match &outcome {
            SessionOutcome::Complete => "complete".to_owned(),
            SessionOutcome::Incomplete { text, .. } => format!("incomplete: {text}"),
            SessionOutcome::TooBig { text, .. } => format!("too big: {text}"),
            SessionOutcome::Unsupported { text } => format!("unsupported: {text}"),
            SessionOutcome::Failed { text, .. } => format!("failed: {text}"),
        };
        let ended = LinkNotice::SessionEnded { batch, session: id, rounds, outcome: told };
        self.out.push_back(LinkOutput::Notice(ended));
        let cooling = self.quiet_until;
        let Some(part) = self.part((batch, at)) else { return };
        match outcome {
            SessionOutcome::Complete => part.stage = Stage::Settling,
            SessionOutcome::Incomplete { reason, text } => {
                part.fail(reason, text);
                part.stage = Stage::Settling;
            }
            SessionOutcome::Unsupported { text } => {
                let first = self.unsupported.insert(strategy);
                if !self.has_next(batch, at) {
                    self.give_up(batch, at, FailureReason::Unsupported, &text);
                }
                self.fall_back(batch, at, strategy, &text, first);
            }
            SessionOutcome::TooBig { cap, text } => {
                if !self.has_next(batch, at) {
                    self.give_up(batch, at, FailureReason::TooBig { cap }, &text);
                }
                self.fall_back(batch, at, strategy, &text, false);
            }
            SessionOutcome::Failed { reason, text } => {
                part.attempts += 1;
                let attempts = part.attempts;
                // Being asked for less at once says nothing about the strategy.
                let too_many = is_refusal(&reason, Meaning::TooManyAtOnce);
                let put_off = too_many || is_refusal(&reason, Meaning::RateLimited);
                if attempts < if put_off { MAX_PUT_OFF } else { MAX_ATTEMPTS } {
                    part.stage = Stage::Waiting;
                    part.not_before = now.mono_ms + RETRY_MS;
                    if put_off {
                        part.not_before = part.not_before.max(cooling);
                        self.max_sessions = self.sessions.len().max(1);
                    }
                    // Reconciliations are counted by themselves (WIRE.md).
                    if too_many && !self.config.strategies[strategy].descriptor().compares_sets {
                        self.shrink(self.subs.len(), now);
                    }
                } else {
                    if !self.has_next(batch, at) {
                        self.give_up(batch, at, reason, &text);
                    }
                    self.fall_back(batch, at, strategy, &text, false);
                }
            }
        }
    }

    fn has_next(&self, batch: BatchId, at: usize) -> bool {
        self.batches.get(&batch).is_some_and(|carried| {
            carried.order[(carried.parts[at].strategy + 1).min(carried.order.len())..]
                .iter()
                .any(|next| !self.unsupported.contains(next))
        })
    }

    /// Takes note of why the last strategy failed; the part ends when its turn comes round with none left.
    fn give_up(&mut self, batch: BatchId, at: usize, reason: FailureReason, text: &str) {
        if let Some(part) = self.part((batch, at)) {
            part.fail(reason, text);
        }
    }
}

fn is_refusal(reason: &FailureReason, meaning: Meaning) -> bool {
    matches!(reason, FailureReason::Refused { prefix } if prefix == meaning.as_str())
}
