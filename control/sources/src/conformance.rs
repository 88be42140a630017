//! The NetworkPolicy cases of Kubernetes' own end-to-end suite, for tests of whatever judges.
//!
//! Reads the cases, plays their steps on a cluster of objects and says which connections must
//! succeed. How a connection is tried is left to the test: by asking a table, or with sockets.
//!
//! ```text
//! Suite --case--> Cluster --step--> expectations: from, to, protocol, port, allowed
//!                         --rules-> RuleSet, by way of manifest text
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests alone use this, and fail where their data is not as described"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use sluice_policy::model::{Protocol, RuleSet};

use crate::manifest::{ManifestOptions, parse};

/// Beside the checkout, since the cases belong to nobody's project.
const FILE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/conformance/k8s-e2e-netpol-cases.json");

/// How many the file has; with fewer, a test would pass without having tried them.
const CASES: usize = 48;

/// The last byte of the first pod's addresses.
const FIRST: u8 = 11;

/// What connections are tried over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// All cases. A pod has the same addresses in every case, so that one set of namespaces serves
/// them all.
#[derive(Debug, Clone)]
pub struct Suite {
    /// The cases, in the order of the file.
    pub cases: Vec<Case>,
    addresses: BTreeMap<String, [IpAddr; 2]>,
}

/// One case: the pods that there are, and what happens.
#[derive(Debug, Clone, Deserialize)]
pub struct Case {
    /// What must hold, in words.
    pub name: String,
    /// The pods, as `namespace/name`.
    pub pods: Vec<String>,
    /// The ports that every pod serves, with every protocol.
    pub ports: Vec<u16>,
    /// The protocols that every port is served with.
    #[serde(deserialize_with = "protocols")]
    pub protocols: Vec<Protocol>,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// Something that happens in a case.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase")]
pub enum Step {
    /// A policy is there from now on, or stands in the place of the one of its name.
    ApplyPolicy {
        /// The manifest, with `@HOST(pod)` and `@LARGE(pod)` for CIDRs.
        policy: Value,
    },
    /// A policy goes.
    DeletePolicy {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A pod gets more labels.
    SetPodLabels {
        /// The pod, as `namespace/name`.
        pod: String,
        /// The labels.
        add: BTreeMap<String, String>,
    },
    /// A namespace gets more labels.
    SetNamespaceLabels {
        /// Its name.
        namespace: String,
        /// The labels.
        add: BTreeMap<String, String>,
    },
    /// Every pod tries to connect to every other one.
    Probe {
        /// The protocol.
        #[serde(deserialize_with = "protocol")]
        protocol: Protocol,
        /// The destination's port.
        port: u16,
        /// From, to, and whether that is allowed. Of those that match the last one holds; what
        /// none matches is allowed.
        expect: Vec<(String, String, bool)>,
    },
}

/// A connection, and whether it must succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The pod that connects.
    pub from: String,
    /// The pod that is connected to.
    pub to: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The destination's port.
    pub port: u16,
    /// Whether it must succeed.
    pub allowed: bool,
}

/// The objects of one case as they stand.
#[derive(Debug)]
pub struct Cluster<'a> {
    suite: &'a Suite,
    case: &'a Case,
    family: Family,
    /// Labels by `namespace/name`.
    pods: BTreeMap<String, BTreeMap<String, String>>,
    /// Labels by name.
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    policies: BTreeMap<(String, String), Value>,
}

impl Suite {
    /// Reads the cases. Without the file it says that the test is skipped, and there is none.
    ///
    /// # Panics
    /// If the file is not as described.
    #[must_use]
    pub fn read_or_skip() -> Option<Self> {
        #[derive(Deserialize)]
        struct Content {
            cases: Vec<Case>,
        }

        let Ok(text) = std::fs::read_to_string(FILE) else {
            eprintln!("skipped: {FILE} is not there");
            return None;
        };
        let Content { cases } = serde_json::from_str(&text).unwrap();
        assert_eq!(cases.len(), CASES, "{FILE}");
        let pods: BTreeSet<&String> = cases.iter().flat_map(|case| &case.pods).collect();
        let addresses = pods.into_iter().cloned().zip((FIRST..).map(addresses)).collect();
        Some(Self { cases, addresses })
    }

    /// A case in which nothing happens yet, with every pod, port and protocol that some case has.
    #[must_use]
    pub fn all_pods(&self) -> Case {
        fn all<T: Ord + Clone>(cases: &[Case], of: fn(&Case) -> &Vec<T>) -> Vec<T> {
            let all: BTreeSet<&T> = cases.iter().flat_map(of).collect();
            all.into_iter().cloned().collect()
        }
        Case {
            name: "all pods, no policy".into(),
            pods: all(&self.cases, |case| &case.pods),
            ports: all(&self.cases, |case| &case.ports),
            protocols: all(&self.cases, |case| &case.protocols),
            steps: Vec::new(),
        }
    }

    /// The cluster as it is when `case` begins.
    ///
    /// # Panics
    /// If a pod is not named as described.
    #[must_use]
    pub fn cluster<'a>(&'a self, case: &'a Case, family: Family) -> Cluster<'a> {
        let label = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let (mut pods, mut namespaces) = (BTreeMap::new(), BTreeMap::new());
        for pod in &case.pods {
            let (namespace, name) = pod.split_once('/').unwrap();
            pods.insert(pod.clone(), label("pod", name));
            namespaces
                .insert(namespace.to_owned(), label("kubernetes.io/metadata.name", namespace));
        }
        Cluster { suite: self, case, family, pods, namespaces, policies: BTreeMap::new() }
    }
}

