//! Changes of rule sets, as a cluster makes them.

use super::labels::{NAMESPACE_NAMES, OF_NODES, OF_PODS, labels, selector};
use super::objects::NODE_NAMES;
use super::random::Random;
use super::{access_lists, cluster_policies, network_policies, objects};
use crate::model::{
    Change, ClusterNetworkPolicy, Name, Namespace, NetworkPolicy, Node, Object, Pod, PolicyType,
    RuleSet,
};
use crate::validate::validate;

/// Of each kind so many objects, and no more are made.
const PODS: std::ops::RangeInclusive<usize> = 3..=16;
const NETWORK_POLICIES_MAX: usize = 10;
const CLUSTER_POLICIES_MAX: usize = 6;
const RULES_MAX: usize = 6;

/// How often an edit is tried that leads nowhere, such as taking a pod from where none is.
const TRIES_MAX: usize = 200;

/// A change that turns `rules`, which is valid, into another valid rule set of about its size.
///
/// Most are one thing that happens in a cluster, the others up to five at once: a pod joins,
/// leaves, terminates, moves, is relabelled, or hands its addresses on; a namespace, a node or a
/// policy is made, edited or removed.
#[must_use]
pub fn change(rules: &RuleSet, seed: u64) -> Change {
    let random = &mut Random::new(seed, "change");
    let mut edits = if random.chance(70) { 1 } else { random.between(2u8, 5) };
    let mut after = rules.clone();
    for _ in 0..TRIES_MAX {
        let mut edited = after.clone();
        edit(random, &mut edited);
        if edited != after && validate(&edited).is_empty() {
            after = edited;
            edits = edits.saturating_sub(1);
        }
        // Edits may undo each other; that would be no change.
        if edits == 0 && after != *rules {
            break;
        }
    }
    rules.change_to(&after)
}

fn edit(random: &mut Random, rules: &mut RuleSet) {
    match random.below(20) {
        0..=2 => edit_namespaces(random, rules),
        3..=5 => edit_nodes(random, rules),
        6..=8 => edit_network_policies(random, rules),
        9..=11 => edit_cluster_policies(random, rules),
        12 | 13 => edit_access_lists(random, rules),
        _ => edit_pods(random, rules),
    }
}

fn edit_pods(random: &mut Random, rules: &mut RuleSet) {
    let pods: Vec<Pod> = rules.pods().cloned().collect();
    let Some(mut pod) = random.pick(&pods).filter(|_| random.chance(85)).cloned() else {
        if pods.len() < *PODS.end() {
            let pod = objects::new_pod(random, rules);
            rules.replace(pod);
        }
        return;
    };
    match random.below(9) {
        0 => {
            if pods.len() > *PODS.start() {
                rules.remove(&Object::from(pod).key());
            }
            return;
        }
        1 => return hand_on(random, rules, pod),
        2 => return swap_addresses(random, rules, pod),
        3 => pod.labels = labels(random, OF_PODS),
        4 => pod.addresses = objects::pod_addresses(random, rules, &pod),
        5 => pod.terminated = true,
        6 => pod.named_ports = objects::named_ports(random),
        7 if !pod.host_network => {
            pod.node = random.pick(&NODE_NAMES).map(|&name| name.to_owned());
        }
        _ => pod = objects::pod(random, rules, pod.key()),
    }
    rules.replace(pod);
}

/// The pod ends, and a new one has its addresses.
fn hand_on(random: &mut Random, rules: &mut RuleSet, mut old: Pod) {
    let mut new = objects::new_pod(random, rules);
    if old.host_network {
        return;
    }
    (new.host_network, new.terminated) = (false, false);
    new.addresses.clone_from(&old.addresses);
    if random.chance(50) {
        old.terminated = true;
        rules.replace(old);
    } else {
        rules.remove(&Object::from(old).key());
    }
    rules.replace(new);
}

fn swap_addresses(random: &mut Random, rules: &mut RuleSet, mut a: Pod) {
    let others: Vec<&Pod> =
        rules.pods().filter(|b| !b.host_network && !a.host_network && b.key() != a.key()).collect();
    let Some(mut b) = random.pick(&others).copied().cloned() else { return };
    std::mem::swap(&mut a.addresses, &mut b.addresses);
    rules.replace(a);
    rules.replace(b);
}

fn edit_namespaces(random: &mut Random, rules: &mut RuleSet) {
    let all: Vec<Namespace> = rules.namespaces().cloned().collect();
    let Some(namespace) = random.pick(&all).filter(|_| random.chance(75)).cloned() else {
        let name = random.one(&NAMESPACE_NAMES);
        let namespace = objects::namespace(random, name);
        rules.replace(namespace);
        return;
    };
    match random.below(4) {
        0 => {
            rules.remove(&Object::from(namespace).key());
        }
        1 => remove_with_all_in_it(rules, &namespace),
        _ => {
            let relabelled = objects::namespace(random, &namespace.name);
            rules.replace(relabelled);
        }
    }
}

