//! What a test is given: a small cluster, policies as text, and questions to its table.
//!
//! | | |
//! |---|---|
//! | x/a, x/b | run on n1, which is this node; namespace x has no object |
//! | y/a, y/b | run on n2; namespace y has the label `team: y` |
//! | z/a | runs on n2; namespace z has the label `team: z` |
//! | outside | an address that nobody in the cluster has |
//!
//! Each has an IPv4 and an IPv6 address. The label `pod` is the pod's name; `tier` is `web` for
//! y/a, `db` for x/b and z/a, and the others lack it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use sluice_core::address::NetworkId;
use sluice_core::policy::{Attempt, DYNAMIC_PORT, Decision};
use sluice_core::ports::{ICMP, ICMPV6};
use sluice_core::table::Table;
use sluice_policy::compile::{CompileOptions, compile};
use sluice_policy::model::{Protocol, RuleSet};
use sluice_policy::validate::validate;
use sluice_sources::manifest::{Manifest, ManifestOptions, parse};

/// Which of its addresses everybody uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

pub(crate) use Family::{V4, V6};

/// Everybody but this node, to which another rule applies.
pub(crate) const EVERYBODY: [&str; 7] = ["x/a", "x/b", "y/a", "y/b", "z/a", "n2", "outside"];

/// The last byte of the addresses; pods that are not in the cluster at first have one too.
const PLACES: [(&str, u8); 9] = [
    ("x/a", 1),
    ("x/b", 2),
    ("y/a", 3),
    ("y/b", 4),
    ("z/a", 5),
    ("x/new", 6),
    ("y/new", 7),
    ("n1", 11),
    ("n2", 12),
];

/// The address of somebody by name, or the one that is written there.
pub(crate) fn address(who: &str, family: Family) -> IpAddr {
    let last = PLACES.iter().find(|(name, _)| *name == who).map(|(_, last)| *last);
    match (who, last, family) {
        (_, Some(last), V4) => Ipv4Addr::new(10, 0, 0, last).into(),
        (_, Some(last), V6) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()).into(),
        ("outside", None, V4) => Ipv4Addr::new(203, 0, 113, 9).into(),
        ("outside", None, V6) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9).into(),
        (written, None, _) => written.parse().unwrap(),
    }
}

fn base() -> String {
    [
        namespace("y", "{team: y}"),
        namespace("z", "{team: z}"),
        node("n1", "{role: worker}"),
        node("n2", "{role: edge}"),
        pod("x/a", "{pod: a}", "[{name: web, containerPort: 80}]"),
        pod("x/b", "{pod: b, tier: db}", "[{name: web, containerPort: 81}]"),
        pod("y/a", "{pod: a, tier: web}", "[{name: web, containerPort: 80, protocol: UDP}]"),
        pod("y/b", "{pod: b}", "[]"),
        pod("z/a", "{pod: a, tier: db}", "[{name: web, containerPort: 8080}]"),
    ]
    .concat()
}

pub(crate) fn namespace(name: &str, labels: &str) -> String {
    format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {labels}}}\n")
}

pub(crate) fn node(name: &str, labels: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {labels}}}\n\
         status: {{addresses: [{{type: InternalIP, address: {}}}, \
         {{type: InternalIP, address: '{}'}}]}}\n",
        address(name, V4),
        address(name, V6)
    )
}

/// A pod with both of its addresses, `ports` being those of its container.
pub(crate) fn pod(name: &str, labels: &str, ports: &str) -> String {
    let addresses = [V4, V6].map(|family| address(name, family));
    pod_at(name, labels, ports, &addresses)
}

/// A pod with these addresses.
pub(crate) fn pod_at(name: &str, labels: &str, ports: &str, addresses: &[IpAddr]) -> String {
    let ips: Vec<String> = addresses.iter().map(|it| format!("{{ip: '{it}'}}")).collect();
    let spec = format!("containers: [{{name: c, ports: {ports}}}]");
    pod_with(name, labels, &spec, &format!("podIPs: [{}]", ips.join(", ")))
}

/// A pod with this in its spec and its status.
pub(crate) fn pod_with(name: &str, labels: &str, spec: &str, status: &str) -> String {
    let (namespace, pod) = name.split_once('/').unwrap();
    let node = if namespace == "x" { "n1" } else { "n2" };
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{namespace: {namespace}, name: {pod}, \
         labels: {labels}}}\nspec: {{nodeName: {node}, {spec}}}\nstatus: {{{status}}}\n"
    )
}

/// A NetworkPolicy; `spec` is what stands between the braces.
pub(crate) fn policy(name: &str, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{namespace: {namespace}, name: {name}}}\nspec: {{{spec}}}\n"
    )
}

/// A NetworkPolicy for x/a alone.
pub(crate) fn on_a(spec: &str) -> String {
    policy("x/on-a", &format!("podSelector: {{matchLabels: {{pod: a}}}}, {spec}"))
}

/// A ClusterNetworkPolicy of priority 10 for all pods of the namespace x.
pub(crate) fn cluster_policy(tier: &str, rules: &str) -> String {
    let name = tier.to_lowercase();
    cluster_policy_for(
        &name,
        tier,
        10,
        "namespaces: {matchLabels: {kubernetes.io/metadata.name: x}}",
        rules,
    )
}

pub(crate) fn cluster_policy_for(
    name: &str,
    tier: &str,
    priority: i32,
    subject: &str,
    rules: &str,
) -> String {
    format!(
        "---\napiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\n\
         metadata: {{name: {name}}}\nspec: {{tier: {tier}, priority: {priority}, \
         subject: {{{subject}}}, {rules}}}\n"
    )
}

