//! Every counter of a stage, and which have moved.

use std::collections::BTreeMap;

use sluice_core::drop::DropReason;
use sluice_engine::counters::Totals;

use crate::cast::PORTS;
use crate::stage::Stage;

/// Every counter of every port and worker, at one moment.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Counts(BTreeMap<(&'static str, usize, Counter), u64>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Counter {
    Rx,
    RxBytes,
    Tx,
    TxBytes,
    FloodCopies,
    Drops(DropReason),
    /// Frames that the port's gate has given to the dataplane.
    Steered,
}

/// What moves, port by port.
pub(crate) type Moves = BTreeMap<(&'static str, Counter), u64>;

impl Counts {
    pub(crate) fn of(stage: &dyn Stage) -> Self {
        let mut counts = BTreeMap::new();
        let engine = stage.engine();
        for port in engine.ports() {
            let name = PORTS.into_iter().find(|name| **name == *port.spec.name).unwrap();
            for worker in 0..engine.worker_count() {
                for (counter, count) in counters(&port.totals_of(worker)) {
                    counts.insert((name, worker, counter), count);
                }
            }
            if let Some(steered) = stage.steered(name) {
                counts.insert((name, 0, Counter::Steered), steered);
            }
        }
        Self(counts)
    }

    /// What has moved, all workers together.
    pub(crate) fn since(&self, before: &Self) -> Moves {
        let mut moves = Moves::new();
        for (&(port, worker, counter), now) in &self.0 {
            let then = before.0.get(&(port, worker, counter)).copied().unwrap_or_default();
            let moved = now.checked_sub(then).expect("a counter went backwards");
            if moved > 0 {
                *moves.entry((port, counter)).or_default() += moved;
            }
        }
        moves
    }

    pub(crate) fn sum(&self, counter: Counter) -> u64 {
        self.0.iter().filter(|((_, _, it), _)| *it == counter).map(|(_, count)| count).sum()
    }

    pub(crate) fn drops(&self) -> u64 {
        let drops = self.0.iter().filter(|((_, _, it), _)| matches!(it, Counter::Drops(_)));
        drops.map(|(_, count)| count).sum()
    }
}

fn counters(totals: &Totals) -> Vec<(Counter, u64)> {
    let mut counters = vec![
        (Counter::Rx, totals.rx_frames),
        (Counter::RxBytes, totals.rx_bytes),
        (Counter::Tx, totals.tx_frames),
        (Counter::TxBytes, totals.tx_bytes),
        (Counter::FloodCopies, totals.flood_copies),
    ];
    let drops = DropReason::ALL.iter().map(|it| (Counter::Drops(*it), totals.dropped(*it)));
    counters.extend(drops);
    counters
}
