//! A node with a real NIC, two pods, and the outside behind another NIC on the same wire.
//!
//! ```text
//!   pod namespaces          node namespace                        outside namespace
//!   eth0 10.5.0.11 ------ v11 \                     / up0 ~~~~~~~ eth0 10.5.0.254
//!   eth0 10.5.0.12 ------ v12 -- Sluice (its ports) --    wire    lo   198.18.0.0/16
//! ```

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sluice_lab::{Lab, Namespace, VethOptions, wait_until};

/// Where the outside ends the pods' network.
pub(crate) const GATEWAYS: [&str; 2] = ["10.5.0.254", "fd05::254"];

/// The addresses of the pod `shop/web`, whose policy admits TCP 443, UDP 53 and SCTP 9000 in both directions.
pub(crate) const WEB: [&str; 2] = ["10.5.0.11", "fd05::11"];

/// The addresses of the pod `shop/free`, which no policy selects.
pub(crate) const FREE: [&str; 2] = ["10.5.0.12", "fd05::12"];

/// How long anything may take to come about under emulation, on a host with other work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

const DIRECTORY: &str = "/run/sluice";

const RULES: &str = r#"
apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: v1
kind: Pod
metadata: { namespace: shop, name: web, labels: { app: web } }
spec: { nodeName: node-1, containers: [{ name: web }] }
status: { podIPs: [{ ip: 10.5.0.11 }, { ip: "fd05::11" }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: shop, name: free }
spec: { nodeName: node-1, containers: [{ name: free }] }
status: { podIPs: [{ ip: 10.5.0.12 }, { ip: "fd05::12" }] }
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { namespace: shop, name: web }
spec:
  podSelector: { matchLabels: { app: web } }
  policyTypes: [Ingress, Egress]
  ingress:
    - ports: [{ port: 443 }, { port: 53, protocol: UDP }, { port: 9000, protocol: SCTP }]
  egress:
    - ports: [{ port: 443 }, { port: 53, protocol: UDP }, { port: 9000, protocol: SCTP }]
"#;

/// A pair of NICs on one wire, as `run.sh` numbers them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nic {
    /// What `sluicectl ports` says of the driver.
    pub(crate) driver: &'static str,
    near: &'static str,
    far: &'static str,
}

pub(crate) const VIRTIO: Nic =
    Nic { driver: "virtio_net", near: "52:54:00:00:01:0a", far: "52:54:00:00:01:0b" };
pub(crate) const IGB: Nic =
    Nic { driver: "igb", near: "52:54:00:00:02:0a", far: "52:54:00:00:02:0b" };
pub(crate) const E1000E: Nic =
    Nic { driver: "e1000e", near: "52:54:00:00:03:0a", far: "52:54:00:00:03:0b" };

/// What a case wants of its stage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) nic: Nic,
    /// Keys of the uplink beside its kind, as TOML.
    pub(crate) uplink: &'static str,
    /// Keys of the engine beside its cores, as TOML.
    pub(crate) engine: &'static str,
    /// The VLAN in which the outside lives.
    pub(crate) vlan: Option<u16>,
    /// Of every interface.
    pub(crate) mtu: u32,
}

impl Setup {
    /// An untagged network with an MTU of 1500.
    pub(crate) fn on(nic: Nic) -> Self {
        Self { nic, uplink: "", engine: "huge_pages = false", vlan: None, mtu: 1500 }
    }
}

pub(crate) struct Stage {
    pub(crate) node: Namespace,
    pub(crate) outside: Namespace,
    pub(crate) web: Namespace,
    pub(crate) free: Namespace,
    daemon: Option<Child>,
    uplink: &'static str,
    engine: &'static str,
    // Last: its namespaces go when everything in them has.
    _lab: Lab,
}

impl Stage {
    /// Namespaces and cables; no daemon yet.
    pub(crate) fn build(setup: &Setup) -> Self {
        let lab = Lab::new("vm").unwrap();
        let make = |name| lab.namespace(name).unwrap();
        let (node, outside, web, free) = (make("node"), make("outside"), make("web"), make("free"));
        for (mac, namespace, name) in
            [(setup.nic.near, &node, "up0"), (setup.nic.far, &outside, "eth0")]
        {
            take(mac, namespace, name);
            namespace.ip(&["link", "set", "dev", name, "mtu", &setup.mtu.to_string()]).unwrap();
            namespace.up(name).unwrap();
        }
        // Sluice refuses a NIC that takes tags away. Where a driver does not, this changes nothing.
        let _ = node.command("ethtool", &["-K", "up0", "rxvlan", "off"]);
        let gateway = match setup.vlan {
            None => "eth0".to_owned(),
            Some(id) => {
                let (name, id) = (format!("eth0.{id}"), id.to_string());
                let link =
                    ["link", "add", "link", "eth0", "name", &name, "type", "vlan", "id", &id];
                outside.ip(&link).unwrap();
                outside.up(&name).unwrap();
                name
            }
        };
        for (place, address) in GATEWAYS.iter().enumerate() {
            outside.address(&gateway, &format!("{address}/{}", PREFIX_LENS[place])).unwrap();
        }
        // Every address of this network is the outside's own, to send from and to listen on.
        outside.ip(&["route", "add", "local", "198.18.0.0/16", "dev", "lo"]).unwrap();
        let veth = VethOptions { mtu: setup.mtu, ..VethOptions::default() };
        for (pod, last, addresses) in [(&web, 11, WEB), (&free, 12, FREE)] {
            let veth = VethOptions { mac_b: Some([2, 0, 0, 5, 0, last]), ..veth.clone() };
            lab.veth(&node, &format!("v{last}"), pod, "eth0", &veth).unwrap();
            for (place, address) in addresses.iter().enumerate() {
                pod.address("eth0", &format!("{address}/{}", PREFIX_LENS[place])).unwrap();
                pod.route("default", "via", GATEWAYS[place]).unwrap();
            }
        }
        let Setup { uplink, engine, .. } = *setup;
        Self { node, outside, web, free, daemon: None, uplink, engine, _lab: lab }
    }

