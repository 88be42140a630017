//! What is in force, and how the daemon is.

use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};
use sluice_policy::model::{Fault, RuleSet};

/// What [`Status::health`] says when nothing is wrong.
pub const HEALTHY: &str = "ok";

/// What is in force, and how the daemon is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The revision in force; 0 before the first rule set.
    pub revision: u64,
    /// Its client's name for it.
    pub version: String,
    /// Where rule sets come from.
    pub source: Source,
    /// How many objects the rule set in force has.
    pub objects: ObjectCounts,
    /// The workers, by index.
    pub workers: Vec<WorkerStatus>,
    /// How long the daemon has run, in seconds.
    pub uptime_seconds: u64,
    /// [`HEALTHY`], or a sentence that says what is wrong.
    pub health: String,
    /// The last commit that was refused, if none has been accepted since.
    pub last_refusal: Option<Refusal>,
}

/// Where rule sets come from. Reads, and serialises, as `files DIR` or `api`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// From the files of this directory.
    Files(PathBuf),
    /// From clients of the API.
    Api,
}

/// How many objects of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ObjectCounts {
    /// Namespaces with an object of their own.
    pub namespaces: u64,
    /// Pods.
    pub pods: u64,
    /// Nodes.
    pub nodes: u64,
    /// NetworkPolicies.
    pub network_policies: u64,
    /// ClusterNetworkPolicies.
    pub cluster_network_policies: u64,
    /// Access lists.
    pub access_lists: u64,
}

/// One worker thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct WorkerStatus {
    /// Its place among the workers, from 0.
    pub index: u32,
    /// The core that it is pinned to.
    pub core: u32,
    /// The revision that it last judged by.
    pub revision: u64,
    /// The connections that it tracks.
    pub connections: u64,
    /// Connections that have given way to others for want of room.
    pub evicted: u64,
}

/// A commit that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Its client's name for it.
    pub version: String,
    /// Every reason.
    #[serde(serialize_with = "super::outcome::serialize_faults")]
    pub faults: Vec<Fault>,
    /// How long ago, in seconds.
    pub age_seconds: u64,
}

impl Status {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.health == HEALTHY
    }
}

impl ObjectCounts {
    /// Counts the objects of a rule set.
    #[must_use]
    pub fn of(rules: &RuleSet) -> Self {
        Self {
            namespaces: rules.namespaces().len() as u64,
            pods: rules.pods().len() as u64,
            nodes: rules.nodes().len() as u64,
            network_policies: rules.network_policies().len() as u64,
            cluster_network_policies: rules.cluster_network_policies().len() as u64,
            access_lists: rules.access_lists().len() as u64,
        }
    }

    /// How many there are of all kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self {
            namespaces,
            pods,
            nodes,
            network_policies,
            cluster_network_policies,
            access_lists,
        } = *self;
        [namespaces, pods, nodes, network_policies, cluster_network_policies, access_lists]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(directory) => write!(f, "files {}", directory.display()),
            Self::Api => f.write_str("api"),
        }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
