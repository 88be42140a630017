use sluice_api::backend::{
    HEALTHY, ObjectCounts, PortCounters, Source, WorkerStatus, WorkerTraffic,
};

use super::*;

fn traffic(frames: u64, dropped: &[(&str, u64)]) -> Traffic {
    let drop = |(reason, frames): &(&str, u64)| DropCount {
        reason: (*reason).to_owned(),
        frames: *frames,
        ..DropCount::default()
    };
    Traffic {
        rx_frames: frames,
        rx_bytes: frames * 100,
        tx_frames: frames / 2,
        tx_bytes: frames * 50,
        drops: dropped.iter().map(drop).collect(),
        ..Traffic::default()
    }
}

fn port(name: &str, of_workers: [Traffic; 2]) -> PortCounters {
    let [one, two] = &of_workers;
    let total = Traffic {
        rx_frames: one.rx_frames + two.rx_frames,
        tx_frames: one.tx_frames + two.tx_frames,
        ..Traffic::default()
    };
    let workers = (0..).zip(of_workers);
    let workers = workers.map(|(worker, traffic)| WorkerTraffic { worker, traffic });
    PortCounters { port: name.to_owned(), total, workers: workers.collect(), gate: None }
}

fn work(worker: u32, busy_ns: u64, frames: u64, stages: &[(&str, u64, u64)]) -> WorkerWork {
    let stage = |(name, frames, cycles): &(&str, u64, u64)| StageWork {
        stage: (*name).to_owned(),
        frames: *frames,
        cycles: *cycles,
    };
    let stages = stages.iter().map(stage).collect();
    let sample = Sample { frames: frames / 10, unit: CycleUnit::Cycles, stages };
    WorkerWork { worker, busy_ns, turns: frames / 5, frames, sample }
}

fn reading(read_at_ns: u64, counters: Counters) -> Reading {
    let worker =
        |index| WorkerStatus { index, core: index + 2, revision: 7, connections: 5, evicted: 0 };
    let status = Status {
        revision: 7,
        version: String::new(),
        source: Source::Api,
        objects: ObjectCounts::default(),
        workers: vec![worker(0), worker(1)],
        uptime_seconds: 1,
        health: HEALTHY.to_owned(),
        last_refusal: None,
    };
    Reading { status, counters: Counters { read_at_ns, started_unix_ns: 1, ..counters } }
}

#[test]
fn rates_are_what_came_between_by_the_daemon_s_clock() {
    let before = Counters {
        total: traffic(1_000, &[("bad", 10), ("old", 3)]),
        ports: vec![
            port("a", [traffic(200, &[]), traffic(0, &[])]),
            port("b", [traffic(300, &[]), traffic(500, &[("bad", 10)])]),
        ],
        workers: vec![work(0, 1_000, 500, &[("parse", 50, 5_000)]), work(1, 0, 0, &[])],
        ..Counters::default()
    };
    let after = Counters {
        total: traffic(2_000, &[("bad", 14), ("new", 6), ("old", 3)]),
        ports: vec![
            port("a", [traffic(300, &[]), traffic(0, &[])]),
            port("b", [traffic(300, &[]), traffic(1_400, &[("bad", 14)])]),
        ],
        workers: vec![
            work(0, 500_001_000, 600, &[("parse", 59, 7_000), ("policy", 1, 300)]),
            work(1, 2_500_000_000, 900, &[("parse", 90, 9_000)]),
        ],
        ..Counters::default()
    };
    let rates = Rates::between(&reading(5, before), &reading(2_000_000_005, after)).unwrap();
    assert_eq!((rates.seconds, rates.revision, rates.connections), (2.0, 7, 10));
    assert_eq!(rates.all.rx_frames_per_second, 500.0);
    assert_eq!(rates.all.rx_bits_per_second, 400_000.0);
    assert_eq!(rates.all.tx_frames_per_second, 250.0);
    assert_eq!(rates.all.drops_per_second, 5.0);
    let drop = |reason: &str, rate| DropRate { reason: reason.into(), frames_per_second: rate };
    assert_eq!(rates.drops, [drop("new", 3.0), drop("bad", 2.0)]);

    let names: Vec<&str> = rates.ports.iter().map(|it| it.port.as_str()).collect();
    assert_eq!(names, ["b", "a"], "the busiest first");
    assert_eq!(rates.ports[0].flow.rx_frames_per_second, 450.0);

    let [one, two] = rates.workers.as_slice() else { panic!("{rates:?}") };
    assert_eq!((one.core, one.busy, one.frames_per_turn), (2, 0.25, Some(5.0)));
    assert_eq!(two.busy, 1.0, "a reading that comes late makes nobody busier than busy");
    assert_eq!(one.flow.rx_frames_per_second, 50.0);
    assert_eq!((two.flow.rx_frames_per_second, two.flow.drops_per_second), (450.0, 2.0));

    // 10 frames were measured, of which 9 went through the parser and 1 to policy.
    let stage = |stage: &str, frames, shared, each| StageCost {
        stage: stage.into(),
        frames,
        cycles_per_frame: Some(shared),
        cycles_each: Some(each),
    };
    assert_eq!(
        one.cost.stages,
        [stage("parse", 9, 200.0, 222.222), stage("policy", 1, 30.0, 300.0)]
    );
    assert_eq!((one.cost.measured_frames, one.cost.cycles_per_frame), (10, Some(230.0)));
    assert_eq!((rates.cost.measured_frames, rates.cost.cycles_per_frame), (100, Some(113.0)));
}

#[test]
fn nothing_is_said_of_two_daemons_or_of_one_moment() {
    let early = reading(10, Counters::default());
    let late = reading(20, Counters::default());
    assert!(Rates::between(&early, &late).is_some());
    assert!(Rates::between(&late, &early).is_none());
    assert!(Rates::between(&early, &early).is_none());
    let mut restarted = late;
    restarted.counters.started_unix_ns = 2;
    assert!(Rates::between(&early, &restarted).is_none());
}

#[test]
fn a_port_that_counts_anew_is_counted_from_zero() {
    let with = |ports| Counters { ports, ..Counters::default() };
    let before = reading(0, with(vec![port("a", [traffic(900, &[]), traffic(0, &[])])]));
    let again = port("a", [traffic(40, &[]), traffic(0, &[])]);
    let new = port("b", [traffic(60, &[]), traffic(0, &[])]);
    let rates = Rates::between(&before, &reading(1_000_000_000, with(vec![again, new]))).unwrap();
    let rx = |name: &str| {
        rates.ports.iter().find(|it| it.port == name).unwrap().flow.rx_frames_per_second
    };
    assert_eq!((rx("a"), rx("b")), (40.0, 60.0));
}

#[test]
fn what_was_not_measured_costs_nothing_that_is_known() {
    let idle = Counters { workers: vec![work(0, 0, 0, &[("parse", 0, 0)])], ..Counters::default() };
    let rates = Rates::between(&reading(0, idle.clone()), &reading(9, idle)).unwrap();
    let cost = &rates.workers[0].cost;
    assert_eq!((cost.cycles_per_frame, cost.stages[0].cycles_per_frame), (None, None));
    assert_eq!(rates.workers[0].frames_per_turn, None);
}
