//! The tables of the store in memory. Each has one way to change, which keeps what is derived from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nostr::event::{Event, EventId, Kind};
use nostr::filter::{Filter, MatchEventOptions, SingleLetterTag};
use nostr::key::PublicKey;
use sync_core::intake;
use sync_core::model::kinds;
use sync_core::store::{
    Dependency, FeedEntry, FeedSeq, HeldRow, KnownEvent, RejectedRow, Slot, SlotHead, StateTable, StateWrite,
};
use sync_core::strategy::Window;

/// A stored event.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) event: Arc<Event>,
    pub(super) seq: u64,
    pub(super) accepted: Option<FeedSeq>,
    pub(super) expires_at: Option<u64>,
    /// Whether the present policy has seen it.
    pub(super) judged: bool,
}

#[derive(Debug, Default)]
pub(super) struct State {
    events: BTreeMap<EventId, Stored>,
    /// Stored events by what they tag; announcements and states by their identifier, too.
    tagging: BTreeMap<Dependency, BTreeSet<EventId>>,
    /// Stored events by kind, and by tags of one letter: what most filters name.
    by_kind: BTreeMap<Kind, BTreeSet<(u64, EventId)>>,
    by_tag: BTreeMap<(SingleLetterTag, String), BTreeSet<(u64, EventId)>>,
    expiring: BTreeSet<(u64, EventId)>,
    next_seq: u64,

    rejected: BTreeMap<EventId, RejectedRow>,
    waiting: BTreeMap<Dependency, BTreeSet<EventId>>,
    pub(super) held: BTreeMap<EventId, HeldRow>,
    /// The number that was given out last in the outbox; and up to which held events are to be decided about anew.
    pub(super) newest_held: u64,
    pub(super) retake: u64,
    /// Rows by when the body, or without one the row itself, goes.
    due: BTreeSet<(u64, EventId)>,
    leaving: BTreeSet<(u64, EventId)>,
    hot: u64,

    pub(super) slots: BTreeMap<Slot, SlotHead>,
    pub(super) deleted_ids: BTreeSet<(EventId, PublicKey)>,
    pub(super) deleted_slots: BTreeMap<Slot, u64>,
    pub(super) feed: Vec<FeedEntry>,
    records: BTreeMap<(StateTable, Vec<u8>), Vec<u8>>,
}

impl State {
    pub(super) fn events(&self) -> impl Iterator<Item = &Stored> {
        self.events.values()
    }

    pub(super) fn event_count(&self) -> u64 {
        self.events.len() as u64
    }

    pub(super) fn stored(&self, id: &EventId) -> Option<&Stored> {
        self.events.get(id)
    }

    /// What is known of an id. `judging`: whether what only a policy kept out counts.
    pub(super) fn known(&self, id: &EventId, judging: bool) -> Option<KnownEvent> {
        if let Some(stored) = self.stored(id) {
            return Some(KnownEvent { created_at: stored.event.created_at.as_secs(), stored: true });
        }
        if let Some(held) = self.held.get(id) {
            return Some(KnownEvent { created_at: held.event.created_at.as_secs(), stored: false });
        }
        let row = self.rejected_row(id).filter(|row| row.is_known(judging))?;
        Some(KnownEvent { created_at: row.created_at, stored: false })
    }

    /// Sets or removes a stored event; returns what was there.
    pub(super) fn set_event(&mut self, id: EventId, stored: Option<Stored>) -> Option<Stored> {
        let before = self.events.remove(&id);
        if let Some(before) = &before {
            for key in keys_of(&before.event) {
                unlink(&mut self.tagging, &key, &id);
            }
            let entry = (before.event.created_at.as_secs(), id);
            for key in letters_of(&before.event) {
                unlink(&mut self.by_tag, &key, &entry);
            }
            unlink(&mut self.by_kind, &before.event.kind, &entry);
            if let Some(at) = before.expires_at {
                self.expiring.remove(&(at, id));
            }
        }
        if let Some(stored) = stored {
            for key in keys_of(&stored.event) {
                self.tagging.entry(key).or_default().insert(id);
            }
            let entry = (stored.event.created_at.as_secs(), id);
            for key in letters_of(&stored.event) {
                self.by_tag.entry(key).or_default().insert(entry);
            }
            self.by_kind.entry(stored.event.kind).or_default().insert(entry);
            self.expiring.extend(stored.expires_at.map(|at| (at, id)));
            self.events.insert(id, stored);
        }
        before
    }

    /// Stored events of a window that match. Cost: what one tag of the filter, or its kinds, names within the window.
    pub(super) fn matching(&self, filter: &Filter, window: Window) -> Vec<&Stored> {
        let of = |index: Option<&BTreeSet<(u64, EventId)>>| -> Vec<EventId> {
            let start = (window.since, EventId::from_byte_array([0; 32]));
            let within = index.into_iter().flat_map(|index| index.range(start..));
            within.take_while(|(at, _)| *at <= window.until).map(|(_, id)| *id).collect()
        };
        let named: Option<BTreeSet<EventId>> = match (&filter.ids, filter.generic_tags.iter().next(), &filter.kinds) {
            (Some(ids), ..) => Some(ids.iter().copied().collect()),
            (None, Some((letter, values)), _) => {
                Some(values.iter().flat_map(|value| of(self.by_tag.get(&(*letter, value.clone())))).collect())
            }
            (None, None, Some(kinds)) => Some(kinds.iter().flat_map(|kind| of(self.by_kind.get(kind))).collect()),
            (None, None, None) => None,
        };
        let matches = |stored: &&Stored| {
            window.contains(stored.event.created_at.as_secs())
                && filter.match_event(&stored.event, MatchEventOptions::new())
        };
        match named {
            Some(ids) => ids.iter().filter_map(|id| self.events.get(id)).filter(matches).collect(),
            None => self.events.values().filter(matches).collect(),
        }
    }

