//! Two hosts, and a network that loses, delays, doubles and reorders what they send.

use proptest::prelude::*;

use super::host::{Host, PAYLOAD_MAX, Sent};
use super::*;

/// What a second observer of one side has noted, without wrapping around.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Noted {
    pub(super) end: u64,
    pub(super) max_end: u64,
    pub(super) max_window: u64,
}

pub(super) struct World {
    hosts: [Host; 2],
    under_way: Vec<Sent>,
    /// All that has come to the table: the network may double it there, too.
    past: Vec<Sent>,
    finished: [bool; 2],
    noted: [Noted; 2],
    /// Whether the table takes the responder for the opener.
    is_turned: bool,
    pub(super) windows: Option<Windows>,
}

/// How the connection begins.
#[derive(Debug, Clone)]
pub(super) struct Beginning {
    numbers: (u32, u32),
    scales: (Option<u8>, Option<u8>),
    is_crossed: bool,
    syns: u8,
}

impl World {
    pub(super) fn new(beginning: &Beginning) -> Self {
        let Beginning { numbers, scales, is_crossed, syns } = *beginning;
        let hosts = [Host::new(true, numbers.0, scales.0), Host::new(false, numbers.1, scales.1)];
        let mut world = Self {
            hosts,
            under_way: vec![],
            past: vec![],
            finished: [false; 2],
            noted: [Noted::default(); 2],
            is_turned: false,
            windows: None,
        };
        for _ in 0..syns {
            let syn = world.hosts[0].syn(false);
            world.arrive(syn);
            world.hosts[1].receive(&syn, 0);
        }
        if is_crossed {
            let syn = world.hosts[1].syn(false);
            world.arrive(syn);
            world.hosts[0].receive(&syn, 0);
            let answer = world.hosts[0].syn(true);
            world.arrive(answer);
            world.hosts[1].receive(&answer, 0);
        }
        for _ in 0..syns {
            let answer = world.hosts[1].syn(true);
            world.arrive(answer);
            world.hosts[0].receive(&answer, 0);
        }
        if let (Some(own), Some(other)) = scales {
            (world.hosts[0].shift, world.hosts[1].shift) = (own, other);
        }
        let next = world.hosts[0].next;
        let ack = world.hosts[0].segment(next, next);
        world.arrive(ack);
        assert_eq!(world.state(), TcpState::Established);
        world.under_way.clear();
        world.hosts[1].receive(&ack, world.hosts[0].shift);
        world
    }

    fn state(&self) -> TcpState {
        self.windows.as_ref().unwrap().state()
    }

    pub(super) fn wire(&self, by_opener: bool, number: u64) -> u32 {
        let own = if by_opener { self.hosts[0].number } else { self.hosts[1].number };
        own.wrapping_add(low(number))
    }

    /// The sender's and the receiver's side as the observer has noted them.
    pub(super) fn noted(&self, by_opener: bool) -> (Noted, Noted) {
        let [opener, responder] = self.noted;
        if by_opener { (opener, responder) } else { (responder, opener) }
    }

    fn on_the_wire(&self, sent: &Sent) -> Segment {
        let Sent { by_opener, syn, fin, first, payload_len, ack, window } = *sent;
        let host = &self.hosts[usize::from(!by_opener)];
        let flags = [
            (syn, TcpFlags::SYN),
            (fin, TcpFlags::FIN),
            (ack.is_some(), TcpFlags::ACK),
            (payload_len > 0, TcpFlags::PSH),
        ];
        let set = flags.into_iter().filter(|(is_set, _)| *is_set);
        Segment {
            ports: Ports { source: 1, destination: 2 },
            flags: set.fold(TcpFlags::default(), |all, (_, flag)| all | flag),
            sequence: self.wire(by_opener, first),
            acknowledgement: ack.map_or(0, |ack| self.wire(!by_opener, ack)),
            window,
            window_scale: host.scale.filter(|_| syn),
            payload_len: low(payload_len),
        }
    }

    /// A segment comes from its sender to the table, and must pass.
    fn arrive(&mut self, sent: Sent) {
        let segment = self.on_the_wire(&sent);
        match &mut self.windows {
            None => {
                self.is_turned = !sent.by_opener;
                let windows = Windows::opened_by(&segment);
                self.windows = windows.or_else(|| Windows::picked_up(&segment));
            }
            Some(windows) => {
                let before = windows.clone();
                let by_opener = sent.by_opener != self.is_turned;
                let outcome = windows.follow(&segment, false, by_opener);
                assert_eq!(outcome, Ok(()), "{sent:?} {segment:?}\nfrom {before:?}");
            }
        }
        self.note(sent);
    }

    /// The network brings an old segment to the table once more. It may pass or not.
    fn arrive_late(&mut self, at: usize) {
        let sent = self.past[at % self.past.len()];
        // Segments do not live for longer than it takes to wrap around (RFC 9293, 3.4.3). A SYN
        // and what answered it, both late, are what an opener looks like that begins again.
        let is_old = self.hosts[usize::from(!sent.by_opener)].next - sent.first > 1 << 30;
        let asks = sent.syn && sent.ack.is_none();
        let segment = self.on_the_wire(&sent);
        let Some(windows) = &mut self.windows else { return };
        if !is_old
            && !asks
            && windows.follow(&segment, false, sent.by_opener != self.is_turned).is_ok()
        {
            self.note(sent);
        }
    }

