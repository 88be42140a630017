//! The engine over queues in memory: no kernel, no privileges, real worker threads.

#![allow(clippy::unwrap_used, reason = "helpers of a test may fail as the test does")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use sluice_core::address::{Mac, NetworkId};
use sluice_core::conntrack::state::{Exchange, State, TcpState, Timeouts};
use sluice_core::drop::DropReason;
use sluice_core::ports::{PortMatch, PortSet, Rank, UDP};
use sluice_core::table::{
    Action, Edit, Endpoint, EndpointId, Identity, IdentityId, PolicyId, PolicySet, PolicySetParts,
    RuleRef, Table, Tiers,
};
use sluice_engine::io::QueueIo;
use sluice_engine::io::memory::{MemoryQueue, Wire};
use sluice_engine::port::{PortKind, PortSpec};
use sluice_engine::{Engine, EngineConfig, EngineError, PlacedQueue};
use sluice_xdp::{Frame, FramePool, QueueReport, Umem};

const FRAMES: u32 = 4096;
const WIRE_LEN: usize = 512;

fn engine(workers: usize) -> Engine {
    engine_with(workers, Timeouts::default())
}

fn engine_with(workers: usize, timeouts: Timeouts) -> Engine {
    let (umem, pool) = Umem::in_memory(FRAMES).unwrap();
    let config = EngineConfig {
        cores: (0..workers).collect(),
        connections_max: 4096,
        pod_connections_max: 4096,
        timeouts,
        ..EngineConfig::default()
    };
    Engine::start(&config, umem, pool).unwrap()
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < patience, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

fn address(n: u8) -> [u8; 4] {
    [10, 0, 0, n]
}

fn networks() -> BTreeMap<NetworkId, Option<u16>> {
    BTreeMap::from([(NetworkId::DEFAULT, None)])
}

fn spec(name: &str, kind: PortKind) -> PortSpec {
    let (mtu, priority_tags, partial_checksums) = (1500, false, false);
    PortSpec {
        name: name.into(),
        kind,
        networks: networks(),
        mtu,
        priority_tags,
        partial_checksums,
    }
}

fn add(engine: &Engine, spec: PortSpec) -> Wire {
    let (wire, queue) = Wire::new(WIRE_LEN);
    engine.add_port(spec, vec![Box::new(queue)]).unwrap();
    wire
}

fn add_pod(engine: &Engine, n: u8) -> Wire {
    let kind = PortKind::Pod { pod: format!("shop/p{n}").into(), mac: mac(n) };
    add(engine, spec(&format!("pod-{n}"), kind))
}

fn pods(count: u8, network: NetworkId) -> Edit {
    pods_with(count, network, Identity::default())
}

fn pods_with(count: u8, network: NetworkId, identity: Identity) -> Edit {
    let mut edit = Table::empty().edit();
    edit.set_identity(IdentityId(0), Some(identity));
    for n in 1..=count {
        let endpoint = Endpoint {
            name: format!("shop/p{n}").into(),
            network,
            addresses: vec![IpAddr::from(address(n))],
            identity: Some(IdentityId(0)),
            node: None,
        };
        edit.set_endpoint(EndpointId(n.into()), Some(endpoint));
    }
    edit
}

/// All pods may reach UDP 53 of each other and nothing else.
fn dns_only(count: u8) -> Edit {
    let dns = (PortMatch::Range { protocol: UDP, first: 53, last: 53 }, Rank(0));
    let set = PolicySet::new(&PolicySetParts {
        rules: vec![RuleRef { policy: PolicyId(0), index: 0, action: Action::Accept }],
        any_peer: Some(Arc::new(PortSet::new(&[dns]))),
        ..PolicySetParts::default()
    });
    let ingress = Tiers { network_policy: Some(set), ..Tiers::default() };
    pods_with(count, NetworkId::DEFAULT, Identity::new(&[], Tiers::default(), ingress))
}

fn udp(from: u8, to: u8, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(mac(from).0, mac(to).0)
        .ipv4(address(from), address(to), 64)
        .udp(ports.0, ports.1)
        .write(&mut frame, payload)
        .unwrap();
    frame
}

fn arp_request(from: u8, target: u8) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(mac(from).0);
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac(from).0);
    frame.extend(address(from));
    frame.extend([0; 6]);
    frame.extend(address(target));
    frame
}

