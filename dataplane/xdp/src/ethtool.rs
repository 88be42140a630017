//! What a driver tells of its NIC: offloads, rings, channels, how it spreads flows over queues.
//!
//! The ioctl SIOCETHTOOL (linux/ethtool.h) works without privileges for all that is read here, and in
//! the network namespace in which the [`Ethtool`] was opened. Drivers leave out what they like: each
//! question has an answer of its own, and EOPNOTSUPP is one that must be reckoned with.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Asks the driver of one interface. Every answer is of the moment.
#[derive(Debug)]
pub struct Ethtool {
    control: OwnedFd,
    name: String,
}

/// Which driver an interface has, and where its device is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Driver {
    /// Its name: `i40e`, `mlx5_core`, `virtio_net`, `veth`.
    pub name: String,
    /// Its version; for drivers of the kernel's tree mostly that of the kernel.
    pub version: String,
    /// The device's firmware; empty for devices without.
    pub firmware: String,
    /// The device's address on its bus, `0000:3b:00.0` for PCI; empty for devices without.
    pub bus_address: String,
}

/// Which offloads are on. What a driver does not know is off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offloads {
    /// The NIC takes the VLAN tag out of a received frame: XDP does not see it.
    pub rx_vlan_stripping: bool,
    /// The NIC puts VLAN tags into frames that it sends.
    pub tx_vlan_insertion: bool,
    /// The NIC makes one packet of several TCP segments (large receive offload).
    pub lro: bool,
    /// The kernel makes one packet of several segments (generic receive offload).
    pub gro: bool,
    /// The kernel hands over TCP packets that are longer than the MTU, for the NIC to split.
    pub tso: bool,
    /// The kernel keeps packets longer than the MTU until the driver is about to send them.
    pub gso: bool,
    /// The NIC verifies checksums of what it receives.
    pub rx_checksum: bool,
    /// The NIC completes checksums of what it sends.
    pub tx_checksum: bool,
    /// The NIC tells the hash by which it chose the queue.
    pub rx_hash: bool,
}

/// Descriptors in each ring of the NIC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RingSizes {
    /// In each receive ring at present.
    pub rx: u32,
    /// The most that a receive ring can have.
    pub rx_max: u32,
    /// In each transmit ring at present.
    pub tx: u32,
    /// The most that a transmit ring can have.
    pub tx_max: u32,
}

/// Channels of the NIC: an interrupt with the queues that it serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Channels {
    /// With a receive queue only.
    pub rx: u32,
    /// With a transmit queue only.
    pub tx: u32,
    /// With neither, for link changes and the like.
    pub other: u32,
    /// With one of each.
    pub combined: u32,
    /// The most with a receive queue only.
    pub rx_max: u32,
    /// The most with a transmit queue only.
    pub tx_max: u32,
    /// The most with neither.
    pub other_max: u32,
    /// The most with one of each.
    pub combined_max: u32,
}

impl Channels {
    /// Receive queues in use.
    #[must_use]
    pub fn rx_queue_count(&self) -> u32 {
        self.rx.saturating_add(self.combined)
    }
}

/// How many entries of the RSS indirection table lead to each queue, by queue.
///
/// A queue that is not in it gets no flows by hash, only what a filter sends there.
pub type RssTable = BTreeMap<u32, u32>;

