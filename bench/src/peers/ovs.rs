//! Open vSwitch with DPDK as a forwarder: its userspace datapath with connection tracking, over
//! AF_XDP, with a database and a directory of its own.
//!
//! ```text
//! ovsdb-server <-- ovs-vsctl          all sockets, logs and the database in one temporary directory
//!      ^
//! ovs-vswitchd-dpdk <-- ovs-ofctl     in the forwarder's namespace, one polling thread
//! ```

use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::installed;
use crate::rig::{BenchError, Cable, FORWARD_CORE, Forwarder, Rig, SEND_CORE};
use crate::traffic::{DESTINATION_PORT, Family};

const PACKAGE: &str = "openvswitch-switch-dpdk";
const SWITCH: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
/// Processor seconds that it may take until it is killed.
const SECONDS_MAX: u32 = 120;
/// For its sockets to be there, for a command, and to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running switch; dropping it ends it and removes what it kept.
pub(crate) struct OpenVswitch {
    switch: Daemon,
    _database: Daemon,
    directory: TempDir,
}

struct Daemon(Child);

impl OpenVswitch {
    pub(crate) fn start(rig: &Rig) -> Result<Self, BenchError> {
        for program in ["ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ovs-ofctl", "ovs-appctl"] {
            installed(program, PACKAGE)?;
        }
        installed("prlimit", "util-linux")?;
        for file in [SWITCH, SCHEMA] {
            if !Path::new(file).is_file() {
                return Err(BenchError::Missing(format!("there is no {file}: install {PACKAGE}")));
            }
        }
        let directory = TempDir::new().map_err(BenchError::failed("a directory for OVS"))?;
        let database = database(directory.path())?;
        let switch = Daemon(switch(rig, directory.path())?);
        let ovs = Self { switch, _database: database, directory };
        ovs.furnish(rig)?;
        Ok(ovs)
    }

    /// A bridge between the cable's interfaces, and what may pass it.
    fn furnish(&self, rig: &Rig) -> Result<(), BenchError> {
        let [inner, outer] = rig.cable()?.interfaces();
        self.vsctl(&["add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev"])?;
        for (number, interface) in [inner, outer].iter().enumerate() {
            let devargs = format!("options:dpdk-devargs=net_af_xdp{number},iface={interface}");
            let request = format!("ofport_request={}", number + 1);
            let add = ["add-port", "br0", interface, "--", "set", "interface", interface];
            self.vsctl(&[&add[..], &["type=dpdk", &devargs, &request]].concat())?;
            // ovs-vsctl succeeds even if the port cannot be opened.
            let error = self.output(
                "ovs-vsctl",
                &[&self.database_option(), "--no-syslog", "get", "interface", interface, "error"],
            )?;
            if error.trim() != "[]" {
                let text = format!("Open vSwitch does not open {interface}: {}", error.trim());
                return Err(BenchError::Missing(text));
            }
        }
        let flows = self.directory.path().join("flows");
        std::fs::write(&flows, rules(rig.cable()?))
            .map_err(BenchError::failed("a file for OVS"))?;
        let (bridge, flows) = (self.path("br0.mgmt"), flows.display().to_string());
        self.tool("ovs-ofctl", &["--bundle", "replace-flows", &bridge, &flows])
    }

    fn vsctl(&self, arguments: &[&str]) -> Result<(), BenchError> {
        let database = self.database_option();
        let first = [&database, "--no-syslog", "--timeout=20", "--"];
        self.tool("ovs-vsctl", &[&first[..], arguments].concat())
    }

