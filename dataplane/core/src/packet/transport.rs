//! Transport headers.

use etherparse::{TcpHeaderSlice, TcpOptionElement};

use super::{Chunks, IpHeader, Ports, SctpPacket, Segment, TcpFlags, Transport};
use crate::drop::DropReason;
use crate::icmp;
use crate::pieces::Pieces;
use crate::ports::{ICMP, ICMPV6, SCTP, TCP, UDP};

/// The largest shift of a window (RFC 7323, 2.3).
const WINDOW_SCALE_MAX: u8 = 14;

/// The common header of SCTP (RFC 9260, 3.1).
const SCTP_HEADER_LEN: usize = 12;

/// Reads the transport header at the start of `packet`, which is that header and all behind it.
#[inline]
pub(super) fn parse(header: &IpHeader, packet: &Pieces<'_>) -> Result<Transport, DropReason> {
    match header.protocol {
        TCP => tcp(packet.head(), packet.len()).map(Transport::Tcp),
        UDP => udp(packet.head(), packet.len(), header.fragment.is_some()).map(Transport::Udp),
        SCTP => sctp(packet, header.fragment.is_some()).map(Transport::Sctp),
        ICMP if header.source.is_ipv4() => icmp::parse_v4(packet.head()),
        ICMPV6 if header.source.is_ipv6() => match icmp::parse_v6(packet.head())? {
            // All of it is looked at, and nobody has so much to say.
            Transport::Neighbour(_) if !packet.is_one() => Err(DropReason::MalformedIcmp),
            message => Ok(message),
        },
        _ => Ok(Transport::Opaque),
    }
}

fn tcp(bytes: &[u8], packet_len: usize) -> Result<Segment, DropReason> {
    let malformed = DropReason::MalformedTcp;
    let header = TcpHeaderSlice::from_slice(bytes).map_err(|_| malformed)?;
    let flags = TcpFlags(bytes.get(13).copied().unwrap_or_default());
    if !flags.is_possible() {
        return Err(DropReason::InvalidTcpFlags);
    }
    let payload_len = packet_len.checked_sub(header.slice().len()).ok_or(malformed)?;
    Ok(Segment {
        ports: Ports { source: header.source_port(), destination: header.destination_port() },
        flags,
        sequence: header.sequence_number(),
        acknowledgement: header.acknowledgment_number(),
        window: header.window_size(),
        window_scale: flags.has(TcpFlags::SYN).then(|| window_scale(&header)).flatten(),
        payload_len: u32::try_from(payload_len).map_err(|_| malformed)?,
    })
}

/// Options behind one that cannot be read are left alone, as receivers do.
fn window_scale(header: &TcpHeaderSlice<'_>) -> Option<u8> {
    header.options_iterator().map_while(Result::ok).find_map(|option| match option {
        TcpOptionElement::WindowScale(shift) => Some(shift.min(WINDOW_SCALE_MAX)),
        _ => None,
    })
}

fn udp(bytes: &[u8], packet_len: usize, is_fragment: bool) -> Result<Ports, DropReason> {
    let header = bytes.first_chunk::<8>().ok_or(DropReason::MalformedUdp)?;
    let [_, _, _, _, len_high, len_low, _, _] = *header;
    let len = usize::from(u16::from_be_bytes([len_high, len_low]));
    // The length is that of the whole datagram, of which a fragment holds a part.
    if len < header.len() || (len > packet_len && !is_fragment) {
        return Err(DropReason::MalformedUdp);
    }
    ports(bytes).ok_or(DropReason::MalformedUdp)
}

fn sctp(packet: &Pieces<'_>, is_fragment: bool) -> Result<SctpPacket, DropReason> {
    let malformed = DropReason::MalformedSctp;
    let header = packet.head().first_chunk::<SCTP_HEADER_LEN>().ok_or(malformed)?;
    let [_, _, _, _, a, b, c, d, ..] = *header;
    Ok(SctpPacket {
        ports: ports(header).ok_or(malformed)?,
        tag: u32::from_be_bytes([a, b, c, d]),
        chunks: sctp_chunks(packet, is_fragment).ok_or(malformed)?,
    })
}

/// Walks the chunks (RFC 9260, 3.2), which may lie in other pieces than the header. In a first
/// fragment the last may end elsewhere.
fn sctp_chunks(packet: &Pieces<'_>, is_fragment: bool) -> Option<Chunks> {
    const CHUNK_HEADER_LEN: usize = 4;
    let mut chunks = Chunks::default();
    let mut at = SCTP_HEADER_LEN;
    while let Some([kind, flags, len_high, len_low]) = packet.four_at(at) {
        let len = usize::from(u16::from_be_bytes([len_high, len_low]));
        let value_len = len.checked_sub(CHUNK_HEADER_LEN)?;
        let value_at = at + CHUNK_HEADER_LEN;
        let is_behind = at > SCTP_HEADER_LEN;
        let is_cut = value_len > packet.len() - value_at;
        if is_cut && !is_fragment {
            return None;
        }
        let initiate_tag = || packet.four_at(value_at).map(u32::from_be_bytes);
        match kind {
            // INIT and INIT ACK stand alone (RFC 9260, 6.10): what is before or behind them could
            // pass under tag 0.
            1 | 2 if is_behind => return None,
            1 => chunks.init = Some(initiate_tag().filter(|_| value_len >= 16)?),
            2 => chunks.init_ack = Some(initiate_tag().filter(|_| value_len >= 16)?),
            6 => (chunks.abort, chunks.reflected) = (true, flags & 1 == 1),
            7 => chunks.shutdown = true,
            8 => chunks.shutdown_ack = true,
            10 => chunks.cookie_echo = true,
            11 => chunks.cookie_ack = true,
            14 => (chunks.shutdown_complete, chunks.reflected) = (true, flags & 1 == 1),
            _ => {}
        }
        if is_cut {
            return Some(chunks);
        }
        // Chunks are padded to four bytes; the last one's padding may be missing.
        at = value_at + value_len.next_multiple_of(4);
        if (chunks.init.is_some() || chunks.init_ack.is_some()) && at < packet.len() {
            return None;
        }
    }
    Some(chunks)
}

fn ports(bytes: &[u8]) -> Option<Ports> {
    let [a, b, c, d] = *bytes.first_chunk::<4>()?;
    Some(Ports { source: u16::from_be_bytes([a, b]), destination: u16::from_be_bytes([c, d]) })
}
