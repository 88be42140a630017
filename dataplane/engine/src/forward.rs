//! The path of one frame through a worker: from the port that received it to the port that
//! sends it, or to the reason that it does not get there.

use sluice_core::address::NetworkId;
use sluice_core::checksum;
use sluice_core::drop::DropReason;
use sluice_core::guard::Attachment;
use sluice_core::judge::{FlowOf, Judge};
use sluice_core::packet::Packet;
use sluice_core::time::Time;
use sluice_xdp::Frame;

use crate::desk::Handover;
use crate::fdb::{Sighting, SourceCheck};
use crate::flood::Bucket;
use crate::port::{Port, PortId};
use crate::scene::Scene;
use crate::tag;
use crate::worker::Worker;

/// Bytes of an 802.1Q tag.
const TAG_LEN: usize = 4;

/// Where a judged packet goes.
enum Way {
    /// Out of one port.
    Port(PortId),
    /// To everybody of the network whom it may reach.
    Everybody,
    /// To the uplinks and the host, one of which may know the destination.
    Unknown,
}

/// A packet, the network and the flow that it is on, and who sent it.
struct Context<'a> {
    scene: &'a Scene,
    from: PortId,
    port: &'a Port,
    packet: Packet,
    network: NetworkId,
    flow: Option<FlowOf>,
}

impl Worker {
    /// Takes a frame from a queue: to the owner of its flow, if that is another worker.
    #[inline]
    pub(crate) fn receive(&mut self, scene: &Scene, frame: Frame, from: PortId, now: Time) {
        let found = self.read(scene, &frame, from);
        if let Ok(Context { flow: Some(flow), .. }) = &found {
            let owner = self.owner(flow);
            if owner != self.index {
                return self.hand_over(scene, owner, Handover::Judge { frame, from }, from);
            }
        }
        self.send_on_its_way(scene, frame, from, found, now);
    }

    /// Judges a frame of a flow that this worker owns.
    pub(crate) fn judge(&mut self, scene: &Scene, frame: Frame, from: PortId, now: Time) {
        let found = self.read(scene, &frame, from);
        self.send_on_its_way(scene, frame, from, found, now);
    }

