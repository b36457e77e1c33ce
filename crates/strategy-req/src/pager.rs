//! Where the next page begins, what is drained, and what can't be shown (SPEC §7, REQ + EOSE).
//!
//! A relay answers newest first and stops at a cap that it may not have told. So each page asks up to the oldest
//! second of the page before, that second included; where a page lies wholly inside one second, the next asks strictly
//! below. Only an empty page strictly below the oldest second seen is the end, or the relay's own word (NIP-67): a short
//! page may be a cap, and a page of repeats may be a seam. Where a page's order doesn't show that the relay starts at the
//! newest, what lies above the page is asked for, too. Every page asks for less than the one that led to it, and their
//! number is bounded, so paging ends whatever the relay does.
//!
//! A page inside one second hides the rest of that second where it was cut: it was, if it is as large as pages get, or
//! if there turns out to be something beyond. Such a second is named as dense and never claimed. A page that is
//! smaller than usual, because connections broke, says nothing of the relay: the second is asked for again, by itself and
//! at the usual size, and then once more with what lies beside it.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::strategy::{Output, Window};

use crate::page::{Page, Seam, Shown};
use crate::sizes::Sizes;
use crate::span::{LastPage, LastSecond, Raise, Span};

/// Pages of one session: 50 million events at 500 a page.
const MAX_PAGES: u32 = 100_000;
/// Relays that show fewer events than this at once, and don't say so, aren't reckoned with.
const LEAST_CAP: u64 = 10;

pub(crate) struct Pager {
    sizes: Sizes,
    /// Whether the relay has told its cap, so that it needn't be guessed.
    cap_told: bool,
    /// The largest page that is known to have been cut by the relay.
    cap: Option<u64>,
    /// When the session began, unix seconds.
    begun: u64,
    order: Order,
    todo: Vec<Span>,
    span: Option<Span>,
    /// What the page before showed of the second that the next page ends at.
    seam: Option<Seam>,
    /// Seconds of which more is known to be there than was shown, and those of which more may be.
    dense: BTreeSet<u64>,
    unsure: BTreeMap<u64, u64>,
    out: Vec<Output>,
    pages: u32,
}

/// Which events a relay shows where it can't show all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Unknown,
    NewestFirst,
    /// What was sent isn't sorted from the newest on.
    Other,
}

impl Pager {
    /// Reads `window` but for what is in `drained`. `matching` is what the filter's own bounds leave of time, `now` the
    /// last second that can be claimed where the window has no end.
    pub(crate) fn new(
        window: Window,
        drained: &[Window],
        matching: Window,
        now: u64,
        sizes: Sizes,
        cap_told: bool,
    ) -> Self {
        let todo = window
            .without(drained.iter().copied())
            .into_iter()
            .map(|gap| {
                let until = if gap.until == u64::MAX { now } else { gap.until };
                let claim = (gap.since <= until).then_some(Window { until, ..gap });
                Span::new(gap.since.max(matching.since), gap.until.min(matching.until), claim)
            })
            .collect();
        Self {
            sizes,
            cap_told,
            cap: None,
            begun: now,
            order: Order::Unknown,
            todo,
            span: None,
            seam: None,
            dense: BTreeSet::new(),
            unsure: BTreeMap::new(),
            out: Vec::new(),
            pages: 0,
        }
    }

