//! Whom rules mean: each distinct peer once, with its members, and which take in which.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::rc::Rc;

use ipnet::IpNet;

use super::Grounds;
use super::bits::Bits;
use super::blocks::{is_within, smaller};
use super::crowd::Crowd;
use super::selectors::{is_open, is_open_scope, is_wider, is_wider_scope};
use crate::compile::lower::PeerTerm;
use crate::model::Pod;

/// The number of a distinct peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PeerNo(u32);

/// All peers of all rules.
#[derive(Default)]
pub(super) struct Peers<'a> {
    peers: Vec<Peer<'a>>,
    numbers: HashMap<&'a PeerTerm, PeerNo>,
}

pub(super) struct Peer<'a> {
    pub(super) term: &'a PeerTerm,
    /// The running identities that it means, or the places of nodes; none for blocks.
    pub(super) members: Rc<Bits>,
    speakers: BTreeSet<Speaker<'a>>,
    /// The peers that take it in by what is written, itself first.
    written: Vec<PeerNo>,
    /// Those that do for the pods that are there, the others among them.
    present: Vec<PeerNo>,
}

/// Somebody at the other end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Party<'a> {
    pub(super) pod: Option<&'a Pod>,
    /// The pod's identity.
    pub(super) identity: Option<u32>,
    /// The place of a node.
    pub(super) node: Option<u32>,
    pub(super) address: Option<IpAddr>,
}

impl<'a> Peers<'a> {
    /// The number of a peer that `speaker` speaks of.
    pub(super) fn number_of(
        &mut self,
        term: &'a PeerTerm,
        speaker: Speaker<'a>,
        crowd: &mut Crowd<'_>,
    ) -> PeerNo {
        if let Some(known) = self.numbers.get(term).copied() {
            if let Some(peer) = self.peers.get_mut(known.0 as usize) {
                peer.speakers.insert(speaker);
            }
            return known;
        }
        let members = match term {
            PeerTerm::Pods { namespaces, pods } => crowd.choose(namespaces, pods),
            PeerTerm::Nodes(selector) => Rc::new(crowd.choose_nodes(selector)),
            PeerTerm::Everybody | PeerTerm::Block(_) => Rc::default(),
        };
        let number = PeerNo(u32::try_from(self.peers.len()).unwrap_or(u32::MAX));
        let speakers = BTreeSet::from([speaker]);
        self.peers.push(Peer { term, members, speakers, written: Vec::new(), present: Vec::new() });
        self.numbers.insert(term, number);
        number
    }

    pub(super) fn get(&self, number: PeerNo) -> Option<&Peer<'a>> {
        self.peers.get(number.0 as usize)
    }

    /// The peers that take in all of `number`, itself first.
    pub(super) fn around(&self, number: PeerNo, grounds: Grounds) -> &[PeerNo] {
        self.get(number).map_or(&[], |peer| match grounds {
            Grounds::Written => &peer.written,
            Grounds::Present => &peer.present,
        })
    }

    pub(super) fn numbered(&self) -> impl Iterator<Item = (PeerNo, &Peer<'a>)> {
        (0u32..).map(PeerNo).zip(&self.peers)
    }

    /// Finds out which peers take in which; afterwards no peer may be added.
    pub(super) fn relate(&mut self, crowd: &Crowd<'_>) {
        let index = Index::of(self);
        let related: Vec<(Vec<PeerNo>, Vec<PeerNo>)> = self
            .numbered()
            .map(|(number, narrow)| {
                let mut written = vec![number];
                written.extend(index.everybody.filter(|it| *it != number));
                let mut present = written.clone();
                let first = narrow.members.iter().next();
                for other in index.around(narrow).into_iter().filter(|other| *other != number) {
                    let Some(wide) = self.get(other) else { continue };
                    if first.is_some_and(|first| !wide.members.contains(first)) {
                        continue;
                    }
                    if wide.takes_in(narrow, crowd, Grounds::Written) {
                        written.push(other);
                        present.push(other);
                    } else if wide.takes_in(narrow, crowd, Grounds::Present) {
                        present.push(other);
                    }
                }
                (written, present)
            })
            .collect();
        for (peer, (written, present)) in self.peers.iter_mut().zip(related) {
            peer.written = written;
            peer.present = present;
        }
    }
}

/// Where to look for peers that could take in another.
#[derive(Default)]
struct Index<'a> {
    everybody: Option<PeerNo>,
    blocks: HashMap<IpNet, Vec<PeerNo>>,
    /// Peers with selectors by who speaks of them.
    selecting: BTreeMap<Speaker<'a>, Vec<PeerNo>>,
}

