//! NetworkPolicies: rules, peers and ports.
//!
//! Kubernetes says much by what is absent. Here each such meaning has a name of its own:
//! a direction that a policy does not isolate is `None`, an isolated direction without rules
//! is `Some(vec![])`, everybody is [`Peers::Everybody`], all ports are [`Ports::All`].

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;

use super::{LabelSelector, Name};

/// A NetworkPolicy (networking.k8s.io/v1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// The namespace whose pods it may select.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The pods of the namespace that it isolates.
    pub pod_selector: LabelSelector,
    /// `None`: does not isolate for ingress. `Some`: isolates, and admits what a rule admits.
    pub ingress: Option<Vec<Rule>>,
    /// `None`: does not isolate for egress. `Some`: isolates, and admits what a rule admits.
    pub egress: Option<Vec<Rule>>,
}

/// A direction that `policyTypes` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyType {
    /// What the selected pods receive.
    Ingress,
    /// What the selected pods send.
    Egress,
}

/// Admits its peers to its ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// `from` of an ingress rule, `to` of an egress rule.
    pub peers: Peers,
    /// The destination ports.
    pub ports: Ports,
}

/// Whom a rule admits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Peers {
    /// Every address, in the cluster or not: `from` or `to` is absent or empty.
    #[default]
    Everybody,
    /// Whoever one of these peers matches. Never empty: such a list means everybody.
    AnyOf(Vec<Peer>),
}

/// One item of `from` or `to`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// Pods by their labels and their namespaces' labels; both must match where both are given.
    Selectors {
        /// The pods meant; `None`: all pods of the namespaces.
        pods: Option<LabelSelector>,
        /// The namespaces meant; `None`: the policy's own.
        namespaces: Option<LabelSelector>,
    },
    /// Addresses, of pods too.
    Block(Block),
}

/// `ipBlock`: addresses with holes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    /// The addresses meant.
    pub cidr: IpNet,
    /// The addresses taken out again, each a true part of `cidr`.
    pub except: Vec<IpNet>,
}

/// To which ports a rule admits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Ports {
    /// Every port of every protocol: `ports` is absent or empty.
    #[default]
    All,
    /// Whatever one of these matches. Never empty: such a list means all.
    AnyOf(Vec<PolicyPort>),
}

/// One item of `ports`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyPort {
    /// The protocol; an item that names none means TCP.
    pub protocol: Protocol,
    /// Which ports of the protocol.
    pub port: Port,
}

/// Which ports of a protocol are meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    /// Every port.
    All,
    /// One port, 1 to 65535.
    Number(u16),
    /// The ports from `first` to `last`, both among them.
    Range {
        /// The lowest port, at least 1.
        first: u16,
        /// The highest port, not below `first`.
        last: u16,
    },
    /// The port that the destination pod gives this name; where it gives it to none, no port.
    Named(String),
}

/// The protocols that a NetworkPolicy can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// The `port` field of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortOrName<'a> {
    /// A number, not yet known to be a port.
    Number(i64),
    /// A name.
    Name(&'a str),
}

