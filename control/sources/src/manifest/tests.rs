//! Manifests as people write them, and what is said of those that are wrong.

mod access_list;
mod cluster;

use sluice_policy::model::{
    LabelSelector, NamedPort, NetworkPolicy, Operator, Peer, Peers, Pod, PolicyPort, Port, Ports,
    Protocol, Rule,
};

use super::*;

fn read(text: &str, strict: bool) -> Manifest {
    parse(Path::new("m.yaml"), text, ManifestOptions { strict })
}

fn objects(text: &str) -> Vec<Object> {
    let manifest = read(text, true);
    assert_eq!((manifest.faults, manifest.warnings), (vec![], vec![]));
    manifest.objects.into_iter().map(|located| located.object).collect()
}

fn faults(text: &str) -> Vec<String> {
    read(text, false).faults.iter().map(ToString::to_string).collect()
}

/// A policy in namespace `x` whose spec is this flow map.
fn policy(spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: x}}\n\
         spec: {spec}\n"
    )
}

fn policy_object(spec: &str) -> NetworkPolicy {
    match objects(&policy(spec)).pop() {
        Some(Object::NetworkPolicy(policy)) => policy,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rule_2_and_3_policy_types_and_empty_lists() {
    let one = || vec![Rule::default()];
    for (spec, ingress, egress) in [
        ("{podSelector: {}}", Some(vec![]), None),
        ("{}", Some(vec![]), None),
        ("{podSelector: {}, egress: []}", Some(vec![]), None),
        ("{podSelector: {}, egress: [{}]}", Some(vec![]), Some(one())),
        ("{podSelector: {}, policyTypes: []}", Some(vec![]), None),
        ("{podSelector: {}, policyTypes: [Egress]}", None, Some(vec![])),
        ("{podSelector: {}, policyTypes: [Ingress, Egress]}", Some(vec![]), Some(vec![])),
        ("{podSelector: {}, ingress: [{}]}", Some(one()), None),
        ("{podSelector: {}, ingress: null, policyTypes: [Ingress]}", Some(vec![]), None),
    ] {
        let found = policy_object(spec);
        assert_eq!((found.ingress, found.egress), (ingress, egress), "{spec}");
    }
}

#[test]
fn rule_4_a_missing_pod_selector_is_everything() {
    assert_eq!(policy_object("{ingress: []}").pod_selector, LabelSelector::everything());
}

#[test]
fn rule_9_to_13_peers() {
    let everybody = Some(vec![Rule::default()]);
    for from in ["[]", "null"] {
        assert_eq!(policy_object(&format!("{{ingress: [{{from: {from}}}]}}")).ingress, everybody);
    }
    let spec = "{ingress: [{from: [{podSelector: {}}, {namespaceSelector: {}}, \
                {podSelector: {matchLabels: {a: b}}, namespaceSelector: {matchExpressions: \
                [{key: k, operator: NotIn, values: [v]}]}}, \
                {ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]}]}";
    let ingress = policy_object(spec).ingress.unwrap();
    let Peers::AnyOf(peers) = &ingress[0].peers else { panic!("everybody") };
    let all = || Some(LabelSelector::everything());
    assert_eq!(peers[0], Peer::Selectors { pods: all(), namespaces: None });
    assert_eq!(peers[1], Peer::Selectors { pods: None, namespaces: all() });
    let Peer::Selectors { pods: Some(pods), namespaces: Some(namespaces) } = &peers[2] else {
        panic!("{:?}", peers[2])
    };
    assert_eq!(*pods, LabelSelector::label("a", "b"));
    assert_eq!(namespaces.match_expressions[0].operator, Operator::NotIn(vec!["v".to_owned()]));
    assert!(matches!(&peers[3], Peer::Block(block) if block.except.len() == 1));
}

#[test]
fn rule_18_to_20_ports() {
    let ports = |list: &str| {
        policy_object(&format!("{{egress: [{{ports: {list}}}]}}")).egress.unwrap().remove(0).ports
    };
    assert_eq!(ports("[]"), Ports::All);
    assert_eq!(ports("null"), Ports::All);
    let one = |protocol, port| Ports::AnyOf(vec![PolicyPort { protocol, port }]);
    assert_eq!(ports("[{}]"), one(Protocol::Tcp, Port::All));
    assert_eq!(ports("[{protocol: UDP}]"), one(Protocol::Udp, Port::All));
    assert_eq!(ports("[{port: 80}]"), one(Protocol::Tcp, Port::Number(80)));
    let range = Port::Range { first: 80, last: 90 };
    assert_eq!(ports("[{port: 80, endPort: 90, protocol: SCTP}]"), one(Protocol::Sctp, range));
    assert_eq!(ports("[{port: web}]"), one(Protocol::Tcp, Port::Named("web".to_owned())));
}

#[test]
fn pods_with_all_that_matters_of_them() {
    let text = "
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  nodeName: n1
  hostNetwork: true
  containers:
  - name: a
    ports: [{name: http, containerPort: 80}, {containerPort: 81}]
  initContainers:
  - {name: b, restartPolicy: Always, ports: [{name: dns, containerPort: 53, protocol: UDP}]}
  - {name: c, ports: [{name: gone, containerPort: 1}]}
status:
  phase: Failed
  podIP: 10.0.0.7
  podIPs: [{ip: 10.0.0.7}, {ip: \"fd00::7\"}, {ip: \"::ffff:10.0.0.7\"}]
";
    let named = |name: &str, protocol, port| NamedPort { name: name.to_owned(), protocol, port };
    let expected = Pod {
        addresses: vec!["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()],
        node: Some("n1".to_owned()),
        host_network: true,
        named_ports: vec![named("http", Protocol::Tcp, 80), named("dns", Protocol::Udp, 53)],
        terminated: true,
        ..Pod::new("default", "web").with_label("app", "web")
    };
    assert_eq!(objects(text), [expected.into()]);
}

#[test]
fn nodes_keep_the_addresses_that_are_theirs() {
    let text = "{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [\
                {type: Hostname, address: n1}, {type: InternalIP, address: 192.0.2.1}, \
                {type: ExternalIP, address: \"2001:db8::1\"}]}}";
    let Some(Object::Node(node)) = objects(text).pop() else { panic!("no node") };
    let addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.0.2.1", "2001:db8::1"]);
}

#[test]
fn documents_lists_and_typed_lists() {
    let text = "---\n# only a comment\n---\napiVersion: v1\nkind: List\nitems:\n\
                - {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n\
                - apiVersion: v1\n  kind: NamespaceList\n  items:\n  - metadata: {name: b}\n\
                ---\napiVersion: v1\nkind: PodList\nmetadata: {}\nitems: []\n";
    let names: Vec<String> = objects(text).iter().map(|it| it.key().to_string()).collect();
    assert_eq!(names, ["Namespace a", "Namespace b"]);
}

#[test]
fn items_of_lists_know_their_lines() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata:\n    \
                name: a\n";
    assert_eq!(read(text, true).objects[0].line_of("metadata.name"), 7);
}

#[test]
fn every_fault_of_a_policy_with_line_field_and_advice() {
    let text = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: x}
spec:
  policyTypes: [ingress]
  podSelector:
    matchExpressions: [{key: a, operator: In}]
  ingress:
  - from:
    - ipBlock: {cidr: 10.0.0.1/33}
    - ipBlock: {cidr: 10.0.0.0/8, except: [nonsense]}
      podSelector: {}
    - namespaceSelector:
    ports:
    - port: 70000
    - {port: 90, endPort: 80}
    - {port: web, endPort: 80}
    - {endPort: 80}
    - {protocol: tcp}
";
    let object = "NetworkPolicy x/p";
    let expected = [
        (5, "spec.policyTypes[0]", "unknown policy type \"ingress\""),
        (7, "spec.podSelector.matchExpressions[0].values", "In has no values"),
        (10, "spec.ingress[0].from[0].ipBlock.cidr", "\"10.0.0.1/33\" is no CIDR"),
        (11, "spec.ingress[0].from[1].ipBlock", "stands beside a selector"),
        (11, "spec.ingress[0].from[1].ipBlock.except[0]", "\"nonsense\" is no CIDR"),
        (13, "spec.ingress[0].from[2]", "names no peer"),
        (15, "spec.ingress[0].ports[0].port", "70000 is no port number"),
        (16, "spec.ingress[0].ports[1].endPort", "80 is below port 90"),
        (17, "spec.ingress[0].ports[2].endPort", "port is the name \"web\""),
        (18, "spec.ingress[0].ports[3].endPort", "port is absent"),
        (19, "spec.ingress[0].ports[4].protocol", "unknown protocol \"tcp\""),
    ];
    let found = faults(text);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, (line, field, problem)) in found.iter().zip(expected) {
        let beginning = format!("m.yaml:{line}: {object}: {field}: {problem}");
        assert!(found.starts_with(&beginning), "{found}\n{beginning}");
    }
}

#[test]
fn fields_of_the_wrong_type_are_all_found() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  labels:\n    secret: true\n    \
                level: 3\nspec:\n  hostNetwork: 1\n  containers: [x]\n";
    assert_eq!(
        faults(text),
        [
            "m.yaml:6: Pod web: metadata.labels.secret: invalid type: boolean `true`, expected a \
         string; put it in quotes",
            "m.yaml:7: Pod web: metadata.labels.level: invalid type: integer `3`, expected a string; \
         put it in quotes",
            "m.yaml:9: Pod web: spec.hostNetwork: invalid type: integer `1`, expected a boolean",
            "m.yaml:10: Pod web: spec.containers[0]: invalid type: string \"x\", expected Container",
        ]
    );
}

#[test]
fn what_sluice_would_not_enforce_is_refused() {
    for (version, kind) in [
        ("policy.networking.k8s.io/v1alpha2", "ClusterEgress"),
        ("crd.antrea.io/v1beta1", "ClusterNetworkPolicy"),
        ("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy"),
        ("crd.projectcalico.org/v1", "GlobalNetworkPolicy"),
        ("projectcalico.org/v3", "NetworkPolicy"),
        ("cilium.io/v2", "CiliumNetworkPolicy"),
        ("k8s.ovn.org/v1", "EgressFirewall"),
        ("network.openshift.io/v1", "EgressNetworkPolicy"),
        ("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition"),
        ("k8s.cni.cncf.io/v1beta1", "MultiNetworkPolicyList"),
        ("example.com/v1", "SomeNetworkPolicy"),
    ] {
        let text = format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: p}}\n");
        let found = faults(&text);
        assert_eq!(found.len(), 1, "{kind}");
        assert!(found[0].contains(": kind: Sluice cannot enforce"), "{}", found[0]);
    }
}

