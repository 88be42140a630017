//! From a ClusterNetworkPolicy as it is written to Sluice's.
//!
//! A field that is not known may be one that narrows what its rule speaks of. Here it is refused
//! where reading on without it could let more through: in `protocols`, in rules that accept or
//! pass, and in the subject of such rules. A kind of peer that is not known is kept, and makes its
//! rule fail closed.

use sluice_policy::model::{
    Action, ClusterNetworkPolicy, ClusterPeer, ClusterPort, ClusterPorts, ClusterRule,
    LabelSelector, NamespacedPods, Object, Protocol, Tier,
};
use sluice_policy::validate::canonical_net;

use super::super::v1alpha2::{self, Map};
use super::Item;

/// A direction, by what its fields are called.
struct Side {
    rules: &'static str,
    peers: &'static str,
    /// The other direction's peers.
    others: &'static str,
    /// The kinds of peers that there are.
    kinds: &'static str,
}

const INGRESS: Side =
    Side { rules: "ingress", peers: "from", others: "to", kinds: "namespaces or pods" };
const EGRESS: Side = Side {
    rules: "egress",
    peers: "to",
    others: "from",
    kinds: "namespaces, pods, nodes or networks",
};

impl Item {
    pub(super) fn cluster_network_policy(
        &mut self,
        it: v1alpha2::ClusterNetworkPolicy,
    ) -> Option<Object> {
        let (_, name) = self.name(&it.metadata.unwrap_or_default());
        let Map(spec) = self.required("spec", it.spec, "tier, priority, subject and rules")?;
        let tier = self.required("spec.tier", spec.tier, "Admin or Baseline");
        let tier = tier.and_then(|text| self.take("spec", text.parse::<Tier>()));
        let priority = self.required("spec.priority", spec.priority, "0 to 1000");
        let priority = priority.and_then(|number| self.priority(number));
        let subject = self.required("spec.subject", spec.subject, "namespaces or pods");
        let subject = subject.and_then(|Map(subject)| self.subject("spec.subject", subject));
        let ingress = self.cluster_rules(&INGRESS, spec.ingress);
        let egress = self.cluster_rules(&EGRESS, spec.egress);
        if ingress.iter().chain(&egress).any(|rule| rule.action != Action::Deny) {
            self.refuse_unknown("spec.subject");
        }
        let (tier, priority, subject) = (tier?, priority?, subject?);
        Some(ClusterNetworkPolicy { name, tier, priority, subject, ingress, egress }.into())
    }

    fn priority(&mut self, number: i64) -> Option<u16> {
        let priority = u16::try_from(number).ok();
        if priority.is_none() {
            self.fault("spec.priority", format!("{number} is no priority; want 0 to 1000"));
        }
        priority
    }

    fn subject(&mut self, at: &str, it: v1alpha2::Subject) -> Option<NamespacedPods> {
        let set = [("namespaces", it.namespaces.is_some()), ("pods", it.pods.is_some())];
        self.exactly_one(at, &names(&set), "namespaces or pods");
        match (it.namespaces, it.pods) {
            (Some(namespaces), _) => Some(NamespacedPods {
                namespaces: self.selector(&format!("{at}.namespaces"), namespaces),
                pods: LabelSelector::everything(),
            }),
            (None, Some(Map(pods))) => self.namespaced_pods(&format!("{at}.pods"), pods),
            (None, None) => None,
        }
    }

    fn namespaced_pods(
        &mut self,
        at: &str,
        it: v1alpha2::NamespacedPods,
    ) -> Option<NamespacedPods> {
        let namespaces = it.namespace_selector.unwrap_or_default();
        let namespaces = self.selector(&format!("{at}.namespaceSelector"), namespaces);
        let at = format!("{at}.podSelector");
        let pods = self.required(&at, it.pod_selector, "a selector ({} selects all)")?;
        Some(NamespacedPods { namespaces, pods: self.selector(&at, pods) })
    }

    fn cluster_rules(
        &mut self,
        side: &Side,
        rules: Option<Vec<Map<v1alpha2::Rule>>>,
    ) -> Vec<ClusterRule> {
        let rules = rules.unwrap_or_default().into_iter().enumerate();
        rules
            .filter_map(|(i, Map(it))| {
                self.cluster_rule(&format!("spec.{}[{i}]", side.rules), side, it)
            })
            .collect()
    }

