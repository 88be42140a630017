//! The flows of which something left: what began them, when they spoke last, and the tags that
//! their ends have chosen.

use std::collections::HashMap;
use std::net::IpAddr;

use sluice_core::address::NetworkId;
use sluice_core::conntrack::state::Timeouts;
use sluice_core::flow::FiveTuple;
use sluice_core::judge::Established;
use sluice_core::policy::Attempt;
use sluice_core::ports::{ICMP, ICMPV6, Protocol, SCTP, TCP, UDP};
use sluice_core::table::{Party, Table};
use sluice_core::time::Time;

use crate::view::Flow;

pub(crate) struct Flows {
    known: HashMap<Name, Known>,
    pub(crate) established: Established,
    pub(crate) midstream: bool,
    timeouts: Timeouts,
}

type End = (IpAddr, u16);

/// Both ends of a flow, in order.
type Name = (NetworkId, Protocol, End, End);

struct Known {
    /// The five tuples of packets that policy admitted as a first one.
    openings: Vec<FiveTuple>,
    /// When its last packet left.
    last: Time,
    /// Whether both ends have sent.
    answered: bool,
    first_sender: End,
    /// The tags that its ends have chosen, and which end.
    tags: Vec<(End, u32)>,
}

impl Flows {
    pub(crate) fn new(timeouts: Timeouts) -> Self {
        let known = HashMap::new();
        Self { known, established: Established::Recheck, midstream: false, timeouts }
    }

    /// Whether a packet that was sent at some time may pass under a table: `true` where it may as
    /// one that opens its flow.
    pub(crate) fn admit(
        &self,
        table: &Table,
        flow: &Flow,
        time: Time,
    ) -> Result<bool, &'static str> {
        if flow.begins && admits(table, &flow.tuple) {
            return Ok(true);
        }
        let known = self.alive(&flow.tuple, time)?;
        let asks_again =
            self.keeps(known) && is_echo(&flow.tuple) && known.openings.contains(&flow.tuple);
        if flow.asks && !asks_again {
            return Err("it asks against policy");
        }
        self.lives_on(table, known)?;
        if flow.tag.is_some_and(|tag| !known.has_agreed_on(&flow.tuple, tag)) {
            return Err("it bears a tag that nobody has chosen");
        }
        Ok(false)
    }

    /// Whether an error about a packet, sent at some time, may pass under a table.
    pub(crate) fn admit_error(
        &self,
        table: &Table,
        quoted: &FiveTuple,
        time: Time,
    ) -> Result<(), &'static str> {
        self.lives_on(table, self.alive(quoted, time)?)
    }

    /// A packet has left.
    pub(crate) fn note(&mut self, flow: &Flow, opens: bool, now: Time) {
        let tuple = flow.tuple;
        let sender = (tuple.source, tuple.source_port);
        let known = self.known.entry(name_of(&tuple)).or_insert(Known {
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
    }

    /// Only these flows live, and this is what began them.
    ///
    /// # Panics
    /// Where nothing that left can have begun one of them.
    pub(crate) fn keep(&mut self, openings: &[FiveTuple]) {
        let mut rest = std::mem::take(&mut self.known);
        for opening in openings {
            let name = name_of(opening);
            let known = rest.remove(&name).filter(|known| known.openings.contains(opening));
            let Some(known) = known else { panic!("{opening:?} is tracked, and nothing left") };
            self.known.insert(name, Known { openings: vec![*opening], ..known });
        }
    }

    /// The flow of a packet, if it cannot have expired when that was sent.
    fn alive(&self, tuple: &FiveTuple, time: Time) -> Result<&Known, &'static str> {
        let known = self.known.get(&name_of(tuple)).ok_or("nothing of its flow has left")?;
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
        if time < known.last + patience { Ok(known) } else { Err("its flow has expired") }
    }

    fn lives_on(&self, table: &Table, known: &Known) -> Result<(), &'static str> {
        if self.keeps(known) || known.openings.iter().any(|opening| admits(table, opening)) {
            Ok(())
        } else {
            Err("policy does not admit its flow any more")
        }
    }

    /// What nobody has answered is not established, and so not kept.
    fn keeps(&self, known: &Known) -> bool {
        self.established == Established::Keep && known.answered
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
pub(crate) fn concerns_no_pod(table: &Table, tuple: &FiveTuple) -> bool {
    let is_pod = |address| matches!(table.party(tuple.network, address), Party::Pod(_));
    !is_pod(tuple.source) && !is_pod(tuple.destination)
}

pub(crate) fn admits(table: &Table, opening: &FiveTuple) -> bool {
    table.decide(&attempt(opening)).allows()
}

pub(crate) fn attempt(tuple: &FiveTuple) -> Attempt {
    let has_ports = matches!(tuple.protocol, TCP | UDP | SCTP);
    Attempt {
        network: tuple.network,
        source: tuple.source,
        destination: tuple.destination,
        protocol: tuple.protocol,
        source_port: has_ports.then_some(tuple.source_port),
        port: has_ports.then_some(tuple.destination_port),
    }
}

fn is_echo(tuple: &FiveTuple) -> bool {
    matches!((tuple.protocol, tuple.source.is_ipv4()), (ICMP, true) | (ICMPV6, false))
}

fn name_of(tuple: &FiveTuple) -> Name {
    let source = (tuple.source, tuple.source_port);
    let destination = (tuple.destination, tuple.destination_port);
    let (low, high) = (source.min(destination), source.max(destination));
    (tuple.network, tuple.protocol, low, high)
}
