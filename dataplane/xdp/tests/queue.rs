//! Sockets on real queues: bytes arrive as they were sent, and no frame is ever lost or doubled.

mod common;

use std::net::UdpSocket;
use std::time::Instant;

use common::{Bed, NODE_MAC, PATIENCE, POD_MAC, receive, test_packet, udp_packet};
use sluice_lab::{root_or_skip, wait_until};
use sluice_xdp::{
    BusyPoll, Copying, FramePool, GateRole, Interface, Queue, QueueConfig, QueueError, Umem,
    WhyCopied,
};

/// Every frame is in a pool or with the kernel.
fn assert_census(umem: &Umem, pools: &[&FramePool], queues: &[&Queue]) {
    let free: usize = pools.iter().map(|pool| pool.len()).sum();
    let held: usize = queues.iter().map(|queue| queue.frames_held()).sum();
    assert_eq!(free + held, umem.frame_count() as usize, "free {free} held {held}");
    assert_eq!(umem.leaked(), 0);
}

#[test]
fn frames_arrive_byte_for_byte_and_in_order() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("exact", 1);
    let mut gate = bed.attach(GateRole::Steer).unwrap();
    let (umem, mut pool) = Umem::in_memory(512).unwrap();
    let mut queue = bed.bind(&umem, 0);
    queue.refill(&mut pool);
    gate.connect(0, &queue).unwrap();
    let mut sender = bed.sender();
    let sent: Vec<_> = (0..400).map(|n| test_packet(n, 60 + (n as usize * 37) % 1455)).collect();
    let mut got = Vec::new();
    for batch in sent.chunks(50) {
        for packet in batch {
            sender.send(packet);
        }
        got.extend(receive(&mut queue, &mut pool, batch.len()));
    }
    assert_eq!(got.len(), sent.len());
    assert!(got == sent, "bytes differ");
    assert_census(&umem, &[&pool], &[&queue]);
    let statistics = queue.statistics().unwrap();
    assert_eq!((statistics.rx_ring_full, statistics.foreign_descriptors), (0, 0));
    assert!(gate.counters().unwrap().steered >= 400);
    let held = queue.frames_held();
    assert_eq!(queue.close(&mut pool), held);
    assert_census(&umem, &[&pool], &[]);
}

#[test]
fn what_is_sent_reaches_the_peers_kernel() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("send", 1);
    let (umem, mut pool) = Umem::in_memory(512).unwrap();
    let mut queue = bed.bind(&umem, 0);
    // Two sockets, since one holds no more than 256 unread datagrams.
    let addresses = ["10.0.0.1:7000", "10.0.0.1:7002"];
    let listeners =
        addresses.map(|address| bed.pod.run(|| UdpSocket::bind(address).unwrap()).unwrap());
    let from = "10.0.0.2:7001".parse().unwrap();
    // More than one system call's worth (32), and more than the ring takes at once (256).
    let mut frames = Vec::new();
    for number in 0..300_u32 {
        let mut frame = pool.take().unwrap();
        let to = addresses[number as usize % 2].parse().unwrap();
        let packet = udp_packet((POD_MAC, NODE_MAC), from, to, &number.to_be_bytes());
        assert!(frame.copy_from(&packet));
        frames.push(frame);
    }
    assert_eq!(queue.send(&mut frames), 256, "a full ring takes what fits");
    assert_eq!(frames.len(), 44);
    queue.kick().unwrap();
    let all_sent = wait_until(PATIENCE, || {
        queue.complete(&mut pool);
        queue.send(&mut frames);
        queue.kick().unwrap();
        frames.is_empty() && queue.held().tx == 0
    });
    assert!(all_sent, "{queue:?}");
    for number in 0..300_u32 {
        let listener = &listeners[number as usize % 2];
        listener.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut body = [0; 16];
        let (length, peer) = listener.recv_from(&mut body).unwrap();
        assert_eq!((&body[..length], peer), (&number.to_be_bytes()[..], from));
    }
    assert_census(&umem, &[&pool], &[&queue]);
    assert_eq!(queue.close(&mut pool), 0);
}

