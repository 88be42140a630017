//! Large clusters, for benches: how many pods, namespaces and policies, all else follows.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::model::{
    Block, LabelSelector, Labels, NamedPort, Namespace, NetworkPolicy, Node, Peer, Pod, PolicyPort,
    PolicyType, Port, Protocol, Rule, RuleSet,
};

/// How large a cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Large {
    /// Pods, spread over 100 nodes and all namespaces.
    pub pods: u32,
    /// Namespaces.
    pub namespaces: u32,
    /// NetworkPolicies, spread over all namespaces.
    pub policies: u32,
    /// Whether every pod has a label of its own, as those of a StatefulSet do.
    pub unique_labels: bool,
}

/// A large cluster of five common shapes of policies, the same for the same size.
#[must_use]
pub fn large(size: Large) -> RuleSet {
    let mut rules = RuleSet::default();
    for place in 0..size.namespaces {
        let level = one_of(["secret", "top-secret", "open"], place);
        let labels = Labels::from([("level".to_owned(), level.to_owned())]);
        rules.replace(Namespace { name: format!("ns-{place}"), labels });
    }
    for place in 0..100u8 {
        let name = format!("node-{place}");
        let addresses = vec![Ipv4Addr::new(192, 0, 2, place).into()];
        rules.replace(Node { name, labels: Labels::new(), addresses });
    }
    for place in 0..size.pods {
        let mut pod = Pod::new(format!("ns-{}", place % size.namespaces), format!("pod-{place}"))
            .with_label("app", format!("app-{}", place % 50))
            .with_label("tier", one_of(["front", "middle", "back"], place))
            .with_address(Ipv4Addr::from(0x0a00_0001 + place).into());
        if size.unique_labels {
            pod = pod.with_label("statefulset.kubernetes.io/pod-name", format!("pod-{place}"));
        }
        pod.node = Some(format!("node-{}", place % 100));
        pod.named_ports =
            vec![NamedPort { name: "http".to_owned(), protocol: Protocol::Tcp, port: 8080 }];
        rules.replace(pod);
    }
    for place in 0..size.policies {
        rules.replace(policy(place, size.namespaces));
    }
    rules
}

/// A rule set whose policies name as many address blocks, in one namespace with a hundred
/// pods. Each policy has a thousand blocks, and every tenth block a hole.
#[must_use]
pub fn many_blocks(blocks: u32) -> RuleSet {
    const BLOCKS_A_POLICY: u32 = 1_000;
    let size = Large { pods: 100, namespaces: 1, policies: 0, unique_labels: false };
    let mut rules = large(size);
    for first in (0..blocks).step_by(BLOCKS_A_POLICY as usize) {
        let last = blocks.min(first + BLOCKS_A_POLICY);
        let peers: Vec<Peer> = (first..last).map(block).collect();
        let port = PolicyPort { protocol: Protocol::Tcp, port: Port::Number(443) };
        let rule = Rule { peers: peers.into(), ports: vec![port].into() };
        let subject = LabelSelector::label("app", format!("app-{}", first / BLOCKS_A_POLICY % 50));
        let types = [PolicyType::Egress];
        let name = format!("blocks-{first}");
        rules.replace(NetworkPolicy::new("ns-0", name, subject, &types, None, Some(vec![rule])));
    }
    rules
}

/// The block of a number: /16 to /28, within each other now and then.
fn block(number: u32) -> Peer {
    // Knuth's multiplicative hash spreads them over the addresses; it is its own kind of random.
    let bits = number.wrapping_mul(2_654_435_761);
    let len = 16 + u8::try_from(bits % 13).unwrap_or(0);
    let cidr = net(bits, len);
    let hole = net(cidr_first(cidr), len + 2);
    Peer::Block(Block {
        cidr,
        except: number.is_multiple_of(10).then_some(hole).into_iter().collect(),
    })
}

fn net(bits: u32, len: u8) -> IpNet {
    let net = Ipv4Net::new(Ipv4Addr::from(bits), len).unwrap_or_default();
    IpNet::V4(net.trunc())
}

fn cidr_first(net: IpNet) -> u32 {
    match net.network() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(_) => 0,
    }
}

fn one_of(words: [&str; 3], place: u32) -> &str {
    let [first, second, third] = words;
    match place % 3 {
        0 => first,
        1 => second,
        _ => third,
    }
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

#[cfg(test)]
mod tests {
    use sluice_core::table::{Direction, Identity, Tier};

    use super::*;
    use crate::compile::{CompileOptions, Compiler};

    #[test]
    fn a_thousand_pods_and_two_hundred_policies_compile() {
        let size = Large { pods: 1_000, namespaces: 100, policies: 200, unique_labels: true };
        let compiler = Compiler::with(large(size), &CompileOptions::default(), 1).unwrap();
        let table = compiler.table();
        assert_eq!((table.endpoints().count(), table.policies().count()), (1_000, 200));
        assert_eq!(compiler.size().identities, 1_000);
        let is_isolated = |it: &Identity| it.set(Direction::Ingress, Tier::NetworkPolicy).is_some();
        assert!(table.identities().any(|(_, it)| is_isolated(it)));
    }

    #[test]
    fn blocks_are_distinct_and_valid() {
        let compiler = Compiler::with(many_blocks(2_500), &CompileOptions::default(), 1).unwrap();
        assert!(compiler.size().blocks > 2_400, "{:?}", compiler.size());
    }
}
