//! A rule set: the objects that decide who may talk to whom.
//!
//! The types are Sluice's own; manifests and gRPC messages are turned into them at the edge.
//! Where Kubernetes tells an absent field from an empty one the model has two variants with
//! names, so that neither can be taken for the other. Everything is kept sorted: two rule sets
//! with the same objects are equal, whatever order they came in.

mod access_list;
mod change;
mod cluster;
mod rule;
mod selector;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

pub use access_list::{AccessAction, AccessList, AccessListChange, AccessRule};
pub use change::Change;
pub use cluster::{
    Action, ClusterNetworkPolicy, ClusterPeer, ClusterPort, ClusterPorts, ClusterRule,
    NamespacedPods, PRIORITY_MAX, Tier,
};
pub use rule::{
    Block, NetworkPolicy, Peer, Peers, PolicyPort, PolicyType, Port, PortOrName, Ports, Problem,
    Protocol, Rule,
};
pub use selector::{Expression, LabelSelector, Operator};

/// The label that every namespace carries, with the namespace's name as its value.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Labels by key.
pub type Labels = BTreeMap<String, String>;

/// A namespaced object's name. Sorts by namespace, then name; reads as `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The namespace that the object lives in.
    pub namespace: String,
    /// Its name within that namespace.
    pub name: String,
}

/// All objects of a rule set. No two objects of a kind share a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSet {
    namespaces: BTreeMap<String, Namespace>,
    pods: BTreeMap<Name, Pod>,
    nodes: BTreeMap<String, Node>,
    network_policies: BTreeMap<Name, NetworkPolicy>,
    cluster_network_policies: BTreeMap<String, ClusterNetworkPolicy>,
    access_lists: BTreeMap<String, AccessList>,
}

/// A namespace. One that is only mentioned exists too, with no label but
/// [`NAMESPACE_NAME_LABEL`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespace {
    /// The namespace's name.
    pub name: String,
    /// Its labels; [`NAMESPACE_NAME_LABEL`] is understood and need not be among them.
    pub labels: Labels,
}

/// A pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// The namespace that it lives in.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its addresses, the primary one first; none yet is legal.
    pub addresses: Vec<IpAddr>,
    /// The node that it is scheduled on. Where it is `None` and the compiler is told the local
    /// node, the pod is taken to be there.
    pub node: Option<String>,
    /// Whether it lives in its node's own network, where no policy selects it.
    pub host_network: bool,
    /// The container ports that have a name. One name may stand for several numbers.
    pub named_ports: Vec<NamedPort>,
    /// Whether it has run to its end (`Succeeded` or `Failed`): its addresses may be another's.
    pub terminated: bool,
}

/// A container port that policies can speak of by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedPort {
    /// The port's name.
    pub name: String,
    /// The protocol that it serves.
    pub protocol: Protocol,
    /// The port's number within the pod.
    pub port: u16,
}

/// A node of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// The node's name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
}

/// The kinds of objects that a rule set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A [`Namespace`].
    Namespace,
    /// A [`Pod`].
    Pod,
    /// A [`Node`].
    Node,
    /// A [`NetworkPolicy`].
    NetworkPolicy,
    /// A [`ClusterNetworkPolicy`].
    ClusterNetworkPolicy,
    /// An [`AccessList`].
    AccessList,
}

/// Which object is meant. Reads as `NetworkPolicy shop/web` or `Node node-1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The object's kind.
    pub kind: Kind,
    /// The object's namespace; `None` for kinds that have none.
    pub namespace: Option<String>,
    /// The object's name.
    pub name: String,
}

/// An object of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A namespace.
    Namespace(Namespace),
    /// A pod.
    Pod(Pod),
    /// A node.
    Node(Node),
    /// A NetworkPolicy.
    NetworkPolicy(NetworkPolicy),
    /// A ClusterNetworkPolicy.
    ClusterNetworkPolicy(ClusterNetworkPolicy),
    /// An access list.
    AccessList(AccessList),
}

