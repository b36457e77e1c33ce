//! Sessions: strategies at work on one window of one filter each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use nostr::event::EventId;
use nostr::filter::Filter;

use super::machine::{RelayLink, Sub, SubTarget};
use super::piece::{At, Dense, HAVE_SAMPLE, Piece, Span, Stage, Wanted};
use super::running::{LazyView, Running};
use super::{Asked, LinkNotice, LinkOutput, wire};
use crate::model::{BatchId, FailureReason};
use crate::store::LocalSets;
use crate::strategy::{
    Direction, Input, Message, Output, ProtocolError, SessionOutcome, SessionRequest, SubId, Suitability, Window,
};
use crate::time::Now;

/// Ids that may wait to be fetched or uploaded before a session's next message is held back.
const MAX_BACKLOG: usize = 8_192;
/// Dense seconds of one part that are told where the connection breaks.
const MAX_DENSE: usize = 256;
/// Pieces of one part that are worked on at once: beyond what sessions carry, those whose ids are being fetched.
const MAX_PIECES: usize = 16;

impl RelayLink {
    /// Opens sessions for the pieces whose turn it is, as far as budget and strategies allow.
    pub(super) fn start_sessions(&mut self, local: &dyn LocalSets, now: Now) {
        let batches: Vec<BatchId> = self.batches.keys().copied().collect();
        for batch in batches {
            let parts = self.batches.get(&batch).map_or(0, |carried| carried.parts.len());
            for part in 0..parts {
                loop {
                    if self.probing.is_some() || self.sessions.len() >= self.max_sessions {
                        return;
                    }
                    match self.start_one(batch, part, local, now) {
                        ControlFlow::Continue(true) => {}
                        ControlFlow::Continue(false) => break,
                        ControlFlow::Break(()) => return,
                    }
                }
            }
        }
    }

    /// Opens one session for a part: `true` where there may be another. `Break` where nothing further may start before
    /// something else has ended.
    fn start_one(&mut self, batch: BatchId, part: usize, local: &dyn LocalSets, now: Now) -> ControlFlow<(), bool> {
        let here = |piece| At { batch, part, piece };
        let Some(carried) = self.part(here(0)) else { return ControlFlow::Continue(false) };
        let ready = |piece: &Piece| piece.stage == Stage::Waiting && piece.not_before <= now.mono_ms;
        let waiting =
            carried.pieces.iter().find(|(_, piece)| ready(piece)).map(|(id, piece)| (*id, piece.span.strategy));
        let place = match waiting {
            Some((_, place)) => place,
            None if carried.pieces.len() >= if carried.careful { 1 } else { MAX_PIECES } => {
                return ControlFlow::Continue(false);
            }
            None => match carried.todo.last() {
                Some(span) => span.strategy,
                None => return ControlFlow::Continue(false),
            },
        };
        let Some((place, strategy)) = self.next_strategy(batch, part, place) else {
            self.nobody_left(batch, part, waiting.map(|(piece, _)| piece));
            return ControlFlow::Continue(true);
        };
        if !self.has_room(strategy) {
            return ControlFlow::Break(());
        }
        let piece = match waiting {
            Some((piece, _)) => piece,
            None => match self.take_up(batch, part, strategy, local) {
                Some(piece) => piece,
                None => return ControlFlow::Continue(false),
            },
        };
        if let Some(piece) = self.piece(here(piece)) {
            piece.span.strategy = place;
        }
        if !self.has_come(here(piece), local) {
            self.start_session(here(piece), strategy, local, now);
        }
        ControlFlow::Continue(true)
    }

    /// What is asked for by its id, and has come by another way meanwhile, isn't asked for again. Whether nothing is left
    /// to ask for.
    fn has_come(&mut self, at: At, local: &dyn LocalSets) -> bool {
        let (mark, up) = (self.inbox.next_token(), self.config.direction.up());
        let Some(piece) = self.piece(at).filter(|piece| piece.span.share_of.is_none() && !up) else { return false };
        let Some(ids) = &mut piece.span.filter.ids else { return false };
        // What can't be read is asked for.
        let named: Vec<EventId> = ids.iter().copied().collect();
        let known = local.known(&named).unwrap_or_default();
        let here: BTreeSet<EventId> =
            named.iter().zip(known).filter(|(_, known)| known.is_some()).map(|(id, _)| *id).collect();
        if here.len() < named.len() {
            ids.retain(|id| !here.contains(id));
            return false;
        }
        piece.claims.push_back((mark, piece.span.window));
        // As if a session had been shown all of it.
        piece.renew();
        piece.probed = true;
        piece.stage = Stage::Settling;
        true
    }