    /// Reads what a frame is, once for all that follows.
    #[inline]
    fn read<'a>(
        &self,
        scene: &'a Scene,
        frame: &Frame,
        from: PortId,
    ) -> Result<Context<'a>, DropReason> {
        let port = scene.port(from).ok_or(DropReason::PortGone)?;
        let packet = Packet::parse(frame)?;
        let network = port.network_of(packet.vlan).ok_or(DropReason::ForeignVlan)?;
        let flow = packet.ip().and_then(|ip| FlowOf::new(network, ip, &self.hasher));
        Ok(Context { scene, from, port, packet, network, flow })
    }

    /// The worker that owns a flow.
    #[inline]
    fn owner(&self, flow: &FlowOf) -> usize {
        // The upper half of the hash, scaled; the table of connections uses the lower bits.
        let workers = self.shared.desks.len() as u64;
        usize::try_from(((flow.hash >> 32) * workers) >> 32).unwrap_or_default()
    }

    #[inline]
    fn send_on_its_way(
        &mut self,
        scene: &Scene,
        frame: Frame,
        from: PortId,
        found: Result<Context<'_>, DropReason>,
        now: Time,
    ) {
        let way = found.and_then(|context| {
            let way = self.way(&context, frame.len(), now)?;
            Ok((context, way))
        });
        match way {
            Ok((context, Way::Port(to))) => self.transmit(&context, frame, to),
            Ok((context, Way::Everybody)) => self.flood(&context, frame, now, true),
            Ok((context, Way::Unknown)) => self.flood(&context, frame, now, false),
            Err(reason) => self.discard(scene, frame, from, reason),
        }
    }

    #[inline]
    fn way(&mut self, context: &Context<'_>, len: usize, now: Time) -> Result<Way, DropReason> {
        let Context { scene, from, packet, network, flow, .. } = context;
        let judge = Judge {
            table: &scene.table,
            residents: &scene.residents,
            established: self.established,
            now,
        };
        judge.guard(*network, scene.attachment(*from), packet)?;
        self.note_source(context, now)?;
        if packet.destination.is_group() {
            judge.group(*network, packet)?;
            return self.take_flood_token(*from, now).map(|()| Way::Everybody);
        }
        let Some(to) = scene.fdb.find(*network, packet.destination) else {
            self.take_flood_token(*from, now)?;
            judge.unicast(
                &mut self.connections,
                *network,
                Attachment::Uplink,
                packet,
                flow.as_ref(),
            )?;
            return Ok(Way::Unknown);
        };
        if to == *from {
            return Err(DropReason::SamePort);
        }
        let port = scene.port(to).ok_or(DropReason::PortGone)?;
        let tag_len = if packet.vlan.is_some() { TAG_LEN } else { 0 };
        if !port.fits(len - tag_len) {
            return Err(DropReason::TooBig);
        }
        let attachment = scene.attachment(to);
        judge.unicast(&mut self.connections, *network, attachment, packet, flow.as_ref())?;
        Ok(Way::Port(to))
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
            checksum::complete(&mut frame, &context.packet);
        }
        self.retag_and_enqueue(context, frame, to);
    }

    fn retag_and_enqueue(&mut self, context: &Context<'_>, mut frame: Frame, to: PortId) {
        let tag = context.scene.port(to).and_then(|port| port.tag_of(context.network));
        match tag {
            Some(tag) if tag::change(&mut frame, context.packet.vlan, tag) => {
                self.enqueue(context.scene, frame, to);
            }
            _ => self.discard(context.scene, frame, context.from, DropReason::ForeignVlan),
        }
    }

    /// Sends a copy to each port that may have one, the frame itself to the last.
    fn flood(&mut self, context: &Context<'_>, mut frame: Frame, now: Time, to_pods: bool) {
        if context.port.spec.partial_checksums {
            checksum::complete(&mut frame, &context.packet);
        }
        let mut last = None;
        let mut refused = false;
        for &to in context.scene.members(context.network) {
            match self.may_flood(context, to, frame.len(), now, to_pods) {
                Flood::Yes => {}
                Flood::Refused => {
                    refused = true;
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
            None => {
                let reason = if refused {
                    DropReason::IngressDenied
                } else {
                    DropReason::UnknownDestination
                };
                self.discard(context.scene, frame, context.from, reason);
            }
        }
    }

    fn send_copy(&mut self, context: &Context<'_>, frame: &Frame, to: PortId) {
        let counters = context.port.counters(self.index);
        if let Some(counters) = counters {
            counters.flood_copies.add(1);
        }
        // A frame always fits into a frame; only the pool can fail.
        let copy = self.pool.take().map(|mut copy| {
            let _fits = copy.copy_from(frame);
            copy
        });
        match copy {
            Some(copy) => self.retag_and_enqueue(context, copy, to),
            None => {
                if let Some(counters) = counters {
                    counters.drop(DropReason::NoFreeFrame);
                }
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
        let judge = Judge {
            table: &scene.table,
            residents: &scene.residents,
            established: self.established,
            now,
        };
        match scene.attachment(to) {
            Attachment::Uplink | Attachment::Host => Flood::Yes,
            Attachment::Pod { endpoint: Some(endpoint), .. } if to_pods => {
                if judge.admits_group(context.network, endpoint, &context.packet) {
                    Flood::Yes
                } else {
                    Flood::Refused
                }
            }
            Attachment::Pod { .. } => Flood::No,
        }
    }
}

/// Whether a port gets a copy.
enum Flood {
    Yes,
    /// A pod's policies do not admit it.
    Refused,
    /// It is not asked.
    No,
}
