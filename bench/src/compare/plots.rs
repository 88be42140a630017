//! What depends on a size as lines, how long frames were under way as a distribution, and frame
//! sizes as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::report::{Report, Row, short};
use crate::traffic::Times;

/// Metrics that differ in one number of their names, and what they gave at each.
struct Family {
    name: String,
    unit: &'static str,
    /// By side: Sluice's is the first.
    lines: Vec<(String, Vec<(f64, f64)>)>,
}

/// Frame sizes of `veth_forward_size_*`, with the mean of the mix.
const SIZED: &str = "veth_forward_size_";
const IMIX_MEAN: f64 = (7.0 * 64.0 + 4.0 * 570.0 + 1518.0) / 12.0;
/// A distribution's tail is drawn to one frame in so many.
const LEAST_SHARE: f64 = 1e-5;

impl Report {
    /// One plot for each family of metrics.
    pub(super) fn lines(&self) -> String {
        let plots = families(&self.metrics).into_iter().map(|family| {
            let title = format!("{} by {}", family.name, counted(&family.name));
            plane(&title, "", family.unit, &family.lines)
        });
        plots.collect()
    }

    /// The time that frames were under way, of the first metric that has it.
    pub(super) fn distributions(&self) -> String {
        let timed = self.metrics.iter().find_map(|row| Some((row, row.times.as_ref()?)));
        let Some((row, [ours, peers])) = timed else { return String::new() };
        let tail = |times: &Times| {
            let points = times.tail().into_iter().filter(|(_, share)| *share >= LEAST_SHARE);
            points.map(|(nanoseconds, share)| (nanoseconds / 1e3, share)).collect()
        };
        let lines = [("Sluice".to_owned(), tail(ours)), (row.peer.to_owned(), tail(peers))];
        let note = row.note.as_deref().unwrap_or_default();
        let title = format!("The part of all frames that is under way for longer, {note}");
        plane(&title, "us", "", &lines)
    }

    /// Frame sizes with their rates: size, Sluice's packets and gigabits a second, the peer's, ratio.
    pub(super) fn sizes(&self) -> Vec<[String; 6]> {
        let sized = self.metrics.iter().filter_map(|row| {
            let size = row.name.strip_prefix(SIZED)?;
            let bytes = size.parse().unwrap_or(IMIX_MEAN);
            let (ours, peers, ratio) = (row.sluice?, row.peer_value?, row.ratio?);
            let gigabits = |rate: f64| short(rate * bytes * 8.0 / 1e9);
            let cells = [short(ours), gigabits(ours), short(peers), gigabits(peers), short(ratio)];
            let [ours, our_bits, peers, peer_bits, ratio] = cells;
            Some([size.to_owned(), ours, our_bits, peers, peer_bits, ratio])
        });
        sized.collect()
    }
}

/// What the columns of [`Report::sizes`] are.
pub(super) const SIZE_COLUMNS: [&str; 6] =
    ["bytes", "Sluice, packets/s", "Gbit/s", "kernel, packets/s", "Gbit/s", "ratio"];

/// Families with two sizes at least, in the order of their first metrics.
fn families(rows: &[Row]) -> Vec<Family> {
    let mut order = Vec::new();
    let mut by_name: BTreeMap<String, Vec<(f64, &Row)>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.ratio.is_some()) {
        if let Some((name, size)) = sized_name(row.name) {
            if !order.contains(&name) {
                order.push(name.clone());
            }
            by_name.entry(name).or_default().push((size, row));
        }
    }
    let family = |name: String| {
        let members = by_name.get(&name)?;
        let unit = members.first()?.1.unit.name();
        let mut ours: Vec<(f64, f64)> = Vec::new();
        let mut lines: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
        for (size, row) in members {
            let (sluice, peer) = (row.sluice?, row.peer_value?);
            // Measured once beside each peer; the first stands for all.
            if !ours.iter().any(|(known, _)| known == size) {
                ours.push((*size, sluice));
            }
            match lines.iter_mut().find(|(label, _)| label == row.peer) {
                Some((_, points)) => points.push((*size, peer)),
                None => lines.push((row.peer.to_owned(), vec![(*size, peer)])),
            }
        }
        lines.insert(0, ("Sluice".to_owned(), ours.clone()));
        for (_, points) in &mut lines {
            points.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        }
        (ours.len() > 1).then_some(Family { name, unit, lines })
    };
    order.into_iter().filter_map(family).collect()
}

