//! Differences of small clusters, and completeness against the tables themselves.

use std::collections::BTreeSet;
use std::net::IpAddr;

use sluice_core::address::NetworkId;
use sluice_core::policy::Attempt;
use sluice_core::ports::{ICMP, ICMPV6, SCTP, TCP, UDP};
use sluice_core::table::Party;

use super::*;
use crate::compile::{CompileOptions, compile};
use crate::model::{
    Action, Block, ClusterNetworkPolicy, ClusterPeer, ClusterPorts, ClusterRule, LabelSelector,
    NamespacedPods, NetworkPolicy, Node, Object, Peer, Pod, PolicyPort, PolicyType, Port, Protocol,
    Rule, RuleSet, Tier,
};
use crate::oracle::generate;

const ALL: usize = usize::MAX / 4;

/// shop/web, shop/db and shop/batch, and what `objects` add.
fn table(objects: impl IntoIterator<Item = Object>) -> Table {
    let mut rules = RuleSet::default();
    for (name, last) in [("web", 1), ("db", 2), ("batch", 3)] {
        let pod = Pod::new("shop", name).with_label("app", name);
        rules.insert(pod.with_address([10, 0, 0, last].into())).unwrap();
    }
    for object in objects {
        rules.replace(object);
    }
    compile(&rules, &CompileOptions::default()).unwrap()
}

fn to_db(peers: Vec<Peer>, port: Port) -> Object {
    let port = PolicyPort { protocol: Protocol::Tcp, port };
    let rule = Rule { peers: peers.into(), ports: vec![port].into() };
    let types = [PolicyType::Ingress];
    let db = LabelSelector::label("app", "db");
    NetworkPolicy::new("shop", "db", db, &types, Some(vec![rule]), None).into()
}

fn app(name: &str) -> Peer {
    Peer::Selectors { pods: Some(LabelSelector::label("app", name)), namespaces: None }
}

fn lines(diff: &Diff) -> Vec<String> {
    let line = |it: &VerdictChange| {
        let ports = it.ports.map(|(first, last)| format!(" {first}-{last}")).unwrap_or_default();
        format!("{} > {}: {}{ports}: {} -> {}", it.from, it.to, it.protocol, it.before, it.after)
    };
    diff.verdicts.iter().map(line).collect()
}

#[test]
fn nothing_differs_between_equal_tables() {
    let of = || table([to_db(vec![app("web")], Port::Number(5432))]);
    assert_eq!(diff(&of(), &of(), ALL, |_, _| true).unwrap(), Diff::default());
}

#[test]
fn a_wider_range_shows_as_the_ports_that_it_adds() {
    let before = table([to_db(vec![app("web")], Port::Number(5432))]);
    let after = table([to_db(vec![app("web")], Port::Range { first: 5400, last: 5500 })]);
    assert_eq!(
        lines(&diff(&before, &after, ALL, |_, _| true).unwrap()),
        [
            "shop/web > shop/db: TCP 5400-5431: drop -> allow",
            "shop/web > shop/db: TCP 5433-5500: drop -> allow",
        ]
    );
}

#[test]
fn isolation_shows_for_every_source_and_what_is_outside() {
    let after = table([to_db(vec![app("web")], Port::Number(5432))]);
    let found = diff(&table([]), &after, ALL, |_, _| true).unwrap();
    let expected = [
        "elsewhere outside (IPv4) > shop/db: any: allow -> drop",
        "shop/batch > shop/db: any: allow -> drop",
        "shop/web > shop/db: TCP 0-5431: allow -> drop",
        "shop/web > shop/db: TCP 5433-65535: allow -> drop",
        "shop/web > shop/db: UDP 0-65535: allow -> drop",
        "shop/web > shop/db: SCTP 0-65535: allow -> drop",
        "shop/web > shop/db: other: allow -> drop",
    ];
    let sorted: BTreeSet<_> = expected.iter().map(ToString::to_string).collect();
    assert_eq!(lines(&found).into_iter().collect::<BTreeSet<_>>(), sorted);
    assert_eq!(found.verdicts_total, 7);

    let cut = diff(&table([]), &after, 2, |_, _| true).unwrap();
    assert_eq!((cut.verdicts.len(), cut.verdicts_total), (2, 7));
    assert_eq!(cut.verdicts, found.verdicts[..2]);
}

