//! Ports that come and go, in memory: what they leave behind, and who pays for it.

use std::time::Duration;

use sluice_core::address::Mac;
use sluice_core::time::Time;
use sluice_engine::counters::Totals;
use sluice_engine::io::memory::Wire;
use sluice_engine::port::{PortKind, PortSpec};
use sluice_engine::stepped::Stepped;

use crate::At;
use crate::packets::{tcp, udp};
use crate::stage::Setting;
use crate::story::Story;

/// Long after whatever the stories do.
const LATER: Time = Time(3_000_000_000);

/// Puts another port in the place of one.
fn replace(story: &Story, setting: &Setting, gone: &str, kind: PortKind) -> Wire {
    let stepped = engine(story);
    stepped.remove_port(gone).unwrap();
    let (wire, queue) = Wire::new(16);
    let spec = PortSpec {
        name: "fresh".into(),
        kind,
        networks: setting.networks(gone),
        mtu: 1500,
        priority_tags: false,
        partial_checksums: true,
    };
    stepped.add_port(spec, vec![Box::new(queue)]).unwrap();
    wire
}

fn engine(story: &Story) -> &Stepped {
    story.memory().unwrap().stepped()
}

fn totals_of_fresh(story: &Story) -> Totals {
    let ports = engine(story).ports();
    ports.iter().find(|port| &*port.spec.name == "fresh").unwrap().totals()
}

#[test]
fn the_next_pod_on_a_number_pays_for_nothing() {
    for workers in [1, 2] {
        let setting = Setting { connections: Some((64, 16)), ..Setting::default() };
        let rules = "other -> server tcp/80; others denied";
        let mut story = At::Memory(workers).story_with(&setting, rules);
        // Established connections, which give way to nobody: the pod's whole share.
        for port in 4000..4008 {
            let from = format!("other:{port}");
            let there = |flags, at, ack| tcp(&from, "server:80").flags(flags).numbers(at, ack);
            let back = |flags, at, ack| tcp("server:80", &from).flags(flags).numbers(at, ack);
            story.sends("other", there("S", 100, 0)).reaches("server");
            story.sends("server", back("SA", 300, 101)).reaches("other");
            story.sends("other", there("A", 101, 301)).reaches("server");
        }
        assert_eq!(engine(&story).connections().iter().sum::<u64>(), 8);
        let wire = replace(&story, &setting, "other", setting.kind("other"));
        assert_eq!(engine(&story).connections().iter().sum::<u64>(), 0);
        for port in 7000..7004 {
            assert!(wire.push(&story.frame(tcp(&format!("other:{port}"), "server:80"))));
        }
        engine(&story).turn(LATER).unwrap();
        let totals = totals_of_fresh(&story);
        assert_eq!((totals.rx_frames, totals.dropped_all()), (4, 0));
        std::mem::forget(story);
    }
}

#[test]
fn fragments_do_not_outlive_their_port() {
    let setting = Setting::default();
    let mut story = At::Memory(1).story("all -> server");
    let datagram = udp("other:1", "server:53").data(&[0x5a; 72]);
    story.sends("other", datagram.piece(24, None)).held();
    replace(&story, &setting, "other", setting.kind("other"));
    engine(&story).turn(LATER).unwrap();
    let totals = totals_of_fresh(&story);
    assert_eq!((totals.rx_frames, totals.dropped_all()), (0, 0));
    let all = engine(&story).totals();
    assert_eq!(all.rx_frames, all.tx_frames + all.dropped_all());
    std::mem::forget(story);
}

#[test]
fn the_node_is_reached_before_its_mac_is_known() {
    let setting = Setting::default();
    let story = At::Memory(1).story("nobody -> client; client => nobody");
    let (host, queue) = Wire::new(16);
    let spec = PortSpec {
        name: "host".into(),
        kind: PortKind::Host,
        networks: setting.networks("client"),
        mtu: 1500,
        priority_tags: false,
        partial_checksums: true,
    };
    engine(&story).add_port(spec, vec![Box::new(queue)]).unwrap();
    let to_node = tcp("client:4000", "node:80").destination_mac(Mac([2, 7, 7, 7, 7, 7]));
    let frame = story.frame(to_node);
    let client = story.memory().unwrap().wire("client").clone();
    assert!(client.push(&frame));
    engine(&story).turn(Time(0) + Duration::from_secs(1)).unwrap();
    assert_eq!(host.pop(), Some(frame), "to the node");
    assert_eq!(story.memory().unwrap().wire("uplink").pop(), None, "and not outside");
    std::mem::forget(story);
}
