//! Whether a filter matches (NIP-01), told of what lies in the map without building an event.
//!
//! A set that is given and empty matches nothing. `search` (NIP-50) is a substring of the content, ASCII case aside.

use std::ops::ControlFlow;

use nostr::event::{EventId, Kind};
use nostr::filter::Filter;
use nostr::key::PublicKey;
use sync_core::store::RejectedRow;

use crate::bytes::{Damaged, Text};
use crate::codec::Record;

/// Whether nothing can match.
pub(crate) fn is_void(filter: &Filter) -> bool {
    filter.ids.as_ref().is_some_and(|set| set.is_empty())
        || filter.authors.as_ref().is_some_and(|set| set.is_empty())
        || filter.kinds.as_ref().is_some_and(|set| set.is_empty())
        || filter.generic_tags.values().any(|set| set.is_empty())
        || filter.limit == Some(0)
        || since(filter) > until(filter)
}

pub(crate) fn since(filter: &Filter) -> u64 {
    filter.since.map_or(0, |time| time.as_secs())
}

pub(crate) fn until(filter: &Filter) -> u64 {
    filter.until.map_or(u64::MAX, |time| time.as_secs())
}

/// Whether there is a condition besides time.
pub(crate) fn is_plain(filter: &Filter) -> bool {
    filter.ids.is_none()
        && filter.authors.is_none()
        && filter.kinds.is_none()
        && filter.generic_tags.is_empty()
        && filter.search.is_none()
}

fn matches_head(filter: &Filter, id: [u8; 32], pubkey: [u8; 32], kind: u16, created_at: u64) -> bool {
    (since(filter)..=until(filter)).contains(&created_at)
        && filter.kinds.as_ref().is_none_or(|set| set.contains(&Kind::from_u16(kind)))
        && filter.authors.as_ref().is_none_or(|set| set.contains(&PublicKey::from_byte_array(pubkey)))
        && filter.ids.as_ref().is_none_or(|set| set.contains(&EventId::from_byte_array(id)))
}

pub(crate) fn matches(filter: &Filter, record: &Record<'_>) -> Result<bool, Damaged> {
    if !matches_head(filter, *record.id, *record.pubkey, record.kind, record.created_at) {
        return Ok(false);
    }
    if !filter.generic_tags.is_empty() {
        // One bit for each letter that is still to be found; there are 52 letters.
        let mut missing = (1u64 << filter.generic_tags.len()) - 1;
        record.tags(|name, value| {
            if let Some(letter) = name.letter() {
                for (bit, (wanted, values)) in filter.generic_tags.iter().enumerate() {
                    if wanted.as_byte() == letter && value.is_in(values) {
                        missing &= !(1 << bit);
                    }
                }
            }
            if missing == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if missing != 0 {
            return Ok(false);
        }
    }
    match filter.search.as_deref() {
        None | Some("") => Ok(true),
        Some(search) => Ok(contains(record.content()?, search)),
    }
}

fn contains(content: Text<'_>, search: &str) -> bool {
    let content = content.to_text();
    content.as_bytes().windows(search.len()).any(|part| part.eq_ignore_ascii_case(search.as_bytes()))
}

/// Whether a row of the rejected index matches. Its content isn't kept, so that nothing matches a `search`.
pub(crate) fn matches_row(filter: &Filter, row: &RejectedRow) -> bool {
    matches_head(filter, row.id.to_bytes(), row.pubkey.to_bytes(), row.kind, row.created_at)
        && filter.search.as_deref().is_none_or(str::is_empty)
        && filter.generic_tags.iter().all(|(wanted, values)| {
            row.tags.iter().any(|(letter, value)| *letter == wanted.as_char() && values.contains(value))
        })
}
