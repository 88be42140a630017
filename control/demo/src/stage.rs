//! A stage: a node with pods, an uplink to the outside and a `sluiced`, all in namespaces.
//!
//! ```text
//!   pod namespaces          node namespace                               outside namespace
//!   eth0 10.5.0.11 ------ v11 \                             / up0 ------ eth0 10.5.0.254
//!   eth0 10.5.0.12 ------ v12 -- Sluice (sluiced's ports) --             lo   192.0.2.10, ...
//!        ...                  /                             \ sh0 ------ sluice0 10.5.0.1 (node)
//! ```
//!
//! Pods and their addresses come from the manifests that a test or the demo brings. The stage
//! is removed when it is dropped, `sluiced` first.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sluice_lab::{Lab, LabError, Namespace, VethOptions, wait_until};
use sluice_policy::model::{Pod, RuleSet};

/// Where the outside namespace ends the pods' network, for both families.
pub const GATEWAYS: [&str; 2] = ["10.5.0.254", "fd05::254"];

/// The host in the external subnet that the story allows, for both families.
pub const ALLOWED_OUTSIDE: [&str; 2] = ["192.0.2.10", "2001:db8:2::10"];

/// A host in another external subnet, for both families.
pub const OTHER_OUTSIDE: [&str; 2] = ["198.51.100.10", "2001:db8:51::10"];

/// The node's own addresses.
pub const NODE: [&str; 2] = ["10.5.0.1", "fd05::1"];

const PREFIX_LENS: [u8; 2] = [24, 64];
const DAEMON_PATIENCE: Duration = Duration::from_secs(20);

/// Why a stage does not stand.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A namespace or a cable could not be made.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A file could not be written or a program not be started.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// What came of it.
        error: std::io::Error,
    },
    /// The daemon ended or did not answer.
    #[error("sluiced did not come up; it says:\n{log}")]
    Daemon {
        /// The end of what it logged.
        log: String,
    },
    /// A pod of the rule set cannot be put on the stage.
    #[error("pod {0} has no address in 10.5.0.0/24")]
    Address(String),
}

/// How a stage is set up, besides its pods.
#[derive(Debug, Clone)]
pub struct StageOptions {
    /// The cores of `sluiced`'s workers.
    pub cores: Vec<usize>,
    /// What the configuration says of the engine besides cores, as lines of TOML.
    pub engine: String,
    /// What the configuration says besides the engine, ports and paths, as TOML.
    pub extra: String,
    /// Receive queues of every veth.
    pub queues: u32,
}

/// A pod's place on the stage.
#[derive(Debug, Clone)]
pub struct Seat {
    /// Its network namespace.
    pub namespace: Namespace,
    /// Its addresses, IPv4 first.
    pub addresses: [IpAddr; 2],
    /// Its own MAC.
    pub mac: String,
    /// The host end of its veth.
    pub interface: String,
}

/// Namespaces, cables and a daemon.
pub struct Stage {
    /// The node's own stack, in which `sluiced` runs.
    pub node: Namespace,
    /// Everything that is not the cluster.
    pub outside: Namespace,
    /// The pods, by `namespace/name`.
    pub seats: BTreeMap<String, Seat>,
    daemon: Option<Child>,
    sluiced: PathBuf,
    directory: PathBuf,
    lab: Lab,
    kept: bool,
}

impl Default for StageOptions {
    fn default() -> Self {
        let extra = "[rules]\nsource = \"api\"\n".into();
        Self { cores: vec![0], engine: String::new(), extra, queues: 1 }
    }
}

impl Stage {
    /// Makes the namespaces for the pods of `rules` and starts `sluiced` on them.
    ///
    /// # Errors
    /// [`StageError`]; nothing is left behind.
    pub fn start(
        sluiced: &Path,
        rules: &RuleSet,
        options: &StageOptions,
    ) -> Result<Self, StageError> {
        let mut stage = Self::build(sluiced, rules, options)?;
        stage.write_config(options)?;
        stage.start_daemon()?;
        Ok(stage)
    }

