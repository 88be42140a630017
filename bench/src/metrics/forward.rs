//! From veth to veth: all of Sluice, under a load that one core cannot forward.

use std::rc::Rc;
use std::time::Duration;

use crate::metric::{Effort, Metric, Pair, Round, Unit};
use crate::peers::testpmd::Testpmd;
use crate::rig::{BenchError, Forwarder, Kernel, Rig, Sluice};

const MANY: u32 = 10_000;

pub(crate) fn metrics() -> Vec<Metric> {
    let metric = |name, peer, target, prepare| Metric {
        name,
        peer,
        unit: Unit::PacketsPerSecond,
        target,
        limit: None,
        rounds: 7,
        prepare,
    };
    vec![
        metric("rules_10k_vs_0", "Sluice without policies", Some(1.0 / 1.05), |effort| {
            let rig = Rig::new().map(Rc::new)?;
            Ok(Pair { sluice: sluice(&rig, MANY, effort), peer: sluice(&rig, 0, effort) })
        }),
        metric("veth_forward_nft", "kernel, nftables set of 1", None, |effort| {
            let rig = Rig::new().map(Rc::new)?;
            Ok(Pair { sluice: sluice(&rig, 1, effort), peer: kernel(&rig, 1, effort) })
        }),
        metric("veth_forward_nft_10k", "kernel, nftables set of 10000", None, |effort| {
            let rig = Rig::new().map(Rc::new)?;
            Ok(Pair { sluice: sluice(&rig, MANY, effort), peer: kernel(&rig, MANY, effort) })
        }),
        metric("veth_forward_testpmd", "testpmd io, AF_XDP alone", Some(1.0), |effort| {
            let rig = Rig::new().map(Rc::new)?;
            Ok(Pair { sluice: sluice(&rig, 1, effort), peer: testpmd(&rig, effort) })
        }),
    ]
}

fn sluice(rig: &Rc<Rig>, policies: u32, effort: Effort) -> Round {
    let rig = Rc::clone(rig);
    Box::new(move || throughput(&rig, &Sluice::start(&rig, policies)?, effort))
}

fn kernel(rig: &Rc<Rig>, rules: u32, effort: Effort) -> Round {
    let rig = Rc::clone(rig);
    Box::new(move || throughput(&rig, &Kernel::start(&rig, rules)?, effort))
}

fn testpmd(rig: &Rc<Rig>, effort: Effort) -> Round {
    let rig = Rc::clone(rig);
    Box::new(move || throughput(&rig, &Testpmd::start(&rig)?, effort))
}

fn throughput(rig: &Rig, forwarder: &dyn Forwarder, effort: Effort) -> Result<f64, BenchError> {
    rig.throughput(forwarder, Duration::from_secs(effort.choose(1, 3)))
}