    /// Whether one more session of a strategy may be opened.
    fn has_room(&self, strategy: usize) -> bool {
        let chosen = &self.config.strategies[strategy];
        let alone = chosen.descriptor().probes_alone && !self.proven.contains(&strategy);
        let busy = !self.sessions.is_empty()
            || !self.fetches.is_empty()
            || !self.uploads.is_empty()
            || !self.probes.is_empty();
        // Sessions leave a place for what they need to be fetched.
        let room = self.free_subs() > usize::from(!self.sessions.is_empty());
        !(alone && busy) && self.sessions.len() < chosen.hints().concurrency.max(1) && room
    }

    /// Makes a piece of the next span: of all of it, or of its newest stretch where the relay takes windows only.
    fn take_up(&mut self, batch: BatchId, part: usize, strategy: usize, local: &dyn LocalSets) -> Option<u64> {
        let learnt = self.memory.learnt(&self.config.strategies[strategy].descriptor().name);
        let relay = self.config.relay.clone();
        let part = self.part(At { batch, part, piece: 0 })?;
        let mut span = part.todo.pop()?;
        if span.share_of.is_none() && !span.chase {
            let ours = LazyView { local, filter: &span.filter, window: span.window, relay: &relay };
            let window = part.pace.cut(span.window, &ours, &learnt);
            if let Some(until) = window.since.checked_sub(1).filter(|until| span.window.since <= *until) {
                part.todo.push(Span { window: Window { until, ..span.window }, ..span.clone() });
            }
            span.window = window;
        }
        Some(part.take_up(span))
    }

    fn start_session(&mut self, at: At, strategy: usize, local: &dyn LocalSets, now: Now) {
        let chosen = Arc::clone(&self.config.strategies[strategy]);
        let name = chosen.descriptor().name.clone();
        let alone = chosen.descriptor().probes_alone && !self.proven.contains(&strategy);
        let (profile, seed) = (self.config.profile.clone(), self.jitter.next_u64());
        let remembered = self.memory.remembered(&name).to_vec();
        let (id, proven, asked) = (self.next_session, self.proven.contains(&strategy), self.config.direction);
        let Some(carried) = self.batches.get_mut(&at.batch) else { return };
        let (begun, part) = (carried.begun, &mut carried.parts[at.part]);
        let Some(piece) = part.pieces.get_mut(&at.piece) else { return };
        part.sessions += 1;
        carried.counts.windows += 1;
        let verifies = piece.verifications > 0;
        let (filter, mut window) = (piece.span.filter.clone(), piece.span.window);
        if verifies {
            // What was published while the batch was on its way is not missing.
            window.until = window.until.min(begun.max(window.since));
        }
        // A verification round looks for what is missing here; uploads were offered before it.
        let direction = if verifies { Direction::Down } else { asked };
        piece.stage = Stage::Running(id);
        piece.session = id;
        piece.renew();
        let drained = if direction.up() { Vec::new() } else { piece.drained.clone() };
        let session = chosen.open(SessionRequest {
            filter: filter.clone(),
            window,
            drained,
            remembered,
            profile,
            direction,
            proven,
            seed,
        });
        if !carried.methods.contains(&name) {
            carried.methods.push(name.clone());
        }
        self.next_session += 1;
        if alone {
            self.probing = Some(id);
        }
        self.out.push_back(LinkOutput::Notice(LinkNotice::SessionStarted {
            batch: at.batch,
            session: id,
            strategy: name.to_string(),
            filter: wire::filter_text(&filter, 300),
            window,
        }));
        let running = Running {
            at,
            verifies,
            strategy,
            session,
            filter,
            window,
            wires: BTreeMap::new(),
            held: VecDeque::new(),
            stands_since: None,
            stood_ms: 0,
            rounds: 0,
            asked_at: now.mono_ms,
        };
        self.sessions.insert(id, running);
        self.drive(id, Input::Start, local, now);
    }