#[test]
fn a_queue_closes_and_opens_again_while_another_runs() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("reopen", 2);
    assert_eq!(bed.interface().rx_queue_count(), 2);
    let mut gate = bed.attach(GateRole::Steer).unwrap();
    let (umem, mut pool) = Umem::in_memory(1024).unwrap();
    // The first socket of all is the one that is closed: none has a special part.
    let mut first = bed.bind(&umem, 0);
    let mut second = bed.bind(&umem, 1);
    second.refill(&mut pool);
    gate.connect(1, &second).unwrap();
    let mut sender = bed.sender();
    for round in 0..6 {
        first.refill(&mut pool);
        assert_eq!(first.held().fill, 128);
        gate.connect(0, &first).unwrap();
        let sent: Vec<_> = (0..40).map(|n| test_packet(round * 100 + n, 200)).collect();
        sent.iter().for_each(|packet| sender.send(packet));
        assert!(receive(&mut first, &mut pool, 40) == sent, "round {round}");
        assert_census(&umem, &[&pool], &[&first, &second]);
        // Frames that arrive and are not read before the close come back as well.
        sent.iter().for_each(|packet| sender.send(packet));
        let held = first.frames_held();
        assert_eq!(first.close(&mut pool), held);
        assert_census(&umem, &[&pool], &[&second]);
        let before = Instant::now();
        first = bed.bind(&umem, 0);
        assert!(before.elapsed().as_secs() < 2, "the queue stays occupied");
    }
    // The queue that ran all the while still works; veth picks it for the same queue of the sender.
    assert_eq!(second.held().fill, 128);
    first.close(&mut pool);
    second.close(&mut pool);
    assert_census(&umem, &[&pool], &[]);
    assert_eq!(pool.len(), 1024);
}

#[test]
fn one_memory_carries_frames_between_ports_without_a_copy() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("relay", 1);
    let other = bed.lab.namespace("other").unwrap();
    let options = sluice_lab::VethOptions { mac_a: Some([2, 0, 0, 0, 0, 3]), ..Default::default() };
    bed.lab.veth(&other, "eth0", &bed.node, "veth-b", &options).unwrap();
    other.address("eth0", "10.0.0.3/24").unwrap();
    bed.pod.neighbour("eth0", "10.0.0.3", "02:00:00:00:00:03").unwrap();
    let mut gate = bed.attach(GateRole::Steer).unwrap();
    let (umem, mut pool) = Umem::in_memory(512).unwrap();
    let mut from = bed.bind(&umem, 0);
    let config = QueueConfig { ring_size: 256, fill_frames_max: 128, ..QueueConfig::default() };
    let bind = || Queue::bind(&umem, &Interface::open("veth-b").unwrap(), 0, &config).unwrap();
    let mut to = bed.node.run(bind).unwrap();
    from.refill(&mut pool);
    gate.connect(0, &from).unwrap();
    let listener = other.run(|| UdpSocket::bind("10.0.0.3:7000").unwrap()).unwrap();
    listener.set_read_timeout(Some(PATIENCE)).unwrap();
    // UDP checksums from a veth are unfinished; the sender's own checksum (none) is not.
    let (source, target) = ("10.0.0.1:9".parse().unwrap(), "10.0.0.3:7000".parse().unwrap());
    let packet = udp_packet(([2, 0, 0, 0, 0, 3], POD_MAC), source, target, b"through two ports");
    bed.sender().send(&packet);
    let mut frames = Vec::with_capacity(64);
    let relayed = wait_until(PATIENCE, || {
        from.receive(&mut frames, 64);
        to.send(&mut frames);
        to.kick().unwrap();
        to.complete(&mut pool) > 0
    });
    assert!(relayed);
    let mut body = [0; 64];
    let (length, _) = listener.recv_from(&mut body).unwrap();
    assert_eq!(&body[..length], b"through two ports");
    assert!(wait_until(PATIENCE, || to.complete(&mut pool) == 0 && to.held().tx == 0));
    assert_census(&umem, &[&pool], &[&from, &to]);
    from.close(&mut pool);
    to.close(&mut pool);
    assert_census(&umem, &[&pool], &[]);
}

#[test]
fn an_occupied_queue_is_named_with_a_remedy() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("busy", 1);
    let (umem, _pool) = Umem::in_memory(64).unwrap();
    let _first = bed.bind(&umem, 0);
    let interface = bed.interface();
    let bind = || Queue::bind(&umem, &interface, 0, &QueueConfig::default()).unwrap_err();
    let error = bed.node.run(bind).unwrap();
    assert!(matches!(error, QueueError::InUse { queue_id: 0, .. }), "{error}");
    let text = error.to_string();
    assert!(text.starts_with("queue 0 of veth-a is in use by another program; stop"), "{text}");
}

#[test]
fn zero_copy_that_a_driver_lacks_is_told_or_refused() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("copying", 1);
    let (umem, mut pool) = Umem::in_memory(512).unwrap();
    let interface = bed.interface();
    let bind = |copying| {
        let config = QueueConfig { copying, ..QueueConfig::default() };
        bed.node.run(|| Queue::bind(&umem, &interface, 0, &config)).unwrap()
    };
    // A veth has none.
    let text = bind(Copying::Never).unwrap_err().to_string();
    assert!(text.contains("queue 0 of veth-a") && text.contains("offers no zero-copy"), "{text}");
    let fallen_back = bind(Copying::IfNeeded).unwrap();
    assert!(!fallen_back.zero_copy());
    assert_eq!(fallen_back.why_copied(), Some(WhyCopied::NotOffered));
    fallen_back.close(&mut pool);
    let demanded = bind(Copying::Always).unwrap();
    assert_eq!((demanded.zero_copy(), demanded.why_copied()), (false, None));
    demanded.close(&mut pool);
}

