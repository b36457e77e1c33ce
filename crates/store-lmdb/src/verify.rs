//! Whether every index agrees with the events (`grasp-sync store verify`).
//!
//! Two passes prove an index equal to what it should be: each row that an event must have is there, with its number;
//! and there are no more rows than that. Rows that point at the wrong event are named on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use heed::RoTxn;
use nostr::event::Event;
use serde::Serialize;
use sync_core::intake::slot_of;
use sync_core::store::StoreError;

use crate::error::from_heed;
use crate::events::{Index, decode_head, decode_row, index_rows, record, to_event};
use crate::keys;
use crate::outbox;
use crate::rejected::{SubIndex, sub_keys};
use crate::rejected_row;
use crate::schema::{Databases, Db, Meta, read_u64};
use crate::store::LmdbStore;

/// Something that doesn't agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The database that is wrong.
    pub index: &'static str,
    /// What is wrong, naming the event or row.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.index, self.what)
    }
}

/// What [`LmdbStore::verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Events read.
    pub events: u64,
    /// Rows of indexes checked.
    pub rows: u64,
    /// The first problems, at most [`VerifyReport::MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// All problems.
    pub problem_count: u64,
}

impl VerifyReport {
    /// How many problems are named; the rest is counted.
    pub const MAX_PROBLEMS: usize = 100;

    /// Whether everything agrees.
    pub fn is_sound(&self) -> bool {
        self.problem_count == 0
    }

    fn add(&mut self, index: &'static str, what: impl FnOnce() -> String) {
        self.problem_count += 1;
        if self.problems.len() < Self::MAX_PROBLEMS {
            self.problems.push(Problem { index, what: what() });
        }
    }
}

impl LmdbStore {
    /// Checks every index, slot, mark and row against the events. Reads the whole store in one transaction, so that
    /// beside a writer the file grows meanwhile.
    ///
    /// # Errors
    /// The store can't be read; what is read but wrong is in the report.
    pub fn verify(&self) -> Result<VerifyReport, StoreError> {
        let txn = self.shared.env.read_txn().map_err(from_heed)?;
        let floor = self.shared.dbs.number(&txn, Meta::FeedFloor)?.unwrap_or(0);
        let mut check = Check {
            dbs: &self.shared.dbs,
            txn: &txn,
            floor,
            report: VerifyReport::default(),
            expected: BTreeMap::new(),
        };
        check.events()?;
        check.pointers()?;
        check.slots()?;
        check.feed()?;
        check.rejected()?;
        check.outbox()?;
        check.numbers()?;
        Ok(check.report)
    }
}

struct Check<'t> {
    dbs: &'t Databases,
    txn: &'t RoTxn<'t>,
    floor: u64,
    report: VerifyReport,
    /// How many rows each index should have.
    expected: BTreeMap<&'static str, u64>,
}

impl<'t> Check<'t> {
    /// Every event can be read and has all its rows.
    fn events(&mut self) -> Result<(), StoreError> {
        for row in self.dbs.events.iter(self.txn).map_err(from_heed)? {
            let seq = read_u64(row.map_err(from_heed)?.0)?;
            self.report.events += 1;
            let read = record(self.dbs, self.txn, seq)
                .and_then(|record| record.map(|record| Ok((to_event(&record)?, record.expires_at))).transpose());
            let (event, expires_at) = match read {
                Ok(Some(read)) => read,
                Ok(None) => continue,
                Err(error) => {
                    self.report.add("events", || error.to_string());
                    continue;
                }
            };
            self.event(seq, &event)?;
            index_rows(&event, |index, key| {
                let (name, db) = (index.name(), index.db(self.dbs));
                *self.expected.entry(name).or_default() += 1;
                if db.get(self.txn, key).map_err(from_heed)? != Some(&seq.to_be_bytes()[..]) {
                    self.report.add(name, || format!("event {} has no row, or another's", event.id));
                }
                Ok(())
            })?;
            if let Some(at) = expires_at {
                *self.expected.entry("expiry").or_default() += 1;
                let key = keys::due(at, event.id.as_bytes());
                if self.dbs.expiry.get(self.txn, &key).map_err(from_heed)?.is_none() {
                    self.report.add("expiry", || format!("event {} has no row", event.id));
                }
            }
        }
        Ok(())
    }

