//! The local set of a filter: the events that match, and what one relay has offered that was kept out.
//!
//! The set of everything is read straight off the index by time, which has NIP-77's order; others are gathered
//! through the best index, 40 bytes an item. Each call reads the store as it is then, in one transaction.
//!
//! A view can't fail. Where the store can't be read it says so in the log and shows less than there is: what seems
//! missing is then asked for again, and the store's next answer, about known ids, tells of the failure.

use std::iter::Peekable;
use std::ops::ControlFlow;

use heed::RoTxn;
use nostr::filter::Filter;
use sync_core::model::RelayUrl;
use sync_core::store::StoreError;
use sync_core::strategy::{ItemKey, KeyRange, SetView, VecSet, Window, fingerprint_of};

use crate::error::{damaged, from_heed};
use crate::events::{indexed, row};
use crate::keys::{self, Key, item_of};
use crate::matching::{is_plain, is_void, matches, matches_row};
use crate::open::Shared;
use crate::plan::{Ascending, Source, ascending, choose, range_of};
use crate::rejected;
use crate::schema::read_u64;

pub(crate) struct LocalView<'a> {
    shared: &'a Shared,
    filter: Filter,
    relay: Key,
}

impl<'a> LocalView<'a> {
    pub(crate) fn new(shared: &'a Shared, filter: &Filter, window: Window, relay: &RelayUrl) -> Self {
        Self { shared, filter: window.narrow(filter), relay: keys::relay_prefix(relay) }
    }

