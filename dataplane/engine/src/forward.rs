//! The path of one frame through a worker: from the port that received it to the port that
//! sends it, or to the reason that it does not get there.

use sluice_core::address::NetworkId;
use sluice_core::checksum;
use sluice_core::drop::DropReason;
use sluice_core::flow::FlowHasher;
use sluice_core::fragments::FragmentKey;
use sluice_core::guard::Attachment;
use sluice_core::judge::{Crossing, FlowOf, Judge, Verdict};
use sluice_core::packet::{Fragment, Packet};
use sluice_core::policy::{Attempt, Ends};
use sluice_core::time::Time;
use sluice_xdp::Frame;

use crate::batch::Batch;
use crate::chained;
use crate::desk::Handover;
use crate::fdb::{Sighting, SourceCheck};
use crate::flood::Bucket;
use crate::port::{Port, PortId};
use crate::scene::Scene;
use crate::stages::Stage;
use crate::tag;
use crate::worker::Worker;

/// Bytes of an 802.1Q tag.
const TAG_LEN: usize = 4;

/// Where a judged packet goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// Out of one port.
    Port(PortId),
    /// To everybody of the network whom it may reach.
    Everybody,
    /// To the uplinks and the host, one of which may know the destination.
    Unknown,
}

/// Where a guarded packet would go, and what is attached there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route {
    way: Way,
    pub(crate) to: Attachment,
}

/// What a frame is, read once for all that follows.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) from: PortId,
    packet: Packet,
    network: NetworkId,
    pub(crate) flow: Option<FlowOf>,
}

/// A packet, the network and the flow that it is on, and who sent it.
pub(crate) struct Context<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) from: PortId,
    port: &'a Port,
    packet: &'a Packet,
    network: NetworkId,
    pub(crate) flow: Option<&'a FlowOf>,
    ends: Ends,
}

/// A place for a reading.
impl Default for Reading {
    fn default() -> Self {
        let (from, network) = (PortId(0), NetworkId::DEFAULT);
        Self { from, packet: Packet::default(), network, flow: None }
    }
}

impl Reading {
    /// The datagram that the packet is a part of, if it is a fragment.
    #[inline]
    fn fragment(&self) -> Option<(FragmentKey, Fragment)> {
        self.packet.ip().and_then(|ip| FragmentKey::of(self.network, ip))
    }

    #[inline]
    pub(crate) fn is_fragment(&self) -> bool {
        self.packet.ip().is_some_and(|ip| ip.fragment.is_some())
    }

    /// What decides which worker owns it: the hash of its datagram or of its flow.
    #[inline]
    fn hash(&self, hasher: &FlowHasher) -> Option<u64> {
        match self.fragment() {
            Some((key, _)) => Some(hasher.hash(&key)),
            None => self.flow.as_ref().map(|flow| flow.hash),
        }
    }

    /// What it is in a scene; `None` if the port that it came from is not there any more.
    #[inline]
    pub(crate) fn within<'a>(&'a self, scene: &'a Scene, ends: Ends) -> Option<Context<'a>> {
        let &Self { from, ref packet, network, ref flow } = self;
        let port = scene.port(from)?;
        Some(Context { scene, from, port, packet, network, flow: flow.as_ref(), ends })
    }

    /// What policy would be asked, if it opened a connection.
    #[inline]
    pub(crate) fn attempt(&self) -> Option<Attempt> {
        self.packet.ip().map(|ip| Attempt::of(self.network, ip))
    }

    /// Who holds its addresses.
    #[inline]
    pub(crate) fn ends(&self, judge: &Judge<'_>) -> Ends {
        judge.ends(self.network, &self.packet)
    }

    /// Reads where [`Self::ends`] will look.
    #[inline]
    pub(crate) fn touch_ends(&self, judge: &Judge<'_>) -> u32 {
        judge.touch_ends(self.network, &self.packet)
    }
}

impl Context<'_> {
    fn crossing(&self, to: Attachment) -> Crossing<'_> {
        let from = self.scene.attachment(self.from);
        let &Self { network, packet, flow, ref ends, .. } = self;
        Crossing { network, from, to, packet, flow, ends }
    }

    /// The datagram that the packet is a part of, if it is a fragment.
    pub(crate) fn fragment(&self) -> Option<(FragmentKey, Fragment)> {
        self.packet.ip().and_then(|ip| FragmentKey::of(self.network, ip))
    }
}

