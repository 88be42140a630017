//! The forwarding database: which port a MAC is behind.
//!
//! Pods are static entries, bound to their port and never overruled. What is learned from
//! uplinks and the host ages; what the node's own stack sends from cannot be claimed by an uplink,
//! and what uplinks send from is bounded: where it is full, unknown stays unknown. The
//! database is immutable but for the moment that an entry was last used, so that a worker
//! reads it without a lock; the steward makes the next one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use sluice_core::address::{Mac, NetworkId};
use sluice_core::time::Time;

use crate::port::PortId;

/// Entries learned from uplinks at most.
pub(crate) const LEARNED_MAX: usize = 4096;

/// A learned entry is forgotten after this time without a frame (IEEE 802.1D's default).
pub(crate) const AGEING: Duration = Duration::from_secs(300);

/// An entry's last use is noted at most this often, so that workers seldom write to it.
const TOUCH_INTERVAL: Duration = Duration::from_secs(1);

/// A station and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) network: NetworkId,
    pub(crate) mac: Mac,
    pub(crate) port: PortId,
}

/// A MAC on a network, in one word: two are looked up a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Station(u64);

impl Station {
    #[inline]
    fn new(network: NetworkId, Mac([a, b, c, d, e, f]): Mac) -> Self {
        let [high, low] = network.0.to_be_bytes();
        Self(u64::from_be_bytes([high, low, a, b, c, d, e, f]))
    }
}

/// What is known of a MAC.
#[derive(Debug, Clone)]
enum Entry {
    Static(PortId),
    Learned { port: PortId, last_used: Arc<AtomicU64>, is_host: bool },
}

/// Which port each MAC of each network is behind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fdb {
    entries: HashMap<Station, Entry, ahash::RandomState>,
    /// Entries learned from uplinks.
    learned_len: usize,
}

/// What a frame's source MAC tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceCheck {
    /// It is where it is known to be.
    Known,
    /// It is new, or has moved.
    News,
    /// It belongs to a pod or to the node behind another port.
    Stolen,
}

impl Fdb {
    /// The port that `mac` is behind.
    #[inline]
    pub(crate) fn find(&self, network: NetworkId, mac: Mac) -> Option<PortId> {
        match self.entries.get(&Station::new(network, mac))? {
            Entry::Static(port) | Entry::Learned { port, .. } => Some(*port),
        }
    }

    /// Compares where a frame came from with what is known of its source, and keeps that alive.
    #[inline]
    pub(crate) fn check_source(&self, sighting: Sighting, now: Time) -> SourceCheck {
        match self.entries.get(&Station::new(sighting.network, sighting.mac)) {
            Some(Entry::Static(port)) if *port == sighting.port => SourceCheck::Known,
            Some(Entry::Static(_)) => SourceCheck::Stolen,
            Some(Entry::Learned { port, last_used, .. }) if *port == sighting.port => {
                if now.since(Time(last_used.load(Relaxed))) > TOUCH_INTERVAL {
                    last_used.store(now.0, Relaxed);
                }
                SourceCheck::Known
            }
            Some(Entry::Learned { is_host: true, .. }) => SourceCheck::Stolen,
            Some(Entry::Learned { .. }) | None => SourceCheck::News,
        }
    }

    /// Binds a pod's MAC to its port.
    pub(crate) fn bind(&mut self, network: NetworkId, mac: Mac, port: PortId) {
        if let Some(Entry::Learned { is_host: false, .. }) =
            self.entries.insert(Station::new(network, mac), Entry::Static(port))
        {
            self.learned_len -= 1;
        }
    }

    /// Learns where a station is, on a host port or on an uplink. Returns whether that changed
    /// anything.
    pub(crate) fn learn(&mut self, sighting: Sighting, is_host: bool, now: Time) -> bool {
        let key = Station::new(sighting.network, sighting.mac);
        let was_from_uplink = match self.entries.get(&key) {
            Some(Entry::Static(_)) => return false,
            Some(Entry::Learned { port, .. }) if *port == sighting.port => return false,
            Some(Entry::Learned { is_host: true, .. }) if !is_host => return false,
            Some(Entry::Learned { is_host, .. }) => !is_host,
            None => false,
        };
        let learned_len = self.learned_len - usize::from(was_from_uplink) + usize::from(!is_host);
        if learned_len > LEARNED_MAX {
            return false;
        }
        self.learned_len = learned_len;
        let last_used = Arc::new(AtomicU64::new(now.0));
        self.entries.insert(key, Entry::Learned { port: sighting.port, last_used, is_host });
        true
    }

