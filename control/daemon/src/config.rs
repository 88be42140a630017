//! The configuration file: TOML, every key optional but the ports, nothing unknown accepted.
//!
//! `configs/sluice.toml` shows every key with its default; a test keeps the two equal.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use sluice_core::address::{Mac, NetworkId};
use sluice_core::conntrack::state::Timeouts;
use sluice_core::judge::Established;
use sluice_engine::open::{PortMode, PortRequest};
use sluice_engine::port::PortKind;
use sluice_engine::{EngineConfig, Idle};
use sluice_xdp::{BusyPoll, Fallback};

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// The name of this node among the manifests' Nodes.
    pub(crate) node_name: Option<String>,
    pub(crate) engine: Engine,
    pub(crate) gate: Gate,
    pub(crate) control: Control,
    pub(crate) rules: Rules,
    #[serde(rename = "port")]
    pub(crate) ports: Vec<Port>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Engine {
    pub(crate) cores: Vec<usize>,
    pub(crate) frames: u32,
    pub(crate) huge_pages: bool,
    pub(crate) connections_max: u32,
    pub(crate) pod_connections_max: u32,
    pub(crate) datagrams_max: u32,
    pub(crate) established: AfterChange,
    pub(crate) midstream: bool,
    pub(crate) verify_checksums: bool,
    pub(crate) idle: IdleMode,
    pub(crate) busy_poll_us: u32,
    pub(crate) busy_poll_budget: u16,
    pub(crate) timeouts: TimeoutSeconds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AfterChange {
    Recheck,
    Keep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum IdleMode {
    Sleep,
    Spin,
}

/// Seconds of silence after which a connection ends, by state.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TimeoutSeconds {
    tcp_opening: u32,
    tcp_established: u32,
    tcp_closing: u32,
    tcp_closed: u32,
    sctp_opening: u32,
    sctp_established: u32,
    sctp_closing: u32,
    sctp_closed: u32,
    udp_single: u32,
    udp_answered: u32,
    udp_ongoing: u32,
    echo: u32,
    opaque: u32,
    fragments: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Gate {
    pub(crate) pin_dir: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Control {
    pub(crate) socket: PathBuf,
    pub(crate) state_dir: PathBuf,
    pub(crate) tls: Option<Tls>,
}

/// A TCP listener; clients must show a certificate too.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub(crate) address: SocketAddr,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) client_ca: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rules {
    pub(crate) source: Source,
    pub(crate) directory: PathBuf,
    pub(crate) interval_ms: u32,
    pub(crate) allow_shrink: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    Files,
    Api,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Port {
    interface: String,
    kind: KindName,
    pod: Option<String>,
    mac: Option<String>,
    vlan: Option<u16>,
    #[serde(default)]
    priority_tags: bool,
    #[serde(default)]
    fallback: FallbackName,
    #[serde(default)]
    node_addresses: Vec<IpAddr>,
    #[serde(default)]
    mode: ModeName,
    #[serde(default)]
    workers: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindName {
    Pod,
    Uplink,
    Host,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum FallbackName {
    #[default]
    Drop,
    Pass,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
enum ModeName {
    #[default]
    Auto,
    ZeroCopy,
    Copy,
    Generic,
}

/// Why a configuration is refused. Reads as `FILE: KEY: what is wrong and what would be right`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{path}: cannot be read: {error}; name another file with --config")]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{path}: {error}")]
    Syntax { path: PathBuf, error: Box<toml::de::Error> },
    #[error("{path}: {key}: {problem}")]
    Value { path: PathBuf, key: String, problem: String },
}

impl Default for Engine {
    fn default() -> Self {
        let engine = EngineConfig::default();
        Self {
            cores: vec![0],
            frames: 16_384,
            huge_pages: true,
            connections_max: engine.connections_max,
            pod_connections_max: engine.pod_connections_max,
            datagrams_max: engine.datagrams_max,
            established: AfterChange::Recheck,
            midstream: engine.midstream,
            verify_checksums: engine.verify_checksums,
            idle: IdleMode::Sleep,
            busy_poll_us: 0,
            busy_poll_budget: 64,
            timeouts: TimeoutSeconds::default(),
        }
    }
}

impl Default for TimeoutSeconds {
    fn default() -> Self {
        let timeouts = Timeouts::default();
        let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
        Self {
            tcp_opening: seconds(timeouts.tcp_opening),
            tcp_established: seconds(timeouts.tcp_established),
            tcp_closing: seconds(timeouts.tcp_closing),
            tcp_closed: seconds(timeouts.tcp_closed),
            sctp_opening: seconds(timeouts.sctp_opening),
            sctp_established: seconds(timeouts.sctp_established),
            sctp_closing: seconds(timeouts.sctp_closing),
            sctp_closed: seconds(timeouts.sctp_closed),
            udp_single: seconds(timeouts.udp_single),
            udp_answered: seconds(timeouts.udp_answered),
            udp_ongoing: seconds(timeouts.udp_ongoing),
            echo: seconds(timeouts.echo),
            opaque: seconds(timeouts.opaque),
            fragments: seconds(timeouts.fragments),
        }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self { pin_dir: "/run/sluice/bpf".into() }
    }
}

impl Default for Control {
    fn default() -> Self {
        Self {
            socket: "/run/sluice/control.sock".into(),
            state_dir: "/var/lib/sluice".into(),
            tls: None,
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            source: Source::Files,
            directory: "/etc/sluice/policies".into(),
            interval_ms: 1000,
            allow_shrink: false,
        }
    }
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`], which names the file, the line or key, and what would be right.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Read { path: path.into(), error })?;
        let config: Self = toml::from_str(&text)
            .map_err(|error| ConfigError::Syntax { path: path.into(), error: Box::new(error) })?;
        let refused = |(key, problem): (String, String)| ConfigError::Value {
            path: path.into(),
            key,
            problem,
        };
        config.check().map_err(refused)?;
        config.port_requests().map_err(refused)?;
        Ok(config)
    }

    /// The engine's part.
    pub(crate) fn engine_config(&self) -> EngineConfig {
        EngineConfig {
            cores: self.engine.cores.clone(),
            connections_max: self.engine.connections_max,
            pod_connections_max: self.engine.pod_connections_max,
            datagrams_max: self.engine.datagrams_max,
            midstream: self.engine.midstream,
            verify_checksums: self.engine.verify_checksums,
            timeouts: self.engine.timeouts.durations(),
            established: match self.engine.established {
                AfterChange::Recheck => Established::Recheck,
                AfterChange::Keep => Established::Keep,
            },
            idle: match self.engine.idle {
                IdleMode::Sleep => Idle::Sleep,
                IdleMode::Spin => Idle::Spin,
            },
        }
    }

    /// How queues of uplinks are polled, if they are.
    pub(crate) fn busy_poll(&self) -> Option<BusyPoll> {
        let Engine { busy_poll_us: microseconds, busy_poll_budget: budget, .. } = self.engine;
        (microseconds > 0).then_some(BusyPoll { microseconds, budget })
    }

    /// The ports to open at the start.
    ///
    /// # Errors
    /// The key that is wrong and what would be right.
    pub(crate) fn port_requests(&self) -> Result<Vec<PortRequest>, (String, String)> {
        let request = |(place, port): (usize, &Port)| {
            port.request(self.engine.cores.len())
                .map_err(|(key, problem)| (format!("port[{place}].{key}"), problem))
        };
        self.ports.iter().enumerate().map(request).collect()
    }

    fn check(&self) -> Result<(), (String, String)> {
        let within = |key: &str, value: u32, min: u32, max: u32| {
            if (min..=max).contains(&value) {
                return Ok(());
            }
            Err((key.to_owned(), format!("{value} is out of range; want {min} to {max}")))
        };
        within("engine.frames", self.engine.frames, 1024, sluice_xdp::FRAME_COUNT_MAX)?;
        within("engine.connections_max", self.engine.connections_max, 1024, 1 << 26)?;
        let connections_max = self.engine.connections_max;
        within("engine.pod_connections_max", self.engine.pod_connections_max, 16, connections_max)?;
        within("engine.datagrams_max", self.engine.datagrams_max, 16, 1 << 16)?;
        within("engine.busy_poll_us", self.engine.busy_poll_us, 0, 1_000_000)?;
        within("engine.busy_poll_budget", self.engine.busy_poll_budget.into(), 1, 1024)?;
        within("rules.interval_ms", self.rules.interval_ms, 100, 3_600_000)?;
        for (name, seconds) in self.engine.timeouts.named() {
            within(&format!("engine.timeouts.{name}"), seconds, 1, 30 * 24 * 3600)?;
        }
        Ok(())
    }
}

impl TimeoutSeconds {
    fn named(&self) -> [(&'static str, u32); 14] {
        [
            ("tcp_opening", self.tcp_opening),
            ("tcp_established", self.tcp_established),
            ("tcp_closing", self.tcp_closing),
            ("tcp_closed", self.tcp_closed),
            ("sctp_opening", self.sctp_opening),
            ("sctp_established", self.sctp_established),
            ("sctp_closing", self.sctp_closing),
            ("sctp_closed", self.sctp_closed),
            ("udp_single", self.udp_single),
            ("udp_answered", self.udp_answered),
            ("udp_ongoing", self.udp_ongoing),
            ("echo", self.echo),
            ("opaque", self.opaque),
            ("fragments", self.fragments),
        ]
    }

    fn durations(&self) -> Timeouts {
        let seconds = |count: u32| Duration::from_secs(count.into());
        Timeouts {
            tcp_opening: seconds(self.tcp_opening),
            tcp_established: seconds(self.tcp_established),
            tcp_closing: seconds(self.tcp_closing),
            tcp_closed: seconds(self.tcp_closed),
            sctp_opening: seconds(self.sctp_opening),
            sctp_established: seconds(self.sctp_established),
            sctp_closing: seconds(self.sctp_closing),
            sctp_closed: seconds(self.sctp_closed),
            udp_single: seconds(self.udp_single),
            udp_answered: seconds(self.udp_answered),
            udp_ongoing: seconds(self.udp_ongoing),
            echo: seconds(self.echo),
            opaque: seconds(self.opaque),
            fragments: seconds(self.fragments),
        }
    }
}

impl Port {
    fn request(&self, worker_count: usize) -> Result<PortRequest, (String, String)> {
        let wrong = |key: &str, problem: &str| Err((key.to_owned(), problem.to_owned()));
        let kind = match (self.kind, &self.pod, &self.mac) {
            (KindName::Pod, Some(pod), Some(mac)) => pod_kind(pod, mac)?,
            (KindName::Pod, None, _) => {
                return wrong("pod", "is missing; a pod port names its pod: \"namespace/name\"");
            }
            (KindName::Pod, _, None) => {
                return wrong("mac", "is missing; a pod port names the MAC of the pod's own end");
            }
            (_, Some(_), _) => return wrong("pod", "belongs to ports of kind \"pod\" only"),
            (_, _, Some(_)) => return wrong("mac", "belongs to ports of kind \"pod\" only"),
            (KindName::Uplink, ..) => PortKind::Uplink,
            (KindName::Host, ..) => PortKind::Host,
        };
        if self.vlan.is_some_and(|vlan| !(1..=4094).contains(&vlan)) {
            return wrong("vlan", "is out of range; want 1 to 4094");
        }
        if kind != PortKind::Uplink && !self.node_addresses.is_empty() {
            return wrong("node_addresses", "belongs to ports of kind \"uplink\" only");
        }
        if let Some(worker) = self.workers.iter().find(|worker| **worker >= worker_count) {
            let problem = format!(
                "there is no worker {worker}; engine.cores names {worker_count}, which are 0 to {}",
                worker_count.saturating_sub(1)
            );
            return Err(("workers".into(), problem));
        }
        Ok(PortRequest {
            interface: self.interface.clone(),
            kind,
            networks: BTreeMap::from([(NetworkId::DEFAULT, self.vlan)]),
            priority_tags: self.priority_tags,
            fallback: match self.fallback {
                FallbackName::Drop => Fallback::Drop,
                FallbackName::Pass => Fallback::Pass,
            },
            node_addresses: self.node_addresses.clone(),
            mode: match self.mode {
                ModeName::Auto => PortMode::Auto,
                ModeName::ZeroCopy => PortMode::ZeroCopy,
                ModeName::Copy => PortMode::Copy,
                ModeName::Generic => PortMode::Generic,
            },
            workers: self.workers.clone(),
        })
    }
}

/// A pod port's kind from its two keys. The API's ports come through here too.
///
/// # Errors
/// The key that is wrong and what would be right.
pub(crate) fn pod_kind(pod: &str, mac: &str) -> Result<PortKind, (String, String)> {
    let is_name = |part: &str| !part.is_empty() && !part.contains('/');
    if !pod.split_once('/').is_some_and(|(namespace, name)| is_name(namespace) && is_name(name)) {
        return Err(("pod".into(), format!("{pod:?} is no pod; want \"namespace/name\"")));
    }
    let mac: Mac =
        mac.parse().map_err(|error| ("mac".to_owned(), format!("{mac:?} is {error}")))?;
    if mac.is_group() || mac == Mac::default() {
        return Err(("mac".into(), format!("{mac} is nobody's own; want the pod's MAC")));
    }
    Ok(PortKind::Pod { pod: pod.into(), mac })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let name = file.path().display().to_string();
        Config::load(file.path()).map_err(|error| error.to_string().replace(&name, "FILE"))
    }

    #[test]
    fn the_shipped_file_shows_every_default() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/sluice.toml");
        let shipped = Config::load(Path::new(path)).unwrap();
        assert_eq!(shipped, Config { ports: shipped.ports.clone(), ..Config::default() });
        let text = std::fs::read_to_string(path).unwrap();
        for key in [
            "node_name",
            "tls",
            "vlan",
            "node_addresses",
            "fallback",
            "mac",
            "pod",
            "mode",
            "workers",
            "priority_tags",
        ] {
            assert!(text.contains(key), "{key} is not shown");
        }
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(load("").unwrap(), Config::default());
    }

    #[test]
    fn a_port_becomes_a_request() {
        let config = load(
            "[[port]]\ninterface = \"v1\"\nkind = \"pod\"\npod = \"a/b\"\nmac = \"02:00:00:00:00:01\"\nvlan = 5",
        )
        .unwrap();
        let requests = config.port_requests().unwrap();
        assert_eq!(requests[0].kind, pod_kind("a/b", "02:00:00:00:00:01").unwrap());
        assert_eq!(requests[0].networks[&NetworkId::DEFAULT], Some(5));
        assert_eq!(requests[0].fallback, Fallback::Drop);
    }

    #[test]
    fn queues_are_polled_where_a_time_is_set() {
        assert_eq!(Config::default().busy_poll(), None);
        let polled = load("[engine]\nbusy_poll_us = 20\nbusy_poll_budget = 128").unwrap();
        assert_eq!(polled.busy_poll(), Some(BusyPoll { microseconds: 20, budget: 128 }));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (text, expected) in [
            ("nodename = \"x\"", "unknown field `nodename`"),
            ("[engine]\ncores = \"all\"", "invalid type"),
            (
                "[engine]\nframes = 3",
                "FILE: engine.frames: 3 is out of range; want 1024 to 1048576",
            ),
            (
                "[engine]\nbusy_poll_us = 1000001",
                "FILE: engine.busy_poll_us: 1000001 is out of range; want 0 to 1000000",
            ),
            (
                "[engine]\nbusy_poll_budget = 0",
                "FILE: engine.busy_poll_budget: 0 is out of range; want 1 to 1024",
            ),
            (
                "[engine.timeouts]\necho = 0",
                "FILE: engine.timeouts.echo: 0 is out of range; want 1 to 2592000",
            ),
            (
                "[[port]]\ninterface = \"v\"\nkind = \"pod\"",
                "FILE: port[0].pod: is missing; a pod port names its pod: \"namespace/name\"",
            ),
            (
                "[[port]]\ninterface = \"v\"\nkind = \"pod\"\npod = \"x\"\nmac = \"02:00:00:00:00:01\"",
                "FILE: port[0].pod: \"x\" is no pod; want \"namespace/name\"",
            ),
            (
                "[[port]]\ninterface = \"v\"\nkind = \"pod\"\npod = \"x/y\"\nmac = \"ff:ff:ff:ff:ff:ff\"",
                "FILE: port[0].mac: ff:ff:ff:ff:ff:ff is nobody's own; want the pod's MAC",
            ),
            (
                "[[port]]\ninterface = \"v\"\nkind = \"host\"\nmac = \"02:00:00:00:00:01\"",
                "FILE: port[0].mac: belongs to ports of kind \"pod\" only",
            ),
            (
                "[[port]]\ninterface = \"v\"\nkind = \"uplink\"\nvlan = 4095",
                "FILE: port[0].vlan: is out of range; want 1 to 4094",
            ),
            (
                "[[port]]\ninterface = \"v\"\nkind = \"nic\"",
                "unknown variant `nic`, expected one of `pod`, `uplink`, `host`",
            ),
            (
                "[[port]]\ninterface = \"v\"\nkind = \"uplink\"\nworkers = [0, 1]",
                "FILE: port[0].workers: there is no worker 1; engine.cores names 1, which are 0 to 0",
            ),
            (
                "[[port]]\ninterface = \"v\"\nkind = \"uplink\"\nmode = \"fast\"",
                "expected one of `auto`, `zero-copy`, `copy`, `generic`",
            ),
            ("[rules]\nsource = \"etcd\"", "unknown variant `etcd`, expected `files` or `api`"),
        ] {
            let message = load(text).unwrap_err();
            assert!(message.contains(expected), "{text}\n  gave {message}\n  want {expected}");
        }
    }
}
