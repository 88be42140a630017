//! A stage of real veths: the gate and an AF_XDP socket at one end, a packet socket at the other.
//!
//! ```text
//!  namespace pods                     namespace node
//!  f-client  <------- veth ------->  client   gate -> AF_XDP -> engine
//!  f-server  <------- veth ------->  server   ...
//!  f-uplink  <------- veth ------->  uplink
//! ```
//!
//! No interface has an address and IPv6 is off, so that no kernel adds a frame of its own.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvfrom, send,
    setsockopt, socket, sockopt,
};
use sluice_core::table::Table;
use sluice_engine::Engine;
use sluice_engine::open::{PortMode, PortRequest, Ports};
use sluice_lab::{Lab, Namespace, VethOptions, wait_until};
use sluice_xdp::{
    Fallback, FramePool, Gate, GateConfig, GateRole, Interface, Queue, QueueConfig, Umem,
};

use crate::cast::PORTS;
use crate::stage::{Setting, Stage};

const PATIENCE: Duration = Duration::from_secs(10);

/// Four ports of pods, an uplink, and what two workers need under way.
const FRAMES: u32 = 4 * 512 + 2048 + 2 * 1024 + 512;

/// Room for what arrives between two looks.
const BUFFER_LEN: usize = 4 << 20;

/// `PACKET_OUTGOING` of packet(7): what was sent here.
const OUTGOING: u8 = 4;

pub(crate) struct VethStage {
    ports: Ports,
    wires: BTreeMap<&'static str, OwnedFd>,
    trunk: Option<Trunk>,
    node: Namespace,
    stories: u8,
    // Goes last: with it go the namespaces.
    _lab: Lab,
}

impl VethStage {
    pub(crate) fn new(setting: &Setting) -> Self {
        let lab = Lab::new("threats").unwrap();
        let (pods, node) = (lab.namespace("pods").unwrap(), lab.namespace("node").unwrap());
        for namespace in [&pods, &node] {
            for which in ["all", "default"] {
                namespace.sysctl(&format!("net.ipv6.conf.{which}.disable_ipv6"), "1").unwrap();
            }
        }
        for port in PORTS {
            let far = format!("f-{port}");
            lab.veth(&pods, &far, &node, port, &VethOptions::default()).unwrap();
        }
        let (umem, pool) = Umem::in_memory(FRAMES).unwrap();
        let allowed = core_affinity::get_core_ids().unwrap();
        let cores = allowed.into_iter().map(|core| core.id).take(2).collect();
        let engine = Engine::start(&setting.config(cores), umem, pool).unwrap();
        let pins = lab.bpffs().unwrap();
        let ports = Ports::new(Arc::new(engine), pins.clone());
        for port in PORTS {
            let request = PortRequest {
                interface: port.into(),
                kind: setting.kind(port),
                networks: setting.networks(port),
                priority_tags: setting.priority_tags,
                fallback: Fallback::Drop,
                node_addresses: Vec::new(),
                mode: PortMode::Auto,
                workers: Vec::new(),
            };
            node.run(|| ports.open(&request)).unwrap().unwrap();
        }
        let wires = PORTS.map(|port| (port, far_end(&pods, &format!("f-{port}"))));
        let trunk = setting.has_tenants.then(|| Trunk::new(&pods, "f-uplink", pins));
        let wires = BTreeMap::from(wires);
        Self { ports, wires, trunk, node, stories: 0, _lab: lab }
    }
}

/// A packet socket on an interface.
fn far_end(namespace: &Namespace, interface: &str) -> OwnedFd {
    let open = || {
        let address = getifaddrs()
            .unwrap()
            .find(|it| it.interface_name == interface && is_link(it.address))
            .and_then(|it| it.address?.as_link_addr().copied())
            .unwrap();
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).unwrap();
        bind(fd.as_raw_fd(), &address).unwrap();
        setsockopt(&fd, sockopt::RcvBufForce, &BUFFER_LEN).unwrap();
        fd
    };
    namespace.run(open).unwrap()
}

fn is_link(address: Option<nix::sys::socket::SockaddrStorage>) -> bool {
    address.is_some_and(|it| it.as_link_addr().is_some())
}

impl Stage for VethStage {
    fn engine(&self) -> &Engine {
        self.ports.engine()
    }

