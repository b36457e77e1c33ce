//! Fetching by id, and uploading: several requests in flight, every id brought to an end.

use std::collections::BTreeSet;
use std::sync::Arc;

use nostr::event::EventId;

use super::machine::{MAX_FETCHES, RelayLink, Sub, SubTarget};
use super::part::Wanted;
use super::{LinkOutput, wire};
use crate::model::{BatchId, FailureReason};
use crate::response::{Meaning, Said, SaidIn, classify};
use crate::store::LocalSets;
use crate::strategy::SessionHints;
use crate::time::{MonoMillis, Now};

/// Uploads without an answer at once.
const MAX_UPLOADS: usize = 64;
/// Uploads in a row that may stay without an answer before no more are sent for a filter.
const MAX_UNANSWERED: usize = MAX_UPLOADS;
/// Cool-downs that one filter waits out.
const MAX_COOL_DOWNS: u32 = 20;
/// Why a relay may refuse an event (NIP-01).
const OK_PREFIXES: [&str; 8] =
    ["auth-required", "blocked", "error", "invalid", "pow", "purgatory", "rate-limited", "restricted"];
/// How long a request or an upload may stay without an answer where no strategy is left to say so.
pub(super) const DEFAULT_ANSWER_TIMEOUT_MS: MonoMillis = 30_000;
/// Bytes of a request around its ids, and of each id.
const REQ_OVERHEAD: usize = 256;
const BYTES_PER_ID: usize = 67;

/// A request by id in flight.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) batch: BatchId,
    pub(super) part: usize,
    pub(super) wire: String,
    /// What hasn't come.
    open: BTreeSet<EventId>,
    came: usize,
    last: bool,
    pub(super) deadline: MonoMillis,
}

/// An upload in flight.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) batch: BatchId,
    pub(super) part: usize,
    pub(super) deadline: MonoMillis,
}

impl RelayLink {
    /// Sends requests for what is wanted, within the budget.
    pub(super) fn start_fetches(&mut self, local: &dyn LocalSets, now: Now) {
        if self.probing.is_some() {
            return;
        }
        let batches: Vec<BatchId> = self.batches.keys().copied().collect();
        for batch in batches {
            let parts = self.batches.get(&batch).map_or(0, |carried| carried.parts.len());
            for part in 0..parts {
                while self.may_fetch() {
                    if !self.start_fetch(batch, part, local, now) {
                        break;
                    }
                }
            }
        }
    }

    /// What the strategy asks for whose turn it is on a part.
    fn hints(&self, batch: BatchId, part: usize) -> Option<SessionHints> {
        let carried = self.batches.get(&batch)?;
        let strategy = carried.order.get(carried.parts.get(part)?.strategy)?;
        Some(self.config.strategies[*strategy].hints())
    }

