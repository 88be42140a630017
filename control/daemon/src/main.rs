//! `sluiced`: filters the traffic of a node's pods.
//!
//! Starts the engine, opens the configured ports, and takes rule sets from a directory of
//! manifests or from clients of the control API. When it ends, however it ends, the gates stay:
//! a port's frames are dropped, or passed where that is configured, until it runs again.

mod backend;
mod candidate;
mod capture;
mod config;
mod journal;
mod preview;
mod rules;
mod run;
mod snapshot;
mod store;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::config::Config;

/// Filters the traffic of a node's pods by NetworkPolicy.
#[derive(Debug, Parser)]
#[command(name = "sluiced", version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/sluice/sluice.toml")]
    config: PathBuf,
    /// Check the configuration file and end.
    #[arg(long, conflicts_with = "detach")]
    check: bool,
    /// Take away the gates that an earlier run has left, and end. Their interfaces are then the
    /// kernel's own again, unfiltered.
    #[arg(long)]
    detach: bool,
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    match start(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluiced: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::load(&arguments.config)?;
    if arguments.check {
        println!("{}: fine, {} ports", arguments.config.display(), config.ports.len());
        return Ok(());
    }
    if arguments.detach {
        let count = run::detach(&config)?;
        println!("{count} gates taken away below {}", config.gate.pin_dir.display());
        return Ok(());
    }
    run::run(&config)?;
    Ok(())
}