    /// The page to ask for; `None` when everything has been read.
    ///
    /// # Errors
    /// The relay's answers don't end.
    pub(crate) fn next(&mut self) -> Result<Option<Page>, String> {
        loop {
            let Some(mut span) = self.span.take().or_else(|| self.todo.pop()) else {
                self.settle();
                return Ok(None);
            };
            if span.floor > span.until || (span.doubted && self.order == Order::NewestFirst) {
                self.claim(span.claim);
                continue;
            }
            self.pages += 1;
            if self.pages > MAX_PAGES {
                return Err(format!("the relay's answers have not ended within {MAX_PAGES} pages"));
            }
            if span.raise.is_none() && span.floor == span.until && self.sizes.may_raise(span.floor) {
                span.raise = Some(Raise::Alone(LastSecond { second: span.floor, shown: 0 }));
                self.sizes.raise(span.floor);
            }
            let whole = Window { since: span.floor, until: span.until };
            let (asked, limit) = match span.raise {
                None => (whole, self.sizes.of_page_at(span.until)),
                Some(Raise::Alone(LastSecond { second, .. })) => {
                    (Window { since: second, until: second }, self.sizes.full)
                }
                Some(Raise::Beyond(_, limit)) => (whole, self.sizes.limit.max(limit)),
            };
            span.doubted = false;
            self.span = Some(span);
            return Ok(Some(Page::new(asked, limit, self.seam.take())));
        }
    }

    /// Everything that can match has been shown: the rest of the time holds nothing, and no second of it more than was shown.
    pub(crate) fn all_shown(&mut self) {
        let unsure = std::mem::take(&mut self.unsure).into_keys();
        let seconds = std::mem::take(&mut self.dense).into_iter().chain(unsure).collect::<BTreeSet<_>>();
        self.out.retain(|output| !matches!(output, Output::Dense { .. }));
        self.out.extend(seconds.into_iter().map(|second| Output::Drained(Window { since: second, until: second })));
        for span in self.span.take().into_iter().chain(std::mem::take(&mut self.todo)) {
            self.claim(span.claim);
        }
    }

    /// A page has ended; `finished` is NIP-67's hint.
    ///
    /// # Errors
    /// There is no way on: what the relay answers doesn't say where the next page would begin.
    pub(crate) fn ended(&mut self, page: Page, finished: Option<bool>) -> Result<(), String> {
        let Some(mut span) = self.span.take() else { return Ok(()) };
        self.out.extend(self.sizes.came_whole(page.raw).map(Output::Remember));
        // A larger page than the relay was seen to cut says that it changed; one as large, that it didn't.
        if let Some(cap) = self.sizes.heard_cap().filter(|cap| page.raw >= *cap) {
            let cap = Some(cap).filter(|cap| page.raw == *cap);
            self.out.extend(self.sizes.cuts_at(cap, self.begun).map(Output::Remember));
        }
        let raise = span.raise.take();
        let Some(shown) = &page.shown else { return self.ended_empty(span, raise, &page, finished) };
        if shown.unordered {
            self.order = Order::Other;
        } else if !shown.is_one_second() && self.order == Order::Unknown {
            self.order = Order::NewestFirst;
        }
        if let Some(last) = &span.last
            && shows_more(last, shown, page.fresh)
        {
            self.cut(last.raw, last.limit);
            if last.open {
                self.dense(last.second, last.shown);
            }
        }
        if finished == Some(false) {
            self.cut(page.raw, page.limit);
        }
        let full = finished == Some(false) || self.is_full(&page);
        match raise {
            Some(Raise::Alone(_)) => self.ended_alone(span, &page, shown, full, finished),
            _ if finished == Some(true) => self.claim(span.claim),
            Some(Raise::Beyond(LastSecond { second, shown: of }, _))
                if !(shown.oldest.second..=shown.newest.second).contains(&second) =>
            {
                self.dense(second, of);
                self.go_on_from(span, &page, shown, full);
            }
            Some(Raise::Beyond(..)) => self.go_on_from(span, &page, shown, full),
            None => {
                let of = LastSecond { second: shown.oldest.second, shown: shown.oldest.len() };
                let is_small = page.limit < self.sizes.full && page.raw >= page.limit;
                if shown.is_one_second() && is_small && !self.sizes.gave_up_on(of.second) {
                    span.last = None;
                    span.raise = Some(Raise::Alone(of));
                    self.sizes.raise(of.second);
                    self.span = Some(span);
                } else {
                    self.go_on_from(span, &page, shown, full);
                }
            }
        }
        Ok(())
    }

