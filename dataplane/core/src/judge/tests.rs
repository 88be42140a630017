//! Stories: a small cluster, then packets and their verdicts.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use etherparse::{Icmpv4Type, PacketBuilder};

use super::*;
use crate::address::Mac;
use crate::classifier::{PortRange, Rule};
use crate::conntrack::Limits;
use crate::conntrack::state::Timeouts;
use crate::flow::FlowHasher;
use crate::ports::{PortMatch, PortSet, Rank};
use crate::table::{
    AccessList, AccessRule, Action, Direction, Edit, Endpoint, Identity, IdentityId, Node, NodeId,
    PolicyId, PolicySet, PolicySetParts, RuleRef, Tier, Tiers,
};

const NETWORK: NetworkId = NetworkId::DEFAULT;
const CLIENT: Host = Host(1);
const SERVER: Host = Host(2);
const STRANGER: Host = Host(9);

/// The host with address 10.0.0.N and MAC 02:00:00:00:00:0N.
#[derive(Clone, Copy)]
struct Host(u8);

impl Host {
    fn mac(self) -> Mac {
        Mac([2, 0, 0, 0, 0, self.0])
    }

    fn address(self) -> [u8; 4] {
        [10, 0, 0, self.0]
    }
}

/// `client` may open TCP 80 to `server`, which may open nothing. Both are isolated.
fn table(client_may: bool) -> Edit {
    let endpoint = |name: &str, host: Host, identity| Endpoint {
        name: name.into(),
        network: NETWORK,
        addresses: vec![IpAddr::from(host.address())],
        identity: Some(IdentityId(identity)),
        node: Some(NodeId(0)),
    };
    let ports = PortSet::new(&[
        (PortMatch::Range { protocol: TCP, first: 80, last: 80 }, Rank(0)),
        (PortMatch::Range { protocol: UDP, first: 53, last: 53 }, Rank(0)),
    ]);
    let set = |any_peer: Option<PortSet>| Tiers {
        network_policy: Some(PolicySet::new(&PolicySetParts {
            rules: vec![RuleRef { policy: PolicyId(0), index: 0, action: Action::Accept }],
            any_peer: any_peer.map(Arc::new),
            ..PolicySetParts::default()
        })),
        ..Tiers::default()
    };
    let (web, deny) = (set(client_may.then_some(ports)), set(None));
    let client = Identity::new(&[], web.clone(), deny.clone());
    let server = Identity::new(&[], deny, web);
    let here =
        Node { name: "here".into(), addresses: vec![[10, 0, 0, 254].into()], ..Node::default() };
    let mut edit = Table::empty().edit();
    edit.set_endpoint(EndpointId(0), Some(endpoint("shop/client", CLIENT, 0)))
        .set_endpoint(EndpointId(1), Some(endpoint("shop/server", SERVER, 1)))
        .set_identity(IdentityId(0), Some(client))
        .set_identity(IdentityId(1), Some(server))
        .set_node(NodeId(0), Some(here))
        .set_local_node(Some(NodeId(0)));
    edit
}

struct World {
    table: Table,
    residents: Residents,
    connections: Connections,
    hasher: FlowHasher,
    established: Established,
    now: Time,
}

impl World {
    fn new() -> Self {
        let hasher = FlowHasher::seeded(1);
        let table = table(true).finish(1);
        let mut residents = Residents::of(&table);
        for name in ["shop/client", "shop/server"] {
            residents.insert(&table, table.endpoint_named(name).unwrap());
        }
        let limits = Limits { connections_max: 16, account_connections_max: 32 };
        let connections = Connections::new(limits, Timeouts::default(), hasher.clone());
        Self {
            table,
            residents,
            connections,
            hasher,
            established: Established::Recheck,
            now: Time(1),
        }
    }

    fn port(&self, host: Host) -> Attachment {
        let name = match host.0 {
            1 => "shop/client",
            2 => "shop/server",
            254 => return Attachment::Host,
            _ => return Attachment::Uplink,
        };
        Attachment::Pod {
            mac: host.mac(),
            endpoint: self.table.endpoint_named(name),
            account: Account(host.0.into()),
        }
    }

    fn send(&mut self, from: Host, to: Host, frame: &[u8]) -> Verdict {
        let packet = Packet::parse(frame)?;
        let judge = Judge {
            table: &self.table,
            residents: &self.residents,
            established: self.established,
            midstream: false,
            now: self.now,
        };
        let (from, to) = (self.port(from), self.port(to));
        let ends = judge.ends(NETWORK, &packet);
        judge.guard(NETWORK, from, &packet, &ends)?;
        let flow = packet.ip().and_then(|ip| FlowOf::new(NETWORK, ip, &self.hasher));
        let crossing = Crossing {
            network: NETWORK,
            from,
            to,
            packet: &packet,
            flow: flow.as_ref(),
            ends: &ends,
        };
        judge.unicast(&mut self.connections, &crossing)
    }

