//! Fetching by id: several requests in flight, every id brought to an end.

use std::collections::BTreeMap;
use std::sync::Arc;

use nostr::event::EventId;

use super::machine::{MAX_FETCHES, RelayLink, Sub, SubTarget};
use super::piece::{At, Wanted};
use super::{AnswerEnd, Asked, LinkOutput, wire};
use crate::model::FailureReason;
use crate::response::{Meaning, Said};
use crate::store::{KnownEvent, LocalSets};
use crate::strategy::{CheckVerdict, SessionHints, Window};
use crate::time::{MonoMillis, Now};

/// Cool-downs that one filter waits out.
const MAX_COOL_DOWNS: u32 = 20;
/// How long a request or an upload may stay without an answer where no strategy is left to say so.
pub(super) const DEFAULT_ANSWER_TIMEOUT_MS: MonoMillis = 30_000;
/// How long ids that another connection asks for are left to it, milliseconds.
const PARKED_MS: MonoMillis = 30_000;
/// Bytes of a request around its ids, and of each id.
const REQ_OVERHEAD: usize = 256;
const BYTES_PER_ID: usize = 67;

/// A request by id in flight.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) at: At,
    pub(super) wire: String,
    /// What hasn't come, with the windows that showed it.
    pub(super) open: BTreeMap<EventId, Window>,
    asked: usize,
    last: bool,
    asked_at: MonoMillis,
    pub(super) deadline: MonoMillis,
}

/// How a request by id ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum FetchEnd<'a> {
    /// The relay has sent what it has.
    Eose,
    /// CLOSED, or a NOTICE in its place.
    Said(&'a Said),
    /// It has said nothing for too long.
    Silence,
}

impl FetchEnd<'_> {
    /// As observers are told.
    pub(super) fn told(&self) -> AnswerEnd {
        match self {
            Self::Eose => AnswerEnd::Whole,
            Self::Said(said) => AnswerEnd::Broken(said.text.clone()),
            Self::Silence => AnswerEnd::Broken("no answer in time".to_owned()),
        }
    }
}

impl RelayLink {
    /// Sends requests for what is wanted, within the budget.
    pub(super) fn start_fetches(&mut self, local: &dyn LocalSets, now: Now) {
        if self.probing.is_some() {
            return;
        }
        for at in self.places() {
            while self.may_fetch() {
                if !self.start_fetch(at, local, now) {
                    break;
                }
            }
        }
    }

    /// What the strategy asks for whose turn it is on a piece.
    fn hints(&self, at: At) -> Option<SessionHints> {
        let carried = self.batches.get(&at.batch)?;
        let piece = carried.parts.get(at.part)?.pieces.get(&at.piece)?;
        let strategy = carried.order.get(piece.span.strategy)?;
        Some(self.config.strategies[*strategy].hints())
    }

    /// When a request or an upload that goes out now is given up.
    pub(super) fn answer_deadline(&self, at: At, now: Now) -> MonoMillis {
        let timeout = self.hints(at).map_or(DEFAULT_ANSWER_TIMEOUT_MS, |hints| hints.answer_timeout_ms);
        now.mono_ms.saturating_add(timeout)
    }

    /// Whether the budget allows one more request. Where reconciliations hold all of it one may go beside them: it is
    /// what they wait for, and their ids are a name space of their own (WIRE.md).
    fn may_fetch(&self) -> bool {
        let beside = || {
            let reconciles = |sub: &Sub| matches!(sub.target, SubTarget::Session { neg: true, .. });
            self.fetches.is_empty() && self.subs.values().any(reconciles)
        };
        self.fetches.len() < MAX_FETCHES && (self.free_subs() > 0 || beside())
    }

    /// Ids in one request at most: what strategy, relay and message length allow.
    fn most_ids(&self, at: At) -> usize {
        let profile = &self.config.profile;
        let hinted = self.hints(at).map(|hints| hints.fetch_chunk);
        let by_length =
            profile.max_message_length.map_or(usize::MAX, |max| max.saturating_sub(REQ_OVERHEAD) / BYTES_PER_ID);
        hinted.unwrap_or(256).min(profile.max_limit.unwrap_or(usize::MAX)).min(by_length).max(1)
    }

