//! A second implementation of AF_XDP at the other end of the cable.
//!
//! xsk-rs lays out its memory and drives its rings with none of our Rust. What both ends
//! misread in the same way, two of our own queues would never show.
#![expect(unsafe_code, reason = "xsk-rs leaves it to its user that frames belong to their memory")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed step of a test is a failed test"
)]

mod common;

use std::io::Write;
use std::num::NonZeroU32;
use std::os::fd::AsRawFd;

use aya::maps::{Map, MapData, XskMap};
use common::{Bed, PATIENCE, TEST_TYPE, receive, test_packet};
use sluice_lab::{root_or_skip, wait_until};
use sluice_xdp::{GateRole, Interface, Queue, QueueConfig, QueueError, Umem};
use xsk_rs::config::{LibxdpFlags, SocketConfig, UmemConfig};
use xsk_rs::umem::frame::FrameDesc;
use xsk_rs::{CompQueue, FillQueue, RxQueue, Socket, TxQueue};

const FRAMES: NonZeroU32 = NonZeroU32::new(128).unwrap();
const HALF: usize = 64;

/// A socket of xsk-rs: the first half of its frames is for receiving, the other for sending.
struct Peer {
    tx: TxQueue,
    rx: RxQueue,
    fill: FillQueue,
    completion: CompQueue,
    for_rx: Vec<FrameDesc>,
    for_tx: Vec<FrameDesc>,
    umem: xsk_rs::Umem,
}

impl Peer {
    /// Binds to queue 0 of an interface of the current namespace.
    fn bind(interface: &str) -> Self {
        let (umem, mut for_rx) = xsk_rs::Umem::new(UmemConfig::default(), FRAMES, false).unwrap();
        let for_tx = for_rx.split_off(HALF);
        // libxdp would look for a program of its own on the disk.
        let config = SocketConfig::builder()
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .build();
        // SAFETY: no other socket shares this memory.
        let (tx, rx, rings) =
            unsafe { Socket::new(config, &umem, &interface.parse().unwrap(), 0) }.unwrap();
        let (mut fill, completion) = rings.unwrap();
        // SAFETY: the frames are of this memory, and nobody else holds them.
        assert_eq!(unsafe { fill.produce(&for_rx) }, HALF);
        Self { tx, rx, fill, completion, for_rx, for_tx, umem }
    }

    /// Sends at most half of the frames' worth and waits until they are out.
    fn send(&mut self, packets: &[Vec<u8>]) {
        let frames = &mut self.for_tx[..packets.len()];
        for (frame, packet) in frames.iter_mut().zip(packets) {
            // SAFETY: the frame is of this memory, and the kernel has given it back.
            unsafe { self.umem.data_mut(frame).cursor().write_all(packet) }.unwrap();
        }
        // SAFETY: as above; the frames are not touched until they have been completed.
        assert_eq!(unsafe { self.tx.produce(frames) }, packets.len());
        let mut completed = vec![FrameDesc::default(); packets.len()];
        let mut count = 0;
        let sent = wait_until(PATIENCE, || {
            self.tx.wakeup().unwrap();
            // SAFETY: the descriptors are filled in with frames of this memory.
            count += unsafe { self.completion.consume(&mut completed[count..]) };
            count == packets.len()
        });
        assert!(sent, "{count} of {} frames leave", packets.len());
        self.for_tx[..packets.len()].clone_from_slice(&completed);
    }

    /// Takes what has arrived of test packets, and gives all frames back to the kernel.
    fn receive(&mut self, want: usize) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        // Too few are for the caller to notice.
        let _ = wait_until(PATIENCE, || {
            // SAFETY: the descriptors are filled in with frames of this memory.
            let count = unsafe { self.rx.consume(&mut self.for_rx) };
            let frames = &self.for_rx[..count];
            for frame in frames {
                // SAFETY: the kernel has just given the frame to us.
                let data = unsafe { self.umem.data(frame) };
                if data.contents().get(12..14) == Some(&TEST_TYPE) {
                    packets.push(data.contents().to_vec());
                }
            }
            // SAFETY: what was read is of this memory, and the copies above are all that is left.
            assert_eq!(unsafe { self.fill.produce(frames) }, count);
            packets.len() >= want
        });
        packets
    }
}

