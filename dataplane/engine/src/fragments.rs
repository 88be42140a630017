//! Fragments on their way through a worker.
//!
//! All fragments of a datagram meet at the worker that owns it, by the hash of what they share.
//! The first one goes on to the worker that owns its flow, is judged there like any packet, and
//! the verdict comes back; the rest then passes or does not. What comes before the verdict
//! waits here, in bounds and for a while.

use sluice_core::conntrack::Account;
use sluice_core::drop::DropReason;
use sluice_core::fragments::{DatagramId, Part};
use sluice_core::time::Time;
use sluice_xdp::Frame;

use crate::desk::Handover;
use crate::forward::{Context, Reading};
use crate::port::PortId;
use crate::scene::Scene;
use crate::waiting::{PATIENCE, Waiting};
use crate::worker::Worker;

/// Datagrams looked at for their end a turn.
const EXPIRE_BUDGET: usize = 8;

/// A fragment that has been noted: whose it is, and of what.
struct Noted {
    account: Account,
    datagram: DatagramId,
    part: Part,
}

impl Worker {
    /// Judges a fragment of a datagram that this worker owns.
    pub(crate) fn fragment(&mut self, context: &Context<'_>, frame: Frame, now: Time) {
        let Noted { account, datagram, part } = match self.accept(context, frame.packet_len(), now)
        {
            Ok(noted) => noted,
            Err(reason) => return self.discard(context.scene, frame, context.from, reason),
        };
        let is_early = match part {
            Part::First => return self.first_fragment(context, frame, datagram, now),
            Part::Behind { revision } => {
                let way = self.way_of_continuation(context, frame.packet_len(), revision, now);
                return self.send_on_its_way(context, frame, way, now);
            }
            Part::Pending => false,
            Part::Early => true,
        };
        let (from, until) = (context.from, now + PATIENCE);
        let waiting = Waiting { frame, from, account, datagram, is_early, until };
        if let Some(refused) = self.waiting.admit(waiting) {
            let reason = DropReason::FragmentsFull;
            self.discard(context.scene, refused.frame, refused.from, reason);
        }
    }

    /// Only what its sender may send, and may send there, is noted: nobody can spoil the
    /// datagrams of others.
    fn accept(
        &mut self,
        context: &Context<'_>,
        len: usize,
        now: Time,
    ) -> Result<Noted, DropReason> {
        let (key, fragment) = context.fragment().ok_or(DropReason::FragmentWithoutFirst)?;
        let route = self.route(context, len, now)?;
        let from = context.scene.attachment(context.from);
        let account = from.account().or(route.to.account()).unwrap_or(Account::OUTSIDE);
        let (datagram, part) = self.fragments.accept(&key, fragment, account, now)?;
        Ok(Noted { account, datagram, part })
    }

    fn first_fragment(
        &mut self,
        context: &Context<'_>,
        frame: Frame,
        datagram: DatagramId,
        now: Time,
    ) {
        let owner = context.flow.map_or(self.index, |flow| self.owner(flow.hash));
        if owner == self.index {
            let admitted = self.judge_first(context, frame, now);
            return self.settle(context.scene, &datagram, admitted, now);
        }
        let from = context.from;
        let first = Handover::JudgeFirst { frame, from, datagram, asker: self.index };
        if !self.hand_over(context.scene, owner, first, from) {
            self.settle(context.scene, &datagram, None, now);
        }
    }

    /// Judges a first fragment as the packet that it begins. Returns the revision of the table
    /// that admitted it.
    pub(crate) fn judge_first(
        &mut self,
        context: &Context<'_>,
        frame: Frame,
        now: Time,
    ) -> Option<u64> {
        let way = self.way(context, frame.packet_len(), now);
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
        datagram: DatagramId,
        asker: usize,
        now: Time,
    ) {
        let reading = self.read(scene, &frame, from);
        let admitted = match self.within(&reading, scene, now) {
            Ok(context) => self.judge_first(&context, frame, now),
            Err(reason) => {
                self.discard(scene, frame, from, reason);
                None
            }
        };
        self.hand_over(scene, asker, Handover::Settle { datagram, admitted }, from);
    }

    /// Notes the verdict on a first fragment and lets go of what waited for it.
    pub(crate) fn settle(
        &mut self,
        scene: &Scene,
        datagram: &DatagramId,
        admitted: Option<u64>,
        now: Time,
    ) {
        let part = self.fragments.settle(datagram, admitted, now);
        while let Some(Waiting { frame, from, .. }) = self.waiting.take_of(datagram) {
            self.go_on(scene, frame, from, part, now);
        }
    }

    fn go_on(
        &mut self,
        scene: &Scene,
        frame: Frame,
        from: PortId,
        part: Result<Part, DropReason>,
        now: Time,
    ) {
        let reading = self.read(scene, &frame, from);
        let context = match self.within(&reading, scene, now) {
            Ok(context) => context,
            Err(reason) => return self.discard(scene, frame, from, reason),
        };
        let way = match part {
            Ok(Part::Behind { revision }) => {
                self.way_of_continuation(&context, frame.packet_len(), revision, now)
            }
            Ok(_) => Err(DropReason::FragmentWithoutFirst),
            Err(reason) => Err(reason),
        };
        self.send_on_its_way(&context, frame, way, now);
    }

    /// Lets go of what has waited for too long, and of datagrams that will not be complete.
    pub(crate) fn expire_fragments(&mut self, scene: &Scene, now: Time) {
        while let Some(Waiting { frame, from, .. }) = self.waiting.take_late(now) {
            self.discard(scene, frame, from, DropReason::FragmentWithoutFirst);
        }
        self.fragments.expire(now, EXPIRE_BUDGET);
    }

    fn within<'a>(
        &self,
        reading: &'a Result<Reading, DropReason>,
        scene: &'a Scene,
        now: Time,
    ) -> Result<Context<'a>, DropReason> {
        let reading = reading.as_ref().map_err(|reason| *reason)?;
        let ends = reading.ends(&self.judge_in(scene, now));
        reading.within(scene, ends).ok_or(DropReason::PortGone)
    }
}