#[test]
fn a_queue_that_is_polled_receives_and_sends() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("polled", 1);
    let mut gate = bed.attach(GateRole::Steer).unwrap();
    let (umem, mut pool) = Umem::in_memory(512).unwrap();
    let interface = bed.interface();
    // More frames a poll than anybody may have who is not privileged.
    let busy_poll = Some(BusyPoll { microseconds: 20, budget: 128 });
    let config =
        QueueConfig { ring_size: 256, fill_frames_max: 128, busy_poll, ..QueueConfig::default() };
    let bound = bed.node.run(|| Queue::bind(&umem, &interface, 0, &config)).unwrap();
    let mut queue = bound.unwrap();
    assert_eq!(queue.report().busy_poll, busy_poll);
    queue.refill(&mut pool);
    gate.connect(0, &queue).unwrap();
    let mut sender = bed.sender();
    for round in 0..3 {
        let sent: Vec<_> = (0..40).map(|n| test_packet(round * 100 + n, 200)).collect();
        sent.iter().for_each(|packet| sender.send(packet));
        assert!(receive(&mut queue, &mut pool, 40) == sent, "round {round}");
    }
    let to = "10.0.0.1:7000".parse().unwrap();
    let listener = bed.pod.run(|| UdpSocket::bind(to).unwrap()).unwrap();
    listener.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut frame = pool.take().unwrap();
    let from = "10.0.0.2:7001".parse().unwrap();
    assert!(frame.copy_from(&udp_packet((POD_MAC, NODE_MAC), from, to, b"polled")));
    assert_eq!(queue.send(&mut vec![frame]), 1);
    queue.kick().unwrap();
    let mut body = [0; 16];
    assert_eq!(listener.recv_from(&mut body).unwrap(), (6, from));
    queue.close(&mut pool);
    assert_census(&umem, &[&pool], &[]);
}

#[test]
fn a_refusal_to_poll_names_what_is_refused() {
    let refused = QueueError::NoBusyPoll {
        interface: "eth1".to_owned(),
        queue_id: 3,
        option: "SO_PREFER_BUSY_POLL",
        source: std::io::Error::from_raw_os_error(92),
    };
    let text = refused.to_string();
    assert!(text.starts_with("queue 3 of eth1 cannot be polled: SO_PREFER_BUSY_POLL: "), "{text}");
    assert!(text.contains("Linux 5.11"), "{text}");
}

#[test]
fn a_deleted_device_gives_its_frames_back() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("deleted", 1);
    let (umem, mut pool) = Umem::in_memory(512).unwrap();
    let mut queue = bed.bind(&umem, 0);
    queue.refill(&mut pool);
    bed.node.ip(&["link", "del", "veth-a"]).unwrap();
    let mut frame = pool.take().unwrap();
    assert!(frame.copy_from(&test_packet(1, 60)));
    let mut frames = vec![frame];
    queue.send(&mut frames);
    let told = wait_until(PATIENCE, || queue.kick().is_err());
    assert!(told, "a kick tells that the device is gone");
    let held = queue.frames_held();
    assert_eq!((held, queue.close(&mut pool)), (129, 129));
    assert_census(&umem, &[&pool], &[]);
}

#[test]
fn configurations_out_of_range_are_refused() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("range", 1);
    let (umem, _pool) = Umem::in_memory(64).unwrap();
    let interface = bed.interface();
    assert!(interface.partial_checksums() && interface.is_up());
    assert_eq!((interface.mac(), interface.mtu()), (NODE_MAC, 1500));
    assert!(interface.addresses().contains(&"10.0.0.2".parse().unwrap()));
    let refused = |queue_id, config: QueueConfig| {
        bed.node.run(|| Queue::bind(&umem, &interface, queue_id, &config).unwrap_err()).unwrap()
    };
    let odd = QueueConfig { ring_size: 100, ..QueueConfig::default() };
    assert!(matches!(refused(0, odd), QueueError::RingSize { ring_size: 100 }));
    let many = QueueConfig { ring_size: 64, fill_frames_max: 65, ..QueueConfig::default() };
    assert!(matches!(refused(0, many), QueueError::FillFrames { .. }));
    let error = refused(7, QueueConfig::default());
    assert!(matches!(error, QueueError::NoSuchQueue { queue_id: 7, .. }), "{error}");
}
