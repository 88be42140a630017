//! Pushing and popping 802.1Q tags, when a frame changes between tagged and untagged ports.

use sluice_xdp::Frame;

const ADDRESSES_LEN: usize = 12;
const TAG_LEN: usize = 4;
const TPID: [u8; 2] = [0x81, 0x00];

/// Makes a frame that carries the tag `from` carry the tag `to`. Returns whether it could.
pub(crate) fn change(frame: &mut Frame, from: Option<u16>, to: Option<u16>) -> bool {
    match (from, to) {
        (None, None) => true,
        (Some(old), Some(new)) if old == new => true,
        (Some(_), Some(new)) => write(frame, new),
        (Some(_), None) => {
            if frame.len() < ADDRESSES_LEN + TAG_LEN {
                return false;
            }
            frame.copy_within(..ADDRESSES_LEN, TAG_LEN);
            frame.trim_front(TAG_LEN)
        }
        (None, Some(new)) => {
            if frame.len() < ADDRESSES_LEN || !frame.grow_front(TAG_LEN) {
                return false;
            }
            frame.copy_within(TAG_LEN..TAG_LEN + ADDRESSES_LEN, 0);
            write(frame, new)
        }
    }
}

fn write(frame: &mut Frame, vlan: u16) -> bool {
    let Some(tag) = frame.get_mut(ADDRESSES_LEN..ADDRESSES_LEN + TAG_LEN) else { return false };
    let [high, low] = vlan.to_be_bytes();
    tag.copy_from_slice(&[TPID[0], TPID[1], high, low]);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_xdp::Umem;

    #[test]
    fn a_tag_is_pushed_changed_and_popped() {
        let (_umem, mut pool) = Umem::in_memory(1).unwrap();
        let mut frame = pool.take().unwrap();
        let plain: Vec<u8> = (0..64).collect();
        assert!(frame.copy_from(&plain));
        assert!(change(&mut frame, None, Some(0x123)));
        assert_eq!(frame[..12], plain[..12]);
        assert_eq!(frame[12..16], [0x81, 0, 0x01, 0x23]);
        assert_eq!(frame[16..], plain[12..]);
        assert!(change(&mut frame, Some(0x123), Some(7)));
        assert_eq!(frame[12..16], [0x81, 0, 0, 7]);
        assert!(change(&mut frame, Some(7), None));
        assert_eq!(frame[..], plain[..]);
        pool.put(frame);
    }
}