    fn cluster_rule(&mut self, at: &str, side: &Side, it: v1alpha2::Rule) -> Option<ClusterRule> {
        let Side { rules, peers: peers_field, others, kinds } = side;
        let action = self.required(&format!("{at}.action"), it.action, "Accept, Deny or Pass");
        let action = action.and_then(|text| self.take(at, text.parse::<Action>()));
        let (peers, stray) = match *peers_field {
            "from" => (it.from, it.to),
            _ => (it.to, it.from),
        };
        if stray.is_some() {
            let problem = format!("stands in an {rules} rule; want {peers_field}");
            self.fault(format!("{at}.{others}"), problem);
        }
        let peers_at = format!("{at}.{peers_field}");
        let listed = self.required(&peers_at, peers, &format!("a list of {kinds}"));
        let mut peers = Vec::new();
        for (place, Map(peer)) in listed.into_iter().flatten().enumerate() {
            peers.extend(self.cluster_peer(&format!("{peers_at}[{place}]"), side, action, peer));
        }
        let ports = it.protocols.map_or(ClusterPorts::All, |protocols| {
            let protocols = protocols.into_iter().enumerate();
            let port = |(i, Map(it))| self.cluster_port(&format!("{at}.protocols[{i}]"), it);
            ClusterPorts::AnyOf(protocols.filter_map(port).collect())
        });
        let action = action?;
        if action != Action::Deny {
            self.refuse_unknown(at);
        }
        Some(ClusterRule { name: it.name.unwrap_or_default(), action, peers, ports })
    }

    fn cluster_peer(
        &mut self,
        at: &str,
        side: &Side,
        action: Option<Action>,
        it: v1alpha2::Peer,
    ) -> Option<ClusterPeer> {
        let known = [
            ("namespaces", it.namespaces.is_some()),
            ("pods", it.pods.is_some()),
            ("nodes", it.nodes.is_some()),
            ("networks", it.networks.is_some()),
            ("domainNames", it.domain_names.is_some()),
        ];
        let known = names(&known);
        let unknown = self.unknown_beside(at, &known);
        let set: Vec<&str> = known.into_iter().chain(unknown.iter().map(String::as_str)).collect();
        self.exactly_one(at, &set, side.kinds);
        if let Some(namespaces) = it.namespaces {
            let namespaces = self.selector(&format!("{at}.namespaces"), namespaces);
            let pods = LabelSelector::everything();
            return Some(ClusterPeer::Pods(NamespacedPods { namespaces, pods }));
        }
        if let Some(Map(pods)) = it.pods {
            return self.namespaced_pods(&format!("{at}.pods"), pods).map(ClusterPeer::Pods);
        }
        if let Some(nodes) = it.nodes {
            return Some(ClusterPeer::Nodes(self.selector(&format!("{at}.nodes"), nodes)));
        }
        if let Some(networks) = it.networks {
            let networks = networks.iter().enumerate();
            let net = |(i, text): (usize, &String)| self.net(format!("{at}.networks[{i}]"), text);
            return Some(ClusterPeer::Networks(
                networks.filter_map(net).map(canonical_net).collect(),
            ));
        }
        if it.domain_names.is_some() {
            let problem =
                "domain names cannot be enforced yet; want networks, or leave the rule out";
            self.fault(format!("{at}.domainNames"), problem);
            return None;
        }
        let field = unknown.into_iter().next()?;
        let so_now = match action {
            Some(Action::Accept) => "this Accept rule fails closed and matches nothing",
            Some(Action::Deny) => "this Deny rule fails closed and denies everything",
            Some(Action::Pass) => "this Pass rule fails closed and denies everything",
            None => "its rule fails closed",
        };
        let why = format!("no such kind of peer: {so_now}; want {}", side.kinds);
        self.idle.push((format!("{at}.{field}"), why));
        Some(ClusterPeer::Unknown(field))
    }

