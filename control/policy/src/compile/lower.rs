//! Both kinds of policies in one form: clauses, each of peers, ports and an action.
//!
//! Here it is decided what a rule means; the rest of the compiler only finds out for whom.

use std::collections::BTreeSet;

use ipnet::IpNet;
use sluice_core::blocks::Block;
use sluice_core::table::{Action, Direction, Tier};

use super::groups::Scope;
use crate::model::{
    self, ClusterPeer, ClusterPort, ClusterPorts, LabelSelector, Peer, Port, Protocol,
};
use crate::validate::canonical_net;

/// A policy, ready to be put into sets.
#[derive(Debug, Clone)]
pub(crate) struct Lowered {
    pub(crate) tier: Tier,
    /// The order within the tier: priority, then name.
    pub(crate) order: (u16, String),
    /// The pods that it speaks for.
    pub(crate) namespaces: Scope,
    pub(crate) pods: LabelSelector,
    /// Its clauses by direction; `None` where it has no say.
    pub(crate) egress: Option<Vec<Clause>>,
    pub(crate) ingress: Option<Vec<Clause>>,
}

/// A rule.
#[derive(Debug, Clone)]
pub(crate) struct Clause {
    /// Its place in the list of its direction.
    pub(crate) index: u32,
    pub(crate) action: Action,
    pub(crate) peers: Vec<PeerTerm>,
    pub(crate) ports: PortTerms,
}

/// Whom a clause means.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum PeerTerm {
    Everybody,
    Pods { namespaces: Scope, pods: LabelSelector },
    Nodes(LabelSelector),
    Block(Block),
}

/// Which ports a clause means.
#[derive(Debug, Clone, Default)]
pub(crate) struct PortTerms {
    /// Every port of every protocol.
    pub(crate) all: bool,
    /// Protocol, first and last port.
    pub(crate) ranges: Vec<(Protocol, u16, u16)>,
    /// Names that the destination pod gives; a protocol where only one counts.
    pub(crate) names: Vec<(Option<Protocol>, String)>,
}

impl Lowered {
    pub(crate) fn clauses(&self, direction: Direction) -> Option<&[Clause]> {
        match direction {
            Direction::Egress => self.egress.as_deref(),
            Direction::Ingress => self.ingress.as_deref(),
        }
    }

    /// The port names that the clauses of a direction use.
    pub(crate) fn port_names(&self, direction: Direction) -> BTreeSet<&str> {
        let clauses = self.clauses(direction).unwrap_or_default().iter();
        clauses.flat_map(|clause| &clause.ports.names).map(|(_, name)| name.as_str()).collect()
    }

    pub(crate) fn network_policy(policy: &model::NetworkPolicy) -> Self {
        let clauses = |rules: &Option<Vec<model::Rule>>| {
            let rules = rules.as_ref()?.iter().zip(0u32..);
            Some(
                rules
                    .map(|(rule, index)| Clause::admitting(&policy.namespace, rule, index))
                    .collect(),
            )
        };
        Self {
            tier: Tier::NetworkPolicy,
            order: (0, policy.name.clone()),
            namespaces: Scope::Own(policy.namespace.clone()),
            pods: policy.pod_selector.clone(),
            egress: clauses(&policy.egress),
            ingress: clauses(&policy.ingress),
        }
    }

    pub(crate) fn cluster_policy(policy: &model::ClusterNetworkPolicy) -> Self {
        let clauses = |rules: &[model::ClusterRule]| {
            let clauses: Vec<Clause> =
                rules.iter().zip(0u32..).map(|(rule, index)| Clause::acting(rule, index)).collect();
            // Without rules it has no say in the direction.
            (!clauses.is_empty()).then_some(clauses)
        };
        Self {
            tier: match policy.tier {
                model::Tier::Admin => Tier::Admin,
                model::Tier::Baseline => Tier::Baseline,
            },
            order: (policy.priority, policy.name.clone()),
            namespaces: Scope::Selected(policy.subject.namespaces.clone()),
            pods: policy.subject.pods.clone(),
            egress: clauses(&policy.egress),
            ingress: clauses(&policy.ingress),
        }
    }
}

