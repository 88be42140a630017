//! Where fragments wait for the verdict on the first one of their datagram.
//!
//! There is room for so many, and who floods takes from himself: what one account may have is
//! bounded, and where all room is taken the account that has most gives way. Early ones, whose
//! first has not come, give way to those whose first is being judged, which takes a moment only.

use std::time::Duration;

use sluice_core::conntrack::Account;
use sluice_core::fragments::DatagramId;
use sluice_core::time::Time;
use sluice_xdp::Frame;

use crate::port::PortId;

/// Fragments that wait at most, all together.
pub(crate) const WAITING_MAX: usize = 256;

/// Early ones of one account at most.
const EARLY_MAX: usize = 64;

/// Those of one account at most whose first is being judged.
const PENDING_MAX: usize = 128;

/// How long a fragment waits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// A fragment that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) frame: Frame,
    pub(crate) from: PortId,
    /// Whose share of the room it takes.
    pub(crate) account: Account,
    pub(crate) datagram: DatagramId,
    /// Whether the first one had not come when it came.
    pub(crate) is_early: bool,
    pub(crate) until: Time,
}

/// All that wait at a worker, in the order in which they came.
#[derive(Debug)]
pub(crate) struct WaitingRoom {
    all: Vec<Waiting>,
    /// One for each account of which some wait.
    shares: Vec<Share>,
}

/// How many of an account wait.
#[derive(Debug, Clone, Copy)]
struct Share {
    account: Account,
    early: usize,
    pending: usize,
}

impl WaitingRoom {
    pub(crate) fn new() -> Self {
        Self { all: Vec::with_capacity(WAITING_MAX), shares: Vec::with_capacity(WAITING_MAX) }
    }

    /// Chunks of packet memory that all of them take.
    pub(crate) fn chunk_count(&self) -> usize {
        self.all.iter().map(|waiting| waiting.frame.chunk_count()).sum()
    }

    /// Takes one in. Returns the one that has no room: this, or another that gives way to it.
    pub(crate) fn admit(&mut self, waiting: Waiting) -> Option<Waiting> {
        let Waiting { account, is_early, .. } = waiting;
        let own = self.share(account).copied().unwrap_or(Share { account, early: 0, pending: 0 });
        if own.of(is_early) >= if is_early { EARLY_MAX } else { PENDING_MAX } {
            return Some(waiting);
        }
        let mut gives_way = None;
        if self.all.len() >= WAITING_MAX {
            let Some((loser, early)) = self.loser(&own, is_early) else { return Some(waiting) };
            gives_way = self.take_first(|it| it.is_early == early && it.account == loser);
        }
        match self.shares.iter_mut().find(|share| share.account == account) {
            Some(share) => *share.of_mut(is_early) += 1,
            None => {
                let mut share = Share { account, early: 0, pending: 0 };
                *share.of_mut(is_early) += 1;
                self.shares.push(share);
            }
        }
        self.all.push(waiting);
        gives_way
    }

    /// The next one that belongs to a datagram.
    pub(crate) fn take_of(&mut self, datagram: &DatagramId) -> Option<Waiting> {
        self.take_first(|waiting| waiting.datagram == *datagram)
    }

    /// The next one that has waited for too long.
    pub(crate) fn take_late(&mut self, now: Time) -> Option<Waiting> {
        // All wait for as long, so the first to come is the first to go.
        let is_late = self.all.first().is_some_and(|waiting| waiting.until <= now);
        if is_late { self.take_first(|_| true) } else { None }
    }

    /// The next one that came from a port.
    pub(crate) fn take_from(&mut self, port: PortId) -> Option<Waiting> {
        self.take_first(|waiting| waiting.from == port)
    }

    /// The next one of all.
    pub(crate) fn take(&mut self) -> Option<Waiting> {
        self.take_first(|_| true)
    }

    fn take_first(&mut self, is_it: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
        let place = self.all.iter().position(is_it)?;
        let waiting = self.all.remove(place);
        let at = self.shares.iter().position(|share| share.account == waiting.account);
        if let Some(at) = at
            && let Some(share) = self.shares.get_mut(at)
        {
            *share.of_mut(waiting.is_early) -= 1;
            if share.early + share.pending == 0 {
                self.shares.swap_remove(at);
            }
        }
        Some(waiting)
    }

    /// Who gives way to a newcomer where all room is taken: an account, and whether early ones of
    /// it. Among its own kind a newcomer takes only from who has more.
    fn loser(&self, own: &Share, is_early: bool) -> Option<(Account, bool)> {
        let most = |early: bool| {
            let most = self.shares.iter().max_by_key(|share| share.of(early));
            most.filter(|share| share.of(early) > 0)
        };
        let has_more = |share: &&Share| share.of(is_early) > own.of(is_early);
        match (most(true), is_early) {
            (Some(most), false) => Some((most.account, true)),
            (Some(most), true) => Some(most).filter(has_more).map(|it| (it.account, true)),
            (None, true) => None,
            (None, false) => most(false).filter(has_more).map(|it| (it.account, false)),
        }
    }

    fn share(&self, account: Account) -> Option<&Share> {
        self.shares.iter().find(|share| share.account == account)
    }
}

impl Share {
    fn of(&self, is_early: bool) -> usize {
        if is_early { self.early } else { self.pending }
    }

