//! From two readings to rates: what has come between them, by the daemon's own clock.

use serde::Serialize;
use sluice_api::backend::{
    Counters, CycleUnit, DropCount, Sample, StageWork, Status, Traffic, WorkerWork,
};

/// What the daemon said at one moment.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) status: Status,
    pub(super) counters: Counters,
}

/// What came between two readings. Serialises to what JSON shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Rates {
    /// The time between the readings.
    pub(super) seconds: f64,
    /// The revision in force at the later one.
    pub(super) revision: u64,
    pub(super) health: String,
    /// Those of all workers, at the later one.
    pub(super) connections: u64,
    #[serde(flatten)]
    pub(super) all: Flow,
    pub(super) drops: Vec<DropRate>,
    pub(super) workers: Vec<WorkerRates>,
    pub(super) cycle_unit: CycleUnit,
    #[serde(flatten)]
    pub(super) cost: Cost,
    /// The busiest first.
    pub(super) ports: Vec<PortRates>,
}

/// Frames and bits that came, went and dropped each second. Bits are counted from the Ethernet
/// header on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Flow {
    pub(super) rx_frames_per_second: f64,
    pub(super) rx_bits_per_second: f64,
    pub(super) tx_frames_per_second: f64,
    pub(super) tx_bits_per_second: f64,
    pub(super) drops_per_second: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct DropRate {
    pub(super) reason: String,
    pub(super) frames_per_second: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct PortRates {
    pub(super) port: String,
    #[serde(flatten)]
    pub(super) flow: Flow,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct WorkerRates {
    pub(super) worker: u32,
    pub(super) core: u32,
    /// The revision that it last judged by.
    pub(super) revision: u64,
    pub(super) connections: u64,
    /// The part of the time that it had something to do, 0 to 1.
    pub(super) busy: f64,
    #[serde(flatten)]
    pub(super) flow: Flow,
    /// Frames that it took in a turn, of turns that found one.
    pub(super) frames_per_turn: Option<f64>,
    #[serde(flatten)]
    pub(super) cost: Cost,
}

/// What a frame costs, by a sample.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Cost {
    /// Frames in the sample.
    pub(super) measured_frames: u64,
    /// Of all stages; `None` where nothing was measured.
    pub(super) cycles_per_frame: Option<f64>,
    pub(super) stages: Vec<StageCost>,
}

/// What one stage adds to the cost of a frame.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct StageCost {
    pub(super) stage: String,
    /// Those of the measured frames that went through it.
    pub(super) frames: u64,
    /// Its cycles, shared out among all measured frames.
    pub(super) cycles_per_frame: Option<f64>,
    /// Its cycles, shared out among those that went through it.
    pub(super) cycles_each: Option<f64>,
}

impl Rates {
    /// `None` where the readings are not of one daemon, or of one moment.
    pub(super) fn between(earlier: &Reading, later: &Reading) -> Option<Self> {
        let Reading { status, counters } = later;
        let before = &earlier.counters;
        if before.started_unix_ns != counters.started_unix_ns {
            return None;
        }
        let elapsed_ns = counters.read_at_ns.checked_sub(before.read_at_ns).filter(|ns| *ns > 0)?;
        let seconds = elapsed_ns as f64 / 1e9;
        let total = since(Some(&before.total), &counters.total);
        let mut ports: Vec<PortRates> = counters
            .ports
            .iter()
            .map(|port| {
                let earlier = before.ports.iter().find(|it| it.port == port.port);
                let flow = Flow::of(&since(earlier.map(|it| &it.total), &port.total), seconds);
                PortRates { port: port.port.clone(), flow }
            })
            .collect();
        // Those that are alike stay where they are, by name.
        ports.sort_by(|one, other| other.flow.frames().total_cmp(&one.flow.frames()));
        let works: Vec<WorkerWork> =
            counters.workers.iter().map(|work| work_since(before, work)).collect();
        let worker = |work: &WorkerWork| {
            let status = status.workers.iter().find(|it| it.index == work.worker);
            WorkerRates {
                worker: work.worker,
                core: status.map_or(0, |it| it.core),
                revision: status.map_or(0, |it| it.revision),
                connections: status.map_or(0, |it| it.connections),
                busy: rounded((work.busy_ns as f64 / elapsed_ns as f64).min(1.0)),
                flow: Flow::of(&traffic_of(work.worker, before, counters), seconds),
                frames_per_turn: ratio(work.frames, work.turns),
                cost: Cost::of([&work.sample]),
            }
        };
        Some(Self {
            seconds: rounded(seconds),
            revision: status.revision,
            health: status.health.clone(),
            connections: status.workers.iter().map(|it| it.connections).sum(),
            all: Flow::of(&total, seconds),
            drops: drop_rates(&total, seconds),
            workers: works.iter().map(worker).collect(),
            cycle_unit: works.first().map_or_else(CycleUnit::default, |it| it.sample.unit),
            cost: Cost::of(works.iter().map(|it| &it.sample)),
            ports,
        })
    }
}

