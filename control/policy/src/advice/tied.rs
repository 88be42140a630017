//! ClusterNetworkPolicies of equal priority that disagree.
//!
//! Kubernetes leaves open which of two policies of one tier and priority is asked first. That
//! matters only where some connection is decided by both, each in its way, and by no policy before
//! them; so one such connection is looked for, and named.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;
use sluice_core::table::{Action, Direction, Tier};

use super::blocks::smaller;
use super::peers::{Party, Peer};
use super::policies::Policy;
use super::ports::{Ports, Service};
use super::survey::{Cohort, DIRECTIONS, Rule, Survey};
use super::{Advice, Grounds, words};
use crate::compile::lower::PeerTerm;
use crate::model::{NamedPort, Pod};

/// How many cohorts and parties are tried for a pair of policies, and how many of these for a pair
/// of peers.
const COHORTS_MAX: usize = 16;
const PARTIES_MAX: usize = 64;
const PARTIES_OF_PEERS_MAX: usize = 4;

pub(super) fn advise(survey: &Survey<'_>) -> Vec<Advice> {
    let turns = survey.policies.iter().filter_map(Policy::turn);
    if !turns.clone().zip(turns.skip(1)).any(|(before, after)| before == after) {
        return Vec::new();
    }
    let holders = holders(survey);
    let mut advice = Vec::new();
    for (place, first) in survey.policies.iter().enumerate() {
        let Some(turn) = first.turn() else { continue };
        let later = survey.policies.iter().skip(place + 1);
        for second in later.take_while(|it| it.turn() == Some(turn)) {
            let contest = Contest { survey, holders: &holders, first, second };
            let Some(case) = DIRECTIONS.into_iter().find_map(|it| contest.find(it)) else {
                continue;
            };
            let (tier, priority) = turn;
            advice.push(Advice {
                object: second.object.clone(),
                field: "spec.priority".to_owned(),
                remark: format!(
                    "{} has priority {priority} in the {tier} tier too, and the two disagree: \
                     {case}; Kubernetes leaves open which is asked first, here it is that one by \
                     its name; give them different priorities",
                    first.object
                ),
            });
        }
    }
    advice
}

/// Two policies of one turn.
struct Contest<'s, 'a> {
    survey: &'s Survey<'a>,
    holders: &'s Holders<'a>,
    first: &'s Policy<'a>,
    second: &'s Policy<'a>,
}

/// What some pods and a party have to say to each other, in one direction.
struct Talk<'s, 'a> {
    direction: Direction,
    cohort: &'s Cohort,
    party: &'s Party<'a>,
    /// The named ports of whoever is asked.
    given: &'s [NamedPort],
}

