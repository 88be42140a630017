//! A frame that has been read: what parsing, its checksum and its flow's hash come to.

use sluice_core::address::NetworkId;
use sluice_core::checksum;
use sluice_core::conntrack::BATCH_LEN_MAX;
use sluice_core::flow::FlowHasher;
use sluice_core::judge::FlowOf;
use sluice_core::packet::Packet;
use sluice_core::pieces::Pieces;

/// A packet and its flow; none if it is damaged or has none.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) packet: Packet,
    pub(super) flow: Option<FlowOf>,
}

/// Places for the readings of a batch.
pub(super) fn readings() -> Vec<Reading> {
    std::iter::repeat_with(Reading::default).take(BATCH_LEN_MAX).collect()
}

impl Reading {
    #[inline]
    pub(super) fn read(&mut self, frame: &[u8], hasher: &FlowHasher) {
        self.flow = None;
        if self.packet.read(&Pieces::from(frame)).is_ok()
            && let Some(ip) = self.packet.ip()
            && checksum::is_whole(frame, ip, false)
        {
            self.flow = FlowOf::new(NetworkId::DEFAULT, ip, hasher);
        }
    }
}