    /// Its row by id says what it is; a replaceable event is the newest of its slot.
    fn event(&mut self, seq: u64, event: &Event) -> Result<(), StoreError> {
        let row = self.dbs.ids.get(self.txn, event.id.as_bytes()).map_err(from_heed)?;
        match row.map(|row| decode_row(row, self.floor)).transpose()? {
            Some(row)
                if (row.seq, row.created_at, row.kind) == (seq, event.created_at.as_secs(), event.kind.as_u16()) => {}
            Some(_) => self.report.add("ids", || format!("the row of event {} says something else", event.id)),
            None => self.report.add("ids", || format!("event {} has no row", event.id)),
        }
        let Some(slot) = slot_of(event) else { return Ok(()) };
        let head = self.dbs.slots.get(self.txn, &keys::slot(&slot)).map_err(from_heed)?;
        match head.map(decode_head).transpose()? {
            Some(head) if head.id == event.id && head.stored => {}
            Some(head) => self.report.add("slots", || {
                format!(
                    "event {} is stored, though {} is the newest of kind {}, `{}`",
                    event.id, head.id, slot.kind, slot.identifier
                )
            }),
            None => self.report.add("slots", || format!("event {} has no slot", event.id)),
        }
        Ok(())
    }

    /// Every row of an index points at its event, and none is there that no event has.
    fn pointers(&mut self) -> Result<(), StoreError> {
        for index in Index::ALL {
            let (name, db) = (index.name(), index.db(self.dbs));
            for row in db.iter(self.txn).map_err(from_heed)? {
                let (key, seq) = row.map_err(from_heed)?;
                self.report.rows += 1;
                let item = keys::item_of(key);
                let points_at = match read_u64(seq) {
                    Ok(seq) => record(self.dbs, self.txn, seq).ok().flatten(),
                    Err(_) => None,
                };
                let agrees = item
                    .zip(points_at)
                    .is_some_and(|(item, record)| item.id == *record.id && item.created_at == record.created_at);
                if !agrees {
                    self.report.add(name, || format!("the row {} points at no such event", hex(key)));
                }
            }
            self.counted(name, db)?;
        }
        for row in self.dbs.ids.iter(self.txn).map_err(from_heed)? {
            let (id, row) = row.map_err(from_heed)?;
            self.report.rows += 1;
            let seq = decode_row(row, self.floor)?.seq;
            if record(self.dbs, self.txn, seq).ok().flatten().is_none_or(|record| record.id != id) {
                self.report.add("ids", || format!("the row of {} points at no such event", hex(id)));
            }
        }
        self.counted("expiry", self.dbs.expiry)
    }

    fn counted(&mut self, name: &'static str, db: Db) -> Result<(), StoreError> {
        let rows = db.len(self.txn).map_err(from_heed)?;
        let expected = self.expected.get(name).copied().unwrap_or(0);
        if rows != expected {
            self.report.add(name, || format!("it has {rows} rows where {expected} belong"));
        }
        Ok(())
    }

    /// What a slot says is stored is stored.
    fn slots(&mut self) -> Result<(), StoreError> {
        for row in self.dbs.slots.iter(self.txn).map_err(from_heed)? {
            let (key, head) = row.map_err(from_heed)?;
            self.report.rows += 1;
            match decode_head(head) {
                Ok(head) if head.stored => {
                    let row = self.dbs.ids.get(self.txn, head.id.as_bytes()).map_err(from_heed)?;
                    let time = row.map(|row| decode_row(row, self.floor)).transpose()?.map(|row| row.created_at);
                    if time != Some(head.created_at) {
                        self.report.add("slots", || format!("it holds {}, which isn't stored", head.id));
                    }
                }
                Ok(_) => {}
                Err(error) => self.report.add("slots", || format!("{}: {error}", hex(key))),
            }
        }
        Ok(())
    }

    /// Places and marks prove each other; whatever waits to be judged is there.
    fn feed(&mut self) -> Result<(), StoreError> {
        for row in self.dbs.feed.iter(self.txn).map_err(from_heed)? {
            let (place, seq) = row.map_err(from_heed)?;
            self.report.rows += 1;
            let (place, seq) = (read_u64(place)?, read_u64(seq)?);
            let marked = match record(self.dbs, self.txn, seq) {
                Ok(Some(record)) => self.dbs.ids.get(self.txn, record.id).map_err(from_heed)?,
                _ => None,
            };
            let mark = marked.map(|row| decode_row(row, self.floor)).transpose()?.and_then(|row| row.accepted);
            if mark != Some(place) {
                self.report.add("feed", || format!("place {place} names event number {seq}, which isn't marked so"));
            }
        }
        let mut marks = 0;
        for row in self.dbs.ids.iter(self.txn).map_err(from_heed)? {
            marks += u64::from(decode_row(row.map_err(from_heed)?.1, self.floor)?.accepted.is_some());
        }
        let places = self.dbs.feed.len(self.txn).map_err(from_heed)?;
        if marks != places {
            self.report.add("feed", || format!("it has {places} places for {marks} accepted events"));
        }
        for row in self.dbs.unjudged.iter(self.txn).map_err(from_heed)? {
            let (key, _) = row.map_err(from_heed)?;
            self.report.rows += 1;
            let seq = read_u64(key.get(1..).unwrap_or_default())?;
            let kind = record(self.dbs, self.txn, seq).ok().flatten().map(|record| record.kind);
            if kind.is_none_or(|kind| *keys::unjudged(kind, seq) != *key) {
                self.report.add("unjudged", || format!("the row {} names no such event", hex(key)));
            }
        }
        Ok(())
    }

