//! `apply`: manifests become the daemon's whole rule set, or nothing changes.

use std::time::Duration;

use serde::Serialize;
use sluice_api::backend::{CommitOrder, Committed, Content, Refused};
use sluice_sources::manifest::ManifestFault;

use crate::args::{Apply, Connection};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::offline::{self, FaultLine};
use crate::output::{Mood, Output};
use crate::text::{self, count, printable};

/// What JSON shows of a rule set that is in force.
#[derive(Serialize)]
struct Accepted<'a> {
    ok: bool,
    revision: u64,
    version: &'a str,
    objects: u64,
    applied_in_ns: u64,
}

/// What JSON shows of a rule set that was refused.
#[derive(Serialize)]
struct Rejected<'a> {
    ok: bool,
    /// Null where the manifests did not get as far as the daemon.
    running_revision: Option<u64>,
    faults: Vec<FaultLine<'a>>,
}

pub(crate) fn run(
    apply: &Apply,
    connection: &Connection,
    output: &mut Output,
) -> Result<(), Failure> {
    let loaded = match offline::read(&apply.files, apply.strict) {
        Ok(loaded) => loaded,
        Err(faults) => {
            reject_manifests(&faults, output)?;
            return Err(offline::refuse(&faults));
        }
    };
    offline::warn(&loaded.warnings);
    let order = CommitOrder {
        version: apply.version_name.clone(),
        base_revision: apply.base,
        allow_shrink: apply.allow_shrink,
        content: Content::Snapshot(loaded.rules),
    };
    match Daemon::connect(connection)?.commit(&order)? {
        Ok(committed) => accepted(&committed, output),
        Err(refused) => nack(&refused, output),
    }
}

fn accepted(committed: &Committed, output: &mut Output) -> Result<(), Failure> {
    let Committed { revision, version, objects, applied_in_ns } = committed;
    if output.is_json() {
        output.json(&Accepted {
            ok: true,
            revision: *revision,
            version,
            objects: *objects,
            applied_in_ns: *applied_in_ns,
        })?;
    } else {
        let ok = output.paint(Mood::Good, "ok");
        let name = match version.as_str() {
            "" => String::new(),
            version => format!(" ({})", printable(version)),
        };
        let took = Duration::from_nanos(*applied_in_ns);
        let objects = count(*objects, "object", "objects");
        output
            .line(format!("{ok}: revision {revision}{name} in force: {objects}, in {took:.1?}"))?;
    }
    Ok(())
}

/// Shows manifests that did not get as far as the daemon, where JSON is wanted.
pub(crate) fn reject_manifests(
    faults: &[ManifestFault],
    output: &mut Output,
) -> Result<(), Failure> {
    reject(None, faults.iter().map(FaultLine::from).collect(), output)
}

/// Shows what the daemon refused.
pub(crate) fn nack(refused: &Refused, output: &mut Output) -> Result<(), Failure> {
    let running = refused.running_revision;
    let lines = refused.faults.iter().map(FaultLine::from).collect();
    reject(Some(running), lines, output)?;
    let fault =
        |it: &sluice_policy::model::Fault| text::fault([&it.object, &it.field, &it.problem]);
    let mut lines: Vec<String> = refused.faults.iter().map(fault).collect();
    if lines.is_empty() {
        lines.push(format!("refused without a reason; revision {running} stays in force"));
    }
    Err(Failure::Refused(lines))
}

fn reject(
    running_revision: Option<u64>,
    faults: Vec<FaultLine<'_>>,
    output: &mut Output,
) -> Result<(), Failure> {
    if output.is_json() {
        output.json(&Rejected { ok: false, running_revision, faults })?;
    }
    Ok(())
}
