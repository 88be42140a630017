//! Who is compared: pods and nodes that both tables know, and every address outside.
//!
//! Places that either table treats alike form a class, of which one is judged for all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use sluice_core::address::NetworkId;
use sluice_core::blocks::BlockId;
use sluice_core::table::{IdentityId, NodeId, Party, Table};

/// An address of a party in either table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Which party it belongs to.
    party: usize,
    pub(super) before: IpAddr,
    pub(super) after: IpAddr,
}

/// Places that are alike.
#[derive(Debug)]
pub(super) struct Class {
    is_v6: bool,
    has_policies: bool,
    /// The places with their parties' names.
    members: Vec<(Place, String)>,
}

/// Everybody who is compared.
pub(super) struct Parties {
    classes: Vec<Class>,
    added: Vec<String>,
    removed: Vec<String>,
}

/// What a table makes of a place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    identity: Option<IdentityId>,
    /// The node that it is, or runs on.
    node: Option<NodeId>,
    is_node: bool,
    blocks: Vec<BlockId>,
}

impl Class {
    /// Whether the verdict between the two can depend on any policy.
    pub(super) fn is_judged_with(&self, other: &Self) -> bool {
        self.is_v6 == other.is_v6 && (self.has_policies || other.has_policies)
    }

    /// A place of each; `None` where there are no two parties.
    pub(super) fn pair_with<'a>(&'a self, other: &'a Self) -> Option<(Place, Place)> {
        let first = |(one, _): &(Place, String)| {
            let differs = |(place, _): &&(Place, String)| place.party != one.party;
            other.members.iter().find(differs).map(|(place, _)| (*one, *place))
        };
        self.members.iter().find_map(first)
    }

    /// How many pairs of different parties there are.
    pub(super) fn pairs_len(&self, other: &Self) -> u64 {
        let mut here: HashMap<usize, u64> = HashMap::new();
        for (place, _) in &self.members {
            *here.entry(place.party).or_default() += 1;
        }
        let same: u64 = other.members.iter().filter_map(|(place, _)| here.get(&place.party)).sum();
        self.members.len() as u64 * other.members.len() as u64 - same
    }

    /// The names of all pairs of different parties, sorted.
    pub(super) fn pairs_with<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.members.iter().flat_map(move |(one, from)| {
            let others = other.members.iter().filter(move |(place, _)| place.party != one.party);
            others.map(move |(_, to)| (from.as_str(), to.as_str()))
        })
    }
}

impl Parties {
    pub(super) fn of(before: &Table, after: &Table) -> Self {
        let mut found = Found { before, after, classes: BTreeMap::new(), parties: 0 };
        let mut added = Vec::new();
        let mut removed = Vec::new();
        for (_, pod) in before.endpoints() {
            let there = after.endpoint_named(&pod.name).and_then(|id| after.endpoint(id));
            match there {
                Some(other) if pod.identity.is_none() && other.identity.is_none() => {}
                Some(other) => {
                    found.party(&pod.name, &pod.addresses, &other.addresses);
                    // What it can be reached by comes and goes as a pod does.
                    for (is_v6, family) in [(false, "IPv4"), (true, "IPv6")] {
                        let has = |list: &[IpAddr]| list.iter().any(|it| it.is_ipv6() == is_v6);
                        let name = || format!("{} ({family})", pod.name);
                        match (has(&pod.addresses), has(&other.addresses)) {
                            (true, false) => removed.push(name()),
                            (false, true) => added.push(name()),
                            _ => {}
                        }
                    }
                }
                None => removed.push(pod.name.to_string()),
            }
        }
        let new = after.endpoints().filter(|(_, pod)| before.endpoint_named(&pod.name).is_none());
        added.extend(new.map(|(_, pod)| pod.name.to_string()));
        // Nodes come and go by their addresses, which others can reach before and after.
        let mut nodes: BTreeMap<&str, BTreeSet<IpAddr>> = BTreeMap::new();
        for (_, node) in before.nodes().chain(after.nodes()) {
            nodes.entry(&node.name).or_default().extend(&node.addresses);
        }
        for (name, addresses) in nodes {
            let addresses: Vec<IpAddr> = addresses.into_iter().collect();
            found.party(&format!("node {name}"), &addresses, &addresses);
        }
        found.outside();
        added.sort();
        removed.sort();
        let mut classes: Vec<Class> = found.classes.into_values().collect();
        for class in &mut classes {
            class.members.sort_by(|(_, one), (_, other)| one.cmp(other));
        }
        Self { classes, added, removed }
    }

    pub(super) fn classes(&self) -> &[Class] {
        &self.classes
    }

    pub(super) fn into_added_and_removed(self) -> (Vec<String>, Vec<String>) {
        (self.added, self.removed)
    }
}

/// The classes while they are gathered.
struct Found<'a> {
    before: &'a Table,
    after: &'a Table,
    classes: BTreeMap<(bool, Standing, Standing), Class>,
    parties: usize,
}

