//! What a session says of the times that it has read: what is drained, and which seconds are dense.
//!
//! A second that may hold more than was shown can turn out to be whole once a larger answer comes. So it waits, but not among
//! more than [`MAX_UNSURE`]: what is said of one input stays in proportion, and so does what is kept.

use std::collections::BTreeMap;

use super::{Read, Sizes, Span};
use crate::ffi::Window;
use crate::plugin::Output;

/// Unsure seconds that wait for a larger answer.
const MAX_UNSURE: usize = 500;

/// A second of which an answer may not have shown all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Second {
    /// Unix time.
    pub at: u64,
    /// How many different events were shown of it.
    pub shown: u64,
    /// How many events of that answer a relay may count against its cap ([`Sizes::counted`]).
    pub counted: u64,
    /// The relay says that there are more (NIP-67).
    pub more: bool,
}

/// What is claimed of a window, from the first answer to the end of the session.
#[derive(Debug, Clone)]
pub struct Claims {
    within: Window,
    whole: Vec<Window>,
    unsure: BTreeMap<u64, Second>,
    /// Seconds that were named, and whether it was certain.
    dense: BTreeMap<u64, bool>,
    named: Vec<Output>,
}

impl Claims {
    /// Nothing is claimed yet of `window`, the session's; where it has no end, nothing later than `now` (unix time) ever is.
    pub fn new(window: Window, now: u64) -> Self {
        let until = if window.until == u64::MAX { now } else { window.until };
        let within = Window { until, ..window };
        Self { within, whole: Vec::new(), unsure: BTreeMap::new(), dense: BTreeMap::new(), named: Vec::new() }
    }

    /// Takes what an answer comes to. What it leaves open is returned.
    pub fn read(&mut self, read: Read, sizes: &Sizes) -> Vec<Span> {
        let Read { whole, open, unsure } = read;
        whole.into_iter().for_each(|window| self.whole(window));
        unsure.into_iter().for_each(|second| self.unsure(second, sizes));
        open
    }

    /// All of the filter in `window` was shown.
    pub fn whole(&mut self, window: Window) {
        let (since, until) = (window.since.max(self.within.since), window.until.min(self.within.until));
        if since <= until {
            self.whole.push(Window { since, until });
        }
    }

    /// A second may hold more than was shown. Where too many wait by now, what can be said of them is said.
    pub fn unsure(&mut self, second: Second, sizes: &Sizes) {
        if self.unsure.len() >= MAX_UNSURE {
            self.settle(sizes);
        }
        if !self.dense.contains_key(&second.at) {
            self.unsure.insert(second.at, second);
        }
    }

    /// How large answers get is known as well as it will be: unsure seconds are whole, or named.
    pub fn settle(&mut self, sizes: &Sizes) {
        for second in self.give_up(sizes) {
            let Second { at, shown, counted, more } = second;
            let certain = more || sizes.is_full(counted);
            self.named.push(Output::Dense { second: at, shown, certain });
            self.dense.insert(at, certain);
        }
    }