    pub(super) fn next_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq
    }

    /// Stored events that tag `key`, or have it as their identifier.
    pub(super) fn tagging(&self, key: &Dependency) -> impl Iterator<Item = &Stored> {
        self.tagging.get(key).into_iter().flatten().filter_map(|id| self.events.get(id))
    }

    pub(super) fn expired_before(&self, now: u64) -> impl Iterator<Item = EventId> {
        self.expiring.iter().take_while(move |(at, _)| *at < now).map(|(_, id)| *id)
    }

    /// Stored events that the present policy hasn't seen, in the order in which they came.
    pub(super) fn backlog(&self) -> Vec<Arc<Event>> {
        let mut backlog: Vec<&Stored> = self.events.values().filter(|stored| !stored.judged).collect();
        backlog.sort_by_key(|stored| stored.seq);
        backlog.into_iter().map(|stored| stored.event.clone()).collect()
    }

    pub(super) fn rejected_rows(&self) -> impl Iterator<Item = &RejectedRow> {
        self.rejected.values()
    }

    pub(super) fn rejected_row(&self, id: &EventId) -> Option<&RejectedRow> {
        self.rejected.get(id)
    }

    /// Sets or removes a row of the rejected index; returns what was there.
    pub(super) fn set_rejected(&mut self, id: EventId, row: Option<RejectedRow>) -> Option<RejectedRow> {
        let before = self.rejected.remove(&id);
        if let Some(before) = &before {
            for dependency in &before.waits_for {
                unlink(&mut self.waiting, dependency, &id);
            }
            self.due.remove(&(due_at(before), id));
            self.leaving.remove(&(before.cold_until, id));
            self.hot -= u64::from(before.body.is_some());
        }
        if let Some(row) = row {
            for dependency in &row.waits_for {
                self.waiting.entry(dependency.clone()).or_default().insert(id);
            }
            self.due.insert((due_at(&row), id));
            self.leaving.insert((row.cold_until, id));
            self.hot += u64::from(row.body.is_some());
            self.rejected.insert(id, row);
        }
        before
    }

    pub(super) fn waiting_for(&self, dependency: &Dependency) -> impl Iterator<Item = EventId> {
        self.waiting.get(dependency).into_iter().flatten().copied()
    }

    pub(super) fn rejected_due(&self, now: u64) -> impl Iterator<Item = EventId> {
        self.due.iter().take_while(move |(at, _)| *at <= now).map(|(_, id)| *id)
    }

    pub(super) fn rejected_oldest(&self) -> Option<EventId> {
        self.leaving.first().map(|(_, id)| *id)
    }

    /// Hot, cold.
    pub(super) fn rejected_count(&self) -> (u64, u64) {
        (self.hot, self.rejected.len() as u64 - self.hot)
    }

    pub(super) fn feed_head(&self) -> FeedSeq {
        self.feed.len() as u64
    }

    /// The entries after `after` up to and including `upto`.
    pub(super) fn feed_between(&self, after: FeedSeq, upto: FeedSeq) -> &[FeedEntry] {
        let place = |seq: FeedSeq| usize::try_from(seq).unwrap_or(usize::MAX).min(self.feed.len());
        &self.feed[place(after)..place(upto)]
    }

    /// What a change of policy voids: the rejected index, the feed, the marks of acceptance.
    pub(super) fn forget_judgements(&mut self) {
        for id in self.rejected.keys().copied().collect::<Vec<_>>() {
            self.set_rejected(id, None);
        }
        let read_for = [StateTable::Relay, StateTable::Failed, StateTable::Coverage];
        self.records.retain(|(table, _), _| !read_for.contains(table));
        self.feed.clear();
        self.retake = self.newest_held;
        for stored in self.events.values_mut() {
            stored.accepted = None;
            stored.judged = false;
        }
    }

    /// Writes records. `judging`: whether what only a policy kept out counts as known.
    pub(super) fn write_records(&mut self, writes: Vec<StateWrite>, judging: bool) {
        for StateWrite { table, key, value, if_known } in writes {
            if if_known.iter().any(|id| self.known(id, judging).is_none()) {
                continue;
            }
            match value {
                Some(value) => self.records.insert((table, key), value),
                None => self.records.remove(&(table, key)),
            };
        }
    }

    pub(super) fn records(&self, table: StateTable) -> Vec<(Vec<u8>, Vec<u8>)> {
        let records = self.records.iter().filter(|((of, _), _)| *of == table);
        records.map(|((_, key), value)| (key.clone(), value.clone())).collect()
    }
}

fn keys_of(event: &Event) -> BTreeSet<Dependency> {
    let identifier = matches!(event.kind.as_u16(), kinds::ANNOUNCEMENT | kinds::STATE)
        .then(|| intake::slot_of(event))
        .flatten()
        .map(|slot| Dependency::Identifier(slot.identifier));
    intake::references(event).chain(identifier).collect()
}

fn letters_of(event: &Event) -> BTreeSet<(SingleLetterTag, String)> {
    event.tags.iter().filter_map(|tag| Some((tag.single_letter_tag()?, tag.content()?.to_owned()))).collect()
}

fn due_at(row: &RejectedRow) -> u64 {
    if row.body.is_some() { row.hot_until.min(row.cold_until) } else { row.cold_until }
}

fn unlink<K: Ord, V: Ord>(index: &mut BTreeMap<K, BTreeSet<V>>, key: &K, id: &V) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}
