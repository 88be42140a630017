//! The links of a network namespace, as rtnetlink(7) lists them.

use std::io;

use nix::sys::socket::SockProtocol;

use crate::gate::GateMode;
use crate::netlink::{Ask, Netlink, attribute, text, u16_at, u32_at};

/// A network interface, as the kernel's stack sees it. See [`crate::Ethtool`] for its driver's view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// The kernel's number for it.
    pub index: u32,
    /// What the kernel made it for: `veth`, `bridge`, `vlan`; empty for a device of a bus.
    pub kind: String,
    /// True if it carries Ethernet frames. The loopback does not count.
    pub ethernet: bool,
    /// True if it is set up.
    pub up: bool,
    /// The longest packet without the Ethernet header, in bytes.
    pub mtu: u32,
    /// How many ask that it take frames for all MAC addresses, not for its own only.
    pub promiscuity: u32,
    /// The XDP programs that it runs.
    pub programs: Vec<XdpProgram>,
}

/// An XDP program that an interface runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XdpProgram {
    /// The kernel's number for it.
    pub id: u32,
    /// How the interface runs it; none if the NIC itself does.
    pub mode: Option<GateMode>,
}

impl Link {
    /// All links of the current network namespace.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn all() -> io::Result<Vec<Self>> {
        // struct ifinfomsg of zeros: any family, any index.
        let answer = Netlink::open(SockProtocol::NetlinkRoute)?.ask(
            libc::RTM_GETLINK,
            Ask::List,
            &[0; 16],
        )?;
        Ok(answer.iter().filter_map(|message| read(message)).collect())
    }
}

/// A message of RTM_NEWLINK: `struct ifinfomsg`, then attributes.
fn read(message: &[u8]) -> Option<Link> {
    let (hardware, flags) = (u16_at(message, 2)?, u32_at(message, 8)?);
    let attributes = message.get(16..)?;
    let number = |it| attribute(attributes, it).and_then(|value| u32_at(value, 0));
    let kind = attribute(attributes, libc::IFLA_LINKINFO)
        .and_then(|info| attribute(info, IFLA_INFO_KIND))
        .map_or(String::new(), text);
    Some(Link {
        name: text(attribute(attributes, libc::IFLA_IFNAME)?),
        index: u32_at(message, 4)?,
        kind,
        ethernet: hardware == libc::ARPHRD_ETHER,
        up: flags & libc::IFF_UP.cast_unsigned() != 0,
        mtu: number(libc::IFLA_MTU)?,
        promiscuity: number(libc::IFLA_PROMISCUITY).unwrap_or(0),
        programs: attribute(attributes, IFLA_XDP).map_or(Vec::new(), programs),
    })
}

fn programs(xdp: &[u8]) -> Vec<XdpProgram> {
    [
        (IFLA_XDP_DRV_PROG_ID, Some(GateMode::Native)),
        (IFLA_XDP_SKB_PROG_ID, Some(GateMode::Generic)),
        (IFLA_XDP_HW_PROG_ID, None),
    ]
    .into_iter()
    .filter_map(|(number, mode)| {
        let id = u32_at(attribute(xdp, number)?, 0)?;
        Some(XdpProgram { id, mode })
    })
    .collect()
}

// linux/if_link.h
const IFLA_INFO_KIND: u16 = 1;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const IFLA_XDP_SKB_PROG_ID: u16 = 6;
const IFLA_XDP_HW_PROG_ID: u16 = 7;

#[cfg(test)]
mod tests {
    use sluice_lab::{Lab, VethOptions, root_or_skip};

    use super::*;
    use crate::netlink::write_attribute;

    #[test]
    fn the_links_of_a_namespace_are_listed() {
        if !root_or_skip() {
            return;
        }
        let lab = Lab::new("link").unwrap();
        let node = lab.namespace("node").unwrap();
        let options = VethOptions { mtu: 1400, up: false, ..VethOptions::default() };
        lab.veth(&node, "veth-a", &node, "veth-b", &options).unwrap();
        node.up("veth-a").unwrap();
        node.ip(&["link", "set", "veth-a", "promisc", "on"]).unwrap();
        let mut links = node.run(Link::all).unwrap().unwrap();
        links.sort_by(|one, other| one.name.cmp(&other.name));
        let [lo, a, b] = links.try_into().unwrap();
        assert_eq!((lo.name.as_str(), lo.ethernet, lo.up), ("lo", false, true));
        assert_eq!((a.name.as_str(), a.kind.as_str(), a.ethernet), ("veth-a", "veth", true));
        assert_eq!((a.up, a.mtu, a.promiscuity, b.up, b.promiscuity), (true, 1400, 1, false, 0));
        assert_eq!(a.programs, []);
    }

    #[test]
    fn programs_of_every_mode_are_read() {
        let mut xdp = Vec::new();
        // As the kernel writes it: the mode, then an id for each.
        write_attribute(&mut xdp, 2, &[4]);
        write_attribute(&mut xdp, IFLA_XDP_DRV_PROG_ID, &7_u32.to_ne_bytes());
        write_attribute(&mut xdp, IFLA_XDP_SKB_PROG_ID, &8_u32.to_ne_bytes());
        let expected = [
            XdpProgram { id: 7, mode: Some(GateMode::Native) },
            XdpProgram { id: 8, mode: Some(GateMode::Generic) },
        ];
        assert_eq!(programs(&xdp), expected);
    }

    #[test]
    fn a_message_that_is_cut_off_is_no_link() {
        assert_eq!(read(&[0; 16]), None);
        assert_eq!(read(&[0; 5]), None);
    }
}
