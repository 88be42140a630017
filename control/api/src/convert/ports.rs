//! Ports, both ways.

use std::collections::{BTreeMap, BTreeSet};

use sluice_core::address::{Mac, NetworkId};
use sluice_policy::explain::Who;
use sluice_policy::model::{Fault, Name};

use super::report::{Path, Report};
use super::{Malformed, to_wire};
use crate::backend::{
    Fallback, GateMode, PortKind, PortMode, PortSpec, PortState, QueueState, QueueStatistics,
};
use crate::text::printable;
use crate::wire;

/// VLAN ids that frames can carry (IEEE 802.1Q: 0 and 4095 mean something else).
const VLANS: std::ops::RangeInclusive<u32> = 1..=4094;

/// Bytes of an interface's name at most; the kernel's IFNAMSIZ counts a zero too.
const INTERFACE_LEN_MAX: usize = 15;

pub(crate) fn add_request(request: wire::AddPortRequest) -> Result<PortSpec, Vec<Fault>> {
    match request.port {
        Some(port) => spec(port),
        None => {
            let mut report = Report::new("request");
            let absent = report.fault(&Path::Top("port"), "it is absent; say what to attach");
            report.finish(absent)
        }
    }
}

pub(crate) fn interface(name: &str) -> Result<(), Vec<Fault>> {
    let mut report = Report::new("request");
    let found = check_interface(&mut report, &Path::Top("name"), name);
    report.finish(found)
}

pub(crate) fn spec(spec: wire::PortSpec) -> Result<PortSpec, Vec<Fault>> {
    let mut report = Report::new(format!("port {}", spec.interface));
    let read = read_spec(&mut report, spec);
    report.finish(read)
}

pub(crate) fn spec_to_wire(spec: &PortSpec) -> wire::PortSpec {
    let (kind, pod, mac) = match &spec.kind {
        PortKind::Pod { pod, mac } => (wire::PortKind::Pod, pod.to_string(), mac.to_string()),
        PortKind::Uplink => (wire::PortKind::Uplink, String::new(), String::new()),
        PortKind::Host => (wire::PortKind::Host, String::new(), String::new()),
    };
    let fallback = match spec.fallback {
        Fallback::Drop => wire::Fallback::Drop,
        Fallback::Pass => wire::Fallback::Pass,
    };
    wire::PortSpec {
        interface: spec.interface.clone(),
        kind: kind.into(),
        pod,
        mac,
        networks: spec.networks.iter().map(network_to_wire).collect(),
        fallback: fallback.into(),
        node_addresses: to_wire::addresses(&spec.node_addresses),
        mode: mode_to_wire(spec.mode).into(),
        workers: spec.workers.clone(),
        priority_tags: spec.priority_tags,
    }
}

fn mode_to_wire(mode: PortMode) -> wire::PortMode {
    match mode {
        PortMode::Auto => wire::PortMode::Auto,
        PortMode::ZeroCopy => wire::PortMode::ZeroCopy,
        PortMode::Copy => wire::PortMode::Copy,
        PortMode::Generic => wire::PortMode::Generic,
    }
}

pub(crate) fn state_to_wire(state: PortState) -> wire::PortState {
    let gate_mode = match state.gate_mode {
        GateMode::Native => wire::GateMode::Native,
        GateMode::Generic => wire::GateMode::Generic,
    };
    wire::PortState {
        spec: Some(spec_to_wire(&state.spec)),
        driver: state.driver,
        gate_mode: gate_mode.into(),
        mtu: state.mtu,
        why_generic: state.why_generic,
        queues: state.queues.into_iter().map(queue_to_wire).collect(),
        waiting: state.waiting,
    }
}

fn queue_to_wire(queue: QueueState) -> wire::QueueState {
    let statistics = |it: QueueStatistics| wire::QueueStatistics {
        rx_dropped: it.rx_dropped,
        rx_ring_full: it.rx_ring_full,
        rx_fill_ring_empty: it.rx_fill_ring_empty,
        rx_invalid_descriptors: it.rx_invalid_descriptors,
        tx_invalid_descriptors: it.tx_invalid_descriptors,
        tx_ring_empty: it.tx_ring_empty,
        foreign_descriptors: it.foreign_descriptors,
    };
    wire::QueueState {
        queue: queue.queue,
        worker: queue.worker,
        zero_copy: queue.zero_copy,
        why_copied: queue.why_copied,
        busy_poll_us: queue.busy_poll_us,
        polled: queue.polled,
        statistics: queue.statistics.map(statistics),
    }
}