/// Rules that mean a party, with their ports, in the order in which they are asked.
type Asked<'s, 'a> = Vec<(&'s Rule<'a>, Cow<'s, Ports>)>;

impl<'s, 'a> Contest<'s, 'a> {
    /// A connection about which they disagree, in words.
    fn find(&self, direction: Direction) -> Option<String> {
        let survey = self.survey;
        if !survey.members(self.first)?.intersects(survey.members(self.second)?) {
            return None;
        }
        let tier = self.first.lowered.tier;
        let cohorts = survey.cohorts(self.first, Grounds::Present).iter().filter(|cohort| {
            let set = cohort.set(direction, tier);
            let both = set.is_some_and(|it| it.contains(self.first) && it.contains(self.second));
            // The Baseline tier is asked only where no NetworkPolicy speaks for the pod.
            both && (tier == Tier::Admin || cohort.set(direction, Tier::NetworkPolicy).is_none())
        });
        let cohorts: Vec<_> = cohorts.take(COHORTS_MAX).collect();
        if cohorts.is_empty() {
            return None;
        }
        let parties = self.parties(direction);
        parties.iter().find_map(|party| {
            cohorts.iter().find_map(|cohort| self.find_between(direction, cohort, party))
        })
    }

    /// Some of those about whom they could disagree.
    fn parties(&self, direction: Direction) -> Vec<Party<'a>> {
        let survey = self.survey;
        let mut known = HashSet::new();
        let mut parties = Vec::new();
        for a in survey.rules_of(self.first, direction) {
            for b in survey.rules_of(self.second, direction) {
                if a.action == b.action || !a.ports.may_overlap(&b.ports) {
                    continue;
                }
                let peers = |rule: &Rule<'_>| -> Vec<&Peer<'a>> {
                    rule.peers.iter().filter_map(|number| survey.peers.get(*number)).collect()
                };
                for (a, b) in
                    peers(a).into_iter().flat_map(|a| peers(b).into_iter().map(move |b| (a, b)))
                {
                    let common = common(survey, self.holders, a, b).into_iter();
                    let new = common.filter(|it| known.insert((it.identity, it.node, it.address)));
                    parties.extend(new);
                }
                if parties.len() >= PARTIES_MAX {
                    return parties;
                }
            }
        }
        parties
    }

    fn find_between(
        &self,
        direction: Direction,
        cohort: &Cohort,
        party: &Party<'_>,
    ) -> Option<String> {
        let crowd = &self.survey.crowd;
        let pods = |it: &u32| crowd.pods(*it).iter().map(|pod| (*it, *pod)).collect::<Vec<_>>();
        let mut pods = cohort.sample.iter().flat_map(pods);
        let (identity, subject) = pods.find(|(_, pod)| self.asks_policies(pod, party))?;
        let asked = match direction {
            Direction::Ingress => Some(identity),
            Direction::Egress => party.identity,
        };
        let given = asked.and_then(|it| crowd.running.get(it)).map(|it| &*it.named_ports);
        let talk = Talk { direction, cohort, party, given: given.unwrap_or_default() };
        let (service, a, b) = self.disagreement(&talk)?;
        let said = |rule: &Rule<'_>| {
            let action = words::action(rule.action);
            format!("{} says {action}", words::rule(rule, self.second))
        };
        let service = match service {
            Service::Portless => "a protocol without ports".to_owned(),
            Service::Port(protocol, port) => format!("{protocol} {port}"),
        };
        let (subject, peer) = (subject.key(), self.called(party));
        let ends = match direction {
            Direction::Ingress => format!("from {peer} to {subject}"),
            Direction::Egress => format!("from {subject} to {peer}"),
        };
        Some(format!("for {service} {ends} {}, {}", said(a), said(b)))
    }

    /// A service that the two decide by rules which differ, and that nobody decides before.
    fn disagreement(&self, talk: &Talk<'_, '_>) -> Option<(Service, &'s Rule<'a>, &'s Rule<'a>)> {
        let tier = self.first.lowered.tier;
        let rules = self.asked(talk, tier, self.second.place);
        let before = match tier {
            Tier::Baseline => self.asked(talk, Tier::Admin, usize::MAX),
            _ => Vec::new(),
        };
        let borders = rules.iter().chain(&before).flat_map(|(_, ports)| ports.borders());
        let services: BTreeSet<Service> = borders.chain([Service::Portless]).collect();
        services.into_iter().find_map(|service| {
            let speaks = |(_, ports): &&(&Rule<'a>, Cow<'_, Ports>)| ports.contain(service);
            let mut speaking = rules.iter().filter(speaks).map(|(rule, _)| *rule);
            // Whoever is asked first must be the first of the two.
            let a = speaking.next().filter(|rule| rule.policy.place == self.first.place)?;
            let b = speaking.find(|rule| rule.policy.place == self.second.place)?;
            let decided =
                before.iter().find(speaks).is_some_and(|(it, _)| it.action != Action::Pass);
            (a.action != b.action && !decided).then_some((service, a, b))
        })
    }

    /// The rules of a tier that mean the party, of the policies up to one.
    fn asked(&self, talk: &Talk<'_, '_>, tier: Tier, last: usize) -> Asked<'s, 'a> {
        let survey = self.survey;
        let set = talk.cohort.set(talk.direction, tier);
        let places = set.into_iter().flat_map(|set| &set.policies).take_while(|it| **it <= last);
        let policies = places.filter_map(|place| survey.policies.get(*place));
        let rules = policies.flat_map(|policy| survey.rules_of(policy, talk.direction));
        let means = |rule: &&Rule<'a>| {
            let mut peers = rule.peers.iter().filter_map(|number| survey.peers.get(*number));
            peers.any(|peer| peer.means(talk.party))
        };
        rules.filter(means).map(|rule| (rule, rule.ports.resolved(talk.given))).collect()
    }

    /// Whether policies have a say between a pod and a party: a pod may always talk to itself and
    /// to its own node.
    fn asks_policies(&self, pod: &Pod, party: &Party<'_>) -> bool {
        let node = party.node.and_then(|it| self.survey.crowd.nodes.get(it as usize));
        party.pod.is_none_or(|it| it.key() != pod.key())
            && node.is_none_or(|it| pod.node.as_ref().is_some_and(|own| *own != it.name))
    }

    fn called(&self, party: &Party<'_>) -> String {
        let node = party.node.and_then(|it| self.survey.crowd.nodes.get(it as usize));
        match (party.pod, node, party.address) {
            (Some(pod), _, _) => pod.key().to_string(),
            (None, Some(node), _) => format!("node {}", node.name),
            (None, None, Some(address)) => address.to_string(),
            (None, None, None) => "anybody".to_owned(),
        }
    }
}

