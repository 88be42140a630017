//! What may leave: an account of the frames that were sent, of the tables and ports that there
//! were, and of the flows and datagrams that left.
//!
//! Written for this purpose alone, plainly and without a thought for speed. Of the product it
//! uses [`Table::decide`] and the table's look-ups, nothing that reads packets or remembers flows.
//!
//! [`Table::decide`]: sluice_core::table::Table::decide

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use sluice_core::address::NetworkId;
use sluice_core::conntrack::state::Timeouts;
use sluice_core::flow::FiveTuple;
use sluice_core::judge::Established;
use sluice_core::policy::Attempt;
use sluice_core::ports::{ICMP, ICMPV6, Protocol, SCTP, TCP, UDP};
use sluice_core::table::{Party, Table};
use sluice_core::time::Time;

use super::honesty;
use super::stage::{PORTS, PortNumber, Stage};
use crate::sums;
use crate::view::{Body, Flow, Ip, Message, Piece, View, untagged};

/// A table and the ports that are attached, from one moment to the next change.
#[derive(Debug, Clone)]
pub(crate) struct Epoch {
    pub(crate) table: Arc<Table>,
    pub(crate) attached: [bool; PORTS],
}

pub(crate) struct Oracle {
    pub(crate) stage: Stage,
    pub(crate) established: Established,
    pub(crate) midstream: bool,
    pub(crate) verify_checksums: bool,
    /// There is room for every datagram of a story.
    pub(crate) forgets_no_datagram: bool,
    pub(crate) timeouts: Timeouts,
    epochs: Vec<Epoch>,
    sent: Vec<Sent>,
    flows: HashMap<FlowName, Known>,
    datagrams: HashMap<DatagramName, Datagram>,
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

/// Both ends of a flow, in order.
type FlowName = (NetworkId, Protocol, (IpAddr, u16), (IpAddr, u16));

/// A flow of which something left.
struct Known {
    /// The five tuples of packets that policy admitted as a first one.
    openings: Vec<FiveTuple>,
    /// When its last packet left.
    last: Time,
    /// Whether both ends have sent.
    answered: bool,
    first_sender: (IpAddr, u16),
    /// The tags that its ends have chosen, and which end.
    tags: Vec<((IpAddr, u16), u32)>,
}

/// Network, source, destination, identification, and the protocol in IPv4.
type DatagramName = (NetworkId, IpAddr, IpAddr, u32, Protocol);

#[derive(Default)]
struct Datagram {
    /// Every fragment of this name that was sent, and its place among the frames sent.
    sent: Vec<(Piece, usize)>,
    /// The epochs in which a first fragment may have been judged, and when it left.
    firsts: Vec<(usize, usize, Time)>,
    /// What left, and as which of the frames sent.
    left: Vec<(Piece, usize)>,
}

/// What follows from a frame that leaves.
enum Effect {
    Nothing,
    Flow {
        flow: Flow,
        opens: bool,
        first_of: Option<(DatagramName, Piece)>,
    },
    /// Of a flow that policy has no say in.
    First(DatagramName, Piece),
    Continuation(DatagramName, Piece),
}

type Explained = Result<Effect, &'static str>;

impl Oracle {
    pub(crate) fn new(stage: Stage, timeouts: Timeouts) -> Self {
        Self {
            stage,
            established: Established::Recheck,
            midstream: false,
            verify_checksums: true,
            forgets_no_datagram: true,
            timeouts,
            epochs: Vec::new(),
            sent: Vec::new(),
            flows: HashMap::new(),
            datagrams: HashMap::new(),
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
        if let Some(ip) = view.as_ref().and_then(View::ip)
            && let Some(network) = self.stage.network_of(port, tag)
            && let Some(piece) = ip.piece
        {
            let datagram = self.datagrams.entry(datagram_name(network, ip, piece)).or_default();
            datagram.sent.push((piece, self.sent.len()));
        }
        self.sent.push(Sent {
            place: self.sent.len(),
            port,
            frame: frame.to_vec(),
            tag,
            untagged: untagged(frame),
            masked: untagged(&sums::without_transport_sum(frame)),
            epoch: self.last_epoch(),
            time,
            left_by: [false; PORTS],
            is_settled: false,
        });
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
        let last = self.last_epoch();
        for place in 0..self.sent.len() {
            let Some(sent) = self.sent.get(place).filter(|sent| !sent.is_settled) else { continue };
            let Some(view) = View::of(&sent.frame) else { continue };
            let Some(ip) = view.ip() else { continue };
            let Some(network) = self.stage.network_of(sent.port, sent.tag) else { continue };
            let effects: Vec<Effect> = (sent.epoch..=last)
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

    /// The engine remembers these flows, by their first packets, and no others.
    ///
    /// # Panics
    /// Where nothing that left can have begun one of them.
    pub(crate) fn remembers(&mut self, openings: &[FiveTuple]) {
        let mut rest = std::mem::take(&mut self.flows);
        for opening in openings {
            let name = flow_name(opening);
            let known = rest.remove(&name).filter(|known| known.openings.contains(opening));
            let Some(known) = known else { panic!("{opening:?} is tracked, and nothing left") };
            self.flows.insert(name, Known { openings: vec![*opening], ..known });
        }
    }

    fn last_epoch(&self) -> usize {
        self.epochs.len().saturating_sub(1)
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
        let last = self.last_epoch();
        let mut complaint = "nobody sent it";
        // The latest first: what explains the later of two equal frames explains the earlier.
        for place in (0..self.sent.len()).rev() {
            let Some(sent) = self.sent.get(place) else { continue };
            let is_equal = sent.untagged == bare
                || (sent.port.has_partial_checksums() && sent.masked == masked);
            if !is_equal || sent.port == port || sent.left_by.get(port.0) != Some(&false) {
                continue;
            }
            for epoch in (sent.epoch..=last).rev() {
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
        match ip.message(frame, network, self.midstream) {
            Some(Message::Neighbour(_)) if is_group => Ok(()),
            _ if ip.piece.is_some() => Err("it is a fragment for everybody"),
            _ if !is_group => Err("a packet for one reaches everybody"),
            Some(Message::Flow(flow)) if !matches!(ip.protocol, TCP | SCTP) => {
                let attempt = attempt(&flow.tuple);
                let lets_in = match port.party(&here.table) {
                    Some(Party::Pod(pod)) => here.table.decide_ingress(pod, &attempt).allows(),
                    _ => true,
                };
                if here.table.decide(&attempt).allows() && lets_in {
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
        let here = self.epochs.get(epoch).ok_or("there is no such epoch")?;
        let first_of = ip.piece.map(|piece| (datagram_name(network, ip, piece), piece));
        match ip.message(frame, network, self.midstream).ok_or("it ends too early")? {
            Message::Neighbour(_) if first_of.is_none() => Ok(Effect::Nothing),
            Message::Error(Some(quoted)) if first_of.is_none() => {
                self.error(here, sent, ip, &quoted)
            }
            Message::Flow(flow) => {
                if let Some((name, piece)) = &first_of {
                    self.piece_fits(name, *piece, sent)?;
                }
                if concerns_no_pod(here, &flow.tuple) {
                    return Ok(
                        first_of.map_or(Effect::Nothing, |(n, piece)| Effect::First(n, piece))
                    );
                }
                let opens = self.flow(here, sent, &flow)?;
                Ok(Effect::Flow { flow, opens, first_of })
            }
            Message::Continuation => {
                let (name, piece) = first_of.ok_or("it is no fragment")?;
                self.continuation(sent, &name, piece)?;
                Ok(Effect::Continuation(name, piece))
            }
            _ => Err("it is no message that may pass"),
        }
    }

    /// Whether a packet of a flow may pass, and whether as one that opens it.
    fn flow(&self, here: &Epoch, sent: &Sent, flow: &Flow) -> Result<bool, &'static str> {
        let is_admitted = |it: &FiveTuple| here.table.decide(&attempt(it)).allows();
        if flow.begins && is_admitted(&flow.tuple) {
            return Ok(true);
        }
        let known = self.alive(sent, &flow.tuple)?;
        // What nobody has answered is not established, and so not kept.
        let keeps = self.established == Established::Keep && known.answered;
        if flow.asks && !(keeps && is_echo(&flow.tuple) && known.openings.contains(&flow.tuple)) {
            return Err("it asks against policy");
        }
        if !keeps && !known.openings.iter().any(is_admitted) {
            return Err("policy does not admit its flow any more");
        }
        if flow.tag.is_some_and(|tag| !known.has_agreed_on(&flow.tuple, tag)) {
            return Err("it bears a tag that nobody has chosen");
        }
        Ok(false)
    }

    fn error(&self, here: &Epoch, sent: &Sent, ip: &Ip, quoted: &FiveTuple) -> Explained {
        if ip.destination != quoted.source {
            return Err("it tells somebody else of an error");
        }
        let is_pod = matches!(here.table.party(quoted.network, ip.source), Party::Pod(_));
        if is_pod && ip.source != quoted.destination {
            return Err("a pod speaks of what was not for it");
        }
        if concerns_no_pod(here, quoted) {
            return Ok(Effect::Nothing);
        }
        let known = self.alive(sent, quoted)?;
        let is_admitted = |it: &FiveTuple| here.table.decide(&attempt(it)).allows();
        let keeps = self.established == Established::Keep && known.answered;
        if keeps || known.openings.iter().any(is_admitted) {
            Ok(Effect::Nothing)
        } else {
            Err("policy does not admit the flow of the error any more")
        }
    }

    /// The flow of a packet, if it cannot have expired when that was sent.
    fn alive(&self, sent: &Sent, tuple: &FiveTuple) -> Result<&Known, &'static str> {
        let known = self.flows.get(&flow_name(tuple)).ok_or("nothing of its flow has left")?;
        let timeouts = &self.timeouts;
        let patience = match tuple.protocol {
            TCP if known.answered || self.midstream => timeouts.tcp_established,
            // A FIN before any answer.
            TCP => timeouts.tcp_opening.max(timeouts.tcp_closing),
            SCTP => timeouts.sctp_established,
            UDP if known.answered => timeouts.udp_ongoing,
            UDP => timeouts.udp_single,
            ICMP | ICMPV6 if is_echo(tuple) => timeouts.echo,
            _ => timeouts.opaque,
        };
        if sent.time < known.last + patience { Ok(known) } else { Err("its flow has expired") }
    }

    fn continuation(
        &self,
        sent: &Sent,
        name: &DatagramName,
        piece: Piece,
    ) -> Result<(), &'static str> {
        let datagram = self.datagrams.get(name).ok_or("nobody sent its datagram")?;
        let revisions = |from: usize, to: usize| {
            let epochs = self.epochs.get(from..=to).unwrap_or_default();
            epochs.iter().map(|epoch| epoch.table.revision()).collect::<Vec<_>>()
        };
        let own = revisions(sent.epoch, self.last_epoch());
        let is_first_of = |&(from, to, left): &(usize, usize, Time)| {
            let fits = revisions(from, to).iter().any(|revision| own.contains(revision));
            let in_time = sent.time < left + self.timeouts.fragments;
            in_time && (fits || self.established == Established::Keep)
        };
        if !datagram.firsts.iter().any(is_first_of) {
            return Err("the first fragment has not left under this table");
        }
        self.piece_fits(name, piece, sent)
    }

    /// Whether a fragment overlaps none of its datagram that left.
    fn piece_fits(
        &self,
        name: &DatagramName,
        piece: Piece,
        sent: &Sent,
    ) -> Result<(), &'static str> {
        let Some(datagram) = self.datagrams.get(name) else { return Ok(()) };
        let overlaps = |(it, place): &(Piece, usize)| {
            *place != sent.place && it.start < piece.end && piece.start < it.end
        };
        // What is complete or too old makes room for another of the same name.
        let until_then = datagram.sent.partition_point(|(_, place)| *place < sent.place);
        let before = datagram.sent.get(..until_then).unwrap_or_default();
        let is_old = |oldest: &Sent| sent.time >= oldest.time + self.timeouts.fragments;
        let oldest = before.first().and_then(|(_, place)| self.sent.get(*place));
        let may_be_another =
            !self.forgets_no_datagram || oldest.is_some_and(is_old) || is_complete(before);
        if may_be_another || !datagram.left.iter().any(overlaps) {
            Ok(())
        } else {
            Err("it overlaps a fragment that has left")
        }
    }

    fn note(&mut self, effect: Effect, place: usize, now: Time) {
        let last = self.last_epoch();
        match effect {
            Effect::Nothing => {}
            Effect::Flow { flow, opens, first_of } => {
                let tuple = flow.tuple;
                let sender = (tuple.source, tuple.source_port);
                let known = self.flows.entry(flow_name(&tuple)).or_insert(Known {
                    openings: Vec::new(),
                    last: now,
                    answered: false,
                    first_sender: sender,
                    tags: Vec::new(),
                });
                known.last = now;
                known.answered |= sender != known.first_sender;
                if opens && !known.openings.contains(&tuple) {
                    known.openings.push(tuple);
                }
                known.tags.extend(flow.chosen_tag.map(|tag| (sender, tag)));
                if let Some((name, piece)) = first_of {
                    self.note(Effect::First(name, piece), place, now);
                }
            }
            Effect::First(name, piece) => {
                let since = self.sent.get(place).map_or(last, |sent| sent.epoch);
                let datagram = self.datagrams.entry(name).or_default();
                datagram.firsts.push((since, last, now));
                datagram.left.push((piece, place));
            }
            Effect::Continuation(name, piece) => {
                self.datagrams.entry(name).or_default().left.push((piece, place));
            }
        }
    }
}

impl Known {
    /// Whether the receiver has chosen the tag that a packet bears (RFC 9260, 8.5), or the
    /// sender, where it may be reflected.
    fn has_agreed_on(&self, tuple: &FiveTuple, (tag, is_reflected): (u32, bool)) -> bool {
        let sender = (tuple.source, tuple.source_port);
        let receiver = (tuple.destination, tuple.destination_port);
        let has_chosen = |end| self.tags.contains(&(end, tag));
        has_chosen(receiver) || (is_reflected && has_chosen(sender))
    }
}

/// Policy says nothing of what others than pods send each other, and no flow is made of it.
fn concerns_no_pod(here: &Epoch, tuple: &FiveTuple) -> bool {
    let is_pod = |address| matches!(here.table.party(tuple.network, address), Party::Pod(_));
    !is_pod(tuple.source) && !is_pod(tuple.destination)
}

/// Whether fragments cover a datagram from its start to its end.
fn is_complete(pieces: &[(Piece, usize)]) -> bool {
    let mut reached = 0;
    let mut sorted: Vec<&Piece> = pieces.iter().map(|(piece, _)| piece).collect();
    sorted.sort_by_key(|piece| piece.start);
    sorted.iter().any(|piece| {
        let joins = piece.start <= reached;
        if joins {
            reached = reached.max(piece.end);
        }
        joins && !piece.more
    })
}

fn datagram_name(network: NetworkId, ip: &Ip, piece: Piece) -> DatagramName {
    let protocol = if ip.source.is_ipv4() { ip.protocol } else { 0 };
    (network, ip.source, ip.destination, piece.id, protocol)
}

fn flow_name(tuple: &FiveTuple) -> FlowName {
    let source = (tuple.source, tuple.source_port);
    let destination = (tuple.destination, tuple.destination_port);
    let (low, high) = (source.min(destination), source.max(destination));
    (tuple.network, tuple.protocol, low, high)
}

fn is_echo(tuple: &FiveTuple) -> bool {
    (tuple.protocol == ICMP) == tuple.source.is_ipv4()
}

fn attempt(tuple: &FiveTuple) -> Attempt {
    let has_ports = matches!(tuple.protocol, TCP | UDP | SCTP);
    Attempt {
        network: tuple.network,
        source: tuple.source,
        destination: tuple.destination,
        protocol: tuple.protocol,
        port: has_ports.then_some(tuple.destination_port),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
