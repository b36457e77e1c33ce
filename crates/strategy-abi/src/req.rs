//! What every strategy that asks by REQ needs: what an answer has shown, whether that can be all, and what the relay lacks.
//!
//! A relay shows a number of events at most, which it may not tell. As many as it ever showed may be just that number; only an
//! answer of fewer is surely whole, whichever events the relay leaves out. [`Sizes`] keeps this account, and says what an answer
//! leaves open. [`Claims`] gathers what can be said of the times that were read.

mod claims;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::ffi::{Id, Item, Window, meaning};
use crate::host::Set;
use crate::plugin::{Input, Outcome, Reason, Verdict};

pub use claims::{Claims, Second};

/// Ids that are told apart within an answer. More than any answer holds that a size is learnt from.
const MAX_IDS: usize = 8_192;
/// Answers after which what came with all of them is taken for noise.
const ENOUGH: u32 = 4;
/// Ids in one output.
const CHUNK: usize = 1_000;

/// An answer, from its REQ to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The number that it was asked for by.
    pub sub: u32,
    /// What was asked for.
    pub asked: Window,
    /// Everything that came, whatever the checks said.
    pub raw: u64,
    /// What of it was invalid, or not asked for.
    pub bad: u64,
    /// The span from the oldest valid event within `asked` to the newest; `None` where there is none.
    pub shown: Option<Window>,
    ids: BTreeSet<Id>,
}

impl Answer {
    /// The answer to a REQ for `asked` by the number `sub`, of which nothing has come yet.
    pub fn new(sub: u32, asked: Window) -> Self {
        Self { sub, asked, raw: 0, bad: 0, shown: None, ids: BTreeSet::new() }
    }

    /// Takes an input, which may be anything; whether it is an event that was asked for.
    pub fn take(&mut self, input: &Input<'_>) -> bool {
        let Input::Event { sub, id, created_at, verdict } = *input else { return false };
        if sub != self.sub {
            return false;
        }
        self.raw += 1;
        if matches!(verdict, Verdict::Bad(_)) || !self.asked.contains(created_at) {
            self.bad += 1;
            return false;
        }
        if self.ids.len() < MAX_IDS {
            self.ids.insert(id);
        }
        let Window { since, until } = self.shown.unwrap_or(Window { since: created_at, until: created_at });
        self.shown = Some(Window { since: since.min(created_at), until: until.max(created_at) });
        true
    }

    /// How many different valid events it surely has shown.
    pub fn valid(&self) -> u64 {
        self.ids.len() as u64
    }
}

/// What an input means for an answer that is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It has ended, with NIP-67's hint.
    Answered(Option<bool>),
    /// It won't come.
    Over(Outcome),
}

impl Answer {
    /// Whether an input, which may be anything, ends it. Its REQ is still to be closed, unless the input is a CLOSED.
    pub fn ended(&self, input: &Input<'_>) -> Option<End> {
        match *input {
            Input::Eose { sub, finished } if sub == self.sub => Some(End::Answered(finished)),
            // Some relays end an answer so, in place of EOSE.
            Input::Closed { sub, meaning: meaning::UNKNOWN, text, .. }
                if sub == self.sub && (text.is_empty() || self.raw > 0) =>
            {
                Some(End::Answered(None))
            }
            Input::Closed { sub, meaning, text, cap, .. } if sub == self.sub => {
                Some(End::Over(Outcome::refused(meaning, cap, text)))
            }
            Input::Notice { meaning, text, cap, names_negentropy: false } if meaning != meaning::UNKNOWN => {
                Some(End::Over(Outcome::refused(meaning, cap, text)))
            }
            Input::ConnectionLost => {
                Some(End::Over(Outcome::Failed(Reason::ConnectionLost, "the connection was lost".to_owned())))
            }
            _ => None,
        }
    }
}

/// What is to be read. An event in it may say that the answer beside it was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The window to ask for.
    pub window: Window,
    /// How many events the answer beside it had.
    beside: u64,
}

impl From<Window> for Span {
    fn from(window: Window) -> Self {
        Self { window, beside: u64::MAX }
    }
}

/// What an answer to a [`Span`] comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Read {
    /// What was shown whole.
    pub whole: Option<Window>,
    /// What is to be read yet: together with `whole` and `unsure` it is the window that was asked for.
    pub open: Vec<Span>,
    /// A second that may hold more than was shown.
    pub unsure: Option<Second>,
}

/// How large a relay's answers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// How many events are asked for at once.
    pub limit: u64,
    /// The largest answer: the relay's cap is no smaller.
    pub most: u64,
    /// The smallest answer that is known to have been cut; `u64::MAX` where there was none.
    pub cut: u64,
    /// Invalid events that came with every answer, whatever was asked for, and how many answers that were.
    noise: u64,
    answers: u32,
}