fn queue(queue: wire::QueueState) -> QueueState {
    let statistics = |it: wire::QueueStatistics| QueueStatistics {
        rx_dropped: it.rx_dropped,
        rx_ring_full: it.rx_ring_full,
        rx_fill_ring_empty: it.rx_fill_ring_empty,
        rx_invalid_descriptors: it.rx_invalid_descriptors,
        tx_invalid_descriptors: it.tx_invalid_descriptors,
        tx_ring_empty: it.tx_ring_empty,
        foreign_descriptors: it.foreign_descriptors,
    };
    QueueState {
        queue: queue.queue,
        worker: queue.worker,
        zero_copy: queue.zero_copy,
        why_copied: queue.why_copied,
        busy_poll_us: queue.busy_poll_us,
        polled: queue.polled,
        statistics: queue.statistics.map(statistics),
    }
}

pub(crate) fn state(state: wire::PortState) -> Result<PortState, Malformed> {
    let spec = spec(state.spec.ok_or("a port has no spec")?).map_err(|faults| sentence(&faults))?;
    let gate_mode = match wire::GateMode::try_from(state.gate_mode) {
        Ok(wire::GateMode::Native) => GateMode::Native,
        Ok(wire::GateMode::Generic) => GateMode::Generic,
        Ok(wire::GateMode::Unspecified) | Err(_) => {
            return Err(format!("port {} has an unknown gate mode", printable(&spec.interface)));
        }
    };
    let wire::PortState { driver, mtu, why_generic, queues, waiting, .. } = state;
    let queues = queues.into_iter().map(queue).collect();
    Ok(PortState { spec, driver, gate_mode, why_generic, queues, mtu, waiting })
}

