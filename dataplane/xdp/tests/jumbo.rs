//! Packets that are longer than a chunk, over real queues.

mod common;

use std::net::UdpSocket;

use common::{Bed, NODE_MAC, PATIENCE, POD_MAC, receive, test_packet, udp_packet};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use sluice_lab::{root_or_skip, wait_until};
use sluice_xdp::{
    Fallback, Frame, FramePool, Gate, GateConfig, GateMode, GateRole, Interface, Queue,
    QueueConfig, Umem,
};

/// The longest frame at MTU 9,000.
const LEN_MAX: usize = 9014;

fn assert_census(umem: &Umem, pool: &FramePool, queue: &Queue) {
    let all = pool.len() + queue.frames_held();
    assert_eq!((all, umem.leaked()), (umem.frame_count() as usize, 0), "{queue:?}");
}

#[test]
fn long_frames_arrive_whole_and_in_order_among_short_ones() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::with_mtu("jumbo", 1, 9000);
    let mut gate = bed.attach(GateRole::Steer).unwrap();
    assert_eq!(gate.mode(), GateMode::Native);
    let (umem, mut pool) = Umem::in_memory(512).unwrap();
    let mut queue = bed.bind(&umem, 0);
    queue.refill(&mut pool);
    gate.connect(0, &queue).unwrap();
    let mut sender = bed.sender();
    let lens = [60, LEN_MAX, 3840, 3841, 7680, 1514, 7681, LEN_MAX, LEN_MAX - 1];
    let sent: Vec<_> = (0..90).map(|n| test_packet(n, lens[n as usize % lens.len()])).collect();
    let mut got = Vec::new();
    for batch in sent.chunks(15) {
        batch.iter().for_each(|packet| sender.send(packet));
        got.extend(receive(&mut queue, &mut pool, batch.len()));
        assert_census(&umem, &pool, &queue);
    }
    assert!(got == sent, "bytes differ");
    assert_eq!(queue.statistics().unwrap().foreign_descriptors, 0);
    queue.close(&mut pool);
    assert_eq!(pool.len(), 512);
}

#[test]
fn a_frame_that_is_read_chunk_by_chunk_is_held_until_it_is_whole() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::with_mtu("batches", 1, 9000);
    let mut gate = bed.attach(GateRole::Steer).unwrap();
    let (umem, mut pool) = Umem::in_memory(512).unwrap();
    let mut queue = bed.bind(&umem, 0);
    queue.refill(&mut pool);
    gate.connect(0, &queue).unwrap();
    let mut sender = bed.sender();
    let packet = test_packet(5, LEN_MAX);
    sender.send(&packet);
    let mut frames: Vec<Frame> = Vec::with_capacity(4);
    let arrived = wait_until(PATIENCE, || {
        let held = queue.frames_held();
        if queue.receive(&mut frames, 1) == 0 {
            assert_eq!(queue.frames_held(), held, "what is unfinished is held");
        }
        assert_eq!(pool.len() + queue.frames_held() + chunks(&frames), 512);
        // What the peer's own kernel says is none of ours.
        if frames.last().is_some_and(|frame| frame.get(12..14) != Some(&common::TEST_TYPE)) {
            frames.drain(..).for_each(|frame| pool.put(frame));
        }
        !frames.is_empty()
    });
    assert!(arrived);
    let frame = frames.pop().unwrap();
    assert_eq!(frame.chunk_count(), 3);
    assert!(frame.pieces().flatten().eq(&packet));
    pool.put(frame);
    // The next one is read in part only when the queue closes.
    sender.send(&packet);
    let steered = gate.counters().unwrap().steered;
    assert!(steered >= 2);
    assert!(wait_until(PATIENCE, || queue.receive(&mut frames, 1) == 0));
    queue.close(&mut pool);
    frames.drain(..).for_each(|frame| pool.put(frame));
    assert_eq!((pool.len(), umem.leaked()), (512, 0));
}

fn chunks(frames: &[Frame]) -> usize {
    frames.iter().map(Frame::chunk_count).sum()
}

#[test]
fn long_frames_that_are_sent_reach_the_peers_kernel() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::with_mtu("longsend", 1, 9000);
    let (umem, mut pool) = Umem::in_memory(512).unwrap();
    let mut queue = bed.bind(&umem, 0);
    let listener = bed.pod.run(|| UdpSocket::bind("10.0.0.1:7000").unwrap()).unwrap();
    listener.set_read_timeout(Some(PATIENCE)).unwrap();
    setsockopt(&listener, RcvBufForce, &(8 << 20)).unwrap();
    let (from, to) = ("10.0.0.2:7001".parse().unwrap(), "10.0.0.1:7000".parse().unwrap());
    let body = |number: u8| vec![number; 8972 - usize::from(number)];
    let mut frames = Vec::new();
    for number in 0..100 {
        let packet = udp_packet((POD_MAC, NODE_MAC), from, to, &body(number));
        frames.push(pool.frame_of([&packet[..]]).unwrap());
    }
    assert_eq!(queue.send(&mut frames), 85, "of 256 places each takes three");
    assert_eq!((queue.held().tx, frames.len()), (255, 15));
    let mut room = [0; 9000];
    for number in 0..100 {
        queue.kick().unwrap();
        queue.complete(&mut pool);
        queue.send(&mut frames);
        let len = listener.recv(&mut room).unwrap();
        assert!(room.get(..len) == Some(&body(number)), "datagram {number}");
    }
    assert!(wait_until(PATIENCE, || queue.complete(&mut pool) == 0 && queue.held().tx == 0));
    assert_census(&umem, &pool, &queue);
    queue.close(&mut pool);
    assert_eq!(pool.len(), 512);
}