#[test]
fn a_wrong_or_missing_version_or_kind_is_refused() {
    for (text, expected) in [
        ("apiVersion: extensions/v1beta1\nkind: NetworkPolicy\n", "want networking.k8s.io/v1"),
        ("apiVersion: v1\nkind: NetworkPolicy\n", "want networking.k8s.io/v1"),
        (
            "apiVersion: networking.k8s.io/v1\nkind: ClusterNetworkPolicy\n",
            "want policy.networking.k8s.io/v1alpha2",
        ),
        ("apiVersion: v2\nkind: PodList\n", "want v1"),
        ("kind: Pod\n", "apiVersion: missing"),
        ("apiVersion: v1\n", "kind: missing"),
        ("[]\n", "not an object"),
        ("apiVersion: v1\nkind: List\nitems: {}\n", "items: not a list"),
        ("apiVersion: v1\nkind: Pod\n", "metadata.name: missing"),
        (
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\n",
            "spec: missing",
        ),
    ] {
        let found = faults(text);
        assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
    }
}

#[test]
fn what_has_no_effect_is_warned_of_and_fields_are_refused_if_strict() {
    let kind = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d, namespace: x}\n";
    for strict in [false, true] {
        let manifest = read(kind, strict);
        assert_eq!((manifest.faults.len(), manifest.warnings.len()), (0, 1));
        let warning = manifest.warnings[0].to_string();
        assert!(
            warning.starts_with("m.yaml:1: Deployment x/d: Deployment of apps/v1 has no effect")
        );
    }
    let fields = policy("{policyTypes: [Egress], ingress: [{}], egress: [{too: []}], ingres: []}");
    let manifest = read(&fields, false);
    let warnings: Vec<&str> = manifest.warnings.iter().map(|it| it.0.field.as_str()).collect();
    assert_eq!(warnings, ["spec.egress[0].too", "spec.ingres", "spec.ingress"]);
    assert_eq!((manifest.faults.len(), manifest.objects.len()), (0, 1));
    let manifest = read(&fields, true);
    assert_eq!((manifest.faults.len(), manifest.objects.len()), (3, 0));
}
