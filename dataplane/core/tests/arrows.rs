//! Which crate may depend on which, and which may write `unsafe`: as rules that a build can break.
//!
//! ```text
//! control/* ----> dataplane/* ----> dataplane/core ----> no crate of ours
//! ```
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed step of a test is a failed test"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A package of the workspace.
struct Package {
    name: String,
    /// Its directory, from the workspace's root on: `dataplane/core`.
    place: PathBuf,
    /// The places of the workspace's packages that it depends on, be it for tests or for its build.
    needs: Vec<PathBuf>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn packages() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let from_root = |path: &Value| {
        let path = Path::new(path.as_str().unwrap());
        path.strip_prefix(metadata["workspace_root"].as_str().unwrap()).unwrap().to_owned()
    };
    let package = |package: &Value| Package {
        name: package["name"].as_str().unwrap().to_owned(),
        place: from_root(&package["manifest_path"]).parent().unwrap().to_owned(),
        // A dependency of the workspace is one by path; the list holds every kind of dependency.
        needs: package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .map(|dependency| &dependency["path"])
            .filter(|path| !path.is_null())
            .map(from_root)
            .collect(),
    };
    let packages: Vec<_> = metadata["packages"].as_array().unwrap().iter().map(package).collect();
    // Were the listing read wrongly, all that follows would hold of nothing.
    for plane in ["dataplane", "control"] {
        assert!(packages.iter().any(|package| package.place.starts_with(plane)), "no {plane}");
    }
    packages
}

#[test]
fn the_dataplane_never_depends_on_control() {
    let packages = packages();
    for package in packages.iter().filter(|package| package.place.starts_with("dataplane")) {
        for need in &package.needs {
            assert!(!need.starts_with("control"), "{} depends on {}", package.name, need.display());
        }
    }
    let crosses = |package: &Package| {
        package.place.starts_with("control")
            && package.needs.iter().any(|need| need.starts_with("dataplane"))
    };
    assert!(packages.iter().any(crosses), "no dependency is seen at all");
}

#[test]
fn the_core_depends_on_no_crate_of_ours() {
    let packages = packages();
    let core = packages.iter().find(|package| package.name == "sluice-core").unwrap();
    assert_eq!(core.needs, [] as [PathBuf; 0]);
}

#[test]
fn unsafe_code_stays_in_one_crate() {
    let packages = packages();
    let mut files = Vec::new();
    for package in &packages {
        sources(&root().join(&package.place), &mut files);
    }
    let (in_xdp, elsewhere): (Vec<_>, Vec<_>) = files
        .into_iter()
        .filter(|file| relaxes(&std::fs::read_to_string(file).unwrap()))
        .partition(|file| file.starts_with(root().join("dataplane/xdp")));
    assert!(!in_xdp.is_empty(), "not even its own crate has any: the search is broken");
    assert_eq!(elsewhere, [] as [PathBuf; 0]);
}

/// Whether a source writes `unsafe` or asks to be allowed to.
fn relaxes(source: &str) -> bool {
    // In pieces, or this file would be found.
    let attributes = [concat!("expect(", "unsafe_code"), concat!("allow(", "unsafe_code")];
    let mut code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.any(|line| {
        attributes.iter().any(|attribute| line.contains(attribute)) || has_keyword(line)
    })
}

/// Whether a line holds `unsafe` as a word of its own: before a block, function, impl or trait.
fn has_keyword(line: &str) -> bool {
    line.match_indices(concat!("unsafe", " ")).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
    })
}

/// All Rust files below `directory`.
fn sources(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
