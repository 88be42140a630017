//! Datagrams that come in fragments: the verdict on the first part serves the rest.
//!
//! Nothing is put together here. What is kept of a datagram is which bytes of it have come and
//! what became of its first fragment. Fragments that come before that verdict wait outside, for
//! [`Part::Early`] says so; those that overlap others condemn the datagram, since two readers
//! could put it together in two ways (RFC 1858, 3128, 5722).
//!
//! Memory is taken at the start. Where it is short, the oldest datagram of whoever has most gives
//! way: its parts that come later have no first one, and drop.

use hashbrown::HashTable;

use crate::address::NetworkId;
use crate::conntrack::Account;
use crate::conntrack::accounts::Accounts;
use crate::conntrack::state::Turn;
use crate::drop::DropReason;
use crate::flow::FlowHasher;
use crate::packet::{Fragment, Ip};
use crate::ports::Protocol;
use crate::time::Time;
use std::net::IpAddr;
use std::time::Duration;

/// What all fragments of a datagram share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    network: NetworkId,
    source: IpAddr,
    destination: IpAddr,
    id: u32,
    /// Part of the key in IPv4 (RFC 791, 3.2); 0 in IPv6 (RFC 8200, 4.5).
    protocol: Protocol,
}

/// One datagram among all that have had its key, so that nothing is taken for a part of it that
/// came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatagramId {
    key: FragmentKey,
    number: u64,
}

/// How much a table of datagrams may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentLimits {
    /// Datagrams at most.
    pub datagrams_max: u32,
    /// Datagrams of one account at most.
    pub account_datagrams_max: u32,
    /// How long a datagram may take to come.
    pub timeout: Duration,
}

/// Which part of a datagram a fragment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The first: to be judged like a packet, and the verdict told to [`Fragments::settle`].
    First,
    /// One behind a first that was admitted under the table of `revision`.
    Behind {
        /// That table's revision.
        revision: u64,
    },
    /// One whose first has come and is being judged.
    Pending,
    /// One whose first has not come.
    Early,
}

/// The datagrams of one worker of which fragments have come.
#[derive(Debug)]
pub struct Fragments {
    index: HashTable<u32>,
    slots: Vec<Option<Datagram>>,
    free: Vec<u32>,
    accounts: Accounts,
    timeout: Duration,
    hasher: FlowHasher,
    sweep_next: usize,
    /// The number of the next datagram.
    number: u64,
}

/// What is known of a datagram.
#[derive(Debug, Clone)]
struct Datagram {
    id: DatagramId,
    account: Account,
    deadline: Time,
    fate: Fate,
    pieces: Pieces,
}

/// What becomes of a datagram's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    Admitted { revision: u64 },
    Condemned(DropReason),
}

/// Which bytes of a datagram have come: separate stretches in order, and its end if known.
#[derive(Debug, Clone, Default)]
struct Pieces {
    stretches: [(u32, u32); STRETCHES_MAX],
    count: usize,
    end: Option<u32>,
}

/// Stretches with holes between them. Fragments that come in order make up one; each that
/// overtakes another adds one until the gap closes.
const STRETCHES_MAX: usize = 8;

impl FragmentKey {
    /// The key of a fragment's datagram, and the fragment; `None` for a whole packet.
    #[inline]
    #[must_use]
    pub fn of(network: NetworkId, ip: &Ip) -> Option<(Self, Fragment)> {
        let fragment = ip.fragment?;
        let protocol = if ip.source.is_ipv4() { ip.protocol } else { 0 };
        let Ip { source, destination, .. } = *ip;
        Some((Self { network, source, destination, id: fragment.id, protocol }, fragment))
    }
}

impl Fragments {
    /// A table whose memory is taken now.
    #[must_use]
    pub fn new(limits: FragmentLimits, hasher: FlowHasher) -> Self {
        let FragmentLimits { datagrams_max, account_datagrams_max, timeout } = limits;
        let len = datagrams_max as usize;
        Self {
            // Twice the room: removals leave marks behind, and with less the index would grow.
            index: HashTable::with_capacity(2 * len),
            slots: vec![None; len],
            free: (0..datagrams_max).rev().collect(),
            accounts: Accounts::new(datagrams_max, account_datagrams_max, datagrams_max),
            timeout,
            hasher,
            sweep_next: 0,
            number: 0,
        }
    }

