//! All policies in one form, and which of them select the same pods.
//!
//! Pods that the same policies select, and that give the ports that these name the same numbers,
//! are a cohort. For each direction and tier a cohort has the set of the policies that speak for
//! it, in the order in which they are asked; cohorts with equal sets share one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use sluice_core::table::{Action, Direction, Tier};

use super::Grounds;
use super::bits::Bits;
use super::crowd::Crowd;
use super::peers::{PeerNo, Peers};
use super::policies::Policy;
use super::ports::Ports;
use super::selectors::{is_open, is_open_scope, is_wider, is_wider_scope};
use crate::compile::groups::Scope;
use crate::compile::lower::PeerTerm;
use crate::model::{LabelSelector, NamedPort, RuleSet};

pub(super) const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];
const TIERS: [Tier; 3] = [Tier::Admin, Tier::NetworkPolicy, Tier::Baseline];

/// Everything that advice is drawn from.
pub(super) struct Survey<'a> {
    pub(super) objects: &'a RuleSet,
    pub(super) crowd: Crowd<'a>,
    /// NetworkPolicies by namespace and name, then ClusterNetworkPolicies in the order in which
    /// they are asked.
    pub(super) policies: &'a [Policy<'a>],
    /// In the order of their policies.
    pub(super) rules: Vec<Rule<'a>>,
    pub(super) peers: Peers<'a>,
    /// The rules that name a peer: places of policy and rule, in order.
    by_peer: HashMap<(PeerNo, Direction), Vec<(usize, usize)>>,
    subjects: Vec<Subject<'a>>,
}

/// One rule of any policy.
pub(super) struct Rule<'a> {
    pub(super) policy: &'a Policy<'a>,
    /// Its place among all rules.
    pub(super) place: usize,
    pub(super) direction: Direction,
    pub(super) index: u32,
    pub(super) action: Action,
    pub(super) peers: Vec<PeerNo>,
    pub(super) ports: Ports,
    /// Whether it has a peer of an unknown kind.
    pub(super) fails_closed: bool,
}

/// Whom policies select.
struct Subject<'a> {
    namespaces: &'a Scope,
    pods: &'a LabelSelector,
    members: Rc<Bits>,
    /// The places of the policies that select these.
    policies: Vec<usize>,
    cohorts: Vec<Rc<Cohort>>,
    /// Any pod that is selected, whatever else selects it.
    anybody: Rc<Cohort>,
}

/// Pods that the same policies select.
#[derive(Default)]
pub(super) struct Cohort {
    sets: BTreeMap<(Direction, Tier), Rc<PolicySet>>,
    /// Two of its identities at most, for examples.
    pub(super) sample: Vec<u32>,
}

/// The policies of one direction and tier that select some pods.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct PolicySet {
    pub(super) direction: Direction,
    /// Their places, sorted.
    pub(super) policies: Vec<usize>,
    /// The subjects' named ports, as far as ingress rules speak of them.
    pub(super) ports: Vec<NamedPort>,
}