impl Ethtool {
    /// Gets ready to ask about an interface of the current network namespace, which need not exist.
    ///
    /// # Errors
    /// If no socket can be opened or the name is longer than names of interfaces can be.
    pub fn open(name: &str) -> io::Result<Self> {
        if name.len() >= libc::IFNAMSIZ {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let control =
            socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        Ok(Self { control, name: name.to_owned() })
    }

    /// The driver, its firmware and the device's bus address.
    ///
    /// # Errors
    /// What the kernel said; EOPNOTSUPP for interfaces without a driver that tells, such as `lo`.
    pub fn driver(&self) -> io::Result<Driver> {
        let words: [u32; DRIVER_WORDS] = self.ask(GDRVINFO)?;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        // The command's number, then names of 32 bytes each.
        let text = |place: usize| {
            let field = bytes.iter().skip(4 + 32 * place).take(32);
            let text: Vec<u8> = field.copied().take_while(|byte| *byte != 0).collect();
            String::from_utf8_lossy(&text).into_owned()
        };
        let firmware = text(2);
        Ok(Driver {
            name: text(0),
            version: text(1),
            // Some drivers say so in words.
            firmware: if firmware == "N/A" { String::new() } else { firmware },
            bus_address: text(3),
        })
    }

    /// Which offloads are on.
    ///
    /// # Errors
    /// What the kernel said, if there is no such interface.
    pub fn offloads(&self) -> io::Result<Offloads> {
        let flags = self.value(GFLAGS)?;
        let on = |command| self.value(command).is_ok_and(|value| value != 0);
        Ok(Offloads {
            rx_vlan_stripping: flags & FLAG_RXVLAN != 0,
            tx_vlan_insertion: flags & FLAG_TXVLAN != 0,
            lro: flags & FLAG_LRO != 0,
            rx_hash: flags & FLAG_RXHASH != 0,
            gro: on(GGRO),
            tso: on(GTSO),
            gso: on(GGSO),
            rx_checksum: on(GRXCSUM),
            tx_checksum: on(GTXCSUM),
        })
    }

    /// Sizes of the NIC's rings.
    ///
    /// # Errors
    /// What the kernel said; EOPNOTSUPP for drivers whose rings cannot be sized.
    pub fn ring_sizes(&self) -> io::Result<RingSizes> {
        let [_, rx_max, _, _, tx_max, rx, _, _, tx] = self.ask(GRINGPARAM)?;
        Ok(RingSizes { rx, rx_max, tx, tx_max })
    }

    /// The NIC's channels.
    ///
    /// # Errors
    /// What the kernel said; EOPNOTSUPP for most drivers with a single queue, and some with several.
    pub fn channels(&self) -> io::Result<Channels> {
        let [_, rx_max, tx_max, other_max, combined_max, rx, tx, other, combined] =
            self.ask(GCHANNELS)?;
        Ok(Channels { rx, tx, other, combined, rx_max, tx_max, other_max, combined_max })
    }

    /// How the RSS indirection table spreads flows over queues.
    ///
    /// # Errors
    /// What the kernel said; EOPNOTSUPP for drivers without the table.
    pub fn rss_table(&self) -> io::Result<RssTable> {
        // With room for no entry, the kernel tells only how many there are.
        let [_, size] = self.ask(GRXFHINDIR)?;
        let size = size.min(RSS_ENTRIES_MAX);
        let mut words = vec![0; 2 + size as usize];
        if let [command, room, ..] = words.as_mut_slice() {
            (*command, *room) = (GRXFHINDIR, size);
        }
        // SAFETY: the kernel writes no more entries than the room that the command tells of.
        unsafe { self.ask_into(&mut words)? };
        let mut table = RssTable::new();
        for queue in words.into_iter().skip(2) {
            *table.entry(queue).or_default() += 1;
        }
        Ok(table)
    }

    /// True if the device sees a partner: a cable with somebody at its end.
    ///
    /// # Errors
    /// What the kernel said; ENODEV if there is no such interface.
    pub fn link_detected(&self) -> io::Result<bool> {
        Ok(self.value(GLINK)? != 0)
    }

    fn value(&self, command: u32) -> io::Result<u32> {
        let [_, value] = self.ask(command)?;
        Ok(value)
    }

    /// One command of fixed size; the answer starts with the command's number.
    fn ask<const WORDS: usize>(&self, command: u32) -> io::Result<[u32; WORDS]> {
        let mut words = [0; WORDS];
        if let Some(first) = words.first_mut() {
            *first = command;
        }
        // SAFETY: the callers, all above, name as many words as the command's structure has.
        unsafe { self.ask_into(&mut words)? };
        Ok(words)
    }

    /// One command. Every structure of those used here is made of 32 bit words or of text.
    ///
    /// # Safety
    /// `words` starts with a command's number and is no shorter than what the kernel writes for it.
    unsafe fn ask_into(&self, words: &mut [u32]) -> io::Result<()> {
        let mut request = request_for(&self.name);
        request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
        // SAFETY: the words outlive the call, and are enough by the caller's word.
        check(unsafe { libc::ioctl(self.control.as_raw_fd(), SIOCETHTOOL, &raw mut request) })
    }
}

impl AsRawFd for Ethtool {
    fn as_raw_fd(&self) -> RawFd {
        self.control.as_raw_fd()
    }
}

/// A request about the interface of that name, which is shorter than IFNAMSIZ.
pub(crate) fn request_for(name: &str) -> libc::ifreq {
    // SAFETY: an ifreq consists of integers and pointers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request
}

pub(crate) fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

// linux/ethtool.h
const SIOCETHTOOL: libc::Ioctl = libc::SIOCETHTOOL as libc::Ioctl;
const GDRVINFO: u32 = 0x03;
const GLINK: u32 = 0x0a;
const GRINGPARAM: u32 = 0x10;
const GRXCSUM: u32 = 0x14;
const GTXCSUM: u32 = 0x16;
const GTSO: u32 = 0x1e;
const GGSO: u32 = 0x23;
const GFLAGS: u32 = 0x25;
const GGRO: u32 = 0x2b;
const GRXFHINDIR: u32 = 0x38;
const GCHANNELS: u32 = 0x3c;
const FLAG_TXVLAN: u32 = 1 << 7;
const FLAG_RXVLAN: u32 = 1 << 8;
const FLAG_LRO: u32 = 1 << 15;
const FLAG_RXHASH: u32 = 1 << 28;

/// Length of `struct ethtool_drvinfo`.
const DRIVER_WORDS: usize = 196 / 4;

/// More entries than any NIC's table has.
const RSS_ENTRIES_MAX: u32 = 1 << 16;

#[cfg(test)]
mod tests {
    use sluice_lab::{Lab, VethOptions, root_or_skip};

