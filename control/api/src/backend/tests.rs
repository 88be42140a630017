//! The JSON that scripts rely on.

use std::time::{Duration, SystemTime};

use serde_json::{json, to_value};
use sluice_core::address::{Mac, NetworkId};
use sluice_core::drop::DropReason;
use sluice_policy::diff::{Diff, VerdictChange};
use sluice_policy::explain::Verdict;
use sluice_policy::model::Name;

use super::*;

#[test]
fn a_port_is_one_flat_object() {
    let spec = PortSpec {
        interface: "eth1".into(),
        kind: PortKind::Pod {
            pod: Name { namespace: "shop".into(), name: "web".into() },
            mac: Mac([2, 0, 0, 0, 0, 7]),
        },
        networks: [(NetworkId(0), None), (NetworkId(5), Some(100))].into(),
        fallback: Fallback::Drop,
        node_addresses: Vec::new(),
        mode: PortMode::ZeroCopy,
        workers: vec![1],
        priority_tags: false,
    };
    let state = PortState {
        spec,
        driver: "veth".into(),
        gate_mode: GateMode::Native,
        why_generic: None,
        queues: vec![QueueState {
            queue: 0,
            worker: 1,
            zero_copy: true,
            why_copied: None,
            busy_poll_us: 20,
            polled: true,
            statistics: Some(QueueStatistics {
                rx_ring_full: 3,
                foreign_descriptors: 5,
                ..QueueStatistics::default()
            }),
        }],
        mtu: 1500,
        waiting: None,
    };
    let expected = json!({
        "interface": "eth1", "kind": "pod", "pod": "shop/web", "mac": "02:00:00:00:00:07",
        "networks": [{"id": 0, "vlan": null}, {"id": 5, "vlan": 100}],
        "fallback": "drop", "node_addresses": [], "driver": "veth", "gate_mode": "native",
        "mode": "zero-copy", "workers": [1], "priority_tags": false, "why_generic": null,
        "queues": [{
            "queue": 0, "worker": 1, "zero_copy": true, "why_copied": null, "busy_poll_us": 20,
            "polled": true,
            "statistics": {
                "rx_dropped": 0, "rx_ring_full": 3, "rx_fill_ring_empty": 0,
                "rx_invalid_descriptors": 0, "tx_invalid_descriptors": 0, "tx_ring_empty": 0,
                "foreign_descriptors": 5,
            },
        }],
        "mtu": 1500, "waiting": null,
    });
    assert_eq!(to_value(state).unwrap(), expected);
}

#[test]
fn a_refusal_has_its_faults_and_reads_as_one_a_line() {
    let refused = Refused::wrong_base(3, 7);
    let value = to_value(&refused).unwrap();
    assert_eq!(value["running_revision"], 7);
    assert_eq!(value["faults"][0]["field"], "baseRevision");
    assert_eq!(refused.to_string().lines().count(), 2);
}

#[test]
fn traffic_of_a_worker_lies_beside_its_number() {
    let drops = vec![DropCount::new(DropReason::TxFull, 2)];
    let traffic = Traffic { rx_frames: 3, drops, ..Traffic::default() };
    let value = to_value(WorkerTraffic { worker: 1, traffic }).unwrap();
    assert_eq!((&value["worker"], &value["rx_frames"]), (&json!(1), &json!(3)));
    assert_eq!(value["drops"][0]["reason"], "tx_full");
}

#[test]
fn a_preview_lists_verdicts_and_connections() {
    let verdict = VerdictChange {
        from: "shop/web".into(),
        to: "node n1".into(),
        protocol: "TCP".into(),
        ports: Some((80, 81)),
        before: Verdict::Allow,
        after: Verdict::Drop,
        family: "IPv4".into(),
    };
    let connection = DyingConnection {
        from: "shop/web".into(),
        to: "10.0.0.9".into(),
        source: [10, 0, 0, 1].into(),
        destination: [10, 0, 0, 9].into(),
        protocol: "ICMP".into(),
        source_port: None,
        destination_port: None,
        reason: "no rule admits it".into(),
    };
    let preview = Preview {
        running_revision: 7,
        diff: Diff {
            verdicts: vec![verdict],
            verdicts_total: 9,
            pods_added: vec!["shop/new".into()],
            pods_removed: Vec::new(),
            access_lists: vec!["edge".into()],
        },
        connections: vec![connection],
        connections_total: 1,
        connections_live: 3,
    };
    let expected = json!({
        "running_revision": 7,
        "verdicts": [{
            "from": "shop/web", "to": "node n1", "protocol": "TCP", "ports": [80, 81],
            "before": "allow", "after": "drop", "family": "IPv4",
        }],
        "verdicts_total": 9,
        "pods_added": ["shop/new"],
        "pods_removed": [],
        "access_lists": ["edge"],
        "connections": [{
            "from": "shop/web", "to": "10.0.0.9", "source": "10.0.0.1",
            "destination": "10.0.0.9", "protocol": "ICMP", "source_port": null,
            "destination_port": null, "reason": "no rule admits it",
        }],
        "connections_total": 1,
        "connections_live": 3,
    });
    assert_eq!(to_value(preview).unwrap(), expected);
}

#[test]
fn the_source_reads_as_people_write_it() {
    assert_eq!(Source::Files("/etc/x".into()).to_string(), "files /etc/x");
    assert_eq!(to_value(Source::Api).unwrap(), json!("api"));
}

#[test]
fn a_dropped_frame_has_its_time_in_words_and_its_bytes_in_hexadecimal() {
    let frame = DroppedFrame {
        time: SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 5_000),
        port: None,
        reason: "tx_full".into(),
        worker: 1,
        len: 60,
        data: vec![0, 0x0a, 0xff],
    };
    let expected = json!({
        "time": "2023-11-14T22:13:20.000005Z", "port": null, "reason": "tx_full", "worker": 1,
        "len": 60, "data": "000aff",
    });
    assert_eq!(to_value(frame).unwrap(), expected);
}
