//! A timer wheel: which slots are due, without looking at those that are not.
//!
//! Time is cut into ticks, and the wheel has a list for each of the next [`TICKS`]. A slot is on
//! the list of the tick at whose beginning its deadline has passed. When a deadline moves back,
//! the slot stays where it is: once its tick has come the caller looks at the deadline that the
//! slot has by then, and arms it again if that has not passed. So a packet that keeps a
//! connection alive writes one number and touches no list. Deadlines behind the last tick wait
//! there and are armed again likewise.
//!
//! A deadline that moves forward has to be armed anew at once.

use crate::conntrack::list::Lists;
use crate::time::Time;

/// A tick's length: 2^28 ns, 268 ms. What has expired is freed so much later at most.
pub(crate) const TICK_NANOS: u64 = 1 << 28;

/// Ticks that the wheel looks ahead: 18 minutes.
const TICKS: u32 = 4096;

/// Ticks without a slot that one step passes over. They take about as long as one slot that is
/// due.
const EMPTY_TICKS_PER_STEP: usize = 64;

/// Which slots are due when.
#[derive(Debug)]
pub(crate) struct Wheel {
    lists: Lists,
    /// The first tick that has not been passed.
    next_tick: u64,
}

/// What one step of the wheel has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The tick of this slot has come: it is to be disarmed, or armed again at its deadline.
    Due(u32),
    /// No slot yet, but there are more ticks to pass.
    Passed,
    /// Nothing is due.
    UpToDate,
}

impl Wheel {
    /// A wheel for the slots from 0 to `slots`, none of which is armed.
    pub(crate) fn new(slots: u32) -> Self {
        Self { lists: Lists::new(slots, TICKS), next_tick: 0 }
    }

    /// Arms a slot that is not armed.
    #[inline]
    pub(crate) fn arm(&mut self, slot: u32, deadline: Time) {
        let due = deadline.0.div_ceil(TICK_NANOS);
        let last = self.next_tick.saturating_add(u64::from(TICKS) - 1);
        self.lists.push_back(list_of(due.clamp(self.next_tick, last)), slot);
    }

    /// Arms a slot that is armed at another deadline.
    #[inline]
    pub(crate) fn rearm(&mut self, slot: u32, deadline: Time) {
        self.disarm(slot);
        self.arm(slot, deadline);
    }

    #[inline]
    pub(crate) fn disarm(&mut self, slot: u32) {
        self.lists.unlink(slot);
    }

