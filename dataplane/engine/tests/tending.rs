//! Ports whose interface changes under them are noticed, closed meanwhile, and healed.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed step of a test is a failed test"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sluice_core::address::NetworkId;
use sluice_engine::open::{OpenError, PortFacts, PortMode, PortRequest, Ports};
use sluice_engine::port::PortKind;
use sluice_engine::{Engine, EngineConfig};
use sluice_lab::probe::{self, Probe};
use sluice_lab::serve;
use sluice_lab::{Lab, Namespace, VethOptions, root_or_skip, wait_until};
use sluice_xdp::{Fallback, GateMode, Umem};

const PATIENCE: Duration = Duration::from_secs(5);

/// An uplink `veth-a` of four queues in a node; the other end, `veth-b`, is outside.
struct Bed {
    ports: Ports,
    node: Namespace,
    outside: Namespace,
    // Goes last: with it go the namespaces.
    lab: Lab,
}

impl Bed {
    fn new(name: &str) -> Self {
        let lab = Lab::new(name).unwrap();
        let (node, outside) = (lab.namespace("node").unwrap(), lab.namespace("outside").unwrap());
        let options = VethOptions { queues: 4, ..VethOptions::default() };
        lab.veth(&node, "veth-a", &outside, "veth-b", &options).unwrap();
        let (umem, pool) = Umem::in_memory(16_384).unwrap();
        let cores = core_affinity::get_core_ids().unwrap();
        let cores = cores.into_iter().map(|core| core.id).take(2).collect();
        let config = EngineConfig { cores, ..EngineConfig::default() };
        let engine = Engine::start(&config, umem, pool).unwrap();
        let ports = Ports::new(Arc::new(engine), lab.bpffs().unwrap());
        Self { ports, node, outside, lab }
    }

    fn open(&self, change: impl FnOnce(&mut PortRequest) + Send) -> Result<(), OpenError> {
        let mut request = PortRequest {
            interface: "veth-a".into(),
            kind: PortKind::Uplink,
            networks: BTreeMap::from([(NetworkId::DEFAULT, None)]),
            priority_tags: false,
            fallback: Fallback::Drop,
            node_addresses: Vec::new(),
            mode: PortMode::Auto,
            workers: Vec::new(),
        };
        change(&mut request);
        self.node.run(|| self.ports.open(&request)).unwrap()
    }

    fn tend(&self) -> PortFacts {
        self.node.run(|| self.ports.tend()).unwrap();
        self.ports.facts("veth-a").unwrap()
    }

    fn ethtool(&self, namespace: &Namespace, arguments: &[&str]) {
        let output = namespace.command("ethtool", arguments).unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Sends frames that nobody answers, of many flows, until the gate has met some.
    fn frames_meet_a_closed_gate(&self) -> bool {
        let dropped = || self.ports.facts("veth-a").unwrap().gate.fallback_dropped;
        let before = dropped();
        self.outside.up("veth-b").unwrap();
        wait_until(PATIENCE, || {
            // A router solicitation, or whatever else the kernel says of itself.
            self.outside.down("veth-b").unwrap();
            self.outside.up("veth-b").unwrap();
            dropped() > before
        })
    }

    /// Whether every frame of packet memory is somewhere, once none changes hands any more.
    fn has_all_frames(&self) -> bool {
        let engine = self.ports.engine();
        wait_until(PATIENCE, || engine.census().unwrap() == engine.umem().frame_count() as usize)
    }
}

fn workers(facts: &PortFacts) -> Vec<(u32, usize)> {
    facts.queues.iter().map(|(worker, report)| (report.queue_id, *worker)).collect()
}

#[test]
fn queues_that_come_have_sockets_soon() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("requeue");
    bed.ethtool(&bed.outside, &["-L", "veth-b", "tx", "2"]);
    bed.ethtool(&bed.node, &["-L", "veth-a", "rx", "2"]);
    bed.open(|request| request.workers = vec![1, 0]).unwrap();
    let facts = bed.tend();
    assert_eq!(workers(&facts), [(0, 1), (1, 0)], "as they were placed");
    // Fewer than have sockets the kernel does not allow.
    bed.ethtool(&bed.node, &["-L", "veth-a", "rx", "4"]);
    let facts = bed.tend();
    assert_eq!(workers(&facts), [(0, 1), (1, 0), (2, 1), (3, 0)]);
    assert_eq!(facts.waiting, None);
    assert!(bed.node.run(|| bed.ports.troubles()).unwrap().is_empty());
    assert!(bed.has_all_frames(), "no frame is lost with a queue");
}

