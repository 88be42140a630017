//! Who holds which address.

use std::net::IpAddr;

use super::{EndpointId, IdentityId, NodeId, Party};
use crate::address::NetworkId;
use crate::buckets::{Buckets, Key, Seeds, Value};

/// Who holds an address, with all that a judgement begins with: nothing else need be looked up
/// to know whose policies are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// [`NONE`] for who is no pod.
    endpoint: u32,
    /// [`NONE`] for who is no pod.
    identity: u32,
    /// The node itself, or the node that a pod runs on; [`NONE`] where there is none.
    node: u32,
}

const NONE: u32 = u32::MAX;

impl Holder {
    /// Nobody in the cluster.
    pub const EXTERNAL: Self = Self { endpoint: NONE, identity: NONE, node: NONE };

    /// A pod.
    pub(super) fn pod(
        endpoint: EndpointId,
        identity: Option<IdentityId>,
        node: Option<NodeId>,
    ) -> Self {
        Self {
            endpoint: endpoint.0,
            identity: identity.map_or(NONE, |it| it.0),
            node: node.map_or(NONE, |it| it.0),
        }
    }

    /// A node.
    pub(super) fn of_node(node: NodeId) -> Self {
        Self { node: node.0, ..Self::EXTERNAL }
    }

    /// Who it is.
    #[inline]
    #[must_use]
    pub fn party(self) -> Party {
        if self.endpoint != NONE {
            Party::Pod(EndpointId(self.endpoint))
        } else if self.node != NONE {
            Party::Node(NodeId(self.node))
        } else {
            Party::External
        }
    }

    /// The endpoint of a pod.
    #[inline]
    #[must_use]
    pub fn endpoint(self) -> Option<EndpointId> {
        (self.endpoint != NONE).then_some(EndpointId(self.endpoint))
    }

    /// The identity of a pod.
    #[inline]
    #[must_use]
    pub fn identity(self) -> Option<IdentityId> {
        (self.identity != NONE).then_some(IdentityId(self.identity))
    }

    /// The node itself, or the one that a pod runs on, where it is known.
    #[inline]
    #[must_use]
    pub fn node(self) -> Option<NodeId> {
        (self.node != NONE).then_some(NodeId(self.node))
    }

    #[inline]
    pub(crate) fn is_pod(self) -> bool {
        self.endpoint != NONE
    }

    #[inline]
    pub(crate) fn is_node(self) -> bool {
        self.endpoint == NONE && self.node != NONE
    }
}

impl Value for Holder {
    const NONE: Self = Self::EXTERNAL;

    #[inline]
    fn is_some(&self) -> bool {
        self.endpoint & self.node != NONE
    }

    #[inline]
    fn bits(&self) -> u32 {
        self.endpoint
    }
}

/// An IPv4 address on the default network: with its holder, four of them are a cache line.
impl Key for u32 {
    #[inline]
    fn hash(&self, seeds: Seeds) -> u64 {
        // The number alone would leave half of the factor empty.
        seeds.mix(u64::from(*self) << 32 | u64::from(*self), 0)
    }
}

/// Any other address: with its holder, two of them are a cache line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wide {
    address: [u32; 4],
    network: NetworkId,
    is_ipv4: bool,
}

impl Wide {
    fn new(network: NetworkId, address: IpAddr) -> Self {
        let (bits, is_ipv4) = match address {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), true),
            IpAddr::V6(v6) => (v6.to_bits(), false),
        };
        #[expect(clippy::cast_possible_truncation, reason = "a word at a time is meant")]
        let address = [96, 64, 32, 0].map(|shift| (bits >> shift) as u32);
        Self { address, network, is_ipv4 }
    }
}

impl Key for Wide {
    #[inline]
    fn hash(&self, seeds: Seeds) -> u64 {
        let [a, b, c, d] = self.address.map(u64::from);
        let network = u64::from(self.network.0) << 1 | u64::from(self.is_ipv4);
        seeds.mix(seeds.mix(a << 32 | b, network), c << 32 | d)
    }
}

/// Finds holders by network and address.
#[derive(Debug, Clone)]
pub(super) struct Parties {
    /// IPv4 on the default network, which is where nearly all pods are.
    narrow: Buckets<u32, Holder, 4>,
    wide: Buckets<Wide, Holder, 2>,
}

