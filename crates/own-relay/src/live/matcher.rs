//! A filter, made ready to be held against many events: the cheapest and most telling conditions first.

use std::collections::HashSet;

use nostr::filter::Filter;

use super::LiveEvent;

/// A filter without its `limit`.
#[derive(Debug)]
pub(crate) struct Matcher {
    kinds: Option<Box<[u16]>>,
    since: u64,
    until: u64,
    authors: Option<Box<[[u8; 32]]>>,
    ids: Option<Box<[[u8; 32]]>>,
    tags: Box<[(u8, HashSet<String>)]>,
    search: Option<Box<[u8]>>,
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
            search: filter.search.filter(|text| !text.is_empty()).map(|text| text.into_bytes().into_boxed_slice()),
        }
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
            && self.search.as_ref().is_none_or(|text| {
                event.content.as_bytes().windows(text.len()).any(|part| part.eq_ignore_ascii_case(text))
            })
    }
}

fn sorted(values: impl Iterator<Item = [u8; 32]>) -> Box<[[u8; 32]]> {
    let mut values: Box<[_]> = values.collect();
    values.sort_unstable();
    values
}
