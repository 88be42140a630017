//! Rule sets, attempts and changes, made from a seed: the same seed gives the same, everywhere.
//!
//! A [`cluster`] is small and dense: labels, addresses, port numbers and port names come from
//! a few of each, so that policies overlap and what differs differs by one. [`attempts`] are
//! made from the rules of a cluster: what a rule means, and for each of its fields what it
//! just does not mean. A [`change`] turns a cluster into another one. Whatever is made is valid.
//!
//! ```text
//! seed --> cluster --+--> attempts --> a table and the oracle
//!                    +--> change ----> the next cluster
//! ```

mod access_lists;
mod attempts;
mod blocks;
mod change;
mod cluster_policies;
mod labels;
mod large;
mod network_policies;
mod objects;
mod random;
mod shrink;

pub use self::attempts::attempts;
pub use self::change::change;
pub use self::large::{Large, large, many_blocks};
use self::random::Random;
pub use self::shrink::shrink;
use crate::model::RuleSet;

/// The node that clusters are seen from: the one where pods are that name none.
pub const LOCAL_NODE: &str = "n1";

/// A valid rule set.
///
/// Up to four nodes and seven namespaces, 4 to 14 pods, up to eight NetworkPolicies and up to
/// five ClusterNetworkPolicies; half of them with up to three access lists.
#[must_use]
pub fn cluster(seed: u64) -> RuleSet {
    let random = &mut Random::new(seed, "cluster");
    let mut rules = RuleSet::default();
    for name in objects::NODE_NAMES {
        // The others are only mentioned by their pods.
        if random.chance(80) {
            rules.replace(objects::node(random, name));
        }
    }
    let first = random.below(labels::NAMESPACE_NAMES.len());
    for name in labels::NAMESPACE_NAMES.iter().cycle().skip(first).take(6) {
        rules.replace(objects::namespace(random, name));
    }
    for _ in 0..random.between(4u8, 14) {
        let pod = objects::new_pod(random, &rules);
        rules.replace(pod);
    }
    for place in 0..random.between(0u8, 8) {
        let policy = network_policies::policy(random, &rules, format!("np{place}"));
        rules.replace(policy);
    }
    if random.chance(75) {
        for _ in 0..random.between(1u8, 5) {
            let name = cluster_policies::free_name(random, &rules);
            let policy = cluster_policies::policy(random, &rules, name);
            rules.replace(policy);
        }
    }
    if random.chance(50) {
        let lists = 1 + random.below(access_lists::NAMES.len());
        for name in access_lists::NAMES.into_iter().take(lists) {
            let list = access_lists::access_list(random, &rules, name);
            rules.replace(list);
        }
    }
    rules
}