#[test]
fn what_cannot_be_served_is_closed_until_it_can() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("unfit");
    bed.open(|_| {}).unwrap();
    bed.node.ip(&["link", "set", "veth-a", "address", "02:00:00:00:00:77"]).unwrap();
    let facts = bed.tend();
    assert_eq!((facts.queues.len(), facts.waiting), (4, None), "another MAC is soon dealt with");

    // The interface goes, and comes back in another shape.
    bed.node.ip(&["link", "set", "veth-a", "name", "veth-x"]).unwrap();
    let facts = bed.tend();
    let why = facts.waiting.unwrap();
    assert!(why.contains("interface veth-a does not exist"), "{why}");
    assert_eq!(facts.queues, []);
    let troubles = bed.node.run(|| bed.ports.troubles()).unwrap();
    assert_eq!(troubles[0].0, "veth-a");
    assert!(troubles[0].1.starts_with("is not open: interface veth-a"), "{troubles:?}");
    assert!(bed.frames_meet_a_closed_gate(), "the gate stays");
    bed.node.ip(&["link", "set", "veth-x", "name", "veth-a"]).unwrap();
    let facts = bed.tend();
    assert_eq!((facts.queues.len(), facts.waiting), (4, None));
    assert!(bed.has_all_frames());
}

#[test]
fn what_waits_passes_nothing_whatever_it_falls_back_to() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("pass");
    bed.open(|request| request.fallback = Fallback::Pass).unwrap();
    bed.node.ip(&["link", "set", "veth-a", "name", "veth-x"]).unwrap();
    assert!(bed.tend().waiting.is_some());
    assert!(bed.frames_meet_a_closed_gate());
    assert_eq!(bed.tend().gate.fallback_passed, 0);
    bed.node.ip(&["link", "set", "veth-x", "name", "veth-a"]).unwrap();
    let facts = bed.tend();
    assert_eq!((facts.waiting, facts.request.fallback), (None, Fallback::Pass));
}

#[test]
fn an_interface_that_comes_back_unfit_is_closed_all_the_same() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("unfit");
    bed.open(|_| {}).unwrap();
    bed.node.ip(&["link", "delete", "veth-a"]).unwrap();
    assert!(bed.tend().waiting.is_some());
    let options = VethOptions { queues: 4, mtu: 9_500, ..VethOptions::default() };
    bed.lab.veth(&bed.node, "veth-a", &bed.outside, "veth-b", &options).unwrap();
    let why = bed.tend().waiting.unwrap();
    assert!(why.contains("veth-a has MTU 9500"), "{why}");
    assert!(bed.frames_meet_a_closed_gate());
    bed.node.ip(&["link", "set", "veth-a", "mtu", "9000"]).unwrap();
    let facts = bed.tend();
    assert_eq!((facts.queues.len(), facts.waiting), (4, None), "at once, since it looks different");
    assert!(bed.has_all_frames());
}

