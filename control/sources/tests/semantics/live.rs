//! What Kubernetes' own suites leave out of connections: half-open ones, ICMP, fragments, and
//! policies, labels and pods that change under live ones.

use std::time::Duration;

use sluice_core::conntrack::state::Timeouts;
use sluice_core::drop::DropReason;
use sluice_core::judge::{Established, Verdict};

use crate::given::*;
use crate::wire::{Echo, Error, World, echo, tcp, udp};

const OK: Verdict = Ok(());
const NO_CONNECTION: Verdict = Err(DropReason::NoConnection);

/// x/a may ask y for TCP 80, and nobody may ask x/a.
fn a_to_y() -> String {
    let to = "to: [{namespaceSelector: {matchLabels: {team: y}}}], ports: [{port: 80}]";
    on_a(&format!("policyTypes: [Ingress, Egress], egress: [{{{to}}}]"))
}

#[test]
fn a_half_open_connection_is_judged_anew_when_it_is_answered() {
    let answer = Err(DropReason::EgressDenied);
    // What nobody has answered is not established, and not kept as if it were.
    for established in [Established::Recheck, Established::Keep] {
        let mut world = World::new(V4, &a_to_y());
        world.established = established;
        assert_eq!(world.tcp("x/a:4000", "y/b:80", "S"), OK);
        world.publish(&on_a("policyTypes: [Ingress, Egress]"));
        assert_eq!(world.tcp("y/b:80", "x/a:4000", "SA"), answer, "{established:?}");
    }
}

#[test]
fn a_half_open_connection_admits_no_connection_the_other_way() {
    for family in [V4, V6] {
        let mut world = World::new(family, &a_to_y());
        assert_eq!(world.tcp("x/a:4000", "y/b:80", "S"), OK);
        let reverse = world.tcp("y/b:80", "x/a:4000", "S");
        assert_eq!(reverse, Err(DropReason::IngressDenied), "a request, and no answer");
        assert_eq!(world.tcp("y/b:80", "x/a:4000", "SA"), OK, "the answer");
    }
}

#[test]
fn nothing_but_a_request_begins_a_connection() {
    for family in [V4, V6] {
        let mut world = World::new(family, "");
        for flags in ["A", "SA", "FA", "R", "RA"] {
            let segment = world.tcp("x/a:4000", "y/b:80", flags);
            assert_eq!(segment, NO_CONNECTION, "{flags}, though no policy selects anybody");
        }
        assert_eq!(world.ping("x/a", "y/b", Echo::Reply), NO_CONNECTION);
        assert!(world.connections.is_empty());
        assert_eq!(world.tcp("x/a:4000", "y/b:80", "S"), OK);
    }
}

#[test]
fn a_half_open_connection_lasts_as_long_as_its_state_may() {
    let Timeouts { tcp_opening, udp_single, .. } = Timeouts::default();
    let (short, second) = (Duration::from_nanos(1), Duration::from_secs(1));
    for (late, answered) in [(tcp_opening - short, OK), (tcp_opening, NO_CONNECTION)] {
        let mut world = World::new(V4, &a_to_y());
        assert_eq!(world.tcp("x/a:4000", "y/b:80", "S"), OK);
        world.now = world.now + late;
        assert_eq!(world.tcp("y/b:80", "x/a:4000", "SA"), answered, "after {late:?}");
    }
    let denied = Err(DropReason::IngressDenied);
    for (late, answered) in [(udp_single - second, OK), (udp_single, denied)] {
        let mut world = World::new(V4, &on_a("policyTypes: [Ingress]"));
        assert_eq!(world.udp("x/a:4000", "y/b:53"), OK);
        world.now = world.now + late;
        assert_eq!(world.udp("y/b:53", "x/a:4000"), answered, "after {late:?}");
    }
}

#[test]
fn a_ping_is_answered_and_not_returned() {
    for family in [V4, V6] {
        let mut world = World::new(family, &on_a("policyTypes: [Ingress]"));
        assert_eq!(world.ping("x/a", "y/b", Echo::Request), OK);
        assert_eq!(world.ping("y/b", "x/a", Echo::Reply), OK);
        let returned = world.ping("y/b", "x/a", Echo::Request);
        assert_eq!(returned, Err(DropReason::IngressDenied), "with the same identifier");
        assert_eq!(world.ping("y/a", "x/a", Echo::Reply), NO_CONNECTION, "y/a was not asked");
    }
}

#[test]
fn other_icmp_belongs_to_no_connection() {
    // A timestamp request, and a node information query: after Ethernet and IP the type.
    for (family, offset, icmp_type) in [(V4, 14 + 20, 13), (V6, 14 + 40, 139)] {
        let mut world = World::new(family, "");
        let mut frame = echo(family, "x/a", "y/b", Echo::Request);
        assert_eq!(world.send("x/a", "y/b", &frame), OK);
        frame[offset] = icmp_type;
        let other = world.send("x/a", "y/b", &frame);
        assert_eq!(other, Err(DropReason::UnsupportedIcmp), "{family:?}");
    }
}

