//! A host that speaks TCP by the book. Numbers are counted without end here: 0 is the SYN's, and
//! they wrap around only on the wire.

use std::collections::BTreeMap;

/// The most that a datagram carries.
pub(super) const PAYLOAD_MAX: u64 = 65_495;

/// What a segment says, in numbers that do not wrap around; 0 is the SYN's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) by_opener: bool,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) first: u64,
    pub(super) payload_len: u64,
    pub(super) ack: Option<u64>,
    pub(super) window: u16,
}

impl Sent {
    pub(super) fn end(&self) -> u64 {
        self.first + self.payload_len + u64::from(self.syn) + u64::from(self.fin)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) is_opener: bool,
    pub(super) number: u32,
    pub(super) scale: Option<u8>,
    pub(super) shift: u8,
    /// What it has sent, and what of it is acknowledged.
    pub(super) next: u64,
    pub(super) acked: u64,
    pub(super) fin: Option<u64>,
    /// The window that it may send into, and the acknowledgement and number of the segment that
    /// said so. Of two, the one that acknowledges more is the later.
    pub(super) window: u64,
    pub(super) window_told_at: (u64, u64),
    /// What it has received in one piece, pieces beyond, and how much it has offered to take.
    pub(super) received: u64,
    pub(super) pieces: BTreeMap<u64, u64>,
    pub(super) offered: u64,
    pub(super) offer: u16,
}

impl Host {
    pub(super) fn new(is_opener: bool, number: u32, scale: Option<u8>) -> Self {
        Self {
            is_opener,
            number,
            scale,
            shift: 0,
            next: 0,
            acked: 0,
            fin: None,
            window: 0,
            window_told_at: (0, 0),
            received: 0,
            pieces: BTreeMap::new(),
            offered: 0,
            offer: 65_535,
        }
    }

    pub(super) fn segment(&mut self, first: u64, end: u64) -> Sent {
        let fin = self.fin.is_some_and(|fin| fin + 1 == end && first < end);
        self.offered = self.offered.max(self.received + (u64::from(self.offer) << self.shift));
        Sent {
            by_opener: self.is_opener,
            syn: false,
            fin,
            first,
            payload_len: end - first - u64::from(fin),
            ack: Some(self.received),
            window: self.offer,
        }
    }

    pub(super) fn syn(&mut self, answers: bool) -> Sent {
        self.next = self.next.max(1);
        let ack = answers.then_some(self.received);
        Sent { syn: true, first: 0, payload_len: 0, ack, ..self.segment(0, 0) }
    }

    /// New data of at most `len`, as far as the window allows.
    pub(super) fn send(&mut self, len: u64) -> Option<Sent> {
        let first = self.next;
        let room = (self.acked + self.window).saturating_sub(first);
        let len = len.min(room).min(PAYLOAD_MAX);
        if len == 0 || self.fin.is_some() {
            return None;
        }
        self.next += len;
        Some(self.segment(first, first + len))
    }

    /// Sends as much as the window allows into a hole in the network.
    pub(super) fn lose(&mut self, len: u64) {
        if self.fin.is_none() {
            let room = (self.acked + self.window).saturating_sub(self.next);
            self.next += len % (room + 1);
        }
    }

    pub(super) fn finish(&mut self) -> Option<Sent> {
        let has_room = self.next < self.acked + self.window;
        if self.fin.is_some() || !has_room {
            return None;
        }
        self.fin = Some(self.next);
        self.next += 1;
        Some(self.segment(self.next - 1, self.next))
    }

    /// Some of what is not acknowledged, once more.
    pub(super) fn send_again(&mut self, at: u64, len: u64) -> Option<Sent> {
        let flight = self.next - self.acked;
        let first = self.acked + at.checked_rem(flight)?;
        let end = self.next.min(first + 1 + len % PAYLOAD_MAX);
        Some(self.segment(first, end))
    }

    pub(super) fn probe(&mut self) -> Option<Sent> {
        let is_shut = self.window == 0 && self.next == self.acked && self.fin.is_none();
        is_shut.then(|| {
            self.next += 1;
            self.segment(self.next - 1, self.next)
        })
    }

    pub(super) fn receive(&mut self, sent: &Sent, peer_shift: u8) {
        if let Some(ack) = sent.ack {
            assert!(ack <= self.next, "nobody acknowledges what was not sent");
            self.acked = self.acked.max(ack);
            let told_at = (ack, sent.first);
            if told_at >= self.window_told_at {
                let shift = if sent.syn { 0 } else { peer_shift };
                self.window = u64::from(sent.window) << shift;
                self.window_told_at = told_at;
            }
        }
        let end = sent.end().min(self.offered.max(1));
        if sent.first < end && end > self.received {
            let known = self.pieces.entry(sent.first).or_default();
            *known = end.max(*known);
        }
        while let Some(piece) = self.pieces.first_entry().filter(|p| *p.key() <= self.received) {
            self.received = self.received.max(piece.remove());
        }
    }
}
