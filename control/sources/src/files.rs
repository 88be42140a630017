//! Files and directories of manifests, as one rule set.
//!
//! Directories are read to the bottom, in sorted order: `.yaml`, `.yml` and `.json`, nothing
//! whose name begins with a dot. Symbolic links are followed, as mounted ConfigMaps need, and a
//! directory is entered once. Number and size of files are bounded. A rule set is given only
//! if every object in every file is valid; otherwise all faults are, each with its line.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sluice_policy::advice::{Advice, advise};
use sluice_policy::model::{Fault, ObjectKey, RuleSet};
use sluice_policy::validate::validate;

use crate::manifest::{self, Located, ManifestFault, ManifestOptions, Warning};

/// Directories within directories.
const DEPTH_MAX: usize = 16;

/// How to read files, and how much of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOptions {
    /// How to read each manifest.
    pub manifest: ManifestOptions,
    /// The largest file that is read, in bytes.
    pub file_len_max: u64,
    /// What all files may come to, in bytes.
    pub total_len_max: u64,
    /// The largest number of files.
    pub files_max: usize,
}

impl Default for LoadOptions {
    /// Lenient; 64 MiB a file, 256 MiB and 10,000 files in all.
    fn default() -> Self {
        Self {
            manifest: ManifestOptions::default(),
            file_len_max: 64 << 20,
            total_len_max: 256 << 20,
            files_max: 10_000,
        }
    }
}

/// Reads files and directories into one valid rule set.
///
/// A file that is named is read whatever it is called. The warnings are sorted by place.
///
/// # Errors
///
/// All faults, sorted by place: what cannot be read or understood, what is there twice, and what
/// [`validate`] finds.
pub fn load(
    paths: &[PathBuf],
    options: &LoadOptions,
) -> Result<(RuleSet, Vec<Warning>), Vec<ManifestFault>> {
    collect(paths, options).map(|(collected, warnings)| (collected.rules, warnings))
}

/// Reads as [`load`] does; the warnings have advice among them, on what is legal but surprising.
///
/// # Errors
///
/// As [`load`].
pub fn load_with_advice(
    paths: &[PathBuf],
    options: &LoadOptions,
) -> Result<(RuleSet, Vec<Warning>), Vec<ManifestFault>> {
    let (collected, mut warnings) = collect(paths, options)?;
    warnings.extend(advise(&collected.rules).into_iter().map(|it| {
        let Advice { object, field, remark } = it;
        Warning(collected.place(Fault { object, field, problem: remark }))
    }));
    warnings.sort();
    Ok((collected.rules, warnings))
}

fn collect(
    paths: &[PathBuf],
    options: &LoadOptions,
) -> Result<(Collected, Vec<Warning>), Vec<ManifestFault>> {
    let mut warnings = Vec::new();
    let mut faults = Vec::new();
    let mut collected = Collected::default();
    let listing = list(paths, options.files_max);
    warnings.extend(
        listing
            .empty
            .iter()
            .map(|path| Warning(unlocated(path, "holds no .yaml, .yml or .json file"))),
    );
    faults.extend(listing.faults);
    let mut total_len = 0u64;
    for file in &listing.files {
        let text = match read(file, options.file_len_max) {
            Ok(text) => text,
            Err(problem) => {
                faults.push(unlocated(file, problem));
                continue;
            }
        };
        total_len = total_len.saturating_add(text.len() as u64);
        if total_len > options.total_len_max {
            let limit = options.total_len_max;
            faults.push(unlocated(file, format!("all files together exceed {limit} bytes")));
            break;
        }
        let manifest = manifest::parse(file, &text, options.manifest);
        warnings.extend(manifest.warnings);
        faults.extend(manifest.faults);
        for located in manifest.objects {
            faults.extend(collected.add(file, located));
        }
    }
    faults.extend(validate(&collected.rules).into_iter().map(|fault| collected.place(fault)));
    warnings.sort();
    faults.sort();
    if faults.is_empty() { Ok((collected, warnings)) } else { Err(faults) }
}

/// The files that [`load`] reads, and what stands in the way.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Sorted, each once.
    pub(crate) files: Vec<PathBuf>,
    /// Directories that were named and hold no file.
    empty: Vec<PathBuf>,
    pub(crate) faults: Vec<ManifestFault>,
}