impl<'a> Survey<'a> {
    pub(super) fn of(objects: &'a RuleSet, policies: &'a [Policy<'a>]) -> Self {
        let mut crowd = Crowd::of(objects);
        let mut peers = Peers::default();
        let rules = rules(policies, &mut peers, &mut crowd);
        peers.relate(&crowd);
        let mut by_peer: HashMap<_, Vec<_>> = HashMap::new();
        for rule in &rules {
            for peer in rule.peers.iter().copied().collect::<BTreeSet<_>>() {
                let place = (rule.policy.place, rule.place);
                by_peer.entry((peer, rule.direction)).or_default().push(place);
            }
        }
        let subjects = subjects(policies, &mut crowd);
        let mut survey = Self { objects, crowd, policies, rules, peers, by_peer, subjects };
        survey.find_cohorts();
        survey
    }

    /// The running identities that a policy selects.
    pub(super) fn members(&self, policy: &Policy<'_>) -> Option<&Bits> {
        Some(&*self.subjects.get(policy.subject)?.members)
    }

    pub(super) fn cohorts(&self, policy: &Policy<'_>, grounds: Grounds) -> &[Rc<Cohort>] {
        let subject = self.subjects.get(policy.subject);
        subject.map_or(&[], |subject| match grounds {
            Grounds::Written => std::slice::from_ref(&subject.anybody),
            Grounds::Present => &subject.cohorts,
        })
    }

    /// The distinct sets of one direction and tier that speak for the pods that a policy
    /// selects; `None` where it selects no pod, or some pod has no such set.
    pub(super) fn sets(
        &self,
        policy: &Policy<'_>,
        direction: Direction,
        tier: Tier,
        grounds: Grounds,
    ) -> Option<Vec<&PolicySet>> {
        let cohorts = self.cohorts(policy, grounds);
        let mut known = HashSet::new();
        let mut sets = Vec::new();
        for cohort in cohorts {
            let set = cohort.set(direction, tier)?;
            if known.insert(std::ptr::from_ref(set)) {
                sets.push(set);
            }
        }
        (!sets.is_empty()).then_some(sets)
    }

    /// Whether what `other` does can be taken for what `policy` does. Where `policy` has a
    /// selector that means pods to come as well, only a selector as wide will do.
    pub(super) fn stands_for(&self, other: &Policy<'_>, policy: &Policy<'_>) -> bool {
        let (Some(wide), Some(narrow)) =
            (self.subjects.get(other.subject), self.subjects.get(policy.subject))
        else {
            return false;
        };
        (!is_open(narrow.pods) || is_wider(wide.pods, narrow.pods))
            && (!is_open_scope(narrow.namespaces) || self.is_wider_scope(wide, narrow))
    }

    /// Whether some pod is selected by both, now or by what is written.
    pub(super) fn meet(&self, a: &Policy<'_>, b: &Policy<'_>) -> bool {
        let (Some(a), Some(b)) = (self.subjects.get(a.subject), self.subjects.get(b.subject))
        else {
            return false;
        };
        a.members.intersects(&b.members) || self.is_wider(a, b) || self.is_wider(b, a)
    }

    /// The rules of one direction that name a peer, of the policies from `first` to `last`.
    pub(super) fn rules_with(
        &self,
        peer: PeerNo,
        direction: Direction,
        (first, last): (usize, usize),
    ) -> impl Iterator<Item = &Rule<'a>> {
        let listed = self.by_peer.get(&(peer, direction)).map_or(&[][..], |list| list.as_slice());
        let from = listed.partition_point(|(policy, _)| *policy < first);
        let listed = listed.iter().skip(from).take_while(move |(policy, _)| *policy <= last);
        listed.filter_map(|(_, rule)| self.rules.get(*rule))
    }

    /// The rules of a policy in one direction.
    pub(super) fn rules_of(
        &self,
        policy: &Policy<'_>,
        direction: Direction,
    ) -> impl DoubleEndedIterator<Item = &Rule<'a>> {
        let first = self.rules.partition_point(|rule| rule.policy.place < policy.place);
        let after = self.rules.partition_point(|rule| rule.policy.place <= policy.place);
        let rules = self.rules.get(first..after).unwrap_or_default().iter();
        rules.filter(move |rule| rule.direction == direction)
    }

    fn is_wider(&self, wide: &Subject<'_>, narrow: &Subject<'_>) -> bool {
        self.is_wider_scope(wide, narrow) && is_wider(wide.pods, narrow.pods)
    }

    fn is_wider_scope(&self, wide: &Subject<'_>, narrow: &Subject<'_>) -> bool {
        let labels_of = |name: &str| self.crowd.namespaces.get(name);
        is_wider_scope(wide.namespaces, narrow.namespaces, labels_of)
    }

    fn find_cohorts(&mut self) {
        let mut selecting: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (place, subject) in self.subjects.iter().enumerate() {
            for identity in subject.members.iter() {
                selecting.entry(identity).or_default().push(place);
            }
        }
        let names = |policy: &'a Policy<'a>| policy.lowered.port_names(Direction::Ingress);
        let used: HashSet<&str> = self.policies.iter().flat_map(names).collect();
        let mut samples: BTreeMap<(Vec<usize>, Vec<NamedPort>), Vec<u32>> = BTreeMap::new();
        for (identity, subjects) in selecting {
            let given = self.crowd.running.get(identity).map_or(&[][..], |it| &it.named_ports);
            let given = given.iter().filter(|port| used.contains(port.name.as_str())).cloned();
            let sample = samples.entry((subjects, given.collect())).or_default();
            if sample.len() < 2 {
                sample.push(identity);
            }
        }
        let mut known = HashSet::new();
        let mut cohorts: Vec<Vec<Rc<Cohort>>> = vec![Vec::new(); self.subjects.len()];
        for ((subjects, ports), sample) in samples {
            let sets = self.sets_of(&subjects, &ports, &mut known);
            let cohort = Rc::new(Cohort { sets, sample });
            for place in subjects {
                cohorts.get_mut(place).into_iter().for_each(|list| list.push(Rc::clone(&cohort)));
            }
        }
        let anybody: Vec<Rc<Cohort>> = self
            .wider_subjects()
            .iter()
            .map(|wider| {
                let sets = self.sets_of(wider, &[], &mut known);
                Rc::new(Cohort { sets, sample: Vec::new() })
            })
            .collect();
        for ((subject, cohorts), anybody) in self.subjects.iter_mut().zip(cohorts).zip(anybody) {
            subject.cohorts = cohorts;
            subject.anybody = anybody;
        }
    }

    /// For each subject those that are as wide by what is written, itself among them.
    fn wider_subjects(&self) -> Vec<Vec<usize>> {
        let mut by_namespace: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut everywhere = Vec::new();
        for (place, subject) in self.subjects.iter().enumerate() {
            match subject.namespaces {
                Scope::Own(name) => by_namespace.entry(name).or_default().push(place),
                Scope::Selected(_) => everywhere.push(place),
            }
        }
        let wider = self.subjects.iter().map(|subject| {
            let here = match subject.namespaces {
                Scope::Own(name) => by_namespace.get(name.as_str()),
                Scope::Selected(_) => None,
            };
            let candidates = here.into_iter().flatten().chain(&everywhere).copied();
            let is_wider = |place: &usize| {
                self.subjects.get(*place).is_some_and(|other| {
                    // The first is cheap, and says no to most.
                    subject.members.is_subset(&other.members) && self.is_wider(other, subject)
                })
            };
            candidates.filter(is_wider).collect()
        });
        wider.collect()
    }

    /// The sets of pods that are chosen as these subjects and as no others.
    fn sets_of(
        &self,
        subjects: &[usize],
        ports: &[NamedPort],
        known: &mut HashSet<Rc<PolicySet>>,
    ) -> BTreeMap<(Direction, Tier), Rc<PolicySet>> {
        let subjects = subjects.iter().filter_map(|place| self.subjects.get(*place));
        let mut places: Vec<usize> = subjects.flat_map(|it| &it.policies).copied().collect();
        places.sort_unstable();
        let mut sets = BTreeMap::new();
        for direction in DIRECTIONS {
            for tier in TIERS {
                let speaks = |place: &usize| {
                    self.policies.get(*place).is_some_and(|policy| {
                        policy.lowered.tier == tier && policy.lowered.clauses(direction).is_some()
                    })
                };
                let policies: Vec<usize> = places.iter().copied().filter(speaks).collect();
                if policies.is_empty() {
                    continue;
                }
                let ports = match direction {
                    Direction::Ingress => ports.to_vec(),
                    Direction::Egress => Vec::new(),
                };
                let set = PolicySet { direction, policies, ports };
                let set = known.get(&set).cloned().unwrap_or_else(|| Rc::new(set));
                known.insert(Rc::clone(&set));
                sets.insert((direction, tier), set);
            }
        }
        sets
    }
}