    /// Goes on towards `now`: to the next slot that is due, or over some ticks that have none.
    ///
    /// A slot that is due stays so until it is disarmed or armed again.
    #[inline]
    pub(crate) fn step(&mut self, now: Time) -> Step {
        let present = now.0 / TICK_NANOS;
        if self.next_tick > present {
            return Step::UpToDate;
        }
        // Whatever is armed is due after a whole turn: one round visits it all.
        self.next_tick = self.next_tick.max((present + 1).saturating_sub(u64::from(TICKS)));
        for _ in 0..EMPTY_TICKS_PER_STEP {
            if let Some(slot) = self.lists.front(list_of(self.next_tick)) {
                return Step::Due(slot);
            }
            self.next_tick += 1;
            if self.next_tick > present {
                return Step::UpToDate;
            }
        }
        Step::Passed
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a remainder of TICKS fits")]
fn list_of(tick: u64) -> u32 {
    (tick % u64::from(TICKS)) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const SLOTS: u32 = 16;
    const SECOND: u64 = 1_000_000_000;
    const DAY: u64 = 24 * 60 * 60 * SECOND;

    /// A wheel beside the deadlines that it does not know.
    struct Model {
        wheel: Wheel,
        deadlines: BTreeMap<u32, Time>,
        now: Time,
    }

    impl Model {
        fn at(now: Time) -> Self {
            Self { wheel: Wheel::new(SLOTS), deadlines: BTreeMap::new(), now }
        }

        fn set(&mut self, slot: u32, deadline: Time) {
            match self.deadlines.insert(slot, deadline) {
                None => self.wheel.arm(slot, deadline),
                Some(before) if deadline < before => self.wheel.rearm(slot, deadline),
                Some(_) => {}
            }
        }

        /// Takes `budget` steps. Returns whether that was enough.
        fn expire(&mut self, budget: usize) -> bool {
            for _ in 0..budget {
                match self.wheel.step(self.now) {
                    Step::UpToDate => return true,
                    Step::Passed => {}
                    Step::Due(slot) => {
                        let deadline = self.deadlines[&slot];
                        if deadline > self.now {
                            self.wheel.rearm(slot, deadline);
                        } else {
                            self.wheel.disarm(slot);
                            self.deadlines.remove(&slot);
                        }
                    }
                }
            }
            false
        }

        /// Slots that should have been freed a tick ago and more.
        fn overdue(&self) -> Vec<u32> {
            let late = |deadline: Time| deadline.0.saturating_add(TICK_NANOS) <= self.now.0;
            self.deadlines.iter().filter(|(_, end)| late(**end)).map(|(slot, _)| *slot).collect()
        }
    }

    /// Steps that suffice whatever has happened: over every tick, and each slot twice.
    const ENOUGH: usize = TICKS as usize / EMPTY_TICKS_PER_STEP + 2 * SLOTS as usize + 2;

    fn spans() -> impl Strategy<Value = u64> {
        prop_oneof![
            0..2 * TICK_NANOS,
            0..120 * SECOND,
            0..2 * DAY,
            (0u64..9000).prop_map(|ticks| ticks * TICK_NANOS),
        ]
    }

    proptest! {
        #[test]
        fn what_expires_is_freed_a_tick_later_at_most_and_nothing_before(
            start in prop_oneof![Just(0), spans(), Just(u64::MAX / 2)],
            steps in prop::collection::vec((0u8..4, 0..SLOTS, spans()), 0..120),
        ) {
            let mut model = Model::at(Time(start));
            for (step, slot, span) in steps {
                match step {
                    0 | 1 => model.set(slot, Time(model.now.0.saturating_add(span))),
                    2 => {
                        model.wheel.disarm(slot);
                        model.deadlines.remove(&slot);
                    }
                    _ => model.now = Time(model.now.0.saturating_add(span)),
                }
                let kept: Vec<u32> = (model.deadlines.iter())
                    .filter(|(_, end)| **end > model.now).map(|(slot, _)| *slot).collect();
                if slot % 4 != 0 {
                    prop_assert!(model.expire(ENOUGH), "a round has an end");
                    prop_assert_eq!(model.overdue(), Vec::<u32>::new());
                }
                for slot in kept {
                    prop_assert!(model.deadlines.contains_key(&slot), "{slot} freed too early");
                }
            }
        }

        /// The work after a jump is bounded by the wheel and the slots, not by the jump.
        #[test]
        fn a_jump_of_days_is_caught_up_within_a_round(
            spans in prop::collection::vec(spans(), SLOTS as usize),
            days in 1u64..1000,
        ) {
            let mut model = Model::at(Time(DAY));
            for (slot, span) in (0..).zip(spans) {
                model.set(slot, Time(model.now.0 + span));
            }
            model.now = Time(model.now.0 + days * DAY);
            prop_assert!(model.expire(ENOUGH));
            prop_assert_eq!(model.overdue(), Vec::<u32>::new());
            prop_assert!(model.expire(1), "and then there is nothing to do");
        }
    }

    #[test]
    fn a_slot_is_due_at_the_tick_after_its_deadline_and_not_before() {
        for (deadline, tick) in [(1, 1), (TICK_NANOS - 1, 1), (TICK_NANOS, 1), (TICK_NANOS + 1, 2)]
        {
            let mut wheel = Wheel::new(1);
            wheel.arm(0, Time(deadline));
            assert_eq!(wheel.step(Time(tick * TICK_NANOS - 1)), Step::UpToDate, "{deadline}");
            assert_eq!(wheel.step(Time(tick * TICK_NANOS)), Step::Due(0), "{deadline}");
        }
    }

    #[test]
    fn a_deadline_behind_the_horizon_is_looked_at_once_a_turn_of_the_wheel() {
        let mut model = Model::at(Time(0));
        model.set(0, Time(DAY));
        let mut looks = 0;
        while model.deadlines.contains_key(&0) {
            model.now = Time(model.now.0 + TICK_NANOS);
            looks += usize::from(model.wheel.step(model.now) == Step::Due(0));
            model.expire(ENOUGH);
        }
        let turns = DAY.div_ceil(TICK_NANOS * (u64::from(TICKS) - 1));
        assert_eq!(looks as u64, turns);
        assert!(model.now.0 - DAY < TICK_NANOS);
    }
}
