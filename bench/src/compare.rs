//! The runner: every metric in turn, and within a metric Sluice and its peer, A B A B.

mod page;
mod plots;
mod report;

pub(crate) use report::Report;
use report::{Machine, Row};

use crate::metric::{Effort, Metric, Remarks};
use crate::metrics;
use crate::rig::BenchError;

/// Sluice's figure and the peer's, of one round.
type Sample = (f64, f64);

/// All rounds of a metric, and what they had to say.
#[derive(Default)]
pub(crate) struct Measured {
    samples: Vec<Sample>,
    remarks: Remarks,
}

#[cfg(test)]
impl Measured {
    fn of(samples: Vec<Sample>) -> Self {
        Self { samples, ..Self::default() }
    }
}

/// Measures all metrics, or those of one name. What cannot be measured is in the report, too.
///
/// # Errors
/// There is no metric of that name, or a thread does not start.
pub(crate) fn run(effort: Effort, only: Option<&str>) -> Result<Report, BenchError> {
    let all = metrics::all();
    let chosen: Vec<&Metric> =
        all.iter().filter(|metric| only.is_none_or(|only| only == metric.name)).collect();
    if let (Some(only), []) = (only, &chosen[..]) {
        let mut names: Vec<_> = all.iter().map(|metric| metric.name).collect();
        names.dedup();
        return Err(BenchError::Failed(format!(
            "--only: there is no metric {only}; want one of {}",
            names.join(", ")
        )));
    }
    let machine = Machine::here();
    let mut rows = Vec::new();
    for metric in chosen {
        let measured = measure_apart(metric, effort)?;
        if let Err(error) = &measured {
            eprintln!("{} against {}: NOT MEASURED: {error}", metric.name, metric.peer);
        }
        rows.push(Row::new(metric, measured));
    }
    Ok(Report { machine, metrics: rows })
}

/// Measures on a thread of its own, which may pin itself to a core and enter namespaces.
fn measure_apart(
    metric: &Metric,
    effort: Effort,
) -> Result<Result<Measured, BenchError>, BenchError> {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name(metric.name.to_owned());
        let thread = builder
            .spawn_scoped(scope, || measure(metric, effort))
            .map_err(BenchError::failed("starting a thread"))?;
        let panicked = || Err(BenchError::Failed("its thread panicked".to_owned()));
        Ok(thread.join().unwrap_or_else(|_| panicked()))
    })
}

fn measure(metric: &Metric, effort: Effort) -> Result<Measured, BenchError> {
    let mut pair = (metric.prepare)(effort)?;
    let rounds = metric.rounds(effort);
    let mut samples = Vec::with_capacity(rounds);
    for round in 0..rounds {
        // The order changes every round, so that a drift favours nobody.
        let sample = if round % 2 == 0 {
            let ours = (pair.sluice)()?;
            (ours, (pair.peer)()?)
        } else {
            let peers = (pair.peer)()?;
            ((pair.sluice)()?, peers)
        };
        eprintln!(
            "{} {}/{rounds}: {:.1} against {:.1} {} of {}",
            metric.name,
            round + 1,
            sample.0,
            sample.1,
            metric.unit.name(),
            metric.peer
        );
        samples.push(sample);
    }
    let remarks = pair.remarks.take();
    Ok(Measured { samples, remarks })
}
