//! Rules that decide nothing, since another one is asked before.

use std::collections::BTreeSet;

use sluice_core::table::{Action, Tier};

use super::cover::Taking;
use super::policies::{Policy, Written};
use super::survey::{DIRECTIONS, PolicySet, Rule, Survey};
use super::{Advice, Grounds, words};

pub(super) fn advise(survey: &Survey<'_>) -> Vec<Advice> {
    let rules = survey.rules.iter().filter(|rule| !rule.fails_closed);
    let by_rule = rules.filter_map(|rule| {
        Grounds::ALL.into_iter().find_map(|grounds| match rule.policy.written {
            Written::Namespaced(_) => by_admin(survey, rule, grounds),
            Written::Cluster(_) => by_earlier(survey, rule, grounds),
        })
    });
    let baseline = survey.policies.iter().filter(|it| it.lowered.tier == Tier::Baseline);
    by_rule.chain(baseline.flat_map(|policy| never_reached(survey, policy))).collect()
}

/// A rule of a ClusterNetworkPolicy behind others of its tier.
fn by_earlier(survey: &Survey<'_>, rule: &Rule<'_>, grounds: Grounds) -> Option<Advice> {
    let taking = Taking { survey, rule, grounds };
    let tier = rule.policy.lowered.tier;
    let mut takers = BTreeSet::new();
    // Which of two of equal priority is asked first is told elsewhere, where it matters.
    let is_before = |other: &Rule<'_>| {
        let same_turn = other.policy.turn() == rule.policy.turn();
        other.place < rule.place
            && (!same_turn
                || other.policy.place == rule.policy.place
                || other.action == rule.action)
    };
    for set in survey.sets(rule.policy, rule.direction, tier, grounds)? {
        takers.extend(taking.takers(set, &is_before)?);
    }
    let before = called(survey, &takers, rule);
    Some(Advice {
        object: rule.policy.object.clone(),
        field: words::field(rule),
        remark: format!(
            "never decides{}: all that it matches is decided before by {before}; put it before \
             that, or leave it out",
            grounds.words(),
        ),
    })
}

/// A rule of a NetworkPolicy behind the Admin tier.
fn by_admin(survey: &Survey<'_>, rule: &Rule<'_>, grounds: Grounds) -> Option<Advice> {
    let taking = Taking { survey, rule, grounds };
    let mut takers = BTreeSet::new();
    for set in survey.sets(rule.policy, rule.direction, Tier::Admin, grounds)? {
        let pass = first_pass(survey, rule, set, grounds).unwrap_or(usize::MAX);
        let decides = |it: &Rule<'_>| it.place < pass && it.action != Action::Pass;
        takers.extend(taking.takers(set, &decides)?);
    }
    let before = called(survey, &takers, rule);
    Some(Advice {
        object: rule.policy.object.clone(),
        field: words::field(rule),
        remark: format!(
            "has no effect{}: all that it admits is decided before, in the Admin tier, by {before}; \
             what is to be left to NetworkPolicies needs a Pass rule before that",
            grounds.words(),
        ),
    })
}

/// The place of the first rule of the set that passes on some of what `rule` admits.
fn first_pass(
    survey: &Survey<'_>,
    rule: &Rule<'_>,
    set: &PolicySet,
    grounds: Grounds,
) -> Option<usize> {
    let asked = |policy: &&Policy<'_>| match grounds {
        Grounds::Present => set.contains(policy),
        // Another one may select some of the pods, and pass for these.
        Grounds::Written => policy.lowered.tier == Tier::Admin,
    };
    let policies = survey.policies.iter().filter(asked);
    let rules = policies.flat_map(|policy| survey.rules_of(policy, set.direction));
    let meets = |other: &Rule<'_>| {
        let mine = || rule.peers.iter().filter_map(|it| survey.peers.get(*it));
        let mut theirs = other.peers.iter().filter_map(|it| survey.peers.get(*it));
        theirs.any(|it| mine().any(|peer| !peer.is_apart(it, grounds)))
    };
    let passes = |other: &&Rule<'_>| {
        other.action == Action::Pass && other.ports.may_overlap(&rule.ports) && meets(other)
    };
    rules.filter(passes).map(|other| other.place).next()
}

/// A ClusterNetworkPolicy of the Baseline tier behind NetworkPolicies.
fn never_reached(survey: &Survey<'_>, policy: &Policy<'_>) -> Vec<Advice> {
    let in_direction = DIRECTIONS.into_iter().filter_map(|direction| {
        policy.lowered.clauses(direction)?;
        let sets = survey.sets(policy, direction, Tier::NetworkPolicy, Grounds::Present)?;
        let before: BTreeSet<usize> =
            sets.iter().filter_map(|set| set.policies.first().copied()).collect();
        let before = before.iter().filter_map(|place| survey.policies.get(*place));
        let direction = words::direction(direction);
        Some(Advice {
            object: policy.object.clone(),
            field: format!("spec.{direction}"),
            remark: format!(
                "never decides, as the pods are now: each pod that it selects is selected for \
                 {direction} by a NetworkPolicy ({}), and the Baseline tier is asked only where \
                 none is; what must hold whatever NetworkPolicies say belongs in the Admin tier",
                words::list(before.map(|it| it.object.trim_start_matches("NetworkPolicy "))),
            ),
        })
    });
    in_direction.collect()
}

/// What to call the rules that decide before `rule`, with what they say.
fn called(survey: &Survey<'_>, takers: &BTreeSet<usize>, rule: &Rule<'_>) -> String {
    let takers = takers.iter().filter_map(|place| survey.rules.get(*place));
    words::list(takers.map(|taker| {
        let closed = if taker.fails_closed { ", as it fails closed" } else { "" };
        let action = words::action(taker.action);
        format!("{} ({action}{closed})", words::rule(taker, rule.policy))
    }))
}
