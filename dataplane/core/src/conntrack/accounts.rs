//! What each account holds, and who gives way when room is short.
//!
//! ```text
//! account --> slots of connections that may give way: for each turn those whose turn it is, in
//!             the order in which it became theirs
//! class   --> accounts that have 2^class of these or more, and fewer than twice as many
//! ```
//!
//! The accounts of the highest class pay first. So an account that floods the table takes from
//! itself and not from others, and none has to be looked for: every step is a few writes.

use crate::conntrack::Account;
use crate::conntrack::list::Lists;
use crate::conntrack::state::Turn;

/// How many accounts there are.
#[expect(clippy::cast_possible_truncation, reason = "accounts have numbers of 16 bits")]
const ACCOUNTS: u32 = Account::COUNT as u32;

/// First and second.
const TURNS: u32 = 2;

/// One for each number of slots from 1 to 2^31, halves cut off.
const CLASSES: u32 = 32;

/// The accounts of one table.
#[derive(Debug)]
pub(crate) struct Accounts {
    held_max: u32,
    outside_held_max: u32,
    shares: Box<[Share]>,
    /// A list for each turn and account.
    yielding: Lists,
    /// A list for each class; what stands in it are accounts.
    classes: Lists,
    /// A bit for each class that is not empty.
    occupied: u32,
}

/// The share of one account.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    /// Slots that it has.
    held: u32,
    /// Those of them that may give way.
    yielding: u32,
}

impl Accounts {
    /// Accounts that hold nothing, over the slots from 0 to `slots`; how many of these one
    /// account may hold, and how many [`Account::OUTSIDE`].
    pub(crate) fn new(slots: u32, held_max: u32, outside_held_max: u32) -> Self {
        Self {
            held_max,
            outside_held_max,
            shares: vec![Share::default(); Account::COUNT].into_boxed_slice(),
            yielding: Lists::new(slots, TURNS * ACCOUNTS),
            classes: Lists::new(ACCOUNTS, CLASSES),
            occupied: 0,
        }
    }

    /// Whether an account may have another slot. One that does not exist may not.
    #[inline]
    pub(crate) fn has_room(&self, account: Account) -> bool {
        let held_max =
            if account == Account::OUTSIDE { self.outside_held_max } else { self.held_max };
        self.shares.get(usize::from(account.0)).is_some_and(|share| share.held < held_max)
    }

    /// Notes that an account has another slot.
    #[inline]
    pub(crate) fn enter(&mut self, account: Account) {
        if let Some(share) = self.shares.get_mut(usize::from(account.0)) {
            share.held += 1;
        }
    }

    /// Notes that a slot of an account is free again.
    #[inline]
    pub(crate) fn leave(&mut self, account: Account, slot: u32) {
        self.hold_fast(account, slot);
        if let Some(share) = self.shares.get_mut(usize::from(account.0)) {
            share.held -= 1;
        }
    }

    /// Notes that a slot of an account may give way from now on, after those whose turn it is
    /// already.
    #[inline]
    pub(crate) fn give_way(&mut self, account: Account, turn: Turn, slot: u32) {
        let gave_way = self.yielding.is_linked(slot);
        self.yielding.unlink(slot);
        self.yielding.push_back(list_of(account.0.into(), turn), slot);
        if !gave_way {
            self.count(account, |yielding| yielding + 1);
        }
    }

    /// Notes that a slot of an account may not give way any more, if it might.
    #[inline]
    pub(crate) fn hold_fast(&mut self, account: Account, slot: u32) {
        if self.yielding.is_linked(slot) {
            self.yielding.unlink(slot);
            self.count(account, |yielding| yielding - 1);
        }
    }

    /// The slot of an account that gives way first.
    #[inline]
    pub(crate) fn first_of(&self, account: Account) -> Option<u32> {
        self.exists(account).then(|| self.front(account.0.into())).flatten()
    }

    /// The slot that gives way first to a newcomer of an account: one of its own if nobody has
    /// twice as many, else one of somebody who has.
    #[inline]
    pub(crate) fn first_for(&self, newcomer: Account) -> Option<u32> {
        let highest = self.occupied.checked_ilog2()?;
        let own = self.shares.get(usize::from(newcomer.0))?.yielding;
        if own.checked_ilog2() == Some(highest) {
            return self.front(newcomer.0.into());
        }
        self.front(self.classes.front(highest)?)
    }

    #[inline]
    fn front(&self, account: u32) -> Option<u32> {
        let of = |turn| self.yielding.front(list_of(account, turn));
        of(Turn::First).or_else(|| of(Turn::Second))
    }

