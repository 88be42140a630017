//! What a run found out, for machines and for people.

use std::fmt;

use serde::Serialize;

use super::{Measured, Sample};
use crate::metric::{Metric, Unit};
use crate::rig::BenchError;
use crate::statistics::{interval, median, quantile};
use crate::traffic::Times;

/// A run's result.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) metrics: Vec<Row>,
}

/// Where it was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    /// Of the first core, by level, as the kernel writes them.
    pub(crate) caches: Vec<String>,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    /// Whether it is a guest of some hypervisor, whose other guests may disturb it.
    pub(crate) virtual_machine: bool,
    /// The load of the last minute when the run began: what else the machine had to do.
    pub(crate) load: f64,
}

/// Sluice beside a peer.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// The median of Sluice's rounds.
    pub(crate) sluice: Option<f64>,
    /// The quartiles of Sluice's rounds.
    pub(crate) sluice_quartiles: Option<(f64, f64)>,
    /// What it is measured against.
    pub(crate) peer: &'static str,
    /// The median of the peer's rounds.
    pub(crate) peer_value: Option<f64>,
    /// The quartiles of the peer's rounds.
    pub(crate) peer_quartiles: Option<(f64, f64)>,
    pub(crate) unit: Unit,
    /// Sluice to peer, the median over the rounds.
    pub(crate) ratio: Option<f64>,
    /// Where that lies with 95 % confidence, at least.
    pub(crate) low: Option<f64>,
    /// And at most.
    pub(crate) high: Option<f64>,
    /// What the ratio must be: at most for times, at least for rates. `None` where nothing is
    /// promised.
    pub(crate) target: Option<f64>,
    /// What Sluice's own figure must be.
    pub(crate) limit: Option<f64>,
    /// Whether it is as promised; `None` where nothing is, or nothing was measured.
    pub(crate) met: Option<bool>,
    /// Every round, Sluice first.
    pub(crate) rounds: Vec<Sample>,
    /// Under what conditions, where the metric says so.
    pub(crate) note: Option<String>,
    /// How long Sluice's frames were under way, and the peer's.
    #[serde(skip)]
    pub(crate) times: Option<[Times; 2]>,
    /// Why nothing was measured.
    pub(crate) error: Option<String>,
    /// Whether that is more than a peer that is not installed.
    #[serde(skip)]
    failed: bool,
}

impl Report {
    /// Whether something went wrong that no package mends.
    pub(crate) fn has_failed(&self) -> bool {
        self.metrics.iter().any(|row| row.failed)
    }
}

impl Row {
    pub(crate) fn new(metric: &Metric, measured: Result<Measured, BenchError>) -> Self {
        let &Metric { name, peer, unit, target, limit, .. } = metric;
        let failed = measured.as_ref().is_err_and(|error| !matches!(error, BenchError::Missing(_)));
        let (Measured { samples, remarks }, error) = match measured {
            Ok(measured) => (measured, None),
            Err(error) => (Measured::default(), Some(error.to_string())),
        };
        let column = |value: fn(&Sample) -> f64| samples.iter().map(value).collect::<Vec<_>>();
        let (ours, peers) = (column(|it| it.0), column(|it| it.1));
        let ratios = column(|(ours, peers)| ours / peers);
        let measured = !samples.is_empty();
        let quartiles = |of: &[f64]| (quantile(of, 0.25), quantile(of, 0.75));
        let (ratio, (low, high)) = (median(&ratios), interval(&ratios));
        let as_promised = |value, bound: Option<f64>| bound.is_none_or(|it| unit.meets(value, it));
        let met =
            as_promised(ratio, target) && as_promised(median(&ours), limit) && !remarks.falls_short;
        Self {
            name,
            sluice: measured.then(|| median(&ours)),
            sluice_quartiles: measured.then(|| quartiles(&ours)),
            peer,
            peer_value: measured.then(|| median(&peers)),
            peer_quartiles: measured.then(|| quartiles(&peers)),
            unit,
            ratio: measured.then_some(ratio),
            low: measured.then_some(low),
            high: measured.then_some(high),
            target,
            limit,
            met: (measured && target.or(limit).is_some()).then_some(met),
            rounds: samples,
            note: remarks.note,
            times: remarks.times,
            error,
            failed,
        }
    }
}

