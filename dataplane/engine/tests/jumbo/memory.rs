//! Over queues in memory, with packets cut into pieces wherever a test wants them to be.

use std::collections::BTreeMap;
use std::time::Duration;

use etherparse::{IpFragOffset, PacketBuilder};
use sluice_core::address::NetworkId;
use sluice_core::drop::DropReason;
use sluice_core::flow::FlowHasher;
use sluice_core::time::Time;
use sluice_engine::EngineConfig;
use sluice_engine::capture::CaptureSpec;
use sluice_engine::io::memory::Wire;
use sluice_engine::port::{PortKind, PortSpec};
use sluice_engine::stepped::Stepped;
use sluice_xdp::Umem;

use super::{OPEN, mac, pods, v4, v6};

const FRAMES: u32 = 1024;
const WIRE_LEN: usize = 64;

struct Stage {
    engine: Stepped,
    now: Time,
}

impl Stage {
    /// Two workers, so that frames change hands, and three pods of which nothing is attached yet.
    fn new() -> Self {
        let (umem, pool) = Umem::in_memory(FRAMES).unwrap();
        let config = EngineConfig { cores: vec![0, 1], ..EngineConfig::default() };
        let engine = Stepped::start(&config, umem, pool, FlowHasher::seeded(7)).unwrap();
        engine.publish(pods(3).finish(1)).unwrap();
        Self { engine, now: Time(1) }
    }

    /// Attaches a port whose queue receives packets in pieces of this length.
    fn add(&self, name: &str, kind: PortKind, tag: Option<u16>, mtu: u32, len: usize) -> Wire {
        let (wire, queue) = Wire::with_piece_len(WIRE_LEN, len);
        let spec = PortSpec {
            name: name.into(),
            partial_checksums: kind != PortKind::Uplink,
            kind,
            networks: BTreeMap::from([(NetworkId::DEFAULT, tag)]),
            mtu,
            priority_tags: false,
        };
        self.engine.add_port(spec, vec![Box::new(queue)]).unwrap();
        wire
    }

    fn pod(&self, n: u8, mtu: u32, piece_len: usize) -> Wire {
        let kind = PortKind::Pod { pod: format!("shop/p{n}").into(), mac: mac(n) };
        self.add(&format!("pod-{n}"), kind, None, mtu, piece_len)
    }

    fn uplink(&self, tag: Option<u16>, mtu: u32) -> Wire {
        self.add("uplink", PortKind::Uplink, tag, mtu, 3840)
    }

    /// Moves all there is, and checks that frames and chunks add up.
    fn turn(&mut self) {
        self.engine.turn(self.now).unwrap();
        self.now = self.now + Duration::from_millis(1);
        assert_eq!(self.engine.census().unwrap(), FRAMES as usize);
        assert_eq!(self.engine.umem().leaked(), 0);
    }

    fn settle(&mut self) {
        self.turn();
        let totals = self.engine.totals();
        let gone = totals.tx_frames + totals.dropped_all();
        assert_eq!(totals.rx_frames + totals.flood_copies, gone, "{totals:?}");
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.engine.totals().dropped(reason)
    }

    fn end(self) {
        let umem = *self.engine.umem();
        assert_eq!((self.engine.into_pool().len(), umem.leaked()), (FRAMES as usize, 0));
    }
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * n / 7).to_le_bytes()[0]).collect()
}

fn udp(from: u8, to: u8, port: u16, len: usize, is_v6: bool) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(mac(from).0, mac(to).0);
    let builder = match is_v6 {
        true => builder.ipv6(v6(from), v6(to), 64),
        false => builder.ipv4(v4(from), v4(to), 64),
    };
    let mut frame = Vec::new();
    builder.udp(4000, port).write(&mut frame, &payload(len)).unwrap();
    frame
}

#[test]
fn a_long_packet_crosses_byte_for_byte_and_only_where_policy_lets_it() {
    for piece_len in [3840, 2048, 1805] {
        let mut stage = Stage::new();
        let (first, second) = (stage.pod(1, 9000, piece_len), stage.pod(2, 9000, piece_len));
        let mut bytes = 0;
        for (len, is_v6) in [(8972, false), (8952, true), (3798, false), (3799, false), (0, true)] {
            let there = udp(1, 2, OPEN, len, is_v6);
            assert!(first.push(&there) && first.push(&udp(1, 2, OPEN + 1, len, is_v6)));
            stage.settle();
            assert!(second.pop() == Some(there.clone()), "{len} bytes in pieces of {piece_len}");
            assert_eq!(second.pop(), None);
            bytes += there.len() as u64;
        }
        assert_eq!(stage.dropped(DropReason::IngressDenied), 5);
        let totals = stage.engine.totals();
        assert_eq!((totals.tx_bytes, totals.rx_bytes), (bytes, 2 * bytes));
        stage.end();
    }
}