/// What is wrong with an object, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{object}: {field}: {problem}")]
pub struct Fault {
    /// Kind and name of the object, as [`ObjectKey`] reads.
    pub object: String,
    /// The field as Kubernetes spells it, such as `spec.ingress[0].from[1].ipBlock.except[0]`.
    pub field: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl RuleSet {
    /// Adds an object.
    ///
    /// # Errors
    ///
    /// A [`Fault`] where the rule set has an object of this kind and name already.
    pub fn insert(&mut self, object: impl Into<Object>) -> Result<(), Fault> {
        let object = object.into();
        let key = object.key();
        if self.contains(&key) {
            return Err(Fault {
                object: key.to_string(),
                field: "metadata.name".to_owned(),
                problem: "the rule set has this object already; give each a name of its own"
                    .to_owned(),
            });
        }
        self.replace(object);
        Ok(())
    }

    /// Adds an object, or puts it in the place of the one with the same kind and name, which is
    /// given back.
    pub fn replace(&mut self, object: impl Into<Object>) -> Option<Object> {
        match object.into() {
            Object::Namespace(it) => {
                self.namespaces.insert(it.name.clone(), it).map(Object::Namespace)
            }
            Object::Pod(it) => self.pods.insert(it.key(), it).map(Object::Pod),
            Object::Node(it) => self.nodes.insert(it.name.clone(), it).map(Object::Node),
            Object::NetworkPolicy(it) => {
                self.network_policies.insert(it.key(), it).map(Object::NetworkPolicy)
            }
            Object::ClusterNetworkPolicy(it) => self
                .cluster_network_policies
                .insert(it.name.clone(), it)
                .map(Object::ClusterNetworkPolicy),
            Object::AccessList(it) => {
                self.access_lists.insert(it.name.clone(), it).map(Object::AccessList)
            }
        }
    }

    /// Takes an object out and gives it back.
    pub fn remove(&mut self, key: &ObjectKey) -> Option<Object> {
        match key.kind {
            Kind::Namespace => self.namespaces.remove(&key.name).map(Object::Namespace),
            Kind::Pod => self.pods.remove(&key.namespaced()?).map(Object::Pod),
            Kind::Node => self.nodes.remove(&key.name).map(Object::Node),
            Kind::NetworkPolicy => {
                self.network_policies.remove(&key.namespaced()?).map(Object::NetworkPolicy)
            }
            Kind::ClusterNetworkPolicy => {
                self.cluster_network_policies.remove(&key.name).map(Object::ClusterNetworkPolicy)
            }
            Kind::AccessList => self.access_lists.remove(&key.name).map(Object::AccessList),
        }
    }

    /// The namespace of this name, if it has an object of its own.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.get(name)
    }

    /// The node of this name, if it has an object of its own.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// The pod of this name.
    #[must_use]
    pub fn pod(&self, name: &Name) -> Option<&Pod> {
        self.pods.get(name)
    }

    /// The policy of this name, of either kind; `None` for keys of other kinds too.
    #[must_use]
    pub fn policy(&self, key: &ObjectKey) -> Option<Object> {
        match key.kind {
            Kind::NetworkPolicy => {
                self.network_policies.get(&key.namespaced()?).cloned().map(Object::from)
            }
            Kind::ClusterNetworkPolicy => {
                self.cluster_network_policies.get(&key.name).cloned().map(Object::from)
            }
            Kind::Namespace | Kind::Pod | Kind::Node | Kind::AccessList => None,
        }
    }

    /// Whether the rule set has this object.
    #[must_use]
    pub fn contains(&self, key: &ObjectKey) -> bool {
        let namespaced = key.namespaced();
        match key.kind {
            Kind::Namespace => self.namespaces.contains_key(&key.name),
            Kind::Pod => namespaced.is_some_and(|name| self.pods.contains_key(&name)),
            Kind::Node => self.nodes.contains_key(&key.name),
            Kind::NetworkPolicy => {
                namespaced.is_some_and(|name| self.network_policies.contains_key(&name))
            }
            Kind::ClusterNetworkPolicy => self.cluster_network_policies.contains_key(&key.name),
            Kind::AccessList => self.access_lists.contains_key(&key.name),
        }
    }

    /// The namespaces that have an object of their own, sorted by name.
    pub fn namespaces(&self) -> impl ExactSizeIterator<Item = &Namespace> {
        self.namespaces.values()
    }

    /// The pods, sorted by namespace and name.
    pub fn pods(&self) -> impl ExactSizeIterator<Item = &Pod> {
        self.pods.values()
    }

