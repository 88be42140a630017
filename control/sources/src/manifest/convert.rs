//! From Kubernetes' types to Sluice's.
//!
//! Absent and empty stay apart here: `None` and an empty list of Kubernetes become the variants
//! of the model that say what each means. Each fault names the field as the manifest wrote it.

mod access_list;
mod cluster;

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::de::DeserializeOwned;
use sluice_policy::model::{
    Block, Expression, LabelSelector, NamedPort, Namespace, NetworkPolicy, Node, Object, Peer, Pod,
    PolicyPort, PolicyType, PortOrName, Problem, Protocol, Rule,
};

use super::tree::Tree;
use super::{Known, Located, Reader, Warning, typed};

/// The namespace of objects that name none.
const DEFAULT_NAMESPACE: &str = "default";

/// Reads the object that `tree` holds and puts it, or its faults, into the reader's manifest.
pub(super) fn object(reader: &mut Reader<'_>, tree: &Tree, known: Known) {
    let mut item = Item {
        known,
        name: String::new(),
        found: Vec::new(),
        idle: Vec::new(),
        unknown: Vec::new(),
    };
    let object = match known {
        Known::Namespace => item.read(tree, Item::namespace),
        Known::Pod => item.read(tree, Item::pod),
        Known::Node => item.read(tree, Item::node),
        Known::NetworkPolicy => item.read(tree, Item::network_policy),
        Known::ClusterNetworkPolicy => item.read(tree, Item::cluster_network_policy),
        Known::AccessList => item.read(tree, Item::access_list),
    };
    let kind = known.kind();
    let name = match item.name.as_str() {
        "" => super::object_name(tree, Some(kind)),
        name => format!("{kind} {name}"),
    };
    if reader.options.strict {
        item.found.append(&mut item.idle);
    }
    for (field, problem) in item.idle {
        let warning = reader.fault_at(tree, &name, &field, problem);
        reader.manifest.warnings.push(Warning(warning));
    }
    if let (Some(object), true) = (object, item.found.is_empty()) {
        let located =
            Located { object, tree: std::rc::Rc::clone(reader.root), place: reader.place.clone() };
        reader.manifest.objects.push(located);
    }
    for (field, problem) in item.found {
        let fault = reader.fault_at(tree, &name, &field, problem);
        reader.manifest.faults.push(fault);
    }
}

/// One object while it is turned into Sluice's.
struct Item {
    known: Known,
    /// Its name, with its namespace where it has one; empty while unknown.
    name: String,
    /// Faults: field and problem.
    found: Vec<(String, String)>,
    /// What has no effect: field and why.
    idle: Vec<(String, String)>,
    /// Fields that the type does not have.
    unknown: Vec<String>,
}

impl Item {
    fn read<T: DeserializeOwned, O: Into<Option<Object>>>(
        &mut self,
        tree: &Tree,
        convert: fn(&mut Self, T) -> O,
    ) -> Option<Object> {
        let mut value = tree.to_value();
        if let Some(map) = value.as_object_mut() {
            // Items of a typed list may leave these out, and the reader has looked at them.
            map.insert("kind".to_owned(), self.known.kind().into());
            map.insert("apiVersion".to_owned(), self.known.version().into());
        }
        let typed = typed::read::<T>(value);
        self.found.extend(typed.faults);
        self.unknown = typed.unknown;
        let object = typed.object.and_then(|object| convert(self, object).into());
        let unknown = |field| (field, "no such field; it has no effect".to_owned());
        self.idle.extend(self.unknown.drain(..).map(unknown));
        object
    }

    fn fault(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.found.push((field.into(), problem.into()));
    }

    /// Takes a part's value, or notes what is wrong with it.
    fn take<T>(&mut self, at: &str, part: Result<T, Problem>) -> Option<T> {
        part.map_err(|it| self.fault(format!("{at}.{}", it.field), it.problem)).ok()
    }

    /// Namespace and name.
    fn name(&mut self, metadata: &meta::ObjectMeta) -> (String, String) {
        let namespace = match metadata.namespace.as_deref() {
            None | Some("") => DEFAULT_NAMESPACE.to_owned(),
            Some(namespace) => namespace.to_owned(),
        };
        let name = metadata.name.clone().unwrap_or_default();
        if name.is_empty() {
            self.fault("metadata.name", "missing; every object needs a name");
        }
        self.name =
            if self.known.is_namespaced() { format!("{namespace}/{name}") } else { name.clone() };
        (namespace, name)
    }

