//! A network interface as seen from the current network namespace.
//!
//! Everything is asked by system call (getifaddrs, ethtool ioctls): files under /sys/class/net show the
//! namespace in which /sys was mounted, which need not be ours. A snapshot, not a subscription.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// What is known of an interface at the moment it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    name: String,
    index: u32,
    mac: [u8; 6],
    mtu: u32,
    up: bool,
    running: bool,
    rx_queue_count: u32,
    driver: String,
    addresses: Vec<IpAddr>,
}

impl Interface {
    /// Reads an interface of the current network namespace.
    ///
    /// # Errors
    /// [`InterfaceError`] if there is none of that name or the kernel does not tell.
    pub fn open(name: &str) -> Result<Self, InterfaceError> {
        let failed = |source: io::Error| InterfaceError::Kernel { name: name.to_owned(), source };
        let index =
            if_nametoindex(name).map_err(|_| InterfaceError::Missing { name: name.to_owned() })?;
        let control = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
            .map_err(|error| failed(error.into()))?;
        let mut interface = Self {
            name: name.to_owned(),
            index,
            mac: [0; 6],
            mtu: mtu(&control, name).map_err(failed)?,
            up: false,
            running: false,
            rx_queue_count: rx_queue_count(&control, name),
            driver: driver(&control, name),
            addresses: Vec::new(),
        };
        for entry in getifaddrs().map_err(|error| failed(error.into()))? {
            if entry.interface_name != name {
                continue;
            }
            interface.up = entry.flags.contains(InterfaceFlags::IFF_UP);
            interface.running = entry.flags.contains(InterfaceFlags::IFF_RUNNING);
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

    /// True if it is set up and can carry frames: a cable is plugged in.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Number of receive queues in use. Read it again after attaching the gate: virtio-net adds some.
    #[must_use]
    pub fn rx_queue_count(&self) -> u32 {
        self.rx_queue_count
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

/// `struct ethtool_channels` of linux/ethtool.h.
#[repr(C)]
#[derive(Default)]
struct EthtoolChannels {
    cmd: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx_count: u32,
    tx_count: u32,
    other_count: u32,
    combined_count: u32,
}

/// The head of `struct ethtool_drvinfo`, with room for its tail.
#[repr(C)]
struct EthtoolDriver {
    cmd: u32,
    driver: [u8; 32],
    rest: [u8; 196 - 36],
}

const ETHTOOL_GDRVINFO: u32 = 0x0000_0003;
const ETHTOOL_GCHANNELS: u32 = 0x0000_003c;

fn mtu(control: &OwnedFd, name: &str) -> io::Result<u32> {
    let mut request = request_for(name);
    // SAFETY: SIOCGIFMTU fills the integer of the request, which is ours.
    let mtu = unsafe {
        check(libc::ioctl(control.as_raw_fd(), libc::SIOCGIFMTU, &raw mut request))?;
        request.ifr_ifru.ifru_mtu
    };
    Ok(u32::try_from(mtu).unwrap_or(0))
}

/// Receive queues in use; 1 for a driver that does not tell.
fn rx_queue_count(control: &OwnedFd, name: &str) -> u32 {
    let mut channels = EthtoolChannels { cmd: ETHTOOL_GCHANNELS, ..EthtoolChannels::default() };
    match ethtool(control, name, (&raw mut channels).cast()) {
        Ok(()) => (channels.rx_count + channels.combined_count).max(1),
        Err(_) => 1,
    }
}

fn driver(control: &OwnedFd, name: &str) -> String {
    let mut info = EthtoolDriver { cmd: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    if ethtool(control, name, (&raw mut info).cast()).is_err() {
        return String::new();
    }
    let text = info.driver.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// One ethtool command. `command` points to the command's own structure, which starts with its number.
fn ethtool(control: &OwnedFd, name: &str, command: *mut libc::c_char) -> io::Result<()> {
    let mut request = request_for(name);
    request.ifr_ifru.ifru_data = command;
    // SAFETY: the callers pass the structure that belongs to the command it starts with; it lives
    // through the call.
    check(unsafe { libc::ioctl(control.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) })
}

fn request_for(name: &str) -> libc::ifreq {
    // SAFETY: an ifreq consists of integers and pointers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero; a longer name was refused by if_nametoindex.
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
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
    }
}
