//! A report as a page with plots, and as Markdown to be pasted.

use std::fmt::Write as _;
use std::path::Path;

use super::plots::SIZE_COLUMNS;
use super::report::{Report, Row, short};
use crate::rig::BenchError;

impl Report {
    /// Writes `index.html`, `summary.md` and `report.json` into a directory, which is made.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), BenchError> {
        let json = serde_json::to_string_pretty(self).map_err(BenchError::failed("the report"))?;
        std::fs::create_dir_all(directory).map_err(BenchError::failed("the report's directory"))?;
        for (name, text) in
            [("index.html", self.html()), ("summary.md", self.markdown()), ("report.json", json)]
        {
            let path = directory.join(name);
            std::fs::write(&path, text)
                .map_err(|error| BenchError::Failed(format!("{}: {error}", path.display())))?;
        }
        Ok(())
    }

    /// Without a heading, so that it goes wherever it is pasted.
    fn markdown(&self) -> String {
        let mut text = format!("{}.\n\n{LEGEND}\n\n", self.machine);
        text.push_str("| metric | Sluice | peer | peer's | ratio (95 % within) | promised |\n");
        text.push_str("|---|---:|---|---:|---|---|\n");
        for row in &self.metrics {
            let [name, ours, peer, peers, unit, ratio, within, promise] = row.cells();
            let with_unit = |value: &str| match value {
                "" => String::new(),
                value => format!("{value} {unit}"),
            };
            let (ours, peers) = (with_unit(&ours), with_unit(&peers));
            let ratio = if within.is_empty() { ratio } else { format!("{ratio} ({within})") };
            let _ =
                writeln!(text, "| `{name}` | {ours} | {peer} | {peers} | {ratio} | {promise} |");
        }
        let sizes = self.sizes();
        if !sizes.is_empty() {
            let _ = writeln!(
                text,
                "\nFrame sizes with their check sequence, veth to veth:\n\n| {} |\n|{}",
                SIZE_COLUMNS.join(" | "),
                "---:|".repeat(SIZE_COLUMNS.len())
            );
            for cells in sizes {
                let _ = writeln!(text, "| {} |", cells.join(" | "));
            }
        }
        text
    }

    fn sizes_table(&self) -> String {
        let sizes = self.sizes();
        if sizes.is_empty() {
            return String::new();
        }
        let mut rows = String::new();
        for cells in sizes {
            let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
            let _ = writeln!(rows, "<tr>{cells}</tr>");
        }
        format!(
            "<h2>Frame sizes with their check sequence, veth to veth</h2>\n\
             <table><tr><th>{}</tr>\n{rows}</table>\n",
            SIZE_COLUMNS.join("<th>")
        )
    }

    fn html(&self) -> String {
        let mut rows = String::new();
        for row in &self.metrics {
            let cells: String =
                row.cells().iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
            let _ = writeln!(rows, "<tr class=\"{}\">{cells}</tr>", row.class());
        }
        format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n\
             <title>Sluice beside its peers</title>\n<style>{STYLE}</style>\n\
             <h1>Sluice beside its peers</h1>\n<p>{}</p>\n<p>{LEGEND}</p>\n{}\n{}\n{}{}{}\n<h2>All figures</h2>\n\
             <table><tr><th>metric<th>Sluice<th>peer<th>peer's<th>unit<th>ratio<th>95 % within\
             <th>promised</tr>\n{rows}</table>\n</html>\n",
            escaped(&self.machine.to_string()),
            self.ratios(),
            self.rounds(),
            self.distributions(),
            self.lines(),
            self.sizes_table(),
        )
    }

    /// How many times as good as each peer Sluice is, with the interval and what is promised.
    fn ratios(&self) -> String {
        let measured: Vec<&Row> = self.metrics.iter().filter(|row| row.ratio.is_some()).collect();
        let bounds = measured.iter().flat_map(|row| {
            let promised = row.target.map(|target| row.times_as_good(target));
            [row.low, row.high]
                .into_iter()
                .flatten()
                .map(|it| row.times_as_good(it))
                .chain(promised)
        });
        let axis = Axis::over(bounds.chain([1.0]));
        let mut marks = String::new();
        for (line, row) in measured.iter().enumerate() {
            let y = Axis::TOP + line as f64 * Axis::LINE;
            let at = |ratio: Option<f64>| axis.x(row.times_as_good(ratio.unwrap_or(1.0)));
            let (from, to, middle) = (at(row.high), at(row.low), at(row.ratio));
            let _ = writeln!(
                marks,
                "<text x=\"4\" y=\"{}\">{} / {}</text>\
                 <line class=\"{class}\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{y}\" y2=\"{y}\"/>\
                 <circle class=\"{class}\" cx=\"{middle:.1}\" cy=\"{y}\" r=\"4\"/>",
                y + 4.0,
                row.name,
                escaped(row.peer),
                class = row.class(),
            );
            if let Some(target) = row.target {
                let x = axis.x(row.times_as_good(target));
                let (top, bottom) = (y - 7.0, y + 7.0);
                let _ = writeln!(
                    marks,
                    "<line class=\"promised\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>"
                );
            }
        }
        axis.plot(
            "How many times as good as its peer Sluice is: the median of the rounds, where it lies \
             with 95 % confidence, and what is promised (upright)",
            measured.len(),
            &marks,
        )
    }

    /// Every round of both sides.
    fn rounds(&self) -> String {
        let measured: Vec<&Row> = self.metrics.iter().filter(|row| row.ratio.is_some()).collect();
        let relative = |row: &Row| {
            let median = row.peer_value.unwrap_or(1.0);
            let rounds = row.rounds.clone();
            rounds.into_iter().map(move |(ours, peers)| (ours / median, peers / median))
        };
        let axis =
            Axis::over(measured.iter().flat_map(|row| relative(row)).flat_map(|(a, b)| [a, b]));
        let mut marks = String::new();
        for (line, row) in measured.iter().enumerate() {
            let y = Axis::TOP + line as f64 * Axis::LINE;
            let unit = row.unit.name();
            let _ = writeln!(marks, "<text x=\"4\" y=\"{}\">{} ({unit})</text>", y + 4.0, row.name);
            for (ours, peers) in relative(row) {
                let _ = writeln!(
                    marks,
                    "<circle class=\"peer\" cx=\"{:.1}\" cy=\"{}\" r=\"3\"/>\
                     <circle class=\"sluice\" cx=\"{:.1}\" cy=\"{}\" r=\"3\"/>",
                    axis.x(peers),
                    y + 3.0,
                    axis.x(ours),
                    y - 3.0,
                );
            }
        }
        axis.plot(
            "Every round of Sluice (blue) and of the peer (grey), in parts of the peer's median",
            measured.len(),
            &marks,
        )
    }
}