    fn namespace(&mut self, it: core::Namespace) -> Object {
        let (_, name) = self.name(&it.metadata);
        Namespace { name, labels: it.metadata.labels.unwrap_or_default() }.into()
    }

    fn node(&mut self, it: core::Node) -> Object {
        let (_, name) = self.name(&it.metadata);
        let mut addresses = Vec::new();
        let listed = it.status.and_then(|status| status.addresses).unwrap_or_default();
        for (place, address) in listed.iter().enumerate() {
            if matches!(address.type_.as_str(), "InternalIP" | "ExternalIP") {
                let field = format!("status.addresses[{place}].address");
                addresses.extend(self.address(field, &address.address));
            }
        }
        Node { name, labels: it.metadata.labels.unwrap_or_default(), addresses }.into()
    }

    fn pod(&mut self, it: core::Pod) -> Object {
        let (namespace, name) = self.name(&it.metadata);
        let spec = it.spec.unwrap_or_default();
        let status = it.status.unwrap_or_default();
        let mut addresses = Vec::new();
        if let Some(text) = status.pod_ip.as_deref().filter(|text| !text.is_empty()) {
            addresses.extend(self.address("status.podIP", text));
        }
        for (place, entry) in status.pod_ips.iter().flatten().enumerate() {
            let address = self.address(format!("status.podIPs[{place}].ip"), &entry.ip);
            addresses.extend(address.filter(|address| !addresses.contains(address)));
        }
        let named_ports = self.named_ports(&spec);
        Pod {
            namespace,
            name,
            labels: it.metadata.labels.unwrap_or_default(),
            addresses,
            node: spec.node_name.filter(|node| !node.is_empty()),
            host_network: spec.host_network.unwrap_or_default(),
            named_ports,
            terminated: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        }
        .into()
    }

    /// The named ports of the containers that run as long as the pod does.
    fn named_ports(&mut self, spec: &core::PodSpec) -> Vec<NamedPort> {
        let stays = |it: &&core::Container| it.restart_policy.as_deref() == Some("Always");
        let containers = spec.containers.iter().enumerate().map(|it| ("containers", it));
        let sidecars = spec.init_containers.iter().flatten().enumerate();
        let sidecars = sidecars.filter(|(_, it)| stays(it)).map(|it| ("initContainers", it));
        let mut named = Vec::new();
        for (list, (place, container)) in containers.chain(sidecars) {
            for (index, port) in container.ports.iter().flatten().enumerate() {
                let Some(name) = port.name.clone().filter(|name| !name.is_empty()) else {
                    continue;
                };
                let at = format!("spec.{list}[{place}].ports[{index}]");
                let protocol = port.protocol.as_deref().unwrap_or("TCP").parse::<Protocol>();
                let protocol = self.take(&at, protocol);
                let number = u16::try_from(port.container_port).ok().filter(|&port| port != 0);
                if number.is_none() {
                    let problem =
                        format!("{} is no port number; want 1 to 65535", port.container_port);
                    self.fault(format!("{at}.containerPort"), problem);
                }
                if let (Some(protocol), Some(port)) = (protocol, number) {
                    named.push(NamedPort { name, protocol, port });
                }
            }
        }
        named
    }

    fn network_policy(&mut self, it: networking::NetworkPolicy) -> Object {
        let (namespace, name) = self.name(&it.metadata);
        if it.spec.is_none() {
            self.fault("spec", "missing; to deny all, write spec: {podSelector: {}}");
        }
        let spec = it.spec.unwrap_or_default();
        let mut types = Vec::new();
        for (place, text) in spec.policy_types.iter().flatten().enumerate() {
            match text.parse::<PolicyType>() {
                Ok(known) => types.push(known),
                Err(it) => self.fault(format!("spec.policyTypes[{place}]"), it.problem),
            }
        }
        for (direction, list, has_rules) in [
            (
                PolicyType::Ingress,
                "ingress",
                spec.ingress.as_ref().is_some_and(|it| !it.is_empty()),
            ),
            (PolicyType::Egress, "egress", spec.egress.as_ref().is_some_and(|it| !it.is_empty())),
        ] {
            if has_rules && !types.is_empty() && !types.contains(&direction) {
                self.idle.push((
                    format!("spec.{list}"),
                    format!("has no effect: policyTypes does not list {direction:?}"),
                ));
            }
        }
        let pod_selector = self.selector("spec.podSelector", spec.pod_selector.unwrap_or_default());
        let ingress = spec.ingress.map(|rules| {
            let rules = rules.into_iter().enumerate();
            rules
                .map(|(i, it)| self.rule(&format!("spec.ingress[{i}]"), "from", it.from, it.ports))
                .collect()
        });
        let egress = spec.egress.map(|rules| {
            let rules = rules.into_iter().enumerate();
            rules
                .map(|(i, it)| self.rule(&format!("spec.egress[{i}]"), "to", it.to, it.ports))
                .collect()
        });
        NetworkPolicy::new(namespace, name, pod_selector, &types, ingress, egress).into()
    }

