//! The least of a rule set that still shows what is wrong with it.

use crate::model::{
    ClusterNetworkPolicy, ClusterPorts, ClusterRule, NetworkPolicy, Object, ObjectKey, Peers,
    Ports, Rule, RuleSet,
};

/// What is left of `rules` when nothing more can be taken out so that `is_wrong` still holds:
/// objects first, then rules, then their peers and ports.
///
/// `is_wrong` must hold of `rules`, and must not hold of what it cannot judge.
#[must_use]
pub fn shrink(rules: &RuleSet, is_wrong: impl Fn(&RuleSet) -> bool) -> RuleSet {
    let mut least = rules.clone();
    loop {
        let smaller = without_an_object(&least).into_iter().find(&is_wrong);
        match smaller.or_else(|| with_less_in_a_policy(&least).into_iter().find(&is_wrong)) {
            Some(smaller) => least = smaller,
            None => return least,
        }
    }
}

fn without_an_object(rules: &RuleSet) -> Vec<RuleSet> {
    let without = |key: ObjectKey| {
        let mut smaller = rules.clone();
        smaller.remove(&key);
        smaller
    };
    rules.clone().into_objects().map(|object| without(object.key())).collect()
}

fn with_less_in_a_policy(rules: &RuleSet) -> Vec<RuleSet> {
    let mut policies: Vec<Object> = Vec::new();
    for policy in rules.network_policies() {
        for ingress in less_of_a_direction(policy.ingress.as_deref()) {
            policies.push(NetworkPolicy { ingress, ..policy.clone() }.into());
        }
        for egress in less_of_a_direction(policy.egress.as_deref()) {
            policies.push(NetworkPolicy { egress, ..policy.clone() }.into());
        }
    }
    for policy in rules.cluster_network_policies() {
        for ingress in less_of_cluster_rules(&policy.ingress) {
            policies.push(ClusterNetworkPolicy { ingress, ..policy.clone() }.into());
        }
        for egress in less_of_cluster_rules(&policy.egress) {
            policies.push(ClusterNetworkPolicy { egress, ..policy.clone() }.into());
        }
    }
    let with = |policy| {
        let mut smaller = rules.clone();
        smaller.replace(policy);
        smaller
    };
    policies.into_iter().map(with).collect()
}

fn less_of_a_direction(list: Option<&[Rule]>) -> Vec<Option<Vec<Rule>>> {
    let Some(list) = list else { return Vec::new() };
    std::iter::once(None).chain(less_of_rules(list).into_iter().map(Some)).collect()
}

fn less_of_rules(list: &[Rule]) -> Vec<Vec<Rule>> {
    let in_a_rule = |rule: &Rule| {
        let peers = match &rule.peers {
            Peers::AnyOf(peers) if peers.len() > 1 => less(peers),
            _ => Vec::new(),
        };
        let ports = match &rule.ports {
            Ports::AnyOf(ports) if ports.len() > 1 => less(ports),
            _ => Vec::new(),
        };
        let peers = peers.into_iter().map(|peers| Rule { peers: peers.into(), ..rule.clone() });
        let ports = ports.into_iter().map(|ports| Rule { ports: ports.into(), ..rule.clone() });
        peers.chain(ports).collect()
    };
    less(list).into_iter().chain(with_one_replaced(list, in_a_rule)).collect()
}

fn less_of_cluster_rules(list: &[ClusterRule]) -> Vec<Vec<ClusterRule>> {
    let in_a_rule = |rule: &ClusterRule| {
        let peers = if rule.peers.len() > 1 { less(&rule.peers) } else { Vec::new() };
        let ports = match &rule.ports {
            ClusterPorts::AnyOf(ports) if ports.len() > 1 => less(ports),
            _ => Vec::new(),
        };
        let peers = peers.into_iter().map(|peers| ClusterRule { peers, ..rule.clone() });
        let ports = ports
            .into_iter()
            .map(|ports| ClusterRule { ports: ClusterPorts::AnyOf(ports), ..rule.clone() });
        peers.chain(ports).collect()
    };
    less(list).into_iter().chain(with_one_replaced(list, in_a_rule)).collect()
}

/// The list without its first, its second and so on.
fn less<T: Clone>(list: &[T]) -> Vec<Vec<T>> {
    (0..list.len())
        .map(|gone| {
            let kept = list.iter().zip(0usize..).filter(|(_, place)| *place != gone);
            kept.map(|(item, _)| item.clone()).collect()
        })
        .collect()
}

/// The list with one item replaced, for each item and each that it may be replaced with.
fn with_one_replaced<T: Clone>(list: &[T], others: impl Fn(&T) -> Vec<T>) -> Vec<Vec<T>> {
    let mut lists = Vec::new();
    for (place, item) in list.iter().enumerate() {
        for other in others(item) {
            let mut list = list.to_vec();
            if let Some(item) = list.get_mut(place) {
                *item = other;
            }
            lists.push(list);
        }
    }
    lists
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, ClusterPeer};
    use crate::oracle::generate::cluster;

    /// Rules that pass to a peer of a kind unknown: the only thing wrong with a cluster.
    fn strange_rules(rules: &RuleSet) -> Vec<&ClusterRule> {
        let lists = rules.cluster_network_policies().flat_map(|it| [&it.ingress, &it.egress]);
        let is_unknown = |peer: &ClusterPeer| matches!(peer, ClusterPeer::Unknown(_));
        lists
            .flatten()
            .filter(|rule| rule.action == Action::Pass && rule.peers.iter().any(is_unknown))
            .collect()
    }

    #[test]
    fn only_what_is_wrong_is_left() {
        let is_wrong = |rules: &RuleSet| !strange_rules(rules).is_empty();
        let rules = (0..).map(cluster).find(is_wrong).unwrap();
        let least = shrink(&rules, is_wrong);
        assert_eq!(least.len(), 1, "{least:#?}");
        let [rule] = strange_rules(&least)[..] else { panic!("{least:#?}") };
        assert_eq!(rule.peers.len(), 1);
        let policy = least.cluster_network_policies().next().unwrap();
        assert_eq!(policy.ingress.len() + policy.egress.len(), 1);
    }
}
