//! One filter of a batch on its way: what of its time is still to be carried, what is being carried, what is missing.

use std::collections::{BTreeMap, BTreeSet};

use nostr::event::EventId;
use nostr::filter::Filter;

use super::memory::Share;
use super::narrow;
use super::piece::{Piece, Span};
use super::windows::{Pace, merged};
use super::wire;
use crate::model::{BatchRequest, Counts, Failure, FailureReason, Fallback, FilterCoverage, SyncMethod};
use crate::strategy::{BadEvent, Window};
use crate::time::MonoMillis;

/// Ids that a part remembers as accounted for; beyond it a verification round may ask for one twice.
const MAX_ACCOUNTED: usize = 100_000;
/// Windows that a part remembers as drained: what is forgotten is asked for again.
pub(super) const MAX_COVERED: usize = 1_024;
/// Failures that a part keeps in words; more of them are counted.
const MAX_FAILURES: usize = 64;
/// Dense seconds that a part asks for by narrower filters, and such filters in all: a relay can make up both.
const MAX_SPLITS: usize = 1_000;
const MAX_SHARES: u64 = 20_000;
/// Bad events in one batch that are many, where they are a hundredth of what came, too.
const MANY_BAD: u64 = 10;

/// A second that is asked for by narrower filters.
#[derive(Debug)]
pub(super) struct Split {
    /// Shares of it that have not ended.
    open: u64,
    /// At least as many events are in it.
    more_than: u64,
    /// It can't be shown whole.
    doubt: bool,
    /// Some share of it failed, in words of its own.
    failed: bool,
    questions: Vec<Question>,
    /// It is to be read by this strategy, once its shares have ended.
    read: Option<usize>,
}

/// A second that seemed whole is asked for by the values that were seen there: where these show more, it wasn't, and other
/// values may be there.
#[derive(Debug)]
struct Question {
    shown: u64,
    found: u64,
    /// Place of the strategy that reads the second then.
    next: Option<usize>,
}

impl Split {
    fn new() -> Self {
        Self { open: 0, more_than: 0, doubt: false, failed: false, questions: Vec::new(), read: None }
    }
}

/// What is known of a filter when its part begins.
pub(super) struct Known<'a> {
    pub(super) covered: Vec<Window>,
    /// Seconds that are asked for at the end, with how much was shown of them at once.
    pub(super) dense: BTreeMap<u64, u64>,
    pub(super) shares_drained: u64,
    /// What is known of a second's share.
    pub(super) share: &'a dyn Fn(&Filter, u64) -> Share,
}

/// One filter of a batch.
#[derive(Debug)]
pub(super) struct Part {
    /// Without times and limit.
    pub(super) filter: Filter,
    /// All of the time that is asked for.
    pub(super) window: Window,
    /// What no piece has taken up; the next one on top.
    pub(super) todo: Vec<Span>,
    pub(super) pieces: BTreeMap<u64, Piece>,
    next_piece: u64,
    /// Sessions that were opened for it.
    pub(super) sessions: u64,
    /// What the strategies that were asked said: whether they suit it.
    pub(super) suits: BTreeMap<usize, bool>,
    /// What is drained of the filter, ascending.
    pub(super) covered: Vec<Window>,
    pub(super) pace: Pace,
    splits: BTreeMap<u64, Split>,
    /// Seconds that were told as dense, with how much was shown of them.
    pub(super) dense: BTreeMap<u64, u64>,
    shares: u64,
    /// Dense seconds beyond [`MAX_SPLITS`].
    unsplit: u64,
    /// Dense seconds that were looked up in the store.
    looked_up: usize,
    /// Shares of dense seconds that are drained, over all connections of the run.
    pub(super) shares_drained: u64,
    /// A connection ended before its dense seconds were dealt with: its pieces go one after the other, so that what comes
    /// before the next end is of use.
    pub(super) careful: bool,
    /// What the relay took that it hadn't.
    pub(super) uploaded: BTreeSet<EventId>,
    /// Uploads in a row that were not answered.
    pub(super) unanswered: usize,
    /// Cool-downs waited out, and the end of the last one of them.
    pub(super) cool_downs: u32,
    /// Requests repeated because the relay didn't know us.
    pub(super) asked_again: u32,
    pub(super) cooling: MonoMillis,
    /// Ids that can't come: bad, kept out, or not served.
    accounted: BTreeSet<EventId>,
    /// Ids that weren't served and are looked for once more.
    pub(super) suspects: BTreeSet<EventId>,
    not_served: Vec<EventId>,
    not_served_count: u64,
    pub(super) failures: Vec<Failure>,
    more_failures: u64,
    pub(super) ended: bool,
}

