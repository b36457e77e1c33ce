//! What outlives a connection to one relay: which windows are drained in the run that isn't finished, what strategies asked
//! to remember, and what was learnt of the windows that it takes (SPEC §7).
//!
//! Coverage belongs to a run: a fresh start, a stale reconnect, the daily sync. What an older run drained says nothing
//! of what was published since with an older date. A record holds for every filter that its own filter includes.

use std::collections::{BTreeMap, BTreeSet};

use nostr::event::EventId;
use nostr::filter::Filter;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::overlap::{includes, share};
use super::part::MAX_COVERED;
use super::windows::{Learnt, merged};
use crate::lifecycle::relay_key;
use crate::model::{RelayUrl, SyncMethod};
use crate::store::{StateRecord, StateTable, StateWrite};
use crate::strategy::Window;

/// Filters whose coverage is kept for one relay: what is forgotten is asked for again.
const MAX_FILTERS: usize = 4_096;
/// Narrower filters among them, by which dense seconds are asked for.
const MAX_SHARES: usize = 1_024;
/// Dense seconds that are kept for one filter.
const MAX_DENSE: usize = 256;
/// Bytes that a strategy may have remembered of one relay.
const MAX_REMEMBERED: usize = 4_096;

/// What a record holds for beside its filter: what a service's own rules kept out is not here for somebody who wants
/// everything, and what was not offered is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scope {
    /// What is drained was offered to the relay, too.
    pub(super) up: bool,
    /// A person asked for it, whatever the service's rules are.
    pub(super) free: bool,
}

/// What a record is of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Of<'a> {
    /// Without times and limit.
    pub(super) filter: &'a Filter,
    pub(super) scope: Scope,
    /// A narrower filter, by which a dense second is asked for: it says nothing of other times, and no part of a batch is
    /// cut by it.
    pub(super) share: bool,
}

/// What is known of a dense second's share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// Nothing.
    Open,
    /// It holds more than is shown of it at once.
    Dense,
    /// All of it is here.
    Drained,
}

/// A filter's drained windows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct CoverageRow {
    /// Without times and limit.
    filter: Filter,
    scope: Scope,
    /// When the run began, and when this was last written: unix seconds.
    began: u64,
    touched: u64,
    windows: Vec<(u64, u64)>,
    /// Seconds that hold more than is shown of them at once: they are asked for after everything else.
    /// How much was shown of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dense: Vec<(u64, u64)>,
    /// See [`Of::share`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    share: bool,
}

/// What is known of a relay under one strategy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct StrategyRow {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    remembered: Vec<u8>,
    #[serde(flatten)]
    learnt: Learnt,
}

/// What is remembered of one relay. Changes are told by [`RelayMemory::take_writes`]; none of them is needed for anything
/// but time, so they may be written late, and never before the events that they speak of.
#[derive(Debug, Clone, Default)]
pub struct RelayMemory {
    key: String,
    /// How long before a claim the time lies that it doesn't speak of, seconds.
    overlap_s: u64,
    coverage: BTreeMap<String, CoverageRow>,
    strategies: BTreeMap<String, StrategyRow>,
    changed: BTreeSet<(StateTable, String)>,
    /// Coverage that was handed on before it was known to be true.
    ahead: BTreeSet<String>,
    /// Records that could not be read and are left out, one line each: for the log.
    pub problems: Vec<String>,
}

impl RelayMemory {
    /// The tables whose records [`RelayMemory::restore`] wants, those of the relay alone: their keys begin with
    /// [`RelayMemory::prefix`].
    pub const TABLES: [StateTable; 2] = [StateTable::Coverage, StateTable::Remembered];

    /// What the keys of a relay's records begin with.
    pub fn prefix(relay: &RelayUrl) -> Vec<u8> {
        format!("{}#", relay_key(relay)).into_bytes()
    }

