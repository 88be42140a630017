//! A frame as a receiver that trusts everybody reads it. Shares no code with the parser.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use sluice_core::address::{Mac, NetworkId};
use sluice_core::flow::FiveTuple;
use sluice_core::ports::{ICMP, ICMPV6, Protocol, SCTP, TCP, UDP};

const ETHERNET_LEN: usize = 14;
const TAG_LEN: usize = 4;

/// A frame's headers.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) to: Mac,
    pub(crate) from: Mac,
    /// The VLAN id of its tag.
    pub(crate) tag: Option<u16>,
    pub(crate) body: Body,
}

#[derive(Debug)]
pub(crate) enum Body {
    Arp { sender_mac: Mac, sender: Ipv4Addr },
    Ip(Ip),
    Other,
}

#[derive(Debug)]
pub(crate) struct Ip {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) hop_limit: u8,
    pub(crate) protocol: Protocol,
    /// Where the header begins in the frame.
    pub(crate) header_at: usize,
    /// Where the byte stands that names the protocol.
    pub(crate) protocol_at: usize,
    /// Where transport header and payload are; may be cut short in what an error quotes.
    pub(crate) transport: Range<usize>,
    pub(crate) piece: Option<Piece>,
}

/// A fragment: bytes `start` to `end` of its datagram's payload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    pub(crate) id: u32,
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) more: bool,
}

/// What an IP packet is to those who follow flows.
#[derive(Debug)]
pub(crate) enum Message {
    /// A packet of a flow itself.
    Flow(Flow),
    /// An ICMP error; the packet that it quotes, if it can be read.
    Error(Option<FiveTuple>),
    /// Neighbour discovery.
    Neighbour(Neighbour),
    /// Another ICMP message.
    OtherIcmp,
    /// A fragment behind the first.
    Continuation,
}

#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) tuple: FiveTuple,
    /// It asks the other side for a connection: a plain SYN, an INIT, an echo request.
    pub(crate) asks: bool,
    /// It can be the first that a firewall sees of a connection.
    pub(crate) begins: bool,
    /// The tag that an SCTP packet bears, unless it is an INIT, and whether it may be the
    /// sender's own.
    pub(crate) tag: Option<(u32, bool)>,
    /// The tag that the sender of an INIT or INIT ACK chooses.
    pub(crate) chosen_tag: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct Neighbour {
    pub(crate) icmp_type: u8,
    pub(crate) target: Option<Ipv6Addr>,
    /// Every link-layer address in its options.
    pub(crate) link_addresses: Vec<Mac>,
}

impl View {
    /// `None` for what ends within a header.
    pub(crate) fn of(frame: &[u8]) -> Option<Self> {
        let to = Mac(array(frame, 0)?);
        let from = Mac(array(frame, 6)?);
        let tag = is_tagged(frame).then(|| word(frame, ETHERNET_LEN)).flatten();
        let ether_type_at = if tag.is_some() { 12 + TAG_LEN } else { 12 };
        let at = ether_type_at + 2;
        let body = match word(frame, ether_type_at)? {
            0x0806 => {
                let sender_mac = Mac(array(frame, at + 8)?);
                Body::Arp { sender_mac, sender: array::<4>(frame, at + 14)?.into() }
            }
            0x0800 => Body::Ip(ipv4(frame, at)?),
            0x86dd => Body::Ip(ipv6(frame, at)?),
            _ => Body::Other,
        };
        Some(Self { to, from, tag: tag.map(|tag| tag & 0xfff), body })
    }

    pub(crate) fn ip(&self) -> Option<&Ip> {
        match &self.body {
            Body::Ip(ip) => Some(ip),
            _ => None,
        }
    }
}

/// The frame without its tag.
pub(crate) fn untagged(frame: &[u8]) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(frame.len().min(12));
    let rest = if is_tagged(frame) { rest.get(TAG_LEN..).unwrap_or_default() } else { rest };
    [addresses, rest].concat()
}

