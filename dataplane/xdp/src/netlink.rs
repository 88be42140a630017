//! Questions to the kernel over netlink (netlink(7)), one at a time, and their answers.
//!
//! Needs no privileges for what is asked here, and asks about the current network namespace. Integers
//! are in the machine's own order of bytes.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

/// A socket for questions to one part of the kernel.
pub(crate) struct Netlink {
    socket: OwnedFd,
}

/// Whether there is one answer or a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    One,
    List,
}

impl Netlink {
    pub(crate) fn open(protocol: SockProtocol) -> io::Result<Self> {
        let socket =
            socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        // The kernel answers at once or never.
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(2, 0))?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { socket })
    }

    /// Asks, and returns the messages of the answer, without their headers.
    pub(crate) fn ask(&self, kind: u16, ask: Ask, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        // Of a single question the acknowledgement is the end, of a list NLMSG_DONE.
        let how = if ask == Ask::One { libc::NLM_F_ACK } else { libc::NLM_F_DUMP };
        let flags = u16::try_from(libc::NLM_F_REQUEST | how).unwrap_or(0);
        let length = u32::try_from(HEADER_LENGTH + body.len()).unwrap_or(u32::MAX);
        let mut message = Vec::with_capacity(HEADER_LENGTH + body.len());
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        // Sequence and sender: there is one question at a time, and the kernel knows who asks.
        message.extend([0; 8]);
        message.extend(body);
        send(self.socket.as_raw_fd(), &message, MsgFlags::empty())?;
        let mut answer = Vec::new();
        let mut buffer = vec![0; BUFFER_LENGTH];
        loop {
            let length = match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC) {
                Ok(length) if length > buffer.len() => {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Ok(length) => length,
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if gather(buffer.get(..length).unwrap_or_default(), &mut answer)? == Gathered::All {
                return Ok(answer);
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Gathered {
    All,
    Some,
}

const HEADER_LENGTH: usize = 16;

/// A dumped link with many virtual functions takes tens of kilobytes.
const BUFFER_LENGTH: usize = 1 << 18;

/// Takes the messages out of what was received.
fn gather(mut bytes: &[u8], answer: &mut Vec<Vec<u8>>) -> io::Result<Gathered> {
    while let (Some(length), Some(kind)) = (u32_at(bytes, 0), u16_at(bytes, 4)) {
        let length = length as usize;
        let Some(body) = bytes.get(HEADER_LENGTH..length) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        match i32::from(kind) {
            libc::NLMSG_DONE => return Ok(Gathered::All),
            // An error of zero is the acknowledgement.
            libc::NLMSG_ERROR => {
                return match u32_at(body, 0).map(u32::cast_signed) {
                    Some(0) => Ok(Gathered::All),
                    Some(error) => Err(io::Error::from_raw_os_error(error.saturating_neg())),
                    None => Err(io::ErrorKind::InvalidData.into()),
                };
            }
            libc::NLMSG_NOOP => {}
            _ => answer.push(body.to_vec()),
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Gathered::Some)
}

/// The attributes in `bytes`, as number and value; ends at the first that is cut off.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, number) = (usize::from(u16_at(bytes, 0)?), u16_at(bytes, 2)?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        // The upper bits say that the value is nested or in network order.
        Some((number & 0x3fff, value))
    })
}

/// The value of the first attribute of that number.
pub(crate) fn attribute(bytes: &[u8], number: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(it, value)| (it == number).then_some(value))
}

/// An attribute as the kernel reads it.
pub(crate) fn write_attribute(to: &mut Vec<u8>, number: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    to.extend(length.to_ne_bytes());
    to.extend(number.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A text without the zero at its end.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER_LENGTH + body.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn messages_are_gathered_to_the_end_of_the_answer() {
        let (mut answer, mut bytes) = (Vec::new(), message(16, b"abc"));
        bytes.extend(message(16, b"defg"));
        assert_eq!(gather(&bytes, &mut answer).unwrap(), Gathered::Some);
        assert_eq!(gather(&message(3, &[0; 4]), &mut answer).unwrap(), Gathered::All);
        assert_eq!(answer, [b"abc".to_vec(), b"defg".to_vec()]);
        assert_eq!(gather(&message(2, &[0; 4]), &mut answer).unwrap(), Gathered::All, "an ACK");
        let refused = gather(&message(2, &(-95_i32).to_ne_bytes()), &mut answer).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EOPNOTSUPP));
    }

    #[test]
    fn lengths_that_lie_end_the_reading() {
        let mut answer = Vec::new();
        for length in [0_u32, 15, 21, u32::MAX] {
            let mut bytes = message(16, b"abcd");
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(gather(&bytes, &mut answer).is_err(), "{length}");
        }
        for length in [0_u16, 3, 9, u16::MAX] {
            let mut bytes = Vec::new();
            write_attribute(&mut bytes, 7, b"abcd");
            bytes[..2].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(attributes(&bytes).count(), 0, "{length}");
        }
    }

    #[test]
    fn attributes_are_read_as_written() {
        let mut bytes = Vec::new();
        write_attribute(&mut bytes, 1, b"abc");
        write_attribute(&mut bytes, 2 | 1 << 15, &7_u32.to_ne_bytes());
        assert_eq!(bytes.len(), 16);
        assert_eq!(attribute(&bytes, 1), Some(b"abc".as_slice()));
        assert_eq!(attribute(&bytes, 2).and_then(|it| u32_at(it, 0)), Some(7));
        assert_eq!(
            (attribute(&bytes, 3), text(b"eth0\0\0"), text(b"x")),
            (None, "eth0".into(), "x".into())
        );
    }
}
