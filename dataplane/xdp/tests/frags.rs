//! The gate on frames whose first buffer ends within the headers, or before them.
//!
//! No veth makes such frames, but drivers do: mlx5 leaves the first buffer empty and puts all bytes
//! into fragments. So the kernel runs the loaded gate on frames that are made up (BPF_PROG_TEST_RUN).

#![expect(unsafe_code, reason = "the kernel is asked by a call of libbpf")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed step of a test is a failed test"
)]

mod common;

use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

use aya::programs::ProgramFd;
use aya::programs::loaded_programs;
use common::{Bed, NODE_MAC, POD_MAC, TEST_TYPE, udp_packet};
use sluice_lab::root_or_skip;
use sluice_xdp::{Fallback, Gate, GateConfig, GateRole, Link};

/// What a program answers (linux/bpf.h).
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

/// fd00::2 and its solicited-node group.
const NODE_IPV6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const NODE_GROUP_MAC: [u8; 6] = [0x33, 0x33, 0xff, 0, 0, 2];

fn ipv4(mac: [u8; 6], to: &str, body: &[u8]) -> Vec<u8> {
    udp_packet((mac, POD_MAC), "10.0.0.1:9".parse().unwrap(), to.parse().unwrap(), body)
}

fn arp(target: [u8; 4]) -> Vec<u8> {
    let mut packet = [[0xff; 6], POD_MAC].concat();
    packet.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    packet.extend(POD_MAC);
    packet.extend([10, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    packet.extend(target);
    packet
}

/// With an ICMPv6 message of that type; what the gate reads of it is the target.
fn ipv6(mac: [u8; 6], to: [u8; 16], message: u8, target: [u8; 16]) -> Vec<u8> {
    let mut packet = [mac, POD_MAC].concat();
    packet.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255]);
    packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend(to);
    packet.extend([message, 0, 0, 0, 0, 0, 0, 0]);
    packet.extend(target);
    packet
}

/// The gate with frags, as it runs on the bed's uplink.
fn gate_of(bed: &Bed) -> (Gate, ProgramFd) {
    let mut config = GateConfig { chains: true, ..bed.config(GateRole::Uplink, Fallback::Drop) };
    config.node_addresses.push(NODE_IPV6.into());
    let interface = bed.interface();
    let gate = bed.node.run(|| Gate::attach(&interface, &config)).unwrap().unwrap();
    let links = bed.node.run(Link::all).unwrap().unwrap();
    let id = links.iter().find(|link| link.name == "veth-a").unwrap().programs[0].id;
    let info = loaded_programs().filter_map(Result::ok).find(|info| info.id() == id).unwrap();
    (gate, info.fd().unwrap())
}

/// What the gate says of a packet with that many bytes in the first buffer. `None` where the kernel
/// cannot cut packets so (before Linux 6.18).
fn verdict(gate: &ProgramFd, packet: &[u8], first: usize) -> Option<u32> {
    // SAFETY: both consist of integers and pointers, for which zero is a value.
    let (mut context, mut options): (libxdp_sys::xdp_md, libxdp_sys::bpf_test_run_opts) =
        unsafe { std::mem::zeroed() };
    context.data_end = len_of(first);
    options.sz = size_of::<libxdp_sys::bpf_test_run_opts>();
    (options.data_in, options.data_size_in) = (packet.as_ptr().cast(), len_of(packet.len()));
    options.ctx_in = (&raw const context).cast();
    options.ctx_size_in = len_of(size_of_val(&context));
    let gate = gate.as_fd().as_raw_fd();
    // SAFETY: packet and context are read only, and live through the call.
    let result = unsafe { libxdp_sys::bpf_prog_test_run_opts(gate, &raw mut options) };
    (result == 0).then_some(options.retval)
}

fn len_of(len: usize) -> u32 {
    len.try_into().unwrap()
}

#[test]
fn the_nodes_frames_pass_wherever_the_first_buffer_ends() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::with_mtu("headers", 1, 9000);
    let (gate, program) = gate_of(&bed);
    let elsewhere = [0xfd; 16];
    let (long, short) = ([7; 8000], [7; 18]);
    let other = [TEST_TYPE.as_slice(), &[0; 100]].concat();
    let frames = [
        ("IPv4 to the node, long", ipv4(NODE_MAC, "10.0.0.2:7", &long), XDP_PASS),
        ("IPv4 to the node, short", ipv4(NODE_MAC, "10.0.0.2:7", &short), XDP_PASS),
        ("IPv4 to a pod", ipv4(NODE_MAC, "10.0.0.3:7", &long), XDP_DROP),
        ("IPv4 to a pod's MAC", ipv4(POD_MAC, "10.0.0.2:7", &long), XDP_DROP),
        ("IPv4 that is cut off", ipv4(NODE_MAC, "10.0.0.2:7", &[])[..33].to_vec(), XDP_DROP),
        ("ARP for the node", arp([10, 0, 0, 2]), XDP_PASS),
        ("ARP for a pod", arp([10, 0, 0, 3]), XDP_DROP),
        ("ARP that is cut off", arp([10, 0, 0, 2])[..41].to_vec(), XDP_DROP),
        ("IPv6 to the node", ipv6(NODE_MAC, NODE_IPV6, 128, elsewhere), XDP_PASS),
        ("IPv6 to a pod", ipv6(NODE_MAC, elsewhere, 128, NODE_IPV6), XDP_DROP),
        ("a solicitation", ipv6(NODE_GROUP_MAC, elsewhere, 135, NODE_IPV6), XDP_PASS),
        ("one of a pod", ipv6(NODE_GROUP_MAC, elsewhere, 135, elsewhere), XDP_DROP),
        (
            "one that is cut off",
            ipv6(NODE_GROUP_MAC, elsewhere, 135, NODE_IPV6)[..77].to_vec(),
            XDP_DROP,
        ),
        ("an advertisement", ipv6(NODE_GROUP_MAC, elsewhere, 134, elsewhere), XDP_PASS),
        ("of no known type", [NODE_MAC.as_slice(), &POD_MAC, &other].concat(), XDP_DROP),
        ("nothing but MACs", ipv4(NODE_MAC, "10.0.0.2:7", &[])[..14].to_vec(), XDP_DROP),
    ];
    if verdict(&program, &frames[0].1, 0).is_none() {
        eprintln!("skipped: this kernel has no test runs with an empty first buffer");
        return;
    }
    for (what, packet, expected) in frames {
        let bounds = [0, 1, 13, 14, 33, 34, 41, 54, 77, 78, 3000];
        for first in bounds.into_iter().chain([packet.len()]) {
            let first = first.min(packet.len());
            let said = verdict(&program, &packet, first);
            assert_eq!(said, Some(expected), "{what}, {first} bytes in the first buffer");
        }
    }
    gate.detach().unwrap();
}
