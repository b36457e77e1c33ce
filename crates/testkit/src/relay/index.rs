//! The relay's events in memory, found by id, time, kind, author or tag. Knows nothing of messages.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use nostr::event::{Event, EventId};
use nostr::filter::{Filter, SingleLetterTag};
use nostr::key::PublicKey;
use sync_core::model::kinds::DELETION;

/// An event with the JSON that it is served as.
#[derive(Debug)]
pub struct StoredEvent {
    /// The event.
    pub event: Event,
    /// Its JSON, made once.
    pub json: Box<str>,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inserted {
    /// It is there, and older versions of it are gone.
    Stored,
    /// It was there.
    Duplicate,
    /// A newer version is there.
    Superseded,
    /// Its author deleted it.
    Deleted,
    /// Of a kind that is passed on and never stored.
    Ephemeral,
}

/// Newest first, lowest id first on ties (NIP-01).
pub(super) type Key = (Reverse<u64>, [u8; 32]);
type Ordered = BTreeMap<Key, Arc<StoredEvent>>;
type Slot = (u16, PublicKey, String);

/// Events with the indexes that filters need.
#[derive(Debug, Default)]
pub struct EventIndex {
    by_id: HashMap<EventId, Arc<StoredEvent>>,
    by_time: Ordered,
    by_kind: HashMap<u16, Ordered>,
    by_author: HashMap<PublicKey, Ordered>,
    by_tag: HashMap<(SingleLetterTag, String), Ordered>,
    slots: HashMap<Slot, EventId>,
    deleted_ids: HashSet<(EventId, PublicKey)>,
    deleted_slots: HashMap<Slot, u64>,
}

impl EventIndex {
    /// Adds an event. `replace`: keep only the newest of replaceable and addressable events (NIP-01). `delete`: obey
    /// deletions by the author (NIP-09).
    pub fn insert(&mut self, stored: Arc<StoredEvent>, replace: bool, delete: bool) -> Inserted {
        let event = &stored.event;
        if event.kind.is_ephemeral() {
            return Inserted::Ephemeral;
        }
        if self.by_id.contains_key(&event.id) {
            return Inserted::Duplicate;
        }
        let slot = slot_of(event);
        if delete && self.is_deleted(event, slot.as_ref()) {
            return Inserted::Deleted;
        }
        if replace && let Some(slot) = slot {
            if let Some(held) = self.slots.get(&slot).and_then(|id| self.by_id.get(id)).cloned() {
                if key(&held.event) < key(event) {
                    return Inserted::Superseded;
                }
                self.remove(&held.event.id);
            }
            self.slots.insert(slot, event.id);
        }
        if delete && event.kind.as_u16() == DELETION {
            self.obey_deletion(event);
        }
        let key = key(event);
        self.by_time.insert(key, Arc::clone(&stored));
        self.by_kind.entry(event.kind.as_u16()).or_default().insert(key, Arc::clone(&stored));
        self.by_author.entry(event.pubkey).or_default().insert(key, Arc::clone(&stored));
        for (name, value) in indexed_tags(event) {
            self.by_tag.entry((name, value.to_owned())).or_default().insert(key, Arc::clone(&stored));
        }
        self.by_id.insert(event.id, Arc::clone(&stored));
        Inserted::Stored
    }

    /// Takes an event out.
    pub fn remove(&mut self, id: &EventId) -> Option<Arc<StoredEvent>> {
        let stored = self.by_id.remove(id)?;
        let event = &stored.event;
        let key = key(event);
        self.by_time.remove(&key);
        remove_from(&mut self.by_kind, &event.kind.as_u16(), &key);
        remove_from(&mut self.by_author, &event.pubkey, &key);
        for (name, value) in indexed_tags(event) {
            remove_from(&mut self.by_tag, &(name, value.to_owned()), &key);
        }
        if let Some(slot) = slot_of(event)
            && self.slots.get(&slot) == Some(id)
        {
            self.slots.remove(&slot);
        }
        Some(stored)
    }

