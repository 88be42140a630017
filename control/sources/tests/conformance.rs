//! The NetworkPolicy cases of Kubernetes' own end-to-end suite, on the whole way from manifest
//! text through compilation to the table's decision, for IPv4 and for IPv6.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test fail as the test does"
)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sluice_core::address::NetworkId;
use sluice_core::policy::Attempt;
use sluice_policy::compile::{CompileOptions, compile};
use sluice_policy::model::{Protocol, RuleSet};
use sluice_sources::manifest::{ManifestOptions, parse};

const CASES: usize = 48;

#[test]
fn kubernetes_end_to_end_cases_over_ipv4() {
    run(false);
}

#[test]
fn kubernetes_end_to_end_cases_over_ipv6() {
    run(true);
}

fn run(v6: bool) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/conformance/k8s-e2e-netpol-cases.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: {} is not there", path.display());
        return;
    };
    let file: Value = serde_json::from_str(&text).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), CASES);
    let mut wrong = Vec::new();
    for case in cases {
        let mut cluster = Cluster::new(case, v6);
        for step in case["steps"].as_array().unwrap() {
            cluster.step(step, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{} answers are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The objects of one case as they stand.
struct Cluster {
    name: String,
    v6: bool,
    /// Labels by `namespace/name`.
    pods: BTreeMap<String, Map<String, Value>>,
    /// Labels by name.
    namespaces: BTreeMap<String, Map<String, Value>>,
    policies: BTreeMap<(String, String), Value>,
    ports: Value,
}

impl Cluster {
    fn new(case: &Value, v6: bool) -> Self {
        let mut cluster = Self {
            name: case["name"].as_str().unwrap().to_owned(),
            v6,
            pods: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            policies: BTreeMap::new(),
            ports: Value::Null,
        };
        for pod in case["pods"].as_array().unwrap() {
            let pod = pod.as_str().unwrap();
            let (namespace, name) = pod.split_once('/').unwrap();
            cluster.pods.insert(pod.to_owned(), object(json!({ "pod": name })));
            let labels = json!({ "kubernetes.io/metadata.name": namespace });
            cluster.namespaces.insert(namespace.to_owned(), object(labels));
        }
        let mut ports = Vec::new();
        for protocol in case["protocols"].as_array().unwrap() {
            for port in case["ports"].as_array().unwrap() {
                let name = format!("serve-{port}-{}", protocol.as_str().unwrap().to_lowercase());
                ports.push(json!({"name": name, "containerPort": port, "protocol": protocol}));
            }
        }
        cluster.ports = ports.into();
        cluster
    }

    fn step(&mut self, step: &Value, wrong: &mut Vec<String>) {
        let text = |key: &str| step[key].as_str().unwrap().to_owned();
        match step["op"].as_str().unwrap() {
            "applyPolicy" => {
                let policy = self.with_addresses(&step["policy"]);
                let name = |key: &str| policy["metadata"][key].as_str().unwrap().to_owned();
                self.policies.insert((name("namespace"), name("name")), policy);
            }
            "deletePolicy" => {
                self.policies.remove(&(text("namespace"), text("name"))).unwrap();
            }
            "setPodLabels" => {
                self.pods.get_mut(&text("pod")).unwrap().extend(object(step["add"].clone()));
            }
            "setNamespaceLabels" => {
                let labels = self.namespaces.get_mut(&text("namespace")).unwrap();
                labels.extend(object(step["add"].clone()));
            }
            "probe" => self.probe(step, wrong),
            other => panic!("unknown step {other}"),
        }
    }

    fn probe(&self, step: &Value, wrong: &mut Vec<String>) {
        let table = compile(&self.rules(), &CompileOptions::default()).unwrap();
        let protocol: Protocol = step["protocol"].as_str().unwrap().parse().unwrap();
        let port = u16::try_from(step["port"].as_u64().unwrap()).unwrap();
        for from in self.pods.keys() {
            for to in self.pods.keys().filter(|to| *to != from) {
                let mut expected = true;
                for rule in step["expect"].as_array().unwrap() {
                    let pattern = |place: usize| rule[place].as_str().unwrap();
                    if matches(pattern(0), from) && matches(pattern(1), to) {
                        expected = rule[2].as_bool().unwrap();
                    }
                }
                let decision = table.decide(&Attempt {
                    network: NetworkId::DEFAULT,
                    source: self.address(from),
                    destination: self.address(to),
                    protocol: protocol.number(),
                    port: Some(port),
                });
                if decision.allows() != expected {
                    let name = &self.name;
                    wrong.push(format!("{name}: {from} to {to} {protocol} {port}: {decision:?}"));
                }
            }
        }
    }

    /// The rule set by way of one manifest text.
    fn rules(&self) -> RuleSet {
        let namespaces = self.namespaces.iter().map(|(name, labels)| {
            json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": labels}})
        });
        let pods = self.pods.iter().map(|(pod, labels)| {
            let (namespace, name) = pod.split_once('/').unwrap();
            json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace, "labels": labels},
                "spec": {"containers": [{"name": "serve", "ports": self.ports}]},
                "status": {"podIPs": [{"ip": self.address(pod)}]}})
        });
        let items: Vec<Value> =
            namespaces.chain(pods).chain(self.policies.values().cloned()).collect();
        let text = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        let manifest = parse(Path::new("case.json"), &text, ManifestOptions { strict: true });
        assert_eq!(manifest.faults, [], "{}", self.name);
        let mut rules = RuleSet::default();
        for located in manifest.objects {
            rules.insert(located.object).unwrap();
        }
        rules
    }

    fn address(&self, pod: &str) -> IpAddr {
        let place = self.pods.keys().position(|known| known == pod).unwrap();
        let last = u8::try_from(place + 1).unwrap();
        if self.v6 {
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()).into()
        } else {
            Ipv4Addr::new(10, 0, 0, last).into()
        }
    }

    /// Puts addresses in the place of `@HOST(pod)` and `@LARGE(pod)`.
    fn with_addresses(&self, policy: &Value) -> Value {
        match policy {
            Value::String(text) if text.starts_with('@') => {
                let (word, pod) = text.trim_end_matches(')').split_once('(').unwrap();
                let len = match (word, self.v6) {
                    ("@HOST", false) => 32,
                    ("@HOST", true) => 128,
                    ("@LARGE", false) => 4,
                    ("@LARGE", true) => 16,
                    _ => panic!("unknown word {word}"),
                };
                format!("{}/{len}", self.address(pod)).into()
            }
            Value::Array(items) => items.iter().map(|it| self.with_addresses(it)).collect(),
            Value::Object(map) => {
                map.iter().map(|(key, it)| (key.clone(), self.with_addresses(it))).collect()
            }
            other => other.clone(),
        }
    }
}

/// `*/*` matches all, `x/*` the pods of a namespace, `*/a` the pods of a name.
fn matches(pattern: &str, pod: &str) -> bool {
    let parts = |text: &str| {
        let (namespace, name) = text.split_once('/').unwrap();
        [namespace.to_owned(), name.to_owned()]
    };
    parts(pattern).iter().zip(&parts(pod)).all(|(want, is)| want == "*" || want == is)
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}
