//! Holes of address blocks that other rules open again.
//!
//! Rules only ever add: what one takes out of a block another may let in. Pods in a hole that are
//! let in by their labels are no surprise, so only blocks and rules for everybody count.

use std::collections::BTreeMap;

use ipnet::IpNet;
use sluice_core::table::Direction;

use super::blocks::part_in;
use super::peers::PeerNo;
use super::policies::Written;
use super::ports::Numbers;
use super::survey::{Rule, Survey};
use super::{Advice, words};
use crate::compile::lower::PeerTerm;
use crate::model::{NetworkPolicy, Peer, Peers};
use crate::validate::canonical_net;

pub(super) fn advise(survey: &Survey<'_>) -> Vec<Advice> {
    let open = Openers::of(survey);
    let mut advice = Vec::new();
    for rule in &survey.rules {
        let Written::Namespaced(policy) = rule.policy.written else { continue };
        for (field, hole) in holes(policy, rule) {
            let openers = open.of_hole(survey, rule, hole);
            if openers.is_empty() {
                continue;
            }
            advice.push(Advice {
                object: rule.policy.object.clone(),
                field: format!("{}.{field}", words::field(rule)),
                remark: format!(
                    "{hole} is taken out here, but {}: rules only ever add, so what no pod may \
                     reach or hear must be left out of all of them",
                    words::list(openers),
                ),
            });
        }
    }
    advice
}

/// The holes of a rule, with the field of each.
fn holes(policy: &NetworkPolicy, rule: &Rule<'_>) -> Vec<(String, IpNet)> {
    let rules = match rule.direction {
        Direction::Egress => &policy.egress,
        Direction::Ingress => &policy.ingress,
    };
    let written = rules.as_ref().and_then(|rules| rules.get(rule.index as usize));
    let Some(Peers::AnyOf(peers)) = written.map(|rule| &rule.peers) else { return Vec::new() };
    let side = words::peers(rule.direction);
    let blocks = peers.iter().enumerate().filter_map(|(place, peer)| match peer {
        Peer::Block(block) => Some((place, block)),
        Peer::Selectors { .. } => None,
    });
    let holes = blocks.flat_map(|(peer, block)| {
        let field = move |hole: usize| format!("{side}[{peer}].ipBlock.except[{hole}]");
        let except = block.except.iter().enumerate();
        except.map(move |(place, hole)| (field(place), canonical_net(*hole)))
    });
    holes.collect()
}

/// The peers that can open a hole.
struct Openers {
    everybody: Option<PeerNo>,
    blocks: BTreeMap<IpNet, Vec<PeerNo>>,
}

impl Openers {
    fn of(survey: &Survey<'_>) -> Self {
        let mut openers = Self { everybody: None, blocks: BTreeMap::new() };
        for (number, peer) in survey.peers.numbered() {
            match peer.term {
                PeerTerm::Everybody => openers.everybody = Some(number),
                PeerTerm::Block(block) => {
                    openers.blocks.entry(block.cidr).or_default().push(number);
                }
                PeerTerm::Pods { .. } | PeerTerm::Nodes(_) => {}
            }
        }
        openers
    }

    /// What lets a hole of `rule` in again, in words.
    fn of_hole(&self, survey: &Survey<'_>, rule: &Rule<'_>, hole: IpNet) -> Vec<String> {
        let outwards = std::iter::successors(hole.supernet(), IpNet::supernet);
        let around = outwards.filter_map(|net| self.blocks.get(&net));
        // Networks sort by address and then by length: those inside follow the hole itself.
        let inside = self.blocks.range(hole..).take_while(|(net, _)| hole.contains(*net));
        let blocks = around.chain(inside.map(|(_, peers)| peers)).flatten().copied();
        let mut openers: Vec<(usize, String)> = Vec::new();
        for number in self.everybody.into_iter().chain(blocks) {
            let Some(peer) = survey.peers.get(number) else { continue };
            let part = match peer.term {
                PeerTerm::Block(block) => match part_in(hole, block) {
                    Some(part) => Some(part),
                    None => continue,
                },
                _ => None,
            };
            for other in neighbours(survey, rule, number) {
                openers.push((other.place, opener(rule, other, number, part, hole)));
            }
        }
        openers.sort();
        openers.into_iter().map(|(_, words)| words).collect()
    }
}

/// The rules with a peer that speak for some pod that `rule` speaks for, and of some port of its.
fn neighbours<'s, 'a>(
    survey: &'s Survey<'a>,
    rule: &'s Rule<'a>,
    peer: PeerNo,
) -> impl Iterator<Item = &'s Rule<'a>> {
    let last = survey.policies.len();
    survey.rules_with(peer, rule.direction, (0, last)).filter(move |other| {
        let same_kind = matches!(
            (rule.policy.written, other.policy.written),
            (Written::Namespaced(a), Written::Namespaced(b)) if a.namespace == b.namespace
        );
        same_kind && other.ports.overlap(&rule.ports) && survey.meet(rule.policy, other.policy)
    })
}

fn opener(
    rule: &Rule<'_>,
    other: &Rule<'_>,
    peer: PeerNo,
    part: Option<(IpNet, bool)>,
    hole: IpNet,
) -> String {
    let place = other.peers.iter().position(|it| *it == peer).unwrap_or_default();
    let policy = words::policy(other.policy, rule.policy);
    let (field, peers) = (words::field(other), words::peers(other.direction));
    let ports = match other.ports.cover(&rule.ports, &|_| Numbers::new()) {
        true => "",
        false => " to some of these ports",
    };
    match part {
        None => format!("{field} of {policy} admits everybody{ports}"),
        Some((part, holed)) => {
            let part = match part {
                part if part == hole && holed => "some of it".to_owned(),
                part if part == hole => "it".to_owned(),
                part if holed => format!("some of {part}"),
                part => part.to_string(),
            };
            format!("{field}.{peers}[{place}] of {policy} admits {part}{ports}")
        }
    }
}