    /// The event with that id.
    pub fn event(&self, id: &EventId) -> Option<&Arc<StoredEvent>> {
        self.by_id.get(id)
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// All events, newest first, lowest id first on ties.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<StoredEvent>> {
        self.by_time.values()
    }

    /// The events that match `filter`, newest first, lowest id first on ties. The filter's `limit` is not applied.
    pub fn query<'a>(&'a self, filter: &'a Filter) -> Box<dyn Iterator<Item = &'a Arc<StoredEvent>> + 'a> {
        if let Some(ids) = filter.ids.as_ref().filter(|ids| !ids.is_empty()) {
            let found: BTreeMap<Key, _> =
                ids.iter().filter_map(|id| self.by_id.get(id)).map(|stored| (key(&stored.event), stored)).collect();
            return Box::new(found.into_values().filter(move |stored| matches(filter, &stored.event)));
        }
        let newest: Key = (Reverse(filter.until.map_or(u64::MAX, |time| time.as_secs())), [0; 32]);
        let oldest: Key = (Reverse(filter.since.map_or(0, |time| time.as_secs())), [0xff; 32]);
        let range = newest..=oldest;
        if range.is_empty() {
            return Box::new(std::iter::empty());
        }
        let sources = self.sources(filter).into_iter().map(|source| source.range(range.clone()));
        Box::new(Merge::new(sources).filter(move |stored| matches(filter, &stored.event)))
    }

    /// The smallest set of indexes that together hold everything that `filter` can match.
    fn sources(&self, filter: &Filter) -> Vec<&Ordered> {
        let tags = filter.generic_tags.iter().map(|(name, values)| {
            values.iter().filter_map(|value| self.by_tag.get(&(*name, value.clone()))).collect::<Vec<_>>()
        });
        let authors = filter.authors.as_ref().filter(|authors| !authors.is_empty());
        let authors = authors.map(|authors| authors.iter().filter_map(|author| self.by_author.get(author)).collect());
        let kinds = filter.kinds.as_ref().filter(|kinds| !kinds.is_empty());
        let kinds = kinds.map(|kinds| kinds.iter().filter_map(|kind| self.by_kind.get(&kind.as_u16())).collect());
        tags.chain(authors)
            .chain(kinds)
            .min_by_key(|sources: &Vec<&Ordered>| sources.iter().map(|source| source.len()).sum::<usize>())
            .unwrap_or_else(|| vec![&self.by_time])
    }

    fn is_deleted(&self, event: &Event, slot: Option<&Slot>) -> bool {
        let deleted_until = slot.and_then(|slot| self.deleted_slots.get(slot)).copied();
        event.kind.as_u16() != DELETION
            && (self.deleted_ids.contains(&(event.id, event.pubkey))
                || deleted_until.is_some_and(|until| event.created_at.as_secs() <= until))
    }

    fn obey_deletion(&mut self, deletion: &Event) {
        let until = deletion.created_at.as_secs();
        for tag in deletion.tags.iter() {
            match (tag.kind(), tag.content()) {
                ("e", Some(id)) => {
                    let Ok(id) = EventId::from_hex(id) else { continue };
                    self.deleted_ids.insert((id, deletion.pubkey));
                    if self.by_id.get(&id).is_some_and(|held| deletes(deletion, &held.event)) {
                        self.remove(&id);
                    }
                }
                ("a", Some(address)) => {
                    let Some(slot) = parse_slot(address).filter(|slot| slot.1 == deletion.pubkey) else { continue };
                    if let Some(held) = self.slots.get(&slot).and_then(|id| self.by_id.get(id)).cloned()
                        && held.event.created_at.as_secs() <= until
                    {
                        self.remove(&held.event.id);
                    }
                    let latest = self.deleted_slots.entry(slot).or_default();
                    *latest = until.max(*latest);
                }
                _ => {}
            }
        }
    }
}

