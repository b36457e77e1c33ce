//! A stretch of time that is being read, and what may be claimed of it. Knows no page.

use sync_core::strategy::Window;

/// A stretch of time that is read from its end downwards.
#[derive(Debug)]
pub(crate) struct Span {
    /// The first second that is asked for.
    pub(crate) floor: u64,
    /// The last second that the next page asks for.
    pub(crate) until: u64,
    /// What may be claimed as drained, if anything.
    pub(crate) claim: Option<Window>,
    pub(crate) last: Option<LastPage>,
    /// Read only to see whether the relay starts at the oldest: needless once it is known to start at the newest.
    pub(crate) doubted: bool,
    pub(crate) raise: Option<Raise>,
}

/// The page beside which a span begins: the one before it, or the one that it was split from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastPage {
    /// Events that came, whatever they were.
    pub(crate) raw: u64,
    /// How many were asked for.
    pub(crate) limit: u64,
    /// The second that it ended at.
    pub(crate) second: u64,
    /// How many it showed of that second.
    pub(crate) shown: u64,
    /// Whether more beyond that second would mean that there is more in it, too.
    pub(crate) open: bool,
    /// Whether the span lies above that page, not below it.
    pub(crate) below_span: bool,
}

/// A second that filled a page smaller than usual, or is all that is left, is asked for by a page of the usual size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Raise {
    /// The second alone: how much does it hold?
    Alone(LastSecond),
    /// The page again, large enough for that and one more: was that a cap?
    Beyond(LastSecond, u64),
}

/// A second, and how many events were shown of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastSecond {
    pub(crate) second: u64,
    pub(crate) shown: u64,
}

impl Raise {
    pub(crate) fn of(self) -> LastSecond {
        match self {
            Self::Alone(of) | Self::Beyond(of, _) => of,
        }
    }
}

impl Span {
    pub(crate) fn new(floor: u64, until: u64, claim: Option<Window>) -> Self {
        Self { floor, until, claim, last: None, doubted: false, raise: None }
    }

    /// Takes the claim on `second` and everything above it; what is left lies below.
    pub(crate) fn claim_from(&mut self, second: u64) -> Option<Window> {
        let claim = self.claim.take()?;
        self.claim = second.checked_sub(1).filter(|below| claim.since <= *below).map(|below| {
            let until = claim.until.min(below);
            Window { until, ..claim }
        });
        (second <= claim.until).then(|| Window { since: claim.since.max(second), ..claim })
    }

    /// Takes the claim on everything above `second`.
    pub(crate) fn claim_above(&mut self, second: u64) -> Option<Window> {
        second.checked_add(1).and_then(|above| self.claim_from(above))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(since: u64, until: u64) -> Window {
        Window { since, until }
    }

    #[test]
    fn a_claim_is_made_once() {
        let mut span = Span::new(0, 9, Some(window(2, 9)));
        assert_eq!(span.claim_above(9), None);
        assert_eq!(span.claim_above(6), Some(window(7, 9)));
        assert_eq!(span.claim_above(6), None);
        assert_eq!(span.claim_from(5), Some(window(5, 6)));
        assert_eq!(span.claim_from(0), Some(window(2, 4)));
        assert_eq!(span.claim, None);
        assert_eq!(span.claim_above(u64::MAX), None);
    }
}