#[test]
fn a_queue_without_chains_neither_takes_nor_sends_long_frames() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::with_mtu("short", 1, 9000);
    let mut gate = bed.attach(GateRole::Steer).unwrap();
    let (umem, mut pool) = Umem::in_memory(512).unwrap();
    let config = QueueConfig { ring_size: 256, fill_frames_max: 128, ..QueueConfig::default() };
    let interface = bed.interface();
    let bind = || Queue::bind(&umem, &interface, 0, &config).unwrap();
    let mut queue = bed.node.run(bind).unwrap();
    queue.refill(&mut pool);
    gate.connect(0, &queue).unwrap();
    let mut sender = bed.sender();
    sender.send(&test_packet(1, LEN_MAX));
    sender.send(&test_packet(2, 3840));
    assert_eq!(receive(&mut queue, &mut pool, 1), [test_packet(2, 3840)]);
    assert!(queue.statistics().unwrap().rx_dropped >= 1);
    let mut frames = vec![pool.frame_of([&test_packet(3, LEN_MAX)[..]]).unwrap()];
    assert_eq!((queue.send(&mut frames), frames.len()), (0, 1));
    pool.put(frames.pop().unwrap());
    queue.close(&mut pool);
    assert_eq!((pool.len(), umem.leaked()), (512, 0));
}

#[test]
fn a_gate_is_adopted_with_frags_and_without_and_never_gone() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("frags", 1);
    let attach = |chains| {
        let config = GateConfig { chains, ..bed.config(GateRole::Steer, Fallback::Drop) };
        let interface = bed.interface();
        bed.node.run(|| Gate::attach(&interface, &config)).unwrap()
    };
    let mtu = |mtu: &str| {
        // The kernel keeps the bound of the first gate for the other end of a veth.
        bed.node.ip(&["link", "set", "dev", "veth-a", "mtu", mtu]).unwrap();
    };
    for (chains, len) in [(false, "1500"), (true, "9000"), (true, "9000"), (false, "1500")] {
        mtu(len);
        let gate = attach(chains).unwrap();
        assert_eq!(gate.mode(), GateMode::Native);
        let counters = gate.counters().unwrap();
        drop(gate);
        bed.sender().send(&test_packet(1, 100));
        let gate = attach(chains).unwrap();
        assert!(gate.adopted());
        let dropped = || gate.counters().unwrap().fallback_dropped;
        assert!(wait_until(PATIENCE, || dropped() > counters.fallback_dropped), "it is closed");
    }
    attach(false).unwrap().detach().unwrap();
    // The other end keeps its long MTU, with which the kernel refuses the gate without frags.
    for end in [(&bed.pod, "eth0"), (&bed.node, "veth-a")] {
        end.0.ip(&["link", "set", "dev", end.1, "mtu", "9000"]).unwrap();
    }
    let gate = attach(true).unwrap();
    assert_eq!((gate.mode(), gate.adopted()), (GateMode::Native, false));
    drop(gate);
    mtu("1500");
    let gate = attach(false).unwrap();
    assert_eq!((gate.mode(), gate.adopted()), (GateMode::Native, true), "the one with frags");
    gate.detach().unwrap();
}

#[test]
fn where_the_driver_refuses_the_kernels_stack_runs_the_gate_for_long_frames() {
    if !root_or_skip() {
        return;
    }
    // A veth runs no program with fewer receive queues than the other end has to transmit.
    let bed = Bed::with_mtu("generic", 2, 9000);
    let channels = ["-L", "veth-a", "rx", "1"];
    assert!(bed.node.command("ethtool", &channels).unwrap().status.success());
    let mut gate = bed.attach(GateRole::Steer).unwrap();
    assert_eq!(gate.mode(), GateMode::Generic);
    let (umem, mut pool) = Umem::in_memory(512).unwrap();
    let mut queue = bed.bind(&umem, 0);
    queue.refill(&mut pool);
    gate.connect(0, &queue).unwrap();
    let packet = test_packet(9, LEN_MAX);
    bed.sender().send(&packet);
    assert_eq!(receive(&mut queue, &mut pool, 1), [packet]);
    assert_census(&umem, &pool, &queue);
    queue.close(&mut pool);
    let interface = bed.node.run(|| Interface::open("veth-a")).unwrap().unwrap();
    assert_eq!(interface.mtu(), 9000);
}