    /// From the relay's records in the tables of [`RelayMemory::TABLES`]. What was drained later than `overlap_s` before a
    /// record was last written counts as open: what was published while nobody was connected has about that date. `now`:
    /// unix seconds.
    pub fn restore(
        relay: &RelayUrl,
        coverage: Vec<StateRecord>,
        remembered: Vec<StateRecord>,
        overlap_s: u64,
        now: u64,
    ) -> Self {
        let mut memory = Self { key: relay_key(relay), overlap_s, ..Self::default() };
        for (key, value) in coverage {
            let name = memory.name(&key);
            let Some(mut row) = memory.read::<CoverageRow>(&name, &value) else { continue };
            let last = row.touched.saturating_sub(overlap_s);
            for (_, until) in &mut row.windows {
                *until = last.min(*until);
            }
            row.windows.retain(|(since, until)| since <= until);
            memory.coverage.insert(name, row);
        }
        for (key, value) in remembered {
            let name = memory.name(&key);
            if let Some(mut row) = memory.read::<StrategyRow>(&name, &value) {
                row.learnt = row.learnt.current(now);
                memory.strategies.insert(name, row);
            }
        }
        memory
    }

    /// A key without the relay's prefix.
    fn name(&self, key: &[u8]) -> String {
        String::from_utf8_lossy(key.get(self.key.len() + 1..).unwrap_or_default()).into_owned()
    }

    fn read<T: serde::de::DeserializeOwned>(&mut self, name: &str, value: &[u8]) -> Option<T> {
        let read = serde_json::from_slice(value);
        read.map_err(|error| self.problems.push(format!("the record {}#{name} can't be read: {error}", self.key))).ok()
    }

    /// Forgets what was drained by runs that began before `since`, or, by a clock that was set back, after `now`.
    pub(super) fn begin_run(&mut self, since: u64, now: u64) {
        let current = |row: &CoverageRow| (since..=now).contains(&row.began);
        let old: Vec<String> =
            self.coverage.iter().filter(|(_, row)| !current(row)).map(|(name, _)| name.clone()).collect();
        for name in old {
            self.coverage.remove(&name);
            self.changed.insert((StateTable::Coverage, name));
        }
    }

    /// `filter` (without times) cut by what is drained of it: filters that match together what it matches, each with the
    /// windows that needn't be asked for. A filter whose items were drained as parts of different filters is asked for in
    /// as many.
    pub(super) fn covered(&self, filter: &Filter, scope: Scope) -> Vec<(Filter, Vec<Window>)> {
        let (mut out, mut rest) = (Vec::new(), Some(filter.clone()));
        for row in self.coverage.values().filter(|row| row.scope == scope && !row.share && !row.windows.is_empty()) {
            let Some(open) = rest.take() else { break };
            match share(&open, &row.filter) {
                Some((known, left)) => {
                    let windows = row.windows.iter().map(|(since, until)| Window { since: *since, until: *until });
                    out.push((known, windows.collect()));
                    rest = left;
                }
                None => rest = Some(open),
            }
        }
        out.extend(rest.map(|rest| (rest, Vec::new())));
        out
    }

    /// Takes note that `windows` are drained of a filter, by a batch that began at `began`: `false` where there is no room
    /// for it. `ahead`: a record that says so was handed on, by [`RelayMemory::claim_ahead`]; another is written only once in
    /// a while ([`RelayMemory::settle_ahead`]), as that one may have come to nothing.
    pub(super) fn drained(&mut self, of: Of<'_>, windows: &[Window], (began, now): (u64, u64), ahead: bool) -> bool {
        let name = coverage_name(of.filter, of.scope);
        let Some(row) = self.row_with(of, &name, windows, (began, now)) else { return false };
        self.coverage.insert(name.clone(), row);
        match ahead {
            true => self.ahead.insert(name),
            false => self.changed.insert((StateTable::Coverage, name)),
        };
        true
    }

    fn is_full(&self, share: bool) -> bool {
        let shares = || self.coverage.values().filter(|row| row.share).count();
        self.coverage.len() >= MAX_FILTERS || (share && shares() >= MAX_SHARES)
    }

    /// What is known of `filter` (without times), by which `second` is asked for.
    pub(super) fn share(&self, filter: &Filter, scope: Scope, second: u64) -> Share {
        match self.coverage.get(&coverage_name(filter, scope)) {
            Some(row) if row.windows.iter().any(|(since, until)| (*since..=*until).contains(&second)) => Share::Drained,
            Some(row) if row.dense.iter().any(|(dense, _)| *dense == second) => Share::Dense,
            _ => Share::Open,
        }
    }

