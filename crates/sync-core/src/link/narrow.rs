//! A second that holds more than a relay shows at once: the filter is narrowed by its own values, then by values that
//! were seen (SPEC §7).
//!
//! The halves of a filter's own values show together all that the filter shows, so that the second is whole when they
//! are. Values that were seen say nothing of those that weren't: asking by them brings what can be had, and proves
//! nothing.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use nostr::event::{Event, EventId, Kind};
use nostr::filter::Filter;
use nostr::key::PublicKey;

use super::memory::Share;
use super::windows::range;
use crate::model::RelayUrl;
use crate::store::LocalSets;
use crate::strategy::Window;

/// Events of a second that are looked at for values.
const MAX_LOOKED_AT: usize = 10_000;
/// Values by which a second is asked for.
const MAX_VALUES: usize = 64;

/// Two filters that match together what `filter` matches, each by half of the values of the list that has most.
/// `None` where every list holds one value at most.
pub(super) fn halves(filter: &Filter) -> Option<(Filter, Filter)> {
    let lists = [
        filter.ids.as_ref().map_or(0, BTreeSet::len),
        filter.kinds.as_ref().map_or(0, BTreeSet::len),
        filter.authors.as_ref().map_or(0, BTreeSet::len),
    ];
    let tag = filter.generic_tags.iter().max_by_key(|(_, values)| values.len());
    let most = lists.into_iter().max().unwrap_or(0);
    let (mut low, mut high) = (filter.clone(), filter.clone());
    match tag {
        Some((tag, values)) if values.len() > most.max(1) => {
            let (a, b) = halve(values);
            low.generic_tags.insert(*tag, a);
            high.generic_tags.insert(*tag, b);
        }
        _ if most < 2 => return None,
        _ if lists[1] == most => (low.kinds, high.kinds) = halve_list(&filter.kinds),
        _ if lists[2] == most => (low.authors, high.authors) = halve_list(&filter.authors),
        _ => (low.ids, high.ids) = halve_list(&filter.ids),
    }
    Some((low, high))
}

/// See [`open_shares`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct OpenShares {
    /// Those that are dense themselves and can't be halved: to be asked for last.
    pub(super) last: Vec<Filter>,
    pub(super) open: Vec<Filter>,
}

impl OpenShares {
    pub(super) fn len(&self) -> usize {
        self.last.len() + self.open.len()
    }
}

/// What of a dense second is still to be asked for: filters that show together, with what is drained already, all that the
/// halves of `filter` show. `None` where it can't be halved.
pub(super) fn open_shares(filter: &Filter, known: &dyn Fn(&Filter) -> Share) -> Option<OpenShares> {
    let OpenShares { mut last, mut open } = OpenShares::default();
    let (low, high) = halves(filter)?;
    // Each that is halved again has a record: there are as many steps as records at most.
    let mut todo = vec![low, high];
    while let Some(share) = todo.pop() {
        match known(&share) {
            Share::Drained => {}
            Share::Open => open.push(share),
            Share::Dense => match halves(&share) {
                Some((low, high)) => todo.extend([low, high]),
                None => last.push(share),
            },
        }
    }
    Some(OpenShares { last, open })
}

fn halve<T: Ord + Clone>(values: &BTreeSet<T>) -> (BTreeSet<T>, BTreeSet<T>) {
    let middle = values.len() / 2;
    (values.iter().take(middle).cloned().collect(), values.iter().skip(middle).cloned().collect())
}

fn halve_list<T: Ord + Clone>(values: &Option<BTreeSet<T>>) -> (Option<BTreeSet<T>>, Option<BTreeSet<T>>) {
    let (low, high) = values.as_ref().map(halve).unzip();
    (low, high)
}

