//! Captures of what a real `sluiced` drops between real sockets.
//!
//! Every test makes its own namespaces and needs root; without root it says that it is skipped.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of a test may fail as the test does"
)]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use common::{SLUICED, cores, with_client};
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use sluice_api::backend::{CaptureOrder, Failure};
use sluice_api::client::ClientError;
use sluice_core::packet::Packet;
use sluice_demo::push::push;
use sluice_demo::stage::{Stage, StageOptions};
use sluice_lab::probe::{self, Probe};
use sluice_lab::{root_or_skip, wait_until};
use sluice_policy::model::RuleSet;
use sluice_sources::files::{LoadOptions, load};

const PATIENCE: Duration = Duration::from_secs(10);
const DROPPED: Duration = Duration::from_millis(400);

/// Two pods, one of which answers nobody.
const RULES: &str = "
apiVersion: v1
kind: Node
metadata: { name: node-1 }
status: { addresses: [{ type: InternalIP, address: 10.5.0.1 }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: shop, name: web }
status: { podIPs: [{ ip: 10.5.0.11 }, { ip: 'fd05::11' }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: shop, name: db, labels: { app: db } }
status: { podIPs: [{ ip: 10.5.0.12 }, { ip: 'fd05::12' }] }
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { namespace: shop, name: db }
spec: { podSelector: { matchLabels: { app: db } } }
";

fn stage() -> Stage {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rules.yaml");
    std::fs::write(&file, RULES).unwrap();
    let rules: RuleSet = load(&[file], &LoadOptions::default()).unwrap().0;
    let options = StageOptions { cores: cores(), ..StageOptions::default() };
    let stage = Stage::start(Path::new(SLUICED), &rules, &options).unwrap();
    push(&stage.socket(), &rules, "test").unwrap();
    stage
}

/// The packets of a file, each with the name of its interface.
fn read(file: &Path) -> Vec<(String, EnhancedPacketBlock<'static>)> {
    let bytes = std::fs::read(file).unwrap();
    let mut reader = PcapNgReader::new(bytes.as_slice()).unwrap();
    let mut packets = Vec::new();
    let mut names = Vec::new();
    while let Some(block) = reader.next_block() {
        match block.unwrap().into_owned() {
            Block::InterfaceDescription(interface) => {
                names.extend(interface.options.iter().find_map(|option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                    _ => None,
                }));
            }
            Block::EnhancedPacket(packet) => {
                let name = names.get(usize::try_from(packet.interface_id).unwrap()).cloned();
                packets.push((name.unwrap(), packet));
            }
            other => panic!("{other:?}"),
        }
    }
    packets
}

#[test]
fn a_denied_packet_is_in_the_file_with_its_port_and_its_reason() {
    if !root_or_skip() {
        return;
    }
    let stage = stage();
    let (web, db) = (stage.seat_of("shop/web").unwrap(), stage.seat_of("shop/db").unwrap());
    let to = SocketAddr::new(db.addresses[0], 81);
    let file = stage.directory().join("drops.pcapng");
    let socket = stage.socket();
    let words = [
        &["sluicectl", "capture", "--drops", "--count", "1", "--socket"][..],
        &[socket.to_str().unwrap(), "--port", &web.interface, "--reason", "ingress_denied"],
        &["-w", file.to_str().unwrap()],
    ]
    .concat();
    std::thread::scope(|scope| {
        let capture = scope.spawn(|| sluice_cli::run(&words));
        assert!(wait_until(PATIENCE, || file.exists()), "the capture has begun");
        let attempt = web.namespace.run(|| probe::tcp_connect(to, DROPPED)).unwrap();
        assert_eq!(attempt, Probe::TimedOut);
        assert_eq!(capture.join().unwrap(), 0);
    });

    let packets = read(&file);
    let [(port, packet)] = packets.as_slice() else { panic!("{packets:?}") };
    assert_eq!(*port, web.interface);
    assert_eq!(packet.options, [EnhancedPacketOption::Comment("ingress_denied".into())]);
    assert_eq!(usize::try_from(packet.original_len), Ok(packet.data.len()));
    let parsed = Packet::parse(&packet.data).unwrap();
    let ip = parsed.ip().unwrap();
    assert_eq!([ip.source, ip.destination], [web.addresses[0], to.ip()]);
    let destination = ip.transport.ports().unwrap().destination;
    assert_eq!(destination, to.port());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let day = Duration::from_secs(24 * 60 * 60);
    assert!(now.abs_diff(packet.timestamp) < day, "it is by the wall clock");

    let Ok(tcpdump) = Command::new("tcpdump").args(["-n", "-r"]).arg(&file).output() else {
        eprintln!("not read back by tcpdump: it is not installed");
        return;
    };
    let said = String::from_utf8(tcpdump.stdout).unwrap();
    assert!(tcpdump.status.success(), "{}", String::from_utf8_lossy(&tcpdump.stderr));
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("10.5.0.11.") && said.contains(" > 10.5.0.12.81: Flags [S]"), "{said}");
}