/// A metric's name without its number, and the number: `acl_10k_mean` is `acl_mean` at 10,000.
fn sized_name(name: &str) -> Option<(String, f64)> {
    let parts: Vec<&str> = name.split('_').collect();
    let (place, size) =
        parts.iter().enumerate().find_map(|(place, part)| Some((place, number(part)?)))?;
    let rest = parts.iter().enumerate().filter(|(at, _)| *at != place);
    let rest: Vec<&str> = rest.map(|(_, part)| *part).collect();
    Some((rest.join("_"), size))
}

/// What the number in a family's names counts.
fn counted(family: &str) -> &'static str {
    let known = [
        ("judge_established", "connections"),
        ("conn_", "connections"),
        ("first_packet", "pods and blocks"),
        ("lpm", "prefixes"),
        ("acl", "rules"),
        ("veth_forward_size", "bytes of a frame"),
        ("veth_forward", "policies"),
    ];
    let found = known.iter().find(|(prefix, _)| family.starts_with(prefix));
    found.map_or("the number in its name", |(_, what)| what)
}

/// `64`, `10k` or `1m`; not `p99`.
fn number(text: &str) -> Option<f64> {
    let (digits, scale) = match text.strip_suffix('k') {
        Some(digits) => (digits, 1e3),
        None => text.strip_suffix('m').map_or((text, 1.0), |digits| (digits, 1e6)),
    };
    digits.parse::<u32>().ok().map(|value| f64::from(value) * scale)
}

const WIDTH: f64 = 620.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 80.0;
const TOP: f64 = 10.0;
/// Sluice is blue, as everywhere on the page.
const COLOURS: [&str; 5] = ["#1f5fbf", "#888", "#b07020", "#508050", "#905080"];

/// Lines on a plane with two logarithmic axes.
fn plane(title: &str, of_x: &str, of_y: &str, lines: &[(String, Vec<(f64, f64)>)]) -> String {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let x = Scale::over(points().map(|point| point.0), LEFT, LEFT + WIDTH);
    let y = Scale::over(points().map(|point| point.1), TOP + HEIGHT, TOP);
    let mut marks = String::new();
    for value in x.marks() {
        let at = x.at(value);
        let _ = writeln!(
            marks,
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{}\"/>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{} {of_x}</text>",
            TOP + HEIGHT,
            TOP + HEIGHT + 16.0,
            shorter(value),
        );
    }
    for value in y.marks() {
        let at = y.at(value);
        let _ = writeln!(
            marks,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{} {of_y}</text>",
            LEFT + WIDTH,
            LEFT - 6.0,
            at + 4.0,
            shorter(value),
        );
    }
    for (line, (label, points)) in lines.iter().enumerate() {
        let colour = COLOURS.get(line % COLOURS.len()).copied().unwrap_or_default();
        let places = points.iter().map(|(h, v)| format!("{:.1},{:.1}", x.at(*h), y.at(*v)));
        let places = places.collect::<Vec<_>>().join(" ");
        let _ = writeln!(
            marks,
            "<polyline points=\"{places}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{}\" y=\"{}\" style=\"fill:{colour}\">{}</text>",
            LEFT + WIDTH + 10.0,
            TOP + 14.0 + line as f64 * 18.0,
            super::page::escaped(label),
        );
        // Else what was measured once would not be seen.
        for (h, v) in points.iter().filter(|_| points.len() < 20) {
            let (h, v) = (x.at(*h), y.at(*v));
            let _ = writeln!(
                marks,
                "<circle cx=\"{h:.1}\" cy=\"{v:.1}\" r=\"3\" style=\"fill:{colour}\"/>"
            );
        }
    }
    format!(
        "<h2>{}</h2>\n<svg viewBox=\"0 0 1000 {}\" width=\"1000\">\n{marks}</svg>\n",
        super::page::escaped(title),
        TOP + HEIGHT + 24.0,
    )
}

/// A logarithmic scale over whole powers of ten.
struct Scale {
    first: i32,
    last: i32,
    from: f64,
    to: f64,
}

impl Scale {
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let exponents = values.filter(|value| *value > 0.0).map(f64::log10);
        let (first, last) = exponents.fold((f64::MAX, f64::MIN), |(first, last), exponent| {
            (first.min(exponent.floor()), last.max(exponent.ceil()))
        });
        if first > last {
            return Self { first: 0, last: 1, from, to };
        }
        let first = first as i32;
        Self { first, last: (last as i32).max(first + 1), from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let (first, last) = (f64::from(self.first), f64::from(self.last));
        let exponent = value.max(f64::MIN_POSITIVE).log10().clamp(first, last);
        self.from + (exponent - first) / (last - first) * (self.to - self.from)
    }

