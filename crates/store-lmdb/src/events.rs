//! Events and their index rows; slots, deletions, expiries.

use std::ops::{Bound, ControlFlow};

use heed::{PutFlags, RoTxn};
use nostr::event::{Event, EventId};
use nostr::key::PublicKey;
use sync_core::model::{RepoAddress, kinds};
use sync_core::store::{EventRow, FeedSeq, KnownEvent, Slot, SlotHead, StoreError};

use crate::bytes::Reader;
use crate::codec::{self, Record};
use crate::error::{damaged, from_heed};
use crate::keys::{self, Key};
use crate::schema::{Databases, Db, read_u64};
use crate::txn::LmdbTxn;
use crate::{outbox, rejected};

/// The value of an `ids` row.
pub(crate) fn encode_row(seq: u64, created_at: u64, kind: u16, accepted: FeedSeq) -> [u8; 26] {
    let mut out = [0; 26];
    out[..8].copy_from_slice(&seq.to_be_bytes());
    out[8..16].copy_from_slice(&created_at.to_be_bytes());
    out[16..18].copy_from_slice(&kind.to_be_bytes());
    out[18..].copy_from_slice(&accepted.to_be_bytes());
    out
}

/// Marks at or below `floor` are void.
pub(crate) fn decode_row(bytes: &[u8], floor: FeedSeq) -> Result<EventRow, StoreError> {
    let mut reader = Reader(bytes);
    let mut read = || {
        Ok(EventRow {
            seq: reader.u64()?,
            created_at: reader.u64()?,
            kind: reader.u16()?,
            accepted: Some(reader.u64()?).filter(|place| *place > floor),
        })
    };
    read().map_err(|why| damaged("a row of the index by id", why))
}

pub(crate) fn row(
    dbs: &Databases,
    txn: &RoTxn<'_>,
    id: &[u8; 32],
    floor: FeedSeq,
) -> Result<Option<EventRow>, StoreError> {
    dbs.ids.get(txn, id).map_err(from_heed)?.map(|bytes| decode_row(bytes, floor)).transpose()
}

/// What is known of an id: stored, held, or kept out with a row that counts.
pub(crate) fn known(
    dbs: &Databases,
    txn: &RoTxn<'_>,
    id: &EventId,
    judging: bool,
) -> Result<Option<KnownEvent>, StoreError> {
    if let Some(row) = row(dbs, txn, id.as_bytes(), 0)? {
        return Ok(Some(KnownEvent { created_at: row.created_at, stored: true }));
    }
    if let Some(held) = outbox::known(dbs, txn, id)? {
        return Ok(Some(held));
    }
    let created_at = rejected::known_since(dbs, txn, id.as_bytes(), judging)?;
    Ok(created_at.map(|created_at| KnownEvent { created_at, stored: false }))
}

/// The bytes of event `seq`.
pub(crate) fn record<'t>(dbs: &Databases, txn: &'t RoTxn<'_>, seq: u64) -> Result<Option<Record<'t>>, StoreError> {
    dbs.events
        .get(txn, &seq.to_be_bytes())
        .map_err(from_heed)?
        .map(|bytes| Record::read(bytes).map_err(|why| damaged(&format!("event number {seq}"), why)))
        .transpose()
}

/// Event `seq`, which an index row points at.
pub(crate) fn indexed<'t>(dbs: &Databases, txn: &'t RoTxn<'_>, seq: u64) -> Result<Record<'t>, StoreError> {
    record(dbs, txn, seq)?
        .ok_or_else(|| StoreError::Corrupt(format!("an index points at event number {seq}, which isn't there")))
}

pub(crate) fn to_event(record: &Record<'_>) -> Result<Event, StoreError> {
    record.event().map_err(|why| damaged(&format!("event {}", record.event_id()), why))
}

pub(crate) fn event(dbs: &Databases, txn: &RoTxn<'_>, id: &EventId) -> Result<Option<Event>, StoreError> {
    let Some(row) = row(dbs, txn, id.as_bytes(), 0)? else { return Ok(None) };
    indexed(dbs, txn, row.seq).and_then(|record| to_event(&record)).map(Some)
}

/// The indexes whose keys end in `created_at ‖ id` and whose values are numbers of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Index {
    Time,
    Kind,
    Author,
    AuthorKind,
    Tag,
}

impl Index {
    pub(crate) const ALL: [Self; 5] = [Self::Time, Self::Kind, Self::Author, Self::AuthorKind, Self::Tag];

