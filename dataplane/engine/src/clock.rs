//! The one place of the dataplane that asks for the time.

use std::time::{Instant, SystemTime};

use sluice_core::time::Time;

/// A monotonic clock that starts at zero with the engine.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Time {
        Time(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// What the wall clock says now.
    pub(crate) fn wall(&self) -> Wall {
        Wall { time: self.now(), wall: SystemTime::now() }
    }
}

/// What the wall clock said at one moment, and so would say at others if nobody set it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wall {
    pub(crate) time: Time,
    pub(crate) wall: SystemTime,
}

impl Wall {
    /// What it says at another moment, an earlier one too.
    pub(crate) fn at(&self, time: Time) -> SystemTime {
        let moment = self.wall.checked_add(time.since(self.time));
        moment.and_then(|it| it.checked_sub(self.time.since(time))).unwrap_or(self.wall)
    }
}
