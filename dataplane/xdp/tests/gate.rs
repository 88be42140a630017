//! The gate: what passes, what is steered, and that it stays closed without its process.
#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Bed, NODE_MAC, PATIENCE, POD_MAC, receive, test_packet, udp_packet};
use sluice_lab::probe::{self, Probe};
use sluice_lab::serve::{self, Server};
use sluice_lab::{root_or_skip, wait_until};
use sluice_xdp::{
    Fallback, Gate, GateConfig, GateError, GateMode, GateRole, Interface, Queue, QueueConfig, Umem,
    detach_all, ensure_bpffs,
};

const SHORT: Duration = Duration::from_millis(300);

fn echo_on_node(bed: &Bed) -> Server {
    serve::udp_echo(&bed.node, "10.0.0.2:7000".parse().unwrap()).unwrap()
}

fn ask(bed: &Bed, address: SocketAddr) -> Probe {
    bed.pod.run(|| probe::udp_echo(address, SHORT)).unwrap()
}

#[test]
fn without_a_socket_nothing_reaches_the_node_until_pass_is_chosen() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("fallback", 1);
    let server = echo_on_node(&bed);
    assert_eq!(ask(&bed, server.address()), Probe::Open, "before the gate");
    let served = server.served();
    let mut gate = bed.attach(GateRole::Steer).unwrap();
    assert_eq!((gate.mode(), gate.adopted()), (GateMode::Native, false));
    assert_eq!(ask(&bed, server.address()), Probe::TimedOut);
    let counters = gate.counters().unwrap();
    assert!(counters.fallback_dropped >= 4, "{counters:?}");
    assert_eq!((counters.steered, counters.passed_to_node, counters.fallback_passed), (0, 0, 0));
    assert_eq!(server.served(), served, "0 packets reach the kernel");
    gate.set_fallback(Fallback::Pass).unwrap();
    assert_eq!(ask(&bed, server.address()), Probe::Open);
    assert!(gate.counters().unwrap().fallback_passed >= 1);
    gate.detach().unwrap();
    assert!(!bed.pins.join("veth-a").exists());
    assert_eq!(ask(&bed, server.address()), Probe::Open, "after the gate");
}

/// A veth has no filter of addresses, so this asks the interface and sends nothing.
#[test]
fn an_uplink_takes_frames_for_the_addresses_of_pods_while_its_gate_is_held() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("promiscuous", 1);
    let is_promiscuous = || {
        let output = bed.node.command("ip", &["-d", "link", "show", "veth-a"]).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("promiscuity"), "{text}");
        !text.contains("promiscuity 0")
    };
    let steering = bed.attach(GateRole::Steer).unwrap();
    assert!(!is_promiscuous(), "a pod's port has no need of it");
    steering.detach().unwrap();
    let uplink = bed.attach(GateRole::Uplink).unwrap();
    assert!(is_promiscuous());
    drop(uplink);
    assert!(!is_promiscuous(), "nobody holds it");
    let adopted = bed.attach(GateRole::Uplink).unwrap();
    assert!(adopted.adopted() && is_promiscuous());
}

