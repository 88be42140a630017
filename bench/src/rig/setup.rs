//! What a forwarder is told to let through.

use std::net::{IpAddr, Ipv4Addr};

use sluice_policy::model::{
    LabelSelector, NetworkPolicy, Object, Peer, Peers, Pod, PolicyPort, PolicyType, Port,
    Ports as RulePorts, Protocol, Rule, RuleSet,
};

use super::cable::{destination, source};
use super::{BenchError, FORWARD_CORE};
use crate::traffic::{DESTINATION_PORT, Family, sources};

/// How a forwarder is set up.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// NetworkPolicies of Sluice, of which one admits the load; without any everybody may do
    /// everything. Elements of the kernel's set, which has at least those of the load.
    pub(crate) policies: u32,
    /// Flows that the load has at most.
    pub(crate) flows: u32,
    /// Cables that are open.
    pub(crate) cables: u8,
    /// Connections that Sluice has room for.
    pub(crate) connections_max: Option<u32>,
    /// Of Sluice's workers.
    pub(crate) cores: Vec<usize>,
    /// The worker of each cable's ports; that of others is chosen by Sluice.
    pub(crate) workers: Vec<usize>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            policies: 1,
            flows: 1,
            cables: 1,
            connections_max: None,
            cores: vec![FORWARD_CORE],
            workers: Vec::new(),
        }
    }
}

impl Setup {
    pub(crate) fn with_policies(policies: u32) -> Self {
        Self { policies, ..Self::default() }
    }

    /// The sources and the sink of a cable.
    pub(super) fn ends(&self, cable: u8, family: Family) -> (Vec<IpAddr>, IpAddr) {
        let sources = (0..sources(self.flows)).map(|number| source(cable, family, number));
        (sources.collect(), destination(cable, family))
    }
}

/// The sender's sources are pods of another node, the sink is one of this node.
pub(crate) fn rule_set(setup: &Setup) -> Result<RuleSet, BenchError> {
    let mut rules = RuleSet::default();
    let mut insert =
        |object: Object| rules.insert(object).map_err(BenchError::failed("the rule set"));
    for cable in 0..setup.cables {
        let (v4, v6) = (setup.ends(cable, Family::V4), setup.ends(cable, Family::V6));
        for (number, (v4, v6)) in v4.0.into_iter().zip(v6.0).enumerate() {
            let pod = Pod::new("bench", format!("gen-{cable}-{number}")).with_label("app", "gen");
            insert(pod.with_address(v4).with_address(v6).into())?;
        }
        let pod = Pod::new("bench", sink_pod(cable)).with_label("app", "sink");
        insert(pod.with_address(v4.1).with_address(v6.1).into())?;
    }
    for n in 1..setup.policies {
        let app = format!("other-{n}");
        let [.., high, low] = n.to_be_bytes();
        let address = Ipv4Addr::new(10, 3, high, low);
        let pod = Pod::new("bench", &app).with_label("app", &app).with_address(address.into());
        insert(pod.into())?;
        insert(policy(&app, &app, "gen").into())?;
    }
    if setup.policies > 0 {
        insert(policy("sink", "sink", "gen").into())?;
    }
    Ok(rules)
}

/// The name of the pod at the end of a cable.
pub(super) fn sink_pod(cable: u8) -> String {
    format!("sink-{cable}")
}

/// `app` admits the load's port from `peer`.
fn policy(name: &str, app: &str, peer: &str) -> NetworkPolicy {
    let rule = Rule {
        peers: Peers::AnyOf(vec![Peer::Selectors {
            pods: Some(LabelSelector::label("app", peer)),
            namespaces: None,
        }]),
        ports: RulePorts::AnyOf(vec![PolicyPort {
            protocol: Protocol::Udp,
            port: Port::Number(DESTINATION_PORT),
        }]),
    };
    NetworkPolicy::new(
        "bench",
        name,
        LabelSelector::label("app", app),
        &[PolicyType::Ingress],
        Some(vec![rule]),
        None,
    )
}
