//! Finds slots by hash: buckets of slot numbers, one cache line each.
//!
//! ```text
//! buckets[hash & mask] --> 15 x (tag, slot)
//!                      \-> chain: tag, slot --next[slot]--> tag, slot --> END
//! ```
//!
//! What a slot holds is known to the caller only, who says whether it is the one. The bits of a
//! link that the slot's number leaves over hold a part of its hash, the tag, so that hardly any
//! slot is looked into in vain: a look-up reads one line of the index and then the slot. What
//! finds no place in its bucket waits on the bucket's chain. With two places a slot, one bucket
//! in a hundred has a chain when the table is full.
//!
//! Nothing grows, so there is no rehash to wait for, and nothing is left behind by what has been
//! removed. The hash's seed is secret, so buckets are as full as chance makes them.

use wide::u32x16;

/// No slot: an empty place, or the end of a chain. No slot has this number.
const END: u32 = u32::MAX;

/// Links in a bucket.
const LANES: usize = 16;

/// The last one, where the chain of what has no place begins.
const CHAIN: usize = LANES - 1;

/// A bit for each of the others, the places.
const PLACES: u32 = (1 << CHAIN) - 1;

/// A cache line of links.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Bucket([u32; LANES]);

/// Slots by the lower bits of a hash.
#[derive(Debug)]
pub(crate) struct Index {
    buckets: Box<[Bucket]>,
    /// What follows a slot on a chain.
    next: Box<[u32]>,
    /// The bits of a link that are the slot's number; the others are the tag.
    slot_mask: u32,
}

impl Bucket {
    const EMPTY: Self = Self([END; LANES]);

    /// A bit for each place whose link has `wanted` in the bits of `mask`.
    #[inline]
    fn matching(&self, mask: u32, wanted: u32) -> u32 {
        let bits = u32x16::from(self.0) & u32x16::splat(mask);
        bits.simd_eq(u32x16::splat(wanted)).to_bitmask() & PLACES
    }

    /// The first place that holds this link.
    #[inline]
    fn place_of(&mut self, link: u32) -> Option<&mut u32> {
        // Without one, the number is too great for a lane.
        let place = self.matching(u32::MAX, link).trailing_zeros();
        self.0.get_mut(place as usize)
    }
}

impl Index {
    /// An empty index of the slots from 0 to `slots`, whose memory is taken now.
    pub(crate) fn new(slots: u32) -> Self {
        let buckets = (2 * slots as usize).div_ceil(LANES).next_power_of_two();
        Self {
            buckets: vec![Bucket::EMPTY; buckets].into_boxed_slice(),
            next: vec![END; slots as usize].into_boxed_slice(),
            slot_mask: u32::MAX.checked_shr(slots.leading_zeros()).unwrap_or_default(),
        }
    }