impl Clause {
    /// A NetworkPolicy's rule.
    fn admitting(namespace: &str, rule: &model::Rule, index: u32) -> Self {
        let peer = |peer: &Peer| match peer {
            Peer::Block(block) => PeerTerm::Block(canonical_block(block.cidr, &block.except)),
            Peer::Selectors { pods, namespaces } => PeerTerm::Pods {
                namespaces: match namespaces {
                    Some(selector) => Scope::Selected(selector.clone()),
                    None => Scope::Own(namespace.to_owned()),
                },
                pods: pods.clone().unwrap_or_default(),
            },
        };
        let peers = match &rule.peers {
            model::Peers::Everybody => vec![PeerTerm::Everybody],
            model::Peers::AnyOf(peers) => peers.iter().map(peer).collect(),
        };
        let mut ports = PortTerms::default();
        match &rule.ports {
            model::Ports::All => ports.all = true,
            model::Ports::AnyOf(items) => {
                for item in items {
                    let mut range = |first, last| ports.ranges.push((item.protocol, first, last));
                    match &item.port {
                        Port::All => range(0, u16::MAX),
                        Port::Number(port) => range(*port, *port),
                        Port::Range { first, last } => range(*first, *last),
                        Port::Named(name) => ports.names.push((Some(item.protocol), name.clone())),
                    }
                }
            }
        }
        Self { index, action: Action::Accept, peers, ports }
    }

    /// A ClusterNetworkPolicy's rule.
    fn acting(rule: &model::ClusterRule, index: u32) -> Self {
        let action = match rule.action {
            model::Action::Accept => Action::Accept,
            model::Action::Deny => Action::Deny,
            model::Action::Pass => Action::Pass,
        };
        if rule.peers.iter().any(|peer| matches!(peer, ClusterPeer::Unknown(_))) {
            return Self::failing_closed(action, index);
        }
        let peers = rule.peers.iter().flat_map(|peer| match peer {
            ClusterPeer::Pods(pods) => vec![PeerTerm::Pods {
                namespaces: Scope::Selected(pods.namespaces.clone()),
                pods: pods.pods.clone(),
            }],
            ClusterPeer::Nodes(selector) => vec![PeerTerm::Nodes(selector.clone())],
            ClusterPeer::Networks(nets) => {
                nets.iter().map(|net| PeerTerm::Block(canonical_block(*net, &[]))).collect()
            }
            ClusterPeer::Unknown(_) => Vec::new(),
        });
        let peers = peers.collect();
        let mut ports = PortTerms::default();
        match &rule.ports {
            ClusterPorts::All => ports.all = true,
            ClusterPorts::AnyOf(items) => {
                for item in items {
                    match item {
                        ClusterPort::Range { protocol, first, last } => {
                            ports.ranges.push((*protocol, *first, *last));
                        }
                        ClusterPort::Named(name) => ports.names.push((None, name.clone())),
                    }
                }
            }
        }
        Self { index, action, peers, ports }
    }

    /// A rule whose peers are not understood must let nothing through: one that accepts
    /// matches nothing, any other one denies everything.
    fn failing_closed(action: Action, index: u32) -> Self {
        let all = PortTerms { all: true, ..PortTerms::default() };
        match action {
            Action::Accept => Self { index, action, peers: Vec::new(), ports: all },
            Action::Deny | Action::Pass => {
                Self { index, action: Action::Deny, peers: vec![PeerTerm::Everybody], ports: all }
            }
        }
    }
}

fn canonical_block(cidr: IpNet, except: &[IpNet]) -> Block {
    let mut except: Vec<_> = except.iter().copied().map(canonical_net).collect();
    except.sort_unstable();
    except.dedup();
    Block { cidr: canonical_net(cidr), except }
}
