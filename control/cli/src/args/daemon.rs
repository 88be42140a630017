//! Commands that only the daemon can answer, and where it listens.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use sluice_core::address::Mac;

use super::values::PodArg;

/// Where the daemon listens.
#[derive(Debug, Args)]
#[command(next_help_heading = "Daemon")]
pub(crate) struct Connection {
    /// The daemon's unix socket
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "SLUICE_SOCKET",
        default_value = "/run/sluice/control.sock"
    )]
    pub(crate) socket: PathBuf,
    /// Ask a daemon over TCP with mutual TLS instead; needs --tls-ca, --tls-cert and --tls-key
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub(crate) tls_address: Option<String>,
    /// The certificates that may have signed the daemon's, in PEM
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// The certificate to show to the daemon, in PEM
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of that certificate, in PEM
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// The name in the daemon's certificate, where it is not the host of --tls-address
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) tls_server_name: Option<String>,
}

/// Push manifests to the daemon as its whole rule set, and wait until they are in force.
///
/// Prints the revision. Where anything is wrong, nothing is changed: the daemon keeps the rule set
/// that it has, one line for each fault goes to standard error, and the exit status is 1.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicectl apply -f policies/
  sluicectl apply -f policies/ --strict --version release-42
  sluicectl apply -f policies/ --base 7     # only if nobody else has pushed since")]
pub(crate) struct Apply {
    /// A file or a directory of YAML or JSON; repeatable
    #[arg(short, long = "file", value_name = "PATH", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Push even if most of the objects in force would go
    #[arg(long)]
    pub(crate) allow_shrink: bool,
    /// What to call this rule set in the status and in logs
    #[arg(long = "version", value_name = "NAME", default_value = "")]
    pub(crate) version_name: String,
    /// Push only if this revision is in force
    #[arg(long, value_name = "REVISION")]
    pub(crate) base: Option<u64>,
    /// Take fields that have no effect for faults, not for warnings
    #[arg(long)]
    pub(crate) strict: bool,
}

/// Show what the daemon enforces, and whether all is well.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicectl status
  sluicectl status -o json")]
pub(crate) struct Status {}

/// List the ports of the daemon, add one or remove one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicectl ports
  sluicectl ports --queues
  sluicectl ports add --interface eth1 --kind uplink --mode zero-copy
  sluicectl ports add --interface veth7 --kind pod --pod shop/web --mac 02:00:00:00:00:07
  sluicectl ports remove veth7")]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Ports {
    /// List each queue with its worker, its mode and what the kernel has counted on it
    #[arg(long)]
    pub(crate) queues: bool,
    #[command(subcommand)]
    pub(crate) action: Option<PortsAction>,
}

/// What to do with ports; to list them if nothing is said.
#[derive(Debug, Subcommand)]
pub(crate) enum PortsAction {
    /// List the ports
    List,
    Add(PortsAdd),
    /// Take a port out of the daemon; its interface stays
    Remove {
        /// The port's name, which is that of its interface
        name: String,
    },
}

/// Attach an interface to the daemon.
#[derive(Debug, Args)]
pub(crate) struct PortsAdd {
    /// The interface
    #[arg(long, value_name = "NAME")]
    pub(crate) interface: String,
    /// What is attached there
    #[arg(long)]
    pub(crate) kind: PortKindArg,
    /// The pod behind a port of kind pod
    #[arg(long, value_name = "NAMESPACE/POD", required_if_eq("kind", "pod"))]
    pub(crate) pod: Option<PodArg>,
    /// The MAC of the pod's own end
    #[arg(long, value_name = "MAC", required_if_eq("kind", "pod"))]
    pub(crate) mac: Option<Mac>,
    /// The VLAN id of the pods' network on this port; untagged without it
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(1..=4094))]
    pub(crate) vlan: Option<u16>,
    /// An address of the node besides those of the uplink's interface; repeatable
    #[arg(long = "node-address", value_name = "ADDRESS")]
    pub(crate) node_addresses: Vec<IpAddr>,
    /// What becomes of frames while no daemon runs
    #[arg(long, default_value = "drop")]
    pub(crate) fallback: FallbackArg,
    /// How frames get in and out
    #[arg(long, default_value = "auto")]
    pub(crate) mode: ModeArg,
    /// The worker of queue 0, then of queue 1, and so on, over and over; chosen by what the NIC is
    /// near to if none is named
    #[arg(long, value_name = "INDEX", value_delimiter = ',')]
    pub(crate) workers: Vec<u32>,
    /// Take a tag with VLAN id 0, which only carries a priority, for none
    #[arg(long)]
    pub(crate) priority_tags: bool,
}

/// How a port's frames get in and out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeArg {
    /// The best that kernel and driver have
    Auto,
    /// Without copies, or not at all
    ZeroCopy,
    /// Through the driver with copies, or not at all
    Copy,
    /// Through the kernel's stack, slower
    Generic,
}

/// The kinds of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PortKindArg {
    /// The host end of a pod's veth
    Pod,
    /// A physical NIC
    Uplink,
    /// A veth pair into the node's own stack
    Host,
}

/// What becomes of frames while no daemon runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FallbackArg {
    /// They are dropped: closed
    Drop,
    /// The kernel gets them: open
    Pass,
}

/// Show what the ports received, sent and dropped, and for which reasons.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicectl counters
  sluicectl counters --workers
  sluicectl counters --all -o json
  sluicectl counters --reasons")]
pub(crate) struct Counters {
    /// Show reasons that nothing was dropped for too
    #[arg(long)]
    pub(crate) all: bool,
    /// Show which worker dropped how many
    #[arg(long)]
    pub(crate) workers: bool,
    /// List every reason and what it means, without asking the daemon
    #[arg(long, conflicts_with_all = ["all", "workers"])]
    pub(crate) reasons: bool,
}
