//! Connection tracking: a bounded table of the flows that policy has admitted.
//!
//! ```text
//! flow --index--> slot: Connection --deadline--> wheel: when to look whether it has expired
//!                                 \--account---> accounts: quotas, and who gives way
//! ```
//!
//! An entry is found from either direction of its flow. It remembers who opened it, how far it
//! has come and under which table revision it was last judged. All memory is taken at the start,
//! and no operation takes longer than some steps that do not depend on how much is held.
//! Expired entries are not found any more from the moment that they expire, and are swept up a
//! few at a time.
//!
//! When room is short, connections give way to newcomers: those that nobody has answered or that
//! are closed, then those that have been answered and no more (see [`state::Turn`]). What is
//! established or goes back and forth is never pushed out.
//!
//! An entry stays in its slot for as long as it lives, whatever happens to others, and so does
//! a connection that is opened anew in place of one that has ended. So the table can be walked
//! over slice by slice while it changes: see [`Connections::slice`].

pub mod state;

pub(crate) mod accounts;
mod connection;
mod index;
mod list;
mod sctp;
mod slab;
mod tcp;
mod tracking;
mod wheel;

use crate::flow::{FlowHasher, FlowKey, Side};
use crate::packet::Transport;
use crate::time::Time;
use accounts::Accounts;
use index::Index;
use slab::Slab;
use state::Timeouts;
use wheel::{Step, Wheel};

pub use connection::{Connection, Found};
pub(crate) use tcp::opens;
pub(crate) use tracking::Tracking;

/// Whose share of the table a connection takes: that of a pod's port, or the rest's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(pub u16);

impl Account {
    /// Connections between parties of which none has a pod port here.
    pub const OUTSIDE: Self = Self(0);

    /// The number of accounts: one for each port that there can be, and the outside's. Accounts
    /// behind these get no room.
    pub const COUNT: usize = 16_384 + 1;
}

/// How much a table may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at most; more than 2^30 are taken for 2^30.
    pub connections_max: u32,
    /// Connections of one account at most; [`Account::OUTSIDE`] may have half of all.
    pub account_connections_max: u32,
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

/// The connections of one worker.
#[derive(Debug)]
pub struct Connections {
    slab: Slab<Connection>,
    index: Index,
    wheel: Wheel,
    accounts: Accounts,
    hasher: FlowHasher,
    timeouts: Timeouts,
    expired: u64,
    evicted: u64,
}

/// More would not leave the lists room for their heads among the numbers of slots.
const CAPACITY_MAX: u32 = 1 << 30;

/// Packets that are judged together at most.
pub const BATCH_LEN_MAX: usize = 64;

/// What is between others than the pods here leaves these half of the room.
fn outside_max(capacity: u32) -> u32 {
    capacity.div_ceil(2)
}

/// Steps that a newcomer without room takes to find some among what has expired.
const SWEEP_STEPS_MAX: usize = 16;

impl Connections {
    /// An empty table, whose memory is taken now.
    #[must_use]
    pub fn new(limits: Limits, timeouts: Timeouts, hasher: FlowHasher) -> Self {
        let capacity = limits.connections_max.min(CAPACITY_MAX);
        Self {
            slab: Slab::new(capacity),
            index: Index::new(capacity),
            wheel: Wheel::new(capacity),
            accounts: Accounts::new(
                capacity,
                limits.account_connections_max,
                outside_max(capacity),
            ),
            hasher,
            timeouts,
            expired: 0,
            evicted: 0,
        }
    }

