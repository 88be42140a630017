//! Named ports that no pod has.

use std::collections::BTreeSet;
use std::net::IpAddr;

use sluice_core::table::Direction;

use super::bits::Bits;
use super::policies::{Policy, Written};
use super::ports::{PortName, means};
use super::survey::{Rule, Survey};
use super::{Advice, words};
use crate::compile::groups::Scope;
use crate::compile::lower::PeerTerm;
use crate::model::{ClusterPort, ClusterPorts, LabelSelector, NamedPort, Pod, Port, Ports};

pub(super) fn advise(survey: &Survey<'_>) -> Vec<Advice> {
    if survey.objects.pods().len() == 0 {
        return Vec::new();
    }
    // One that fails closed is not read any further.
    let rules = survey.rules.iter().filter(|rule| !rule.fails_closed);
    let advice = rules.flat_map(|rule| {
        let names = names(rule.policy, rule.direction, rule.index);
        names.into_iter().filter_map(move |(field, name)| {
            let remark = remark(survey, rule, &name)?;
            let object = rule.policy.object.clone();
            Some(Advice { object, field: format!("{}.{field}", words::field(rule)), remark })
        })
    });
    advice.collect()
}

/// The port names of a rule, each with its field.
fn names(policy: &Policy<'_>, direction: Direction, index: u32) -> Vec<(String, PortName)> {
    let index = index as usize;
    match policy.written {
        Written::Namespaced(policy) => {
            let rules = match direction {
                Direction::Egress => &policy.egress,
                Direction::Ingress => &policy.ingress,
            };
            let rule = rules.as_ref().and_then(|rules| rules.get(index));
            let Some(Ports::AnyOf(ports)) = rule.map(|rule| &rule.ports) else { return Vec::new() };
            let named = ports.iter().enumerate().filter_map(|(place, item)| match &item.port {
                Port::Named(name) => {
                    Some((format!("ports[{place}].port"), (Some(item.protocol), name.clone())))
                }
                _ => None,
            });
            named.collect()
        }
        Written::Cluster(policy) => {
            let rules = match direction {
                Direction::Egress => &policy.egress,
                Direction::Ingress => &policy.ingress,
            };
            let Some(ClusterPorts::AnyOf(ports)) = rules.get(index).map(|rule| &rule.ports) else {
                return Vec::new();
            };
            let named = ports.iter().enumerate().filter_map(|(place, item)| match item {
                ClusterPort::Named(name) => {
                    let field = format!("protocols[{place}].destinationNamedPort");
                    Some((field, (None, name.clone())))
                }
                ClusterPort::Range { .. } => None,
            });
            named.collect()
        }
    }
}

/// What is surprising about a port's name; `None` where somebody who is asked has such a port, or
/// where nobody is there to have one.
fn remark(survey: &Survey<'_>, rule: &Rule<'_>, name: &PortName) -> Option<String> {
    let asked = match rule.direction {
        Direction::Ingress => subjects(survey, rule, name)?,
        Direction::Egress => peers(survey, rule, name)?,
    };
    let gives = |number: u32, means: &dyn Fn(&NamedPort) -> bool| {
        let identity = survey.crowd.running.get(number);
        identity.is_some_and(|identity| identity.named_ports.iter().any(means))
    };
    if asked.iter().any(|number| gives(number, &|port| means(name, port))) {
        return None;
    }
    let (protocol, text) = name;
    let example = |numbers: &mut dyn Iterator<Item = u32>| {
        let number = numbers.next()?;
        Some((number, survey.crowd.example(number)?.key()))
    };
    let other_protocol = |port: &NamedPort| port.name == *text;
    let same = example(&mut asked.iter().filter(|it| gives(*it, &other_protocol)));
    let everybody = survey.crowd.identities().map(|(number, _)| number);
    let other = example(&mut everybody.filter(|it| gives(*it, &|port| means(name, port))));
    let called: BTreeSet<&str> = asked
        .iter()
        .filter_map(|number| survey.crowd.running.get(number))
        .flat_map(|identity| identity.named_ports.iter().map(|port| port.name.as_str()))
        .collect();
    let hint = match (same, other) {
        (Some((number, pod)), _) => {
            let ports = survey.crowd.running.get(number).map(|it| &*it.named_ports);
            let ports = ports.unwrap_or_default().iter().filter(|port| other_protocol(port));
            format!("; that of pod {pod} is {}", words::list(ports.map(|port| port.protocol)))
        }
        (None, Some((_, pod))) => format!("; pod {pod} has one, but is not among them"),
        (None, None) if called.is_empty() => String::new(),
        (None, None) => format!("; the names there are {}", words::list(called)),
    };
    let who = match rule.direction {
        Direction::Ingress => "no pod that this policy selects",
        Direction::Egress => "no pod that this rule means",
    };
    let protocol = protocol.map(|it| format!("{it} ")).unwrap_or_default();
    Some(format!("{who} has a {protocol}port of the name \"{text}\", so it stands for none{hint}"))
}

/// The pods whose ports an ingress rule names.
fn subjects(survey: &Survey<'_>, rule: &Rule<'_>, name: &PortName) -> Option<Bits> {
    let lowered = &rule.policy.lowered;
    if ended_has(survey, &lowered.namespaces, &lowered.pods, name) {
        return None;
    }
    // That it selects nobody is told of its selector.
    survey.members(rule.policy).filter(|members| !members.is_empty()).cloned()
}

/// The pods whose ports an egress rule names.
fn peers(survey: &Survey<'_>, rule: &Rule<'_>, name: &PortName) -> Option<Bits> {
    let everywhere = Scope::Selected(LabelSelector::everything());
    let everybody = LabelSelector::everything();
    let mut asked = Bits::default();
    let mut only_selectors = true;
    for peer in rule.peers.iter().filter_map(|number| survey.peers.get(*number)) {
        let in_doubt = match peer.term {
            PeerTerm::Pods { namespaces, pods } => {
                peer.members.iter().for_each(|number| asked.insert(number));
                ended_has(survey, namespaces, pods, name)
            }
            PeerTerm::Everybody | PeerTerm::Block(_) => {
                only_selectors = false;
                let means = |pod: &&Pod| pod.addresses.is_empty() || is_asked(peer.term, pod);
                let identities = survey.crowd.identities().map(|(number, _)| number);
                let meant = identities.filter(|it| survey.crowd.pods(*it).iter().any(means));
                meant.for_each(|number| asked.insert(number));
                ended_has(survey, &everywhere, &everybody, name)
            }
            PeerTerm::Nodes(_) => false,
        };
        if in_doubt {
            return None;
        }
    }
    // That it means nobody is told of its selectors.
    (!only_selectors || !asked.is_empty()).then_some(asked)
}

fn is_asked(term: &PeerTerm, pod: &Pod) -> bool {
    let PeerTerm::Block(block) = term else { return true };
    pod.addresses.iter().map(IpAddr::to_canonical).any(|address| {
        block.cidr.contains(&address) && !block.except.iter().any(|hole| hole.contains(&address))
    })
}

/// Whether a pod that has run to its end has such a port: others may come after it.
fn ended_has(
    survey: &Survey<'_>,
    namespaces: &Scope,
    pods: &LabelSelector,
    name: &PortName,
) -> bool {
    let ended = &survey.crowd.ended;
    let chosen = ended.select(namespaces, pods);
    let mut identities = chosen.as_slice().iter().filter_map(|number| ended.get(*number));
    identities.any(|identity| identity.named_ports.iter().any(|port| means(name, port)))
}
