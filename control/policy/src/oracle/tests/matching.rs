//! Whom and what a rule of a ClusterNetworkPolicy matches.

use super::*;

#[test]
fn a_pods_peer_needs_namespace_and_pod_and_a_network_of_its_own() {
    let denied = |namespace, pod, destination: &str| {
        let rules =
            with([
                policy("p", vec![rule(Deny, vec![ClusterPeer::Pods(pods(namespace, pod))])]).into()
            ]);
        !tcp(&rules, A, destination).egress.allows
    };
    assert!(denied("x", "b", B));
    assert!(!denied("y", "b", B));
    assert!(!denied("x", "c", C));
    assert!(denied("y", "c", C));
    assert!(!denied("x", "host", "10.0.1.22"));
    assert!(!denied("x", "done", B));

    let everybody = vec![rule(Deny, vec![ClusterPeer::Pods(NamespacedPods::default())])];
    let rules = with([policy("p", everybody).into()]);
    let ends = [B, C, "10.0.1.1", "10.0.1.2", "10.0.1.22", OUTSIDE];
    let denied = ends.map(|end| !tcp(&rules, A, end).egress.allows);
    assert_eq!(denied, [true, true, false, false, false, false]);
}

#[test]
fn a_nodes_peer_means_the_addresses_of_nodes_with_these_labels() {
    let denied = |selector: LabelSelector| {
        let rules =
            with([policy("p", vec![rule(Deny, vec![ClusterPeer::Nodes(selector)])]).into()]);
        ["10.0.1.2", "10.0.1.22", "10.0.1.3", B, OUTSIDE]
            .map(|destination| !tcp(&rules, A, destination).egress.allows)
    };
    let zone = |name| LabelSelector::label("zone", name);
    assert_eq!(denied(zone("far")), [true, true, false, false, false]);
    assert_eq!(denied(zone("near")), [false, false, false, false, false]);
    assert_eq!(denied(LabelSelector::everything()), [true, true, false, false, false]);
}

#[test]
fn a_node_without_an_object_has_no_labels_to_select_it_by() {
    let mut rules = with([policy(
        "p",
        vec![rule(Deny, vec![ClusterPeer::Nodes(LabelSelector::everything())])],
    )
    .into()]);
    rules.remove(&Object::from(Node { name: "n2".to_owned(), ..Node::default() }).key());
    assert!(tcp(&rules, A, "10.0.1.22").egress.allows);
}

#[test]
fn networks_mean_pods_and_nodes_too_and_one_family() {
    let denied = |net: &str, destination: &str| {
        let rules =
            with([policy("p", vec![rule(Deny, vec![nets(&["192.0.2.1/32", net])])]).into()]);
        let source = if destination.contains(':') { "fd00::1" } else { A };
        !tcp(&rules, source, destination).egress.allows
    };
    for end in [B, C, "10.0.1.2", "10.0.1.22", OUTSIDE, "0.0.0.0", "255.255.255.255"] {
        assert!(denied("0.0.0.0/0", end), "{end}");
        assert!(!denied("::/0", end), "{end}");
    }
    for end in ["fd00::2", "2001:db8::1"] {
        assert!(denied("::/0", end), "{end}");
        assert!(!denied("0.0.0.0/0", end), "{end}");
    }
    assert!(denied("10.0.0.2/31", B) && denied("10.0.0.2/31", C));
    assert!(!denied("10.0.0.4/31", C));
    assert!(denied("10.0.0.3/31", B), "bits past the prefix say nothing");
    assert!(denied("::ffff:10.0.0.2/127", C));
    assert!(denied("::ffff:0:0/96", OUTSIDE));
    assert!(denied("10.0.0.2/32", "::ffff:10.0.0.2"));
    assert!(!denied("::/0", "::ffff:10.0.0.2"));
}