    /// A filter's record with `windows` added; `None` where there is no room for another.
    fn row_with(&self, of: Of<'_>, name: &str, windows: &[Window], (began, now): (u64, u64)) -> Option<CoverageRow> {
        let mut row = match self.coverage.get(name) {
            Some(row) => row.clone(),
            None if self.is_full(of.share) => return None,
            None => CoverageRow {
                filter: of.filter.clone(),
                scope: of.scope,
                began,
                touched: now,
                windows: Vec::new(),
                dense: Vec::new(),
                share: of.share,
            },
        };
        row.share &= of.share;
        let known = row.windows.iter().map(|(since, until)| Window { since: *since, until: *until });
        // What is published now, with a date of the last minutes, is not seen by who has passed over them.
        let last = now.saturating_sub(self.overlap_s);
        let clipped = windows.iter().map(|window| Window { until: window.until.min(last), ..*window });
        let new = clipped.filter(|window| window.since <= window.until);
        let all = merged(known.chain(new).collect(), MAX_COVERED);
        row.windows = all.into_iter().map(|window| (window.since, window.until)).collect();
        row.touched = now;
        Some(row)
    }

    /// Takes note of a second of `filter` (without times), of which `shown` events were shown at once: it is to be asked for
    /// after everything else.
    pub(super) fn dense(&mut self, of: Of<'_>, (second, shown): (u64, u64), at: (u64, u64)) {
        self.drained(of, &[], at, false);
        let Some(row) = self.coverage.get_mut(&coverage_name(of.filter, of.scope)) else { return };
        match row.dense.iter().position(|(known, _)| *known == second) {
            Some(at) => row.dense[at].1 = shown.max(row.dense[at].1),
            None if row.dense.len() < MAX_DENSE => row.dense.push((second, shown)),
            None => {}
        }
    }

    /// The seconds that are to be asked for after everything else, with how much was shown of them at once; and how many
    /// shares of dense seconds are drained.
    pub(super) fn dense_seconds(&self, filter: &Filter, scope: Scope) -> (BTreeMap<u64, u64>, u64) {
        let row = self.coverage.get(&coverage_name(filter, scope));
        let dense: BTreeMap<u64, u64> = row.into_iter().flat_map(|row| row.dense.iter().copied()).collect();
        let drained = |row: &&CoverageRow| row.share && row.scope == scope && !row.windows.is_empty();
        let drained = self.coverage.values().filter(drained).filter(|row| includes(filter, &row.filter));
        let seconds = drained.flat_map(|row| &row.windows).map(|(since, until)| until - since + 1);
        (dense, seconds.fold(0, u64::saturating_add))
    }

    /// The run is finished as far as `filter` (without times) goes.
    pub(super) fn finished(&mut self, filter: &Filter, scope: Scope) {
        let done = |row: &CoverageRow| row.scope == scope && includes(filter, &row.filter);
        let names: Vec<String> =
            self.coverage.iter().filter(|(_, row)| done(row)).map(|(name, _)| name.clone()).collect();
        for name in names {
            self.coverage.remove(&name);
            self.changed.insert((StateTable::Coverage, name));
        }
    }

    pub(super) fn remembered(&self, strategy: &SyncMethod) -> &[u8] {
        self.strategies.get(strategy.as_str()).map_or(&[], |row| &row.remembered)
    }

    /// Keeps what a strategy wants remembered; `false` where that is too much, and nothing is kept.
    pub(super) fn remember(&mut self, strategy: &SyncMethod, bytes: Vec<u8>) -> bool {
        if bytes.len() > MAX_REMEMBERED {
            return false;
        }
        self.change(strategy, |row| row.remembered = bytes);
        true
    }

    pub(super) fn learnt(&self, strategy: &SyncMethod) -> Learnt {
        self.strategies.get(strategy.as_str()).map(|row| row.learnt).unwrap_or_default()
    }

    pub(super) fn learn(&mut self, strategy: &SyncMethod, learnt: Learnt) {
        self.change(strategy, |row| row.learnt = learnt);
    }

