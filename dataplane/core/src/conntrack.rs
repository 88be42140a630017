//! Connection tracking: a bounded table of the flows that policy has admitted.
//!
//! An entry is found from either direction of its flow. It remembers who opened it, how far it
//! has come and under which table revision it was last judged. Capacity is taken at the start.
//! Expired entries are not found any more from the moment that they expire, and are swept up a
//! few at a time.
//!
//! An entry stays in its slot for as long as it lives, whatever happens to others, and so does
//! a connection that is opened anew in place of one that has ended. So the table can be walked
//! over slice by slice while it changes: see [`Connections::slice`].

pub mod state;

mod sctp;
mod tcp;
mod tracking;

use std::ops::Deref;

use hashbrown::HashTable;

use crate::drop::DropReason;
use crate::flow::{FiveTuple, FlowHasher, FlowKey, Side};
use crate::packet::{Quoted, Transport};
use crate::time::Time;
use state::{State, Timeouts};

pub(crate) use tcp::opens;
pub(crate) use tracking::Tracking;

/// Whose share of the table a connection takes: that of a pod's port, or the rest's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(pub u16);

impl Account {
    /// Connections between parties of which none has a pod port here.
    pub const OUTSIDE: Self = Self(0);

    /// The number of accounts: one for each port that there can be, and the outside's.
    pub const COUNT: usize = 16_384 + 1;
}

/// How much a table may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at most.
    pub connections_max: u32,
    /// Connections of one account at most, [`Account::OUTSIDE`] excepted.
    pub account_connections_max: u32,
}

/// A flow that policy has admitted.
#[derive(Debug, Clone)]
pub struct Connection {
    key: FlowKey,
    opener: Side,
    tracking: Tracking,
    revision: u64,
    deadline: Time,
    account: Account,
}

impl Connection {
    /// The five tuple of the first packet.
    #[must_use]
    pub fn opening(&self) -> FiveTuple {
        self.key.five_tuple(self.opener)
    }

    /// The side that sent the first packet.
    #[inline]
    #[must_use]
    pub fn opener(&self) -> Side {
        self.opener
    }

    /// How far the connection has come.
    #[inline]
    #[must_use]
    pub fn state(&self) -> State {
        self.tracking.state()
    }

    /// Whose share of the table it takes.
    #[must_use]
    pub fn account(&self) -> Account {
        self.account
    }

    /// The table revision that last admitted it.
    #[inline]
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether `sender` can have sent what an ICMP error quotes.
    #[inline]
    pub(crate) fn has_sent(&self, quoted: &Quoted, sender: Side) -> bool {
        self.tracking.has_sent(quoted, sender == self.opener)
    }
}

/// A connection that has begun.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The flow.
    pub key: FlowKey,
    /// The flow's hash.
    pub hash: u64,
    /// The side that sent the first packet.
    pub opener: Side,
    /// Whose share of the table it takes.
    pub account: Account,
    /// The table revision that admitted it.
    pub revision: u64,
}

/// Why a connection finds no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoom {
    /// The table is full.
    Full,
    /// The account has its share.
    Quota,
}

/// A connection that lives.
#[derive(Debug)]
pub struct Found<'a> {
    connection: &'a mut Connection,
    timeouts: &'a Timeouts,
    now: Time,
}

impl Deref for Found<'_> {
    type Target = Connection;

    #[inline]
    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Found<'_> {
    /// Notes that the table of `revision` admits it.
    #[inline]
    pub(crate) fn admit(&mut self, revision: u64) {
        self.connection.revision = revision;
    }

    /// Takes in a packet of it, and keeps it alive for as long as its state may last.
    ///
    /// # Errors
    /// The reason to drop the packet for, where it does not fit. Nothing has changed then.
    #[inline]
    pub(crate) fn follow(
        &mut self,
        transport: &Transport,
        is_fragment: bool,
        by_opener: bool,
    ) -> Result<(), DropReason> {
        let before = self.connection.state();
        self.connection.tracking.follow(transport, is_fragment, by_opener)?;
        let after = self.connection.state();
        // What is closed is not kept alive by stragglers.
        if before != after || !after.is_closed() {
            self.connection.deadline = self.now + self.timeouts.of(after);
        }
        Ok(())
    }
}

/// The connections of one worker.
#[derive(Debug)]
pub struct Connections {
    index: HashTable<u32>,
    slots: Vec<Option<Connection>>,
    free: Vec<u32>,
    hasher: FlowHasher,
    timeouts: Timeouts,
    sweep_next: usize,
}

/// Slots that an insertion into a full table looks at for an expired one.
const SWEEP_WHEN_FULL: usize = 64;

impl Connections {
    /// A table of at most `capacity` connections, whose memory is taken now.
    #[must_use]
    pub fn new(limits: Limits, timeouts: Timeouts, hasher: FlowHasher) -> Self {
        let capacity = limits.connections_max;
        let len = capacity as usize;
        Self {
            // Twice the room: removals leave marks behind, and with less the index would grow.
            index: HashTable::with_capacity(2 * len),
            slots: vec![None; len],
            free: (0..capacity).rev().collect(),
            hasher,
            timeouts,
            sweep_next: 0,
        }
    }

