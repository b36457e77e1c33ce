//! What two filters have in common, times aside.

use std::collections::BTreeSet;

use nostr::filter::Filter;

/// What of `filter` `known` matches as well, and what is left of it; `None` where they share nothing, or where what is
/// left would be no single filter.
pub(super) fn share(filter: &Filter, known: &Filter) -> Option<(Filter, Option<Filter>)> {
    let (mut both, mut left) = (filter.clone(), filter.clone());
    let mut cuts = 0;
    if filter.search != known.search || known.generic_tags.keys().any(|tag| !filter.generic_tags.contains_key(tag)) {
        return None;
    }
    cuts += cut(&filter.ids, &known.ids, &mut both.ids, &mut left.ids)?;
    cuts += cut(&filter.kinds, &known.kinds, &mut both.kinds, &mut left.kinds)?;
    cuts += cut(&filter.authors, &known.authors, &mut both.authors, &mut left.authors)?;
    for (tag, values) in &filter.generic_tags {
        let known = known.generic_tags.get(tag).cloned();
        let (mut of_both, mut of_left) = (None, None);
        let values = Some(values.clone());
        let cut = cut(&values, &known, &mut of_both, &mut of_left)?;
        if cut > 0 {
            both.generic_tags.insert(*tag, of_both?);
            left.generic_tags.insert(*tag, of_left?);
        }
        cuts += cut;
    }
    match cuts {
        0 => Some((both, None)),
        1 => Some((both, Some(left))),
        _ => None,
    }
}

/// Cuts one list: 0 where `known` holds all of it, 1 where it holds some, `None` where it holds none, or where all
/// values are asked for and `known` holds only some.
fn cut<T: Ord + Clone>(
    asked: &Option<BTreeSet<T>>,
    known: &Option<BTreeSet<T>>,
    both: &mut Option<BTreeSet<T>>,
    left: &mut Option<BTreeSet<T>>,
) -> Option<u32> {
    let Some(known) = known else { return Some(0) };
    let asked = asked.as_ref()?;
    let (shared, rest): (BTreeSet<T>, BTreeSet<T>) = asked.iter().cloned().partition(|value| known.contains(value));
    match (shared.is_empty(), rest.is_empty()) {
        (_, true) => Some(0),
        (true, false) => None,
        (false, false) => {
            (*both, *left) = (Some(shared), Some(rest));
            Some(1)
        }
    }
}

/// Whether everything that `inner` matches is matched by `outer`.
pub(super) fn includes(outer: &Filter, inner: &Filter) -> bool {
    matches!(share(inner, outer), Some((_, None)))
}