const LEGEND: &str = "Both sides are measured in turn, in one run; figures are medians over the \
    rounds. The ratio is Sluice's figure to the peer's: for times less is better, for rates more. \
    Its interval is a bootstrap over the rounds.";

const STYLE: &str = "body{font:14px sans-serif;max-width:1000px;margin:2em auto}\
    table{border-collapse:collapse}td,th{padding:2px 10px;text-align:left;border-bottom:1px solid #ddd}\
    svg text{font:12px sans-serif}line{stroke:#555;stroke-width:2}.grid{stroke:#ddd;stroke-width:1}\
    circle{fill:#555}circle.met{fill:#18792b}line.met{stroke:#18792b}circle.missed{fill:#b3261e}\
    line.missed{stroke:#b3261e}.promised{stroke:#000}circle.sluice{fill:#1f5fbf}circle.peer{fill:#999}\
    tr.missed td:last-child{color:#b3261e}tr.met td:last-child{color:#18792b}";

impl Row {
    fn cells(&self) -> [String; 8] {
        let number = |value: Option<f64>| value.map(short).unwrap_or_default();
        let promise = match &self.error {
            Some(error) => format!("not measured: {}", error.replace('|', "/")),
            None => self.promise(),
        };
        let within = match (self.low, self.high) {
            (Some(low), Some(high)) => format!("{} .. {}", short(low), short(high)),
            _ => String::new(),
        };
        [
            self.name.to_owned(),
            number(self.sluice),
            self.peer.to_owned(),
            number(self.peer_value),
            self.unit.name().to_owned(),
            number(self.ratio),
            within,
            promise,
        ]
    }

