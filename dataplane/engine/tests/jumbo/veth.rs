//! Over real veths, between the kernels of pods with an MTU of 9,000.
//!
//! ```text
//!  namespace pod-1   eth0  <--- veth --->  pod-1   gate with frags -> AF_XDP -> engine
//!  namespace pod-2   eth0  <--- veth --->  pod-2   ...        (all in namespace node)
//! ```

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use sluice_core::address::NetworkId;
use sluice_core::drop::DropReason;
use sluice_engine::open::{OpenError, PortMode, PortRequest, Ports};
use sluice_engine::port::PortKind;
use sluice_engine::{Engine, EngineConfig};
use sluice_lab::{Lab, Namespace, VethOptions, root_or_skip, serve, wait_until};
use sluice_xdp::{Fallback, GateMode, Umem};

use super::{OPEN, mac, pods, v4, v6};

const PATIENCE: Duration = Duration::from_secs(10);
const FRAMES: u32 = 3 * 512 + 2 * 3 * 1024 + 1024;

struct Bed {
    ports: Ports,
    pods: Vec<Namespace>,
    node: Namespace,
    // Goes last: with it go the namespaces.
    lab: Lab,
}

impl Bed {
    /// Pods with these MTUs, the first with number 1.
    fn new(name: &str, mtus: &[u32]) -> Self {
        let lab = Lab::new(name).unwrap();
        let node = lab.namespace("node").unwrap();
        node.sysctl("net.ipv6.conf.default.disable_ipv6", "1").unwrap();
        let (umem, pool) = Umem::in_memory(FRAMES).unwrap();
        let allowed = core_affinity::get_core_ids().unwrap();
        let cores = allowed.into_iter().map(|core| core.id).take(2).collect();
        let config = EngineConfig { cores, ..EngineConfig::default() };
        let engine = Engine::start(&config, umem, pool).unwrap();
        engine.publish(pods(3).finish(1)).unwrap();
        let ports = Ports::new(Arc::new(engine), lab.bpffs().unwrap());
        let mut bed = Self { ports, pods: Vec::new(), node, lab };
        for mtu in mtus {
            bed.cable(*mtu);
        }
        bed
    }

    fn cable(&mut self, mtu: u32) {
        let n = u8::try_from(self.pods.len()).unwrap() + 1;
        let name = format!("pod-{n}");
        let pod = self.lab.namespace(&name).unwrap();
        let options = VethOptions { mac_a: Some(mac(n).0), mtu, ..VethOptions::default() };
        self.lab.veth(&pod, "eth0", &self.node, &name, &options).unwrap();
        pod.address("eth0", &format!("{}/24", IpAddr::from(v4(n)))).unwrap();
        pod.address("eth0", &format!("{}/64", IpAddr::from(v6(n)))).unwrap();
        for other in (1..=3).filter(|other| *other != n) {
            for address in [IpAddr::from(v4(other)), IpAddr::from(v6(other))] {
                pod.neighbour("eth0", &address.to_string(), &mac(other).to_string()).unwrap();
            }
        }
        self.pods.push(pod);
    }

    fn open(&self, n: u8) -> Result<(), OpenError> {
        let request = PortRequest {
            interface: format!("pod-{n}"),
            kind: PortKind::Pod { pod: format!("shop/p{n}").into(), mac: mac(n) },
            networks: BTreeMap::from([(NetworkId::DEFAULT, None)]),
            priority_tags: false,
            fallback: Fallback::Drop,
            node_addresses: Vec::new(),
            mode: PortMode::Auto,
            workers: Vec::new(),
        };
        self.node.run(|| self.ports.open(&request)).unwrap()
    }

    fn pod(&self, n: u8) -> &Namespace {
        &self.pods[usize::from(n) - 1]
    }

    fn engine(&self) -> &Engine {
        self.ports.engine()
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.engine().totals().dropped(reason)
    }

    /// Waits until every frame and every chunk is accounted for.
    fn settle(&self) {
        let balanced = || {
            let totals = self.engine().totals();
            let gone = totals.tx_frames + totals.dropped_all();
            totals.rx_frames + totals.flood_copies == gone
                && self.engine().census().unwrap() == FRAMES as usize
        };
        assert!(wait_until(PATIENCE, balanced), "{:?}", self.engine().totals());
        assert_eq!(self.engine().umem().leaked(), 0);
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = self.node.run(|| self.ports.abandon());
    }
}

fn at(n: u8, is_v6: bool, port: u16) -> SocketAddr {
    let address = if is_v6 { IpAddr::from(v6(n)) } else { IpAddr::from(v4(n)) };
    SocketAddr::new(address, port)
}

