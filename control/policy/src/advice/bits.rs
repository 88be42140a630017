//! Sets of small numbers, compared a word at a time.

/// A set of the numbers of identities or nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn insert(&mut self, number: u32) {
        let (word, bit) = place(number);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        let (word, bit) = place(number);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        // Words are only added for a number that is set.
        self.0.is_empty()
    }

    pub(super) fn is_subset(&self, of: &Self) -> bool {
        let others = of.0.iter().copied().chain(std::iter::repeat(0));
        self.0.iter().zip(others).all(|(word, other)| word & !other == 0)
    }

    pub(super) fn intersects(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    /// The numbers that both have, in order.
    pub(super) fn common<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u32> + 'a {
        numbers(self.0.iter().zip(&other.0).map(|(a, b)| a & b))
    }

    /// The numbers in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        numbers(self.0.iter().copied())
    }
}

impl FromIterator<u32> for Bits {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let mut bits = Self::default();
        numbers.into_iter().for_each(|number| bits.insert(number));
        bits
    }
}

fn place(number: u32) -> (usize, u64) {
    ((number / u64::BITS) as usize, 1 << (number % u64::BITS))
}

fn numbers(words: impl Iterator<Item = u64>) -> impl Iterator<Item = u32> {
    (0u32..).step_by(u64::BITS as usize).zip(words).flat_map(|(first, word)| {
        (0..u64::BITS).filter(move |bit| word >> bit & 1 != 0).map(move |bit| first + bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_numbers() {
        let bits = |numbers: &[u32]| numbers.iter().copied().collect::<Bits>();
        let some = bits(&[0, 63, 64, 200]);
        assert_eq!(some.iter().collect::<Vec<_>>(), [0, 63, 64, 200]);
        assert!(some.contains(200) && !some.contains(199) && !some.contains(10_000));
        assert!(bits(&[]).is_empty() && !some.is_empty());
        assert!(bits(&[63, 200]).is_subset(&some) && bits(&[]).is_subset(&some));
        assert!(!some.is_subset(&bits(&[0, 63, 64])) && !bits(&[1]).is_subset(&some));
        assert!(some.intersects(&bits(&[1, 64])) && !some.intersects(&bits(&[1, 65, 300])));
        assert_eq!(some.common(&bits(&[0, 1, 200, 300])).collect::<Vec<_>>(), [0, 200]);
    }
}