impl Worker {
    /// Takes a frame from a queue: into the batch, or to the owner of its flow or datagram if that
    /// is another worker.
    #[inline]
    pub(crate) fn receive(
        &mut self,
        scene: &Scene,
        batch: &mut Batch,
        frame: Frame,
        from: PortId,
        now: Time,
    ) {
        let frame = match frame.is_chained() {
            false => frame,
            true => match chained::take_in(&mut self.pool, frame) {
                Ok(frame) => frame,
                Err((frame, reason)) => return self.discard(scene, frame, from, reason),
            },
        };
        let reading = batch.place();
        if let Err(reason) = self.read_whole(scene, &frame, from, reading) {
            return self.discard(scene, frame, from, reason);
        }
        let owner = reading.hash(&self.hasher).map_or(self.index, |hash| self.owner(hash));
        if owner == self.index {
            batch.push(frame);
        } else if let Err(reason) = self.guard_alone(reading, scene, now) {
            // A flood of lies takes no room in anybody's inbox.
            self.discard(scene, frame, from, reason);
        } else {
            self.hand_over(scene, owner, Handover::Judge { frame, from }, from);
        }
    }

    /// Takes a frame of a flow or datagram that this worker owns from its inbox into the batch.
    pub(crate) fn take_over(
        &mut self,
        scene: &Scene,
        batch: &mut Batch,
        frame: Frame,
        from: PortId,
    ) {
        match self.read_into(scene, &frame, from, batch.place()) {
            Ok(()) => batch.push(frame),
            Err(reason) => self.discard(scene, frame, from, reason),
        }
    }