    fn build(sluiced: &Path, rules: &RuleSet, options: &StageOptions) -> Result<Self, StageError> {
        let lab = Lab::new("sluice")?;
        let node = lab.namespace("node")?;
        let outside = lab.namespace("outside")?;
        let directory = std::env::temp_dir().join(lab.name());
        std::fs::create_dir_all(&directory).map_err(io("making a directory"))?;
        let mut stage = Self {
            node,
            outside,
            seats: BTreeMap::new(),
            daemon: None,
            sluiced: sluiced.into(),
            directory,
            lab,
            kept: false,
        };
        let veth = VethOptions { queues: options.queues, ..VethOptions::default() };
        stage.furnish_node(&veth)?;
        stage.furnish_outside(&veth)?;
        for pod in rules.pods().filter(|pod| !pod.host_network && !pod.terminated) {
            stage.seat(pod, &veth)?;
        }
        Ok(stage)
    }

    /// The node reaches pods through the host port.
    fn furnish_node(&self, veth: &VethOptions) -> Result<(), StageError> {
        self.lab.veth(&self.node, "sh0", &self.node, "sluice0", veth)?;
        for (address, len) in NODE.iter().zip(PREFIX_LENS) {
            self.node.address("sluice0", &format!("{address}/{len}"))?;
        }
        for gateway in GATEWAYS {
            self.node.route("default", "via", gateway)?;
        }
        Ok(())
    }

    /// The outside is the pods' gateway and holds the hosts behind it.
    fn furnish_outside(&self, veth: &VethOptions) -> Result<(), StageError> {
        self.lab.veth(&self.node, "up0", &self.outside, "eth0", veth)?;
        for (address, len) in GATEWAYS.iter().zip(PREFIX_LENS) {
            self.outside.address("eth0", &format!("{address}/{len}"))?;
        }
        for host in ALLOWED_OUTSIDE.iter().chain(&OTHER_OUTSIDE) {
            self.outside.address("lo", host)?;
        }
        Ok(())
    }

    fn seat(&mut self, pod: &Pod, veth: &VethOptions) -> Result<(), StageError> {
        let name = pod.key().to_string();
        let no_address = || StageError::Address(name.clone());
        let v4 = pod.addresses.iter().find_map(|address| match address {
            IpAddr::V4(v4) if v4.octets().starts_with(&[10, 5, 0]) => Some(*v4),
            _ => None,
        });
        let v4 = v4.ok_or_else(no_address)?;
        let v6 = pod.addresses.iter().find(|address| address.is_ipv6()).ok_or_else(no_address)?;
        let [.., last] = v4.octets();
        let mac = [2, 0, 0, 5, 0, last];
        let namespace = self.lab.namespace(&name.replace('/', "-"))?;
        let interface = format!("v{last}");
        let veth = VethOptions { mac_b: Some(mac), ..veth.clone() };
        self.lab.veth(&self.node, &interface, &namespace, "eth0", &veth)?;
        let addresses = [IpAddr::V4(v4), *v6];
        for ((address, len), gateway) in addresses.iter().zip(PREFIX_LENS).zip(GATEWAYS) {
            namespace.address("eth0", &format!("{address}/{len}"))?;
            namespace.route("default", "via", gateway)?;
        }
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        self.seats.insert(name, Seat { namespace, addresses, mac, interface });
        Ok(())
    }

