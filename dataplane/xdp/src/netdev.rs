//! Questions to the kernel's network devices, over generic netlink (Linux 6.3).
//!
//! The family `netdev`: Documentation/netlink/specs/netdev.yaml of the kernel.

use std::io;

use nix::sys::socket::SockProtocol;

use crate::netlink::{Ask, Netlink, attribute, u16_at, write_attribute};

/// The family, as the running kernel numbers it.
pub(crate) struct Netdev {
    netlink: Netlink,
    family: u16,
}

impl Netdev {
    /// # Errors
    /// ENOENT from a kernel without the family, and what else it says.
    pub(crate) fn open() -> io::Result<Self> {
        let netlink = Netlink::open(SockProtocol::NetlinkGeneric)?;
        let mut question = command(CTRL_CMD_GETFAMILY);
        write_attribute(&mut question, CTRL_ATTR_FAMILY_NAME, b"netdev\0");
        let answer = netlink.ask(GENL_ID_CTRL, Ask::One, &question)?;
        let family = answer
            .iter()
            .find_map(|message| u16_at(attribute(message.get(4..)?, CTRL_ATTR_FAMILY_ID)?, 0))
            .ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { netlink, family })
    }

    /// Asks about an interface, whose number goes into `attribute`; returns the attributes of each
    /// message of the answer.
    pub(crate) fn ask(
        &self,
        number: u8,
        ask: Ask,
        attribute: u16,
        interface_index: u32,
    ) -> io::Result<Vec<Vec<u8>>> {
        let mut question = command(number);
        write_attribute(&mut question, attribute, &interface_index.to_ne_bytes());
        let answer = self.netlink.ask(self.family, ask, &question)?;
        Ok(answer.iter().filter_map(|message| Some(message.get(4..)?.to_vec())).collect())
    }
}

/// `struct genlmsghdr`: command, version, reserved.
fn command(number: u8) -> Vec<u8> {
    vec![number, 1, 0, 0]
}

// linux/genetlink.h
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
