//! A cluster whose pods are all here, packets between them, and the judge.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use etherparse::PacketBuilder;
use ipnet::IpNet;
use sluice_core::address::{Mac, NetworkId};
use sluice_core::checksum;
use sluice_core::classifier::generate::{self, Family, Shape};
use sluice_core::conntrack::state::Timeouts;
use sluice_core::conntrack::{Account, Connections, Limits};
use sluice_core::drop::DropReason;
use sluice_core::flow::FlowHasher;
use sluice_core::guard::{Attachment, Residents};
use sluice_core::judge::{Crossing, Established, FlowOf, Judge, Verdict};
use sluice_core::packet::Packet;
use sluice_core::policy::Attempt;
use sluice_core::ports::TCP;
use sluice_core::table::{Party, Table};
use sluice_core::time::Time;
use sluice_policy::compile::{CompileOptions, compile};
use sluice_policy::model::{
    AccessAction, AccessList, AccessRule, Block, LabelSelector, NetworkPolicy, Peer, Peers, Pod,
    PolicyPort, PolicyType, Port, Ports, Protocol, Rule, RuleSet,
};

use crate::Error;

pub(crate) const NETWORK: NetworkId = NetworkId::DEFAULT;
pub(crate) const NOW: Time = Time(1);

/// Policies admit it.
pub(crate) const HTTPS: u16 = 443;
/// Policies admit it, an access list denies it.
pub(crate) const HTTPS_TOO: u16 = 8443;
/// No policy admits it.
pub(crate) const TELNET: u16 = 23;

const NAMESPACES: u16 = 10;
/// Of a namespace: half of them clients, half of them servers.
const PODS: u16 = 20;
/// Blocks that servers admit besides, of each namespace.
const BLOCKS: u8 = 10;
/// Rules of the access list.
const RULES: usize = 2_000;

/// What a packet is of a flow from a client to a server, by the flow's number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) source_port: u16,
    pub(crate) port: u16,
}

/// A step of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Syn,
    SynAck,
    /// With data in it.
    Ack,
}

/// The cluster's table, its pods by MAC, and their connections.
pub(crate) struct World {
    pub(crate) table: Arc<Table>,
    residents: Residents,
    /// Of each pod by its place among all.
    attachments: Vec<Attachment>,
    hasher: FlowHasher,
    connections: Connections,
}

impl Flow {
    /// A flow of each number is another one.
    pub(crate) fn numbered(number: u16, family: Family, port: u16) -> Self {
        let namespace = number % NAMESPACES;
        let client = 2 * (number / NAMESPACES % (PODS / 2));
        let server = 2 * (number / 7 % (PODS / 2)) + 1;
        Self {
            source: address(family, namespace, client),
            destination: address(family, namespace, server),
            source_port: 0x8000 + number,
            port,
        }
    }

    pub(crate) fn attempt(&self) -> Attempt {
        Attempt {
            network: NETWORK,
            source: self.source,
            destination: self.destination,
            protocol: TCP,
            source_port: Some(self.source_port),
            port: Some(self.port),
        }
    }

    /// A frame of a TCP connection.
    pub(crate) fn tcp(&self, step: Step) -> Result<Vec<u8>, Error> {
        const WINDOW: u16 = 0x4000;
        let back = Self {
            source: self.destination,
            destination: self.source,
            source_port: self.port,
            port: self.source_port,
        };
        let from = if step == Step::SynAck { &back } else { self };
        let Mac(source_mac) = mac(from.source);
        let Mac(destination_mac) = mac(from.destination);
        let frame = PacketBuilder::ethernet2(source_mac, destination_mac);
        let packet = match (from.source, from.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.ipv4(source.octets(), destination.octets(), 64)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame.ipv6(source.octets(), destination.octets(), 64)
            }
            _ => return Err(Error::Failed("a flow between two families".to_owned())),
        };
        let tcp = |sequence| packet.tcp(from.source_port, from.port, sequence, WINDOW);
        let (packet, data): (_, &[u8]) = match step {
            Step::Syn => (tcp(0).syn(), &[]),
            Step::SynAck => (tcp(0).syn().ack(1), &[]),
            Step::Ack => (tcp(1).ack(1), &[0; 64]),
        };
        let mut bytes = Vec::new();
        packet.write(&mut bytes, data).map_err(Error::failed("a frame"))?;
        Ok(bytes)
    }
}

impl World {
    /// With policies, and with an access list before them if that is wanted.
    pub(crate) fn new(with_list: bool) -> Result<Self, Error> {
        let mut rules = RuleSet::default();
        let mut add = |object: sluice_policy::model::Object| {
            rules.insert(object).map_err(Error::failed("the rule set"))
        };
        for namespace in 0..NAMESPACES {
            for pod in 0..PODS {
                let role = if pod % 2 == 0 { "client" } else { "server" };
                let it = Pod::new(name_of(namespace), format!("p{pod}"))
                    .with_label("role", role)
                    .with_address(address(Family::V4, namespace, pod))
                    .with_address(address(Family::V6, namespace, pod));
                add(it.into())?;
            }
            policies(namespace).try_for_each(|policy| add(policy.into()))?;
        }
        if with_list {
            add(access_list().into())?;
        }
        let table = compile(&rules, &CompileOptions::default())
            .map_err(|faults| Error::Failed(format!("the rule set: {faults:?}")))?;
        let mut residents = Residents::of(&table);
        let mut attachments = Vec::new();
        for place in 0..NAMESPACES * PODS {
            let address = address(Family::V4, place / PODS, place % PODS);
            let Party::Pod(endpoint) = table.party(NETWORK, address) else {
                return Err(Error::Failed(format!("{address} is no pod's")));
            };
            residents.insert(&table, endpoint);
            let endpoint = Some(endpoint);
            attachments.push(Attachment::Pod { mac: mac(address), endpoint, account: Account(1) });
        }
        let hasher = FlowHasher::seeded(1);
        let limits = Limits { connections_max: 8192, account_connections_max: 8192 };
        let connections = Connections::new(limits, Timeouts::default(), hasher.clone());
        Ok(Self { table: Arc::new(table), residents, attachments, hasher, connections })
    }

