//! The conformance tests of ClusterNetworkPolicy v1alpha2 (kubernetes-sigs/network-policy-api), on
//! the whole way from manifest text through compilation to the table's decision.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test fail as the test does"
)]

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sluice_core::address::NetworkId;
use sluice_core::policy::{Attempt, DYNAMIC_PORT};
use sluice_core::table::Table;
use sluice_policy::compile::{CompileOptions, compile};
use sluice_policy::model::{NAMESPACE_NAME_LABEL, Protocol, RuleSet};
use sluice_sources::manifest::{ManifestOptions, parse};

const TESTS: usize = 24;
const POKES: usize = 301;

/// Where the pods live that are not in their node's network.
const WORKER: &str = "worker";

#[test]
fn network_policy_api_conformance() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/conformance/cnp-conformance-cases.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: {} is not there", path.display());
        return;
    };
    let file: Value = serde_json::from_str(&text).unwrap();
    let tests = file["tests"].as_array().unwrap();
    assert_eq!(tests.len(), TESTS);
    let mut pokes = 0;
    let mut wrong = Vec::new();
    for test in tests {
        let mut cluster = Cluster::new(&file, test);
        for step in test["steps"].as_array().unwrap() {
            if step["op"] == "poke" {
                pokes += 1;
                wrong.extend(cluster.poke(step));
            } else {
                cluster.change(step);
            }
        }
    }
    assert_eq!(pokes, POKES);
    assert!(wrong.is_empty(), "{} of {pokes} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The objects of one test as they stand.
struct Cluster {
    /// The test's name and the heading of the steps at hand.
    heading: [String; 2],
    /// Labels by name.
    namespaces: Map<String, Value>,
    /// As the cases list them: `namespace`, `name`, `labels`, `ip`, `ports`, `hostNetwork`.
    pods: Vec<Value>,
    /// Manifests of either kind.
    policies: Vec<Value>,
    /// The policies compiled; none after a change.
    table: Option<Table>,
}

impl Cluster {
    fn new(file: &Value, test: &Value) -> Self {
        Self {
            heading: [text(test, "test").to_owned(), String::new()],
            namespaces: file["namespaces"].as_object().unwrap().clone(),
            pods: file["pods"].as_array().unwrap().clone(),
            policies: test["objects"].as_array().unwrap().clone(),
            table: None,
        }
    }

    fn change(&mut self, step: &Value) {
        self.table = None;
        let place = |key: &str| usize::try_from(step[key].as_u64().unwrap()).unwrap();
        match text(step, "op") {
            "subtest" => self.heading[1] = text(step, "name").to_owned(),
            "swapRules" => self.rules(step).swap(place("i"), place("j")),
            "setNamedPort" => {
                self.rules(step)[place("i")]["protocols"] =
                    json!([{"destinationNamedPort": step["name"]}]);
            }
            "setAction" => self.rules(step)[place("i")]["action"] = step["action"].clone(),
            "setPriority" => self.policy(step)["spec"]["priority"] = step["value"].clone(),
            "setNamespaceLabels" => {
                let namespace = text(step, "namespace");
                let mut labels = step["labels"].clone();
                labels[NAMESPACE_NAME_LABEL] = namespace.into();
                *self.namespaces.get_mut(namespace).unwrap() = labels;
            }
            "prependCidrAccept" => {
                let pods = step["pods"].as_array().unwrap();
                let networks: Value =
                    pods.iter().map(|pod| format!("{}/32", self.address(pod))).collect();
                let rule = json!({"action": "Accept", "to": [{"networks": networks}]});
                let rules = &mut self.policy(step)["spec"]["egress"];
                rules.as_array_mut().unwrap().insert(0, rule);
            }
            "deleteNetworkPolicy" => {
                let (namespace, name) = (&step["namespace"], &step["name"]);
                let before = self.policies.len();
                self.policies.retain(|policy| {
                    let metadata = &policy["metadata"];
                    policy["kind"] != "NetworkPolicy"
                        || metadata["namespace"] != *namespace
                        || metadata["name"] != *name
                });
                assert_eq!(self.policies.len() + 1, before, "{step}");
            }
            other => panic!("unknown step {other}"),
        }
    }

    /// The ClusterNetworkPolicy that a step speaks of.
    fn policy(&mut self, step: &Value) -> &mut Value {
        let meant = |policy: &&mut Value| {
            policy["kind"] == "ClusterNetworkPolicy" && policy["metadata"]["name"] == step["policy"]
        };
        self.policies.iter_mut().find(meant).unwrap()
    }

    /// The rules of the direction that a step speaks of.
    fn rules(&mut self, step: &Value) -> &mut Vec<Value> {
        self.policy(step)["spec"][text(step, "dir")].as_array_mut().unwrap()
    }

    /// What is wrong with the answer to a connection, if anything is.
    fn poke(&mut self, step: &Value) -> Option<String> {
        let table = self.table.take().unwrap_or_else(|| self.compile());
        let protocol: Protocol = text(step, "protocol").parse().unwrap();
        let port = u16::try_from(step["port"].as_u64().unwrap()).unwrap();
        let decision = table.decide(&Attempt {
            network: NetworkId::DEFAULT,
            source: self.address(&step["from"]),
            destination: self.address(&step["to"]),
            protocol: protocol.number(),
            source_port: Some(DYNAMIC_PORT),
            port: Some(port),
        });
        self.table = Some(table);
        let expected = step["connect"].as_bool().unwrap();
        (decision.allows() != expected).then(|| {
            let pod = |key: &str| format!("{}/{}", text(&step[key], 0), text(&step[key], 1));
            let [test, heading] = &self.heading;
            format!(
                "{test}: {heading}: {} to {} {protocol} {port}: want {expected}: {decision:?}",
                pod("from"),
                pod("to")
            )
        })
    }

    /// The table by way of one manifest text.
    fn compile(&self) -> Table {
        let namespaces = self.namespaces.iter().map(|(name, labels)| {
            json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": labels}})
        });
        let hosts = self.pods.iter().filter(|pod| pod["hostNetwork"] == true);
        let nodes = hosts.map(|pod| node(text(pod, "name"), text(pod, "ip")));
        let nodes = nodes.chain([node(WORKER, "192.0.2.1")]);
        let pods = self.pods.iter().map(manifest);
        let items: Vec<Value> =
            namespaces.chain(nodes).chain(pods).chain(self.policies.iter().cloned()).collect();
        let text = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        let manifest = parse(Path::new("case.json"), &text, ManifestOptions { strict: true });
        assert_eq!(manifest.faults, [], "{:?}", self.heading);
        assert_eq!(manifest.objects.len(), items.len());
        let mut rules = RuleSet::default();
        for located in manifest.objects {
            rules.insert(located.object).unwrap();
        }
        compile(&rules, &CompileOptions::default()).unwrap()
    }

    /// The address of a pod that is named as `[namespace, name]`.
    fn address(&self, pod: &Value) -> IpAddr {
        let meant = |known: &&Value| known["namespace"] == pod[0] && known["name"] == pod[1];
        text(self.pods.iter().find(meant).unwrap(), "ip").parse().unwrap()
    }
}

fn text(value: &Value, key: impl serde_json::value::Index) -> &str {
    value[key].as_str().unwrap()
}

fn node(name: &str, address: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux"}},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]}})
}

/// A pod as the cases list it; one in its node's network has a node of its own.
fn manifest(pod: &Value) -> Value {
    let host = pod["hostNetwork"].as_bool().unwrap();
    let ports: Value = pod["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            json!({"name": it["name"], "containerPort": it["port"], "protocol": it["protocol"]})
        })
        .collect();
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": pod["name"], "namespace": pod["namespace"], "labels": pod["labels"]
        },
        "spec": {
            "nodeName": if host { text(pod, "name") } else { WORKER },
            "hostNetwork": host,
            "containers": [{"name": "serve", "ports": ports}],
        },
        "status": {"podIPs": [{"ip": pod["ip"]}]}})
}
