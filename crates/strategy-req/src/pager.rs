//! Where the next page begins, what is drained, and what can't be shown (SPEC §7, REQ + EOSE).
//!
//! A relay answers newest first and stops at a cap that it may not have told. So each page asks up to the oldest
//! second of the page before, that second included; where a page lies wholly inside one second, the next asks strictly
//! below. Only an empty page strictly below the oldest second seen is the end, or the relay's own word (NIP-67): a short
//! page may be a cap, and a page of repeats may be a seam. Every page asks for less than the one before, so paging
//! ends whatever the relay does.
//!
//! A page inside one second hides the rest of that second where it was cut: it was, if it is as large as pages get, or
//! if there turns out to be something below.

use sync_core::model::FailureReason;
use sync_core::strategy::{SessionOutcome, Window};

use crate::page::{Page, Seam};

/// Pages of one session: 50 million events at 500 a page.
const MAX_PAGES: u32 = 100_000;

pub(crate) struct Pager {
    limit: u64,
    /// Whether the relay has told its cap, so that it needn't be guessed.
    cap_told: bool,
    /// The largest page that is known to have been cut.
    cap: Option<u64>,
    todo: Vec<Span>,
    span: Option<Span>,
    /// What is drained once everything has been read.
    held_back: Vec<Window>,
    claims: Vec<Window>,
    dense: Option<Dense>,
    pages: u32,
}

/// A stretch of time that is read from its end downwards.
struct Span {
    /// The first second that is asked for.
    floor: u64,
    /// The last second that the next page asks for.
    until: u64,
    /// What may be claimed as drained, if anything.
    claim: Option<Window>,
    last: Option<LastPage>,
}

/// The page before, within a span.
struct LastPage {
    raw: u64,
    seam: Seam,
    /// Whether something below its oldest second would mean that there is more in that second.
    ends_at_seam: bool,
}

/// Seconds that hold more than the relay shows.
struct Dense {
    newest: u64,
    more_than: u64,
    others: u64,
}

impl Span {
    /// The claim on everything above `second`, once; what is left of it ends at `second`.
    fn claim_above(&mut self, second: u64) -> Option<Window> {
        let claim = self.claim.as_mut()?;
        let from = second.saturating_add(1).max(claim.since);
        let above = (from <= claim.until && second < claim.until).then_some(Window { since: from, until: claim.until });
        claim.until = claim.until.min(second);
        above
    }

    /// Never claims `second`, nor what lies above and wasn't claimed.
    fn deny(&mut self, second: u64) {
        self.claim = self.claim.zip(second.checked_sub(1)).and_then(|(claim, below)| {
            let until = claim.until.min(below);
            (claim.since <= until).then_some(Window { until, ..claim })
        });
    }
}

impl Pager {
    /// Reads `window` but for what is in `drained`. `matching` is what the filter's own bounds leave of time, `now` the
    /// last second that can be claimed where the window has no end.
    pub(crate) fn new(
        window: Window,
        drained: &[Window],
        matching: Window,
        now: u64,
        limit: u64,
        cap_told: bool,
    ) -> Self {
        let todo = gaps(window, drained)
            .into_iter()
            .map(|gap| {
                let until = if gap.until == u64::MAX { now } else { gap.until };
                Span {
                    floor: gap.since.max(matching.since),
                    until: gap.until.min(matching.until),
                    claim: (gap.since <= until).then_some(Window { until, ..gap }),
                    last: None,
                }
            })
            .collect();
        Self {
            limit,
            cap_told,
            cap: None,
            todo,
            span: None,
            held_back: Vec::new(),
            claims: Vec::new(),
            dense: None,
            pages: 0,
        }
    }

    /// The page to ask for; `None` when everything has been read.
    ///
    /// # Errors
    /// The relay's answers don't end.
    pub(crate) fn next(&mut self) -> Result<Option<Page>, String> {
        loop {
            let Some(span) = self.span.take().or_else(|| self.todo.pop()) else {
                if self.dense.is_none() {
                    self.claims.append(&mut self.held_back);
                }
                return Ok(None);
            };
            if span.floor > span.until {
                self.claims.extend(span.claim);
                continue;
            }
            self.pages += 1;
            if self.pages > MAX_PAGES {
                return Err(format!("the relay's answers have not ended within {MAX_PAGES} pages"));
            }
            let asked = Window { since: span.floor, until: span.until };
            let page = Page::new(asked, span.last.as_ref().map(|last| last.seam.clone()));
            self.span = Some(span);
            return Ok(Some(page));
        }
    }

    /// A page has ended; `finished` is NIP-67's hint.
    ///
    /// # Errors
    /// There is no way on: what the relay answers doesn't say where the next page would begin.
    pub(crate) fn ended(&mut self, page: Page, finished: Option<bool>) -> Result<(), String> {
        let Some(mut span) = self.span.take() else { return Ok(()) };
        let Some(shown) = page.shown else { return self.ended_empty(span, &page, finished) };
        let second = shown.oldest.second;
        if let Some(last) = &span.last
            && (second < last.seam.second || page.fresh > 0)
        {
            self.cap = self.cap.max(Some(last.raw));
            if last.ends_at_seam {
                self.dense(last.seam.second, last.seam.len());
                span.deny(last.seam.second);
            }
        }
        if finished == Some(true) {
            self.claims.extend(span.claim);
            return Ok(());
        }
        if finished == Some(false) {
            self.cap = self.cap.max(Some(page.raw));
        }
        if shown.unordered && shown.newest < page.asked.until {
            // What was left out may be newer than what was sent. Another span reads from there; it begins above this
            // one's floor, so that this too comes to an end.
            self.held_back.extend(span.claim.take());
            self.todo.push(Span { floor: shown.newest, until: page.asked.until, claim: None, last: None });
        }
        self.claims.extend(span.claim_above(second));
        let inside = shown.only_second().is_some();
        let full = finished == Some(false) || self.is_full(page.raw);
        if inside && full {
            self.dense(second, shown.oldest.len());
            span.deny(second);
        }
        span.last = Some(LastPage { raw: page.raw, seam: shown.oldest, ends_at_seam: inside && !full });
        self.go_on(span, if inside { second.checked_sub(1) } else { Some(second) });
        Ok(())
    }

