//! A leaf: up to [`LEAF_LEN_MAX`] prefixes that share their first bits, in lines of a cache.
//!
//! The next 8 bits of an address fall into a run of values that have the same answer: the number
//! of the innermost prefix, or none. Where longer prefixes begin, it is the last of these, and the
//! look-up goes back from it. A bit for each value says where runs begin, and counting bits finds
//! the run. Each prefix knows the one around it.
//!
//! ```text
//! words  0..8   a bit for each value that begins a run
//!        8..10  how many runs begin before each of those words, a byte each
//!        10     how many prefixes there are, where they are, and where the outer numbers are,
//!               a byte each
//!        11..   the answers of the runs, a byte each
//!               the numbers of the prefixes around each prefix, a byte each
//!               the prefixes, sorted: code, then the first block
//! ```
//!
//! A code is the bits past the shared ones, a 1 behind the last of them, and in the lowest bit
//! whether more than one block has this CIDR.

use super::BlockId;
use super::prefix::{Entry, Group, Key, Prefix};

/// Numbers of prefixes are bytes: from 1, and 0 for none.
pub(super) const LEAF_LEN_MAX: usize = 255;

const RANKS_AT: usize = 8;
const PLACES_AT: usize = 10;
const RUNS_AT: usize = 11;

pub(super) const IS_SHARED: u32 = 1;

/// A line of a processor's cache. Its words are [`BlockId`]s, so that those which really are can be
/// lent as groups of one; the others are numbers of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(64))]
pub(super) struct Line([BlockId; LINE_LEN]);

const LINE_LEN: usize = 16;

/// What is read of a leaf: its lines, and what may come behind them.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a>(pub(super) &'a [Line]);

/// How many words a code takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Width(usize);

impl Width {
    /// For IPv4: no leaf has to tell the first 8 bits, so that there is room for two more.
    pub(super) const V4: Self = Self(1);
    pub(super) const V6: Self = Self(4);
}

/// Writes a leaf of entries that share their first `depth` bits, are longer, sorted, and not too
/// many. None make no leaf.
pub(super) fn write(width: Width, depth: u32, entries: &[Entry], lines: &mut Vec<Line>) {
    if entries.is_empty() {
        return;
    }
    let (answers, outers) = numbered(depth, entries);
    let (mut starts, mut runs) = ([0u32; RANKS_AT], Vec::with_capacity(2 * entries.len() + 1));
    let mut ranks = [0u8; RANKS_AT];
    let mut previous = None;
    for ((values, start), rank) in answers.chunks_exact(32).zip(&mut starts).zip(&mut ranks) {
        *rank = byte_of(runs.len());
        for (value, answer) in values.iter().enumerate() {
            if previous != Some(*answer) {
                *start |= 1 << value;
                runs.push(*answer);
                previous = Some(*answer);
            }
        }
    }
    let outers_at = RUNS_AT + runs.len().div_ceil(4);
    // Even, so that a code of one word and its block lie in one line.
    let entries_at = (outers_at + outers.len().div_ceil(4)).next_multiple_of(2);
    let mut words = Vec::with_capacity(entries_at + entries.len() * (width.0 + 1) + LINE_LEN);
    words.extend(starts);
    words.extend(packed(&ranks));
    words.extend(packed(&[byte_of(entries.len()), byte_of(entries_at), byte_of(outers_at)]));
    words.extend(packed(&runs));
    words.extend(packed(&outers));
    words.resize(entries_at, 0);
    for Entry { prefix, group } in entries {
        let code = prefix.start << depth | 1 << (127 - (prefix.len - depth));
        let flag = if group.is_shared { IS_SHARED } else { 0 };
        for word in 0..width.0 {
            let is_last = word + 1 == width.0;
            words.push(word_of(code, word) | if is_last { flag } else { 0 });
        }
        words.push(group.first.0);
    }
    lines.extend(words.chunks(LINE_LEN).map(|words| {
        let mut line = Line([BlockId(0); LINE_LEN]);
        line.0.iter_mut().zip(words).for_each(|(place, word)| *place = BlockId(*word));
        line
    }));
}

impl<'a> View<'a> {
    /// A leaf without prefixes.
    pub(super) const EMPTY: Self = Self(&[]);

    /// Reads what [`Self::run`] will.
    #[inline]
    pub(super) fn touch_run(self, value: usize) -> u32 {
        self.word(value / 32)
    }

    /// Reads what [`Self::is_settled`] will.
    #[inline]
    pub(super) fn touch_entry(self, width: Width, number: u8) -> u32 {
        self.word(self.code_at(width, number))
    }

    /// The number of the run that a value falls into, from 1; 0 in an empty leaf.
    #[inline]
    pub(super) fn run(self, value: usize) -> usize {
        let word = value / 32;
        let up_to = self.word(word) & (u32::MAX >> (31 - value % 32));
        usize::from(self.byte(RANKS_AT, word)) + up_to.count_ones() as usize
    }

    /// What is known of a run: the number of the innermost prefix around all its values, 0 for
    /// none, or of the last of the longer ones that begin in its only value.
    #[inline]
    pub(super) fn answer(self, run: usize) -> u8 {
        self.byte(RUNS_AT, run.saturating_sub(1))
    }

