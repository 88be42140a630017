//! Kubernetes manifests as text: YAML with any number of documents, or JSON.
//!
//! Namespaces, Pods, Nodes, NetworkPolicies, ClusterNetworkPolicies and AccessLists become
//! [`sluice_policy::model`] objects, alone or in a `List`. Other kinds have no effect and are
//! passed over with a warning, except those that would isolate somebody if another product read
//! them: these are refused, since a policy that is not enforced is worse than none. Unknown
//! fields are warned of, or refused if strict, or where more could be let through without them.

mod access_list;
mod convert;
mod tree;
mod typed;
mod v1alpha2;

use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use sluice_policy::model::Object;

use self::tree::Tree;

/// How to read manifests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ManifestOptions {
    /// Whether fields that have no effect are faults. Otherwise they are warned of.
    pub strict: bool,
}

/// What is wrong with a manifest, where, and what would be right.
///
/// Reads as `file:line: object: field: problem`, without the parts that are unknown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ManifestFault {
    /// The file.
    pub file: PathBuf,
    /// The line of the field, or else of what is around it, counted from 1.
    pub line: Option<usize>,
    /// Kind and name of the object, such as `NetworkPolicy shop/web`; empty where unknown.
    pub object: String,
    /// The field, such as `spec.ingress[0].from[1].ipBlock.cidr`; empty where it is the whole.
    pub field: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// Something in a manifest that has no effect; reads as a fault does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning(pub ManifestFault);

/// What a text holds.
#[derive(Debug, Default)]
pub struct Manifest {
    /// The objects that could be read.
    pub objects: Vec<Located>,
    /// What has no effect, sorted by line.
    pub warnings: Vec<Warning>,
    /// What is wrong, sorted by line. An object with a fault is not among `objects`.
    pub faults: Vec<ManifestFault>,
}

/// An object and where it was written.
#[derive(Debug)]
pub struct Located {
    /// The object.
    pub object: Object,
    tree: Rc<Tree>,
    /// Where the object stands in `tree`: places in the `items` of lists, from the outside in.
    place: Vec<usize>,
}

/// Reads a text of any number of YAML documents, or of JSON. `file` is only named in faults.
#[must_use]
pub fn parse(file: &Path, text: &str, options: ManifestOptions) -> Manifest {
    let mut manifest = Manifest::default();
    match tree::documents(text) {
        Ok(documents) => {
            for document in documents {
                let document = Rc::new(document);
                let mut reader = Reader {
                    file,
                    options,
                    root: &document,
                    place: Vec::new(),
                    manifest: &mut manifest,
                };
                reader.document(&document, None);
            }
        }
        Err(fault) => manifest.faults.push(ManifestFault {
            file: file.to_owned(),
            line: fault.line,
            object: String::new(),
            field: String::new(),
            problem: fault.problem,
        }),
    }
    manifest.faults.sort();
    manifest.warnings.sort();
    manifest
}

impl Located {
    /// The line of a field, or else of the innermost part of the way there that exists.
    #[must_use]
    pub fn line_of(&self, field: &str) -> usize {
        let mut tree = &*self.tree;
        for &place in &self.place {
            let items = tree.child("items").and_then(Tree::items);
            let Some(item) = items.and_then(|items| items.get(place)) else { break };
            tree = item;
        }
        tree.line_of(field)
    }
}

impl fmt::Display for ManifestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        for part in [&self.object, &self.field] {
            if !part.is_empty() {
                write!(f, ": {part}")?;
            }
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for ManifestFault {}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The group of ClusterNetworkPolicies.
const CLUSTER_POLICY_GROUP: &str = "policy.networking.k8s.io";

/// API groups whose objects decide who may talk to whom, in a way that Sluice does not.
const POLICY_GROUPS: [&str; 9] = [
    CLUSTER_POLICY_GROUP,
    "projectcalico.org",
    "crd.projectcalico.org",
    "cilium.io",
    "k8s.ovn.org",
    "network.openshift.io",
    "k8s.cni.cncf.io",
    "crd.antrea.io",
    "kubeovn.io",
];

/// The kinds that Sluice reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Namespace,
    Pod,
    Node,
    NetworkPolicy,
    ClusterNetworkPolicy,
    AccessList,
}

impl Known {
    const ALL: [Self; 6] = [
        Self::Namespace,
        Self::Pod,
        Self::Node,
        Self::NetworkPolicy,
        Self::ClusterNetworkPolicy,
        Self::AccessList,
    ];

    fn kind(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Pod => "Pod",
            Self::Node => "Node",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            Self::AccessList => "AccessList",
        }
    }

    fn version(self) -> &'static str {
        match self {
            Self::Namespace | Self::Pod | Self::Node => "v1",
            Self::NetworkPolicy => "networking.k8s.io/v1",
            Self::ClusterNetworkPolicy => "policy.networking.k8s.io/v1alpha2",
            Self::AccessList => "policy.sluice.dev/v1alpha1",
        }
    }

    fn is_namespaced(self) -> bool {
        matches!(self, Self::Pod | Self::NetworkPolicy)
    }
}