    fn ended_empty(&mut self, mut span: Span, page: &Page, finished: Option<bool>) -> Result<(), String> {
        let Window { since, until } = page.asked;
        if page.stray > 0 {
            return Err(format!(
                "asked for {since} to {until}, it sent {} events that match nothing of it",
                page.stray
            ));
        }
        if finished == Some(true) {
            self.claims.extend(span.claim);
            return Ok(());
        }
        if finished == Some(false) {
            return Err(format!("asked for {since} to {until}, it sent no valid event and says that there are more"));
        }
        if page.raw > 0 && self.is_full(page.raw) {
            return Err(format!("asked for {since} to {until}, it sent {} events of which none is valid", page.raw));
        }
        match &mut span.last {
            // What it showed of that second before, it doesn't show now: look below.
            Some(last) if last.seam.second == until => {
                last.ends_at_seam = true;
                self.go_on(span, until.checked_sub(1));
            }
            _ => self.claims.extend(span.claim),
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
            None => self.claims.extend(span.claim),
        }
    }

    /// Whether a page of `raw` events may have been cut.
    fn is_full(&self, raw: u64) -> bool {
        // Where no cap is known, a large round number is taken for one.
        let looks_cut = || !self.cap_told && raw >= 100 && (raw.is_multiple_of(50) || raw.is_power_of_two());
        raw >= self.limit || self.cap.map_or_else(looks_cut, |cap| raw >= cap)
    }

    fn dense(&mut self, second: u64, more_than: u64) {
        match &mut self.dense {
            None => self.dense = Some(Dense { newest: second, more_than, others: 0 }),
            Some(dense) => dense.others += u64::from(dense.newest != second),
        }
    }

    /// What has been drained since the last call.
    pub(crate) fn take_claims(&mut self) -> Vec<Window> {
        std::mem::take(&mut self.claims)
    }

    /// How it ended, once [`Pager::next`] has said that everything was read.
    pub(crate) fn outcome(&self) -> SessionOutcome {
        let Some(Dense { newest: second, more_than, others }) = self.dense else { return SessionOutcome::Complete };
        let mut text = format!("second {second}: more than {more_than} events");
        if others > 0 {
            text.push_str(&format!("; and {others} other seconds"));
        }
        SessionOutcome::Incomplete { reason: FailureReason::DenseSecond { second, more_than }, text }
    }
}

/// What `drained` leaves of `window`, oldest first.
fn gaps(window: Window, drained: &[Window]) -> Vec<Window> {
    let mut drained: Vec<_> = drained.iter().filter(|done| done.since <= done.until).collect();
    drained.sort_unstable();
    let mut gaps = Vec::new();
    let mut from = Some(window.since);
    for done in drained {
        let Some(since) = from else { break };
        if done.since > window.until {
            break;
        }
        if done.since > since {
            gaps.push(Window { since, until: done.since - 1 });
        }
        from = if done.until < since { from } else { done.until.checked_add(1) };
    }
    gaps.extend(from.filter(|since| *since <= window.until).map(|since| Window { since, until: window.until }));
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(since: u64, until: u64) -> Window {
        Window { since, until }
    }

    #[test]
    fn gaps_are_what_was_not_drained() {
        for (whole, drained, left) in [
            (window(0, 9), vec![], vec![window(0, 9)]),
            (window(0, 9), vec![window(0, 9)], vec![]),
            (window(0, 9), vec![window(0, 20)], vec![]),
            (window(5, 9), vec![window(0, 5), window(9, 9)], vec![window(6, 8)]),
            (
                window(0, 9),
                vec![window(6, 7), window(2, 3), window(3, 4)],
                vec![window(0, 1), window(5, 5), window(8, 9)],
            ),
            (window(0, 9), vec![window(12, 13)], vec![window(0, 9)]),
            (window(5, 9), vec![window(1, 2)], vec![window(5, 9)]),
            (window(5, 9), vec![window(8, 7)], vec![window(5, 9)]),
            (Window::ALL, vec![window(7, u64::MAX)], vec![window(0, 6)]),
            (Window::ALL, vec![window(0, 6)], vec![window(7, u64::MAX)]),
            (window(9, 5), vec![], vec![]),
        ] {
            assert_eq!(gaps(whole, &drained), left, "{whole:?} without {drained:?}");
        }
    }

    #[test]
    fn a_claim_is_made_once_and_never_for_a_denied_second() {
        let mut span = Span { floor: 0, until: 9, claim: Some(window(2, 9)), last: None };
        assert_eq!(span.claim_above(9), None);
        assert_eq!(span.claim_above(6), Some(window(7, 9)));
        assert_eq!(span.claim_above(6), None);
        span.deny(6);
        assert_eq!(span.claim_above(4), Some(window(5, 5)));
        span.deny(2);
        assert_eq!(span.claim, None);
        assert_eq!(span.claim_above(0), None);
    }
}
