//! The compiled table against the oracle, over clusters made from seeds.
//!
//! The run fails if some outcome was never reached at one of the ends. `SLUICE_SEEDS=77..78`
//! has it look at one cluster, and `SLUICE_SEEDS=0..1000000` has it look for longer.

use std::collections::BTreeSet;
use std::ops::Range;

use sluice_core::table::Table;

use super::generate::LOCAL_NODE;
use super::*;
use crate::compile::{CompileOptions, compile};
use crate::model::{ClusterNetworkPolicy, Fault};

const SEEDS: Range<u64> = 0..2_000;
const ATTEMPTS: usize = 150;

#[test]
fn the_table_answers_as_the_oracle() {
    let seeds = seeds();
    let mut reached = Reached::new();
    for seed in seeds.clone() {
        let _told = ToldOnPanic(seed);
        let rules = generate::cluster(seed);
        let attempts = generate::attempts(&rules, seed, ATTEMPTS);
        let differs = difference(&rules, &attempts).expect("generated clusters are valid");
        if let Some(attempt) = differs {
            let least = generate::shrink(&rules, |rules| {
                difference(rules, &[attempt]).is_ok_and(|attempt| attempt.is_some())
            });
            let found = table_of(&least).unwrap().decide(&attempt);
            let expected = ask(&least, &attempt);
            panic!("{attempt:?}: {found:?}, but {expected:?}, for {least:#?}");
        }
        if !missing(&reached).is_empty() {
            note_outcomes(&mut reached, &rules, &attempts);
        }
    }
    if seeds == SEEDS {
        assert_eq!(missing(&reached), [], "never reached");
    }
}

/// A seed that is told if the test fails on it, wherever that is.
struct ToldOnPanic(u64);

impl Drop for ToldOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed is {}", self.0);
        }
    }
}

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("SLUICE_SEEDS") else { return SEEDS };
    let (first, end) = text.split_once("..").expect("SLUICE_SEEDS reads as 0..2000");
    first.parse().unwrap()..end.parse().unwrap()
}

fn table_of(rules: &RuleSet) -> Result<Table, Vec<Fault>> {
    let options = CompileOptions { local_node: Some(LOCAL_NODE.to_owned()) };
    compile(rules, &options)
}

fn ask(rules: &RuleSet, attempt: &Attempt) -> Answer {
    judge(rules, Some(LOCAL_NODE), attempt)
}

/// The first attempt of which table and oracle do not say the same.
fn difference(rules: &RuleSet, attempts: &[Attempt]) -> Result<Option<Attempt>, Vec<Fault>> {
    let table = table_of(rules)?;
    let mut attempts = attempts.iter();
    let differs = |it: &&Attempt| !agree(&table, it, &ask(rules, it));
    Ok(attempts.find(differs).copied())
}

/// Outcomes that were reached, at each end.
type Reached = BTreeSet<(&'static str, &'static str)>;

const OUTCOMES: [&str; 13] = [
    "SamePod",
    "OwnNode",
    "NotAPod",
    "Default",
    "NetworkPolicy rule",
    "NetworkPolicy without a rule",
    "Admin accepts",
    "Admin denies",
    "Baseline accepts",
    "Baseline denies",
    "Pass mattered",
    "unknown peer to accept mattered",
    "unknown peer not to accept mattered",
];

fn missing(reached: &Reached) -> Vec<(&'static str, &'static str)> {
    let all = OUTCOMES.iter().flat_map(|outcome| [("egress", *outcome), ("ingress", *outcome)]);
    all.filter(|outcome| !reached.contains(outcome)).collect()
}

fn note_outcomes(reached: &mut Reached, rules: &RuleSet, attempts: &[Attempt]) {
    let is_unknown =
        |rule: &ClusterRule| rule.peers.iter().any(|peer| matches!(peer, ClusterPeer::Unknown(_)));
    // What would be said if these rules were not there, or knew their peers.
    let without_pass = edited(rules, |rule| rule.action != Action::Pass);
    let known = |accepts: bool| {
        edited(rules, move |rule| {
            if is_unknown(rule) && (rule.action == Action::Accept) == accepts {
                rule.peers.retain(|peer| !matches!(peer, ClusterPeer::Unknown(_)));
            }
            !rule.peers.is_empty()
        })
    };
    let others = [
        ("Pass mattered", without_pass),
        ("unknown peer to accept mattered", known(true)),
        ("unknown peer not to accept mattered", known(false)),
    ];
    for attempt in attempts {
        let answer = ask(rules, attempt);
        reached.insert(("egress", outcome(&answer.egress)));
        reached.insert(("ingress", outcome(&answer.ingress)));
        for (what, other) in &others {
            if other == rules {
                continue;
            }
            let other = ask(other, attempt);
            for (end, is_other) in [
                ("egress", other.egress.allows != answer.egress.allows),
                ("ingress", other.ingress.allows != answer.ingress.allows),
            ] {
                if is_other {
                    reached.insert((end, what));
                }
            }
        }
    }
}

fn outcome(end: &End) -> &'static str {
    match (&end.by, end.allows) {
        (By::SamePod, _) => "SamePod",
        (By::OwnNode, _) => "OwnNode",
        (By::NotAPod, _) => "NotAPod",
        (By::Default, _) => "Default",
        (By::Rules(_), _) => "NetworkPolicy rule",
        (By::NoRule(_), _) => "NetworkPolicy without a rule",
        (By::ClusterRule { tier: Tier::Admin, .. }, true) => "Admin accepts",
        (By::ClusterRule { tier: Tier::Admin, .. }, false) => "Admin denies",
        (By::ClusterRule { tier: Tier::Baseline, .. }, true) => "Baseline accepts",
        (By::ClusterRule { tier: Tier::Baseline, .. }, false) => "Baseline denies",
    }
}

/// `rules` with every rule of its ClusterNetworkPolicies edited, or left out.
fn edited(rules: &RuleSet, edit: impl Fn(&mut ClusterRule) -> bool) -> RuleSet {
    let mut edited = rules.clone();
    for policy in rules.cluster_network_policies() {
        let mut policy: ClusterNetworkPolicy = policy.clone();
        policy.ingress.retain_mut(&edit);
        policy.egress.retain_mut(&edit);
        edited.replace(policy);
    }
    edited
}