#[test]
fn a_file_without_a_packet_can_be_read_too() {
    if !root_or_skip() {
        return;
    }
    let stage = stage();
    let file = stage.directory().join("drops.pcapng");
    let socket = stage.socket();
    let words = [
        &["sluicectl", "capture", "--drops", "--duration", "1", "--reason", "routing_header_0"][..],
        &["--socket", socket.to_str().unwrap(), "-w", file.to_str().unwrap()],
    ]
    .concat();
    assert_eq!(sluice_cli::run(&words), 0, "its time is over");
    assert!(read(&file).is_empty());
    if let Ok(tcpdump) = Command::new("tcpdump").arg("-r").arg(&file).output() {
        assert!(tcpdump.status.success(), "{}", String::from_utf8_lossy(&tcpdump.stderr));
    }
}

#[test]
fn counters_tell_drops_by_port_and_worker() {
    if !root_or_skip() {
        return;
    }
    let stage = stage();
    let (web, db) = (stage.seat_of("shop/web").unwrap(), stage.seat_of("shop/db").unwrap());
    let to = SocketAddr::new(db.addresses[0], 81);
    let attempt = web.namespace.run(|| probe::tcp_connect(to, DROPPED)).unwrap();
    assert_eq!(attempt, Probe::TimedOut);
    // A stack has something to say now and then, so the sum is right when all is quiet.
    let tells = wait_until(PATIENCE, || {
        let counters = with_client(&stage, async |client| client.counters().await.unwrap());
        let port = counters.ports.iter().find(|it| it.port == web.interface).unwrap();
        let denied = port.total.drops.iter().find(|it| it.reason == "ingress_denied").unwrap();
        assert!(denied.frames > 0 && denied.description.ends_with('.'), "{denied:?}");
        let by_worker: u64 = port.workers.iter().map(|it| it.traffic.dropped()).sum();
        by_worker == port.total.dropped()
    });
    assert!(tells, "the workers' drops are the port's");
}

#[test]
fn a_fifth_capture_waits_until_a_client_has_gone() {
    if !root_or_skip() {
        return;
    }
    let stage = stage();
    with_client(&stage, async |client| {
        let order = CaptureOrder::default();
        let mut running = Vec::new();
        for _ in 0..4 {
            running.push(client.capture(&order).await.unwrap());
        }
        match client.capture(&order).await {
            Err(ClientError::Failed(Failure::Precondition(text))) => {
                assert!(text.starts_with("4 captures are under way"), "{text}");
            }
            other => panic!("{other:?}"),
        }
        running.pop();
        let next = async {
            while client.capture(&order).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, next).await.unwrap();
        let unknown = CaptureOrder { ports: vec!["nosuch0".into()], ..order };
        match client.capture(&unknown).await {
            Err(ClientError::Failed(Failure::NotFound(text))) => {
                assert_eq!(text, "port nosuch0: there is none of that name");
            }
            other => panic!("{other:?}"),
        }
    });
}
