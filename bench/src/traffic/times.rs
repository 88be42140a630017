//! How long frames were under way: bpf/sink.bpf.c's buckets.

use std::ops::Sub;

/// Each doubling of the time has so many buckets.
const SUB_BITS: u32 = 5;
pub(super) const BUCKETS: usize = 1024;

/// How many frames took how long, by bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Times(Vec<u64>);

impl Default for Times {
    fn default() -> Self {
        Self(vec![0; BUCKETS])
    }
}

impl Times {
    /// Counts a frame in a bucket.
    #[cfg(test)]
    pub(crate) fn count_one(&mut self, bucket: usize) {
        self.0[bucket] += 1;
    }

    pub(super) fn add(&mut self, counts: &[u64]) {
        for (sum, count) in self.0.iter_mut().zip(counts) {
            *sum += count;
        }
    }

    /// Puts what another has counted to this.
    pub(crate) fn absorb(&mut self, other: &Self) {
        self.add(&other.0);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The nanoseconds that a share of all frames took at most; 0 if there is none.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let wanted = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let mut below = 0;
        for (place, count) in self.0.iter().enumerate() {
            below += count;
            if below >= wanted {
                return middle(place as u32);
            }
        }
        0.0
    }

    /// For each bucket that has something: its time in nanoseconds, and the share of all frames
    /// that took longer than what came before.
    pub(crate) fn tail(&self) -> Vec<(f64, f64)> {
        let all = self.count() as f64;
        let mut left = self.count();
        let mut points = Vec::new();
        for (place, count) in self.0.iter().enumerate().filter(|(_, count)| **count > 0) {
            points.push((middle(place as u32), left as f64 / all));
            left -= count;
        }
        points
    }
}

impl Sub for Times {
    type Output = Self;

    fn sub(mut self, earlier: Self) -> Self {
        for (count, before) in self.0.iter_mut().zip(earlier.0) {
            *count = count.saturating_sub(before);
        }
        self
    }
}

/// The middle of a bucket in nanoseconds.
fn middle(bucket: u32) -> f64 {
    let subs = 1 << SUB_BITS;
    if bucket < subs {
        return f64::from(bucket);
    }
    let shift = (bucket >> SUB_BITS) - 1;
    let from = u64::from(bucket - (shift << SUB_BITS)) << shift;
    from as f64 + ((1_u64 << shift) - 1) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(counts: &[(usize, u64)]) -> Times {
        let mut times = Times::default();
        for (place, count) in counts {
            times.0[*place] += count;
        }
        times
    }

    #[test]
    fn buckets_follow_one_another() {
        assert_eq!([0, 31, 32, 63].map(middle), [0.0, 31.0, 32.0, 63.0]);
        assert_eq!([64, 65, 95, 96].map(middle), [64.5, 66.5, 126.5, 129.5]);
        assert!((1..BUCKETS as u32).all(|bucket| middle(bucket - 1) < middle(bucket)));
    }

    #[test]
    fn quantiles_are_those_of_the_frames() {
        let times = times(&[(10, 98), (20, 1), (30, 1)]);
        assert_eq!(
            [0.0, 0.5, 0.98, 0.99, 1.0].map(|it| times.quantile(it)),
            [10.0, 10.0, 10.0, 20.0, 30.0]
        );
        assert_eq!(Times::default().quantile(0.5), 0.0);
        assert_eq!(times.tail(), [(10.0, 1.0), (20.0, 0.02), (30.0, 0.01)]);
    }

    #[test]
    fn what_was_there_before_does_not_count() {
        let (before, mut after) = (times(&[(3, 5)]), times(&[(3, 6), (4, 1)]));
        let between = after.clone() - before.clone();
        assert_eq!(between, times(&[(3, 1), (4, 1)]));
        after.absorb(&before);
        assert_eq!(after.count(), 12);
    }
}