/// Who speaks of a peer: policies of a namespace, or `None`, of the cluster. What policies of one
/// namespace say is never compared with what those of another do.
type Speaker<'a> = Option<&'a str>;

impl<'a> Index<'a> {
    fn of(peers: &Peers<'a>) -> Self {
        let mut index = Self::default();
        for (number, peer) in peers.numbered() {
            match peer.term {
                PeerTerm::Everybody => index.everybody = Some(number),
                PeerTerm::Block(block) => index.blocks.entry(block.cidr).or_default().push(number),
                PeerTerm::Nodes(_) | PeerTerm::Pods { .. } => {
                    for speaker in &peer.speakers {
                        index.selecting.entry(*speaker).or_default().push(number);
                    }
                }
            }
        }
        index
    }

    /// All that could take in `narrow`, everybody apart.
    fn around(&self, narrow: &Peer<'_>) -> Vec<PeerNo> {
        match narrow.term {
            PeerTerm::Everybody => Vec::new(),
            PeerTerm::Block(block) => {
                let outwards = std::iter::successors(Some(block.cidr), IpNet::supernet);
                outwards.filter_map(|net| self.blocks.get(&net)).flatten().copied().collect()
            }
            PeerTerm::Nodes(_) | PeerTerm::Pods { .. } => {
                let speakers = narrow.speakers.iter().chain([&None]);
                let lists = speakers.filter_map(|it| self.selecting.get(it));
                let mut around: Vec<PeerNo> = lists.flatten().copied().collect();
                around.sort_unstable();
                around.dedup();
                around
            }
        }
    }
}

impl Peer<'_> {
    fn takes_in(&self, narrow: &Self, crowd: &Crowd<'_>, grounds: Grounds) -> bool {
        let all_there = || !narrow.members.is_empty() && narrow.members.is_subset(&self.members);
        match (self.term, narrow.term, grounds) {
            (PeerTerm::Block(wide), PeerTerm::Block(narrow), _) => is_within(narrow, wide),
            (PeerTerm::Nodes(wide), PeerTerm::Nodes(narrow), Grounds::Written) => {
                is_wider(wide, narrow)
            }
            (PeerTerm::Nodes(wide), PeerTerm::Nodes(narrow), Grounds::Present) => {
                all_there() && (!is_open(narrow) || is_wider(wide, narrow))
            }
            (
                PeerTerm::Pods { namespaces: wide_scope, pods: wide },
                PeerTerm::Pods { namespaces: scope, pods: narrow },
                _,
            ) => {
                let labels_of = |name: &str| crowd.namespaces.get(name);
                let by_scope = || is_wider_scope(wide_scope, scope, labels_of);
                match grounds {
                    Grounds::Written => by_scope() && is_wider(wide, narrow),
                    // Selectors without a wanted label mean those to come too.
                    Grounds::Present => {
                        all_there()
                            && (!is_open(narrow) || is_wider(wide, narrow))
                            && (!is_open_scope(scope) || by_scope())
                    }
                }
            }
            _ => false,
        }
    }

    /// Whether nobody can be meant by both.
    pub(super) fn is_apart(&self, other: &Self, grounds: Grounds) -> bool {
        match (self.term, other.term) {
            (PeerTerm::Block(a), PeerTerm::Block(b)) => smaller(a.cidr, b.cidr).is_none(),
            (PeerTerm::Pods { .. }, PeerTerm::Nodes(_))
            | (PeerTerm::Nodes(_), PeerTerm::Pods { .. }) => true,
            (PeerTerm::Pods { .. }, PeerTerm::Pods { .. })
            | (PeerTerm::Nodes(_), PeerTerm::Nodes(_)) => {
                grounds == Grounds::Present && !self.members.intersects(&other.members)
            }
            _ => false,
        }
    }

    pub(super) fn means(&self, party: &Party<'_>) -> bool {
        let is_member = |number: Option<u32>| number.is_some_and(|it| self.members.contains(it));
        match self.term {
            PeerTerm::Everybody => true,
            PeerTerm::Pods { .. } => is_member(party.identity),
            PeerTerm::Nodes(_) => is_member(party.node),
            PeerTerm::Block(block) => party.address.is_some_and(|address| {
                block.cidr.contains(&address)
                    && !block.except.iter().any(|hole| hole.contains(&address))
            }),
        }
    }
}