    fn class(&self) -> &'static str {
        match self.met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "open",
        }
    }

    /// A ratio as one that is the better the larger it is.
    fn times_as_good(&self, ratio: f64) -> f64 {
        if self.unit.meets(0.0, 1.0) { 1.0 / ratio } else { ratio }
    }
}

/// A logarithmic axis over whole powers of ten.
struct Axis {
    /// Exponents.
    first: f64,
    last: f64,
}

impl Axis {
    const LEFT: f64 = 360.0;
    const WIDTH: f64 = 600.0;
    const TOP: f64 = 30.0;
    const LINE: f64 = 20.0;

    fn over(values: impl Iterator<Item = f64>) -> Self {
        let exponents = values.filter(|value| *value > 0.0).map(f64::log10);
        let (first, last) = exponents.fold((0.0_f64, 0.0_f64), |(first, last), exponent| {
            (first.min(exponent.floor()), last.max(exponent.ceil()))
        });
        Self { first, last: last.max(first + 1.0) }
    }

    fn x(&self, value: f64) -> f64 {
        let exponent = value.max(f64::MIN_POSITIVE).log10().clamp(self.first, self.last);
        Self::LEFT + (exponent - self.first) / (self.last - self.first) * Self::WIDTH
    }

    fn plot(&self, title: &str, lines: usize, marks: &str) -> String {
        let height = Self::TOP + lines as f64 * Self::LINE;
        let mut grid = String::new();
        let mut exponent = self.first;
        while exponent <= self.last {
            let x = self.x(10.0_f64.powf(exponent));
            let label = short(10.0_f64.powf(exponent));
            let _ = writeln!(
                grid,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"16\" y2=\"{height}\"/>\
                 <text x=\"{x:.1}\" y=\"12\" text-anchor=\"middle\">{label}</text>"
            );
            exponent += 1.0;
        }
        format!(
            "<h2>{title}</h2>\n<svg viewBox=\"0 0 1000 {height}\" width=\"1000\">\n{grid}{marks}</svg>"
        )
    }
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Measured;
    use crate::compare::report::Machine;
    use crate::metric::{Metric, Unit};

    fn report() -> Report {
        let metric = |name, unit, target| Metric {
            name,
            peer: "a < b",
            unit,
            target: Some(target),
            limit: None,
            rounds: 1,
            prepare: |_| Err(BenchError::Failed("not here".to_owned())),
        };
        let fast = metric("fast", Unit::Nanoseconds, 0.1);
        let slow = metric("slow", Unit::PacketsPerSecond, 2.0);
        let missing = BenchError::Missing("install it".to_owned());
        let rows = vec![
            Row::new(&fast, Ok(Measured::of(vec![(1.0, 100.0), (2.0, 100.0)]))),
            Row::new(&slow, Ok(Measured::of(vec![(1e6, 1e6)]))),
            Row::new(&slow, Err(missing)),
        ];
        Report { machine: Machine::here(), metrics: rows }
    }

    #[test]
    fn a_page_shows_what_is_met_what_is_missed_and_what_is_missing() {
        let page = report().html();
        assert!(page.contains("<tr class=\"met\"><td>fast</td>"), "{page}");
        assert!(page.contains("<tr class=\"missed\"><td>slow</td>"), "{page}");
        assert!(page.contains("not measured: install it"), "{page}");
        assert!(page.contains("a &lt; b"), "{page}");
        let markdown = report().markdown();
        assert!(markdown.contains("| `slow` |  | a < b |  |  | not measured"), "{markdown}");
        assert!(markdown.contains("| `fast` | 1.50 ns | a < b | 100 ns |"), "{markdown}");
    }

    #[test]
    fn an_axis_spans_what_is_on_it() {
        let axis = Axis::over([0.5, 300.0].into_iter());
        assert_eq!((axis.first, axis.last), (-1.0, 3.0));
        assert_eq!(axis.x(0.1), Axis::LEFT);
        assert_eq!(axis.x(1000.0), Axis::LEFT + Axis::WIDTH);
        assert_eq!(axis.x(0.0), Axis::LEFT, "nothing is drawn outside");
    }
}
