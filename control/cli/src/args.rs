//! The command line.

mod capture;
mod daemon;
mod top;
mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use sluice_api::backend::{DIFF_LIMIT_DEFAULT, DIFF_LIMIT_MAX};

pub(crate) use self::capture::Capture;
pub(crate) use self::daemon::{
    Apply, Connection, Counters, FallbackArg, ModeArg, PortKindArg, Ports, PortsAction, PortsAdd,
    Status,
};
pub(crate) use self::top::Top;
pub(crate) use self::values::{FamilyArg, PortArg, read_port, read_protocol};
use crate::output::Format;
use sluice_policy::explain::Who;

/// Check rule sets, push them to a Sluice, and ask who reaches whom and why.
#[derive(Debug, Parser)]
#[command(name = "sluicectl", version, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// How to print the answer
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  sluicectl check -f policies/
  sluicectl reach -f policies/ --port 80/TCP
  sluicectl explain --from shop/web --to shop/db --port 5432/TCP
  sluicectl diff -f policies/
  sluicectl apply -f policies/

With -f, check, reach and explain work without a daemon; they compile the manifests and ask the
table as the packet path does. Exit status: 0 yes, 1 no, faults or refused, 2 usage.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Check(Check),
    Apply(Apply),
    Diff(Diff),
    Reach(Reach),
    Explain(Explain),
    Status(Status),
    Ports(Ports),
    Counters(Counters),
    Top(Top),
    Capture(Capture),
    Doctor(Doctor),
}

/// Manifests to ask instead of the daemon.
#[derive(Debug, Args)]
pub(crate) struct Offline {
    /// Ask these manifests, not the daemon: a file or a directory of YAML or JSON; repeatable
    #[arg(short, long = "file", value_name = "PATH")]
    pub(crate) files: Vec<PathBuf>,
    /// The node to judge on: pods that name no node are taken to be there
    #[arg(long, value_name = "NAME", requires = "files")]
    pub(crate) node: Option<String>,
}

/// Say everything that is wrong with manifests, without touching a daemon.
///
/// Prints a summary and exits with 0, or prints one line for each fault on standard error, with
/// file, line, object and field, and exits with 1. Warns of what has no effect, and of what is
/// legal but may not be meant: selectors that match nobody, rules that others make needless,
/// names that no port has, holes that another rule opens.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicectl check -f policies/
  sluicectl check -f pods.yaml -f policies.yaml --strict -o json")]
pub(crate) struct Check {
    /// A file or a directory of YAML or JSON; repeatable
    #[arg(short, long = "file", value_name = "PATH", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Take fields that have no effect for faults, not for warnings
    #[arg(long)]
    pub(crate) strict: bool,
    /// The node to compile for: pods that name no node are taken to be there
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
}

/// Show what pushing manifests would change: which verdicts, and which live connections.
///
/// Compares them with what the daemon enforces, or with other manifests, and changes nothing.
/// Pods and nodes are compared by name, the addresses outside by every block that a rule names.
/// Where the manifests would be refused, says why and exits with 1.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicectl diff -f policies/
  sluicectl diff -f new/ --against old/ -o json")]
pub(crate) struct Diff {
    /// The manifests to push: a file or a directory of YAML or JSON; repeatable
    #[arg(short, long = "file", value_name = "PATH", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Compare with these manifests, not with the daemon; repeatable
    #[arg(long, value_name = "PATH")]
    pub(crate) against: Vec<PathBuf>,
    /// How many verdicts and connections to list at most; all are counted
    #[arg(long, value_name = "COUNT", default_value_t = DIFF_LIMIT_DEFAULT,
        value_parser = read_limit)]
    pub(crate) limit: usize,
    /// With --against, the node to judge on: pods that name no node are taken to be there
    #[arg(long, value_name = "NAME", requires = "against")]
    pub(crate) node: Option<String>,
    /// Take fields that have no effect for faults, not for warnings
    #[arg(long)]
    pub(crate) strict: bool,
}

/// Say whether this machine and its NICs give Sluice what it needs, and what to do where they do not.
///
/// Looks at the network namespace that it runs in, changes nothing, and needs neither root nor the
/// daemon; what it may not see, it says. Without an interface: those that look like NICs and are up,
/// and the daemon's ports. Exits with 1 where it finds a fault.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicectl doctor
  sluicectl doctor eth1
  sluicectl doctor eth1 -o json")]
pub(crate) struct Doctor {
    /// The interface to look at
    #[arg(value_name = "IFACE")]
    pub(crate) interface: Option<String>,
    /// Where the daemon pins its gates: gate.pin_dir of its configuration
    #[arg(long, value_name = "PATH", default_value = "/run/sluice/bpf")]
    pub(crate) pin_dir: PathBuf,
}

fn read_limit(text: &str) -> Result<usize, String> {
    let limit = text.parse().ok().filter(|limit| (1..=DIFF_LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| format!("want 1 to {DIFF_LIMIT_MAX}"))
}

/// Show which pod reaches which, as a matrix.
///
/// Rows are sources and columns destinations; `.` is allowed and `X` dropped.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicectl reach
  sluicectl reach --port 80/TCP --port 53/UDP
  sluicectl reach -f policies/ --family 6 -o json")]
pub(crate) struct Reach {
    #[command(flatten)]
    pub(crate) offline: Offline,
    /// A destination port to ask about; repeatable
    #[arg(long = "port", value_name = "PORT/PROTOCOL", default_value = "80/TCP")]
    pub(crate) ports: Vec<PortArg>,
    /// Ask with one IP version only; without it, with the first that both pods have
    #[arg(long)]
    pub(crate) family: Option<FamilyArg>,
}

/// Say whether a connection is allowed, and which policy and rule decide.
///
/// Exits with 0 where it is allowed and with 1 where it is dropped. With --batch the status is 1
/// only where a question could not be answered.
#[derive(Debug, Args)]
#[command(after_help = r#"Examples:
  sluicectl explain --from shop/web --to shop/db --port 5432/TCP
  sluicectl explain -f policies/ --from shop/web --to 198.51.100.7 --port 53/UDP -o json
  echo '{"from":"shop/web","to":"shop/db","port":5432,"protocol":"TCP"}' |
    sluicectl explain -f policies/ --batch -"#)]
pub(crate) struct Explain {
    #[command(flatten)]
    pub(crate) offline: Offline,
    /// Who opens the connection: namespace/pod or an address
    #[arg(long, value_name = "POD|ADDRESS", required_unless_present = "batch")]
    pub(crate) from: Option<Who>,
    /// Who is asked: namespace/pod or an address
    #[arg(long, value_name = "POD|ADDRESS", required_unless_present = "batch")]
    pub(crate) to: Option<Who>,
    /// The destination port
    #[arg(long, value_name = "PORT/PROTOCOL", required_unless_present = "batch")]
    pub(crate) port: Option<PortArg>,
    /// Read questions from a file, or - for standard input: one JSON object a line, with from,
    /// to, port and protocol. Answers each with one line of JSON
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "to", "port"])]
    pub(crate) batch: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