fn receive(wire: &Wire) -> Vec<u8> {
    let mut received = None;
    wait_until("a frame", || {
        received = wire.pop();
        received.is_some()
    });
    received.unwrap()
}

/// Waits until everything that came in is accounted for, and checks that it adds up.
fn settle(engine: &Engine, rx_frames: u64) {
    wait_until("all frames to be received", || engine.totals().rx_frames == rx_frames);
    let balanced = || {
        let totals = engine.totals();
        totals.rx_frames + totals.flood_copies == totals.tx_frames + totals.dropped_all()
    };
    wait_until("rx + copies = tx + drops", balanced);
    wait_until("every frame to be somewhere", || engine.census().unwrap() == FRAMES as usize);
    assert_eq!(engine.umem().leaked(), 0);
}

#[test]
fn a_frame_crosses_byte_for_byte_and_only_where_it_is_meant() {
    let engine = engine(1);
    let wires: Vec<Wire> = (1..=3).map(|n| add_pod(&engine, n)).collect();
    engine.publish(pods(3, NetworkId::DEFAULT).finish(1)).unwrap();
    let frame = udp(1, 2, (1000, 53), b"which?");
    assert!(wires[0].push(&frame));
    assert_eq!(receive(&wires[1]), frame);
    settle(&engine, 1);
    assert_eq!(wires[2].pop(), None);
    assert_eq!(engine.totals().tx_bytes, frame.len() as u64);
    assert_eq!(engine.connections(), [1]);
}

#[test]
fn nothing_passes_before_a_table_is_published() {
    let engine = engine(1);
    let wires: Vec<Wire> = (1..=2).map(|n| add_pod(&engine, n)).collect();
    assert!(wires[0].push(&udp(1, 2, (1000, 53), b"")));
    settle(&engine, 1);
    assert_eq!(engine.totals().dropped(DropReason::UnknownEndpoint), 1);
    assert_eq!(wires[1].pop(), None);
}

#[test]
fn a_table_is_in_force_on_every_worker_once_publish_returns() {
    let engine = engine(2);
    let wires: Vec<Wire> = (1..=2).map(|n| add_pod(&engine, n)).collect();
    let mut sent = 0;
    for revision in 1..=40 {
        let open = revision % 2 == 0;
        let table = if open { pods(2, NetworkId::DEFAULT) } else { dns_only(2) };
        engine.publish(table.finish(revision)).unwrap();
        assert_eq!(engine.revisions(), [revision, revision]);
        // A port of its own each time, so that flows fall to both workers.
        let port = 2000 + u16::try_from(revision).unwrap();
        assert!(wires[0].push(&udp(1, 2, (port, 80), b"")));
        sent += 1;
        settle(&engine, sent);
        assert_eq!(wires[1].pop().is_some(), open, "revision {revision}");
    }
}