    /// Namespaces, cables and a daemon that serves, with the uplink's link up.
    pub(crate) fn start(setup: &Setup) -> Self {
        let mut stage = Self::build(setup);
        stage.start_daemon();
        stage
    }

    /// Starts the daemon and waits until it serves and the wire is there.
    pub(crate) fn start_daemon(&mut self) {
        self.launch();
        let daemon = self.daemon.as_mut().unwrap();
        let up = wait_until(PATIENCE, || {
            assert!(matches!(daemon.try_wait(), Ok(None)), "sluiced has ended:\n{}", log());
            std::os::unix::net::UnixStream::connect(socket()).is_ok()
        });
        assert!(up, "sluiced does not serve:\n{}", log());
        self.wait_for_carrier();
    }

    /// Starts the daemon and waits for its end; what it said.
    pub(crate) fn refused(&mut self) -> String {
        self.launch();
        let daemon = self.daemon.as_mut().unwrap();
        assert!(
            wait_until(PATIENCE, || !matches!(daemon.try_wait(), Ok(None))),
            "it runs:\n{}",
            log()
        );
        log()
    }

    fn launch(&mut self) {
        std::fs::create_dir_all(rules()).unwrap();
        std::fs::write(rules().join("rules.yaml"), RULES).unwrap();
        std::fs::write(config(), self.config_text()).unwrap();
        // A socket that is there belongs to a daemon that was killed.
        let _ = std::fs::remove_file(socket());
        let output = std::fs::File::create(log_path()).unwrap();
        let mut command = Command::new("sluiced");
        command.arg("--config").arg(config());
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        self.daemon = Some(self.node.child(command).unwrap());
    }

    fn config_text(&self) -> String {
        let mut text = format!(
            "node_name = \"node-1\"\n[engine]\ncores = [0, 1]\n{}\n\
             [gate]\npin_dir = \"{DIRECTORY}/bpf\"\n\
             [control]\nsocket = \"{}\"\nstate_dir = \"{DIRECTORY}/state\"\n\
             [rules]\ndirectory = \"{}\"\n\
             [[port]]\ninterface = \"up0\"\nkind = \"uplink\"\n{}\n",
            self.engine,
            socket().display(),
            rules().display(),
            self.uplink
        );
        for (pod, last) in [("web", 11), ("free", 12)] {
            let _ = write!(
                text,
                "[[port]]\ninterface = \"v{last}\"\nkind = \"pod\"\npod = \"shop/{pod}\"\n\
                 mac = \"02:00:00:05:00:{last:02x}\"\n"
            );
        }
        text
    }

    /// Drivers reset their link when a program comes or goes.
    pub(crate) fn wait_for_carrier(&self) {
        for (namespace, interface) in [(&self.node, "up0"), (&self.outside, "eth0")] {
            let up = || {
                let output = namespace.command("ip", &["-o", "link", "show", interface]).unwrap();
                String::from_utf8_lossy(&output.stdout).contains("LOWER_UP")
            };
            assert!(wait_until(PATIENCE, up), "{interface} of {} has no carrier", namespace.name());
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("sluiced says:\n{}", log());
            for (program, arguments) in [("ip", ["-s", "link"]), ("ethtool", ["-S", "up0"])] {
                if let Ok(output) = self.node.command(program, &arguments) {
                    eprintln!("{}", String::from_utf8_lossy(&output.stdout));
                }
            }
            for what in ["status", "ports", "counters"] {
                let _ = Command::new("sluicectl").arg(what).arg("--socket").arg(socket()).status();
            }
        }
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        // The gates go with the file system on which they are pinned.
        let pins = PathBuf::from(DIRECTORY).join("bpf");
        while nix::mount::umount2(&pins, nix::mount::MntFlags::MNT_DETACH).is_ok() {}
    }
}

const PREFIX_LENS: [u8; 2] = [24, 64];

pub(crate) fn socket() -> PathBuf {
    PathBuf::from(DIRECTORY).join("control.sock")
}

pub(crate) fn address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port)
}

/// What the daemon has logged.
pub(crate) fn log() -> String {
    std::fs::read_to_string(log_path()).unwrap_or_default()
}

fn config() -> PathBuf {
    PathBuf::from(DIRECTORY).join("sluice.toml")
}

fn rules() -> PathBuf {
    PathBuf::from(DIRECTORY).join("rules")
}

fn log_path() -> PathBuf {
    PathBuf::from(DIRECTORY).join("sluiced.log")
}

/// Moves a NIC into a namespace, once the last case's namespaces have let it go.
fn take(mac: &str, namespace: &Namespace, name: &str) {
    let mut found = None;
    let is_it = |entry: &std::fs::DirEntry| {
        std::fs::read_to_string(entry.path().join("address")).is_ok_and(|text| text.trim() == mac)
    };
    let _found_in_time = wait_until(PATIENCE, || {
        let entry = std::fs::read_dir("/sys/class/net").unwrap().flatten().find(is_it);
        found = entry.map(|entry| entry.file_name().into_string().unwrap());
        found.is_some()
    });
    let found =
        found.unwrap_or_else(|| panic!("no NIC with the address {mac}; is its driver loaded?"));
    let status = Command::new("ip")
        .args(["link", "set", "dev", &found, "netns", namespace.name(), "name", name])
        .status()
        .unwrap();
    assert!(status.success(), "{found} was not moved to {}", namespace.name());
}
