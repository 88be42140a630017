//! Rules 23, 24, 28 and 30: replies, ICMP, and what a change does to a live connection.

use sluice_core::drop::DropReason;
use sluice_core::judge::Established;

use crate::given::*;
use crate::wire::{Echo, Error, World, echo, udp};

const OK: sluice_core::judge::Verdict = Ok(());

/// x/a may ask y for TCP 80, UDP 53 and SCTP 9. Nobody may ask x/a anything, and y may ask nobody.
fn one_way() -> [String; 2] {
    let ports = "[{port: 80}, {protocol: UDP, port: 53}, {protocol: SCTP, port: 9}]";
    let to_y =
        format!("[{{to: [{{namespaceSelector: {{matchLabels: {{team: y}}}}}}], ports: {ports}}}]");
    let network_policies = on_a(&format!("policyTypes: [Ingress, Egress], egress: {to_y}"))
        + &policy("y/none", "policyTypes: [Egress]");

    let number =
        |protocol, port| format!("{{{protocol}: {{destinationPort: {{number: {port}}}}}}}");
    let protocols = [number("tcp", 80), number("udp", 53), number("sctp", 9)].join(", ");
    let all = "[{networks: ['0.0.0.0/0', '::/0']}]";
    let admin = cluster_policy(
        "Admin",
        &format!(
            "ingress: [{{action: Deny, from: [{{namespaces: {{}}}}]}}], \
             egress: [{{action: Accept, to: [{{namespaces: {{matchLabels: {{team: y}}}}}}], \
             protocols: [{protocols}]}}, {{action: Deny, to: {all}}}]"
        ),
    );
    let rules = format!("egress: [{{action: Deny, to: {all}}}]");
    let of_y = cluster_policy_for("y", "Admin", 20, "namespaces: {matchLabels: {team: y}}", &rules);
    [network_policies, admin + &of_y]
}

/// Worlds in which x/a may ask and be asked so, over both IP versions, by both kinds of policies.
fn worlds() -> impl Iterator<Item = World> {
    let pairs = [V4, V6].into_iter().flat_map(|family| one_way().map(|yaml| (family, yaml)));
    pairs.map(|(family, yaml)| World::new(family, &yaml))
}

#[test]
fn rule_23_replies_pass_though_the_reverse_is_denied() {
    for mut world in worlds() {
        assert_eq!(world.handshake("x/a:4000", "y/b:80"), OK);
        assert_eq!(world.tcp("y/b:80", "x/a:4000", "A"), OK, "data comes back");
        assert_eq!(world.tcp("y/b:80", "x/a:4000", "FA"), OK, "and the end of it");
        assert_eq!(world.udp("x/a:4000", "y/b:53"), OK);
        assert_eq!(world.udp("y/b:53", "x/a:4000"), OK, "an answer");
        assert_eq!(world.sctp("x/a:4000", "y/b:9"), OK);
        assert_eq!(world.sctp_answer("y/b:9", "x/a:4000"), OK, "an answer");
    }
}

#[test]
fn rule_23_what_only_looks_like_a_reply_does_not_pass() {
    for mut world in worlds() {
        let not_asked = world.tcp("y/b:80", "x/a:4000", "SA");
        assert_eq!(not_asked, Err(DropReason::NoConnection), "nobody has asked");
        assert_eq!(world.handshake("x/a:4000", "y/b:80"), OK);
        for (from, to) in [("y/b:81", "x/a:4000"), ("y/b:80", "x/a:4001"), ("y/a:80", "x/a:4000")] {
            let stray = world.tcp(from, to, "A");
            assert_eq!(stray, Err(DropReason::NoConnection), "{from} to {to}: another connection");
        }
        let reverse = world.tcp("y/b:80", "x/a:4000", "S");
        assert_eq!(reverse, Err(DropReason::EgressDenied), "the same ports, but asking");
        assert_eq!(world.udp("y/b:53", "x/a:4000"), Err(DropReason::EgressDenied), "not asked");
    }
}

#[test]
fn rule_23_icmp_errors_ride_on_the_connection_that_they_are_about() {
    for mut world in worlds() {
        let query = udp(world.family, "x/a:4000", "y/b:53");
        let other = udp(world.family, "x/a:4000", "y/b:54");
        let early = world.error("y/b", "x/a", Error::NoPort, &query);
        assert_eq!(early, Err(DropReason::UnrelatedIcmp), "there is no connection yet");
        assert_eq!(world.udp("x/a:4000", "y/b:53"), OK);
        assert_eq!(world.error("y/b", "x/a", Error::NoPort, &query), OK, "from who was asked");
        assert_eq!(world.error("outside", "x/a", Error::TooBig, &query), OK, "from a router");
        let about_another = world.error("y/b", "x/a", Error::NoPort, &other);
        assert_eq!(about_another, Err(DropReason::UnrelatedIcmp), "about another connection");
        let to_another = world.error("y/b", "x/b", Error::NoPort, &query);
        assert_eq!(to_another, Err(DropReason::UnrelatedIcmp), "to who has not asked");
    }
}

