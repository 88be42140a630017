//! A slow reference: what the policies of a rule set say of one attempt, read off directly.
//!
//! It shares no code with the compiler, nor the model's own matching, so that a mistake in
//! either shows as a difference. It walks all policies for each attempt and is meant for tests
//! and for sampled re-checking, never for packets. The rule set is taken to be valid.
//!
//! [`generate`] makes rule sets, attempts and changes to put to it and to what it checks.

mod agree;
pub mod generate;
mod matching;

use std::net::IpAddr;

use sluice_core::policy::Attempt;
use sluice_core::ports::Protocol;

pub use self::agree::agree;
use self::matching::{Holder, holder, is_in, matches_block, matches_labels, namespace_labels};
use crate::model::{
    AccessAction, AccessRule, Action, ClusterPeer, ClusterPort, ClusterPorts, ClusterRule, Name,
    NamespacedPods, NetworkPolicy, Peer, Peers, Pod, PolicyPort, PolicyType, Port, Ports, Rule,
    RuleSet, Tier,
};

/// What access lists and each end say of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The access list that denies it, and the priority of its rule.
    pub access: Option<(String, u32)>,
    /// The source's egress.
    pub egress: End,
    /// The destination's ingress.
    pub ingress: End,
}

/// What one end says of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Whether it allows the attempt.
    pub allows: bool,
    /// What decided.
    pub by: By,
}

/// What decides at one end. A rule is named by its policy and its place in the list of the
/// direction, counted from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// Allowed: a pod talks to itself.
    SamePod,
    /// Allowed: a pod and the node that it runs on.
    OwnNode,
    /// Allowed: this end is no pod, so no policy speaks for it.
    NotAPod,
    /// Allowed or denied: the first rule of the tier that matches.
    ClusterRule {
        /// The tier of the policy.
        tier: Tier,
        /// The ClusterNetworkPolicy.
        policy: String,
        /// The place of its rule.
        rule: usize,
    },
    /// Allowed: each of these rules of NetworkPolicies admits it.
    Rules(Vec<(Name, usize)>),
    /// Denied: no rule of these NetworkPolicies, which are all that select the pod, admits it.
    NoRule(Vec<Name>),
    /// Allowed: nothing speaks of it.
    Default,
}

impl Answer {
    /// Whether no access list denies and both ends allow.
    #[must_use]
    pub fn allows(&self) -> bool {
        self.access.is_none() && self.egress.allows && self.ingress.allows
    }
}

/// Judges `attempt` by walking `rules`; pods that name no node are on `local_node`.
#[must_use]
pub fn judge(rules: &RuleSet, local_node: Option<&str>, attempt: &Attempt) -> Answer {
    let (from, to) = (attempt.source.to_canonical(), attempt.destination.to_canonical());
    let source = holder(rules, local_node, from);
    let destination = holder(rules, local_node, to);
    let home = |pod: &Pod| pod.node.clone().or_else(|| local_node.map(str::to_owned));
    let always = match (&source, &destination) {
        (Holder::Pod(a), Holder::Pod(b)) if a.key() == b.key() => Some(By::SamePod),
        (Holder::Pod(pod), Holder::Node(node)) | (Holder::Node(node), Holder::Pod(pod))
            if home(pod).as_ref() == Some(node) =>
        {
            Some(By::OwnNode)
        }
        _ => None,
    };
    if let Some(by) = always {
        let end = End { allows: true, by };
        return Answer { access: None, egress: end.clone(), ingress: end };
    }
    let side = |direction, end: &Holder<'_>, peer: &Holder<'_>, peer_address| match end {
        Holder::Pod(subject) => Side {
            rules,
            direction,
            subject,
            peer,
            peer_address,
            named_by: destination.pod(),
            protocol: attempt.protocol,
            port: attempt.port,
        }
        .judge(),
        Holder::Node(_) | Holder::Nobody => End { allows: true, by: By::NotAPod },
    };
    Answer {
        access: access(rules, attempt),
        egress: side(PolicyType::Egress, &source, &destination, to),
        ingress: side(PolicyType::Ingress, &destination, &source, from),
    }
}

