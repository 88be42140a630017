//! What makes a rule set valid.
//!
//! The rules are those of the Kubernetes API server, so that a manifest which a cluster takes
//! is taken here, and one of our own: an address has one owner. All faults are gathered, not only
//! the first.

mod access_list;
mod cluster;
mod owners;
mod syntax;

use std::net::IpAddr;

use ipnet::IpNet;

use self::access_list::{check_access_list, check_access_list_change};
use self::cluster::check_cluster_policy;
pub(crate) use self::owners::{Owners, Update};
use crate::model::{
    AccessListChange, Block, Change, Fault, Kind, LabelSelector, Labels, NAMESPACE_NAME_LABEL,
    Namespace, NetworkPolicy, Node, Object, ObjectKey, Operator, Peer, Peers, Pod, Port, Ports,
    Problem, Rule, RuleSet,
};

/// All faults of a rule set, sorted by object and field. None: [`crate::compile::compile`] will
/// take it.
#[must_use]
pub fn validate(rules: &RuleSet) -> Vec<Fault> {
    let upserts = rules.clone().into_objects().collect();
    let change = Change { upserts, ..Change::default() };
    let mut faults: Vec<Fault> = change.upserts.iter().flat_map(validate_object).collect();
    faults.extend(Owners::new(None).after(&change).err().unwrap_or_default());
    faults.sort();
    faults
}

/// All faults of an object by itself, sorted by field.
#[must_use]
pub fn validate_object(object: &Object) -> Vec<Fault> {
    let mut faults = Vec::new();
    check(
        &mut faults,
        || object.key(),
        |report| match object {
            Object::Namespace(namespace) => check_namespace(report, namespace),
            Object::Pod(pod) => check_pod(report, pod),
            Object::Node(node) => check_node(report, node),
            Object::NetworkPolicy(policy) => check_policy(report, policy),
            Object::ClusterNetworkPolicy(it) => check_cluster_policy(report, it),
            Object::AccessList(it) => check_access_list(report, it),
        },
    );
    faults.sort();
    faults
}

/// All faults of a change to the rules of an access list of `rules`, sorted by field.
#[must_use]
pub fn validate_access_list_change(rules: &RuleSet, change: &AccessListChange) -> Vec<Fault> {
    let mut faults = Vec::new();
    let list = rules.access_list(&change.name);
    let key = || ObjectKey { kind: Kind::AccessList, namespace: None, name: change.name.clone() };
    check(&mut faults, key, |report| match list {
        Some(list) => check_access_list_change(report, list, change),
        None => report(
            "metadata.name".to_owned(),
            "its rules are to change, but the rule set does not have it".to_owned(),
        ),
    });
    faults.sort();
    faults
}

/// An address block in one form only: no bits past the prefix, IPv4 where it is IPv4 written as
/// IPv6 (RFC 4291, 2.5.5.2).
#[must_use]
pub fn canonical_net(net: IpNet) -> IpNet {
    const MAPPED_PREFIX_LEN: u8 = 96;
    let net = net.trunc();
    let (IpAddr::V4(v4), Some(len)) =
        (net.network().to_canonical(), net.prefix_len().checked_sub(MAPPED_PREFIX_LEN))
    else {
        return net;
    };
    match net {
        IpNet::V4(_) => net,
        IpNet::V6(_) => IpNet::new(v4.into(), len).unwrap_or(net),
    }
}

/// Where the checks of one object put what they find.
type Report<'a> = dyn FnMut(String, String) + 'a;

