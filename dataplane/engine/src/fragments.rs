//! Fragments on their way through a worker.
//!
//! All fragments of a datagram meet at the worker that owns it, by the hash of what they share.
//! The first one goes on to the worker that owns its flow, is judged there like any packet, and
//! the verdict comes back; the rest then passes or does not. What comes before the verdict
//! waits here, in bounds and for a while.

use std::time::Duration;

use sluice_core::conntrack::Account;
use sluice_core::drop::DropReason;
use sluice_core::fragments::{FragmentKey, Part};
use sluice_core::time::Time;
use sluice_xdp::Frame;

use crate::desk::Handover;
use crate::forward::Context;
use crate::port::PortId;
use crate::scene::Scene;
use crate::worker::Worker;

/// Fragments that wait at most, all together.
pub(crate) const WAITING_MAX: usize = 256;

/// Fragments from one port that wait at most.
const WAITING_MAX_PER_PORT: usize = 64;

/// How long a fragment waits for the first one.
const PATIENCE: Duration = Duration::from_secs(1);

/// Datagrams looked at for their end a turn.
const EXPIRE_BUDGET: usize = 8;

/// A fragment that waits for the verdict on the first one.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) frame: Frame,
    from: PortId,
    key: FragmentKey,
    until: Time,
}

impl Worker {
    /// Judges a fragment of a datagram that this worker owns.
    pub(crate) fn fragment(&mut self, context: &Context<'_>, frame: Frame, now: Time) {
        match self.accept(context, frame.len(), now) {
            Ok((key, Part::First)) => self.first_fragment(context, frame, key, now),
            Ok((_, Part::Behind { revision })) => {
                let way = self.way_of_continuation(context, frame.len(), revision, now);
                self.send_on_its_way(context, frame, way, now);
            }
            Ok((key, Part::Early)) => self.hold(context, frame, key, now),
            Err(reason) => self.discard(context.scene, frame, context.from, reason),
        }
    }

    /// Only what its sender may send, and may send there, is noted: nobody can spoil the
    /// datagrams of others.
    fn accept(
        &mut self,
        context: &Context<'_>,
        len: usize,
        now: Time,
    ) -> Result<(FragmentKey, Part), DropReason> {
        let (key, fragment) = context.fragment.ok_or(DropReason::FragmentWithoutFirst)?;
        let route = self.route(context, len, now)?;
        let from = context.scene.attachment(context.from);
        let account = from.account().or(route.to.account()).unwrap_or(Account::OUTSIDE);
        Ok((key, self.fragments.accept(&key, fragment, account, now)?))
    }

    fn first_fragment(&mut self, context: &Context<'_>, frame: Frame, key: FragmentKey, now: Time) {
        let owner = context.flow.as_ref().map_or(self.index, |flow| self.owner(flow.hash));
        if owner == self.index {
            let admitted = self.judge_first(context, frame, now);
            return self.settle(context.scene, &key, admitted, now);
        }
        let from = context.from;
        let first = Handover::JudgeFirst { frame, from, key, asker: self.index };
        self.hand_over(context.scene, owner, first, from);
    }

    /// Judges a first fragment as the packet that it begins. Returns the revision of the table
    /// that admitted it.
    pub(crate) fn judge_first(
        &mut self,
        context: &Context<'_>,
        frame: Frame,
        now: Time,
    ) -> Option<u64> {
        let way = self.way(context, frame.len(), now);
        let admitted = way.as_ref().ok().map(|_| context.scene.table.revision());
        self.send_on_its_way(context, frame, way, now);
        admitted
    }

    /// Judges the first fragment of a datagram that another worker owns, and tells it.
    pub(crate) fn answer(
        &mut self,
        scene: &Scene,
        frame: Frame,
        from: PortId,
        key: FragmentKey,
        asker: usize,
        now: Time,
    ) {
        let admitted = match self.read(scene, &frame, from) {
            Ok(context) => self.judge_first(&context, frame, now),
            Err(reason) => {
                self.discard(scene, frame, from, reason);
                None
            }
        };
        self.hand_over(scene, asker, Handover::Settle { key, admitted }, from);
    }

    /// Notes the verdict on a first fragment and lets go of what waited for it.
    pub(crate) fn settle(
        &mut self,
        scene: &Scene,
        key: &FragmentKey,
        admitted: Option<u64>,
        now: Time,
    ) {
        self.fragments.settle(key, admitted, now);
        let mut place = 0;
        while let Some(waiting) = self.waiting.get(place) {
            if waiting.key != *key {
                place += 1;
                continue;
            }
            let Waiting { frame, from, .. } = self.waiting.remove(place);
            self.go_on(scene, frame, from, key, now);
        }
    }

    fn go_on(&mut self, scene: &Scene, frame: Frame, from: PortId, key: &FragmentKey, now: Time) {
        let context = match self.read(scene, &frame, from) {
            Ok(context) => context,
            Err(reason) => return self.discard(scene, frame, from, reason),
        };
        let way = match self.fragments.fate(key, now) {
            Ok(Part::Behind { revision }) => {
                self.way_of_continuation(&context, frame.len(), revision, now)
            }
            Ok(_) => Err(DropReason::FragmentWithoutFirst),
            Err(reason) => Err(reason),
        };
        self.send_on_its_way(&context, frame, way, now);
    }

    fn hold(&mut self, context: &Context<'_>, frame: Frame, key: FragmentKey, now: Time) {
        let of_port = self.waiting.iter().filter(|waiting| waiting.from == context.from).count();
        if self.waiting.len() >= WAITING_MAX || of_port >= WAITING_MAX_PER_PORT {
            let reason = DropReason::FragmentsFull;
            return self.discard(context.scene, frame, context.from, reason);
        }
        self.waiting.push(Waiting { frame, from: context.from, key, until: now + PATIENCE });
    }

    /// Lets go of what has waited for too long, and of datagrams that will not be complete.
    pub(crate) fn expire_fragments(&mut self, scene: &Scene, now: Time) {
        // All wait for as long, so the first to come is the first to go.
        while self.waiting.first().is_some_and(|waiting| waiting.until <= now) {
            let Waiting { frame, from, .. } = self.waiting.remove(0);
            self.discard(scene, frame, from, DropReason::FragmentWithoutFirst);
        }
        self.fragments.expire(now, EXPIRE_BUDGET);
    }
}