#[test]
fn a_block_that_moves_is_named_by_its_addresses() {
    let block = |cidr: &str| Peer::Block(Block { cidr: cidr.parse().unwrap(), except: vec![] });
    let before = table([to_db(vec![block("203.0.113.0/25")], Port::Number(1))]);
    let after = table([to_db(vec![block("203.0.113.0/24")], Port::Number(1))]);
    assert_eq!(
        lines(&diff(&before, &after, ALL, |_, _| true).unwrap()),
        ["203.0.113.128/25 > shop/db: TCP 1-1: drop -> allow"]
    );
}

#[test]
fn pods_that_come_and_go_are_told_apart_from_verdicts() {
    let new = Pod::new("shop", "new").with_address([10, 0, 0, 9].into());
    let found = diff(&table([]), &table([new.into()]), ALL, |_, _| true).unwrap();
    assert_eq!(found.pods_added, ["shop/new"]);
    let back =
        diff(&table([Pod::new("shop", "old").into()]), &table([]), ALL, |_, _| true).unwrap();
    assert_eq!((back.pods_removed, back.verdicts_total), (vec!["shop/old".to_owned()], 0));
}

#[test]
fn a_node_that_goes_shows_at_its_address() {
    let guard = ClusterNetworkPolicy {
        name: "guard".to_owned(),
        tier: Tier::Admin,
        priority: 0,
        subject: NamespacedPods::default(),
        ingress: vec![],
        egress: vec![ClusterRule {
            name: String::new(),
            action: Action::Deny,
            peers: vec![ClusterPeer::Nodes(LabelSelector::everything())],
            ports: ClusterPorts::All,
        }],
    };
    let node = Node {
        name: "other".to_owned(),
        addresses: vec!["192.0.2.1".parse().unwrap()],
        ..Node::default()
    };
    let before = table([guard.clone().into(), node.into()]);
    let found = diff(&before, &table([guard.into()]), ALL, |_, _| true).unwrap();
    let expected =
        ["batch", "db", "web"].map(|pod| format!("shop/{pod} > node other: any: drop -> allow"));
    assert_eq!(lines(&found), expected);
}

#[test]
fn a_pod_that_changes_its_ip_version_comes_and_goes() {
    let web = |address: &str| Pod::new("shop", "x").with_address(address.parse().unwrap());
    let (before, after) = (table([web("10.0.0.9").into()]), table([web("fd00::9").into()]));
    let found = diff(&before, &after, ALL, |_, _| true).unwrap();
    assert_eq!(found.pods_added, ["shop/x (IPv6)"]);
    assert_eq!(found.pods_removed, ["shop/x (IPv4)"]);
}

#[test]
fn it_stops_when_it_is_told_to() {
    assert_eq!(diff(&table([]), &table([]), ALL, |_, _| false), Err(Stopped));
}

