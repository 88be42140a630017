//! Numbers that a seed determines.

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
pub(super) struct Random(u64);

impl Random {
    /// What is made of the same seed for different purposes has nothing in common.
    pub(super) fn new(seed: u64, purpose: &str) -> Self {
        let mut random = Self(seed);
        for byte in purpose.bytes() {
            random.0 = random.bits() ^ u64::from(byte);
        }
        random
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from `first` to `last`, which is not below it, both among them.
    pub(super) fn between<T: Copy + Into<u64> + TryFrom<u64>>(&mut self, first: T, last: T) -> T {
        let choices = last.into().saturating_sub(first.into()).saturating_add(1);
        T::try_from(first.into() + self.bits() % choices).unwrap_or(first)
    }

    /// A number below `end`; 0 where `end` is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let choices = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.bits() % choices).unwrap_or(0)
    }

    /// Yes, so many times of a hundred.
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.bits() % 100 < percent
    }

    /// One of the list; `None` where it is empty.
    pub(super) fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.below(list.len()))
    }

    /// One of the list; a default where it is empty.
    pub(super) fn one<T: Copy + Default>(&mut self, list: &[T]) -> T {
        self.pick(list).copied().unwrap_or_default()
    }

    /// From `fewest` to `most` of what `make` makes.
    pub(super) fn some<T>(
        &mut self,
        fewest: u8,
        most: u8,
        mut make: impl FnMut(&mut Self) -> T,
    ) -> Vec<T> {
        (0..self.between(fewest, most)).map(|_| make(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_reference() {
        // The first of the author's splitmix64.c for seed 1234567.
        let mut random = Random(1_234_567);
        let first = [(); 3].map(|()| random.bits());
        assert_eq!(
            first,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn both_borders_are_reached() {
        let mut random = Random::new(1, "borders");
        let ports: Vec<u16> = (0..100).map(|_| random.between(65534, 65535)).collect();
        assert!(ports.contains(&65534) && ports.contains(&65535));
        assert_eq!(random.between(7u8, 7), 7);
        assert_eq!(random.below(0), 0);
        assert_eq!(random.pick::<u8>(&[]), None);
    }
}
