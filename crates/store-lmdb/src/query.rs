//! Answers filters, newest first and lowest id first within a second, in pages.
//!
//! Each filter is a stream: the cursors of its plan merged by a heap. The streams of all filters are merged in turn;
//! equal places fall together there, and are told once. A read transaction lasts for one page, in which at most
//! [`PAGE_ROWS`] rows are looked at; the query holds the place that each of its filters came to.
//!
//! Cost: one seek and one read for each row of the chosen index that is looked at, and two seeks for each second that
//! holds one; for a covered filter that is what it returns, `limit` included, whatever the store holds.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ops::Bound;

use heed::RoTxn;
use nostr::event::Event;
use sync_core::store::{Beyond, FeedSeq, PageSize, Query, QueryPart, StoreError};
use sync_core::strategy::ItemKey;

use crate::codec::Record;
use crate::error::{damaged, from_heed};
use crate::events::{indexed, row, to_event};
use crate::feed;
use crate::keys::{Key, item_of, item_tail};
use crate::matching::{is_void, matches, since, until};
use crate::open::Shared;
use crate::plan::{Ascending, Source, choose};
use crate::schema::{Databases, Db, read_u64};

/// Rows looked at in one page.
const PAGE_ROWS: usize = 20_000;

/// The next events of `query`.
pub(crate) fn events(shared: &Shared, query: &mut Query, now: u64, size: PageSize) -> Result<Vec<Event>, StoreError> {
    page(shared, query, now, size, false, |_, record| match record {
        Some(record) => to_event(&record),
        None => Err(StoreError::Corrupt("an event was found and not read".to_owned())),
    })
}

/// The next places of `query`.
pub(crate) fn items(shared: &Shared, query: &mut Query, now: u64, max: usize) -> Result<Vec<ItemKey>, StoreError> {
    let size = PageSize { events: max, bytes: usize::MAX };
    page(shared, query, now, size, true, |item, _| Ok(item))
}

/// A place, ordered so that the greatest is the first to be told.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place(ItemKey);

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0.created_at, Reverse(self.0.id)).cmp(&(other.0.created_at, Reverse(other.0.id)))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn page<T>(
    shared: &Shared,
    query: &mut Query,
    now: u64,
    size: PageSize,
    places_only: bool,
    make: impl Fn(ItemKey, Option<Record<'_>>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let Query { parts, as_of, looks_beyond } = query;
    for part in parts.iter_mut().filter(|part| !part.finished && is_void(&part.filter)) {
        part.finished = true;
        part.beyond = Beyond::Nothing;
    }
    let mut open: Vec<&mut QueryPart> = parts.iter_mut().filter(|part| !part.finished).collect();
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let txn = shared.env.read_txn().map_err(from_heed)?;
    // What was accepted since is looked for only where something was.
    let head = feed::head(&shared.dbs, &txn)?;
    let as_of = as_of.filter(|place| head > *place);
    let by_index = places_only && as_of.is_none() && !has_expired(&shared.dbs, &txn, now)?;
    let terms = Terms { now, as_of, looks_beyond: *looks_beyond, by_index };
    let rows = PAGE_ROWS / open.len() + 1;
    let mut running = Vec::with_capacity(open.len());
    for part in &mut open {
        let mut run = Running::open(&shared.dbs, &txn, part, terms, rows)?;
        run.advance()?;
        running.push(run);
    }
    let (mut page, mut bytes) = (Vec::new(), 0);
    while page.len() < size.events.max(1) && bytes < size.bytes.max(1) {
        if running.iter().any(|run| run.paused) {
            return Ok(page);
        }
        let Some(first) = running.iter().filter_map(Running::place).max() else { break };
        let mut told = None;
        for run in running.iter_mut().filter(|run| run.place() == Some(first)) {
            told = run.consume()?;
        }
        if let Some((item, record)) = told {
            bytes += record.map_or(0, |record| record.len);
            page.push(make(item, record)?);
        }
    }
    Ok(page)
}

/// What holds for every filter of a page.
#[derive(Clone, Copy)]
struct Terms {
    now: u64,
    as_of: Option<FeedSeq>,
    looks_beyond: bool,
    /// Events that an index row vouches for aren't read: only places are wanted, and nothing else can rule them out.
    by_index: bool,
}

/// Whether anything is stored whose time is up (NIP-40): it goes with the next sweep.
fn has_expired(dbs: &Databases, txn: &RoTxn<'_>, now: u64) -> Result<bool, StoreError> {
    let first = dbs.expiry.first(txn).map_err(from_heed)?;
    Ok(first.and_then(|(key, _)| key.first_chunk::<8>()).is_some_and(|at| u64::from_be_bytes(*at) <= now))
}

/// A match: its place, and its record where that was read.
type Found<'t> = (ItemKey, Option<Record<'t>>);

