//! A fixed number of slots, and which of them are free.

/// Slots that hold a value each, or none. Their memory is taken at the start, and values never
/// move.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Box<[Option<T>]>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    /// Free slots, from 0 to `len`.
    pub(crate) fn new(len: u32) -> Self {
        let slots = std::iter::repeat_with(|| None).take(len as usize).collect();
        Self { slots, free: (0..len).rev().collect() }
    }

    /// How many slots there are.
    pub(crate) fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// How many of them are not free.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether none is free.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// All of them, in order.
    pub(crate) fn as_slice(&self) -> &[Option<T>] {
        &self.slots
    }

    #[inline]
    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        self.slots.get(slot as usize)?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// Takes a slot that is free: the one given back last, or the lowest that never was taken.
    #[inline]
    pub(crate) fn reserve(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// Puts a value into a slot that is reserved.
    #[inline]
    pub(crate) fn put(&mut self, slot: u32, value: T) {
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(value);
        }
    }

    /// Takes the value out of a slot, which stays reserved.
    #[inline]
    pub(crate) fn take(&mut self, slot: u32) -> Option<T> {
        self.slots.get_mut(slot as usize)?.take()
    }

    /// Gives back a slot that is reserved and empty.
    #[inline]
    pub(crate) fn release(&mut self, slot: u32) {
        debug_assert!(self.get(slot).is_none(), "{slot} still holds something");
        self.free.push(slot);
    }
}
