//! The rig: a sender, a forwarder and a sink, each in a namespace of its own.
//!
//! ```text
//!  gen: gen0 ---- dut0 :dut: dut1 ---- sink0 :sink
//! ```
//!
//! The forwarder is Sluice or the kernel with nftables, on the same veths, under the same load.
//! On a veth the receiving side runs on the core that sends: the kernel forwards there, and for
//! Sluice the gate runs there while its worker has the other core. The load itself costs a tenth
//! of a forwarder. A core of its own for the kernel's receive side (threaded NAPI) was tried and
//! made the kernel slower, so it is measured without.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice_core::address::{Mac, NetworkId};
use sluice_engine::open::{PortMode, PortRequest, Ports};
use sluice_engine::port::PortKind;
use sluice_engine::{Engine, EngineConfig};
use sluice_lab::{Lab, Namespace, VethOptions};
use sluice_policy::compile::{CompileOptions, compile};
use sluice_policy::model::{
    LabelSelector, NetworkPolicy, Peer, Peers, Pod, PolicyPort, PolicyType, Port,
    Ports as RulePorts, Protocol, Rule, RuleSet,
};
use sluice_xdp::{Fallback, Umem, UmemConfig};

use crate::peers::installed;
use crate::traffic::{DESTINATION_PORT, Flows, Load, Sender, Sink};

/// The core that forwards.
pub(crate) const FORWARD_CORE: usize = 0;
/// The core that sends.
pub(crate) const SEND_CORE: usize = 1;

const GEN_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
pub(crate) const SINK_MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];
const DUT0_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];
const GEN: [u8; 4] = [10, 1, 0, 1];
const SINK: [u8; 4] = [10, 2, 0, 1];
const FLOWS: u16 = 1000;

/// Why a measurement did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("{0}")]
    Failed(String),
    /// A peer that is not installed, or that this machine cannot run.
    #[error("{0}")]
    Missing(String),
    /// Sluice and a peer judge the same packets by the same rules, and not alike.
    #[error("the verdicts differ: {0}")]
    Disagree(String),
    #[error(transparent)]
    Lab(#[from] sluice_lab::LabError),
}

impl BenchError {
    pub(crate) fn failed<E: std::fmt::Display>(what: &str) -> impl Fn(E) -> Self {
        move |error| Self::Failed(format!("{what}: {error}"))
    }
}

/// The namespaces and cables of a measurement.
pub(crate) struct Rig {
    lab: Lab,
    sender: Namespace,
    pub(crate) forwarder: Namespace,
    sink: Sink,
}

/// A forwarder at work; dropping it ends it.
pub(crate) trait Forwarder {
    /// The MAC that the sender's frames go to.
    fn next_hop(&self) -> [u8; 6];
}

impl Rig {
    pub(crate) fn new() -> Result<Self, BenchError> {
        let lab = Lab::new("bench")?;
        let sender = lab.namespace("gen")?;
        let forwarder = lab.namespace("dut")?;
        let sink_namespace = lab.namespace("sink")?;
        for namespace in [&sender, &forwarder, &sink_namespace] {
            // Nobody but the sender has anything to say, so that counts are exact.
            for scope in ["all", "default"] {
                namespace.sysctl(&format!("net.ipv6.conf.{scope}.disable_ipv6"), "1")?;
            }
        }
        let left =
            VethOptions { mac_a: Some(GEN_MAC), mac_b: Some(DUT0_MAC), ..VethOptions::default() };
        lab.veth(&sender, "gen0", &forwarder, "dut0", &left)?;
        let right = VethOptions { mac_b: Some(SINK_MAC), ..VethOptions::default() };
        lab.veth(&forwarder, "dut1", &sink_namespace, "sink0", &right)?;
        let sink = Sink::attach(&sink_namespace, "sink0", &lab.bpffs()?)?;
        Ok(Self { lab, sender, forwarder, sink })
    }

    /// Frames a second that reach the sink while the sender sends all that it can.
    pub(crate) fn throughput(
        &self,
        forwarder: &dyn Forwarder,
        time: Duration,
    ) -> Result<f64, BenchError> {
        let sender = self.start(forwarder, Load::Full)?;
        // Connections are opened and caches filled before the clock starts.
        self.sink.rate(time / 4)?;
        let rate = self.sink.rate(time)?;
        sender.finish(Load::Full)?;
        Ok(rate)
    }