    /// Datagrams that are kept track of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no datagram is kept track of.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Notes a fragment that has passed the guard, and says of which datagram it is which part.
    /// A datagram that is not known yet counts against `account`.
    ///
    /// # Errors
    /// The reason to drop it for.
    pub fn accept(
        &mut self,
        key: &FragmentKey,
        fragment: Fragment,
        account: Account,
        now: Time,
    ) -> Result<(DatagramId, Part), DropReason> {
        let hash = self.hasher.hash(key);
        let slot = match self.find(hash, key, now) {
            Some(slot) => slot,
            None => self.insert(hash, *key, account, now)?,
        };
        let Some(Some(datagram)) = self.slots.get_mut(slot as usize) else {
            return Err(DropReason::FragmentsFull);
        };
        if let Fate::Condemned(reason) = datagram.fate
            && reason != DropReason::FragmentOfDropped
        {
            return Err(reason);
        }
        if let Err(reason) = datagram.pieces.add(fragment) {
            datagram.fate = Fate::Condemned(reason);
            return Err(reason);
        }
        let id = datagram.id;
        let part = match datagram.fate {
            Fate::Open if fragment.offset == 0 => return Ok((id, Part::First)),
            Fate::Open if datagram.pieces.has_first() => return Ok((id, Part::Pending)),
            Fate::Open => return Ok((id, Part::Early)),
            Fate::Admitted { revision } => Ok((id, Part::Behind { revision })),
            Fate::Condemned(reason) => Err(reason),
        };
        self.remove_if_complete(slot);
        part
    }

    /// Notes the verdict on a first fragment: the revision of the table that admitted it, or
    /// `None` if it was dropped. Returns the part that those are now which wait for it.
    ///
    /// # Errors
    /// The reason to drop them for.
    pub fn settle(
        &mut self,
        id: &DatagramId,
        admitted: Option<u64>,
        now: Time,
    ) -> Result<Part, DropReason> {
        let forgotten = DropReason::FragmentWithoutFirst;
        let hash = self.hasher.hash(&id.key);
        let slot = self.find(hash, &id.key, now).ok_or(forgotten)?;
        let Some(Some(datagram)) = self.slots.get_mut(slot as usize) else { return Err(forgotten) };
        if datagram.id != *id {
            return Err(forgotten);
        }
        if datagram.fate == Fate::Open {
            datagram.fate = match admitted {
                Some(revision) => Fate::Admitted { revision },
                None => Fate::Condemned(DropReason::FragmentOfDropped),
            };
        }
        let part = match datagram.fate {
            Fate::Admitted { revision } => Ok(Part::Behind { revision }),
            Fate::Condemned(reason) => Err(reason),
            Fate::Open => Err(forgotten),
        };
        self.remove_if_complete(slot);
        part
    }

    /// Forgets the datagrams of an account, of which there are no more than its share.
    pub fn forget(&mut self, account: Account) {
        while let Some(slot) = self.accounts.first_of(account) {
            self.remove(slot);
        }
    }

    /// Looks at the next `budget` slots and frees those whose time is over.
    pub fn expire(&mut self, now: Time, budget: usize) {
        if self.index.is_empty() {
            return;
        }
        for _ in 0..budget.min(self.slots.len()) {
            let here = self.sweep_next;
            self.sweep_next = if here + 1 == self.slots.len() { 0 } else { here + 1 };
            if let Some(Some(datagram)) = self.slots.get(here)
                && datagram.deadline <= now
            {
                self.remove(u32::try_from(here).unwrap_or(u32::MAX));
            }
        }
    }

    /// The slot of a datagram whose time is not over.
    fn find(&mut self, hash: u64, key: &FragmentKey, now: Time) -> Option<u32> {
        let slots = &self.slots;
        let slot = *self.index.find(hash, |&slot| holds(slots, slot, key))?;
        let lives =
            matches!(slots.get(slot as usize), Some(Some(datagram)) if datagram.deadline > now);
        if lives {
            return Some(slot);
        }
        self.remove(slot);
        None
    }