    /// The strategy whose turn it is at `place` of a batch's order or after it; `None` where none is left. Each is asked once
    /// for a part whether it suits: what it costs to ask, and to tell, must not come again with every round of waiting.
    fn next_strategy(&mut self, batch: BatchId, part: usize, mut place: usize) -> Option<(usize, usize)> {
        loop {
            let carried = self.batches.get_mut(&batch)?;
            let strategy = *carried.order.get(place)?;
            let part = carried.parts.get_mut(part)?;
            if !self.unsupported.contains(&strategy) {
                match part.suits.get(&strategy) {
                    Some(true) => return Some((place, strategy)),
                    Some(false) => {}
                    None => {
                        let answer = self.config.strategies[strategy].suits(&self.config.profile, &part.filter);
                        part.suits.insert(strategy, answer == Suitability::Suits);
                        match answer {
                            Suitability::Suits => return Some((place, strategy)),
                            Suitability::No(reason) => self.tell_fall_back(batch, place, &reason, false),
                        }
                    }
                }
            }
            place += 1;
        }
    }

    /// Gives a session an input and carries out what it yields.
    pub(super) fn drive(&mut self, id: u64, input: Input<'_>, local: &dyn LocalSets, now: Now) {
        let Some(running) = self.sessions.get_mut(&id) else { return };
        let view = LazyView { local, filter: &running.filter, window: running.window, relay: &self.config.relay };
        let time = running.time(now);
        let (at, strategy, verifies) = (running.at, running.strategy, running.verifies);
        let result = self.questions.around(at.batch, id, || running.session.handle(input, &view, time));
        let mark = self.inbox.next_token();
        let mut outcome = None;
        while let Some(output) = self.sessions.get_mut(&id).and_then(|running| running.session.poll()) {
            match output {
                Output::Send(message) => {
                    if let Some(running) = self.sessions.get_mut(&id) {
                        running.held.push_back(message);
                    }
                }
                Output::Need { ids, within } => self.needs(at, ids, within),
                Output::Have(ids) => self.haves(at, ids, verifies),
                Output::Shared { count, oldest } => {
                    if let Some(piece) = self.piece(at) {
                        piece.shared = (count, oldest);
                    }
                }
                Output::Dense { second, shown, certain } => self.dense(at, Dense { second, shown, certain }, now),
                Output::Drained(window) => {
                    if let Some(piece) = self.piece(at) {
                        piece.claims.push_back((mark, window));
                        // It may have turned out to be whole.
                        piece.whole(window);
                    }
                }
                Output::Remember(bytes) => {
                    let name = &self.config.strategies[strategy].descriptor().name;
                    if !self.memory.remember(name, bytes) {
                        outcome.get_or_insert(SessionOutcome::Failed {
                            reason: FailureReason::Local,
                            text: format!("{name} wants more remembered than there is room for"),
                        });
                    }
                }
                Output::Progress { .. } => {
                    if let Some(running) = self.sessions.get_mut(&id) {
                        running.rounds += 1;
                    }
                    if let Some(carried) = self.batches.get_mut(&at.batch) {
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

    /// A second isn't shown whole. Where connections break over it, what is below must not wait for it.
    fn dense(&mut self, at: At, dense: Dense, now: Now) {
        let Some(part) = self.part(at) else { return };
        let Some(piece) = part.pieces.get_mut(&at.piece) else { return };
        // Of another second it knows nothing.
        if !piece.span.window.contains(dense.second) {
            return;
        }
        // A session that is tried again may name it again.
        piece.dense.insert(dense.second, dense);
        if !dense.certain {
            return;
        }
        if part.dense.len() < MAX_DENSE {
            part.dense.insert(dense.second, dense.shown);
        }
        self.keep(at, |memory, of, run| memory.dense(of, (dense.second, dense.shown), run), now);
    }

    fn needs(&mut self, at: At, ids: Vec<EventId>, within: Window) {
        let fetches = self.config.direction.down() && !self.config.dry_run;
        let Some(carried) = self.batches.get_mut(&at.batch) else { return };
        let part = &mut carried.parts[at.part];
        let accounted: Vec<bool> = ids.iter().map(|id| part.is_accounted(id)).collect();
        let suspects: BTreeSet<EventId> = ids.iter().filter(|id| part.suspects.contains(id)).copied().collect();
        let Some(piece) = part.pieces.get_mut(&at.piece) else { return };
        piece.named += ids.len() as u64;
        for (id, accounted) in ids.into_iter().zip(accounted) {
            if let Some(known) = piece.suspects.get_mut(&id) {
                // Shown again by a round that compared finer ranges: the window is narrower.
                *known = within;
                continue;
            }
            if suspects.contains(&id) {
                // Another piece has looked for it. Its window isn't drained here either.
                piece.suspects.insert(id, within);
                continue;
            }
            if accounted {
                continue;
            }
            piece.fresh_needs += 1;
            if fetches {
                piece.needed = true;
                piece.wanted.push_back(Wanted { id, within, last: false, counted: false });
            } else {
                carried.counts.need += 1;
            }
        }
    }

    fn haves(&mut self, at: At, ids: Vec<EventId>, verifies: bool) {
        if verifies {
            // Offered before.
            let Some(piece) = self.piece(at) else { return };
            piece.left_out_again |= ids.iter().any(|id| piece.duplicates.contains(id));
            return;
        }
        let uploads = self.config.direction.up() && !self.config.dry_run;
        let Some(carried) = self.batches.get_mut(&at.batch) else { return };
        carried.counts.have += ids.len() as u64;
        let Some(piece) = carried.parts[at.part].pieces.get_mut(&at.piece) else { return };
        // Some of the newest and some from all over.
        let room = HAVE_SAMPLE.saturating_sub(piece.lacking.len());
        let step = (ids.len() / room.max(1)).max(1);
        piece.lacking.extend(ids.iter().rev().step_by(step).take(room));
        if uploads {
            piece.offers.extend(ids);
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
            let (batch, at) = (Some(running.at.batch), running.at);
            let quiet = self.quiet_until > now.mono_ms;
            let waits = match running.held.front() {
                None => return,
                Some(Message::Req { .. } | Message::NegOpen { .. }) => quiet || self.free_subs() == 0,
                // The next round waits until what the last ones brought up has been dealt with.
                Some(Message::NegMsg { .. }) => {
                    quiet || self.piece(at).map_or(0, |piece| piece.backlog()) > MAX_BACKLOG
                }
                Some(Message::Close { .. } | Message::NegClose { .. }) => false,
            };
            if waits {
                return;
            }
            let Some(running) = self.sessions.get_mut(&id) else { return };
            let Some(message) = running.held.pop_front() else { return };
            running.asked_at = now.mono_ms;
            match message {
                Message::Req { sub, filter } => {
                    let mut asked = (*filter).clone();
                    asked.limit = None;
                    let wire = self.open_session_sub(id, sub, asked, false);
                    self.send(wire::req(&wire, std::slice::from_ref(&*filter)), batch);
                    self.asked(&wire, at.batch, id, Asked::Page);
                    self.owes(now);
                }
                Message::NegOpen { sub, filter, payload } => {
                    let wire = self.open_session_sub(id, sub, (*filter).clone(), true);
                    self.send(wire::neg_open(&wire, &filter, &payload), batch);
                    self.asked(&wire, at.batch, id, Asked::Round);
                    self.owes(now);
                }
                Message::NegMsg { sub, payload } => {
                    if let Some(wire) = running.wires.get(&sub).cloned() {
                        self.send(wire::neg_msg(&wire, &payload), batch);
                        self.asked(&wire, at.batch, id, Asked::Round);
                        self.owes(now);
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
        let batch = self.sessions.get(&session).map(|running| running.at.batch);
        let target = SubTarget::Session { session, sub, neg };
        let wire = self
            .open_sub(if neg { 'n' } else { 'r' }, Sub { target, filters: Arc::new([filter]), batch, question: None });
        if let Some(running) = self.sessions.get_mut(&session)
            && let Some(reused) = running.wires.insert(sub, wire.clone())
        {
            self.close_sub(&reused);
        }
        wire
    }

    /// The connection is gone: what the session has to say still counts, but for its end.
    pub(super) fn last_words(&mut self, id: u64, local: &dyn LocalSets, now: Now) {
        let Some(Running { at, strategy, rounds, mut session, filter, window, .. }) = self.end_session(id) else {
            return;
        };
        let view = LazyView { local, filter: &filter, window, relay: &self.config.relay };
        if let Err(ProtocolError(text)) = session.handle(Input::ConnectionLost, &view, now) {
            // It ends as it had to in any case; what it has to say stands.
            let outcome = format!("failed: {text}");
            let ended = LinkNotice::SessionEnded { batch: at.batch, session: id, rounds, outcome, failed: true };
            self.out.push_back(LinkOutput::Notice(ended));
        }
        let mark = self.inbox.next_token();
        while let Some(output) = session.poll() {
            match output {
                Output::Drained(window) => {
                    if let Some(piece) = self.piece(at) {
                        piece.claims.push_back((mark, window));
                    }
                }
                Output::Remember(bytes) => {
                    self.memory.remember(&self.config.strategies[strategy].descriptor().name, bytes);
                }
                _ => {}
            }
        }
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
}