    /// Sends so many frames at a rate; returns how many were sent and how many arrived.
    pub(crate) fn paced(
        &self,
        forwarder: &dyn Forwarder,
        load: Load,
    ) -> Result<(u64, u64), BenchError> {
        let before = self.sink.count()?;
        let sent = self.start(forwarder, load)?.finish(load)?;
        // What is under way arrives within milliseconds; a second tells lost from late.
        let complete = || matches!(self.sink.count(), Ok(now) if now - before >= sent);
        let _ = sluice_lab::wait_until(Duration::from_secs(1), complete);
        // Duplicates, if there are any, come right behind.
        std::thread::sleep(Duration::from_millis(100));
        Ok((sent, self.sink.count()? - before))
    }

    fn start(&self, forwarder: &dyn Forwarder, load: Load) -> Result<Sender, BenchError> {
        let flows = Flows {
            source_mac: GEN_MAC,
            destination_mac: forwarder.next_hop(),
            source: GEN,
            destination: SINK,
            count: FLOWS,
        };
        Sender::start(&self.sender, "gen0", &flows, SEND_CORE, load)
    }
}

/// Sluice, in this process, with a number of NetworkPolicies of which one admits the load. The
/// sender is a pod of another node, behind an uplink; the sink is a pod here.
pub(crate) struct Sluice<'a> {
    ports: Option<Ports>,
    rig: &'a Rig,
}

impl<'a> Sluice<'a> {
    pub(crate) fn start(rig: &'a Rig, policies: u32) -> Result<Self, BenchError> {
        let umem_config = UmemConfig { frame_count: 16_384, huge_pages: true };
        let (umem, pool) =
            Umem::new(&umem_config).map_err(BenchError::failed("Sluice's packet memory"))?;
        let config = EngineConfig { cores: vec![FORWARD_CORE], ..EngineConfig::default() };
        let engine =
            Engine::start(&config, umem, pool).map_err(BenchError::failed("Sluice's engine"))?;
        let table = compile(&rule_set(policies)?, &CompileOptions::default())
            .map_err(|faults| BenchError::Failed(format!("{faults:?}")))?;
        engine.publish(table.with_revision(1)).map_err(BenchError::failed("Sluice's table"))?;
        let ports = Ports::new(Arc::new(engine), rig.lab.bpffs()?);
        let pod = |name: &str, mac| PortKind::Pod { pod: name.into(), mac: Mac(mac) };
        for (interface, kind) in [("dut0", PortKind::Uplink), ("dut1", pod("bench/sink", SINK_MAC))]
        {
            let request = PortRequest {
                interface: interface.into(),
                kind,
                networks: BTreeMap::from([(NetworkId::DEFAULT, None)]),
                priority_tags: false,
                fallback: Fallback::Drop,
                node_addresses: Vec::new(),
                mode: PortMode::Auto,
                workers: Vec::new(),
            };
            rig.forwarder
                .run(|| ports.open(&request))?
                .map_err(BenchError::failed("a port of Sluice"))?;
        }
        Ok(Self { ports: Some(ports), rig })
    }
}

impl Sluice<'_> {
    /// Its engine, for whoever publishes tables.
    pub(crate) fn engine(&self) -> Result<Arc<Engine>, BenchError> {
        let ports = self.ports.as_ref().ok_or(BenchError::Failed("Sluice is closed".into()))?;
        Ok(Arc::clone(ports.engine()))
    }

    /// Frames that have arrived at the port that faces the sender, by its gate's count.
    pub(crate) fn arrived(&self) -> Result<u64, BenchError> {
        let ports = self.ports.as_ref().ok_or(BenchError::Failed("Sluice is closed".into()))?;
        let facts = ports.facts("dut0").map_err(BenchError::failed("the gate's counters"))?;
        Ok(facts.gate.steered)
    }

    /// What Sluice has received, sent and dropped, in a line.
    pub(crate) fn account(&self) -> String {
        let Some(ports) = &self.ports else { return String::new() };
        let totals = ports.engine().totals();
        let drops: Vec<String> =
            totals.drops().map(|(reason, count)| format!("{count} {reason}")).collect();
        format!(
            "Sluice received {}, sent {}, dropped: {}",
            totals.rx_frames,
            totals.tx_frames,
            if drops.is_empty() { "none".into() } else { drops.join(", ") }
        )
    }
}

impl Forwarder for Sluice<'_> {
    fn next_hop(&self) -> [u8; 6] {
        SINK_MAC
    }
}

impl Drop for Sluice<'_> {
    fn drop(&mut self) {
        let Some(ports) = self.ports.take() else { return };
        let _ = self.rig.forwarder.run(|| {
            for interface in ["dut0", "dut1"] {
                if let Err(error) = ports.close(interface) {
                    eprintln!("closing {interface}: {error}");
                }
            }
        });
    }
}