#[test]
fn a_byte_that_is_wrong_anywhere_is_noticed() {
    let mut stage = Stage::new();
    let (first, second) = (stage.pod(1, 9000, 3840), stage.pod(2, 9000, 3840));
    let frame = udp(1, 2, OPEN, 8972, false);
    let places = [42, 3839, 3840, 7679, 7680, 9013];
    for place in places {
        let mut damaged = frame.clone();
        damaged[place] ^= 4;
        assert!(first.push(&damaged));
    }
    assert!(first.push(&frame[..9013]), "and one that is cut short");
    stage.settle();
    assert_eq!(second.pop(), None);
    assert_eq!(stage.dropped(DropReason::BadChecksum), places.len() as u64);
    assert_eq!(stage.dropped(DropReason::MalformedIpv4), 1);
    stage.end();
}

#[test]
fn a_partial_checksum_is_completed_over_all_pieces() {
    let mut stage = Stage::new();
    let (first, second) = (stage.pod(1, 9000, 2049), stage.pod(2, 9000, 3840));
    let whole = udp(1, 2, OPEN, 8972, false);
    let mut partial = whole.clone();
    let len = 8980u32.to_be_bytes();
    let sum = etherparse::checksum::Sum16BitWords::new()
        .add_slice(&whole[26..34])
        .add_4bytes(len)
        .add_2bytes([0, 17]);
    partial[40..42].copy_from_slice(&(!sum.ones_complement()).to_ne_bytes());
    assert_ne!(partial, whole);
    assert!(first.push(&partial));
    stage.settle();
    assert!(second.pop() == Some(whole));
    stage.end();
}

#[test]
fn what_does_not_fit_the_ports_mtu_is_too_big() {
    let mut stage = Stage::new();
    let (first, narrow) = (stage.pod(1, 9000, 3840), stage.pod(2, 1500, 3840));
    let wide = stage.pod(3, 9000, 3840);
    for len in [8972, 8973, 1472, 1473] {
        assert!(first.push(&udp(1, 2, OPEN, len, false)));
        assert!(first.push(&udp(1, 3, OPEN, len, false)));
    }
    stage.settle();
    assert_eq!(stage.dropped(DropReason::TooBig), 3 + 1);
    assert_eq!(narrow.pop().map(|frame| frame.len()), Some(1514));
    let lens: Vec<usize> = std::iter::from_fn(|| wide.pop()).map(|frame| frame.len()).collect();
    assert_eq!(lens, [9014, 1514, 1515]);
    stage.end();
}

#[test]
fn a_packet_in_more_pieces_than_any_port_sends_is_too_big_and_a_short_one_is_joined() {
    let mut stage = Stage::new();
    let (first, second) = (stage.pod(1, 9000, 100), stage.pod(2, 1500, 3840));
    let wide = stage.pod(3, 9000, 3840);
    let short = udp(1, 2, OPEN, 1472, true);
    let short = &short[..short.len() - 20];
    assert!(first.push(&udp(1, 3, OPEN, 5000, false)));
    assert!(first.push(&udp(1, 2, OPEN, 1452, true)));
    assert_eq!(short.len(), 1514);
    stage.settle();
    assert_eq!(stage.dropped(DropReason::TooBig), 1);
    assert_eq!(wide.pop(), None);
    assert!(second.pop() == Some(udp(1, 2, OPEN, 1452, true)));
    // What GRO makes: longer than any port sends.
    let (super_packet, third) = (udp(3, 1, OPEN, 60_000, false), wide);
    assert!(third.push(&super_packet));
    stage.settle();
    assert_eq!(stage.dropped(DropReason::TooBig), 2);
    assert_eq!(first.pop(), None);
    stage.end();
}

#[test]
fn a_tag_is_pushed_and_popped_in_the_head() {
    let mut stage = Stage::new();
    let (first, uplink) = (stage.pod(1, 9000, 3840), stage.uplink(Some(7), 9000));
    let there = udp(1, 9, OPEN, 8972, false);
    assert!(first.push(&there));
    stage.settle();
    let mut tagged = there.clone();
    tagged.splice(12..12, [0x81, 0, 0, 7]);
    assert!(uplink.pop() == Some(tagged));
    let back = udp(9, 1, OPEN, 8972, false);
    let mut tagged = back.clone();
    tagged.splice(12..12, [0x81, 0, 0, 7]);
    assert_eq!(tagged.len(), 9018);
    // It comes from an address of the network, behind the uplink.
    tagged[30] = 198;
    let sum = |frame: &[u8]| {
        let sum = etherparse::checksum::Sum16BitWords::new().add_slice(frame);
        sum.ones_complement().to_ne_bytes()
    };
    tagged[28..30].fill(0);
    let checksum = sum(&tagged[18..38]);
    tagged[28..30].copy_from_slice(&checksum);
    tagged[44..46].fill(0);
    assert!(uplink.push(&tagged));
    stage.settle();
    tagged.drain(12..16);
    assert!(first.pop() == Some(tagged), "{:?}", stage.engine.totals());
    stage.end();
}

