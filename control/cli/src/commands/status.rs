//! `status`: what the daemon enforces, and whether all is well.

use std::io;

use sluice_api::backend::{Refusal, Status, WorkerStatus};

use crate::args::Connection;
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::output::{Mood, Output};
use crate::text::{self, printable};

pub(crate) fn run(connection: &Connection, output: &mut Output) -> Result<(), Failure> {
    let status = Daemon::connect(connection)?.status()?;
    if output.is_json() {
        output.json(&status)?;
    } else {
        print(&status, output)?;
    }
    Ok(())
}

fn print(status: &Status, output: &mut Output) -> io::Result<()> {
    if status.revision == 0 {
        let none = output.paint(Mood::Bad, "none");
        output.line(format!("revision:  {none}; no rule set has been taken yet"))?;
    } else {
        let name = match status.version.as_str() {
            "" => String::new(),
            version => format!(" ({})", printable(version)),
        };
        output.line(format!("revision:  {}{name}", status.revision))?;
    }
    output.line(format!("source:    {}", printable(&status.source.to_string())))?;
    output.line(format!("rule set:  {}", text::objects(&status.objects)))?;
    output.line(format!("uptime:    {}", span(status.uptime_seconds)))?;
    let mood = if status.is_healthy() { Mood::Good } else { Mood::Bad };
    let health = output.paint(mood, printable(&status.health));
    output.line(format!("health:    {health}"))?;
    if let Some(refusal) = &status.last_refusal {
        refused(refusal, output)?;
    }
    if status.workers.is_empty() {
        return output.line("workers:   none");
    }
    output.line("")?;
    workers(status, output)
}

/// The last rule set that was pushed in vain.
fn refused(refusal: &Refusal, output: &mut Output) -> io::Result<()> {
    let name = match refusal.version.as_str() {
        "" => "a rule set".to_owned(),
        version => printable(version).into_owned(),
    };
    let age = span(refusal.age_seconds);
    let refused = output.paint(Mood::Bad, "refused");
    output.line(format!("last push: {name} was {refused} {age} ago"))?;
    for fault in &refusal.faults {
        let fault = text::fault([&fault.object, &fault.field, &fault.problem]);
        output.line(format!("  {fault}"))?;
    }
    Ok(())
}

fn workers(status: &Status, output: &mut Output) -> io::Result<()> {
    let rows: Vec<Vec<String>> = status
        .workers
        .iter()
        .map(|worker| {
            let WorkerStatus { index, core, revision, connections, evicted } = *worker;
            [index.into(), core.into(), revision, connections, evicted]
                .map(|number: u64| number.to_string())
                .to_vec()
        })
        .collect();
    output.table(&["WORKER", "CORE", "REVISION", "CONNECTIONS", "EVICTED"], &rows)?;
    let late = status.workers.iter().filter(|it| it.revision != status.revision).count();
    if late > 0 {
        let late = text::count(late as u64, "worker judges", "workers judge");
        let note = output.paint(Mood::Bad, format!("{late} by another revision"));
        output.line(note)?;
    }
    Ok(())
}

/// A span of time in its two largest units.
fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{minutes} min {} s", seconds % 60),
        3_600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (seconds, expected) in
            [(0, "0 s"), (61, "1 min 1 s"), (7_260, "2 h 1 min"), (90_000, "1 d 1 h")]
        {
            assert_eq!(span(seconds), expected);
        }
    }
}
