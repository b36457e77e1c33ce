//! A filter, made ready to be held against many events: the cheapest and most telling conditions first.

use std::collections::HashSet;

use nostr::filter::Filter;

use super::LiveEvent;

/// A filter without its `limit`, and without a `search`: there is none in a filter that was taken.
#[derive(Debug)]
pub(crate) struct Matcher {
    kinds: Option<Box<[u16]>>,
    since: u64,
    until: u64,
    authors: Option<Box<[[u8; 32]]>>,
    ids: Option<Box<[[u8; 32]]>>,
    tags: Box<[(u8, HashSet<String>)]>,
}

impl Matcher {
    pub(crate) fn new(filter: Filter) -> Self {
        // Sets are in order already.
        Self {
            kinds: filter.kinds.map(|set| set.iter().map(|kind| kind.as_u16()).collect()),
            since: filter.since.map_or(0, |time| time.as_secs()),
            until: filter.until.map_or(u64::MAX, |time| time.as_secs()),
            authors: filter.authors.map(|set| sorted(set.iter().map(|author| *author.as_bytes()))),
            ids: filter.ids.map(|set| sorted(set.iter().map(|id| id.to_bytes()))),
            tags: filter
                .generic_tags
                .into_iter()
                .map(|(letter, values)| (letter.as_byte(), values.into_iter().collect()))
                .collect(),
        }
    }

    /// The kinds that it can match, in order; `None` for all.
    pub(crate) fn kinds(&self) -> Option<&[u16]> {
        self.kinds.as_deref()
    }

    pub(crate) fn matches(&self, live: &LiveEvent) -> bool {
        let event = &live.event;
        let created_at = event.created_at.as_secs();
        self.kinds.as_ref().is_none_or(|kinds| kinds.binary_search(&event.kind.as_u16()).is_ok())
            && (self.since..=self.until).contains(&created_at)
            && self.authors.as_ref().is_none_or(|set| set.binary_search(event.pubkey.as_bytes()).is_ok())
            && self.ids.as_ref().is_none_or(|set| set.binary_search(event.id.as_bytes()).is_ok())
            && self.tags.iter().all(|(letter, values)| {
                live.tags.iter().any(|(name, value)| name == letter && values.contains(&**value))
            })
    }
}

fn sorted(values: impl Iterator<Item = [u8; 32]>) -> Box<[[u8; 32]]> {
    let mut values: Box<[_]> = values.collect();
    values.sort_unstable();
    values
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nostr::event::Tag;
    use nostr::filter::MatchEventOptions;
    use testkit::world::{keys, sign};

    use super::*;

    #[test]
    fn it_matches_what_the_filter_matches() {
        let tag = |name: &str, values: [&str; 2]| Tag::custom(name.to_owned(), values.map(str::to_owned));
        let event = sign(&keys(1, 1), 7, 100, [tag("t", ["a", "b"]), tag("long", ["c", "d"])], "Hello, World");
        let live = LiveEvent::new(1, Arc::new(event.clone()));
        let (id, author) = (event.id, event.pubkey);
        for (filter, expected) in [
            ("{}".to_owned(), true),
            (r#"{"kinds":[1,7]}"#.to_owned(), true),
            (r#"{"kinds":[1]}"#.to_owned(), false),
            (r#"{"since":100,"until":100,"limit":0}"#.to_owned(), true),
            (r#"{"since":101}"#.to_owned(), false),
            (r#"{"until":99}"#.to_owned(), false),
            (format!(r#"{{"ids":["{id}"],"authors":["{author}"]}}"#), true),
            (format!(r#"{{"ids":["{author}"]}}"#), false),
            (format!(r#"{{"authors":["{}"]}}"#, keys(1, 2).public_key()), false),
            (r##"{"#t":["x","a"]}"##.to_owned(), true),
            (r##"{"#t":["b"]}"##.to_owned(), false),
            (r##"{"#t":["a"],"#l":["c"]}"##.to_owned(), false),
        ] {
            let parsed: Filter = serde_json::from_str(&filter).expect("a filter");
            assert_eq!(parsed.match_event(&event, MatchEventOptions::new()), expected, "{filter}");
            assert_eq!(Matcher::new(parsed).matches(&live), expected, "{filter}");
        }
        // Where the library is of another mind than the store, the store counts: an empty set matches nothing.
        for filter in [r#"{"kinds":[]}"#, r#"{"ids":[]}"#, r#"{"authors":[]}"#, r##"{"#t":[]}"##] {
            let parsed: Filter = serde_json::from_str(filter).expect("a filter");
            assert!(!Matcher::new(parsed).matches(&live), "{filter}");
        }
    }
}
