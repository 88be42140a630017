//! Who plays in the stories of `judge` and `engine`, and what the tables say of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use sluice_core::address::{Mac, NetworkId};
use sluice_core::blocks::{Block, BlockId, BlockTrie};
use sluice_core::classifier::{PortRange, Rule};
use sluice_core::ports::{PortMatch, PortSet, Rank, SCTP, TCP, UDP};
use sluice_core::table::{
    AccessList, AccessRule, Action, Edit, Endpoint, EndpointId, GroupId, Identity, IdentityId,
    Node, NodeId, PolicyId, PolicySet, PolicySetParts, RuleRef, Table, Tiers,
};

/// A network whose pods and stations have addresses of the first one, too.
pub(crate) const OTHER_NETWORK: NetworkId = NetworkId(1);

/// Host N has the MAC 02:00:00:00:00:0N and the addresses 10.0.0.N and fd00::N; the last one has
/// the addresses of the server, on a network of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Host(pub(crate) u8);

impl Host {
    pub(crate) const CLIENT: Self = Self(0);
    pub(crate) const SERVER: Self = Self(1);
    /// A pod on the far side of the uplink.
    pub(crate) const FAR: Self = Self(2);
    /// Another node.
    pub(crate) const THERE: Self = Self(3);
    /// This node.
    pub(crate) const NODE: Self = Self(4);
    /// Nobody in the cluster; a rule names its address.
    pub(crate) const OUTSIDE: Self = Self(5);
    /// A pod that not every table knows, and that one table gives the server's addresses.
    pub(crate) const LATE: Self = Self(6);
    /// A pod on the other network.
    pub(crate) const TWIN: Self = Self(7);
    pub(crate) const COUNT: u8 = 8;

    pub(crate) fn mac(self) -> Mac {
        Mac([2, 0, 0, 0, 0, self.0])
    }

    pub(crate) fn v4(self) -> [u8; 4] {
        [10, 0, 0, self.last_octet()]
    }

    pub(crate) fn v6(self) -> [u8; 16] {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, self.last_octet().into()).octets()
    }

    pub(crate) fn addresses(self) -> Vec<IpAddr> {
        vec![self.v4().into(), self.v6().into()]
    }

    fn last_octet(self) -> u8 {
        if self == Self::TWIN { Self::SERVER.0 } else { self.0 }
    }
}

/// A pod, by the number of its endpoint, its identity and its group.
pub(crate) const PODS: [(&str, Host); 5] = [
    ("shop/client", Host::CLIENT),
    ("shop/server", Host::SERVER),
    ("shop/far", Host::FAR),
    ("shop/late", Host::LATE),
    ("other/twin", Host::TWIN),
];

const CLIENT_GROUP: GroupId = GroupId(0);
const SERVER_GROUP: GroupId = GroupId(1);
const OUTSIDE_BLOCK: BlockId = BlockId(0);

/// The table of a number, of which there are sixteen: who is in it and what they may do.
///
/// | | |
/// |---|---|
/// | 0 | the client may open ports 80 to 83 to the server and to 10.0.0.5/32; both are isolated |
/// | 1 | they may do nothing, and the twin is not there |
/// | 2 | as 0, without the server |
/// | 3 | nobody is isolated, and the late pod is there |
/// | 4 | as 0 for all protocols and ports, and the late pod is there |
/// | 5 | as 0 the other way round, and the late pod is there |
/// | 6 | as 3, but the server's addresses are the late pod's |
/// | 7 | as 3, but the server takes what its tiers say: UDP 81 no, TCP 82 to 84 yes, else no |
/// | 8 to 15 | as 8 less, behind an access list |
pub(crate) fn edit(number: u8) -> Edit {
    let (has_list, number) = (number % 16 >= 8, number % 8);
    let mut edit = Table::empty().edit();
    for ((name, host), id) in PODS.iter().zip(0..) {
        let [egress, ingress] = tiers(number, *host);
        let identity = Identity::new(&[GroupId(id)], egress, ingress);
        edit.set_identity(IdentityId(id), Some(identity));
        let addresses = match (*host, number) {
            (Host::SERVER, 2 | 6) | (Host::LATE, 0..=2) | (Host::TWIN, 1) => continue,
            (Host::LATE, 6) => Host::SERVER.addresses(),
            _ => host.addresses(),
        };
        let endpoint = Endpoint {
            name: (*name).into(),
            network: if *host == Host::TWIN { OTHER_NETWORK } else { NetworkId::DEFAULT },
            addresses,
            identity: Some(IdentityId(id)),
            node: Some(NodeId(if *host == Host::FAR { 1 } else { 0 })),
        };
        edit.set_endpoint(EndpointId(id), Some(endpoint));
    }
    for ((name, host), id) in [("here", Host::NODE), ("there", Host::THERE)].iter().zip(0..) {
        let addresses = host.addresses();
        let node = Node { name: (*name).into(), addresses, ..Node::default() };
        edit.set_node(NodeId(id), Some(node));
    }
    edit.set_local_node(Some(NodeId(0)));
    edit.set_blocks(BlockTrie::new([(OUTSIDE_BLOCK, &outside())].into_iter()));
    if has_list {
        edit.set_access_lists(vec![Arc::new(access_list())]);
    }
    edit
}