/// Lists the files behind `paths`.
pub(crate) fn list(paths: &[PathBuf], files_max: usize) -> Listing {
    let mut listing = Listing::default();
    let mut files = BTreeSet::new();
    let mut walk = Walk { entered: BTreeSet::new(), files: &mut files, files_max };
    for path in paths {
        let before = walk.files.len();
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                walk.directory(path, 0, &mut listing.faults);
                if walk.files.len() == before && listing.faults.is_empty() {
                    listing.empty.push(path.clone());
                }
            }
            Ok(_) => {
                walk.files.insert(path.clone());
            }
            Err(error) => listing.faults.push(unlocated(path, cannot_read(&error))),
        }
    }
    listing.files = files.into_iter().collect();
    listing
}

/// A walk through directories.
struct Walk<'a> {
    /// Directories by their one true path, so that links cannot lead round in a circle.
    entered: BTreeSet<PathBuf>,
    files: &'a mut BTreeSet<PathBuf>,
    files_max: usize,
}

impl Walk<'_> {
    fn directory(&mut self, path: &Path, depth: usize, faults: &mut Vec<ManifestFault>) {
        if depth > DEPTH_MAX {
            faults.push(unlocated(path, format!("lies more than {DEPTH_MAX} directories deep")));
            return;
        }
        let entries = fs::canonicalize(path).and_then(|canonical| {
            if !self.entered.insert(canonical) {
                return Ok(Vec::new());
            }
            let entries = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path()));
            entries.collect::<io::Result<Vec<_>>>()
        });
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => return faults.push(unlocated(path, cannot_read(&error))),
        };
        entries.sort();
        for entry in entries.into_iter().filter(|entry| !is_hidden(entry)) {
            match fs::metadata(&entry) {
                Ok(metadata) if metadata.is_dir() => self.directory(&entry, depth + 1, faults),
                _ if !is_manifest(&entry) => {}
                Ok(_) if self.files.len() >= self.files_max => {
                    let problem = format!("holds more than {} files", self.files_max);
                    return faults.push(unlocated(path, problem));
                }
                Ok(_) => {
                    self.files.insert(entry);
                }
                Err(error) => faults.push(unlocated(&entry, cannot_read(&error))),
            }
        }
    }
}

/// The rule set so far, and where each object of it was written.
#[derive(Default)]
struct Collected {
    rules: RuleSet,
    places: HashMap<String, (PathBuf, Located)>,
}

impl Collected {
    fn add(&mut self, file: &Path, located: Located) -> Option<ManifestFault> {
        let key: ObjectKey = located.object.key();
        if let Err(fault) = self.rules.insert(located.object.clone()) {
            let problem = match self.places.get(&fault.object) {
                Some((first, other)) => format!(
                    "stands at {}:{} already; want each object once",
                    first.display(),
                    other.line_of("")
                ),
                None => fault.problem,
            };
            return Some(ManifestFault {
                file: file.to_owned(),
                line: Some(located.line_of(&fault.field)),
                object: fault.object,
                field: fault.field,
                problem,
            });
        }
        self.places.insert(key.to_string(), (file.to_owned(), located));
        None
    }

    /// A fault of the model, with the place where its object was written.
    fn place(&self, fault: Fault) -> ManifestFault {
        let place = self.places.get(&fault.object);
        ManifestFault {
            file: place.map(|(file, _)| file.clone()).unwrap_or_default(),
            line: place.map(|(_, located)| located.line_of(&fault.field)),
            object: fault.object,
            field: fault.field,
            problem: fault.problem,
        }
    }
}

fn read(path: &Path, len_max: u64) -> Result<String, String> {
    // A pipe or a device would never end, and opening one can block.
    let metadata = fs::metadata(path).map_err(|error| cannot_read(&error))?;
    if !metadata.is_file() {
        return Err("not a regular file; want one of YAML or JSON".to_owned());
    }
    let too_large = || format!("larger than {len_max} bytes; split it into several files");
    if metadata.len() > len_max {
        return Err(too_large());
    }
    let file = File::open(path).map_err(|error| cannot_read(&error))?;
    let mut bytes = Vec::new();
    file.take(len_max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| cannot_read(&error))?;
    if bytes.len() as u64 > len_max {
        return Err(too_large());
    }
    String::from_utf8(bytes).map_err(|error| {
        format!("byte {} is no UTF-8; want text", error.utf8_error().valid_up_to())
    })
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|it| it == "yaml" || it == "yml" || it == "json")
}

fn cannot_read(error: &io::Error) -> String {
    format!("cannot be read: {error}")
}

fn unlocated(file: &Path, problem: impl Into<String>) -> ManifestFault {
    ManifestFault {
        file: file.to_owned(),
        line: None,
        object: String::new(),
        field: String::new(),
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests;
