//! Puts Sluice and its peers side by side, in turn and in one run.
//!
//! `sluice-bench compare` prints a table or JSON: for each metric what Sluice did, what the peer
//! did in the same run, their ratio and its confidence interval. `sluice-bench load` sends a load
//! of one's own choice through Sluice, `sluice-bench loss` counts frames at a rate below
//! saturation, `sluice-bench flood` floods with SYNs while connections work, `sluice-bench commit`
//! times a change of rules. All but the last need root, and work in namespaces of their own.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "rates are rounded for people"
)]

mod commit;
mod compare;
mod flood;
mod flows;
mod load;
mod metric;
mod metrics;
mod nice;
mod numbers;
mod peers;
mod rig;
mod sluice;
mod statistics;
mod stopwatch;
mod traffic;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::metric::Effort;
use crate::rig::BenchError;
use crate::traffic::{Family, Load, Sizes};

/// Measures Sluice beside its peers.
#[derive(Debug, Parser)]
#[command(name = "sluice-bench")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures Sluice and its peers in turn.
    Compare {
        /// Fewer and shorter rounds.
        #[arg(long)]
        quick: bool,
        /// Only the metrics of this name.
        #[arg(long)]
        only: Option<String>,
        /// How to print the result.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
        /// Also write the result into this directory, as a page with plots, Markdown and JSON.
        #[arg(long)]
        report: Option<PathBuf>,
    },
    /// Times the commit of 1,000 pods and 200 policies.
    Commit,
    /// Floods with SYNs, each from a source of its own, while established connections work.
    Flood {
        /// Sources.
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=8_000_000))]
        sources: u32,
        /// Frames a second.
        #[arg(long, default_value_t = 100_000)]
        rate: u32,
    },
    /// Sends a load through Sluice and prints what was sent, received and lost, and the rate.
    Load {
        /// Bytes of a frame with its check sequence, 64 to 1518; or imix.
        #[arg(long, default_value = "64")]
        sizes: Sizes,
        /// Flows, which take turns, at most 33554432; connections are tracked of 3 million.
        #[arg(long, default_value_t = 1000)]
        flows: u32,
        /// The IP version.
        #[arg(long, value_enum, default_value_t = Family::V4)]
        family: Family,
        /// Frames a second; without it as many as the next veth takes.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        rate: Option<u32>,
        /// For how long.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
    },
    /// Sends a number of frames at a rate below saturation and counts what arrives.
    Loss {
        /// Frames to send.
        #[arg(long, default_value_t = 10_000_000)]
        frames: u64,
        /// Frames a second.
        #[arg(long, default_value_t = 100_000)]
        rate: u32,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Compare { quick, only, output, report } => {
            compare(quick, only.as_deref(), output, report.as_deref())
        }
        Command::Commit => commit::run().map(|()| ExitCode::SUCCESS),
        Command::Flood { sources, rate } => flood(sources, rate),
        Command::Load { sizes, flows, family, rate, seconds } => {
            load::described(sizes, flows, family, rate)
                .and_then(|load| load::run(&load, Duration::from_secs(seconds)))
                .map(|_| ExitCode::SUCCESS)
        }
        Command::Loss { frames, rate } => loss(frames, rate),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sluice-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(
    quick: bool,
    only: Option<&str>,
    output: Output,
    directory: Option<&Path>,
) -> Result<ExitCode, BenchError> {
    let effort = if quick { Effort::Quick } else { Effort::Full };
    let report = compare::run(effort, only)?;
    if let Some(directory) = directory {
        report.write(directory)?;
    }
    match output {
        Output::Table => print!("{report}"),
        Output::Json => {
            let text = serde_json::to_string_pretty(&report);
            println!("{}", text.map_err(BenchError::failed("the report"))?);
        }
    }
    Ok(if report.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn flood(sources: u32, rate: u32) -> Result<ExitCode, BenchError> {
    let held = flood::run(sources, rate)?;
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn loss(frames: u64, rate: u32) -> Result<ExitCode, BenchError> {
    let load = Load { rate: Some(rate), frames: Some(frames), ..Load::default() };
    // A load of so many frames takes its own time.
    let all_left = load::run(&load, Duration::ZERO)?;
    Ok(if all_left { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