/// A filter within one page.
struct Running<'t, 's> {
    dbs: &'t Databases,
    txn: &'t RoTxn<'t>,
    part: &'s mut QueryPart,
    terms: Terms,
    /// Whether every candidate matches.
    covered: bool,
    cursors: Vec<Cursor<'t>>,
    heads: BinaryHeap<(Place, u64, usize)>,
    /// The next match, not yet told.
    next: Option<Found<'t>>,
    /// Rows that it may still look at.
    rows: usize,
    /// It ran out of them before it found a match.
    paused: bool,
}

impl<'t, 's> Running<'t, 's> {
    fn open(
        dbs: &'t Databases,
        txn: &'t RoTxn<'t>,
        part: &'s mut QueryPart,
        terms: Terms,
        rows: usize,
    ) -> Result<Self, StoreError> {
        let (since, until) = (since(&part.filter), until(&part.filter));
        let mut cursors = Vec::new();
        let mut heads = BinaryHeap::new();
        let plan = choose(dbs, txn, &part.filter)?;
        match plan.source {
            Source::Ids(ids) => {
                for id in ids {
                    let Some(row) = row(dbs, txn, &id, 0)? else { continue };
                    let place = Place(ItemKey { created_at: row.created_at, id });
                    if part.resume.is_none_or(|resume| place < Place(resume)) {
                        heads.push((place, row.seq, usize::MAX));
                    }
                }
            }
            Source::Index { db, prefixes } => {
                for prefix in prefixes {
                    let mut cursor = Cursor::open(db, txn, prefix, since, until, part.resume)?;
                    if let Some((item, seq)) = cursor.next()? {
                        heads.push((Place(item), seq, cursors.len()));
                        cursors.push(cursor);
                    }
                }
            }
        }
        Ok(Self { dbs, txn, part, terms, covered: plan.covered, cursors, heads, next: None, rows, paused: false })
    }

    fn place(&self) -> Option<Place> {
        self.next.as_ref().map(|(item, ..)| Place(*item))
    }

    /// Finds the next match, or that there is none.
    fn advance(&mut self) -> Result<(), StoreError> {
        self.next = None;
        let exhausted = self.part.remaining == 0;
        if exhausted && !self.terms.looks_beyond {
            self.part.finished = true;
            return Ok(());
        }
        while let Some((Place(item), seq, at)) = self.heads.pop() {
            if let Some(cursor) = self.cursors.get_mut(at)
                && let Some((item, seq)) = cursor.next()?
            {
                self.heads.push((Place(item), seq, at));
            }
            // An event with two of the values asked for lies below two prefixes.
            if self.part.resume == Some(item) {
                continue;
            }
            if self.rows == 0 {
                // Whether there is more isn't worth another page.
                self.part.finished = exhausted;
                self.paused = !exhausted;
                return Ok(());
            }
            self.rows -= 1;
            let record =
                if self.covered && self.terms.by_index { None } else { Some(indexed(self.dbs, self.txn, seq)?) };
            if record.as_ref().map_or(Ok(true), |record| self.is_match(record))? {
                if exhausted {
                    self.part.beyond = Beyond::More;
                    self.part.finished = true;
                } else {
                    self.next = Some((item, record));
                }
                return Ok(());
            }
            self.part.resume = Some(item);
        }
        self.part.beyond = Beyond::Nothing;
        self.part.finished = true;
        Ok(())
    }