/// Filters by single values that are seen among the events of `second` that match `filter` here: by kind, and where
/// that is said already or the same for all, by author. Empty where nothing narrower is known.
pub(super) fn by_values_seen(filter: &Filter, second: u64, relay: &RelayUrl, local: &dyn LocalSets) -> Vec<Filter> {
    if filter.kinds.is_some() && filter.authors.is_some() {
        return Vec::new();
    }
    let Seen { kinds, authors } = Seen::of(filter, second, relay, local);
    if filter.kinds.is_none() && (kinds.len() > 1 || (filter.authors.is_some() && kinds.len() == 1)) {
        return kinds.into_iter().take(MAX_VALUES).map(|kind| filter.clone().kind(kind)).collect();
    }
    if filter.authors.is_none() {
        return authors.into_iter().take(MAX_VALUES).map(|author| filter.clone().author(author)).collect();
    }
    Vec::new()
}

/// How many events of `second` we have that match `filter`, or don't want.
pub(super) fn count(filter: &Filter, second: u64, relay: &RelayUrl, local: &dyn LocalSets) -> u64 {
    let window = Window { since: second, until: second };
    local.view(filter, window, relay).count(range(window))
}

#[derive(Default)]
struct Seen {
    kinds: BTreeSet<Kind>,
    authors: BTreeSet<PublicKey>,
}

impl Seen {
    fn of(filter: &Filter, second: u64, relay: &RelayUrl, local: &dyn LocalSets) -> Self {
        let window = Window { since: second, until: second };
        let mut ids = Vec::new();
        local.view(filter, window, relay).items(range(window), &mut |item| {
            ids.push(EventId::from_byte_array(item.id));
            if ids.len() < MAX_LOOKED_AT { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let mut seen = Self::default();
        // What can't be read narrows nothing: the second is named as incomplete in any case.
        for event in ids.iter().filter_map(|id| local.event(id).ok().flatten()) {
            let Event { kind, pubkey, .. } = event;
            seen.kinds.insert(kind);
            seen.authors.insert(pubkey);
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use nostr::filter::SingleLetterTag;

    use super::*;

    #[test]
    fn the_longest_list_is_halved_and_nothing_is_lost() {
        let tags = ["a", "b", "c"];
        let filter =
            Filter::new().kinds([Kind::from_u16(1), Kind::from_u16(2)]).custom_tags(SingleLetterTag::LOWERCASE_T, tags);
        let (low, high) = halves(&filter).expect("values to halve");
        let values = |filter: &Filter| filter.generic_tags[&SingleLetterTag::LOWERCASE_T].clone();
        assert_eq!((values(&low).len(), values(&high).len()), (1, 2));
        assert_eq!(values(&low).union(&values(&high)).count(), 3);
        assert_eq!((low.kinds, high.kinds), (filter.kinds.clone(), filter.kinds));
    }

    #[test]
    fn what_is_drained_of_a_second_is_not_asked_for_again() {
        let kinds = |kinds: &[u16]| Filter::new().kinds(kinds.iter().copied().map(Kind::from_u16));
        let known = |share: &Filter| match share {
            _ if [kinds(&[1, 2]), kinds(&[3])].contains(share) => Share::Dense,
            _ if *share == kinds(&[2]) => Share::Drained,
            _ => Share::Open,
        };
        let open = |last: &[Filter], open: &[Filter]| Some(OpenShares { last: last.to_vec(), open: open.to_vec() });
        assert_eq!(open_shares(&kinds(&[1, 2, 3, 4]), &known), open(&[], &[kinds(&[3, 4]), kinds(&[1])]));
        assert_eq!(open_shares(&kinds(&[2, 3]), &known), open(&[kinds(&[3])], &[]));
        assert_eq!(open_shares(&kinds(&[2]), &known), None);
    }

    #[test]
    fn halving_ends_at_single_values() {
        let mut todo = vec![Filter::new().kinds((0..37).map(Kind::from_u16))];
        let mut single = BTreeSet::new();
        while let Some(filter) = todo.pop() {
            match halves(&filter) {
                Some((low, high)) => todo.extend([low, high]),
                None => single.extend(filter.kinds.expect("kinds")),
            }
        }
        assert_eq!(single.len(), 37);
        assert_eq!(halves(&Filter::new()), None);
        assert_eq!(halves(&Filter::new().kind(Kind::from_u16(1))), None);
    }
}
