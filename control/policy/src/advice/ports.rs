//! Which ports rules speak of, as sets that can be compared.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::compile::lower::PortTerms;
use crate::model::{NamedPort, Protocol};

/// A port's name; a protocol where only one counts.
pub(super) type PortName = (Option<Protocol>, String);

/// What pods say that a name stands for.
pub(super) type Numbers = BTreeSet<(Protocol, u16)>;

const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

/// The ports of a rule, or of several together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ports {
    /// Every port of every protocol, and what has no ports.
    all: bool,
    /// Protocol, first and last port; sorted, and none touches the next.
    ranges: Vec<(Protocol, u16, u16)>,
    names: BTreeSet<PortName>,
}

/// What one connection asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Service {
    /// A protocol without ports.
    Portless,
    /// A port of a protocol.
    Port(Protocol, u16),
}

impl Ports {
    pub(super) fn of(terms: &PortTerms) -> Self {
        let mut ports = Self {
            all: terms.all,
            ranges: terms.ranges.clone(),
            names: terms.names.iter().cloned().collect(),
        };
        ports.settle();
        ports
    }

    /// With the numbers of its names, where `given` are the named ports of the destination.
    pub(super) fn resolved(&self, given: &[NamedPort]) -> Cow<'_, Self> {
        if self.names.is_empty() || given.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut ports = self.clone();
        let meant = given.iter().filter(|port| self.names.iter().any(|name| means(name, port)));
        ports.ranges.extend(meant.map(|port| (port.protocol, port.port, port.port)));
        ports.settle();
        Cow::Owned(ports)
    }

    /// Takes those of `other` in as well.
    pub(super) fn join(&mut self, other: &Self) {
        self.all |= other.all;
        self.ranges.extend(&other.ranges);
        self.names.extend(other.names.iter().cloned());
        self.settle();
    }

    /// Whether these are all of `narrow`, where `numbers` says what a name of it stands for. A
    /// name that stands for nothing is covered only by the same name.
    pub(super) fn cover(&self, narrow: &Self, numbers: &dyn Fn(&PortName) -> Numbers) -> bool {
        if self.all {
            return true;
        }
        let has = |&(protocol, first, last): &(Protocol, u16, u16)| self.has(protocol, first, last);
        !narrow.all
            && narrow.ranges.iter().all(has)
            && narrow.names.iter().all(|name| {
                self.has_name(name) || {
                    let numbers = numbers(name);
                    !numbers.is_empty()
                        && numbers.iter().all(|&(protocol, port)| self.has(protocol, port, port))
                }
            })
    }

    /// Whether some port is in both for certain; names are not looked at.
    pub(super) fn overlap(&self, other: &Self) -> bool {
        let speaks = |ports: &Self| ports.all || !ports.ranges.is_empty();
        match (self.all, other.all) {
            (true, _) => speaks(other),
            (_, true) => speaks(self),
            _ => self
                .ranges
                .iter()
                .any(|a| other.ranges.iter().any(|b| first_common(a, b).is_some())),
        }
    }

    /// Whether some port could be in both, whatever names stand for.
    pub(super) fn may_overlap(&self, other: &Self) -> bool {
        !self.names.is_empty() || !other.names.is_empty() || self.overlap(other)
    }

    pub(super) fn contain(&self, service: Service) -> bool {
        match service {
            _ if self.all => true,
            Service::Portless => false,
            Service::Port(protocol, port) => self.has(protocol, port, port),
        }
    }

    /// Where what they say may change: each range's first port, and the one after its last.
    pub(super) fn borders(&self) -> impl Iterator<Item = Service> {
        self.ranges.iter().flat_map(|&(protocol, first, last)| {
            let after = last.checked_add(1).map(|port| Service::Port(protocol, port));
            std::iter::once(Service::Port(protocol, first.max(1))).chain(after)
        })
    }

    fn has(&self, protocol: Protocol, first: u16, last: u16) -> bool {
        self.ranges.iter().any(|&(of, from, to)| of == protocol && from <= first && last <= to)
    }

    /// Whether all that a name could stand for is here.
    fn has_name(&self, name: &PortName) -> bool {
        let whole = |protocol| self.has(protocol, 1, u16::MAX);
        let (protocol, text) = name;
        self.names.contains(name)
            || self.names.contains(&(None, text.clone()))
            || match protocol {
                Some(protocol) => whole(*protocol),
                None => PROTOCOLS.into_iter().all(whole),
            }
    }

    /// Sorts the ranges and makes one of those that touch.
    fn settle(&mut self) {
        self.ranges.sort_unstable();
        self.ranges.dedup_by(|next, before| {
            let touches = next.0 == before.0 && next.1 <= before.2.saturating_add(1);
            if touches {
                before.2 = before.2.max(next.2);
            }
            touches
        });
    }
}