    pub(crate) fn db(self, dbs: &Databases) -> Db {
        match self {
            Self::Time => dbs.by_time,
            Self::Kind => dbs.by_kind,
            Self::Author => dbs.by_author,
            Self::AuthorKind => dbs.by_author_kind,
            Self::Tag => dbs.by_tag,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Time => "by_time",
            Self::Kind => "by_kind",
            Self::Author => "by_author",
            Self::AuthorKind => "by_author_kind",
            Self::Tag => "by_tag",
        }
    }
}

/// Visits every row that an event has in these indexes, each once.
pub(crate) fn index_rows(
    event: &Event,
    mut visit: impl FnMut(Index, &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let kind = event.kind.as_u16();
    let author = event.pubkey.as_bytes();
    let tail = keys::tail(event.created_at.as_secs(), event.id.as_bytes());
    visit(Index::Time, &tail)?;
    visit(Index::Kind, &keys::kind_prefix(kind).with(&tail))?;
    visit(Index::Author, &keys::author_prefix(author).with(&tail))?;
    visit(Index::AuthorKind, &keys::author_kind_prefix(author, kind).with(&tail))?;
    if let Some(address) = RepoAddress::of_event(event) {
        visit(Index::Tag, &keys::identifier_prefix(kind, &address.identifier).with(&tail))?;
    }
    let mut tags: Vec<(u8, &str)> = event
        .tags
        .iter()
        .filter_map(|tag| match tag.as_slice() {
            [name, value, ..] => match name.as_bytes() {
                [letter] if letter.is_ascii_alphabetic() => Some((*letter, value.as_str())),
                _ => None,
            },
            _ => None,
        })
        .collect();
    tags.sort_unstable();
    tags.dedup();
    for (letter, value) in tags {
        visit(Index::Tag, &keys::tag_prefix(letter, value).0.with(&tail))?;
    }
    Ok(())
}

pub(crate) fn insert(this: &mut LmdbTxn<'_>, event: &Event, expires_at: Option<u64>) -> Result<(), StoreError> {
    let LmdbTxn { dbs, txn, buffer, .. } = this;
    let seq = this.next_seq.to_be_bytes();
    let (created_at, kind) = (event.created_at.as_secs(), event.kind.as_u16());
    buffer.clear();
    codec::encode(event, expires_at, buffer);
    dbs.events.put_with_flags(txn, PutFlags::APPEND, &seq, buffer).map_err(from_heed)?;
    dbs.ids
        .put_with_flags(
            txn,
            PutFlags::NO_OVERWRITE,
            event.id.as_bytes(),
            &encode_row(this.next_seq, created_at, kind, 0),
        )
        .map_err(from_heed)?;
    index_rows(event, |index, key| index.db(dbs).put(txn, key, &seq).map_err(from_heed))?;
    if let Some(expires_at) = expires_at {
        dbs.expiry.put(txn, &keys::due(expires_at, event.id.as_bytes()), &[]).map_err(from_heed)?;
    }
    if !this.judging {
        dbs.unjudged.put(txn, &keys::unjudged(kind, this.next_seq), &[]).map_err(from_heed)?;
    }
    this.next_seq += 1;
    Ok(())
}

pub(crate) fn remove(this: &mut LmdbTxn<'_>, id: &EventId) -> Result<(), StoreError> {
    let LmdbTxn { dbs, txn, .. } = this;
    let Some(row) = row(dbs, txn, id.as_bytes(), this.feed_floor)? else { return Ok(()) };
    let (event, expires_at) = {
        let record = indexed(dbs, txn, row.seq)?;
        (to_event(&record)?, record.expires_at)
    };
    index_rows(&event, |index, key| index.db(dbs).delete(txn, key).map(drop).map_err(from_heed))?;
    if let Some(expires_at) = expires_at {
        dbs.expiry.delete(txn, &keys::due(expires_at, id.as_bytes())).map_err(from_heed)?;
    }
    dbs.unjudged.delete(txn, &keys::unjudged(row.kind, row.seq)).map_err(from_heed)?;
    if let Some(place) = row.accepted {
        dbs.feed.delete(txn, &place.to_be_bytes()).map_err(from_heed)?;
    }
    dbs.ids.delete(txn, id.as_bytes()).map_err(from_heed)?;
    dbs.events.delete(txn, &row.seq.to_be_bytes()).map_err(from_heed)?;
    Ok(())
}

pub(crate) fn slot(dbs: &Databases, txn: &RoTxn<'_>, slot: &Slot) -> Result<Option<SlotHead>, StoreError> {
    dbs.slots.get(txn, &keys::slot(slot)).map_err(from_heed)?.map(decode_head).transpose()
}

pub(crate) fn decode_head(bytes: &[u8]) -> Result<SlotHead, StoreError> {
    let mut reader = Reader(bytes);
    let mut read = || {
        Ok(SlotHead {
            created_at: reader.u64()?,
            id: EventId::from_byte_array(*reader.array()?),
            stored: reader.u8()? != 0,
        })
    };
    read().map_err(|why| damaged("a slot", why))
}

pub(crate) fn set_slot(this: &mut LmdbTxn<'_>, slot: &Slot, head: SlotHead) -> Result<(), StoreError> {
    let value = Key::new(&[&head.created_at.to_be_bytes(), head.id.as_bytes(), &[u8::from(head.stored)]]);
    this.dbs.slots.put(&mut this.txn, &keys::slot(slot), &value).map_err(from_heed)
}

pub(crate) fn remove_slot(this: &mut LmdbTxn<'_>, slot: &Slot) -> Result<(), StoreError> {
    this.dbs.slots.delete(&mut this.txn, &keys::slot(slot)).map(drop).map_err(from_heed)
}

pub(crate) fn delete_id(this: &mut LmdbTxn<'_>, id: &EventId, author: &PublicKey) -> Result<(), StoreError> {
    this.dbs.deleted_ids.put(&mut this.txn, &keys::deletion(id, author), &[]).map_err(from_heed)
}

pub(crate) fn is_id_deleted(this: &LmdbTxn<'_>, id: &EventId, author: &PublicKey) -> Result<bool, StoreError> {
    Ok(this.dbs.deleted_ids.get(&this.txn, &keys::deletion(id, author)).map_err(from_heed)?.is_some())
}

pub(crate) fn delete_slot(this: &mut LmdbTxn<'_>, slot: &Slot, until: u64) -> Result<(), StoreError> {
    if slot_deleted_until(this, slot)?.is_some_and(|known| known >= until) {
        return Ok(());
    }
    this.dbs.deleted_slots.put(&mut this.txn, &keys::slot(slot), &until.to_be_bytes()).map_err(from_heed)
}

pub(crate) fn slot_deleted_until(this: &LmdbTxn<'_>, slot: &Slot) -> Result<Option<u64>, StoreError> {
    this.dbs.deleted_slots.get(&this.txn, &keys::slot(slot)).map_err(from_heed)?.map(read_u64).transpose()
}

pub(crate) fn expired(this: &LmdbTxn<'_>, now: u64, max: usize) -> Result<Vec<EventId>, StoreError> {
    let before = keys::due(now, &[0; 32]);
    ids_in(this.dbs.expiry, &this.txn, (Bound::Unbounded, Bound::Excluded(&before)), max)
}

/// The ids that the keys in a range end in.
pub(crate) fn ids_in(
    db: Db,
    txn: &RoTxn<'_>,
    range: (Bound<&[u8]>, Bound<&[u8]>),
    max: usize,
) -> Result<Vec<EventId>, StoreError> {
    let mut ids = Vec::new();
    for row in db.range(txn, &range).map_err(from_heed)?.take(max) {
        let (key, _) = row.map_err(from_heed)?;
        ids.push(id_of(key)?);
    }
    Ok(ids)
}

/// The id that a key ends in.
pub(crate) fn id_of(key: &[u8]) -> Result<EventId, StoreError> {
    key.last_chunk::<32>()
        .map(|id| EventId::from_byte_array(*id))
        .ok_or_else(|| StoreError::Corrupt("a key is too short for an id".to_owned()))
}

/// Visits the rows of an index below `prefix`, oldest first, until told to stop: id and seq.
pub(crate) fn visit_prefix(
    db: Db,
    txn: &RoTxn<'_>,
    prefix: &Key,
    mut visit: impl FnMut(EventId, u64) -> Result<ControlFlow<()>, StoreError>,
) -> Result<(), StoreError> {
    for row in db.prefix_iter(txn, prefix).map_err(from_heed)? {
        let (key, seq) = row.map_err(from_heed)?;
        if visit(id_of(key)?, read_u64(seq)?)?.is_break() {
            break;
        }
    }
    Ok(())
}

pub(crate) fn announcements(this: &LmdbTxn<'_>, identifier: &str, max: usize) -> Result<Vec<Event>, StoreError> {
    let mut found = Vec::new();
    if max == 0 {
        return Ok(found);
    }
    let prefix = keys::identifier_prefix(kinds::ANNOUNCEMENT, identifier);
    visit_prefix(this.dbs.by_tag, &this.txn, &prefix, |_, seq| {
        let event = to_event(&indexed(this.dbs, &this.txn, seq)?)?;
        if RepoAddress::of_event(&event).is_some_and(|address| &*address.identifier == identifier) {
            found.push(event);
        }
        Ok(if found.len() < max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(found)
}
