//! `doctor`: whether machine, kernel and NICs give Sluice what it needs, and what to do if not.
//!
//! Facts are gathered once (`facts`); each check is a function from facts to findings. Nothing is
//! changed and no socket is bound: a NIC in use is left alone.

mod drivers;
mod facts;
mod finding;
mod kernel;
mod machine;
mod nic;
mod offloads;
mod place;
mod polling;

use std::io;

use serde::Serialize;
use sluice_xdp::{InterfaceError, Link};

use self::finding::{Level, Subject};
use self::machine::Machine;
use crate::args::{Connection, Doctor};
use crate::failure::Failure;
use crate::output::{Mood, Output};
use crate::text::{count, printable};

/// What JSON shows.
#[derive(Serialize)]
struct Report<'a> {
    /// No fault, but perhaps warnings.
    ok: bool,
    subjects: &'a [Subject],
}

pub(crate) fn run(
    doctor: &Doctor,
    connection: &Connection,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut links = Link::all().map_err(|error| {
        Failure::refused(format!("the kernel does not list interfaces: {error}"))
    })?;
    links.sort_by(|one, other| one.name.cmp(&other.name));
    if let Some(name) = &doctor.interface
        && links.iter().all(|link| link.name != *name)
    {
        return Err(Failure::refused(InterfaceError::Missing { name: name.clone() }));
    }
    let machine = facts::machine(connection, &doctor.pin_dir)?;
    let is_asked = |link: &&Link| match &doctor.interface {
        Some(name) => link.name == *name,
        None => is_looked_at(link, &machine),
    };
    let mut subjects =
        vec![Subject { name: "machine".to_owned(), findings: machine::check(&machine) }];
    if doctor.interface.is_none() {
        subjects.extend(machine::lost_ports(&machine, &links));
    }
    for link in links.iter().filter(is_asked) {
        let nic = facts::nic(link, &machine);
        subjects.push(Subject { name: link.name.clone(), findings: nic::check(&nic, &machine) });
    }
    report(&subjects, output)
}

/// Without a name: what looks like a NIC and is up, and the daemon's ports.
fn is_looked_at(link: &Link, machine: &Machine) -> bool {
    machine.port(&link.name).is_some() || (link.up && link.ethernet && link.kind.is_empty())
}

fn report(subjects: &[Subject], output: &mut Output) -> Result<(), Failure> {
    let levels = || subjects.iter().flat_map(|it| &it.findings).map(|it| it.level);
    let number = |level| levels().filter(|it| *it == level).count() as u64;
    let (faults, warnings) = (number(Level::Fault), number(Level::Warning));
    if output.is_json() {
        output.json(&Report { ok: faults == 0, subjects })?;
    } else {
        for subject in subjects {
            print(subject, output)?;
        }
    }
    let warnings = count(warnings, "warning", "warnings");
    if faults > 0 {
        let faults = count(faults, "fault", "faults");
        return Err(Failure::refused(format!("{faults}, {warnings}")));
    }
    if !output.is_json() {
        let ok = output.paint(Mood::Good, "ok");
        output.line(format!("{ok}: no faults, {warnings}"))?;
    }
    Ok(())
}

fn print(subject: &Subject, output: &mut Output) -> io::Result<()> {
    output.line(printable(&subject.name))?;
    for finding in &subject.findings {
        let level = format!("{:<7}", finding.level.name());
        let level = match finding.level {
            Level::Ok => output.paint(Mood::Good, level),
            Level::Fault => output.paint(Mood::Bad, level),
            Level::Warning | Level::Unknown => level,
        };
        output.line(format!("  {level}  {:<12}  {}", finding.check, printable(&finding.found)))?;
        if let Some(remedy) = &finding.remedy {
            output.line(format!("{:25}> {}", "", printable(remedy)))?;
        }
    }
    output.line("")
}
