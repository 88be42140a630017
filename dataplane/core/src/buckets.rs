//! A map from addresses to their holders, of which a look-up reads one cache line.
//!
//! Entries lie in buckets of a cache line. One that finds its own bucket full lies in the next
//! that has room, and no bucket before it has any. Within a bucket entries lie close together, so
//! that the last place tells whether it is full, and the order of the first two tells whether some
//! entry had to go past it: a look-up for what is not there seldom reads more. Copies share all
//! parts that do not differ, as those of [`crate::shared`] do.

use std::hint::{black_box, select_unpredictable};
use std::sync::Arc;

/// Parts of a map; a power of two.
const PARTS: usize = 256;

/// A part grows when more than so many of its places are taken, in percent. The fuller it is,
/// the less memory there is to read, and the more often a look-up goes on to the next bucket.
const FILL_MAX: usize = 55;

/// A part shrinks when fewer are.
const FILL_MIN: usize = 10;

/// What a map is searched for.
pub(crate) trait Key: Copy + Ord {
    /// Where it lies. Nobody who does not know the seeds can choose keys that lie together.
    fn hash(&self, seeds: Seeds) -> u64;
}

/// What a map finds.
pub(crate) trait Value: Copy + Eq {
    /// What is found where nothing lies.
    const NONE: Self;

    /// Whether it is something.
    fn is_some(&self) -> bool;

    /// Some of its bits.
    fn bits(&self) -> u32;
}

/// Secrets of a map.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seeds(u64, u64);

/// A place of a map. In an empty one the value is none, and the key means nothing.
#[derive(Debug, Clone, Copy)]
struct Entry<K, V> {
    key: K,
    value: V,
}

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Bucket<K, V, const N: usize>([Entry<K, V>; N]);

#[derive(Debug, Clone)]
struct Part<K, V, const N: usize> {
    buckets: Arc<[Bucket<K, V, N>]>,
    len: usize,
}

/// A map with `N` entries to a bucket.
#[derive(Debug, Clone)]
pub(crate) struct Buckets<K, V, const N: usize> {
    parts: Arc<[Part<K, V, N>]>,
    seeds: Seeds,
    /// What fills places that nothing lies in.
    empty: Entry<K, V>,
}

impl Seeds {
    fn new() -> Self {
        let random = ahash::RandomState::new();
        Self(random.hash_one(0u64), random.hash_one(1u64) | 1)
    }

    /// Mixes two numbers: every bit of the product depends on both (as in ahash's fallback).
    #[inline]
    pub(crate) fn mix(self, a: u64, b: u64) -> u64 {
        let product = u128::from(a ^ self.0) * u128::from(b ^ self.1);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves are meant")]
        let folded = product as u64 ^ (product >> 64) as u64;
        folded
    }
}

impl<K: Key, V: Value, const N: usize> Buckets<K, V, N> {
    /// A map of nothing, whose empty places are filled with `any` key.
    pub(crate) fn new(any: K) -> Self {
        let empty = Entry { key: any, value: V::NONE };
        let part = Part { buckets: Arc::new([Bucket([empty; N])]), len: 0 };
        Self { parts: vec![part; PARTS].into(), seeds: Seeds::new(), empty }
    }

    /// What lies under `key`.
    #[inline(always)]
    pub(crate) fn get(&self, key: &K) -> &V {
        let hash = key.hash(self.seeds);
        let nothing = &self.empty.value;
        let Some(part) = self.parts.get(part_of(hash)) else { return nothing };
        let buckets = &*part.buckets;
        let home = home_of(hash, buckets.len());
        let Some(bucket) = buckets.get(home) else { return nothing };
        let (found, is_found) = bucket.find(key, nothing);
        // As one decision, which is nearly always the same: the compiler would make one of each
        // comparison, which the processor cannot guess.
        if black_box(!is_found & bucket.is_passed()) {
            return beyond(buckets, home, key, nothing);
        }
        found
    }