#[test]
fn an_uplink_passes_the_nodes_traffic_and_steers_the_rest() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("uplink", 1);
    bed.node.address("veth-a", "fd00::2/64").unwrap();
    bed.pod.address("eth0", "fd00::1/64").unwrap();
    // The pod must resolve the node by ARP itself.
    bed.pod.ip(&["neigh", "del", "10.0.0.2", "dev", "eth0"]).unwrap();
    let server = echo_on_node(&bed);
    let server6 = serve::udp_echo(&bed.node, "[fd00::2]:7000".parse().unwrap()).unwrap();
    let mut gate = bed.attach(GateRole::Uplink).unwrap();
    gate.set_node_addresses(bed.interface().addresses()).unwrap();
    let (umem, mut pool) = Umem::in_memory(512).unwrap();
    let mut queue = bed.bind(&umem, 0);
    queue.refill(&mut pool);
    gate.connect(0, &queue).unwrap();
    assert_eq!(ask(&bed, server.address()), Probe::Open);
    assert_eq!(ask(&bed, server6.address()), Probe::Open, "neighbour discovery and IPv6");
    assert!(gate.counters().unwrap().passed_to_node >= 4);

    let mut sender = bed.sender();
    let mut seen = |packet: &[u8]| {
        let passed = gate.counters().unwrap().passed_to_node;
        sender.send(packet);
        let mut frames = Vec::with_capacity(64);
        let mut steered = false;
        let judged = wait_until(PATIENCE, || {
            queue.receive(&mut frames, 64);
            for frame in frames.drain(..) {
                steered |= frame.starts_with(packet);
                pool.put(frame);
            }
            queue.refill(&mut pool);
            steered || gate.counters().unwrap().passed_to_node > passed
        });
        assert!(judged, "the frame went nowhere");
        steered
    };
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    let (pod, node) = (address("10.0.0.1:9"), address("10.0.0.2:9"));
    let to_node = udp_packet((NODE_MAC, POD_MAC), pod, node, b"to the node");
    assert!(!seen(&to_node));
    let to_other = udp_packet((NODE_MAC, POD_MAC), pod, address("10.0.0.9:9"), b"to a pod");
    assert!(seen(&to_other), "own MAC, foreign address");
    let other_mac = udp_packet(([2, 9, 9, 9, 9, 9], POD_MAC), pod, node, b"not our MAC");
    assert!(seen(&other_mac));
    let mut tagged = to_node.clone();
    tagged.splice(12..12, [0x81, 0x00, 0x00, 0x07]);
    assert!(seen(&tagged), "VLAN-tagged");
    for length in [14, 20, 33] {
        let mut short = to_node.clone();
        short.truncate(length);
        assert!(seen(&short), "cut to {length} bytes");
    }
    let mut version = to_node.clone();
    version[14] = 0x65;
    assert!(seen(&version), "IPv4 type, version 6");
    assert!(!seen(&arp_request([10, 0, 0, 2])));
    assert!(seen(&arp_request([10, 0, 0, 9])));
    assert!(seen(&test_packet(1, 60)));
}

#[test]
fn the_mode_is_as_demanded_or_the_gate_is_refused() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("modes", 1);
    let attach = |mode| {
        let config = GateConfig { mode, ..bed.config(GateRole::Steer, Fallback::Drop) };
        let interface = bed.interface();
        bed.node.run(|| Gate::attach(&interface, &config)).unwrap()
    };
    let server = echo_on_node(&bed);
    let generic = attach(Some(GateMode::Generic)).unwrap();
    assert_eq!((generic.mode(), generic.why_generic()), (GateMode::Generic, None));
    assert_eq!(ask(&bed, server.address()), Probe::TimedOut);
    // A former run's gate is adopted as it is, or not at all: never is there none.
    drop(generic);
    let text = attach(Some(GateMode::Native)).unwrap_err().to_string();
    assert!(text.contains("generic mode, and native mode is demanded"), "{text}");
    assert_eq!(ask(&bed, server.address()), Probe::TimedOut, "it is still closed");
    let adopted = attach(None).unwrap();
    assert_eq!((adopted.mode(), adopted.adopted()), (GateMode::Generic, true));
    assert!(adopted.why_generic().is_some_and(|why| why.contains("sluiced --detach")));
    adopted.detach().unwrap();
    // A bridge has no XDP of its own.
    bed.node.ip(&["link", "add", "br0", "type", "bridge"]).unwrap();
    bed.node.ip(&["link", "set", "br0", "up"]).unwrap();
    let bridge = bed.node.run(|| Interface::open("br0")).unwrap().unwrap();
    let on_bridge = |mode| {
        let config = GateConfig { mode, ..bed.config(GateRole::Steer, Fallback::Drop) };
        bed.node.run(|| Gate::attach(&bridge, &config)).unwrap()
    };
    let text = on_bridge(Some(GateMode::Native)).unwrap_err().to_string();
    assert!(text.contains("br0 does not run the gate in its driver: "), "{text}");
    let fallen_back = on_bridge(None).unwrap();
    assert_eq!(fallen_back.mode(), GateMode::Generic);
    assert!(fallen_back.why_generic().is_some_and(|why| why.contains("not supported")));
    fallen_back.detach().unwrap();
}