pub(crate) fn is_tagged(frame: &[u8]) -> bool {
    word(frame, 12) == Some(0x8100)
}

impl Ip {
    /// What the packet says behind its IP headers; `None` where it ends too early.
    pub(crate) fn message(
        &self,
        frame: &[u8],
        network: NetworkId,
        midstream: bool,
    ) -> Option<Message> {
        if self.piece.is_some_and(|piece| piece.start > 0) {
            return Some(Message::Continuation);
        }
        let bytes = frame.get(self.transport.clone())?;
        let icmp_type = match (self.protocol, self.source.is_ipv4()) {
            (ICMP, true) | (ICMPV6, false) => bytes.first().copied(),
            _ => None,
        };
        let is_error = match icmp_type {
            Some(icmp_type) if self.protocol == ICMP => matches!(icmp_type, 3 | 11 | 12),
            Some(icmp_type) => matches!(icmp_type, 1..=4),
            None => false,
        };
        if is_error {
            let at = self.transport.start + 8;
            let quoted = if self.protocol == ICMP { ipv4(frame, at) } else { ipv6(frame, at) };
            let tuple = quoted.and_then(|ip| ip.tuple(frame, network));
            return Some(Message::Error(tuple));
        }
        if let (ICMPV6, Some(icmp_type @ 133..=137)) = (self.protocol, icmp_type) {
            return neighbour(icmp_type, bytes).map(Message::Neighbour);
        }
        let is_echo =
            |icmp_type| matches!((self.protocol, icmp_type), (ICMP, 0 | 8) | (_, 128 | 129));
        if icmp_type.is_some_and(|icmp_type| !is_echo(icmp_type)) {
            return Some(Message::OtherIcmp);
        }
        let tuple = self.tuple(frame, network)?;
        let (mut tag, mut chosen_tag) = (None, None);
        let (asks, begins) = match self.protocol {
            TCP => {
                let [_, syn, rst, _, ack, ..] = bits(*bytes.get(13)?);
                (syn && !ack, (syn && !ack) || (midstream && ack && !syn && !rst))
            }
            SCTP => {
                let is_init = bytes.get(12) == Some(&1);
                let chooses = matches!(bytes.get(12), Some(1 | 2));
                chosen_tag = chooses.then(|| array(bytes, 16)).flatten().map(u32::from_be_bytes);
                let own = u32::from_be_bytes(array(bytes, 4)?);
                tag = (!is_init).then(|| (own, has_reflected_tag(bytes)));
                (is_init, is_init)
            }
            _ => {
                let is_reply = matches!(icmp_type, Some(0 | 129));
                (icmp_type.is_some() && !is_reply, !is_reply)
            }
        };
        Some(Message::Flow(Flow { tuple, asks, begins, tag, chosen_tag }))
    }

    /// The five tuple of the packet; an echo's identifier is the port of the side that asks.
    fn tuple(&self, frame: &[u8], network: NetworkId) -> Option<FiveTuple> {
        let at = self.transport.start;
        let (source_port, destination_port) = match (self.protocol, self.source.is_ipv4()) {
            (TCP | UDP | SCTP, _) => (word(frame, at)?, word(frame, at + 2)?),
            (ICMP, true) | (ICMPV6, false) => {
                let id = word(frame, at + 4)?;
                if matches!(frame.get(at)?, 8 | 128) { (id, 0) } else { (0, id) }
            }
            _ => (0, 0),
        };
        Some(FiveTuple {
            network,
            protocol: self.protocol,
            source: self.source,
            source_port,
            destination: self.destination,
            destination_port,
        })
    }
}

