//! Manifests with one thing wrong, on the whole way from the file: each is refused with its line,
//! object, field and what would be right. Each case puts one line of a valid manifest wrong.

#![allow(clippy::unwrap_used, reason = "helpers of a test may fail as the test does")]

mod cluster;
mod network;

use sluice_policy::model::RuleSet;
use sluice_sources::files::{LoadOptions, load};
use sluice_sources::manifest::{ManifestFault, Warning};

/// The line that goes wrong, what it says then, and the faults, each as it begins after the
/// file's name and the object: `line: field: problem`.
type Case<'a> = (usize, &'a str, &'a [&'a str]);

fn read(text: &str, strict: bool) -> Result<(RuleSet, Vec<String>), Vec<ManifestFault>> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("m.yaml");
    std::fs::write(&file, text).unwrap();
    let mut options = LoadOptions::default();
    options.manifest.strict = strict;
    let (rules, warnings) = load(&[file], &options)?;
    let warning = |Warning(it): &Warning| brief(it);
    Ok((rules, warnings.iter().map(warning).collect()))
}

/// As it reads, with the last part of the file's path only.
fn brief(fault: &ManifestFault) -> String {
    let file = fault.file.file_name().unwrap().into();
    ManifestFault { file, ..fault.clone() }.to_string()
}

fn with_line(text: &str, line: usize, wrong: &str) -> String {
    let lines = (1..).zip(text.lines());
    lines
        .map(|(place, right)| if place == line { wrong } else { right }.to_owned() + "\n")
        .collect()
}

fn assert_faults(text: &str, object: &str, cases: &[Case<'_>]) {
    assert_eq!(read(text, true).unwrap().1, [] as [&str; 0]);
    for (line, wrong, expected) in cases {
        let faults = read(&with_line(text, *line, wrong), false).unwrap_err();
        let found: Vec<String> = faults.iter().map(brief).collect();
        assert_eq!(found.len(), expected.len(), "{wrong}: {found:#?}");
        for (found, expected) in found.iter().zip(*expected) {
            let (line, rest) = expected.split_once(": ").unwrap();
            let beginning = format!("m.yaml:{line}: {object}: {rest}");
            assert!(found.starts_with(&beginning), "{wrong}\n{found}\n{beginning}");
        }
    }
}

#[test]
fn an_object_that_is_there_twice() {
    for (text, object) in [(cluster::POLICY, cluster::GUARD), (network::POLICY, network::P)] {
        let lines = text.lines().count();
        let list = format!("{text}---\n{text}");
        let faults = read(&list, false).unwrap_err();
        let found: Vec<String> = faults.iter().map(brief).collect();
        let beginning = format!("m.yaml:{}: {object}: metadata.name: stands at ", lines + 4);
        assert!(found.len() == 1 && found[0].starts_with(&beginning), "{found:?}\n{beginning}");
        assert!(found[0].ends_with("m.yaml:1 already; want each object once"), "{found:?}");
    }
}

/// Fields that are passed over: warned of, and refused if strict.
#[test]
fn a_field_that_has_no_effect() {
    for (text, line, idle, expected) in [
        (network::POLICY, 5, "  podSelector: {matchLabel: {}}", "spec.podSelector.matchLabel"),
        (network::POLICY, 8, "  - form: []", "spec.ingress[0].form"),
        (network::POLICY, 4, "spec:\n  ingres: []", "spec.ingres"),
        (cluster::POLICY, 4, "spec:\n  egres: []", "spec.egres"),
        (cluster::POLICY, 9, "  - action: Deny\n    form: []", "spec.ingress[0].form"),
    ] {
        let text = with_line(text, line, idle);
        let line = line + idle.lines().count() - 1;
        let (rules, warnings) = read(&text, false).unwrap();
        assert_eq!(rules.len(), 1);
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        assert!(warning.starts_with(&format!("m.yaml:{line}: ")), "{warning}");
        assert!(warning.ends_with(&format!(": {expected}: no such field; it has no effect")));
        let faults: Vec<String> = read(&text, true).unwrap_err().iter().map(brief).collect();
        assert_eq!(faults, [warning.as_str()]);
    }
}