    /// Judges a frame between two pods as a worker does, from its bytes to the verdict.
    #[inline]
    pub(crate) fn judge(&mut self, frame: &[u8]) -> Verdict {
        let packet = Packet::parse(frame)?;
        let Some(ip) = packet.ip() else { return Ok(()) };
        if !checksum::is_whole(frame, ip, false) {
            return Err(DropReason::BadChecksum);
        }
        let flow = FlowOf::new(NETWORK, ip, &self.hasher);
        let judge = Judge {
            table: &self.table,
            residents: &self.residents,
            established: Established::Recheck,
            midstream: false,
            now: NOW,
        };
        let (from, to) = (self.attachment(packet.source), self.attachment(packet.destination));
        let ends = judge.ends(NETWORK, &packet);
        judge.guard(NETWORK, from, &packet, &ends)?;
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

    fn attachment(&self, Mac([.., namespace, pod]): Mac) -> Attachment {
        let place = usize::from(namespace) * usize::from(PODS) + usize::from(pod);
        self.attachments.get(place).copied().unwrap_or(Attachment::Uplink)
    }
}

fn name_of(namespace: u16) -> String {
    format!("n{namespace}")
}

fn address(family: Family, namespace: u16, pod: u16) -> IpAddr {
    let [[_, a], [_, b]] = [namespace, pod].map(u16::to_be_bytes);
    match family {
        Family::V4 => Ipv4Addr::new(10, 1, a, b).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, namespace, pod).into(),
    }
}

/// A pod's MAC says which pod it is, so that this room needs no FDB.
fn mac(address: IpAddr) -> Mac {
    let (namespace, pod) = match address {
        IpAddr::V4(v4) => {
            let [.., namespace, pod] = v4.octets();
            (namespace, pod)
        }
        IpAddr::V6(v6) => {
            let [.., namespace, _, pod] = v6.octets();
            (namespace, pod)
        }
    };
    Mac([2, 0, 0, 0, namespace, pod])
}

/// Clients reach servers by HTTPS, and so do some blocks outside.
fn policies(namespace: u16) -> impl Iterator<Item = NetworkPolicy> {
    let role = |role: &str| LabelSelector::label("role", role);
    let pods = |it: &str| Peer::Selectors { pods: Some(role(it)), namespaces: None };
    let port = |number| PolicyPort { protocol: Protocol::Tcp, port: Port::Number(number) };
    let to = |peers: Vec<Peer>| Rule {
        peers: Peers::AnyOf(peers),
        ports: Ports::AnyOf(vec![port(HTTPS), port(HTTPS_TOO)]),
    };
    let [_, low] = namespace.to_be_bytes();
    let blocks = (0..BLOCKS).filter_map(|block| {
        let cidr = IpNet::new(Ipv4Addr::new(198, 18, low, block * 16).into(), 28).ok()?;
        Some(Peer::Block(Block { cidr, except: Vec::new() }))
    });
    let ingress = Some(vec![to(std::iter::once(pods("client")).chain(blocks).collect())]);
    let egress = Some(vec![to(vec![pods("server")])]);
    let name = name_of(namespace);
    let server = (PolicyType::Ingress, role("server"), ingress, None);
    let client = (PolicyType::Egress, role("client"), None, egress);
    [server, client].into_iter().map(move |(direction, selector, ingress, egress)| {
        let policy = format!("{direction:?}").to_lowercase();
        NetworkPolicy::new(&name, policy, selector, &[direction], ingress, egress)
    })
}

/// Generated rules that deny nothing, and behind them all one that does.
fn access_list() -> AccessList {
    let open = AccessRule {
        priority: 0,
        action: AccessAction::Allow,
        source: None,
        destination: None,
        protocol: None,
        source_ports: None,
        destination_ports: None,
    };
    let allowed = generate::rules(Shape::Acl, Family::V4, RULES, 1).into_iter().map(|rule| {
        let ports = |range: sluice_core::classifier::PortRange| (range.first, range.last);
        AccessRule {
            source: rule.source,
            destination: rule.destination,
            protocol: rule.protocol,
            source_ports: rule.source_ports.map(ports),
            destination_ports: rule.destination_ports.map(ports),
            ..open
        }
    });
    let last = AccessRule {
        action: AccessAction::Deny,
        protocol: Some(TCP),
        destination_ports: Some((HTTPS_TOO, HTTPS_TOO)),
        ..open
    };
    // Those that would decide before the last rule on what it is to deny are left out.
    let allowed = allowed.filter(|rule| rule.source.is_some() && rule.destination.is_some());
    let rules = allowed.chain([last]);
    let rules = (1..).zip(rules).map(|(priority, rule)| AccessRule { priority, ..rule });
    AccessList { name: "edge".to_owned(), rules: rules.collect() }
}
