//! Selectors that match nothing.

use sluice_core::table::Direction;

use super::policies::Written;
use super::survey::{DIRECTIONS, Survey};
use super::{Advice, unmatched, words};
use crate::compile::groups::Scope;
use crate::model::{
    ClusterNetworkPolicy, ClusterPeer, LabelSelector, NamespacedPods, NetworkPolicy, Peer, Peers,
    Rule,
};
use unmatched::{Missing, Unmatched};

pub(super) fn advise(survey: &Survey<'_>) -> Vec<Advice> {
    // Without pods the rule set is only a part of one, and says nothing of who is missing.
    if survey.objects.pods().len() == 0 {
        return Vec::new();
    }
    let advice = survey.policies.iter().flat_map(|policy| {
        let found = match policy.written {
            Written::Namespaced(it) => of_network_policy(survey, it),
            Written::Cluster(it) => of_cluster_policy(survey, it),
        };
        let object = |(field, remark)| Advice { object: policy.object.clone(), field, remark };
        found.into_iter().map(object)
    });
    advice.collect()
}

/// A field and what is surprising about it.
type Found = (String, String);

fn of_network_policy(survey: &Survey<'_>, policy: &NetworkPolicy) -> Vec<Found> {
    let mut found: Vec<Found> = subject(survey, policy).into_iter().collect();
    for (direction, rules) in
        [(Direction::Ingress, &policy.ingress), (Direction::Egress, &policy.egress)]
    {
        for (place, rule) in rules.iter().flatten().enumerate() {
            let at = format!("spec.{}[{place}]", words::direction(direction));
            found.extend(peers(survey, policy, rule, &format!("{at}.{}", words::peers(direction))));
        }
    }
    found
}

fn subject(survey: &Survey<'_>, policy: &NetworkPolicy) -> Option<Found> {
    let scope = Scope::Own(policy.namespace.clone());
    let selector = &policy.pod_selector;
    let Unmatched { why, .. } = unmatched::pods(survey, &scope, selector)?;
    let elsewhere = elsewhere(survey, selector);
    let hint = match elsewhere.as_str() {
        "" => String::new(),
        elsewhere => {
            format!(
                "; pods that match are in {elsewhere}: a policy selects only in its own namespace"
            )
        }
    };
    Some(("spec.podSelector".to_owned(), format!("selects no pod: {why}{hint}")))
}

fn peers(survey: &Survey<'_>, policy: &NetworkPolicy, rule: &Rule, at: &str) -> Vec<Found> {
    let Peers::AnyOf(peers) = &rule.peers else { return Vec::new() };
    let all = LabelSelector::everything();
    let found = peers.iter().enumerate().filter_map(|(place, peer)| {
        let Peer::Selectors { pods, namespaces } = peer else { return None };
        let scope = match namespaces {
            Some(selector) => Scope::Selected(selector.clone()),
            None => Scope::Own(policy.namespace.clone()),
        };
        let pods = pods.as_ref().unwrap_or(&all);
        if pods.is_everything() && namespaces.as_ref().is_none_or(LabelSelector::is_everything) {
            return None;
        }
        let Unmatched { missing, why } = unmatched::pods(survey, &scope, pods)?;
        let elsewhere = if namespaces.is_none() { elsewhere(survey, pods) } else { String::new() };
        let hint = match elsewhere.as_str() {
            "" => String::new(),
            elsewhere => {
                format!(
                    "; pods that match are in {elsewhere}: to mean them, add a namespaceSelector"
                )
            }
        };
        let field = match missing {
            Missing::Namespace => "namespaceSelector",
            Missing::Pod => "podSelector",
        };
        Some((format!("{at}[{place}].{field}"), format!("matches no pod: {why}{hint}")))
    });
    found.collect()
}

/// The namespaces that have pods which a selector matches, in words.
fn elsewhere(survey: &Survey<'_>, pods: &LabelSelector) -> String {
    if pods.is_everything() {
        return String::new();
    }
    let everywhere = Scope::Selected(LabelSelector::everything());
    let namespaces = survey.crowd.namespaces_with(&everywhere, pods);
    let word = if namespaces.len() == 1 { "namespace" } else { "namespaces" };
    match namespaces.len() {
        0 => String::new(),
        _ => format!("{word} {}", words::list(namespaces)),
    }
}

fn of_cluster_policy(survey: &Survey<'_>, policy: &ClusterNetworkPolicy) -> Vec<Found> {
    let mut found = Vec::new();
    let subject = namespaced_pods(survey, "spec.subject", &policy.subject);
    found.extend(subject.map(|(field, why)| (field, format!("selects no pod: {why}"))));
    for direction in DIRECTIONS {
        let rules = match direction {
            Direction::Ingress => &policy.ingress,
            Direction::Egress => &policy.egress,
        };
        for (place, rule) in rules.iter().enumerate() {
            let (side, peers) = (words::direction(direction), words::peers(direction));
            for (number, peer) in rule.peers.iter().enumerate() {
                let at = format!("spec.{side}[{place}].{peers}[{number}]");
                found.extend(cluster_peer(survey, &at, peer));
            }
        }
    }
    found
}

fn cluster_peer(survey: &Survey<'_>, at: &str, peer: &ClusterPeer) -> Option<Found> {
    match peer {
        ClusterPeer::Pods(pods) => {
            let (field, why) = namespaced_pods(survey, at, pods)?;
            Some((field, format!("matches no pod: {why}")))
        }
        ClusterPeer::Nodes(selector) => {
            let why = unmatched::nodes(survey, selector)?;
            Some((format!("{at}.nodes"), format!("matches no node: {why}")))
        }
        ClusterPeer::Networks(_) | ClusterPeer::Unknown(_) => None,
    }
}

/// The field that is to blame where these are nobody, and why they are.
fn namespaced_pods(survey: &Survey<'_>, at: &str, it: &NamespacedPods) -> Option<Found> {
    if it.pods.is_everything() && it.namespaces.is_everything() {
        return None;
    }
    let scope = Scope::Selected(it.namespaces.clone());
    let Unmatched { missing, why } = unmatched::pods(survey, &scope, &it.pods)?;
    let field = match missing {
        // Which form was used is not known; without pods it is the shorter one.
        _ if it.pods.is_everything() => "namespaces",
        Missing::Namespace => "pods.namespaceSelector",
        Missing::Pod => "pods.podSelector",
    };
    Some((format!("{at}.{field}"), why))
}
