//! The bytes of a packet, in the pieces of memory that it lies in.
//!
//! A packet that is longer than a chunk of packet memory comes in several pieces. Its headers are
//! read from the first one, the head; what is summed up or walked over goes on in the tail. A packet
//! in one piece is a head without a tail, and costs no more than a slice.

/// The bytes of a packet: the first piece, and those behind it.
#[derive(Debug, Clone, Copy)]
pub struct Pieces<'a> {
    head: &'a [u8],
    tail: &'a [&'a [u8]],
    // Invariant: at least the head's, at most that of head and tail together. What is behind it is
    // not part of the packet.
    len: usize,
}

impl<'a> Pieces<'a> {
    /// A packet of a first piece and those behind it, in their order.
    #[must_use]
    pub fn new(head: &'a [u8], tail: &'a [&'a [u8]]) -> Self {
        let len = head.len() + tail.iter().map(|piece| piece.len()).sum::<usize>();
        Self { head, tail, len }
    }

    /// The first piece.
    #[inline]
    #[must_use]
    pub fn head(&self) -> &'a [u8] {
        self.head
    }

    /// The length of all pieces together, in bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes at all.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the head holds all bytes.
    #[inline]
    pub(crate) fn is_one(&self) -> bool {
        self.head.len() == self.len
    }

    /// What begins at `offset`; `None` if that is behind the head.
    #[inline]
    pub(crate) fn starting_at(&self, offset: usize) -> Option<Self> {
        let head = self.head.get(offset..)?;
        Some(Self { head, tail: self.tail, len: self.len - offset })
    }

    /// The `len` bytes from `offset` on; `None` if that is behind the head, or they are not there.
    #[inline]
    pub(crate) fn within(&self, offset: usize, len: usize) -> Option<Self> {
        if self.is_one() {
            return self.head.get(offset..offset + len).map(Self::from);
        }
        self.within_several(offset, len)
    }

    #[cold]
    fn within_several(&self, offset: usize, len: usize) -> Option<Self> {
        let Self { head, tail, len: there } = self.starting_at(offset)?;
        if len > there {
            return None;
        }
        Some(Self { head: head.get(..len).unwrap_or(head), tail, len })
    }

    /// The four bytes at `offset`, wherever they lie.
    #[inline]
    pub(crate) fn four_at(&self, offset: usize) -> Option<[u8; 4]> {
        match self.head.get(offset..).and_then(|rest| rest.first_chunk::<4>()) {
            Some(four) => Some(*four),
            None if self.is_one() => None,
            None => self.four_behind(offset),
        }
    }

    #[cold]
    fn four_behind(&self, offset: usize) -> Option<[u8; 4]> {
        let mut four = [0; 4];
        let (mut skip, mut found) = (offset, 0);
        for piece in self.iter() {
            let bytes = piece.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(piece.len());
            for (to, from) in four.iter_mut().skip(found).zip(bytes) {
                *to = *from;
                found += 1;
            }
        }
        (found == four.len()).then_some(four)
    }

    /// The pieces in their order, up to the packet's end.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut left = self.len;
        std::iter::once(self.head).chain(self.tail.iter().copied()).map(move |piece| {
            let piece = piece.get(..left).unwrap_or(piece);
            left -= piece.len();
            piece
        })
    }
}

impl<'a> From<&'a [u8]> for Pieces<'a> {
    #[inline]
    fn from(head: &'a [u8]) -> Self {
        Self { head, tail: &[], len: head.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_across_pieces_and_not_behind_the_end() {
        let bytes: Vec<u8> = (0..20).collect();
        for first in 0..=20 {
            for second in first..=20 {
                let tail = [&bytes[first..second], &bytes[second..]];
                let pieces = Pieces::new(&bytes[..first], &tail);
                assert_eq!((pieces.len(), pieces.head().len()), (20, first));
                assert_eq!(pieces.iter().flatten().copied().collect::<Vec<_>>(), bytes);
                for offset in 0..=24 {
                    let four = bytes.get(offset..offset + 4);
                    assert_eq!(pieces.four_at(offset).as_ref().map(|it| &it[..]), four);
                }
            }
        }
    }

    #[test]
    fn a_part_ends_where_it_should() {
        let bytes: Vec<u8> = (0..20).collect();
        let tail = [&bytes[8..12], &bytes[12..]];
        let pieces = Pieces::new(&bytes[..8], &tail);
        for (offset, len) in [(0, 20), (3, 2), (3, 5), (3, 6), (8, 12), (8, 4), (5, 0)] {
            let part = pieces.within(offset, len).unwrap();
            assert_eq!(part.len(), len);
            let all: Vec<u8> = part.iter().flatten().copied().collect();
            assert_eq!(all, bytes[offset..offset + len]);
            assert_eq!(part.four_at(len.saturating_sub(3)), None);
        }
        assert!(pieces.within(9, 1).is_none(), "it begins behind the head");
        assert!(pieces.within(3, 18).is_none(), "there is less");
    }
}