#[test]
fn a_queue_without_a_socket_passes_nothing_while_others_have_theirs() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("newqueue", 2);
    let (umem, mut pool) = Umem::in_memory(512).unwrap();
    let mut gate = bed.attach(GateRole::Steer).unwrap();
    gate.set_fallback(Fallback::Pass).unwrap();
    // A frame leaves by the peer's queue of the number at which it is to arrive.
    let (far_umem, mut far_pool) = Umem::in_memory(512).unwrap();
    let far = || {
        let interface = Interface::open("eth0").unwrap();
        Queue::bind(&far_umem, &interface, 1, &QueueConfig::default()).unwrap()
    };
    let mut far = bed.pod.run(far).unwrap();
    let mut send = || {
        let mut frame = far_pool.take().unwrap();
        assert!(frame.copy_from(&test_packet(1, 60)));
        assert_eq!(far.send(&mut vec![frame]), 1);
        assert!(wait_until(PATIENCE, || {
            far.kick().unwrap();
            far.complete(&mut far_pool);
            far.held().tx == 0
        }));
    };
    let counts = |gate: &Gate| {
        let counters = gate.counters().unwrap();
        (counters.fallback_passed, counters.fallback_dropped)
    };
    let queue = bed.bind(&umem, 0);
    gate.connect(0, &queue).unwrap();
    let before = counts(&gate);
    send();
    assert!(wait_until(PATIENCE, || counts(&gate).1 > before.1));
    assert_eq!(counts(&gate).0, before.0);
    queue.close(&mut pool);
    send();
    assert!(wait_until(PATIENCE, || counts(&gate).0 > before.0), "nobody is there at all");
}

#[test]
fn a_peer_with_a_long_mtu_does_not_make_the_gate_generic() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("longpeer", 1);
    bed.pod.ip(&["link", "set", "eth0", "mtu", "9000"]).unwrap();
    let gate = bed.attach(GateRole::Steer).unwrap();
    assert_eq!((gate.mode(), gate.why_generic()), (GateMode::Native, None));
}

#[test]
fn an_interface_that_vanishes_before_its_gate_or_socket_leaves_nothing_behind() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("vanish", 1);
    let interface = bed.interface();
    let attach = || {
        let config = bed.config(GateRole::Uplink, Fallback::Drop);
        bed.node.run(|| Gate::attach(&interface, &config)).unwrap()
    };
    let gate = attach().unwrap();
    bed.node.ip(&["link", "delete", "veth-a"]).unwrap();
    let (umem, _pool) = Umem::in_memory(512).unwrap();
    let bound = bed.node.run(|| Queue::bind(&umem, &interface, 0, &QueueConfig::default()));
    let text = bound.unwrap().unwrap_err().to_string();
    assert!(text.contains("veth-a does not exist"), "{text}");
    gate.detach().unwrap();
    assert!(!bed.pins.join("veth-a").exists());
    let text = attach().unwrap_err().to_string();
    assert!(text.contains("veth-a") && text.contains("No such device"), "{text}");
    assert!(!bed.pins.join("veth-a").exists());
}

fn arp_request(target: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0xff; 6];
    packet.extend(POD_MAC);
    packet.extend([0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1]);
    packet.extend(POD_MAC);
    packet.extend([10, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    packet.extend(target);
    packet.resize(60, 0);
    packet
}

#[test]
fn a_gate_that_was_left_behind_is_adopted() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("adopt", 1);
    let server = echo_on_node(&bed);
    drop(bed.attach(GateRole::Steer).unwrap());
    assert_eq!(ask(&bed, server.address()), Probe::TimedOut, "dropped is still closed");
    let mut gate = bed.attach(GateRole::Steer).unwrap();
    assert!(gate.adopted());
    let before = gate.counters().unwrap();
    assert!(before.fallback_dropped > 0, "the counters go on: {before:?}");
    let (umem, mut pool) = Umem::in_memory(512).unwrap();
    let mut queue = bed.bind(&umem, 0);
    queue.refill(&mut pool);
    gate.connect(0, &queue).unwrap();
    let packet = test_packet(1, 100);
    bed.sender().send(&packet);
    assert_eq!(receive(&mut queue, &mut pool, 1), [packet]);
    gate.disconnect(0).unwrap();
    gate.disconnect(0).unwrap();
    assert_eq!(detach_all(&bed.pins).unwrap(), 1);
    drop(gate);
    assert!(wait_until(PATIENCE, || ask(&bed, server.address()).is_open()));
    assert_eq!(detach_all(Path::new("/no/such/directory")).unwrap(), 0);
}

