//! Policies and rules that others make needless.
//!
//! What is called redundant could be taken out all at once: each is compared only with what is
//! left of the others. So of two that make each other redundant one is named, the later one. What
//! is needless by what is written alone is told first, or of a narrow rule and a wide one that
//! come to the same for now, the wide one could be named.

use std::collections::{BTreeSet, HashSet};

use sluice_core::table::{Direction, Tier};

use super::cover::Taking;
use super::policies::{Policy, Written};
use super::survey::{DIRECTIONS, Rule, Survey};
use super::{Advice, Grounds, words};

/// What has been found needless, by place.
#[derive(Default)]
struct Needless {
    policies: HashSet<usize>,
    rules: HashSet<usize>,
}

pub(super) fn advise(survey: &Survey<'_>) -> Vec<Advice> {
    let mut needless = Needless::default();
    let mut advice = Vec::new();
    let namespaced = |policy: &&Policy<'_>| matches!(policy.written, Written::Namespaced(_));
    for grounds in Grounds::ALL {
        for policy in survey.policies.iter().rev().filter(namespaced) {
            if needless.policies.contains(&policy.place) {
                continue;
            }
            if let Some(others) = instead_of(survey, policy, grounds, &needless) {
                needless.policies.insert(policy.place);
                let others = others.iter().filter_map(|place| survey.policies.get(*place));
                advice.push(Advice {
                    object: policy.object.clone(),
                    field: "spec".to_owned(),
                    remark: remark_on_policy(others, grounds),
                });
            }
        }
    }
    for grounds in Grounds::ALL {
        for rule in survey.rules.iter().rev().filter(|rule| namespaced(&rule.policy)) {
            let gone = needless.policies.contains(&rule.policy.place)
                || needless.rules.contains(&rule.place);
            if gone {
                continue;
            }
            if let Some(others) = takers(survey, rule, grounds, &needless, None) {
                needless.rules.insert(rule.place);
                let others = others.iter().filter_map(|place| survey.rules.get(*place));
                let others = words::list(others.map(|other| words::rule(other, rule.policy)));
                let ground = grounds.words();
                advice.push(Advice {
                    object: rule.policy.object.clone(),
                    field: words::field(rule),
                    remark: format!(
                        "redundant{ground}: it admits nothing that is not admitted by {others}; \
                         leave it out, or look whether it should admit something else"
                    ),
                });
            }
        }
    }
    advice
}

fn remark_on_policy<'a>(others: impl Iterator<Item = &'a Policy<'a>>, grounds: Grounds) -> String {
    let others: Vec<&str> = others.map(|other| other.object.as_str()).collect();
    let does = if others.len() == 1 { "does" } else { "together do" };
    let ground = grounds.words();
    format!(
        "redundant{ground}: {} {does} all that it does for the pods that it selects; leave it out, \
         or look whether it should select other pods or admit something else",
        words::list(others)
    )
}

/// The places of the policies that do all that `policy` does; `None` where something is left.
fn instead_of(
    survey: &Survey<'_>,
    policy: &Policy<'_>,
    grounds: Grounds,
    needless: &Needless,
) -> Option<BTreeSet<usize>> {
    let mut others = BTreeSet::new();
    for rule in DIRECTIONS.into_iter().flat_map(|it| survey.rules_of(policy, it)) {
        let takers = takers(survey, rule, grounds, needless, Some(policy))?;
        others.extend(takers.iter().filter_map(|it| Some(survey.rules.get(*it)?.policy.place)));
    }
    for direction in DIRECTIONS {
        if policy.lowered.clauses(direction).is_some() {
            isolate_instead(survey, policy, direction, grounds, needless, &mut others)?;
        }
    }
    (!others.is_empty()).then_some(others)
}

/// Adds policies to `others` until these isolate all that `policy` does; `None` where that cannot
/// be.
fn isolate_instead(
    survey: &Survey<'_>,
    policy: &Policy<'_>,
    direction: Direction,
    grounds: Grounds,
    needless: &Needless,
    others: &mut BTreeSet<usize>,
) -> Option<()> {
    for set in survey.sets(policy, direction, Tier::NetworkPolicy, grounds)? {
        if set.policies.iter().any(|place| others.contains(place)) {
            continue;
        }
        let isolates = |place: &&usize| {
            **place != policy.place
                && !needless.policies.contains(place)
                && survey.policies.get(**place).is_some_and(|other| {
                    grounds == Grounds::Written || survey.stands_for(other, policy)
                })
        };
        others.insert(*set.policies.iter().find(isolates)?);
    }
    Some(())
}

/// The places of the rules that admit all that `rule` admits, none of them of `except`.
fn takers(
    survey: &Survey<'_>,
    rule: &Rule<'_>,
    grounds: Grounds,
    needless: &Needless,
    except: Option<&Policy<'_>>,
) -> Option<BTreeSet<usize>> {
    let taking = Taking { survey, rule, grounds };
    let sets = survey.sets(rule.policy, rule.direction, Tier::NetworkPolicy, grounds)?;
    let may = |other: &Rule<'_>| {
        !needless.rules.contains(&other.place)
            && !needless.policies.contains(&other.policy.place)
            && except.is_none_or(|policy| policy.place != other.policy.place)
    };
    let mut takers = BTreeSet::new();
    for set in sets {
        takers.extend(taking.takers(set, &may)?);
    }
    Some(takers)
}
