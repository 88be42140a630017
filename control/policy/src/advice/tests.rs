//! Advice on random rule sets: what is called needless can be left out, and no verdict changes;
//! what is called open is open. The run fails if some kind of advice was never given.

mod holes;
mod world;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sluice_core::address::NetworkId;
use sluice_core::policy::{Attempt, DYNAMIC_PORT, Reason};
use sluice_core::ports::{ICMP, TCP, UDP};
use sluice_core::table::Table;

use self::world::{any_rule_set, v4};
use super::*;
use crate::compile::{CompileOptions, compile};
use crate::model::{
    ClusterNetworkPolicy, ClusterPorts, Kind, NetworkPolicy, Object, ObjectKey, Peers, Ports,
};

/// What may be done with what an advice speaks of, so that nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Cut {
    Policy,
    Direction { ingress: bool },
    Rule { ingress: bool, rule: usize },
    Peer { ingress: bool, rule: usize, peer: usize },
    Port { ingress: bool, rule: usize, port: usize },
}

#[test]
fn what_is_needless_can_be_left_out() {
    let reached = RefCell::new(BTreeSet::new());
    let mut runner = TestRunner::new(Config { cases: 800, ..Config::default() });
    runner
        .run(&any_rule_set(), |rules| {
            let advice = advise(&rules);
            reached.borrow_mut().extend(advice.iter().map(kind));
            let before = verdicts(&rules, &rules);
            let cuts = cuts(&rules, &advice);
            let mut without = rules.clone();
            for (key, cuts) in &cuts {
                let alone = cut(rules.clone(), key, cuts);
                prop_assert!(before == verdicts(&rules, &alone), "{} {:?}", key, cuts);
                without = cut(without, key, cuts);
            }
            prop_assert!(before == verdicts(&rules, &without), "{:#?} {:#?}", cuts, advice);
            ties(&rules, &advice)
        })
        .unwrap();
    let reached = reached.into_inner();
    for kind in [
        "podSelector: selects no pod",
        "podSelector: matches no pod",
        "namespaceSelector: matches no pod",
        "nodes: matches no node",
        "spec: redundant",
        "spec: redundant, as the pods are now",
        "ingress: redundant",
        "egress: redundant",
        "egress: never decides",
        "ingress: never decides, as the pods are now",
        "egress: has no effect",
        "ingress: has no effect",
        "destinationNamedPort: no pod that this policy selects",
        "port: no pod that this rule means",
        "priority: ClusterNetworkPolicy cluster0",
    ] {
        assert!(reached.contains(kind), "never given: {kind}\n{reached:#?}");
    }
}

/// The last part of the field, and how the remark begins.
fn kind(advice: &Advice) -> String {
    let field = advice.field.rsplit('.').next().unwrap().split('[').next().unwrap();
    let ends = [":", " has "].map(|end| advice.remark.find(end).unwrap_or(usize::MAX));
    let end = ends[0].min(ends[1]);
    let end = if advice.remark.starts_with("has") { ends[0] } else { end };
    format!("{field}: {}", &advice.remark[..end])
}

/// What may be left out, by object.
fn cuts(rules: &RuleSet, advice: &[Advice]) -> BTreeMap<ObjectKey, BTreeSet<Cut>> {
    let keys: BTreeMap<String, ObjectKey> =
        rules.clone().into_objects().map(|it| (it.key().to_string(), it.key())).collect();
    let mut cuts: BTreeMap<ObjectKey, BTreeSet<Cut>> = BTreeMap::new();
    for it in advice {
        let key = keys[&it.object].clone();
        let numbers: Vec<usize> =
            it.field.split(['[', ']']).filter_map(|part| part.parse().ok()).collect();
        let ingress = it.field.starts_with("spec.ingress");
        let ports = it.field.contains(".ports[") || it.field.contains(".protocols[");
        let except = it.field.contains(".except[");
        let subject = it.remark.starts_with("selects no pod");
        let cut = match *numbers {
            _ if except || it.field == "spec.priority" => continue,
            [] if subject || it.field == "spec" => Cut::Policy,
            [] => Cut::Direction { ingress },
            [rule] => Cut::Rule { ingress, rule },
            [rule, port] if ports => Cut::Port { ingress, rule, port },
            [rule, peer] => Cut::Peer { ingress, rule, peer },
            _ => panic!("{it:?}"),
        };
        cuts.entry(key).or_default().insert(cut);
    }
    cuts
}

fn cut(mut rules: RuleSet, key: &ObjectKey, cuts: &BTreeSet<Cut>) -> RuleSet {
    let Some(object) = rules.remove(key) else { return rules };
    if cuts.contains(&Cut::Policy) {
        return rules;
    }
    rules.replace(match object {
        Object::NetworkPolicy(it) => Object::from(cut_policy(it, cuts)),
        Object::ClusterNetworkPolicy(it) => Object::from(cut_cluster_policy(it, cuts)),
        _ => panic!("{key}"),
    });
    rules
}