#[test]
fn a_rule_with_an_unknown_peer_fails_closed() {
    let tier = |action, peers: Vec<ClusterPeer>| {
        let ports = vec![ClusterPort::Range { protocol: Protocol::Udp, first: 53, last: 53 }];
        let strange = ClusterRule { ports: ClusterPorts::AnyOf(ports), ..rule(action, peers) };
        let last = ClusterRule { name: "last".to_owned(), ..all(Accept) };
        with([policy("p", vec![strange, last]).into()])
    };
    for action in [Deny, Pass] {
        let rules = tier(action, vec![nets(&["192.0.2.0/24"]), unknown()]);
        for (protocol, port) in [(TCP, Some(80)), (UDP, Some(53)), (ICMP, None), (47, None)] {
            let answer = judge(&rules, None, &attempt(A, OUTSIDE, protocol, port));
            assert_eq!(answer.egress, End { allows: false, by: by(Tier::Admin, "p", 0) });
        }
        let answer = judge(&rules, None, &attempt("fd00::3", "fd00::1", ICMPV6, None));
        assert!(!answer.ingress.allows);
    }
    // Even for the peer that it names along with the unknown one.
    let rules = tier(Accept, vec![nets(&["203.0.113.0/24"]), unknown()]);
    let answer = judge(&rules, None, &attempt(A, OUTSIDE, UDP, Some(53)));
    assert_eq!(answer.egress.by, by(Tier::Admin, "p", 1));
}

#[test]
fn without_ports_a_rule_matches_every_protocol() {
    let rules = with([policy("p", vec![all(Deny)]).into()]);
    for (protocol, port) in [(TCP, Some(0)), (UDP, Some(65535)), (SCTP, Some(1)), (ICMP, None)] {
        assert!(!judge(&rules, None, &attempt(A, OUTSIDE, protocol, port)).egress.allows);
    }
    let icmpv6 = attempt("fd00::1", "2001:db8::1", ICMPV6, None);
    assert!(!judge(&rules, None, &icmpv6).egress.allows);
}

#[test]
fn a_range_has_both_its_ends_and_one_protocol() {
    let range = |protocol, first, last| ClusterPort::Range { protocol, first, last };
    let ports = vec![range(Protocol::Tcp, 80, 82), range(Protocol::Udp, 65535, 65535)];
    let rules = with([policy("p", vec![on_ports(Deny, ports)]).into()]);
    for (protocol, port, denied) in [
        (TCP, Some(79), false),
        (TCP, Some(80), true),
        (TCP, Some(81), true),
        (TCP, Some(82), true),
        (TCP, Some(83), false),
        (UDP, Some(81), false),
        (UDP, Some(65534), false),
        (UDP, Some(65535), true),
        (SCTP, Some(80), false),
        (ICMP, None, false),
    ] {
        let answer = judge(&rules, None, &attempt(A, OUTSIDE, protocol, port));
        assert_eq!(!answer.egress.allows, denied, "{protocol} {port:?}");
    }
}

#[test]
fn a_name_means_what_the_destination_calls_so() {
    let named = |name: &str, protocol, port| NamedPort { name: name.to_owned(), protocol, port };
    let mut rules = cluster();
    for (namespace, name, address, ports) in [
        ("x", "a", A, vec![named("web", Protocol::Tcp, 8080)]),
        ("x", "b", B, vec![named("web", Protocol::Tcp, 80), named("web", Protocol::Udp, 81)]),
        ("y", "c", C, vec![named("dns", Protocol::Tcp, 80)]),
    ] {
        let mut pod = Pod::new(namespace, name)
            .with_label("pod", name)
            .with_address(address.parse().unwrap());
        pod.named_ports = ports;
        rules.replace(pod);
    }
    let web = vec![ClusterPort::Named("web".to_owned())];
    let peers = vec![ClusterPeer::Pods(NamespacedPods::default())];
    let deny = ClusterRule { peers, ..on_ports(Deny, web) };
    rules.insert(policy("p", vec![deny])).unwrap();
    for (source, destination, protocol, port, allowed) in [
        // Egress: b's own numbers, with b's own protocols.
        (A, B, TCP, 80, [false, true]),
        (A, B, UDP, 81, [false, true]),
        (A, B, UDP, 80, [true, true]),
        (A, B, TCP, 8080, [true, true]),
        (A, C, TCP, 80, [true, true]),
        (A, OUTSIDE, TCP, 80, [true, true]),
        // Ingress: the subject's own.
        (B, A, TCP, 8080, [true, false]),
        (B, A, TCP, 80, [true, true]),
        (OUTSIDE, A, TCP, 8080, [true, true]),
    ] {
        let answer = judge(&rules, None, &attempt(source, destination, protocol, Some(port)));
        assert_eq!(allows(&answer), allowed, "{source} {destination} {protocol} {port}");
    }
}
