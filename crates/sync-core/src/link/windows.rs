//! Windows of time: which there are left, and how long the next one is to be (SPEC §7, too big).
//!
//! A relay that finds a reconciliation too big is asked again for less time. How much less is learnt from what it says
//! (its cap), from what we hold ourselves, and from what became of the windows before: a window that turned out too big
//! halves the length, one that was far from it doubles it. How much more than the relay we hold is learnt as well: a relay
//! that has little of what we have isn't asked in windows as short as we would need them.

use serde::{Deserialize, Serialize};

use crate::strategy::{ItemKey, KeyRange, SetView, Window};

/// What was learnt of one relay and strategy; kept in the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Learnt {
    /// The most records that it takes, by its own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cap: Option<u64>,
    /// The most records that it was seen to compare, where it left others out without a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) truncates: Option<u64>,
    /// Length of the last windows that it took, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seconds: Option<u64>,
    /// When the cap was last met, unix seconds.
    #[serde(default)]
    pub(super) at: u64,
}

/// How long a cap is believed, seconds: relays change.
const BELIEVED_S: u64 = 7 * 86_400;

impl Learnt {
    /// What of it still counts at `now`, unix seconds.
    pub(super) fn current(self, now: u64) -> Self {
        if now.abs_diff(self.at) <= BELIEVED_S { self } else { Self { seconds: self.seconds, ..Self::default() } }
    }

    /// How many records a window may hold, with a margin for what the relay has and we haven't.
    pub(super) fn target(&self) -> Option<u64> {
        self.cap.into_iter().chain(self.truncates).min().map(|most| (most - most / 4).max(1))
    }

    /// The relay finds more than `cap` records too big.
    pub(super) fn too_big(&mut self, cap: Option<u64>, now: u64) {
        if let Some(cap) = cap.filter(|cap| *cap > 0) {
            self.cap = Some(cap);
            self.at = now;
        }
    }

    /// The relay compared `records` and left others out.
    pub(super) fn truncated(&mut self, records: u64, now: u64) {
        self.truncates = Some(self.truncates.map_or(records, |most| most.min(records)).max(1));
        self.at = now;
    }
}

/// How many times more than the relay we may count as holding: what it has may lie elsewhere.
const MAX_RATIO: u64 = 1 << 20;

/// How long the windows of one filter are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// Seconds; `None` while it is tried whole.
    seconds: Option<u64>,
    /// What we and the relay held in the last windows, the older the less it counts.
    ours: u64,
    theirs: u64,
}

impl Pace {
    /// A window was too big: the next ones are half as long, or as long as windows were before where that is shorter.
    pub(super) fn shrink(&mut self, window: Window, learnt: &Learnt) {
        let half = (length(window) / 2).max(1);
        (self.ours, self.theirs) = (0, 0);
        let start = match self.seconds {
            None => learnt.seconds.unwrap_or(half),
            Some(seconds) => seconds,
        };
        self.seconds = Some(start.min(half).max(1));
    }

    /// A window held `records` at the relay: the next ones are longer where there was room for more. `ours` is as in
    /// [`cut`](Self::cut).
    pub(super) fn grow(&mut self, window: Window, records: u64, ours: &dyn SetView, learnt: &mut Learnt) {
        let Some(seconds) = self.seconds else { return };
        if learnt.target().is_some() {
            self.ours = (self.ours / 2).saturating_add(ours.count(range(window)));
            self.theirs = (self.theirs / 2).saturating_add(records);
        }
        let length = length(window);
        let next = match learnt.target() {
            // Most of time is empty.
            _ if records == 0 => length.saturating_mul(4),
            Some(target) if records.saturating_mul(2) < target => length.saturating_mul(2),
            Some(_) => length,
            None => length.saturating_add(length / 4 + 1),
        };
        self.seconds = Some(seconds.max(next));
        if records > 0 {
            learnt.seconds = Some(length);
        }
    }

    /// The newest stretch of `span` that is to be carried by itself. `ours` is the local set in `span`; it is counted only
    /// where the relay's cap is known, and once that has cut a window, in no more than four times that window.
    pub(super) fn cut(&mut self, span: Window, ours: &dyn SetView, learnt: &Learnt) -> Window {
        let target = learnt.target();
        if self.seconds.is_none() {
            match target {
                Some(target) if ours.count(range(span)) > target => self.shrink(span, learnt),
                _ => return span,
            }
        }
        let seconds = self.seconds.unwrap_or(u64::MAX);
        let since = span.until.saturating_sub(seconds.saturating_sub(1)).max(span.since);
        let window = Window { since, until: span.until };
        let Some(target) = target else { return window };
        let fitted = fit(window, ours, target.saturating_mul(self.ratio()));
        if fitted != window {
            self.seconds = Some(seconds.min(length(fitted).saturating_mul(4)));
        }
        fitted
    }

