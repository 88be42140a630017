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

mod batch;

use std::net::IpAddr;

use crate::address::NetworkId;
use crate::classifier::Key;
use crate::packet::{Ip, Ports};
use crate::ports::Protocol;
use crate::table::set::Asked;
use crate::table::{
    AccessDenied, Action, Direction, EndpointId, GroupId, Holder, Identity, RuleRef, Table, Tier,
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

impl Attempt {
    /// What a packet would ask for, if it were the first of its connection.
    #[inline]
    #[must_use]
    pub fn of(network: NetworkId, ip: &Ip) -> Self {
        let ports = ip.transport.ports();
        Self {
            network,
            source: ip.source,
            destination: ip.destination,
            protocol: ip.protocol,
            source_port: ports.map(|ports| ports.source),
            port: ports.map(|ports| ports.destination),
        }
    }
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

/// Who holds the addresses of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Who asks.
    pub source: Holder,
    /// Who is asked.
    pub destination: Holder,
}

impl Ends {
    /// Nobody in the cluster at either end.
    pub const EXTERNAL: Self = Self { source: Holder::EXTERNAL, destination: Holder::EXTERNAL };

    /// The same, as the other direction has them.
    #[inline]
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self { source: self.destination, destination: self.source }
    }
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
        self.decide_between(attempt, &self.ends(attempt))
    }

    /// Who holds the addresses of an attempt.
    #[inline]
    #[must_use]
    pub fn ends(&self, attempt: &Attempt) -> Ends {
        Ends {
            source: self.holder(attempt.network, attempt.source),
            destination: self.holder(attempt.network, attempt.destination),
        }
    }

    /// Judges an attempt between ends that this table has named.
    #[inline]
    #[must_use]
    pub fn decide_between(&self, attempt: &Attempt, ends: &Ends) -> Decision {
        if let Some(reason) = always_allowed(ends.source, ends.destination) {
            return Decision { access: None, egress: reason, ingress: reason };
        }
        let identities = self.identities_of(ends);
        let source =
            Side { holder: ends.source, identity: identities.source, address: &attempt.source };
        let destination = Side {
            holder: ends.destination,
            identity: identities.destination,
            address: &attempt.destination,
        };
        Decision {
            access: self.denied_by_list(attempt),
            egress: self.side(Direction::Egress, &source, &destination, attempt),
            ingress: self.side(Direction::Ingress, &destination, &source, attempt),
        }
    }

    #[inline]
    fn identities_of(&self, ends: &Ends) -> Identities<'_> {
        Identities {
            source: self.identity_or_none(ends.source),
            destination: self.identity_or_none(ends.destination),
        }
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
        let ends = Ends { destination: self.holder_of(destination), ..self.ends(attempt) };
        self.decide_between(attempt, &ends).ingress
    }

    /// What one end says. It is inlined so that who asks only whether it allows does not have the
    /// rule looked up.
    #[inline(always)]
    fn side(
        &self,
        direction: Direction,
        subject: &Side<'_>,
        peer: &Side<'_>,
        attempt: &Attempt,
    ) -> Reason {
        for (tier, set) in subject.identity.sets(direction) {
            let groups = self.groups_of(peer);
            let asked = Asked::new(groups, peer.address, attempt.protocol, attempt.port);
            let found = set.first_match(self.blocks(), &asked);
            let says = found.map(|found| (found.action(), found));
            match (tier, says) {
                (Tier::NetworkPolicy, None) => return Reason::NoRule,
                (Tier::NetworkPolicy, Some((_, found))) | (_, Some((Action::Accept, found))) => {
                    return Reason::Accepted(tier, set.rule(found));
                }
                (_, Some((Action::Deny, found))) => return Reason::Denied(tier, set.rule(found)),
                (_, Some((Action::Pass, _)) | None) => {}
            }
        }
        if subject.holder.identity().is_some() { Reason::Undecided } else { Reason::NotAPod }
    }

    /// The groups that somebody is in.
    #[inline]
    fn groups_of<'a>(&'a self, side: &Side<'a>) -> &'a [GroupId] {
        if side.holder.is_node() {
            return self.groups_of_node(side.holder);
        }
        side.identity.groups()
    }

    #[cold]
    fn groups_of_node(&self, holder: Holder) -> &[GroupId] {
        holder.node().and_then(|id| self.node(id)).map_or(&[], |node| &node.groups)
    }
}

/// What the policies of both ends hang on.
#[derive(Debug, Clone, Copy)]
struct Identities<'a> {
    source: &'a Identity,
    destination: &'a Identity,
}

/// One end of an attempt.
struct Side<'a> {
    holder: Holder,
    identity: &'a Identity,
    address: &'a IpAddr,
}

/// A pod and itself; a pod and its own node.
#[inline]
fn always_allowed(a: Holder, b: Holder) -> Option<Reason> {
    if a.is_pod() && a.endpoint() == b.endpoint() {
        return Some(Reason::SamePod);
    }
    let is_pod_and_node = (a.is_pod() & b.is_node()) | (a.is_node() & b.is_pod());
    (is_pod_and_node && a.node() == b.node()).then_some(Reason::OwnNode)
}
