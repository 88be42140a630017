//! `check`: everything that is wrong with manifests, or what is in them.

use serde::Serialize;
use sluice_sources::manifest::{ManifestFault, Warning};

use crate::args::Check;
use crate::failure::Failure;
use crate::offline::{self, FaultLine, Loaded};
use crate::output::{Mood, Output};
use crate::text::{self, count};

/// What JSON shows.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    objects: Option<Objects>,
    faults: Vec<FaultLine<'a>>,
    warnings: Vec<FaultLine<'a>>,
}

/// How many objects the rule set has.
#[derive(Serialize)]
struct Objects {
    namespaces: u64,
    pods: u64,
    nodes: u64,
    network_policies: u64,
}

pub(crate) fn run(check: &Check, output: &mut Output) -> Result<(), Failure> {
    let checked = offline::read(&check.files, check.strict).and_then(|loaded| {
        // Valid is what compiles; nothing else will do.
        offline::table(&loaded.rules, check.node.as_deref()).map(|_| loaded)
    });
    match checked {
        Ok(loaded) => accepted(&loaded, output),
        Err(faults) => refused(&faults, output),
    }
}

fn accepted(loaded: &Loaded, output: &mut Output) -> Result<(), Failure> {
    let objects = Objects {
        namespaces: loaded.rules.namespaces().len() as u64,
        pods: loaded.rules.pods().len() as u64,
        nodes: loaded.rules.nodes().len() as u64,
        network_policies: loaded.rules.network_policies().len() as u64,
    };
    if output.is_json() {
        let warnings = loaded.warnings.iter().map(|Warning(it)| it.into()).collect();
        let report = Report { ok: true, objects: Some(objects), faults: Vec::new(), warnings };
        output.json(&report)?;
    } else {
        offline::warn(&loaded.warnings);
        let ok = output.paint(Mood::Good, "ok");
        let Objects { namespaces, pods, nodes, network_policies } = objects;
        let mut summary = text::objects(namespaces, pods, nodes, network_policies);
        if !loaded.warnings.is_empty() {
            let warnings = loaded.warnings.len() as u64;
            summary += &format!("; {}", count(warnings, "warning", "warnings"));
        }
        output.line(format!("{ok}: {summary}"))?;
    }
    Ok(())
}

fn refused(faults: &[ManifestFault], output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        let faults = faults.iter().map(FaultLine::from).collect();
        output.json(&Report { ok: false, objects: None, faults, warnings: Vec::new() })?;
    }
    Err(offline::refuse(faults))
}
