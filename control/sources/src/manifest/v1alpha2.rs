//! ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2, as manifests write it.
//!
//! Whether a field is needed, and which others it excludes, is left to the conversion: a type
//! that demanded it would find one fault at a time.

use std::fmt;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// What only a map is taken for: a derived `Deserialize` takes a list too, by position.
#[derive(Debug)]
pub(super) struct Map<T>(pub(super) T);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "fields that nobody reads are known nevertheless")]
pub(super) struct ClusterNetworkPolicy {
    api_version: String,
    kind: String,
    pub(super) metadata: Option<ObjectMeta>,
    pub(super) spec: Option<Map<Spec>>,
    /// What some other implementation has said of it.
    status: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Spec {
    pub(super) tier: Option<String>,
    pub(super) priority: Option<i64>,
    pub(super) subject: Option<Map<Subject>>,
    pub(super) ingress: Option<Vec<Map<Rule>>>,
    pub(super) egress: Option<Vec<Map<Rule>>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Subject {
    pub(super) namespaces: Option<LabelSelector>,
    pub(super) pods: Option<Map<NamespacedPods>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NamespacedPods {
    pub(super) namespace_selector: Option<LabelSelector>,
    pub(super) pod_selector: Option<LabelSelector>,
}

/// A rule of either direction: `from` is for ingress only, `to` for egress.
#[derive(Debug, Deserialize)]
pub(super) struct Rule {
    pub(super) name: Option<String>,
    pub(super) action: Option<String>,
    pub(super) from: Option<Vec<Map<Peer>>>,
    pub(super) to: Option<Vec<Map<Peer>>>,
    pub(super) protocols: Option<Vec<Map<Protocol>>>,
}

/// A peer of either direction: ingress knows the first two only.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Peer {
    pub(super) namespaces: Option<LabelSelector>,
    pub(super) pods: Option<Map<NamespacedPods>>,
    pub(super) nodes: Option<LabelSelector>,
    pub(super) networks: Option<Vec<String>>,
    pub(super) domain_names: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Protocol {
    pub(super) tcp: Option<Map<Transport>>,
    pub(super) udp: Option<Map<Transport>>,
    pub(super) sctp: Option<Map<Transport>>,
    pub(super) destination_named_port: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Transport {
    pub(super) destination_port: Option<Map<Port>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Port {
    pub(super) number: Option<i64>,
    pub(super) range: Option<Map<Range>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Range {
    pub(super) start: Option<i64>,
    pub(super) end: Option<i64>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Map<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MapVisitor(PhantomData))
    }
}

struct MapVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for MapVisitor<T> {
    type Value = Map<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Map<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(entries)).map(Map)
    }
}