    fn note(&mut self, sent: Sent) {
        let side = usize::from(!sent.by_opener);
        let shift = if sent.syn { 0 } else { self.hosts[side].shift };
        let window = u64::from(sent.window) << shift;
        let sender = &mut self.noted[side];
        sender.end = sender.end.max(sent.end());
        sender.max_window = sender.max_window.max(window);
        let receiver = &mut self.noted[1 - side];
        receiver.max_end = receiver.max_end.max(sent.ack.unwrap_or(1) + window);
        self.finished[side] |= sent.fin;
        self.past.push(sent);
        self.under_way.push(sent);
    }

    /// The network delivers something that has passed, once or not for the last time.
    fn deliver(&mut self, at: usize, stays: bool) {
        if self.under_way.is_empty() {
            return;
        }
        let at = at % self.under_way.len();
        let sent = if stays { self.under_way[at] } else { self.under_way.swap_remove(at) };
        let (to, from) = (usize::from(sent.by_opener), usize::from(!sent.by_opener));
        let shift = self.hosts[from].shift;
        self.hosts[to].receive(&sent, shift);
    }

    pub(super) fn step(&mut self, step: Step) {
        let (by_opener, kind, number, offer) = step;
        let (at, len) = (number as usize, u64::from(number));
        let host = &mut self.hosts[usize::from(!by_opener)];
        let sent = match kind {
            Kind::Send => host.send(len % 5000),
            Kind::SendMuch => host.send(PAYLOAD_MAX),
            Kind::SendAgain => host.send_again(len, len >> 16),
            Kind::Swap => {
                let (early, late) = (host.send(1460), host.send(1460));
                late.into_iter().for_each(|sent| self.arrive(sent));
                early
            }
            Kind::Lose => {
                host.lose(len);
                None
            }
            Kind::Ack => {
                host.offer = offer;
                Some(host.segment(host.next, host.next))
            }
            Kind::Shut => {
                host.offer = 0;
                Some(host.segment(host.next, host.next))
            }
            Kind::Probe => host.probe(),
            Kind::KeepAlive => Some(host.segment(host.acked - 1, host.acked - 1 + len % 2)),
            Kind::Finish => host.finish(),
            Kind::Deliver => {
                self.deliver(at, len % 5 == 0);
                None
            }
            Kind::DeliverAll => {
                while !self.under_way.is_empty() {
                    self.deliver(at, false);
                }
                None
            }
            Kind::ArriveLate => {
                self.arrive_late(at);
                None
            }
        };
        sent.into_iter().for_each(|sent| self.arrive(sent));
    }
}

/// Something that a host or the network does: by or for whom, what, and numbers to choose by.
pub(super) type Step = (bool, Kind, u32, u16);

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Send,
    SendMuch,
    SendAgain,
    Swap,
    Lose,
    Ack,
    Shut,
    Probe,
    KeepAlive,
    Finish,
    Deliver,
    DeliverAll,
    ArriveLate,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    use Kind::*;
    let kind = prop::sample::select(vec![
        Send, Send, SendMuch, SendMuch, SendAgain, Swap, Lose, Ack, Ack, Ack, Shut, Probe,
        KeepAlive, Deliver, Deliver, Deliver, Deliver, DeliverAll, DeliverAll, ArriveLate,
    ]);
    let kind = prop_oneof![60 => kind, 1 => Just(Finish)];
    let offer = prop_oneof![any::<u16>(), Just(u16::MAX), 0u16..2000];
    prop::collection::vec((any::<bool>(), kind, any::<u32>(), offer), 0..200)
}

pub(super) fn beginning() -> impl Strategy<Value = Beginning> {
    let number = || prop_oneof![any::<u32>(), (u32::MAX - 100_000)..=u32::MAX];
    let scale = || prop::option::weighted(0.8, 0u8..=14);
    ((number(), number()), (scale(), scale()), prop::bool::weighted(0.2), 1u8..3).prop_map(
        |(numbers, scales, is_crossed, syns)| Beginning { numbers, scales, is_crossed, syns },
    )
}

fn low(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap()
}

proptest! {
    #[test]
    fn whatever_hosts_send_by_the_book_passes_whatever_the_network_does(
        beginning in beginning(),
        steps in steps(),
    ) {
        let mut world = World::new(&beginning);
        for step in steps {
            world.step(step);
            let expected = match world.finished {
                [false, false] => TcpState::Established,
                [true, false] => TcpState::OpenerClosed,
                [false, true] => TcpState::ResponderClosed,
                [true, true] => TcpState::Closed,
            };
            prop_assert_eq!(world.state(), expected);
        }
    }

    #[test]
    fn a_transfer_that_is_picked_up_anywhere_goes_on(
        beginning in beginning(),
        before in steps(),
        after in steps(),
    ) {
        let mut world = World::new(&beginning);
        for step in before {
            world.step(step);
        }
        world.windows = None;
        for step in after {
            world.step(step);
        }
    }
}
