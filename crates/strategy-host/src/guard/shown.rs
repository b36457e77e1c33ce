//! What the relay's answers have shown of a filter: of all of it, or of some of its values.
//!
//! A question may name fewer kinds, authors and ids than its session's filter. What it shows counts for those values alone; a
//! second is shown when it was shown for every value that the filter names. A question that names values where the filter names none
//! shows nothing: what other values there are, nobody knows.
//!
//! An answer to a part costs a search for each of its combinations of values, and the stretches of time that differ in what was
//! shown of them. All that is bounded for a session; beyond it parts show nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use sync_core::nostr::filter::Filter;
use sync_core::strategy::Window;

use super::spans::Spans;

/// Combinations of a filter's kinds, authors and ids that are told apart.
const MAX_COMBINATIONS: usize = 16_384;
/// Steps that are spent on parts in one session.
const MAX_STEPS: u64 = 20_000_000;

/// What a question is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// All of the filter.
    Whole,
    /// These combinations of its values.
    Values(Vec<u32>),
    /// What can't be told from the rest.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Shown {
    filter: Filter,
    /// Combinations of the filter's values.
    total: usize,
    whole: Spans,
    values: BTreeMap<u32, Spans>,
    /// For how many combinations was shown what lies from a second on, until the next one.
    counts: BTreeMap<u64, u32>,
    steps: u64,
}

impl Shown {
    pub(super) fn new(filter: &Filter) -> Self {
        let total = len(&filter.kinds).saturating_mul(len(&filter.authors)).saturating_mul(len(&filter.ids));
        let (whole, values, counts) = (Spans::default(), BTreeMap::new(), BTreeMap::from([(0, 0)]));
        Self { filter: filter.clone(), total, whole, values, counts, steps: 0 }
    }

    /// What a question for `asked` is for. That it is no wider was checked.
    pub(super) fn part(&self, asked: &Filter) -> Part {
        let named = [
            places(&self.filter.kinds, &asked.kinds),
            places(&self.filter.authors, &asked.authors),
            places(&self.filter.ids, &asked.ids),
        ];
        let [Some(kinds), Some(authors), Some(ids)] = named else { return Part::Unknown };
        if kinds.len().saturating_mul(authors.len()).saturating_mul(ids.len()) >= self.total {
            return Part::Whole;
        }
        if self.total > MAX_COMBINATIONS {
            return Part::Unknown;
        }
        let (by_author, by_id) = (len(&self.filter.authors), len(&self.filter.ids));
        let mut values = Vec::new();
        for kind in &kinds {
            for author in &authors {
                values.extend(ids.iter().map(|id| ((kind * by_author + author) * by_id + id) as u32));
            }
        }
        Part::Values(values)
    }

    /// An answer has shown a window of a part.
    pub(super) fn add(&mut self, part: &Part, window: Window) {
        match part {
            Part::Whole => {
                self.whole.add(window);
            }
            Part::Values(values) => {
                for value in values {
                    if self.steps > MAX_STEPS {
                        return;
                    }
                    self.steps += 1;
                    let fresh = self.values.entry(*value).or_default().add_fresh(window);
                    fresh.into_iter().for_each(|fresh| self.count(fresh));
                }
            }
            Part::Unknown => {}
        }
    }

    /// The first second of a window that wasn't shown of all of the filter.
    pub(super) fn gap(&self, window: Window) -> Option<u64> {
        self.whole.gap(window)
    }

    /// One more combination was shown in a window.
    fn count(&mut self, Window { since, until }: Window) {
        self.part_at(since);
        if let Some(after) = until.checked_add(1) {
            self.part_at(after);
        }
        let mut shown = Vec::new();
        for (from, count) in self.counts.range_mut(since..=until) {
            self.steps += 1;
            *count += 1;
            if *count as usize == self.total {
                shown.push(*from);
            }
        }
        for from in shown {
            let after = self.counts.range((Bound::Excluded(from), Bound::Unbounded)).next().map(|(after, _)| *after);
            self.whole.add(Window { since: from, until: after.map_or(u64::MAX, |after| after - 1) });
        }
    }

    fn part_at(&mut self, second: u64) {
        if let Some((_, count)) = self.counts.range(..=second).next_back() {
            let count = *count;
            self.counts.entry(second).or_insert(count);
        }
    }
}

fn len<T>(list: &Option<BTreeSet<T>>) -> usize {
    list.as_ref().map_or(1, BTreeSet::len)
}

/// Where in a filter's list the values of a question lie; `None` where the filter has no such list, and the question has.
fn places<T: Ord>(all: &Option<BTreeSet<T>>, asked: &Option<BTreeSet<T>>) -> Option<Vec<usize>> {
    match (all, asked) {
        (None, None) => Some(vec![0]),
        (None, Some(_)) => None,
        (Some(all), None) => Some((0..all.len()).collect()),
        (Some(all), Some(asked)) => {
            Some(all.iter().enumerate().filter(|(_, value)| asked.contains(value)).map(|(place, _)| place).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use sync_core::nostr::event::{EventId, Kind};
    use sync_core::time::Jitter;

    use super::*;

    fn filter(kinds: impl IntoIterator<Item = u16>, ids: impl IntoIterator<Item = u8>) -> Filter {
        Filter::new()
            .kinds(kinds.into_iter().map(Kind::from_u16))
            .ids(ids.into_iter().map(|byte| EventId::from_byte_array([byte; 32])))
    }

    #[test]
    fn a_second_is_shown_when_it_was_for_every_value() {
        let seed = 11;
        let mut jitter = Jitter::new(seed);
        for round in 0..50 {
            let mut shown = Shown::new(&filter(0..3, 0..4));
            let mut plain = BTreeSet::new();
            for _ in 0..60 {
                let (kind, id) = (jitter.between(0, 2) as u16, jitter.between(0, 3) as u8);
                let (kinds, ids) =
                    (kind..=kind.max(jitter.between(0, 2) as u16), id..=id.max(jitter.between(0, 3) as u8));
                let since = jitter.between(0, 20);
                let window = Window { since, until: since + jitter.between(0, 12) };
                let part = shown.part(&filter(kinds.clone(), ids.clone()));
                shown.add(&part, window);
                for kind in kinds {
                    for id in ids.clone() {
                        plain.extend((window.since..=window.until).map(|second| (second, kind, id)));
                    }
                }
                for second in 0..40 {
                    let whole = (0..3).all(|kind| (0..4).all(|id| plain.contains(&(second, kind, id))));
                    let gap = shown.gap(Window { since: second, until: second });
                    assert_eq!(gap.is_none(), whole, "seed {seed}, round {round}, second {second}");
                }
            }
        }
    }

    #[test]
    fn values_that_the_filter_does_not_name_show_nothing() {
        let mut shown = Shown::new(&Filter::new());
        let part = shown.part(&filter(0..3, [7]));
        assert_eq!(part, Part::Unknown);
        shown.add(&part, Window::ALL);
        assert_eq!(shown.gap(Window::ALL), Some(0));
        assert_eq!(shown.part(&Filter::new()), Part::Whole);
        let many = Shown::new(&Filter::new().kinds((0..u16::MAX).map(Kind::from_u16)));
        assert_eq!(many.part(&Filter::new().kind(Kind::from_u16(1))), Part::Unknown, "too many to tell apart");
    }
}
