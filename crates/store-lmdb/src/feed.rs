//! The accepted feed: who is in it, who names whom, who still waits outside.
//!
//! An accepted event's `ids` row holds its place, and its place holds its number: each proves the other. A place
//! whose event was removed is emptied; readers skip it. A place where an event is wanted again belongs to its row of the
//! rejected index, and goes with it.

use std::collections::HashSet;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use heed::{PutFlags, RoTxn};
use nostr::event::EventId;
use sync_core::model::{RepoAddress, kinds};
use sync_core::store::{Dependency, FeedChange, FeedEntry, FeedPage, FeedSeq, StoreError};

use crate::bytes::Reader;
use crate::error::{damaged, from_heed};
use crate::events::{decode_row, encode_row, id_of, indexed, record, row, to_event, visit_prefix};
use crate::keys;
use crate::rejected;
use crate::schema::{Databases, Meta, read_u64};
use crate::txn::LmdbTxn;

/// Tags by which an event names another.
const NAMING: [u8; 3] = [b'e', b'E', b'q'];
/// Tags by which an event names a repository.
const ADDRESSING: [u8; 3] = [b'a', b'A', b'q'];

pub(crate) fn accept(this: &mut LmdbTxn<'_>, id: &EventId) -> Result<FeedSeq, StoreError> {
    let LmdbTxn { dbs, txn, .. } = this;
    let Some(row) = row(dbs, txn, id.as_bytes(), this.feed_floor)? else {
        return Err(StoreError::Corrupt(format!("event {id} was accepted but isn't stored")));
    };
    if let Some(place) = row.accepted {
        return Ok(place);
    }
    this.feed_head += 1;
    let place = this.feed_head;
    dbs.feed.put_with_flags(txn, PutFlags::APPEND, &place.to_be_bytes(), &row.seq.to_be_bytes()).map_err(from_heed)?;
    dbs.ids.put(txn, id.as_bytes(), &encode_row(row.seq, row.created_at, row.kind, place)).map_err(from_heed)?;
    dbs.unjudged.delete(txn, &keys::unjudged(row.kind, row.seq)).map_err(from_heed)?;
    Ok(place)
}

pub(crate) fn retract(
    this: &mut LmdbTxn<'_>,
    id: &EventId,
    kind: u16,
    address: Option<&RepoAddress>,
) -> Result<FeedSeq, StoreError> {
    let LmdbTxn { dbs, txn, buffer, .. } = this;
    if let Some(row) = row(dbs, txn, id.as_bytes(), this.feed_floor)?
        && let Some(place) = row.accepted
    {
        dbs.feed.delete(txn, &place.to_be_bytes()).map_err(from_heed)?;
        dbs.ids.put(txn, id.as_bytes(), &encode_row(row.seq, row.created_at, row.kind, 0)).map_err(from_heed)?;
    }
    this.feed_head += 1;
    buffer.clear();
    buffer.extend_from_slice(id.as_bytes());
    buffer.extend_from_slice(&kind.to_be_bytes());
    if let Some(address) = address {
        buffer.extend_from_slice(address.to_string().as_bytes());
    }
    dbs.feed_removed.put_with_flags(txn, PutFlags::APPEND, &this.feed_head.to_be_bytes(), buffer).map_err(from_heed)?;
    Ok(this.feed_head)
}

fn decode_removal(bytes: &[u8]) -> Result<FeedChange, StoreError> {
    let mut reader = Reader(bytes);
    let mut head = || Ok((EventId::from_byte_array(*reader.array()?), reader.u16()?));
    let (id, kind) = head().map_err(|why| damaged("a removal in the feed", why))?;
    let address = match std::str::from_utf8(reader.0) {
        Ok("") => None,
        Ok(text) => Some(text.parse().map_err(|error| StoreError::Corrupt(format!("a removal in the feed: {error}")))?),
        Err(error) => return Err(StoreError::Corrupt(format!("a removal in the feed: {error}"))),
    };
    Ok(FeedChange::Removed { id, kind, address })
}

/// The newest place.
pub(crate) fn head(dbs: &Databases, txn: &RoTxn<'_>) -> Result<FeedSeq, StoreError> {
    Ok(dbs.number(txn, Meta::FeedHead)?.unwrap_or(0))
}

