//! Numbers for things that come and go.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Gives out the lowest numbers first. A number that is given back serves again only after the
/// change that it went with, so that within a change no number means two things.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers {
    next: u32,
    free: BinaryHeap<Reverse<u32>>,
    retired: Vec<u32>,
}

impl Numbers {
    pub(super) fn take(&mut self) -> u32 {
        if let Some(Reverse(number)) = self.free.pop() {
            return number;
        }
        self.next += 1;
        self.next - 1
    }

    pub(super) fn retire(&mut self, number: u32) {
        self.retired.push(number);
    }

    /// Ends a change: what was given back may be given out again.
    pub(super) fn settle(&mut self) {
        self.free.extend(self.retired.drain(..).map(Reverse));
    }
}

/// A short sorted list as a set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Sorted<T>(Vec<T>);

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Ord + Copy> Sorted<T> {
    /// Adds `value`; cheap where it is the greatest.
    pub(super) fn insert(&mut self, value: T) {
        match self.0.last() {
            Some(last) if *last < value => self.0.push(value),
            None => self.0.push(value),
            Some(_) => {
                if let Err(at) = self.0.binary_search(&value) {
                    self.0.insert(at, value);
                }
            }
        }
    }

    pub(super) fn remove(&mut self, value: T) {
        if let Ok(at) = self.0.binary_search(&value) {
            self.0.remove(at);
        }
    }

    pub(super) fn contains(&self, value: T) -> bool {
        self.0.binary_search(&value).is_ok()
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        &self.0
    }
}

impl<T: Ord + Copy> FromIterator<T> for Sorted<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut list: Vec<T> = values.into_iter().collect();
        list.sort_unstable();
        list.dedup();
        Self(list)
    }
}

/// Things by their numbers.
#[derive(Debug, Clone)]
pub(super) struct Slab<T> {
    numbers: Numbers,
    entries: Vec<Option<T>>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { numbers: Numbers::default(), entries: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, value: T) -> u32 {
        let number = self.numbers.take();
        if self.entries.len() <= number as usize {
            self.entries.resize_with(number as usize + 1, || None);
        }
        if let Some(place) = self.entries.get_mut(number as usize) {
            *place = Some(value);
        }
        number
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let value = self.entries.get_mut(number as usize)?.take();
        if value.is_some() {
            self.numbers.retire(number);
        }
        value
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.entries.get(number as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.entries.get_mut(number as usize)?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let entries = (0u32..).zip(&self.entries);
        entries.filter_map(|(number, entry)| Some((number, entry.as_ref()?)))
    }

    pub(super) fn settle(&mut self) {
        self.numbers.settle();
    }
}
