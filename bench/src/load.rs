//! `sluice-bench load`: a load of one's own choice through Sluice, from veth to veth.

use std::time::Duration;

use crate::rig::{BenchError, Forwarder, Rig, Setup, Sluice};
use crate::traffic::{FLOWS_MAX, Family, Load, Shape, Sizes};

/// That Sluice has room for: 480 MB.
const CONNECTIONS_MAX: u32 = 3_000_000;

/// Sends, and prints what became of it. Returns whether what arrived at Sluice left it.
pub(crate) fn run(load: &Load, time: Duration) -> Result<bool, BenchError> {
    let rig = Rig::new()?;
    let connections_max = load.shape.flows.saturating_mul(2).clamp(65_536, CONNECTIONS_MAX);
    let setup = Setup {
        flows: load.shape.flows,
        connections_max: Some(connections_max),
        ..Setup::default()
    };
    let sluice = Sluice::start(&rig, &setup)?;
    let outcome = rig.offer(&sluice, load, time)?;
    // The cable itself drops what its receiver's softirq has no time for; that is before Sluice.
    let arrived = sluice.arrived()?;
    let (sent, seen, seconds) = (outcome.sent, &outcome.seen, outcome.seconds);
    let received = seen.frames;
    let rate = |count: u64| count as f64 / seconds;
    println!(
        "sent {sent} ({:.0} a second), missed {}; {arrived} arrived at Sluice\n\
         received {received} ({:.0} a second, {:.3} Gbit/s), lost {} ({:.4} %)",
        rate(sent),
        outcome.missed,
        rate(received),
        // With the frame check sequence.
        rate(8 * (seen.bytes + 4 * received)) / 1e9,
        sent.saturating_sub(received),
        100.0 * sent.saturating_sub(received) as f64 / (sent.max(1) as f64),
    );
    if seen.times.count() > 0 {
        let [half, most, nearly_all] = [0.5, 0.99, 0.999].map(|it| seen.times.quantile(it) / 1e3);
        println!(
            "under way for {half:.1} us (median), {most:.1} us (99 %), {nearly_all:.1} us (99.9 %)"
        );
    }
    println!("{}", sluice.account());
    Ok(arrived == received)
}

/// A load as the command line describes it.
pub(crate) fn described(
    sizes: Sizes,
    flows: u32,
    family: Family,
    rate: Option<u32>,
) -> Result<Load, BenchError> {
    if flows == 0 || flows > FLOWS_MAX {
        let text = format!("--flows: {flows} is not between 1 and {FLOWS_MAX}");
        return Err(BenchError::Failed(text));
    }
    Ok(Load { shape: Shape { family, sizes, flows }, rate, ..Load::default() })
}