    /// The nodes, sorted by name.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Node> {
        self.nodes.values()
    }

    /// The NetworkPolicies, sorted by namespace and name.
    pub fn network_policies(&self) -> impl ExactSizeIterator<Item = &NetworkPolicy> {
        self.network_policies.values()
    }

    /// The ClusterNetworkPolicies, sorted by name.
    pub fn cluster_network_policies(&self) -> impl ExactSizeIterator<Item = &ClusterNetworkPolicy> {
        self.cluster_network_policies.values()
    }

    /// The access list of this name.
    #[must_use]
    pub fn access_list(&self, name: &str) -> Option<&AccessList> {
        self.access_lists.get(name)
    }

    /// Carries out a change without faults on the access list that it names. Gives the rules that
    /// have gone or been replaced.
    pub(crate) fn change_access_list(&mut self, change: AccessListChange) -> Vec<AccessRule> {
        self.access_lists.get_mut(&change.name).map_or_else(Vec::new, |list| list.apply(change))
    }

    /// The access lists, sorted by name.
    pub fn access_lists(&self) -> impl ExactSizeIterator<Item = &AccessList> {
        self.access_lists.values()
    }

    /// How many objects there are, of all kinds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.namespaces.len()
            + self.pods.len()
            + self.nodes.len()
            + self.network_policies.len()
            + self.cluster_network_policies.len()
            + self.access_lists.len()
    }

    /// Whether there is no object at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All objects in the order of [`Kind`], each kind sorted.
    pub fn into_objects(self) -> impl Iterator<Item = Object> {
        let namespaces = self.namespaces.into_values().map(Object::Namespace);
        let pods = self.pods.into_values().map(Object::Pod);
        let nodes = self.nodes.into_values().map(Object::Node);
        let policies = self.network_policies.into_values().map(Object::NetworkPolicy);
        let cluster_wide =
            self.cluster_network_policies.into_values().map(Object::ClusterNetworkPolicy);
        let lists = self.access_lists.into_values().map(Object::AccessList);
        namespaces.chain(pods).chain(nodes).chain(policies).chain(cluster_wide).chain(lists)
    }
}

impl Namespace {
    /// A namespace without labels.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), labels: Labels::new() }
    }
}

impl Pod {
    /// A pod without labels or addresses.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into(), ..Self::default() }
    }

    /// The pod with one more label.
    #[must_use]
    pub fn with_label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// The pod with one more address.
    #[must_use]
    pub fn with_address(mut self, address: IpAddr) -> Self {
        self.addresses.push(address);
        self
    }

    /// The pod's full name.
    #[must_use]
    pub fn key(&self) -> Name {
        Name { namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

impl Object {
    /// Which object this is.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        let (kind, namespace, name) = match self {
            Self::Namespace(it) => (Kind::Namespace, None, &it.name),
            Self::Pod(it) => (Kind::Pod, Some(&it.namespace), &it.name),
            Self::Node(it) => (Kind::Node, None, &it.name),
            Self::NetworkPolicy(it) => (Kind::NetworkPolicy, Some(&it.namespace), &it.name),
            Self::ClusterNetworkPolicy(it) => (Kind::ClusterNetworkPolicy, None, &it.name),
            Self::AccessList(it) => (Kind::AccessList, None, &it.name),
        };
        ObjectKey { kind, namespace: namespace.cloned(), name: name.clone() }
    }
}

impl ObjectKey {
    /// Namespace and name; `None` for kinds that have no namespace.
    pub(crate) fn namespaced(&self) -> Option<Name> {
        Some(Name { namespace: self.namespace.clone()?, name: self.name.clone() })
    }
}

impl From<Namespace> for Object {
    fn from(it: Namespace) -> Self {
        Self::Namespace(it)
    }
}

impl From<Pod> for Object {
    fn from(it: Pod) -> Self {
        Self::Pod(it)
    }
}

impl From<Node> for Object {
    fn from(it: Node) -> Self {
        Self::Node(it)
    }
}

impl From<NetworkPolicy> for Object {
    fn from(it: NetworkPolicy) -> Self {
        Self::NetworkPolicy(it)
    }
}

impl From<ClusterNetworkPolicy> for Object {
    fn from(it: ClusterNetworkPolicy) -> Self {
        Self::ClusterNetworkPolicy(it)
    }
}

impl From<AccessList> for Object {
    fn from(it: AccessList) -> Self {
        Self::AccessList(it)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Namespace => "Namespace",
            Self::Pod => "Pod",
            Self::Node => "Node",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            Self::AccessList => "AccessList",
        })
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_object_of_the_same_name_is_refused() {
        let mut rules = RuleSet::default();
        rules.insert(Pod::new("shop", "web")).unwrap();
        rules.insert(Pod::new("bank", "web")).unwrap();
        let fault = rules.insert(Pod::new("shop", "web")).unwrap_err();
        assert_eq!(fault.object, "Pod shop/web");
        assert_eq!(
            rules.pods().map(|pod| pod.key().to_string()).collect::<Vec<_>>(),
            ["bank/web", "shop/web"]
        );
    }

    #[test]
    fn what_is_taken_out_is_gone() {
        let mut rules = RuleSet::default();
        rules.insert(Namespace::new("shop")).unwrap();
        rules.insert(Node { name: "n1".to_owned(), ..Node::default() }).unwrap();
        assert_eq!(rules.len(), 2);
        let key = Object::from(Namespace::new("shop")).key();
        assert_eq!(rules.remove(&key), Some(Namespace::new("shop").into()));
        assert_eq!(rules.remove(&key), None);
        assert_eq!(
            rules.into_objects().map(|it| it.key().to_string()).collect::<Vec<_>>(),
            ["Node n1"]
        );
    }
}
