//! Which bits a node looks at.

use std::ops::RangeInclusive;

use super::block::{DESTINATION, DESTINATION_PORT, Entry, PROTOCOL, SOURCE, SOURCE_PORT};
use super::tree::Cut;

/// Rules that are looked at to choose a cut.
const SAMPLE_LEN: usize = 1024;

/// Bits of a cut.
const BITS_MAX: u32 = 13;

/// Bits of a cut while it is tried, with few rules.
const TRIAL_BITS_MAX: u32 = 10;

/// A cut that leaves more of the rules to look at than this is not worth its node.
const WORTH: f64 = 0.75;

/// Places in children's lists for each rule that a cut may take while it is made: most of them
/// are the same lists, but they have to be compared.
const PLACES_MAX: usize = 32;

impl Cut {
    /// The children that an entry concerns.
    #[inline]
    pub(super) fn covered<const A: usize>(self, entry: &Entry<A>) -> RangeInclusive<u32> {
        self.covered_by(entry.range(self.word.into()))
    }

    #[inline]
    fn covered_by(self, (first, last): (u32, u32)) -> RangeInclusive<u32> {
        let all = !(u32::MAX << self.bits);
        let above = |value: u32| u64::from(value) >> (self.shift + self.bits);
        if above(first) == above(last) {
            (first >> self.shift) & all..=(last >> self.shift) & all
        } else {
            0..=all
        }
    }

    /// Whether an entry that concerns these children lies beside them.
    #[inline]
    pub(super) fn lies_beside(self, covered: &RangeInclusive<u32>) -> bool {
        covered.end() - covered.start() >= 1 << self.spread_max
    }
}

/// The cut that leaves the fewest rules to look at, if it is worth it.
pub(super) fn choose<const A: usize>(entries: &[Entry<A>]) -> Option<Cut> {
    let step = entries.len().div_ceil(SAMPLE_LEN).max(1);
    let wanted = entries.len().max(1).ilog2().clamp(2, BITS_MAX);
    let trial = wanted.min(TRIAL_BITS_MAX);
    let mut trials = Trials::new(trial);
    let mut best: Option<(f64, Cut)> = None;
    let addresses = (SOURCE..SOURCE + A).chain(DESTINATION..DESTINATION + A).map(|word| (word, 32));
    let others = [(SOURCE_PORT, 16), (DESTINATION_PORT, 16), (PROTOCOL, 8)];
    let mut ranges = Vec::with_capacity(SAMPLE_LEN);
    for (word, width) in addresses.chain(others) {
        ranges.clear();
        ranges.extend(entries.iter().step_by(step).map(|entry| entry.range(word)));
        // Windows from the upper end of the word down.
        for below in (0..=width - trial.min(width)).rev().filter(|below| below % 2 == width % 2) {
            let cut = narrow(word, below, trial.min(width));
            let Some(cost) = trials.cost(&ranges, cut) else { continue };
            if best.is_none_or(|(least, _)| cost < least) {
                // All the bits that are wanted, as far as there are any below.
                let more = (wanted - u32::from(cut.bits)).min(below);
                best = Some((cost, narrow(word, below - more, u32::from(cut.bits) + more)));
            }
        }
    }
    let (cost, cut) = best?;
    let is_worth_it = cost <= WORTH * f64::from(u32::try_from(ranges.len()).unwrap_or(u32::MAX));
    is_worth_it.then(|| Cut { spread_max: spread_max(entries, cut), ..cut })
}

#[expect(clippy::cast_possible_truncation, reason = "all are below 33")]
fn narrow(word: usize, shift: u32, bits: u32) -> Cut {
    Cut { word: word as u8, shift: shift as u8, bits: bits as u8, spread_max: 0 }
}

/// To how many children a rule may be copied without too much memory being taken, as the
/// logarithm.
fn spread_max<const A: usize>(entries: &[Entry<A>], cut: Cut) -> u8 {
    let covered: Vec<_> = entries.iter().map(|entry| cut.covered(entry)).collect();
    // Children with rules of their own, up to each: only these differ, and are copied to.
    let mut own = vec![0u32; (1 << cut.bits) + 1];
    for range in covered.iter().filter(|range| range.start() == range.end()) {
        if let Some(child) = own.get_mut(*range.start() as usize + 1) {
            *child = 1;
        }
    }
    let mut so_far = 0;
    for child in &mut own {
        so_far += *child;
        *child = so_far;
    }
    let up_to = |child: u32| own.get(child as usize).copied().unwrap_or(so_far);
    let mut needed = vec![(0usize, 0usize); usize::from(cut.bits) + 1];
    for range in &covered {
        let len = range.end() - range.start() + 1;
        let copies = up_to(range.end() + 1) - up_to(*range.start()) + u32::from(len > 1);
        if let Some(needed) = needed.get_mut(len.next_power_of_two().ilog2() as usize) {
            needed.0 += copies as usize;
            needed.1 += len as usize;
        }
    }
    // Memory grows with the product of what all levels allow, so the upper ones allow less.
    let copies_max = entries.len() * if entries.len() < 2048 { 4 } else { 2 };
    let (mut copies, mut places, mut spread_max) = (0, 0, 0);
    for (spread, needed) in (0u8..).zip(needed) {
        copies += needed.0;
        places += needed.1;
        if copies > copies_max || places > entries.len() * PLACES_MAX {
            break;
        }
        spread_max = spread;
    }
    spread_max
}

/// Room to try cuts in.
struct Trials {
    /// By child: rules that concern it alone.
    own: Vec<u32>,
    /// By child: how many more rules concern it than the one before it.
    more: Vec<i64>,
}

impl Trials {
    fn new(bits_max: u32) -> Self {
        let len = 1 << bits_max;
        Self { own: vec![0; len], more: vec![0; len + 1] }
    }

    /// How many of `ranges` a packet would be compared with, if packets are as rules are; `None`
    /// where nothing is told apart.
    fn cost(&mut self, ranges: &[(u32, u32)], cut: Cut) -> Option<f64> {
        self.own.fill(0);
        self.more.fill(0);
        let wide = (1u32 << cut.bits).div_ceil(4);
        let (mut beside, mut narrow) = (0u32, 0u32);
        for &range in ranges {
            let (first, last) = cut.covered_by(range).into_inner();
            if last - first >= wide {
                beside += 1;
                continue;
            }
            if let Some(own) = self.own.get_mut(first as usize).filter(|_| first == last) {
                *own += 1;
                narrow += 1;
            }
            for (at, by) in [(first, 1), (last + 1, -1)] {
                if let Some(more) = self.more.get_mut(at as usize) {
                    *more += by;
                }
            }
        }
        if narrow == 0 {
            return None;
        }
        let (mut here, mut weighed) = (0i64, 0i64);
        for (own, more) in self.own.iter().zip(&self.more) {
            here += more;
            weighed += i64::from(*own) * here;
        }
        #[expect(clippy::cast_precision_loss, reason = "at most the square of a sample")]
        Some(weighed as f64 / f64::from(narrow) + f64::from(beside))
    }
}