    /// Whether anything was done: a request was sent, or some ids found their end without one.
    fn start_fetch(&mut self, at: At, local: &dyn LocalSets, now: Now) -> bool {
        let chunk = self.most_ids(at).min(self.fetch_chunk).max(1);
        let Some(piece) = self.piece(at) else { return false };
        let Some(last) = piece.wanted.front().map(|wanted| wanted.last) else { return false };
        let mut ids = Vec::with_capacity(chunk.min(piece.wanted.len()));
        while ids.len() < chunk && piece.wanted.front().is_some_and(|wanted| wanted.last == last) {
            ids.extend(piece.wanted.pop_front());
        }
        self.touch();
        self.pass_over_known(at, &mut ids, local);
        self.count_needs(at, &mut ids);
        self.park(at, &mut ids, local, now);
        if ids.is_empty() {
            return true;
        }
        let (id, deadline) = (self.next_fetch, self.answer_deadline(at, now));
        let Some(piece) = self.piece(at) else { return false };
        piece.fetches += 1;
        let session = piece.session;
        let mut expected = piece.span.filter.clone();
        self.next_fetch += 1;
        // The relay is asked by id alone; what comes must match the filter that showed the id, too.
        let asked = nostr::filter::Filter::new().ids(ids.iter().map(|wanted| wanted.id));
        expected.ids.clone_from(&asked.ids);
        let sub =
            Sub { target: SubTarget::Fetch(id), filters: Arc::new([expected]), batch: Some(at.batch), question: None };
        let wire = self.open_sub('f', sub);
        self.send(wire::req(&wire, &[asked]), Some(at.batch));
        self.asked(&wire, at.batch, session, Asked::Ids(ids.len() as u64));
        self.owes(now);
        let open: BTreeMap<_, _> = ids.into_iter().map(|wanted| (wanted.id, wanted.within)).collect();
        self.fetches.insert(id, Fetch { at, wire, asked: open.len(), open, last, asked_at: now.mono_ms, deadline });
        true
    }

    /// What arrived meanwhile, from here or elsewhere, needn't be asked for.
    fn pass_over_known(&mut self, at: At, ids: &mut Vec<Wanted>, local: &dyn LocalSets) {
        let asked: Vec<EventId> = ids.iter().map(|wanted| wanted.id).collect();
        let known = match local.known(&asked) {
            Ok(known) => known,
            Err(error) => {
                if let Some(part) = self.part(at) {
                    part.fail_once(None, FailureReason::Local, error.to_string());
                }
                return;
            }
        };
        let kept_out = |known: &Option<KnownEvent>| known.is_some_and(|known| !known.stored);
        let offered: Vec<EventId> =
            asked.iter().zip(&known).filter(|(_, known)| kept_out(known)).map(|(id, _)| *id).collect();
        if !offered.is_empty() {
            if let Some(part) = self.part(at) {
                offered.iter().for_each(|id| part.account(*id));
            }
            self.out.push_back(LinkOutput::Offered(offered));
        }
        let mut known = known.into_iter();
        ids.retain(|_| known.next().flatten().is_none());
    }

    /// Counts what the relay has and we haven't, once each: an id that is on its way already was named before.
    fn count_needs(&mut self, at: At, ids: &mut [Wanted]) {
        let fresh = ids.iter_mut().filter(|wanted| !wanted.counted && !self.claimed.contains(&wanted.id));
        let count = fresh.map(|wanted| wanted.counted = true).count() as u64;
        if let Some(carried) = self.batches.get_mut(&at.batch) {
            carried.counts.need += count;
        }
    }

    /// Puts aside what is being asked for already: here, for another filter, or by another connection. The rest is asked
    /// for by nobody else until [`RelayLink::release`].
    fn park(&mut self, at: At, ids: &mut Vec<Wanted>, local: &dyn LocalSets, now: Now) {
        let (ours, free): (Vec<Wanted>, Vec<Wanted>) = ids.iter().partition(|wanted| self.claimed.contains(&wanted.id));
        let asked: Vec<EventId> = free.iter().map(|wanted| wanted.id).collect();
        let granted = local.claim(&asked);
        let (mut parked, mut elsewhere) = (ours, false);
        ids.clear();
        for (wanted, granted) in free.into_iter().zip(granted) {
            if granted {
                self.claimed.insert(wanted.id);
                ids.push(wanted);
            } else {
                elsewhere = true;
                parked.push(wanted);
            }
        }
        if elsewhere {
            self.parked_until.get_or_insert(now.mono_ms.saturating_add(PARKED_MS));
        }
        if let Some(piece) = self.piece(at) {
            piece.parked.extend(parked.into_iter().map(|wanted| (wanted.id, wanted)));
        }
    }

    /// The fate of these ids is decided, or nobody asks for them any more: whoever waits for that may go on.
    pub(super) fn release(&mut self, ids: impl IntoIterator<Item = EventId>, local: &dyn LocalSets) {
        let claimed: Vec<EventId> = ids.into_iter().filter(|id| self.claimed.remove(id)).collect();
        if claimed.is_empty() {
            return;
        }
        local.release(&claimed);
        self.unpark(&claimed);
    }

    /// Another connection is done with these ids: they are here now, or asked for by us.
    pub fn unparked(&mut self, ids: &[EventId], local: &dyn LocalSets, now: Now) {
        self.unpark(ids);
        self.pump_if_dirty(local, now);
    }

    fn unpark(&mut self, ids: &[EventId]) {
        let mut moved = false;
        let pieces = self.batches.values_mut().flat_map(|carried| &mut carried.parts);
        for piece in pieces.flat_map(|part| part.pieces.values_mut()).filter(|piece| !piece.parked.is_empty()) {
            for wanted in ids.iter().filter_map(|id| piece.parked.remove(id)).collect::<Vec<_>>() {
                moved = true;
                piece.wanted.push_front(wanted);
            }
        }
        self.dirty |= moved;
    }

