//! What a driver can do with XDP and AF_XDP, as the kernel tells since Linux 6.3.

use std::io;

use crate::netdev::Netdev;
use crate::netlink::{Ask, attribute, u32_at, u64_at};

/// What a driver can do, on one interface and as it is configured at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct XdpFeatures {
    /// Runs XDP programs in the driver.
    pub native: bool,
    /// Frames may leave for a socket.
    pub redirect: bool,
    /// AF_XDP sockets can be bound without copies.
    pub zero_copy: bool,
    /// Frames may consist of several buffers, for a program that knows of them.
    pub multi_buffer: bool,
    /// Segments that a frame may have on a zero-copy socket; 0 where the kernel does not tell.
    pub zero_copy_segments_max: u32,
}

/// Asks about an interface of the current network namespace.
///
/// # Errors
/// ENOENT from a kernel without the family, ENODEV without the interface, and what else it says.
pub fn xdp_features(interface_index: u32) -> io::Result<XdpFeatures> {
    let answer =
        Netdev::open()?.ask(NETDEV_CMD_DEV_GET, Ask::One, NETDEV_A_DEV_IFINDEX, interface_index)?;
    let features = answer.iter().find_map(|attributes| read(attributes));
    features.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn read(attributes: &[u8]) -> Option<XdpFeatures> {
    let bits = u64_at(attribute(attributes, NETDEV_A_DEV_XDP_FEATURES)?, 0)?;
    let segments = attribute(attributes, NETDEV_A_DEV_XDP_ZC_MAX_SEGS);
    let has = |bit: u32| bits & (1 << bit) != 0;
    Some(XdpFeatures {
        native: has(0),
        redirect: has(1),
        zero_copy: has(3),
        multi_buffer: has(5),
        zero_copy_segments_max: segments.and_then(|value| u32_at(value, 0)).unwrap_or(0),
    })
}

// linux/netdev.h
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NETDEV_A_DEV_XDP_ZC_MAX_SEGS: u16 = 4;

#[cfg(test)]
mod tests {
    use nix::net::if_::if_nametoindex;
    use sluice_lab::{Lab, VethOptions, root_or_skip};

    use super::*;
    use crate::netlink::write_attribute;

    #[test]
    fn features_are_read_from_the_kernels_answer() {
        let mut message = Vec::new();
        write_attribute(&mut message, NETDEV_A_DEV_IFINDEX, &4_u32.to_ne_bytes());
        write_attribute(&mut message, NETDEV_A_DEV_XDP_FEATURES, &0b10_1011_u64.to_ne_bytes());
        write_attribute(&mut message, NETDEV_A_DEV_XDP_ZC_MAX_SEGS, &8_u32.to_ne_bytes());
        let expected = XdpFeatures {
            native: true,
            redirect: true,
            zero_copy: true,
            multi_buffer: true,
            zero_copy_segments_max: 8,
        };
        assert_eq!(read(&message), Some(expected));
        assert_eq!(read(&message[..12]), None);
    }

    #[test]
    fn a_veth_runs_programs_and_has_no_zero_copy() {
        if !root_or_skip() {
            return;
        }
        let lab = Lab::new("features").unwrap();
        let node = lab.namespace("node").unwrap();
        lab.veth(&node, "veth-a", &node, "veth-b", &VethOptions::default()).unwrap();
        let ask = || xdp_features(if_nametoindex("veth-a").unwrap());
        match node.run(ask).unwrap() {
            Ok(features) => assert!(features.native && !features.zero_copy, "{features:?}"),
            // Before Linux 6.3.
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOENT)),
        }
    }
}
