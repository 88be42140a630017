//! The AF_XDP sockets of the network namespace, of whatever process.

use std::io;

use nix::sys::socket::SockProtocol;

use crate::netlink::{Ask, Netlink, attribute, u32_at};
use crate::socket::open_socket;

/// An AF_XDP socket that is bound to a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XdpSocket {
    /// The interface, by the kernel's number.
    pub interface_index: u32,
    /// The queue.
    pub queue_id: u32,
    /// Whether frames pass without a copy.
    pub zero_copy: bool,
}

impl XdpSocket {
    /// All of the current network namespace (CONFIG_XDP_SOCKETS_DIAG).
    ///
    /// # Errors
    /// ENOENT from a kernel without that option, and what else it says.
    pub fn all() -> io::Result<Vec<Self>> {
        // struct xdp_diag_req of linux/xdp_diag.h
        let mut question = vec![u8::try_from(libc::AF_XDP).unwrap_or(0), 0, 0, 0];
        question.extend(0_u32.to_ne_bytes());
        question.extend((XDP_SHOW_INFO | XDP_SHOW_UMEM).to_ne_bytes());
        question.extend([0; 8]);
        let netlink = Netlink::open(SockProtocol::NetlinkSockDiag)?;
        let answer = netlink.ask(SOCK_DIAG_BY_FAMILY, Ask::List, &question)?;
        Ok(answer.iter().filter_map(|message| read(message)).collect())
    }

    /// Tries whether this process can open an AF_XDP socket at all; it is closed at once.
    ///
    /// # Errors
    /// EAFNOSUPPORT from a kernel without CONFIG_XDP_SOCKETS, EPERM without CAP_NET_RAW.
    pub fn probe() -> io::Result<()> {
        open_socket().map(drop)
    }
}

/// `struct xdp_diag_msg`, then attributes. Sockets that are not bound yet have no interface.
fn read(message: &[u8]) -> Option<XdpSocket> {
    let attributes = message.get(16..)?;
    let info = attribute(attributes, XDP_DIAG_INFO)?;
    let interface_index = u32_at(info, 0).filter(|index| *index != 0)?;
    // size u64, id, num_pages, chunk_size, headroom, ifindex, queue_id, flags
    let flags = attribute(attributes, XDP_DIAG_UMEM).and_then(|umem| u32_at(umem, 32));
    Some(XdpSocket {
        interface_index,
        queue_id: u32_at(info, 4)?,
        zero_copy: flags.is_some_and(|flags| flags & XDP_DU_F_ZEROCOPY != 0),
    })
}

// linux/sock_diag.h and linux/xdp_diag.h
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const XDP_SHOW_INFO: u32 = 1 << 0;
const XDP_SHOW_UMEM: u32 = 1 << 2;
const XDP_DIAG_INFO: u16 = 1;
const XDP_DIAG_UMEM: u16 = 5;
const XDP_DU_F_ZEROCOPY: u32 = 1 << 0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::write_attribute;

    fn message(index: u32, flags: u32) -> Vec<u8> {
        let mut message = vec![0; 16];
        let info: Vec<u8> = [index, 3].iter().flat_map(|word| word.to_ne_bytes()).collect();
        write_attribute(&mut message, XDP_DIAG_INFO, &info);
        let umem = [1 << 20, 0, 5, 256, 4096, 0, index, 3, flags, 1];
        let umem: Vec<u8> = umem.iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
        write_attribute(&mut message, XDP_DIAG_UMEM, &umem);
        message
    }

    #[test]
    fn bound_sockets_are_read_with_their_mode() {
        let socket = |zero_copy| XdpSocket { interface_index: 4, queue_id: 3, zero_copy };
        assert_eq!(read(&message(4, XDP_DU_F_ZEROCOPY)), Some(socket(true)));
        assert_eq!(read(&message(4, 0)), Some(socket(false)));
        assert_eq!(read(&message(0, 0)), None, "not bound");
    }

    #[test]
    fn the_kernel_lists_sockets_or_says_that_it_cannot() {
        match XdpSocket::all() {
            Ok(_) => {}
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error}"),
        }
    }
}
