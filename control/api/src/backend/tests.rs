//! The JSON that scripts rely on.

use serde_json::{json, to_value};
use sluice_core::address::{Mac, NetworkId};
use sluice_core::drop::DropReason;
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
    };
    let state = PortState {
        spec,
        driver: "veth".into(),
        gate_mode: GateMode::Native,
        zero_copy: vec![false],
        mtu: 1500,
    };
    let expected = json!({
        "interface": "eth1", "kind": "pod", "pod": "shop/web", "mac": "02:00:00:00:00:07",
        "networks": [{"id": 0, "vlan": null}, {"id": 5, "vlan": 100}],
        "fallback": "drop", "node_addresses": [], "driver": "veth", "gate_mode": "native",
        "zero_copy": [false], "mtu": 1500,
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
fn the_source_reads_as_people_write_it() {
    assert_eq!(Source::Files("/etc/x".into()).to_string(), "files /etc/x");
    assert_eq!(to_value(Source::Api).unwrap(), json!("api"));
}
