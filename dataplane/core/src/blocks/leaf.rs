//! A leaf: up to [`LEAF_LEN_MAX`] prefixes that share their first bits, in one piece of memory.
//!
//! The next 8 bits of an address fall into a run of values that have the same answer: the number
//! of the innermost prefix, none, or that longer prefixes begin there and are to be searched. A
//! bit for each value says where runs begin, and counting bits finds the run. Each prefix knows
//! the one around it.
//!
//! ```text
//! words  0..8   a bit for each value that begins a run
//!        8..10  how many runs begin before each of those words, a byte each
//!        10     where the outer numbers are, and where the prefixes are
//!        11..   the answers of the runs, a byte each
//!               the numbers of the prefixes around each prefix, a byte each
//!               the prefixes, sorted: code, then the first block
//! ```
//!
//! A code is the bits past the shared ones, a 1 behind the last of them, and in the lowest bit
//! whether more than one block has this CIDR.

use std::sync::Arc;

use super::BlockId;
use super::prefix::{Entry, Group, Key, Prefix};

/// Numbers of prefixes are bytes: from 1, 0 for none, and one for [`SEARCH`].
pub(super) const LEAF_LEN_MAX: usize = 253;

/// The answer of values where longer prefixes begin.
const SEARCH: u8 = u8::MAX;

const RANKS_AT: usize = 8;
const PLACES_AT: usize = 10;
const RUNS_AT: usize = 11;

const IS_SHARED: u32 = 1;

/// A leaf. Its words are [`BlockId`]s, so that those which really are can be lent as groups of one;
/// the others are numbers of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf(Arc<[BlockId]>);

/// What is read of a leaf.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a>(&'a [BlockId]);

/// How many words a code takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Width(usize);

impl Width {
    /// For IPv4: no leaf has to tell the first 8 bits, so that there is room for two more.
    pub(super) const V4: Self = Self(1);
    pub(super) const V6: Self = Self(4);
}

impl Leaf {
    /// A leaf of entries that share their first `depth` bits, are longer, sorted, and neither none
    /// nor too many.
    pub(super) fn new(width: Width, depth: u32, entries: &[Entry]) -> Self {
        let (answers, outers) = numbered(depth, entries);
        let (mut starts, mut runs) = ([0u32; RANKS_AT], Vec::with_capacity(2 * entries.len() + 1));
        let mut ranks = [0u8; RANKS_AT];
        let mut previous = None;
        for ((values, start), rank) in answers.chunks_exact(32).zip(&mut starts).zip(&mut ranks) {
            *rank = u8::try_from(runs.len()).unwrap_or(u8::MAX);
            for (value, answer) in values.iter().enumerate() {
                if previous != Some(*answer) {
                    *start |= 1 << value;
                    runs.push(*answer);
                    previous = Some(*answer);
                }
            }
        }
        let outers_at = RUNS_AT + runs.len().div_ceil(4);
        let entries_at = outers_at + outers.len().div_ceil(4);
        let mut words = Vec::with_capacity(entries_at + entries.len() * (width.0 + 1));
        words.extend(starts);
        words.extend(packed(&ranks));
        words.push(u32::try_from(outers_at << 16 | entries_at).unwrap_or(0));
        words.extend(packed(&runs));
        words.extend(packed(&outers));
        for Entry { prefix, group } in entries {
            let code = prefix.start << depth | 1 << (127 - (prefix.len - depth));
            let flag = if group.is_shared { IS_SHARED } else { 0 };
            for word in 0..width.0 {
                let is_last = word + 1 == width.0;
                words.push(word_of(code, word) | if is_last { flag } else { 0 });
            }
            words.push(group.first.0);
        }
        Self(words.into_iter().map(BlockId).collect())
    }

    #[inline]
    pub(super) fn view(&self) -> View<'_> {
        View(&self.0)
    }

    /// Its entries, sorted. `above` has the bits that they share.
    pub(super) fn entries(&self, width: Width, depth: u32, above: u128) -> Vec<Entry> {
        let view = self.view();
        let entry = |number: u8| {
            let (start, last) = view.start_and_last(width, number);
            // The bit behind the last says how many there are.
            let len = depth + 127 - last.trailing_zeros();
            let prefix = Prefix { start: above | start >> depth, len };
            let (is_shared, first) = view.group(width, number);
            let first = first.first().copied().unwrap_or(BlockId(0));
            Entry { prefix, group: Group { first, is_shared } }
        };
        (1..=u8::try_from(view.len(width)).unwrap_or(0)).map(entry).collect()
    }

    /// The bytes of memory that it takes.
    pub(super) fn heap_bytes(&self) -> usize {
        const COUNTS: usize = 2 * size_of::<usize>();
        COUNTS + size_of_val(&*self.0)
    }
}

