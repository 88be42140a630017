//! NetworkPolicies that select pods of a rule set, most of them.

use super::blocks::{block, filler};
use super::labels::{OF_NAMESPACES_AND_NAMES, OF_PODS, selector};
use super::objects::{PORT_NAMES, PORTS, labels_around, namespace_name, port_range, protocol};
use super::random::Random;
use crate::model::{NetworkPolicy, Peer, Pod, PolicyPort, Port, Rule, RuleSet};

pub(super) fn policy(random: &mut Random, rules: &RuleSet, name: String) -> NetworkPolicy {
    let pods: Vec<&Pod> = rules.pods().collect();
    let subject = random.pick(&pods).copied();
    let namespace = match subject {
        Some(pod) if random.chance(90) => pod.namespace.clone(),
        _ => namespace_name(random, rules),
    };
    let (_, own) = labels_around(rules, subject);
    NetworkPolicy {
        namespace,
        name,
        pod_selector: selector(random, OF_PODS, &own),
        ingress: direction(random, rules),
        egress: direction(random, rules),
    }
}

/// The rules of one direction, or `None` where the policy has no say in it.
pub(super) fn direction(random: &mut Random, rules: &RuleSet) -> Option<Vec<Rule>> {
    random.chance(65).then(|| random.some(0, 4, |random| rule(random, rules)))
}

pub(super) fn rule(random: &mut Random, rules: &RuleSet) -> Rule {
    let mut peers = Vec::new();
    for _ in 0..random.one(&[0, 1, 1, 1, 2, 2, 3]) {
        let peer = peer(random, rules);
        let refilled = match &peer {
            Peer::Block(block) if random.chance(35) => filler(random, rules, block),
            _ => None,
        };
        peers.push(peer);
        peers.extend(refilled.map(Peer::Block));
    }
    let ports = match random.below(10) {
        0..=2 => Vec::new(),
        _ => random.some(1, 4, port),
    };
    Rule { peers: peers.into(), ports: ports.into() }
}

fn peer(random: &mut Random, rules: &RuleSet) -> Peer {
    if random.chance(40) {
        return Peer::Block(block(random, rules));
    }
    let pods: Vec<&Pod> = rules.pods().collect();
    let (around, own) = labels_around(rules, random.pick(&pods).copied());
    let pods = selector(random, OF_PODS, &own);
    let namespaces = selector(random, OF_NAMESPACES_AND_NAMES, &around);
    let (pods, namespaces) = match random.below(3) {
        0 => (Some(pods), None),
        1 => (None, Some(namespaces)),
        _ => (Some(pods), Some(namespaces)),
    };
    Peer::Selectors { pods, namespaces }
}

fn port(random: &mut Random) -> PolicyPort {
    let (first, last) = port_range(random);
    let port = match random.below(10) {
        0 => Port::All,
        1..=3 => Port::Number(random.one(&PORTS)),
        4..=6 => Port::Range { first, last },
        _ => Port::Named(random.one(&PORT_NAMES).to_owned()),
    };
    PolicyPort { protocol: protocol(random), port }
}