impl Sizes {
    /// Of a relay that showed nothing yet, where so many are asked for at once.
    pub fn new(limit: u64) -> Self {
        Self { limit, most: 0, cut: u64::MAX, noise: u64::MAX, answers: 0 }
    }

    /// Takes an answer that has ended; `finished` is NIP-67's hint. Whether it holds all that there is in its window.
    pub fn ended(&mut self, answer: &Answer, finished: Option<bool>) -> bool {
        self.most = self.most.max(answer.valid());
        self.noise = self.noise.min(answer.bad);
        self.answers = self.answers.saturating_add(1);
        let counted = self.counted(answer);
        if finished == Some(false) {
            self.was_cut(counted);
        }
        finished.unwrap_or_else(|| counted == 0 || self.is_whole(counted))
    }

    /// How many events of an answer a relay may count against its cap: all but those that come with every answer.
    pub fn counted(&self, answer: &Answer) -> u64 {
        let noise = if self.answers >= ENOUGH { self.noise } else { 0 };
        answer.raw.saturating_sub(noise.min(answer.bad))
    }

    /// Takes an answer to `span` that has ended, and says what it leaves open.
    pub fn read(&mut self, span: Span, answer: &Answer, finished: Option<bool>) -> Read {
        if answer.shown.is_some() {
            self.was_cut(span.beside);
        }
        let asked = answer.asked;
        let is_whole = self.ended(answer, finished);
        let Window { since, until } = answer.shown.unwrap_or(asked);
        if is_whole && (finished.is_some() || answer.shown.is_none()) {
            return Read { whole: Some(asked), ..Read::default() };
        }
        if is_whole {
            // Below is asked until nothing comes, whatever the sizes say; the oldest second may go on there.
            let from = if since < until { since + 1 } else { since };
            let below = (asked.since < from).then(|| Window { until: from - 1, ..asked }.into());
            return Read {
                whole: Some(Window { since: from, ..asked }),
                open: below.into_iter().collect(),
                unsure: None,
            };
        }
        let beside = self.counted(answer);
        let below = (asked.since < since).then(|| Span { window: Window { until: since - 1, ..asked }, beside });
        let above = (until < asked.until).then(|| Span { window: Window { since: until + 1, ..asked }, beside });
        let middle = since + (until - since) / 2;
        let halves = (since < until).then_some([(since, middle), (middle.saturating_add(1), until)]);
        let halves = halves.into_iter().flatten().map(|(since, until)| Window { since, until }.into());
        let open = below.into_iter().chain(halves).chain(above).collect();
        let second = Second { at: since, shown: answer.valid(), counted: beside, more: finished == Some(false) };
        Read { whole: None, open, unsure: (since == until).then_some(second) }
    }

    /// An answer of `counted` events turns out to have been cut.
    pub fn was_cut(&mut self, counted: u64) {
        self.cut = self.cut.min(counted);
    }

    /// Whether an answer of `counted` events holds all that there is in its window, as far as is known by now.
    pub fn is_whole(&self, counted: u64) -> bool {
        counted < self.most.min(self.limit).min(self.cut)
    }

    /// Whether there is reason to say that an answer of `counted` events was cut.
    pub fn is_full(&self, counted: u64) -> bool {
        counted >= self.limit || (counted >= self.cut && counted >= self.most)
    }
}

/// What we have, less what the relay has shown. REQ has no other way to learn what a relay lacks; it is known once everything
/// was read in one session.
#[derive(Debug, Clone, Default)]
pub struct Offer(Vec<(Item, bool)>);

impl Offer {
    /// All that we have: 48 bytes an item, whatever the relay sends.
    pub fn new(set: &Set<'_>) -> Self {
        let mut items = Vec::with_capacity(usize::try_from(set.count(Item::MIN, Item::MAX)).unwrap_or(0));
        set.items(Item::MIN, Item::MAX, |item| {
            items.push((item, false));
            ControlFlow::Continue(())
        });
        Self(items)
    }

    /// Takes an input, which may be anything: of an event that is shown, the relay doesn't lack it. Late is not lacking, so
    /// events of answers that have ended are to come here, too.
    pub fn take(&mut self, input: &Input<'_>) {
        if let Input::Event { id, created_at, verdict: Verdict::New | Verdict::Known, .. } = *input
            && let Ok(at) = self.0.binary_search_by_key(&Item { created_at, id }, |(item, _)| *item)
        {
            self.0[at].1 = true;
        }
    }

