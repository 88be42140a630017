//! What the parts of a verdict cost: parse, longest prefix, and the whole judge.
//!
//! Each is timed over a batch of many different inputs, so that the caches see what traffic
//! would show them; the figure is divided by the batch's length.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may fail as a test does")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use etherparse::PacketBuilder;
use ipnet::IpNet;
use sluice_core::address::{Mac, NetworkId};
use sluice_core::blocks::{Block, BlockId, BlockTrie};
use sluice_core::conntrack::state::Timeouts;
use sluice_core::conntrack::{Account, Connections, Limits};
use sluice_core::flow::FlowHasher;
use sluice_core::guard::{Attachment, Residents};
use sluice_core::judge::{Crossing, Established, FlowOf, Judge};
use sluice_core::packet::Packet;
use sluice_core::ports::{PortMatch, PortSet, Rank, UDP};
use sluice_core::table::{
    Action, Endpoint, EndpointId, GroupId, Identity, IdentityId, PolicyId, PolicySet,
    PolicySetParts, RuleRef, Table, Tiers,
};
use sluice_core::time::Time;

const NETWORK: NetworkId = NetworkId::DEFAULT;
const POD_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

/// A generator of repeatable numbers (xorshift); the benches need no quality, only spread.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + n)
}

fn udp_frame(from: Ipv4Addr, to: Ipv4Addr, source_port: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(POD_MAC.0, [2, 0, 0, 0, 0, 2])
        .ipv4(from.octets(), to.octets(), 64)
        .udp(source_port, 53)
        .write(&mut frame, &[0; 18])
        .unwrap();
    frame
}

/// A frame of each of `flows` different flows from one pod to others, shuffled.
fn frames(flows: u32) -> Vec<Vec<u8>> {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut order: Vec<u32> = (0..flows).collect();
    for place in (1..order.len()).rev() {
        let other = usize::try_from(numbers.below(place as u64 + 1)).unwrap();
        order.swap(place, other);
    }
    let frame = |flow: u32| {
        let port = u16::try_from(1024 + flow % 50_000).unwrap();
        udp_frame(address(0), address(1 + flow / 50_000), port)
    };
    order.into_iter().map(frame).collect()
}

/// The sending pod, others that it may ask for DNS, and policies that concern neither.
fn table(other_pods: u32, policies: u32) -> Table {
    let mut edit = Table::empty().edit();
    for n in 0..=other_pods {
        let endpoint = Endpoint {
            name: format!("bench/p{n}").into(),
            network: NETWORK,
            addresses: vec![address(n).into()],
            identity: Some(IdentityId(u32::from(n > 0))),
            node: None,
        };
        edit.set_endpoint(EndpointId(n), Some(endpoint));
    }
    let dns = (PortMatch::Range { protocol: UDP, first: 53, last: 53 }, Rank(0));
    let dns = Arc::new(PortSet::new(&[dns]));
    for n in 0..policies.max(2) {
        // The two pods that talk are in one group; the identities of the others have no pods.
        let set = PolicySet::new(&PolicySetParts {
            policies: vec![PolicyId(n)],
            rules: vec![RuleRef { policy: PolicyId(n), index: 0, action: Action::Accept }],
            by_group: vec![(GroupId(0), Arc::clone(&dns))],
            ..PolicySetParts::default()
        });
        let tiers = Tiers { network_policy: Some(set), ..Tiers::default() };
        let identity = Identity::new(&[GroupId(0)], tiers.clone(), tiers);
        edit.set_identity(IdentityId(n), Some(identity));
    }
    edit.finish(1)
}

fn parse(c: &mut Criterion) {
    let frames = frames(4096);
    let mut group = c.benchmark_group("parse");
    group.throughput(Throughput::Elements(frames.len() as u64));
    group.bench_function("udp4", |b| {
        b.iter(|| {
            for frame in &frames {
                black_box(Packet::parse(black_box(frame)).unwrap());
            }
        });
    });
    group.finish();
}

fn longest_prefix(c: &mut Criterion) {
    let mut group = c.benchmark_group("longest_prefix");
    for count in [1_000u32, 10_000, 100_000] {
        let mut numbers = Numbers(u64::from(count) + 7);
        let mut net = || {
            let len = 12 + u8::try_from(numbers.below(17)).unwrap();
            let bits = u32::try_from(numbers.below(1 << 32)).unwrap();
            IpNet::new(Ipv4Addr::from(bits).into(), len).unwrap().trunc()
        };
        let blocks: Vec<Block> =
            (0..count).map(|_| Block { cidr: net(), except: Vec::new() }).collect();
        let trie = BlockTrie::new((0..).map(BlockId).zip(&blocks));
        let asked: Vec<IpAddr> = (0..4096)
            .map(|_| Ipv4Addr::from(u32::try_from(numbers.below(1 << 32)).unwrap()).into())
            .collect();
        group.throughput(Throughput::Elements(asked.len() as u64));
        group.bench_function(format!("{count}"), |b| {
            b.iter(|| {
                for address in &asked {
                    black_box(trie.around(black_box(*address)).map(<[_]>::len).sum::<usize>());
                }
            });
        });
    }
    group.finish();
}

fn connections(count: u32, hasher: &FlowHasher) -> Connections {
    let limits = Limits { connections_max: count, account_connections_max: count };
    Connections::new(limits, Timeouts::default(), hasher.clone())
}

fn judge(c: &mut Criterion) {
    let mut group = c.benchmark_group("judge");
    for (name, policies) in [("1_policy", 1), ("10000_policies", 10_000)] {
        for (kind, flows) in [("established_10k", 10_000u32), ("established_100k", 100_000)] {
            let hasher = FlowHasher::seeded(1);
            let table = table(100, policies);
            let mut residents = Residents::of(&table);
            let endpoint = |n: u32| table.endpoint_named(&format!("bench/p{n}"));
            residents.insert(&table, endpoint(0).unwrap());
            let judge = Judge {
                table: &table,
                residents: &residents,
                established: Established::Recheck,
                midstream: false,
                now: Time(1),
            };
            let mut connections = connections(131_072, &hasher);
            let frames = frames(flows);
            let from = Attachment::Pod { mac: POD_MAC, endpoint: endpoint(0), account: Account(1) };
            let mut verdicts = || {
                let mut allowed = 0;
                for frame in &frames {
                    let packet = Packet::parse(black_box(frame)).unwrap();
                    let ends = judge.ends(NETWORK, &packet);
                    judge.guard(NETWORK, from, &packet, &ends).unwrap();
                    let flow = FlowOf::new(NETWORK, packet.ip().unwrap(), &hasher);
                    let (to, flow) = (Attachment::Host, flow.as_ref());
                    let crossing =
                        Crossing { network: NETWORK, from, to, packet: &packet, flow, ends: &ends };
                    let verdict = judge.unicast(&mut connections, &crossing);
                    allowed += usize::from(verdict.is_ok());
                }
                allowed
            };
            assert_eq!(verdicts(), flows as usize, "every flow is allowed");
            group.throughput(Throughput::Elements(flows.into()));
            group.bench_function(format!("{kind}/{name}"), |b| b.iter(&mut verdicts));
        }
    }
    group.finish();
}

criterion_group!(benches, parse, longest_prefix, judge);
criterion_main!(benches);
