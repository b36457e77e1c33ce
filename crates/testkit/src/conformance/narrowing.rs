//! Whether a question asks for no more than the session is for: a narrowing of its filter within its window.

use std::collections::BTreeSet;

use nostr::filter::Filter;
use sync_core::strategy::Window;

/// What of time a filter over a window is about; ends before it begins where that is nothing.
pub(super) fn bounds(filter: &Filter, window: Window) -> Window {
    Window {
        since: window.since.max(filter.since.map_or(0, |since| since.as_secs())),
        until: window.until.min(filter.until.map_or(u64::MAX, |until| until.as_secs())),
    }
}

/// # Errors
/// In what `asked` is wider than `filter` over `window`, or no filter to ask by.
pub(super) fn check(asked: &Filter, filter: &Filter, window: Window) -> Result<(), String> {
    let (all, part) = (bounds(filter, window), bounds(asked, Window::ALL));
    if part.since < all.since || part.until > all.until {
        return Err(format!(
            "asks for {} to {}, the session is for {} to {}",
            part.since, part.until, all.since, all.until
        ));
    }
    list("ids", asked.ids.as_ref(), filter.ids.as_ref())?;
    list("authors", asked.authors.as_ref(), filter.authors.as_ref())?;
    list("kinds", asked.kinds.as_ref(), filter.kinds.as_ref())?;
    for (name, values) in &filter.generic_tags {
        list(&format!("#{name}"), asked.generic_tags.get(name), Some(values))?;
    }
    for (name, values) in &asked.generic_tags {
        list(&format!("#{name}"), Some(values), filter.generic_tags.get(name))?;
    }
    if asked.search != filter.search {
        return Err(format!("searches for {:?}, not {:?}", asked.search, filter.search));
    }
    if asked.limit == Some(0) {
        return Err("asks with limit 0".to_owned());
    }
    Ok(())
}

/// An empty list counts as none with some relays, so that it is no narrowing.
fn list<T: Ord>(name: &str, asked: Option<&BTreeSet<T>>, whole: Option<&BTreeSet<T>>) -> Result<(), String> {
    match (asked, whole) {
        (Some(asked), _) if asked.is_empty() => Err(format!("asks with an empty list of {name}")),
        (Some(asked), Some(whole)) if !asked.is_subset(whole) => {
            Err(format!("asks for other {name} than the session's"))
        }
        (None, Some(_)) => Err(format!("leaves out the filter's {name}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use nostr::event::Kind;
    use nostr::filter::SingleLetterTag;
    use nostr::types::Timestamp;

    use super::*;

    const WINDOW: Window = Window { since: 100, until: 200 };

    fn kinds(kinds: impl IntoIterator<Item = u16>) -> Filter {
        Filter::new().kinds(kinds.into_iter().map(Kind::from_u16))
    }

    fn within(filter: Filter, since: u64, until: u64) -> Filter {
        filter.since(Timestamp::from_secs(since)).until(Timestamp::from_secs(until))
    }

    #[test]
    fn a_narrowing_is_allowed() {
        let whole = kinds([1, 2]).custom_tags(SingleLetterTag::LOWERCASE_T, ["a", "b"]);
        let one = kinds([1]).custom_tags(SingleLetterTag::LOWERCASE_T, ["b"]);
        for (asked, filter) in [
            (within(whole.clone(), 100, 200), &whole),
            (within(one, 150, 150).limit(1), &whole),
            (within(kinds([1]), 120, 200), &Filter::new()),
        ] {
            assert_eq!(check(&asked, filter, WINDOW), Ok(()), "{asked:?}");
        }
        assert_eq!(check(&Filter::new(), &Filter::new(), Window::ALL), Ok(()));
    }

    #[test]
    fn a_widening_is_named() {
        let whole = kinds([1, 2]).custom_tags(SingleLetterTag::LOWERCASE_T, ["a"]);
        for (asked, word) in [
            (within(whole.clone(), 99, 200), "99"),
            (within(whole.clone(), 100, 201), "201"),
            (whole.clone().since(Timestamp::from_secs(100)), "until"),
            (within(kinds([1]), 100, 200), "#t"),
            (within(whole.clone().kind(Kind::from_u16(3)), 100, 200), "kinds"),
            (within(Filter { kinds: None, ..whole.clone() }, 100, 200), "kinds"),
            (within(Filter { authors: Some(BTreeSet::new()), ..whole.clone() }, 100, 200), "authors"),
            (within(whole.clone(), 100, 200).limit(0), "limit"),
            (within(whole.clone(), 100, 200).search("x"), "search"),
        ] {
            let found = check(&asked, &whole, WINDOW).expect_err("wider");
            assert!(word == "until" || found.contains(word), "{found}");
        }
    }
}