    /// A segment without data: each side's SYN has number 1, and all else comes right behind it.
    fn tcp(&mut self, from: Host, to: Host, ports: (u16, u16), flags: &str) -> Verdict {
        let sequence = if flags.contains('S') { 1 } else { 2 };
        let mut builder = PacketBuilder::ethernet2(from.mac().0, to.mac().0)
            .ipv4(from.address(), to.address(), 64)
            .tcp(ports.0, ports.1, sequence, 1000);
        for flag in flags.chars() {
            builder = match flag {
                'S' => builder.syn(),
                'A' => builder.ack(2),
                'F' => builder.fin(),
                'R' => builder.rst(),
                _ => unreachable!(),
            };
        }
        let mut frame = Vec::new();
        builder.write(&mut frame, b"").unwrap();
        self.send(from, to, &frame)
    }

    fn udp(&mut self, from: Host, to: Host, ports: (u16, u16)) -> Verdict {
        let frame = udp_frame(from, to, ports);
        self.send(from, to, &frame)
    }

    fn handshake(&mut self) {
        assert_eq!(self.tcp(CLIENT, SERVER, (4000, 80), "S"), Ok(()));
        assert_eq!(self.tcp(SERVER, CLIENT, (80, 4000), "SA"), Ok(()));
        assert_eq!(self.tcp(CLIENT, SERVER, (4000, 80), "A"), Ok(()));
    }

    fn publish(&mut self, table: Edit) {
        self.table = table.finish(self.table.revision() + 1);
    }
}

fn udp_frame(from: Host, to: Host, ports: (u16, u16)) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(from.mac().0, to.mac().0)
        .ipv4(from.address(), to.address(), 64)
        .udp(ports.0, ports.1)
        .write(&mut frame, b"q")
        .unwrap();
    frame
}

#[test]
fn an_allowed_connection_passes_both_ways_though_the_reverse_is_denied() {
    let mut world = World::new();
    world.handshake();
    assert_eq!(world.tcp(SERVER, CLIENT, (80, 4000), "A"), Ok(()));
    assert_eq!(world.udp(CLIENT, SERVER, (5000, 53)), Ok(()));
    assert_eq!(world.udp(SERVER, CLIENT, (53, 5000)), Ok(()));
}

#[test]
fn what_no_rule_admits_is_denied_by_the_end_that_denies() {
    let mut world = World::new();
    assert_eq!(world.tcp(CLIENT, SERVER, (4000, 81), "S"), Err(DropReason::EgressDenied));
    assert_eq!(world.tcp(SERVER, CLIENT, (4000, 80), "S"), Err(DropReason::EgressDenied));
    assert_eq!(world.tcp(STRANGER, CLIENT, (4000, 80), "S"), Err(DropReason::IngressDenied));
    assert_eq!(world.tcp(STRANGER, SERVER, (4000, 80), "S"), Ok(()), "any peer is admitted");
    assert_eq!(world.connections.len(), 1, "a denial leaves nothing behind");
}

#[test]
fn a_packet_without_a_connection_begins_none() {
    let mut world = World::new();
    for flags in ["A", "SA", "FA", "R", "RA"] {
        assert_eq!(
            world.tcp(CLIENT, SERVER, (4000, 80), flags),
            Err(DropReason::NoConnection),
            "{flags}"
        );
    }
}

#[test]
fn a_syn_against_the_direction_is_judged_as_a_new_connection() {
    let mut world = World::new();
    world.handshake();
    assert_eq!(world.tcp(SERVER, CLIENT, (80, 4000), "S"), Err(DropReason::EgressDenied));
    assert_eq!(world.tcp(CLIENT, SERVER, (4000, 80), "A"), Ok(()), "the entry stays");
}

#[test]
fn a_closed_connection_is_opened_again_only_through_policy() {
    let mut world = World::new();
    world.handshake();
    assert_eq!(world.tcp(SERVER, CLIENT, (80, 4000), "RA"), Ok(()));
    world.publish(table(false));
    assert_eq!(world.tcp(CLIENT, SERVER, (4000, 80), "S"), Err(DropReason::EgressDenied));
}

