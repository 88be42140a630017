//! A SYN flood from a million sources while TCP connections work.
//!
//! ```text
//!  far (kernel's stack, and an AF_XDP sender on the same end) ---- Sluice ---- pod (kernel's stack)
//! ```
//!
//! The pod admits everybody, so every SYN is a half-open connection of the pod's account. What
//! the pod answers to the flood has nowhere to go, and the flood never answers.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use sluice_core::address::{Mac, NetworkId};
use sluice_engine::open::{PortMode, PortRequest, Ports};
use sluice_engine::port::PortKind;
use sluice_engine::{Engine, EngineConfig};
use sluice_lab::{Lab, Namespace, VethOptions, serve};
use sluice_policy::compile::{CompileOptions, compile};
use sluice_policy::model::{Pod, RuleSet};
use sluice_xdp::{Fallback, Umem, UmemConfig};

use crate::rig::BenchError;
use crate::traffic::send;

const FAR_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
const POD_MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];
const FAR: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const POD: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
/// The flood's sources: the upper half of 10.0.0.0/8.
const FIRST_SOURCE: u32 = 0x0a80_0000;
const PORT: u16 = 80;
const SLUICE_CORE: usize = 0;
const SEND_CORE: usize = 1;
const CONNECTIONS: usize = 60;
/// For an answer on a connection that works.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends a SYN from each of so many sources at a rate, while connections that were there before
/// send and receive; prints what became of both. Returns whether nothing was lost.
pub(crate) fn run(sources: u32, rate: u32) -> Result<bool, BenchError> {
    let lab = Lab::new("flood")?;
    let [far, node, pod] = ["far", "node", "pod"].map(|name| lab.namespace(name));
    let (far, node, pod) = (far?, node?, pod?);
    furnish(&lab, &far, &node, &pod)?;
    let ports = sluice(&lab, &node)?;
    let server = serve::tcp_echo(&pod, SocketAddr::new(POD.into(), PORT))?;
    let mut connections = connect(&far, server.address())?;

    let (mut memory_before, mut memory_after) = (0, 0);
    let stop = AtomicBool::new(false);
    let (sent, exchanges) = std::thread::scope(|scope| {
        let exchanging = scope.spawn(|| exchange(&mut connections, &stop));
        let sent = far.run(|| {
            core_affinity::set_for_current(core_affinity::CoreId { id: SEND_CORE });
            // The sender is in this process, too, and has its memory by then.
            let frames = (0..sources).map(|number| {
                if number == sources / 100 {
                    memory_before = resident_kib()?;
                }
                syn(number)
            });
            let sent = send("eth0", frames, sources.into(), rate)?;
            memory_after = resident_kib()?;
            Ok::<_, BenchError>(sent)
        });
        stop.store(true, Relaxed);
        let exchanges = exchanging.join();
        (sent, exchanges.unwrap_or_else(|_| Err(BenchError::Failed("it panicked".into()))))
    });
    let (sent, exchanges) = (sent??, exchanges?);

    let engine = ports.engine();
    let totals = engine.totals();
    let drops: Vec<String> = totals.drops().map(|(reason, n)| format!("{n} {reason}")).collect();
    println!(
        "{sent} SYNs from as many sources at {rate} a second; {} connections tracked of {}, {} evicted\n\
         {CONNECTIONS} established connections: {} exchanges while it lasted, {} unanswered\n\
         Sluice received {}, sent {}, dropped: {}\n\
         resident memory after one SYN in a hundred, and after all: {memory_before} and {memory_after} KiB",
        engine.connections().iter().sum::<u64>(),
        EngineConfig::default().connections_max,
        engine.evicted().iter().sum::<u64>(),
        exchanges.answered,
        exchanges.unanswered,
        totals.rx_frames,
        totals.tx_frames,
        if drops.is_empty() { "none".into() } else { drops.join(", ") },
    );
    node.run(|| {
        for interface in ["node0", "node1"] {
            if let Err(error) = ports.close(interface) {
                eprintln!("closing {interface}: {error}");
            }
        }
    })?;
    Ok(exchanges.unanswered == 0)
}

