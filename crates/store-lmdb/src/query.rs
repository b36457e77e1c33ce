//! Answers filters, newest first and lowest id first within a second, in pages.
//!
//! Each filter is a stream: the cursors of its plan merged by a heap. The streams of all filters are merged in turn;
//! equal places fall together there, and are told once. A read transaction lasts for one page (at most
//! [`PAGE_EVENTS`] events, [`PAGE_BYTES`] bytes or [`PAGE_ROWS`] rows looked at), and is closed before its events
//! are handed out; each stream remembers the place it came to.
//!
//! Cost: one seek and one read for each row of the chosen index that is looked at, and two seeks for each second that
//! holds one; for a covered filter that is what it returns, `limit` included, whatever the store holds.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ops::{Bound, ControlFlow};

use heed::RoTxn;
use nostr::event::Event;
use nostr::filter::Filter;
use sync_core::store::StoreError;
use sync_core::strategy::ItemKey;

use crate::error::{damaged, from_heed};
use crate::events::{indexed, row, to_event};
use crate::keys::{Key, item_of, item_tail};
use crate::matching::{is_void, matches, since, until};
use crate::open::Shared;
use crate::plan::{Ascending, Plan, Source, choose};
use crate::schema::{Databases, Db, read_u64};

/// The first page is small, for whoever wants only the newest few; later ones grow to [`PAGE_EVENTS`].
const FIRST_PAGE: usize = 32;
const PAGE_EVENTS: usize = 1000;
const PAGE_BYTES: usize = 8 << 20;
const PAGE_ROWS: usize = 20_000;

pub(crate) fn query(
    shared: &Shared,
    filters: &[Filter],
    now: u64,
    visit: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut streams = Vec::new();
    {
        let txn = shared.env.read_txn().map_err(from_heed)?;
        for filter in filters.iter().filter(|filter| !is_void(filter)) {
            let plan = choose(&shared.dbs, &txn, filter)?;
            streams.push(Stream { filter, plan, remaining: filter.limit.unwrap_or(usize::MAX), resume: None });
        }
    }
    let mut size = FIRST_PAGE;
    while !streams.is_empty() {
        let (events, finished) = {
            let txn = shared.env.read_txn().map_err(from_heed)?;
            page(&shared.dbs, &txn, &mut streams, now, size)?
        };
        for event in events {
            if visit(event).is_break() {
                return Ok(());
            }
        }
        if finished {
            return Ok(());
        }
        streams.retain(|stream| stream.remaining > 0);
        size = (size * 4).min(PAGE_EVENTS);
    }
    Ok(())
}

/// One filter, between pages.
struct Stream<'f> {
    filter: &'f Filter,
    plan: Plan,
    /// How many events it may still contribute.
    remaining: usize,
    /// Everything up to this place was told or doesn't match.
    resume: Option<ItemKey>,
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

fn page(
    dbs: &Databases,
    txn: &RoTxn<'_>,
    streams: &mut [Stream<'_>],
    now: u64,
    size: usize,
) -> Result<(Vec<Event>, bool), StoreError> {
    let rows = PAGE_ROWS / streams.len() + 1;
    let mut running = Vec::with_capacity(streams.len());
    for stream in streams {
        let mut run = Running::open(dbs, txn, stream, now, rows)?;
        run.advance()?;
        running.push(run);
    }
    let (mut events, mut bytes) = (Vec::new(), 0);
    while events.len() < size && bytes < PAGE_BYTES {
        if running.iter().any(|run| run.paused) {
            return Ok((events, false));
        }
        let Some(first) = running.iter().filter_map(Running::place).max() else { return Ok((events, true)) };
        let mut told = None;
        for run in running.iter_mut().filter(|run| run.place() == Some(first)) {
            told = run.consume()?;
        }
        if let Some((event, len)) = told {
            bytes += len;
            events.push(event);
        }
    }
    Ok((events, false))
}

/// A stream within one page.
struct Running<'t, 's, 'f> {
    dbs: &'t Databases,
    txn: &'t RoTxn<'t>,
    stream: &'s mut Stream<'f>,
    now: u64,
    cursors: Vec<Cursor<'t>>,
    heads: BinaryHeap<(Place, u64, usize)>,
    /// The next match, not yet told.
    next: Option<(ItemKey, Event, usize)>,
    /// Rows that it may still look at.
    rows: usize,
    /// It ran out of them before it found a match.
    paused: bool,
}

impl<'t, 's, 'f> Running<'t, 's, 'f> {
    fn open(
        dbs: &'t Databases,
        txn: &'t RoTxn<'t>,
        stream: &'s mut Stream<'f>,
        now: u64,
        rows: usize,
    ) -> Result<Self, StoreError> {
        let (since, until) = (since(stream.filter), until(stream.filter));
        let mut cursors = Vec::new();
        let mut heads = BinaryHeap::new();
        match &stream.plan.source {
            Source::Ids(ids) => {
                for id in ids {
                    let Some(row) = row(dbs, txn, id, 0)? else { continue };
                    let place = Place(ItemKey { created_at: row.created_at, id: *id });
                    if stream.resume.is_none_or(|resume| place < Place(resume)) {
                        heads.push((place, row.seq, usize::MAX));
                    }
                }
            }
            Source::Index { db, prefixes } => {
                for prefix in prefixes {
                    let mut cursor = Cursor::open(*db, txn, *prefix, since, until, stream.resume)?;
                    if let Some((item, seq)) = cursor.next()? {
                        heads.push((Place(item), seq, cursors.len()));
                        cursors.push(cursor);
                    }
                }
            }
        }
        Ok(Self { dbs, txn, stream, now, cursors, heads, next: None, rows, paused: false })
    }

    fn place(&self) -> Option<Place> {
        self.next.as_ref().map(|(item, ..)| Place(*item))
    }

    /// Finds the next match.
    fn advance(&mut self) -> Result<(), StoreError> {
        self.next = None;
        while self.stream.remaining > 0 {
            let Some((Place(item), seq, at)) = self.heads.pop() else { return Ok(()) };
            if let Some(cursor) = self.cursors.get_mut(at)
                && let Some((item, seq)) = cursor.next()?
            {
                self.heads.push((Place(item), seq, at));
            }
            // An event with two of the values asked for lies below two prefixes.
            if self.stream.resume == Some(item) {
                continue;
            }
            if self.rows == 0 {
                self.paused = true;
                return Ok(());
            }
            self.rows -= 1;
            let record = indexed(self.dbs, self.txn, seq)?;
            let matching = !record.is_expired(self.now)
                && matches(self.stream.filter, &record)
                    .map_err(|why| damaged(&format!("event {}", record.event_id()), why))?;
            if matching {
                self.next = Some((item, to_event(&record)?, record.len));
                return Ok(());
            }
            self.stream.resume = Some(item);
        }
        Ok(())
    }

    /// Takes the match that was found, with its size in bytes, and finds the next.
    fn consume(&mut self) -> Result<Option<(Event, usize)>, StoreError> {
        let Some((item, event, len)) = self.next.take() else { return Ok(None) };
        self.stream.resume = Some(item);
        self.stream.remaining -= 1;
        self.advance()?;
        Ok(Some((event, len)))
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
