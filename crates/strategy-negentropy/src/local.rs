//! The local items of one reconciliation: where a place falls among them, the fingerprint of a range, and what the
//! relay was found to lack. Knows no payloads.
//!
//! Cost: 40 bytes an item, half a byte for sums, one bit for what was told. A fingerprint takes at most 128 additions,
//! however many items it covers, so that no relay can make us sum the whole set again and again.

use std::ops::{ControlFlow, Range};

use sha2::{Digest, Sha256};
use sync_core::strategy::{ItemKey, KeyRange, SetView};

/// Items between two sums.
const BLOCK: usize = 64;

/// A copy of the local set, in NIP-77's order.
pub(crate) struct Local {
    items: Vec<ItemKey>,
    /// At `n`: the sum of the first `n * BLOCK` ids.
    sums: Vec<Sum>,
    /// A bit for each item: whether it was told as lacking on the other side.
    told: Vec<u64>,
}

impl Local {
    /// Copies what `view` shows, about `count` items.
    pub(crate) fn copy(view: &dyn SetView, count: usize) -> Self {
        let mut items = Vec::with_capacity(count);
        view.items(KeyRange::ALL, &mut |item| {
            items.push(item);
            ControlFlow::Continue(())
        });
        debug_assert!(items.is_sorted_by(|a, b| a < b), "a view shows its items in ascending order");
        let mut sum = Sum::default();
        let mut sums = Vec::with_capacity(items.len() / BLOCK + 1);
        sums.push(sum);
        for block in items.as_chunks::<BLOCK>().0 {
            sum.add_items(block);
            sums.push(sum);
        }
        let told = vec![0; items.len().div_ceil(u64::BITS as usize)];
        Self { items, sums, told }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Those of `range`.
    pub(crate) fn items(&self, range: Range<usize>) -> &[ItemKey] {
        &self.items[range]
    }

    /// The index of the first item at or beyond `place`, where all before `from` lie before it.
    pub(crate) fn find(&self, from: usize, place: ItemKey) -> usize {
        from + self.items[from..].partition_point(|item| *item < place)
    }

    /// The shortest bound between the item at `at`, which is not the first, and the one before it.
    pub(crate) fn bound_before(&self, at: usize) -> ItemKey {
        let (before, after) = (&self.items[at - 1], &self.items[at]);
        let mut bound = ItemKey { created_at: after.created_at, id: [0; 32] };
        if before.created_at == after.created_at {
            let shared = before.id.iter().zip(&after.id).take_while(|(a, b)| a == b).count();
            let length = (shared + 1).min(after.id.len());
            bound.id[..length].copy_from_slice(&after.id[..length]);
        }
        bound
    }

    /// NIP-77's fingerprint of `range`.
    pub(crate) fn fingerprint(&self, range: Range<usize>) -> [u8; 16] {
        let count = range.len() as u64;
        let mut sum = Sum::default();
        if range.len() <= 2 * BLOCK {
            sum.add_items(&self.items[range]);
        } else {
            sum = self.sum_to(range.end);
            sum.subtract(&self.sum_to(range.start));
        }
        sum.fingerprint(count)
    }

    /// Notes that the other side lacks the item at `at`; whether that is news.
    pub(crate) fn tell(&mut self, at: usize) -> bool {
        let bit = 1 << (at % u64::BITS as usize);
        let word = &mut self.told[at / u64::BITS as usize];
        let news = *word & bit == 0;
        *word |= bit;
        news
    }

    /// What was not told as lacking: how many items, and the second of the oldest. Looks at a bit for each item.
    pub(crate) fn untold(&self) -> (u64, Option<u64>) {
        let told: u64 = self.told.iter().map(|word| u64::from(word.count_ones())).sum();
        let count = self.items.len() as u64 - told;
        let oldest = self.told.iter().zip(0..).find_map(|(word, index)| {
            let bit = word.trailing_ones();
            (bit < u64::BITS).then(|| index * u64::BITS as usize + bit as usize)
        });
        // In the last word, bits beyond the items are never set.
        (count, oldest.and_then(|at| self.items.get(at)).map(|item| item.created_at))
    }

    fn sum_to(&self, at: usize) -> Sum {
        let block = at / BLOCK;
        let mut sum = self.sums[block];
        sum.add_items(&self.items[block * BLOCK..at]);
        sum
    }
}

/// Ids added up as little-endian numbers modulo 2²⁵⁶; lowest limb first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum([u64; 4]);

impl Sum {
    fn add_items(&mut self, items: &[ItemKey]) {
        for item in items {
            let mut carry = false;
            for (limb, bytes) in self.0.iter_mut().zip(item.id.as_chunks::<8>().0) {
                let (partial, over) = limb.overflowing_add(u64::from_le_bytes(*bytes));
                let (total, over_again) = partial.overflowing_add(u64::from(carry));
                *limb = total;
                carry = over | over_again;
            }
        }
    }