fn to_y(ports: &str) -> String {
    let peers = "[{namespaceSelector: {matchLabels: {team: y}}}]";
    on_a(&format!("policyTypes: [Ingress, Egress], egress: [{{to: {peers}, ports: {ports}}}]"))
}

/// Kubernetes leaves it open. Here the next packet of either side is judged anew, unless the
/// configuration says otherwise.
#[test]
fn rule_24_a_connection_that_a_change_denies_stops_at_its_next_packet() {
    assert_eq!(Established::default(), Established::Recheck);
    for (family, by_client) in [(V4, true), (V4, false), (V6, true), (V6, false)] {
        let mut world = World::new(family, &to_y("[{port: 80}, {port: 81}]"));
        assert_eq!(world.handshake("x/a:4000", "y/b:80"), OK);
        assert_eq!(world.handshake("x/a:4000", "y/b:81"), OK);
        world.publish(&to_y("[{port: 81}]"));
        let stopped = match by_client {
            true => world.tcp("x/a:4000", "y/b:80", "A"),
            false => world.tcp("y/b:80", "x/a:4000", "A"),
        };
        assert_eq!(stopped, Err(DropReason::EgressDenied), "by the client: {by_client}");
        assert_eq!(world.tcp("y/b:81", "x/a:4000", "A"), OK, "the other is allowed still");
        world.publish(&to_y("[{port: 80}, {port: 81}]"));
        let gone = world.tcp("x/a:4000", "y/b:80", "A");
        assert_eq!(gone, Err(DropReason::NoConnection), "it is over for good");
        assert_eq!(world.tcp("x/a:4000", "y/b:80", "S"), OK, "a new one may begin");
    }
}

#[test]
fn rule_24_a_connection_is_judged_anew_as_it_was_opened() {
    let mut world = World::new(V4, "");
    assert_eq!(world.handshake("x/a:4000", "y/b:80"), OK);
    assert_eq!(world.udp("y/b:4000", "x/a:53"), OK);
    world.publish(&on_a("policyTypes: [Ingress]"));
    assert_eq!(world.tcp("y/b:80", "x/a:4000", "A"), OK, "x/a has asked, and may");
    let asked = world.udp("x/a:53", "y/b:4000");
    assert_eq!(asked, Err(DropReason::IngressDenied), "x/a answers who may not ask");
}

#[test]
fn rule_24_keep_lets_connections_live_on_and_no_others_begin() {
    for family in [V4, V6] {
        let mut world = World::new(family, &to_y("[{port: 80}, {protocol: UDP}]"));
        world.established = Established::Keep;
        assert_eq!(world.handshake("x/a:4000", "y/b:80"), OK);
        assert_eq!(world.udp("x/a:4000", "y/b:53"), OK);
        assert_eq!(world.udp("y/b:53", "x/a:4000"), OK);
        world.publish(&on_a("policyTypes: [Ingress, Egress]"));
        assert_eq!(world.tcp("x/a:4000", "y/b:80", "A"), OK);
        assert_eq!(world.tcp("y/b:80", "x/a:4000", "A"), OK);
        assert_eq!(world.udp("y/b:53", "x/a:4000"), OK);
        let new = world.tcp("x/a:4001", "y/b:80", "S");
        assert_eq!(new, Err(DropReason::EgressDenied), "a new one");
        assert_eq!(world.tcp("x/a:4000", "y/b:80", "RA"), OK);
        let again = world.tcp("x/a:4000", "y/b:80", "S");
        assert_eq!(again, Err(DropReason::EgressDenied), "the same ports after its end");
    }
}

/// Kubernetes leaves ICMP open for NetworkPolicies. Here it is isolated with all the rest, and
/// admitted by rules that do not speak of ports.
#[test]
fn rule_28_icmp_is_isolated_and_admitted_by_rules_without_ports() {
    for family in [V4, V6] {
        let from_y = "from: [{namespaceSelector: {matchLabels: {team: y}}}]";
        for (rules, expected) in [
            ("".to_owned(), Err(DropReason::IngressDenied)),
            (format!("{{{from_y}}}"), OK),
            (
                format!("{{{from_y}, ports: [{{}}, {{protocol: UDP}}]}}"),
                Err(DropReason::IngressDenied),
            ),
            ("{from: [{podSelector: {}}]}".to_owned(), Err(DropReason::IngressDenied)),
        ] {
            let ingress = on_a(&format!("policyTypes: [Ingress], ingress: [{rules}]"));
            let mut world = World::new(family, &ingress);
            assert_eq!(world.ping("y/b", "x/a", Echo::Request), expected, "{rules}");
            let reply = if expected == OK { OK } else { Err(DropReason::NoConnection) };
            assert_eq!(world.ping("x/a", "y/b", Echo::Reply), reply, "the reply: {rules}");
        }
    }
}

