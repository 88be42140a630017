//! Rules that change: how long one change takes, and what a thousand a second cost the packets.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use sluice_engine::{Engine, EngineConfig};
use sluice_lab::{Lab, Namespace};
use sluice_policy::compile::{CompileOptions, Compiler};
use sluice_policy::model::{
    Block, Change, Fault, LabelSelector, NetworkPolicy, Object, Peer, Pod, PolicyPort, PolicyType,
    Port, Protocol, Rule,
};
use sluice_policy::oracle::generate::many_blocks;
use sluice_xdp::Umem;

use crate::metric::{Effort, Metric, Pair, Remarks, Unit};
use crate::nice::renice;
use crate::peers::installed;
use crate::rig::{BenchError, Rig, SEND_CORE, Setup, Sluice, rule_set};
use crate::statistics::quantile;
use crate::traffic::Load;

/// Blocks that rules speak of.
const BLOCKS: u32 = 100_000;
/// Changes a second beside packets.
const RATE: u32 = 1000;
/// The part of them that has to come about in every round; with less a promise is not kept.
const ENOUGH: f64 = 0.9;
/// Policies of the table that changes beside packets.
const POLICIES: u32 = 10_000;

pub(super) fn metrics() -> Vec<Metric> {
    vec![
        Metric {
            name: "rule_change_p99_100k",
            peer: "nft add element, interval set",
            unit: Unit::Milliseconds,
            target: None,
            limit: Some(1.0),
            rounds: 5,
            prepare: one_change,
        },
        Metric {
            name: "throughput_during_changes",
            peer: "Sluice without changes",
            unit: Unit::PacketsPerSecond,
            target: Some(0.97),
            limit: None,
            rounds: 7,
            prepare: beside_packets,
        },
    ]
}

/// How many times a side may change a rule in a round, and for how long.
#[derive(Clone, Copy)]
struct Limits {
    changes_max: u32,
    time: Duration,
}

impl Limits {
    /// The 99th percentile of the milliseconds that changes take; the longest, if they are few.
    fn p99(self, mut change: impl FnMut(u32) -> Result<(), BenchError>) -> Result<f64, BenchError> {
        let (mut times, begin) = (Vec::new(), Instant::now());
        for number in 0..self.changes_max {
            let start = Instant::now();
            change(number)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
            if begin.elapsed() > self.time && times.len() >= 2 {
                break;
            }
        }
        Ok(quantile(&times, 0.99))
    }
}

/// One block more or less in 100,000: in force on the workers of all cores, or in the kernel.
fn one_change(effort: Effort) -> Result<Pair, BenchError> {
    let limits = Limits { changes_max: 1000, time: Duration::from_secs(effort.choose(1, 4)) };
    let mut nft = NftSet::new()?;
    let mut sluice = Changing::new()?;
    Ok(Pair::new(
        Box::new(move || limits.p99(|_| sluice.change())),
        Box::new(move || limits.p99(|_| nft.change())),
    ))
}

/// Sluice's engine without ports, and its compiler.
struct Changing {
    engine: Engine,
    compiler: Compiler,
    revision: u64,
}

impl Changing {
    fn new() -> Result<Self, BenchError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (umem, pool) = Umem::in_memory(1024).map_err(BenchError::failed("packet memory"))?;
        let config = EngineConfig { cores: (0..cores).collect(), ..EngineConfig::default() };
        let engine =
            Engine::start(&config, umem, pool).map_err(BenchError::failed("the engine"))?;
        let compiler = Compiler::with(many_blocks(BLOCKS), &CompileOptions::default(), 1);
        Ok(Self { engine, compiler: compiler.map_err(refused)?, revision: 1 })
    }

    fn change(&mut self) -> Result<(), BenchError> {
        self.revision += 1;
        // TEST-NET-3, of which no other block has a part.
        let address = Ipv4Addr::new(203, 0, 113, (self.revision % 8) as u8 * 32);
        let cidr = Ipv4Net::new(address, 27).map_err(BenchError::failed("a block"))?;
        let rule = Rule {
            peers: vec![Peer::Block(Block { cidr: cidr.into(), except: Vec::new() })].into(),
            ports: vec![PolicyPort { protocol: Protocol::Tcp, port: Port::Number(443) }].into(),
        };
        let subject = LabelSelector::label("app", "app-0");
        let types = [PolicyType::Egress];
        let policy =
            NetworkPolicy::new("ns-0", "changing", subject, &types, None, Some(vec![rule]));
        let change = Change { upserts: vec![policy.into()], ..Change::default() };
        let table = self.compiler.apply(change, self.revision).map_err(refused)?;
        self.engine.publish(Arc::clone(table)).map_err(BenchError::failed("publishing"))
    }
}

/// The kernel's set of as many blocks, in a namespace of its own.
struct NftSet {
    _lab: Lab,
    namespace: Namespace,
    is_there: bool,
}