    fn is_match(&self, record: &Record<'_>) -> Result<bool, StoreError> {
        let matching = !record.is_expired(self.terms.now)
            && matches(&self.part.filter, record)
                .map_err(|why| damaged(&format!("event {}", record.event_id()), why))?;
        let Some(as_of) = self.terms.as_of.filter(|_| matching) else { return Ok(matching) };
        let accepted = row(self.dbs, self.txn, record.id, 0)?.and_then(|row| row.accepted);
        Ok(accepted.is_none_or(|place| place <= as_of))
    }

    /// Takes the match that was found, and finds the next.
    fn consume(&mut self) -> Result<Option<Found<'t>>, StoreError> {
        let Some((item, record)) = self.next.take() else { return Ok(None) };
        self.part.resume = Some(item);
        self.part.remaining -= 1;
        self.advance()?;
        Ok(Some((item, record)))
    }
}

/// The rows below one prefix, newest first, lowest id first within a second. Keys ascend, so that it steps back
/// from second to second, and forward within each.
struct Cursor<'t> {
    db: Db,
    txn: &'t RoTxn<'t>,
    prefix: Key,
    since: u64,
    /// The second that `rows` are of.
    second: u64,
    rows: Option<Ascending<'t>>,
}

impl<'t> Cursor<'t> {
    fn open(
        db: Db,
        txn: &'t RoTxn<'t>,
        prefix: Key,
        since: u64,
        until: u64,
        after: Option<ItemKey>,
    ) -> Result<Self, StoreError> {
        let mut cursor = Self { db, txn, prefix, since, second: 0, rows: None };
        match after {
            Some(item) => cursor.enter(item.created_at, Bound::Excluded(&prefix.with(&item_tail(item))))?,
            None => cursor.step_back(until)?,
        }
        Ok(cursor)
    }

    fn last_of(&self, second: u64) -> Key {
        self.prefix.with(&item_tail(ItemKey { created_at: second, id: [0xff; 32] }))
    }

    fn enter(&mut self, second: u64, from: Bound<&[u8]>) -> Result<(), StoreError> {
        let last = self.last_of(second);
        self.second = second;
        self.rows = Some(self.db.range(self.txn, &(from, Bound::Included(&last[..]))).map_err(from_heed)?);
        Ok(())
    }

    /// Enters the newest second, up to `second`, that has rows.
    fn step_back(&mut self, second: u64) -> Result<(), StoreError> {
        self.rows = None;
        let last = self.last_of(second);
        let Some((key, _)) = self.db.get_lower_than_or_equal_to(self.txn, &last).map_err(from_heed)? else {
            return Ok(());
        };
        if !key.starts_with(&self.prefix) {
            return Ok(());
        }
        let second = place_of(key)?.created_at;
        if second < self.since {
            return Ok(());
        }
        let first = self.prefix.with(&item_tail(ItemKey { created_at: second, id: [0; 32] }));
        self.enter(second, Bound::Included(&first))
    }

    fn next(&mut self) -> Result<Option<(ItemKey, u64)>, StoreError> {
        while let Some(rows) = &mut self.rows {
            if let Some(row) = rows.next() {
                let (key, seq) = row.map_err(from_heed)?;
                return Ok(Some((place_of(key)?, read_u64(seq)?)));
            }
            match self.second.checked_sub(1) {
                Some(second) => self.step_back(second)?,
                None => self.rows = None,
            }
        }
        Ok(None)
    }
}

fn place_of(key: &[u8]) -> Result<ItemKey, StoreError> {
    item_of(key).ok_or_else(|| StoreError::Corrupt("an index key is too short".to_owned()))
}
