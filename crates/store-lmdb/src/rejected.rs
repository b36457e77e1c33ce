//! The rejected index: rows by id, and by when they are due, what they wait for, and who offered them.

use std::collections::BTreeSet;
use std::ops::Bound;

use heed::RoTxn;
use nostr::event::EventId;
use sync_core::store::{Dependency, FeedSeq, RejectedRow, StoreError};

use crate::error::from_heed;
use crate::events::{id_of, ids_in};
use crate::keys;
use crate::rejected_row::{decode, decode_head, encode};
use crate::schema::{Databases, Db};
use crate::txn::LmdbTxn;

/// Which sub-index a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SubIndex {
    Hot,
    Cold,
    Deps,
    Relays,
    Wanted,
}

impl SubIndex {
    pub(crate) const ALL: [Self; 5] = [Self::Hot, Self::Cold, Self::Deps, Self::Relays, Self::Wanted];

    pub(crate) fn db(self, dbs: &Databases) -> Db {
        match self {
            Self::Hot => dbs.rejected_hot,
            Self::Cold => dbs.rejected_cold,
            Self::Deps => dbs.rejected_deps,
            Self::Relays => dbs.rejected_relays,
            Self::Wanted => dbs.feed_wanted,
        }
    }
}

/// Every key that a row has in the sub-indexes.
pub(crate) fn sub_keys(row: &RejectedRow) -> BTreeSet<(SubIndex, Vec<u8>)> {
    let id = row.id.as_bytes();
    let mut out = BTreeSet::from([(SubIndex::Cold, keys::due(row.cold_until, id).to_vec())]);
    if row.body.is_some() {
        out.insert((SubIndex::Hot, keys::due(row.hot_until, id).to_vec()));
    }
    if let Some(place) = row.wanted {
        out.insert((SubIndex::Wanted, keys::due(place, id).to_vec()));
        return out;
    }
    for dependency in &row.waits_for {
        out.insert((SubIndex::Deps, keys::dependency_prefix(dependency).with(id).to_vec()));
    }
    let tail = keys::tail(row.created_at, id);
    for relay in &row.relays {
        out.insert((SubIndex::Relays, keys::relay_prefix(relay).with(&tail).to_vec()));
    }
    out
}

pub(crate) fn row(dbs: &Databases, txn: &RoTxn<'_>, id: &[u8; 32]) -> Result<Option<RejectedRow>, StoreError> {
    dbs.rejected.get(txn, id).map_err(from_heed)?.map(decode).transpose()
}

/// The time on record of a row that counts as known, without reading the row whole.
pub(crate) fn known_since(
    dbs: &Databases,
    txn: &RoTxn<'_>,
    id: &[u8; 32],
    judging: bool,
) -> Result<Option<u64>, StoreError> {
    let Some(bytes) = dbs.rejected.get(txn, id).map_err(from_heed)? else { return Ok(None) };
    let row = decode_head(bytes)?;
    Ok(row.is_known(judging).then_some(row.created_at))
}

pub(crate) fn put(this: &mut LmdbTxn<'_>, row: &RejectedRow) -> Result<(), StoreError> {
    let old = self::row(this.dbs, &this.txn, row.id.as_bytes())?;
    let LmdbTxn { dbs, txn, buffer, .. } = this;
    let (before, after) = (old.as_ref().map(sub_keys).unwrap_or_default(), sub_keys(row));
    for (index, key) in before.difference(&after) {
        index.db(dbs).delete(txn, key).map_err(from_heed)?;
    }
    for (index, key) in after.difference(&before) {
        index.db(dbs).put(txn, key, &[]).map_err(from_heed)?;
    }
    buffer.clear();
    encode(row, buffer)?;
    dbs.rejected.put(txn, row.id.as_bytes(), buffer).map_err(from_heed)
}

pub(crate) fn remove(this: &mut LmdbTxn<'_>, id: &EventId) -> Result<(), StoreError> {
    let Some(row) = row(this.dbs, &this.txn, id.as_bytes())? else { return Ok(()) };
    for (index, key) in sub_keys(&row) {
        index.db(this.dbs).delete(&mut this.txn, &key).map_err(from_heed)?;
    }
    this.dbs.rejected.delete(&mut this.txn, id.as_bytes()).map(drop).map_err(from_heed)
}

pub(crate) fn waiting_for(this: &LmdbTxn<'_>, dependency: &Dependency, max: usize) -> Result<Vec<EventId>, StoreError> {
    let prefix = keys::dependency_prefix(dependency);
    let mut ids = Vec::new();
    for row in this.dbs.rejected_deps.prefix_iter(&this.txn, &prefix).map_err(from_heed)?.take(max) {
        ids.push(id_of(row.map_err(from_heed)?.0)?);
    }
    Ok(ids)
}

pub(crate) fn due(this: &LmdbTxn<'_>, now: u64, max: usize) -> Result<Vec<EventId>, StoreError> {
    let last = keys::due(now, &[0xff; 32]);
    let mut rows = BTreeSet::new();
    for db in [this.dbs.rejected_hot, this.dbs.rejected_cold] {
        let range = (Bound::Unbounded, Bound::Included(&last[..]));
        for row in db.range(&this.txn, &range).map_err(from_heed)?.take(max) {
            rows.insert(row.map_err(from_heed)?.0);
        }
    }
    let mut ids: Vec<EventId> = Vec::new();
    let mut seen = BTreeSet::new();
    for key in rows {
        let id = id_of(key)?;
        if seen.insert(id) && ids.len() < max {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Takes a row out of both tiers, and tells the feed that its event is wanted.
pub(crate) fn release(this: &mut LmdbTxn<'_>, row: &RejectedRow) -> Result<FeedSeq, StoreError> {
    this.feed_head += 1;
    let place = this.feed_head;
    put(this, &RejectedRow { waits_for: Vec::new(), wanted: Some(place), body: None, ..row.clone() })?;
    Ok(place)
}

/// Rows: hot, cold.
pub(crate) fn count(dbs: &Databases, txn: &RoTxn<'_>) -> Result<(u64, u64), StoreError> {
    let hot = dbs.rejected_hot.len(txn).map_err(from_heed)?;
    let all = dbs.rejected.len(txn).map_err(from_heed)?;
    Ok((hot, all.saturating_sub(hot)))
}

pub(crate) fn oldest(this: &LmdbTxn<'_>) -> Result<Option<EventId>, StoreError> {
    let first = ids_in(this.dbs.rejected_cold, &this.txn, (Bound::Unbounded, Bound::Unbounded), 1)?;
    Ok(first.into_iter().next())
}