    /// When a request or an upload that goes out now is given up.
    fn answer_deadline(&self, batch: BatchId, part: usize, now: Now) -> MonoMillis {
        let timeout = self.hints(batch, part).map_or(DEFAULT_ANSWER_TIMEOUT_MS, |hints| hints.answer_timeout_ms);
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

    /// Ids in one request: what strategy, relay and message length allow.
    fn chunk(&self, batch: BatchId, part: usize) -> usize {
        let profile = &self.config.profile;
        let hinted = self.hints(batch, part).map(|hints| hints.fetch_chunk);
        let by_length =
            profile.max_message_length.map_or(usize::MAX, |max| max.saturating_sub(REQ_OVERHEAD) / BYTES_PER_ID);
        hinted.unwrap_or(256).min(profile.max_limit.unwrap_or(usize::MAX)).min(by_length).min(self.fetch_chunk).max(1)
    }

    /// Whether a request was sent.
    fn start_fetch(&mut self, batch: BatchId, at: usize, local: &dyn LocalSets, now: Now) -> bool {
        let chunk = self.chunk(batch, at);
        let Some(part) = self.part((batch, at)) else { return false };
        let Some(last) = part.wanted.front().map(|wanted| wanted.last) else { return false };
        let mut ids = Vec::with_capacity(chunk.min(part.wanted.len()));
        while ids.len() < chunk && part.wanted.front().is_some_and(|wanted| wanted.last == last) {
            ids.extend(part.wanted.pop_front().map(|wanted| wanted.id));
        }
        let filter = part.filter.clone();
        let mut offered = None;
        // What arrived meanwhile, from here or elsewhere, needn't be asked for.
        match local.known(&ids) {
            Ok(known) => {
                let kept_out: Vec<EventId> = ids
                    .iter()
                    .zip(&known)
                    .filter(|(_, known)| known.is_some_and(|known| !known.stored))
                    .map(|(id, _)| *id)
                    .collect();
                kept_out.iter().for_each(|id| part.account(*id));
                if !kept_out.is_empty() {
                    offered = Some(LinkOutput::Offered(kept_out));
                }
                let mut known = known.into_iter();
                ids.retain(|_| known.next().flatten().is_none());
            }
            Err(error) => part.fail_once(FailureReason::Local, error.to_string()),
        }
        part.fetches += usize::from(!ids.is_empty());
        self.out.extend(offered);
        if ids.is_empty() {
            self.touch();
            return true;
        }
        let (id, deadline) = (self.next_fetch, self.answer_deadline(batch, at, now));
        self.next_fetch += 1;
        // The relay is asked by id alone; what comes must match the filter that showed the id, too.
        let asked = nostr::filter::Filter::new().ids(ids.iter().copied());
        let mut expected = filter;
        expected.limit = None;
        let expected = expected.ids(ids.iter().copied());
        let sub = Sub { target: SubTarget::Fetch(id), filters: Arc::new([expected]), batch: Some(batch) };
        let wire = self.open_sub('f', sub);
        self.send(wire::req(&wire, &[asked]), Some(batch));
        let fetch = Fetch { batch, part: at, wire, open: ids.into_iter().collect(), came: 0, last, deadline };
        self.fetches.insert(id, fetch);
        true
    }

    pub(super) fn fetch_event(&mut self, fetch: u64, id: EventId, now: Now) {
        let Some((batch, part)) = self.fetches.get(&fetch).map(|fetch| (fetch.batch, fetch.part)) else { return };
        let deadline = self.answer_deadline(batch, part, now);
        if let Some(fetch) = self.fetches.get_mut(&fetch)
            && fetch.open.remove(&id)
        {
            fetch.came += 1;
            fetch.deadline = deadline;
        }
    }

    /// EOSE (`said` is `None`), CLOSED, or a NOTICE in their place.
    pub(super) fn fetch_ended(&mut self, id: u64, said: Option<&Said>, now: Now) {
        let Some(Fetch { batch, part, wire, open, came, last, .. }) = self.fetches.remove(&id) else { return };
        self.close_sub(&wire);
        self.touch();
        let asked = open.len() + came;
        let meaning = said.map_or(Meaning::Unknown, |said| said.meaning);
        let mut again = false;
        match meaning {
            Meaning::RateLimited => again = self.may_wait(batch, part),
            Meaning::TooManyAtOnce if self.subs.len().max(1) < self.max_subs => {
                self.shrink(self.subs.len(), now);
                again = true;
            }
            Meaning::TooBig | Meaning::Invalid | Meaning::Error if came == 0 && asked > 1 => {
                self.fetch_chunk = asked.div_ceil(2);
                again = true;
            }
            _ => {}
        }
        let Some(part) = self.part((batch, part)) else { return };
        part.fetches -= 1;
        if again || came > 0 {
            // Progress, or a limit that says nothing about the ids: ask again for what didn't come.
            part.wanted.extend(open.into_iter().map(|id| Wanted { id, last }));
            return;
        }
        if !last && !matches!(meaning, Meaning::AuthRequired | Meaning::Restricted) {
            part.wanted.extend(open.into_iter().map(|id| Wanted { id, last: true }));
            return;
        }
        if let Some(said) = said.filter(|said| !said.text.is_empty()) {
            let prefix = said.text.split(':').next().unwrap_or_default().to_owned();
            part.fail_once(FailureReason::Refused { prefix }, said.text.clone());
        }
        for id in open {
            part.count_not_served(id);
        }
    }

    /// Whether a part may wait out one more cool-down: a relay can't keep a batch alive by rate limits alone.
    fn may_wait(&mut self, batch: BatchId, part: usize) -> bool {
        let cooling = self.quiet_until;
        self.part((batch, part)).is_some_and(|part| {
            part.cool_downs += u32::from(part.cooling != cooling);
            part.cooling = cooling;
            part.cool_downs <= MAX_COOL_DOWNS
        })
    }

    /// Sends events that are to go up, within the window.
    pub(super) fn start_uploads(&mut self, local: &dyn LocalSets, now: Now) {
        if self.probing.is_some() {
            return;
        }
        let batches: Vec<BatchId> = self.batches.keys().copied().collect();
        for batch in batches {
            let parts = self.batches.get(&batch).map_or(0, |carried| carried.parts.len());
            for at in 0..parts {
                while self.uploads.len() < MAX_UPLOADS {
                    let Some(id) = self.part((batch, at)).and_then(|part| part.offers.pop_front()) else { break };
                    self.touch();
                    // Also on its way for another filter: that answer counts.
                    if self.uploads.contains_key(&id) {
                        continue;
                    }
                    match local.event(&id) {
                        Ok(Some(event)) => {
                            let deadline = self.answer_deadline(batch, at, now);
                            self.uploads.insert(id, Upload { batch, part: at, deadline });
                            if let Some(part) = self.part((batch, at)) {
                                part.uploads += 1;
                            }
                            self.send(wire::event(&event), Some(batch));
                        }
                        // Gone since: superseded or deleted, so there is nothing to offer.
                        Ok(None) => {}
                        Err(error) => {
                            if let Some(part) = self.part((batch, at)) {
                                part.fail_once(FailureReason::Local, error.to_string());
                            }
                        }
                    }
                }
            }
        }
    }

    pub(super) fn upload_answered(&mut self, id: EventId, accepted: bool, text: &str, now: Now) {
        let Some(upload) = self.uploads.remove(&id) else { return };
        self.touch();
        let said = classify(SaidIn::Ok, text, None);
        self.heed(&said, now);
        let may_wait = said.meaning == Meaning::RateLimited && self.may_wait(upload.batch, upload.part);
        let Some(carried) = self.batches.get_mut(&upload.batch) else { return };
        let part = &mut carried.parts[upload.part];
        part.uploads -= 1;
        part.unanswered = 0;
        if accepted || said.meaning == Meaning::Duplicate {
            carried.counts.uploaded += 1;
            return;
        }
        if may_wait {
            part.offers.push_back(id);
            return;
        }
        // Counted under the prefixes of NIP-01 alone: a relay's own words could be as many as the uploads.
        let prefix = text.split_once(':').map_or("", |(prefix, _)| prefix);
        let reason = OK_PREFIXES.iter().find(|known| **known == prefix).unwrap_or(&"other");
        let refused = FailureReason::Refused { prefix: (*reason).to_owned() };
        part.fail_once(refused, format!("uploads refused: {}", said.text));
        *carried.counts.upload_refused.entry((*reason).to_owned()).or_default() += 1;
    }

    /// Ends requests and uploads that were not answered in time.
    pub(super) fn request_timeouts(&mut self, now: Now) {
        let late: Vec<u64> =
            self.fetches.iter().filter(|(_, fetch)| fetch.deadline <= now.mono_ms).map(|(id, _)| *id).collect();
        for id in late {
            self.fetch_ended(id, None, now);
        }
        let late: Vec<EventId> =
            self.uploads.iter().filter(|(_, upload)| upload.deadline <= now.mono_ms).map(|(id, _)| *id).collect();
        for id in late {
            let Some(upload) = self.uploads.remove(&id) else { continue };
            self.touch();
            if let Some(part) = self.part((upload.batch, upload.part)) {
                part.uploads -= 1;
                part.unanswered += 1;
                part.fail_once(FailureReason::Timeout, "an upload was not answered in time");
                if part.unanswered >= MAX_UNANSWERED {
                    part.offers.clear();
                }
            }
        }
    }
}