    fn insert(
        &mut self,
        hash: u64,
        key: FragmentKey,
        account: Account,
        now: Time,
    ) -> Result<u32, DropReason> {
        if !self.accounts.has_room(account) {
            let oldest = self.accounts.first_of(account).ok_or(DropReason::FragmentsFull)?;
            self.remove(oldest);
        }
        if self.free.is_empty() {
            let oldest = self.accounts.first_for(account).ok_or(DropReason::FragmentsFull)?;
            self.remove(oldest);
        }
        let slot = self.free.pop().ok_or(DropReason::FragmentsFull)?;
        let id = DatagramId { key, number: self.number };
        self.number += 1;
        let deadline = now + self.timeout;
        let pieces = Pieces::default();
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(Datagram { id, account, deadline, fate: Fate::Open, pieces });
        }
        self.accounts.enter(account);
        self.accounts.give_way(account, Turn::First, slot);
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.index.insert_unique(hash, slot, |&slot| match slots.get(slot as usize) {
            Some(Some(datagram)) => hasher.hash(&datagram.id.key),
            _ => 0,
        });
        Ok(slot)
    }

    /// Nothing more comes of a datagram that is through, or that has dropped in full.
    fn remove_if_complete(&mut self, slot: u32) {
        let datagram = self.slots.get(slot as usize);
        if matches!(datagram, Some(Some(datagram)) if datagram.pieces.is_complete()) {
            self.remove(slot);
        }
    }

    fn remove(&mut self, slot: u32) {
        let Some(datagram) = self.slots.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        let hash = self.hasher.hash(&datagram.id.key);
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == slot) {
            entry.remove();
        }
        self.accounts.leave(datagram.account, slot);
        self.free.push(slot);
    }
}

fn holds(slots: &[Option<Datagram>], slot: u32, key: &FragmentKey) -> bool {
    matches!(slots.get(slot as usize), Some(Some(datagram)) if datagram.id.key == *key)
}

impl Pieces {
    /// Adds the bytes of a fragment.
    ///
    /// # Errors
    /// [`DropReason::FragmentOverlap`] if some of them are here already or the end contradicts
    /// another; [`DropReason::FragmentsFull`] if there would be too many holes.
    fn add(&mut self, fragment: Fragment) -> Result<(), DropReason> {
        let overlap = Err(DropReason::FragmentOverlap);
        let (start, end) = (fragment.offset, fragment.offset + fragment.len);
        let highest = self.known().last().map_or(0, |(_, end)| *end);
        match self.end {
            Some(last) if end > last || !fragment.more => return overlap,
            None if !fragment.more && end < highest => return overlap,
            _ => {}
        }
        let place = self.known().partition_point(|(_, other_end)| *other_end < start);
        let behind = self.known().iter().skip(place).find(|(_, other_end)| *other_end > start);
        if behind.is_some_and(|(other_start, _)| *other_start < end) {
            return overlap;
        }
        self.join(place, start, end)?;
        if !fragment.more {
            self.end = Some(end);
        }
        Ok(())
    }

    /// Puts in a stretch that overlaps none. `place` is that of the first one that ends at its
    /// start or behind it.
    fn join(&mut self, place: usize, start: u32, end: u32) -> Result<(), DropReason> {
        let joins_left = self.known().get(place).is_some_and(|(_, left_end)| *left_end == start);
        let right = place + usize::from(joins_left);
        let joins_right = self.known().get(right).is_some_and(|(begin, _)| *begin == end);
        match (joins_left, joins_right) {
            (true, true) => {
                let right_end = self.known().get(right).map_or(end, |(_, end)| *end);
                if let Some((_, left_end)) = self.stretches.get_mut(place) {
                    *left_end = right_end;
                }
                self.stretches.copy_within(right + 1.., right);
                self.count -= 1;
            }
            (true, false) => {
                if let Some((_, left_end)) = self.stretches.get_mut(place) {
                    *left_end = end;
                }
            }
            (false, true) => {
                if let Some((begin, _)) = self.stretches.get_mut(right) {
                    *begin = start;
                }
            }
            (false, false) => {
                if self.count == STRETCHES_MAX {
                    return Err(DropReason::FragmentsFull);
                }
                self.stretches.copy_within(place..STRETCHES_MAX - 1, place + 1);
                if let Some(stretch) = self.stretches.get_mut(place) {
                    *stretch = (start, end);
                }
                self.count += 1;
            }
        }
        Ok(())
    }

    fn has_first(&self) -> bool {
        self.known().first().is_some_and(|(start, _)| *start == 0)
    }

    fn known(&self) -> &[(u32, u32)] {
        self.stretches.get(..self.count).unwrap_or_default()
    }

    fn is_complete(&self) -> bool {
        match (self.known(), self.end) {
            ([(0, end)], Some(last)) => *end == last,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
