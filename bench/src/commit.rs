//! How long a rule set takes from its arrival until every worker judges by it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_engine::{Engine, EngineConfig};
use sluice_policy::compile::{CompileOptions, Compiler, compile};
use sluice_policy::model::{
    Block, Change, Fault, LabelSelector, NetworkPolicy, Peer, Pod, PolicyPort, PolicyType, Port,
    Protocol, Rule, RuleSet,
};
use sluice_xdp::Umem;

use crate::rig::BenchError;

const PODS: u32 = 1000;
const NAMESPACES: u32 = 20;
const POLICIES: u32 = 200;
const ROUNDS: u64 = 50;

/// Commits a rule set of 1,000 pods and 200 policies again and again, then one pod more at a time,
/// and prints the median and the longest time until every core's worker judges by it.
pub(crate) fn run() -> Result<(), BenchError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (umem, pool) = Umem::in_memory(1024).map_err(BenchError::failed("packet memory"))?;
    let config = EngineConfig { cores: (0..cores).collect(), ..EngineConfig::default() };
    let engine = Engine::start(&config, umem, pool).map_err(BenchError::failed("the engine"))?;
    let rules = rule_set()?;
    let options = CompileOptions::default();
    let refused = |faults: Vec<Fault>| BenchError::Failed(format!("{faults:?}"));
    let publish = |table| engine.publish(table).map_err(BenchError::failed("publishing"));
    let mut times = Vec::new();
    for revision in 1..=ROUNDS {
        let start = Instant::now();
        publish(Arc::new(compile(&rules, &options).map_err(refused)?.with_revision(revision)))?;
        times.push(start.elapsed());
    }
    print(&format!("{PODS} pods and {POLICIES} policies"), cores, times);

    let mut compiler = Compiler::with(rules, &options, ROUNDS).map_err(refused)?;
    let mut times = Vec::new();
    for revision in ROUNDS + 1..=2 * ROUNDS {
        let [.., high, low] = revision.to_be_bytes();
        let pod = Pod::new("n0", format!("joined-{revision}"))
            .with_label("app", "a0")
            .with_address(IpAddr::from([10, 2, high, low]));
        let change = Change { upserts: vec![pod.into()], ..Change::default() };
        let start = Instant::now();
        publish(Arc::clone(compiler.apply(change, revision).map_err(refused)?))?;
        times.push(start.elapsed());
    }
    print(&format!("one pod more to {PODS}"), cores, times);
    Ok(())
}

fn print(what: &str, cores: usize, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |place: usize| times.get(place).copied().unwrap_or(Duration::MAX);
    println!(
        "commit of {what}, in force on {cores} workers: median {:.1?}, longest of {} {:.1?}",
        at(times.len() / 2),
        times.len(),
        at(times.len() - 1)
    );
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
