//! Connections that begin.

use sluice_core::conntrack::{BATCH_LEN_MAX, Connections, Opening};
use sluice_core::flow::FlowHasher;

use super::established::{connections, insert, open, opening};
use crate::rig::BenchError;

/// Connections that are opened before others are prepared.
pub(crate) const NEWCOMERS_LEN: usize = 4096;

/// A table of consecutive connections, and the next ones to come.
pub(crate) struct Newcomers {
    connections: Connections,
    hasher: FlowHasher,
    /// Their hashes are still to be computed.
    openings: Vec<Opening>,
    next: u32,
    count: u32,
}

impl Newcomers {
    /// A table with `count` connections and room for `capacity`.
    pub(crate) fn new(count: u32, capacity: u32) -> Result<Self, BenchError> {
        let hasher = FlowHasher::seeded(1);
        let mut connections = connections(capacity, &hasher);
        for number in 0..count {
            open(&mut connections, &hasher, number)?;
        }
        let openings = Vec::with_capacity(NEWCOMERS_LEN);
        Ok(Self { connections, hasher, openings, next: count, count })
    }

    /// Prepares the next newcomers, and may take as many of the oldest connections out for them.
    pub(crate) fn prepare(&mut self, remove_oldest: bool) {
        self.openings.clear();
        for number in self.next..self.next + NEWCOMERS_LEN as u32 {
            if remove_oldest {
                let Opening { key, .. } = opening(number - self.count, 0);
                self.connections.remove(self.hasher.hash(&key), &key);
            }
            self.openings.push(opening(number, 0));
        }
        self.next += NEWCOMERS_LEN as u32;
    }

    /// Hashes and inserts what is prepared, batch by batch. Returns how many found room.
    pub(crate) fn open(&mut self) -> usize {
        let Self { connections, hasher, openings, .. } = self;
        let mut opened = 0;
        for openings in openings.chunks_mut(BATCH_LEN_MAX) {
            let mut hashes = [0; BATCH_LEN_MAX];
            for (opening, hash) in openings.iter_mut().zip(&mut hashes) {
                opening.hash = hasher.hash(&opening.key);
                *hash = opening.hash;
            }
            connections.warm(hashes.get(..openings.len()).unwrap_or_default());
            opened += openings.iter().filter(|opening| insert(connections, opening)).count();
        }
        opened
    }
}
