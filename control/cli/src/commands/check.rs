//! `check`: everything that is wrong with manifests, or what is in them and what of it is surprising.

use serde::Serialize;
use sluice_api::backend::ObjectCounts;
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
    /// How many objects the rule set has.
    objects: Option<ObjectCounts>,
    faults: Vec<FaultLine<'a>>,
    warnings: Vec<FaultLine<'a>>,
}

pub(crate) fn run(check: &Check, output: &mut Output) -> Result<(), Failure> {
    let checked = offline::read_with_advice(&check.files, check.strict).and_then(|loaded| {
        // Valid is what compiles; nothing else will do.
        offline::table(&loaded.rules, check.node.as_deref()).map(|_| loaded)
    });
    match checked {
        Ok(loaded) => accepted(&loaded, output),
        Err(faults) => refused(&faults, output),
    }
}

fn accepted(loaded: &Loaded, output: &mut Output) -> Result<(), Failure> {
    let objects = ObjectCounts::of(&loaded.rules);
    if output.is_json() {
        let warnings = loaded.warnings.iter().map(|Warning(it)| it.into()).collect();
        let report = Report { ok: true, objects: Some(objects), faults: Vec::new(), warnings };
        output.json(&report)?;
    } else {
        offline::warn(&loaded.warnings);
        let ok = output.paint(Mood::Good, "ok");
        let mut summary = text::objects(&objects);
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
