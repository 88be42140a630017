//! The cases of `make test-vm`, one a process: `sluice-vm CASE`. Runs as root inside a guest that `run.sh` booted.
//!
//! Exit status 0 if all is as asserted; a panic says what was not. Kinds of NIC, and what the case asserts of each,
//! are listed in `CASES`; which kernel runs which case is in `run.sh`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "every line of it is a test"
)]

mod cases;
mod daemon;
mod stage;
mod traffic;

use std::process::ExitCode;

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let Some((_, case)) = cases::CASES.iter().find(|(name, _)| *name == wanted) else {
        let names: Vec<&str> = cases::CASES.iter().map(|(name, _)| *name).collect();
        eprintln!("no case {wanted:?}; there are {}", names.join(", "));
        return ExitCode::FAILURE;
    };
    case();
    ExitCode::SUCCESS
}