fn cut_policy(mut policy: NetworkPolicy, cuts: &BTreeSet<Cut>) -> NetworkPolicy {
    for (ingress, list) in [(true, &mut policy.ingress), (false, &mut policy.egress)] {
        let Some(rules) = list else { continue };
        let mut place = 0..;
        rules.retain_mut(|it| {
            let rule = place.next().unwrap();
            let mut left = !cuts.contains(&Cut::Rule { ingress, rule });
            if let Peers::AnyOf(peers) = &mut it.peers {
                let mut places = 0..;
                peers.retain(|_| {
                    let peer = places.next().unwrap();
                    !cuts.contains(&Cut::Peer { ingress, rule, peer })
                });
                left &= !peers.is_empty();
            }
            if let Ports::AnyOf(ports) = &mut it.ports {
                let mut places = 0..;
                ports.retain(|_| {
                    let port = places.next().unwrap();
                    !cuts.contains(&Cut::Port { ingress, rule, port })
                });
                left &= !ports.is_empty();
            }
            left
        });
    }
    policy
}

fn cut_cluster_policy(
    mut policy: ClusterNetworkPolicy,
    cuts: &BTreeSet<Cut>,
) -> ClusterNetworkPolicy {
    for (ingress, rules) in [(true, &mut policy.ingress), (false, &mut policy.egress)] {
        if cuts.contains(&Cut::Direction { ingress }) {
            rules.clear();
        }
        let mut place = 0..;
        rules.retain_mut(|it| {
            let rule = place.next().unwrap();
            let mut places = 0..;
            it.peers.retain(|_| {
                let peer = places.next().unwrap();
                !cuts.contains(&Cut::Peer { ingress, rule, peer })
            });
            let mut left = !cuts.contains(&Cut::Rule { ingress, rule }) && !it.peers.is_empty();
            if let ClusterPorts::AnyOf(ports) = &mut it.ports {
                let mut places = 0..;
                ports.retain(|_| {
                    let port = places.next().unwrap();
                    !cuts.contains(&Cut::Port { ingress, rule, port })
                });
                left &= !ports.is_empty();
            }
            left
        });
    }
    policy
}

/// Two of equal priority that are said to disagree answer otherwise if they change names.
fn ties(rules: &RuleSet, advice: &[Advice]) -> Result<(), TestCaseError> {
    for it in advice.iter().filter(|it| it.field == "spec.priority") {
        let key = |object: &str| ObjectKey {
            kind: Kind::ClusterNetworkPolicy,
            namespace: None,
            name: object.trim_start_matches("ClusterNetworkPolicy ").to_owned(),
        };
        let (first, _) = it.remark.split_once(" has priority").unwrap();
        let mut swapped = rules.clone();
        let pair = [&it.object, first].map(|object| swapped.remove(&key(object)).unwrap());
        let [Object::ClusterNetworkPolicy(mut a), Object::ClusterNetworkPolicy(mut b)] = pair
        else {
            panic!("{it:?}")
        };
        std::mem::swap(&mut a.name, &mut b.name);
        swapped.insert(a).unwrap();
        swapped.insert(b).unwrap();
        prop_assert!(reasons(rules) != reasons(&swapped), "{:?}", it);
    }
    Ok(())
}

fn table(rules: &RuleSet) -> Table {
    compile(rules, &CompileOptions::default()).unwrap()
}

/// What each end says of every attempt that the rules of `all` could tell from another.
fn verdicts(all: &RuleSet, rules: &RuleSet) -> Vec<(bool, bool)> {
    let table = table(rules);
    let decide = |attempt: Attempt| {
        let decision = table.decide(&attempt);
        (decision.egress.allows(), decision.ingress.allows())
    };
    attempts(all).map(decide).collect()
}

/// Who decides each attempt: the tier, if one does.
fn reasons(rules: &RuleSet) -> Vec<[String; 2]> {
    let table = table(rules);
    let word = |reason: Reason| match reason {
        Reason::Accepted(tier, _) => format!("accepted {tier:?}"),
        Reason::Denied(tier, _) => format!("denied {tier:?}"),
        other => format!("{other:?}"),
    };
    let decide = |attempt: Attempt| {
        let decision = table.decide(&attempt);
        [word(decision.egress), word(decision.ingress)]
    };
    attempts(rules).map(decide).collect()
}

fn attempts(rules: &RuleSet) -> impl Iterator<Item = Attempt> {
    let pods = rules.pods().flat_map(|pod| pod.addresses.clone());
    let edges = [0, 2, 3, 4, 7, 8, 101, 102, 255].map(v4);
    let outside =
        ["fd00::", "fd00::3", "fd00::4", "192.0.2.1"].map(|it| it.parse::<IpAddr>().unwrap());
    let addresses: BTreeSet<IpAddr> = pods.chain(edges).chain(outside).collect();
    let ports = [79, 80, 81, 82, 83, 84, 85];
    let ports = ports.map(|port| [(TCP, Some(port)), (UDP, Some(port))]).into_iter().flatten();
    let services: Vec<_> = ports.chain([(ICMP, None)]).collect();
    let others = addresses.clone();
    let pairs = addresses
        .into_iter()
        .flat_map(move |a| others.clone().into_iter().map(move |b| (a, b)))
        .filter(|(a, b)| a.is_ipv4() == b.is_ipv4());
    pairs.flat_map(move |(source, destination)| {
        let network = NetworkId::DEFAULT;
        services.clone().into_iter().map(move |(protocol, port)| Attempt {
            network,
            source,
            destination,
            protocol,
            source_port: port.map(|_| DYNAMIC_PORT),
            port,
        })
    })
}