    fn cluster_port(&mut self, at: &str, it: v1alpha2::Protocol) -> Option<ClusterPort> {
        let named = it.destination_named_port;
        let known = [
            ("tcp", it.tcp.is_some()),
            ("udp", it.udp.is_some()),
            ("sctp", it.sctp.is_some()),
            ("destinationNamedPort", named.is_some()),
        ];
        let known = names(&known);
        // An unknown field is a fault already; that nothing else is set is not another.
        if !self.refuse_unknown(at) || !known.is_empty() {
            self.exactly_one(at, &known, "tcp, udp, sctp or destinationNamedPort");
        }
        if let Some(name) = named {
            return Some(ClusterPort::Named(name));
        }
        let (protocol, field, Map(it)) = [
            (Protocol::Tcp, "tcp", it.tcp),
            (Protocol::Udp, "udp", it.udp),
            (Protocol::Sctp, "sctp", it.sctp),
        ]
        .into_iter()
        .find_map(|(protocol, field, it)| Some((protocol, field, it?)))?;
        let at = format!("{at}.{field}.destinationPort");
        let Map(port) = self.required(&at, it.destination_port, "number or range")?;
        let (first, last) = self.destination_port(&at, port)?;
        Some(ClusterPort::Range { protocol, first, last })
    }

    /// The first and the last port.
    fn destination_port(&mut self, at: &str, it: v1alpha2::Port) -> Option<(u16, u16)> {
        let set = [("number", it.number.is_some()), ("range", it.range.is_some())];
        self.exactly_one(at, &names(&set), "number or range");
        if let Some(number) = it.number {
            let port = self.port_number(&format!("{at}.number"), Some(number))?;
            return Some((port, port));
        }
        let Map(range) = it.range?;
        let at = format!("{at}.range");
        let first = self.port_number(&format!("{at}.start"), range.start);
        let last = self.port_number(&format!("{at}.end"), range.end);
        let (first, last) = (first?, last?);
        if first >= last {
            self.fault(
                at,
                format!("end {last} is not above start {first}; want a larger end, or number"),
            );
        }
        Some((first, last))
    }

    fn port_number(&mut self, at: &str, number: Option<i64>) -> Option<u16> {
        let number = self.required(at, number, "1 to 65535")?;
        let port = u16::try_from(number).ok().filter(|&port| port != 0);
        if port.is_none() {
            self.fault(at, format!("{number} is no port number; want 1 to 65535"));
        }
        port
    }

    pub(super) fn required<T>(&mut self, at: &str, value: Option<T>, want: &str) -> Option<T> {
        if value.is_none() {
            self.fault(at, format!("missing; want {want}"));
        }
        value
    }

    /// Notes a fault unless one field is set and no other.
    fn exactly_one(&mut self, at: &str, set: &[&str], want: &str) {
        match set {
            [] => self.fault(at, format!("has none of its fields; want {want}")),
            [_] => {}
            several => {
                let several = several.join(" and ");
                self.fault(at, format!("has {several}; want exactly one of them"));
            }
        }
    }

    /// The fields of `at` that are not known, out of the list of those that are passed over.
    /// What stands within one of the `known` fields stays there.
    fn unknown_beside(&mut self, at: &str, known: &[&str]) -> Vec<String> {
        let beside = |field: &String| {
            let inner = field.strip_prefix(at).and_then(|field| field.strip_prefix('.'))?;
            let within = |known: &&str| {
                inner.strip_prefix(known).is_some_and(|it| it.starts_with(['.', '[']))
            };
            (!known.iter().any(within)).then(|| inner.to_owned())
        };
        let found = self.unknown.iter().filter_map(beside).collect();
        self.unknown.retain(|field| beside(field).is_none());
        found
    }

    /// Makes faults of all fields within `at` that are not known. Whether there were any.
    pub(super) fn refuse_unknown(&mut self, at: &str) -> bool {
        let within = |field: &mut String| {
            field.strip_prefix(at).is_some_and(|inner| inner.starts_with(['.', '[']))
        };
        let refused: Vec<String> = self.unknown.extract_if(.., within).collect();
        for field in &refused {
            let problem = format!(
                "no such field, and without it more could be let through; want it spelled as in {}, \
                 or gone",
                self.known.version()
            );
            self.fault(field, problem);
        }
        !refused.is_empty()
    }
}

/// The names of the fields that are set.
fn names<'a>(fields: &[(&'a str, bool)]) -> Vec<&'a str> {
    fields.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect()
}
