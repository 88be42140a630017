//! Finds slots by hash: chains of slot numbers, one for each remainder of the hash.
//!
//! ```text
//! heads[hash & mask] --> slot --next[slot]--> slot --> END
//! ```
//!
//! What a slot holds is known to the caller only, who says whether it is the one. Nothing is ever
//! moved, so there is neither a rehash to wait for nor a mark of what has been removed. The
//! hash's seed is secret, so chains are as short as chance makes them: with two heads a slot at
//! least, a quarter of the look-ups in a full table meet another slot first.

/// Behind the last slot of a chain.
const END: u32 = u32::MAX;

/// Slots by the lower bits of a hash.
#[derive(Debug)]
pub(crate) struct Index {
    heads: Box<[u32]>,
    next: Box<[u32]>,
}

impl Index {
    /// An empty index of the slots from 0 to `slots`, whose memory is taken now.
    pub(crate) fn new(slots: u32) -> Self {
        let heads = (2 * slots as usize).next_power_of_two();
        Self {
            heads: vec![END; heads].into_boxed_slice(),
            next: vec![END; slots as usize].into_boxed_slice(),
        }
    }

    /// The slot with this hash for which `is_it` is true.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut slot = *self.heads.get(self.head_of(hash))?;
        while slot != END {
            if is_it(slot) {
                return Some(slot);
            }
            slot = *self.next.get(slot as usize)?;
        }
        None
    }

    /// Adds a slot that is not in the index.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, slot: u32) {
        let head = self.head_of(hash);
        if let (Some(head), Some(next)) =
            (self.heads.get_mut(head), self.next.get_mut(slot as usize))
        {
            *next = std::mem::replace(head, slot);
        }
    }

    /// Removes a slot that was inserted with this hash.
    #[inline]
    pub(crate) fn remove(&mut self, hash: u64, slot: u32) {
        let behind = self.next.get(slot as usize).copied().unwrap_or(END);
        let head = self.head_of(hash);
        let Some(head) = self.heads.get_mut(head) else { return };
        if *head == slot {
            *head = behind;
            return;
        }
        let mut before = *head;
        while let Some(next) = self.next.get_mut(before as usize) {
            if *next == slot {
                *next = behind;
                return;
            }
            before = *next;
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "only lower bits are wanted")]
    fn head_of(&self, hash: u64) -> usize {
        hash as usize & (self.heads.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Hashes from a few numbers, so that chains are long.
        #[test]
        fn the_index_behaves_as_a_map(
            steps in prop::collection::vec((any::<bool>(), 0u32..16, 0u64..5), 0..200),
        ) {
            let mut index = Index::new(16);
            let mut hashes: HashMap<u32, u64> = HashMap::new();
            for (inserts, slot, hash) in steps {
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
                    for hash in 0..5 {
                        let found = index.find(hash, |here| here == slot).is_some();
                        prop_assert_eq!(found, hashes.get(&slot) == Some(&hash));
                    }
                }
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
