//! The compiled table: who an address is, and what each of them may do.
//!
//! A table is immutable. The compiler describes it as a [`TableSpec`]; [`Table::new`] builds
//! the look-up structures. Peers are found by identity and by address block, ports by
//! [`PortSet`], and the two are never multiplied with each other.
//!
//! ```text
//! address --(exact)--> Party::Pod --> identity --> policy set --+-- any peer ----> port set
//!         \-(exact)--> Party::Node                              +-- identity ----> port set
//!         \-(trie)---> blocks                                   +-- block -------> port set
//! ```

use std::collections::HashMap;
use std::net::IpAddr;

use crate::address::NetworkId;
use crate::blocks::{Block, BlockId, BlockTrie};
use crate::ports::PortSet;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// The place in the slice that this number counts through.
            #[inline]
            #[must_use]
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

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
    /// The number of a policy's name in a table.
    PolicyId
);
number!(
    /// The number of a [`PolicySet`] of a table.
    PolicySetId
);
number!(
    /// The number of a [`PortSet`] of a table.
    PortSetId
);
number!(
    /// The number of a [`Rule`] of a table.
    RuleId
);

/// Everything that a table is made of, as plain lists. An id is a place in its list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableSpec {
    /// The pods.
    pub endpoints: Vec<Endpoint>,
    /// What pods with the same labels share.
    pub identities: Vec<Identity>,
    /// The nodes of the cluster.
    pub nodes: Vec<Node>,
    /// The node that this Sluice runs on, where it is known.
    pub local_node: Option<NodeId>,
    /// The distinct sets of policies that select some pod.
    pub policy_sets: Vec<PolicySet>,
    /// The distinct address blocks that rules name.
    pub blocks: Vec<Block>,
    /// The distinct unions of ports that rules admit.
    pub port_sets: Vec<PortSet>,
    /// Where each rule was written.
    pub rules: Vec<Rule>,
    /// The names of the policies, `namespace/name`.
    pub policies: Vec<Box<str>>,
}

/// A pod's attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `namespace/name`.
    pub name: Box<str>,
    /// The network on which `addresses` are valid.
    pub network: NetworkId,
    /// The pod's own addresses; none yet is legal.
    pub addresses: Vec<IpAddr>,
    /// What its labels and policies come to.
    pub identity: IdentityId,
    /// The node that it runs on, where it is known.
    pub node: Option<NodeId>,
}

/// The policies of a pod; pods of one namespace with the same labels and named ports share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The policies that isolate it for egress; `None` where none does.
    pub egress: Option<PolicySetId>,
    /// The policies that isolate it for ingress; `None` where none does.
    pub ingress: Option<PolicySetId>,
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The node's name.
    pub name: Box<str>,
    /// The node's own addresses.
    pub addresses: Vec<IpAddr>,
}

/// The union of the policies that select a pod in one direction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicySet {
    /// The policies, sorted.
    pub policies: Vec<PolicyId>,
    /// What every peer is admitted to.
    pub any_peer: Option<PortSetId>,
    /// What pods are admitted to, by their identity.
    pub by_identity: Vec<(IdentityId, PortSetId)>,
    /// What addresses are admitted to, by the block that holds them. Blocks match pods too.
    pub by_block: Vec<(BlockId, PortSetId)>,
}

/// Where a rule was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The policy that holds it.
    pub policy: PolicyId,
    /// The direction of the list that it stands in.
    pub direction: Direction,
    /// Its place in that list, counted from 0.
    pub index: u32,
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
#[derive(Debug)]
pub struct Table {
    revision: u64,
    spec: TableSpec,
    parties: HashMap<(NetworkId, IpAddr), Party, ahash::RandomState>,
    endpoints: HashMap<Box<str>, EndpointId, ahash::RandomState>,
    blocks: BlockTrie,
    policy_sets: Vec<PolicySetIndex>,
}

/// A policy set with its lists turned into maps.
#[derive(Debug)]
struct PolicySetIndex {
    any_peer: Option<PortSetId>,
    by_identity: HashMap<IdentityId, PortSetId, ahash::RandomState>,
    by_block: HashMap<BlockId, PortSetId, ahash::RandomState>,
}

