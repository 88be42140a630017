//! What may leave: an account of the frames that were sent, of the tables and ports that there
//! were, and of the flows and datagrams that left.
//!
//! Written for this purpose alone, plainly and without a thought for speed. Of the product it
//! uses [`Table::decide`] and the table's look-ups, nothing that reads packets or remembers flows.
//!
//! [`Table::decide`]: sluice_core::table::Table::decide

use std::net::IpAddr;
use std::sync::Arc;

use sluice_core::address::NetworkId;
use sluice_core::conntrack::state::Timeouts;
use sluice_core::flow::FiveTuple;
use sluice_core::judge::Established;
use sluice_core::ports::{SCTP, TCP};
use sluice_core::table::{Party, Table};
use sluice_core::time::Time;

use super::datagrams::{self, Datagrams, First, Fragment};
use super::flows::{Flows, admits, attempt, concerns_no_pod};
use super::honesty;
use super::stage::{PORTS, PortNumber, Stage};
use crate::sums;
use crate::view::{Body, Flow, Ip, Message, View, untagged};

/// A table and the ports that are attached, from one moment to the next change.
#[derive(Debug, Clone)]
pub(crate) struct Epoch {
    pub(crate) table: Arc<Table>,
    pub(crate) attached: [bool; PORTS],
}

pub(crate) struct Oracle {
    pub(crate) stage: Stage,
    pub(crate) verify_checksums: bool,
    /// There is room for every datagram of a story.
    pub(crate) forgets_no_datagram: bool,
    pub(crate) flows: Flows,
    timeouts: Timeouts,
    epochs: Vec<Epoch>,
    sent: Vec<Sent>,
    datagrams: Datagrams,
}

/// A frame that was sent into a port.
struct Sent {
    place: usize,
    port: PortNumber,
    frame: Vec<u8>,
    tag: Option<u16>,
    untagged: Vec<u8>,
    /// Without the checksum that may be completed on the way.
    masked: Vec<u8>,
    /// The epoch that it was sent in.
    epoch: usize,
    time: Time,
    /// The ports that it has left by.
    left_by: [bool; PORTS],
    /// The engine has seen it, so what becomes of it later is no news.
    is_settled: bool,
}

/// What follows from a frame that leaves.
enum Effect {
    Nothing,
    /// Its flow is known from now on, unless policy has no say in it; and so is its datagram.
    Leaves {
        flow: Option<(Flow, bool)>,
        fragment: Option<Fragment>,
    },
}

type Explained = Result<Effect, &'static str>;

impl Oracle {
    pub(crate) fn new(stage: Stage, timeouts: Timeouts) -> Self {
        Self {
            stage,
            verify_checksums: true,
            forgets_no_datagram: true,
            timeouts,
            epochs: Vec::new(),
            sent: Vec::new(),
            flows: Flows::new(timeouts),
            datagrams: Datagrams::default(),
        }
    }

    /// Table or ports are others from now on.
    pub(crate) fn enters(&mut self, epoch: Epoch) {
        self.epochs.push(epoch);
    }

    /// A frame is sent into a port.
    pub(crate) fn sends(&mut self, port: PortNumber, frame: &[u8], time: Time) {
        let view = View::of(frame);
        let tag = view.as_ref().and_then(|view| view.tag);
        let sent = Sent {
            place: self.sent.len(),
            port,
            frame: frame.to_vec(),
            tag,
            untagged: untagged(frame),
            masked: untagged(&sums::without_transport_sum(frame)),
            epoch: self.epochs.len().saturating_sub(1),
            time,
            left_by: [false; PORTS],
            is_settled: false,
        };
        if let Some(ip) = view.as_ref().and_then(View::ip)
            && let Some(network) = self.stage.network_of(port, tag)
            && let Some(fragment) = sent.fragment(network, ip)
        {
            self.datagrams.sends(fragment);
        }
        self.sent.push(sent);
    }

    /// Frames have left by these ports, in whatever order.
    ///
    /// # Panics
    /// Where one of them should not have.
    pub(crate) fn leave(&mut self, mut frames: Vec<(PortNumber, Vec<u8>)>, now: Time) {
        // One frame may explain another that the same turn sent, such as a reply.
        while !frames.is_empty() {
            let mut complaint = None;
            let before = frames.len();
            frames.retain(|(port, frame)| match self.leaves(*port, frame, now) {
                Ok(()) => false,
                Err(reason) => {
                    complaint.get_or_insert((reason, *port, frame.clone()));
                    true
                }
            });
            if let Some((reason, port, frame)) = complaint.filter(|_| frames.len() == before) {
                panic!("{} lets out {}: {reason}", port.name(), hex(&frame));
            }
        }
    }

