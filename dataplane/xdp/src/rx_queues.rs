//! How many receive queues an interface has, where its driver does not tell of channels.

use std::io;

use nix::sys::socket::SockProtocol;

use crate::netdev::Netdev;
use crate::netlink::{Ask, Netlink, attribute, u32_at};

/// Receive queues of an interface of the current network namespace: those in use, or, where the kernel
/// tells no more (before Linux 6.8, or while it is down), those that it may come to use.
///
/// # Errors
/// What the kernel said, if it does not tell either.
pub(crate) fn rx_queue_count(interface_index: u32) -> io::Result<u32> {
    match in_use(interface_index) {
        Ok(count) if count > 0 => Ok(count),
        _ => made(interface_index),
    }
}

/// As `netdev` lists them, which is none for an interface that is down.
fn in_use(interface_index: u32) -> io::Result<u32> {
    let answer = Netdev::open()?.ask(
        NETDEV_CMD_QUEUE_GET,
        Ask::List,
        NETDEV_A_QUEUE_IFINDEX,
        interface_index,
    )?;
    let kind = |queue: &[u8]| u32_at(attribute(queue, NETDEV_A_QUEUE_TYPE)?, 0);
    let count = answer.iter().filter(|queue| kind(queue) == Some(NETDEV_QUEUE_TYPE_RX)).count();
    u32::try_from(count).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// As many as the driver has made.
fn made(interface_index: u32) -> io::Result<u32> {
    // struct ifinfomsg: any family and type, then the index.
    let mut question = [0; 16];
    question[4..8].copy_from_slice(&interface_index.to_ne_bytes());
    let answer =
        Netlink::open(SockProtocol::NetlinkRoute)?.ask(libc::RTM_GETLINK, Ask::One, &question)?;
    let count =
        |message: &Vec<u8>| u32_at(attribute(message.get(16..)?, libc::IFLA_NUM_RX_QUEUES)?, 0);
    answer.iter().find_map(count).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

// linux/netdev.h
const NETDEV_CMD_QUEUE_GET: u8 = 10;
const NETDEV_A_QUEUE_IFINDEX: u16 = 2;
const NETDEV_A_QUEUE_TYPE: u16 = 3;
const NETDEV_QUEUE_TYPE_RX: u32 = 0;

#[cfg(test)]
mod tests {
    use nix::net::if_::if_nametoindex;
    use sluice_lab::{Lab, VethOptions, root_or_skip};

    use super::*;
    use crate::{Ethtool, Interface};

    #[test]
    fn queues_are_counted_where_the_driver_does_not_tell() {
        if !root_or_skip() {
            return;
        }
        let lab = Lab::new("rx-queues").unwrap();
        let node = lab.namespace("node").unwrap();
        let ifb = ["link", "add", "ifb-a", "numtxqueues", "4", "numrxqueues", "4", "type", "ifb"];
        if let Err(error) = node.ip(&ifb) {
            eprintln!("skipped: this kernel has no ifb, which tells of no channels: {error}");
            return;
        }
        let count = || Interface::open("ifb-a").unwrap().rx_queue_count();
        assert!(node.run(|| Ethtool::open("ifb-a").unwrap().channels()).unwrap().is_err());
        assert_eq!(node.run(count).unwrap(), 4, "while it is down");
        node.up("ifb-a").unwrap();
        assert_eq!(node.run(count).unwrap(), 4, "while it is up");
    }

    #[test]
    fn queues_in_use_are_told_from_those_that_were_made() {
        if !root_or_skip() {
            return;
        }
        let lab = Lab::new("rx-queues").unwrap();
        let node = lab.namespace("node").unwrap();
        let options = VethOptions { queues: 4, ..VethOptions::default() };
        lab.veth(&node, "veth-a", &node, "veth-b", &options).unwrap();
        assert!(node.command("ethtool", &["-L", "veth-a", "rx", "3"]).unwrap().status.success());
        let index = || if_nametoindex("veth-a").unwrap();
        assert_eq!(node.run(|| made(index())).unwrap().unwrap(), 4);
        match node.run(|| in_use(index())).unwrap() {
            Ok(count) => assert_eq!(count, 3),
            // Before Linux 6.8.
            Err(error) => eprintln!("skipped in part: this kernel lists no queues: {error}"),
        }
        node.down("veth-a").unwrap();
        assert_eq!(node.run(|| rx_queue_count(index())).unwrap().unwrap(), 4);
    }
}