/// As many policies as asked for; only the last selects the pods of the load and admits it.
/// Without policies everybody may do everything.
pub(crate) fn rule_set(policies: u32) -> Result<RuleSet, BenchError> {
    let mut rules = RuleSet::default();
    let mut insert = |object: sluice_policy::model::Object| {
        rules.insert(object).map_err(BenchError::failed("the rule set"))
    };
    for (name, address) in [("gen", GEN), ("sink", SINK)] {
        let pod =
            Pod::new("bench", name).with_label("app", name).with_address(IpAddr::from(address));
        insert(pod.into())?;
    }
    for n in 1..policies {
        let app = format!("other-{n}");
        let pod = Pod::new("bench", &app).with_label("app", &app).with_address(IpAddr::from([
            10,
            3,
            n.to_be_bytes()[2],
            n.to_be_bytes()[3],
        ]));
        insert(pod.into())?;
        insert(policy(&app, &app, "gen").into())?;
    }
    if policies > 0 {
        insert(policy("sink", "sink", "gen").into())?;
    }
    Ok(rules)
}

/// `app` admits UDP 53 from `peer`.
fn policy(name: &str, app: &str, peer: &str) -> NetworkPolicy {
    let rule = Rule {
        peers: Peers::AnyOf(vec![Peer::Selectors {
            pods: Some(LabelSelector::label("app", peer)),
            namespaces: None,
        }]),
        ports: RulePorts::AnyOf(vec![PolicyPort {
            protocol: Protocol::Udp,
            port: Port::Number(DESTINATION_PORT),
        }]),
    };
    NetworkPolicy::new(
        "bench",
        name,
        LabelSelector::label("app", app),
        &[PolicyType::Ingress],
        Some(vec![rule]),
        None,
    )
}

/// The kernel: IP forwarding with connection tracking and a set of allowed pairs in nftables.
pub(crate) struct Kernel<'a> {
    rig: &'a Rig,
}

impl<'a> Kernel<'a> {
    pub(crate) fn start(rig: &'a Rig, rules: u32) -> Result<Self, BenchError> {
        installed("nft", "nftables")?;
        installed("ethtool", "ethtool")?;
        let forwarder = &rig.forwarder;
        forwarder.address("dut0", "10.1.0.254/24")?;
        forwarder.address("dut1", "10.2.0.254/24")?;
        forwarder.neighbour("dut1", "10.2.0.1", "02:00:00:00:02:01")?;
        forwarder.sysctl("net.ipv4.ip_forward", "1")?;
        let kernel = Self { rig };
        // NAPI for a veth without a program comes with GRO.
        kernel.tool("ethtool", &["-K", "dut0", "gro", "on"])?;
        let file = std::env::temp_dir().join(format!("sluice-bench-{}.nft", std::process::id()));
        std::fs::write(&file, ruleset(rules)).map_err(BenchError::failed("the nftables file"))?;
        let loaded = kernel.tool("nft", &["-f", &file.display().to_string()]);
        let _ = std::fs::remove_file(&file);
        loaded?;
        Ok(kernel)
    }

    fn tool(&self, program: &str, arguments: &[&str]) -> Result<(), BenchError> {
        let output = self.rig.forwarder.command(program, arguments)?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(BenchError::Failed(format!("{program} {arguments:?}: {text}")))
    }
}

impl Forwarder for Kernel<'_> {
    fn next_hop(&self) -> [u8; 6] {
        DUT0_MAC
    }
}

impl Drop for Kernel<'_> {
    fn drop(&mut self) {
        let _ = self.tool("nft", &["flush", "ruleset"]);
        let _ = self.tool("ethtool", &["-K", "dut0", "gro", "off"]);
        let _ = self.rig.forwarder.ip(&["address", "flush", "dev", "dut0"]);
        let _ = self.rig.forwarder.ip(&["address", "flush", "dev", "dut1"]);
    }
}

/// Established connections pass, new ones if their addresses and port are in the set: the form
/// that nftables is fast with.
fn ruleset(rules: u32) -> String {
    let mut elements = format!("10.1.0.1 . 10.2.0.1 . {DESTINATION_PORT}");
    for n in 1..rules {
        let [_, _, high, low] = n.to_be_bytes();
        let _ = write!(elements, ", 10.1.0.1 . 10.3.{high}.{low} . {DESTINATION_PORT}");
    }
    format!(
        "table ip bench {{
    set allowed {{
        type ipv4_addr . ipv4_addr . inet_service
        elements = {{ {elements} }}
    }}
    chain forward {{
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        ip saddr . ip daddr . udp dport @allowed accept
    }}
}}
"
    )
}