#[test]
fn rule_28_networks_of_cluster_policies_match_icmp_of_their_ip_version() {
    let deny = |networks: &str, more: &str| {
        let to = format!("to: [{{networks: [{networks}]}}]");
        cluster_policy("Admin", &format!("egress: [{{action: Deny, {to}{more}}}]"))
    };
    let tcp = ", protocols: [{tcp: {destinationPort: {number: 80}}}]";
    for (rules, v4, v6) in [
        (deny("10.0.0.0/24", ""), false, true),
        (deny("'fd00::/64'", ""), true, false),
        (deny("0.0.0.0/0, '::/0'", ""), false, false),
        (deny("10.1.0.0/24, 'fd01::/64'", ""), true, true),
        (deny("0.0.0.0/0, '::/0'", tcp), true, true),
    ] {
        for (family, passes) in [(V4, v4), (V6, v6)] {
            let mut world = World::new(family, &rules);
            let expected = if passes { OK } else { Err(DropReason::EgressDenied) };
            assert_eq!(world.ping("x/a", "y/b", Echo::Request), expected, "{family:?}: {rules}");
        }
    }
}

#[test]
fn rule_28_errors_about_the_size_of_packets_pass_whatever_the_policies() {
    let nothing_in = "podSelector: {}, policyTypes: [Ingress]";
    for family in [V4, V6] {
        let mut world = World::new(family, &policy("x/none", nothing_in));
        assert_eq!(world.handshake("x/a:4000", "outside:443"), OK);
        let sent = crate::wire::tcp(family, "x/a:4000", "outside:443", "A");
        let too_big = world.error("n2", "x/a", Error::TooBig, &sent);
        assert_eq!(too_big, OK, "a router on the way, whose pings are denied:");
        let ping = world.ping("n2", "x/a", Echo::Request);
        assert_eq!(ping, Err(DropReason::IngressDenied));
        let asked = echo(family, "x/a", "outside", Echo::Request);
        assert_eq!(world.ping("x/a", "outside", Echo::Request), OK);
        assert_eq!(world.error("n2", "x/a", Error::TooBig, &asked), OK, "about a ping");
        let forged = crate::wire::tcp(family, "x/a:4001", "outside:443", "A");
        let unrelated = world.error("n2", "x/a", Error::TooBig, &forged);
        assert_eq!(unrelated, Err(DropReason::UnrelatedIcmp), "about what was never sent");
    }
}

#[test]
fn rule_30_what_is_denied_vanishes_and_nothing_can_answer() {
    for family in [V4, V6] {
        let ingress = "policyTypes: [Ingress], ingress: [{ports: [{port: 80}]}]";
        let mut world = World::new(family, &on_a(ingress));
        let denied = Err(DropReason::IngressDenied);
        assert_eq!(world.tcp("y/b:4000", "x/a:81", "S"), denied);
        assert_eq!(world.udp("y/b:4000", "x/a:81"), denied);
        assert_eq!(world.sctp("y/b:4000", "x/a:81"), denied);
        assert_eq!(world.ping("y/b", "x/a", Echo::Request), denied);
        assert!(world.connections.is_empty(), "a denial leaves nothing to reply on");
        let refusal = world.tcp("x/a:81", "y/b:4000", "RA");
        assert_eq!(refusal, Err(DropReason::NoConnection), "no refusal in its name");
        let asked = udp(family, "y/b:4000", "x/a:81");
        let no_port = world.error("x/a", "y/b", Error::NoPort, &asked);
        assert_eq!(no_port, Err(DropReason::UnrelatedIcmp), "and no error about it");
    }
}

#[test]
fn rule_30_what_is_allowed_is_refused_by_the_pod_itself() {
    for family in [V4, V6] {
        let mut world = World::new(family, &on_a("ingress: [{ports: [{port: 80}]}]"));
        assert_eq!(world.tcp("y/b:4000", "x/a:80", "S"), OK);
        assert_eq!(world.tcp("x/a:80", "y/b:4000", "RA"), OK, "nobody listens there");
    }
}