/// All faults in one text.
pub(crate) fn sentence(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn read_spec(report: &mut Report, spec: wire::PortSpec) -> Option<PortSpec> {
    let interface = check_interface(report, &Path::Top("interface"), &spec.interface);
    let kind = kind(report, &spec);
    let networks = networks(report, &spec.networks);
    let at = Path::Top("fallback");
    let fallback = match wire::Fallback::try_from(spec.fallback) {
        Ok(wire::Fallback::Drop) => Some(Fallback::Drop),
        Ok(wire::Fallback::Pass) => Some(Fallback::Pass),
        Ok(wire::Fallback::Unspecified) => report.unspecified(&at, "drop or pass"),
        Err(_) => report.unknown(&at, spec.fallback, "drop or pass"),
    };
    let node_addresses =
        report.addresses(&spec.node_addresses, |place| format!("node_addresses[{place}]"));
    if !spec.node_addresses.is_empty() && !matches!(kind, None | Some(PortKind::Uplink)) {
        return report
            .fault(&Path::Top("node_addresses"), "only an uplink has them; leave them out");
    }
    let at = Path::Top("mode");
    let wanted = "auto, zero-copy, copy or generic";
    let mode = match wire::PortMode::try_from(spec.mode) {
        Ok(wire::PortMode::Auto) => Some(PortMode::Auto),
        Ok(wire::PortMode::ZeroCopy) => Some(PortMode::ZeroCopy),
        Ok(wire::PortMode::Copy) => Some(PortMode::Copy),
        Ok(wire::PortMode::Generic) => Some(PortMode::Generic),
        Ok(wire::PortMode::Unspecified) => report.unspecified(&at, wanted),
        Err(_) => report.unknown(&at, spec.mode, wanted),
    };
    interface?;
    Some(PortSpec {
        interface: spec.interface,
        kind: kind?,
        networks: networks?,
        fallback: fallback?,
        node_addresses: node_addresses?,
        mode: mode?,
        workers: spec.workers,
        priority_tags: spec.priority_tags,
    })
}

pub(super) fn check_interface(report: &mut Report, at: &Path<'_>, name: &str) -> Option<()> {
    let odd = |letter: char| letter.is_whitespace() || letter.is_control() || "/:".contains(letter);
    let wrong = name.is_empty()
        || name.len() > INTERFACE_LEN_MAX
        || name.contains(odd)
        || [".", ".."].contains(&name);
    if wrong {
        let wanted = "1 to 15 bytes without spaces, '/' and ':'";
        return report.fault(at, format!("\"{name}\" is no interface name; want {wanted}"));
    }
    Some(())
}

fn kind(report: &mut Report, spec: &wire::PortSpec) -> Option<PortKind> {
    const WANTED: &str = "pod, uplink or host";
    let at = Path::Top("kind");
    let kind = match wire::PortKind::try_from(spec.kind) {
        Ok(wire::PortKind::Pod) => return pod_kind(report, spec),
        Ok(wire::PortKind::Uplink) => PortKind::Uplink,
        Ok(wire::PortKind::Host) => PortKind::Host,
        Ok(wire::PortKind::Unspecified) => return report.unspecified(&at, WANTED),
        Err(_) => return report.unknown(&at, spec.kind, WANTED),
    };
    for (field, text) in [("pod", &spec.pod), ("mac", &spec.mac)] {
        if !text.is_empty() {
            let problem = format!("only a pod has one, and the kind is {}", kind.name());
            return report.fault(&Path::Top(field), problem);
        }
    }
    Some(kind)
}

fn pod_kind(report: &mut Report, spec: &wire::PortSpec) -> Option<PortKind> {
    let pod = pod_name(&spec.pod).or_else(|| {
        report.fault(&Path::Top("pod"), format!("\"{}\" is no pod; want namespace/name", spec.pod))
    });
    let at = Path::Top("mac");
    let mac = match spec.mac.parse::<Mac>() {
        Ok(mac) if mac.is_group() || mac == Mac::default() => {
            report.fault(&at, format!("{mac} is not the address of one station; want one that is"))
        }
        Ok(mac) => Some(mac),
        Err(error) => report.fault(&at, format!("\"{}\" is {error}", spec.mac)),
    };
    Some(PortKind::Pod { pod: pod?, mac: mac? })
}

fn pod_name(text: &str) -> Option<Name> {
    match text.parse() {
        Ok(Who::Pod(name)) => Some(name),
        _ => None,
    }
}

fn networks(
    report: &mut Report,
    networks: &[wire::PortNetwork],
) -> Option<BTreeMap<NetworkId, Option<u16>>> {
    let at = Path::Top("networks");
    if networks.is_empty() {
        return report.fault(&at, "it is empty; want at least one, such as 0 untagged");
    }
    let mut read = BTreeMap::new();
    let mut tags = BTreeSet::new();
    let mut whole = true;
    for (place, network) in networks.iter().enumerate() {
        let at = at.item(place);
        let Some((id, tag)) = read_network(report, &at, network) else {
            whole = false;
            continue;
        };
        if !tags.insert(tag) {
            report.fault::<()>(&at, "another network of the port has this tag; want one each");
        }
        if read.insert(id, tag).is_some() {
            report.fault::<()>(&at.field("id"), format!("{} is named twice; want it once", id.0));
        }
    }
    whole.then_some(read)
}

fn read_network(
    report: &mut Report,
    at: &Path<'_>,
    network: &wire::PortNetwork,
) -> Option<(NetworkId, Option<u16>)> {
    use wire::port_network::Tag;
    let id = u16::try_from(network.id).ok().map(NetworkId).or_else(|| {
        let problem = format!("{} is no network number; want 0 to 65535", network.id);
        report.fault(&at.field("id"), problem)
    });
    let tag = match network.tag {
        Some(Tag::Untagged(wire::Untagged {})) => Some(None),
        Some(Tag::Vlan(vlan)) => {
            let wanted = u16::try_from(vlan).ok().filter(|_| VLANS.contains(&vlan));
            wanted.map(Some).or_else(|| {
                report.fault(&at.field("vlan"), format!("{vlan} is no VLAN id; want 1 to 4094"))
            })
        }
        None => report.fault(at, "its tag is absent; want untagged or a vlan"),
    };
    Some((id?, tag?))
}

fn network_to_wire((id, tag): (&NetworkId, &Option<u16>)) -> wire::PortNetwork {
    use wire::port_network::Tag;
    let tag = match tag {
        None => Tag::Untagged(wire::Untagged {}),
        Some(vlan) => Tag::Vlan((*vlan).into()),
    };
    wire::PortNetwork { id: id.0.into(), tag: Some(tag) }
}