/// The rule set of the cluster and `yaml`, whose objects take the place of those with the same
/// name. Whatever has no effect is a fault.
pub(crate) fn rules(yaml: &str) -> RuleSet {
    let mut rules = RuleSet::default();
    for text in [&base(), yaml] {
        let Manifest { objects, warnings, faults } = read(text, true);
        assert_eq!((faults, warnings), (vec![], vec![]), "{text}");
        for located in objects {
            rules.replace(located.object);
        }
    }
    rules
}

pub(crate) fn read(yaml: &str, strict: bool) -> Manifest {
    parse(Path::new("m.yaml"), yaml, ManifestOptions { strict })
}

/// The fields for which `yaml` is refused.
pub(crate) fn refused(yaml: &str) -> Vec<String> {
    let manifest = read(yaml, true);
    if !manifest.faults.is_empty() {
        return manifest.faults.into_iter().map(|fault| fault.field).collect();
    }
    let mut rules = RuleSet::default();
    for located in manifest.objects {
        rules.insert(located.object).unwrap();
    }
    validate(&rules).into_iter().map(|fault| fault.field).collect()
}

pub(crate) const NOTHING: [&str; 0] = [];

pub(crate) fn options() -> CompileOptions {
    CompileOptions { local_node: Some("n1".to_owned()) }
}

/// The table of [`rules`].
pub(crate) fn cluster(yaml: &str) -> Table {
    compile(&rules(yaml), &options()).unwrap()
}

/// What the two ends say of a connection. `ICMP` has no port, whatever `port` is.
pub(crate) fn decide(
    table: &Table,
    family: Family,
    from: &str,
    to: &str,
    protocol: &str,
    port: u16,
) -> Decision {
    let (protocol, port) = match (protocol, family) {
        ("ICMP", V4) => (ICMP, None),
        ("ICMP", V6) => (ICMPV6, None),
        (named, _) => (named.parse::<Protocol>().unwrap().number(), Some(port)),
    };
    let (source, destination) = (address(from, family), address(to, family));
    let (network, source_port) = (NetworkId::DEFAULT, port.map(|_| DYNAMIC_PORT));
    table.decide(&Attempt { network, source, destination, protocol, source_port, port })
}

pub(crate) fn allows_over(
    family: Family,
    table: &Table,
    from: &str,
    to: &str,
    protocol: &str,
    port: u16,
) -> bool {
    decide(table, family, from, to, protocol, port).allows()
}

pub(crate) fn allows(table: &Table, from: &str, to: &str, protocol: &str, port: u16) -> bool {
    allows_over(V4, table, from, to, protocol, port)
}

/// Who of the others may open TCP 80 to `to`.
pub(crate) fn sources(table: &Table, to: &str) -> Vec<&'static str> {
    let others = EVERYBODY.into_iter().filter(|from| *from != to);
    others.filter(|from| allows(table, from, to, "TCP", 80)).collect()
}

/// To whom of the others `from` may open TCP 80.
pub(crate) fn targets(table: &Table, from: &str) -> Vec<&'static str> {
    let others = EVERYBODY.into_iter().filter(|to| *to != from);
    others.filter(|to| allows(table, from, to, "TCP", 80)).collect()
}

/// Everybody but x/a.
pub(crate) const OTHERS: [&str; 6] = ["x/b", "y/a", "y/b", "z/a", "n2", "outside"];

/// Whom a list of peers admits to x/a. The same list in an egress rule must let x/a reach just
/// those.
pub(crate) fn admitted(peers: &str) -> Vec<&'static str> {
    let ingress = on_a(&format!("policyTypes: [Ingress], ingress: [{{from: {peers}}}]"));
    let egress = on_a(&format!("policyTypes: [Egress], egress: [{{to: {peers}}}]"));
    let admitted = sources(&cluster(&ingress), "x/a");
    assert_eq!(targets(&cluster(&egress), "x/a"), admitted, "egress to {peers}");
    admitted
}

/// Which of `candidates` a list of ports admits to x/a. The same list in an egress rule must let
/// x/a reach just those.
pub(crate) fn open(ports: &str, protocol: &str, candidates: &[u16]) -> Vec<u16> {
    let ingress = cluster(&on_a(&format!("policyTypes: [Ingress], ingress: [{{ports: {ports}}}]")));
    let egress = cluster(&on_a(&format!("policyTypes: [Egress], egress: [{{ports: {ports}}}]")));
    let of = |table, from: &str, to: &str| -> Vec<u16> {
        let candidates = candidates.iter().copied();
        candidates.filter(|port| allows(table, from, to, protocol, *port)).collect()
    };
    let open = of(&ingress, "outside", "x/a");
    assert_eq!(of(&egress, "x/a", "outside"), open, "egress to {protocol} {ports}");
    open
}

/// Who may open TCP 80 to whom, and who may not any more: `+from to` and `-from to`.
pub(crate) fn differences(before: &Table, after: &Table) -> Vec<String> {
    let mut differences = Vec::new();
    let everybody = || EVERYBODY.into_iter().chain(["x/new", "y/new"]);
    for (from, to) in everybody().flat_map(|from| everybody().map(move |to| (from, to))) {
        match [before, after].map(|table| allows(table, from, to, "TCP", 80)) {
            [false, true] => differences.push(format!("+{from} {to}")),
            [true, false] => differences.push(format!("-{from} {to}")),
            _ => {}
        }
    }
    differences
}