fn payload(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|n| (n * (seed + 3) / 5).to_le_bytes()[0]).collect()
}

fn socket(pod: &Namespace, address: SocketAddr) -> UdpSocket {
    let socket = pod.run(|| UdpSocket::bind(address).unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// What a server sends back of a stream of bytes.
fn streamed(pod: &Namespace, to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let connect = || TcpStream::connect_timeout(&to, PATIENCE).unwrap();
    let mut stream = pod.run(connect).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let mut echo = vec![0; bytes.len()];
    std::thread::scope(|scope| {
        scope.spawn(move || writer.write_all(bytes).unwrap());
        stream.read_exact(&mut echo).unwrap();
    });
    echo
}

#[test]
fn datagrams_of_8972_bytes_arrive_intact_both_ways_and_denied_ones_do_not() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("jumbo", &[9000, 9000]);
    for n in [1, 2] {
        bed.open(n).unwrap();
        assert_eq!(bed.ports.facts(&format!("pod-{n}")).unwrap().gate_mode, GateMode::Native);
    }
    for is_v6 in [false, true] {
        let len_max = if is_v6 { 8952 } else { 8972 };
        let client = socket(bed.pod(1), at(1, is_v6, 4000));
        let server = socket(bed.pod(2), at(2, is_v6, OPEN));
        let closed = socket(bed.pod(2), at(2, is_v6, OPEN + 1));
        let mut room = vec![0; 65_536];
        for (seed, len) in [len_max, len_max - 1, 3799, 1, len_max].into_iter().enumerate() {
            let asked = payload(len, seed);
            client.send_to(&asked, at(2, is_v6, OPEN)).unwrap();
            let (got, from) = server.recv_from(&mut room).unwrap();
            assert!(from == at(1, is_v6, 4000) && room[..got] == asked);
            let answer = payload(len, seed + 100);
            server.send_to(&answer, from).unwrap();
            let (got, _) = client.recv_from(&mut room).unwrap();
            assert!(room[..got] == answer);
        }
        let denied = bed.dropped(DropReason::IngressDenied);
        for _ in 0..3 {
            client.send_to(&payload(len_max, 9), at(2, is_v6, OPEN + 1)).unwrap();
        }
        let counted = || bed.dropped(DropReason::IngressDenied) == denied + 3;
        assert!(wait_until(PATIENCE, counted), "{:?}", bed.engine().totals());
        closed.set_nonblocking(true).unwrap();
        assert!(closed.recv_from(&mut room).is_err());
        bed.settle();
    }
    let frames = bed.engine().totals().rx_frames;
    assert!(frames >= 26, "one frame a datagram: {frames}");
}

#[test]
fn a_datagram_in_fragments_of_9000_bytes_arrives_intact() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("jumbofrags", &[9000, 9000]);
    [1, 2].into_iter().for_each(|n| bed.open(n).unwrap());
    let mut room = vec![0; 65_536];
    for is_v6 in [false, true] {
        let client = socket(bed.pod(1), at(1, is_v6, 4000));
        let server = socket(bed.pod(2), at(2, is_v6, OPEN));
        let asked = payload(30_000, 1);
        client.send_to(&asked, at(2, is_v6, OPEN)).unwrap();
        let (got, _) = server.recv_from(&mut room).unwrap();
        assert!(room[..got] == asked);
    }
    bed.settle();
}

#[test]
fn a_stream_in_long_segments_arrives_intact_both_ways() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("jumbotcp", &[9000, 9000]);
    [1, 2].into_iter().for_each(|n| bed.open(n).unwrap());
    let bytes = payload(4 << 20, 7);
    for is_v6 in [false, true] {
        let echo = serve::tcp_echo(bed.pod(2), at(2, is_v6, OPEN)).unwrap();
        assert!(streamed(bed.pod(1), echo.address(), &bytes) == bytes, "bytes differ");
    }
    bed.settle();
    let totals = bed.engine().totals();
    let longest = totals.tx_bytes / totals.tx_frames;
    assert!(longest > 2000, "segments are long: {longest} bytes a frame on average");
    assert_eq!(bed.dropped(DropReason::TooBig), 0, "no super-packets: {totals:?}");
}

