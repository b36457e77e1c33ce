//! The chunk book of one relay: which chunk each wanted item was given (SPEC §4). Chunks fill by appending and are
//! remembered, so that a chunk's filters, its coverage and its live subscription stay when others are added.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use nostr::event::EventId;
use nostr::filter::Filter;
use serde::{Deserialize, Serialize};

use super::{ADDRESS_TAGS, EVENT_TAGS, build_announcement_filter, state_filter, tag_filter};
use crate::link::{LiveKey, LiveSubscription};
use crate::model::{PendingItems, RepoAddress};
use crate::strategy::RelayProfile;

/// The number of a chunk, unique within a relay's book and never used again. Starts at 1.
pub type ChunkId = u64;

/// The live subscription of layer 1. Those of chunks are four times the chunk's number, plus a part.
pub const LAYER_1_KEY: LiveKey = 0;

/// A chunk has at most four filters, and so at most four subscriptions.
const KEYS_PER_CHUNK: u64 = 4;

/// What is assumed of a relay that doesn't say how long a message it takes, in bytes.
const DEFAULT_MESSAGE_LENGTH: usize = 65_536;
/// A relay that claims less than this could not be used at all; the claim isn't believed.
const MIN_MESSAGE_LENGTH: usize = 2_048;
/// The bytes of a filter or a message around the values, generously.
const FRAME_OVERHEAD: usize = 128;

/// What fits a relay (NIP-11 `limitation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Items per chunk, at least 1.
    pub size: usize,
    /// Filters per REQ, at least 1.
    pub max_filters: usize,
    /// Bytes per message.
    pub max_bytes: usize,
    /// Live subscriptions that the relay should be asked to hold, layer 1 included. Half of what it allows: history
    /// needs the rest.
    pub max_live: usize,
}

impl ChunkLimits {
    /// The limits for a relay, with chunks of at most `size` items.
    pub fn new(size: usize, profile: &RelayProfile) -> Self {
        Self {
            size: size.max(1),
            max_filters: profile.max_filters.unwrap_or(usize::MAX).max(1),
            max_bytes: profile.max_message_length.unwrap_or(DEFAULT_MESSAGE_LENGTH).max(MIN_MESSAGE_LENGTH),
            max_live: (profile.assumed_max_subscriptions() / 2).max(2),
        }
    }

    /// How many ids fit into one filter, at least 1.
    pub fn ids_per_filter(&self) -> usize {
        self.size.min(self.chunk_bytes() / ID_BYTES).max(1)
    }

    /// Bytes of values in one filter: half a message, since a reconciliation's payload travels with its filter.
    fn chunk_bytes(&self) -> usize {
        self.max_bytes / 2 - FRAME_OVERHEAD
    }
}

/// A chunk as it is persisted. Holds repositories or root events, never both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRecord {
    /// Repositories, in the order of their coming.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<RepoAddress>,
    /// Root events, in the order of their coming.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub root_events: Vec<EventId>,
}

#[derive(Debug, Clone, Default)]
struct Chunk {
    record: ChunkRecord,
    bytes: usize,
}

impl Chunk {
    fn len(&self) -> usize {
        self.record.repos.len() + self.record.root_events.len()
    }

    /// How many filters the chunk makes.
    fn filter_count(&self) -> usize {
        match (self.record.repos.is_empty(), self.record.root_events.is_empty()) {
            (false, _) => 1 + ADDRESS_TAGS.len(),
            (true, false) => EVENT_TAGS.len(),
            (true, true) => 0,
        }
    }
}

/// Which chunk each item is in.
#[derive(Debug, Clone)]
pub struct ChunkBook {
    limits: ChunkLimits,
    chunks: BTreeMap<ChunkId, Chunk>,
    repos: HashMap<RepoAddress, ChunkId>,
    root_events: HashMap<EventId, ChunkId>,
    /// The chunks that are filling: of repositories, of root events.
    open: [Option<ChunkId>; 2],
    next: ChunkId,
    dirty: BTreeSet<ChunkId>,
}