    fn send(&mut self, port: &str, frame: &[u8]) {
        send_on(&self.wires[port], frame);
    }

    fn settle(&mut self, rx_frames: u64) {
        let engine = self.engine();
        let received = wait_until(PATIENCE, || engine.totals().rx_frames >= rx_frames);
        assert!(received, "a frame does not reach the dataplane: {:?}", engine.totals());
        // Each census has every worker take a turn, and a frame changes workers thrice at most.
        for _ in 0..4 {
            engine.census().unwrap();
        }
    }

    fn receive(&mut self, port: &str, count: usize) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        // Too few are for the story to notice.
        let _ = wait_until(PATIENCE, || {
            match self.trunk.as_mut().filter(|_| port == "uplink") {
                Some(trunk) => trunk.drain(&mut frames),
                None => drain(&self.wires[port], &mut frames),
            }
            frames.len() >= count
        });
        frames
    }

    fn publish_amid(&mut self, table: Table, port: &str, frames: &[Vec<u8>]) {
        std::thread::scope(|scope| {
            let engine = self.ports.engine();
            let publisher = scope.spawn(|| engine.publish(table));
            for frame in frames {
                send_on(&self.wires[port], frame);
            }
            publisher.join().unwrap().unwrap();
        });
    }

    fn pass(&mut self, time: Duration) {
        // A sleeping worker looks for what has expired every 20 ms.
        std::thread::sleep(time + Duration::from_millis(100));
    }

    fn steered(&self, port: &str) -> Option<u64> {
        Some(self.ports.facts(port).unwrap().gate.steered)
    }

    fn shortest_frame(&self) -> usize {
        // A packet socket sends no less than a whole Ethernet header.
        14
    }

    fn next_story(&mut self) -> u8 {
        self.stories += 1;
        self.stories
    }
}

impl Drop for VethStage {
    fn drop(&mut self) {
        // The lab's own removal says what stays.
        let _ = self.node.run(|| self.ports.abandon());
    }
}

fn send_on(fd: &OwnedFd, frame: &[u8]) {
    let sent = send(fd.as_raw_fd(), frame, MsgFlags::empty()).unwrap();
    assert_eq!(sent, frame.len());
}

fn drain(fd: &OwnedFd, frames: &mut Vec<Vec<u8>>) {
    let mut buffer = vec![0; 4096];
    loop {
        match recvfrom::<LinkAddr>(fd.as_raw_fd(), &mut buffer) {
            Ok((_, Some(from))) if from.pkttype() == OUTGOING => {}
            Ok((len, _)) => frames.push(buffer[..len].to_vec()),
            Err(Errno::EAGAIN) => return,
            Err(error) => panic!("a far end fails: {error}"),
        }
    }
}

/// The far end of a wire whose frames have tags: a packet socket sees none, for the kernel takes
/// them off first. Here a socket of AF_XDP takes the frames.
struct Trunk {
    queue: Queue,
    pool: FramePool,
    _gate: Gate,
}

impl Trunk {
    fn new(namespace: &Namespace, interface: &str, pin_dir: PathBuf) -> Self {
        let (umem, mut pool) = Umem::in_memory(512).unwrap();
        let config = GateConfig {
            pin_dir,
            role: GateRole::Steer,
            fallback: Fallback::Drop,
            mode: None,
            node_addresses: Vec::new(),
            chains: false,
        };
        let open = || {
            let interface = Interface::open(interface).unwrap();
            let mut gate = Gate::attach(&interface, &config).unwrap();
            let config =
                QueueConfig { ring_size: 256, fill_frames_max: 128, ..QueueConfig::default() };
            let queue = Queue::bind(&umem, &interface, 0, &config).unwrap();
            gate.connect(0, &queue).unwrap();
            (gate, queue)
        };
        let (gate, mut queue) = namespace.run(open).unwrap();
        queue.refill(&mut pool);
        Self { queue, pool, _gate: gate }
    }

    fn drain(&mut self, frames: &mut Vec<Vec<u8>>) {
        let mut received = Vec::new();
        while self.queue.receive(&mut received, 64) > 0 {
            for frame in received.drain(..) {
                frames.push(frame.to_vec());
                self.pool.put(frame);
            }
            self.queue.refill(&mut self.pool);
        }
    }
}
