//! What is legal but surprising, from the file: for each kind of advice what is warned of, and what
//! looks like it and is as it should be.

#![allow(clippy::unwrap_used, reason = "helpers of a test may fail as the test does")]

mod named;
mod nobody;
mod order;
mod redundant;
mod reopened;
mod shipped;
mod tied;

use sluice_policy::advice::{Advice, advise};
use sluice_sources::files::{LoadOptions, load};

/// Two shops and what belongs to the cluster. `bare` has no pod, `ghost` no object.
const CLUSTER: &str = "
apiVersion: v1
kind: List
items:
- { apiVersion: v1, kind: Namespace, metadata: { name: shop, labels: { level: open } } }
- { apiVersion: v1, kind: Namespace, metadata: { name: bank, labels: { level: secret } } }
- { apiVersion: v1, kind: Namespace, metadata: { name: bare, labels: { level: empty } } }
- { apiVersion: v1, kind: Node, metadata: { name: n1, labels: { zone: a } },
    status: { addresses: [{ type: InternalIP, address: 192.0.2.1 }] } }
- { apiVersion: v1, kind: Pod, metadata: { namespace: shop, name: web, labels: { app: web, tier: front } },
    spec: { containers: [{ name: c, ports: [{ name: http, containerPort: 8080 }] }] },
    status: { podIPs: [{ ip: 10.0.0.1 }] } }
- { apiVersion: v1, kind: Pod, metadata: { namespace: shop, name: db, labels: { app: db, tier: back } },
    spec: { nodeName: n2, containers: [{ name: c, ports: [{ name: sql, containerPort: 3306 }, { name: probe, containerPort: 53, protocol: UDP }] }] },
    status: { podIPs: [{ ip: 10.0.0.2 }] } }
- { apiVersion: v1, kind: Pod, metadata: { namespace: bank, name: api, labels: { app: api } },
    spec: { containers: [{ name: c, ports: [{ name: rpc, containerPort: 9000 }] }] },
    status: { podIPs: [{ ip: 10.0.1.1 }] } }
- { apiVersion: v1, kind: Pod, metadata: { namespace: bank, name: job, labels: { app: job } },
    spec: { containers: [{ name: c, ports: [{ name: done, containerPort: 1 }] }] },
    status: { phase: Succeeded } }
- { apiVersion: v1, kind: Pod, metadata: { namespace: ghost, name: exporter, labels: { app: exporter } },
    spec: { hostNetwork: true, nodeName: n1 }, status: { podIPs: [{ ip: 192.0.2.1 }] } }
- { apiVersion: v1, kind: Pod, metadata: { namespace: ghost, name: lone, labels: { app: lone } },
    status: { podIPs: [{ ip: 10.0.2.1 }] } }
";

/// A NetworkPolicy `namespace/name` with the fields of its spec.
fn policy(name: &str, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{ namespace: {namespace}, name: {name} }}\nspec: {{ {spec} }}\n"
    )
}

/// A ClusterNetworkPolicy, `name tier priority`, with the other fields of its spec.
fn cluster(name: &str, spec: &str) -> String {
    let mut words = name.split(' ');
    let (name, tier, priority) =
        (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    format!(
        "---\napiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\n\
         metadata: {{ name: {name} }}\n\
         spec: {{ tier: {tier}, priority: {priority}, {spec} }}\n"
    )
}

fn advice(text: &str) -> Vec<Advice> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("m.yaml");
    std::fs::write(&file, text).unwrap();
    let loaded = load(&[file], &LoadOptions::default());
    let (rules, _) = loaded
        .map_err(|faults| {
            format!(
                "{text}
{faults:?}"
            )
        })
        .unwrap();
    advise(&rules)
}

/// Each expectation is how an advice begins, `object: field: remark`; there are no others.
fn assert_advice(policies: &[String], expected: &[&str]) {
    assert_advice_in(CLUSTER, policies, expected);
}

fn assert_advice_in(cluster: &str, policies: &[String], expected: &[&str]) {
    let found: Vec<String> =
        advice(&format!("{cluster}{}", policies.concat())).iter().map(line).collect();
    let matches = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| found.starts_with(expected));
    assert!(matches, "{}\nfound {found:#?}\nexpected {expected:#?}", policies.concat());
}

fn line(it: &Advice) -> String {
    format!("{}: {}: {}", it.object, it.field, it.remark)
}
