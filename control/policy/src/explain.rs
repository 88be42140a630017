//! Why a connection is allowed or dropped.
//!
//! The answer is the table's own: `explain` calls [`Table::decide`] as the packet path does and
//! puts what it says into words. There is no second model of the policies here.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::Serialize;
use sluice_core::address::NetworkId;
use sluice_core::policy::{Attempt, DYNAMIC_PORT, Decision, Reason};
use sluice_core::ports;
use sluice_core::table::{
    AccessDenied, Direction, Party, PolicyId, PolicySet, RuleRef, Table, Tier,
};

use crate::model::{Name, Protocol};

/// A connection that somebody asks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Who would open it.
    pub from: Who,
    /// Who would be asked.
    pub to: Who,
    /// The protocol.
    pub protocol: Protocol,
    /// The destination port.
    pub port: u16,
}

/// One end of a connection. Reads from `namespace/pod` or an IP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A pod by its name.
    Pod(Name),
    /// Whoever holds the address.
    Address(IpAddr),
}

/// What becomes of a connection, and why. Serialises to the JSON that `sluicectl` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Who opens it, as asked.
    pub from: String,
    /// Who is asked, as asked.
    pub to: String,
    /// The destination port.
    pub port: u16,
    /// The protocol, such as `TCP`.
    pub protocol: String,
    /// Whether no access list denies it, and both ends allow it.
    pub verdict: Verdict,
    /// The access list that denies it; left out where none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_list: Option<Denial>,
    /// What the source's end says.
    pub egress: Side,
    /// What the destination's end says.
    pub ingress: Side,
}

/// Which rule of an access list denies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Denial {
    /// The list's name.
    pub name: String,
    /// The rule's priority.
    pub priority: u32,
}

/// What one end says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Whether this end allows it.
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub reason: String,
    /// The tier that decided: `Admin`, `NetworkPolicy` or `Baseline`; `None` where none did.
    pub tier: Option<String>,
    /// The kind of the policy whose rule decided; `None` where no rule did.
    pub kind: Option<String>,
    /// The policy whose rule decided, `namespace/name`, or `name` where it has no namespace;
    /// `None` where no rule did.
    pub policy: Option<String>,
    /// The place of that rule in its list, counted from 0; `None` where no rule decided.
    pub rule: Option<u32>,
    /// What the policy calls that rule; `None` where it has no name or no rule decided.
    pub rule_name: Option<String>,
}

/// Allow or drop. Serialises to `"allow"` and `"drop"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The connection may be opened.
    Allow,
    /// Its packets are dropped in silence.
    Drop,
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// The text is neither an address nor a pod's name.
    #[error("\"{0}\" is neither an IP address nor namespace/pod")]
    Syntax(String),
    /// The text is an address block.
    #[error("\"{0}\" is an address block; give one address")]
    Block(String),
    /// No pod has this name.
    #[error("no pod {0} in the rule set; it may have another name, or have run to its end")]
    UnknownPod(Name),
    /// The pod has no address.
    #[error("pod {0} has no address yet, so nothing can reach it or come from it")]
    NoAddress(Name),
    /// No IP version is common to both.
    #[error("{from} and {to} have no IP version in common: one has only IPv4, the other only IPv6")]
    NoCommonFamily {
        /// Who opens the connection.
        from: String,
        /// Who is asked.
        to: String,
    },
}

/// Answers `question` from `table`.
///
/// Pods with both IPv4 and IPv6 are asked about by the first address of the source that has a
/// counterpart. A pod in its node's network is judged as that node.
///
/// # Errors
///
/// An [`ExplainError`] where an end is unknown or the two have no IP version in common.
pub fn explain(table: &Table, question: &Question) -> Result<Explanation, ExplainError> {
    let (source, destination) = addresses(table, question)?;
    let attempt = Attempt {
        network: NetworkId::DEFAULT,
        source,
        destination,
        protocol: question.protocol.number(),
        source_port: Some(DYNAMIC_PORT),
        port: Some(question.port),
    };
    let decision = table.decide(&attempt);
    let scene = Scene { table, attempt: &attempt };
    Ok(Explanation {
        from: question.from.to_string(),
        to: question.to.to_string(),
        port: question.port,
        protocol: question.protocol.to_string(),
        verdict: Verdict::of(decision.allows()),
        access_list: decision.access.map(|denied| Denial::of(table, denied)),
        egress: scene.side(Direction::Egress, decision.egress),
        ingress: scene.side(Direction::Ingress, decision.ingress),
    })
}

/// Why `table` drops an attempt, in one sentence; `None` where it allows it.
#[must_use]
pub fn why_dropped(table: &Table, attempt: &Attempt) -> Option<String> {
    let Decision { access, egress, ingress } = table.decide(attempt);
    let scene = Scene { table, attempt };
    match (access, egress.allows(), ingress.allows()) {
        (Some(denied), ..) => Some(format!("{} denies it", Denial::of(table, denied))),
        (_, false, _) => Some(scene.sentence(Direction::Egress, egress)),
        (_, _, false) => Some(scene.sentence(Direction::Ingress, ingress)),
        _ => None,
    }
}

