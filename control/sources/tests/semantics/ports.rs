//! Rules 18 to 22: which ports `ports` means. [`open`] asks for both directions.

use crate::given::*;

const ANY: [u16; 4] = [1, 80, 81, 65535];

#[test]
fn rule_18_missing_or_empty_ports_are_all_ports_of_all_protocols() {
    for ports in ["[]", "null"] {
        for protocol in ["TCP", "UDP", "SCTP"] {
            assert_eq!(open(ports, protocol, &ANY), ANY, "{protocol} of {ports}");
        }
        assert_eq!(open(ports, "ICMP", &[0]), [0], "and what has no ports");
    }
    let table = cluster(&on_a("ingress: [{from: [{podSelector: {}}]}]"));
    assert!(allows(&table, "x/b", "x/a", "SCTP", 9), "no ports at all");
    assert!(!allows(&table, "y/b", "x/a", "SCTP", 9), "of its peers only");
}

#[test]
fn rule_18_an_item_without_a_protocol_means_tcp() {
    assert_eq!(open("[{port: 80}]", "TCP", &ANY), [80]);
    assert_eq!(open("[{port: 80}]", "UDP", &ANY), [0; 0]);
    assert_eq!(open("[{}]", "TCP", &ANY), ANY, "every port of TCP");
    assert_eq!(open("[{}]", "UDP", &ANY), [0; 0]);
}

#[test]
fn rule_18_an_item_with_a_protocol_only_means_all_its_ports() {
    for protocol in ["TCP", "UDP", "SCTP"] {
        let item = format!("[{{protocol: {protocol}}}]");
        for other in ["TCP", "UDP", "SCTP"] {
            let expected = if protocol == other { &ANY[..] } else { &[] };
            assert_eq!(open(&item, other, &ANY), expected, "{other} of {item}");
        }
        assert_eq!(open(&item, "ICMP", &[0]), [0; 0], "ICMP of {item}");
    }
}

#[test]
fn rule_18_items_are_ored() {
    let ports = "[{port: 80}, {protocol: UDP, port: 81}, {protocol: SCTP}]";
    assert_eq!(open(ports, "TCP", &ANY), [80]);
    assert_eq!(open(ports, "UDP", &ANY), [81]);
    assert_eq!(open(ports, "SCTP", &ANY), ANY);
}

/// The ports of `to` that are open to `from`, of those that some pod calls `web`.
fn web(table: &sluice_core::table::Table, from: &str, to: &str, protocol: &str) -> Vec<u16> {
    let numbers = [80, 81, 8080, 9090].into_iter();
    numbers.filter(|port| allows(table, from, to, protocol, *port)).collect()
}

const WEB: &str = "ports: [{port: web}]";

#[test]
fn rule_19_a_name_is_resolved_on_the_destination_pod() {
    let every_pod =
        |peers: &str| cluster(&policy("x/web", &format!("ingress: [{{{peers}{WEB}}}]")));
    // z/a calls another port by this name: what the source calls so does not matter.
    for (peers, outside_too) in [
        ("", true),
        ("from: [{ipBlock: {cidr: 0.0.0.0/0}}], ", true),
        ("from: [{namespaceSelector: {}}], ", false),
    ] {
        let table = every_pod(peers);
        for (pod, number) in [("x/a", 80), ("x/b", 81)] {
            assert_eq!(web(&table, "z/a", pod, "TCP"), [number], "{pod}, {peers}");
            assert_eq!(web(&table, "z/a", pod, "UDP"), [0; 0], "another protocol, {peers}");
            let from_outside = web(&table, "outside", pod, "TCP");
            let expected = if outside_too { &[number][..] } else { &[] };
            assert_eq!(from_outside, expected, "the outside to {pod}, {peers}");
        }
    }
}

#[test]
fn rule_19_in_egress_a_name_is_resolved_on_each_peer() {
    for peers in ["", "to: [{namespaceSelector: {}}], ", "to: [{ipBlock: {cidr: 0.0.0.0/0}}], "] {
        let table = cluster(&on_a(&format!("policyTypes: [Egress], egress: [{{{peers}{WEB}}}]")));
        for (to, protocol, expected) in [
            ("x/b", "TCP", &[81][..]),
            ("z/a", "TCP", &[8080]),
            ("y/a", "TCP", &[]), // It has the name for UDP.
            ("y/a", "UDP", &[]), // The item means TCP.
            ("y/b", "TCP", &[]), // It does not have the name.
            ("outside", "TCP", &[]),
            ("n2", "TCP", &[]),
        ] {
            assert_eq!(web(&table, "x/a", to, protocol), expected, "{to} {protocol}, {peers}");
        }
    }
}

#[test]
fn rule_19_in_egress_a_name_is_resolved_within_the_block_only() {
    let block = "to: [{ipBlock: {cidr: 10.0.0.0/24, except: [10.0.0.5/32]}}], ";
    let table = cluster(&on_a(&format!("policyTypes: [Egress], egress: [{{{block}{WEB}}}]")));
    assert_eq!(web(&table, "x/a", "x/b", "TCP"), [81]);
    assert_eq!(web(&table, "x/a", "z/a", "TCP"), [0; 0], "z/a is in the hole");
}

