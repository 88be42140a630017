//! From veth to veth: all of Sluice, under a load that one core cannot forward.

use std::rc::Rc;
use std::time::Duration;

use crate::metric::{Effort, Metric, Pair, Round, Unit};
use crate::peers::ovs::OpenVswitch;
use crate::peers::testpmd::Testpmd;
use crate::rig::{BenchError, Forwarder, Kernel, Rig, Setup, Sluice};
use crate::traffic::{Family, Load, SIZES, Shape, Sizes};

const MANY: u32 = 10_000;
const KERNEL: &str = "kernel, nftables set of 1";

pub(crate) fn metrics() -> Vec<Metric> {
    let metric = |name, peer, target, rounds, prepare| Metric {
        name,
        peer,
        unit: Unit::PacketsPerSecond,
        target,
        limit: None,
        rounds,
        prepare,
    };
    let mut metrics = vec![
        metric("rules_10k_vs_0", "Sluice without policies", Some(1.0 / 1.05), 7, |effort| {
            let run = Run::new(Load::default(), effort)?;
            Ok(Pair::new(run.sluice(MANY), run.sluice(0)))
        }),
        metric("veth_forward", "testpmd io, AF_XDP alone", Some(1.0), 7, |effort| {
            let run = Run::new(Load::default(), effort)?;
            Ok(Pair::new(run.sluice(1), run.testpmd()))
        }),
        metric("veth_forward_nft", KERNEL, None, 7, |effort| {
            let run = Run::new(Load::default(), effort)?;
            Ok(Pair::new(run.sluice(1), run.kernel(1)))
        }),
        metric("veth_forward_nft_10k", "kernel, nftables set of 10000", None, 5, |effort| {
            let run = Run::new(Load::default(), effort)?;
            Ok(Pair::new(run.sluice(MANY), run.kernel(MANY)))
        }),
        metric("veth_forward_ovs", "OVS-DPDK conntrack, AF_XDP", Some(2.0), 5, |effort| {
            let run = Run::new(Load::default(), effort)?;
            Ok(Pair::new(run.sluice(1), run.ovs()))
        }),
        metric("veth_forward_ipv6", KERNEL, None, 3, |effort| {
            let shape = Shape { family: Family::V6, ..Shape::default() };
            let run = Run::new(Load { shape, ..Load::default() }, effort)?;
            Ok(Pair::new(run.sluice(1), run.kernel(1)))
        }),
    ];
    metrics.extend(SIZED.map(|(name, prepare)| metric(name, KERNEL, None, 3, prepare)));
    metrics
}

type Prepare = fn(Effort) -> Result<Pair, BenchError>;

/// One for each of [`SIZES`], and the mix.
const SIZED: [(&str, Prepare); 7] = [
    ("veth_forward_size_64", |effort| sized(SIZES.first().copied(), effort)),
    ("veth_forward_size_128", |effort| sized(SIZES.get(1).copied(), effort)),
    ("veth_forward_size_256", |effort| sized(SIZES.get(2).copied(), effort)),
    ("veth_forward_size_512", |effort| sized(SIZES.get(3).copied(), effort)),
    ("veth_forward_size_1024", |effort| sized(SIZES.get(4).copied(), effort)),
    ("veth_forward_size_1518", |effort| sized(SIZES.get(5).copied(), effort)),
    ("veth_forward_size_imix", |effort| sized(None, effort)),
];

fn sized(size: Option<u16>, effort: Effort) -> Result<Pair, BenchError> {
    let shape = Shape { sizes: size.map_or(Sizes::Imix, Sizes::Of), ..Shape::default() };
    let run = Run::new(Load { shape, ..Load::default() }, effort)?;
    Ok(Pair::new(run.sluice(1), run.kernel(1)))
}

/// A load through one forwarder after the other, on one rig.
struct Run {
    rig: Rc<Rig>,
    load: Rc<Load>,
    time: Duration,
}

impl Run {
    fn new(load: Load, effort: Effort) -> Result<Self, BenchError> {
        let time = Duration::from_millis(effort.choose(600, 2000));
        Ok(Self { rig: Rig::new().map(Rc::new)?, load: Rc::new(load), time })
    }

    fn sluice(&self, policies: u32) -> Round {
        self.round(move |rig| Ok(Box::new(Sluice::start(rig, &Setup::with_policies(policies))?)))
    }

    fn kernel(&self, rules: u32) -> Round {
        self.round(move |rig| Ok(Box::new(Kernel::start(rig, &Setup::with_policies(rules))?)))
    }

    fn testpmd(&self) -> Round {
        self.round(|rig| Ok(Box::new(Testpmd::start(rig)?)))
    }

    fn ovs(&self) -> Round {
        self.round(|rig| Ok(Box::new(OpenVswitch::start(rig)?)))
    }

    fn round(
        &self,
        start: impl Fn(&Rig) -> Result<Box<dyn Forwarder + '_>, BenchError> + 'static,
    ) -> Round {
        let (rig, load, time) = (Rc::clone(&self.rig), Rc::clone(&self.load), self.time);
        Box::new(move || {
            let forwarder = start(&rig)?;
            rig.throughput(&*forwarder, &load, time)
        })
    }
}
