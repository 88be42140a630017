//! CIDRs of both families as the trie has them: bits from the left, and how many of them count.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::BlockId;
use super::leaf::{IS_SHARED, Width};

/// The leading bits of some addresses. Sorted, a prefix comes before those within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Prefix {
    /// From the highest bit on; 0 past the length.
    pub(super) start: u128,
    pub(super) len: u32,
}

/// The blocks with one CIDR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    /// The lowest of their numbers.
    pub(super) first: BlockId,
    /// Whether there are others, which are listed elsewhere.
    pub(super) is_shared: bool,
}

/// A prefix of a trie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) prefix: Prefix,
    pub(super) group: Group,
}

/// What is looked up: an address of a family, or what is left of it behind some leading bits. A
/// [`code`](super::leaf) of the family has the same type.
pub(super) trait Key: Copy {
    const WIDTH: Width;
    /// The lowest of all.
    const FIRST: Self;

    /// The 8 bits past the first `depth`.
    fn byte(self, depth: u32) -> usize;

    /// What is left past the first `depth` bits, from the highest bit on.
    fn rest(self, depth: u32) -> Self;

    /// All of it, from the highest bit on.
    fn bits(self) -> u128;

    /// The code in these words.
    fn code(words: impl Iterator<Item = u32>) -> Self;

    /// Whether this code's prefix begins at `rest` or before it.
    fn begins_by(self, rest: Self) -> bool;

    /// Whether this code's prefix contains `rest`.
    fn contains(self, rest: Self) -> bool;
}

macro_rules! key {
    ($of:ty, $width:expr) => {
        impl Key for $of {
            const WIDTH: Width = $width;
            const FIRST: Self = 0;

            #[inline]
            fn byte(self, depth: u32) -> usize {
                // Past the last bit nothing is looked up.
                let shift = (<$of>::BITS - 8).wrapping_sub(depth);
                (self.wrapping_shr(shift) & 0xff) as usize
            }

            #[inline]
            fn rest(self, depth: u32) -> Self {
                self.wrapping_shl(depth)
            }

            #[inline]
            fn bits(self) -> u128 {
                u128::from(self) << (u128::BITS - <$of>::BITS)
            }

            #[inline]
            fn code(words: impl Iterator<Item = u32>) -> Self {
                let code: Self = words.fold(0, |code: Self, word| {
                    code.checked_shl(u32::BITS).unwrap_or(0) | Self::from(word)
                });
                code & !Self::from(IS_SHARED)
            }

            #[inline]
            fn begins_by(self, rest: Self) -> bool {
                self & self.wrapping_sub(1) <= rest
            }

            #[inline]
            fn contains(self, rest: Self) -> bool {
                // The lowest bit is the one behind the last; all above it count.
                (self ^ rest) & !(self ^ self.wrapping_sub(1)) == 0
            }
        }
    };
}

key!(u32, Width::V4);
key!(u128, Width::V6);

impl Prefix {
    pub(super) fn of(net: IpNet) -> Self {
        let start = match net.network() {
            IpAddr::V4(v4) => v4.to_bits().bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        Self { start, len: net.prefix_len().into() }
    }

    /// As a CIDR; `None` only if it is none of that family.
    pub(super) fn net(self, is_v6: bool) -> Option<IpNet> {
        let address: IpAddr = if is_v6 {
            Ipv6Addr::from_bits(self.start).into()
        } else {
            Ipv4Addr::from_bits(u32::try_from(self.start >> 96).ok()?).into()
        };
        IpNet::new(address, u8::try_from(self.len).ok()?).ok()
    }

    pub(super) fn contains(self, other: Self) -> bool {
        let differ = (self.start ^ other.start).checked_shr(128 - self.len).unwrap_or(0);
        self.len <= other.len && differ == 0
    }

    /// The 8 bits past the first `depth`.
    pub(super) fn byte(self, depth: u32) -> usize {
        self.start.byte(depth)
    }
}
