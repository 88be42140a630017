//! Ordered five-tuple rules for every connection of the node.

use crate::classifier::{Classifier, Key, Rule};
use crate::ports::Rank;

/// An access list: rules with priorities, of which the first that matches decides. What none
/// matches is allowed.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessList {
    /// What people call it.
    pub name: Box<str>,
    rules: Classifier,
}

/// Which rule of an access list, and what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccessRule {
    /// Its place in the list, the lowest first; no other rule has it. At most
    /// [`AccessRule::PRIORITY_MAX`].
    pub priority: u32,
    /// Whether it denies what it matches. Otherwise the list is done with it, and has no more to
    /// say.
    pub denies: bool,
}

/// The rule that denies an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccessDenied {
    /// The place of the list in the order in which lists are asked, counted from 0.
    pub list: u32,
    /// The priority of the rule.
    pub priority: u32,
}

impl AccessRule {
    /// The highest priority that a rule may have.
    pub const PRIORITY_MAX: u32 = (1 << 31) - 2;

    /// The action lies in the lowest bit, so that nothing need be looked up for it.
    fn rank(self) -> Rank {
        Rank((self.priority.min(Self::PRIORITY_MAX) << 1) | u32::from(self.denies))
    }

    fn of(rank: Rank) -> Self {
        Self { priority: rank.0 >> 1, denies: rank.0 & 1 == 1 }
    }
}

impl AccessList {
    /// A list of these rules.
    #[must_use]
    pub fn new<'a>(
        name: impl Into<Box<str>>,
        rules: impl IntoIterator<Item = (AccessRule, &'a Rule)>,
    ) -> Self {
        let ranked = rules.into_iter().map(|(place, rule)| (place.rank(), rule));
        Self { name: name.into(), rules: Classifier::new(ranked) }
    }

    /// Adds a rule.
    pub fn insert(&mut self, place: AccessRule, rule: &Rule) {
        self.rules.insert(place.rank(), rule);
    }

    /// Takes out a rule, as it was added.
    pub fn remove(&mut self, place: AccessRule, rule: &Rule) {
        self.rules.remove(place.rank(), rule);
    }

    /// The first rule that matches.
    #[inline]
    #[must_use]
    pub fn first_match(&self, key: &Key) -> Option<AccessRule> {
        self.rules.first_match(key).map(AccessRule::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_keeps_priority_and_action() {
        for priority in [0, 1, 77, AccessRule::PRIORITY_MAX] {
            for denies in [false, true] {
                let place = AccessRule { priority, denies };
                assert_eq!(AccessRule::of(place.rank()), place);
                assert!(place.rank() < Rank(u32::MAX), "which stands for no rule");
            }
        }
    }
}
