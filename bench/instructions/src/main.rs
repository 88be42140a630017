//! How many instructions the judge's paths take, counted by valgrind's callgrind.
//!
//! A count does not depend on what else the machine does, so that a few per cent more are noticed
//! in CI, where a time would say nothing. It does not know of caches and mispredicted branches:
//! what those cost, the other benches tell.
//!
//! `check` counts and compares with the baseline, `accept` counts and writes it. Both run
//! `count` under callgrind, which runs the cases.

mod baseline;
mod callgrind;
mod cases;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use baseline::{Baseline, Comparison};
use cases::Case;

/// What to type to accept what is counted now.
const ACCEPT: &str = "make instructions-accept";

/// Why nothing was counted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Failed(String),
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: std::io::Error },
}

impl Error {
    /// Says what failed, and why.
    pub(crate) fn failed<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Self + '_ {
        move |error| Self::Failed(format!("{what}: {error}"))
    }

    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        |error| Self::File { path: path.to_owned(), error }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["count"] => count(),
        ["check", baseline, dumps] => check(Path::new(baseline), Path::new(dumps)),
        ["accept", baseline, dumps] => accept(Path::new(baseline), Path::new(dumps)),
        _ => Err(Error::Failed("want: count, or check|accept BASELINE DUMPS".to_owned())),
    };
    done.unwrap_or_else(|error| {
        eprintln!("sluice-instructions: {error}");
        ExitCode::FAILURE
    })
}

/// Runs each case twice: once so that all memory has been touched, and once to be counted.
fn count() -> Result<ExitCode, Error> {
    for make in cases::ALL {
        let Case { name, operations, mut run } = make()?;
        run(0);
        measured(&mut *run);
        println!("{name} {operations}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Callgrind counts what happens in here; see [`callgrind::MEASURED`].
#[inline(never)]
fn measured(run: &mut dyn FnMut(usize)) {
    run(1);
}

fn check(path: &Path, dumps: &Path) -> Result<ExitCode, Error> {
    let before = Baseline::read(path)?;
    let now = callgrind::count(dumps)?;
    let comparison = Comparison::of(&before, &now);
    print!("{comparison}");
    if comparison.is_good() {
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "*** If that is meant, accept it and commit {}: {ACCEPT}\n    What takes them: \
         callgrind_annotate {}/CASE",
        path.display(),
        dumps.display(),
    );
    Ok(ExitCode::FAILURE)
}

fn accept(path: &Path, dumps: &Path) -> Result<ExitCode, Error> {
    let now = callgrind::count(dumps)?;
    if let Ok(before) = Baseline::read(path) {
        print!("{}", Comparison::of(&before, &now));
    }
    now.write(path)?;
    println!("{} is what is counted now", path.display());
    Ok(ExitCode::SUCCESS)
}
