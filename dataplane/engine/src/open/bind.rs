//! The steps of opening: gate, link, queues.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use sluice_xdp::{
    Fallback, Gate, GateConfig, GateRole, Interface, InterfaceError, QUEUES_MAX, Queue,
    QueueConfig, Topology,
};

use super::jumbo::{needs_chains, refused_gate, refused_queue};
use super::placement::{Nearness, place};
use super::{MTU_MAX, OpenError, OpenPort, PortRequest, Ports};
use crate::engine::PlacedQueue;
use crate::port::{PortKind, PortSpec};

/// Frames that each worker needs to have in its hands and on transmit rings.
const FRAMES_UNDER_WAY: usize = 1024;

/// How long a link that goes down when its gate comes is waited for, and how often it is looked at.
const LINK_PATIENCE: Duration = Duration::from_secs(10);
const LINK_INTERVAL: Duration = Duration::from_millis(20);

impl Ports {
    /// Attaches a gate that is closed, or adopts one and closes it.
    ///
    /// What the port is to fall back to comes into force when every queue has its socket: a port that is
    /// not open while the daemon runs has its frames dropped.
    pub(super) fn attach(
        &self,
        interface: &Interface,
        request: &PortRequest,
    ) -> Result<Gate, OpenError> {
        let role = match request.kind {
            PortKind::Uplink => GateRole::Uplink,
            PortKind::Pod { .. } | PortKind::Host => GateRole::Steer,
        };
        let config = GateConfig {
            pin_dir: self.pin_dir.clone(),
            role,
            fallback: Fallback::Drop,
            mode: request.mode.gate_mode(),
            node_addresses: node_addresses(interface, request),
            chains: needs_chains(interface),
        };
        let gate =
            Gate::attach(interface, &config).map_err(|error| refused_gate(interface, error))?;
        if let Some(why) = gate.why_generic() {
            let port = &request.interface;
            tracing::warn!(port, why, "the gate runs in generic mode, which is slower");
        }
        Ok(gate)
    }

    /// Binds a socket to every queue that the interface has now.
    pub(super) fn bind(
        &self,
        gate: &mut Gate,
        request: &PortRequest,
    ) -> Result<(Interface, Vec<PlacedQueue>), OpenError> {
        let interface = await_link(gate.interface())?;
        check(&interface)?;
        let name = interface.name();
        if needs_chains(&interface) != needs_chains(gate.interface()) {
            return Err(OpenError::Unsteady(name.into()));
        }
        let count = interface.rx_queue_count();
        if count > QUEUES_MAX {
            return Err(OpenError::Queues { name: name.into(), queues: count });
        }
        let config = queue_config(&request.kind);
        self.check_frames(&interface, &config)?;
        let copying = request.mode.copying(gate.mode());
        let busy_poll = self.busy_poll.filter(|_| request.kind == PortKind::Uplink);
        let config = QueueConfig { copying, chains: needs_chains(&interface), busy_poll, ..config };
        if !gate.adopted() {
            let added = count.saturating_sub(gate.interface().rx_queue_count());
            gate.set_added_queues(u16::try_from(added).unwrap_or(u16::MAX))?;
        }
        // virtio-net has them for what the kernel's own programs send, and serves no socket's ring.
        let sending = count.saturating_sub(gate.added_queues().into()).max(1);
        let workers = self.workers_of(&interface, sending as usize, request);
        let mut queues = Vec::new();
        for (queue_id, worker) in (0..count).zip(workers) {
            let config = QueueConfig { receive_only: queue_id >= sending, ..config };
            let queue = Queue::bind(self.engine.umem(), &interface, queue_id, &config)
                .map_err(|error| refused_queue(&interface, error))?;
            if let Some(why) = queue.why_copied() {
                tracing::info!(port = name, queue = queue_id, %why, "the queue copies its frames");
            }
            gate.connect(queue_id, &queue)?;
            queues.push(PlacedQueue { io: Box::new(queue), worker });
        }
        Ok((interface, queues))
    }

    /// The worker of each queue: as configured, else by what the NIC is near to.
    fn workers_of(
        &self,
        interface: &Interface,
        sending: usize,
        request: &PortRequest,
    ) -> Vec<Option<usize>> {
        let count = interface.rx_queue_count() as usize;
        if !request.workers.is_empty() {
            return request.workers.iter().map(|it| Some(*it)).cycle().take(count).collect();
        }
        let near = Nearness::of(interface, &Topology::default());
        // Those by which a worker can send first, so that as many as can have one.
        let mut placed = place(0..sending, self.engine.cores(), &near);
        placed.extend(place(sending..count, self.engine.cores(), &near));
        for (queue, (worker, why)) in placed.iter().enumerate() {
            tracing::debug!(port = interface.name(), queue, ?worker, why, "a queue is placed");
        }
        placed.into_iter().map(|(worker, _)| worker).collect()
    }