#[test]
fn a_tightened_policy_stops_the_connection_at_its_next_packet() {
    let mut world = World::new();
    world.handshake();
    world.publish(table(true));
    assert_eq!(world.tcp(CLIENT, SERVER, (4000, 80), "A"), Ok(()), "still admitted");
    world.publish(table(false));
    assert_eq!(world.tcp(SERVER, CLIENT, (80, 4000), "A"), Err(DropReason::EgressDenied));
    assert!(world.connections.is_empty());
    world.publish(table(true));
    assert_eq!(world.tcp(CLIENT, SERVER, (4000, 80), "A"), Err(DropReason::NoConnection));
}

#[test]
fn keep_lets_established_connections_live_on_and_no_new_ones_begin() {
    let mut world = World::new();
    world.established = Established::Keep;
    world.handshake();
    world.publish(table(false));
    assert_eq!(world.tcp(SERVER, CLIENT, (80, 4000), "A"), Ok(()));
    assert_eq!(world.tcp(CLIENT, SERVER, (4001, 80), "S"), Err(DropReason::EgressDenied));
}

#[test]
fn a_full_table_drops_what_is_new_and_nothing_else() {
    let mut world = World::new();
    world.handshake();
    for port in 1..16 {
        assert_eq!(world.udp(CLIENT, SERVER, (port, 53)), Ok(()));
        assert_eq!(world.udp(SERVER, CLIENT, (53, port)), Ok(()));
        assert_eq!(world.udp(CLIENT, SERVER, (port, 53)), Ok(()), "and so it goes on");
    }
    assert_eq!(world.udp(CLIENT, SERVER, (16, 53)), Err(DropReason::ConntrackFull));
    assert_eq!(world.tcp(CLIENT, SERVER, (4000, 80), "A"), Ok(()));
}

#[test]
fn a_flood_finds_room_by_forgetting_itself_and_nothing_that_is_answered() {
    let mut world = World::new();
    world.handshake();
    for port in 1..100 {
        assert_eq!(world.udp(CLIENT, SERVER, (port, 53)), Ok(()));
    }
    assert_eq!(world.tcp(CLIENT, SERVER, (4000, 80), "A"), Ok(()));
    assert_eq!(world.udp(SERVER, CLIENT, (53, 1)), Err(DropReason::EgressDenied), "forgotten");
    assert_eq!(world.udp(SERVER, CLIENT, (53, 99)), Ok(()));
}

#[test]
fn a_silent_connection_ends() {
    let mut world = World::new();
    assert_eq!(world.udp(CLIENT, SERVER, (5000, 53)), Ok(()));
    world.now = world.now + Duration::from_secs(31);
    assert_eq!(world.udp(SERVER, CLIENT, (53, 5000)), Err(DropReason::EgressDenied));
}

#[test]
fn a_pod_speaks_as_itself_only() {
    let mut world = World::new();
    let mut wrong_mac = udp_frame(CLIENT, SERVER, (5000, 53));
    wrong_mac[6..12].copy_from_slice(&SERVER.mac().0);
    assert_eq!(world.send(CLIENT, SERVER, &wrong_mac), Err(DropReason::SpoofedMac));
    let mut wrong_address = udp_frame(STRANGER, SERVER, (5000, 53));
    wrong_address[6..12].copy_from_slice(&CLIENT.mac().0);
    assert_eq!(world.send(CLIENT, SERVER, &wrong_address), Err(DropReason::SpoofedAddress));
    let from_outside = udp_frame(CLIENT, SERVER, (5000, 53));
    assert_eq!(world.send(STRANGER, SERVER, &from_outside), Err(DropReason::SpoofedAddress));
    let as_the_node = udp_frame(Host(254), SERVER, (5000, 53));
    assert_eq!(world.send(STRANGER, SERVER, &as_the_node), Err(DropReason::SpoofedAddress));
}

#[test]
fn the_node_of_a_pod_that_is_here_is_this_node_even_if_nobody_says_so() {
    let mut world = World::new();
    let mut anonymous = table(true);
    anonymous.set_local_node(None);
    world.publish(anonymous);
    let mut residents = Residents::of(&world.table);
    residents.insert(&world.table, world.table.endpoint_named("shop/server").unwrap());
    world.residents = residents;
    let as_the_node = udp_frame(Host(254), SERVER, (5000, 9999));
    assert_eq!(world.send(STRANGER, SERVER, &as_the_node), Err(DropReason::SpoofedAddress));
}

#[test]
fn what_is_for_somebody_here_does_not_leave_by_an_uplink() {
    let mut world = World::new();
    for destination in [SERVER, Host(254)] {
        let frame = udp_frame(CLIENT, destination, (5000, 53));
        assert_eq!(world.send(CLIENT, STRANGER, &frame), Err(DropReason::ForeignDestination));
    }
}