impl Cohort {
    pub(super) fn set(&self, direction: Direction, tier: Tier) -> Option<&PolicySet> {
        self.sets.get(&(direction, tier)).map(|set| &**set)
    }
}

impl PolicySet {
    pub(super) fn contains(&self, policy: &Policy<'_>) -> bool {
        self.policies.binary_search(&policy.place).is_ok()
    }

    /// The places of its first and its last policy.
    pub(super) fn ends(&self) -> (usize, usize) {
        let first = self.policies.first().copied().unwrap_or_default();
        (first, self.policies.last().copied().unwrap_or_default())
    }
}

fn rules<'a>(
    policies: &'a [Policy<'a>],
    peers: &mut Peers<'a>,
    crowd: &mut Crowd<'_>,
) -> Vec<Rule<'a>> {
    let mut rules = Vec::new();
    for policy in policies {
        for direction in DIRECTIONS {
            for clause in policy.lowered.clauses(direction).unwrap_or_default() {
                let speaker = policy.namespace();
                let peer = |term| peers.number_of(term, speaker, crowd);
                let numbers = clause.peers.iter().map(peer);
                let peers: Vec<PeerNo> = numbers.collect();
                let is_cluster = policy.lowered.tier != Tier::NetworkPolicy;
                // Only what is not understood is read as nobody or as everybody there.
                let fails_closed =
                    is_cluster && matches!(*clause.peers, [] | [PeerTerm::Everybody]);
                rules.push(Rule {
                    policy,
                    place: rules.len(),
                    direction,
                    index: clause.index,
                    action: clause.action,
                    peers,
                    ports: Ports::of(&clause.ports),
                    fails_closed,
                });
            }
        }
    }
    rules
}

fn subjects<'a>(policies: &'a [Policy<'a>], crowd: &mut Crowd<'_>) -> Vec<Subject<'a>> {
    let mut subjects: Vec<Subject<'a>> = Vec::new();
    for policy in policies {
        if let Some(subject) = subjects.get_mut(policy.subject) {
            subject.policies.push(policy.place);
            continue;
        }
        let (namespaces, pods) = (&policy.lowered.namespaces, &policy.lowered.pods);
        subjects.push(Subject {
            namespaces,
            pods,
            members: crowd.choose(namespaces, pods),
            policies: vec![policy.place],
            cohorts: Vec::new(),
            anybody: Rc::default(),
        });
    }
    subjects
}