#[test]
fn two_workers_lose_duplicate_and_reorder_nothing() {
    let engine = engine(2);
    let wires: Vec<Wire> = (1..=2).map(|n| add_pod(&engine, n)).collect();
    engine.publish(pods(2, NetworkId::DEFAULT).finish(1)).unwrap();
    let flows = 16u16;
    let rounds = 400u32;
    let mut next = vec![0u32; usize::from(flows)];
    let mut received = 0;
    let mut take = |next: &mut Vec<u32>| {
        while let Some(frame) = wires[1].pop() {
            let flow = usize::from(u16::from_be_bytes([frame[34], frame[35]]) - 3000);
            let sequence = u32::from_be_bytes(frame[42..46].try_into().unwrap());
            assert_eq!(sequence, next[flow], "flow {flow}");
            next[flow] += 1;
            received += 1;
        }
        received
    };
    for round in 0..rounds {
        for flow in 0..flows {
            let frame = udp(1, 2, (3000 + flow, 9), &round.to_be_bytes());
            wait_until("room on the wire", || {
                take(&mut next);
                wires[0].push(&frame)
            });
        }
        // Keep less under way than any ring holds, so that nothing may be dropped.
        wait_until("the frames of a round", || take(&mut next) >= (round + 1) * u32::from(flows));
    }
    settle(&engine, u64::from(rounds) * u64::from(flows));
    assert_eq!(engine.totals().dropped_all(), 0);
    assert!(engine.connections().iter().all(|count| *count > 0), "both workers had flows");
}

#[test]
fn broadcast_reaches_everybody_else_and_an_answer_only_the_asker() {
    let engine = engine(1);
    let pod_1 = add_pod(&engine, 1);
    let pod_2 = add_pod(&engine, 2);
    let uplink = add(&engine, spec("uplink", PortKind::Uplink));
    let host = add(&engine, spec("host", PortKind::Host));
    engine.publish(pods(2, NetworkId::DEFAULT).finish(1)).unwrap();

    // Somebody outside asks, is learned, and is answered alone.
    let request = arp_request(77, 1);
    assert!(uplink.push(&request));
    for wire in [&pod_1, &pod_2, &host] {
        assert_eq!(receive(wire), request);
    }
    wait_until("the station to be learned", || engine.learned_stations() == 1);
    let answer = udp(1, 77, (1, 2), b"");
    assert!(pod_1.push(&answer));
    assert_eq!(receive(&uplink), answer);

    // A stranger's MAC is asked for outside and on the host, never among pods.
    let unknown = udp(1, 99, (1, 2), b"");
    assert!(pod_1.push(&unknown));
    assert_eq!(receive(&uplink), unknown);
    assert_eq!(receive(&host), unknown);
    settle(&engine, 3);
    assert_eq!(engine.totals().flood_copies, 3);
    assert_eq!(pod_2.pop(), None);
}

#[test]
fn flooding_is_limited_by_port() {
    let engine = engine(1);
    let pod_1 = add_pod(&engine, 1);
    let pod_2 = add_pod(&engine, 2);
    engine.publish(pods(2, NetworkId::DEFAULT).finish(1)).unwrap();
    let request = arp_request(1, 2);
    let total = 5000;
    for _ in 0..total {
        wait_until("room on the wire", || pod_1.push(&request));
        while pod_2.pop().is_some() {}
    }
    settle(&engine, total);
    let limited = engine.totals().dropped(DropReason::FloodLimited);
    assert!(limited > 0 && limited <= total - 1000, "{limited}");
    assert!(pod_2.push(&arp_request(2, 1)));
    assert_eq!(receive(&pod_1), arp_request(2, 1), "another port is not held back");
}

#[test]
fn ports_come_and_go_under_traffic_and_every_frame_comes_back() {
    let engine = engine(2);
    let pod_1 = add_pod(&engine, 1);
    engine.publish(pods(2, NetworkId::DEFAULT).finish(1)).unwrap();
    let frame = udp(1, 2, (1000, 53), b"");
    let mut pushed = 0;
    for _ in 0..20 {
        let pod_2 = add_pod(&engine, 2);
        for _ in 0..50 {
            pushed += u64::from(pod_1.push(&frame));
        }
        wait_until("something to arrive", || pod_2.pop().is_some());
        engine.remove_port("pod-2").unwrap();
        assert!(pod_1.push(&frame), "to nobody");
        pushed += 1;
        settle(&engine, pushed);
    }
    assert!(matches!(engine.remove_port("pod-2"), Err(EngineError::NoSuchPort(_))));
}