/// What to call the holder of an address: `namespace/pod`, `node name`, or the address.
#[must_use]
pub fn holder(table: &Table, address: IpAddr) -> String {
    let name = match table.party(NetworkId::DEFAULT, address) {
        Party::Pod(id) => table.endpoint(id).map(|endpoint| endpoint.name.to_string()),
        Party::Node(id) => table.node(id).map(|node| format!("node {}", node.name)),
        Party::External => None,
    };
    name.unwrap_or_else(|| address.to_string())
}

impl Denial {
    fn of(table: &Table, AccessDenied { list, priority }: AccessDenied) -> Self {
        let list = table.access_lists().get(list as usize);
        Self { name: list.map(|list| list.name.to_string()).unwrap_or_default(), priority }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the rule of priority {} in access list {}", self.priority, self.name)
    }
}

impl Verdict {
    pub(crate) fn of(allowed: bool) -> Self {
        if allowed { Self::Allow } else { Self::Drop }
    }
}

impl FromStr for Who {
    type Err = ExplainError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address.to_canonical()));
        }
        if text.parse::<ipnet::IpNet>().is_ok() {
            return Err(ExplainError::Block(text.to_owned()));
        }
        match text.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Ok(Self::Pod(Name { namespace: namespace.to_owned(), name: name.to_owned() }))
            }
            _ => Err(ExplainError::Syntax(text.to_owned())),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Drop => "drop",
        })
    }
}

/// For people: the verdict first, then each end on a line of its own.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, port, protocol, verdict, access_list, egress, ingress } = self;
        writeln!(f, "{verdict}: {protocol} {port} from {from} to {to}")?;
        if let Some(denial) = access_list {
            writeln!(f, "  {denial} denies it")?;
        }
        writeln!(f, "  egress of {from}: {}: {}", egress.verdict, egress.reason)?;
        write!(f, "  ingress of {to}: {}: {}", ingress.verdict, ingress.reason)
    }
}

/// What the sentences speak of.
struct Scene<'a> {
    table: &'a Table,
    attempt: &'a Attempt,
}

