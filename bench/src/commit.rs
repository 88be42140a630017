//! How long a rule set takes from its arrival until every worker judges by it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use sluice_core::conntrack::state::Timeouts;
use sluice_core::judge::Established;
use sluice_engine::{Engine, EngineConfig, Idle};
use sluice_policy::compile::{CompileOptions, compile};
use sluice_policy::model::{
    Block, LabelSelector, NetworkPolicy, Peer, Pod, PolicyPort, PolicyType, Port, Protocol, Rule,
    RuleSet,
};
use sluice_xdp::Umem;

use crate::rig::BenchError;

const PODS: u32 = 1000;
const NAMESPACES: u32 = 20;
const POLICIES: u32 = 200;
const ROUNDS: u64 = 50;

/// Commits a rule set of 1,000 pods and 200 policies again and again, and prints the median and
/// the longest time of compiling it and putting it in force on every core's worker.
pub(crate) fn run() -> Result<(), BenchError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (umem, pool) = Umem::in_memory(1024).map_err(BenchError::failed("packet memory"))?;
    let config = EngineConfig {
        cores: (0..cores).collect(),
        connections_max: 65_536,
        timeouts: Timeouts::default(),
        established: Established::Recheck,
        idle: Idle::Sleep,
    };
    let engine = Engine::start(&config, umem, pool).map_err(BenchError::failed("the engine"))?;
    let rules = rule_set()?;
    let mut times = Vec::new();
    for revision in 1..=ROUNDS {
        let start = Instant::now();
        let table = compile(&rules, &CompileOptions::default())
            .map_err(|faults| BenchError::Failed(format!("{faults:?}")))?;
        engine.publish(table.with_revision(revision)).map_err(BenchError::failed("publishing"))?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let at = |place: usize| times.get(place).copied().unwrap_or(Duration::MAX);
    println!(
        "commit of {PODS} pods and {POLICIES} policies, in force on {cores} workers: \
         median {:.1?}, longest of {ROUNDS} {:.1?}",
        at(times.len() / 2),
        at(times.len() - 1)
    );
    Ok(())
}

fn rule_set() -> Result<RuleSet, BenchError> {
    let mut rules = RuleSet::default();
    let namespace = |n: u32| format!("n{}", n % NAMESPACES);
    for n in 0..PODS {
        let [_, _, high, low] = n.to_be_bytes();
        let pod = Pod::new(namespace(n), format!("p{n}"))
            .with_label("app", format!("a{}", n / NAMESPACES % 10))
            .with_address(IpAddr::from([10, 1, high, low]));
        rules.insert(pod).map_err(BenchError::failed("a pod"))?;
    }
    for n in 0..POLICIES {
        let app = |n: u32| Some(LabelSelector::label("app", format!("a{}", n % 10)));
        let [_, _, high, low] = n.to_be_bytes();
        let block = Block { cidr: IpAddr::from([192, 0, high, low]).into(), except: Vec::new() };
        let rule = Rule {
            peers: vec![
                Peer::Selectors { pods: app(n + 1), namespaces: None },
                Peer::Selectors { pods: app(n + 2), namespaces: Some(LabelSelector::everything()) },
                Peer::Block(block),
            ]
            .into(),
            ports: vec![PolicyPort { protocol: Protocol::Tcp, port: Port::Number(443) }].into(),
        };
        let policy = NetworkPolicy::new(
            namespace(n),
            format!("policy-{n}"),
            LabelSelector::label("app", format!("a{}", n % 10)),
            &[PolicyType::Ingress, PolicyType::Egress],
            Some(vec![rule.clone()]),
            Some(vec![rule]),
        );
        rules.insert(policy).map_err(BenchError::failed("a policy"))?;
    }
    Ok(rules)
}
