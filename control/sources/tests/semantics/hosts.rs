//! Rules 25, 26, 27 and 29: nodes, a pod itself, pods that are new, and addresses on the wire.

use sluice_core::drop::DropReason;
use sluice_core::judge::Verdict;
use sluice_core::policy::Reason;

use crate::given::*;
use crate::wire::{Echo, World, tcp, udp};

const OK: Verdict = Ok(());

/// Nobody may reach the pods of x, and they may reach nobody: by one kind of policy or the other.
fn closed() -> [String; 2] {
    let all = "{networks: ['0.0.0.0/0', '::/0']}";
    let admin = format!(
        "ingress: [{{action: Deny, from: [{{namespaces: {{}}}}]}}], \
         egress: [{{action: Deny, to: [{{nodes: {{}}}}, {all}]}}]"
    );
    [policy("x/none", "policyTypes: [Ingress, Egress]"), cluster_policy("Admin", &admin)]
}

#[test]
fn rule_25_a_pod_and_its_own_node_reach_each_other() {
    for (family, closed) in [V4, V6].into_iter().flat_map(|family| closed().map(|it| (family, it)))
    {
        let mut world = World::new(family, &closed);
        assert_eq!(world.handshake("n1:4000", "x/a:80"), OK, "a probe by TCP: {closed}");
        assert_eq!(world.udp("n1:4000", "x/a:53"), OK, "{closed}");
        assert_eq!(world.ping("n1", "x/a", Echo::Request), OK, "{closed}");
        assert_eq!(world.handshake("x/a:4001", "n1:10250"), OK, "the other way: {closed}");
    }
}

#[test]
fn rule_25_another_node_is_subject_to_policy() {
    for family in [V4, V6] {
        let mut world = World::new(family, &closed()[0]);
        assert_eq!(world.tcp("n2:4000", "x/a:80", "S"), Err(DropReason::IngressDenied));
        assert_eq!(world.tcp("x/a:4000", "n2:80", "S"), Err(DropReason::EgressDenied));
        let posing = tcp(family, "n1:4000", "x/a:80", "S");
        let lie = world.send("outside", "x/a", &posing);
        assert_eq!(lie, Err(DropReason::SpoofedAddress), "nobody outside is the node");
        // Where the packets of other nodes are judged, theirs is their pods' own.
        let of_y = cluster(&policy("y/none", "policyTypes: [Ingress, Egress]"));
        assert!(allows_over(family, &of_y, "n2", "y/a", "TCP", 80), "n2 is the node of y/a");
        assert!(!allows_over(family, &of_y, "n1", "y/a", "TCP", 80), "n1 is not");
    }
}

#[test]
fn rule_25_every_address_of_the_node_is_the_nodes() {
    let n1 = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\nstatus: {addresses: [\
              {type: Hostname, address: n1}, {type: InternalIP, address: 10.0.0.11}, \
              {type: ExternalIP, address: 198.51.100.1}]}\n";
    let host_pod = pod_with(
        "x/host",
        "{}",
        "hostNetwork: true, containers: []",
        "podIPs: [{ip: 10.0.0.11}, {ip: 10.9.9.9}]",
    );
    let table = cluster(&(n1.to_owned() + &host_pod + &closed()[0]));
    for own in ["10.0.0.11", "198.51.100.1", "10.9.9.9"] {
        assert_eq!(decide(&table, V4, own, "x/a", "TCP", 80).ingress, Reason::OwnNode, "{own}");
    }
    let neighbour = decide(&table, V4, "198.51.100.2", "x/a", "TCP", 80);
    assert_eq!(neighbour.ingress, Reason::NoRule, "the next address is nobody's");
}

#[test]
fn rule_26_a_pod_reaches_its_own_address() {
    for (family, closed) in [V4, V6].into_iter().flat_map(|family| closed().map(|it| (family, it)))
    {
        let table = cluster(&closed);
        for protocol in ["TCP", "UDP", "SCTP", "ICMP"] {
            let own = decide(&table, family, "x/a", "x/a", protocol, 80);
            assert_eq!((own.egress, own.ingress), (Reason::SamePod, Reason::SamePod), "{closed}");
        }
        assert!(!allows_over(family, &table, "x/a", "x/b", "TCP", 80), "and nobody else's");
    }
    let dual = cluster(&closed()[0]);
    let from = |address| allows(&dual, address, "x/a", "TCP", 80);
    assert!(from("10.0.0.1") && !from("10.0.0.2"), "its own, and its neighbour's");
}

/// On the way to a service, the service's address is who is asked.
#[test]
fn rule_26_the_way_to_a_service_is_subject_to_cluster_policies() {
    let deny = |address: &str| {
        let rules = format!("egress: [{{action: Deny, to: [{{networks: [{address}/32]}}]}}]");
        World::new(V4, &cluster_policy("Admin", &rules))
    };
    let asked = tcp(V4, "x/a:4000", "10.96.0.1:80", "S");
    let denied = deny("10.96.0.1").send("x/a", "n1", &asked);
    assert_eq!(denied, Err(DropReason::EgressDenied));
    assert_eq!(deny("10.96.0.2").send("x/a", "n1", &asked), OK, "another service is denied");
}

