//! The local set as a strategy sees it: what we have or don't want, in NIP-77's order.

use std::ops::ControlFlow;

use nostr::event::EventId;
use sha2::{Digest, Sha256};

/// An item's place: by `created_at`, then id. NIP-77's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemKey {
    /// Unix seconds.
    pub created_at: u64,
    /// The id's bytes.
    pub id: [u8; 32],
}

impl ItemKey {
    /// Before every item.
    pub const MIN: Self = Self { created_at: 0, id: [0; 32] };
    /// After every item that can exist (`u64::MAX` is NIP-77's infinity and no valid time).
    pub const MAX: Self = Self { created_at: u64::MAX, id: [0; 32] };

    /// The place of an event.
    pub fn new(created_at: u64, id: &EventId) -> Self {
        Self { created_at, id: id.to_bytes() }
    }
}

/// From `start`, included, to `end`, not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRange {
    /// The first place within.
    pub start: ItemKey,
    /// The first place beyond.
    pub end: ItemKey,
}

impl KeyRange {
    /// Everything.
    pub const ALL: Self = Self { start: ItemKey::MIN, end: ItemKey::MAX };
}

/// What we have or don't want, for one filter and window. Speaks in places, never in indexes, which shift.
pub trait SetView {
    /// How many items lie in `range`.
    fn count(&self, range: KeyRange) -> u64;

    /// NIP-77's fingerprint of the items in `range`.
    fn fingerprint(&self, range: KeyRange) -> [u8; 16];

    /// Visits the items of `range` in ascending order, until told to stop.
    fn items(&self, range: KeyRange, visit: &mut dyn FnMut(ItemKey) -> ControlFlow<()>);

    /// Places that cut `range` into at most `parts` pieces of about equal count: the first of each piece but the first.
    fn split(&self, range: KeyRange, parts: usize) -> Vec<ItemKey>;
}

/// NIP-77's fingerprint: the sum of the ids as little-endian numbers modulo 2²⁵⁶, with the count as a varint
/// appended, hashed by SHA-256, of which the first 16 bytes count.
pub fn fingerprint_of(ids: impl IntoIterator<Item = [u8; 32]>) -> [u8; 16] {
    let mut sum = [0u64; 4];
    let mut count = 0u64;
    for id in ids {
        let mut carry = false;
        for (limb, bytes) in sum.iter_mut().zip(id.as_chunks::<8>().0) {
            let (partial, over) = limb.overflowing_add(u64::from_le_bytes(*bytes));
            let (total, over_again) = partial.overflowing_add(u64::from(carry));
            *limb = total;
            carry = over || over_again;
        }
        count += 1;
    }
    let mut hash = Sha256::new();
    for limb in sum {
        hash.update(limb.to_le_bytes());
    }
    // A varint has its most significant group of seven bits first; all bytes but the last have the high bit set.
    let groups = (64 - count.leading_zeros()).div_ceil(7).max(1);
    for group in (0..groups).rev() {
        let low = ((count >> (group * 7)) & 0x7f) as u8;
        hash.update([if group == 0 { low } else { low | 0x80 }]);
    }
    let digest = hash.finalize();
    let mut out = [0; 16];
    out.copy_from_slice(&digest[..16]);
    out
}

/// A set in memory: a sorted vector of 40 bytes an item.
#[derive(Debug, Clone, Default)]
pub struct VecSet(Vec<ItemKey>);

impl VecSet {
    /// Nothing.
    pub const EMPTY: Self = Self(Vec::new());

    fn slice(&self, range: KeyRange) -> &[ItemKey] {
        let start = self.0.partition_point(|item| *item < range.start);
        let end = self.0.partition_point(|item| *item < range.end);
        self.0.get(start..end).unwrap_or_default()
    }
}

impl FromIterator<ItemKey> for VecSet {
    fn from_iter<I: IntoIterator<Item = ItemKey>>(items: I) -> Self {
        let mut items: Vec<_> = items.into_iter().collect();
        items.sort_unstable();
        items.dedup();
        Self(items)
    }
}

impl SetView for VecSet {
    fn count(&self, range: KeyRange) -> u64 {
        self.slice(range).len() as u64
    }

    fn fingerprint(&self, range: KeyRange) -> [u8; 16] {
        fingerprint_of(self.slice(range).iter().map(|item| item.id))
    }

    fn items(&self, range: KeyRange, visit: &mut dyn FnMut(ItemKey) -> ControlFlow<()>) {
        for item in self.slice(range) {
            if visit(*item).is_break() {
                return;
            }
        }
    }

    fn split(&self, range: KeyRange, parts: usize) -> Vec<ItemKey> {
        let items = self.slice(range);
        let parts = parts.clamp(1, items.len().max(1));
        (1..parts).map(|part| items[part * items.len() / parts]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_include_their_start_only() {
        let set: VecSet = (0..10u8).map(|n| ItemKey { created_at: u64::from(n), id: [n; 32] }).collect();
        let range =
            KeyRange { start: ItemKey { created_at: 2, id: [0; 32] }, end: ItemKey { created_at: 5, id: [5; 32] } };
        assert_eq!(set.count(range), 3);
        assert_eq!(set.split(KeyRange::ALL, 2), vec![ItemKey { created_at: 5, id: [5; 32] }]);
    }
}