/// Some of those whom two peers mean.
fn common<'a>(
    survey: &Survey<'a>,
    holders: &Holders<'a>,
    a: &Peer<'_>,
    b: &Peer<'_>,
) -> Vec<Party<'a>> {
    let pods = |number| pods(survey, number);
    let node = |number| node(survey, number);
    let hosts = |net: IpNet| {
        let outside = |address| Party { address: Some(address), ..Party::default() };
        let holder = |address| holders.get(&address).copied().unwrap_or_else(|| outside(address));
        net.hosts().take(PARTIES_OF_PEERS_MAX).map(holder).collect()
    };
    match (a.term, b.term) {
        (PeerTerm::Pods { .. }, PeerTerm::Pods { .. }) => {
            a.members.common(&b.members).flat_map(pods).take(PARTIES_OF_PEERS_MAX).collect()
        }
        (PeerTerm::Nodes(_), PeerTerm::Nodes(_)) => {
            a.members.common(&b.members).take(PARTIES_OF_PEERS_MAX).map(node).collect()
        }
        // Two that fail closed say the same.
        (PeerTerm::Everybody, PeerTerm::Everybody)
        | (PeerTerm::Pods { .. }, PeerTerm::Nodes(_))
        | (PeerTerm::Nodes(_), PeerTerm::Pods { .. }) => Vec::new(),
        (PeerTerm::Pods { .. }, _) => a
            .members
            .iter()
            .flat_map(pods)
            .filter(|it| b.means(it))
            .take(PARTIES_OF_PEERS_MAX)
            .collect(),
        (PeerTerm::Nodes(_), _) => {
            a.members.iter().map(node).filter(|it| b.means(it)).take(PARTIES_OF_PEERS_MAX).collect()
        }
        (_, PeerTerm::Pods { .. } | PeerTerm::Nodes(_)) => common(survey, holders, b, a),
        (PeerTerm::Block(a), PeerTerm::Block(b)) => {
            smaller(a.cidr, b.cidr).map(hosts).unwrap_or_default()
        }
        (PeerTerm::Block(block), PeerTerm::Everybody)
        | (PeerTerm::Everybody, PeerTerm::Block(block)) => hosts(block.cidr),
    }
}

/// Who holds which address.
type Holders<'a> = HashMap<IpAddr, Party<'a>>;

fn holders<'a>(survey: &Survey<'a>) -> Holders<'a> {
    let mut holders = Holders::new();
    let mut hold = |addresses: &[IpAddr], party: Party<'a>| {
        for address in addresses.iter().map(IpAddr::to_canonical) {
            holders.insert(address, Party { address: Some(address), ..party });
        }
    };
    for (number, _) in survey.crowd.identities() {
        for pod in survey.crowd.pods(number) {
            let party = Party { pod: Some(pod), identity: Some(number), ..Party::default() };
            hold(&pod.addresses, party);
        }
    }
    for (number, node) in (0u32..).zip(&survey.crowd.nodes) {
        let party = Party { node: Some(number), ..Party::default() };
        hold(&node.addresses, party);
        let on_host = survey.objects.pods().filter(|pod| pod.host_network && !pod.terminated);
        let here = on_host.filter(|pod| pod.node.as_ref() == Some(&node.name));
        here.for_each(|pod| hold(&pod.addresses, party));
    }
    holders
}

fn pods<'a>(survey: &Survey<'a>, number: u32) -> Vec<Party<'a>> {
    let pods = survey.crowd.pods(number).iter();
    pods.map(|pod| Party {
        pod: Some(pod),
        identity: Some(number),
        node: None,
        address: pod.addresses.first().map(IpAddr::to_canonical),
    })
    .collect()
}

fn node<'a>(survey: &Survey<'a>, number: u32) -> Party<'a> {
    let node = survey.crowd.nodes.get(number as usize);
    let address = node.and_then(|node| node.addresses.first());
    Party { node: Some(number), address: address.map(IpAddr::to_canonical), ..Party::default() }
}