fn remove_with_all_in_it(rules: &mut RuleSet, namespace: &Namespace) {
    let within = Some(&namespace.name);
    for object in rules.clone().into_objects() {
        let key = object.key();
        if key.namespace.as_ref() == within || object == Object::from(namespace.clone()) {
            rules.remove(&key);
        }
    }
}

fn edit_nodes(random: &mut Random, rules: &mut RuleSet) {
    let name = random.one(&NODE_NAMES);
    let node = match (rules.node(name).cloned(), random.below(4)) {
        (Some(node), 0) => {
            rules.remove(&Object::from(node).key());
            return;
        }
        (Some(node), 1 | 2) => Node { labels: labels(random, OF_NODES), ..node },
        (None, _) | (Some(_), _) => objects::node(random, name),
    };
    rules.replace(node);
}

fn edit_network_policies(random: &mut Random, rules: &mut RuleSet) {
    let all: Vec<NetworkPolicy> = rules.network_policies().cloned().collect();
    let Some(mut policy) = random.pick(&all).filter(|_| random.chance(75)).cloned() else {
        if all.len() < NETWORK_POLICIES_MAX {
            add_network_policy(random, rules);
        }
        return;
    };
    match random.below(6) {
        0 => {
            rules.remove(&Object::from(policy).key());
            return;
        }
        1 => {
            let pods = rules.pods().filter(|pod| pod.namespace == policy.namespace);
            let pods: Vec<&Pod> = pods.collect();
            let own = random.pick(&pods).map(|pod| pod.labels.clone()).unwrap_or_default();
            policy.pod_selector = selector(random, OF_PODS, &own);
        }
        2 => policy.ingress = network_policies::direction(random, rules),
        3 => policy.egress = network_policies::direction(random, rules),
        place => {
            let list = if place == 4 { &mut policy.ingress } else { &mut policy.egress };
            let list = list.get_or_insert_default();
            edit_list(random, list, |random| network_policies::rule(random, rules));
        }
    }
    rules.replace(policy);
}

fn add_network_policy(random: &mut Random, rules: &mut RuleSet) {
    let mut policy = network_policies::policy(random, rules, String::new());
    let is_free = |name: &String| {
        let key = Name { namespace: policy.namespace.clone(), name: name.clone() };
        rules.network_policies().all(|other| other.key() != key)
    };
    let names = (0..).map(|place: u32| format!("np{place}"));
    policy.name = names.into_iter().find(is_free).unwrap_or_default();
    rules.replace(policy);
}

fn edit_cluster_policies(random: &mut Random, rules: &mut RuleSet) {
    let all: Vec<ClusterNetworkPolicy> = rules.cluster_network_policies().cloned().collect();
    let Some(mut policy) = random.pick(&all).filter(|_| random.chance(75)).cloned() else {
        if all.len() < CLUSTER_POLICIES_MAX {
            let name = cluster_policies::free_name(random, rules);
            let policy = cluster_policies::policy(random, rules, name);
            rules.replace(policy);
        }
        return;
    };
    match random.below(8) {
        0 => {
            rules.remove(&Object::from(policy).key());
            return;
        }
        1 => policy.tier = cluster_policies::tier(random),
        2 => policy.priority = cluster_policies::priority(random),
        3 => policy.subject = cluster_policies::pods(random, rules),
        place => {
            let (list, direction) = if place % 2 == 0 {
                (&mut policy.ingress, PolicyType::Ingress)
            } else {
                (&mut policy.egress, PolicyType::Egress)
            };
            let place = random.below(list.len());
            match list.get_mut(place).filter(|_| random.chance(30)) {
                Some(rule) => rule.action = cluster_policies::action(random),
                None => edit_list(random, list, |random| {
                    cluster_policies::rule(random, rules, direction)
                }),
            }
        }
    }
    rules.replace(policy);
}

fn edit_access_lists(random: &mut Random, rules: &mut RuleSet) {
    let name = random.one(&access_lists::NAMES);
    let Some(mut list) = rules.access_list(name).filter(|_| random.chance(85)).cloned() else {
        let list = access_lists::access_list(random, rules, name);
        rules.replace(list);
        return;
    };
    if random.chance(10) {
        rules.remove(&Object::from(list).key());
        return;
    }
    let priority = random.between(1u32, 40);
    match list.rules.binary_search_by_key(&priority, |rule| rule.priority) {
        Ok(at) if random.chance(50) => {
            list.rules.remove(at);
        }
        Ok(at) => {
            list.rules.splice(at..=at, [access_lists::rule(random, rules, priority)]).for_each(drop)
        }
        Err(at) => list.rules.insert(at, access_lists::rule(random, rules, priority)),
    }
    rules.replace(list);
}