#[test]
fn a_packet_reaches_only_the_pod_whose_address_it_bears() {
    let mut world = World::new();
    let mut misdirected = udp_frame(CLIENT, STRANGER, (5000, 53));
    misdirected[..6].copy_from_slice(&SERVER.mac().0);
    assert_eq!(world.send(CLIENT, SERVER, &misdirected), Err(DropReason::ForeignDestination));
}

#[test]
fn a_pod_and_its_node_reach_each_other_whatever_the_rules() {
    let mut world = World::new();
    let node = Host(254);
    assert_eq!(world.udp(node, CLIENT, (1, 9999)), Ok(()));
    let from_pod = udp_frame(SERVER, node, (9999, 1));
    assert_eq!(world.send(SERVER, node, &from_pod), Ok(()));
}

#[test]
fn an_unknown_pod_sends_and_receives_nothing() {
    let mut world = World::new();
    world.publish(Table::empty().edit());
    assert_eq!(world.udp(CLIENT, SERVER, (5000, 53)), Err(DropReason::UnknownEndpoint));
    assert_eq!(world.udp(STRANGER, SERVER, (5000, 53)), Err(DropReason::UnknownEndpoint));
}

fn access_list(rules: &[(u32, bool, Rule)]) -> Vec<Arc<AccessList>> {
    let rules = rules.iter().map(|(priority, denies, rule)| {
        (AccessRule { priority: *priority, denies: *denies }, rule)
    });
    vec![Arc::new(AccessList::new("edge", rules))]
}

#[test]
fn an_access_list_denies_what_policies_admit_and_opens_nothing() {
    let mut world = World::new();
    let http = Rule { destination_ports: Some(PortRange::one(80)), ..Rule::default() };
    let from_low = Rule { source_ports: Some(PortRange { first: 0, last: 1023 }), ..http };
    let mut edit = table(true);
    edit.set_access_lists(access_list(&[(1, true, from_low), (2, false, Rule::default())]));
    world.publish(edit);
    let denied = Err(DropReason::AccessDenied);
    assert_eq!(world.tcp(CLIENT, SERVER, (1023, 80), "S"), denied);
    assert_eq!(world.tcp(CLIENT, SERVER, (1024, 80), "S"), Ok(()));
    assert_eq!(world.tcp(CLIENT, SERVER, (1024, 81), "S"), Err(DropReason::EgressDenied));
}

#[test]
fn an_access_list_judges_connections_not_their_replies() {
    let mut world = World::new();
    let from_server =
        Rule { source: Some(IpAddr::from(SERVER.address()).into()), ..Rule::default() };
    let mut edit = table(true);
    edit.set_access_lists(access_list(&[(0, true, from_server)]));
    world.publish(edit);
    world.handshake();
}

#[test]
fn a_new_access_list_stops_the_connection_at_its_next_packet() {
    let mut world = World::new();
    world.handshake();
    let mut edit = table(true);
    edit.set_access_lists(access_list(&[(0, true, Rule::default())]));
    world.publish(edit);
    assert_eq!(world.tcp(CLIENT, SERVER, (4000, 80), "A"), Err(DropReason::AccessDenied));
}

fn error_about(quoted: &[u8], from: Host, to: Host) -> Vec<u8> {
    let mut frame = Vec::new();
    let unreachable = Icmpv4Type::DestinationUnreachable(
        etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 },
    );
    PacketBuilder::ethernet2(from.mac().0, to.mac().0)
        .ipv4(from.address(), to.address(), 64)
        .icmpv4(unreachable)
        .write(&mut frame, &quoted[14..42])
        .unwrap();
    frame
}

#[test]
fn an_icmp_error_rides_on_the_connection_that_caused_it() {
    let mut world = World::new();
    let cause = udp_frame(CLIENT, SERVER, (5000, 53));
    let from_router = error_about(&cause, STRANGER, CLIENT);
    assert_eq!(world.send(STRANGER, CLIENT, &from_router), Err(DropReason::UnrelatedIcmp));
    assert_eq!(world.send(CLIENT, SERVER, &cause), Ok(()));
    assert_eq!(world.send(STRANGER, CLIENT, &from_router), Ok(()), "any router may send it");
    // A pod is no router: it cannot speak of a packet that was not sent to it.
    let elsewhere = udp_frame(CLIENT, STRANGER, (5001, 53));
    let mut open = table(true);
    open.set_identity(IdentityId(0), Some(Identity::default()));
    world.publish(open);
    assert_eq!(world.send(CLIENT, STRANGER, &elsewhere), Ok(()));
    let forged = error_about(&elsewhere, SERVER, CLIENT);
    assert_eq!(world.send(SERVER, CLIENT, &forged), Err(DropReason::UnrelatedIcmp));
    // An error about a packet that the receiver did not send.
    let misdirected = error_about(&cause, STRANGER, SERVER);
    assert_eq!(world.send(STRANGER, SERVER, &misdirected), Err(DropReason::UnrelatedIcmp));
}