    fn change(&mut self, strategy: &SyncMethod, change: impl FnOnce(&mut StrategyRow)) {
        let row = self.strategies.entry(strategy.as_str().to_owned()).or_default();
        let before = row.clone();
        change(row);
        if *row != before {
            self.changed.insert((StateTable::Remembered, strategy.as_str().to_owned()));
        }
    }

    /// The records that changed since the last call.
    pub(super) fn take_writes(&mut self) -> Vec<StateWrite> {
        std::mem::take(&mut self.changed)
            .into_iter()
            .map(|(table, name)| {
                let value = match table {
                    StateTable::Coverage => self.coverage.get(&name).and_then(|row| serde_json::to_vec(row).ok()),
                    _ => self.strategies.get(&name).and_then(|row| serde_json::to_vec(row).ok()),
                };
                StateWrite::new(table, format!("{}#{name}", self.key), value)
            })
            .collect()
    }

    /// The record that says what [`RelayMemory::drained`] would, to be written with the `events` that it speaks of, before
    /// it is known that they are stored; `None` where there is no room.
    pub(super) fn claim_ahead(
        &mut self,
        of: Of<'_>,
        windows: &[Window],
        (began, now): (u64, u64),
        events: Vec<EventId>,
    ) -> Option<StateWrite> {
        let name = coverage_name(of.filter, of.scope);
        let row = self.row_with(of, &name, windows, (began, now))?;
        let value = serde_json::to_vec(&row).ok();
        self.ahead.insert(name.clone());
        let write = StateWrite::new(StateTable::Coverage, format!("{}#{name}", self.key), value);
        Some(StateWrite { if_known: events, ..write })
    }

    /// What was claimed ahead is to be written as it is known now.
    pub(super) fn settle_ahead(&mut self) {
        let names = std::mem::take(&mut self.ahead);
        self.changed.extend(names.into_iter().map(|name| (StateTable::Coverage, name)));
    }
}

