//! AccessList of policy.sluice.dev/v1alpha1, as manifests write it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

use super::v1alpha2::Map;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "fields that nobody reads are known nevertheless")]
pub(super) struct AccessList {
    api_version: String,
    kind: String,
    pub(super) metadata: Option<ObjectMeta>,
    pub(super) spec: Option<Map<Spec>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Spec {
    pub(super) rules: Option<Vec<Map<Rule>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    pub(super) priority: Option<i64>,
    pub(super) action: Option<String>,
    pub(super) source: Option<String>,
    pub(super) destination: Option<String>,
    /// A name or a number.
    pub(super) protocol: Option<Value>,
    pub(super) source_ports: Option<Map<Ports>>,
    pub(super) destination_ports: Option<Map<Ports>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Ports {
    pub(super) first: Option<i64>,
    pub(super) last: Option<i64>,
}
