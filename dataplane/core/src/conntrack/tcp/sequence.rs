//! Sequence numbers, which wrap around.

use std::ops::{Add, Sub};

/// A number modulo 2^32 (RFC 9293, 3.4). Two can be compared while they are less than 2^31
/// apart, so there is no order over all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sequence(pub(super) u32);

impl Sequence {
    #[inline]
    pub(super) fn is_before(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() < 0
    }

    #[inline]
    pub(super) fn is_after(self, other: Self) -> bool {
        other.is_before(self)
    }

    /// Whether it lies between the two, which count.
    #[inline]
    pub(super) fn is_within(self, first: Self, last: Self) -> bool {
        !self.is_before(first) && !self.is_after(last)
    }

    /// The later of the two.
    #[inline]
    pub(super) fn max(self, other: Self) -> Self {
        if self.is_before(other) { other } else { self }
    }

    /// The earlier of the two.
    #[inline]
    pub(super) fn min(self, other: Self) -> Self {
        if self.is_after(other) { other } else { self }
    }
}

impl Add<u32> for Sequence {
    type Output = Self;

    #[inline]
    fn add(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }
}

impl Sub<u32> for Sequence {
    type Output = Self;

    #[inline]
    fn sub(self, count: u32) -> Self {
        Self(self.0.wrapping_sub(count))
    }
}