    /// What the relay never showed of the seconds that `may_lack` something, in chunks. That something isn't shown is no
    /// proof where a second is dense; but where that is no more than a guess, the relay is better offered too much.
    pub fn lacking(&self, may_lack: impl Fn(u64) -> bool) -> Vec<Vec<Id>> {
        let lacks = |(item, shown): &&(Item, bool)| !shown && may_lack(item.created_at);
        let ids: Vec<Id> = self.0.iter().filter(lacks).map(|(item, _)| item.id).collect();
        ids.chunks(CHUNK).map(<[Id]>::to_vec).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Local;

    fn event(sub: u32, created_at: u64, number: u8, verdict: Verdict) -> Input<'static> {
        Input::Event { sub, id: [number; 32], created_at, verdict }
    }

    #[test]
    fn an_answer_counts_everything_and_each_valid_event_once() {
        let mut answer = Answer::new(1, Window { since: 10, until: 20 });
        for (input, asked) in [
            (event(1, 12, 1, Verdict::New), true),
            (event(1, 12, 1, Verdict::Known), true),
            (event(1, 15, 2, Verdict::New), true),
            (event(1, 0, 3, Verdict::Bad(20)), false),
            (event(1, 9, 4, Verdict::New), false),
            (event(2, 12, 5, Verdict::New), false),
            (Input::Timeout, false),
        ] {
            assert_eq!(answer.take(&input), asked, "{input:?}");
        }
        assert_eq!((answer.raw, answer.valid()), (5, 2));
        assert_eq!(answer.shown, Some(Window { since: 12, until: 15 }));
    }

    #[test]
    fn only_fewer_than_ever_are_surely_all() {
        let answer = |count: u8| {
            let mut answer = Answer::new(1, Window { since: 0, until: 9 });
            (0..count).for_each(|number| assert!(answer.take(&event(1, 5, number, Verdict::New))));
            answer
        };
        let mut sizes = Sizes::new(50);
        assert!(sizes.ended(&answer(0), None) && !sizes.ended(&answer(7), None) && sizes.ended(&answer(6), None));
        assert!(sizes.ended(&answer(7), Some(true)) && !sizes.ended(&answer(5), Some(false)));
        assert!(!sizes.is_whole(5) && sizes.is_whole(4));
        assert!(!sizes.is_full(6) && sizes.is_full(7) && !sizes.ended(&answer(60), None) && sizes.is_full(50));
    }

    #[test]
    fn what_was_not_shown_is_lacking() {
        let item = |number: u8| Item { created_at: number.into(), id: [number; 32] };
        let mut offer = Local::new((0..5).map(item)).with(Offer::new);
        offer.take(&event(9, 1, 1, Verdict::Known));
        offer.take(&event(9, 2, 2, Verdict::Bad(22)));
        assert_eq!(offer.lacking(|second| second != 3), [vec![[0; 32], [2; 32], [4; 32]]]);
    }

    #[test]
    fn whatever_a_relay_leaves_out_is_asked_for_or_unsure() {
        let mut number = 1_u64;
        let mut random = |end: u64| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (number >> 33) % end
        };
        for case in 0..3_000 {
            let (cap, seconds) = (1 + random(12), 1 + random(60));
            let events: Vec<u64> = (0..random(60)).map(|_| random(seconds)).collect();
            let (mut sizes, mut todo) = (Sizes::new(1 + random(20)), vec![Span::from(Window { since: 0, until: 100 })]);
            let (mut seen, mut whole, mut unsure) = (BTreeSet::new(), Vec::new(), Vec::new());
            while let Some(span) = todo.pop() {
                let within = |at: &usize| span.window.contains(events[*at]);
                let mut page: Vec<usize> = (0..events.len()).filter(within).collect();
                // Any of them, in any order.
                while page.len() as u64 > cap.min(sizes.limit) {
                    page.swap_remove(random(page.len() as u64) as usize);
                }
                let mut answer = Answer::new(1, span.window);
                for at in page {
                    seen.insert(at);
                    answer.take(&event(1, events[at], at as u8, Verdict::New));
                }
                let read = sizes.read(span, &answer, None);
                whole.extend(read.whole);
                todo.extend(read.open);
                unsure.extend(read.unsure);
            }
            for (at, second) in events.iter().enumerate().filter(|(at, _)| !seen.contains(at)) {
                assert!(!whole.iter().any(|window| window.contains(*second)), "case {case}: event {at} is claimed");
                let named = unsure.iter().any(|unsure| unsure.at == *second && !sizes.is_whole(unsure.counted));
                assert!(named, "case {case}: event {at} is lost");
            }
        }
    }
}
