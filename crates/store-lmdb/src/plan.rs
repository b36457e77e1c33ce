//! Which index answers a filter.
//!
//! Ids are looked up. Otherwise every index that the filter's conditions allow is probed: a few rows within the time
//! asked for are counted, and the index with the fewest wins; where all have many, the order is tags, author and
//! kind, author, kind, time. Probing costs at most [`PROBE`] rows and one seek a prefix for each index.

use std::ops::Bound;

use heed::RoTxn;
use nostr::filter::Filter;
use sync_core::store::StoreError;
use sync_core::strategy::{ItemKey, KeyRange};

use crate::error::from_heed;
use crate::keys::{self, Key, item_tail};
use crate::matching::{since, until};
use crate::schema::{Databases, Db};

/// Rows counted of each index before it counts as "many".
const PROBE: usize = 256;

/// An index with more prefixes than this to merge isn't used: a filter of so many authors is answered by time, by
/// reading the authors off the events.
const MAX_PREFIXES: usize = 4096;

/// How to find the candidates for a filter.
#[derive(Clone)]
pub(crate) enum Source {
    /// These, by id.
    Ids(Vec<[u8; 32]>),
    /// The rows of an index below each of these prefixes.
    Index { db: Db, prefixes: Vec<Key> },
}

#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) source: Source,
    /// Every candidate within the filter's time matches; otherwise each is to be checked.
    pub(crate) covered: bool,
}

struct Candidate {
    db: Db,
    prefixes: Vec<Key>,
    /// How many of the filter's conditions the index takes care of.
    conditions: usize,
    /// Whether its keys stand for one value each.
    exact: bool,
}

/// The part of all time that a filter asks for.
pub(crate) fn range_of(filter: &Filter) -> KeyRange {
    let end = match until(filter).checked_add(1) {
        Some(second) => ItemKey { created_at: second, id: [0; 32] },
        None => ItemKey::MAX,
    };
    KeyRange { start: ItemKey { created_at: since(filter), id: [0; 32] }, end }
}

pub(crate) fn choose(dbs: &Databases, txn: &RoTxn<'_>, filter: &Filter) -> Result<Plan, StoreError> {
    let conditions = usize::from(filter.ids.is_some())
        + usize::from(filter.authors.is_some())
        + usize::from(filter.kinds.is_some())
        + usize::from(filter.search.as_ref().is_some_and(|text| !text.is_empty()))
        + filter.generic_tags.len();
    if let Some(ids) = &filter.ids {
        let ids = ids.iter().map(|id| id.to_bytes()).collect();
        return Ok(Plan { source: Source::Ids(ids), covered: conditions == 1 });
    }
    let mut best: Option<(usize, Candidate)> = None;
    let candidates = candidates(dbs, filter);
    let alone = candidates.len() == 1;
    for candidate in candidates {
        let rows = if alone { 0 } else { probe(txn, &candidate, range_of(filter))? };
        if best.as_ref().is_none_or(|(fewest, _)| rows < *fewest) {
            best = Some((rows, candidate));
        }
    }
    let Some((_, best)) = best else { return Ok(Plan { source: Source::Ids(Vec::new()), covered: true }) };
    Ok(Plan {
        covered: best.exact && best.conditions == conditions,
        source: Source::Index { db: best.db, prefixes: best.prefixes },
    })
}

/// The usable indexes, the most selective kind first; the last, by time, always is.
fn candidates(dbs: &Databases, filter: &Filter) -> Vec<Candidate> {
    let mut out = Vec::new();
    let mut add = |db, prefixes: Vec<Key>, conditions, exact| {
        if prefixes.len() <= MAX_PREFIXES {
            out.push(Candidate { db, prefixes, conditions, exact });
        }
    };
    for (letter, values) in &filter.generic_tags {
        let keys = values.iter().map(|value| keys::tag_prefix(letter.as_byte(), value));
        let (prefixes, exact): (Vec<_>, Vec<_>) = keys.unzip();
        add(dbs.by_tag, prefixes, 1, exact.into_iter().all(|exact| exact));
    }
    if let (Some(authors), Some(kinds)) = (&filter.authors, &filter.kinds)
        && authors.len().saturating_mul(kinds.len()) <= MAX_PREFIXES
    {
        let pairs = authors.iter().flat_map(|author| kinds.iter().map(move |kind| (author, kind)));
        let prefixes = pairs.map(|(author, kind)| keys::author_kind_prefix(author.as_bytes(), kind.as_u16()));
        add(dbs.by_author_kind, prefixes.collect(), 2, true);
    } else if let Some(authors) = &filter.authors {
        add(dbs.by_author, authors.iter().map(|author| keys::author_prefix(author.as_bytes())).collect(), 1, true);
    }
    if let Some(kinds) = &filter.kinds {
        add(dbs.by_kind, kinds.iter().map(|kind| keys::kind_prefix(kind.as_u16())).collect(), 1, true);
    }
    add(dbs.by_time, vec![Key::new(&[])], 0, true);
    out
}

fn probe(txn: &RoTxn<'_>, candidate: &Candidate, range: KeyRange) -> Result<usize, StoreError> {
    let mut rows = 0;
    for prefix in &candidate.prefixes {
        for row in ascending(candidate.db, txn, prefix, range)?.take(PROBE - rows) {
            row.map_err(from_heed)?;
            rows += 1;
        }
        if rows == PROBE {
            break;
        }
    }
    Ok(rows)
}

pub(crate) type Ascending<'t> = heed::RoRange<'t, heed::types::Bytes, heed::types::Bytes>;

/// The rows below a prefix within `range`, oldest first.
pub(crate) fn ascending<'t>(
    db: Db,
    txn: &'t RoTxn<'_>,
    prefix: &Key,
    range: KeyRange,
) -> Result<Ascending<'t>, StoreError> {
    let (start, end) = (prefix.with(&item_tail(range.start)), prefix.with(&item_tail(range.end.max(range.start))));
    db.range(txn, &(Bound::Included(&start[..]), Bound::Excluded(&end[..]))).map_err(from_heed)
}