    /// How many items of ours stand for one of the relay's.
    fn ratio(&self) -> u64 {
        (self.ours / self.theirs.saturating_add(1)).clamp(1, MAX_RATIO)
    }
}

/// The newest stretch of `window` of which we hold at most `target` items; one second at least.
fn fit(window: Window, ours: &dyn SetView, target: u64) -> Window {
    let count = ours.count(range(window));
    if count <= target {
        return window;
    }
    let parts = usize::try_from(count.div_ceil(target)).unwrap_or(usize::MAX).saturating_add(1);
    let since = match ours.split(range(window), parts).last() {
        // Where the cut falls within a second, that second waits for the next window.
        Some(cut) if cut.created_at < window.until => cut.created_at + 1,
        _ => window.until,
    };
    Window { since: since.max(window.since), ..window }
}

/// The places within a window.
pub(super) fn range(window: Window) -> KeyRange {
    let start = ItemKey { created_at: window.since, id: [0; 32] };
    let end = window.until.checked_add(1).map_or(ItemKey::MAX, |after| ItemKey { created_at: after, id: [0; 32] });
    KeyRange { start, end }
}

/// Seconds in a window.
pub(super) fn length(window: Window) -> u64 {
    window.until.saturating_sub(window.since).saturating_add(1)
}