/// Whether a name is that of `port`.
pub(super) fn means((protocol, name): &PortName, port: &NamedPort) -> bool {
    port.name == *name && protocol.is_none_or(|protocol| protocol == port.protocol)
}

fn first_common(a: &(Protocol, u16, u16), b: &(Protocol, u16, u16)) -> Option<u16> {
    let first = a.1.max(b.1);
    (a.0 == b.0 && first <= a.2.min(b.2)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Protocol::{Tcp, Udp};

    fn ports(all: bool, ranges: &[(Protocol, u16, u16)], names: &[&str]) -> Ports {
        let names = names.iter().map(|name| (Some(Tcp), (*name).to_owned())).collect();
        Ports::of(&PortTerms { all, ranges: ranges.to_vec(), names })
    }

    #[test]
    fn what_covers_what() {
        let http = [NamedPort { name: "http".to_owned(), protocol: Tcp, port: 8080 }];
        let numbers = |name: &PortName| {
            http.iter().filter(|it| means(name, it)).map(|it| (it.protocol, it.port)).collect()
        };
        let everything = ports(true, &[], &[]);
        let all_tcp = ports(false, &[(Tcp, 0, u16::MAX)], &[]);
        let beside = ports(false, &[(Tcp, 81, 90), (Tcp, 70, 80)], &[]);
        let named = ports(false, &[], &["http"]);
        let unknown = ports(false, &[], &["https"]);
        for (wide, narrow, expected) in [
            (&everything, &all_tcp, true),
            (&all_tcp, &everything, false),
            (&all_tcp, &beside, true),
            (&beside, &ports(false, &[(Tcp, 75, 85)], &[]), true),
            (&beside, &ports(false, &[(Tcp, 75, 91)], &[]), false),
            (&beside, &ports(false, &[(Udp, 75, 85)], &[]), false),
            (&all_tcp, &named, true),
            (&named, &named, true),
            (&unknown, &named, false),
            (&ports(false, &[(Tcp, 8080, 8080)], &[]), &named, true),
            (&ports(false, &[(Tcp, 80, 80)], &[]), &named, false),
            (&ports(false, &[(Tcp, 8080, 8080)], &[]), &unknown, false),
        ] {
            assert_eq!(wide.cover(narrow, &numbers), expected, "{wide:?} {narrow:?}");
        }
        assert!(named.resolved(&http).cover(&ports(false, &[(Tcp, 8080, 8080)], &[]), &numbers));
    }

    #[test]
    fn what_is_in_both() {
        let a = ports(false, &[(Tcp, 80, 90), (Udp, 53, 53)], &["http"]);
        let b = ports(false, &[(Tcp, 85, 99), (Tcp, 90, 91)], &[]);
        assert!(a.overlap(&b) && !a.overlap(&ports(false, &[(Udp, 54, 55)], &[])));
        assert!(a.may_overlap(&ports(false, &[(Udp, 54, 55)], &[])));
        assert!(
            ports(true, &[], &[]).overlap(&b)
                && !ports(true, &[], &[]).overlap(&ports(false, &[], &["x"]))
        );
        let borders = [(Tcp, 80), (Tcp, 91), (Udp, 53), (Udp, 54)];
        let borders = borders.map(|(protocol, port)| Service::Port(protocol, port));
        assert_eq!(a.borders().collect::<Vec<_>>(), borders);
        assert!(a.contain(borders[0]) && !a.contain(borders[1]) && !a.contain(Service::Portless));
        assert!(ports(true, &[], &[]).contain(Service::Portless));
    }
}