    /// Refuses a port that packet memory cannot feed, after what the others want.
    fn check_frames(&self, interface: &Interface, config: &QueueConfig) -> Result<(), OpenError> {
        let wants =
            |config: &QueueConfig, queues: u32| queues as usize * config.fill_frames_max as usize;
        // A port that waits will want its share again.
        let taken_by = |ports: &BTreeMap<String, OpenPort>| -> usize {
            let others = ports.values().filter(|port| port.interface.name() != interface.name());
            others
                .map(|it| wants(&queue_config(&it.request.kind), it.interface.rx_queue_count()))
                .sum()
        };
        let taken = taken_by(&self.locked());
        let total = self.engine.umem().frame_count() as usize;
        let any_chains = |ports: &BTreeMap<String, OpenPort>| {
            ports.values().any(|port| needs_chains(&port.interface))
        };
        // What takes one chunk of a short packet takes three of a long one.
        let chunks = if needs_chains(interface) || any_chains(&self.locked()) { 3 } else { 1 };
        let under_way = FRAMES_UNDER_WAY * chunks * self.engine.worker_count();
        let left = total.saturating_sub(taken + under_way);
        let queues = interface.rx_queue_count();
        let wanted = wants(config, queues);
        if wanted <= left {
            return Ok(());
        }
        let queues = queues as usize;
        Err(OpenError::Frames { name: interface.name().into(), queues, wanted, left })
    }
}

/// Detaches a gate that is of no use, unless an earlier run had left it: then it stays, closed.
pub(super) fn take_away(gate: Gate) {
    let name = gate.interface().name().to_owned();
    if !gate.adopted()
        && let Err(error) = gate.detach()
    {
        tracing::warn!(port = name, %error, "the gate is left");
    }
}

/// The interface as it is once its link is back: some drivers reset it when a program comes.
fn await_link(before: &Interface) -> Result<Interface, InterfaceError> {
    let deadline = Instant::now() + LINK_PATIENCE;
    loop {
        let now = Interface::open(before.name())?;
        if now.link_detected() || !before.link_detected() {
            return Ok(now);
        }
        if Instant::now() > deadline {
            tracing::warn!(
                port = before.name(),
                "the link went down with the gate and is not back"
            );
            return Ok(now);
        }
        sleep(LINK_INTERVAL);
    }
}

pub(super) fn spec(request: &PortRequest, interface: &Interface) -> PortSpec {
    PortSpec {
        name: request.interface.as_str().into(),
        kind: request.kind.clone(),
        networks: request.networks.clone(),
        mtu: interface.mtu(),
        priority_tags: request.priority_tags,
        partial_checksums: interface.partial_checksums(),
    }
}

/// Refuses an interface that is not fit to be a port.
pub(super) fn check(interface: &Interface) -> Result<(), OpenError> {
    Fitness {
        name: interface.name(),
        driver: interface.driver(),
        up: interface.is_up(),
        mtu: interface.mtu(),
        rx_vlan_stripping: interface.rx_vlan_stripping(),
    }
    .check()
}

/// What decides whether an interface is fit to be a port.
#[derive(Clone, Copy)]
struct Fitness<'a> {
    name: &'a str,
    driver: &'a str,
    up: bool,
    mtu: u32,
    rx_vlan_stripping: bool,
}

impl Fitness<'_> {
    fn check(self) -> Result<(), OpenError> {
        let Self { driver, up, mtu, rx_vlan_stripping, .. } = self;
        let name = || self.name.to_owned();
        if !up {
            return Err(OpenError::Down(name()));
        }
        if mtu > MTU_MAX {
            return Err(OpenError::Mtu { name: name(), mtu });
        }
        // On a veth the setting means nothing: whether a frame bears its tag is up to the other end.
        if rx_vlan_stripping && driver != "veth" {
            return Err(OpenError::VlanStripping(name()));
        }
        Ok(())
    }
}

pub(super) fn node_addresses(interface: &Interface, request: &PortRequest) -> Vec<IpAddr> {
    interface.addresses().iter().chain(&request.node_addresses).copied().collect()
}

/// Pods have many ports with little traffic each, uplinks few with much.
fn queue_config(kind: &PortKind) -> QueueConfig {
    match kind {
        PortKind::Pod { .. } => {
            QueueConfig { ring_size: 1024, fill_frames_max: 512, ..QueueConfig::default() }
        }
        PortKind::Uplink | PortKind::Host => {
            QueueConfig { ring_size: 4096, fill_frames_max: 2048, ..QueueConfig::default() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIT: Fitness<'static> =
        Fitness { name: "eth1", driver: "i40e", up: true, mtu: MTU_MAX, rx_vlan_stripping: false };

    #[test]
    fn a_nic_that_takes_vlan_tags_out_is_refused_with_the_command_that_stops_it() {
        let stripping = Fitness { rx_vlan_stripping: true, ..FIT };
        let error = stripping.check().unwrap_err();
        assert!(matches!(error, OpenError::VlanStripping(_)), "{error}");
        assert!(error.to_string().ends_with(": ethtool -K eth1 rxvlan off"), "{error}");
        // A driver that does not tell its name is no veth.
        assert!(Fitness { driver: "", ..stripping }.check().is_err());
        Fitness { driver: "veth", ..stripping }.check().unwrap();
    }

    #[test]
    fn an_interface_that_is_down_or_whose_frames_are_too_long_is_refused() {
        FIT.check().unwrap();
        let down = Fitness { up: false, ..FIT }.check().unwrap_err().to_string();
        assert!(down.contains("`ip link set dev eth1 up`"), "{down}");
        let long = Fitness { mtu: MTU_MAX + 1, ..FIT }.check().unwrap_err().to_string();
        assert!(long.contains("`ip link set dev eth1 mtu 9000`"), "{long}");
    }

    #[test]
    fn names_are_quoted_for_a_shell() {
        let hostile = Fitness { name: "a;reboot", up: false, ..FIT }.check().unwrap_err();
        assert!(hostile.to_string().contains("ip link set dev 'a;reboot' up"), "{hostile}");
    }
}