    /// The judge of a turn.
    #[inline]
    pub(crate) fn judge_in<'a>(&self, scene: &'a Scene, now: Time) -> Judge<'a> {
        let Scene { table, residents, .. } = scene;
        let &Self { established, midstream, .. } = self;
        Judge { table, residents, established, midstream, now }
    }

    fn guard_alone(&self, reading: &Reading, scene: &Scene, now: Time) -> Verdict {
        let ends = reading.ends(&self.judge_in(scene, now));
        let context = reading.within(scene, ends).ok_or(DropReason::PortGone)?;
        self.guard(&context, now)
    }

    #[inline]
    pub(crate) fn guard(&self, context: &Context<'_>, now: Time) -> Verdict {
        let judge = self.judge_in(context.scene, now);
        let from = context.scene.attachment(context.from);
        judge.guard(context.network, from, context.packet, &context.ends)
    }

    /// Reads what a frame is.
    pub(crate) fn read(
        &self,
        scene: &Scene,
        frame: &Frame,
        from: PortId,
    ) -> Result<Reading, DropReason> {
        let mut reading = Reading::default();
        self.read_into(scene, frame, from, &mut reading).map(|()| reading)
    }

    /// Reads what a frame is to where it will stay: a reading is too long to be moved.
    #[inline]
    fn read_into(
        &self,
        scene: &Scene,
        frame: &Frame,
        from: PortId,
        reading: &mut Reading,
    ) -> Result<(), DropReason> {
        let port = scene.port(from).ok_or(DropReason::PortGone)?;
        let packet = &mut reading.packet;
        chained::read(frame, |pieces| packet.read(pieces))?;
        let network = port.network_of(packet.vlan).ok_or(match packet.vlan {
            Some(0) => DropReason::PriorityTag,
            _ => DropReason::ForeignVlan,
        })?;
        reading.flow = packet.ip().and_then(|ip| FlowOf::new(network, ip, &self.hasher));
        reading.network = network;
        reading.from = from;
        Ok(())
    }

    /// Reads a frame that has just come, and checks that nothing damaged it on the way.
    #[inline]
    fn read_whole(
        &self,
        scene: &Scene,
        frame: &Frame,
        from: PortId,
        reading: &mut Reading,
    ) -> Result<(), DropReason> {
        self.read_into(scene, frame, from, reading)?;
        let partial = scene.port(from).is_some_and(|port| port.spec.partial_checksums);
        let is_whole =
            |ip| chained::read(frame, |pieces| checksum::is_whole_in(pieces, ip, partial));
        if self.verify_checksums && !reading.packet.ip().is_none_or(is_whole) {
            return Err(DropReason::BadChecksum);
        }
        Ok(())
    }

    /// The worker that owns what has this hash.
    #[inline]
    pub(crate) fn owner(&self, hash: u64) -> usize {
        self.shared.owner(hash)
    }

    #[inline]
    pub(crate) fn send_on_its_way(
        &mut self,
        context: &Context<'_>,
        frame: Frame,
        way: Result<Way, DropReason>,
        now: Time,
    ) {
        match way {
            Ok(Way::Port(to)) => self.transmit(context, frame, to),
            Ok(Way::Everybody) => self.flood(context, frame, now, true),
            Ok(Way::Unknown) => self.flood(context, frame, now, false),
            Err(reason) => self.discard(context.scene, frame, context.from, reason),
        }
    }

    /// Where a packet goes by guard, forwarding, connections and policy.
    #[inline]
    pub(crate) fn way(
        &mut self,
        context: &Context<'_>,
        len: usize,
        now: Time,
    ) -> Result<Way, DropReason> {
        let route = self.route(context, len, now)?;
        self.judge(context, route, now)
    }

    /// Where a packet goes that takes a route, by connections and policy.
    #[inline]
    pub(crate) fn judge(
        &mut self,
        context: &Context<'_>,
        route: Route,
        now: Time,
    ) -> Result<Way, DropReason> {
        if !matches!(route.way, Way::Everybody) {
            let crossing = context.crossing(route.to);
            let judge = self.judge_in(context.scene, now);
            let before = self.connections.len();
            let verdict = judge.unicast(&mut self.connections, &crossing);
            let opened = self.connections.len() > before;
            self.stages.mark(Stage::of_verdict(verdict, opened), 1);
            verdict?;
        }
        Ok(route.way)
    }

    /// Where a fragment goes whose datagram the table of `revision` has admitted.
    pub(crate) fn way_of_continuation(
        &mut self,
        context: &Context<'_>,
        len: usize,
        revision: u64,
        now: Time,
    ) -> Result<Way, DropReason> {
        let route = self.route(context, len, now)?;
        let judge = self.judge_in(context.scene, now);
        judge.continuation(&context.crossing(route.to), revision)?;
        Ok(route.way)
    }

    /// Where a packet would go by guard and forwarding; one for everybody is judged here.
    pub(crate) fn route(
        &mut self,
        context: &Context<'_>,
        len: usize,
        now: Time,
    ) -> Result<Route, DropReason> {
        self.guard(context, now)?;
        self.forward(context, len, now)
    }

    /// Where a guarded packet would go by forwarding; one for everybody is judged here.
    #[inline]
    pub(crate) fn forward(
        &mut self,
        context: &Context<'_>,
        len: usize,
        now: Time,
    ) -> Result<Route, DropReason> {
        let Context { scene, from, packet, network, .. } = context;
        let judge = self.judge_in(context.scene, now);
        self.note_source(context, now)?;
        if packet.destination.is_group() {
            judge.group(*network, packet)?;
            self.take_flood_token(*from, now)?;
            return Ok(Route { way: Way::Everybody, to: Attachment::Uplink });
        }
        let Some(to) = scene.fdb.find(*network, packet.destination) else {
            self.take_flood_token(*from, now)?;
            let to = judge.likely_attachment(*network, packet);
            return Ok(Route { way: Way::Unknown, to });
        };
        if to == *from {
            return Err(DropReason::SamePort);
        }
        let port = scene.port(to).ok_or(DropReason::PortGone)?;
        let tag_len = if packet.vlan.is_some() { TAG_LEN } else { 0 };
        if !port.fits(len - tag_len) {
            return Err(DropReason::TooBig);
        }
        // No policy judges these; what a pod can say by them is kept down to their rate.
        let is_pod = matches!(scene.attachment(*from), Attachment::Pod { .. });
        if is_pod && packet.is_resolution() {
            self.take_flood_token(*from, now)?;
        }
        Ok(Route { way: Way::Port(to), to: scene.attachment(to) })
    }

    /// Tells the steward of a station that is not where the FDB has it.
    fn note_source(&self, context: &Context<'_>, now: Time) -> Result<(), DropReason> {
        let sighting =
            Sighting { network: context.network, mac: context.packet.source, port: context.from };
        match context.scene.fdb.check_source(sighting, now) {
            SourceCheck::Known => {}
            // A full list loses a sighting; the next frame brings it again.
            SourceCheck::News => drop(self.shared.sightings.push(sighting)),
            SourceCheck::Stolen => return Err(DropReason::SpoofedMac),
        }
        Ok(())
    }

    fn take_flood_token(&mut self, from: PortId, now: Time) -> Result<(), DropReason> {
        if self.buckets.len() <= from.index() {
            self.buckets.resize(from.index() + 1, Bucket::full(now));
        }
        let granted = self.buckets.get_mut(from.index()).is_some_and(|bucket| bucket.take(now));
        if granted { Ok(()) } else { Err(DropReason::FloodLimited) }
    }

    fn transmit(&mut self, context: &Context<'_>, mut frame: Frame, to: PortId) {
        if context.port.spec.partial_checksums {
            chained::complete_checksum(&mut frame, context.packet);
        }
        self.retag_and_enqueue(context, frame, to);
    }

    fn retag_and_enqueue(&mut self, context: &Context<'_>, mut frame: Frame, to: PortId) {
        let tag = context.scene.port(to).and_then(|port| port.tag_of(context.network));
        match tag {
            Some(tag) if tag::change(&mut frame, context.packet.vlan, tag) => {
                self.stages.mark(Stage::Edit, 1);
                self.enqueue(context.scene, frame, to);
            }
            _ => self.discard(context.scene, frame, context.from, DropReason::ForeignVlan),
        }
    }

    /// Sends a copy to each port that may have one, the frame itself to the last.
    fn flood(&mut self, context: &Context<'_>, mut frame: Frame, now: Time, to_pods: bool) {
        if context.port.spec.partial_checksums {
            chained::complete_checksum(&mut frame, context.packet);
        }
        let mut last = None;
        let mut reason = DropReason::UnknownDestination;
        for &to in context.scene.members(context.network) {
            match self.may_flood(context, to, frame.packet_len(), now, to_pods) {
                Flood::Yes => {}
                Flood::Refused(refusal) => {
                    reason = refusal;
                    continue;
                }
                Flood::No => continue,
            }
            if let Some(previous) = last.replace(to) {
                self.send_copy(context, &frame, previous);
            }
        }
        match last {
            Some(to) => self.retag_and_enqueue(context, frame, to),
            None => self.discard(context.scene, frame, context.from, reason),
        }
    }

    fn send_copy(&mut self, context: &Context<'_>, frame: &Frame, to: PortId) {
        let counters = context.port.counters(self.index);
        if let Some(counters) = counters {
            counters.flood_copies.add(1);
        }
        match self.pool.copy(frame) {
            Some(copy) => self.retag_and_enqueue(context, copy, to),
            None => {
                if let Some(counters) = counters {
                    counters.drop(DropReason::NoFreeFrame);
                }
                self.offer(frame, context.scene.port(context.from), DropReason::NoFreeFrame);
            }
        }
    }

    fn may_flood(
        &self,
        context: &Context<'_>,
        to: PortId,
        len: usize,
        now: Time,
        to_pods: bool,
    ) -> Flood {
        let scene = context.scene;
        let tag_len = if context.packet.vlan.is_some() { TAG_LEN } else { 0 };
        let fits = scene.port(to).is_some_and(|port| port.fits(len - tag_len));
        if to == context.from || !fits {
            return Flood::No;
        }
        let judge = self.judge_in(context.scene, now);
        match scene.attachment(to) {
            to @ (Attachment::Uplink | Attachment::Host) if !to_pods => {
                // What is for the node does not leave it.
                judge
                    .may_try(context.network, to, context.packet)
                    .map_or_else(Flood::Refused, |()| Flood::Yes)
            }
            Attachment::Uplink | Attachment::Host => Flood::Yes,
            Attachment::Pod { endpoint: Some(endpoint), .. } if to_pods => {
                let from = scene.attachment(context.from);
                judge
                    .admits_group(context.network, from, endpoint, context.packet)
                    .map_or_else(Flood::Refused, |()| Flood::Yes)
            }
            Attachment::Pod { .. } => Flood::No,
        }
    }
}

/// Whether a port gets a copy.
enum Flood {
    Yes,
    /// It does not get it, for this reason.
    Refused(DropReason),
    /// It is not asked.
    No,
}
