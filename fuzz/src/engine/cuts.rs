//! Frames that come of other frames: their fragments, and the same packets in other wrappings.

use super::frames::Step;
use crate::sums;
use crate::view::{View, word};

/// A fragment of a frame that holds a whole packet: of the bytes behind its IP headers `len` from
/// `start` on, or as many as there are.
pub(crate) fn piece_of(frame: &[u8], step: Step) -> Option<Vec<u8>> {
    let view = View::of(frame)?;
    let ip = view.ip().filter(|ip| ip.piece.is_none())?;
    let transport = frame.get(ip.transport.clone())?;
    let start = usize::from(step.ports >> 4) * 8;
    let len = (usize::from(step.ports & 0xf) + 1) * 8;
    let bytes = transport.get(start..transport.len().min(start + len))?;
    // An odd one says the contrary of what is true.
    let more = (start + len < transport.len()) != step.is_odd();
    let start = u16::try_from(start).ok()?;
    let mut head = frame.get(..ip.transport.start)?.to_vec();
    if ip.source.is_ipv4() {
        let cut = (start / 8) | if more { 0x2000 } else { 0 };
        let total_len = u16::try_from(head.len() - ip.header_at + bytes.len()).ok()?;
        put(&mut head, ip.header_at + 2, total_len)?;
        put(&mut head, ip.header_at + 4, step.flags.into())?;
        put(&mut head, ip.header_at + 6, cut)?;
    } else {
        let [high, low] = (start | u16::from(more)).to_be_bytes();
        *head.get_mut(ip.protocol_at)? = 44;
        head.extend([ip.protocol, 0, high, low, 0, 0, 0, step.flags]);
        let payload_len = u16::try_from(head.len() - ip.header_at - 40 + bytes.len()).ok()?;
        put(&mut head, ip.header_at + 4, payload_len)?;
    }
    head.extend(bytes);
    sums::mend(&mut head);
    Some(head)
}

/// The frame in another wrapping: an IPv6 extension header more, IPv4 options, padding.
pub(crate) fn wrapped(frame: &[u8], step: Step) -> Option<Vec<u8>> {
    let mut frame = frame.to_vec();
    if step.ports & 1 == 1 {
        frame.resize(frame.len() + usize::from(step.b), 0xee);
        return Some(frame);
    }
    let view = View::of(&frame)?;
    let ip = view.ip()?;
    let (header_at, start) = (ip.header_at, ip.transport.start);
    let tail = frame.split_off(start);
    if ip.source.is_ipv4() {
        // No operation three times, and the option of the step.
        let options = [1, 1, 1, step.flags];
        let total_len = word(&frame, header_at + 2)?.checked_add(4)?;
        put(&mut frame, header_at + 2, total_len)?;
        *frame.get_mut(header_at)? = frame.get(header_at)?.checked_add(1)?;
        frame.extend(options);
    } else {
        let extension = match step.flags {
            // Authentication: its length counts four bytes each.
            51 => vec![
                ip.protocol,
                4,
                0,
                0,
                0,
                0,
                0,
                1,
                0,
                0,
                0,
                1,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
            ],
            // Routing of type 2 or of the step's, perhaps with segments left.
            43 => vec![ip.protocol, 0, step.a, step.b, 0, 0, 0, 0],
            // An atomic fragment.
            44 => vec![ip.protocol, 0, 0, 0, 0, 0, 0, step.b],
            _ => vec![ip.protocol, 0, 1, 4, 0, 0, 0, 0],
        };
        let len = u16::try_from(extension.len()).ok()?;
        let payload_len = word(&frame, header_at + 4)?.checked_add(len)?;
        *frame.get_mut(ip.protocol_at)? = step.flags;
        put(&mut frame, header_at + 4, payload_len)?;
        frame.extend(extension);
    }
    frame.extend(tail);
    sums::mend(&mut frame);
    Some(frame)
}

fn put(bytes: &mut [u8], at: usize, word: u16) -> Option<()> {
    bytes.get_mut(at..at + 2)?.copy_from_slice(&word.to_be_bytes());
    Some(())
}
