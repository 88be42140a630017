//! Collections whose copies share what does not differ.
//!
//! A new table mostly repeats the one before it. These two keep their contents in many small
//! parts behind counted pointers, so that a changed copy costs one part and the list of
//! pointers, whatever the size of the whole. Reading costs one pointer more than a plain one.

use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashTable;

/// Places in one part of a [`Slots`].
const PART_LEN: usize = 64;

/// Parts of a [`SharedMap`]; a power of two. A hundred thousand entries are 400 a part.
const PARTS: usize = 256;

/// A list of places that may be empty.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slots<T>(Vec<Arc<[Option<T>; PART_LEN]>>);

impl<T: Clone> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    #[inline]
    pub(crate) fn get(&self, place: usize) -> Option<&T> {
        self.0.get(place / PART_LEN)?.get(place % PART_LEN)?.as_ref()
    }

    /// How many places there are, empty ones too.
    #[inline]
    pub(crate) fn places(&self) -> usize {
        self.0.len() * PART_LEN
    }

    /// Puts `value` in its place and gives back what was there.
    pub(crate) fn set(&mut self, place: usize, value: Option<T>) -> Option<T> {
        let parts = place / PART_LEN + 1;
        if value.is_none() && parts > self.0.len() {
            return None;
        }
        while self.0.len() < parts {
            self.0.push(Arc::new([const { None }; PART_LEN]));
        }
        let part = Arc::make_mut(self.0.get_mut(place / PART_LEN)?);
        std::mem::replace(part.get_mut(place % PART_LEN)?, value)
    }

    /// What is there, in the order of the places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let places = self.0.iter().flat_map(|part| part.iter());
        (0u32..).zip(places).filter_map(|(place, value)| Some((place, value.as_ref()?)))
    }
}

/// A map by hash.
#[derive(Clone)]
pub(crate) struct SharedMap<K, V> {
    parts: Vec<Arc<HashTable<(K, V)>>>,
    hasher: ahash::RandomState,
    len: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> SharedMap<K, V> {
    pub(crate) fn new() -> Self {
        let empty = Arc::new(HashTable::new());
        Self { parts: vec![empty; PARTS], hasher: ahash::RandomState::new(), len: 0 }
    }

    #[inline]
    pub(crate) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        let part = self.parts.get(part_of(hash))?;
        part.find(hash, |(known, _)| known.borrow() == key).map(|(_, value)| value)
    }

    /// All entries, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.parts.iter().flat_map(|part| part.iter()).map(|(key, value)| (key, value))
    }

    /// The bytes of memory that it takes, with what a value is said to take.
    pub(crate) fn heap_bytes(&self, of_value: impl Fn(&V) -> usize) -> usize {
        let parts: usize = self.parts.iter().map(|part| part.allocation_size()).sum();
        let values: usize = self.iter().map(|(_, value)| of_value(value)).sum();
        self.parts.capacity() * size_of::<usize>() + parts + values
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        let hash = self.hasher.hash_one(&key);
        let hasher = &self.hasher;
        let Some(part) = self.parts.get_mut(part_of(hash)) else { return };
        let part = Arc::make_mut(part);
        match part.find_mut(hash, |(known, _)| *known == key) {
            Some(entry) => entry.1 = value,
            None => {
                part.insert_unique(hash, (key, value), |(key, _)| hasher.hash_one(key));
                self.len += 1;
            }
        }
    }

    /// Takes out an entry whose value `is_meant`.
    pub(crate) fn remove_if<Q>(&mut self, key: &Q, is_meant: impl FnOnce(&V) -> bool)
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if !self.get(key).is_some_and(is_meant) {
            return;
        }
        let hash = self.hasher.hash_one(key);
        let Some(part) = self.parts.get_mut(part_of(hash)) else { return };
        let part = Arc::make_mut(part);
        if let Ok(entry) = part.find_entry(hash, |(known, _)| known.borrow() == key) {
            entry.remove();
            self.len -= 1;
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone + PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().all(|(key, value)| other.get(key) == Some(value))
    }
}

impl<K: Hash + Eq + Clone, V: Clone + Eq> Eq for SharedMap<K, V> {}

impl<K, V> std::fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedMap").field("len", &self.len).finish_non_exhaustive()
    }
}

/// The bits in the middle: a part's own table uses the lowest and the highest.
#[inline]
fn part_of(hash: u64) -> usize {
    const SHIFT: u32 = 40;
    usize::from(u8::try_from((hash >> SHIFT) & (PARTS as u64 - 1)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn copies_do_not_see_each_other(
            changes in prop::collection::vec((0u32..300, prop::option::of(any::<u8>())), 0..200),
            cut in 0usize..200,
        ) {
            let (mut slots, mut map) = (Slots::new(), SharedMap::new());
            let mut plain = BTreeMap::new();
            let mut then = None;
            for (number, &(place, value)) in changes.iter().enumerate() {
                if number == cut {
                    then = Some((slots.clone(), map.clone(), plain.clone()));
                }
                let before = match value {
                    Some(value) => {
                        map.insert(place, value);
                        plain.insert(place, value)
                    }
                    None => {
                        map.remove_if(&place, |_| true);
                        plain.remove(&place)
                    }
                };
                prop_assert_eq!(slots.set(place as usize, value), before);
            }
            for (slots, map, plain) in then.into_iter().chain([(slots, map, plain)]) {
                let listed: Vec<(u32, u8)> = slots.iter().map(|(at, value)| (at, *value)).collect();
                prop_assert_eq!(listed, plain.clone().into_iter().collect::<Vec<_>>());
                prop_assert_eq!(map.len, plain.len());
                for place in 0..300 {
                    prop_assert_eq!(slots.get(place as usize), plain.get(&place));
                    prop_assert_eq!(map.get(&place), plain.get(&place));
                }
            }
        }
    }

    #[test]
    fn an_entry_goes_only_if_it_is_the_one_meant() {
        let mut map = SharedMap::new();
        map.insert("a".to_owned(), 1);
        map.remove_if("a", |value| *value == 2);
        assert_eq!(map.get("a"), Some(&1));
        map.remove_if("a", |value| *value == 1);
        assert_eq!(map.get("a"), None);
    }
}
