//! Addresses that are not IP's: MAC addresses and the network that an address is valid on.

use std::fmt;
use std::str::FromStr;

/// An Ethernet address (IEEE 802-2014, 8.2), in the order of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mac(pub [u8; 6]);

/// The number of a network, an L2 domain. Equal IP addresses on two networks are strangers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NetworkId(pub u16);

impl Mac {
    /// The address of everybody.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether a frame to this address is meant for more than one station.
    #[inline]
    #[must_use]
    pub fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl NetworkId {
    /// The network of all ports that name no other.
    pub const DEFAULT: Self = Self(0);
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The text is not six pairs of hexadecimal digits joined by colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MacSyntaxError;

impl fmt::Display for MacSyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a MAC address: want six pairs of hexadecimal digits, as 02:00:00:00:00:0a")
    }
}

impl std::error::Error for MacSyntaxError {}

impl FromStr for Mac {
    type Err = MacSyntaxError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0u8; 6];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().filter(|pair| pair.len() == 2).ok_or(MacSyntaxError)?;
            if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(MacSyntaxError);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| MacSyntaxError)?;
        }
        if pairs.next().is_some() { Err(MacSyntaxError) } else { Ok(Self(bytes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_reads_as_it_writes() {
        let mac: Mac = "02:00:5e:0A:00:ff".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:5e:0a:00:ff");
        for wrong in
            ["", "02:00:5e:0a:00", "02:00:5e:0a:00:ff:00", "02:00:5e:0a:0:fff", "+2:00:00:00:00:00"]
        {
            assert_eq!(wrong.parse::<Mac>(), Err(MacSyntaxError), "{wrong}");
        }
    }
}