impl Cluster<'_> {
    /// Takes one step. What must then hold is empty for all steps but probes.
    ///
    /// # Panics
    /// If the step is about something that is not there.
    pub fn step(&mut self, step: &Step) -> Vec<Expectation> {
        match step {
            Step::ApplyPolicy { policy } => {
                let policy = self.with_addresses(policy);
                let text = |path: &str| policy.pointer(path).unwrap().as_str().unwrap().to_owned();
                let key = (text("/metadata/namespace"), text("/metadata/name"));
                self.policies.insert(key, policy);
            }
            Step::DeletePolicy { namespace, name } => {
                self.policies.remove(&(namespace.clone(), name.clone())).unwrap();
            }
            Step::SetPodLabels { pod, add } => {
                self.pods.get_mut(pod).unwrap().extend(add.clone());
            }
            Step::SetNamespaceLabels { namespace, add } => {
                self.namespaces.get_mut(namespace).unwrap().extend(add.clone());
            }
            Step::Probe { protocol, port, expect } => {
                return self.expectations(*protocol, *port, expect);
            }
        }
        Vec::new()
    }

    /// The rule set by way of one manifest text.
    ///
    /// # Panics
    /// If a manifest is refused.
    #[must_use]
    pub fn rules(&self) -> RuleSet {
        let namespaces = self.namespaces.iter().map(|(name, labels)| {
            json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": labels}})
        });
        let ports = self.ports();
        let pods = self.pods.iter().map(|(pod, labels)| {
            let (namespace, name) = pod.split_once('/').unwrap();
            let addresses = self.addresses(pod).map(|ip| json!({ "ip": ip }));
            json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace, "labels": labels},
                "spec": {"containers": [{"name": "serve", "ports": ports}]},
                "status": {"podIPs": addresses}})
        });
        let items: Vec<Value> =
            namespaces.chain(pods).chain(self.policies.values().cloned()).collect();
        let text = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        let manifest = parse(Path::new("case.json"), &text, ManifestOptions { strict: true });
        assert_eq!(manifest.faults, [], "{}", self.case.name);
        let mut rules = RuleSet::default();
        for located in manifest.objects {
            rules.insert(located.object).unwrap();
        }
        rules
    }

    /// The address of a pod that connections are tried with.
    ///
    /// # Panics
    /// If no case has that pod.
    #[must_use]
    pub fn address(&self, pod: &str) -> IpAddr {
        let [v4, v6] = self.addresses(pod);
        match self.family {
            Family::V4 => v4,
            Family::V6 => v6,
        }
    }

    fn addresses(&self, pod: &str) -> [IpAddr; 2] {
        *self.suite.addresses.get(pod).unwrap()
    }

    /// The named ports of every pod, as in its manifest.
    fn ports(&self) -> Value {
        let Case { ports, protocols, .. } = self.case;
        let served = |protocol: &Protocol, port: &u16| {
            let protocol = protocol.to_string();
            let name = format!("serve-{port}-{}", protocol.to_lowercase());
            json!({"name": name, "containerPort": port, "protocol": protocol})
        };
        protocols.iter().flat_map(|it| ports.iter().map(move |port| served(it, port))).collect()
    }

    /// Every pod with every other one: a pod always reaches itself.
    fn expectations(
        &self,
        protocol: Protocol,
        port: u16,
        expect: &[(String, String, bool)],
    ) -> Vec<Expectation> {
        let last_match = |from: &str, to: &str| {
            let holds =
                |rule: &&(String, String, bool)| matches(&rule.0, from) && matches(&rule.1, to);
            expect.iter().rfind(holds).is_none_or(|rule| rule.2)
        };
        let mut expectations = Vec::new();
        for from in self.pods.keys() {
            for to in self.pods.keys().filter(|to| *to != from) {
                let allowed = last_match(from, to);
                let (from, to) = (from.clone(), to.clone());
                expectations.push(Expectation { from, to, protocol, port, allowed });
            }
        }
        expectations
    }

    /// Puts addresses in the place of `@HOST(pod)` and `@LARGE(pod)`.
    fn with_addresses(&self, policy: &Value) -> Value {
        match policy {
            Value::String(text) if text.starts_with('@') => {
                let (word, pod) = text.trim_end_matches(')').split_once('(').unwrap();
                let len = match (word, self.family) {
                    ("@HOST", Family::V4) => 32,
                    ("@HOST", Family::V6) => 128,
                    ("@LARGE", Family::V4) => 4,
                    ("@LARGE", Family::V6) => 16,
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

/// Where pods live, for both families.
fn addresses(last: u8) -> [IpAddr; 2] {
    let v6 = Ipv6Addr::new(0xfd05, 0, 0, 0, 0, 0, 0, last.into());
    [Ipv4Addr::new(10, 5, 0, last).into(), v6.into()]
}

/// `*/*` matches all, `x/*` the pods of a namespace, `*/a` the pods of a name.
fn matches(pattern: &str, pod: &str) -> bool {
    pattern.split('/').zip(pod.split('/')).all(|(want, is)| want == "*" || want == is)
}

fn protocol<'de, D: Deserializer<'de>>(from: D) -> Result<Protocol, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

fn protocols<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Protocol>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
}