/// The client alone may open TCP 80 to 82, and by IPv6 it may open nothing; nobody may send UDP
/// from port 91.
fn access_list() -> AccessList {
    let [v4, v6] =
        [IpAddr::from(Host::CLIENT.v4()), IpAddr::from(Host::CLIENT.v6())].map(IpNet::from);
    let range = |first, last| Some(PortRange { first, last });
    let web = Rule { protocol: Some(TCP), destination_ports: range(80, 82), ..Rule::default() };
    let from_91 = Rule { protocol: Some(UDP), source_ports: range(91, 91), ..Rule::default() };
    let rules = [
        (false, Rule { source: Some(v4), ..web }),
        (true, web),
        (true, Rule { source: Some(v6), ..Rule::default() }),
        (true, from_91),
    ];
    let place = |(priority, denies)| AccessRule { priority, denies };
    let rules = (0..).zip(&rules).map(|(number, (denies, rule))| (place((number, *denies)), rule));
    AccessList::new("edge", rules)
}

fn outside() -> Block {
    let net = Ipv4Net::new_assert(Ipv4Addr::from(Host::OUTSIDE.v4()), 32);
    Block { cidr: IpNet::V4(net), except: Vec::new() }
}

/// What speaks for a pod, egress first.
fn tiers(number: u8, host: Host) -> [Tiers; 2] {
    let web = [TCP, UDP, SCTP]
        .map(|protocol| (PortMatch::Range { protocol, first: 80, last: 83 }, Rank(0)));
    let all = [(PortMatch::Any, Rank(0))];
    let admits = |peer| match number {
        0 | 2 | 5 => isolated(Some((peer, PortSet::new(&web)))),
        4 => isolated(Some((peer, PortSet::new(&all)))),
        _ => isolated(None),
    };
    let nothing = || isolated(None);
    match (number, host) {
        (0 | 1 | 2 | 4, Host::CLIENT) => [admits(SERVER_GROUP), nothing()],
        (0 | 1 | 2 | 4, Host::SERVER) => [nothing(), admits(CLIENT_GROUP)],
        (5, Host::SERVER) => [admits(CLIENT_GROUP), nothing()],
        (5, Host::CLIENT) => [nothing(), admits(SERVER_GROUP)],
        (7, Host::SERVER) => [Tiers::default(), tiered()],
        _ => [Tiers::default(), Tiers::default()],
    }
}

/// NetworkPolicies that admit these ports of a group and of the block outside, if any.
fn isolated(admitted: Option<(GroupId, PortSet)>) -> Tiers {
    let ports = admitted.map(|(peer, ports)| (peer, Arc::new(ports)));
    let set = PolicySet::new(&PolicySetParts {
        rules: vec![rule(0, Action::Accept)],
        by_group: ports.iter().cloned().collect(),
        by_block: ports.into_iter().map(|(_, ports)| (OUTSIDE_BLOCK, ports)).collect(),
        ..PolicySetParts::default()
    });
    Tiers { network_policy: Some(set), ..Tiers::default() }
}

/// The Admin tier denies UDP 81 and accepts TCP 82 to 84, the Baseline tier denies the rest.
fn tiered() -> Tiers {
    let admin = PortSet::new(&[
        (PortMatch::Range { protocol: UDP, first: 81, last: 81 }, Rank(0)),
        (PortMatch::Range { protocol: TCP, first: 82, last: 84 }, Rank(1)),
    ]);
    let rest = PortSet::new(&[(PortMatch::Any, Rank(0))]);
    let set = |rules, ports| {
        let any_peer = Some(Arc::new(ports));
        let parts = PolicySetParts { rules, any_peer, ..PolicySetParts::default() };
        Some(PolicySet::new(&parts))
    };
    Tiers {
        admin: set(vec![rule(0, Action::Deny), rule(1, Action::Accept)], admin),
        baseline: set(vec![rule(0, Action::Deny)], rest),
        ..Tiers::default()
    }
}

fn rule(index: u32, action: Action) -> RuleRef {
    RuleRef { policy: PolicyId(0), index, action }
}