#[test]
fn each_port_gets_a_whole_copy_of_a_flooded_packet() {
    let mut stage = Stage::new();
    let wires = [1, 2, 3].map(|n| stage.pod(n, 9000, 3840));
    let uplink = stage.uplink(None, 9000);
    let mut frame = udp(9, 1, OPEN, 8972, false);
    frame[..6].copy_from_slice(&[1, 0, 0x5e, 0, 0, 9]);
    frame[26..34].copy_from_slice(&[198, 0, 0, 9, 224, 0, 0, 9]);
    frame[24..26].fill(0);
    let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.ones_complement().to_ne_bytes());
    frame[40..42].fill(0);
    assert!(uplink.push(&frame));
    stage.settle();
    for (n, wire) in wires.iter().enumerate() {
        assert!(wire.pop().as_ref() == Some(&frame), "pod {n}: {:?}", stage.engine.totals());
    }
    assert_eq!(stage.engine.totals().flood_copies, 2);
    stage.end();
}

/// A datagram of which each part is a long frame.
fn parts(from: u8, to: u8) -> [Vec<u8>; 3] {
    let mut datagram = Vec::new();
    let builder = PacketBuilder::ethernet2(mac(from).0, mac(to).0).ipv4(v4(from), v4(to), 64);
    builder.udp(4000, OPEN).write(&mut datagram, &payload(20_000)).unwrap();
    let transport = &datagram[34..];
    [(0, 8976), (8976, 17952), (17952, transport.len())].map(|(start, end)| {
        let bytes = &transport[start..end];
        let (from, to) = (v4(from), v4(to));
        let len = u16::try_from(bytes.len()).unwrap();
        let mut header =
            etherparse::Ipv4Header::new(len, 64, etherparse::IpNumber::UDP, from, to).unwrap();
        header.identification = 77;
        header.dont_fragment = false;
        header.more_fragments = end < transport.len();
        let offset = u16::try_from(start / 8).unwrap();
        header.fragment_offset = IpFragOffset::try_new(offset).unwrap();
        header.header_checksum = header.calc_header_checksum();
        [&datagram[..14], &header.to_bytes()[..], bytes].concat()
    })
}

#[test]
fn long_fragments_wait_for_the_first_and_every_chunk_is_known() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let mut stage = Stage::new();
        let (first, second) = (stage.pod(1, 9000, 3840), stage.pod(2, 9000, 3840));
        let parts = parts(1, 2);
        for place in order {
            assert!(first.push(&parts[place]));
            // The census within counts the chunks that wait.
            stage.turn();
        }
        stage.settle();
        let mut arrived: Vec<Vec<u8>> = std::iter::from_fn(|| second.pop()).collect();
        arrived.sort_by_key(|frame| u16::from_be_bytes([frame[20] & 0x1f, frame[21]]));
        assert!(arrived == parts, "{order:?}: {:?}", stage.engine.totals());
        stage.end();
    }
}

#[test]
fn a_port_goes_and_every_chunk_comes_back() {
    let mut stage = Stage::new();
    let (first, second) = (stage.pod(1, 9000, 3840), stage.pod(2, 9000, 3840));
    let [_, behind, _] = parts(1, 2);
    for port in 0..8 {
        assert!(first.push(&udp(1, 2, OPEN, 8972 - port, false)));
    }
    assert!(first.push(&behind), "it waits for its first");
    for worker in 0..2 {
        stage.engine.turn_one(worker, stage.now);
    }
    stage.engine.remove_port("pod-1").unwrap();
    stage.turn();
    stage.engine.remove_port("pod-2").unwrap();
    stage.turn();
    assert!(second.pop().is_none_or(|frame| frame.len() > 9000));
    stage.end();
}

#[test]
fn an_engine_that_runs_out_of_chunks_loses_none() {
    let mut stage = Stage::new();
    let wires = [1, 2, 3].map(|n| stage.pod(n, 9000, 2048));
    let mut sent = 0;
    for round in 0..40 {
        for from in 1..=3u8 {
            for to in (1..=3u8).filter(|to| *to != from) {
                let port = OPEN + round % 2;
                sent +=
                    u64::from(wires[usize::from(from) - 1].push(&udp(from, to, port, 8972, false)));
            }
        }
        stage.turn();
        if round % 8 == 7 {
            // Nobody takes what leaves for a while, so rings fill.
            wires.iter().for_each(|wire| while wire.pop().is_some() {});
        }
    }
    wires.iter().for_each(|wire| while wire.pop().is_some() {});
    stage.settle();
    assert_eq!(stage.engine.totals().rx_frames, sent);
    assert!(stage.dropped(DropReason::IngressDenied) > 0);
    stage.end();
}

#[test]
fn a_capture_has_the_whole_packet() {
    let mut stage = Stage::new();
    let (first, _second) = (stage.pod(1, 9000, 3840), stage.pod(2, 9000, 3840));
    let spec = CaptureSpec {
        ports: Vec::new(),
        reasons: vec![DropReason::IngressDenied],
        count: 10,
        snap_len: 65_535,
        duration: Duration::from_secs(3600),
    };
    let mut capture = stage.engine.capture(spec).unwrap();
    let denied = udp(1, 2, OPEN + 1, 8952, true);
    assert!(first.push(&denied));
    stage.settle();
    let frames = capture.take(10);
    assert!(frames.len() == 1 && frames[0].bytes == denied);
    assert_eq!(frames[0].len, 9014);
    stage.end();
}