    /// Every row of the rejected index has its keys in the sub-indexes, and they hold nothing else.
    fn rejected(&mut self) -> Result<(), StoreError> {
        let mut expected: BTreeMap<SubIndex, u64> = BTreeMap::new();
        for row in self.dbs.rejected.iter(self.txn).map_err(from_heed)? {
            let (id, bytes) = row.map_err(from_heed)?;
            self.report.rows += 1;
            let sub_keys = match rejected_row::decode(bytes) {
                Ok(row) if row.id.as_bytes() == id => sub_keys(&row),
                Ok(_) => BTreeSet::new(),
                Err(error) => {
                    self.report.add("rejected", || format!("{}: {error}", hex(id)));
                    continue;
                }
            };
            if sub_keys.is_empty() {
                self.report.add("rejected", || format!("the row of {} is another's", hex(id)));
            }
            for (index, key) in sub_keys {
                *expected.entry(index).or_default() += 1;
                if index.db(self.dbs).get(self.txn, &key).map_err(from_heed)?.is_none() {
                    self.report.add("rejected", || format!("the row of {} is missing from {index:?}", hex(id)));
                }
            }
        }
        for index in SubIndex::ALL {
            let rows = index.db(self.dbs).len(self.txn).map_err(from_heed)?;
            let expected = expected.get(&index).copied().unwrap_or(0);
            if rows != expected {
                self.report.add("rejected", || format!("{index:?} has {rows} rows where {expected} belong"));
            }
        }
        Ok(())
    }

    /// Every held event is due at its time, nothing else is, and none is stored or kept out beside.
    fn outbox(&mut self) -> Result<(), StoreError> {
        for row in self.dbs.outbox.iter(self.txn).map_err(from_heed)? {
            let (id, bytes) = row.map_err(from_heed)?;
            self.report.rows += 1;
            let row = match outbox::decode(bytes) {
                Ok(row) if row.event.id.as_bytes() == id => row,
                Ok(_) => {
                    self.report.add("outbox", || format!("the row of {} is another's", hex(id)));
                    continue;
                }
                Err(error) => {
                    self.report.add("outbox", || format!("{}: {error}", hex(id)));
                    continue;
                }
            };
            let (due, numbered) = outbox::sub_keys(&row);
            for (db, key) in [(self.dbs.outbox_due, due), (self.dbs.outbox_numbers, numbered)] {
                if db.get(self.txn, &key).map_err(from_heed)?.is_none() {
                    self.report.add("outbox", || format!("event {} is never due, or has no number", hex(id)));
                }
            }
            for (name, db) in [("stored", self.dbs.ids), ("kept out", self.dbs.rejected)] {
                if db.get(self.txn, id).map_err(from_heed)?.is_some() {
                    self.report.add("outbox", || format!("event {} is held, and {name} too", hex(id)));
                }
            }
        }
        let held = self.dbs.outbox.len(self.txn).map_err(from_heed)?;
        for db in [self.dbs.outbox_due, self.dbs.outbox_numbers] {
            let rows = db.len(self.txn).map_err(from_heed)?;
            if held != rows {
                self.report.add("outbox", || format!("{held} events are held, and {rows} are due or numbered"));
            }
        }
        Ok(())
    }

    /// No number is given out twice.
    fn numbers(&mut self) -> Result<(), StoreError> {
        let next = self.dbs.number(self.txn, Meta::NextSeq)?.unwrap_or(0);
        let head = self.dbs.number(self.txn, Meta::FeedHead)?.unwrap_or(0);
        let last = |db: Db| Ok::<_, StoreError>(db.last(self.txn).map_err(from_heed)?.map(|(key, _)| read_u64(key)));
        if let Some(seq) = last(self.dbs.events)?.transpose()?
            && seq >= next
        {
            self.report.add("meta", || format!("the next event would get number {next}, though {seq} is taken"));
        }
        if let Some(place) = last(self.dbs.feed)?.transpose()?
            && place > head
        {
            self.report.add("meta", || format!("the feed's head is {head}, though place {place} is taken"));
        }
        if let Some((key, _)) = self.dbs.feed_wanted.last(self.txn).map_err(from_heed)? {
            let place = read_u64(key.get(..8).unwrap_or_default())?;
            if place > head {
                self.report.add("meta", || format!("the feed's head is {head}, though place {place} is taken"));
            }
        }
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
