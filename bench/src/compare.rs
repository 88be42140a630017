//! The metrics: what is measured against what, in turn, and how it is reported.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::rig::{BenchError, Forwarder, Kernel, Rig, Sluice};

/// A run's result.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    metrics: Vec<Metric>,
}

/// Where it was measured.
#[derive(Debug, Serialize)]
struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
}

/// Sluice beside a peer.
#[derive(Debug, Serialize)]
struct Metric {
    name: &'static str,
    /// The median of Sluice's rounds.
    sluice: f64,
    /// What it is measured against.
    peer: &'static str,
    /// The median of the peer's rounds.
    peer_value: f64,
    unit: &'static str,
    /// Sluice to peer, the median over the rounds.
    ratio: f64,
    /// The lowest ratio of a round.
    low: f64,
    /// The highest ratio of a round.
    high: f64,
    /// What the ratio must be at least; `None` where nothing is promised yet.
    target: Option<f64>,
    /// Whether it is.
    met: Option<bool>,
}

const MANY: u32 = 10_000;

/// Every metric's name, what it is, and the ratio promised.
const METRICS: [(&str, &str, Option<f64>); 3] = [
    ("rules_10k_vs_1", "Sluice with 1 policy", Some(1.0 / 1.1)),
    ("veth_forward_nft", "kernel, nftables set of 1", None),
    ("veth_forward_nft_10k", "kernel, nftables set of 10000", None),
];

/// Measures, each round all metrics in turn.
pub(crate) fn run(quick: bool, only: Option<&str>) -> Result<Report, BenchError> {
    if let Some(only) = only
        && !METRICS.iter().any(|(name, ..)| *name == only)
    {
        let names: Vec<_> = METRICS.iter().map(|(name, ..)| *name).collect();
        return Err(BenchError::Failed(format!(
            "--only: there is no metric {only}; want one of {}",
            names.join(", ")
        )));
    }
    let (rounds, seconds) = if quick { (3, 1) } else { (7, 3) };
    let time = Duration::from_secs(seconds);
    let rig = Rig::new()?;
    let mut samples = vec![Vec::new(); METRICS.len()];
    for round in 0..rounds {
        for ((name, ..), pairs) in METRICS.iter().zip(&mut samples) {
            if only.is_some_and(|only| only != *name) {
                continue;
            }
            // The order changes every round, so that a drift favours nobody.
            let pair = measure(&rig, name, time, round % 2 == 1)?;
            eprintln!("round {}/{rounds} {name}: {:.0} against {:.0}", round + 1, pair.0, pair.1);
            pairs.push(pair);
        }
    }
    let metrics = METRICS
        .iter()
        .zip(samples)
        .filter(|(_, pairs)| !pairs.is_empty())
        .map(|(&(name, peer, target), pairs)| Metric::new(name, peer, target, &pairs))
        .collect();
    Ok(Report { machine: Machine::here(), metrics })
}

/// One round of a metric: Sluice's packets a second, and the peer's.
fn measure(
    rig: &Rig,
    name: &str,
    time: Duration,
    peer_first: bool,
) -> Result<(f64, f64), BenchError> {
    let through = |forwarder: &dyn Forwarder| rig.throughput(forwarder, time);
    let sluice = |policies: u32| through(&Sluice::start(rig, policies)?);
    let kernel = |rules: u32| through(&Kernel::start(rig, rules)?);
    let (ours, peers): (&dyn Fn() -> _, &dyn Fn() -> _) = match name {
        "rules_10k_vs_1" => (&|| sluice(MANY), &|| sluice(1)),
        "veth_forward_nft" => (&|| sluice(1), &|| kernel(1)),
        _ => (&|| sluice(MANY), &|| kernel(MANY)),
    };
    if peer_first {
        let peer = peers()?;
        Ok((ours()?, peer))
    } else {
        Ok((ours()?, peers()?))
    }
}

impl Metric {
    fn new(
        name: &'static str,
        peer: &'static str,
        target: Option<f64>,
        pairs: &[(f64, f64)],
    ) -> Self {
        let ratios: Vec<f64> = pairs.iter().map(|(ours, peers)| ours / peers).collect();
        let ratio = median(&ratios);
        Self {
            name,
            sluice: median(&pairs.iter().map(|pair| pair.0).collect::<Vec<_>>()),
            peer,
            peer_value: median(&pairs.iter().map(|pair| pair.1).collect::<Vec<_>>()),
            unit: "packets/s",
            ratio,
            low: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            high: ratios.iter().copied().fold(0.0, f64::max),
            target,
            met: target.map(|target| ratio >= target),
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

impl Machine {
    fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map(|(_, name)| name.trim().to_owned());
        Self {
            processor: processor.unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// Stands over the columns that `Display` makes.
const HEADINGS: &str = "metric                  Sluice pkt/s   ns/packet   \
    peer                              peer pkt/s   ns/packet   ratio  spread";

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { processor, cores, kernel } = &self.machine;
        writeln!(f, "{processor}, {cores} cores, Linux {kernel}\n")?;
        writeln!(f, "{HEADINGS}")?;
        for metric in &self.metrics {
            let nanos = |rate: f64| 1e9 / rate;
            writeln!(
                f,
                "{:<22}{:>14.0}{:>12.0}   {:<30}{:>14.0}{:>12.0}{:>8.2}  {:.2} to {:.2}{}",
                metric.name,
                metric.sluice,
                nanos(metric.sluice),
                metric.peer,
                metric.peer_value,
                nanos(metric.peer_value),
                metric.ratio,
                metric.low,
                metric.high,
                match metric.met {
                    Some(true) => "  target met",
                    Some(false) => "  TARGET MISSED",
                    None => "",
                }
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_the_median_of_its_rounds() {
        let metric = Metric::new("x", "y", Some(0.5), &[(1.0, 2.0), (9.0, 3.0), (4.0, 4.0)]);
        assert_eq!((metric.sluice, metric.peer_value), (4.0, 3.0));
        assert_eq!((metric.ratio, metric.low, metric.high), (1.0, 0.5, 3.0));
        assert_eq!(metric.met, Some(true));
    }
}