    fn of_mut(&mut self, is_early: bool) -> &mut usize {
        if is_early { &mut self.early } else { &mut self.pending }
    }
}

#[cfg(test)]
mod tests {
    use sluice_core::address::NetworkId;
    use sluice_core::flow::FlowHasher;
    use sluice_core::fragments::{FragmentKey, FragmentLimits, Fragments};
    use sluice_core::packet::Packet;
    use sluice_xdp::{FramePool, Umem};

    use super::*;

    /// A room, and what fragments to fill it are made of.
    struct Bed {
        room: WaitingRoom,
        pool: FramePool,
        datagrams: Vec<DatagramId>,
    }

    impl Bed {
        fn new() -> Self {
            let limits = FragmentLimits {
                datagrams_max: 16,
                account_datagrams_max: 16,
                timeout: Duration::from_secs(30),
            };
            let mut fragments = Fragments::new(limits, FlowHasher::seeded(1));
            let datagrams = (0..8u8).map(|id| {
                let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
                frame.extend([0x45, 0, 0, 28, 0, id, 0x20, 1, 64, 17, 0, 0]);
                frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
                let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&frame[14..34]);
                frame[24..26].copy_from_slice(&sum.ones_complement().to_ne_bytes());
                frame.extend([0; 8]);
                let packet = Packet::parse(&frame).unwrap();
                let ip = packet.ip().unwrap();
                let (key, fragment) = FragmentKey::of(NetworkId::DEFAULT, ip).unwrap();
                fragments.accept(&key, fragment, Account(1), Time(0)).unwrap().0
            });
            let datagrams = datagrams.collect();
            let (_, pool) = Umem::in_memory(512).unwrap();
            Self { room: WaitingRoom::new(), pool, datagrams }
        }

        /// Lets one in; returns the account of whoever has no room for it.
        fn admit(&mut self, account: u16, datagram: usize, is_early: bool) -> Option<u16> {
            let waiting = Waiting {
                frame: self.pool.take().unwrap(),
                from: PortId(0),
                account: Account(account),
                datagram: self.datagrams[datagram],
                is_early,
                until: Time(0) + PATIENCE,
            };
            let refused = self.room.admit(waiting)?;
            self.pool.put(refused.frame);
            Some(refused.account.0)
        }
    }

    impl Drop for Bed {
        fn drop(&mut self) {
            while let Some(waiting) = self.room.take() {
                self.pool.put(waiting.frame);
            }
            assert_eq!(self.pool.len(), 512);
        }
    }

    #[test]
    fn what_waits_goes_in_its_order() {
        let mut bed = Bed::new();
        for datagram in [0, 1, 0, 1] {
            assert_eq!(bed.admit(u16::try_from(datagram).unwrap(), datagram, true), None);
        }
        let second = bed.datagrams[1];
        for _ in 0..2 {
            let waiting = bed.room.take_of(&second).unwrap();
            assert_eq!(waiting.datagram, second);
            bed.pool.put(waiting.frame);
        }
        assert!(bed.room.take_of(&second).is_none());
        let patience = Time(0) + PATIENCE;
        assert!(bed.room.take_late(Time(patience.0 - 1)).is_none());
        while let Some(waiting) = bed.room.take_late(patience) {
            bed.pool.put(waiting.frame);
        }
        assert_eq!(bed.room.all.len(), 0);
    }

    #[test]
    fn an_account_has_so_many_early_ones_and_no_more() {
        let mut bed = Bed::new();
        for _ in 0..EARLY_MAX {
            assert_eq!(bed.admit(1, 0, true), None);
        }
        assert_eq!(bed.admit(1, 0, true), Some(1));
        assert_eq!(bed.admit(1, 1, false), None, "its first one has come");
        assert_eq!(bed.admit(2, 0, true), None);
        let datagram = bed.datagrams[0];
        let gone = bed.room.take_of(&datagram).unwrap();
        bed.pool.put(gone.frame);
        assert_eq!(bed.admit(1, 0, true), None, "there is room again");
    }

    #[test]
    fn where_all_room_is_taken_who_has_most_gives_way() {
        let mut bed = Bed::new();
        for account in 1..=4 {
            for _ in 0..EARLY_MAX {
                assert_eq!(bed.admit(account, 0, true), None);
            }
        }
        assert_eq!(bed.room.all.len(), WAITING_MAX);
        // Newcomers get room until they have as much as anybody else.
        let mut given = 0;
        while let Some(loser) = bed.admit(9, 1, true) {
            if loser == 9 {
                break;
            }
            assert!((1..=4).contains(&loser));
            given += 1;
        }
        assert!((50..=53).contains(&given), "a fifth of it: {given}");
        assert_eq!(bed.room.all.len(), WAITING_MAX);
        // What is being judged gets what early ones have, up to its own bound.
        for account in [5, 6] {
            for _ in 0..PENDING_MAX {
                assert!(bed.admit(account, 2, false).is_some_and(|loser| loser != account));
            }
            assert_eq!(bed.admit(account, 2, false), Some(account));
        }
        assert_eq!(bed.admit(7, 3, true), Some(7), "nobody early is left to take from");
        assert!(bed.admit(7, 3, false).is_some_and(|loser| loser != 7));
    }
}