/// Whatever attempt two random tables judge differently is in their diff, and what is in the diff
/// the tables do judge differently.
#[test]
fn a_diff_is_complete_and_true() {
    let options = CompileOptions { local_node: Some(generate::LOCAL_NODE.to_owned()) };
    let mut seen = 0;
    for seed in 0..250 {
        let rules = generate::cluster(seed);
        let mut compiler = crate::compile::Compiler::with(rules.clone(), &options, 1).unwrap();
        let before = compiler.table().clone();
        for step in 0..3 {
            let change = generate::change(compiler.rules(), seed * 3 + step);
            compiler.apply(change, 2).unwrap();
        }
        let after = compiler.table();
        let found = diff(&before, after, ALL, |_, _| true).unwrap();
        let mut attempts = generate::attempts(&rules, seed, 60);
        attempts.extend(generate::attempts(compiler.rules(), seed, 60));
        for attempt in attempts {
            let (Some(source), Some(destination)) = (
                common(&before, after, attempt.source),
                common(&before, after, attempt.destination),
            ) else {
                continue;
            };
            let policies_allow = |table: &Table| {
                let decision = table.decide(&attempt);
                decision.egress.allows() && decision.ingress.allows()
            };
            let (now, then) = (policies_allow(&before), policies_allow(after));
            if source == destination && source.starts_with("pod ") {
                continue;
            }
            // Long lists of addresses are cut, and the attempt may lie in what is not named.
            if found.verdicts.iter().any(|it| format!("{} {}", it.from, it.to).contains(" more")) {
                continue;
            }
            let listed = found.verdicts.iter().find(|it| {
                covers(it, &attempt)
                    && is_named(&it.from, &source, attempt.source)
                    && is_named(&it.to, &destination, attempt.destination)
            });
            match listed {
                Some(it) => {
                    assert_ne!(now, then, "seed {seed}: {attempt:?} does not differ, but {it:?}");
                    assert_eq!(it.before == Verdict::Allow, now, "seed {seed}: {attempt:?} {it:?}");
                    seen += 1;
                }
                None => assert_eq!(now, then, "seed {seed}: {attempt:?} is missing"),
            }
        }
    }
    assert!(seen > 100, "only {seen} differences");
}

/// What both tables call the holder of an address; `None` where they do not agree, or the
/// pod has several addresses of the family.
fn common(before: &Table, after: &Table, address: IpAddr) -> Option<String> {
    let name = |table: &Table| match table.party(NetworkId::DEFAULT, address) {
        Party::Pod(id) => {
            let pod = table.endpoint(id).unwrap();
            let alike = pod.addresses.iter().filter(|it| it.is_ipv4() == address.is_ipv4());
            (alike.count() == 1).then(|| format!("pod {}", pod.name))
        }
        Party::Node(id) => {
            let node = table.node(id).unwrap();
            let alike = node.addresses.iter().filter(|it| it.is_ipv4() == address.is_ipv4());
            (alike.count() == 1).then(|| format!("node {}", node.name))
        }
        Party::External => {
            let in_block = [before, after].iter().any(|table| {
                let blocks = table.blocks();
                blocks.around(address).flatten().any(|block| !blocks.is_hole(*block, address))
            });
            Some(if in_block { "outside" } else { "elsewhere" }.to_owned())
        }
    };
    name(before).filter(|it| Some(it) == name(after).as_ref())
}

fn is_named(listed: &str, common: &str, address: IpAddr) -> bool {
    match common.split_once(' ') {
        Some(("pod", name)) => listed == name,
        Some(_) => listed == common,
        None if common == "elsewhere" => {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            listed.starts_with("elsewhere") && listed.contains(family)
        }
        None => listed.split(' ').any(|word| match word.split_once('-') {
            Some((first, last)) => {
                let range = first.parse::<IpAddr>().unwrap()..=last.parse::<IpAddr>().unwrap();
                range.contains(&address)
            }
            None => word.parse::<ipnet::IpNet>().is_ok_and(|net| net.contains(&address)),
        }),
    }
}

fn covers(change: &VerdictChange, attempt: &Attempt) -> bool {
    let family = if attempt.source.is_ipv4() { "IPv4" } else { "IPv6" };
    if ![family, "both"].contains(&&*change.family) {
        return false;
    }
    let name = match attempt.protocol {
        TCP => "TCP",
        UDP => "UDP",
        SCTP => "SCTP",
        ICMP | ICMPV6 => "other",
        _ => "other",
    };
    let within = match (change.ports, attempt.port) {
        (Some((first, last)), Some(port)) => (first..=last).contains(&port),
        (None, _) => true,
        (Some(_), None) => false,
    };
    change.protocol == "any" || (change.protocol == name && within)
}
