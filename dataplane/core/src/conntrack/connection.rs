//! A connection of the table, and what its packets do to it.

use std::ops::Deref;

use crate::conntrack::accounts::Accounts;
use crate::conntrack::state::{State, Timeouts, Turn};
use crate::conntrack::tracking::{Tracking, shows_use};
use crate::conntrack::wheel::Wheel;
use crate::conntrack::{Account, Opening};
use crate::drop::DropReason;
use crate::flow::{FiveTuple, FlowKey, Side};
use crate::packet::{Quoted, Transport};
use crate::time::Time;

/// A flow that policy has admitted.
///
/// Two cache lines, which processors fetch as a pair: a look-up reads the first.
#[derive(Debug, Clone)]
#[repr(C, align(128))]
pub struct Connection {
    key: FlowKey,
    deadline: Time,
    revision: u64,
    opener: Side,
    account: Account,
    tracking: Tracking,
}

// What fits a million connections into 160 MiB; see the ADR on the connection table.
const _: () = assert!(size_of::<Option<Connection>>() == 128);

impl Connection {
    pub(super) fn new(opening: &Opening, tracking: Tracking, deadline: Time) -> Self {
        let &Opening { key, opener, account, revision, hash: _ } = opening;
        Self { key, deadline, revision, opener, account, tracking }
    }

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

    #[inline]
    pub(super) fn key(&self) -> &FlowKey {
        &self.key
    }

    /// A word of each of its cache lines.
    #[inline]
    pub(super) fn touch(&self) -> u64 {
        self.deadline.0 ^ u64::from(matches!(self.tracking, Tracking::Tcp(_)))
    }

    #[inline]
    pub(super) fn deadline(&self) -> Time {
        self.deadline
    }

    /// Whether it has not expired.
    #[inline]
    pub(super) fn lives(&self, now: Time) -> bool {
        self.deadline > now
    }
}

/// A connection that lives.
#[derive(Debug)]
pub struct Found<'a> {
    pub(super) connection: &'a mut Connection,
    pub(super) slot: u32,
    pub(super) wheel: &'a mut Wheel,
    pub(super) accounts: &'a mut Accounts,
    pub(super) timeouts: &'a Timeouts,
    pub(super) now: Time,
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

    /// Takes in a packet of it, and keeps it alive for as long as its state may last. A packet
    /// that anybody might have sent does not, where it changes nothing.
    ///
    /// # Errors
    /// The reason to drop the packet for, where it does not fit. Nothing has changed then.
    #[inline]
    pub fn follow(
        &mut self,
        transport: &Transport,
        is_fragment: bool,
        by_opener: bool,
    ) -> Result<(), DropReason> {
        let before = self.connection.state();
        self.connection.tracking.follow(transport, is_fragment, by_opener)?;
        let after = self.connection.state();
        if before == after && !shows_use(transport) {
            return Ok(());
        }
        // What ceases to be half-open and is closed is as old as it was.
        if before.turn() != after.turn() {
            self.queue(after.turn());
        }
        self.postpone(self.now + self.timeouts.of(after));
        Ok(())
    }

    #[inline]
    fn queue(&mut self, turn: Option<Turn>) {
        let account = self.connection.account;
        match turn {
            Some(turn) => self.accounts.give_way(account, turn, self.slot),
            None => self.accounts.hold_fast(account, self.slot),
        }
    }

    #[inline]
    fn postpone(&mut self, deadline: Time) {
        // The wheel finds out by itself about a deadline that has moved back.
        if deadline < self.connection.deadline {
            self.wheel.rearm(self.slot, deadline);
        }
        self.connection.deadline = deadline;
    }
}