    /// Reads from where `key` should lie, so that the processor has it at hand afterwards.
    #[inline]
    pub(crate) fn touch(&self, key: &K) -> u32 {
        let hash = key.hash(self.seeds);
        let Some(part) = self.parts.get(part_of(hash)) else { return 0 };
        let home = home_of(hash, part.buckets.len());
        part.buckets.get(home).map_or(0, |bucket| bucket.bits())
    }

    /// Puts `value`, which is some, under `key`.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        let (seeds, empty) = (self.seeds, self.empty);
        let hash = key.hash(seeds);
        let Some(part) = Arc::make_mut(&mut self.parts).get_mut(part_of(hash)) else { return };
        if let Some((at, place)) = part.position(hash, &key) {
            if let Some(entry) = part.entry_mut(at, place) {
                entry.value = value;
            }
            return;
        }
        if (part.len + 1) * 100 > part.buckets.len() * N * FILL_MAX {
            part.resize(part.len + part.len / 4 + 1, seeds, empty);
        }
        part.len += 1;
        put(Arc::make_mut(&mut part.buckets), hash, Entry { key, value });
    }

    /// Takes out what lies under `key` if it is `value`.
    pub(crate) fn remove_if(&mut self, key: &K, value: V) {
        if value == V::NONE || *self.get(key) != value {
            return;
        }
        let (seeds, empty) = (self.seeds, self.empty);
        let hash = key.hash(seeds);
        let Some(part) = Arc::make_mut(&mut self.parts).get_mut(part_of(hash)) else { return };
        let Some((at, place)) = part.position(hash, key) else { return };
        part.len -= 1;
        take_out(Arc::make_mut(&mut part.buckets), at, place, seeds, empty);
        if part.len * 100 < part.buckets.len() * N * FILL_MIN && part.buckets.len() > 1 {
            part.resize(part.len * 2, seeds, empty);
        }
    }

    /// How many entries there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len).sum()
    }
}

impl<K: Key, V: Value, const N: usize> Bucket<K, V, N> {
    /// Entries come before empty places, so an empty one that happens to have the key is met
    /// only where nobody else has it.
    ///
    /// All places are compared, whichever it is, and the choice is one of addresses: no decision
    /// is taken that the processor could guess wrongly, for who has an address is anybody's guess.
    #[inline]
    fn find<'a>(&'a self, key: &K, nothing: &'a V) -> (&'a V, bool) {
        self.0.iter().rev().fold((nothing, false), |(found, is_found), entry| {
            let is_it = entry.key == *key;
            (select_unpredictable(is_it, &entry.value, found), is_found | is_it)
        })
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.0.last().is_none_or(|last| last.value.is_some())
    }

    /// Whether some entry may lie further on for want of room here. It is not, if the first two
    /// are in order.
    #[inline]
    fn is_passed(&self) -> bool {
        let [first, second, ..] = self.0.as_slice() else { return false };
        self.is_full() & (first.key > second.key)
    }

    /// Notes whether some entry lies further on for want of room in this full bucket.
    fn set_passed(&mut self, is_passed: bool) {
        let [first, second, ..] = self.0.as_mut_slice() else { return };
        if (first.key > second.key) != is_passed {
            std::mem::swap(first, second);
        }
    }

    #[inline]
    fn bits(&self) -> u32 {
        self.0.first().map_or(0, |first| first.value.bits())
    }

    fn len(&self) -> usize {
        self.0.iter().take_while(|entry| entry.value != V::NONE).count()
    }
}

impl<K: Key, V: Value, const N: usize> Part<K, V, N> {
    /// The bucket and the place in it where `key` lies.
    fn position(&self, hash: u64, key: &K) -> Option<(usize, usize)> {
        let mut at = home_of(hash, self.buckets.len());
        for _ in 0..self.buckets.len() {
            let bucket = self.buckets.get(at)?;
            let is_it = |entry: &Entry<K, V>| entry.value != V::NONE && entry.key == *key;
            if let Some(place) = bucket.0.iter().position(is_it) {
                return Some((at, place));
            }
            if !bucket.is_full() {
                return None;
            }
            at = next(at, self.buckets.len());
        }
        None
    }

