//! The policies as advice speaks of them.

use std::collections::HashMap;

use sluice_core::table::Direction;

use crate::compile::groups::Scope;
use crate::compile::lower::Lowered;
use crate::model::{
    ClusterNetworkPolicy, Kind, LabelSelector, NetworkPolicy, ObjectKey, RuleSet, Tier,
};

/// A policy of either kind.
pub(super) struct Policy<'a> {
    /// Kind and name, such as `NetworkPolicy shop/web`.
    pub(super) object: String,
    pub(super) written: Written<'a>,
    pub(super) lowered: Lowered,
    /// Its place among all policies.
    pub(super) place: usize,
    /// Policies of one number select pods by the same words. The numbers count from 0 in the
    /// order of the policies.
    pub(super) subject: usize,
}

/// A policy as it is written.
#[derive(Clone, Copy)]
pub(super) enum Written<'a> {
    Namespaced(&'a NetworkPolicy),
    Cluster(&'a ClusterNetworkPolicy),
}

/// All policies: NetworkPolicies by namespace and name, then ClusterNetworkPolicies in the order
/// in which they are asked.
pub(super) fn policies(rules: &RuleSet) -> Vec<Policy<'_>> {
    let mut subjects: HashMap<(Scope, LabelSelector), usize> = HashMap::new();
    let mut cluster: Vec<&ClusterNetworkPolicy> = rules.cluster_network_policies().collect();
    cluster.sort_by_key(|it| (it.tier, it.priority, &it.name));
    let namespaced = rules.network_policies().map(Written::Namespaced);
    let all = namespaced.chain(cluster.into_iter().map(Written::Cluster)).enumerate();
    all.map(|(place, written)| {
        let lowered = written.lowered();
        let next = subjects.len();
        let key = (lowered.namespaces.clone(), lowered.pods.clone());
        let subject = *subjects.entry(key).or_insert(next);
        Policy { object: written.key().to_string(), written, lowered, place, subject }
    })
    .collect()
}

impl<'a> Policy<'a> {
    /// Its namespace, if it has one.
    pub(super) fn namespace(&self) -> Option<&'a str> {
        match self.written {
            Written::Namespaced(it) => Some(&it.namespace),
            Written::Cluster(_) => None,
        }
    }

    /// When it is asked, if it is a ClusterNetworkPolicy: its tier and its priority.
    pub(super) fn turn(&self) -> Option<(Tier, u16)> {
        match self.written {
            Written::Cluster(it) => Some((it.tier, it.priority)),
            Written::Namespaced(_) => None,
        }
    }

    /// What it calls a rule; empty where it has no name for it.
    pub(super) fn rule_name(&self, direction: Direction, index: u32) -> &str {
        let Written::Cluster(policy) = self.written else { return "" };
        let rules = match direction {
            Direction::Egress => &policy.egress,
            Direction::Ingress => &policy.ingress,
        };
        rules.get(index as usize).map_or("", |rule| &rule.name)
    }
}

impl Written<'_> {
    fn lowered(self) -> Lowered {
        match self {
            Self::Namespaced(policy) => Lowered::network_policy(policy),
            Self::Cluster(policy) => Lowered::cluster_policy(policy),
        }
    }

    fn key(self) -> ObjectKey {
        let (kind, namespace, name) = match self {
            Self::Namespaced(it) => (Kind::NetworkPolicy, Some(it.namespace.clone()), &it.name),
            Self::Cluster(it) => (Kind::ClusterNetworkPolicy, None, &it.name),
        };
        ObjectKey { kind, namespace, name: name.clone() }
    }
}