/// Puts an item in, takes one out, replaces one, or swaps two.
fn edit_list<T>(random: &mut Random, list: &mut Vec<T>, make: impl FnOnce(&mut Random) -> T) {
    let (a, b) = (random.below(list.len()), random.below(list.len()));
    match random.below(4) {
        0 if !list.is_empty() => {
            list.remove(a);
        }
        1 if !list.is_empty() => list.swap(a, b),
        2 => {
            if let Some(item) = list.get_mut(a) {
                *item = make(random);
            }
        }
        _ if list.len() < RULES_MAX => {
            let place = random.below(list.len() + 1);
            list.insert(place, make(random));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::IpAddr;

    use super::*;
    use crate::model::ObjectKey;
    use crate::oracle::generate::{LOCAL_NODE, cluster};

    fn apply(rules: &mut RuleSet, change: &Change) {
        for key in &change.removals {
            assert!(rules.remove(key).is_some(), "{key} is not there");
        }
        for object in &change.upserts {
            let before = rules.replace(object.clone());
            assert_ne!(before.as_ref(), Some(object), "nothing changes");
        }
    }

    /// Nodes and pods in their networks may share an address, but no two nodes may.
    fn nodes_by_address(rules: &RuleSet) -> BTreeMap<IpAddr, BTreeSet<String>> {
        let mut nodes: BTreeMap<IpAddr, BTreeSet<String>> = BTreeMap::new();
        let mut add = |name: &str, addresses: &[IpAddr]| {
            for address in addresses {
                nodes.entry(address.to_canonical()).or_default().insert(name.to_owned());
            }
        };
        rules.nodes().for_each(|node| add(&node.name, &node.addresses));
        for pod in rules.pods().filter(|pod| pod.host_network && !pod.terminated) {
            add(pod.node.as_deref().unwrap_or(LOCAL_NODE), &pod.addresses);
        }
        nodes
    }

    /// What a change does, by name.
    fn effects(rules: &RuleSet, change: &Change) -> BTreeSet<String> {
        let mut effects = BTreeSet::new();
        if change.upserts.len() + change.removals.len() > 2 {
            effects.insert("several at once".to_owned());
        }
        for key in &change.removals {
            effects.insert(format!("{} removed", key.kind));
        }
        for object in &change.upserts {
            let kind = object.key().kind;
            let is_there = rules.contains(&object.key());
            effects.insert(format!("{kind} {}", if is_there { "edited" } else { "made" }));
            let Object::Pod(pod) = object else { continue };
            let Some(before) = rules.pods().find(|before| before.key() == pod.key()) else {
                let had = |old: &Pod| !old.terminated && old.addresses == pod.addresses;
                if !pod.host_network && !pod.addresses.is_empty() && rules.pods().any(had) {
                    effects.insert("addresses handed on".to_owned());
                }
                continue;
            };
            let kept = (&before.labels, &before.addresses, before.terminated)
                == (&pod.labels, &pod.addresses, pod.terminated);
            for (effect, is_so) in [
                ("pod relabelled", before.labels != pod.labels),
                ("pod gets its address", before.addresses.is_empty() && !kept),
                ("pod terminates", !before.terminated && pod.terminated),
                ("pod moves", before.node != pod.node && kept),
                ("ports renamed", before.named_ports != pod.named_ports && kept),
            ] {
                if is_so {
                    effects.insert(effect.to_owned());
                }
            }
        }
        effects
    }

    #[test]
    fn every_change_is_one_and_leads_to_a_valid_rule_set() {
        let mut seen = BTreeSet::new();
        for seed in 0..100 {
            let mut rules = cluster(seed);
            for step in 0..30 {
                let at = format!("seed {seed}, step {step}");
                let change = change(&rules, seed * 1000 + step);
                assert!(!change.is_empty(), "{at}");
                let keys = change.upserts.iter().map(Object::key);
                let keys: Vec<ObjectKey> = keys.chain(change.removals.clone()).collect();
                assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "{at}");
                seen.extend(effects(&rules, &change));
                apply(&mut rules, &change);
                assert_eq!(validate(&rules), [], "{at}");
                let shared = nodes_by_address(&rules).into_iter().find(|(_, it)| it.len() > 1);
                assert_eq!(shared, None, "{at}");
                assert!(rules.len() < 60, "{at}: the cluster only grows");
            }
        }
        let kinds =
            ["Namespace", "Pod", "Node", "NetworkPolicy", "ClusterNetworkPolicy", "AccessList"];
        let mut wanted: BTreeSet<String> = kinds
            .iter()
            .flat_map(|kind| ["made", "edited", "removed"].map(|what| format!("{kind} {what}")))
            .collect();
        for effect in [
            "several at once",
            "addresses handed on",
            "pod relabelled",
            "pod gets its address",
            "pod terminates",
            "pod moves",
            "ports renamed",
        ] {
            wanted.insert(effect.to_owned());
        }
        assert_eq!(seen, wanted);
    }

    #[test]
    fn the_same_seed_makes_the_same_change() {
        let rules = cluster(1);
        assert_eq!(change(&rules, 2), change(&cluster(1), 2));
        assert_ne!(change(&rules, 2), change(&rules, 3));
    }
}
