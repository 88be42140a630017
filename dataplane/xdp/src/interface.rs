//! A network interface as seen from the current network namespace.
//!
//! Everything is asked by system call (getifaddrs, ethtool ioctls, netlink): files under /sys/class/net show the
//! namespace in which /sys was mounted, which need not be ours. A snapshot, not a subscription.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::{InterfaceFlags, if_nametoindex};

use crate::ethtool::{Ethtool, check, request_for};
use crate::rx_queues::rx_queue_count;

/// What is known of an interface at the moment it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    name: String,
    index: u32,
    mac: [u8; 6],
    mtu: u32,
    up: bool,
    link_detected: bool,
    rx_queue_count: u32,
    rx_vlan_stripping: bool,
    driver: String,
    addresses: Vec<IpAddr>,
}

impl Interface {
    /// Reads an interface of the current network namespace.
    ///
    /// # Errors
    /// [`InterfaceError`] if there is none of that name or the kernel does not tell.
    pub fn open(name: &str) -> Result<Self, InterfaceError> {
        let failed = |source| InterfaceError::Kernel { name: name.to_owned(), source };
        Self::read(name, &addresses_by_name().map_err(failed)?)
    }

    /// Reads several at once, in their order: the addresses of all are listed only once.
    #[must_use]
    pub fn open_each(names: &[impl AsRef<str>]) -> Vec<Result<Self, InterfaceError>> {
        let names = names.iter().map(AsRef::as_ref);
        match addresses_by_name() {
            Ok(addresses) => names.map(|name| Self::read(name, &addresses)).collect(),
            // For each the error of its own, should it still be there.
            Err(_) => names.map(Self::open).collect(),
        }
    }

    fn read(name: &str, addresses: &AddressesByName) -> Result<Self, InterfaceError> {
        let failed = |source| InterfaceError::Kernel { name: name.to_owned(), source };
        let index =
            if_nametoindex(name).map_err(|_| InterfaceError::Missing { name: name.to_owned() })?;
        let ethtool = Ethtool::open(name).map_err(failed)?;
        let mut interface = Self {
            name: name.to_owned(),
            index,
            mac: [0; 6],
            mtu: mtu(&ethtool, name).map_err(failed)?,
            up: false,
            // A driver that does not tell is not held to be without a partner.
            link_detected: ethtool.link_detected().unwrap_or(true),
            rx_queue_count: match ethtool.channels().map(|it| it.rx_queue_count()) {
                Ok(count) if count > 0 => count,
                // One that is not counted gets no socket, and its frames are lost without a word.
                _ => rx_queue_count(index).map_err(failed)?.max(1),
            },
            // Every driver is asked by way of the kernel, which knows unless the interface has gone.
            rx_vlan_stripping: ethtool.offloads().map_err(failed)?.rx_vlan_stripping,
            driver: ethtool.driver().map_or(String::new(), |it| it.name),
            addresses: Vec::new(),
        };
        for entry in addresses.get(name).into_iter().flatten() {
            interface.up = entry.flags.contains(InterfaceFlags::IFF_UP);
            let Some(address) = entry.address else { continue };
            if let Some(v4) = address.as_sockaddr_in() {
                interface.addresses.push(v4.ip().into());
            } else if let Some(v6) = address.as_sockaddr_in6() {
                interface.addresses.push(v6.ip().into());
            } else if let Some(mac) = address.as_link_addr().and_then(|link| link.addr()) {
                interface.mac = mac;
            }
        }
        Ok(interface)
    }

    /// Whether it is the same interface in the same shape as at another look, whatever its link and
    /// addresses.
    #[must_use]
    pub fn is_shaped_as(&self, other: &Self) -> bool {
        let shape =
            |it: &Self| (it.index, it.mac, it.mtu, it.up, it.rx_queue_count, it.rx_vlan_stripping);
        shape(self) == shape(other)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kernel's number for it, unique within the namespace.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Its MAC address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// The longest packet without the Ethernet header, in bytes.
    #[must_use]
    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    /// True if it is set up (which does not mean that a cable is plugged in).
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// True if the device sees a partner: a cable with somebody at its end, a veth peer that is up.
    #[must_use]
    pub fn link_detected(&self) -> bool {
        self.link_detected
    }

    /// Number of receive queues in use. Read it again after attaching the gate: virtio-net adds some.
    #[must_use]
    pub fn rx_queue_count(&self) -> u32 {
        self.rx_queue_count
    }

    /// True if VLAN tags are taken out of frames before XDP sees them, and lost.
    ///
    /// True of a veth too, where it means nothing: a frame bears its tag if the other end has written it
    /// there, which it does only with `ethtool -K PEER txvlan off`.
    #[must_use]
    pub fn rx_vlan_stripping(&self) -> bool {
        self.rx_vlan_stripping
    }

    /// Name of the driver; empty if it does not tell.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// True if its frames may carry unfinished TCP and UDP checksums, as veth frames do.
    #[must_use]
    pub fn partial_checksums(&self) -> bool {
        matches!(self.driver.as_str(), "veth" | "tun" | "virtio_net")
    }

    /// Its IPv4 and IPv6 addresses, link-local ones included.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }
}

type AddressesByName = HashMap<String, Vec<InterfaceAddress>>;

fn addresses_by_name() -> io::Result<AddressesByName> {
    let mut by_name = AddressesByName::new();
    for entry in getifaddrs()? {
        by_name.entry(entry.interface_name.clone()).or_default().push(entry);
    }
    Ok(by_name)
}

/// Why an interface was refused.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// There is none of that name.
    #[error(
        "interface {name} does not exist in this network namespace; `ip link` lists those that do"
    )]
    Missing {
        /// The name that was asked for.
        name: String,
    },
    /// The kernel does not tell about it.
    #[error("interface {name} cannot be read: {source}; check that it still exists")]
    Kernel {
        /// The name that was asked for.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
}

fn mtu(control: &Ethtool, name: &str) -> io::Result<u32> {
    let mut request = request_for(name);
    // SAFETY: SIOCGIFMTU fills the integer of the request, which is ours.
    let mtu = unsafe {
        check(libc::ioctl(control.as_raw_fd(), libc::SIOCGIFMTU, &raw mut request))?;
        request.ifr_ifru.ifru_mtu
    };
    Ok(u32::try_from(mtu).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_interface_is_named_with_a_remedy() {
        let text = Interface::open("no-such-if").unwrap_err().to_string();
        assert!(text.contains("no-such-if") && text.contains("ip link"), "{text}");
    }

    #[test]
    fn the_loopback_is_readable_without_privileges() {
        let lo = Interface::open("lo").unwrap();
        assert_eq!((lo.name(), lo.rx_queue_count(), lo.mac()), ("lo", 1, [0; 6]));
        assert!(lo.mtu() > 1000 && lo.index() > 0 && !lo.partial_checksums());
        assert!(lo.link_detected() && !lo.rx_vlan_stripping());
    }
}
