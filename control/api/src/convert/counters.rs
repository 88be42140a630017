//! Counters, both ways. A missing message counts as zero.

use super::Malformed;
use crate::backend::{
    Counters, CycleUnit, DropCount, GateCounters, PortCounters, Sample, StageWork, Traffic,
    WorkerTraffic, WorkerWork,
};
use crate::wire;

pub(crate) fn to_wire(counters: Counters) -> wire::CountersResponse {
    wire::CountersResponse {
        total: Some(traffic_to_wire(counters.total)),
        ports: counters.ports.into_iter().map(port_to_wire).collect(),
        read_at_ns: counters.read_at_ns,
        started_unix_ns: counters.started_unix_ns,
        workers: counters.workers.into_iter().map(work_to_wire).collect(),
    }
}

pub(crate) fn from_wire(counters: wire::CountersResponse) -> Result<Counters, Malformed> {
    Ok(Counters {
        total: traffic(counters.total),
        ports: counters.ports.into_iter().map(port).collect(),
        read_at_ns: counters.read_at_ns,
        started_unix_ns: counters.started_unix_ns,
        workers: counters.workers.into_iter().map(work).collect::<Result<_, _>>()?,
    })
}

fn work_to_wire(it: WorkerWork) -> wire::WorkerWork {
    let stage = |StageWork { stage, frames, cycles }| wire::StageWork { stage, frames, cycles };
    let unit = match it.sample.unit {
        CycleUnit::Cycles => wire::CycleUnit::Cycles,
        CycleUnit::Nanoseconds => wire::CycleUnit::Nanoseconds,
    };
    wire::WorkerWork {
        worker: it.worker,
        busy_ns: it.busy_ns,
        turns: it.turns,
        frames: it.frames,
        sample: Some(wire::Sample {
            frames: it.sample.frames,
            unit: unit.into(),
            stages: it.sample.stages.into_iter().map(stage).collect(),
        }),
    }
}

fn work(it: wire::WorkerWork) -> Result<WorkerWork, Malformed> {
    let stage = |wire::StageWork { stage, frames, cycles }| StageWork { stage, frames, cycles };
    let sample = match it.sample {
        Some(sample) => Sample {
            frames: sample.frames,
            unit: unit(sample.unit)?,
            stages: sample.stages.into_iter().map(stage).collect(),
        },
        None => Sample::default(),
    };
    let wire::WorkerWork { worker, busy_ns, turns, frames, .. } = it;
    Ok(WorkerWork { worker, busy_ns, turns, frames, sample })
}

fn unit(number: i32) -> Result<CycleUnit, Malformed> {
    match wire::CycleUnit::try_from(number) {
        Ok(wire::CycleUnit::Cycles) => Ok(CycleUnit::Cycles),
        Ok(wire::CycleUnit::Nanoseconds) => Ok(CycleUnit::Nanoseconds),
        // Of another unit the numbers say nothing.
        Ok(wire::CycleUnit::Unspecified) | Err(_) => {
            Err(format!("stages are measured in unit {number}, which is unknown here"))
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_of_another_version_is_not_taken_for_cycles() {
        let of_unit = |unit| {
            let sample = Some(wire::Sample { unit, ..wire::Sample::default() });
            let workers = vec![wire::WorkerWork { sample, ..wire::WorkerWork::default() }];
            from_wire(wire::CountersResponse { workers, ..wire::CountersResponse::default() })
        };
        assert!(of_unit(wire::CycleUnit::Nanoseconds.into()).is_ok());
        assert_eq!(of_unit(3).unwrap_err(), "stages are measured in unit 3, which is unknown here");
        // A daemon that is older says nothing of its workers.
        assert_eq!(from_wire(wire::CountersResponse::default()), Ok(Counters::default()));
    }
}
