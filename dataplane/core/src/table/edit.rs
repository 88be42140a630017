//! How a table comes from the one before it.

use std::net::IpAddr;
use std::sync::Arc;

use super::{
    AccessList, Endpoint, EndpointId, Holder, Identity, IdentityId, Node, NodeId, Policy, PolicyId,
    Table,
};
use crate::address::NetworkId;
use crate::blocks::{Block, BlockId, BlockTrie};

/// A table in the making. What is not set stays as it was.
///
/// Numbers are the editor's to give; those of a list should be close together. An address
/// belongs to whom it was given last.
#[derive(Debug)]
pub struct Edit(Table);

impl Table {
    /// Begins a new table with everything that this one has.
    #[must_use]
    pub fn edit(&self) -> Edit {
        Edit(self.clone())
    }
}

impl Edit {
    /// The new table, under its revision.
    #[must_use]
    pub fn finish(self, revision: u64) -> Table {
        self.0.with_revision(revision)
    }

    /// Says which node this is.
    pub fn set_local_node(&mut self, node: Option<NodeId>) -> &mut Self {
        self.0.local_node = node;
        self
    }

    /// Adds, replaces or removes a pod.
    pub fn set_endpoint(&mut self, id: EndpointId, endpoint: Option<Endpoint>) -> &mut Self {
        let before = self.0.endpoints.set(id.index(), endpoint.clone().map(Arc::new));
        if let Some(before) = before {
            self.0.names.remove_if(&before.name, |known| *known == id);
            let holder = Holder::pod(id, before.identity, before.node);
            self.forget(holder, before.network, &before.addresses);
        }
        if let Some(endpoint) = endpoint {
            // In its node's network a pod has no address of its own.
            if endpoint.identity.is_some() {
                let holder = Holder::pod(id, endpoint.identity, endpoint.node);
                self.assign(holder, endpoint.network, &endpoint.addresses);
            }
            self.0.names.insert(endpoint.name, id);
        }
        self
    }

    /// Adds, replaces or removes an identity.
    pub fn set_identity(&mut self, id: IdentityId, identity: Option<Identity>) -> &mut Self {
        self.0.identities.set(id.index(), identity);
        self
    }

    /// Adds, replaces or removes a node.
    pub fn set_node(&mut self, id: NodeId, node: Option<Node>) -> &mut Self {
        let holder = Holder::of_node(id);
        let before = self.0.nodes.set(id.index(), node.clone().map(Arc::new));
        if let Some(before) = before {
            self.forget(holder, NetworkId::DEFAULT, &before.addresses);
        }
        if let Some(node) = node {
            self.assign(holder, NetworkId::DEFAULT, &node.addresses);
        }
        self
    }

    /// Adds, replaces or removes what people call a policy.
    pub fn set_policy(&mut self, id: PolicyId, policy: Option<Policy>) -> &mut Self {
        self.0.policies.set(id.index(), policy.map(Arc::new));
        self
    }

    /// Replaces all blocks.
    pub fn set_blocks(&mut self, blocks: BlockTrie) -> &mut Self {
        self.0.blocks = Arc::new(blocks);
        self
    }

    /// Adds a block, under an id that no other has.
    pub fn insert_block(&mut self, id: BlockId, block: &Block) -> &mut Self {
        Arc::make_mut(&mut self.0.blocks).insert(id, block);
        self
    }

    /// Takes out the block that was added under an id.
    pub fn remove_block(&mut self, id: BlockId, block: &Block) -> &mut Self {
        Arc::make_mut(&mut self.0.blocks).remove(id, block);
        self
    }

    /// Replaces all access lists; the first is asked first.
    pub fn set_access_lists(&mut self, lists: Vec<Arc<AccessList>>) -> &mut Self {
        self.0.access_lists = lists.into();
        self
    }

    fn assign(&mut self, holder: Holder, network: NetworkId, addresses: &[IpAddr]) {
        for &address in addresses {
            self.0.parties.insert(network, address, holder);
        }
    }

    fn forget(&mut self, holder: Holder, network: NetworkId, addresses: &[IpAddr]) {
        for &address in addresses {
            // Somebody else may have it by now.
            self.0.parties.remove_if(network, address, holder);
        }
    }
}