    fn subtract(&mut self, other: &Self) {
        let mut borrow = false;
        for (limb, less) in self.0.iter_mut().zip(other.0) {
            let (partial, under) = limb.overflowing_sub(less);
            let (total, under_again) = partial.overflowing_sub(u64::from(borrow));
            *limb = total;
            borrow = under | under_again;
        }
    }

    /// The sum with the count as a number of seven-bit groups appended, hashed; the first 16 bytes count.
    fn fingerprint(&self, count: u64) -> [u8; 16] {
        let mut hash = Sha256::new();
        for limb in self.0 {
            hash.update(limb.to_le_bytes());
        }
        let groups = (u64::BITS - count.leading_zeros()).div_ceil(7).max(1);
        for group in (0..groups).rev() {
            let low = (count >> (group * 7)) as u8 & 0x7f;
            hash.update([if group == 0 { low } else { low | 0x80 }]);
        }
        let digest = hash.finalize();
        let mut fingerprint = [0; 16];
        fingerprint.copy_from_slice(&digest[..16]);
        fingerprint
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sync_core::strategy::{VecSet, fingerprint_of};
    use sync_core::time::Jitter;

    use super::*;

    fn local(count: u64, seconds: u64) -> Local {
        let mut jitter = Jitter::new(count);
        let set: VecSet = (0..count)
            .map(|number| {
                let mut id = [0xff; 32];
                // The high limbs are all ones, so that sums carry through.
                id[..8].copy_from_slice(&jitter.next_u64().to_le_bytes());
                ItemKey { created_at: number % seconds, id }
            })
            .collect();
        Local::copy(&set, count as usize)
    }

    proptest! {
        #[test]
        fn fingerprints_are_those_of_the_items(count in 0..700u64, ends in any::<[prop::sample::Index; 2]>()) {
            let local = local(count, 9);
            let mut ends = ends.map(|end| end.index(local.len() + 1));
            ends.sort_unstable();
            let range = ends[0]..ends[1];
            let expected = fingerprint_of(local.items(range.clone()).iter().map(|item| item.id));
            prop_assert_eq!(local.fingerprint(range), expected);
        }

        #[test]
        fn bounds_part_neighbours_and_are_no_longer_than_needed(count in 2..300u64, seconds in 1..50u64) {
            let local = local(count, seconds);
            for at in 1..local.len() {
                let (before, after) = (local.items[at - 1], local.items[at]);
                let bound = local.bound_before(at);
                prop_assert!(before < bound && bound <= after);
                let length = 32 - bound.id.iter().rev().take_while(|byte| **byte == 0).count();
                let mut shorter = bound;
                if let Some(last) = length.checked_sub(1) {
                    shorter.id[last] = 0;
                    prop_assert!(shorter <= before);
                }
            }
        }
    }

    #[test]
    fn what_was_told_is_not_shared() {
        let mut all = local(130, 1_000);
        assert_eq!(all.untold(), (130, Some(0)));
        assert!(all.tell(0) && !all.tell(0) && all.tell(129));
        assert_eq!(all.untold(), (128, Some(1)));
        for at in 1..129 {
            assert!(all.tell(at));
        }
        assert_eq!(all.untold(), (0, None));
        assert_eq!(local(0, 1).untold(), (0, None));
    }
}