/// What to do with a document.
enum Plan {
    /// A list; its items are of this kind if they do not say so themselves.
    List(Option<Known>),
    Object(Known),
    Skip(String),
    Refuse(&'static str, String),
}

/// Reads one document, or one item of a list in it.
struct Reader<'a> {
    file: &'a Path,
    options: ManifestOptions,
    root: &'a Rc<Tree>,
    place: Vec<usize>,
    manifest: &'a mut Manifest,
}

impl Reader<'_> {
    fn document(&mut self, tree: &Tree, of_list: Option<Known>) {
        let kind = tree.child("kind").and_then(Tree::text);
        let version = tree.child("apiVersion").and_then(Tree::text);
        let plan = match (version, kind, of_list) {
            _ if !tree.is_map() => {
                Plan::Refuse("", "not an object; want a map with apiVersion and kind".to_owned())
            }
            (None, None, Some(known)) => Plan::Object(known),
            (_, None, _) => Plan::Refuse("kind", "missing; want a kind such as Pod".to_owned()),
            (None, _, _) => {
                Plan::Refuse("apiVersion", "missing; want a version such as v1".to_owned())
            }
            (Some(version), Some(kind), _) => plan(version, kind),
        };
        let name = object_name(tree, kind);
        match plan {
            Plan::Object(known) => convert::object(self, tree, known),
            Plan::List(of) => self.list(tree, &name, of),
            Plan::Skip(why) => {
                let warning = self.fault_at(tree, &name, "", why);
                self.manifest.warnings.push(Warning(warning));
            }
            Plan::Refuse(field, problem) => {
                let fault = self.fault_at(tree, &name, field, problem);
                self.manifest.faults.push(fault);
            }
        }
    }

    fn list(&mut self, tree: &Tree, name: &str, of: Option<Known>) {
        let items = match tree.child("items") {
            Some(items) => items.items(),
            None => Some(&[][..]),
        };
        let Some(items) = items else {
            let fault = self.fault_at(tree, name, "items", "not a list; want a list of objects");
            self.manifest.faults.push(fault);
            return;
        };
        for (place, item) in items.iter().enumerate() {
            self.place.push(place);
            self.document(item, of);
            self.place.pop();
        }
    }

    fn fault_at(
        &self,
        tree: &Tree,
        object: &str,
        field: &str,
        problem: impl Into<String>,
    ) -> ManifestFault {
        let line = if field.is_empty() { tree.line() } else { tree.line_of(field) };
        ManifestFault {
            file: self.file.to_owned(),
            line: Some(line),
            object: object.to_owned(),
            field: field.to_owned(),
            problem: problem.into(),
        }
    }
}

fn plan(version: &str, kind: &str) -> Plan {
    let group = version.rsplit_once('/').map_or("", |(group, _)| group);
    let of_kind = |name: &str| Known::ALL.into_iter().find(|known| known.kind() == name);
    // An AccessList is no list of objects.
    let single = match (of_kind(kind), kind.strip_suffix("List")) {
        (None, Some(single)) => single,
        _ => kind,
    };
    let known = of_kind(single);
    if is_foreign_policy(group, single) {
        let instead = match group {
            CLUSTER_POLICY_GROUP => "a ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2",
            _ => {
                "a NetworkPolicy of networking.k8s.io/v1, or a ClusterNetworkPolicy of \
                 policy.networking.k8s.io/v1alpha2"
            }
        };
        return Plan::Refuse(
            "kind",
            format!(
                "Sluice cannot enforce {kind} of {version}, and would leave open what it closes; \
                 write it as {instead}, or leave it out"
            ),
        );
    }
    let wanted = match (known, single) {
        (Some(known), _) => known.version(),
        // `List` itself; its items say what they are.
        (None, "") => "v1",
        (None, _) => {
            let [others @ .., last] = Known::ALL.map(Known::kind);
            let others = others.join(", ");
            return Plan::Skip(format!(
                "{kind} of {version} has no effect; Sluice reads {others} and {last}"
            ));
        }
    };
    if version != wanted {
        return Plan::Refuse(
            "apiVersion",
            format!("{kind} of \"{version}\" is not known; want {wanted}"),
        );
    }
    match known {
        Some(known) if single == kind => Plan::Object(known),
        of => Plan::List(of),
    }
}

/// Whether objects of this group and kind decide who may talk to whom, in a way that Sluice does
/// not: policies of other groups than [`POLICY_GROUPS`] are told by how they are called.
fn is_foreign_policy(group: &str, kind: &str) -> bool {
    match kind {
        "NetworkPolicy" => !matches!(group, "" | "networking.k8s.io" | "extensions"),
        "ClusterNetworkPolicy" => !matches!(group, "" | "networking.k8s.io" | CLUSTER_POLICY_GROUP),
        _ => POLICY_GROUPS.contains(&group) || kind.ends_with("NetworkPolicy"),
    }
}

/// What to call an object in a fault, as far as it is known.
fn object_name(tree: &Tree, kind: Option<&str>) -> String {
    let Some(kind) = kind else { return String::new() };
    let metadata = |key| tree.child("metadata")?.child(key)?.text();
    match (metadata("namespace"), metadata("name")) {
        (Some(namespace), Some(name)) => format!("{kind} {namespace}/{name}"),
        (None, Some(name)) => format!("{kind} {name}"),
        (_, None) => kind.to_owned(),
    }
}

#[cfg(test)]
mod tests;