/// What is wrong with a part of an object; `field` counts from that part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Problem {
    /// The field within the part, such as `endPort`.
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl NetworkPolicy {
    /// Builds a policy from the fields of a manifest.
    ///
    /// `types` is empty where the manifest names none; then the policy isolates for ingress,
    /// and for egress too if it has an egress rule. Rules of a direction that is not among the
    /// types have no effect, as in Kubernetes.
    #[must_use]
    pub fn new(
        namespace: impl Into<String>,
        name: impl Into<String>,
        pod_selector: LabelSelector,
        types: &[PolicyType],
        ingress: Option<Vec<Rule>>,
        egress: Option<Vec<Rule>>,
    ) -> Self {
        let (ingress, egress) = (ingress.unwrap_or_default(), egress.unwrap_or_default());
        let defaulted = types.is_empty();
        let has_ingress = defaulted || types.contains(&PolicyType::Ingress);
        let has_egress =
            if defaulted { !egress.is_empty() } else { types.contains(&PolicyType::Egress) };
        Self {
            namespace: namespace.into(),
            name: name.into(),
            pod_selector,
            ingress: has_ingress.then_some(ingress),
            egress: has_egress.then_some(egress),
        }
    }

    /// The policy's full name.
    #[must_use]
    pub fn key(&self) -> Name {
        Name { namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

impl From<Vec<Peer>> for Peers {
    /// An empty list means everybody.
    fn from(peers: Vec<Peer>) -> Self {
        if peers.is_empty() { Self::Everybody } else { Self::AnyOf(peers) }
    }
}

impl From<Vec<PolicyPort>> for Ports {
    /// An empty list means all ports.
    fn from(ports: Vec<PolicyPort>) -> Self {
        if ports.is_empty() { Self::All } else { Self::AnyOf(ports) }
    }
}

impl PolicyPort {
    /// Builds an item from the fields of a manifest, of which each may be absent.
    ///
    /// # Errors
    ///
    /// A [`Problem`] with the field `protocol`, `port` or `endPort`.
    pub fn from_parts(
        protocol: Option<&str>,
        port: Option<PortOrName<'_>>,
        end_port: Option<i64>,
    ) -> Result<Self, Problem> {
        let protocol = protocol.unwrap_or("TCP").parse::<Protocol>()?;
        let port = match (port, end_port) {
            (None, None) => Port::All,
            (Some(PortOrName::Number(number)), None) => Port::Number(port_number("port", number)?),
            (Some(PortOrName::Name(name)), None) => Port::Named(name.to_owned()),
            (Some(PortOrName::Number(first)), Some(last)) => {
                let first = port_number("port", first)?;
                let last = port_number("endPort", last)?;
                Port::Range { first, last }
            }
            (Some(PortOrName::Name(name)), Some(_)) => {
                return Err(Problem::new(
                    "endPort",
                    format!("port is the name \"{name}\"; a range begins with a port number"),
                ));
            }
            (None, Some(_)) => {
                return Err(Problem::new(
                    "endPort",
                    "port is absent; a range needs the number that it begins with there",
                ));
            }
        };
        match port {
            Port::Range { first, last } if last < first => Err(Problem::range(first, last)),
            _ => Ok(Self { protocol, port }),
        }
    }
}

impl Protocol {
    /// The protocol's number as IANA assigns it.
    #[must_use]
    pub fn number(self) -> sluice_core::ports::Protocol {
        match self {
            Self::Tcp => sluice_core::ports::TCP,
            Self::Udp => sluice_core::ports::UDP,
            Self::Sctp => sluice_core::ports::SCTP,
        }
    }
}

impl FromStr for Protocol {
    type Err = Problem;

    /// Reads `TCP`, `UDP` or `SCTP`, in capitals as Kubernetes demands.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "TCP" => Ok(Self::Tcp),
            "UDP" => Ok(Self::Udp),
            "SCTP" => Ok(Self::Sctp),
            _ => Err(Problem::new(
                "protocol",
                format!("unknown protocol \"{text}\"; want TCP, UDP or SCTP"),
            )),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

impl FromStr for PolicyType {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "Ingress" => Ok(Self::Ingress),
            "Egress" => Ok(Self::Egress),
            _ => Err(Problem::new(
                "policyTypes",
                format!("unknown policy type \"{text}\"; want Ingress or Egress"),
            )),
        }
    }
}

impl Problem {
    /// A problem with a field.
    #[must_use]
    pub fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }

    pub(crate) fn range(first: u16, last: u16) -> Self {
        Self::new("endPort", format!("{last} is below port {first}; want {first} to 65535"))
    }
}

fn port_number(field: &'static str, number: i64) -> Result<u16, Problem> {
    u16::try_from(number)
        .ok()
        .filter(|&port| port != 0)
        .ok_or_else(|| Problem::new(field, format!("{number} is no port number; want 1 to 65535")))
}
