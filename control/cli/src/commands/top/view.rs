//! Rates as lines for people: what matters most at the top, what there may be most of at the end.

use sluice_api::backend::HEALTHY;

use super::rates::{Cost, Flow, Rates};
use crate::output::figures;
use crate::text::{count, printable};

/// A line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Heading,
    /// Something is wrong.
    Bad,
}

/// The whole report.
pub(super) fn lines(rates: &Rates) -> Vec<Line> {
    let mut lines = vec![summary(rates)];
    workers(rates, &mut lines);
    stages(rates, &mut lines);
    drops(rates, &mut lines);
    ports(rates, &mut lines);
    lines
}

fn summary(rates: &Rates) -> Line {
    let Rates { revision, health, connections, seconds, .. } = rates;
    let kind = if health == HEALTHY { Kind::Plain } else { Kind::Bad };
    let connections = count(*connections, "connection", "connections");
    let health = printable(health);
    let text = format!("revision {revision}, {connections}, over {seconds:.2} s, health: {health}");
    Line { text, kind }
}

fn workers(rates: &Rates, lines: &mut Vec<Line>) {
    let rows: Vec<Vec<String>> = rates
        .workers
        .iter()
        .map(|it| {
            let who = [it.worker.to_string(), it.core.to_string(), percent(it.busy)];
            let what = [
                it.frames_per_turn.map_or_else(nothing, scaled),
                it.connections.to_string(),
                it.revision.to_string(),
            ];
            who.into_iter().chain(flow(&it.flow)).chain(what).collect()
        })
        .collect();
    let headings = [
        &["WORKER", "CORE", "BUSY"][..],
        &FLOW_HEADINGS,
        &["FRAMES/TURN", "CONNECTIONS", "REVISION"],
    ]
    .concat();
    table(&headings, &rows, lines);
}

/// A row for each worker that was measured, a column for each stage.
fn stages(rates: &Rates, lines: &mut Vec<Line>) {
    let unit = format!("{}/FRAME", rates.cycle_unit.name().to_uppercase());
    let names: Vec<String> = rates
        .cost
        .stages
        .iter()
        .map(|it| printable(&it.stage.to_uppercase()).into_owned())
        .collect();
    let mut headings = vec![unit.as_str()];
    headings.extend(names.iter().map(String::as_str));
    headings.extend(["ALL", "MEASURED FRAMES"]);
    let row = |name: String, cost: &Cost| {
        let whole = |number: Option<f64>| number.map_or_else(nothing, |it| format!("{it:.0}"));
        let stage = |name: &String| {
            whole(
                cost.stages.iter().find(|it| it.stage == *name).and_then(|it| it.cycles_per_frame),
            )
        };
        let stages: Vec<String> = rates.cost.stages.iter().map(|it| stage(&it.stage)).collect();
        let all = [whole(cost.cycles_per_frame), cost.measured_frames.to_string()];
        std::iter::once(name).chain(stages).chain(all).collect()
    };
    let measured = rates.workers.iter().filter(|it| it.cost.measured_frames > 0);
    let mut rows: Vec<Vec<String>> =
        measured.map(|it| row(format!("worker {}", it.worker), &it.cost)).collect();
    rows.push(row("all workers".to_owned(), &rates.cost));
    table(&headings, &rows, lines);
}

fn drops(rates: &Rates, lines: &mut Vec<Line>) {
    if rates.drops.is_empty() {
        return;
    }
    let row = |reason: &str, frames| vec![reason.to_owned(), scaled(frames)];
    let rows: Vec<Vec<String>> =
        rates.drops.iter().map(|it| row(&it.reason, it.frames_per_second)).collect();
    table(&["DROPPED FOR", "DROPS/S"], &rows, lines);
}

fn ports(rates: &Rates, lines: &mut Vec<Line>) {
    let row = |name: &str, rates: &Flow| -> Vec<String> {
        std::iter::once(name.to_owned()).chain(flow(rates)).collect()
    };
    // No interface can have a space in its name.
    let mut rows = vec![row("all ports", &rates.all)];
    rows.extend(rates.ports.iter().map(|it| row(&it.port, &it.flow)));
    table(&[&["PORT"][..], &FLOW_HEADINGS].concat(), &rows, lines);
}

const FLOW_HEADINGS: [&str; 5] = ["RX/S", "RX BIT/S", "TX/S", "TX BIT/S", "DROPS/S"];

fn flow(flow: &Flow) -> [String; 5] {
    [
        flow.rx_frames_per_second,
        flow.rx_bits_per_second,
        flow.tx_frames_per_second,
        flow.tx_bits_per_second,
        flow.drops_per_second,
    ]
    .map(scaled)
}

/// Adds a table below an empty line.
fn table(headings: &[&str], rows: &[Vec<String>], lines: &mut Vec<Line>) {
    lines.push(Line { text: String::new(), kind: Kind::Plain });
    let kinds = std::iter::once(Kind::Heading).chain(std::iter::repeat(Kind::Plain));
    let table = figures(headings, rows).into_iter().zip(kinds);
    lines.extend(table.map(|(text, kind)| Line { text, kind }));
}

fn percent(part: f64) -> String {
    format!("{:.0}%", part * 100.0)
}

fn nothing() -> String {
    "-".to_owned()
}

/// A number in three digits and a letter for thousands, millions and so on: `1.25M`.
fn scaled(number: f64) -> String {
    let mut rest = number;
    for letter in ["", "k", "M", "G", "T"] {
        // What would be rounded up to a thousand belongs to the next letter.
        if rest < 999.5 || letter == "T" {
            let decimals = match rest {
                _ if rest == rest.trunc() && letter.is_empty() => 0,
                ..9.995 => 2,
                ..99.95 => 1,
                _ => 0,
            };
            return format!("{rest:.decimals$}{letter}");
        }
        rest /= 1000.0;
    }
    nothing()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (number, text) in [
            (0.0, "0"),
            (7.0, "7"),
            (0.25, "0.25"),
            (12.34, "12.3"),
            (999.0, "999"),
            (999.6, "1.00k"),
            (1_254_000.0, "1.25M"),
            (9_996_000.0, "10.0M"),
            (98_765_000_000.0, "98.8G"),
            (1_500_000_000_000_000.0, "1500T"),
        ] {
            assert_eq!(scaled(number), text);
        }
        assert_eq!(
            (percent(0.0), percent(0.126), percent(1.0)),
            ("0%".into(), "13%".into(), "100%".into())
        );
    }
}