fn ipv4(frame: &[u8], at: usize) -> Option<Ip> {
    let first = *frame.get(at)?;
    let header_len = usize::from(first & 0xf) * 4;
    let total_len = usize::from(word(frame, at + 2)?);
    if first >> 4 != 4 || header_len < 20 || total_len < header_len {
        return None;
    }
    let start = at + header_len;
    let end = (at + total_len).min(frame.len());
    let cut = word(frame, at + 6)?;
    let piece_start = usize::from(cut & 0x1fff) * 8;
    let more = cut & 0x2000 != 0;
    let piece = Piece {
        id: word(frame, at + 4)?.into(),
        start: piece_start,
        end: piece_start + total_len - header_len,
        more,
    };
    Some(Ip {
        source: array::<4>(frame, at + 12)?.into(),
        destination: array::<4>(frame, at + 16)?.into(),
        hop_limit: *frame.get(at + 8)?,
        protocol: *frame.get(at + 9)?,
        header_at: at,
        protocol_at: at + 9,
        transport: (start <= end).then_some(start..end)?,
        piece: (more || piece_start > 0).then_some(piece),
    })
}

fn ipv6(frame: &[u8], at: usize) -> Option<Ip> {
    if frame.get(at)? >> 4 != 6 {
        return None;
    }
    let whole_end = at + 40 + usize::from(word(frame, at + 4)?);
    let (mut protocol_at, mut start) = (at + 6, at + 40);
    let mut piece = None;
    loop {
        let protocol = *frame.get(protocol_at)?;
        let len = match protocol {
            0 | 43 | 60 | 135 | 139 | 140 => (usize::from(*frame.get(start + 1)?) + 1) * 8,
            51 => (usize::from(*frame.get(start + 1)?) + 2) * 4,
            44 => 8,
            _ => break,
        };
        (protocol_at, start) = (start, start + len);
        if protocol == 44 {
            let cut = word(frame, protocol_at + 2)?;
            let piece_start = usize::from(cut & 0xfff8);
            let more = cut & 1 != 0;
            if more || piece_start > 0 {
                let id = u32::from_be_bytes(array(frame, protocol_at + 4)?);
                let end = piece_start + whole_end.checked_sub(start)?;
                piece = Some(Piece { id, start: piece_start, end, more });
            }
            if piece_start > 0 {
                break;
            }
        }
    }
    let end = whole_end.min(frame.len());
    Some(Ip {
        source: array::<16>(frame, at + 8)?.into(),
        destination: array::<16>(frame, at + 24)?.into(),
        hop_limit: *frame.get(at + 7)?,
        protocol: *frame.get(protocol_at)?,
        header_at: at,
        protocol_at,
        transport: (start <= end).then_some(start..end)?,
        piece,
    })
}

fn neighbour(icmp_type: u8, bytes: &[u8]) -> Option<Neighbour> {
    let (options_at, has_target) = match icmp_type {
        133 => (8, false),
        134 => (16, false),
        135 | 136 => (24, true),
        _ => (40, true),
    };
    let target = if has_target { Some(array::<16>(bytes, 8)?.into()) } else { None };
    let mut options = bytes.get(options_at..)?;
    let mut link_addresses = Vec::new();
    while let [kind, len, ..] = *options {
        if matches!(kind, 1 | 2) {
            link_addresses.push(Mac(array(options, 2)?));
        }
        options = options.get(usize::from(len.max(1)) * 8..).unwrap_or_default();
    }
    Some(Neighbour { icmp_type, target, link_addresses })
}

/// Whether some chunk is an ABORT or SHUTDOWN COMPLETE with the T bit (RFC 9260, 8.5.1).
fn has_reflected_tag(packet: &[u8]) -> bool {
    let mut at = 12;
    while let (Some(&kind), Some(&flags), Some(len)) =
        (packet.get(at), packet.get(at + 1), word(packet, at + 2))
    {
        if matches!(kind, 6 | 14) && flags & 1 == 1 {
            return true;
        }
        at += usize::from(len.max(4)).next_multiple_of(4);
    }
    false
}

fn bits(byte: u8) -> [bool; 8] {
    std::array::from_fn(|bit| byte >> bit & 1 == 1)
}

pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}
