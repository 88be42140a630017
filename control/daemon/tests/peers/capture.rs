//! What arrives at a pod, as a packet socket in its namespace sees it: before the pod's stack has
//! judged anything.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
    sockopt,
};
use sluice_lab::Namespace;

/// Room for what arrives between two looks.
const BUFFER_LEN: usize = 16 << 20;

/// `PACKET_OUTGOING` of packet(7): what the pod itself sends.
const OUTGOING: u8 = 4;

/// The frames that have arrived since the start.
pub(crate) struct Capture {
    socket: OwnedFd,
    frames: Vec<Vec<u8>>,
}

impl Capture {
    pub(crate) fn start(namespace: &Namespace) -> Self {
        let open = || {
            socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_NONBLOCK,
                SockProtocol::EthAll,
            )
        };
        let socket = namespace.run(open).unwrap().unwrap();
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_LEN).unwrap();
        Self { socket, frames: Vec::new() }
    }

    /// All so far. The kernel takes a VLAN tag off before a packet socket sees the frame.
    pub(crate) fn frames(&mut self) -> &[Vec<u8>] {
        let mut buffer = vec![0; 65_536];
        loop {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut buffer) {
                Ok((_, Some(from))) if from.pkttype() == OUTGOING => {}
                Ok((len, _)) => self.frames.push(buffer[..len].to_vec()),
                Err(Errno::EAGAIN) => return &self.frames,
                Err(error) => panic!("the capture fails: {error}"),
            }
        }
    }

    /// Whether a frame with these bytes in it has arrived.
    pub(crate) fn has(&mut self, bytes: &[u8]) -> bool {
        self.frames().iter().any(|frame| frame.windows(bytes.len()).any(|part| part == bytes))
    }
}

/// Destination port and flags of a TCP segment; IPv6 extension headers are not looked behind.
pub(crate) fn tcp_of(frame: &[u8]) -> Option<(u16, u8)> {
    const TCP: u8 = 6;
    let ip = frame.get(14..)?;
    let (protocol, header_len) = match frame.get(12..14)? {
        [0x08, 0x00] => (*ip.get(9)?, usize::from(ip.first()? & 0x0f) * 4),
        [0x86, 0xdd] => (*ip.get(6)?, 40),
        _ => return None,
    };
    let tcp = ip.get(header_len..)?;
    let port = u16::from_be_bytes([*tcp.get(2)?, *tcp.get(3)?]);
    (protocol == TCP).then_some((port, *tcp.get(13)?))
}
