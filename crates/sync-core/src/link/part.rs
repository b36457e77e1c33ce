//! One filter of a batch on its way: its session, what it needs, what it offers, what is missing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use nostr::event::EventId;
use nostr::filter::Filter;

use super::wire;
use crate::model::{BatchRequest, Counts, Failure, FailureReason, Fallback, SyncMethod};
use crate::strategy::BadEvent;
use crate::time::MonoMillis;

/// Ids that a part remembers as accounted for; beyond it a verification round may ask for one twice.
const MAX_ACCOUNTED: usize = 100_000;
/// Bad events in one batch that are many, where they are a hundredth of what came, too.
const MANY_BAD: u64 = 10;

/// How far a part has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// No session yet, or none any more after a failure.
    Waiting,
    /// Carried by this session.
    Running(u64),
    /// The session has ended well; ids are being fetched, commits awaited, uploads answered.
    Settling,
    /// Nothing more will happen.
    Finished,
}

/// An id to be fetched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) id: EventId,
    /// It was asked for without an answer before: this time is the last.
    pub(super) last: bool,
}

/// One filter of a batch.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) filter: Filter,
    pub(super) stage: Stage,
    /// Place in the batch's order of strategies.
    pub(super) strategy: usize,
    /// Sessions of the present strategy that failed in a way that may pass.
    pub(super) attempts: u32,
    /// Verification rounds begun.
    pub(super) verifications: u32,
    /// Needs of the present session that weren't accounted for.
    pub(super) fresh_needs: u64,
    /// No session before this moment.
    pub(super) not_before: u64,
    pub(super) wanted: VecDeque<Wanted>,
    pub(super) fetches: usize,
    /// Events handed out for check or commit.
    pub(super) outstanding: u64,
    pub(super) offers: VecDeque<EventId>,
    pub(super) uploads: usize,
    /// Uploads in a row that were not answered.
    pub(super) unanswered: usize,
    /// Cool-downs waited out, and the end of the last one of them.
    pub(super) cool_downs: u32,
    pub(super) cooling: MonoMillis,
    /// Ids that can't come: bad, kept out, or not served.
    accounted: BTreeSet<EventId>,
    not_served: Vec<EventId>,
    not_served_count: u64,
    pub(super) failures: Vec<Failure>,
}

impl Part {
    pub(super) fn new(filter: Filter) -> Self {
        Self {
            filter,
            stage: Stage::Waiting,
            strategy: 0,
            attempts: 0,
            verifications: 0,
            fresh_needs: 0,
            not_before: 0,
            wanted: VecDeque::new(),
            fetches: 0,
            outstanding: 0,
            offers: VecDeque::new(),
            uploads: 0,
            unanswered: 0,
            cool_downs: 0,
            cooling: 0,
            accounted: BTreeSet::new(),
            not_served: Vec::new(),
            not_served_count: 0,
            failures: Vec::new(),
        }
    }

    /// Whether everything that the sessions brought up has found its end.
    pub(super) fn is_settled(&self) -> bool {
        self.wanted.is_empty()
            && self.fetches == 0
            && self.outstanding == 0
            && self.offers.is_empty()
            && self.uploads == 0
    }

    pub(super) fn is_accounted(&self, id: &EventId) -> bool {
        self.accounted.contains(id)
    }

    /// Takes note that `id` need not be asked for again.
    pub(super) fn account(&mut self, id: EventId) {
        if self.accounted.len() < MAX_ACCOUNTED {
            self.accounted.insert(id);
        }
    }

    /// Takes note that the relay offers `id` and doesn't serve it.
    pub(super) fn count_not_served(&mut self, id: EventId) {
        if self.accounted.contains(&id) {
            return;
        }
        self.account(id);
        self.not_served_count += 1;
        if self.not_served.len() < Failure::MAX_IDS {
            self.not_served.push(id);
        }
    }

    pub(super) fn fail(&mut self, reason: FailureReason, text: impl Into<String>) {
        self.failures.push(Failure { filter: wire::filter_text(&self.filter, 300), reason, text: text.into() });
    }

    /// As [`fail`](Self::fail), but says the same thing once only.
    pub(super) fn fail_once(&mut self, reason: FailureReason, text: impl Into<String>) {
        if !self.failures.iter().any(|failure| failure.reason == reason) {
            self.fail(reason, text);
        }
    }

    /// Ends the part, naming what was offered and never served.
    pub(super) fn finish(&mut self) {
        if self.stage == Stage::Finished {
            return;
        }
        self.stage = Stage::Finished;
        if self.not_served_count > 0 {
            let (ids, count) = (std::mem::take(&mut self.not_served), self.not_served_count);
            let first = ids.first().map(EventId::to_hex).unwrap_or_default();
            self.fail(
                FailureReason::NotServed { ids, count },
                format!("{count} offered events aren't served, {first} among them"),
            );
        }
        self.accounted = BTreeSet::new();
    }
}

/// A batch on its way.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) request: BatchRequest,
    pub(super) parts: Vec<Part>,
    /// Indexes into the link's strategies, in the order to be tried.
    pub(super) order: Vec<usize>,
    /// The second in which the batch began.
    pub(super) begun: u64,
    /// The last second asked for, fixed when the batch began.
    pub(super) until: u64,
    pub(super) methods: Vec<SyncMethod>,
    pub(super) counts: Counts,
    /// Events that failed a check, by reason.
    bad: BTreeMap<&'static str, u64>,
    pub(super) fallbacks: Vec<Fallback>,
}

impl Carried {
    /// A batch that begins at `now` (unix seconds); events dated further ahead than `max_future_s` aren't asked for.
    pub(super) fn new(request: BatchRequest, order: Vec<usize>, now: u64, max_future_s: u64) -> Self {
        Self {
            parts: request.filters.iter().cloned().map(Part::new).collect(),
            request,
            order,
            begun: now,
            until: now.saturating_add(max_future_s),
            methods: Vec::new(),
            counts: Counts::default(),
            bad: BTreeMap::new(),
            fallbacks: Vec::new(),
        }
    }

    /// Counts an event that failed a check.
    pub(super) fn drop_bad(&mut self, reason: BadEvent) {
        *self.bad.entry(reason.as_str()).or_default() += 1;
        self.reject(reason.as_str());
    }

    /// What is wrong with a relay that sends many bad events, were they missed or not (SPEC §8).
    pub(super) fn badness(&self) -> Option<Failure> {
        let (bad, received) = (self.bad.values().sum::<u64>(), self.counts.received);
        if bad < MANY_BAD || bad * 100 < received {
            return None;
        }
        let reasons: Vec<_> = self.bad.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        let text = format!("{bad} of the {received} events that it sent are bad: {}", reasons.join(", "));
        Some(Failure { filter: String::new(), reason: FailureReason::Protocol, text })
    }

    /// Counts an event that was kept out.
    pub(super) fn reject(&mut self, reason: &str) {
        *self.counts.rejected.entry(reason.to_owned()).or_default() += 1;
    }
}
