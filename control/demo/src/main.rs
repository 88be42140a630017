//! The story of the mission, played by real sockets on a stage of namespaces.
//!
//! Exits with 0 only if every connection did what the story says.

mod story;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use sluice_demo::stage::{Stage, StageOptions};
use sluice_sources::files::{LoadOptions, load};

use crate::story::{DemoError, Story};

/// Shows Sluice filtering real connections between pods.
#[derive(Debug, Parser)]
#[command(name = "sluice-demo")]
struct Arguments {
    /// Leave everything up in the end, and tell how to look around.
    #[arg(long)]
    keep: bool,
    /// The directory with `sluiced` and `sluicectl`; without it that of this program.
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    /// The directory with the manifests.
    #[arg(long, value_name = "DIR", default_value = "configs")]
    configs: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    // The stage is removed on the way out, whatever ends the demo.
    if let Err(error) =
        ctrlc::set_handler(move || flag.store(true, std::sync::atomic::Ordering::Relaxed))
    {
        eprintln!("sluice-demo: Ctrl-C will not clean up: {error}");
    }
    match play(&arguments, interrupted) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(differences) => {
            eprintln!("sluice-demo: {differences} connections did not do what the story says");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("sluice-demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn play(arguments: &Arguments, interrupted: Arc<AtomicBool>) -> Result<usize, DemoError> {
    let binaries = match &arguments.binaries {
        Some(directory) => directory.clone(),
        None => beside_this_program()?,
    };
    let configs = &arguments.configs;
    let read = |paths: &[PathBuf]| {
        load(paths, &LoadOptions::default()).map(|(rules, _)| rules).map_err(|faults| {
            let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
            DemoError::Manifests(lines.join("\n"))
        })
    };
    let rules = read(&[configs.join("demo/cluster.yaml"), configs.join("policies/story.yaml")])?;
    let tightened = read(&[configs.join("demo/tightened.yaml")])?;

    println!(
        "Making a node, {} pods and the outside, and starting sluiced ...",
        rules.pods().len()
    );
    let mut stage = Stage::start(&binaries.join("sluiced"), &rules, &StageOptions::default())?;
    let differences = Story::new(&stage, rules, tightened, interrupted)?.play()?;
    if arguments.keep {
        stage.keep();
        println!("{}", look_around(&stage, &binaries));
    }
    Ok(differences)
}

fn beside_this_program() -> Result<PathBuf, DemoError> {
    let program = std::env::current_exe().map_err(DemoError::Program)?;
    Ok(program.parent().map(Path::to_path_buf).unwrap_or_default())
}

fn look_around(stage: &Stage, binaries: &Path) -> String {
    let sluicectl = binaries.join("sluicectl").display().to_string();
    let (name, directory) = (stage.name(), stage.directory().display());
    let mut text = format!(
        "\nEverything is still up. To look around:\n\n\
         \x20 export SLUICE_SOCKET={directory}/control.sock\n\
         \x20 {sluicectl} status\n\
         \x20 {sluicectl} reach --port 443/TCP --port 3306/TCP\n\
         \x20 {sluicectl} explain --from hq/planner --to vault/rest --port 443/TCP\n\
         \x20 {sluicectl} counters\n\
         \x20 ip netns exec {name}-analysis-desk ping -c 1 10.5.0.1\n\n\
         To take it down:\n\n"
    );
    let pid = stage.daemon_pid().unwrap_or_default();
    text += &format!(
        "\x20 kill {pid}; umount {directory}/bpf; rm -r {directory}\n\
         \x20 ip netns list | grep -o '^{name}-[^ ]*' | xargs -n1 ip netns delete\n"
    );
    text
}