#[test]
fn a_suspended_port_drops_what_is_sent_to_it_and_keeps_its_connections() {
    let engine = engine(2);
    let pod_1 = add_pod(&engine, 1);
    let pod_2 = add_pod(&engine, 2);
    engine.publish(dns_only(2).finish(1)).unwrap();
    let (query, answer) = (udp(1, 2, (1000, 53), b"?"), udp(2, 1, (53, 1000), b"!"));
    assert!(pod_1.push(&query));
    assert_eq!(receive(&pod_2), query);
    settle(&engine, 1);

    engine.suspend_port("pod-2").unwrap();
    assert_eq!(engine.connections().iter().sum::<u64>(), 1);
    assert!(pod_1.push(&query));
    settle(&engine, 2);
    let dropped =
        |reason| engine.totals().drops().find(|(it, _)| *it == reason).map_or(0, |it| it.1);
    assert_eq!(dropped(DropReason::PortGone), 1);

    let kind = PortKind::Pod { pod: "shop/p2".into(), mac: mac(2) };
    let resume = |name: &str, worker| {
        let (wire, io) = Wire::new(WIRE_LEN);
        let queue = PlacedQueue { io: Box::new(io), worker };
        engine.resume_port(spec(name, kind.clone()), vec![queue]).map(|()| wire)
    };
    assert!(matches!(resume("pod-3", None), Err(EngineError::NoSuchPort(_))));
    assert!(matches!(resume("pod-2", Some(2)), Err(EngineError::NoSuchWorker { .. })));
    let pod_2 = resume("pod-2", Some(1)).unwrap();
    assert!(matches!(resume("pod-2", None), Err(EngineError::PortExists(_))));
    // By policy pod 2 could not open this: it is an answer, to a question from before.
    assert!(pod_2.push(&answer));
    assert_eq!(receive(&pod_1), answer);
    settle(&engine, 3);
    let counted = engine.ports().iter().map(|port| port.totals().rx_frames).sum::<u64>();
    assert_eq!(counted, 3, "and nothing that it has counted is forgotten");
}

#[test]
fn what_leaves_takes_a_queue_that_sends_whoever_received_it() {
    let engine = engine(2);
    engine.publish(pods(2, NetworkId::DEFAULT).finish(1)).unwrap();
    let pod_1 = add_pod(&engine, 1);
    let wires: Vec<(Wire, MemoryQueue)> = (0..2).map(|_| Wire::new(WIRE_LEN)).collect();
    let [(sends, io), (deaf, mute)] = <[_; 2]>::try_from(wires).unwrap();
    let kind = PortKind::Pod { pod: "shop/p2".into(), mac: mac(2) };
    let queues = vec![
        PlacedQueue { io: Box::new(io), worker: Some(0) },
        PlacedQueue { io: Box::new(mute.receive_only()), worker: Some(1) },
    ];
    engine.add_port_with(spec("pod-2", kind), queues).unwrap();
    let flows: Vec<Vec<u8>> = (0..64).map(|port| udp(1, 2, (1000 + port, 53), b"")).collect();
    cross(&pod_1, &sends, flows.into_iter());
    let answers: Vec<Vec<u8>> = (0..64).map(|port| udp(2, 1, (53, 1000 + port), b"")).collect();
    cross(&deaf, &pod_1, answers.into_iter());
    assert_eq!(deaf.pop(), None);
}

/// A queue whose worker hangs in it for as long as it is told to.
struct Hanging {
    io: MemoryQueue,
    hangs: Arc<AtomicBool>,
}

impl QueueIo for Hanging {
    fn receive(&mut self, frames: &mut Vec<Frame>, max: usize) -> usize {
        while self.hangs.load(Relaxed) {
            std::thread::yield_now();
        }
        self.io.receive(frames, max)
    }