impl ChunkBook {
    /// An empty book.
    pub fn new(limits: ChunkLimits) -> Self {
        Self {
            limits,
            chunks: BTreeMap::new(),
            repos: HashMap::new(),
            root_events: HashMap::new(),
            open: [None, None],
            next: 1,
            dirty: BTreeSet::new(),
        }
    }

    /// The book with these chunks. Items that are in two chunks stay in the first.
    pub fn restore(limits: ChunkLimits, records: impl IntoIterator<Item = (ChunkId, ChunkRecord)>) -> Self {
        let mut book = Self::new(limits);
        for (id, record) in records {
            let id = id.max(1);
            for repo in record.repos {
                book.place_repo(repo, id);
            }
            for event in record.root_events {
                book.place_root(event, id);
            }
            let Some(chunk) = book.chunks.get(&id) else { continue };
            book.open[usize::from(chunk.record.repos.is_empty())] = Some(id);
            book.next = book.next.max(id.saturating_add(1));
        }
        book.dirty.clear();
        book
    }

    /// What the chunks are made to fit.
    pub fn limits(&self) -> ChunkLimits {
        self.limits
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Gives the repository a chunk; `false` where it has one.
    pub fn append_repo(&mut self, repo: &RepoAddress) -> bool {
        if self.repos.contains_key(repo) {
            return false;
        }
        let id = self.chunk_for(0, bytes_of(repo));
        self.place_repo(repo.clone(), id);
        true
    }

    /// Gives the root event a chunk; `false` where it has one.
    pub fn append_root_event(&mut self, event: EventId) -> bool {
        if self.root_events.contains_key(&event) {
            return false;
        }
        let id = self.chunk_for(1, ID_BYTES);
        self.place_root(event, id);
        true
    }

    /// Takes the repository out; its chunk isn't filled up again. `false` where it wasn't there.
    pub fn remove_repo(&mut self, repo: &RepoAddress) -> bool {
        let Some(id) = self.repos.remove(repo) else { return false };
        if let Some(chunk) = self.chunks.get_mut(&id) {
            chunk.record.repos.retain(|other| other != repo);
            chunk.bytes = chunk.bytes.saturating_sub(bytes_of(repo));
        }
        self.after_removal(id);
        true
    }

    /// Takes the root event out; see [`ChunkBook::remove_repo`].
    pub fn remove_root_event(&mut self, event: &EventId) -> bool {
        let Some(id) = self.root_events.remove(event) else { return false };
        if let Some(chunk) = self.chunks.get_mut(&id) {
            chunk.record.root_events.retain(|other| other != event);
            chunk.bytes = chunk.bytes.saturating_sub(ID_BYTES);
        }
        self.after_removal(id);
        true
    }

    /// Every item.
    pub fn items(&self) -> PendingItems {
        PendingItems {
            repos: self.repos.keys().cloned().collect(),
            root_events: self.root_events.keys().copied().collect(),
        }
    }

    /// Puts all items into new chunks with new numbers, without holes, in the order of their coming.
    pub fn rebuild(&mut self, limits: ChunkLimits) {
        let old = std::mem::take(&mut self.chunks);
        self.limits = limits;
        self.repos.clear();
        self.root_events.clear();
        self.open = [None, None];
        self.dirty.extend(old.keys());
        for (_, chunk) in old {
            for repo in chunk.record.repos {
                self.append_repo(&repo);
            }
            for event in chunk.record.root_events {
                self.append_root_event(event);
            }
        }
    }

    /// Takes over what a relay says of itself now: rebuilds where some chunk no longer fits it.
    pub fn fit(&mut self, limits: ChunkLimits) {
        let fits =
            |chunk: &Chunk| chunk.len() == 1 || chunk.len() <= limits.size && chunk.bytes <= limits.chunk_bytes();
        if self.chunks.values().all(fits) {
            self.limits = limits;
        } else {
            self.rebuild(limits);
        }
    }

    /// Takes items out of `todo`, chunk by chunk, until their filters number `max_filters` or nothing is left; the
    /// first chunk is taken whatever it makes. Items that aren't in the book are dropped from `todo`.
    pub fn cut(&self, todo: &mut PendingItems, since: Option<u64>, max_filters: usize) -> (PendingItems, Vec<Filter>) {
        let mut taken = PendingItems::default();
        let mut filters = Vec::new();
        while let Some(id) = self.next_chunk(todo) {
            let Some(chunk) = self.chunks.get(&id) else { break };
            if !filters.is_empty() && filters.len() + chunk.filter_count() > max_filters {
                break;
            }
            let repos: Vec<RepoAddress> =
                chunk.record.repos.iter().filter(|repo| todo.repos.remove(repo)).cloned().collect();
            let events: Vec<EventId> =
                chunk.record.root_events.iter().filter(|id| todo.root_events.remove(id)).copied().collect();
            filters.extend(filters_of(&repos, &events, since));
            taken.repos.extend(repos);
            taken.root_events.extend(events);
        }
        (taken, filters)
    }

    /// The chunk of the first item of `todo` that is in the book; what comes before it is dropped.
    fn next_chunk(&self, todo: &mut PendingItems) -> Option<ChunkId> {
        while let Some(repo) = todo.repos.first() {
            match self.repos.get(repo) {
                Some(id) => return Some(*id),
                None => todo.repos.pop_first(),
            };
        }
        while let Some(event) = todo.root_events.first() {
            match self.root_events.get(event) {
                Some(id) => return Some(*id),
                None => todo.root_events.pop_first(),
            };
        }
        None
    }

    /// The live subscriptions: layer 1, then one for each chunk. A chunk whose filters are too many or too long for one
    /// REQ takes several; where the relay holds too few subscriptions, neighbours share one.
    pub fn live(&self) -> Vec<LiveSubscription> {
        let mut live = vec![LiveSubscription { key: LAYER_1_KEY, filters: vec![build_announcement_filter(None)] }];
        let mut pieces: Vec<Piece> = self.chunks.iter().flat_map(|(id, chunk)| self.pieces(*id, chunk)).collect();
        if pieces.len() + live.len() > self.limits.max_live {
            pieces = self.pack(pieces);
        }
        live.extend(pieces.into_iter().map(|piece| LiveSubscription { key: piece.key, filters: piece.filters }));
        live
    }

    /// How many live filters there are, layer 1 included.
    pub fn live_filters(&self) -> usize {
        1 + self.chunks.values().map(Chunk::filter_count).sum::<usize>()
    }

    /// How many live filters there would be after [`ChunkBook::rebuild`], but for chunks cut short by long names.
    pub fn rebuilt_filters(&self) -> usize {
        1 + self.repos.len().div_ceil(self.limits.size) * (1 + ADDRESS_TAGS.len())
            + self.root_events.len().div_ceil(self.limits.size) * EVENT_TAGS.len()
    }

    /// The chunk of a repository.
    pub fn chunk_of_repo(&self, repo: &RepoAddress) -> Option<ChunkId> {
        self.repos.get(repo).copied()
    }

    /// The chunk of a root event.
    pub fn chunk_of_root_event(&self, event: &EventId) -> Option<ChunkId> {
        self.root_events.get(event).copied()
    }

    /// What a chunk holds; `None` where it is gone.
    pub fn record(&self, id: ChunkId) -> Option<&ChunkRecord> {
        self.chunks.get(&id).map(|chunk| &chunk.record)
    }

    /// Marks the chunk as changed: something that is persisted with it has.
    pub fn touch(&mut self, id: ChunkId) {
        self.dirty.insert(id);
    }

    /// Marks every chunk as changed.
    pub fn touch_all(&mut self) {
        self.dirty.extend(self.chunks.keys());
    }

    /// Whether some chunk changed since [`ChunkBook::take_dirty`].
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The chunks that changed or went since the last call.
    pub fn take_dirty(&mut self) -> BTreeSet<ChunkId> {
        std::mem::take(&mut self.dirty)
    }

    /// The chunk that is filling, or a new one where `bytes` more don't fit. `kind` 0 for repositories.
    fn chunk_for(&mut self, kind: usize, bytes: usize) -> ChunkId {
        let fits = |chunk: &Chunk| {
            chunk.len() < self.limits.size && chunk.bytes.saturating_add(bytes) <= self.limits.chunk_bytes()
        };
        if let Some(id) = self.open[kind].filter(|id| self.chunks.get(id).is_some_and(fits)) {
            return id;
        }
        let id = self.next;
        self.next += 1;
        self.open[kind] = Some(id);
        id
    }

    fn place_repo(&mut self, repo: RepoAddress, id: ChunkId) {
        if self.repos.contains_key(&repo) {
            return;
        }
        let chunk = self.chunks.entry(id).or_default();
        chunk.bytes += bytes_of(&repo);
        chunk.record.repos.push(repo.clone());
        self.repos.insert(repo, id);
        self.dirty.insert(id);
    }

    fn place_root(&mut self, event: EventId, id: ChunkId) {
        if self.root_events.contains_key(&event) {
            return;
        }
        let chunk = self.chunks.entry(id).or_default();
        chunk.bytes += ID_BYTES;
        chunk.record.root_events.push(event);
        self.root_events.insert(event, id);
        self.dirty.insert(id);
    }

    fn after_removal(&mut self, id: ChunkId) {
        self.dirty.insert(id);
        if self.chunks.get(&id).is_some_and(|chunk| chunk.len() == 0) {
            self.chunks.remove(&id);
            for open in &mut self.open {
                open.take_if(|open| *open == id);
            }
        }
    }

    /// The subscriptions of one chunk, as few as its filters fit.
    fn pieces(&self, id: ChunkId, chunk: &Chunk) -> Vec<Piece> {
        let filters = filters_of(&chunk.record.repos, &chunk.record.root_events, None);
        let bytes = chunk.bytes + FRAME_OVERHEAD;
        let per_piece = (self.limits.max_bytes / bytes).clamp(1, self.limits.max_filters);
        filters
            .chunks(per_piece)
            .zip(id * KEYS_PER_CHUNK..)
            .map(|(filters, key)| Piece { key, bytes: bytes * filters.len(), filters: filters.to_vec() })
            .collect()
    }

    fn pack(&self, pieces: Vec<Piece>) -> Vec<Piece> {
        let mut packed: Vec<Piece> = Vec::new();
        for piece in pieces {
            match packed.last_mut() {
                Some(last)
                    if last.filters.len() + piece.filters.len() <= self.limits.max_filters
                        && last.bytes + piece.bytes <= self.limits.max_bytes =>
                {
                    last.bytes += piece.bytes;
                    last.filters.extend(piece.filters);
                }
                _ => packed.push(piece),
            }
        }
        packed
    }
}

struct Piece {
    key: LiveKey,
    bytes: usize,
    filters: Vec<Filter>,
}

/// An id in hex, in quotes, with its comma.
const ID_BYTES: usize = 67;

/// An address in quotes with its comma, as JSON.
fn bytes_of(repo: &RepoAddress) -> usize {
    let escaped = repo.identifier.chars().map(|c| match c {
        '"' | '\\' => 2,
        c if c.is_control() => 6,
        c => c.len_utf8(),
    });
    "30617".len() + 64 + 5 + escaped.sum::<usize>()
}

fn filters_of(repos: &[RepoAddress], root_events: &[EventId], since: Option<u64>) -> Vec<Filter> {
    let mut filters = Vec::new();
    if !repos.is_empty() {
        let addresses: Vec<String> = repos.iter().map(ToString::to_string).collect();
        filters.push(state_filter(repos.iter().map(|repo| &*repo.identifier), since));
        filters.extend(ADDRESS_TAGS.map(|tag| tag_filter(tag, &addresses, since)));
    }
    if !root_events.is_empty() {
        let ids: Vec<String> = root_events.iter().map(|id| id.to_hex()).collect();
        filters.extend(EVENT_TAGS.map(|tag| tag_filter(tag, &ids, since)));
    }
    filters
}

#[cfg(test)]
mod tests;