    fn rule(
        &mut self,
        at: &str,
        peers_field: &str,
        peers: Option<Vec<networking::NetworkPolicyPeer>>,
        ports: Option<Vec<networking::NetworkPolicyPort>>,
    ) -> Rule {
        let peers = peers.unwrap_or_default().into_iter().enumerate();
        let peers: Vec<Peer> = peers
            .filter_map(|(i, it)| self.peer(&format!("{at}.{peers_field}[{i}]"), it))
            .collect();
        let ports = ports.unwrap_or_default().into_iter().enumerate();
        let ports: Vec<PolicyPort> =
            ports.filter_map(|(i, it)| self.port(&format!("{at}.ports[{i}]"), &it)).collect();
        // A list that lost an item to a fault may be empty now, but then nobody uses the rule.
        Rule { peers: peers.into(), ports: ports.into() }
    }

    fn peer(&mut self, at: &str, it: networking::NetworkPolicyPeer) -> Option<Peer> {
        let selects = it.pod_selector.is_some() || it.namespace_selector.is_some();
        if let Some(block) = it.ip_block {
            if selects {
                self.fault(
                    format!("{at}.ipBlock"),
                    "stands beside a selector; want it in an item of its own",
                );
            }
            return self.block(&format!("{at}.ipBlock"), &block);
        }
        let pods = it.pod_selector.map(|it| self.selector(&format!("{at}.podSelector"), it));
        let namespaces =
            it.namespace_selector.map(|it| self.selector(&format!("{at}.namespaceSelector"), it));
        if !selects {
            self.fault(
                at,
                "names no peer; want podSelector, namespaceSelector or ipBlock ({} selects all)",
            );
        }
        Some(Peer::Selectors { pods, namespaces })
    }

    fn block(&mut self, at: &str, it: &networking::IPBlock) -> Option<Peer> {
        let cidr = self.net(format!("{at}.cidr"), &it.cidr);
        let mut except = Vec::new();
        for (place, hole) in it.except.iter().flatten().enumerate() {
            except.extend(self.net(format!("{at}.except[{place}]"), hole));
        }
        Some(Peer::Block(Block { cidr: cidr?, except }))
    }

    fn port(&mut self, at: &str, it: &networking::NetworkPolicyPort) -> Option<PolicyPort> {
        let port = it.port.as_ref().map(|port| match port {
            IntOrString::Int(number) => PortOrName::Number(i64::from(*number)),
            IntOrString::String(name) => PortOrName::Name(name),
        });
        let protocol = it.protocol.as_deref();
        let part = PolicyPort::from_parts(protocol, port, it.end_port.map(i64::from));
        self.take(at, part)
    }

    fn selector(&mut self, at: &str, it: meta::LabelSelector) -> LabelSelector {
        let mut match_expressions = Vec::new();
        for (place, term) in it.match_expressions.into_iter().flatten().enumerate() {
            let values = term.values.unwrap_or_default();
            let part = Expression::from_parts(term.key, &term.operator, values);
            match_expressions.extend(self.take(&format!("{at}.matchExpressions[{place}]"), part));
        }
        LabelSelector { match_labels: it.match_labels.unwrap_or_default(), match_expressions }
    }

    fn address(&mut self, field: impl Into<String>, text: &str) -> Option<IpAddr> {
        let address = text.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        if address.is_none() {
            self.fault(
                field,
                format!("\"{text}\" is no IP address; want one such as 10.0.0.7 or fd00::7"),
            );
        }
        address
    }

    fn net(&mut self, field: String, text: &str) -> Option<IpNet> {
        let net = text.parse::<IpNet>().ok();
        if net.is_none() {
            let problem = format!("\"{text}\" is no CIDR; want one such as 10.0.0.0/8 or fd00::/8");
            self.fault(field, problem);
        }
        net
    }
}
