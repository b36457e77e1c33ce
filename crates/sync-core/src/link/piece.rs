//! A stretch of one filter on its way: one window, carried by one session at a time, with what that session brought up.
//!
//! A part is cut into spans that wait and pieces that are worked on. A piece knows nothing of other pieces: where it
//! can't be carried as it is, what is left of it goes back as spans.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use nostr::event::EventId;
use nostr::filter::Filter;

use super::Token;
use super::probe::Question;
use crate::model::BatchId;
use crate::strategy::Window;
use crate::time::MonoMillis;

/// Events of a second that are told apart.
pub(super) const MAX_SHOWN: usize = 10_000;
/// Ids that a relay seemed to lack, kept to be asked of it.
pub(super) const HAVE_SAMPLE: usize = 16;

/// Where a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) batch: BatchId,
    pub(super) part: usize,
    pub(super) piece: u64,
}

/// How far a piece has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// No session yet, or none any more after a failure.
    Waiting,
    /// Carried by this session.
    Running(u64),
    /// The session has ended; ids are being fetched, commits awaited, uploads answered.
    Settling,
    /// Everything is here that the sessions named; the relay is being asked whether it left something out.
    Probing,
}

/// What is to be carried: a filter over a window.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Span {
    /// Without times and limit: the part's, or narrower.
    pub(super) filter: Filter,
    pub(super) window: Window,
    /// Place in the batch's order of strategies.
    pub(super) strategy: usize,
    /// The dense second that it is a share of.
    pub(super) share_of: Option<u64>,
    /// It looks for ids that were offered and not served.
    pub(super) chase: bool,
    /// Its filter was narrowed by a value that was seen: other values may be there. Which of the second's questions it is
    /// a share of.
    pub(super) seen: Option<usize>,
    /// More events than this are in its one second, by the relay's own word.
    pub(super) beyond: Option<u64>,
}

/// What a drained span says something of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drains {
    /// The part's filter.
    Part,
    /// Its own filter in the second that it is a share of.
    Share,
    /// Nothing: it looks for ids that aren't served, or for values that were seen.
    Nothing,
}

impl Span {
    /// All of `filter` over `window`, by the strategy at this place of the order.
    pub(super) fn new(filter: Filter, window: Window, strategy: usize) -> Self {
        Self { filter, window, strategy, share_of: None, chase: false, seen: None, beyond: None }
    }

    pub(super) fn drains(&self) -> Drains {
        match (self.chase, self.share_of, self.seen) {
            (true, ..) | (_, Some(_), Some(_)) => Drains::Nothing,
            (false, Some(_), None) => Drains::Share,
            (false, None, _) => Drains::Part,
        }
    }
}

/// A second of which not everything was shown, or may not have been.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dense {
    pub(super) second: u64,
    pub(super) shown: u64,
    pub(super) certain: bool,
}

/// An id to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) id: EventId,
    /// The narrowest window that showed it.
    pub(super) within: Window,
    /// It was asked for without an answer before: this time is the last.
    pub(super) last: bool,
    /// It is among the needs that are counted. A reconciliation may name an id twice.
    pub(super) counted: bool,
}

/// Claims that have become true.
pub(super) struct Ripe {
    pub(super) windows: Vec<Window>,
    /// All of them were handed on before.
    pub(super) ahead: bool,
}

/// A span that is worked on.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) span: Span,
    pub(super) stage: Stage,
    /// The last session that carried it; 0 before the first.
    pub(super) session: u64,
    /// Sessions of the present strategy that failed in a way that may pass.
    pub(super) attempts: u32,
    /// Verification rounds begun.
    pub(super) verifications: u32,
    /// Needs of the present session that weren't accounted for, and all that it named.
    pub(super) fresh_needs: u64,
    pub(super) named: u64,
    /// Whether any session of it has needed anything.
    pub(super) needed: bool,
    /// No session before this moment.
    pub(super) not_before: MonoMillis,

    pub(super) wanted: VecDeque<Wanted>,
    /// Ids that another connection is asking for.
    pub(super) parked: BTreeMap<EventId, Wanted>,
    pub(super) fetches: usize,
    /// Events handed out for check or commit; those that wait for their commit with their ids.
    pub(super) outstanding: BTreeMap<Token, Option<EventId>>,
    pub(super) offers: VecDeque<EventId>,
    pub(super) uploads: usize,
    /// What it said that it had, though it hadn't named it; and whether it left that out again afterwards.
    pub(super) duplicates: BTreeSet<EventId>,
    pub(super) left_out_again: bool,
    /// Ids that weren't served, with the window that showed them.
    pub(super) suspects: BTreeMap<EventId, Window>,

    /// What the session has drained, each with the first token that came after it.
    pub(super) claims: VecDeque<(Token, Window)>,
    /// How many of the claims were handed on to be committed with their events.
    pub(super) ahead: usize,
    /// What of the window is drained, with everything stored.
    pub(super) drained: Vec<Window>,
    /// Something of it could not be stored: it claims nothing any more.
    pub(super) broken: bool,
    /// Its window was handed on to other spans.
    pub(super) handed_on: bool,
    /// Something of it is missing, and named.
    pub(super) failed: bool,
    /// Seconds of its window that hold more than was shown of them, or may, as they were named last.
    pub(super) dense: BTreeMap<u64, Dense>,
    /// Events that were shown of it, where it is narrowed by a value that was seen; at most [`MAX_SHOWN`].
    pub(super) shown: BTreeSet<EventId>,

    /// Items that both sides have, and the oldest of them.
    pub(super) shared: (u64, Option<u64>),
    /// The oldest event that came because it was needed.
    pub(super) oldest_needed: Option<u64>,
    pub(super) lacking: Vec<EventId>,
    /// Questions of the probe that wait to be asked, with how often they will have been; and those that are open.
    pub(super) to_probe: Vec<(Question, u32)>,
    pub(super) probes: usize,
    pub(super) probed: bool,
    /// A probe showed what the reconciliation left out; one did before.
    pub(super) truncated: bool,
    pub(super) doubted: bool,
    /// The second down to which the relay compared, where it may have been cut within.
    pub(super) undecided: Option<u64>,
    /// Narrower pieces stand for it.
    pub(super) stood_for: bool,
}