    fn write_config(&self, options: &StageOptions) -> Result<(), StageError> {
        let directory = self.directory.display();
        let mut text = format!(
            "node_name = \"node-1\"\n\n[engine]\ncores = {:?}\n{}\n[gate]\npin_dir = \"{directory}/bpf\"\n\n\
             [control]\nsocket = \"{directory}/control.sock\"\nstate_dir = \"{directory}/state\"\n\n{}\n",
            options.cores, options.engine, options.extra
        );
        for (interface, kind) in [("up0", "uplink"), ("sh0", "host")] {
            let _ = write!(text, "[[port]]\ninterface = \"{interface}\"\nkind = \"{kind}\"\n\n");
        }
        for (pod, Seat { interface, mac, .. }) in &self.seats {
            let _ = write!(
                text,
                "[[port]]\ninterface = \"{interface}\"\nkind = \"pod\"\npod = \"{pod}\"\nmac = \"{mac}\"\n\n"
            );
        }
        std::fs::write(self.config(), text).map_err(io("writing sluiced's configuration"))
    }

    /// Starts the daemon and waits until it serves.
    ///
    /// # Errors
    /// [`StageError::Daemon`] with what it said, if it does not come up.
    pub fn start_daemon(&mut self) -> Result<(), StageError> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .map_err(io("opening sluiced's log"))?;
        let errors = log.try_clone().map_err(io("opening sluiced's log"))?;
        // A socket that is there belongs to a daemon that was killed.
        let _ = std::fs::remove_file(self.socket());
        let mut command = Command::new(&self.sluiced);
        command.arg("--config").arg(self.config());
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let daemon = self.daemon.insert(self.node.child(command)?);
        let socket = self.directory.join("control.sock");
        let mut ended = false;
        let up = wait_until(DAEMON_PATIENCE, || {
            ended = !matches!(daemon.try_wait(), Ok(None));
            ended || std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
        if up && !ended { Ok(()) } else { Err(StageError::Daemon { log: self.log_tail() }) }
    }

    /// Kills the daemon without a warning, as the kernel would when memory runs out.
    ///
    /// # Errors
    /// [`StageError`], if there is none or it does not die.
    pub fn kill_daemon(&mut self) -> Result<(), StageError> {
        let Some(mut daemon) = self.daemon.take() else { return Ok(()) };
        daemon.kill().map_err(io("killing sluiced"))?;
        daemon.wait().map_err(io("waiting for sluiced's end"))?;
        Ok(())
    }

    /// Whether the daemon runs.
    pub fn daemon_runs(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(|daemon| matches!(daemon.try_wait(), Ok(None)))
    }

    /// The process id of the daemon.
    #[must_use]
    pub fn daemon_pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Child::id)
    }

    /// The seat of a pod.
    ///
    /// # Errors
    /// [`StageError::Address`], if the pod is not on the stage.
    pub fn seat_of(&self, pod: &str) -> Result<&Seat, StageError> {
        self.seats.get(pod).ok_or_else(|| StageError::Address(pod.into()))
    }

    /// The directory of the daemon's configuration, state, log and socket.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The daemon's control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join("control.sock")
    }

    /// The daemon's configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.join("sluice.toml")
    }

    /// The end of what the daemon logged.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
    }

    /// Leaves everything standing when the stage is dropped.
    pub fn keep(&mut self) {
        self.kept = true;
        self.lab.keep();
    }

    /// The namespaces' common beginning.
    #[must_use]
    pub fn name(&self) -> &str {
        self.lab.name()
    }

    fn log(&self) -> PathBuf {
        self.directory.join("sluiced.log")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = self.kill_daemon() {
            eprintln!("{error}");
        }
        remove_directory(&self.directory);
    }
}

/// Removes a stage's directory with the BPF file system that its daemon mounted there.
pub(crate) fn remove_directory(directory: &Path) {
    let pins = directory.join("bpf");
    while nix::mount::umount2(&pins, nix::mount::MntFlags::MNT_DETACH).is_ok() {}
    if let Err(error) = std::fs::remove_dir_all(directory) {
        eprintln!("{}: not removed: {error}", directory.display());
    }
}

fn io(what: &str) -> impl Fn(std::io::Error) -> StageError {
    move |error| StageError::Io { what: what.into(), error }
}
