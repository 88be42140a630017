//! What the table says of a connection that does not exist yet: both ends must allow it.
//!
//! This is the one place where the order of judgement is written down. `explain`, `reach` and
//! `diff` call it as the packet path does.
//!
//! 1. A pod to its own address, and a pod and its own node: allowed.
//! 2. Access lists, one after the other: the first rule of a list that matches denies, or ends
//!    the list. A denial is final, and no list can open what policies close.
//! 3. ClusterNetworkPolicies of the Admin tier: the first rule that matches accepts, denies, or
//!    passes to the next tier.
//! 4. NetworkPolicies: final for a pod that some policy selects in that direction.
//! 5. ClusterNetworkPolicies of the Baseline tier, as in 3.
//! 6. Nothing decided: allowed.
//!
//! Nodes and addresses outside the cluster have no policy of their own.

use std::net::IpAddr;

use crate::address::NetworkId;
use crate::classifier::Key;
use crate::packet::Ports;
use crate::ports::Protocol;
use crate::table::set::Asked;
use crate::table::{
    AccessDenied, Action, Direction, EndpointId, Party, PolicySet, RuleRef, Table, Tier,
};

/// The first packet of a connection, reduced to what policies speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// The network on which both addresses are valid.
    pub network: NetworkId,
    /// Who asks.
    pub source: IpAddr,
    /// Who is asked.
    pub destination: IpAddr,
    /// The IP protocol.
    pub protocol: Protocol,
    /// The source port; `None` where the protocol has none.
    pub source_port: Option<u16>,
    /// The destination port; `None` where the protocol has none.
    pub port: Option<u16>,
}

/// The port that a connection is taken to come from where nobody says: the first of those that
/// clients choose from (RFC 6335, 6).
pub const DYNAMIC_PORT: u16 = 49_152;

/// What access lists and each end say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The rule of an access list that denies it.
    pub access: Option<AccessDenied>,
    /// The source's egress.
    pub egress: Reason,
    /// The destination's ingress.
    pub ingress: Reason,
}

/// Why one end allows or denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Allowed: a pod talks to itself.
    SamePod,
    /// Allowed: a pod and the node that it runs on.
    OwnNode,
    /// Allowed: this end is no pod, so no policy speaks for it.
    NotAPod,
    /// Allowed: no tier has decided.
    Undecided,
    /// Allowed: this rule accepts it.
    Accepted(Tier, RuleRef),
    /// Denied: this rule denies it.
    Denied(Tier, RuleRef),
    /// Denied: NetworkPolicies select the pod, and none has a rule that accepts it.
    NoRule,
}

impl Decision {
    /// Whether no access list denies and both ends allow.
    #[inline]
    #[must_use]
    pub fn allows(&self) -> bool {
        self.access.is_none() && self.egress.allows() && self.ingress.allows()
    }
}

impl Reason {
    /// Whether this end allows.
    #[inline]
    #[must_use]
    pub fn allows(self) -> bool {
        !matches!(self, Self::Denied(..) | Self::NoRule)
    }
}

impl Table {
    /// Judges an attempt to connect.
    #[inline]
    #[must_use]
    pub fn decide(&self, attempt: &Attempt) -> Decision {
        let source = self.party(attempt.network, attempt.source);
        let destination = self.party(attempt.network, attempt.destination);
        if let Some(reason) = self.always_allowed(source, destination) {
            return Decision { access: None, egress: reason, ingress: reason };
        }
        let egress =
            self.side(Direction::Egress, source, destination, attempt.destination, attempt);
        let ingress = self.side(Direction::Ingress, destination, source, attempt.source, attempt);
        Decision { access: self.denied_by_list(attempt), egress, ingress }
    }

    /// The first list that denies, and its rule.
    #[inline]
    fn denied_by_list(&self, attempt: &Attempt) -> Option<AccessDenied> {
        if self.access_lists().is_empty() {
            return None;
        }
        let ports = attempt.source_port.zip(attempt.port);
        let key = Key {
            source: attempt.source,
            destination: attempt.destination,
            protocol: attempt.protocol,
            ports: ports.map(|(source, destination)| Ports { source, destination }),
        };
        (0..).zip(self.access_lists()).find_map(|(list, rules)| {
            let rule = rules.first_match(&key).filter(|rule| rule.denies)?;
            Some(AccessDenied { list, priority: rule.priority })
        })
    }

    /// Judges only what `destination` lets in: for packets that reach many at once, whose
    /// destination address is no pod's own.
    #[must_use]
    pub fn decide_ingress(&self, destination: EndpointId, attempt: &Attempt) -> Reason {
        let source = self.party(attempt.network, attempt.source);
        let destination = Party::Pod(destination);
        self.always_allowed(source, destination).unwrap_or_else(|| {
            self.side(Direction::Ingress, destination, source, attempt.source, attempt)
        })
    }

    fn always_allowed(&self, source: Party, destination: Party) -> Option<Reason> {
        match (source, destination) {
            (Party::Pod(a), Party::Pod(b)) if a == b => Some(Reason::SamePod),
            (Party::Pod(pod), Party::Node(node)) | (Party::Node(node), Party::Pod(pod)) => {
                (self.endpoint(pod)?.node == Some(node)).then_some(Reason::OwnNode)
            }
            _ => None,
        }
    }

    fn side(
        &self,
        direction: Direction,
        subject: Party,
        peer: Party,
        peer_address: IpAddr,
        attempt: &Attempt,
    ) -> Reason {
        let Some(identity) = self.identity_of(subject) else { return Reason::NotAPod };
        let tiers = identity.tiers(direction);
        let asked = Asked {
            groups: self.groups_of(peer),
            address: peer_address,
            protocol: attempt.protocol,
            port: attempt.port,
        };
        let first_match = |set: &PolicySet| set.first_match(self.blocks(), &asked);
        if let Some(reason) = tiers
            .admin
            .as_deref()
            .and_then(first_match)
            .and_then(|rule| final_of(Tier::Admin, rule))
        {
            return reason;
        }
        if let Some(set) = tiers.network_policy.as_deref() {
            return first_match(set)
                .map_or(Reason::NoRule, |rule| Reason::Accepted(Tier::NetworkPolicy, rule));
        }
        let baseline = tiers.baseline.as_deref().and_then(first_match);
        baseline.and_then(|rule| final_of(Tier::Baseline, rule)).unwrap_or(Reason::Undecided)
    }
}

/// What the first rule of a tier comes to; `None` where it passes.
fn final_of(tier: Tier, rule: RuleRef) -> Option<Reason> {
    match rule.action {
        Action::Accept => Some(Reason::Accepted(tier, rule)),
        Action::Deny => Some(Reason::Denied(tier, rule)),
        Action::Pass => None,
    }
}