/// One record for each filter and direction. A hash: filters are long.
fn coverage_name(filter: &Filter, scope: Scope) -> String {
    let json = serde_json::to_vec(filter).unwrap_or_default();
    let digest = Sha256::digest([json, vec![u8::from(scope.up), u8::from(scope.free)]].concat());
    digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use nostr::event::Kind;
    use nostr::filter::SingleLetterTag;

    use super::*;

    fn kinds(kinds: impl IntoIterator<Item = u16>) -> Filter {
        Filter::new().kinds(kinds.into_iter().map(Kind::from_u16))
    }

    fn memory() -> RelayMemory {
        RelayMemory::restore(&relay(), Vec::new(), Vec::new(), 0, 0)
    }

    fn relay() -> RelayUrl {
        RelayUrl::parse("wss://relay.example").expect("valid")
    }

    const DOWN: Scope = Scope { up: false, free: false };
    const BOTH: Scope = Scope { up: true, free: false };

    fn of(filter: &Filter) -> Of<'_> {
        Of { filter, scope: DOWN, share: false }
    }

    const WINDOW: Window = Window { since: 10, until: 19 };

    #[test]
    fn a_record_holds_for_every_filter_that_it_includes() {
        let mut memory = memory();
        memory.drained(of(&kinds([1, 2])), &[WINDOW], (5, 50), false);
        assert_eq!(memory.covered(&kinds([2]), DOWN), [(kinds([2]), vec![WINDOW])]);
        assert_eq!(memory.covered(&kinds([2]), BOTH), [(kinds([2]), vec![])]);
        assert_eq!(memory.covered(&Filter::new(), DOWN), [(Filter::new(), vec![])]);
        assert_eq!(memory.covered(&kinds([3]), DOWN), [(kinds([3]), vec![])]);
        let tagged = kinds([1]).custom_tags(SingleLetterTag::LOWERCASE_T, ["x"]);
        assert_eq!(memory.covered(&tagged, DOWN), [(tagged.clone(), vec![WINDOW])]);
    }

    #[test]
    fn a_filter_that_grew_is_cut_into_what_was_drained_and_what_is_new() {
        let mut memory = memory();
        memory.drained(of(&kinds([1, 2])), &[WINDOW], (5, 50), false);
        let cut = memory.covered(&kinds([1, 2, 3]), DOWN);
        assert_eq!(cut, [(kinds([1, 2]), vec![WINDOW]), (kinds([3]), vec![])]);
        memory.finished(&kinds([1, 2, 3]), DOWN);
        assert_eq!(memory.covered(&kinds([1, 2]), DOWN), [(kinds([1, 2]), vec![])]);
    }

    #[test]
    fn a_share_of_a_second_cuts_no_filter_and_is_forgotten_with_the_whole() {
        let (mut memory, all, one) = (memory(), kinds([1, 2]), kinds([1]));
        let second = Window { since: 15, until: 15 };
        memory.drained(Of { share: true, ..of(&one) }, &[second], (5, 50), false);
        memory.dense(Of { share: true, ..of(&kinds([2])) }, (15, 500), (5, 50));
        assert_eq!(memory.covered(&all, DOWN), [(all.clone(), vec![])]);
        assert_eq!(memory.covered(&one, DOWN), [(one.clone(), vec![])]);
        assert_eq!(memory.share(&one, DOWN, 15), Share::Drained);
        assert_eq!(memory.share(&one, DOWN, 16), Share::Open);
        assert_eq!(memory.share(&kinds([2]), DOWN, 15), Share::Dense);
        assert_eq!(memory.share(&one, BOTH, 15), Share::Open);
        memory.finished(&all, DOWN);
        assert_eq!(memory.share(&one, DOWN, 15), Share::Open);
    }

    #[test]
    fn records_come_back_but_for_their_newest_minutes_and_older_runs_are_forgotten() {
        let mut memory = memory();
        memory.drained(of(&kinds([1])), &[Window { since: 0, until: 9_999 }], (5, 10_000), false);
        assert!(memory.remember(&SyncMethod::new("req"), vec![7]));
        let writes = memory.take_writes();
        assert_eq!(writes.len(), 2);
        assert!(memory.take_writes().is_empty());
        let rows = |table| {
            let of = writes.iter().filter(|write| write.table == table);
            of.map(|write| (write.key.clone(), write.value.clone().expect("a value"))).collect::<Vec<_>>()
        };
        assert!(writes.iter().all(|write| write.key.starts_with(&RelayMemory::prefix(&relay()))));
        let mut again =
            RelayMemory::restore(&relay(), rows(StateTable::Coverage), rows(StateTable::Remembered), 900, 10_000);
        assert!(again.problems.is_empty());
        assert_eq!(again.covered(&kinds([1]), DOWN)[0].1, [Window { since: 0, until: 9_100 }]);
        assert_eq!(again.remembered(&SyncMethod::new("req")), [7]);
        again.begin_run(5, 10_000);
        assert!(again.take_writes().is_empty());
        again.begin_run(6, 10_000);
        assert_eq!(again.take_writes().iter().filter(|write| write.value.is_none()).count(), 1);
        assert!(again.covered(&kinds([1]), DOWN)[0].1.is_empty());
    }

    #[test]
    fn the_minutes_before_a_claim_are_not_drained_however_long_the_connection_lasts() {
        let mut memory = RelayMemory::restore(&relay(), Vec::new(), Vec::new(), 900, 0);
        let claim = |memory: &mut RelayMemory, window, now| {
            assert!(memory.drained(of(&kinds([1])), &[window], (5, now), false));
            memory.covered(&kinds([1]), DOWN)[0].1.clone()
        };
        let first = claim(&mut memory, Window { since: 5_000, until: 10_900 }, 10_000);
        assert_eq!(first, [Window { since: 5_000, until: 9_100 }]);
        let later = claim(&mut memory, Window { since: 0, until: 4_000 }, 20_000);
        assert_eq!(later, [Window { since: 0, until: 4_000 }, Window { since: 5_000, until: 9_100 }]);
    }

    #[test]
    fn a_record_that_cannot_be_read_is_told_and_left_out() {
        let key = [RelayMemory::prefix(&relay()), b"x".to_vec()].concat();
        let memory = RelayMemory::restore(&relay(), vec![(key, b"{".to_vec())], Vec::new(), 0, 0);
        assert_eq!((memory.problems.len(), memory.coverage.len()), (1, 0));
    }
}