impl Scene<'_> {
    fn side(&self, direction: Direction, reason: Reason) -> Side {
        let by = match reason {
            Reason::Accepted(tier, rule) | Reason::Denied(tier, rule) => Some((tier, rule)),
            _ => None,
        };
        let policy = by.and_then(|(_, rule)| self.table.policy(rule.policy));
        let tier = match reason {
            Reason::NoRule => Some(Tier::NetworkPolicy),
            _ => by.map(|(tier, _)| tier),
        };
        let rule_name =
            by.and_then(|(_, rule)| policy.and_then(|it| it.rule_name(direction, rule.index)));
        Side {
            verdict: Verdict::of(reason.allows()),
            reason: self.sentence(direction, reason),
            tier: tier.map(|tier| word_for(tier).to_owned()),
            kind: policy.map(|policy| policy.kind.to_owned()),
            policy: policy.map(|policy| policy.name.to_string()),
            rule: by.map(|(_, rule)| rule.index),
            rule_name: rule_name.map(str::to_owned),
        }
    }

    fn sentence(&self, direction: Direction, reason: Reason) -> String {
        let Attempt { source, destination, .. } = *self.attempt;
        let (subject, peer, preposition, word) = match direction {
            Direction::Egress => (source, destination, "to", "egress"),
            Direction::Ingress => (destination, source, "from", "ingress"),
        };
        let asked = || format!("{} {preposition} {}", self.asked(), self.name(peer));
        match reason {
            Reason::SamePod => format!("{} talks to itself", self.name(subject)),
            Reason::OwnNode => "a pod and the node that it runs on always reach each other".into(),
            Reason::NotAPod => match self.table.party(NetworkId::DEFAULT, subject) {
                Party::Node(_) => {
                    format!("{} is a node; policies select only pods", self.name(subject))
                }
                _ => format!("{subject} is outside the cluster; policies select only pods"),
            },
            Reason::Undecided => self.undecided(subject, direction, word, &asked()),
            Reason::Accepted(Tier::NetworkPolicy, rule) => {
                let policy = self.policy_name(rule.policy);
                format!("rule {} of NetworkPolicy {policy} admits it", rule.index)
            }
            Reason::Accepted(tier, rule) => {
                format!("{} accepts it", self.cluster_rule(direction, tier, rule))
            }
            Reason::Denied(tier, rule) => {
                format!("{} denies {}", self.cluster_rule(direction, tier, rule), asked())
            }
            Reason::NoRule => {
                let policies = self.policies(subject, direction, &[Tier::NetworkPolicy]);
                format!("no rule of {policies} admits {}", asked())
            }
        }
    }

    /// Nothing selects the pod, or what does has nothing to say.
    fn undecided(&self, pod: IpAddr, direction: Direction, word: &str, asked: &str) -> String {
        let tiers = [Tier::Admin, Tier::Baseline];
        if self.sets(pod, direction, &tiers).next().is_none() {
            return format!("no policy selects {} for {word}", self.name(pod));
        }
        format!(
            "no rule of {} decides on {asked}, and no NetworkPolicy selects {} for {word}",
            self.policies(pod, direction, &tiers),
            self.name(pod)
        )
    }

    /// Such as `rule 2 "dns" of ClusterNetworkPolicy guard (Admin tier)`.
    fn cluster_rule(&self, direction: Direction, tier: Tier, rule: RuleRef) -> String {
        let RuleRef { policy, index, .. } = rule;
        let name = self.table.policy(policy).and_then(|it| it.rule_name(direction, index));
        let name = name.map(|name| format!(" \"{name}\"")).unwrap_or_default();
        let kind = self.table.policy(policy).map_or("policy", |policy| policy.kind);
        let policy = self.policy_name(policy);
        format!("rule {index}{name} of {kind} {policy} ({} tier)", word_for(tier))
    }

    fn policy_name(&self, id: PolicyId) -> &str {
        self.table.policy(id).map_or("a policy", |policy| &policy.name)
    }

    /// The policy sets of a pod in some tiers.
    fn sets<'a>(
        &'a self,
        pod: IpAddr,
        direction: Direction,
        tiers: &'a [Tier],
    ) -> impl Iterator<Item = &'a PolicySet> {
        let party = self.table.party(NetworkId::DEFAULT, pod);
        let identity = self.table.identity_of(party);
        tiers.iter().filter_map(move |tier| identity?.set(direction, *tier))
    }

    /// The policies that select a pod: `a`, `a or b`, `a, b or c`.
    fn policies(&self, pod: IpAddr, direction: Direction, tiers: &[Tier]) -> String {
        let ids = self.sets(pod, direction, tiers).flat_map(PolicySet::policies);
        let names: Vec<&str> = ids.map(|id| self.policy_name(id)).collect();
        match names.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => "any policy".to_owned(),
        }
    }

    /// Such as `TCP 443`.
    fn asked(&self) -> String {
        let protocol = protocol_name(self.attempt.protocol);
        match self.attempt.port {
            Some(port) => format!("{protocol} {port}"),
            None => protocol,
        }
    }

    fn name(&self, address: IpAddr) -> String {
        holder(self.table, address)
    }
}

/// What to call an IP protocol.
#[must_use]
pub fn protocol_name(protocol: ports::Protocol) -> String {
    match protocol {
        ports::TCP => "TCP".to_owned(),
        ports::UDP => "UDP".to_owned(),
        ports::SCTP => "SCTP".to_owned(),
        ports::ICMP => "ICMP".to_owned(),
        ports::ICMPV6 => "ICMPv6".to_owned(),
        number => format!("IP protocol {number}"),
    }
}

fn word_for(tier: Tier) -> &'static str {
    match tier {
        Tier::Admin => "Admin",
        Tier::NetworkPolicy => "NetworkPolicy",
        Tier::Baseline => "Baseline",
    }
}

/// An address of each end, of the same IP version.
fn addresses(table: &Table, question: &Question) -> Result<(IpAddr, IpAddr), ExplainError> {
    let sources = candidates(table, &question.from)?;
    let destinations = candidates(table, &question.to)?;
    common_family(&sources, &destinations).ok_or_else(|| ExplainError::NoCommonFamily {
        from: question.from.to_string(),
        to: question.to.to_string(),
    })
}

/// The first source address that has a destination address of its IP version, and that one.
pub(crate) fn common_family(
    sources: &[IpAddr],
    destinations: &[IpAddr],
) -> Option<(IpAddr, IpAddr)> {
    sources.iter().find_map(|source| {
        let same = |other: &&IpAddr| other.is_ipv4() == source.is_ipv4();
        destinations.iter().find(same).map(|destination| (*source, *destination))
    })
}

fn candidates(table: &Table, who: &Who) -> Result<Vec<IpAddr>, ExplainError> {
    let name = match who {
        Who::Address(address) => return Ok(vec![*address]),
        Who::Pod(name) => name,
    };
    let endpoint = table
        .endpoint_named(&name.to_string())
        .and_then(|id| table.endpoint(id))
        .ok_or_else(|| ExplainError::UnknownPod(name.clone()))?;
    if endpoint.addresses.is_empty() {
        return Err(ExplainError::NoAddress(name.clone()));
    }
    Ok(endpoint.addresses.clone())
}

#[cfg(test)]
mod tests;
