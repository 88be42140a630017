//! The compiled table: who an address is, and what each of them may do.
//!
//! A table is immutable. A new one is an [`Edit`] of an older one and shares with it whatever
//! is the same, so that a pod which joins costs the same however large the cluster is. Peers are
//! found by group and by address block, ports by class, and they are never multiplied with each
//! other. What a judgement reads lies in whole cache lines: the holder of an address, an identity,
//! a policy set.
//!
//! ```text
//! address --(exact)--> Party::Pod --> identity --+--> policy sets --+-- any peer -> port set
//!         \-(exact)--> Party::Node --------------+--> groups -------+-- group ----> port set
//!         \-(trie)---> blocks --------------------------------------+-- block ----> port set
//! ```

mod access_list;
mod edit;
mod identity;
mod parties;
pub(crate) mod set;

use std::net::IpAddr;
use std::sync::Arc;

pub use access_list::{AccessDenied, AccessList, AccessRule};
pub use edit::Edit;
pub use identity::{Identity, Tiers};
pub use parties::Holder;
pub use set::{Action, GroupId, PolicySet, PolicySetParts, RuleRef};

use self::parties::Parties;

use crate::address::NetworkId;
use crate::blocks::BlockTrie;
use crate::shared::{SharedMap, Slots};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// The place that this number counts to.
            #[inline]
            #[must_use]
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}
pub(crate) use number;

number!(
    /// The number of an [`Endpoint`] of a table. It means nothing in another revision.
    EndpointId
);
number!(
    /// The number of an [`Identity`] of a table.
    IdentityId
);
number!(
    /// The number of a [`Node`] of a table.
    NodeId
);
number!(
    /// The number of a [`Policy`] of a table.
    PolicyId
);

/// A pod's attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `namespace/name`.
    pub name: Box<str>,
    /// The network on which `addresses` are valid.
    pub network: NetworkId,
    /// The pod's addresses; none yet is legal.
    pub addresses: Vec<IpAddr>,
    /// What its labels and policies come to; `None` for a pod in its node's network, whose
    /// addresses are the node's.
    pub identity: Option<IdentityId>,
    /// The node that it runs on, where it is known.
    pub node: Option<NodeId>,
}

/// The tiers of policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// ClusterNetworkPolicies that are asked first.
    Admin,
    /// NetworkPolicies.
    NetworkPolicy,
    /// ClusterNetworkPolicies that are asked last.
    Baseline,
}

/// A node of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// The node's name.
    pub name: Box<str>,
    /// The node's own addresses.
    pub addresses: Vec<IpAddr>,
    /// The groups that it is in, as a peer; sorted.
    pub groups: Arc<[GroupId]>,
}

/// What people call a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its kind, such as `NetworkPolicy`.
    pub kind: &'static str,
    /// `namespace/name`, or the name of a policy without a namespace.
    pub name: Box<str>,
    /// The names of its rules by direction ([`Direction::Egress`] first); empty where they have
    /// none.
    pub rule_names: [Vec<Box<str>>; 2],
}

/// A direction as the endpoint sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// What the endpoint sends.
    Egress,
    /// What the endpoint receives.
    Ingress,
}

/// Who holds an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Party {
    /// A pod.
    Pod(EndpointId),
    /// A node, or a pod in the node's own network.
    Node(NodeId),
    /// Nobody in the cluster.
    External,
}

/// A compiled table of one revision.
#[derive(Debug, Clone)]
pub struct Table {
    revision: u64,
    local_node: Option<NodeId>,
    endpoints: Slots<Arc<Endpoint>>,
    identities: Slots<Identity>,
    nodes: Slots<Arc<Node>>,
    policies: Slots<Arc<Policy>>,
    parties: Parties,
    names: SharedMap<Box<str>, EndpointId>,
    blocks: Arc<BlockTrie>,
    access_lists: Arc<[Arc<AccessList>]>,
}