#[test]
fn a_pod_speaks_in_icmp_errors_of_what_was_sent_to_itself_only() {
    for family in [V4, V6] {
        let mut world = World::new(family, "");
        let asked = udp(family, "x/a:4000", "y/b:53");
        assert_eq!(world.send("x/a", "y/b", &asked), OK);
        assert_eq!(world.error("y/b", "x/a", Error::NoPort, &asked), OK);
        let by_another = world.error("y/a", "x/a", Error::TooBig, &asked);
        assert_eq!(by_another, Err(DropReason::UnrelatedIcmp), "y/a is a pod, and no router");
    }
}

/// x/a has asked y/b for TCP 80.
fn asked(family: Family) -> World {
    let mut world = World::new(family, &a_to_y());
    assert_eq!(world.handshake("x/a:4000", "y/b:80"), OK);
    world
}

#[test]
fn labels_that_change_under_a_live_connection() {
    for family in [V4, V6] {
        for (change, stops) in [
            (pod("y/b", "{pod: b, more: '1'}", "[]"), false),
            (namespace("y", "{team: y, more: '1'}"), false),
            (namespace("y", "{team: z}"), true),
            (namespace("z", "{team: y}"), false),
        ] {
            let mut world = asked(family);
            world.publish(&(a_to_y() + &change));
            let expected = if stops { Err(DropReason::EgressDenied) } else { OK };
            assert_eq!(world.tcp("y/b:80", "x/a:4000", "A"), expected, "the peer: {change}");
        }
        let mut world = asked(family);
        world.publish(&(a_to_y() + &pod("x/a", "{pod: c}", "[]")));
        assert_eq!(world.tcp("x/a:4000", "y/b:80", "A"), OK, "the subject is isolated no more");
        world.publish(&(a_to_y() + &policy("x/none", "policyTypes: [Egress]")));
        assert_eq!(world.tcp("x/a:4000", "y/b:80", "A"), OK, "isolated, and admitted by a rule");
        world.publish(&policy("x/none", "policyTypes: [Egress]"));
        let denied = world.tcp("x/a:4000", "y/b:80", "A");
        assert_eq!(denied, Err(DropReason::EgressDenied), "isolated, without the rule");
    }
}

#[test]
fn a_named_port_that_moves_under_a_live_connection() {
    let by_name = "ingress: [{ports: [{port: web}]}]";
    let at = |port: u16| pod("x/a", "{pod: a}", &format!("[{{name: web, containerPort: {port}}}]"));
    let mut world = World::new(V4, &(on_a(by_name) + &at(80)));
    assert_eq!(world.handshake("y/b:4000", "x/a:80"), OK);
    world.publish(&(on_a(by_name) + &at(8080)));
    let denied = world.tcp("y/b:4000", "x/a:80", "A");
    assert_eq!(denied, Err(DropReason::IngressDenied), "80 is called web no more");
    assert_eq!(world.handshake("y/b:4001", "x/a:8080"), OK, "8080 is");
}

#[test]
fn a_cluster_policy_that_comes_under_a_live_connection() {
    for (tier, stops) in [("Admin", true), ("Baseline", false)] {
        let mut world = asked(V4);
        let deny = "egress: [{action: Deny, to: [{networks: [10.0.0.4/32]}]}]";
        world.publish(&(a_to_y() + &cluster_policy(tier, deny)));
        let expected = if stops { Err(DropReason::EgressDenied) } else { OK };
        assert_eq!(world.tcp("x/a:4000", "y/b:80", "A"), expected, "{tier}");
    }
}

#[test]
fn an_address_that_passes_to_another_pod_under_a_live_connection() {
    // y/b goes, and its addresses are those of a pod of z.
    let heir = pod_at("z/heir", "{pod: b}", "[]", &[V4, V6].map(|family| address("y/b", family)));
    let gone = pod_with("y/b", "{pod: b}", "containers: []", "phase: Succeeded");
    for (to, expected) in [("y", Err(DropReason::EgressDenied)), ("z", OK)] {
        let rule =
            "to: [{namespaceSelector: {matchExpressions: [{key: team, operator: In, values: ";
        let policy = on_a(&format!(
            "policyTypes: [Egress], egress: [{{{rule}[{to}, y]}}]}}}}], ports: [{{port: 80}}]}}]"
        ));
        let mut world = World::new(V4, &policy);
        assert_eq!(world.handshake("x/a:4000", "y/b:80"), OK);
        world.publish(&(policy + &gone + &heir));
        let next = world.tcp("x/a:4000", "y/b:80", "A");
        assert_eq!(next, expected, "the heir is in z, {to} and y are allowed");
    }
}

#[test]
fn a_pod_that_goes_under_a_live_connection() {
    let new = pod("x/new", "{}", "[]");
    let mut world = World::new(V4, &new);
    assert_eq!(world.handshake("x/new:4000", "y/b:80"), OK);
    assert_eq!(world.handshake("x/a:4000", "y/b:80"), OK);
    world.publish("");
    let unknown = Err(DropReason::UnknownEndpoint);
    assert_eq!(world.tcp("x/new:4000", "y/b:80", "A"), unknown);
    assert_eq!(world.tcp("y/b:80", "x/new:4000", "A"), unknown);
    assert_eq!(world.tcp("x/a:4000", "y/b:80", "A"), OK, "another pod's goes on");
    let quoted = tcp(V4, "x/new:4000", "y/b:80", "A");
    assert_eq!(world.error("y/b", "x/new", Error::TooBig, &quoted), unknown);
}
