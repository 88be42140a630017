//! ClusterNetworkPolicies: ordered rules for the whole cluster, before and after NetworkPolicies.
//!
//! Kubernetes says much by which of several fields is set; here each is a variant. The rules of
//! a direction are ordered, and the first that matches decides within its tier.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;

use super::{LabelSelector, Problem, Protocol};

/// A ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterNetworkPolicy {
    /// Its name.
    pub name: String,
    /// When it is asked: before or after the NetworkPolicies.
    pub tier: Tier,
    /// Its place within the tier, 0 to [`PRIORITY_MAX`]; lower ones are asked first. Of equal
    /// ones, that with the lower name is: Kubernetes leaves it open.
    pub priority: u16,
    /// The pods that it speaks for. Pods in their node's network are never among them.
    pub subject: NamespacedPods,
    /// What is done with what the subject receives, the first rule that matches decides.
    pub ingress: Vec<ClusterRule>,
    /// What is done with what the subject sends, the first rule that matches decides.
    pub egress: Vec<ClusterRule>,
}

/// The largest `priority`.
pub const PRIORITY_MAX: u16 = 1000;

/// When a ClusterNetworkPolicy is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Before the NetworkPolicies.
    Admin,
    /// After them, for pods that no NetworkPolicy selects in the direction.
    Baseline,
}

/// Pods by their labels and their namespaces' labels; both must match.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespacedPods {
    /// The namespaces meant.
    pub namespaces: LabelSelector,
    /// The pods of these namespaces.
    pub pods: LabelSelector,
}

/// What is done with the traffic that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It is let through, whatever the tiers below say.
    Accept,
    /// It is dropped, whatever the tiers below say.
    Deny,
    /// The rest of the tier is skipped; the next one decides.
    Pass,
}

/// One rule of a ClusterNetworkPolicy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterRule {
    /// A name for people, of at most 100 characters; may be empty.
    pub name: String,
    /// What is done with what matches.
    pub action: Action,
    /// `from` of an ingress rule, `to` of an egress rule: at least one.
    pub peers: Vec<ClusterPeer>,
    /// The protocols and destination ports.
    pub ports: ClusterPorts,
}

/// One item of `from` or `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterPeer {
    /// Pods that are not in their node's network.
    Pods(NamespacedPods),
    /// The addresses of nodes, by the nodes' labels. Egress only.
    Nodes(LabelSelector),
    /// Addresses, of pods and nodes too. Egress only.
    Networks(Vec<IpNet>),
    /// A kind of peer that this version does not know, by the name of its field. A rule with
    /// such a peer fails closed: one that accepts matches nothing, any other one denies all.
    Unknown(String),
}

/// Which protocols and ports a rule speaks of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ClusterPorts {
    /// Every port of every protocol: `protocols` is absent.
    #[default]
    All,
    /// Whatever one of these matches. Never empty.
    AnyOf(Vec<ClusterPort>),
}

/// One item of `protocols`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterPort {
    /// The ports from `first` to `last` of one protocol, both among them.
    Range {
        /// The protocol.
        protocol: Protocol,
        /// The lowest port, at least 1.
        first: u16,
        /// The highest port, not below `first`.
        last: u16,
    },
    /// The ports that the destination pod gives this name, with whatever protocol it gives.
    Named(String),
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admin => "Admin",
            Self::Baseline => "Baseline",
        })
    }
}

impl FromStr for Tier {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "Admin" => Ok(Self::Admin),
            "Baseline" => Ok(Self::Baseline),
            _ => Err(Problem::new(
                "tier",
                format!("unknown tier \"{text}\"; want Admin or Baseline"),
            )),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accept => "Accept",
            Self::Deny => "Deny",
            Self::Pass => "Pass",
        })
    }
}

impl FromStr for Action {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "Accept" => Ok(Self::Accept),
            "Deny" => Ok(Self::Deny),
            "Pass" => Ok(Self::Pass),
            _ => Err(Problem::new(
                "action",
                format!("unknown action \"{text}\"; want Accept, Deny or Pass"),
            )),
        }
    }
}