#[test]
fn an_echo_request_does_not_ride_on_the_reverse_echo() {
    let isolated = table(true).finish(1);
    let of = |id, direction| {
        let identity = isolated.identity(IdentityId(id)).unwrap();
        let network_policy = identity.set(direction, Tier::NetworkPolicy).cloned();
        Tiers { network_policy, ..Tiers::default() }
    };
    let client = Identity::new(&[], Tiers::default(), of(0, Direction::Ingress));
    let server = Identity::new(&[], of(1, Direction::Egress), Tiers::default());
    let mut open = isolated.edit();
    open.set_identity(IdentityId(0), Some(client));
    open.set_identity(IdentityId(1), Some(server));
    let mut world = World::new();
    world.publish(open);
    let echo = |id: u16, from: Host, to: Host, request: bool| {
        let builder = PacketBuilder::ethernet2(from.mac().0, to.mac().0).ipv4(
            from.address(),
            to.address(),
            64,
        );
        let builder = if request {
            builder.icmpv4_echo_request(id, 1)
        } else {
            builder.icmpv4_echo_reply(id, 1)
        };
        let mut frame = Vec::new();
        builder.write(&mut frame, b"ping").unwrap();
        frame
    };
    // 0 is the identifier that leaves nothing to tell the two directions apart by.
    for id in [77, 0] {
        let mut send = |from, to, request| world.send(from, to, &echo(id, from, to, request));
        assert_eq!(send(SERVER, CLIENT, false), Err(DropReason::NoConnection));
        assert_eq!(send(CLIENT, SERVER, true), Ok(()));
        assert_eq!(send(SERVER, CLIENT, false), Ok(()));
        assert_eq!(send(SERVER, CLIENT, true), Err(DropReason::EgressDenied), "{id}");
    }
}

#[test]
fn nothing_that_wants_a_connection_goes_to_a_group() {
    let world = World::new();
    let judge = Judge {
        table: &world.table,
        residents: &world.residents,
        established: Established::Recheck,
        midstream: false,
        now: world.now,
    };
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(STRANGER.mac().0, [1, 0, 0x5e, 0, 0, 1])
        .ipv4(STRANGER.address(), [224, 0, 0, 1], 64)
        .tcp(4000, 80, 1, 1000)
        .syn()
        .write(&mut frame, b"")
        .unwrap();
    let packet = Packet::parse(&frame).unwrap();
    assert_eq!(judge.group(NETWORK, &packet), Err(DropReason::NoConnection));
}

#[test]
fn a_unicast_packet_in_a_broadcast_frame_goes_nowhere() {
    let world = World::new();
    let judge = Judge {
        table: &world.table,
        residents: &world.residents,
        established: Established::Recheck,
        midstream: false,
        now: world.now,
    };
    let mut frame = udp_frame(STRANGER, SERVER, (5000, 53));
    frame[..6].fill(0xff);
    let packet = Packet::parse(&frame).unwrap();
    assert_eq!(judge.group(NETWORK, &packet), Err(DropReason::ForeignDestination));
    // To 255.255.255.255 it is judged pod by pod: the server admits UDP 53, the client does not.
    let mut frame = udp_frame(STRANGER, SERVER, (5000, 53));
    frame[..6].fill(0xff);
    let mut header = etherparse::Ipv4Header::from_slice(&frame[14..]).unwrap().0;
    header.destination = [255; 4];
    header.header_checksum = header.calc_header_checksum();
    frame[14..34].copy_from_slice(&header.to_bytes());
    let packet = Packet::parse(&frame).unwrap();
    assert_eq!(judge.group(NETWORK, &packet), Ok(()));
    let admitted = |name| {
        let endpoint = world.table.endpoint_named(name).unwrap();
        judge.admits_group(NETWORK, Attachment::Uplink, endpoint, &packet)
    };
    assert_eq!(admitted("shop/server"), Ok(()));
    assert_eq!(admitted("shop/client"), Err(DropReason::IngressDenied));
}
