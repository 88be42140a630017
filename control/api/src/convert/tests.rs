//! Whatever is a rule set survives the wire; whatever is none is refused without a panic.

mod access_list;
mod answers;
mod cluster;
mod delta;
mod generate;

use proptest::collection::vec;
use proptest::prelude::*;
use prost::{Message as _, Name as _};
use sluice_core::address::{Mac, NetworkId};
use sluice_policy::model::Name;

use super::{commit, diff, ports, questions, to_wire};
use crate::backend::{Fallback, PortKind, PortMode, PortSpec};
use crate::{snapshot, strict, wire};
use generate::{diff_order, order, port_spec, rule_set};

/// Reads bytes as every request, as the service would.
fn read_all(bytes: &[u8]) {
    let _ = snapshot::decode(bytes);
    let _ = strict::check::<wire::CommitRequest>(bytes);
    if let Ok(request) = wire::CommitRequest::decode(bytes) {
        let _ = commit::order(request);
    }
    let _ = strict::check::<wire::DiffRequest>(bytes);
    if let Ok(request) = wire::DiffRequest::decode(bytes) {
        let _ = diff::order(request);
    }
    if let Ok(response) = wire::DiffResponse::decode(bytes) {
        let _ = diff::outcome(response);
    }
    if let Ok(request) = wire::AddPortRequest::decode(bytes) {
        let _ = ports::add_request(request);
    }
    if let Ok(request) = wire::ReachRequest::decode(bytes) {
        let _ = questions::reach(&request);
    }
    if let Ok(request) = wire::ExplainRequest::decode(bytes) {
        for (place, asked) in request.questions.iter().enumerate() {
            let _ = questions::question(place, asked);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_order_survives_the_wire(order in order()) {
        let bytes = commit::order_to_wire(&order).encode_to_vec();
        prop_assert_eq!(strict::check::<wire::CommitRequest>(&bytes), Ok(()));
        let request = wire::CommitRequest::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(commit::order(request), Ok(order));
    }

    #[test]
    fn a_diff_survives_the_wire(order in diff_order()) {
        let bytes = diff::order_to_wire(&order).encode_to_vec();
        prop_assert_eq!(strict::check::<wire::DiffRequest>(&bytes), Ok(()));
        let request = wire::DiffRequest::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(diff::order(request), Ok(order));
    }

    #[test]
    fn a_rule_set_survives_as_bytes(rules in rule_set()) {
        prop_assert_eq!(snapshot::decode(&snapshot::encode(&rules)), Ok(rules));
    }

    #[test]
    fn a_port_survives_the_wire(port in port_spec()) {
        let bytes = ports::spec_to_wire(&port).encode_to_vec();
        let read = wire::PortSpec::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(ports::spec(read), Ok(port));
    }

    #[test]
    fn bytes_of_any_kind_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..200)) {
        read_all(&bytes);
    }

    #[test]
    fn damaged_requests_are_read_without_a_panic(
        order in order(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = commit::order_to_wire(&order).encode_to_vec();
        bytes.extend([0; 1]);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        read_all(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        read_all(&bytes);
    }

    /// Enums, numbers and choices of every kind in messages that are otherwise right.
    #[test]
    fn wrong_values_are_refused_without_a_panic(
        rules in rule_set(),
        number in any::<i32>(),
        port in any::<u32>(),
        unset in any::<bool>(),
    ) {
        let mut message = to_wire::rule_set(&rules);
        let mut wrong = false;
        for pod in &mut message.pods {
            for named in &mut pod.named_ports {
                (named.protocol, named.port) = (number, port);
                wrong |= !(1..=3).contains(&number) || !(1..=65_535).contains(&port);
            }
        }
        for policy in &mut message.network_policies {
            if unset {
                (policy.pod_selector, policy.ingress, policy.egress) = (None, None, None);
                wrong = true;
            }
        }
        let bytes = message.encode_to_vec();
        prop_assert_eq!(snapshot::decode(&bytes).is_err(), wrong);
    }
}

/// The faults of a rule set, as `object: field: problem`.
fn faults_of(message: &wire::RuleSet) -> Vec<String> {
    let error = snapshot::decode(&message.encode_to_vec()).unwrap_err();
    error.0.iter().map(ToString::to_string).collect()
}

fn policy(rule: wire::Rule) -> wire::NetworkPolicy {
    let none = wire::isolation::Isolation::NotIsolated(wire::NotIsolated {});
    let rules = wire::isolation::Isolation::Rules(wire::Rules { rules: vec![rule] });
    wire::NetworkPolicy {
        namespace: "shop".into(),
        name: "web".into(),
        pod_selector: Some(wire::LabelSelector::default()),
        ingress: Some(wire::Isolation { isolation: Some(rules) }),
        egress: Some(wire::Isolation { isolation: Some(none) }),
    }
}

#[test]
fn each_fault_names_object_field_and_what_would_be_right() {
    use wire::peer::Peer;
    let block = |cidr: &str, except: &str| {
        let except = vec![except.to_owned()];
        wire::Peer { peer: Some(Peer::Block(wire::Block { cidr: cidr.into(), except })) }
    };
    let term = wire::LabelExpression { key: "app".into(), operator: 0, values: Vec::new() };
    let selector = wire::LabelSelector { match_expressions: vec![term], ..Default::default() };
    let pods = wire::PodPeer { pod_selector: Some(selector), namespace_selector: None };
    let peers = vec![
        block("10.0.0.0/33", "x"),
        wire::Peer { peer: Some(Peer::Pods(pods)) },
        wire::Peer { peer: Some(Peer::Pods(wire::PodPeer::default())) },
        wire::Peer { peer: None },
    ];
    let range = wire::policy_port::Port::Range(wire::PortRange { first: 80, last: 79 });
    let items = vec![
        wire::PolicyPort { protocol: 0, port: Some(wire::policy_port::Port::Number(0)) },
        wire::PolicyPort { protocol: 9, port: Some(range) },
        wire::PolicyPort { protocol: 1, port: None },
    ];
    let rule = wire::Rule {
        peers: Some(wire::Peers {
            peers: Some(wire::peers::Peers::AnyOf(wire::PeerList { peers })),
        }),
        ports: Some(wire::Ports {
            ports: Some(wire::ports::Ports::AnyOf(wire::PortList { ports: items })),
        }),
    };
    let message = wire::RuleSet { network_policies: vec![policy(rule)], ..Default::default() };
    let at = "NetworkPolicy shop/web: spec.ingress[0]";
    let expected = [
        "from[0].ipBlock.cidr: \"10.0.0.0/33\" is no address block; want such as 10.0.0.0/8 or fd00::/64",
        "from[0].ipBlock.except[0]: \"x\" is no address block; want such as 10.0.0.0/8 or fd00::/64",
        "from[1].podSelector.matchExpressions[0].operator: it is unspecified; want In, NotIn, Exists or DoesNotExist",
        "from[2]: names no peer; want podSelector, namespaceSelector or both",
        "from[3]: names no peer; want pods or a block",
        "ports[0].port: 0 is no port number; want 1 to 65535",
        "ports[0].protocol: it is unspecified; want TCP, UDP or SCTP",
        "ports[1].endPort: 79 is below port 80; want 80 to 65535",
        "ports[1].protocol: value 9 is unknown here; want TCP, UDP or SCTP",
        "ports[2].port: it is absent; want all, a number, a range or a name",
    ];
    assert_eq!(faults_of(&message), expected.map(|problem| format!("{at}.{problem}")));
}

/// An empty list that turned into "everybody" on its way opened a firewall once
/// (CVE-2025-64715).
#[test]
fn what_is_empty_or_unset_admits_nobody() {
    let nobody = wire::peers::Peers::AnyOf(wire::PeerList::default());
    let nothing = wire::ports::Ports::AnyOf(wire::PortList::default());
    let empty = wire::Rule {
        peers: Some(wire::Peers { peers: Some(nobody) }),
        ports: Some(wire::Ports { ports: Some(nothing) }),
    };
    for rule in [empty, wire::Rule::default()] {
        let message = wire::RuleSet { network_policies: vec![policy(rule)], ..Default::default() };
        let faults = faults_of(&message);
        assert!(
            faults[0].contains("spec.ingress[0].from: a list of no peers")
                || faults[0].contains("spec.ingress[0].from: it is absent"),
            "{faults:?}"
        );
        assert!(faults[1].contains("spec.ingress[0].ports: "), "{faults:?}");
    }
    let bare = wire::NetworkPolicy { name: "p".into(), ..Default::default() };
    let message = wire::RuleSet { network_policies: vec![bare], ..Default::default() };
    assert_eq!(faults_of(&message).len(), 3);
}

#[test]
fn names_that_would_steer_a_terminal_are_escaped_and_doubles_refused() {
    let pod =
        wire::Pod { namespace: "a\u{1b}[2J".into(), name: "b\n".into(), ..Default::default() };
    let message = wire::RuleSet { pods: vec![pod.clone(), pod], ..Default::default() };
    let faults = faults_of(&message);
    assert_eq!(faults.len(), 1);
    assert!(faults[0].starts_with("Pod a\\u{1b}[2J/b\\n: metadata.name: "), "{faults:?}");
}

#[test]
fn a_commit_without_content_is_no_empty_rule_set() {
    let faults = commit::order(wire::CommitRequest::default()).unwrap_err();
    assert_eq!((faults[0].object.as_str(), faults[0].field.as_str()), ("request", "content"));
    let empty = wire::commit_request::Content::Snapshot(wire::RuleSet::default());
    let request = wire::CommitRequest {
        version: "v".repeat(257),
        content: Some(empty),
        ..Default::default()
    };
    assert_eq!(commit::order(request).unwrap_err()[0].field, "version");
}

#[test]
fn ports_are_refused_with_the_field_that_is_wrong() {
    let right = PortSpec {
        interface: "eth0".into(),
        kind: PortKind::Pod {
            pod: Name { namespace: "shop".into(), name: "web".into() },
            mac: Mac([2, 0, 0, 0, 0, 1]),
        },
        networks: [(NetworkId(0), None)].into(),
        fallback: Fallback::Drop,
        node_addresses: Vec::new(),
        mode: PortMode::Copy,
        workers: vec![1, 0],
        priority_tags: true,
    };
    let untagged = || Some(wire::port_network::Tag::Untagged(wire::Untagged {}));
    let network = |id, tag| wire::PortNetwork { id, tag };
    type Change = Box<dyn Fn(&mut wire::PortSpec)>;
    let cases: Vec<(&str, Change)> = vec![
        ("interface", Box::new(|it| it.interface = "../x".into())),
        ("interface", Box::new(|it| it.interface = "sixteen-letters-".into())),
        ("kind", Box::new(|it| it.kind = 0)),
        ("kind", Box::new(|it| it.kind = 77)),
        ("pod", Box::new(|it| it.pod = "web".into())),
        ("pod", Box::new(|it| it.kind = wire::PortKind::Host.into())),
        ("mac", Box::new(|it| it.mac = "01:00:00:00:00:01".into())),
        ("mac", Box::new(|it| it.mac = String::new())),
        ("fallback", Box::new(|it| it.fallback = 0)),
        ("mode", Box::new(|it| it.mode = 0)),
        ("mode", Box::new(|it| it.mode = 9)),
        ("networks", Box::new(|it| it.networks.clear())),
        ("networks[1]", Box::new(move |it| it.networks.push(network(7, untagged())))),
        ("networks[0]", Box::new(move |it| it.networks = vec![network(7, None)])),
        ("networks[0].id", Box::new(move |it| it.networks = vec![network(65_536, untagged())])),
        ("node_addresses", Box::new(|it| it.node_addresses = vec!["10.0.0.1".into()])),
        ("node_addresses[0]", Box::new(|it| it.node_addresses = vec!["x".into()])),
    ];
    for (field, change) in cases {
        let mut spec = ports::spec_to_wire(&right);
        change(&mut spec);
        let faults = ports::spec(spec).unwrap_err();
        assert!(faults.iter().any(|fault| fault.field == field), "{field}: {faults:?}");
    }
    assert_eq!(ports::spec(ports::spec_to_wire(&right)), Ok(right));
}

#[test]
fn fields_of_a_newer_client_are_refused_with_their_path() {
    // Field 17 with the number 1, in the second of two policies.
    let unknown = [0x88, 0x01, 0x01];
    let mut bytes = Vec::new();
    for tail in [&[][..], &unknown] {
        let mut policy = policy(wire::Rule::default()).encode_to_vec();
        policy.extend(tail);
        bytes.extend([0x22, u8::try_from(policy.len()).unwrap()]);
        bytes.extend(policy);
    }
    let mut request = vec![0x22, u8::try_from(bytes.len()).unwrap()];
    request.extend(bytes);
    let problem = strict::check::<wire::CommitRequest>(&request).unwrap_err();
    let start = "sluice.v1.CommitRequest: snapshot.network_policies[1]: field 17 is unknown here";
    assert!(problem.starts_with(start), "{problem}");
    assert_eq!(wire::CommitRequest::full_name(), "sluice.v1.CommitRequest");
}