impl<'a> View<'a> {
    /// A leaf without prefixes.
    pub(super) const EMPTY: Self = Self(&[]);

    /// The number of the innermost prefix around an address that shares the first `depth` bits; 0
    /// for none.
    #[inline]
    pub(super) fn find(self, width: Width, key: impl Key, depth: u32) -> u8 {
        if self.0.is_empty() {
            return 0;
        }
        let byte = key.byte(depth);
        let word = byte / 32;
        let up_to = self.word(word) & (u32::MAX >> (31 - byte % 32));
        let run = usize::from(self.byte(RANKS_AT, word)) + up_to.count_ones() as usize;
        match self.byte(RUNS_AT, run.wrapping_sub(1)) {
            SEARCH => self.search(width, key.bits() << depth),
            number => number,
        }
    }

    /// The number of the prefix around one, 0 for none.
    #[inline]
    pub(super) fn outer(self, number: u8) -> u8 {
        let outers_at = (self.word(PLACES_AT) >> 16) as usize;
        self.byte(outers_at, usize::from(number).wrapping_sub(1))
    }

    /// Whether more than one block has the CIDR with this number, and the first that has.
    #[inline]
    pub(super) fn group(self, width: Width, number: u8) -> (bool, &'a [BlockId]) {
        let code_at = self.code_at(width, number);
        let words = self.0.get(code_at + width.0 - 1..=code_at + width.0);
        match words {
            Some([last, first]) => (last.0 & IS_SHARED != 0, std::slice::from_ref(first)),
            _ => (false, &[]),
        }
    }

    fn len(self, width: Width) -> usize {
        self.0.len().saturating_sub(self.entries_at()) / (width.0 + 1)
    }

    /// Looks among all: the last that begins at `rest` or before it lies in all that contain it.
    fn search(self, width: Width, rest: u128) -> u8 {
        let (mut low, mut high) = (0, u8::try_from(self.len(width)).unwrap_or(0));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.start_and_last(width, middle + 1).0 <= rest {
                low = middle + 1
            } else {
                high = middle
            }
        }
        let mut number = low;
        while number != 0 {
            let (start, last) = self.start_and_last(width, number);
            // All bits above the one behind the last.
            if (start ^ rest) & !(last | (last - 1)) == 0 {
                break;
            }
            number = self.outer(number);
        }
        number
    }

    /// The bits of a prefix past the shared ones, and the bit behind the last.
    fn start_and_last(self, width: Width, number: u8) -> (u128, u128) {
        let at = self.code_at(width, number);
        let words = self.0.get(at..at + width.0).unwrap_or_default();
        let code = words.iter().fold(0, |code, word| code << 32 | u128::from(word.0));
        let code = (code & !u128::from(IS_SHARED)) << (128 - 32 * width.0);
        let start = code & code.wrapping_sub(1);
        (start, code ^ start)
    }

    #[inline]
    fn code_at(self, width: Width, number: u8) -> usize {
        self.entries_at() + usize::from(number).wrapping_sub(1).wrapping_mul(width.0 + 1)
    }

    #[inline]
    fn entries_at(self) -> usize {
        (self.word(PLACES_AT) & 0xffff) as usize
    }

    #[inline]
    fn word(self, at: usize) -> u32 {
        self.0.get(at).map_or(0, |word| word.0)
    }

    #[inline]
    fn byte(self, at: usize, place: usize) -> u8 {
        (self.word(at + place / 4) >> (place % 4 * 8) & 0xff) as u8
    }
}

/// The answer for each of the values of 8 bits, and the number of the prefix around each.
fn numbered(depth: u32, entries: &[Entry]) -> ([u8; 256], Vec<u8>) {
    let mut answers = [0; 256];
    let mut outers = Vec::with_capacity(entries.len());
    let mut around: Vec<(Prefix, u8)> = Vec::new();
    for (&Entry { prefix, .. }, number) in entries.iter().zip(1u8..) {
        while around.last().is_some_and(|(outer, _)| !outer.contains(prefix)) {
            around.pop();
        }
        outers.push(around.last().map_or(0, |(_, number)| *number));
        around.push((prefix, number));
        let first = prefix.byte(depth);
        let values = 1 << 8u32.saturating_sub(prefix.len - depth);
        let answer = if prefix.len - depth > 8 { SEARCH } else { number };
        answers.iter_mut().skip(first).take(values).for_each(|it| *it = answer);
    }
    (answers, outers)
}

fn packed(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks(4).map(|four| four.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte)))
}

/// One of the four words of `code`, the highest first.
fn word_of(code: u128, word: usize) -> u32 {
    u32::try_from(code >> (96 - 32 * word) & u128::from(u32::MAX)).unwrap_or(0)
}