impl Piece {
    pub(super) fn new(span: Span) -> Self {
        Self {
            span,
            stage: Stage::Waiting,
            session: 0,
            attempts: 0,
            verifications: 0,
            fresh_needs: 0,
            named: 0,
            needed: false,
            not_before: 0,
            wanted: VecDeque::new(),
            parked: BTreeMap::new(),
            fetches: 0,
            outstanding: BTreeMap::new(),
            offers: VecDeque::new(),
            uploads: 0,
            duplicates: BTreeSet::new(),
            left_out_again: false,
            suspects: BTreeMap::new(),
            claims: VecDeque::new(),
            ahead: 0,
            drained: Vec::new(),
            broken: false,
            handed_on: false,
            failed: false,
            dense: BTreeMap::new(),
            shown: BTreeSet::new(),
            shared: (0, None),
            oldest_needed: None,
            lacking: Vec::new(),
            to_probe: Vec::new(),
            probes: 0,
            probed: false,
            truncated: false,
            doubted: false,
            undecided: None,
            stood_for: false,
        }
    }

    /// How many ids it holds.
    pub(super) fn held(&self) -> usize {
        let asked = self.wanted.len() + self.parked.len() + self.outstanding.len() + self.offers.len();
        asked
            + self.duplicates.len()
            + self.suspects.len()
            + self.shown.len()
            + self.lacking.len()
            + self.claims.len()
            + self.dense.len()
    }

    /// Whether everything that the sessions brought up has found its end.
    pub(super) fn is_settled(&self) -> bool {
        self.wanted.is_empty()
            && self.parked.is_empty()
            && self.fetches == 0
            && self.outstanding.is_empty()
            && self.offers.is_empty()
            && self.uploads == 0
            && self.probes == 0
    }

    /// An event is settled. Whether something may follow from that.
    pub(super) fn settled(&mut self, token: Token) -> bool {
        let first = self.outstanding.first_key_value().is_some_and(|(first, _)| *first == token);
        self.outstanding.remove(&token);
        self.outstanding.is_empty() || (first && !self.claims.is_empty())
    }

    /// A window has turned out to be whole: nothing in it is dense.
    pub(super) fn whole(&mut self, window: Window) {
        while let Some((second, _)) =
            self.dense.range(window.since..).next().filter(|(second, _)| **second <= window.until)
        {
            let second = *second;
            self.dense.remove(&second);
        }
    }

    /// What waits to be fetched or uploaded.
    pub(super) fn backlog(&self) -> usize {
        self.wanted.len() + self.parked.len() + self.offers.len()
    }

    /// Records that the last session showed to be on the relay.
    pub(super) fn records(&self) -> u64 {
        self.shared.0.saturating_add(self.named)
    }

    /// The oldest second in which the relay was seen to have something.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.shared.1.into_iter().chain(self.oldest_needed).min()
    }

    /// Forgets what the last session said, before the next one.
    pub(super) fn renew(&mut self) {
        self.fresh_needs = 0;
        self.named = 0;
        self.shared = (0, None);
        self.lacking.clear();
    }

    /// The claims that have become true: every event that came before them is settled. What was needed is settled at
    /// the end alone, and what is to go up is known then.
    pub(super) fn ripe(&mut self, at_end: bool) -> Ripe {
        let mut ripe = Ripe { windows: Vec::new(), ahead: true };
        if self.claims_nothing() || (self.needed && !at_end) {
            return ripe;
        }
        let oldest = self.outstanding.first_key_value().map_or(Token::MAX, |(token, _)| *token);
        while self.claims.front().is_some_and(|(mark, _)| *mark <= oldest) {
            ripe.windows.extend(self.claims.pop_front().map(|(_, window)| window));
            ripe.ahead &= self.ahead > 0;
            self.ahead = self.ahead.saturating_sub(1);
        }
        self.drained.extend(&ripe.windows);
        ripe
    }

    /// All claims that wait for commits, some of them not handed on yet, and the events that they depend on.
    pub(super) fn unripe(&mut self) -> Option<(Vec<Window>, Vec<EventId>)> {
        let (mark, _) = self.claims.back().filter(|_| self.ahead < self.claims.len())?;
        if self.claims_nothing() || self.needed {
            return None;
        }
        let events: Option<Vec<EventId>> = self.outstanding.range(..*mark).map(|(_, id)| *id).collect();
        let events = events.filter(|events| !events.is_empty())?;
        self.ahead = self.claims.len();
        Some((self.claims.iter().map(|(_, window)| *window).collect(), events))
    }

    fn claims_nothing(&self) -> bool {
        self.broken || self.handed_on
    }

    /// What of its window isn't drained, newest first.
    pub(super) fn rest(&self) -> Vec<Window> {
        let mut rest = self.span.window.without(self.drained.iter().copied());
        rest.reverse();
        rest
    }
}