impl Found<'_> {
    /// Adds the addresses that a party has in both tables, each with its counterpart.
    fn party(&mut self, name: &str, before: &[IpAddr], after: &[IpAddr]) {
        let party = self.parties;
        self.parties += 1;
        for is_v6 in [false, true] {
            let of_family = |list: &[IpAddr]| -> Vec<IpAddr> {
                list.iter().copied().filter(|address| address.is_ipv6() == is_v6).collect()
            };
            for (before, after) in of_family(before).into_iter().zip(of_family(after)) {
                self.place(Place { party, before, after }, name.to_owned());
            }
        }
    }

    fn place(&mut self, place: Place, name: String) {
        let is_v6 = place.before.is_ipv6();
        let before = standing(self.before, place.before);
        let after = standing(self.after, place.after);
        let has_policies = before.identity.is_some() || after.identity.is_some();
        let class = self.classes.entry((is_v6, before, after)).or_insert_with(|| Class {
            is_v6,
            has_policies,
            members: Vec::new(),
        });
        class.members.push((place, name));
    }

    /// The addresses outside: the borders of all blocks cut them into stretches within which
    /// all are alike, and stretches that are alike are one party.
    fn outside(&mut self) {
        let nets = || self.before.blocks().nets().chain(self.after.blocks().nets());
        let mut classes: BTreeMap<(bool, Standing, Standing), (Place, Vec<Stretch>)> =
            BTreeMap::new();
        for is_v6 in [false, true] {
            let borders = borders(nets().filter(|net| net.addr().is_ipv6() == is_v6), is_v6);
            for (place, first) in borders.iter().enumerate() {
                let last = borders.get(place + 1).map_or(max(is_v6), |next| next - 1);
                let Some(address) = self.stranger(*first, last, is_v6) else { continue };
                let key = (is_v6, standing(self.before, address), standing(self.after, address));
                let place = Place { party: self.parties, before: address, after: address };
                self.parties += 1;
                classes.entry(key).or_insert((place, Vec::new())).1.push((*first, last));
            }
        }
        for ((is_v6, before, after), (place, stretches)) in classes {
            let is_elsewhere = before.blocks.is_empty() && after.blocks.is_empty();
            let name = if is_elsewhere {
                format!("elsewhere outside ({})", if is_v6 { "IPv6" } else { "IPv4" })
            } else {
                name_of(&stretches, is_v6)
            };
            let class = Class { is_v6, has_policies: false, members: vec![(place, name)] };
            self.classes.insert((is_v6, before, after), class);
        }
    }

    /// An address between the two that nobody in the cluster has.
    fn stranger(&self, first: u128, last: u128, is_v6: bool) -> Option<IpAddr> {
        /// Pods at the beginning of a block are passed over; a block full of pods is no stranger.
        const TRIES: u128 = 4096;
        let is_free =
            |table: &Table, address| table.party(NetworkId::DEFAULT, address) == Party::External;
        (first..=last.min(first.saturating_add(TRIES)))
            .map(|bits| address(bits, is_v6))
            .find(|address| is_free(self.before, *address) && is_free(self.after, *address))
    }
}

/// First and last address, as bits.
type Stretch = (u128, u128);

/// Where blocks begin, and one past where they end, sorted.
fn borders(nets: impl Iterator<Item = IpNet>, is_v6: bool) -> Vec<u128> {
    let mut borders = BTreeSet::from([0]);
    for net in nets {
        borders.insert(bits(net.network()));
        let end = bits(net.broadcast());
        if end < max(is_v6) {
            borders.insert(end + 1);
        }
    }
    borders.into_iter().collect()
}

/// The addresses of some stretches: `10.0.0.0/24` where one is a block, or `10.0.0.7-10.0.0.9`.
fn name_of(stretches: &[Stretch], is_v6: bool) -> String {
    const NAMED_MAX: usize = 3;
    let name = |&(first, last): &Stretch| {
        let (first, last) = (address(first, is_v6), address(last, is_v6));
        let blocks: Vec<IpNet> = match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                Ipv4Subnets::new(first, last, 0).map(IpNet::V4).take(2).collect()
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                Ipv6Subnets::new(first, last, 0).map(IpNet::V6).take(2).collect()
            }
            _ => Vec::new(),
        };
        match blocks.as_slice() {
            [block] => block.to_string(),
            _ => format!("{first}-{last}"),
        }
    };
    // Stretches that meet are one: what lies between them is of interest to others only.
    let mut joined: Vec<Stretch> = Vec::new();
    for &(first, last) in stretches {
        match joined.last_mut() {
            Some(previous) if previous.1.checked_add(1) == Some(first) => previous.1 = last,
            _ => joined.push((first, last)),
        }
    }
    let mut named: Vec<String> = joined.iter().take(NAMED_MAX).map(name).collect();
    if joined.len() > NAMED_MAX {
        named.push(format!("and {} more", joined.len() - NAMED_MAX));
    }
    named.join(" ")
}

fn standing(table: &Table, address: IpAddr) -> Standing {
    let party = table.party(NetworkId::DEFAULT, address);
    let blocks = table.blocks();
    let mut around: Vec<BlockId> = blocks.around(address).flatten().copied().collect();
    around.retain(|block| !blocks.is_hole(*block, address));
    around.sort_unstable();
    let (identity, node) = match party {
        Party::Pod(id) => {
            let endpoint = table.endpoint(id);
            (endpoint.and_then(|it| it.identity), endpoint.and_then(|it| it.node))
        }
        Party::Node(id) => (None, Some(id)),
        Party::External => (None, None),
    };
    Standing { identity, node, is_node: matches!(party, Party::Node(_)), blocks: around }
}

fn max(is_v6: bool) -> u128 {
    if is_v6 { u128::MAX } else { u128::from(u32::MAX) }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn address(bits: u128, is_v6: bool) -> IpAddr {
    if is_v6 {
        Ipv6Addr::from(bits).into()
    } else {
        Ipv4Addr::from(u32::try_from(bits).unwrap_or(u32::MAX)).into()
    }
}