    fn database_option(&self) -> String {
        format!("--db=unix:{}", self.path("db.sock"))
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn tool(&self, program: &str, arguments: &[&str]) -> Result<(), BenchError> {
        self.output(program, arguments).map(drop)
    }

    /// What a tool prints; with the switch's last words if it fails, since they say why.
    fn output(&self, program: &str, arguments: &[&str]) -> Result<String, BenchError> {
        let output = environment(Command::new(program), self.directory.path())
            .args(arguments)
            .output()
            .map_err(BenchError::failed(program))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let last = log.lines().rev().find(|line| line.contains("|ERR|") || line.contains("|EMER|"));
        let last = last.or_else(|| log.lines().last()).unwrap_or_default();
        Err(BenchError::Missing(format!("{program}: {said}; the switch said last: {last}")))
    }
}

impl Forwarder for OpenVswitch {
    fn next_hop(&self, cable: &Cable) -> [u8; 6] {
        cable.sink_mac()
    }
}

impl Drop for OpenVswitch {
    fn drop(&mut self) {
        // Asked, it lets go of its sockets; what does not end is killed.
        let target = self.path("switch.ctl");
        let _ = self.tool("ovs-appctl", &["-t", &target, "-T", "5", "exit"]);
        let child = &mut self.switch.0;
        let _ = sluice_lab::wait_until(PATIENCE, || matches!(child.try_wait(), Ok(Some(_))));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where everything is that they would otherwise look for in the system's directories.
fn environment(mut command: Command, directory: &Path) -> Command {
    for name in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR", "RUNTIME_DIRECTORY"] {
        command.env(name, directory);
    }
    command
}

/// Makes the database and starts its server.
fn database(directory: &Path) -> Result<Daemon, BenchError> {
    let (file, socket) = (directory.join("conf.db"), directory.join("db.sock"));
    let made = Command::new("ovsdb-tool").arg("create").arg(&file).arg(SCHEMA).output();
    let made = made.map_err(BenchError::failed("ovsdb-tool"))?;
    if !made.status.success() {
        let said = String::from_utf8_lossy(&made.stderr).trim().to_owned();
        return Err(BenchError::Missing(format!("ovsdb-tool: {said}")));
    }
    let mut server = environment(Command::new("ovsdb-server"), directory);
    server
        .arg(&file)
        .arg(format!("--remote=punix:{}", socket.display()))
        .arg(format!("--unixctl={}", directory.join("database.ctl").display()))
        .args(["-vsyslog:off", "-vfile:off", "-vconsole:off"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let daemon = Daemon(server.spawn().map_err(BenchError::failed("ovsdb-server"))?);
    if !sluice_lab::wait_until(PATIENCE, || socket.exists()) {
        return Err(BenchError::Missing("ovsdb-server does not start".to_owned()));
    }
    let settings = [
        "other_config:dpdk-init=true",
        "other_config:dpdk-extra=--no-huge --legacy-mem --no-pci --no-shconf --no-telemetry -m 512",
        &format!("other_config:dpdk-lcore-mask={:#x}", 1 << SEND_CORE),
        &format!("other_config:pmd-cpu-mask={:#x}", 1 << FORWARD_CORE),
    ];
    let output = environment(Command::new("ovs-vsctl"), directory)
        .arg(format!("--db=unix:{}", socket.display()))
        .args(["--no-syslog", "--no-wait", "--timeout=20", "--", "init", "--"])
        .args(["set", "Open_vSwitch", "."])
        .args(settings)
        .output()
        .map_err(BenchError::failed("ovs-vsctl"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(BenchError::Missing(format!("ovs-vsctl: {said}")));
    }
    Ok(daemon)
}

fn switch(rig: &Rig, directory: &Path) -> Result<Child, BenchError> {
    let log = File::create(directory.join("log")).map_err(BenchError::failed("a log for OVS"))?;
    let mut command = environment(Command::new("prlimit"), directory);
    command
        .arg(format!("--cpu={SECONDS_MAX}"))
        .arg(SWITCH)
        .arg(format!("unix:{}", directory.join("db.sock").display()))
        .arg(format!("--unixctl={}", directory.join("switch.ctl").display()))
        .args(["-vsyslog:off", "-vfile:off", "-vconsole:info"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    Ok(rig.forwarder.child(command)?)
}

/// What Sluice's policy says: who has been admitted passes, and the load is.
fn rules(cable: &Cable) -> String {
    let mut rules = String::new();
    for (family, ip, udp, from, to) in [
        (Family::V4, "ip", "udp", "nw_src", "nw_dst"),
        (Family::V6, "ipv6", "udp6", "ipv6_src", "ipv6_dst"),
    ] {
        let (sources, sink) = (cable.sources(family), cable.sink_address(family));
        let _ = write!(
            rules,
            "table=0,priority=10,{ip},ct_state=-trk,actions=ct(table=1)\n\
             table=1,priority=10,{ip},in_port=1,ct_state=+trk+est,actions=output:2\n\
             table=1,priority=10,{ip},in_port=2,ct_state=+trk+est,actions=output:1\n\
             table=1,priority=9,{udp},in_port=1,ct_state=+trk+new,{from}={sources},{to}={sink},\
             tp_dst={DESTINATION_PORT},actions=ct(commit),output:2\n"
        );
    }
    rules
}