    /// Runs `read` in a transaction over the part of `range` that the filter's times allow.
    fn read<T: Default>(&self, range: KeyRange, read: impl FnOnce(&RoTxn<'_>, KeyRange) -> Result<T, StoreError>) -> T {
        let own = range_of(&self.filter);
        let range = KeyRange { start: range.start.max(own.start), end: range.end.min(own.end) };
        if range.start >= range.end || is_void(&self.filter) {
            return T::default();
        }
        let result = self.shared.env.read_txn().map_err(from_heed).and_then(|txn| read(&txn, range));
        result.unwrap_or_else(|error| {
            tracing::error!(%error, filter = ?self.filter, "the local set can't be read");
            T::default()
        })
    }

    fn walk<'t>(&self, txn: &'t RoTxn<'t>, range: KeyRange) -> Result<Walk<'t>, StoreError>
    where
        'a: 't,
    {
        let dbs = &self.shared.dbs;
        Ok(Walk {
            stored: ascending(dbs.by_time, txn, &Key::new(&[]), range)?.peekable(),
            offered: self.offered(txn, range)?.peekable(),
        })
    }

    fn offered<'t>(&self, txn: &'t RoTxn<'t>, range: KeyRange) -> Result<Offered<'t>, StoreError>
    where
        'a: 't,
    {
        let rows = ascending(self.shared.dbs.rejected_relays, txn, &self.relay, range)?;
        Ok(Offered { shared: self.shared, txn, rows })
    }

    /// How many items the walk would show; at once where it would show the whole index.
    fn count_plain(&self, txn: &RoTxn<'_>, range: KeyRange) -> Result<u64, StoreError> {
        let by_time = self.shared.dbs.by_time;
        let bounds = (by_time.first(txn).map_err(from_heed)?, by_time.last(txn).map_err(from_heed)?);
        if let (Some((first, _)), Some((last, _))) = bounds
            && item_of(first).is_some_and(|first| first >= range.start)
            && item_of(last).is_some_and(|last| last < range.end)
            && self.offered(txn, range)?.next().is_none()
        {
            return by_time.len(txn).map_err(from_heed);
        }
        self.walk(txn, range)?.try_fold(0, |count, item| item.map(|_| count + 1))
    }

    fn gather(&self, txn: &RoTxn<'_>, range: KeyRange) -> Result<VecSet, StoreError> {
        let mut items = Vec::new();
        self.gather_stored(txn, range, &mut items)?;
        for item in self.offered(txn, range)? {
            let item = item?;
            let row = rejected::row(&self.shared.dbs, txn, &item.id)?;
            if row.is_some_and(|row| matches_row(&self.filter, &row)) {
                items.push(item);
            }
        }
        Ok(items.into_iter().collect())
    }

    fn gather_stored(&self, txn: &RoTxn<'_>, range: KeyRange, items: &mut Vec<ItemKey>) -> Result<(), StoreError> {
        let dbs = &self.shared.dbs;
        let plan = choose(dbs, txn, &self.filter)?;
        let mut offer = |item: ItemKey, seq: u64| {
            let matching = plan.covered || {
                let record = indexed(dbs, txn, seq)?;
                matches(&self.filter, &record).map_err(|why| damaged(&format!("event {}", record.event_id()), why))?
            };
            if matching {
                items.push(item);
            }
            Ok::<_, StoreError>(())
        };
        match &plan.source {
            Source::Ids(ids) => {
                for id in ids {
                    if let Some(row) = row(dbs, txn, id, 0)? {
                        let item = ItemKey { created_at: row.created_at, id: *id };
                        if item >= range.start && item < range.end {
                            offer(item, row.seq)?;
                        }
                    }
                }
            }
            Source::Index { db, prefixes } => {
                for prefix in prefixes {
                    for row in ascending(*db, txn, prefix, range)? {
                        let (key, seq) = row.map_err(from_heed)?;
                        offer(place_of(key)?, read_u64(seq)?)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn place_of(key: &[u8]) -> Result<ItemKey, StoreError> {
    item_of(key).ok_or_else(|| StoreError::Corrupt("an index key is too short".to_owned()))
}

/// What the relay offered, and is known and kept out.
struct Offered<'t> {
    shared: &'t Shared,
    txn: &'t RoTxn<'t>,
    rows: Ascending<'t>,
}

impl Iterator for Offered<'_> {
    type Item = Result<ItemKey, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Shared { dbs, judging, .. } = self.shared;
        loop {
            let item = match self.rows.next()?.map_err(from_heed).and_then(|(key, _)| place_of(key)) {
                Ok(item) => item,
                Err(error) => return Some(Err(error)),
            };
            // In a store that judges, what has a key here is known: its row need not be read.
            match if *judging { Ok(Some(0)) } else { rejected::known_since(dbs, self.txn, &item.id, false) } {
                Ok(Some(_)) => return Some(Ok(item)),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Stored events and what the relay offered in one ascending order, each place once.
struct Walk<'t> {
    stored: Peekable<Ascending<'t>>,
    offered: Peekable<Offered<'t>>,
}

impl Iterator for Walk<'_> {
    type Item = Result<ItemKey, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let stored = match self.stored.peek() {
            Some(Ok((key, _))) => item_of(key),
            _ => None,
        };
        let offered = match self.offered.peek() {
            Some(Ok(item)) => Some(*item),
            _ => None,
        };
        let from_offered = matches!((stored, offered), (Some(a), Some(b)) if b < a) || self.stored.peek().is_none();
        if stored.is_some() && stored == offered {
            self.offered.next();
        }
        if from_offered {
            return self.offered.next();
        }
        self.stored.next().map(|row| row.map_err(from_heed).and_then(|(key, _)| place_of(key)))
    }
}

impl SetView for LocalView<'_> {
    fn count(&self, range: KeyRange) -> u64 {
        self.read(range, |txn, range| {
            if is_plain(&self.filter) {
                self.count_plain(txn, range)
            } else {
                self.gather(txn, range).map(|set| set.count(range))
            }
        })
    }

    fn fingerprint(&self, range: KeyRange) -> [u8; 16] {
        let read = self.read(range, |txn, range| {
            if !is_plain(&self.filter) {
                return self.gather(txn, range).map(|set| Some(set.fingerprint(range)));
            }
            let mut failed = None;
            let ids = self.walk(txn, range)?.map_while(|item| match item {
                Ok(item) => Some(item.id),
                Err(error) => {
                    failed = Some(error);
                    None
                }
            });
            let fingerprint = fingerprint_of(ids);
            failed.map_or(Ok(Some(fingerprint)), Err)
        });
        read.unwrap_or_else(|| fingerprint_of([]))
    }

    fn items(&self, range: KeyRange, visit: &mut dyn FnMut(ItemKey) -> ControlFlow<()>) {
        self.read(range, |txn, range| {
            if !is_plain(&self.filter) {
                self.gather(txn, range)?.items(range, visit);
                return Ok(());
            }
            for item in self.walk(txn, range)? {
                if visit(item?).is_break() {
                    break;
                }
            }
            Ok(())
        });
    }

    fn split(&self, range: KeyRange, parts: usize) -> Vec<ItemKey> {
        self.read(range, |txn, range| {
            if !is_plain(&self.filter) {
                return Ok(self.gather(txn, range)?.split(range, parts));
            }
            let count = usize::try_from(self.count_plain(txn, range)?).unwrap_or(usize::MAX);
            let parts = parts.clamp(1, count.max(1));
            let mut places = (1..parts).map(|part| (part as u128 * count as u128 / parts as u128) as usize).peekable();
            let mut out = Vec::with_capacity(parts - 1);
            for (at, item) in self.walk(txn, range)?.enumerate() {
                let item = item?;
                if places.next_if_eq(&at).is_some() {
                    out.push(item);
                }
                if places.peek().is_none() {
                    break;
                }
            }
            Ok(out)
        })
    }
}