#[test]
fn rule_19_a_name_is_resolved_with_the_protocol_of_its_item() {
    let udp = "ports: [{protocol: UDP, port: web}]";
    let table = cluster(&on_a(&format!("policyTypes: [Egress], egress: [{{{udp}}}]")));
    assert_eq!(web(&table, "x/a", "y/a", "UDP"), [80], "its web is UDP 80");
    assert_eq!(web(&table, "x/a", "y/a", "TCP"), [0; 0]);
    for protocol in ["TCP", "UDP"] {
        assert_eq!(web(&table, "x/a", "x/b", protocol), [0; 0], "{protocol}: its web is TCP");
    }
    let table = cluster(&policy("x/web", &format!("ingress: [{{{udp}}}]")));
    for protocol in ["TCP", "UDP"] {
        assert_eq!(web(&table, "y/a", "x/a", protocol), [0; 0], "{protocol}: the subject's is TCP");
    }
    let ports =
        "[{name: dns, containerPort: 53}, {name: dns-udp, containerPort: 53, protocol: UDP}]";
    let dns = pod("x/new", "{pod: new}", ports);
    let by_name = policy("x/dns", "ingress: [{ports: [{protocol: UDP, port: dns-udp}]}]");
    let table = cluster(&(dns + &by_name));
    assert!(allows(&table, "y/a", "x/new", "UDP", 53));
    assert!(!allows(&table, "y/a", "x/new", "TCP", 53), "one number, another protocol");
}

/// Kubernetes leaves open what a name means that two containers use. Here it means both ports.
#[test]
fn rule_19_a_name_that_a_pod_gives_twice_means_both_ports() {
    let containers = "containers: [{name: c, ports: [{name: web, containerPort: 80}]}, \
                      {name: d, ports: [{name: web, containerPort: 9090}]}]";
    let twice = pod_with("x/new", "{pod: new}", containers, "podIPs: [{ip: 10.0.0.6}]");
    let table = cluster(&(twice.clone() + &policy("x/web", &format!("ingress: [{{{WEB}}}]"))));
    assert_eq!(web(&table, "y/a", "x/new", "TCP"), [80, 9090]);
    assert_eq!(web(&table, "y/a", "x/a", "TCP"), [80], "another pod's second port is its own");
    let out = on_a(&format!("policyTypes: [Egress], egress: [{{{WEB}}}]"));
    let table = cluster(&(twice + &out));
    assert_eq!(web(&table, "x/a", "x/new", "TCP"), [80, 9090]);
    assert_eq!(web(&table, "x/a", "x/b", "TCP"), [81]);
}

#[test]
fn rule_20_an_end_port_is_the_last_of_a_range() {
    assert_eq!(open("[{port: 80, endPort: 82}]", "TCP", &[79, 80, 81, 82, 83]), [80, 81, 82]);
    assert_eq!(open("[{port: 80, endPort: 80}]", "TCP", &[79, 80, 81]), [80]);
    let udp = "[{protocol: UDP, port: 80, endPort: 82}]";
    assert_eq!(open(udp, "UDP", &[79, 80, 82, 83]), [80, 82]);
    assert_eq!(open(udp, "TCP", &[79, 80, 82, 83]), [0; 0]);
}

#[test]
fn rule_20_a_range_begins_with_a_number_that_is_not_above_its_end() {
    for (port, wrong) in [
        ("port: 80, endPort: 79", true),
        ("port: web, endPort: 81", true),
        ("endPort: 81", true),
        ("port: 80, endPort: 65536", true),
        ("port: 80, endPort: 0", true),
        ("port: 80, endPort: 65535", false),
    ] {
        let fields = refused(&on_a(&format!("ingress: [{{ports: [{{{port}}}]}}]")));
        let expected = if wrong { &["spec.ingress[0].ports[0].endPort"][..] } else { &[] };
        assert_eq!(fields, expected, "{port}");
    }
}

/// Sluice knows no services. It judges a packet by the port that it bears where the pod is
/// attached, which is the pod's own once a service proxy has put it there: its choice.
#[test]
fn rule_21_ports_are_those_of_the_pod_and_not_of_a_service() {
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {namespace: x, name: a}\n\
                   spec: {clusterIP: 10.96.0.1, ports: [{port: 80, targetPort: 8080}]}\n";
    let manifest = read(service, true);
    assert_eq!((manifest.faults.len(), manifest.objects.len()), (0, 0));
    let [warning] = &manifest.warnings[..] else { panic!("{:?}", manifest.warnings) };
    assert!(warning.0.problem.starts_with("Service of v1 has no effect"), "{warning}");
    for (port, expected) in [(8080, [true, false]), (80, [false, true])] {
        let table = cluster(&on_a(&format!("ingress: [{{ports: [{{port: {port}}}]}}]")));
        let found = [8080, 80].map(|bears| allows(&table, "y/a", "x/a", "TCP", bears));
        assert_eq!(found, expected, "a policy for {port}, and packets for 8080 and 80");
    }
}

#[test]
fn rule_22_a_protocol_matches_no_other_and_isolates() {
    for protocol in ["TCP", "UDP", "SCTP"] {
        let item = format!("[{{protocol: {protocol}, port: 80}}]");
        for other in ["TCP", "UDP", "SCTP", "ICMP"] {
            let expected = if protocol == other { &[80][..] } else { &[] };
            assert_eq!(open(&item, other, &[80, 81]), expected, "{other} of {item}");
        }
    }
}

#[test]
fn rule_22_a_protocol_that_is_not_known_is_refused() {
    let of = |protocol: &str| {
        refused(&on_a(&format!("ingress: [{{ports: [{{protocol: {protocol}, port: 80}}]}}]")))
    };
    for protocol in ["ICMP", "tcp", "DCCP", "''"] {
        assert_eq!(of(protocol), ["spec.ingress[0].ports[0].protocol"], "{protocol}");
    }
    assert_eq!(of("SCTP"), NOTHING);
}
