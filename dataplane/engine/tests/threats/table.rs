//! `docs/threats.md` says what is true: its cases, tests and reasons exist.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sluice_core::drop::DropReason;

/// The cases that have a story, or say what they wait for.
const CASES: [std::ops::RangeInclusive<u32>; 2] = [1..=48, 50..=50];

/// Those of them that drop nothing: the wall clock, and five tuples without end.
const NO_DROPS: [u32; 2] = [31, 40];

/// A row of the table of cases.
struct Row {
    case: u32,
    /// The stories, which are told twice.
    stories: BTreeSet<String>,
    others: BTreeSet<String>,
    waits: bool,
    verdict: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn document() -> String {
    std::fs::read_to_string(root().join("docs/threats.md")).unwrap()
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

fn rows(document: &str) -> Vec<Row> {
    let lines = document.lines().filter_map(|line| line.strip_prefix("| "));
    let rows = lines.filter_map(|line| {
        let cells: Vec<&str> = line.trim_end_matches('|').split(" | ").collect();
        let case = cells[0].trim().parse().ok()?;
        let (stories, others) = cells[2].split_once(" + ").unwrap_or((cells[2], ""));
        Some(Row {
            case,
            stories: quoted(stories).collect(),
            others: quoted(others).collect(),
            waits: cells[2].starts_with("waits for "),
            verdict: cells[3].to_owned(),
        })
    });
    rows.collect()
}

/// The sources below a directory, by path.
fn sources(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut sources = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources.extend(self::sources(&path));
        } else if path.extension().is_some_and(|it| it == "rs") {
            sources.insert(path.clone(), std::fs::read_to_string(&path).unwrap());
        }
    }
    sources
}

/// The names of functions that follow `#[test]` or the like.
fn tests_in(source: &str) -> impl Iterator<Item = String> {
    let marked = source.split("#[test]").chain(source.split("#[tokio::test")).skip(1);
    marked.filter_map(|rest| {
        let (_, behind) = rest.split_once("fn ")?;
        Some(behind.chars().take_while(|it| it.is_alphanumeric() || *it == '_').collect())
    })
}

/// The stories that `tell!` makes tests of.
fn stories_in(source: &str) -> BTreeSet<String> {
    let told = source.split("\ntell!(").nth(1).and_then(|rest| rest.split_once(");"));
    let names = told.map_or("", |(names, _)| names).split(',').map(|it| it.trim().to_owned());
    names.filter(|name| !name.is_empty()).collect()
}

fn told() -> BTreeSet<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/threats");
    sources(&here).values().flat_map(|source| stories_in(source)).collect()
}

#[test]
fn every_case_is_in_the_table_and_every_test_and_reason_in_it_exists() {
    let document = document();
    let rows = rows(&document);
    let cases: Vec<u32> = rows.iter().map(|row| row.case).collect();
    let wanted: Vec<u32> = CASES.into_iter().flatten().collect();
    assert_eq!(cases, wanted);

    let told = told();
    assert!(told.len() > 50, "the stories were not found: {told:?}");
    let tests: BTreeSet<String> = ["control", "dataplane", "fuzz"]
        .iter()
        .flat_map(|part| sources(&root().join(part)).into_values())
        .flat_map(|source| tests_in(&source).collect::<Vec<_>>())
        .collect();
    for Row { case, stories, others, waits, verdict } in &rows {
        assert!(*waits || !stories.is_empty(), "case {case} names no story");
        let unknown: Vec<_> = stories.difference(&told).collect();
        assert!(unknown.is_empty(), "case {case} names stories that are not told: {unknown:?}");
        let unknown: Vec<_> = others.difference(&tests).collect();
        assert!(unknown.is_empty(), "case {case} names tests that are not there: {unknown:?}");
        let own = told.iter().filter(|name| name.starts_with(&format!("case_{case:02}_")));
        let unnamed: Vec<_> = own.filter(|name| !stories.contains(*name)).collect();
        assert!(unnamed.is_empty(), "case {case} leaves out {unnamed:?}");
        let reasons: Vec<String> = quoted(verdict).filter(|it| is_reason(it)).collect();
        let unnamed =
            quoted(verdict).find(|it| !is_reason(it) && !told.contains(it) && !is_setting(it));
        assert_eq!(unnamed, None, "case {case} names what is no reason");
        let drops = !waits && !NO_DROPS.contains(case);
        assert!(!drops || !reasons.is_empty(), "case {case} names no reason");
    }
    let named: BTreeSet<String> = quoted(&document).collect();
    let unnamed: Vec<_> = told.difference(&named).collect();
    assert!(unnamed.is_empty(), "the document leaves out {unnamed:?}");
}

fn is_reason(name: &str) -> bool {
    name.parse::<DropReason>().is_ok()
}

/// Settings of the configuration that verdicts depend on.
fn is_setting(text: &str) -> bool {
    matches!(text, "midstream" | "established = \"keep\"")
}

#[test]
fn case_31_nothing_but_captures_asks_the_wall_clock() {
    let mut clocks = BTreeSet::new();
    let mut wall_clocks = BTreeSet::new();
    for part in ["core", "xdp", "engine"] {
        for (path, source) in sources(&root().join("dataplane").join(part).join("src")) {
            let path = path.strip_prefix(root().join("dataplane")).unwrap().display().to_string();
            let asks = |words: &[&str]| words.iter().any(|word| source.contains(word));
            if path.contains("/tests") {
                continue;
            }
            if asks(&["SystemTime", "UNIX_EPOCH", "CLOCK_REALTIME", ".wall()"]) {
                wall_clocks.insert(path.clone());
            }
            if path.starts_with("core") && asks(&["Instant", "SystemTime"]) {
                clocks.insert(path);
            }
        }
    }
    assert_eq!(clocks, BTreeSet::new(), "the judge asks no clock at all");
    // What was dropped at what time of day is for people to read; no verdict depends on it.
    let captures = ["engine/src/capture.rs", "engine/src/clock.rs"].map(String::from);
    assert_eq!(wall_clocks, BTreeSet::from(captures));
}

#[test]
fn a_row_of_the_table_is_read() {
    let document = "| 7 | x | `a`, `b` + `c` | `llc`, and more |\n| 9 | y | waits for z | no |\n";
    let rows = rows(document);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].stories, BTreeSet::from(["a", "b"].map(String::from)));
    assert_eq!(rows[0].others, BTreeSet::from(["c".to_owned()]));
    assert!(!rows[0].waits && rows[1].waits && rows[1].case == 9);
}
