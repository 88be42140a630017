//! Many attempts at once: what one of them waits for, all wait for together.
//!
//! A judgement reads an address's bucket, then an identity, then a policy set, and each of them
//! says where the next lies. In a large table each is a wait for memory. So a batch reads a little
//! of all buckets, of all identities, of all sets, before it judges any: the processor fetches at
//! the same time what does not depend on each other. That changes nothing but the time that the
//! judgement takes.

use std::hint::black_box;

use super::{Attempt, Decision, Ends};
use crate::table::{Direction, Identity, Table};

/// Attempts that are judged together: more would not fit the nearest cache.
pub const BATCH_MAX: usize = 64;

impl Table {
    /// Judges each of some attempts, and hands over its place and what [`Table::decide`] says.
    #[inline]
    pub fn decide_each(&self, attempts: &[Attempt], mut decided: impl FnMut(usize, Decision)) {
        let mut ends = [Ends::EXTERNAL; BATCH_MAX];
        for (batch, first) in attempts.chunks(BATCH_MAX).zip((0..).step_by(BATCH_MAX)) {
            let ends = ends.get_mut(..batch.len()).unwrap_or_default();
            self.ends_of(batch, ends);
            self.warm(ends);
            for (place, (attempt, ends)) in (first..).zip(batch.iter().zip(&*ends)) {
                decided(place, self.decide_between(attempt, ends));
            }
        }
    }

    /// Who holds the addresses of each attempt, as [`Table::ends`] says.
    #[inline]
    pub fn ends_of(&self, attempts: &[Attempt], ends: &mut [Ends]) {
        let mut seen = 0;
        for Attempt { network, source, destination, .. } in attempts {
            seen ^= self.touch(*network, *source) ^ self.touch(*network, *destination);
        }
        black_box(seen);
        for (attempt, ends) in attempts.iter().zip(ends) {
            *ends = self.ends(attempt);
        }
    }

    /// Reads what [`Table::decide_between`] will read of these ends, so that it need not wait.
    /// That pays for 8 to 64 of them at a time.
    #[inline]
    pub fn warm(&self, ends: &[Ends]) {
        let mut seen = 0;
        for Ends { source, destination } in ends {
            seen ^= self.identity_or_none(*source).touch();
            seen ^= self.identity_or_none(*destination).touch();
        }
        black_box(seen);
        for Ends { source, destination } in ends {
            let touch = |it, direction| Identity::touch_sets(self.identity_or_none(it), direction);
            seen ^= touch(*source, Direction::Egress) ^ touch(*destination, Direction::Ingress);
        }
        black_box(seen);
    }
}
