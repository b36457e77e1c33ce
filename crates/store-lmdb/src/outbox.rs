//! The outbox: rows by id, by when they may be offered, and by their number.
//!
//! A row is its number, whether its event was stored before, when it may be offered, how often it was put off, how often it
//! was in purgatory, the event. Rows are numbered in two classes: 0 for those whose answer is waited for, 1 for those that are
//! put off.

use std::ops::Bound;

use heed::RoTxn;
use nostr::event::EventId;
use sync_core::store::{HeldEvent, HeldRow, KnownEvent, MAX_PAUSE_S, OutboxState, StoreError};

use crate::bytes::{Damaged, Reader, put_varint};
use crate::codec::{self, Record};
use crate::error::{damaged, from_heed};
use crate::events::id_of;
use crate::keys::{self, Key};
use crate::schema::{Databases, Meta, read_u64};
use crate::txn::LmdbTxn;

/// Classes of rows, by which they are numbered.
const CLASSES: [u8; 2] = [OPEN, PUT_OFF];
const OPEN: u8 = 0;
const PUT_OFF: u8 = 1;

fn encode(row: &HeldRow, number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_be_bytes());
    out.push(u8::from(row.was_stored));
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
    let number = reader.u64()?;
    let was_stored = reader.u8()? != 0;
    let next_at = reader.u64()?;
    let mut count = || u32::try_from(reader.varint()?).map_err(|_| Damaged("a count is too large"));
    let (refusals, purgatories) = (count()?, count()?);
    let event = Record::read(reader.0)?.event()?;
    Ok(HeldRow { event: Box::new(event), number, was_stored, next_at, refusals, purgatories })
}

/// The keys of a row: when it is due, and its number.
pub(crate) fn sub_keys(row: &HeldRow) -> (Key, Key) {
    let class = if row.is_put_off() { PUT_OFF } else { OPEN };
    let number = row.number.to_be_bytes();
    (keys::due(row.next_at, row.event.id.as_bytes()), Key::new(&[&[class], &number, row.event.id.as_bytes()]))
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
    let mut row = row.clone();
    if row.number == 0 {
        row.number = dbs.number(txn, Meta::OutboxNewest)?.unwrap_or(0) + 1;
        dbs.set_number(txn, Meta::OutboxNewest, row.number)?;
    }
    buffer.clear();
    encode(&row, row.number, buffer);
    let (due, numbered) = sub_keys(&row);
    dbs.outbox.put(txn, row.event.id.as_bytes(), buffer).map_err(from_heed)?;
    dbs.outbox_due.put(txn, &due, &[]).map_err(from_heed)?;
    dbs.outbox_numbers.put(txn, &numbered, &[]).map_err(from_heed)?;
    this.outbox_changed = true;
    Ok(())
}

pub(crate) fn remove(this: &mut LmdbTxn<'_>, id: &EventId) -> Result<(), StoreError> {
    let Some(row) = row(this.dbs, &this.txn, id)? else { return Ok(()) };
    let (due, numbered) = sub_keys(&row);
    this.dbs.outbox.delete(&mut this.txn, id.as_bytes()).map_err(from_heed)?;
    this.dbs.outbox_due.delete(&mut this.txn, &due).map_err(from_heed)?;
    this.dbs.outbox_numbers.delete(&mut this.txn, &numbered).map_err(from_heed)?;
    this.outbox_changed = true;
    Ok(())
}

/// Those with a number up to the one that was the newest when what they are accepted by was changed.
pub(crate) fn before_change(dbs: &Databases, txn: &RoTxn<'_>, max: usize) -> Result<Vec<EventId>, StoreError> {
    let upto = dbs.number(txn, Meta::OutboxRetake)?.unwrap_or(0);
    let mut ids = Vec::new();
    for class in CLASSES {
        let (first, last) = (Key::new(&[&[class]]), Key::new(&[&[class], &upto.to_be_bytes(), &[0xff; 32]]));
        let range = (Bound::Included(&first[..]), Bound::Included(&last[..]));
        for row in dbs.outbox_numbers.range(txn, &range).map_err(from_heed)?.take(max - ids.len()) {
            ids.push(id_of(row.map_err(from_heed)?.0)?);
        }
    }
    Ok(ids)
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
    let next_at = first.map(|(key, _)| read_u64(key.get(..8).unwrap_or_default())).transpose()?;
    let oldest = dbs.outbox_numbers.first(txn).map_err(from_heed)?.filter(|(key, _)| key.first() == Some(&OPEN));
    let oldest_open = oldest.map(|(key, _)| read_u64(key.get(1..9).unwrap_or_default())).transpose()?;
    let last = dbs.outbox_numbers.last(txn).map_err(from_heed)?;
    Ok(OutboxState {
        held: dbs.outbox.len(txn).map_err(from_heed)?,
        newest: dbs.number(txn, Meta::OutboxNewest)?.unwrap_or(0),
        oldest_open,
        has_put_off: last.is_some_and(|(key, _)| key.first() == Some(&PUT_OFF)),
        next_at,
    })
}