    /// Others have had their time: what they still ask for is asked for here.
    pub(super) fn parked_due(&mut self, now: Now) {
        if self.parked_until.is_none_or(|at| at > now.mono_ms) {
            return;
        }
        self.parked_until = None;
        let pieces = self.batches.values_mut().flat_map(|carried| &mut carried.parts);
        for piece in pieces.flat_map(|part| part.pieces.values_mut()) {
            let parked = std::mem::take(&mut piece.parked);
            piece.wanted.extend(parked.into_values());
        }
        self.touch();
    }

    pub(super) fn fetch_event(&mut self, fetch: u64, id: EventId, created_at: u64, verdict: CheckVerdict, now: Now) {
        let Some(at) = self.fetches.get(&fetch).map(|fetch| fetch.at) else { return };
        let deadline = self.answer_deadline(at, now);
        let Some(fetch) = self.fetches.get_mut(&fetch) else { return };
        // A forgery in its place is as good as nothing.
        if matches!(verdict, CheckVerdict::Bad(reason) if reason.is_forgery()) || fetch.open.remove(&id).is_none() {
            return;
        }
        fetch.deadline = deadline;
        if !matches!(verdict, CheckVerdict::Bad(_))
            && let Some(piece) = self.piece(at)
        {
            piece.oldest_needed = Some(piece.oldest_needed.map_or(created_at, |oldest| oldest.min(created_at)));
        }
    }

    /// A request has ended: what didn't come is asked for again while there is progress, then once more, then looked for
    /// in the window that showed it.
    pub(super) fn fetch_ended(&mut self, id: u64, end: FetchEnd<'_>, local: &dyn LocalSets, now: Now) {
        let Some(Fetch { at, wire, open, asked, last, asked_at, .. }) = self.fetches.remove(&id) else { return };
        self.answered(&wire, end.told());
        self.close_sub(&wire);
        self.touch();
        self.release(open.keys().copied(), local);
        let came = asked - open.len();
        let (said, meaning) = match end {
            FetchEnd::Said(said) => (Some(said), said.meaning),
            FetchEnd::Silence if self.turned_away(asked_at) => (None, Meaning::RateLimited),
            FetchEnd::Eose | FetchEnd::Silence => (None, Meaning::Unknown),
        };
        let mut again = false;
        match meaning {
            Meaning::RateLimited => again = self.may_wait(at),
            Meaning::AuthRequired => again = self.auth_may_help() && self.may_ask_again(at),
            Meaning::TooManyAtOnce if self.subs.len().max(1) < self.max_subs => {
                self.shrink(self.subs.len(), now);
                again = true;
            }
            Meaning::TooBig | Meaning::Invalid | Meaning::Error if came == 0 && asked > 1 => {
                self.fetch_chunk = asked.div_ceil(2);
                again = true;
            }
            // A part of it came, or nothing for too long: less at once is likelier to come whole.
            _ if !open.is_empty() && (came > 0 || matches!(end, FetchEnd::Silence)) => {
                self.fetch_chunk = came.max(asked.div_ceil(2));
            }
            _ if open.is_empty() && asked >= self.fetch_chunk => {
                self.fetch_chunk = self.fetch_chunk.saturating_mul(2);
            }
            _ => {}
        }
        let Some(part) = self.part(at) else { return };
        let Some(piece) = part.pieces.get_mut(&at.piece) else { return };
        piece.fetches -= 1;
        let wanted =
            |last| open.iter().map(move |(id, within)| Wanted { id: *id, within: *within, last, counted: true });
        if again || came > 0 {
            // Progress, or a limit that says nothing about the ids: ask again for what didn't come.
            piece.wanted.extend(wanted(last));
            return;
        }
        if !last && !matches!(meaning, Meaning::AuthRequired | Meaning::Restricted) {
            piece.wanted.extend(wanted(true));
            return;
        }
        piece.suspects.extend(open);
        if let Some(said) = said.filter(|said| !said.text.is_empty()) {
            let prefix = said.text.split(':').next().unwrap_or_default().to_owned();
            part.fail_once(None, FailureReason::Refused { prefix }, said.text.clone());
        }
    }

    /// Whether a part may wait out one more cool-down: a relay can't keep a batch alive by rate limits alone.
    pub(super) fn may_wait(&mut self, at: At) -> bool {
        let cooling = self.quiet_until;
        self.part(at).is_some_and(|part| {
            part.cool_downs += u32::from(part.cooling != cooling);
            part.cooling = cooling;
            part.cool_downs <= MAX_COOL_DOWNS
        })
    }

    /// Ends requests that were not answered in time.
    pub(super) fn request_timeouts(&mut self, local: &dyn LocalSets, now: Now) {
        let late: Vec<u64> =
            self.fetches.iter().filter(|(_, fetch)| fetch.deadline <= now.mono_ms).map(|(id, _)| *id).collect();
        for id in late {
            self.fetch_ended(id, FetchEnd::Silence, local, now);
        }
    }
}