impl Flow {
    fn of(traffic: &Traffic, seconds: f64) -> Self {
        let rate = |count: u64| rounded(count as f64 / seconds);
        Self {
            rx_frames_per_second: rate(traffic.rx_frames),
            rx_bits_per_second: rate(traffic.rx_bytes.saturating_mul(8)),
            tx_frames_per_second: rate(traffic.tx_frames),
            tx_bits_per_second: rate(traffic.tx_bytes.saturating_mul(8)),
            drops_per_second: rate(traffic.dropped()),
        }
    }

    fn frames(&self) -> f64 {
        self.rx_frames_per_second + self.tx_frames_per_second
    }
}

impl Cost {
    fn of<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let mut all = Sample::default();
        for sample in samples {
            all.frames += sample.frames;
            for work in &sample.stages {
                match all.stages.iter_mut().find(|it| it.stage == work.stage) {
                    Some(sum) => {
                        sum.frames += work.frames;
                        sum.cycles += work.cycles;
                    }
                    None => all.stages.push(work.clone()),
                }
            }
        }
        let cycles = all.stages.iter().map(|it| it.cycles).sum();
        let stage = |it: StageWork| StageCost {
            cycles_per_frame: ratio(it.cycles, all.frames),
            cycles_each: ratio(it.cycles, it.frames),
            frames: it.frames,
            stage: it.stage,
        };
        Self {
            measured_frames: all.frames,
            cycles_per_frame: ratio(cycles, all.frames),
            stages: all.stages.into_iter().map(stage).collect(),
        }
    }
}

/// What a worker has counted on all ports since the earlier reading.
fn traffic_of(worker: u32, earlier: &Counters, later: &Counters) -> Traffic {
    let mut sum = Traffic::default();
    for port in &later.ports {
        let before = earlier.ports.iter().find(|it| it.port == port.port);
        let before = before.and_then(|it| it.workers.iter().find(|it| it.worker == worker));
        for now in port.workers.iter().filter(|it| it.worker == worker) {
            let more = since(before.map(|it| &it.traffic), &now.traffic);
            sum.rx_frames += more.rx_frames;
            sum.rx_bytes += more.rx_bytes;
            sum.tx_frames += more.tx_frames;
            sum.tx_bytes += more.tx_bytes;
            sum.drops.extend(more.drops);
        }
    }
    sum
}

/// What has been counted since. A port that was removed and added again counts from zero.
fn since(earlier: Option<&Traffic>, later: &Traffic) -> Traffic {
    let is_before = |it: &&Traffic| {
        it.rx_frames <= later.rx_frames
            && it.tx_frames <= later.tx_frames
            && it.dropped() <= later.dropped()
    };
    let Some(earlier) = earlier.filter(is_before) else { return later.clone() };
    let drop = |now: &DropCount| {
        let before = earlier.drops.iter().find(|it| it.reason == now.reason);
        let frames = now.frames.saturating_sub(before.map_or(0, |it| it.frames));
        DropCount { frames, ..now.clone() }
    };
    Traffic {
        rx_frames: later.rx_frames - earlier.rx_frames,
        rx_bytes: later.rx_bytes.saturating_sub(earlier.rx_bytes),
        tx_frames: later.tx_frames - earlier.tx_frames,
        tx_bytes: later.tx_bytes.saturating_sub(earlier.tx_bytes),
        flood_copies: later.flood_copies.saturating_sub(earlier.flood_copies),
        drops: later.drops.iter().map(drop).filter(|it| it.frames > 0).collect(),
    }
}

fn work_since(earlier: &Counters, later: &WorkerWork) -> WorkerWork {
    let default = WorkerWork::default();
    let before = earlier.workers.iter().find(|it| it.worker == later.worker).unwrap_or(&default);
    let stage = |now: &StageWork| {
        let before = before.sample.stages.iter().find(|it| it.stage == now.stage);
        StageWork {
            stage: now.stage.clone(),
            frames: now.frames.saturating_sub(before.map_or(0, |it| it.frames)),
            cycles: now.cycles.saturating_sub(before.map_or(0, |it| it.cycles)),
        }
    };
    WorkerWork {
        worker: later.worker,
        busy_ns: later.busy_ns.saturating_sub(before.busy_ns),
        turns: later.turns.saturating_sub(before.turns),
        frames: later.frames.saturating_sub(before.frames),
        sample: Sample {
            frames: later.sample.frames.saturating_sub(before.sample.frames),
            unit: later.sample.unit,
            stages: later.sample.stages.iter().map(stage).collect(),
        },
    }
}

/// The commonest first.
fn drop_rates(total: &Traffic, seconds: f64) -> Vec<DropRate> {
    let mut drops: Vec<&DropCount> = total.drops.iter().collect();
    drops.sort_by_key(|drop| std::cmp::Reverse(drop.frames));
    let rate = |drop: &DropCount| DropRate {
        reason: drop.reason.clone(),
        frames_per_second: rounded(drop.frames as f64 / seconds),
    };
    drops.into_iter().map(rate).collect()
}

fn ratio(amount: u64, by: u64) -> Option<f64> {
    (by > 0).then(|| rounded(amount as f64 / by as f64))
}

/// To thousandths: more would only look exact.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests;