/// What a pod sends to its own address stays in its own stack: a packet that bears it at both
/// ends has been to a service and back. Kubernetes leaves it open for NetworkPolicies. Here it is
/// allowed.
#[test]
fn rule_26_the_way_back_from_a_service_is_allowed_by_network_policies() {
    for family in [V4, V6] {
        let mut world = World::new(family, &closed()[0]);
        assert_eq!(world.tcp("x/a:4000", "x/a:80", "S"), OK, "to itself");
        let other = world.tcp("x/a:4000", "x/b:80", "S");
        assert_eq!(other, Err(DropReason::EgressDenied), "to another pod of the service");
    }
}

/// What a pod is attached by sends and receives nothing until the rule set knows the pod, so that
/// no container can start before the policies that select it hold.
#[test]
fn rule_27_a_pod_that_the_rule_set_does_not_know_is_denied() {
    for family in [V4, V6] {
        let mut world = World::new(family, "");
        let unknown = Err(DropReason::UnknownEndpoint);
        assert_eq!(world.udp("x/new:4000", "y/a:53"), unknown, "no policy selects anybody");
        assert_eq!(world.udp("y/a:4000", "x/new:53"), unknown);
        assert_eq!(world.ping("n1", "x/new", Echo::Request), unknown, "its node is no exception");
        world.publish(&pod("x/new", "{}", "[]"));
        assert_eq!(world.udp("x/new:4000", "y/a:53"), OK, "known, and no policy selects it");
        assert_eq!(world.udp("y/a:4000", "x/new:53"), OK);
    }
}

#[test]
fn rule_27_a_pod_is_isolated_from_the_table_on_that_knows_it() {
    let (isolate, new) =
        ("podSelector: {}, policyTypes: [Ingress, Egress]", pod("x/new", "{}", "[]"));
    for family in [V4, V6] {
        let deny = policy("x/none", isolate);
        let mut world = World::new(family, &deny);
        let unknown = world.udp("x/new:4000", "y/a:53");
        assert_eq!(unknown, Err(DropReason::UnknownEndpoint));
        world.publish(&(deny.clone() + &new));
        assert_eq!(world.udp("x/new:4000", "y/a:53"), Err(DropReason::EgressDenied));
        assert_eq!(world.udp("y/a:4000", "x/new:53"), Err(DropReason::IngressDenied));
        let allow = policy("x/some", "podSelector: {}, ingress: [{ports: [{protocol: UDP}]}]");
        world.publish(&(deny + &new + &allow));
        assert_eq!(world.udp("y/a:4000", "x/new:53"), OK, "what allows may come later");
        assert_eq!(world.udp("x/new:4001", "y/a:53"), Err(DropReason::EgressDenied));
    }
}

#[test]
fn rule_27_a_pod_elsewhere_is_no_peer_before_it_is_known() {
    let from_y = on_a("ingress: [{from: [{namespaceSelector: {matchLabels: {team: y}}}]}]");
    let mut world = World::new(V4, &from_y);
    assert_eq!(world.udp("y/new:4000", "x/a:53"), Err(DropReason::IngressDenied));
    world.publish(&(from_y + &pod("y/new", "{}", "[]")));
    assert_eq!(world.udp("y/new:4000", "x/a:53"), OK);
}

/// Kubernetes leaves it open whether a block sees addresses before or after they are translated.
/// Here it sees those that the packet bears on the wire where the pod is attached.
#[test]
fn rule_29_an_ingress_block_sees_the_source_on_the_wire() {
    let from = |cidr: &str| on_a(&format!("ingress: [{{from: [{{ipBlock: {{cidr: {cidr}}}}}]}}]"));
    let mut client = World::new(V4, &from("203.0.113.0/24"));
    assert_eq!(client.udp("outside:4000", "x/a:53"), OK, "a client whose address was kept");
    let masked = client.udp("n2:4000", "x/a:53");
    assert_eq!(masked, Err(DropReason::IngressDenied), "one that comes in a node's name");
    let mut node = World::new(V4, &from("10.0.0.12/32"));
    assert_eq!(node.udp("n2:4000", "x/a:53"), OK, "who must be named then");
    assert_eq!(node.udp("outside:4000", "x/a:53"), Err(DropReason::IngressDenied));
}

#[test]
fn rule_29_an_egress_block_sees_the_destination_on_the_wire() {
    let to = |cidr: &str| {
        let egress = format!("egress: [{{to: [{{ipBlock: {{cidr: {cidr}}}}}]}}]");
        World::new(V4, &on_a(&format!("policyTypes: [Egress], {egress}")))
    };
    let service = udp(V4, "x/a:4000", "10.96.0.1:53");
    let mut to_service = to("10.96.0.1/32");
    assert_eq!(to_service.send("x/a", "n1", &service), OK, "a service by its address");
    let pod = to_service.udp("x/a:4000", "y/a:53");
    assert_eq!(pod, Err(DropReason::EgressDenied), "and not the pods behind it");
    let mut to_pod = to("10.0.0.3/32");
    assert_eq!(to_pod.udp("x/a:4000", "y/a:53"), OK, "a pod by its address");
    let denied = to_pod.send("x/a", "n1", &service);
    assert_eq!(denied, Err(DropReason::EgressDenied), "and not the service before it");
}