    /// Frames that were admitted may have been lost on their way out: what they would have made
    /// known counts as known.
    pub(crate) fn forgives(&mut self, now: Time) {
        for place in 0..self.sent.len() {
            let Some(sent) = self.sent.get(place).filter(|sent| !sent.is_settled) else { continue };
            let Some(view) = View::of(&sent.frame) else { continue };
            let Some(ip) = view.ip() else { continue };
            let Some(network) = self.stage.network_of(sent.port, sent.tag) else { continue };
            let effects: Vec<Effect> = (sent.epoch..self.epochs.len())
                .filter_map(|epoch| self.allowed(sent, &sent.frame, ip, network, epoch).ok())
                .collect();
            for effect in effects {
                self.note(effect, place, now);
            }
        }
    }

    /// The engine has seen every frame of these ports.
    pub(crate) fn settles(&mut self, is_seen: impl Fn(PortNumber) -> bool) {
        for sent in &mut self.sent {
            sent.is_settled |= is_seen(sent.port);
        }
    }

    fn leaves(&mut self, port: PortNumber, frame: &[u8], now: Time) -> Result<(), &'static str> {
        let view = View::of(frame).ok_or("it ends within a header")?;
        if let Some(ip) = view.ip()
            && self.verify_checksums
            && !sums::add_up(frame, ip)
        {
            return Err("it does not add up");
        }
        let bare = untagged(frame);
        if bare.len() > port.mtu() + 14 {
            return Err("it is too long for the port");
        }
        let masked = untagged(&sums::without_transport_sum(frame));
        let mut complaint = "nobody sent it";
        // The latest first: what explains the later of two equal frames explains the earlier.
        for place in (0..self.sent.len()).rev() {
            let Some(sent) = self.sent.get(place) else { continue };
            let is_equal = sent.untagged == bare
                || (sent.port.has_partial_checksums() && sent.masked == masked);
            if !is_equal || sent.port == port || sent.left_by.get(port.0) != Some(&false) {
                continue;
            }
            for epoch in (sent.epoch..self.epochs.len()).rev() {
                match self.explain(sent, port, frame, &view, epoch) {
                    Ok(effect) => {
                        self.note(effect, place, now);
                        if let Some(sent) = self.sent.get_mut(place) {
                            sent.left_by[port.0] = true;
                        }
                        return Ok(());
                    }
                    Err(reason) => complaint = reason,
                }
            }
        }
        Err(complaint)
    }

    /// Whether a frame may leave as it was sent, in one epoch.
    fn explain(
        &self,
        sent: &Sent,
        port: PortNumber,
        frame: &[u8],
        view: &View,
        epoch: usize,
    ) -> Explained {
        let here = self.epochs.get(epoch).ok_or("there is no such epoch")?;
        let is_attached = |port: PortNumber| here.attached.get(port.0) == Some(&true);
        if !is_attached(sent.port) || !is_attached(port) {
            return Err("a port of it is not there");
        }
        let network = self.stage.network_of(sent.port, sent.tag).ok_or("its network is none")?;
        if port.tag_of(network) != Some(view.tag) {
            return Err("it changes networks");
        }
        honesty::source(here, sent.port, network, frame, view)?;
        honesty::destination(here, sent.port, port, network, frame, view)?;
        match &view.body {
            Body::Arp { .. } => Ok(Effect::Nothing),
            Body::Other => Err("it is neither IP nor ARP"),
            Body::Ip(ip) if view.to.is_group() => {
                self.to_everybody(here, port, network, frame, ip).map(|()| Effect::Nothing)
            }
            Body::Ip(ip) => self.allowed(sent, frame, ip, network, epoch),
        }
    }

    fn to_everybody(
        &self,
        here: &Epoch,
        port: PortNumber,
        network: NetworkId,
        frame: &[u8],
        ip: &Ip,
    ) -> Result<(), &'static str> {
        let is_group = match ip.destination {
            IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_multicast(),
        };
        match ip.message(frame, network, self.flows.midstream) {
            Some(Message::Neighbour(_)) if is_group => Ok(()),
            _ if ip.piece.is_some() => Err("it is a fragment for everybody"),
            _ if !is_group => Err("a packet for one reaches everybody"),
            Some(Message::Flow(flow)) if !matches!(ip.protocol, TCP | SCTP) => {
                let table = &here.table;
                let lets_in = match port.party(table) {
                    Some(Party::Pod(pod)) => {
                        table.decide_ingress(pod, &attempt(&flow.tuple)).allows()
                    }
                    _ => true,
                };
                if admits(table, &flow.tuple) && lets_in {
                    Ok(())
                } else {
                    Err("it reaches everybody against policy")
                }
            }
            _ => Err("it is no message for everybody"),
        }
    }

    /// Whether policy admits a packet, or what left before does.
    fn allowed(
        &self,
        sent: &Sent,
        frame: &[u8],
        ip: &Ip,
        network: NetworkId,
        epoch: usize,
    ) -> Explained {
        let table = &*self.epochs.get(epoch).ok_or("there is no such epoch")?.table;
        let fragment = sent.fragment(network, ip);
        let overlaps = |it: &Fragment| self.datagrams.overlaps(it, self.timeouts.fragments);
        if self.forgets_no_datagram && fragment.as_ref().is_some_and(overlaps) {
            return Err("it overlaps a fragment that has left");
        }
        match ip.message(frame, network, self.flows.midstream).ok_or("it ends too early")? {
            Message::Neighbour(_) if fragment.is_none() => Ok(Effect::Nothing),
            Message::Error(Some(quoted)) if fragment.is_none() => {
                self.error(table, sent, ip, &quoted).map(|()| Effect::Nothing)
            }
            Message::Flow(flow) if concerns_no_pod(table, &flow.tuple) => {
                Ok(Effect::Leaves { flow: None, fragment })
            }
            Message::Flow(flow) => {
                let opens = self.flows.admit(table, &flow, sent.time)?;
                Ok(Effect::Leaves { flow: Some((flow, opens)), fragment })
            }
            Message::Continuation => {
                let fragment = fragment.ok_or("it is no fragment")?;
                self.continuation(sent, &fragment)?;
                Ok(Effect::Leaves { flow: None, fragment: Some(fragment) })
            }
            _ => Err("it is no message that may pass"),
        }
    }

    fn error(
        &self,
        table: &Table,
        sent: &Sent,
        ip: &Ip,
        quoted: &FiveTuple,
    ) -> Result<(), &'static str> {
        if ip.destination != quoted.source {
            return Err("it tells somebody else of an error");
        }
        let is_pod = matches!(table.party(quoted.network, ip.source), Party::Pod(_));
        if is_pod && ip.source != quoted.destination {
            return Err("a pod speaks of what was not for it");
        }
        if concerns_no_pod(table, quoted) {
            return Ok(());
        }
        self.flows.admit_error(table, quoted, sent.time)
    }

    fn continuation(&self, sent: &Sent, fragment: &Fragment) -> Result<(), &'static str> {
        let own = self.revisions_since(sent);
        let keeps = self.flows.established == Established::Keep;
        let is_first_of = |first: &First| {
            let is_in_time = sent.time < first.time + self.timeouts.fragments;
            let fits = first.revisions.iter().any(|revision| own.contains(revision));
            is_in_time && (fits || keeps)
        };
        if self.datagrams.firsts(&fragment.name).iter().any(is_first_of) {
            Ok(())
        } else {
            Err("the first fragment has not left under this table")
        }
    }

    /// The revisions of the tables that a frame may have been judged by.
    fn revisions_since(&self, sent: &Sent) -> Vec<u64> {
        let epochs = self.epochs.get(sent.epoch..).unwrap_or_default();
        epochs.iter().map(|epoch| epoch.table.revision()).collect()
    }

    fn note(&mut self, effect: Effect, place: usize, now: Time) {
        let Effect::Leaves { flow, fragment } = effect else { return };
        if let Some((flow, opens)) = flow {
            self.flows.note(&flow, opens, now);
        }
        if let Some((fragment, sent)) = fragment.zip(self.sent.get(place)) {
            let is_first = fragment.piece.start == 0;
            let first = First { revisions: self.revisions_since(sent), time: now };
            self.datagrams.leaves(fragment, is_first.then_some(first));
        }
    }
}

impl Sent {
    /// What it is a fragment of, if it is one.
    fn fragment(&self, network: NetworkId, ip: &Ip) -> Option<Fragment> {
        let piece = ip.piece?;
        let name = datagrams::name_of(network, ip, piece);
        Some(Fragment { name, piece, place: self.place, time: self.time })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
