//! Sluice as the packet path uses it, without ports and threads: the judge on tables and
//! connections of a size.

mod established;
mod first;
mod inserts;
mod prefixes;

use crate::rig::BenchError;
use crate::stopwatch::Stopwatch;

pub(crate) use established::Established;
pub(crate) use first::First;
pub(crate) use inserts::{NEWCOMERS_LEN, Newcomers};
pub(crate) use prefixes::Prefixes;

/// The time that `timed` takes for an item, in nanoseconds: the mean of all slices, each of
/// `slice` items. What `prepare` does before each of them does not count.
pub(crate) fn nanoseconds<S>(
    state: &mut S,
    slices: usize,
    slice: usize,
    mut prepare: impl FnMut(&mut S) -> Result<(), BenchError>,
    mut timed: impl FnMut(&mut S),
) -> Result<f64, BenchError> {
    let mut took = 0.0;
    for _ in 0..slices {
        prepare(state)?;
        let start = Stopwatch::start()?;
        timed(state);
        took += start.seconds()?;
    }
    Ok(took * 1e9 / (slices * slice) as f64)
}

/// Adds an answer to a digest, as the peers do.
pub(crate) fn answer(digest: u64, value: u64) -> u64 {
    digest.wrapping_mul(31).wrapping_add(value)
}
