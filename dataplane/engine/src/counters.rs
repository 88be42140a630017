//! Counters without sharing: each worker writes its own, anybody reads.

use std::sync::atomic::Ordering::Relaxed;

use crossbeam::utils::CachePadded;
use sluice_core::drop::DropReason;

use crate::sync::AtomicU64;

/// A counter with one writer. Reading it from elsewhere gives a recent value.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`. Only the owning worker may call this: two writers would lose counts.
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    /// The value.
    #[inline]
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What one worker did with the frames of one port.
#[derive(Debug, Default)]
pub(crate) struct PortCounters {
    pub(crate) rx_frames: Counter,
    pub(crate) rx_bytes: Counter,
    pub(crate) tx_frames: Counter,
    pub(crate) tx_bytes: Counter,
    pub(crate) flood_copies: Counter,
    drops: Drops,
}

/// A counter for each reason.
#[derive(Debug)]
struct Drops([Counter; DropReason::COUNT]);

impl Default for Drops {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl PortCounters {
    #[inline]
    pub(crate) fn drop(&self, reason: DropReason) {
        if let Some(counter) = self.drops.0.get(reason.index()) {
            counter.add(1);
        }
    }

    /// For each worker its own counters, on cache lines of their own.
    pub(crate) fn per_worker(worker_count: usize) -> Box<[CachePadded<Self>]> {
        (0..worker_count).map(|_| CachePadded::default()).collect()
    }
}

/// The sum of counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Frames received.
    pub rx_frames: u64,
    /// Their bytes, from the Ethernet header on.
    pub rx_bytes: u64,
    /// Frames handed to a tx ring.
    pub tx_frames: u64,
    /// Their bytes, from the Ethernet header on.
    pub tx_bytes: u64,
    /// Copies made because a frame went to several ports.
    pub flood_copies: u64,
    drops: [u64; DropReason::COUNT],
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            rx_frames: 0,
            rx_bytes: 0,
            tx_frames: 0,
            tx_bytes: 0,
            flood_copies: 0,
            drops: [0; DropReason::COUNT],
        }
    }
}

impl Totals {
    pub(crate) fn add(&mut self, counters: &PortCounters) {
        self.rx_frames += counters.rx_frames.value();
        self.rx_bytes += counters.rx_bytes.value();
        self.tx_frames += counters.tx_frames.value();
        self.tx_bytes += counters.tx_bytes.value();
        self.flood_copies += counters.flood_copies.value();
        for (total, counter) in self.drops.iter_mut().zip(&counters.drops.0) {
            *total += counter.value();
        }
    }

    /// Adds other totals to these.
    pub fn absorb(&mut self, other: &Self) {
        self.rx_frames += other.rx_frames;
        self.rx_bytes += other.rx_bytes;
        self.tx_frames += other.tx_frames;
        self.tx_bytes += other.tx_bytes;
        self.flood_copies += other.flood_copies;
        for (total, more) in self.drops.iter_mut().zip(&other.drops) {
            *total += more;
        }
    }

    /// Frames dropped for `reason`.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.get(reason.index()).copied().unwrap_or_default()
    }

    /// Frames dropped for any reason.
    #[must_use]
    pub fn dropped_all(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// The reasons that frames were dropped for, and how many.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL.iter().copied().zip(self.drops).filter(|(_, count)| *count > 0)
    }
}
