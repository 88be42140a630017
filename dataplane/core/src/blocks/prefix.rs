//! CIDRs of both families as the trie has them: bits from the left, and how many of them count.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::BlockId;
use super::leaf::Width;

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

/// What is looked up: an address of a family.
pub(super) trait Key: Copy {
    const WIDTH: Width;

    /// The 8 bits past the first `depth`.
    fn byte(self, depth: u32) -> usize;
    /// All of it, from the highest bit on.
    fn bits(self) -> u128;
}

impl Key for u32 {
    const WIDTH: Width = Width::V4;

    #[inline]
    fn byte(self, depth: u32) -> usize {
        const BYTE: u32 = 0xff;
        ((self >> (24 - depth)) & BYTE) as usize
    }

    #[inline]
    fn bits(self) -> u128 {
        u128::from(self) << 96
    }
}

impl Key for u128 {
    const WIDTH: Width = Width::V6;

    #[inline]
    fn byte(self, depth: u32) -> usize {
        usize::from(((self >> (120 - depth)) & 0xff) as u8)
    }

    #[inline]
    fn bits(self) -> u128 {
        self
    }
}

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