    fn entry_mut(&mut self, at: usize, place: usize) -> Option<&mut Entry<K, V>> {
        Arc::make_mut(&mut self.buckets).get_mut(at)?.0.get_mut(place)
    }

    /// Makes it as large as so many entries want.
    fn resize(&mut self, len: usize, seeds: Seeds, empty: Entry<K, V>) {
        let buckets = (len * 100).div_ceil(N * FILL_MAX).max(1);
        let mut resized = vec![Bucket([empty; N]); buckets];
        for entry in self.buckets.iter().flat_map(|bucket| &bucket.0) {
            if entry.value != V::NONE {
                put(&mut resized, entry.key.hash(seeds), *entry);
            }
        }
        self.buckets = resized.into();
    }
}

/// Looks on, behind a bucket that is full.
#[cold]
fn beyond<'a, K: Key, V: Value, const N: usize>(
    buckets: &'a [Bucket<K, V, N>],
    home: usize,
    key: &K,
    nothing: &'a V,
) -> &'a V {
    let mut at = home;
    for _ in 1..buckets.len() {
        at = next(at, buckets.len());
        let Some(bucket) = buckets.get(at) else { break };
        let (found, is_found) = bucket.find(key, nothing);
        if is_found || !bucket.is_passed() {
            return found;
        }
    }
    nothing
}

/// Puts an entry that is not there yet into the first bucket with room, of which there is one.
fn put<K: Key, V: Value, const N: usize>(
    buckets: &mut [Bucket<K, V, N>],
    hash: u64,
    entry: Entry<K, V>,
) {
    let mut at = home_of(hash, buckets.len());
    for _ in 0..buckets.len() {
        let Some(bucket) = buckets.get_mut(at) else { return };
        if let Some(free) = bucket.0.iter_mut().find(|it| it.value == V::NONE) {
            *free = entry;
            if bucket.is_full() {
                bucket.set_passed(false);
            }
            return;
        }
        bucket.set_passed(true);
        at = next(at, buckets.len());
    }
}

/// Takes out an entry, and moves up what had gone past its bucket when that was full.
fn take_out<K: Key, V: Value, const N: usize>(
    buckets: &mut [Bucket<K, V, N>],
    at: usize,
    place: usize,
    seeds: Seeds,
    empty: Entry<K, V>,
) {
    let count = buckets.len();
    let (mut hole, mut place) = (at, place);
    loop {
        let Some(bucket) = buckets.get_mut(hole) else { return };
        let was_full = bucket.is_full();
        let last = bucket.len().saturating_sub(1);
        bucket.0.swap(place, last);
        if let Some(free) = bucket.0.get_mut(last) {
            *free = empty;
        }
        if !was_full {
            return;
        }
        let Some((from, which)) = follower(buckets, hole, seeds) else { return };
        let Some(entry) = buckets.get(from).and_then(|bucket| bucket.0.get(which)).copied() else {
            return;
        };
        if let Some(bucket) = buckets.get_mut(hole) {
            bucket.0.last_mut().into_iter().for_each(|free| *free = entry);
            // There may be more.
            bucket.set_passed(true);
        }
        debug_assert!(from != hole && count > 1, "an entry moves to another bucket");
        (hole, place) = (from, which);
    }
}

/// The first entry behind a bucket that would have lain in it, or before it, had there been room.
fn follower<K: Key, V: Value, const N: usize>(
    buckets: &[Bucket<K, V, N>],
    hole: usize,
    seeds: Seeds,
) -> Option<(usize, usize)> {
    let count = buckets.len();
    let behind = |from: usize, to: usize| (to + count - from) % count;
    let mut at = next(hole, count);
    while at != hole {
        let bucket = buckets.get(at)?;
        let moves = |entry: &Entry<K, V>| {
            let home = home_of(entry.key.hash(seeds), count);
            entry.value != V::NONE && behind(home, at) >= behind(hole, at)
        };
        if let Some(which) = bucket.0.iter().position(moves) {
            return Some((at, which));
        }
        if !bucket.is_full() {
            return None;
        }
        at = next(at, count);
    }
    None
}