/// Runs the checks of one object; its name is worked out only if they find something.
fn check(
    faults: &mut Vec<Fault>,
    object: impl FnOnce() -> ObjectKey,
    checks: impl FnOnce(&mut Report<'_>),
) {
    let mut found = Vec::new();
    checks(&mut |field, problem| found.push((field, problem)));
    if found.is_empty() {
        return;
    }
    let object = object().to_string();
    faults.extend(found.into_iter().map(|(field, problem)| Fault {
        object: object.clone(),
        field,
        problem,
    }));
}

fn check_namespace(report: &mut Report<'_>, namespace: &Namespace) {
    check_text(report, "metadata.name", &namespace.name, syntax::dns_label);
    check_labels(report, "metadata.labels", &namespace.labels);
    if let Some(value) = namespace.labels.get(NAMESPACE_NAME_LABEL)
        && *value != namespace.name
    {
        report(
            format!("metadata.labels[{NAMESPACE_NAME_LABEL}]"),
            format!(
                "\"{value}\" is not the namespace's name; want \"{}\", or leave it out",
                namespace.name
            ),
        );
    }
}

fn check_pod(report: &mut Report<'_>, pod: &Pod) {
    check_text(report, "metadata.namespace", &pod.namespace, syntax::dns_label);
    check_text(report, "metadata.name", &pod.name, syntax::dns_subdomain);
    check_labels(report, "metadata.labels", &pod.labels);
    if let Some(node) = &pod.node {
        check_text(report, "spec.nodeName", node, syntax::dns_subdomain);
    }
    for (place, address) in pod.addresses.iter().enumerate() {
        check_address(report, &format!("status.podIPs[{place}].ip"), *address);
    }
    for port in &pod.named_ports {
        // The port's place among the containers is not known here; its name tells it.
        check_text(report, "spec.containers[].ports[].name", &port.name, syntax::port_name);
        if port.port == 0 {
            report(
                "spec.containers[].ports[].containerPort".to_owned(),
                format!("port \"{}\" is 0; want 1 to 65535", port.name),
            );
        }
    }
}

fn check_node(report: &mut Report<'_>, node: &Node) {
    check_text(report, "metadata.name", &node.name, syntax::dns_subdomain);
    check_labels(report, "metadata.labels", &node.labels);
    for (place, address) in node.addresses.iter().enumerate() {
        check_address(report, &format!("status.addresses[{place}].address"), *address);
    }
}

fn check_policy(report: &mut Report<'_>, policy: &NetworkPolicy) {
    check_text(report, "metadata.namespace", &policy.namespace, syntax::dns_label);
    check_text(report, "metadata.name", &policy.name, syntax::dns_subdomain);
    check_selector(report, "spec.podSelector", &policy.pod_selector);
    for (direction, peers, rules) in
        [("ingress", "from", &policy.ingress), ("egress", "to", &policy.egress)]
    {
        for (place, rule) in rules.iter().flatten().enumerate() {
            check_rule(report, &format!("spec.{direction}[{place}]"), peers, rule);
        }
    }
}

fn check_rule(report: &mut Report<'_>, at: &str, peers_field: &str, rule: &Rule) {
    if let Peers::AnyOf(peers) = &rule.peers {
        if peers.is_empty() {
            report(
                format!("{at}.{peers_field}"),
                "a list of no peers; want Everybody, or at least one peer".to_owned(),
            );
        }
        for (place, peer) in peers.iter().enumerate() {
            check_peer(report, &format!("{at}.{peers_field}[{place}]"), peer);
        }
    }
    if let Ports::AnyOf(ports) = &rule.ports {
        if ports.is_empty() {
            report(
                format!("{at}.ports"),
                "a list of no ports; want All, or at least one port".to_owned(),
            );
        }
        for (place, port) in ports.iter().enumerate() {
            check_port(report, &format!("{at}.ports[{place}]"), &port.port);
        }
    }
}

fn check_peer(report: &mut Report<'_>, at: &str, peer: &Peer) {
    match peer {
        Peer::Selectors { pods: None, namespaces: None } => report(
            at.to_owned(),
            "names no peer; want podSelector, namespaceSelector or both, or ipBlock".to_owned(),
        ),
        Peer::Selectors { pods, namespaces } => {
            if let Some(selector) = pods {
                check_selector(report, &format!("{at}.podSelector"), selector);
            }
            if let Some(selector) = namespaces {
                check_selector(report, &format!("{at}.namespaceSelector"), selector);
            }
        }
        Peer::Block(block) => check_block(report, &format!("{at}.ipBlock"), block),
    }
}

fn check_block(report: &mut Report<'_>, at: &str, block: &Block) {
    let cidr = canonical_net(block.cidr);
    for (place, hole) in block.except.iter().enumerate() {
        let hole = canonical_net(*hole);
        if !cidr.contains(&hole) || cidr == hole {
            report(
                format!("{at}.except[{place}]"),
                format!("{hole} is not a true part of cidr {cidr}; want a smaller block inside it"),
            );
        }
    }
}

fn check_port(report: &mut Report<'_>, at: &str, port: &Port) {
    match port {
        Port::All => {}
        Port::Number(0) | Port::Range { first: 0, .. } => {
            report(format!("{at}.port"), "0 is no port number; want 1 to 65535".to_owned());
        }
        Port::Number(_) => {}
        Port::Range { first, last } => {
            if last < first {
                report(format!("{at}.endPort"), Problem::range(*first, *last).problem);
            }
        }
        Port::Named(name) => check_text(report, &format!("{at}.port"), name, syntax::port_name),
    }
}

fn check_selector(report: &mut Report<'_>, at: &str, selector: &LabelSelector) {
    check_labels(report, &format!("{at}.matchLabels"), &selector.match_labels);
    for (place, term) in selector.match_expressions.iter().enumerate() {
        let at = format!("{at}.matchExpressions[{place}]");
        check_text(report, &format!("{at}.key"), &term.key, syntax::label_key);
        if let Operator::In(values) | Operator::NotIn(values) = &term.operator {
            if values.is_empty() {
                report(format!("{at}.values"), "no values; give at least one".to_owned());
            }
            for (place, value) in values.iter().enumerate() {
                check_text(report, &format!("{at}.values[{place}]"), value, syntax::label_value);
            }
        }
    }
}

fn check_labels(report: &mut Report<'_>, at: &str, labels: &Labels) {
    for (key, value) in labels {
        // Formatting waits for a fault: most rule sets have many labels and no fault.
        for fault in [syntax::label_key(key), syntax::label_value(value)].into_iter().flatten() {
            report(format!("{at}[{key}]"), fault);
        }
    }
}

fn check_text(
    report: &mut Report<'_>,
    field: &str,
    text: &str,
    syntax: fn(&str) -> Option<String>,
) {
    if let Some(problem) = syntax(text) {
        report(field.to_owned(), problem);
    }
}

fn check_address(report: &mut Report<'_>, field: &str, address: IpAddr) {
    let address = address.to_canonical();
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_unspecified() || address.is_multicast() || broadcast {
        report(
            field.to_owned(),
            format!("{address} is not the address of one host; want one that is"),
        );
    }
}

#[cfg(test)]
mod tests;