pub(crate) fn page(dbs: &Databases, txn: &RoTxn<'_>, after: FeedSeq, max: usize) -> Result<FeedPage, StoreError> {
    let head = head(dbs, txn)?;
    let upto = after.saturating_add(max as u64).min(head.max(after));
    let (start, end) = (after.to_be_bytes(), upto.to_be_bytes());
    let range = (Bound::Excluded(&start[..]), Bound::Included(&end[..]));
    let mut entries = Vec::new();
    for row in dbs.feed.range(txn, &range).map_err(from_heed)? {
        let (place, seq) = row.map_err(from_heed)?;
        let seq = read_u64(seq)?;
        let Some(record) = record(dbs, txn, seq)? else {
            return Err(StoreError::Corrupt(format!("the feed names event number {seq}, which isn't there")));
        };
        let change = FeedChange::Accepted(Arc::new(to_event(&record)?));
        entries.push(FeedEntry { seq: read_u64(place)?, change });
    }
    for row in dbs.feed_removed.range(txn, &range).map_err(from_heed)? {
        let (place, removal) = row.map_err(from_heed)?;
        entries.push(FeedEntry { seq: read_u64(place)?, change: decode_removal(removal)? });
    }
    // Keys are a place and an id: none begins beyond the last place that is looked at.
    let (start, end) = (after.saturating_add(1).to_be_bytes(), keys::due(upto, &[0xff; 32]));
    let range = (Bound::Included(&start[..]), Bound::Included(&end[..]));
    for row in dbs.feed_wanted.range(txn, &range).map_err(from_heed)? {
        let (key, _) = row.map_err(from_heed)?;
        let (id, place) = (id_of(key)?, key.get(..8).unwrap_or_default());
        let Some(row) = rejected::row(dbs, txn, id.as_bytes())? else {
            return Err(StoreError::Corrupt(format!("event {id} is wanted, and has no row that says so")));
        };
        entries.push(FeedEntry { seq: read_u64(place)?, change: FeedChange::Wanted { id, relays: row.relays } });
    }
    entries.sort_unstable_by_key(|entry| entry.seq);
    Ok(FeedPage { entries, upto, head })
}

fn is_accepted(this: &LmdbTxn<'_>, id: &EventId) -> Result<bool, StoreError> {
    Ok(row(this.dbs, &this.txn, id.as_bytes(), this.feed_floor)?.is_some_and(|row| row.accepted.is_some()))
}

pub(crate) fn is_named(this: &LmdbTxn<'_>, id: &EventId) -> Result<bool, StoreError> {
    let value = id.to_hex();
    let mut named = false;
    for letter in NAMING {
        visit_prefix(this.dbs.by_tag, &this.txn, &keys::tag_prefix(letter, &value).0, |by, _| {
            named = is_accepted(this, &by)?;
            Ok(if named { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        if named {
            break;
        }
    }
    Ok(named)
}

/// Stored events outside the feed, gathered once each.
struct Outside<'t, 'e> {
    txn: &'t LmdbTxn<'e>,
    max: usize,
    found: Vec<EventId>,
    seen: HashSet<EventId>,
}

impl Outside<'_, '_> {
    fn offer(&mut self, id: EventId) -> Result<ControlFlow<()>, StoreError> {
        if self.found.len() >= self.max {
            return Ok(ControlFlow::Break(()));
        }
        let stored = row(self.txn.dbs, &self.txn.txn, id.as_bytes(), self.txn.feed_floor)?;
        if stored.is_some_and(|row| row.accepted.is_none()) && self.seen.insert(id) {
            self.found.push(id);
        }
        Ok(ControlFlow::Continue(()))
    }

    fn offer_prefix(&mut self, prefix: &keys::Key) -> Result<(), StoreError> {
        let txn = self.txn;
        visit_prefix(txn.dbs.by_tag, &txn.txn, prefix, |id, _| self.offer(id))
    }

    /// What a stored event names by its tags.
    fn offer_named_by(&mut self, id: &EventId) -> Result<(), StoreError> {
        let txn = self.txn;
        let Some(bytes) = txn.dbs.ids.get(&txn.txn, id.as_bytes()).map_err(from_heed)? else { return Ok(()) };
        let seq = decode_row(bytes, 0)?.seq;
        let mut named = Vec::new();
        indexed(txn.dbs, &txn.txn, seq)?
            .tags(|name, value| {
                if name.letter().is_some_and(|letter| NAMING.contains(&letter))
                    && let crate::bytes::Text::Packed(id) = value
                {
                    named.push(EventId::from_byte_array(*id));
                }
                ControlFlow::Continue(())
            })
            .map_err(|why| damaged(&format!("event {id}"), why))?;
        for id in named {
            if self.offer(id)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

pub(crate) fn stored_waiting_for(
    this: &LmdbTxn<'_>,
    dependency: &Dependency,
    max: usize,
) -> Result<Vec<EventId>, StoreError> {
    let mut outside = Outside { txn: this, max, found: Vec::new(), seen: HashSet::new() };
    match dependency {
        Dependency::Event(id) => {
            let value = id.to_hex();
            for letter in NAMING {
                outside.offer_prefix(&keys::tag_prefix(letter, &value).0)?;
            }
            outside.offer_named_by(id)?;
        }
        Dependency::Repo(address) => {
            let value = address.to_string();
            for letter in ADDRESSING {
                outside.offer_prefix(&keys::tag_prefix(letter, &value).0)?;
            }
        }
        Dependency::Identifier(identifier) => {
            for kind in [kinds::ANNOUNCEMENT, kinds::STATE] {
                outside.offer_prefix(&keys::identifier_prefix(kind, identifier))?;
            }
        }
    }
    Ok(outside.found)
}
