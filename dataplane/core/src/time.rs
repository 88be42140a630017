//! Time as a value: nanoseconds of a monotonic clock, passed in by the caller.
//!
//! Nothing in this crate asks a clock, so that a test decides what time it is and a jump of
//! the wall clock expires nothing.

use std::ops::Add;
use std::time::Duration;

/// A moment of a monotonic clock, in nanoseconds from a start that only its owner knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    /// The time from `earlier` to this moment; zero if `earlier` is the later one.
    #[inline]
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    #[inline]
    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}