fn furnish(
    lab: &Lab,
    far: &Namespace,
    node: &Namespace,
    pod: &Namespace,
) -> Result<(), BenchError> {
    for namespace in [far, node, pod] {
        for scope in ["all", "default"] {
            namespace.sysctl(&format!("net.ipv6.conf.{scope}.disable_ipv6"), "1")?;
        }
    }
    for (namespace, mac, end, address) in
        [(far, FAR_MAC, "node0", FAR), (pod, POD_MAC, "node1", POD)]
    {
        let veth = VethOptions { mac_a: Some(mac), ..VethOptions::default() };
        lab.veth(namespace, "eth0", node, end, &veth)?;
        namespace.address("eth0", &format!("{address}/24"))?;
    }
    pod.ip(&["route", "add", "blackhole", "10.128.0.0/9"])?;
    Ok(())
}

fn sluice(lab: &Lab, node: &Namespace) -> Result<Ports, BenchError> {
    let (umem, pool) = Umem::new(&UmemConfig { frame_count: 16_384, huge_pages: true })
        .map_err(BenchError::failed("Sluice's packet memory"))?;
    let config = EngineConfig { cores: vec![SLUICE_CORE], ..EngineConfig::default() };
    let engine =
        Engine::start(&config, umem, pool).map_err(BenchError::failed("Sluice's engine"))?;
    let mut rules = RuleSet::default();
    let target = Pod::new("bench", "pod").with_address(IpAddr::from(POD));
    rules.insert(target).map_err(BenchError::failed("the rule set"))?;
    let table = compile(&rules, &CompileOptions::default())
        .map_err(|faults| BenchError::Failed(format!("{faults:?}")))?;
    engine.publish(table.with_revision(1)).map_err(BenchError::failed("Sluice's table"))?;
    let ports = Ports::new(Arc::new(engine), lab.bpffs()?);
    let kind = PortKind::Pod { pod: "bench/pod".into(), mac: Mac(POD_MAC) };
    for (interface, kind) in [("node0", PortKind::Uplink), ("node1", kind)] {
        let request = PortRequest {
            interface: interface.into(),
            kind,
            networks: BTreeMap::from([(NetworkId::DEFAULT, None)]),
            priority_tags: false,
            fallback: Fallback::Drop,
            node_addresses: Vec::new(),
            mode: PortMode::Auto,
            workers: Vec::new(),
        };
        node.run(|| ports.open(&request))?.map_err(BenchError::failed("a port of Sluice"))?;
    }
    Ok(ports)
}

fn connect(from: &Namespace, to: SocketAddr) -> Result<Vec<TcpStream>, BenchError> {
    let streams = from.run(|| {
        (0..CONNECTIONS)
            .map(|_| {
                let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                Ok(stream)
            })
            .collect::<std::io::Result<Vec<_>>>()
    })?;
    streams.map_err(BenchError::failed("connecting"))
}

struct Exchanges {
    answered: u64,
    unanswered: u64,
}

/// Has each connection send and receive in turn until told to stop, and once more at the end.
fn exchange(connections: &mut [TcpStream], stop: &AtomicBool) -> Result<Exchanges, BenchError> {
    let mut exchanges = Exchanges { answered: 0, unanswered: 0 };
    let mut last_round = false;
    while !last_round {
        last_round = stop.load(Relaxed);
        for stream in connections.iter_mut() {
            let start = Instant::now();
            let sent = exchanges.answered.to_be_bytes();
            let mut back = [0; 8];
            let answer = stream.write_all(&sent).and_then(|()| stream.read_exact(&mut back));
            match answer {
                Ok(()) if back == sent => exchanges.answered += 1,
                Ok(()) => return Err(BenchError::Failed("an answer to something else".into())),
                Err(error) => {
                    eprintln!("no answer after {:?}: {error}", start.elapsed());
                    exchanges.unanswered += 1;
                }
            }
        }
    }
    Ok(exchanges)
}

fn syn(number: u32) -> Result<Vec<u8>, BenchError> {
    let source = Ipv4Addr::from(FIRST_SOURCE + number).octets();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(FAR_MAC, POD_MAC)
        .ipv4(source, POD.octets(), 64)
        .tcp(40_000, PORT, number, 64_000)
        .syn()
        .write(&mut frame, &[])
        .map_err(BenchError::failed("building a frame"))?;
    Ok(frame)
}

/// The memory of this process that is in use (proc(5), VmRSS).
fn resident_kib() -> Result<u64, BenchError> {
    let status =
        std::fs::read_to_string("/proc/self/status").map_err(BenchError::failed("its memory"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
        .ok_or_else(|| BenchError::Failed("/proc/self/status shows no VmRSS".into()))
}