#[test]
fn a_pod_with_a_long_mtu_and_one_with_a_short_one() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("jumbomix", &[9000, 1500]);
    [1, 2].into_iter().for_each(|n| bed.open(n).unwrap());
    let client = socket(bed.pod(1), at(1, false, 4000));
    let server = socket(bed.pod(2), at(2, false, OPEN));
    let mut room = vec![0; 65_536];
    client.send_to(&payload(8972, 1), at(2, false, OPEN)).unwrap();
    assert!(wait_until(PATIENCE, || bed.dropped(DropReason::TooBig) == 1));
    let fits = payload(1472, 2);
    client.send_to(&fits, at(2, false, OPEN)).unwrap();
    let (got, _) = server.recv_from(&mut room).unwrap();
    assert!(room[..got] == fits, "only what fits arrives");
    // TCP agrees on the shorter of the two.
    let echo = serve::tcp_echo(bed.pod(2), at(2, false, OPEN)).unwrap();
    let asked = payload(200_000, 3);
    assert!(streamed(bed.pod(1), echo.address(), &asked) == asked);
    assert_eq!(bed.dropped(DropReason::TooBig), 1);
    bed.settle();
}

#[test]
fn a_driver_that_refuses_frags_leaves_the_gate_to_the_kernels_stack() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("jumbogeneric", &[9000, 9000]);
    // A veth runs no program with fewer receive queues than the other end has to transmit.
    let remade =
        VethOptions { mac_a: Some(mac(1).0), mtu: 9000, queues: 2, ..VethOptions::default() };
    bed.node.ip(&["link", "del", "pod-1"]).unwrap();
    bed.lab.veth(bed.pod(1), "eth0", &bed.node, "pod-1", &remade).unwrap();
    let channels = ["-L", "pod-1", "rx", "1"];
    assert!(bed.node.command("ethtool", &channels).unwrap().status.success());
    bed.pod(1).address("eth0", "10.0.0.1/24").unwrap();
    bed.pod(1).neighbour("eth0", "10.0.0.2", &mac(2).to_string()).unwrap();
    [1, 2].into_iter().for_each(|n| bed.open(n).unwrap());
    assert_eq!(bed.ports.facts("pod-1").unwrap().gate_mode, GateMode::Generic);
    let echo = serve::udp_echo(bed.pod(2), at(2, false, OPEN)).unwrap();
    let client = socket(bed.pod(1), at(1, false, 4000));
    let mut room = vec![0; 65_536];
    for seed in 0..20 {
        let asked = payload(8972, seed);
        client.send_to(&asked, echo.address()).unwrap();
        let (got, _) = client.recv_from(&mut room).unwrap();
        assert!(room[..got] == asked);
    }
    // In the kernel's stack nothing keeps a pod from sending super-packets that no wire takes.
    let stream = serve::tcp_echo(bed.pod(2), at(2, false, OPEN)).unwrap();
    let asked = payload(300_000, 3);
    assert!(streamed(bed.pod(1), stream.address(), &asked) == asked);
    bed.settle();
}

#[test]
fn a_port_whose_mtu_is_beyond_what_can_be_taken_is_refused_with_a_remedy() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("jumbobeyond", &[9001]);
    let error = bed.open(1).unwrap_err();
    assert!(matches!(error, OpenError::Mtu { mtu: 9001, .. }), "{error}");
    let text = error.to_string();
    assert!(text.starts_with("interface pod-1 has MTU 9001; Sluice takes 9000 at most"), "{text}");
    assert!(text.contains("`ip link set dev pod-1 mtu 9000`"), "{text}");
    bed.node.ip(&["link", "set", "pod-1", "mtu", "9000"]).unwrap();
    bed.open(1).unwrap();
}

#[test]
fn a_port_whose_mtu_changes_takes_what_it_takes_now() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("jumbochange", &[9000, 9000]);
    [1, 2].into_iter().for_each(|n| bed.open(n).unwrap());
    let client = socket(bed.pod(1), at(1, false, 4000));
    let echo = serve::udp_echo(bed.pod(2), at(2, false, OPEN)).unwrap();
    let mut room = vec![0; 65_536];
    let mut answers = |len: usize| {
        let asked = payload(len, len);
        client.send_to(&asked, echo.address()).unwrap();
        let (got, _) = client.recv_from(&mut room).unwrap();
        assert!(room[..got] == asked);
    };
    let change = |mtu: &str| {
        bed.node.ip(&["link", "set", "dev", "pod-2", "mtu", mtu]).unwrap();
        bed.node.run(|| bed.ports.tend()).unwrap();
        let facts = bed.ports.facts("pod-2").unwrap();
        assert_eq!((facts.waiting, facts.gate_mode), (None, GateMode::Native));
    };
    answers(8972);
    // The pod's own end stays as it was, so only a gate with frags can stay in the driver.
    change("1500");
    answers(1472);
    client.send_to(&payload(8972, 1), echo.address()).unwrap();
    assert!(wait_until(PATIENCE, || bed.dropped(DropReason::TooBig) == 1));
    change("9000");
    answers(8972);
    bed.settle();
}
