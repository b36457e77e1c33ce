//! The outbox: rows by id, and by when they may be offered.
//!
//! A row is when it may be offered, how often it was put off, how often it was in purgatory, the event.

use std::ops::Bound;

use heed::RoTxn;
use nostr::event::EventId;
use sync_core::store::{HeldEvent, HeldRow, KnownEvent, MAX_PAUSE_S, OutboxState, StoreError};

use crate::bytes::{Damaged, Reader, put_varint};
use crate::codec::{self, Record};
use crate::error::{damaged, from_heed};
use crate::events::id_of;
use crate::keys;
use crate::schema::Databases;
use crate::txn::LmdbTxn;

fn encode(row: &HeldRow, out: &mut Vec<u8>) {
    out.extend_from_slice(&row.next_at.to_be_bytes());
    put_varint(out, row.refusals.into());
    put_varint(out, row.purgatories.into());
    codec::encode(&row.event, None, out);
}

pub(crate) fn decode(bytes: &[u8]) -> Result<HeldRow, StoreError> {
    read(bytes).map_err(|why| damaged("an event in the outbox", why))
}

fn read(bytes: &[u8]) -> Result<HeldRow, Damaged> {
    let mut reader = Reader(bytes);
    let next_at = reader.u64()?;
    let mut number = || u32::try_from(reader.varint()?).map_err(|_| Damaged("a count is too large"));
    let (refusals, purgatories) = (number()?, number()?);
    let event = Record::read(reader.0)?.event()?;
    Ok(HeldRow { event: Box::new(event), next_at, refusals, purgatories })
}

pub(crate) fn row(dbs: &Databases, txn: &RoTxn<'_>, id: &EventId) -> Result<Option<HeldRow>, StoreError> {
    dbs.outbox.get(txn, id.as_bytes()).map_err(from_heed)?.map(decode).transpose()
}

/// What is known of an id that is held.
pub(crate) fn known(dbs: &Databases, txn: &RoTxn<'_>, id: &EventId) -> Result<Option<KnownEvent>, StoreError> {
    let row = row(dbs, txn, id)?;
    Ok(row.map(|row| KnownEvent { created_at: row.event.created_at.as_secs(), stored: false }))
}

pub(crate) fn put(this: &mut LmdbTxn<'_>, row: &HeldRow) -> Result<(), StoreError> {
    remove(this, &row.event.id)?;
    let LmdbTxn { dbs, txn, buffer, .. } = this;
    buffer.clear();
    encode(row, buffer);
    dbs.outbox.put(txn, row.event.id.as_bytes(), buffer).map_err(from_heed)?;
    dbs.outbox_due.put(txn, &keys::due(row.next_at, row.event.id.as_bytes()), &[]).map_err(from_heed)?;
    this.outbox_changed = true;
    Ok(())
}

pub(crate) fn remove(this: &mut LmdbTxn<'_>, id: &EventId) -> Result<(), StoreError> {
    let Some(row) = row(this.dbs, &this.txn, id)? else { return Ok(()) };
    this.dbs.outbox.delete(&mut this.txn, id.as_bytes()).map_err(from_heed)?;
    this.dbs.outbox_due.delete(&mut this.txn, &keys::due(row.next_at, id.as_bytes())).map_err(from_heed)?;
    this.outbox_changed = true;
    Ok(())
}

pub(crate) fn ids(dbs: &Databases, txn: &RoTxn<'_>, max: usize) -> Result<Vec<EventId>, StoreError> {
    dbs.outbox.iter(txn).map_err(from_heed)?.take(max).map(|row| id_of(row.map_err(from_heed)?.0)).collect()
}

/// What may be offered at `now`, the soonest first.
pub(crate) fn due(dbs: &Databases, txn: &RoTxn<'_>, now: u64, max: usize) -> Result<Vec<HeldEvent>, StoreError> {
    let last = keys::due(now, &[0xff; 32]);
    let beyond = keys::due(now.saturating_add(MAX_PAUSE_S), &[0xff; 32]);
    let due = (Bound::Unbounded, Bound::Included(&last[..]));
    let put_off = (Bound::Excluded(&beyond[..]), Bound::Unbounded);
    let due = dbs.outbox_due.range(txn, &due).map_err(from_heed)?;
    let put_off = dbs.outbox_due.range(txn, &put_off).map_err(from_heed)?;
    let mut out = Vec::new();
    for key in due.chain(put_off).take(max) {
        let id = id_of(key.map_err(from_heed)?.0)?;
        let Some(row) = row(dbs, txn, &id)? else {
            return Err(StoreError::Corrupt(format!("event {id} is due in the outbox, and isn't there")));
        };
        out.push(HeldEvent { event: *row.event, next_at: row.next_at });
    }
    Ok(out)
}

pub(crate) fn state(dbs: &Databases, txn: &RoTxn<'_>) -> Result<OutboxState, StoreError> {
    let first = dbs.outbox_due.first(txn).map_err(from_heed)?;
    let next_at = first.map(|(key, _)| crate::schema::read_u64(key.get(..8).unwrap_or_default())).transpose()?;
    Ok(OutboxState { held: dbs.outbox.len(txn).map_err(from_heed)?, next_at })
}