impl Part {
    /// `filter` over `window`, of which `known` is drained already.
    pub(super) fn new(filter: Filter, window: Window, known: Known<'_>) -> Self {
        let Known { covered, dense, shares_drained, share } = known;
        let mut part = Self::with(filter, window, covered, dense);
        part.shares_drained = shares_drained;
        let open = window.without(part.covered.iter().copied());
        let last = part.dense.clone().into_iter().filter(|(second, _)| open.iter().any(|gap| gap.contains(*second)));
        let last: Vec<(Window, u64)> =
            last.map(|(second, shown)| (Window { since: second, until: second }, shown)).collect();
        part.careful = !last.is_empty();
        // On top of what is asked for at the end.
        for (second, shown) in &last {
            part.take_up_dense(*second, *shown, &|filter| share(filter, second.since));
        }
        let first = open.iter().flat_map(|gap| gap.without(last.iter().map(|(second, _)| *second)));
        let first: Vec<Span> = first.map(|window| part.span(window)).collect();
        part.todo.extend(first);
        part
    }

    /// A second that was told as dense is to be asked for by what of its shares is open. Where nothing narrower is left, what
    /// could still be had comes first.
    fn take_up_dense(&mut self, second: Window, shown: u64, known: &dyn Fn(&Filter) -> Share) {
        match narrow::open_shares(&self.filter, known) {
            None => self.todo.insert(0, self.span(second)),
            Some(shares) if shares.len() == 0 => self.cover([second]),
            Some(shares) => {
                if self.split(second.since, shares.len() as u64, false, shown) {
                    let share_of = Some(second.since);
                    let span = |filter| Span { filter, share_of, ..self.span(second) };
                    let (last, open): (Vec<Span>, Vec<Span>) =
                        (shares.last.into_iter().map(span).collect(), shares.open.into_iter().map(span).collect());
                    self.todo.splice(..0, last);
                    self.todo.extend(open);
                }
            }
        }
    }

    fn span(&self, window: Window) -> Span {
        Span::new(self.filter.clone(), window, 0)
    }

    fn with(filter: Filter, window: Window, covered: Vec<Window>, dense: BTreeMap<u64, u64>) -> Self {
        Self {
            filter,
            window,
            todo: Vec::new(),
            pieces: BTreeMap::new(),
            next_piece: 0,
            sessions: 0,
            covered,
            pace: Pace::default(),
            splits: BTreeMap::new(),
            dense,
            shares: 0,
            unsplit: 0,
            looked_up: 0,
            shares_drained: 0,
            careful: false,
            suits: BTreeMap::new(),
            uploaded: BTreeSet::new(),
            unanswered: 0,
            cool_downs: 0,
            asked_again: 0,
            cooling: 0,
            accounted: BTreeSet::new(),
            suspects: BTreeSet::new(),
            not_served: Vec::new(),
            not_served_count: 0,
            failures: Vec::new(),
            more_failures: 0,
            ended: false,
        }
    }

    /// Takes up a span.
    pub(super) fn take_up(&mut self, span: Span) -> u64 {
        self.next_piece += 1;
        self.pieces.insert(self.next_piece, Piece::new(span));
        self.next_piece
    }

