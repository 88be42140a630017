//! Ordered five-tuple rules: the first one that matches.

use sluice_core::classifier::{Classifier, Key, Rule};
use sluice_core::ports::Rank;

use super::answer;

/// A classifier, and what it has found last.
pub(crate) struct Rules {
    classifier: Classifier,
    ranks: Vec<Option<Rank>>,
}

impl Rules {
    pub(crate) fn new(rules: &[Rule]) -> Self {
        let classifier = Classifier::new((0..).map(Rank).zip(rules));
        Self { classifier, ranks: Vec::new() }
    }

    /// The mebibytes that the rules take.
    pub(crate) fn mib(&self) -> f64 {
        self.classifier.heap_bytes() as f64 / f64::from(1 << 20)
    }

    /// Finds the first rule for each packet.
    pub(crate) fn find(&mut self, keys: &[Key]) {
        self.ranks.resize(keys.len(), None);
        self.classifier.first_matches(keys, &mut self.ranks);
    }

    /// The digest of the ranks last found, from 1; 0 where there is none. It goes on from `digest`.
    pub(crate) fn digest(&self, digest: u64) -> u64 {
        let number = |rank: &Option<Rank>| rank.map_or(0, |rank| u64::from(rank.0) + 1);
        self.ranks.iter().map(number).fold(digest, answer)
    }
}