impl Table {
    /// The empty table of the start, of revision 0: nobody is known.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            revision: 0,
            local_node: None,
            endpoints: Slots::new(),
            identities: Slots::new(),
            nodes: Slots::new(),
            policies: Slots::new(),
            parties: Parties::new(),
            names: SharedMap::new(),
            blocks: Arc::default(),
            access_lists: Arc::default(),
        }
    }

    /// The same table under another revision.
    #[must_use]
    pub fn with_revision(mut self, revision: u64) -> Self {
        self.revision = revision;
        self
    }

    /// The revision under which the table was published.
    #[inline]
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The node that this Sluice runs on, where it is known.
    #[must_use]
    pub fn local_node(&self) -> Option<NodeId> {
        self.local_node
    }

    /// Who holds `address` on `network`.
    #[inline]
    #[must_use]
    pub fn party(&self, network: NetworkId, address: IpAddr) -> Party {
        self.holder(network, address).party()
    }

    /// Who holds `address` on `network`, with what a judgement begins with. It reads one cache
    /// line.
    #[inline]
    #[must_use]
    pub fn holder(&self, network: NetworkId, address: IpAddr) -> Holder {
        *self.parties.get(network, address)
    }

    /// Reads where `address` should lie, so that [`Table::holder`] need not wait afterwards. Some
    /// of its bits are given back, for the caller to hand to [`std::hint::black_box`]: many in
    /// a row are read at the same time.
    #[inline]
    #[must_use]
    pub fn touch(&self, network: NetworkId, address: IpAddr) -> u32 {
        self.parties.touch(network, address)
    }

    /// The holder that a pod is; external where there is no such pod.
    pub(crate) fn holder_of(&self, id: EndpointId) -> Holder {
        let holder = |it: &Endpoint| Holder::pod(id, it.identity, it.node);
        self.endpoint(id).map_or(Holder::EXTERNAL, holder)
    }

    /// The identity of a pod; for everybody else one without policies, in no group.
    #[inline]
    pub(crate) fn identity_or_none(&self, holder: Holder) -> &Identity {
        const NONE: &Identity = &Identity::NONE;
        holder.identity().and_then(|id| self.identity(id)).unwrap_or(NONE)
    }

    /// The endpoint with this `namespace/name`.
    #[must_use]
    pub fn endpoint_named(&self, name: &str) -> Option<EndpointId> {
        self.names.get(name).copied()
    }

    /// An endpoint by its number.
    #[inline]
    #[must_use]
    pub fn endpoint(&self, id: EndpointId) -> Option<&Endpoint> {
        self.endpoints.get(id.index()).map(|endpoint| &**endpoint)
    }

    /// How many numbers of endpoints there are, about.
    #[inline]
    pub(crate) fn endpoints_len(&self) -> usize {
        self.endpoints.places()
    }

    /// All endpoints, in the order of their numbers.
    pub fn endpoints(&self) -> impl Iterator<Item = (EndpointId, &Endpoint)> {
        self.endpoints.iter().map(|(id, endpoint)| (EndpointId(id), &**endpoint))
    }

    /// An identity by its number.
    #[inline]
    #[must_use]
    pub fn identity(&self, id: IdentityId) -> Option<&Identity> {
        self.identities.get(id.index())
    }

    /// All identities, in the order of their numbers.
    pub fn identities(&self) -> impl Iterator<Item = (IdentityId, &Identity)> {
        self.identities.iter().map(|(id, identity)| (IdentityId(id), identity))
    }

    /// A node by its number.
    #[inline]
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.index()).map(|node| &**node)
    }

    /// All nodes, in the order of their numbers.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().map(|(id, node)| (NodeId(id), &**node))
    }

    /// A policy by its number.
    #[must_use]
    pub fn policy(&self, id: PolicyId) -> Option<&Policy> {
        self.policies.get(id.index()).map(|policy| &**policy)
    }

    /// All policies, in the order of their numbers.
    pub fn policies(&self) -> impl Iterator<Item = (PolicyId, &Policy)> {
        self.policies.iter().map(|(id, policy)| (PolicyId(id), &**policy))
    }

    /// The blocks that rules name.
    #[inline]
    #[must_use]
    pub fn blocks(&self) -> &BlockTrie {
        &self.blocks
    }

    /// The access lists, in the order in which they are asked.
    #[inline]
    #[must_use]
    pub fn access_lists(&self) -> &[Arc<AccessList>] {
        &self.access_lists
    }

    /// The identity of a pod; `None` for everybody else.
    #[inline]
    #[must_use]
    pub fn identity_of(&self, party: Party) -> Option<&Identity> {
        let Party::Pod(endpoint) = party else { return None };
        self.identity(self.endpoint(endpoint)?.identity?)
    }
}

/// Equal lists under equal numbers; who holds which address follows from them.
impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.revision == other.revision
            && self.local_node == other.local_node
            && self.endpoints == other.endpoints
            && self.identities == other.identities
            && self.nodes == other.nodes
            && self.policies == other.policies
            && self.blocks == other.blocks
            && self.access_lists == other.access_lists
    }
}

impl Policy {
    /// The name of one of its rules, if it has one.
    #[must_use]
    pub fn rule_name(&self, direction: Direction, index: u32) -> Option<&str> {
        let [egress, ingress] = &self.rule_names;
        let names = match direction {
            Direction::Egress => egress,
            Direction::Ingress => ingress,
        };
        names.get(index as usize).map(|name| &**name).filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests;
