//! The three layers of filters (SPEC §4): what is asked of every relay, live and historic alike.
//!
//! The functions here are pure; [`ChunkBook`] remembers which chunk each item was given, so that filters, coverage
//! and live subscriptions outlive additions.

mod book;

pub use book::{ChunkBook, ChunkId, ChunkLimits, ChunkRecord, LAYER_1_KEY};

use std::collections::BTreeSet;

use nostr::event::{EventId, Kind};
use nostr::filter::{Filter, SingleLetterTag};
use nostr::types::Timestamp;

use crate::model::{RepoAddress, kinds};

/// Items per filter where nothing else is said (`sync.chunk_size`).
pub const DEFAULT_CHUNK_SIZE: usize = 100;

/// The tags by which any event refers to a repository (layer 2).
const ADDRESS_TAGS: [SingleLetterTag; 3] =
    [SingleLetterTag::LOWERCASE_A, SingleLetterTag::UPPERCASE_A, SingleLetterTag::LOWERCASE_Q];
/// The tags by which any event refers to a root event (layer 3).
const EVENT_TAGS: [SingleLetterTag; 3] =
    [SingleLetterTag::LOWERCASE_E, SingleLetterTag::UPPERCASE_E, SingleLetterTag::LOWERCASE_Q];

/// Layer 1: announcements and grasp lists. `since` in unix seconds; `None` reads everything.
pub fn build_announcement_filter(since: Option<u64>) -> Filter {
    let filter = Filter::new().kinds([Kind::from_u16(kinds::ANNOUNCEMENT), Kind::from_u16(kinds::GRASP_LIST)]);
    with_since(filter, since)
}

/// Layers 2 and 3 with [`DEFAULT_CHUNK_SIZE`] items per filter; see [`build_chunked_filters`].
pub fn build_layer2_and_layer3_filters<'a>(
    repos: impl IntoIterator<Item = &'a RepoAddress>,
    root_events: impl IntoIterator<Item = &'a EventId>,
    since: Option<u64>,
) -> Vec<Filter> {
    build_chunked_filters(repos, root_events, since, DEFAULT_CHUNK_SIZE)
}

/// Layers 2 and 3: for the repositories 30618 by `#d` (one filter per `chunk_size` identifiers) and any kind by `#a`,
/// `#A`, `#q` (three per `chunk_size` addresses); for the root events any kind by `#e`, `#E`, `#q` (three per
/// `chunk_size` ids). Items given twice count once; a `chunk_size` of 0 counts as 1.
pub fn build_chunked_filters<'a>(
    repos: impl IntoIterator<Item = &'a RepoAddress>,
    root_events: impl IntoIterator<Item = &'a EventId>,
    since: Option<u64>,
    chunk_size: usize,
) -> Vec<Filter> {
    let chunk_size = chunk_size.max(1);
    let repos: BTreeSet<&RepoAddress> = repos.into_iter().collect();
    let identifiers: BTreeSet<&str> = repos.iter().map(|repo| &*repo.identifier).collect();
    let addresses: Vec<String> = repos.iter().map(ToString::to_string).collect();
    let ids: Vec<String> = root_events.into_iter().collect::<BTreeSet<_>>().into_iter().map(|id| id.to_hex()).collect();

    let identifiers: Vec<&str> = identifiers.into_iter().collect();
    let mut filters: Vec<Filter> =
        identifiers.chunks(chunk_size).map(|chunk| state_filter(chunk.iter().copied(), since)).collect();
    for chunk in addresses.chunks(chunk_size) {
        filters.extend(ADDRESS_TAGS.map(|tag| tag_filter(tag, chunk, since)));
    }
    for chunk in ids.chunks(chunk_size) {
        filters.extend(EVENT_TAGS.map(|tag| tag_filter(tag, chunk, since)));
    }
    filters
}

fn state_filter<'a>(identifiers: impl Iterator<Item = &'a str>, since: Option<u64>) -> Filter {
    with_since(Filter::new().kind(Kind::from_u16(kinds::STATE)).identifiers(identifiers), since)
}

fn tag_filter(tag: SingleLetterTag, values: &[String], since: Option<u64>) -> Filter {
    with_since(Filter::new().custom_tags(tag, values), since)
}

fn with_since(filter: Filter, since: Option<u64>) -> Filter {
    match since {
        Some(since) => filter.since(Timestamp::from_secs(since)),
        None => filter,
    }
}

#[cfg(test)]
mod tests {
    use nostr::key::PublicKey;

    use super::*;

    fn repo(n: usize) -> RepoAddress {
        let key = PublicKey::from_hex(&"11".repeat(32)).expect("hex");
        RepoAddress::new(key, format!("r{n}"))
    }

    #[test]
    fn announcements_are_read_from_since() {
        let filter = build_announcement_filter(Some(7));
        let kinds: Vec<u16> = filter.kinds.iter().flatten().map(|kind| kind.as_u16()).collect();
        assert_eq!((kinds, filter.since.map(|t| t.as_secs())), (vec![10317, 30617], Some(7)));
        assert_eq!(build_announcement_filter(None).since, None);
    }

    #[test]
    fn a_filter_holds_a_hundred_items() {
        let repos: Vec<_> = (0..201).map(repo).collect();
        let ids: Vec<_> = (0..101u8).map(|n| EventId::from_slice(&[n; 32]).expect("32 bytes")).collect();
        let filters = build_layer2_and_layer3_filters(&repos, &ids, Some(9));
        assert_eq!(filters.len(), 3 + 3 * 3 + 2 * 3);
        assert!(filters.iter().all(|f| f.since.is_some() && f.limit.is_none()));
        assert!(filters.iter().all(|f| f.generic_tags.values().all(|values| values.len() <= 100)));
    }

    #[test]
    fn forks_share_the_filter_for_their_states() {
        let other = PublicKey::from_hex(&"22".repeat(32)).expect("hex");
        let repos = [repo(1), RepoAddress::new(other, "r1")];
        let filters = build_layer2_and_layer3_filters(&repos, [], None);
        let names: Vec<String> =
            filters.iter().map(|f| f.generic_tags.keys().map(|tag| tag.as_char()).collect()).collect();
        assert_eq!(names, ["d", "a", "A", "q"]);
        assert_eq!(filters[0].generic_tags[&SingleLetterTag::LOWERCASE_D].len(), 1);
    }

    #[test]
    fn nothing_wanted_makes_no_filter() {
        assert!(build_layer2_and_layer3_filters([], [], None).is_empty());
    }
}
