//! Which rules together take everything that a rule speaks of.
//!
//! A peer is looked at as a whole: one rule's peer takes it in, or none does. Its ports may be
//! taken by several rules together.

use std::borrow::Cow;
use std::collections::BTreeSet;

use sluice_core::table::Direction;

use super::Grounds;
use super::peers::PeerNo;
use super::policies::Policy;
use super::ports::{Numbers, PortName, Ports, means};
use super::survey::{PolicySet, Rule, Survey};
use crate::compile::lower::PeerTerm;
use crate::model::NamedPort;

/// A question about a rule: who takes all of it, among the rules that may count?
pub(super) struct Taking<'s, 'a> {
    pub(super) survey: &'s Survey<'a>,
    pub(super) rule: &'s Rule<'a>,
    pub(super) grounds: Grounds,
}

impl<'s, 'a> Taking<'s, 'a> {
    /// Places of rules in `set` that take all of the rule together; `None` where something is
    /// left over. Those of which `may` says no do not count.
    pub(super) fn takers(
        &self,
        set: &PolicySet,
        may: &dyn Fn(&Rule<'a>) -> bool,
    ) -> Option<BTreeSet<usize>> {
        let mut takers = BTreeSet::new();
        for peer in &self.rule.peers {
            takers.extend(self.takers_of(*peer, set, may)?);
        }
        Some(takers)
    }

    fn takers_of(
        &self,
        peer: PeerNo,
        set: &PolicySet,
        may: &dyn Fn(&Rule<'a>) -> bool,
    ) -> Option<Vec<usize>> {
        let numbers = |name: &PortName| self.numbers(name, peer, set);
        let wanted = &self.rule.ports;
        let mut together = Ports::default();
        let mut partial: Vec<(usize, Cow<'_, Ports>)> = Vec::new();
        for wide in self.survey.peers.around(peer, self.grounds) {
            for other in self.survey.rules_with(*wide, set.direction, set.ends()) {
                let counts = set.contains(other.policy) && self.stands_for(other.policy);
                if !counts || other.place == self.rule.place || !may(other) {
                    continue;
                }
                let ports = other.ports.resolved(self.given(set));
                if ports.cover(wanted, &numbers) {
                    return Some(vec![other.place]);
                }
                if !ports.may_overlap(wanted) || together.cover(&ports, &|_| Numbers::new()) {
                    continue;
                }
                together.join(&ports);
                partial.push((other.place, ports));
                if together.cover(wanted, &numbers) {
                    return Some(without_needless(partial, wanted, &numbers));
                }
            }
        }
        None
    }

    /// By what is written alone, a policy is in the set only if it selects as widely.
    fn stands_for(&self, other: &Policy<'_>) -> bool {
        self.grounds == Grounds::Written || self.survey.stands_for(other, self.rule.policy)
    }

    /// The named ports of the pods that are asked, where they are the subjects.
    fn given<'p>(&self, set: &'p PolicySet) -> &'p [NamedPort] {
        match self.grounds {
            Grounds::Written => &[],
            Grounds::Present => &set.ports,
        }
    }

    /// What a port's name stands for at those who are asked; nothing where nobody gives it.
    fn numbers(&self, name: &PortName, peer: PeerNo, set: &PolicySet) -> Numbers {
        if self.grounds == Grounds::Written {
            return Numbers::new();
        }
        let crowd = &self.survey.crowd;
        let meant = |ports: &[NamedPort]| -> Vec<_> {
            let meant = ports.iter().filter(|port| means(name, port));
            meant.map(|port| (port.protocol, port.port)).collect()
        };
        if set.direction == Direction::Ingress {
            return meant(&set.ports).into_iter().collect();
        }
        let Some(peer) = self.survey.peers.get(peer) else { return Numbers::new() };
        let is_asked = |identity: u32| match peer.term {
            PeerTerm::Pods { .. } => peer.members.contains(identity),
            PeerTerm::Nodes(_) => false,
            // More than those asked will do.
            PeerTerm::Everybody | PeerTerm::Block(_) => true,
        };
        let asked = crowd.identities().filter(|(identity, _)| is_asked(*identity));
        asked.flat_map(|(_, identity)| meant(&identity.named_ports)).collect()
    }
}

/// Those of some rules without which the others would not come to all that is `wanted`.
fn without_needless(
    mut rules: Vec<(usize, Cow<'_, Ports>)>,
    wanted: &Ports,
    numbers: &dyn Fn(&PortName) -> Numbers,
) -> Vec<usize> {
    let mut place = 0;
    while place < rules.len() {
        let mut others = Ports::default();
        let kept = rules.iter().enumerate().filter(|(at, _)| *at != place);
        kept.for_each(|(_, (_, ports))| others.join(ports));
        if others.cover(wanted, numbers) {
            rules.remove(place);
        } else {
            place += 1;
        }
    }
    rules.into_iter().map(|(place, _)| place).collect()
}