    /// Connections held, expired ones that have not been swept yet included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether no connection is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most connections that can be held.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.slab.capacity()
    }

    /// How long each state may last.
    #[must_use]
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Connections that have been freed since the start because they had expired.
    #[must_use]
    pub fn expired(&self) -> u64 {
        self.expired
    }

    /// Connections that have given way to a newcomer since the start, before they had expired.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// All connections that live at `now`.
    pub fn iter(&self, now: Time) -> impl Iterator<Item = &Connection> {
        living(self.slab.as_slice(), now)
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
        let all = self.slab.as_slice();
        let end = from.saturating_add(max.max(1)).min(all.len());
        let slots = all.get(from..end).unwrap_or_default();
        (living(slots, now), (end < all.len()).then_some(end))
    }

    /// The connection of a flow, if it lives at `now`.
    #[inline]
    pub fn find(&mut self, hash: u64, key: &FlowKey, now: Time) -> Option<Found<'_>> {
        let slot = self.slot_of(hash, key)?;
        let Self { slab, wheel, accounts, timeouts, .. } = self;
        let connection = slab.get_mut(slot)?;
        let lives = connection.lives(now);
        lives.then_some(Found { connection, slot, wheel, accounts, timeouts, now })
    }

    /// Reads what [`Self::find`] is about to read for these hashes, at most [`BATCH_LEN_MAX`] of
    /// them.
    ///
    /// Each connection lies in memory of its own that is far away. Found one after the other, they
    /// are waited for one after the other; read in loops that do nothing else, many are on their
    /// way at once.
    #[inline]
    pub fn warm(&self, hashes: &[u64]) {
        let mut slots = [0; BATCH_LEN_MAX];
        for (slot, hash) in slots.iter_mut().zip(hashes) {
            *slot = self.index.likely(*hash);
        }
        let slots = slots.iter().take(hashes.len());
        let read = |slot: &u32| self.slab.get(*slot).map_or(0, Connection::touch);
        std::hint::black_box(slots.map(read).fold(0, std::ops::BitXor::bitxor));
    }

    /// Whether a connection with this hash may be there. If not, none is.
    #[inline]
    #[must_use]
    pub fn may_hold(&self, hash: u64) -> bool {
        self.index.may_hold(hash)
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
        debug_assert_eq!(opening.hash, self.hasher.hash(&opening.key), "hashed by another");
        let former = self.slot_of(opening.hash, &opening.key);
        if let Some(slot) = former {
            self.vacate(opening.hash, slot);
        }
        let slot = match self.make_room(opening.account, former, now) {
            Ok(slot) => slot,
            Err(no_room) => {
                former.into_iter().for_each(|slot| self.slab.release(slot));
                return Err(no_room);
            }
        };
        let state = tracking.state();
        let deadline = now + self.timeouts.of(state);
        self.slab.put(slot, Connection::new(opening, tracking, deadline));
        self.index.insert(opening.hash, slot);
        self.wheel.arm(slot, deadline);
        self.accounts.enter(opening.account);
        if let Some(turn) = state.turn() {
            self.accounts.give_way(opening.account, turn, slot);
        }
        Ok(())
    }

    /// Forgets a flow. Returns whether it was known.
    pub fn remove(&mut self, hash: u64, key: &FlowKey) -> bool {
        let slot = self.slot_of(hash, key);
        if let Some(slot) = slot {
            self.vacate(hash, slot);
            self.slab.release(slot);
        }
        slot.is_some()
    }

    /// Forgets the connections of an account in a slice of the table, which begins at slot `from`
    /// and is `max` slots long, at least one. Returns where the next slice begins, `None` after
    /// the last.
    pub fn forget(&mut self, account: Account, from: usize, max: usize) -> Option<usize> {
        let end = from.saturating_add(max.max(1)).min(self.capacity());
        for slot in from..end {
            let Ok(slot) = u32::try_from(slot) else { break };
            let Some(connection) = self.slab.get(slot) else { continue };
            if connection.account() == account {
                let hash = self.hasher.hash(connection.key());
                self.vacate(hash, slot);
                self.slab.release(slot);
            }
        }
        (end < self.capacity()).then_some(end)
    }

    /// Looks at connections that may have expired, and frees those that have. Takes `budget`
    /// steps at most, each of which is one connection or some time in which none is due.
    /// Returns how many it took: fewer than `budget` if nothing more is due.
    pub fn expire(&mut self, now: Time, budget: usize) -> usize {
        self.sweep(now, budget, |_| false)
    }

    /// Takes steps until there are no more, or `budget` of them, or `is_enough`.
    fn sweep(&mut self, now: Time, budget: usize, is_enough: impl Fn(&Self) -> bool) -> usize {
        let mut steps = 0;
        while steps < budget && !is_enough(self) {
            match self.wheel.step(now) {
                Step::UpToDate => break,
                Step::Passed => {}
                Step::Due(slot) => match self.slab.get(slot).map(Connection::deadline) {
                    Some(deadline) if deadline > now => self.wheel.rearm(slot, deadline),
                    _ => self.free(slot, now),
                },
            }
            steps += 1;
        }
        steps
    }

    /// A slot for a newcomer, reserved; `former` if its flow had one.
    fn make_room(
        &mut self,
        account: Account,
        former: Option<u32>,
        now: Time,
    ) -> Result<u32, NoRoom> {
        if !self.accounts.has_room(account) {
            self.sweep(now, SWEEP_STEPS_MAX, |table| table.accounts.has_room(account));
        }
        if !self.accounts.has_room(account) {
            let first = self.accounts.first_of(account).ok_or(NoRoom::Quota)?;
            self.free(first, now);
        }
        if former.is_some() {
            return former.ok_or(NoRoom::Full);
        }
        if self.slab.is_full() {
            self.sweep(now, SWEEP_STEPS_MAX, |table| !table.slab.is_full());
        }
        if self.slab.is_full() {
            let first = self.accounts.first_for(account).ok_or(NoRoom::Full)?;
            self.free(first, now);
        }
        self.slab.reserve().ok_or(NoRoom::Full)
    }

    /// Frees a slot whose connection has expired or gives way.
    fn free(&mut self, slot: u32, now: Time) {
        let Some(connection) = self.slab.get(slot) else { return };
        if connection.lives(now) {
            self.evicted += 1;
        } else {
            self.expired += 1;
        }
        let hash = self.hasher.hash(connection.key());
        self.vacate(hash, slot);
        self.slab.release(slot);
    }

    /// Takes the connection out of a slot, which stays reserved.
    fn vacate(&mut self, hash: u64, slot: u32) {
        self.index.remove(hash, slot);
        self.wheel.disarm(slot);
        if let Some(connection) = self.slab.take(slot) {
            self.accounts.leave(connection.account(), slot);
        }
    }

    #[inline]
    fn slot_of(&self, hash: u64, key: &FlowKey) -> Option<u32> {
        self.index.find(hash, |slot| {
            self.slab.get(slot).is_some_and(|connection| connection.key() == key)
        })
    }
}

fn living(slots: &[Option<Connection>], now: Time) -> impl Iterator<Item = &Connection> {
    slots.iter().flatten().filter(move |connection| connection.lives(now))
}

#[cfg(test)]
mod tests;