/// Where an address is looked for.
enum Where {
    Narrow(u32),
    Wide(Wide),
}

impl Where {
    #[inline]
    fn of(network: NetworkId, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) if network == NetworkId::DEFAULT => Self::Narrow(v4.to_bits()),
            _ => Self::Wide(Wide::new(network, address)),
        }
    }
}

impl Parties {
    pub(super) fn new() -> Self {
        let any = Wide { address: [0; 4], network: NetworkId::DEFAULT, is_ipv4: true };
        Self { narrow: Buckets::new(0), wide: Buckets::new(any) }
    }

    #[inline(always)]
    pub(super) fn get(&self, network: NetworkId, address: IpAddr) -> &Holder {
        match Where::of(network, address) {
            Where::Narrow(key) => self.narrow.get(&key),
            Where::Wide(key) => self.get_wide(&key),
        }
    }

    /// Apart, so that the other way stays short wherever it is inlined.
    #[inline(never)]
    fn get_wide(&self, key: &Wide) -> &Holder {
        self.wide.get(key)
    }

    /// Reads where an address should lie.
    #[inline]
    pub(super) fn touch(&self, network: NetworkId, address: IpAddr) -> u32 {
        match Where::of(network, address) {
            Where::Narrow(key) => self.narrow.touch(&key),
            Where::Wide(key) => self.wide.touch(&key),
        }
    }

    pub(super) fn insert(&mut self, network: NetworkId, address: IpAddr, holder: Holder) {
        match Where::of(network, address) {
            Where::Narrow(key) => self.narrow.insert(key, holder),
            Where::Wide(key) => self.wide.insert(key, holder),
        }
    }

    /// Takes an address from `holder`, if it is the one that holds it.
    pub(super) fn remove_if(&mut self, network: NetworkId, address: IpAddr, holder: Holder) {
        match Where::of(network, address) {
            Where::Narrow(key) => self.narrow.remove_if(&key, holder),
            Where::Wide(key) => self.wide.remove_if(&key, holder),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Few addresses of each kind, of which some look alike.
    fn any_place() -> impl Strategy<Value = (NetworkId, IpAddr)> {
        let address = (0u8..4, 0u8..6).prop_map(|(kind, n)| match kind {
            0 => IpAddr::from([0, 0, 0, n]),
            1 => IpAddr::from([10, 0, 0, n]),
            2 => IpAddr::from([0, 0, 0, 0, 0, 0, 0, u16::from(n)]),
            _ => IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0, u16::from(n)]),
        });
        ((0u16..2).prop_map(NetworkId), address)
    }

    fn any_holder() -> impl Strategy<Value = Holder> {
        let node = prop::option::of((0u32..3).prop_map(NodeId));
        let pod = (0u32..3, 0u32..3, node).prop_map(|(id, identity, node)| {
            Holder::pod(EndpointId(id), Some(IdentityId(identity)), node)
        });
        prop_oneof![pod, (0u32..3).prop_map(|node| Holder::of_node(NodeId(node)))]
    }

    proptest! {
        #[test]
        fn each_address_of_each_network_is_a_stranger_to_all_others(
            changes in prop::collection::vec((any_place(), any_holder(), any::<bool>()), 0..60),
            asked in any_place(),
        ) {
            let mut parties = Parties::new();
            let mut plain = BTreeMap::new();
            for ((network, address), holder, stays) in changes {
                if stays {
                    parties.insert(network, address, holder);
                    plain.insert((network, address), holder);
                } else {
                    parties.remove_if(network, address, holder);
                    if plain.get(&(network, address)) == Some(&holder) {
                        plain.remove(&(network, address));
                    }
                }
            }
            let expected = plain.get(&asked).copied().unwrap_or(Holder::EXTERNAL);
            prop_assert_eq!(*parties.get(asked.0, asked.1), expected);
        }
    }

    #[test]
    fn entries_fill_a_cache_line() {
        assert_eq!(size_of::<Holder>(), 12);
        assert_eq!((size_of::<(u32, Holder)>(), size_of::<(Wide, Holder)>()), (16, 32));
    }
}
