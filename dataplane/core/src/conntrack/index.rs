//! Finds slots by hash: chains of slot numbers, one for each remainder of the hash.
//!
//! ```text
//! heads[hash & mask] --> tag, slot --next[slot]--> tag, slot --> END
//! ```
//!
//! What a slot holds is known to the caller only, who says whether it is the one. The bits of a
//! link that the slot's number leaves over hold a part of its hash, the tag, so that hardly any
//! slot is looked into in vain: memory that is far away is then read once a look-up.
//!
//! Nothing is ever moved, so there is neither a rehash to wait for nor a mark of what has been
//! removed. The hash's seed is secret, so chains are as short as chance makes them; with two
//! heads a slot, every fourth look-up in a full table meets another slot first.

/// Behind the last slot of a chain. No slot has this number.
const END: u32 = u32::MAX;

/// Slots by the lower bits of a hash.
#[derive(Debug)]
pub(crate) struct Index {
    heads: Box<[u32]>,
    next: Box<[u32]>,
    /// The bits of a link that are the slot's number; the others are the tag.
    slot_mask: u32,
}

impl Index {
    /// An empty index of the slots from 0 to `slots`, whose memory is taken now.
    pub(crate) fn new(slots: u32) -> Self {
        let heads = (2 * slots as usize).next_power_of_two();
        Self {
            heads: vec![END; heads].into_boxed_slice(),
            next: vec![END; slots as usize].into_boxed_slice(),
            slot_mask: u32::MAX.checked_shr(slots.leading_zeros()).unwrap_or_default(),
        }
    }

    /// The slot with this hash for which `is_it` is true.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let tag = self.tag_of(hash);
        let mut link = *self.heads.get(self.head_of(hash))?;
        while link != END {
            let slot = link & self.slot_mask;
            if link & !self.slot_mask == tag && is_it(slot) {
                return Some(slot);
            }
            link = *self.next.get(slot as usize)?;
        }
        None
    }

    /// Adds a slot that is not in the index.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, slot: u32) {
        let link = self.tag_of(hash) | slot;
        let head = self.head_of(hash);
        if let (Some(head), Some(next)) =
            (self.heads.get_mut(head), self.next.get_mut(slot as usize))
        {
            *next = std::mem::replace(head, link);
        }
    }

    /// Removes a slot that was inserted with this hash.
    #[inline]
    pub(crate) fn remove(&mut self, hash: u64, slot: u32) {
        let wanted = self.tag_of(hash) | slot;
        let behind = self.next.get(slot as usize).copied().unwrap_or(END);
        let head = self.head_of(hash);
        let Some(head) = self.heads.get_mut(head) else { return };
        if *head == wanted {
            *head = behind;
            return;
        }
        let mut link = *head;
        while let Some(next) = self.next.get_mut((link & self.slot_mask) as usize) {
            if *next == wanted {
                *next = behind;
                return;
            }
            link = *next;
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "only lower bits are wanted")]
    fn head_of(&self, hash: u64) -> usize {
        hash as usize & (self.heads.len() - 1)
    }

    /// Bits that neither choose the head nor, as the highest do, the worker.
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

    /// One of six hashes: of two heads with three tags each, so that chains are long.
    fn hash_number(n: u64) -> u64 {
        (n % 2) | ((n / 2) << 50)
    }

    proptest! {
        #[test]
        fn the_index_behaves_as_a_map(
            steps in prop::collection::vec((any::<bool>(), 0u32..16, 0u64..6), 0..200),
        ) {
            let mut index = Index::new(16);
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
                for slot in 0..16 {
                    for n in 0..6 {
                        let found = index.find(hash_number(n), |here| here == slot).is_some();
                        prop_assert_eq!(found, hashes.get(&slot) == Some(&hash_number(n)));
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