    /// A second was asked for by itself, by a page of the usual size.
    fn ended_alone(&mut self, mut span: Span, page: &Page, shown: &Shown, full: bool, finished: Option<bool>) {
        let of = LastSecond { second: shown.oldest.second, shown: shown.oldest.len() };
        let nothing_beside = span.floor == of.second && span.until == of.second;
        if full || finished == Some(true) || nothing_beside {
            return self.pass(span, page, of, full, finished == Some(true));
        }
        span.raise = Some(Raise::Beyond(of, page.raw.saturating_add(1)));
        self.span = Some(span);
    }

    /// A page of its span has ended, and may have been cut.
    fn go_on_from(&mut self, mut span: Span, page: &Page, shown: &Shown, full: bool) {
        let oldest = LastSecond { second: shown.oldest.second, shown: shown.oldest.len() };
        if shown.is_one_second() {
            return self.pass(span, page, oldest, full, false);
        }
        if shown.unordered && shown.newest.second < span.until {
            // What was left out may be newer than what was sent. Another span reads from there; it begins above this
            // one's floor, so that this too comes to an end.
            let newest = LastSecond { second: shown.newest.second, shown: shown.newest.len() };
            let mut above = Span::new(newest.second, span.until, span.claim_from(newest.second));
            above.last = Some(last_page(page, newest, false, true));
            self.todo.push(above);
        }
        let claim = span.claim_above(oldest.second);
        self.claim(claim);
        span.last = Some(last_page(page, oldest, false, false));
        self.seam = Some(shown.oldest.clone());
        self.go_on(span, Some(oldest.second));
    }

    /// Leaves a second in which a page wholly lay, to what is below it.
    fn pass(&mut self, mut span: Span, page: &Page, of: LastSecond, full: bool, whole: bool) {
        if full {
            self.dense(of.second, of.shown);
        }
        let beside = |below_span| (!whole).then(|| last_page(page, of, !full, below_span));
        // A relay that shows one event at a time isn't reckoned with.
        let may_be_cut = full || whole || page.raw > 1;
        if of.second < span.until && self.order != Order::NewestFirst && may_be_cut {
            // A relay that starts at the oldest shows such a page, too.
            let mut above = Span::new(of.second + 1, span.until, span.claim_from(of.second));
            above.last = beside(true);
            above.doubted = true;
            self.todo.push(above);
        } else {
            let claim = span.claim_above(of.second);
            self.claim(claim);
        }
        span.last = beside(false);
        self.go_on(span, of.second.checked_sub(1));
    }

    fn ended_empty(
        &mut self,
        mut span: Span,
        raise: Option<Raise>,
        page: &Page,
        finished: Option<bool>,
    ) -> Result<(), String> {
        let Window { since, until } = page.asked;
        if page.stray > 0 {
            return Err(format!(
                "asked for {since} to {until}, it sent {} events that match nothing of it",
                page.stray
            ));
        }
        if let Some(raise) = raise.filter(|raise| raise.of().shown > 0) {
            // What it showed of that second before, it doesn't show now.
            self.pass(span, page, raise.of(), true, false);
            return Ok(());
        }
        if finished == Some(true) {
            self.claim(span.claim);
            return Ok(());
        }
        if finished == Some(false) {
            return Err(format!("asked for {since} to {until}, it sent no valid event and says that there are more"));
        }
        if page.raw > 0 && self.is_full(page) {
            if page.limit < self.sizes.limit {
                self.span = Some(span);
                return Ok(());
            }
            return Err(format!("asked for {since} to {until}, it sent {} events of which none is valid", page.raw));
        }
        match &mut span.last {
            // The same of a seam: look below.
            Some(last) if last.second == until => {
                last.open = true;
                self.go_on(span, until.checked_sub(1));
            }
            _ => self.close(span),
        }
        Ok(())
    }

