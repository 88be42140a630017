//! Counters, both ways. Nothing here can be wrong but a missing message, which counts as zero.

use crate::backend::{Counters, DropCount, GateCounters, PortCounters, Traffic, WorkerTraffic};
use crate::wire;

pub(crate) fn to_wire(counters: Counters) -> wire::CountersResponse {
    wire::CountersResponse {
        total: Some(traffic_to_wire(counters.total)),
        ports: counters.ports.into_iter().map(port_to_wire).collect(),
    }
}

pub(crate) fn from_wire(counters: wire::CountersResponse) -> Counters {
    Counters {
        total: traffic(counters.total),
        ports: counters.ports.into_iter().map(port).collect(),
    }
}

fn port_to_wire(it: PortCounters) -> wire::PortCounters {
    let worker = |WorkerTraffic { worker, traffic }| wire::WorkerTraffic {
        worker,
        traffic: Some(traffic_to_wire(traffic)),
    };
    wire::PortCounters {
        port: it.port,
        total: Some(traffic_to_wire(it.total)),
        workers: it.workers.into_iter().map(worker).collect(),
        gate: it.gate.map(|gate| wire::GateCounters {
            steered: gate.steered,
            passed_to_node: gate.passed_to_node,
            fallback_dropped: gate.fallback_dropped,
            fallback_passed: gate.fallback_passed,
        }),
    }
}

fn port(it: wire::PortCounters) -> PortCounters {
    let worker =
        |it: wire::WorkerTraffic| WorkerTraffic { worker: it.worker, traffic: traffic(it.traffic) };
    PortCounters {
        port: it.port,
        total: traffic(it.total),
        workers: it.workers.into_iter().map(worker).collect(),
        gate: it.gate.map(|gate| GateCounters {
            steered: gate.steered,
            passed_to_node: gate.passed_to_node,
            fallback_dropped: gate.fallback_dropped,
            fallback_passed: gate.fallback_passed,
        }),
    }
}

fn traffic_to_wire(it: Traffic) -> wire::Traffic {
    let drop =
        |DropCount { reason, description, frames }| wire::DropCount { reason, description, frames };
    wire::Traffic {
        rx_frames: it.rx_frames,
        rx_bytes: it.rx_bytes,
        tx_frames: it.tx_frames,
        tx_bytes: it.tx_bytes,
        flood_copies: it.flood_copies,
        drops: it.drops.into_iter().map(drop).collect(),
    }
}

fn traffic(it: Option<wire::Traffic>) -> Traffic {
    let it = it.unwrap_or_default();
    let drop =
        |wire::DropCount { reason, description, frames }| DropCount { reason, description, frames };
    Traffic {
        rx_frames: it.rx_frames,
        rx_bytes: it.rx_bytes,
        tx_frames: it.tx_frames,
        tx_bytes: it.tx_bytes,
        flood_copies: it.flood_copies,
        drops: it.drops.into_iter().map(drop).collect(),
    }
}
