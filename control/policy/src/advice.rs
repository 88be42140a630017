//! What is legal, but may not be what was meant.
//!
//! [`advise`] reads a valid rule set as a careful reader would, who knows all of it: which
//! selectors match nobody, which policies and rules do what others do already, which are never
//! asked, which ports have no name, which holes are open, which policies leave their order open.
//! None of this is a fault, and nothing that is enforced depends on it.
//!
//! Advice that is wrong is worse than none, so where it is in doubt nothing is said. What holds
//! only for the pods that are there now says so, and selectors that ask for no label mean pods to
//! come as well: only a selector as wide does what they do.
//!
//! ```text
//! RuleSet --> policies, crowd (pods by identity), peers (each once) --> survey --> kinds of advice
//! ```

mod bits;
mod blocks;
mod cover;
mod crowd;
mod named;
mod nobody;
mod peers;
mod policies;
mod ports;
mod redundant;
mod reopened;
mod selectors;
mod shadowed;
mod survey;
mod tied;
mod unmatched;
mod words;

use self::survey::Survey;
use crate::model::RuleSet;

/// Something in an object that is legal, but surprising. Reads as a fault does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Advice {
    /// Kind and name of the object, such as `NetworkPolicy shop/web`.
    pub object: String,
    /// The field as Kubernetes spells it, such as `spec.ingress[0].from[1].podSelector`.
    pub field: String,
    /// What is surprising, and what may have been meant.
    pub remark: String,
}

/// What is surprising in a valid rule set, sorted by object and field.
#[must_use]
pub fn advise(rules: &RuleSet) -> Vec<Advice> {
    let policies = policies::policies(rules);
    let survey = Survey::of(rules, &policies);
    let mut advice = [
        nobody::advise(&survey),
        redundant::advise(&survey),
        shadowed::advise(&survey),
        named::advise(&survey),
        reopened::advise(&survey),
        tied::advise(&survey),
    ]
    .concat();
    advice.sort();
    advice.dedup();
    advice
}

/// What a finding rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grounds {
    /// What is written in the policies, whatever pods come.
    Written,
    /// The pods that are there now.
    Present,
}

impl Grounds {
    /// The firmer ones first.
    const ALL: [Self; 2] = [Self::Written, Self::Present];

    /// What to add to a finding.
    fn words(self) -> &'static str {
        match self {
            Self::Written => "",
            Self::Present => ", as the pods are now",
        }
    }
}

#[cfg(test)]
mod tests;
