//! `counters`: what the ports received, sent and dropped, and for which reasons.

use std::io;

use serde::Serialize;
use sluice_api::backend::{Counters, DropCount, PortCounters, Traffic};
use sluice_core::drop::DropReason;

use crate::args::{Connection, Counters as Arguments};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::output::Output;

/// What JSON shows of a reason.
#[derive(Serialize)]
struct Reason {
    reason: &'static str,
    description: &'static str,
}

/// What JSON shows of all reasons.
#[derive(Serialize)]
struct Reasons {
    reasons: Vec<Reason>,
}

pub(crate) fn run(
    arguments: &Arguments,
    connection: &Connection,
    output: &mut Output,
) -> Result<(), Failure> {
    if arguments.reasons {
        return Ok(reasons(output)?);
    }
    let mut counters = Daemon::connect(connection)?.counters()?;
    if arguments.all {
        add_unseen(&mut counters.total.drops);
    } else {
        counters.total.drops.retain(|drop| drop.frames > 0);
    }
    if output.is_json() {
        output.json(&counters)?;
    } else {
        print(&counters, arguments.workers, output)?;
    }
    Ok(())
}

/// Lists the reasons that this program knows.
fn reasons(output: &mut Output) -> io::Result<()> {
    let all = DropReason::ALL.iter();
    if output.is_json() {
        let reason = |it: &DropReason| Reason { reason: it.name(), description: it.description() };
        return output.json(&Reasons { reasons: all.map(reason).collect() });
    }
    let row = |it: &DropReason| vec![it.name().to_owned(), it.description().to_owned()];
    output.table(&["REASON", "MEANING"], &all.map(row).collect::<Vec<_>>())
}

/// Adds the reasons that the daemon leaves out because nothing was dropped for them.
fn add_unseen(drops: &mut Vec<DropCount>) {
    for reason in DropReason::ALL {
        if drops.iter().all(|drop| drop.reason != reason.name()) {
            drops.push(DropCount::new(*reason, 0));
        }
    }
}

fn print(counters: &Counters, by_worker: bool, output: &mut Output) -> io::Result<()> {
    let ports = counters.ports.iter().map(|port| row(&port.port, &port.total));
    // No interface can have a space in its name.
    let all = std::iter::once(row("all ports", &counters.total));
    let headings =
        ["PORT", "RX FRAMES", "RX BYTES", "TX FRAMES", "TX BYTES", "FLOOD COPIES", "DROPPED"];
    output.table(&headings, &ports.chain(all).collect::<Vec<_>>())?;
    if !counters.ports.is_empty() {
        output.line("")?;
        gates(&counters.ports, output)?;
    }
    output.line("")?;
    drops_by_port(&counters.ports, by_worker, output)?;
    drops(&counters.total.drops, output)
}

fn row(name: &str, traffic: &Traffic) -> Vec<String> {
    let Traffic { rx_frames, rx_bytes, tx_frames, tx_bytes, flood_copies, .. } = *traffic;
    let numbers = [rx_frames, rx_bytes, tx_frames, tx_bytes, flood_copies, traffic.dropped()];
    std::iter::once(name.to_owned()).chain(numbers.map(|number| number.to_string())).collect()
}

/// What the gate in the kernel did with frames before a worker saw them.
fn gates(ports: &[PortCounters], output: &mut Output) -> io::Result<()> {
    let unread = || std::array::from_fn(|_| "-".to_owned());
    let rows: Vec<Vec<String>> = ports
        .iter()
        .map(|PortCounters { port, gate, .. }| {
            let numbers = gate.map_or_else(unread, |gate| {
                [gate.steered, gate.passed_to_node, gate.fallback_dropped, gate.fallback_passed]
                    .map(|number| number.to_string())
            });
            std::iter::once(port.clone()).chain(numbers).collect()
        })
        .collect();
    let headings = ["GATE OF", "STEERED", "TO THE NODE", "FALLBACK DROPPED", "FALLBACK PASSED"];
    output.table(&headings, &rows)
}

/// Which ports, and of them which workers, dropped for which reasons.
fn drops_by_port(ports: &[PortCounters], by_worker: bool, output: &mut Output) -> io::Result<()> {
    let mut rows = Vec::new();
    for PortCounters { port, total, workers, .. } in ports {
        let mut add = |traffic: &Traffic, worker: Option<u32>| {
            for DropCount { reason, frames, .. } in traffic.drops.iter().filter(|it| it.frames > 0)
            {
                let worker = worker.map(|number| number.to_string());
                let count = [reason.clone(), frames.to_string()];
                rows.push([port.clone()].into_iter().chain(worker).chain(count).collect());
            }
        };
        if by_worker {
            workers.iter().for_each(|it| add(&it.traffic, Some(it.worker)));
        } else {
            add(total, None);
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    let headings = if by_worker {
        &["PORT", "WORKER", "DROPPED FOR", "FRAMES"][..]
    } else {
        &["PORT", "DROPPED FOR", "FRAMES"]
    };
    output.table(headings, &rows)?;
    output.line("")
}

fn drops(drops: &[DropCount], output: &mut Output) -> io::Result<()> {
    if drops.is_empty() {
        return output.line("nothing dropped");
    }
    let mut drops: Vec<&DropCount> = drops.iter().collect();
    // The commonest first; equal ones as they came.
    drops.sort_by_key(|drop| std::cmp::Reverse(drop.frames));
    let rows: Vec<Vec<String>> = drops
        .iter()
        .map(|it| vec![it.reason.clone(), it.frames.to_string(), it.description.clone()])
        .collect();
    output.table(&["DROPPED FOR", "FRAMES", "MEANING"], &rows)
}