    use super::*;

    #[test]
    fn the_loopback_answers_what_it_knows() {
        let lo = Ethtool::open("lo").unwrap();
        assert!(lo.link_detected().unwrap());
        let offloads = lo.offloads().unwrap();
        assert!(!offloads.lro && !offloads.rx_vlan_stripping && offloads.tso, "{offloads:?}");
        for refusal in
            [lo.ring_sizes().map(drop), lo.rss_table().map(drop), lo.channels().map(drop)]
        {
            assert_eq!(refusal.unwrap_err().raw_os_error(), Some(libc::EOPNOTSUPP));
        }
    }

    #[test]
    fn a_missing_interface_and_an_impossible_name_are_refused() {
        let missing = Ethtool::open("no-such-if").unwrap();
        assert_eq!(missing.offloads().unwrap_err().raw_os_error(), Some(libc::ENODEV));
        // Sixteen bytes would lose the last, and ask about another interface.
        let error = Ethtool::open("sixteen-bytes-16").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_veth_tells_its_channels_and_offloads() {
        if !root_or_skip() {
            return;
        }
        let lab = Lab::new("ethtool").unwrap();
        let node = lab.namespace("node").unwrap();
        let options = VethOptions { queues: 3, ..VethOptions::default() };
        lab.veth(&node, "veth-a", &node, "veth-b", &options).unwrap();
        node.run(|| {
            let veth = Ethtool::open("veth-a").unwrap();
            let driver = veth.driver().unwrap();
            assert_eq!((driver.name.as_str(), driver.bus_address.as_str()), ("veth", ""));
            assert_eq!(driver.firmware, "");
            let channels = veth.channels().unwrap();
            assert_eq!((channels.rx_queue_count(), channels.rx_max), (3, 3), "{channels:?}");
            assert!(veth.offloads().unwrap().tx_checksum && veth.link_detected().unwrap());
        })
        .unwrap();
        node.down("veth-b").unwrap();
        let link = node.run(|| Ethtool::open("veth-a").unwrap().link_detected().unwrap()).unwrap();
        assert!(!link, "a peer that is down is no partner");
    }
}