/// Whether `event` passes `filter`, its `limit` and `search` aside.
pub(super) fn matches(filter: &Filter, event: &Event) -> bool {
    fn holds<T: Ord>(set: Option<&std::collections::BTreeSet<T>>, value: &T) -> bool {
        set.is_none_or(|set| set.is_empty() || set.contains(value))
    }
    holds(filter.ids.as_ref(), &event.id)
        && holds(filter.authors.as_ref(), &event.pubkey)
        && holds(filter.kinds.as_ref(), &event.kind)
        && filter.since.is_none_or(|since| event.created_at >= since)
        && filter.until.is_none_or(|until| event.created_at <= until)
        && filter
            .generic_tags
            .iter()
            .all(|(name, values)| indexed_tags(event).any(|(held, value)| held == *name && values.contains(value)))
}

/// Merges ordered indexes into one order; an event that several of them hold comes once.
struct Merge<'a, I> {
    heads: BinaryHeap<Reverse<(Key, usize)>>,
    sources: Vec<I>,
    waiting: Vec<Option<&'a Arc<StoredEvent>>>,
    last: Option<Key>,
}

impl<'a, I: Iterator<Item = (&'a Key, &'a Arc<StoredEvent>)>> Merge<'a, I> {
    fn new(sources: impl Iterator<Item = I>) -> Self {
        let sources: Vec<I> = sources.collect();
        let waiting = sources.iter().map(|_| None).collect();
        let mut merge = Self { heads: BinaryHeap::new(), sources, waiting, last: None };
        (0..merge.sources.len()).for_each(|source| merge.advance(source));
        merge
    }

    fn advance(&mut self, source: usize) {
        if let Some((key, stored)) = self.sources[source].next() {
            self.heads.push(Reverse((*key, source)));
            self.waiting[source] = Some(stored);
        }
    }
}

impl<'a, I: Iterator<Item = (&'a Key, &'a Arc<StoredEvent>)>> Iterator for Merge<'a, I> {
    type Item = &'a Arc<StoredEvent>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Reverse((key, source)) = self.heads.pop()?;
            let stored = self.waiting[source].take();
            self.advance(source);
            if self.last.replace(key) != Some(key) {
                return stored;
            }
        }
    }
}

pub(super) fn key(event: &Event) -> Key {
    (Reverse(event.created_at.as_secs()), event.id.to_bytes())
}

fn indexed_tags(event: &Event) -> impl Iterator<Item = (SingleLetterTag, &str)> {
    event.tags.iter().filter_map(|tag| Some((tag.single_letter_tag()?, tag.content()?)))
}

fn slot_of(event: &Event) -> Option<Slot> {
    let identifier = if event.kind.is_addressable() {
        event.tags.iter().find(|tag| tag.kind() == "d").and_then(|tag| tag.content()).unwrap_or_default()
    } else if event.kind.is_replaceable() {
        ""
    } else {
        return None;
    };
    Some((event.kind.as_u16(), event.pubkey, identifier.to_owned()))
}

fn parse_slot(address: &str) -> Option<Slot> {
    let mut parts = address.splitn(3, ':');
    let kind = parts.next()?.parse().ok()?;
    let author = PublicKey::from_hex(parts.next()?).ok()?;
    Some((kind, author, parts.next()?.to_owned()))
}

/// Deletions are never deleted themselves (NIP-09).
fn deletes(deletion: &Event, event: &Event) -> bool {
    event.pubkey == deletion.pubkey && event.kind.as_u16() != DELETION
}

fn remove_from<K: std::hash::Hash + Eq>(index: &mut HashMap<K, Ordered>, at: &K, key: &Key) {
    if let Some(ordered) = index.get_mut(at) {
        ordered.remove(key);
        if ordered.is_empty() {
            index.remove(at);
        }
    }
}

impl From<Event> for StoredEvent {
    fn from(event: Event) -> Self {
        let json = event.as_json().into_boxed_str();
        Self { event, json }
    }
}