#[inline]
fn next(at: usize, buckets: usize) -> usize {
    if at + 1 < buckets { at + 1 } else { 0 }
}

/// By the highest bits.
#[inline]
fn part_of(hash: u64) -> usize {
    (hash >> 56) as usize
}

/// By the lower half, scaled: so that the number of buckets need be no power of two.
#[inline]
fn home_of(hash: u64, buckets: usize) -> usize {
    (((hash & u64::from(u32::MAX)) * buckets as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Keys of few hashes, so that buckets overflow, into each other and around the end.
    impl Key for (u8, u8) {
        fn hash(&self, _: Seeds) -> u64 {
            (u64::from(self.0) % 2) << 56 | u64::from(self.0) << 24
        }
    }

    impl Value for u32 {
        const NONE: Self = Self::MAX;

        fn is_some(&self) -> bool {
            *self != Self::NONE
        }

        fn bits(&self) -> u32 {
            *self
        }
    }

    type Small = Buckets<(u8, u8), u32, 4>;

    fn agrees(map: &Small, plain: &BTreeMap<(u8, u8), u32>) {
        assert_eq!(map.len(), plain.len());
        for a in 0..=u8::MAX {
            for b in 0..8 {
                let expected = plain.get(&(a, b)).copied().unwrap_or(u32::NONE);
                assert_eq!(*map.get(&(a, b)), expected, "{:?}", (a, b));
            }
        }
    }

    fn any_key() -> impl Strategy<Value = (u8, u8)> {
        // The ends are crowded.
        let high = prop_oneof![Just(0), Just(255), Just(254), 0..=u8::MAX];
        (high, 0u8..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_map_holds_what_was_put_there_and_copies_do_not_see_each_other(
            changes in prop::collection::vec((any_key(), prop::option::weighted(0.6, 0u32..9)), 0..400),
            cut in 0usize..400,
        ) {
            let mut map = Small::new((0, 0));
            let mut plain = BTreeMap::new();
            let mut then = None;
            for (number, &(key, value)) in changes.iter().enumerate() {
                if number == cut {
                    then = Some((map.clone(), plain.clone()));
                }
                match value {
                    Some(value) => {
                        map.insert(key, value);
                        plain.insert(key, value);
                    }
                    None => {
                        let before = *map.get(&key);
                        map.remove_if(&key, before);
                        plain.remove(&key);
                    }
                }
                prop_assert_eq!(*map.get(&key), value.unwrap_or(u32::NONE));
            }
            agrees(&map, &plain);
            then.into_iter().for_each(|(map, plain)| agrees(&map, &plain));
        }
    }

    #[test]
    fn what_goes_leaves_no_more_room_than_it_had() {
        let mut map = Small::new((0, 0));
        for key in (0..=u8::MAX).flat_map(|a| (0..4).map(move |b| (a, b))) {
            map.insert(key, 1);
        }
        let places = |map: &Small| map.parts.iter().map(|it| it.buckets.len() * 4).sum::<usize>();
        let full = places(&map);
        let unused = (PARTS - 2) * 4;
        assert!(map.len() * 100 >= (full - unused) * 40, "{} of {full}", map.len());
        for key in (0..=u8::MAX).flat_map(|a| (0..4).map(move |b| (a, b))) {
            map.remove_if(&key, 2);
            assert_eq!(*map.get(&key), 1, "it was another that was meant");
            map.remove_if(&key, 1);
        }
        assert_eq!(map.len(), 0);
        assert_eq!(places(&map), PARTS * 4, "a bucket for each part");
    }
}