    /// Whether an answer is that for an address too.
    #[inline]
    pub(super) fn is_settled<K: Key>(self, number: u8, rest: K) -> bool {
        number == 0 || self.code::<K>(number).contains(rest)
    }

    /// Goes from an answer on to the innermost prefix around an address: back to those that begin
    /// before it, and from there outwards.
    #[inline]
    pub(super) fn settle<K: Key>(self, mut number: u8, rest: K) -> u8 {
        while !self.is_settled(number, rest) {
            number = if self.code::<K>(number).begins_by(rest) {
                self.outer(number)
            } else {
                self.last_by(number - 1, rest)
            };
        }
        number
    }

    /// The number of the prefix around one, 0 for none.
    #[inline]
    pub(super) fn outer(self, number: u8) -> u8 {
        self.byte(usize::from(self.byte(PLACES_AT, 2)), usize::from(number.wrapping_sub(1)))
    }

    /// Whether more than one block has the CIDR with this number, and the first that has.
    #[inline]
    pub(super) fn group(self, width: Width, number: u8) -> (bool, &'a [BlockId]) {
        let first_at = self.code_at(width, number) + width.0;
        let is_shared = self.word(first_at - 1) & IS_SHARED != 0;
        (is_shared, self.line_word(first_at).map_or(&[], std::slice::from_ref))
    }

    /// Its entries, sorted. `above` has the bits that they share.
    pub(super) fn entries(
        self,
        width: Width,
        depth: u32,
        above: u128,
    ) -> impl Iterator<Item = Entry> + 'a {
        (1..=byte_of(self.len())).map(move |number| {
            let (start, last) = self.start_and_last(width, number);
            // The bit behind the last says how many there are.
            let len = depth + 127 - last.trailing_zeros();
            let prefix = Prefix { start: above | start >> depth, len };
            let (is_shared, first) = self.group(width, number);
            let first = first.first().copied().unwrap_or(BlockId(0));
            Entry { prefix, group: Group { first, is_shared } }
        })
    }

    /// Its lines without what comes behind them.
    pub(super) fn lines(self, width: Width) -> &'a [Line] {
        let words = self.entries_at() + self.len() * (width.0 + 1);
        self.0.get(..words.div_ceil(LINE_LEN)).unwrap_or_default()
    }

    fn len(self) -> usize {
        usize::from(self.byte(PLACES_AT, 0))
    }

    /// The last of the first so many prefixes that begins at `rest` or before it; 0 for none.
    fn last_by<K: Key>(self, among: u8, rest: K) -> u8 {
        // It is near the end more often than not.
        let (mut low, mut high, mut step) = (0, among, 1);
        while low < high {
            let middle = if step == 0 {
                low + (high - low).div_ceil(2)
            } else {
                high.saturating_sub(step - 1).max(low + 1)
            };
            if self.code::<K>(middle).begins_by(rest) {
                (low, step) = (middle, 0);
            } else {
                (high, step) = (middle - 1, if step == 0 { 0 } else { step.saturating_mul(2) });
            }
        }
        low
    }

    #[inline]
    fn code<K: Key>(self, number: u8) -> K {
        let at = self.code_at(K::WIDTH, number);
        K::code((at..at + K::WIDTH.0).map(|at| self.word(at)))
    }

    /// The bits of a prefix past the shared ones, and the bit behind the last.
    fn start_and_last(self, width: Width, number: u8) -> (u128, u128) {
        let at = self.code_at(width, number);
        let words = (at..at + width.0).map(|at| self.word(at));
        let code = words.fold(0, |code, word| code << 32 | u128::from(word));
        let code = (code & !u128::from(IS_SHARED)) << (128 - 32 * width.0);
        let start = code & code.wrapping_sub(1);
        (start, code ^ start)
    }

    #[inline]
    fn code_at(self, width: Width, number: u8) -> usize {
        self.entries_at() + usize::from(number.wrapping_sub(1)) * (width.0 + 1)
    }

    #[inline]
    fn entries_at(self) -> usize {
        usize::from(self.byte(PLACES_AT, 1))
    }

    #[inline]
    fn line_word(self, at: usize) -> Option<&'a BlockId> {
        self.0.get(at / LINE_LEN)?.0.get(at % LINE_LEN)
    }

    #[inline]
    fn word(self, at: usize) -> u32 {
        self.line_word(at).map_or(0, |word| word.0)
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
    for (&Entry { prefix, .. }, number) in entries.iter().zip(1..=u8::MAX) {
        while around.last().is_some_and(|(outer, _)| !outer.contains(prefix)) {
            around.pop();
        }
        outers.push(around.last().map_or(0, |(_, number)| *number));
        around.push((prefix, number));
        let first = prefix.byte(depth);
        let values = 1 << 8u32.saturating_sub(prefix.len - depth);
        answers.iter_mut().skip(first).take(values).for_each(|it| *it = number);
    }
    (answers, outers)
}

fn packed(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks(4).map(|four| four.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte)))
}

/// Where a leaf has a count or place as a byte, none is larger.
fn byte_of(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// One of the four words of `code`, the highest first.
fn word_of(code: u128, word: usize) -> u32 {
    u32::try_from(code >> (96 - 32 * word) & u128::from(u32::MAX)).unwrap_or(0)
}
