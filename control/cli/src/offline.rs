//! Manifests without a daemon: read, checked, compiled to the table that would enforce them.

use std::path::{Path, PathBuf};

use serde::Serialize;
use sluice_core::table::Table;
use sluice_policy::compile::{CompileOptions, compile};
use sluice_policy::model::{Fault, RuleSet};
use sluice_sources::files::{LoadOptions, load, load_with_advice};
use sluice_sources::manifest::{ManifestFault, ManifestOptions, Warning};

use crate::failure::Failure;
use crate::text::printable;

/// What manifests came to.
pub(crate) struct Loaded {
    pub(crate) rules: RuleSet,
    pub(crate) warnings: Vec<Warning>,
}

/// A fault or a warning, as JSON shows it; null where something is unknown.
#[derive(Debug, Serialize)]
pub(crate) struct FaultLine<'a> {
    file: Option<String>,
    line: Option<usize>,
    object: Option<&'a str>,
    field: Option<&'a str>,
    problem: &'a str,
}

/// Reads and checks manifests, and remarks on what is surprising in them.
pub(crate) fn read_with_advice(
    files: &[PathBuf],
    strict: bool,
) -> Result<Loaded, Vec<ManifestFault>> {
    load_with_advice(files, &options(strict)).map(|(rules, warnings)| Loaded { rules, warnings })
}

/// Reads and checks manifests.
pub(crate) fn read(files: &[PathBuf], strict: bool) -> Result<Loaded, Vec<ManifestFault>> {
    load(files, &options(strict)).map(|(rules, warnings)| Loaded { rules, warnings })
}

fn options(strict: bool) -> LoadOptions {
    LoadOptions { manifest: ManifestOptions { strict }, ..LoadOptions::default() }
}

/// Compiles a rule set as the daemon on `node` would.
pub(crate) fn table(rules: &RuleSet, node: Option<&str>) -> Result<Table, Vec<ManifestFault>> {
    let options = CompileOptions { local_node: node.map(str::to_owned) };
    compile(rules, &options).map_err(|faults| {
        let located = faults.into_iter().map(|fault| ManifestFault {
            file: PathBuf::new(),
            line: None,
            object: fault.object,
            field: fault.field,
            problem: fault.problem,
        });
        located.collect()
    })
}

/// The table of manifests, with warnings on standard error.
pub(crate) fn open(files: &[PathBuf], node: Option<&str>) -> Result<Table, Failure> {
    let loaded = read(files, false).map_err(|faults| refuse(&faults))?;
    warn(&loaded.warnings);
    table(&loaded.rules, node).map_err(|faults| refuse(&faults))
}

/// A failure with one line for each fault.
pub(crate) fn refuse(faults: &[ManifestFault]) -> Failure {
    Failure::Refused(faults.iter().map(fault_line).collect())
}

/// Prints warnings to standard error.
pub(crate) fn warn(warnings: &[Warning]) {
    for Warning(warning) in warnings {
        crate::run::complain(&format!("warning: {}", fault_line(warning)));
    }
}

/// `file:line: object: field: problem`, without what is unknown.
fn fault_line(fault: &ManifestFault) -> String {
    let line = fault.to_string();
    // A fault of the rule set as a whole has no file.
    printable(line.strip_prefix(": ").unwrap_or(&line)).into_owned()
}

impl<'a> From<&'a ManifestFault> for FaultLine<'a> {
    fn from(fault: &'a ManifestFault) -> Self {
        Self {
            file: Some(fault.file.as_path())
                .filter(|file| *file != Path::new(""))
                .map(|file| file.display().to_string()),
            line: fault.line,
            object: known(&fault.object),
            field: known(&fault.field),
            problem: &fault.problem,
        }
    }
}

impl<'a> From<&'a Fault> for FaultLine<'a> {
    fn from(fault: &'a Fault) -> Self {
        Self {
            file: None,
            line: None,
            object: known(&fault.object),
            field: known(&fault.field),
            problem: &fault.problem,
        }
    }
}

fn known(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