/// The same seconds in as few windows as there can be, ascending; at most `most`, the longest ones.
pub(super) fn merged(mut windows: Vec<Window>, most: usize) -> Vec<Window> {
    windows.retain(|window| window.since <= window.until);
    windows.sort_unstable();
    let mut merged: Vec<Window> = Vec::with_capacity(windows.len());
    for window in windows {
        match merged.last_mut() {
            Some(last) if window.since <= last.until.saturating_add(1) => last.until = last.until.max(window.until),
            _ => merged.push(window),
        }
    }
    if merged.len() > most {
        merged.sort_unstable_by_key(|window| std::cmp::Reverse(length(*window)));
        merged.truncate(most);
        merged.sort_unstable();
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::VecSet;

    fn window(since: u64, until: u64) -> Window {
        Window { since, until }
    }

    fn items(seconds: impl IntoIterator<Item = u64>) -> VecSet {
        let item = |(n, created_at): (usize, u64)| ItemKey { created_at, id: [n as u8; 32] };
        seconds.into_iter().enumerate().map(item).collect()
    }

    #[test]
    fn gaps_are_what_was_not_done() {
        for (whole, done, left) in [
            (window(0, 9), vec![], vec![window(0, 9)]),
            (window(0, 9), vec![window(0, 20)], vec![]),
            (window(5, 9), vec![window(0, 5), window(9, 9)], vec![window(6, 8)]),
            (
                window(0, 9),
                vec![window(6, 7), window(2, 3), window(3, 4)],
                vec![window(0, 1), window(5, 5), window(8, 9)],
            ),
            (window(0, 9), vec![window(1, 8), window(2, 3)], vec![window(0, 0), window(9, 9)]),
            (window(0, 9), vec![window(12, 13)], vec![window(0, 9)]),
            (window(5, 9), vec![window(8, 7)], vec![window(5, 9)]),
            (Window::ALL, vec![window(7, u64::MAX)], vec![window(0, 6)]),
            (window(9, 5), vec![], vec![]),
        ] {
            assert_eq!(whole.without(done.clone()), left, "{whole:?} without {done:?}");
        }
    }

    #[test]
    fn windows_that_touch_are_one_and_the_longest_are_kept() {
        let many = vec![window(5, 6), window(0, 4), window(10, 10), window(9, 7), window(20, 29)];
        assert_eq!(merged(many.clone(), 9), [window(0, 6), window(10, 10), window(20, 29)]);
        assert_eq!(merged(many, 2), [window(0, 6), window(20, 29)]);
        assert_eq!(merged(vec![window(0, u64::MAX), window(3, 4)], 9), [Window::ALL]);
    }

    #[test]
    fn a_filter_is_tried_whole_until_it_is_too_big() {
        let (mut pace, mut learnt) = (Pace::default(), Learnt::default());
        let all = window(0, 999);
        assert_eq!(pace.cut(all, &items(0..50), &learnt), all);
        learnt.too_big(None, 0);
        pace.shrink(all, &learnt);
        assert_eq!(pace.cut(all, &items([]), &learnt), window(500, 999));
        pace.shrink(window(500, 999), &learnt);
        assert_eq!(pace.cut(window(0, 499), &items([]), &learnt), window(250, 499));
        pace.grow(window(250, 499), 0, &items([]), &mut learnt);
        assert_eq!(pace.cut(window(0, 249), &items([]), &learnt), window(0, 249));
    }

    #[test]
    fn our_own_counts_bound_a_window_where_the_cap_is_known() {
        let (mut pace, mut learnt) = (Pace::default(), Learnt::default());
        learnt.too_big(Some(16), 0);
        let all = window(0, 99);
        let first = pace.cut(all, &items(0..100), &learnt);
        assert!(pace.seconds.is_some() && first.until == 99, "{first:?}");
        assert!((1..=12).contains(&length(first)), "{first:?}");
        // A second that is dense by itself can't be cut.
        assert_eq!(pace.cut(all, &items([99; 100]), &learnt), window(99, 99));
    }

    #[test]
    fn a_relay_that_has_little_of_what_we_have_is_asked_in_long_windows() {
        let (mut pace, mut learnt) = (Pace::default(), Learnt::default());
        learnt.too_big(Some(4), 0);
        // It has one of a hundred, evenly.
        let (mut span, mut windows) = (window(0, 99_999), 0);
        let ours = items((0..100_000).step_by(10));
        loop {
            let taken = pace.cut(span, &ours, &learnt);
            windows += 1;
            let theirs = length(taken) / 1_000;
            if theirs > 4 {
                pace.shrink(taken, &learnt);
                continue;
            }
            pace.grow(taken, theirs, &ours, &mut learnt);
            let Some(until) = taken.since.checked_sub(1) else { break };
            span.until = until;
        }
        assert!((25..120).contains(&windows), "{windows} windows for 100 records, four at once");
    }

    #[test]
    fn what_is_counted_does_not_grow_with_what_is_left() {
        let (mut pace, mut learnt) = (Pace::default(), Learnt::default());
        learnt.too_big(Some(40), 0);
        let ours = Counting { set: items(0..50_000), counted: 0.into() };
        let (mut span, mut windows) = (window(0, 49_999), 0);
        loop {
            let taken = pace.cut(span, &ours, &learnt);
            windows += 1;
            pace.grow(taken, length(taken), &ours, &mut learnt);
            let Some(until) = taken.since.checked_sub(1) else { break };
            span.until = until;
        }
        let counted = ours.counted.get();
        assert!(windows > 1_600 && counted < 400_000, "{counted} items were counted for {windows} windows");
    }

    /// A set that remembers how many items it was asked to count.
    struct Counting {
        set: VecSet,
        counted: std::cell::Cell<u64>,
    }

    impl SetView for Counting {
        fn count(&self, range: KeyRange) -> u64 {
            let count = self.set.count(range);
            self.counted.set(self.counted.get() + count);
            count
        }

        fn fingerprint(&self, range: KeyRange) -> [u8; 16] {
            self.set.fingerprint(range)
        }

        fn items(&self, range: KeyRange, visit: &mut dyn FnMut(ItemKey) -> std::ops::ControlFlow<()>) {
            self.set.items(range, visit);
        }

        fn split(&self, range: KeyRange, parts: usize) -> Vec<ItemKey> {
            self.set.split(range, parts)
        }
    }

    #[test]
    fn a_relay_may_claim_as_many_records_as_there_are_numbers() {
        let (mut pace, mut learnt) = (Pace::default(), Learnt::default());
        learnt.too_big(Some(4), 0);
        let all = window(0, 99);
        pace.shrink(all, &learnt);
        for _ in 0..3 {
            pace.grow(window(90, 99), u64::MAX, &items(90..100), &mut learnt);
        }
        assert_eq!(pace.theirs, u64::MAX);
        assert_eq!(pace.cut(all, &items([]), &learnt), window(50, 99));
    }

    #[test]
    fn windows_begin_as_long_as_they_were_before() {
        let learnt = Learnt { seconds: Some(10), ..Learnt::default() };
        let mut pace = Pace::default();
        pace.shrink(window(0, 999), &learnt);
        assert_eq!(pace.cut(window(0, 999), &items([]), &learnt), window(990, 999));
    }
}
