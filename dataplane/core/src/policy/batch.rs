//! Many attempts at once: what one of them waits for, all wait for together.
//!
//! A judgement reads an address's bucket, then an identity, then a policy set, and each of them
//! says where the next lies. In a large table each is a wait for memory. So a batch reads a little
//! of all buckets, of all identities, of all sets, before it judges any: the processor fetches at
//! the same time what does not depend on each other. That changes nothing but the time that the
//! judgement takes.

use std::hint::black_box;

use super::{Attempt, Decision, Ends, Identities};
use crate::table::{Direction, Identity, Table};

/// Attempts that are judged together: more would not fit the nearest cache.
pub const BATCH_MAX: usize = 64;

impl Table {
    /// Judges each of some attempts, and hands over its place and what [`Table::decide`] says.
    #[inline]
    pub fn decide_each(&self, attempts: &[Attempt], mut decided: impl FnMut(usize, Decision)) {
        let mut ends = [Ends::EXTERNAL; BATCH_MAX];
        let mut identities = [Identities::NONE; BATCH_MAX];
        for (batch, first) in attempts.chunks(BATCH_MAX).zip((0..).step_by(BATCH_MAX)) {
            let ends = ends.get_mut(..batch.len()).unwrap_or_default();
            let identities = identities.get_mut(..batch.len()).unwrap_or_default();
            self.ends_of(batch, ends);
            for (identities, ends) in identities.iter_mut().zip(&*ends) {
                *identities = self.identities_of(ends);
            }
            touch(identities);
            let known = batch.iter().zip(&*ends).zip(&*identities);
            for (place, ((attempt, ends), identities)) in (first..).zip(known) {
                decided(place, self.decide_as(attempt, ends, identities));
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
        for (Attempt { network, source, destination, .. }, ends) in attempts.iter().zip(ends) {
            // One by one: what is put together elsewhere and then moved as a whole makes the
            // processor wait for its own writes.
            ends.source = self.holder(*network, *source);
            ends.destination = self.holder(*network, *destination);
        }
    }

    /// Reads what [`Table::decide_between`] will read of these ends, so that it need not wait.
    /// That pays for 8 to 64 of them at a time; it looks at no more than [`BATCH_MAX`].
    #[inline]
    pub fn warm(&self, ends: &[Ends]) {
        let mut identities = [Identities::NONE; BATCH_MAX];
        for (identities, ends) in identities.iter_mut().zip(ends) {
            *identities = self.identities_of(ends);
        }
        touch(identities.get(..ends.len()).unwrap_or(&identities));
    }
}

impl Identities<'_> {
    const NONE: Self = Self { source: &Identity::NONE, destination: &Identity::NONE };
}

/// Reads a little of all identities, then of all their policy sets.
#[inline]
fn touch(identities: &[Identities<'_>]) {
    let both = |it: &Identities<'_>| it.source.touch() ^ it.destination.touch();
    black_box(identities.iter().fold(0, |seen, it| seen ^ both(it)));
    let sets = |it: &Identities<'_>| {
        it.source.touch_sets(Direction::Egress) ^ it.destination.touch_sets(Direction::Ingress)
    };
    black_box(identities.iter().fold(0, |seen, it| seen ^ sets(it)));
}