    /// Whether nothing is left to be carried.
    pub(super) fn is_done(&self) -> bool {
        self.todo.is_empty() && self.pieces.is_empty()
    }

    /// How many ids it holds.
    pub(super) fn held(&self) -> usize {
        let pieces = self.pieces.values().map(Piece::held).sum::<usize>();
        pieces + self.accounted.len() + self.suspects.len() + self.not_served.len() + self.uploaded.len()
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

    /// Takes note of what is missing in `window`.
    pub(super) fn fail(&mut self, window: Option<Window>, reason: FailureReason, text: impl Into<String>) {
        if self.failures.len() >= MAX_FAILURES {
            self.more_failures += 1;
            // The last one stands for all that follow, so that no window goes unnamed.
            if let Some(last) = self.failures.last_mut() {
                last.window = last.window.zip(window).map(|(a, b)| hull(a, b));
            }
            return;
        }
        let filter = wire::filter_text(&self.filter, 300);
        self.failures.push(Failure { filter, window, reason, text: text.into() });
    }

    /// As [`fail`](Self::fail), but says the same thing once only, of all windows that it concerns.
    pub(super) fn fail_once(&mut self, window: Option<Window>, reason: FailureReason, text: impl Into<String>) {
        match self.failures.iter_mut().find(|failure| failure.reason == reason) {
            Some(failure) => failure.window = failure.window.zip(window).map(|(a, b)| hull(a, b)),
            None => self.fail(window, reason, text),
        }
    }

    /// Takes note that `window` is drained, and everything of it stored.
    pub(super) fn cover(&mut self, windows: impl IntoIterator<Item = Window>) {
        self.covered.extend(windows);
        self.covered = merged(std::mem::take(&mut self.covered), MAX_COVERED);
    }

    /// `second` is asked for by `shares` filters more, in the place of one. `false` where there are too many already: what
    /// is missing of it is named then.
    pub(super) fn split(&mut self, second: u64, shares: u64, replaces: bool, more_than: u64) -> bool {
        self.shares += shares;
        let crowded = self.shares > MAX_SHARES || (!replaces && self.splits.len() >= MAX_SPLITS);
        if crowded && !replaces {
            self.unsplit += 1;
            return false;
        }
        let split = self.splits.entry(second).or_insert_with(Split::new);
        split.more_than = split.more_than.max(more_than);
        if crowded {
            split.doubt = true;
            return false;
        }
        split.open = split.open + shares - u64::from(replaces);
        true
    }

    /// Whether the store may be asked what is seen of a dense second, or of its share where it `replaces` one. It is asked of as
    /// many seconds as may be asked for by narrower filters; further ones are counted as those beyond.
    pub(super) fn may_look_up(&mut self, replaces: bool) -> bool {
        let may = replaces || self.looked_up < MAX_SPLITS;
        self.looked_up += usize::from(may && !replaces);
        self.unsplit += u64::from(!may);
        may
    }

    /// `second` can't be shown whole.
    pub(super) fn doubt(&mut self, second: u64, more_than: u64) {
        let split = self.splits.entry(second).or_insert_with(Split::new);
        split.doubt = true;
        split.more_than = split.more_than.max(more_than);
    }

    /// `second` is asked for by values that were seen among the `shown` events of it; the number of that question. Where they
    /// show more, the strategy at `next` reads the second.
    pub(super) fn question(&mut self, second: u64, shown: u64, next: Option<usize>) -> Option<usize> {
        let split = self.splits.get_mut(&second)?;
        split.questions.push(Question { shown, found: 0, next });
        Some(split.questions.len() - 1)
    }

    /// A share of `second` has ended; `seen`: how many events it showed, and of which question it is a share. Returns
    /// whether the second is whole, where it was the last one.
    pub(super) fn share_ended(&mut self, second: u64, failed: bool, seen: Option<(usize, u64)>) -> Option<bool> {
        let split = self.splits.get_mut(&second)?;
        split.failed |= failed;
        if let Some((question, count)) = seen
            && let Some(Question { shown, found, next }) = split.questions.get_mut(question)
        {
            *found = found.saturating_add(count);
            if *found > *shown {
                match next.take() {
                    Some(next) => split.read = Some(next),
                    None => split.doubt |= split.read.is_none(),
                }
            }
        }
        split.open = split.open.saturating_sub(1);
        if split.open > 0 {
            return None;
        }
        if let Some(strategy) = split.read.take() {
            split.open = 1;
            let (filter, window) = (self.filter.clone(), Window { since: second, until: second });
            self.todo.push(Span { share_of: Some(second), ..Span::new(filter, window, strategy) });
            return None;
        }
        Some(!split.doubt && !split.failed)
    }

    /// Ends the part, naming what is missing. `found` says how many events of a second are here.
    pub(super) fn finish(&mut self, found: impl Fn(u64) -> u64) {
        if self.ended {
            return;
        }
        self.ended = true;
        for (second, Split { more_than, .. }) in std::mem::take(&mut self.splits).into_iter().filter(|(_, s)| s.doubt) {
            let text = dense_text(second, more_than, found(second));
            let window = Some(Window { since: second, until: second });
            self.fail(window, FailureReason::DenseSecond { second, more_than }, text);
        }
        if self.unsplit > 0 {
            let text = format!("{} more seconds hold more than is shown of them at once", self.unsplit);
            self.fail(Some(self.window), FailureReason::Protocol, text);
        }
        if self.not_served_count > 0 {
            let (ids, count) = (std::mem::take(&mut self.not_served), self.not_served_count);
            let first = ids.first().map(EventId::to_hex).unwrap_or_default();
            self.fail(
                None,
                FailureReason::NotServed { ids, count },
                format!("{count} offered events aren't served, {first} among them"),
            );
        }
        if self.more_failures > 0
            && let Some(last) = self.failures.last_mut()
        {
            last.text.push_str(&format!(" (and {} more failures)", self.more_failures));
        }
        self.accounted = BTreeSet::new();
    }

    /// What is drained, and what isn't.
    pub(super) fn coverage(&self) -> FilterCoverage {
        let mut open = self.window.without(self.covered.iter().copied());
        let mut drained = merged(self.covered.clone(), usize::MAX);
        let more = (open.len() + drained.len()).saturating_sub(2 * FilterCoverage::MAX_WINDOWS) as u64;
        // The newest ones tell most.
        open.drain(..open.len().saturating_sub(FilterCoverage::MAX_WINDOWS));
        drained.drain(..drained.len().saturating_sub(FilterCoverage::MAX_WINDOWS));
        FilterCoverage {
            filter: wire::filter_text(&self.filter, 300),
            drained,
            open,
            more,
            shares: self.shares_drained,
        }
    }
}

/// What is said of a second that can't be shown whole.
pub(super) fn dense_text(second: u64, more_than: u64, here: u64) -> String {
    format!(
        "second {second}: more than {more_than} events, the most that is shown of it at once; {here} of them are here"
    )
}

fn hull(a: Window, b: Window) -> Window {
    Window { since: a.since.min(b.since), until: a.until.max(b.until) }
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
    pub(super) methods: Vec<SyncMethod>,
    pub(super) counts: Counts,
    /// Events that failed a check, by reason.
    bad: BTreeMap<&'static str, u64>,
    pub(super) fallbacks: Vec<Fallback>,
}

impl Carried {
    /// A batch that begins at `now` (unix seconds).
    pub(super) fn new(request: BatchRequest, parts: Vec<Part>, order: Vec<usize>, now: u64) -> Self {
        Self {
            request,
            parts,
            order,
            begun: now,
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
        Some(Failure { filter: String::new(), window: None, reason: FailureReason::Protocol, text })
    }

    /// Counts an event that was kept out.
    pub(super) fn reject(&mut self, reason: &str) {
        *self.counts.rejected.entry(reason.to_owned()).or_default() += 1;
    }
}