    /// The session ends before its time: of the unsure seconds, those are claimed that are known to be whole. The others are
    /// returned.
    pub fn give_up(&mut self, sizes: &Sizes) -> Vec<Second> {
        let is_whole = |second: &Second| !second.more && sizes.is_whole(second.counted);
        let (whole, open): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unsure).into_values().partition(is_whole);
        whole.into_iter().for_each(|Second { at, .. }| self.whole(Window { since: at, until: at }));
        open
    }

    /// No second holds more than was shown: those that wait are whole.
    pub fn all_shown(&mut self) {
        for at in std::mem::take(&mut self.unsure).into_keys() {
            self.whole(Window { since: at, until: at });
        }
    }

    /// Whether what the relay didn't show of `second` is to be offered to it: unless it is certain that there is more.
    pub fn may_lack(&self, second: u64) -> bool {
        self.dense.get(&second) != Some(&true)
    }

    /// What there is to say since the last call; windows that touch are one.
    pub fn take(&mut self) -> Vec<Output> {
        let mut windows = std::mem::take(&mut self.whole);
        windows.sort_unstable_by_key(|window| window.since);
        windows.dedup_by(|next, window| {
            let touch = next.since <= window.until.saturating_add(1);
            window.until = if touch { window.until.max(next.until) } else { window.until };
            touch
        });
        windows.into_iter().map(Output::Drained).chain(std::mem::take(&mut self.named)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const NOW: u64 = 1_000_000;

    fn window(since: u64, until: u64) -> Window {
        Window { since, until }
    }

    fn second(at: u64, counted: u64) -> Second {
        Second { at, shown: counted, counted, more: false }
    }

    fn claims() -> Claims {
        Claims::new(window(10, u64::MAX), NOW)
    }

    /// Of a relay whose largest answer so far had so many events.
    fn sizes(most: u64) -> Sizes {
        Sizes { most, ..Sizes::new(500) }
    }

    #[test]
    fn windows_that_touch_are_one_and_what_is_to_come_is_nobodys() {
        let mut claims = claims();
        for (since, until) in [(60, 70), (20, 29), (0, 14), (30, 40), (65, 66), (NOW - 1, u64::MAX), (NOW + 1, NOW + 2)]
        {
            claims.whole(window(since, until));
        }
        let expected =
            [(10, 14), (20, 40), (60, 70), (NOW - 1, NOW)].map(|(since, until)| Output::Drained(window(since, until)));
        assert_eq!(claims.take(), expected);
        assert_eq!(claims.take(), []);
        let mut all = Claims::new(window(0, u64::MAX - 1), NOW);
        all.whole(window(5, u64::MAX));
        all.whole(window(0, 4));
        assert_eq!(all.take(), [Output::Drained(window(0, u64::MAX - 1))]);
    }

    #[test]
    fn an_answer_is_claimed_or_open() {
        let mut claims = claims();
        let open = vec![Span::from(window(20, 49))];
        let read = Read { whole: Some(window(51, 60)), open: open.clone(), unsure: Some(second(50, 3)) };
        assert_eq!(claims.read(read, &sizes(3)), open);
        claims.settle(&sizes(4));
        assert_eq!(claims.take(), [Output::Drained(window(50, 60))]);
    }

    #[test]
    fn a_second_is_whole_once_larger_answers_came() {
        let mut claims = claims();
        claims.unsure(second(50, 3), &sizes(3));
        claims.unsure(second(51, 4), &sizes(4));
        claims.unsure(Second { more: true, ..second(52, 1) }, &sizes(4));
        assert_eq!(claims.take(), []);
        claims.settle(&sizes(4));
        let dense = |second, shown, certain| Output::Dense { second, shown, certain };
        assert_eq!(claims.take(), [Output::Drained(window(50, 50)), dense(51, 4, false), dense(52, 1, true)]);
        assert!([49, 50, 51].into_iter().all(|second| claims.may_lack(second)) && !claims.may_lack(52));
        claims.unsure(second(51, 1), &sizes(4));
        claims.settle(&sizes(9));
        assert_eq!(claims.take(), [], "it was named");
    }

    #[test]
    fn what_ends_early_names_nothing() {
        let mut claims = claims();
        claims.unsure(second(50, 3), &sizes(3));
        claims.unsure(second(51, 4), &sizes(4));
        assert_eq!(claims.give_up(&sizes(4)), [second(51, 4)]);
        assert_eq!(claims.take(), [Output::Drained(window(50, 50))]);
        claims.unsure(second(70, 9), &sizes(4));
        claims.all_shown();
        assert_eq!(claims.take(), [Output::Drained(window(70, 70))]);
    }

    #[test]
    fn what_is_said_at_once_is_bounded_and_nothing_is_left_out() {
        let (mut claims, mut told) = (claims(), BTreeSet::new());
        for at in 0..5_000 {
            claims.unsure(second(1_000 + 2 * at, 3 + at % 2), &sizes(4));
            let said = claims.take();
            assert!(said.len() <= MAX_UNSURE, "{} at once", said.len());
            told.extend(said.into_iter().map(|output| match output {
                Output::Drained(Window { since, .. }) if since % 4 == 0 => since,
                Output::Dense { second, .. } if second % 4 != 0 => second,
                other => panic!("{other:?}"),
            }));
        }
        assert!(told.len() < 5_000);
        claims.settle(&sizes(4));
        assert_eq!(told.len() + claims.take().len(), 5_000);
    }
}