/// The first access list that denies the attempt, and the priority of its rule.
fn access(rules: &RuleSet, attempt: &Attempt) -> Option<(String, u32)> {
    let ports = attempt.source_port.zip(attempt.port);
    let is_among = |range: Option<(u16, u16)>, port: Option<u16>| match (range, port) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some((first, last)), Some(port)) => (first..=last).contains(&port),
    };
    let is_meant = |rule: &&AccessRule| {
        rule.source.is_none_or(|net| is_in(net, attempt.source))
            && rule.destination.is_none_or(|net| is_in(net, attempt.destination))
            && rule.protocol.is_none_or(|protocol| protocol == attempt.protocol)
            && is_among(rule.source_ports, ports.map(|(source, _)| source))
            && is_among(rule.destination_ports, ports.map(|(_, destination)| destination))
    };
    rules.access_lists().find_map(|list| {
        let rule = list.rules.iter().filter(is_meant).min_by_key(|rule| rule.priority)?;
        (rule.action == AccessAction::Deny).then(|| (list.name.clone(), rule.priority))
    })
}

/// The question that one pod's policies answer.
struct Side<'a> {
    rules: &'a RuleSet,
    direction: PolicyType,
    subject: &'a Pod,
    peer: &'a Holder<'a>,
    peer_address: IpAddr,
    /// The destination, if it is a pod: nobody else gives ports names.
    named_by: Option<&'a Pod>,
    protocol: Protocol,
    port: Option<u16>,
}