/// Packets of all lengths that fit: the shortest, the longest, and odd ones between.
fn packets() -> Vec<Vec<u8>> {
    (0..400).map(|n| test_packet(n, 60 + (n as usize * 37) % 1455)).collect()
}

#[test]
fn what_a_foreign_socket_sends_arrives_byte_for_byte() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("peer-rx", 1);
    let mut gate = bed.attach(GateRole::Steer).unwrap();
    let (umem, mut pool) = Umem::in_memory(512).unwrap();
    let mut queue = bed.bind(&umem, 0);
    queue.refill(&mut pool);
    gate.connect(0, &queue).unwrap();
    let mut peer = bed.pod.run(|| Peer::bind("eth0")).unwrap();
    let sent = packets();
    let mut got = Vec::new();
    for batch in sent.chunks(50) {
        peer.send(batch);
        got.extend(receive(&mut queue, &mut pool, batch.len()));
    }
    assert_eq!(got.len(), sent.len());
    assert!(got == sent, "bytes differ");
    assert_eq!(queue.statistics().unwrap().foreign_descriptors, 0);
    assert_eq!(pool.len() + queue.frames_held(), 512);
}

#[test]
fn what_our_queue_sends_reaches_a_foreign_socket_byte_for_byte() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("peer-tx", 1);
    // A gate of ours steers at the peer's end as well; only the socket behind it is foreign.
    let config = bed.config(GateRole::Steer, sluice_xdp::Fallback::Drop);
    let attach = || sluice_xdp::Gate::attach(&Interface::open("eth0").unwrap(), &config).unwrap();
    let _gate = bed.pod.run(attach).unwrap();
    let mut peer = bed.pod.run(|| Peer::bind("eth0")).unwrap();
    let pin = MapData::from_pin(bed.pins.join("eth0/sockets")).unwrap();
    let mut sockets = XskMap::try_from(Map::XskMap(pin)).unwrap();
    sockets.set(0, peer.rx.fd().as_raw_fd(), 0).unwrap();

    let (umem, mut pool) = Umem::in_memory(512).unwrap();
    let mut queue = bed.bind(&umem, 0);
    let sent = packets();
    let mut got = Vec::new();
    for batch in sent.chunks(50) {
        let mut frames = Vec::with_capacity(batch.len());
        for packet in batch {
            let mut frame = pool.take().unwrap();
            assert!(frame.copy_from(packet));
            frames.push(frame);
        }
        assert_eq!(queue.send(&mut frames), batch.len());
        queue.kick().unwrap();
        got.extend(peer.receive(batch.len()));
        assert!(wait_until(PATIENCE, || {
            queue.complete(&mut pool);
            queue.held().tx == 0
        }));
    }
    assert_eq!(got.len(), sent.len());
    assert!(got == sent, "bytes differ");
    assert_eq!(peer.rx.fd().xdp_statistics().unwrap().rx_dropped(), 0);
    assert_eq!(pool.len(), 512, "every frame has come back");
}

#[test]
fn a_queue_that_a_foreign_socket_holds_is_refused_until_it_is_free() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("peer-busy", 1);
    let peer = bed.node.run(|| Peer::bind("veth-a")).unwrap();
    let (umem, _pool) = Umem::in_memory(64).unwrap();
    let interface = bed.interface();
    let config = QueueConfig::default();
    let error = bed.node.run(|| Queue::bind(&umem, &interface, 0, &config)).unwrap().unwrap_err();
    assert!(matches!(error, QueueError::InUse { queue_id: 0, .. }), "{error}");
    let text = error.to_string();
    assert!(text.starts_with("queue 0 of veth-a is in use by another program; stop"), "{text}");
    drop(peer);
    bed.bind(&umem, 0);
}