impl Table {
    /// Builds the look-up structures of `spec`.
    ///
    /// Where a pod and a node hold the same address on network 0 the node is meant, since such
    /// a pod lives in the node's own network. An id that points outside its list finds nothing.
    #[must_use]
    pub fn new(revision: u64, spec: TableSpec) -> Self {
        let mut parties = HashMap::default();
        let mut endpoints = HashMap::default();
        for (endpoint, number) in spec.endpoints.iter().zip(0u32..) {
            endpoints.insert(endpoint.name.clone(), EndpointId(number));
            for &address in &endpoint.addresses {
                parties.insert((endpoint.network, address), Party::Pod(EndpointId(number)));
            }
        }
        for (node, number) in spec.nodes.iter().zip(0u32..) {
            for &address in &node.addresses {
                parties.insert((NetworkId::DEFAULT, address), Party::Node(NodeId(number)));
            }
        }
        let blocks = BlockTrie::new(&spec.blocks);
        let policy_sets = spec
            .policy_sets
            .iter()
            .map(|set| PolicySetIndex {
                any_peer: set.any_peer,
                by_identity: set.by_identity.iter().copied().collect(),
                by_block: set.by_block.iter().copied().collect(),
            })
            .collect();
        Self { revision, spec, parties, endpoints, blocks, policy_sets }
    }

    /// The revision under which the table was published. 0 is the empty table of the start.
    #[inline]
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The lists that the table was built from.
    #[must_use]
    pub fn spec(&self) -> &TableSpec {
        &self.spec
    }

    /// Who holds `address` on `network`.
    #[inline]
    #[must_use]
    pub fn party(&self, network: NetworkId, address: IpAddr) -> Party {
        self.parties.get(&(network, address)).copied().unwrap_or(Party::External)
    }

    /// The endpoint with this `namespace/name`.
    #[must_use]
    pub fn endpoint_named(&self, name: &str) -> Option<EndpointId> {
        self.endpoints.get(name).copied()
    }

    /// An endpoint by its number.
    #[inline]
    #[must_use]
    pub fn endpoint(&self, id: EndpointId) -> Option<&Endpoint> {
        self.spec.endpoints.get(id.index())
    }

    /// Where a rule was written, and the name of its policy.
    #[must_use]
    pub fn rule(&self, id: RuleId) -> Option<(Rule, &str)> {
        let rule = *self.spec.rules.get(id.index())?;
        Some((rule, self.policy_name(rule.policy)?))
    }

    /// The name of a policy, `namespace/name`.
    #[must_use]
    pub fn policy_name(&self, id: PolicyId) -> Option<&str> {
        self.spec.policies.get(id.index()).map(|name| &**name)
    }

    /// The policies of `set`.
    #[must_use]
    pub fn policies_of(&self, set: PolicySetId) -> &[PolicyId] {
        self.spec.policy_sets.get(set.index()).map_or(&[], |set| &set.policies)
    }

    /// The rule of `set` that admits `peer` at `address` to `protocol` and `port`.
    #[inline]
    pub(crate) fn admitting_rule(
        &self,
        set: PolicySetId,
        peer: Option<IdentityId>,
        address: IpAddr,
        protocol: crate::ports::Protocol,
        port: Option<u16>,
    ) -> Option<RuleId> {
        let set = self.policy_sets.get(set.index())?;
        let find = |id: PortSetId| self.spec.port_sets.get(id.index())?.find(protocol, port);
        if let Some(rule) = set.any_peer.and_then(find) {
            return Some(rule);
        }
        let by_identity = peer.and_then(|peer| set.by_identity.get(&peer).copied());
        if let Some(rule) = by_identity.and_then(find) {
            return Some(rule);
        }
        if set.by_block.is_empty() {
            return None;
        }
        self.blocks
            .blocks_of(address)
            .iter()
            .find_map(|block| set.by_block.get(block).copied().and_then(find))
    }
}
