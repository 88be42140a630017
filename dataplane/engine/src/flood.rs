//! How many frames a port may have copied to others, or a pod send past policy: a token bucket.

use std::time::Duration;

use sluice_core::time::Time;

/// Frames a second that a port may flood or send past policy, and how many at once.
pub(crate) const FLOOD_RATE: u32 = 1000;

/// A token bucket of [`FLOOD_RATE`] tokens a second that holds a second's worth.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    tokens: u32,
    filled: Time,
}

const TOKEN: Duration = Duration::from_nanos(1_000_000_000 / FLOOD_RATE as u64);

impl Bucket {
    pub(crate) fn full(now: Time) -> Self {
        Self { tokens: FLOOD_RATE, filled: now }
    }

    /// Takes a token if there is one.
    pub(crate) fn take(&mut self, now: Time) -> bool {
        let earned = now.since(self.filled).as_nanos() / TOKEN.as_nanos();
        if let Ok(earned) = u32::try_from(earned.min(u128::from(FLOOD_RATE))) {
            self.tokens = (self.tokens + earned).min(FLOOD_RATE);
            // What is left of a token's time counts for the next one.
            self.filled = if earned == FLOOD_RATE { now } else { self.filled + TOKEN * earned };
        }
        let took = self.tokens > 0;
        self.tokens -= u32::from(took);
        took
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_a_seconds_worth_at_once_and_then_the_rate() {
        let mut bucket = Bucket::full(Time(0));
        assert_eq!((0..5000).filter(|_| bucket.take(Time(0))).count(), 1000);
        let half = Time(0) + Duration::from_millis(500);
        assert_eq!((0..5000).filter(|_| bucket.take(half)).count(), 500);
        let much_later = Time(0) + Duration::from_secs(1000);
        assert_eq!((0..5000).filter(|_| bucket.take(much_later)).count(), 1000);
    }

    #[test]
    fn frequent_asking_earns_no_less() {
        let mut bucket = Bucket::full(Time(0));
        while bucket.take(Time(0)) {}
        let taken =
            (0..3_000_000u64).step_by(300).filter(|us| bucket.take(Time(us * 1000))).count();
        assert!((2990..=3000).contains(&taken), "{taken}");
    }
}