#[test]
fn a_killed_process_leaves_the_gate_closed_and_adoptable() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("killed", 1);
    let server = echo_on_node(&bed);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "child_that_holds_a_gate"]).stdout(Stdio::null());
    command.env("SLUICE_TEST_PINS", &bed.pins);
    let mut child = bed.node.child(command).unwrap();
    let pins = bed.pins.join("veth-a");
    let ready = pins.join("ready");
    let started = wait_until(PATIENCE, || ready.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(started, "the child never had its gate");
    std::fs::remove_dir(ready).unwrap();
    let served = server.served();
    assert_eq!(ask(&bed, server.address()), Probe::TimedOut);
    assert_eq!(server.served(), served, "0 packets reach the kernel");
    let mut gate = bed.attach(GateRole::Steer).unwrap();
    assert!(gate.adopted());
    let (umem, mut pool) = Umem::in_memory(512).unwrap();
    let mut queue = bed.bind(&umem, 0);
    queue.refill(&mut pool);
    gate.connect(0, &queue).unwrap();
    let packet = test_packet(2, 100);
    bed.sender().send(&packet);
    assert_eq!(receive(&mut queue, &mut pool, 1), [packet]);
    gate.detach().unwrap();
    assert!(!pins.exists());
}

/// Not a test: the process that the test above kills.
#[test]
#[ignore = "runs as the child of another test"]
fn child_that_holds_a_gate() {
    let Some(pin_dir) = std::env::var_os("SLUICE_TEST_PINS") else { return };
    let (role, fallback) = (GateRole::Steer, Fallback::Drop);
    let config = GateConfig {
        pin_dir: pin_dir.into(),
        role,
        fallback,
        mode: None,
        node_addresses: Vec::new(),
        chains: false,
    };
    let interface = Interface::open("veth-a").unwrap();
    let mut gate = Gate::attach(&interface, &config).unwrap();
    let (umem, mut pool) = Umem::in_memory(512).unwrap();
    let mut queue = sluice_xdp::Queue::bind(&umem, &interface, 0, &Default::default()).unwrap();
    queue.refill(&mut pool);
    gate.connect(0, &queue).unwrap();
    std::fs::create_dir(config.pin_dir.join("veth-a/ready")).unwrap();
    // Bounded, should the parent die.
    std::thread::sleep(Duration::from_secs(30));
}

#[test]
fn pins_of_a_deleted_interface_are_not_trusted() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("stale", 1);
    drop(bed.attach(GateRole::Steer).unwrap());
    bed.node.ip(&["link", "del", "veth-a"]).unwrap();
    bed.cable(1);
    let server = echo_on_node(&bed);
    let gate = bed.attach(GateRole::Steer).unwrap();
    assert!(!gate.adopted());
    assert_eq!(ask(&bed, server.address()), Probe::TimedOut);
    assert!(gate.counters().unwrap().fallback_dropped > 0);
    gate.detach().unwrap();
}

#[test]
fn a_foreign_program_is_refused_by_name() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("foreign", 1);
    let _first = bed.attach(GateRole::Steer).unwrap();
    let mut config = bed.config(GateRole::Steer, Fallback::Drop);
    config.pin_dir = bed.lab.bpffs().unwrap();
    let interface = bed.interface();
    let error = bed.node.run(|| Gate::attach(&interface, &config)).unwrap().unwrap_err();
    assert!(matches!(error, GateError::Foreign { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("veth-a already runs the XDP program `sluice_gate`"), "{text}");
    assert!(text.contains("ip link set dev veth-a xdp off"), "{text}");
    assert!(!config.pin_dir.join("veth-a").exists(), "a refusal leaves no pins");
}

#[test]
fn pins_need_a_bpf_file_system() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("bpffs", 1);
    assert!(!ensure_bpffs(&bed.pins.join("below")).unwrap(), "it is on one already");
    let mut config = bed.config(GateRole::Steer, Fallback::Drop);
    config.pin_dir = std::env::temp_dir();
    let interface = bed.interface();
    let error = bed.node.run(|| Gate::attach(&interface, &config)).unwrap().unwrap_err();
    assert!(matches!(error, GateError::NoBpffs { .. }), "{error}");
    assert!(error.to_string().contains("mount -t bpf"), "{error}");
}
