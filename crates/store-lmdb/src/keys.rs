//! The keys of every index. LMDB takes at most 511 bytes; ours have at most 128, whatever an event holds.
//!
//! Index keys end in `created_at ‖ id` ([`TAIL`] bytes), so that each prefix lists its events in NIP-77's order.

use nostr::event::EventId;
use nostr::key::PublicKey;
use sha2::{Digest, Sha256};
use sync_core::model::{RelayUrl, kinds};
use sync_core::store::{Dependency, Slot};
use sync_core::strategy::ItemKey;

use crate::bytes::unhex;

/// Bytes of `created_at ‖ id`.
pub(crate) const TAIL: usize = 40;

/// Values up to this many bytes stand in keys as they are; longer ones by their hash.
const MAX_VALUE: usize = 64;
const PACKED: u8 = 0xfe;
const HASHED: u8 = 0xff;

/// A key on the stack.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    bytes: [u8; 128],
    len: usize,
}

impl Key {
    pub(crate) fn new(parts: &[&[u8]]) -> Self {
        let mut key = Self { bytes: [0; 128], len: 0 };
        parts.iter().for_each(|part| key.push(part));
        key
    }

    /// Every caller's parts are bounded: the longest key, by identifier, has 1 + 2 + 65 + 40 bytes.
    pub(crate) fn push(&mut self, part: &[u8]) {
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
    }

    pub(crate) fn with(mut self, part: &[u8]) -> Self {
        self.push(part);
        self
    }
}

impl std::ops::Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

pub(crate) fn tail(created_at: u64, id: &[u8; 32]) -> [u8; TAIL] {
    let mut out = [0; TAIL];
    out[..8].copy_from_slice(&created_at.to_be_bytes());
    out[8..].copy_from_slice(id);
    out
}

pub(crate) fn item_tail(item: ItemKey) -> [u8; TAIL] {
    tail(item.created_at, &item.id)
}

/// The place that an index key ends in.
pub(crate) fn item_of(key: &[u8]) -> Option<ItemKey> {
    let tail = key.last_chunk::<TAIL>()?;
    let (created_at, id) = tail.split_first_chunk::<8>()?;
    Some(ItemKey { created_at: u64::from_be_bytes(*created_at), id: id.try_into().ok()? })
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

/// Appends a value so that no value's form begins another's. Returns whether the form tells the value apart from
/// every other; a hashed one is to be checked against the event.
fn push_value(key: &mut Key, value: &str) -> bool {
    if let Some(packed) = unhex(value) {
        key.push(&[PACKED]);
        key.push(&packed);
    } else if value.len() <= MAX_VALUE {
        key.push(&[value.len() as u8]);
        key.push(value.as_bytes());
    } else {
        key.push(&[HASHED]);
        key.push(&hash(&[value.as_bytes()]));
        return false;
    }
    true
}

pub(crate) fn kind_prefix(kind: u16) -> Key {
    Key::new(&[&kind.to_be_bytes()])
}

pub(crate) fn author_prefix(author: &[u8; 32]) -> Key {
    Key::new(&[author])
}

pub(crate) fn author_kind_prefix(author: &[u8; 32], kind: u16) -> Key {
    Key::new(&[author, &kind.to_be_bytes()])
}

/// The prefix of a tag's value, and whether it stands for no other value.
pub(crate) fn tag_prefix(letter: u8, value: &str) -> (Key, bool) {
    let mut key = Key::new(&[&[letter]]);
    let exact = push_value(&mut key, value);
    (key, exact)
}

/// Announcements and states by their identifier, which is not always a tag (NIP-01: a missing `d` counts as empty).
/// Lies in the tag index, under a letter that no tag has.
pub(crate) fn identifier_prefix(kind: u16, identifier: &str) -> Key {
    let mut key = Key::new(&[&[0], &kind.to_be_bytes()]);
    push_value(&mut key, identifier);
    key
}

pub(crate) fn slot(slot: &Slot) -> Key {
    let mut key = Key::new(&[&slot.kind.to_be_bytes(), slot.pubkey.as_bytes()]);
    push_value(&mut key, &slot.identifier);
    key
}

pub(crate) fn deletion(id: &EventId, author: &PublicKey) -> Key {
    Key::new(&[id.as_bytes(), author.as_bytes()])
}

/// A time, then an id: expiries and what leaves the rejected index when.
pub(crate) fn due(at: u64, id: &[u8; 32]) -> Key {
    Key::new(&[&at.to_be_bytes(), id])
}

/// Unjudged events in the order in which they are judged: announcements, states, root events, the rest (SPEC §3).
pub(crate) fn unjudged(kind: u16, seq: u64) -> Key {
    Key::new(&[&[judging_rank(kind)], &seq.to_be_bytes()])
}

pub(crate) fn judging_rank(kind: u16) -> u8 {
    match kind {
        kinds::ANNOUNCEMENT => 0,
        kinds::STATE => 1,
        kind if kinds::ROOT_EVENTS.contains(&kind) => 2,
        _ => 3,
    }
}

pub(crate) fn dependency_prefix(dependency: &Dependency) -> Key {
    let (tag, bytes) = match dependency {
        Dependency::Event(id) => (0u8, id.to_bytes()),
        Dependency::Repo(address) => (1, hash(&[address.pubkey.as_bytes(), address.identifier.as_bytes()])),
        Dependency::Identifier(identifier) => (2, hash(&[identifier.as_bytes()])),
    };
    Key::new(&[&[tag], &bytes])
}

/// A relay in keys: 16 bytes of its hash, which nobody can make two of.
pub(crate) fn relay_prefix(relay: &RelayUrl) -> Key {
    Key::new(&[&hash(&[relay.as_str().as_bytes()])[..16]])
}