    fn refill(&mut self, pool: &mut FramePool) {
        self.io.refill(pool);
    }

    fn send(&mut self, frames: &mut Vec<Frame>) -> usize {
        self.io.send(frames)
    }

    fn kick(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    fn is_sending(&self) -> bool {
        false
    }

    fn complete(&mut self, pool: &mut FramePool) {
        self.io.complete(pool);
    }

    fn held(&self) -> usize {
        self.io.held()
    }

    fn close(self: Box<Self>, pool: &mut FramePool) {
        Box::new(self.io).close(pool);
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn report(&self) -> Option<QueueReport> {
        None
    }
}

#[test]
fn what_a_stuck_worker_still_owns_ends_as_soon_as_it_answers() {
    for remove in [false, true] {
        let engine = engine(1);
        engine.publish(pods(3, NetworkId::DEFAULT).finish(1)).unwrap();
        let hangs = Arc::new(AtomicBool::new(false));
        let (old, io) = Wire::new(WIRE_LEN);
        let kind = PortKind::Pod { pod: "shop/p1".into(), mac: mac(1) };
        let queue = Hanging { io, hangs: Arc::clone(&hangs) };
        engine.add_port(spec("pod-1", kind.clone()), vec![Box::new(queue)]).unwrap();
        hangs.store(true, Relaxed);
        let ended = if remove { engine.remove_port("pod-1") } else { engine.suspend_port("pod-1") };
        assert!(matches!(ended, Err(EngineError::WorkerStuck(0))), "{ended:?}");
        if !remove {
            let (_wire, io) = Wire::new(WIRE_LEN);
            let queue = PlacedQueue { io: Box::new(io), worker: None };
            let resumed = engine.resume_port(spec("pod-1", kind), vec![queue]);
            assert!(matches!(resumed, Err(EngineError::WorkerStuck(0))), "{resumed:?}");
        }
        hangs.store(false, Relaxed);
        // What comes by the old queue is nobody's, least of all that of the next port.
        wait_until("the queue to end", || engine.census().unwrap() == FRAMES as usize);
        let _pod_2 = add_pod(&engine, 2);
        let _pod_3 = add_pod(&engine, 3);
        old.push(&udp(1, 2, (1, 1), b""));
        let ended = || !old.push(&[0; 60]);
        wait_until("the wire to fill, since nobody reads it", ended);
        assert_eq!(engine.totals().rx_frames, 0);
    }
}

#[test]
fn a_taken_name_pod_or_mac_is_refused() {
    let engine = engine(1);
    let _wire = add_pod(&engine, 1);
    let try_add = |name: &str, pod: &str, mac: Mac| {
        let (_wire, queue) = Wire::new(8);
        let kind = PortKind::Pod { pod: pod.into(), mac };
        engine.add_port(spec(name, kind), vec![Box::new(queue)]).unwrap_err().to_string()
    };
    assert_eq!(
        try_add("pod-1", "shop/p2", mac(2)),
        "port pod-1: there is one of that name already; remove it first"
    );
    assert_eq!(
        try_add("x", "shop/p1", mac(2)),
        "port x: pod shop/p1 has port pod-1 already; a pod has one port"
    );
    assert_eq!(
        try_add("x", "shop/p2", mac(1)),
        "port x: MAC 02:00:00:00:00:01 belongs to port pod-1 already; each pod needs its own"
    );
    assert_eq!(engine.ports().len(), 1);
}

#[test]
fn a_trunk_tags_the_network_of_an_access_port() {
    let engine = engine(1);
    let blue = NetworkId(5);
    let kind = PortKind::Pod { pod: "shop/p1".into(), mac: mac(1) };
    let pod =
        add(&engine, PortSpec { networks: BTreeMap::from([(blue, None)]), ..spec("pod-1", kind) });
    let trunk = BTreeMap::from([(NetworkId::DEFAULT, None), (blue, Some(100))]);
    let uplink = add(&engine, PortSpec { networks: trunk, ..spec("uplink", PortKind::Uplink) });
    engine.publish(pods(1, blue).finish(1)).unwrap();

    let plain = udp(1, 77, (1, 2), b"x");
    assert!(pod.push(&plain));
    let tagged = [&plain[..12], &[0x81, 0, 0, 100], &plain[12..]].concat();
    assert_eq!(receive(&uplink), tagged);

    let answer = udp(77, 1, (2, 1), b"x");
    let tagged_answer = [&answer[..12], &[0x81, 0, 0, 100], &answer[12..]].concat();
    assert!(uplink.push(&tagged_answer));
    assert_eq!(receive(&pod), answer);

    // Untagged, the same packet is on another network, where nobody has that MAC.
    assert!(uplink.push(&answer));
    let other_vlan = [&answer[..12], &[0x81, 0, 0, 101], &answer[12..]].concat();
    assert!(uplink.push(&other_vlan));
    settle(&engine, 4);
    assert_eq!(engine.totals().dropped(DropReason::ForeignVlan), 1);
    assert_eq!(engine.totals().dropped(DropReason::UnknownDestination), 1);
    assert_eq!(pod.pop(), None);
}

#[test]
fn garbage_is_counted_and_every_frame_comes_back() {
    let engine = engine(2);
    let pod_1 = add_pod(&engine, 1);
    let pod_2 = add_pod(&engine, 2);
    engine.publish(pods(2, NetworkId::DEFAULT).finish(1)).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let total = 20_000;
    for _ in 0..total {
        let mut frame = udp(1, 2, (1000, 53), &[0; 40]);
        for _ in 0..random() % 4 {
            let place = usize::try_from(random()).unwrap() % frame.len();
            frame[place] = random().to_le_bytes()[0];
        }
        frame.truncate(usize::try_from(random()).unwrap() % (frame.len() + 1));
        wait_until("room on the wire", || {
            while pod_2.pop().is_some() {}
            pod_1.push(&frame)
        });
    }
    while pod_2.pop().is_some() {}
    settle(&engine, total);
    let reasons = engine.totals().drops().count();
    assert!(reasons >= 8, "{:?}", engine.totals().drops().collect::<Vec<_>>());
}

/// Time-outs that no test waits for.
fn endless() -> Timeouts {
    let day = Duration::from_secs(24 * 60 * 60);
    Timeouts { tcp_opening: day, udp_single: day, udp_answered: day, ..Timeouts::default() }
}

/// Sends frames from one wire to another and waits until all have arrived.
fn cross(from: &Wire, to: &Wire, frames: impl Iterator<Item = Vec<u8>>) {
    let frames: Vec<Vec<u8>> = frames.collect();
    assert!(frames.len() <= WIRE_LEN, "more than a wire holds");
    for frame in &frames {
        assert!(from.push(frame));
    }
    for _ in frames {
        receive(to);
    }
}

fn query(source_port: u16) -> Vec<u8> {
    udp(1, 2, (source_port, 53), b"")
}

fn syn(source_port: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(mac(1).0, mac(2).0)
        .ipv4(address(1), address(2), 64)
        .tcp(source_port, 53, 1, 1000)
        .syn()
        .write(&mut frame, b"")
        .unwrap();
    frame
}

/// The source port of each live connection that pod 1 has opened, sorted, and its state.
fn walk(engine: &Engine) -> Vec<(u16, State)> {
    let mut visited = Vec::new();
    let walked = engine.for_each_connection(|connection| {
        let opening = connection.opening();
        assert_eq!(opening.source, IpAddr::from(address(1)));
        assert_eq!((opening.destination, opening.destination_port), (address(2).into(), 53));
        visited.push((opening.source_port, connection.state()));
    });
    walked.unwrap();
    visited.sort_unstable_by_key(|(port, _)| *port);
    visited
}

#[test]
fn a_walk_visits_every_connection_of_every_worker_once() {
    let engine = engine_with(2, endless());
    let wires: Vec<Wire> = (1..=2).map(|n| add_pod(&engine, n)).collect();
    engine.publish(pods(2, NetworkId::DEFAULT).finish(1)).unwrap();
    assert_eq!(walk(&engine), []);
    // So many that each worker lists them in more than one slice.
    let all = 10_000..11_600;
    for first in all.clone().step_by(200) {
        cross(&wires[0], &wires[1], (first..first + 200).map(query));
    }
    assert!(wires[1].push(&udp(2, 1, (53, all.start), b"")));
    receive(&wires[0]);
    settle(&engine, 1601);
    assert!(engine.connections().iter().all(|count| *count > 600), "both workers had flows");

    let state =
        |port| State::Udp(if port == all.start { Exchange::Answered } else { Exchange::Single });
    let opened: Vec<(u16, State)> = all.clone().map(|port| (port, state(port))).collect();
    assert_eq!(walk(&engine), opened);
}

#[test]
fn a_walk_under_traffic_misses_and_doubles_nothing_that_lives_on() {
    let engine = engine_with(2, endless());
    let wires: Vec<Wire> = (1..=2).map(|n| add_pod(&engine, n)).collect();
    engine.publish(pods(2, NetworkId::DEFAULT).finish(1)).unwrap();
    let (old, new) = (10_000..10_400u16, 20_000..21_600u16);
    cross(&wires[0], &wires[1], old.clone().map(query));
    let mut rounds = 0;
    std::thread::scope(|scope| {
        let walks = scope.spawn(|| {
            wait_until("all connections to have come", || {
                let visited: Vec<u16> = walk(&engine).into_iter().map(|(port, _)| port).collect();
                let stayed = visited.iter().copied().filter(|port| old.contains(port));
                assert!(stayed.eq(old.clone()), "each that is there all along, once");
                assert!(visited.windows(2).all(|pair| pair[0] < pair[1]), "none twice");
                visited.len() == old.len() + new.len()
            });
        });
        let mut firsts = new.clone().step_by(100).cycle();
        while !walks.is_finished() {
            // Some that are there, and in the first cycle some that come.
            let first = firsts.next().unwrap();
            cross(&wires[0], &wires[1], old.clone().take(100).chain(first..first + 100).map(query));
            rounds += 1;
        }
    });
    settle(&engine, old.len() as u64 + rounds * 200);
    assert_eq!(engine.totals().dropped_all(), 0);
}

#[test]
fn a_walk_visits_none_that_has_expired() {
    let timeouts = Timeouts { udp_single: Duration::from_millis(50), ..endless() };
    let engine = engine_with(2, timeouts);
    let wires: Vec<Wire> = (1..=2).map(|n| add_pod(&engine, n)).collect();
    engine.publish(pods(2, NetworkId::DEFAULT).finish(1)).unwrap();
    cross(&wires[0], &wires[1], (1000..1064).map(query).chain((2000..2064).map(syn)));
    let opening = State::Tcp(TcpState::SynSent);
    let stay: Vec<(u16, State)> = (2000..2064).map(|port| (port, opening)).collect();
    wait_until("the others to expire", || walk(&engine) == stay);
}

#[test]
fn cores_that_are_not_to_be_had_are_refused() {
    let try_cores = |cores: Vec<usize>| {
        let (umem, pool) = Umem::in_memory(8).unwrap();
        let config = EngineConfig { cores, connections_max: 8, ..EngineConfig::default() };
        Engine::start(&config, umem, pool).err()
    };
    assert!(matches!(try_cores(vec![]), Some(EngineError::CoreCount(0))));
    assert!(matches!(try_cores(vec![0, 0]), Some(EngineError::CoreTwice(0))));
    assert!(matches!(try_cores(vec![9999]), Some(EngineError::Core { core: 9999, .. })));
}