impl Side<'_> {
    fn judge(&self) -> End {
        self.cluster_policies(Tier::Admin)
            .or_else(|| self.network_policies())
            .or_else(|| self.cluster_policies(Tier::Baseline))
            .unwrap_or(End { allows: true, by: By::Default })
    }

    /// What a tier of ClusterNetworkPolicies decides, if anything.
    fn cluster_policies(&self, tier: Tier) -> Option<End> {
        let all = self.rules.cluster_network_policies();
        let mut policies: Vec<_> = all
            .filter(|policy| policy.tier == tier && self.is_among(&policy.subject, self.subject))
            .collect();
        policies.sort_by_key(|policy| (policy.priority, &policy.name));
        for policy in policies {
            let list = match self.direction {
                PolicyType::Egress => &policy.egress,
                PolicyType::Ingress => &policy.ingress,
            };
            for (rule, item) in list.iter().enumerate() {
                let allows = match self.effect_of(item) {
                    None => continue,
                    Some(Action::Pass) => return None,
                    Some(Action::Accept) => true,
                    Some(Action::Deny) => false,
                };
                let by = By::ClusterRule { tier, policy: policy.name.clone(), rule };
                return Some(End { allows, by });
            }
        }
        None
    }

    /// What a rule does with the attempt; `None` where it does not match.
    fn effect_of(&self, rule: &ClusterRule) -> Option<Action> {
        if rule.peers.iter().any(|peer| matches!(peer, ClusterPeer::Unknown(_))) {
            // Whom the rule means cannot be known, so it opens nothing and closes everything.
            return match rule.action {
                Action::Accept => None,
                Action::Deny | Action::Pass => Some(Action::Deny),
            };
        }
        let matches = rule.peers.iter().any(|peer| self.is_cluster_peer(peer))
            && self.is_cluster_port(&rule.ports);
        matches.then_some(rule.action)
    }

    fn is_cluster_peer(&self, peer: &ClusterPeer) -> bool {
        match peer {
            ClusterPeer::Pods(pods) => self.peer.pod().is_some_and(|pod| self.is_among(pods, pod)),
            ClusterPeer::Nodes(selector) => self.rules.nodes().any(|node| {
                self.peer.is_node(&node.name) && matches_labels(selector, &node.labels)
            }),
            ClusterPeer::Networks(nets) => nets.iter().any(|net| is_in(*net, self.peer_address)),
            ClusterPeer::Unknown(_) => false,
        }
    }

    fn is_cluster_port(&self, ports: &ClusterPorts) -> bool {
        let ClusterPorts::AnyOf(list) = ports else { return true };
        list.iter().any(|item| match item {
            ClusterPort::Range { protocol, first, last } => {
                self.protocol == protocol.number()
                    && self.port.is_some_and(|port| *first <= port && port <= *last)
            }
            ClusterPort::Named(name) => self.is_named(name),
        })
    }

    /// What the NetworkPolicies say, which is final if one of them selects the pod.
    fn network_policies(&self) -> Option<End> {
        let (mut selecting, mut admitting) = (Vec::new(), Vec::new());
        for policy in self.rules.network_policies() {
            let list = match self.direction {
                PolicyType::Egress => &policy.egress,
                PolicyType::Ingress => &policy.ingress,
            };
            let selected = policy.namespace == self.subject.namespace
                && matches_labels(&policy.pod_selector, &self.subject.labels);
            let Some(list) = list.as_ref().filter(|_| selected) else { continue };
            selecting.push(policy.key());
            let admits = |(_, rule): &(usize, &Rule)| self.is_admitted_by(policy, rule);
            let places = list.iter().enumerate().filter(admits).map(|(place, _)| place);
            admitting.extend(places.map(|place| (policy.key(), place)));
        }
        match (selecting.is_empty(), admitting.is_empty()) {
            (true, _) => None,
            (false, true) => Some(End { allows: false, by: By::NoRule(selecting) }),
            (false, false) => Some(End { allows: true, by: By::Rules(admitting) }),
        }
    }

    fn is_admitted_by(&self, policy: &NetworkPolicy, rule: &Rule) -> bool {
        let peer = match &rule.peers {
            Peers::Everybody => true,
            Peers::AnyOf(list) => list.iter().any(|peer| self.is_peer(policy, peer)),
        };
        let port = match &rule.ports {
            Ports::All => true,
            Ports::AnyOf(list) => list.iter().any(|port| self.is_port(port)),
        };
        peer && port
    }

    fn is_peer(&self, policy: &NetworkPolicy, peer: &Peer) -> bool {
        let (pods, namespaces) = match peer {
            Peer::Block(block) => return matches_block(block, self.peer_address),
            Peer::Selectors { pods, namespaces } => (pods, namespaces),
        };
        let Some(pod) = self.peer.pod() else { return false };
        let in_namespace = match namespaces {
            Some(selector) => {
                matches_labels(selector, &namespace_labels(self.rules, &pod.namespace))
            }
            None => pod.namespace == policy.namespace,
        };
        in_namespace && pods.as_ref().is_none_or(|selector| matches_labels(selector, &pod.labels))
    }

    fn is_port(&self, item: &PolicyPort) -> bool {
        let Some(port) = self.port else { return false };
        self.protocol == item.protocol.number()
            && match &item.port {
                Port::All => true,
                Port::Number(number) => port == *number,
                Port::Range { first, last } => *first <= port && port <= *last,
                Port::Named(name) => self.is_named(name),
            }
    }

    /// Whether the destination gives this name to the port that is asked for.
    fn is_named(&self, name: &str) -> bool {
        self.named_by.is_some_and(|pod| {
            pod.named_ports.iter().any(|named| {
                named.name == name
                    && named.protocol.number() == self.protocol
                    && Some(named.port) == self.port
            })
        })
    }

    fn is_among(&self, pods: &NamespacedPods, pod: &Pod) -> bool {
        matches_labels(&pods.namespaces, &namespace_labels(self.rules, &pod.namespace))
            && matches_labels(&pods.pods, &pod.labels)
    }
}

#[cfg(test)]
mod differential;
#[cfg(test)]
mod incremental;
#[cfg(test)]
mod tests;
