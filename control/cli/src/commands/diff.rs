//! `diff`: what a push would change, before it does.

use std::io;

use serde::Serialize;
use sluice_api::backend::{Content, DiffOrder, DyingConnection, Preview};
use sluice_policy::diff::{Diff, VerdictChange, diff};

use super::apply;
use crate::args::{Connection, Diff as Arguments};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::offline;
use crate::output::{Mood, Output};
use crate::progress::Progress;
use crate::text::{count, printable};

pub(crate) fn run(
    arguments: &Arguments,
    connection: &Connection,
    output: &mut Output,
) -> Result<(), Failure> {
    let loaded = match offline::read(&arguments.files, arguments.strict) {
        Ok(loaded) => loaded,
        Err(faults) => {
            apply::reject_manifests(&faults, output)?;
            return Err(offline::refuse(&faults));
        }
    };
    offline::warn(&loaded.warnings);
    if !arguments.against.is_empty() {
        let node = arguments.node.as_deref();
        let before = offline::open(&arguments.against, node)?;
        let after =
            offline::table(&loaded.rules, node).map_err(|faults| offline::refuse(&faults))?;
        let progress = Progress::of("comparing");
        let found = diff(&before, &after, arguments.limit, |done, all| {
            progress.at(done, all);
            true
        });
        progress.done();
        let found = found.map_err(Failure::refused)?;
        return show(&found, &found, output, |_| Ok(()));
    }
    let order = DiffOrder {
        content: Content::Snapshot(loaded.rules),
        base_revision: None,
        limit: arguments.limit,
    };
    let daemon = Daemon::connect(connection)?;
    let progress = Progress::waiting("the daemon compares");
    let answer = daemon.diff(&order);
    progress.done();
    match answer? {
        Ok(preview) => {
            show(&preview, &preview.diff, output, |output| connections(&preview, output))
        }
        Err(refused) => apply::nack(&refused, output),
    }
}

/// Prints `whole` as JSON, or for people the diff and what else there is.
fn show(
    whole: &impl Serialize,
    diff: &Diff,
    output: &mut Output,
    more: impl FnOnce(&mut Output) -> io::Result<()>,
) -> Result<(), Failure> {
    if output.is_json() {
        output.json(whole)?;
        return Ok(());
    }
    verdicts(diff, output)?;
    more(output)?;
    Ok(())
}

fn verdicts(diff: &Diff, output: &mut Output) -> io::Result<()> {
    for (pods, word) in [(&diff.pods_added, "added"), (&diff.pods_removed, "removed")] {
        if !pods.is_empty() {
            let names: Vec<_> = pods.iter().map(|pod| printable(pod)).collect();
            let pods = count(pods.len() as u64, "pod", "pods");
            output.line(format!("{pods} {word}: {}", names.join(" ")))?;
        }
    }
    if !diff.access_lists.is_empty() {
        let names: Vec<_> = diff.access_lists.iter().map(|name| printable(name)).collect();
        let lists = count(names.len() as u64, "access list differs", "access lists differ");
        output.line(format!("{lists}: {}", names.join(" ")))?;
        output
            .line("what lists deny is not among the verdicts; ask explain -f for one connection")?;
    }
    if diff.verdicts_total == 0 && !diff.access_lists.is_empty() {
        return output.line("no verdict of the policies changes");
    }
    if diff.verdicts_total == 0 {
        let nothing = output.paint(Mood::Good, "no verdict changes");
        return output.line(nothing);
    }
    let rows: Vec<Vec<String>> = diff.verdicts.iter().map(row).collect();
    output.table(&["FROM", "TO", "PROTOCOL", "PORTS", "NOW", "THEN", "FAMILY"], &rows)?;
    let total = count(diff.verdicts_total, "verdict changes", "verdicts change");
    let listed = rows.len() as u64;
    let is_cut = diff.verdicts_total > listed;
    let shown = if is_cut { format!("; the first {listed} are listed") } else { String::new() };
    output.line(format!("{total}{shown}"))
}

fn row(it: &VerdictChange) -> Vec<String> {
    let ports = match it.ports {
        None => "-".to_owned(),
        Some((0, u16::MAX)) => "all".to_owned(),
        Some((first, last)) if first == last => first.to_string(),
        Some((first, last)) => format!("{first}-{last}"),
    };
    let VerdictChange { from, to, protocol, before, after, family, .. } = it;
    let [before, after] = [before, after].map(ToString::to_string);
    [from.clone(), to.clone(), protocol.clone(), ports, before, after, family.clone()].to_vec()
}

fn connections(preview: &Preview, output: &mut Output) -> io::Result<()> {
    let live = count(preview.connections_live, "live connection", "live connections");
    if preview.connections_total == 0 {
        return output.line(format!("none of {live} would die"));
    }
    let dying = output.paint(Mood::Bad, preview.connections_total);
    output.line(format!("{dying} of {live} would die:"))?;
    let rows: Vec<Vec<String>> = preview.connections.iter().map(connection).collect();
    output.table(&["FROM", "TO", "CONNECTION", "WHY"], &rows)
}

fn connection(it: &DyingConnection) -> Vec<String> {
    let end = |address, port: Option<u16>| match port {
        Some(port) => std::net::SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    };
    let source = end(it.source, it.source_port);
    let destination = end(it.destination, it.destination_port);
    let tuple = format!("{} {source} > {destination}", it.protocol);
    vec![it.from.clone(), it.to.clone(), tuple, it.reason.clone()]
}
