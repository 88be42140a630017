//! How long a piece of work takes, in the finest unit that costs next to nothing to read.
//!
//! On x86-64 that is the time stamp counter: a few tens of cycles a reading and no system call. It
//! runs at one rate, the processor's nominal frequency, whatever the core's own is at the moment
//! (Intel SDM volume 3, "Invariant TSC"), so its cycles measure time and not instructions. Other
//! processors have counters of quite other rates, or none that a program may read: there the unit
//! is the nanosecond of the monotonic clock, and is called so.

/// What [`cycles`] counts on this processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CycleUnit {
    /// Cycles of the time stamp counter.
    Cycles,
    /// Nanoseconds of the monotonic clock.
    Nanoseconds,
}

/// What [`cycles`] counts on this processor.
pub const CYCLE_UNIT: CycleUnit =
    if cfg!(target_arch = "x86_64") { CycleUnit::Cycles } else { CycleUnit::Nanoseconds };

/// A counter that goes on by one each [`CYCLE_UNIT`], from an arbitrary beginning. Readings compare
/// on one core only.
#[inline]
#[must_use]
pub fn cycles() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: it reads a register and touches no memory. User space may: Linux allows it unless a
        // process has forbidden it to itself (PR_SET_TSC), which Sluice does not.
        unsafe { std::arch::x86_64::_rdtsc() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        use std::sync::OnceLock;
        use std::time::Instant;

        static BEGINNING: OnceLock<Instant> = OnceLock::new();
        u64::try_from(BEGINNING.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on() {
        let before = cycles();
        // Whichever the unit is, it passes while this thread waits for it.
        while cycles() == before {
            std::hint::spin_loop();
        }
    }
}
