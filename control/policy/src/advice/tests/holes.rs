//! A hole is told to be open where some pod may use it, and only there.

use std::cell::Cell;

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sluice_core::policy::Attempt;

use super::super::advise;
use super::world::any_rule_set;
use super::{attempts, table};
use crate::model::{
    LabelSelector, NetworkPolicy, Object, Peer, Peers, Pod, PolicyPort, Port, Ports, Rule, RuleSet,
};

#[test]
fn a_hole_is_told_to_be_open_where_it_is() {
    let (open, closed) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(Config { cases: 400, ..Config::default() });
    runner
        .run(&(any_rule_set(), any::<bool>()), |(rules, alike)| {
            let rules = simpler(rules, alike);
            let told = advise(&rules);
            let table = table(&rules);
            let decided: Vec<_> = attempts(&rules).map(|it| (it, table.decide(&it))).collect();
            for hole in holes(&rules) {
                let object = Object::from(hole.policy.clone()).key().to_string();
                let is_told = told.iter().any(|it| it.object == object && it.field == hole.field);
                let mut used = decided.iter().filter(|(attempt, decision)| {
                    let side = if hole.ingress { decision.ingress } else { decision.egress };
                    side.allows() && hole.concerns(&rules, attempt)
                });
                let is_open = used.next().is_some();
                // Without a pod that both select, it is told only of what is sure to have one.
                prop_assert!(is_told || !is_open, "{} {}: {:#?}", object, hole.field, told);
                prop_assert!(is_open || !is_told || !alike, "{} {}", object, hole.field);
                let count = if is_open { &open } else { &closed };
                count.set(count.get() + 1);
            }
            Ok(())
        })
        .unwrap();
    assert!(open.get() > 20 && closed.get() > 20, "{open:?} {closed:?}");
}

/// Only NetworkPolicies, and pods outside of all blocks that give their ports no names. If they are
/// to be `alike`, each policy selects all pods of its namespace, and there are some.
fn simpler(rules: RuleSet, alike: bool) -> RuleSet {
    let mut simpler = RuleSet::default();
    for (object, last) in rules.into_objects().zip(1u8..) {
        match object {
            Object::ClusterNetworkPolicy(_) => {}
            Object::Pod(pod) if pod.host_network => {}
            Object::Pod(mut pod) => {
                pod.addresses = vec![[10, 0, 1, last].into()];
                pod.named_ports.clear();
                simpler.insert(pod).unwrap();
            }
            Object::NetworkPolicy(mut policy) => {
                if alike {
                    policy.pod_selector = LabelSelector::everything();
                }
                simpler.insert(policy).unwrap();
            }
            other => simpler.insert(other).unwrap(),
        }
    }
    if alike {
        for (namespace, last) in [("x", 201), ("y", 202), ("z", 203)] {
            let pod = Pod::new(namespace, "one").with_address([10, 0, 1, last].into());
            simpler.insert(pod).unwrap();
        }
    }
    simpler
}

struct Hole<'a> {
    policy: &'a NetworkPolicy,
    field: String,
    ingress: bool,
    rule: &'a Rule,
    net: IpNet,
}

fn holes(rules: &RuleSet) -> Vec<Hole<'_>> {
    let mut holes = Vec::new();
    for policy in rules.network_policies() {
        for (ingress, list) in [(true, &policy.ingress), (false, &policy.egress)] {
            for (place, rule) in list.iter().flatten().enumerate() {
                let Peers::AnyOf(peers) = &rule.peers else { continue };
                for (number, peer) in peers.iter().enumerate() {
                    let Peer::Block(block) = peer else { continue };
                    for (index, net) in block.except.iter().enumerate() {
                        let at = if ingress { "ingress" } else { "egress" };
                        let peers = if ingress { "from" } else { "to" };
                        let field =
                            format!("spec.{at}[{place}].{peers}[{number}].ipBlock.except[{index}]");
                        holes.push(Hole { policy, field, ingress, rule, net: *net });
                    }
                }
            }
        }
    }
    holes
}

impl Hole<'_> {
    /// Whether an attempt is one of a pod of the policy, through the hole, to one of its ports.
    fn concerns(&self, rules: &RuleSet, attempt: &Attempt) -> bool {
        let (subject, peer) = match self.ingress {
            true => (attempt.destination, attempt.source),
            false => (attempt.source, attempt.destination),
        };
        let selected = rules.pods().any(|pod| {
            !pod.terminated
                && pod.addresses.contains(&subject)
                && pod.namespace == self.policy.namespace
                && self.policy.pod_selector.matches(&pod.labels)
        });
        selected && self.net.contains(&peer) && speaks_of(&self.rule.ports, attempt)
    }
}

fn speaks_of(ports: &Ports, attempt: &Attempt) -> bool {
    let Ports::AnyOf(items) = ports else { return true };
    items.iter().any(|PolicyPort { protocol, port }| {
        let Some(asked) = attempt.port else { return false };
        protocol.number() == attempt.protocol
            && match port {
                Port::All => true,
                Port::Number(number) => *number == asked,
                Port::Range { first, last } => (*first..=*last).contains(&asked),
                Port::Named(_) => false,
            }
    })
}
