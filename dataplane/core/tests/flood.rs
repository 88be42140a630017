//! A SYN flood against a table that is far too small for it.

#![allow(clippy::unwrap_used, reason = "helpers of a test may fail as the test does")]

use std::net::Ipv4Addr;
use std::time::Duration;

use sluice_core::address::NetworkId;
use sluice_core::conntrack::state::{State, TcpState, Timeouts};
use sluice_core::conntrack::{Account, Connections, Found, Limits, Opening};
use sluice_core::flow::{FiveTuple, FlowHasher};
use sluice_core::packet::{Ports, Segment, TcpFlags, Transport};
use sluice_core::time::Time;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const SOURCES: u32 = 1_000_000;
const CAPACITY: u32 = 65_536;
const ESTABLISHED: u32 = 20_000;
const VICTIM: Account = Account(1);
const NEIGHBOUR: Account = Account(2);

struct World {
    connections: Connections,
    hasher: FlowHasher,
    now: Time,
}

impl World {
    fn syn(&mut self, source: u32, account: Account) {
        let (key, opener) = tuple(source).key();
        let opening = Opening { key, hash: self.hasher.hash(&key), opener, account, revision: 1 };
        let syn = segment(100, 0, TcpFlags::SYN);
        assert_eq!(self.connections.open(&opening, &syn, false, self.now), Ok(true), "{source}");
    }

    fn found(&mut self, source: u32) -> Option<Found<'_>> {
        let (key, _) = tuple(source).key();
        self.connections.find(self.hasher.hash(&key), &key, self.now)
    }

    fn establish(&mut self, source: u32, account: Account) {
        self.syn(source, account);
        let mut found = self.found(source).unwrap();
        let answer = segment(300, 101, TcpFlags::SYN | TcpFlags::ACK);
        found.follow(&answer, false, false).unwrap();
        found.follow(&segment(101, 301, TcpFlags::ACK), false, true).unwrap();
        assert_eq!(found.state(), State::Tcp(TcpState::Established));
    }
}

fn tuple(source: u32) -> FiveTuple {
    FiveTuple {
        network: NetworkId::DEFAULT,
        protocol: 6,
        source: Ipv4Addr::from(0x0100_0000 + source).into(),
        source_port: 40_000,
        destination: Ipv4Addr::new(10, 0, 0, 1).into(),
        destination_port: 80,
    }
}

fn segment(sequence: u32, acknowledgement: u32, flags: TcpFlags) -> Transport {
    Transport::Tcp(Segment {
        ports: Ports { source: 40_000, destination: 80 },
        flags,
        sequence,
        acknowledgement,
        window: u16::MAX,
        window_scale: None,
        payload_len: 0,
    })
}

#[test]
fn a_flood_of_a_million_sources_costs_no_established_connection_and_no_memory() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let limits = Limits { connections_max: CAPACITY, account_connections_max: CAPACITY };
    let hasher = FlowHasher::seeded(1);
    let connections = Connections::new(limits, Timeouts::default(), hasher.clone());
    let mut world = World { connections, hasher, now: Time(0) };
    for source in 0..ESTABLISHED {
        world.establish(source, VICTIM);
    }
    let half_open = ESTABLISHED..ESTABLISHED + 100;
    half_open.clone().for_each(|source| world.syn(source, NEIGHBOUR));

    let before = dhat::HeapStats::get().total_blocks;
    for source in 0..SOURCES {
        world.syn(half_open.end + source, VICTIM);
        // All of it in 50 s, so that nothing expires of itself.
        world.now = world.now + Duration::from_micros(50);
        if source % 64 == 0 {
            world.connections.expire(world.now, 64);
        }
        assert!(world.connections.len() <= world.connections.capacity());
    }
    assert_eq!(dhat::HeapStats::get().total_blocks, before, "a packet allocates nothing");

    let lost = (0..half_open.end).find(|source| world.found(*source).is_none());
    assert_eq!(lost, None, "what is established, and what a neighbour has begun, is there");
    let room = u64::from(CAPACITY - half_open.end);
    assert_eq!(world.connections.evicted(), u64::from(SOURCES) - room);
    assert_eq!(world.connections.expired(), 0);
}