    /// Forgets what has aged. Returns whether anything had.
    pub(crate) fn age(&mut self, now: Time) -> bool {
        self.retain_learned(|_, last_used| now.since(last_used) < AGEING)
    }

    /// Forgets everything behind a port that has gone.
    pub(crate) fn forget_port(&mut self, gone: PortId) {
        self.entries.retain(|_, entry| !matches!(entry, Entry::Static(port) if *port == gone));
        self.retain_learned(|port, _| port != gone);
    }

    /// Entries learned from uplinks.
    pub(crate) fn learned_len(&self) -> usize {
        self.learned_len
    }

    fn retain_learned(&mut self, keep: impl Fn(PortId, Time) -> bool) -> bool {
        let before = self.entries.len();
        let mut from_uplinks = 0;
        self.entries.retain(|_, entry| match entry {
            Entry::Static(_) => true,
            Entry::Learned { port, last_used, is_host } => {
                let keeps = keep(*port, Time(last_used.load(Relaxed)));
                from_uplinks += usize::from(keeps && !*is_host);
                keeps
            }
        });
        self.learned_len = from_uplinks;
        self.entries.len() != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(mac: u16, port: u16) -> Sighting {
        let [high, low] = mac.to_be_bytes();
        Sighting {
            network: NetworkId::DEFAULT,
            mac: Mac([2, 0, 0, 1, high, low]),
            port: PortId(port),
        }
    }

    #[test]
    fn a_pods_mac_cannot_be_learned_away() {
        let mut fdb = Fdb::default();
        let pod = sighting(1, 3);
        fdb.bind(pod.network, pod.mac, pod.port);
        let thief = Sighting { port: PortId(4), ..pod };
        assert_eq!(fdb.check_source(thief, Time(0)), SourceCheck::Stolen);
        assert!(!fdb.learn(thief, false, Time(0)));
        assert_eq!(fdb.find(pod.network, pod.mac), Some(PortId(3)));
    }

    #[test]
    fn the_nodes_own_mac_cannot_be_claimed_by_an_uplink() {
        let mut fdb = Fdb::default();
        for n in 0..u16::try_from(LEARNED_MAX).unwrap() {
            assert!(fdb.learn(sighting(n, 1), false, Time(0)));
        }
        let node = sighting(60000, 2);
        assert!(fdb.learn(node, true, Time(0)), "a flood of strangers leaves it its place");
        let thief = Sighting { port: PortId(1), ..node };
        assert_eq!(fdb.check_source(thief, Time(0)), SourceCheck::Stolen);
        assert!(!fdb.learn(thief, false, Time(0)));
        assert!(fdb.learn(sighting(7, 2), true, Time(0)), "the node takes what is its own");
        assert_eq!(fdb.learned_len(), LEARNED_MAX - 1);
    }

    #[test]
    fn stations_move_age_and_are_bounded() {
        let mut fdb = Fdb::default();
        for n in 0..u16::try_from(LEARNED_MAX).unwrap() {
            assert!(fdb.learn(sighting(n, 1), false, Time(0)));
        }
        assert!(!fdb.learn(sighting(60000, 1), false, Time(0)), "full");
        assert_eq!(fdb.check_source(sighting(7, 2), Time(0)), SourceCheck::News);
        assert!(fdb.learn(sighting(7, 2), false, Time(0)), "a known station may move");
        assert_eq!(fdb.learned_len(), LEARNED_MAX);

        // One that keeps talking outlives the others.
        let later = Time(0) + AGEING;
        assert_eq!(fdb.check_source(sighting(8, 1), Time(later.0 - 1)), SourceCheck::Known);
        assert!(fdb.age(later));
        assert_eq!(fdb.learned_len(), 1);
        assert_eq!(fdb.find(NetworkId::DEFAULT, sighting(8, 1).mac), Some(PortId(1)));
        fdb.forget_port(PortId(1));
        assert_eq!(fdb.learned_len(), 0);
    }
}
