//! The leaves below a node.
//!
//! A bundle of 16 is one piece of memory, so that what leads to a leaf is small enough to stay in
//! the caches where there are many, and a change copies no more than these.

use std::sync::Arc;

use super::leaf::{self, Line, View, Width};
use super::prefix::Entry;

const LEAVES: usize = 256;
const BUNDLE_LEN: usize = 16;

/// Leaves by the 8 bits of their node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaves {
    /// In which line of its bundle a leaf begins, counted from 1; 0 for none.
    at: [u16; LEAVES],
    bundles: [Option<Arc<[Line]>>; LEAVES / BUNDLE_LEN],
}

impl Leaves {
    /// Leaves of entries that share their first `depth` bits, by value in rising order.
    pub(super) fn new(width: Width, depth: u32, leaves: &[(usize, &[Entry])]) -> Self {
        let mut made = Self::default();
        let mut lines = Vec::new();
        for bundle in leaves.chunk_by(|(a, _), (b, _)| a / BUNDLE_LEN == b / BUNDLE_LEN) {
            lines.clear();
            for (value, entries) in bundle {
                made.place(*value, lines.len());
                leaf::write(width, depth, entries, &mut lines);
            }
            let value = bundle.first().map_or(0, |(value, _)| *value);
            made.bundle(value, &lines);
        }
        made
    }

    /// What is below a value.
    #[inline]
    pub(super) fn get(&self, value: usize) -> View<'_> {
        let at = self.at.get(value).map_or(0, |at| usize::from(*at));
        let bundle = self.bundles.get(value / BUNDLE_LEN).and_then(Option::as_deref);
        View(bundle.and_then(|lines| lines.get(at.wrapping_sub(1)..)).unwrap_or_default())
    }

    /// Puts a leaf of these entries below a value, in the place of what was there; none of none.
    pub(super) fn set(&mut self, width: Width, depth: u32, value: usize, entries: &[Entry]) {
        if entries.is_empty() && self.get(value).0.is_empty() {
            return;
        }
        let first = value - value % BUNDLE_LEN;
        let mut lines = Vec::new();
        let mut begins = [None; BUNDLE_LEN];
        for (other, begin) in (first..).zip(&mut begins) {
            let before = lines.len();
            if other == value {
                leaf::write(width, depth, entries, &mut lines);
            } else {
                lines.extend(self.get(other).lines(width));
            }
            *begin = (lines.len() > before).then_some(before);
        }
        for (other, begin) in (first..).zip(begins) {
            match begin {
                Some(line) => self.place(other, line),
                None => self.at.iter_mut().skip(other).take(1).for_each(|at| *at = 0),
            }
        }
        self.bundle(value, &lines);
    }

    /// All entries of all leaves. `above` gives the bits that those below a value share.
    pub(super) fn entries(
        &self,
        width: Width,
        depth: u32,
        above: impl Fn(usize) -> u128,
    ) -> impl Iterator<Item = Entry> {
        (0..LEAVES).flat_map(move |value| self.get(value).entries(width, depth, above(value)))
    }

    /// The bytes of memory that the bundles take.
    pub(super) fn heap_bytes(&self) -> usize {
        // The counts of an Arc, which what follows aligns.
        const COUNTS: usize = size_of::<Line>();
        let bundles = self.bundles.iter().flatten();
        bundles.map(|lines| COUNTS + size_of_val::<[Line]>(lines)).sum()
    }

    fn place(&mut self, value: usize, line: usize) {
        if let Some(at) = self.at.get_mut(value) {
            *at = u16::try_from(line + 1).unwrap_or(0);
        }
    }

    fn bundle(&mut self, value: usize, lines: &[Line]) {
        if let Some(bundle) = self.bundles.get_mut(value / BUNDLE_LEN) {
            *bundle = (!lines.is_empty()).then(|| lines.into());
        }
    }
}

impl Default for Leaves {
    fn default() -> Self {
        Self { at: [0; LEAVES], bundles: Default::default() }
    }
}