    /// The slot with this hash for which `is_it` is true.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let bucket = self.buckets.get(self.bucket_of(hash))?;
        let tag = self.tag_of(hash);
        let mut places = bucket.matching(!self.slot_mask, tag);
        while let Some(link) = bucket.0.get(places.trailing_zeros() as usize) {
            let slot = link & self.slot_mask;
            if is_it(slot) {
                return Some(slot);
            }
            places &= places - 1;
        }
        let mut link = bucket.0[CHAIN];
        while link != END {
            let slot = link & self.slot_mask;
            if link & !self.slot_mask == tag && is_it(slot) {
                return Some(slot);
            }
            link = *self.next.get(slot as usize)?;
        }
        None
    }

    /// The slot that [`Self::find`] most likely asks about; any number if there is none.
    #[inline]
    pub(crate) fn likely(&self, hash: u64) -> u32 {
        let Some(bucket) = self.buckets.get(self.bucket_of(hash)) else { return END };
        let places = bucket.matching(!self.slot_mask, self.tag_of(hash));
        let lane = (places | 1 << CHAIN).trailing_zeros() as usize;
        bucket.0.get(lane).map_or(END, |link| link & self.slot_mask)
    }

    /// Whether a slot with this hash may be there. If not, none is.
    #[inline]
    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        self.buckets.get(self.bucket_of(hash)).is_some_and(|bucket| {
            let is_placed = bucket.matching(!self.slot_mask, self.tag_of(hash)) != 0;
            is_placed || bucket.0[CHAIN] != END
        })
    }

    /// Adds a slot that is not in the index.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, slot: u32) {
        let link = self.tag_of(hash) | slot;
        let bucket = self.bucket_of(hash);
        let Some(bucket) = self.buckets.get_mut(bucket) else { return };
        if let Some(place) = bucket.place_of(END) {
            *place = link;
        } else if let (Some(chain), Some(next)) =
            (bucket.0.get_mut(CHAIN), self.next.get_mut(slot as usize))
        {
            *next = std::mem::replace(chain, link);
        }
    }

    /// Removes a slot that was inserted with this hash.
    #[inline]
    pub(crate) fn remove(&mut self, hash: u64, slot: u32) {
        let wanted = self.tag_of(hash) | slot;
        let bucket = self.bucket_of(hash);
        let Some(bucket) = self.buckets.get_mut(bucket) else { return };
        let first = bucket.0[CHAIN];
        // The first on the chain takes a place that becomes free, so that whatever has a free
        // place has no chain.
        let leaves_chain = match bucket.place_of(wanted) {
            Some(place) => {
                *place = first;
                first
            }
            None => wanted,
        };
        let Some(behind) = self.next.get((leaves_chain & self.slot_mask) as usize).copied() else {
            return;
        };
        if leaves_chain == first {
            bucket.0[CHAIN] = behind;
            return;
        }
        let mut link = first;
        while let Some(next) = self.next.get_mut((link & self.slot_mask) as usize) {
            if *next == leaves_chain {
                *next = behind;
                return;
            }
            link = *next;
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "only lower bits are wanted")]
    fn bucket_of(&self, hash: u64) -> usize {
        hash as usize & (self.buckets.len() - 1)
    }

    /// Bits that neither choose the bucket nor, as the highest do, the worker.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "only bits from the middle are wanted")]
    fn tag_of(&self, hash: u64) -> u32 {
        (hash >> 20) as u32 & !self.slot_mask
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Slots that fill a bucket and its chain.
    const SLOTS: u32 = 40;

    /// One of six hashes: of two buckets with three tags each, so that chains are long.
    fn hash_number(n: u64) -> u64 {
        (n % 2) | ((n / 2) << 50)
    }

    proptest! {
        #[test]
        fn the_index_behaves_as_a_map(
            steps in prop::collection::vec((prop::bool::weighted(0.7), 0..SLOTS, 0u64..6), 0..400),
        ) {
            let mut index = Index::new(SLOTS);
            let mut hashes: HashMap<u32, u64> = HashMap::new();
            for (inserts, slot, n) in steps {
                let hash = hash_number(n);
                match (inserts, hashes.get(&slot).copied()) {
                    (true, None) => {
                        index.insert(hash, slot);
                        hashes.insert(slot, hash);
                    }
                    (false, Some(hash)) => {
                        index.remove(hash, slot);
                        hashes.remove(&slot);
                    }
                    _ => {}
                }
                for slot in 0..SLOTS {
                    for n in 0..6 {
                        let found = index.find(hash_number(n), |here| here == slot).is_some();
                        prop_assert_eq!(found, hashes.get(&slot) == Some(&hash_number(n)));
                        prop_assert!(!found || index.may_hold(hash_number(n)));
                        prop_assert!(!found || hashes.contains_key(&index.likely(hash_number(n))));
                    }
                }
            }
        }
    }

    #[test]
    fn every_slot_and_tag_can_be_told_from_the_end_of_a_chain() {
        for slots in [1, 2, 3, 4, 7, 8, 255, 256] {
            let mut index = Index::new(slots);
            (0..slots).for_each(|slot| index.insert(u64::MAX, slot));
            for slot in 0..slots {
                assert_eq!(index.find(u64::MAX, |here| here == slot), Some(slot), "{slots}");
            }
        }
    }

    #[test]
    fn an_index_without_slots_finds_nothing() {
        let mut index = Index::new(0);
        assert_eq!(index.find(7, |_| true), None);
        index.insert(7, 0);
        index.remove(7, 0);
        assert_eq!(index.find(7, |_| true), None);
    }
}
