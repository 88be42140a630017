//! What the table says of a connection that does not exist yet: both ends must allow it.
//!
//! This is the one place where the order of judgement is written down. `explain` and `reach`
//! call it as the packet path does.
//!
//! 1. A pod to its own address, and a pod and its own node: allowed.
//! 2. NetworkPolicy: final for a pod that some policy selects in that direction.
//! 3. A pod that no policy selects in that direction: allowed.
//!
//! Nodes and addresses outside the cluster have no policy of their own.

use std::net::IpAddr;

use crate::address::NetworkId;
use crate::ports::Protocol;
use crate::table::{Direction, EndpointId, Party, PolicySetId, RuleId, Table};

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
    /// The destination port; `None` where the protocol has none.
    pub port: Option<u16>,
}

/// What each end says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
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
    /// Allowed: no policy selects the pod in this direction.
    NotIsolated,
    /// Allowed: this rule admits it.
    Rule(RuleId),
    /// Denied: none of these policies, which select the pod, has a rule that admits it.
    NoRule(PolicySetId),
}

impl Decision {
    /// Whether both ends allow.
    #[inline]
    #[must_use]
    pub fn allows(&self) -> bool {
        self.egress.allows() && self.ingress.allows()
    }
}

impl Reason {
    /// Whether this end allows.
    #[inline]
    #[must_use]
    pub fn allows(self) -> bool {
        !matches!(self, Self::NoRule(_))
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
            return Decision { egress: reason, ingress: reason };
        }
        let egress =
            self.side(Direction::Egress, source, destination, attempt.destination, attempt);
        let ingress = self.side(Direction::Ingress, destination, source, attempt.source, attempt);
        Decision { egress, ingress }
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
        let Some(identity) = self.identity(subject) else { return Reason::NotAPod };
        let set = match direction {
            Direction::Egress => identity.1.egress,
            Direction::Ingress => identity.1.ingress,
        };
        let Some(set) = set else { return Reason::NotIsolated };
        let peer = self.identity(peer).map(|(id, _)| id);
        self.admitting_rule(set, peer, peer_address, attempt.protocol, attempt.port)
            .map_or(Reason::NoRule(set), Reason::Rule)
    }

    #[inline]
    fn identity(&self, party: Party) -> Option<(crate::table::IdentityId, crate::table::Identity)> {
        let Party::Pod(endpoint) = party else { return None };
        let id = self.endpoint(endpoint)?.identity;
        Some((id, *self.spec().identities.get(id.index())?))
    }
}