    /// Sets the span's next page, or ends it.
    fn go_on(&mut self, mut span: Span, until: Option<u64>) {
        match until.filter(|until| *until >= span.floor) {
            Some(until) => {
                span.until = until;
                self.span = Some(span);
            }
            None => {
                self.seam = None;
                self.close(span);
            }
        }
    }

    /// A page of the relay's choice was cut: by its cap, where not by ours.
    fn cut(&mut self, raw: u64, limit: u64) {
        if raw < limit || limit >= self.sizes.full {
            self.cap = self.cap.max(Some(raw));
        }
        if raw < limit && raw >= LEAST_CAP {
            self.out.extend(self.sizes.cuts_at(Some(raw), self.begun).map(Output::Remember));
        }
    }

    /// Whether a page may have been cut.
    fn is_full(&self, page: &Page) -> bool {
        let raw = page.raw;
        // Where no cap is known, a large round number is taken for one.
        let looks_cut = || !self.cap_told && raw >= 100 && (raw.is_multiple_of(50) || raw.is_power_of_two());
        let as_heard = || self.sizes.heard_cap() == Some(raw);
        raw >= page.limit || self.cap.map_or_else(|| as_heard() || looks_cut(), |cap| raw >= cap)
    }

    fn dense(&mut self, second: u64, shown: u64) {
        self.unsure.remove(&second);
        if self.dense.insert(second) {
            self.out.push(Output::Dense { second, shown, certain: true });
            self.sizes.made_progress();
        }
    }

    /// Ends a span. Where its last page lay inside one second, and may have been cut by a cap that was never seen (what a
    /// relay says of itself may be too much), nothing that follows could show it: narrower filters can. A relay that was seen
    /// to show more at once cut nothing.
    fn close(&mut self, span: Span) {
        if let Some(last) = span.last.filter(|last| last.open && !last.below_span)
            && self.cap.is_none()
            && last.raw >= self.sizes.most.max(LEAST_CAP)
            && !self.dense.contains(&last.second)
        {
            self.unsure.insert(last.second, last.shown);
        }
        self.claim(span.claim);
    }

    /// Whether `second` holds more than was shown.
    pub(crate) fn is_dense(&self, second: u64) -> bool {
        self.dense.contains(&second)
    }

    fn claim(&mut self, claim: Option<Window>) {
        let Some(claim) = claim else { return };
        let range = claim.since..=claim.until;
        let out: BTreeSet<u64> = self
            .dense
            .range(range.clone())
            .chain(self.unsure.range(range).map(|(second, _)| second))
            .copied()
            .collect();
        let claims = claim.without(out.into_iter().map(|second| Window { since: second, until: second }));
        if !claims.is_empty() {
            self.sizes.made_progress();
        }
        self.out.extend(claims.into_iter().map(Output::Drained));
    }

    /// Everything was read on one connection.
    fn settle(&mut self) {
        let unsure = std::mem::take(&mut self.unsure).into_iter();
        self.out.extend(unsure.map(|(second, shown)| Output::Dense { second, shown, certain: false }));
        self.out.extend(self.sizes.settle().map(Output::Remember));
    }

    /// The connection broke within `page`, at `now` (unix seconds).
    pub(crate) fn lost(&mut self, page: &Page, now: u64) {
        self.out.extend(self.sizes.lost(page, self.pages == 1, now).map(Output::Remember));
    }

    /// What there is to say since the last call.
    pub(crate) fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.out)
    }
}

/// Whether a page shows what the one beside it left out.
fn shows_more(last: &LastPage, shown: &Shown, fresh: u64) -> bool {
    if last.below_span {
        shown.newest.second > last.second || shown.oldest.len() > last.shown
    } else {
        shown.oldest.second < last.second || fresh > 0
    }
}

fn last_page(page: &Page, of: LastSecond, open: bool, below_span: bool) -> LastPage {
    LastPage { raw: page.raw, limit: page.limit, second: of.second, shown: of.shown, open, below_span }
}
