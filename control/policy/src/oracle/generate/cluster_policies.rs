//! ClusterNetworkPolicies of both tiers, of equal and of differing priorities.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::blocks::net;
use super::labels::{OF_NAMESPACES_AND_NAMES, OF_NODES, OF_PODS, selector};
use super::objects::{PORT_NAMES, labels_around, port_range, protocol};
use super::random::Random;
use crate::model::{
    Action, ClusterNetworkPolicy, ClusterPeer, ClusterPort, ClusterPorts, ClusterRule,
    LabelSelector, NamespacedPods, Node, PRIORITY_MAX, Pod, PolicyType, RuleSet, Tier,
};
use crate::validate::canonical_net;

/// A name that no ClusterNetworkPolicy has; its place among them is anywhere.
pub(super) fn free_name(random: &mut Random, rules: &RuleSet) -> String {
    let first = random.below(100);
    let is_free =
        |name: &String| rules.cluster_network_policies().all(|policy| policy.name != *name);
    (first..).map(|place| format!("cnp{place}")).find(is_free).unwrap_or_default()
}

pub(super) fn policy(random: &mut Random, rules: &RuleSet, name: String) -> ClusterNetworkPolicy {
    ClusterNetworkPolicy {
        name,
        tier: tier(random),
        priority: priority(random),
        subject: pods(random, rules),
        ingress: random.some(0, 4, |random| rule(random, rules, PolicyType::Ingress)),
        egress: random.some(0, 4, |random| rule(random, rules, PolicyType::Egress)),
    }
}

pub(super) fn tier(random: &mut Random) -> Tier {
    if random.chance(50) { Tier::Admin } else { Tier::Baseline }
}

pub(super) fn priority(random: &mut Random) -> u16 {
    match random.below(3) {
        0 => random.between(0, PRIORITY_MAX),
        _ => random.one(&[0, 5, 5, 5, 10, PRIORITY_MAX]),
    }
}

pub(super) fn action(random: &mut Random) -> Action {
    match random.below(3) {
        0 => Action::Accept,
        1 => Action::Deny,
        _ => Action::Pass,
    }
}

pub(super) fn rule(random: &mut Random, rules: &RuleSet, direction: PolicyType) -> ClusterRule {
    let mut peers = random.some(1, 3, |random| peer(random, rules, direction));
    if random.chance(4) {
        let place = random.below(peers.len() + 1);
        peers.insert(place, ClusterPeer::Unknown("domainNames".to_owned()));
    }
    // Neither nodes nor addresses give names to ports, and Kubernetes refuses to pretend so.
    let has_names = peers.iter().all(|peer| matches!(peer, ClusterPeer::Pods(_)));
    let ports = if random.chance(45) {
        ClusterPorts::All
    } else {
        ClusterPorts::AnyOf(random.some(1, 3, |random| port(random, has_names)))
    };
    let name = if random.chance(50) { "a rule".to_owned() } else { String::new() };
    ClusterRule { name, action: action(random), peers, ports }
}

fn peer(random: &mut Random, rules: &RuleSet, direction: PolicyType) -> ClusterPeer {
    match (direction, random.below(10)) {
        (PolicyType::Egress, 0..=1) => {
            let nodes: Vec<&Node> = rules.nodes().collect();
            let labels = random.pick(&nodes).map(|node| node.labels.clone()).unwrap_or_default();
            ClusterPeer::Nodes(selector(random, OF_NODES, &labels))
        }
        (PolicyType::Egress, 2..=5) => {
            let mut nets: Vec<IpNet> = random.some(1, 3, |random| net(random, rules));
            // The same network twice is a fault, in whatever notation.
            let mut seen = BTreeSet::new();
            nets.retain(|net| seen.insert(canonical_net(*net)));
            ClusterPeer::Networks(nets)
        }
        _ => ClusterPeer::Pods(pods(random, rules)),
    }
}

pub(super) fn pods(random: &mut Random, rules: &RuleSet) -> NamespacedPods {
    let all: Vec<&Pod> = rules.pods().collect();
    let (around, own) = labels_around(rules, random.pick(&all).copied());
    let everything = LabelSelector::everything;
    let namespaces = selector(random, OF_NAMESPACES_AND_NAMES, &around);
    let pods = selector(random, OF_PODS, &own);
    match random.below(3) {
        0 => NamespacedPods { namespaces, pods: everything() },
        1 => NamespacedPods { namespaces: everything(), pods },
        _ => NamespacedPods { namespaces, pods },
    }
}

fn port(random: &mut Random, has_names: bool) -> ClusterPort {
    if has_names && random.chance(40) {
        return ClusterPort::Named(random.one(&PORT_NAMES).to_owned());
    }
    let (first, last) = port_range(random);
    ClusterPort::Range { protocol: protocol(random), first, last }
}
