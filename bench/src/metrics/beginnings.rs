//! Connections that begin: each packet is of a flow that nobody has seen before.
//!
//! Frames are counted that reach the sink, so a connection that a forwarder has no room for does
//! not count. The kernel's table is as large as the host has it (`nf_conntrack_max`), which nobody
//! may change for its sake; Sluice gets one of the same size, and both run full. Open vSwitch
//! refuses newcomers when it is full, so there both have room.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::metric::{Effort, Metric, Pair, Unit};
use crate::peers::ovs::OpenVswitch;
use crate::rig::{BenchError, Forwarder, Kernel, Rig, SEND_CORE, Setup, Sluice};
use crate::traffic::{FLOWS_MAX, Load, Shape};

/// Frames a second: more than any forwarder begins connections, and so few that no flow comes
/// back within a round.
const RATE: u32 = 4_000_000;
/// Connections that Open vSwitch has room for, unless it is told otherwise.
const ROOM: u32 = 3_000_000;
const NF_CONNTRACK_MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

pub(super) fn metrics() -> Vec<Metric> {
    let metric = |peer, prepare| Metric {
        name: "new_connections",
        peer,
        unit: Unit::PacketsPerSecond,
        target: None,
        limit: None,
        rounds: 5,
        prepare,
    };
    vec![
        metric("kernel, nftables set, tables full", beside_the_kernel),
        metric("OVS-DPDK conntrack, AF_XDP", beside_ovs),
    ]
}

fn beside_the_kernel(effort: Effort) -> Result<Pair, BenchError> {
    let time = Duration::from_millis(effort.choose(800, 2000));
    let rig = Rig::new().map(Rc::new)?;
    let peers_rig = Rc::clone(&rig);
    // The kernel remembers from round to round.
    let next = Cell::new(0);
    let peer = move || {
        let kernel = Kernel::start(&peers_rig, &setup(None))?;
        begun(&peers_rig, &kernel, time, &next)
    };
    let sluice = move || {
        // There is one as soon as the peer has started, which loads what tracks connections.
        let text = std::fs::read_to_string(NF_CONNTRACK_MAX).unwrap_or_default();
        let connections_max = text.trim().parse().unwrap_or(262_144);
        let sluice = Sluice::start(&rig, &setup(Some(connections_max)))?;
        begun(&rig, &sluice, time, &Cell::new(0))
    };
    Ok(Pair::new(Box::new(sluice), Box::new(peer)))
}

fn beside_ovs(effort: Effort) -> Result<Pair, BenchError> {
    // So short that none is full at the end.
    let time = Duration::from_millis(effort.choose(500, 600));
    let rig = Rig::new().map(Rc::new)?;
    let peers_rig = Rc::clone(&rig);
    let peer = move || {
        let ovs = OpenVswitch::start(&peers_rig)?;
        begun(&peers_rig, &ovs, time, &Cell::new(0))
    };
    let sluice = move || {
        let sluice = Sluice::start(&rig, &setup(Some(ROOM)))?;
        begun(&rig, &sluice, time, &Cell::new(0))
    };
    Ok(Pair::new(Box::new(sluice), Box::new(peer)))
}

fn setup(connections_max: Option<u32>) -> Setup {
    Setup { flows: FLOWS_MAX, connections_max, ..Setup::default() }
}

/// Connections begun a second, from the flow `next` on.
fn begun(
    rig: &Rig,
    forwarder: &dyn Forwarder,
    time: Duration,
    next: &Cell<u32>,
) -> Result<f64, BenchError> {
    let cable = rig.cable()?;
    let shape = Shape { flows: FLOWS_MAX, ..Shape::default() };
    let load = Load { shape, rate: Some(RATE), first_flow: next.get(), ..Load::default() };
    let sender = cable.start(forwarder, &load, SEND_CORE)?;
    // Until a table that will be full is.
    cable.sink.rate(time / 2)?;
    let rate = cable.sink.rate(time)?;
    let (sent, _) = sender.finish()?;
    if sent > FLOWS_MAX.into() {
        let text = format!("{sent} frames were sent in {FLOWS_MAX} flows: some came back");
        return Err(BenchError::Failed(text));
    }
    if rate == 0.0 {
        return Err(BenchError::Failed(format!("of {sent} connections none began")));
    }
    next.set(((u64::from(next.get()) + sent) % u64::from(FLOWS_MAX)) as u32);
    Ok(rate)
}