    /// Connections held, expired ones that have not been swept yet included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no connection is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The most connections that can be held.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// How long each state may last.
    #[must_use]
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// All connections that live at `now`.
    pub fn iter(&self, now: Time) -> impl Iterator<Item = &Connection> {
        living(&self.slots, now)
    }

    /// The connections that live at `now` in a slice of the table, which begins at slot `from`
    /// and is `max` slots long, at least one; and where the next slice begins, `None` after the
    /// last.
    ///
    /// Slices from slot 0 to the end list every connection that lives all the while exactly
    /// once, even if the table changes between them. One that comes or goes meanwhile may be
    /// missed, and a flow that is forgotten and admitted again may be in two slices.
    pub fn slice(
        &self,
        from: usize,
        max: usize,
        now: Time,
    ) -> (impl Iterator<Item = &Connection>, Option<usize>) {
        let end = from.saturating_add(max.max(1)).min(self.slots.len());
        let slots = self.slots.get(from..end).unwrap_or_default();
        (living(slots, now), (end < self.slots.len()).then_some(end))
    }

    /// The connection of a flow, if it lives at `now`.
    #[inline]
    pub fn find(&mut self, hash: u64, key: &FlowKey, now: Time) -> Option<Found<'_>> {
        let slot = self.slot_of(hash, key)?;
        let connection = self.slots.get_mut(slot as usize)?.as_mut()?;
        let lives = connection.deadline > now;
        lives.then_some(Found { connection, timeouts: &self.timeouts, now })
    }

    /// Adds the connection that a packet begins, in place of one of the same flow. Returns
    /// whether the packet can begin one (see [`Tracking::opened_by`]).
    ///
    /// # Errors
    /// [`NoRoom`]; the connection of the same flow, if there was one, is gone all the same.
    pub fn open(
        &mut self,
        opening: &Opening,
        transport: &Transport,
        midstream: bool,
        now: Time,
    ) -> Result<bool, NoRoom> {
        match Tracking::opened_by(transport, midstream) {
            Some(tracking) => self.insert(opening, tracking, now).map(|()| true),
            None => Ok(false),
        }
    }

    pub(crate) fn insert(
        &mut self,
        opening: &Opening,
        tracking: Tracking,
        now: Time,
    ) -> Result<(), NoRoom> {
        let &Opening { key, hash, opener, account, revision } = opening;
        self.remove(hash, &key);
        if self.free.is_empty() {
            self.expire(now, SWEEP_WHEN_FULL);
        }
        // The slot given back last goes first, so that a flow opened anew stays where it was.
        let slot = self.free.pop().ok_or(NoRoom::Full)?;
        let deadline = now + self.timeouts.of(tracking.state());
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(Connection { key, opener, tracking, revision, deadline, account });
        }
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.index.insert_unique(hash, slot, |&slot| hash_of(slots, hasher, slot));
        Ok(())
    }

    /// Forgets a flow. Returns whether it was known.
    pub fn remove(&mut self, hash: u64, key: &FlowKey) -> bool {
        let slots = &self.slots;
        let Ok(entry) = self.index.find_entry(hash, |&slot| holds(slots, slot, key)) else {
            return false;
        };
        let (slot, _) = entry.remove();
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = None;
        }
        self.free.push(slot);
        true
    }

    /// Looks at the next `budget` slots and frees those that have expired. Returns how many.
    pub fn expire(&mut self, now: Time, budget: usize) -> usize {
        let mut freed = 0;
        for _ in 0..budget.min(self.slots.len()) {
            let here = self.sweep_next;
            self.sweep_next = if here + 1 == self.slots.len() { 0 } else { here + 1 };
            let Some(Some(connection)) = self.slots.get(here) else { continue };
            if connection.deadline <= now {
                let key = connection.key;
                self.remove(self.hasher.hash(&key), &key);
                freed += 1;
            }
        }
        freed
    }

    #[inline]
    fn slot_of(&self, hash: u64, key: &FlowKey) -> Option<u32> {
        self.index.find(hash, |&slot| holds(&self.slots, slot, key)).copied()
    }
}

fn living(slots: &[Option<Connection>], now: Time) -> impl Iterator<Item = &Connection> {
    slots.iter().flatten().filter(move |connection| connection.deadline > now)
}

#[inline]
fn holds(slots: &[Option<Connection>], slot: u32, key: &FlowKey) -> bool {
    matches!(slots.get(slot as usize), Some(Some(connection)) if connection.key == *key)
}

fn hash_of(slots: &[Option<Connection>], hasher: &FlowHasher, slot: u32) -> u64 {
    match slots.get(slot as usize) {
        Some(Some(connection)) => hasher.hash(&connection.key),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