#[test]
fn a_waiting_uplink_does_not_cut_off_the_node() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("cutoff");
    for (namespace, interface) in [(&bed.node, "veth-a"), (&bed.outside, "veth-b")] {
        namespace.ip(&["link", "set", interface, "mtu", "9000"]).unwrap();
    }
    bed.outside.address("veth-b", "10.9.0.1/24").unwrap();
    bed.open(|_| {}).unwrap();
    bed.node.ip(&["link", "set", "veth-a", "mtu", "9100"]).unwrap();
    assert!(bed.tend().waiting.is_some_and(|why| why.contains("MTU 9100")));
    bed.node.ip(&["link", "set", "veth-a", "address", "02:00:00:00:00:7a"]).unwrap();
    bed.node.address("veth-a", "10.9.0.2/24").unwrap();
    bed.tend();
    let server = serve::udp_echo(&bed.node, "10.9.0.2:7000".parse().unwrap()).unwrap();
    let ask = || probe::udp_echo(server.address(), Duration::from_millis(300));
    let answers = wait_until(PATIENCE, || bed.outside.run(ask).unwrap() == Probe::Open);
    assert!(answers, "the node's own address passes the gate");
}

#[test]
fn what_changes_while_an_interface_is_down_is_dealt_with_when_it_is_up() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("down");
    bed.open(|_| {}).unwrap();
    bed.node.down("veth-a").unwrap();
    bed.node.ip(&["link", "set", "veth-a", "address", "02:00:00:00:00:78"]).unwrap();
    assert_eq!(bed.tend().waiting, None);
    // Closing gives the frames back even so.
    bed.node.run(|| bed.ports.close("veth-a")).unwrap().unwrap();
    assert!(bed.has_all_frames());
    bed.node.up("veth-a").unwrap();
    bed.open(|_| {}).unwrap();
}

#[test]
fn a_port_in_generic_mode_says_why_after_it_has_healed_too() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("generic");
    bed.node.ip(&["link", "add", "br0", "type", "bridge"]).unwrap();
    bed.node.up("br0").unwrap();
    bed.open(|request| request.interface = "br0".into()).unwrap();
    let why = |bed: &Bed| {
        bed.node.run(|| bed.ports.tend()).unwrap();
        let facts = bed.ports.facts("br0").unwrap();
        (facts.gate_mode, facts.waiting, facts.why_generic.unwrap())
    };
    let (mode, waiting, before) = why(&bed);
    assert_eq!((mode, waiting), (GateMode::Generic, None));
    bed.node.ip(&["link", "set", "br0", "address", "02:00:00:00:00:79"]).unwrap();
    assert_eq!(why(&bed), (GateMode::Generic, None, before));
}

#[test]
fn a_link_that_goes_is_told_and_its_queues_stay() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("link");
    bed.open(|_| {}).unwrap();
    let troubles = || {
        bed.tend();
        bed.node.run(|| bed.ports.troubles()).unwrap()
    };
    assert_eq!(troubles(), []);
    let no_link = [("veth-a".to_owned(), "has no link".to_owned())];
    bed.outside.down("veth-b").unwrap();
    assert_eq!(troubles(), no_link);
    bed.outside.up("veth-b").unwrap();
    assert!(wait_until(PATIENCE, || troubles().is_empty()));
    bed.node.down("veth-a").unwrap();
    assert_eq!(troubles(), no_link);
    assert_eq!(bed.tend().queues.len(), 4);
    bed.node.up("veth-a").unwrap();
    assert!(wait_until(PATIENCE, || troubles().is_empty()));
}

#[test]
fn a_mode_that_is_demanded_is_had_or_the_port_refused() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new("demanded");
    let text = bed.open(|request| request.mode = PortMode::ZeroCopy).unwrap_err().to_string();
    assert!(text.contains("queue 0 of veth-a cannot do without copies"), "{text}");
    let text = bed.open(|request| request.workers = vec![0, 7]).unwrap_err().to_string();
    assert!(text.contains("port veth-a: there is no worker 7"), "{text}");
    // Nothing was left of either.
    bed.open(|request| request.mode = PortMode::Generic).unwrap();
    let facts = bed.tend();
    assert_eq!((facts.gate_mode, facts.why_generic), (GateMode::Generic, None));
    assert!(facts.queues.iter().all(|(_, it)| !it.zero_copy && it.why_copied.is_none()));
    bed.node.run(|| bed.ports.close("veth-a")).unwrap().unwrap();
    bed.open(|request| request.mode = PortMode::Copy).unwrap();
    assert_eq!(bed.tend().gate_mode, GateMode::Native);
}
