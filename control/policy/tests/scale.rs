//! A large cluster compiles, and how long that takes.
//!
//! `cargo test --release -p sluice-policy --test scale -- --ignored --nocapture` prints times.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the helpers of a test fail as the test does"
)]

use std::net::{IpAddr, Ipv4Addr};

use sluice_policy::compile::{CompileOptions, Compiler, compile};
use sluice_policy::model::{
    Block, LabelSelector, Labels, NamedPort, Namespace, NetworkPolicy, Node, Peer, Pod, PolicyPort,
    PolicyType, Port, Protocol, Rule, RuleSet,
};
use sluice_policy::reach::{Family, reach};

/// How large a cluster is.
#[derive(Clone, Copy)]
struct Size {
    pods: u32,
    namespaces: u32,
    policies: u32,
    /// Whether every pod has a label of its own, as those of a StatefulSet do.
    unique_labels: bool,
}

#[test]
fn a_thousand_pods_and_two_hundred_policies_compile() {
    let size = Size { pods: 1_000, namespaces: 100, policies: 200, unique_labels: true };
    let table = compile(&cluster(size), &CompileOptions::default()).unwrap();
    assert_eq!(table.endpoints().count(), 1_000);
    assert_eq!(table.identities().count(), 1_000);
    assert_eq!(table.policies().count(), 200);
    assert!(table.identities().any(|(_, identity)| identity.ingress.network_policy.is_some()));
}

#[test]
#[ignore = "prints times; meant for a release build"]
#[expect(clippy::disallowed_methods, reason = "this measures the time")]
fn times() {
    for (pods, namespaces, policies) in
        [(1_000, 100, 200), (10_000, 1_000, 2_000), (10_000, 1, 2_000)]
    {
        for unique_labels in [false, true] {
            let rules = cluster(Size { pods, namespaces, policies, unique_labels });
            let start = std::time::Instant::now();
            let compiler = Compiler::with(rules, &CompileOptions::default(), 1).unwrap();
            let compiled = start.elapsed();
            println!(
                "{pods} pods, {namespaces} namespaces, {policies} policies: {compiled:?}; {:?}",
                compiler.size()
            );
            if pods == 1_000 {
                let start = std::time::Instant::now();
                let reach =
                    reach(compiler.table(), &[(Protocol::Tcp, 80)], Some(Family::V4), |_, _| {});
                println!("  reach of {} pods: {:?}", reach.pods.len(), start.elapsed());
            }
        }
    }
}

fn cluster(size: Size) -> RuleSet {
    let mut rules = RuleSet::default();
    for place in 0..size.namespaces {
        let level = ["secret", "top-secret", "open"][place as usize % 3];
        let labels = Labels::from([("level".to_owned(), level.to_owned())]);
        rules.insert(Namespace { name: format!("ns-{place}"), labels }).unwrap();
    }
    for place in 0..100u8 {
        let name = format!("node-{place}");
        let addresses = vec![Ipv4Addr::new(192, 0, 2, place).into()];
        rules.insert(Node { name, labels: Labels::new(), addresses }).unwrap();
    }
    for place in 0..size.pods {
        let mut pod = Pod::new(format!("ns-{}", place % size.namespaces), format!("pod-{place}"))
            .with_label("app", format!("app-{}", place % 50))
            .with_label("tier", ["front", "middle", "back"][place as usize % 3])
            .with_address(Ipv4Addr::from(0x0a00_0001 + place).into());
        if size.unique_labels {
            pod = pod.with_label("statefulset.kubernetes.io/pod-name", format!("pod-{place}"));
        }
        pod.node = Some(format!("node-{}", place % 100));
        pod.named_ports =
            vec![NamedPort { name: "http".to_owned(), protocol: Protocol::Tcp, port: 8080 }];
        rules.insert(pod).unwrap();
    }
    for place in 0..size.policies {
        rules.insert(policy(place, size.namespaces)).unwrap();
    }
    rules
}

/// One of five common shapes.
fn policy(place: u32, namespaces: u32) -> NetworkPolicy {
    let tcp = |port| PolicyPort { protocol: Protocol::Tcp, port };
    let peer = |pods, namespaces| Peer::Selectors { pods, namespaces };
    let app = || LabelSelector::label("app", format!("app-{}", place % 50));
    let (subject, peers, ports) = match place % 5 {
        0 => (LabelSelector::everything(), None, vec![]),
        1 => (
            app(),
            Some(peer(Some(LabelSelector::label("tier", "front")), None)),
            vec![tcp(Port::Number(80))],
        ),
        2 => (
            app(),
            Some(peer(None, Some(LabelSelector::label("level", "secret")))),
            vec![tcp(Port::Named("http".to_owned())), tcp(Port::Number(443))],
        ),
        3 => (
            LabelSelector::label("tier", "back"),
            Some(peer(Some(app()), Some(LabelSelector::everything()))),
            vec![tcp(Port::Range { first: 8000, last: 8999 })],
        ),
        _ => {
            let host: IpAddr = Ipv4Addr::from(0xc633_6400 | (place & 0xff)).into();
            let block = Block { cidr: host.into(), except: vec![] };
            (LabelSelector::everything(), Some(Peer::Block(block)), vec![])
        }
    };
    let rule = Rule { peers: peers.into_iter().collect::<Vec<_>>().into(), ports: ports.into() };
    let deny = place.is_multiple_of(5);
    let both = [PolicyType::Ingress, PolicyType::Egress];
    let list = Some(if deny { vec![] } else { vec![rule] });
    let types = if place.is_multiple_of(2) { &both[..] } else { &both[..1] };
    let namespace = format!("ns-{}", place % namespaces);
    NetworkPolicy::new(namespace, format!("policy-{place}"), subject, types, list.clone(), list)
}