    fn marks(&self) -> impl Iterator<Item = f64> {
        (self.first..=self.last).map(|exponent| 10.0_f64.powi(exponent))
    }
}

/// `1m` for a million, `10k` for ten thousand; nothing is rounded away from powers of ten.
fn shorter(value: f64) -> String {
    match value {
        large if large >= 1e6 => format!("{}m", large / 1e6),
        large if large >= 1e4 => format!("{}k", large / 1e3),
        small => format!("{small}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Measured;
    use crate::compare::report::Machine;
    use crate::metric::{Metric, Remarks, Unit};
    use crate::rig::BenchError;

    fn row(name: &'static str, peer: &'static str, sample: (f64, f64), remarks: Remarks) -> Row {
        let metric = Metric {
            name,
            peer,
            unit: Unit::PacketsPerSecond,
            target: None,
            limit: None,
            rounds: 1,
            prepare: |_| Err(BenchError::Failed("not here".to_owned())),
        };
        Row::new(&metric, Ok(Measured { samples: vec![sample], remarks }))
    }

    fn plain(name: &'static str, peer: &'static str, sample: (f64, f64)) -> Row {
        row(name, peer, sample, Remarks::default())
    }

    #[test]
    fn a_name_has_its_number_wherever_it_stands() {
        let named = |name: &str, size| Some((name.to_owned(), size));
        assert_eq!(sized_name("acl_10k_mean"), named("acl_mean", 10_000.0));
        assert_eq!(sized_name("lpm_1m"), named("lpm", 1_000_000.0));
        assert_eq!(sized_name("veth_forward_size_64"), named("veth_forward_size", 64.0));
        assert_eq!(sized_name("latency_p99"), None);
        assert_eq!(sized_name("veth_forward_size_imix"), None);
    }

    #[test]
    fn a_family_draws_one_line_for_each_side() {
        let rows = [
            plain("find_1m", "a", (3.0, 30.0)),
            plain("find_1m", "b", (3.5, 300.0)),
            plain("find_10k", "a", (1.0, 10.0)),
            plain("alone_1k", "a", (1.0, 1.0)),
            plain("none", "a", (1.0, 1.0)),
        ];
        let families = families(&rows);
        assert_eq!(families.len(), 1, "one size is no line");
        let expected = vec![
            ("Sluice".to_owned(), vec![(1e4, 1.0), (1e6, 3.0)]),
            ("a".to_owned(), vec![(1e4, 10.0), (1e6, 30.0)]),
            ("b".to_owned(), vec![(1e6, 300.0)]),
        ];
        assert_eq!((families[0].name.as_str(), &families[0].lines), ("find", &expected));
    }

    #[test]
    fn sizes_come_with_their_bits() {
        let rows = vec![
            plain("veth_forward_size_1000", "k", (1e6, 5e5)),
            plain("veth_forward_size_imix", "k", (1e6, 1e6)),
        ];
        let report = Report { machine: Machine::here(), metrics: rows };
        let sizes = report.sizes();
        assert_eq!(sizes[0], ["1000", "1000000", "8.00", "500000", "4.00", "2.00"]);
        assert_eq!(sizes[1][..3], ["imix", "1000000", "2.83"]);
    }

    #[test]
    fn a_distribution_is_drawn_where_there_is_one() {
        let mut times = Times::default();
        assert!(times.tail().is_empty());
        times.count_one(100);
        times.count_one(200);
        let remarks = Remarks { times: Some([times.clone(), times]), ..Remarks::default() };
        let with = row("latency_p50", "kernel", (1.0, 2.0), remarks);
        let report = |metrics| Report { machine: Machine::here(), metrics };
        let drawn = report(vec![with]).distributions();
        assert_eq!(drawn.matches("<polyline").count(), 2, "{drawn}");
        assert_eq!(report(vec![plain("x", "y", (1.0, 1.0))]).distributions(), "");
    }

    #[test]
    fn a_scale_spans_what_is_on_it() {
        let scale = Scale::over([64.0, 1518.0].into_iter(), 0.0, 300.0);
        assert_eq!((scale.first, scale.last), (1, 4));
        assert_eq!([10.0, 100.0, 1e9].map(|value| scale.at(value)), [0.0, 100.0, 300.0]);
        assert_eq!(Scale::over([].into_iter(), 0.0, 1.0).marks().count(), 2);
    }
}