impl Machine {
    pub(crate) fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let field = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
            line.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let kib: f64 = field(&read("/proc/meminfo"), "MemTotal")
            .split_whitespace()
            .find_map(|word| word.parse().ok())
            .unwrap_or_default();
        let caches = (0..4).filter_map(|index| {
            let of =
                |what| read(&format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{what}"));
            let (level, kind, size) = (of("level"), of("type"), of("size"));
            let cache = format!("L{} {} {}", level.trim(), kind.trim(), size.trim());
            (!size.is_empty()).then_some(cache)
        });
        Self {
            processor: field(&cpuinfo, "model name"),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            caches: caches.collect(),
            memory_gib: (kib / f64::from(1 << 20) * 10.0).round() / 10.0,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            virtual_machine: field(&cpuinfo, "flags").split(' ').any(|flag| flag == "hypervisor"),
            load: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|first| first.parse().ok())
                .unwrap_or_default(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, caches, memory_gib, kernel, virtual_machine, load } = self;
        let guest = if *virtual_machine { "a virtual machine" } else { "bare metal" };
        let caches = caches.join(", ");
        write!(f, "{processor}, {cores} cores ({guest}), {caches}; {memory_gib} GiB; ")?;
        write!(f, "Linux {kernel}; load at the start {load}")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.machine)?;
        writeln!(
            f,
            "{:<28}{:>12}  {:<30}{:>12} {:<10}{:>8}  {:<16} promised",
            "metric", "Sluice", "peer", "peer's", "unit", "ratio", "95 % within"
        )?;
        for row in &self.metrics {
            writeln!(f, "{row}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = &self.error {
            return write!(f, "{:<42}{:<30} NOT MEASURED: {error}", self.name, self.peer);
        }
        let number = |value: Option<f64>| short(value.unwrap_or_default());
        let within = format!("{} .. {}", number(self.low), number(self.high));
        write!(
            f,
            "{:<28}{:>12}  {:<30}{:>12} {:<10}{:>8}  {within:<16} {}",
            self.name,
            number(self.sluice),
            self.peer,
            number(self.peer_value),
            self.unit.name(),
            number(self.ratio),
            self.promise()
        )
    }
}

impl Row {
    /// What is promised and whether it is kept, and the note, for people.
    pub(crate) fn promise(&self) -> String {
        match (self.bounds(), &self.note) {
            (promise, None) => promise,
            (promise, Some(note)) if promise.is_empty() => note.clone(),
            (promise, Some(note)) => format!("{promise} ({note})"),
        }
    }

    fn bounds(&self) -> String {
        let sign = self.unit.sign();
        let ratio = self.target.map(|target| format!("ratio {sign} {}", short(target)));
        let own = self.limit.map(|it| format!("{sign} {} {}", short(it), self.unit.name()));
        let promises = ratio.into_iter().chain(own).collect::<Vec<_>>().join(" and ");
        match self.met {
            Some(true) => format!("{promises}: met"),
            Some(false) => format!("{promises}: MISSED"),
            None => promises,
        }
    }
}

/// A number with three digits that matter, or all before the point.
pub(crate) fn short(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        small if small < 0.1 => 4,
        small if small < 1.0 => 3,
        small if small < 10.0 => 2,
        small if small < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Remarks;

    fn metric(unit: Unit, target: Option<f64>, limit: Option<f64>) -> Metric {
        Metric {
            name: "x",
            peer: "y",
            unit,
            target,
            limit,
            rounds: 3,
            prepare: |_| Err(BenchError::Failed("not here".to_owned())),
        }
    }

    #[test]
    fn nothing_is_kept_under_other_conditions_than_were_promised() {
        let remarks = Remarks {
            note: Some("half of it".to_owned()),
            falls_short: true,
            ..Remarks::default()
        };
        let samples = vec![(1.0, 1.0)];
        let metric = metric(Unit::PacketsPerSecond, Some(0.9), None);
        let row = Row::new(&metric, Ok(Measured { samples, remarks }));
        assert_eq!((row.met, row.failed), (Some(false), false));
        assert_eq!(row.promise(), "ratio >= 0.900: MISSED (half of it)");
    }

    #[test]
    fn a_row_is_the_median_of_its_rounds() {
        let samples = vec![(1.0, 2.0), (9.0, 3.0), (4.0, 4.0)];
        let row =
            Row::new(&metric(Unit::PacketsPerSecond, Some(0.5), None), Ok(Measured::of(samples)));
        assert_eq!((row.sluice, row.peer_value), (Some(4.0), Some(3.0)));
        assert_eq!((row.ratio, row.low, row.high), (Some(1.0), Some(0.5), Some(3.0)));
        assert_eq!((row.met, row.error), (Some(true), None));
    }

    #[test]
    fn a_promise_is_kept_by_the_ratio_and_by_the_figure() {
        let met = |target, limit| {
            let metric = metric(Unit::Nanoseconds, target, limit);
            Row::new(&metric, Ok(Measured::of(vec![(10.0, 100.0)]))).met
        };
        assert_eq!(met(None, None), None);
        assert_eq!(met(Some(0.1), None), Some(true));
        assert_eq!(met(Some(0.09), None), Some(false));
        assert_eq!(met(Some(0.1), Some(9.0)), Some(false));
        assert_eq!(met(Some(0.1), Some(10.0)), Some(true));
    }

    #[test]
    fn what_is_not_measured_says_why_and_promises_nothing() {
        let metric = metric(Unit::Nanoseconds, Some(0.1), None);
        let row = Row::new(&metric, Err(BenchError::Missing("no such program".to_owned())));
        assert_eq!((row.met, row.ratio, row.failed), (None, None, false));
        assert!(row.to_string().contains("NOT MEASURED: no such program"), "{row}");
        assert!(Row::new(&metric, Err(BenchError::Failed(String::new()))).failed);
    }
}
