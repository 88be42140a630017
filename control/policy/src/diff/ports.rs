//! Which ports differ: judged once for each stretch in which neither table can change its mind.

use std::collections::{BTreeSet, HashMap};

use sluice_core::address::NetworkId;
use sluice_core::policy::{Attempt, DYNAMIC_PORT};
use sluice_core::ports::{ICMP, ICMPV6, Protocol, SCTP, TCP, UDP};
use sluice_core::table::{Direction, PolicySet, Table, Tier};

use super::VerdictChange;
use super::parties::Place;
use crate::explain::Verdict;

const WITH_PORTS: [(Protocol, &str); 3] = [(TCP, "TCP"), (UDP, "UDP"), (SCTP, "SCTP")];

/// Ports whose verdict differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    protocol: &'static str,
    ports: Option<(u16, u16)>,
    before: Verdict,
    after: Verdict,
    family: &'static str,
}

/// The stretches of ports between pairs of parties.
pub(super) struct Stretches<'a> {
    before: &'a Table,
    after: &'a Table,
    /// By the sets that have a say, told apart by where they are.
    known: HashMap<[usize; 12], Vec<(Protocol, u16)>>,
}

impl Change {
    pub(super) fn between(&self, from: &str, to: &str) -> VerdictChange {
        VerdictChange {
            from: from.to_owned(),
            to: to.to_owned(),
            protocol: self.protocol.to_owned(),
            ports: self.ports,
            before: self.before,
            after: self.after,
            family: self.family.to_owned(),
        }
    }
}

impl<'a> Stretches<'a> {
    pub(super) fn new(before: &'a Table, after: &'a Table) -> Self {
        Self { before, after, known: HashMap::new() }
    }

    /// What differs between two places.
    pub(super) fn changes(&mut self, source: Place, destination: Place) -> Vec<Change> {
        let verdicts = |protocol, port: Option<u16>| {
            let allows = |table: &Table, source, destination| {
                let (network, source_port) = (NetworkId::DEFAULT, port.map(|_| DYNAMIC_PORT));
                let attempt = Attempt { network, source, destination, protocol, source_port, port };
                let decision = table.decide(&attempt);
                Verdict::of(decision.egress.allows() && decision.ingress.allows())
            };
            let before = allows(self.before, source.before, destination.before);
            (before, allows(self.after, source.after, destination.after))
        };
        let family = if source.before.is_ipv6() { "IPv6" } else { "IPv4" };
        let starts = self.starts(source, destination);
        let mut changes: Vec<Change> = Vec::new();
        for (protocol, name) in WITH_PORTS {
            let firsts = starts.iter().filter(|(of, _)| *of == protocol).map(|(_, port)| *port);
            let firsts: Vec<u16> = std::iter::once(0).chain(firsts).collect();
            for (place, &first) in firsts.iter().enumerate() {
                let last = firsts.get(place + 1).map_or(u16::MAX, |next| next.saturating_sub(1));
                let (before, after) = verdicts(protocol, Some(first));
                if last < first || before == after {
                    continue;
                }
                let ports = Some((first, last));
                let change = Change { protocol: name, ports, before, after, family };
                match changes.last_mut() {
                    Some(previous) if previous.continues_with(&change) => {
                        previous.ports = previous.ports.map(|(begin, _)| (begin, last));
                    }
                    _ => changes.push(change),
                }
            }
        }
        let icmp = if source.before.is_ipv6() { ICMPV6 } else { ICMP };
        let (before, after) = verdicts(icmp, None);
        if before != after {
            changes.push(Change { protocol: "other", ports: None, before, after, family });
        }
        any(changes)
    }

    /// The ports at which a verdict between two places may change, sorted.
    fn starts(&mut self, source: Place, destination: Place) -> &[(Protocol, u16)] {
        let (before, after) = (self.before, self.after);
        let of =
            |table: &'a Table, address| table.identity_of(table.party(NetworkId::DEFAULT, address));
        let identities = [
            (of(before, source.before), Direction::Egress),
            (of(after, source.after), Direction::Egress),
            (of(before, destination.before), Direction::Ingress),
            (of(after, destination.after), Direction::Ingress),
        ];
        let tiers = [Tier::Admin, Tier::NetworkPolicy, Tier::Baseline];
        let sets = || {
            identities.into_iter().flat_map(|(identity, direction)| {
                tiers.map(|tier| identity.and_then(|it| it.set(direction, tier)))
            })
        };
        let mut key = [0; 12];
        for (place, set) in key.iter_mut().zip(sets()) {
            *place = set.map_or(0, PolicySet::place);
        }
        self.known.entry(key).or_insert_with(|| {
            let borders: BTreeSet<_> = sets().flatten().flat_map(PolicySet::borders).collect();
            borders.into_iter().filter(|(_, port)| *port > 0).collect()
        })
    }
}

impl Change {
    fn continues_with(&self, next: &Self) -> bool {
        let follows = match (self.ports, next.ports) {
            (Some((_, last)), Some((first, _))) => last.checked_add(1) == Some(first),
            _ => false,
        };
        follows
            && self.protocol == next.protocol
            && (self.before, self.after) == (next.before, next.after)
    }
}

/// One change for all protocols, where all of them change alike and wholly.
fn any(changes: Vec<Change>) -> Vec<Change> {
    let is_whole = |change: &Change| change.ports.is_none_or(|ports| ports == (0, u16::MAX));
    let [first, others @ ..] = changes.as_slice() else { return changes };
    let (before, after, family) = (first.before, first.after, first.family);
    let alike = |change: &Change| is_whole(change) && change.before == before;
    if is_whole(first) && others.len() == WITH_PORTS.len() && others.iter().all(alike) {
        return vec![Change { protocol: "any", ports: None, before, after, family }];
    }
    changes
}