    fn exists(&self, account: Account) -> bool {
        u32::from(account.0) < ACCOUNTS
    }

    /// Changes how many slots of an account may give way.
    #[inline]
    fn count(&mut self, account: Account, change: impl Fn(u32) -> u32) {
        let Some(share) = self.shares.get_mut(usize::from(account.0)) else { return };
        let before = share.yielding.checked_ilog2();
        share.yielding = change(share.yielding);
        let after = share.yielding.checked_ilog2();
        if before == after {
            return;
        }
        let account = u32::from(account.0);
        self.classes.unlink(account);
        if let Some(class) = after {
            self.classes.push_back(class, account);
            self.occupied |= 1 << class;
        }
        if let Some(class) = before
            && self.classes.front(class).is_none()
        {
            self.occupied &= !(1 << class);
        }
    }
}

/// The list of an account's slots whose turn it is.
#[inline]
fn list_of(account: u32, turn: Turn) -> u32 {
    match turn {
        Turn::First => account,
        Turn::Second => ACCOUNTS + account,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn who_has_most_gives_way_first(
            steps in prop::collection::vec((0u8..6, 0u32..64, 0u16..5), 0..300),
        ) {
            let mut accounts = Accounts::new(64, u32::MAX, u32::MAX);
            let mut owners = [None; 64];
            let mut queues = vec![[const { VecDeque::new() }; 2]; 5];
            let turns = [Turn::First, Turn::Second];
            for (step, slot, account) in steps {
                match (step, owners[slot as usize]) {
                    (0..=2, None) => {
                        accounts.enter(Account(account));
                        let turn = usize::from(step % 2);
                        accounts.give_way(Account(account), turns[turn], slot);
                        owners[slot as usize] = Some(account);
                        queues[usize::from(account)][turn].push_back(slot);
                    }
                    (3, Some(owner)) => {
                        accounts.hold_fast(Account(owner), slot);
                        forget(&mut queues[usize::from(owner)], slot);
                    }
                    (4, Some(owner)) => {
                        accounts.leave(Account(owner), slot);
                        owners[slot as usize] = None;
                        forget(&mut queues[usize::from(owner)], slot);
                    }
                    (5, Some(owner)) => {
                        let queues = &mut queues[usize::from(owner)];
                        forget(queues, slot);
                        accounts.give_way(Account(owner), Turn::Second, slot);
                        queues[1].push_back(slot);
                    }
                    _ => {}
                }
                let queues: Vec<Vec<u32>> =
                    queues.iter().map(|queues| queues.iter().flatten().copied().collect()).collect();
                let most = queues.iter().map(Vec::len).max().unwrap();
                for (account, queue) in (0..).zip(&queues) {
                    let account = Account(account);
                    prop_assert_eq!(accounts.first_of(account), queue.first().copied());
                    let first = accounts.first_for(account);
                    let payer = queues.iter().find(|queue| queue.first().copied() == first);
                    match payer {
                        None => prop_assert!(most == 0 && first.is_none()),
                        Some(payer) if first.is_some() => {
                            prop_assert!(payer.len() * 2 > most, "it has about most");
                            // Own slots go first unless another has clearly more.
                            prop_assert!(payer == queue || queue.len() <= payer.len());
                        }
                        Some(_) => prop_assert_eq!(most, 0),
                    }
                }
            }
        }
    }

    fn forget(queues: &mut [VecDeque<u32>; 2], slot: u32) {
        queues.iter_mut().for_each(|queue| queue.retain(|other| *other != slot));
    }

    #[test]
    fn an_account_that_does_not_exist_has_no_room() {
        let accounts = Accounts::new(4, 4, 4);
        let account = |n: usize| Account(u16::try_from(n).unwrap());
        assert!(accounts.has_room(account(Account::COUNT - 1)));
        assert!(!accounts.has_room(account(Account::COUNT)));
        assert!(!accounts.has_room(Account(u16::MAX)));
        assert_eq!(accounts.first_of(Account(u16::MAX)), None);
    }

    #[test]
    fn what_comes_from_outside_has_a_quota_of_its_own() {
        let mut accounts = Accounts::new(4, 1, 2);
        for account in [Account::OUTSIDE, Account(1)] {
            accounts.enter(account);
        }
        assert!(accounts.has_room(Account::OUTSIDE));
        assert!(!accounts.has_room(Account(1)));
        accounts.enter(Account::OUTSIDE);
        assert!(!accounts.has_room(Account::OUTSIDE));
    }
}
