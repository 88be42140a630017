//! What makes a ClusterNetworkPolicy valid.
//!
//! The bounds are those of the Kubernetes type, policy.networking.k8s.io/v1alpha2. The model does
//! not keep whether pods were named by `namespaces` or by `pods` with an empty `podSelector`, nor
//! whether a port was a number or a range of one; faults then name the shorter form. A kind of
//! peer that is not known is no fault: the rule fails closed.

use std::collections::BTreeSet;

use super::{Report, canonical_net, check_selector, check_text, syntax};
use crate::model::{
    ClusterNetworkPolicy, ClusterPeer, ClusterPort, ClusterPorts, ClusterRule, NamespacedPods,
    PRIORITY_MAX, Protocol,
};

/// The most rules of a direction, peers or protocols of a rule, and networks of a peer.
const ITEMS_MAX: usize = 25;
/// The longest name of a rule, in characters.
const RULE_NAME_MAX: usize = 100;

pub(super) fn check_cluster_policy(report: &mut Report<'_>, policy: &ClusterNetworkPolicy) {
    check_text(report, "metadata.name", &policy.name, syntax::dns_subdomain);
    if policy.priority > PRIORITY_MAX {
        let problem = format!("{} is no priority; want 0 to {PRIORITY_MAX}", policy.priority);
        report("spec.priority".to_owned(), problem);
    }
    check_pods(report, "spec.subject", &policy.subject);
    for side in [&INGRESS, &EGRESS] {
        let rules = (side.rules)(policy);
        let field = side.field;
        check_len(report, &format!("spec.{field}"), "rules", rules.len(), 0);
        for (place, rule) in rules.iter().enumerate() {
            check_rule(report, &format!("spec.{field}[{place}]"), side, rule);
        }
    }
}

/// What sets the directions apart.
struct Side {
    field: &'static str,
    peers_field: &'static str,
    is_egress: bool,
    rules: fn(&ClusterNetworkPolicy) -> &[ClusterRule],
}

const INGRESS: Side =
    Side { field: "ingress", peers_field: "from", is_egress: false, rules: |it| &it.ingress };
const EGRESS: Side =
    Side { field: "egress", peers_field: "to", is_egress: true, rules: |it| &it.egress };

fn check_rule(report: &mut Report<'_>, at: &str, side: &Side, rule: &ClusterRule) {
    let name_len = rule.name.chars().count();
    if name_len > RULE_NAME_MAX {
        report(
            format!("{at}.name"),
            format!("{name_len} characters; want at most {RULE_NAME_MAX}"),
        );
    }
    let peers_at = format!("{at}.{}", side.peers_field);
    check_len(report, &peers_at, "peers", rule.peers.len(), 1);
    for (place, peer) in rule.peers.iter().enumerate() {
        check_peer(report, &format!("{peers_at}[{place}]"), side, peer);
    }
    let ClusterPorts::AnyOf(ports) = &rule.ports else { return };
    check_len(report, &format!("{at}.protocols"), "protocols", ports.len(), 1);
    // Where a named port cannot be looked up: addresses have no names for their ports.
    let nameless = rule.peers.iter().find_map(|peer| match peer {
        ClusterPeer::Nodes(_) => Some("nodes"),
        ClusterPeer::Networks(_) => Some("networks"),
        ClusterPeer::Pods(_) | ClusterPeer::Unknown(_) => None,
    });
    for (place, port) in ports.iter().enumerate() {
        check_port(report, &format!("{at}.protocols[{place}]"), port, nameless);
    }
}

fn check_peer(report: &mut Report<'_>, at: &str, side: &Side, peer: &ClusterPeer) {
    let mut only_egress = |field: &str| {
        if !side.is_egress {
            report(
                format!("{at}.{field}"),
                "stands in an ingress rule; want it in an egress rule, or namespaces or pods here"
                    .to_owned(),
            );
        }
    };
    match peer {
        ClusterPeer::Pods(pods) => check_pods(report, at, pods),
        ClusterPeer::Nodes(nodes) => {
            only_egress("nodes");
            check_selector(report, &format!("{at}.nodes"), nodes);
        }
        ClusterPeer::Networks(networks) => {
            only_egress("networks");
            check_len(report, &format!("{at}.networks"), "networks", networks.len(), 1);
            let mut known = BTreeSet::new();
            for (place, network) in networks.iter().enumerate() {
                let network = canonical_net(*network);
                if !known.insert(network) {
                    report(
                        format!("{at}.networks[{place}]"),
                        format!("{network} stands in this list already; want each network once"),
                    );
                }
            }
        }
        ClusterPeer::Unknown(_) => {}
    }
}

fn check_pods(report: &mut Report<'_>, at: &str, it: &NamespacedPods) {
    if it.pods.is_everything() {
        check_selector(report, &format!("{at}.namespaces"), &it.namespaces);
    } else {
        check_selector(report, &format!("{at}.pods.namespaceSelector"), &it.namespaces);
        check_selector(report, &format!("{at}.pods.podSelector"), &it.pods);
    }
}

fn check_port(report: &mut Report<'_>, at: &str, port: &ClusterPort, nameless: Option<&str>) {
    match port {
        ClusterPort::Range { protocol, first, last } => {
            let protocol = match protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
                Protocol::Sctp => "sctp",
            };
            let at = format!("{at}.{protocol}.destinationPort");
            if *first == 0 {
                let field = if first == last { "number" } else { "range.start" };
                report(format!("{at}.{field}"), "0 is no port number; want 1 to 65535".to_owned());
            } else if last < first {
                report(
                    format!("{at}.range"),
                    format!("end {last} is below start {first}; want an end above the start"),
                );
            }
        }
        ClusterPort::Named(name) => {
            let at = format!("{at}.destinationNamedPort");
            check_text(report, &at, name, syntax::port_name);
            if let Some(peer) = nameless {
                report(
                    at,
                    format!(
                        "stands beside {peer}, which have no named ports; want a number, or a rule \
                         of its own with pods or namespaces"
                    ),
                );
            }
        }
    }
}

fn check_len(report: &mut Report<'_>, field: &str, items: &str, len: usize, min: usize) {
    if len < min {
        report(field.to_owned(), format!("a list of no {items}; want {min} to {ITEMS_MAX}"));
    } else if len > ITEMS_MAX {
        report(field.to_owned(), format!("{len} {items}; want at most {ITEMS_MAX}"));
    }
}

#[cfg(test)]
mod tests;