impl NftSet {
    fn new() -> Result<Self, BenchError> {
        installed("nft", "nftables")?;
        let lab = Lab::new("rules")?;
        let namespace = lab.namespace("nft")?;
        // Every other /24, so that none touches the next.
        let mut elements = String::new();
        for number in 0..BLOCKS {
            let _ = write!(elements, "{}/24, ", Ipv4Addr::from(0x4000_0000 + (number << 9)));
        }
        let rules = format!(
            "table ip bench {{\n set blocks {{\n type ipv4_addr\n flags interval\n \
             elements = {{ {elements} }}\n }}\n}}\n"
        );
        let file = tempfile::NamedTempFile::new().map_err(BenchError::failed("a file for nft"))?;
        std::fs::write(file.path(), rules).map_err(BenchError::failed("a file for nft"))?;
        let set = Self { _lab: lab, namespace, is_there: false };
        set.nft(&["-f", &file.path().display().to_string()])?;
        Ok(set)
    }

    fn change(&mut self) -> Result<(), BenchError> {
        let verb = if self.is_there { "delete" } else { "add" };
        self.is_there = !self.is_there;
        self.nft(&[verb, "element", "ip", "bench", "blocks", "{ 203.0.113.0/24 }"])
    }

    fn nft(&self, arguments: &[&str]) -> Result<(), BenchError> {
        let output = self.namespace.command("nft", arguments)?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let first = text.lines().next().unwrap_or_default();
        Err(BenchError::Failed(format!("nft {arguments:?}: {first}")))
    }
}

/// From veth to veth, while a pod comes and goes a thousand times a second, and while nothing
/// changes.
fn beside_packets(effort: Effort) -> Result<Pair, BenchError> {
    let time = Duration::from_secs(effort.choose(1, 3));
    let rig = Rig::new().map(Rc::new)?;
    let setup = Setup::with_policies(POLICIES);
    let compiler = Compiler::with(rule_set(&setup)?, &CompileOptions::default(), 1);
    let mut coming = ComingAndGoing { compiler: compiler.map_err(refused)?, revision: 1 };
    let quiet = Rc::clone(&rig);
    let peers_setup = setup.clone();
    let peer =
        move || quiet.throughput(&Sluice::start(&quiet, &peers_setup)?, &Load::default(), time);
    let remarks = Rc::new(RefCell::new(Remarks::default()));
    let (told, mut rates) = (Rc::clone(&remarks), Vec::new());
    let sluice = move || {
        let sluice = Sluice::start(&rig, &setup)?;
        let engine = sluice.engine()?;
        let stop = AtomicBool::new(false);
        let (rate, reached) = std::thread::scope(|scope| {
            let changes = scope.spawn(|| coming.until(&stop, &engine));
            let rate = rig.throughput(&sluice, &Load::default(), time);
            stop.store(true, Relaxed);
            (rate, changes.join())
        });
        rates.push(reached.map_err(|_| BenchError::Failed("a change panicked".to_owned()))??);
        let least = quantile(&rates, 0.0);
        *told.borrow_mut() = Remarks {
            note: Some(format!(
                "{:.0} changes a second came about (least {least:.0}), {RATE} were asked for",
                quantile(&rates, 0.5)
            )),
            falls_short: least < ENOUGH * f64::from(RATE),
            times: None,
        };
        rate
    };
    Ok(Pair { sluice: Box::new(sluice), peer: Box::new(peer), remarks })
}

/// A pod that comes and goes.
struct ComingAndGoing {
    compiler: Compiler,
    revision: u64,
}

impl ComingAndGoing {
    /// Changes rules at a rate until told to stop. Returns the changes a second.
    fn until(&mut self, stop: &AtomicBool, engine: &Engine) -> Result<f64, BenchError> {
        // The forwarder has its core for itself; on a machine of two the sender has some to spare.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let id = if cores > 2 { SEND_CORE + 1 } else { SEND_CORE };
        core_affinity::set_for_current(core_affinity::CoreId { id });
        // What a sender leaves of its core is nothing; in life no load generator is in the way.
        renice(-10);
        let pod = Object::from(
            Pod::new("bench", "comes-and-goes")
                .with_label("app", "other-1")
                .with_address(Ipv4Addr::new(10, 4, 0, 1).into()),
        );
        let (start, mut changes) = (Instant::now(), 0);
        while !stop.load(Relaxed) {
            let mut change = Change::default();
            if self.compiler.rules().contains(&pod.key()) {
                change.removals.push(pod.key());
            } else {
                change.upserts.push(pod.clone());
            }
            self.revision += 1;
            let table = self.compiler.apply(change, self.revision).map_err(refused)?;
            engine.publish(Arc::clone(table)).map_err(BenchError::failed("publishing"))?;
            changes += 1;
            let due = start + Duration::from_secs(1) * changes / RATE;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok(f64::from(changes) / start.elapsed().as_secs_f64())
    }
}

fn refused(faults: Vec<Fault>) -> BenchError {
    BenchError::Failed(format!("the rule set is refused: {faults:?}"))
}
