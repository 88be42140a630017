//! The load: a sender that repeats the frames of many flows, and a sink that counts.
//!
//! At full speed the sender is an XDP program that the kernel runs over and over with live
//! frames, which costs a tenth of what a forwarder costs; at a given rate it is an AF_XDP socket,
//! which can count. The sink is a gate without a socket: it counts and drops in the driver, the
//! cheapest end that a frame can have. So neither takes part in what is measured.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::Array;
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp};
use etherparse::PacketBuilder;
use sluice_lab::Namespace;
use sluice_xdp::{
    BATCH_LEN_MAX, Fallback, Frame, Gate, GateConfig, GateRole, Interface, Queue, QueueConfig,
    Umem, UmemConfig,
};

use crate::rig::BenchError;

/// The flows of a load: UDP with 18 bytes of payload, which makes the shortest Ethernet frame.
#[derive(Debug, Clone)]
pub(crate) struct Flows {
    pub(crate) source_mac: [u8; 6],
    pub(crate) destination_mac: [u8; 6],
    pub(crate) source: [u8; 4],
    pub(crate) destination: [u8; 4],
    /// Flows differ in their source port.
    pub(crate) count: u16,
}

const FIRST_SOURCE_PORT: u16 = 10_000;
pub(crate) const DESTINATION_PORT: u16 = 53;

impl Flows {
    pub(crate) fn frames(&self) -> Result<Vec<Vec<u8>>, BenchError> {
        (0..self.count)
            .map(|flow| {
                let mut frame = Vec::new();
                PacketBuilder::ethernet2(self.source_mac, self.destination_mac)
                    .ipv4(self.source, self.destination, 64)
                    .udp(FIRST_SOURCE_PORT + flow, DESTINATION_PORT)
                    .write(&mut frame, &[0; 18])
                    .map_err(BenchError::failed("building a frame"))?;
                Ok(frame)
            })
            .collect()
    }
}

/// A sender at work; dropping it stops it.
pub(crate) struct Sender {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64, BenchError>>>,
}

/// How much to send.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Load {
    /// As fast as the next veth takes it, until stopped.
    Full,
    /// So many frames at so many a second.
    Paced { frames: u64, rate: u32 },
}

impl Sender {
    /// Starts sending from `interface` of `namespace`, on `core`.
    pub(crate) fn start(
        namespace: &Namespace,
        interface: &str,
        flows: &Flows,
        core: usize,
        load: Load,
    ) -> Result<Self, BenchError> {
        let stop = Arc::new(AtomicBool::new(false));
        let templates = flows.frames()?;
        let (interface, stopped) = (interface.to_owned(), Arc::clone(&stop));
        let thread = namespace.spawn(move || {
            core_affinity::set_for_current(core_affinity::CoreId { id: core });
            match load {
                Load::Full => flood(&interface, &templates, &stopped),
                Load::Paced { frames, rate } => {
                    send(&interface, templates.into_iter().cycle().map(Ok), frames, rate)
                }
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Waits until a paced load has been sent, or stops a full one. Returns the frames sent.
    pub(crate) fn finish(mut self, load: Load) -> Result<u64, BenchError> {
        if matches!(load, Load::Full) {
            self.stop.store(true, Relaxed);
        }
        let thread = self.thread.take().ok_or(BenchError::Failed("the sender ran twice".into()))?;
        thread.join().map_err(|_| BenchError::Failed("the sender panicked".into()))?
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The compiled bpf/load.bpf.c.
static PROGRAM: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/load.bpf.o"));

/// Frames of one system call: it sets itself up for some 20 ms, and does not hear a stop, which is
/// seconds with a slow forwarder.
const FLOOD_LEN: u32 = 1_000_000;

/// Bytes of Ethernet, IPv4 and UDP headers, which the program writes.
const HEADER_LEN: usize = 42;

/// `struct load` of the program: the header, the first source port, the flows, two bytes reserved.
const RECORD_LEN: usize = HEADER_LEN + 6;

fn load_record(template: &[u8], flows: u16) -> [u8; RECORD_LEN] {
    let mut record = [0; RECORD_LEN];
    // One header serves many ports, so its UDP checksum, the last two bytes, is left out (RFC 768).
    let header = template.iter().copied().take(HEADER_LEN - 2).chain([0; 2]);
    let rest = [FIRST_SOURCE_PORT, flows].into_iter().flat_map(u16::to_ne_bytes);
    for (byte, value) in record.iter_mut().zip(header.chain(rest)) {
        *byte = value;
    }
    record
}

/// Lets the kernel send all flows in turn until stopped. Returns the frames tried.
fn flood(interface: &str, templates: &[Vec<u8>], stop: &AtomicBool) -> Result<u64, BenchError> {
    let template = templates.first().ok_or(BenchError::Failed("there is no flow".into()))?;
    let flows = u16::try_from(templates.len()).unwrap_or(u16::MAX);
    let record = load_record(template, flows);
    let failed = BenchError::failed::<aya::EbpfError>("the load program");
    let mut bpf = Ebpf::load(PROGRAM).map_err(failed)?;
    let missing = || BenchError::Failed("the load program lacks its map".into());
    let mut map: Array<_, [u8; RECORD_LEN]> =
        Array::try_from(bpf.map_mut("load").ok_or_else(missing)?)
            .map_err(BenchError::failed("the load program's map"))?;
    map.set(0, record, 0).map_err(BenchError::failed("the load program's map"))?;
    let program: &mut Xdp = bpf
        .program_mut("sluice_load")
        .ok_or_else(missing)?
        .try_into()
        .map_err(BenchError::failed::<aya::programs::ProgramError>("the load program"))?;
    program.load().map_err(BenchError::failed("the load program"))?;
    let interface = Interface::open(interface).map_err(BenchError::failed("the sender"))?;
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let end = u32::try_from(template.len()).unwrap_or(u32::MAX);
    let context: Vec<u8> =
        [0, end, 0, interface.index(), 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
    let mut sent = 0;
    while !stop.load(Relaxed) {
        let options = TestRunOptions {
            data_in: Some(template),
            ctx_in: Some(&context),
            repeat: FLOOD_LEN,
            attrs: TestRunAttrs::new().xdp_live_frames(64),
            ..TestRunOptions::new()
        };
        program.test_run(options).map_err(BenchError::failed("running the load program"))?;
        sent += u64::from(FLOOD_LEN);
    }
    Ok(sent)
}

/// Sends so many frames at so many a second.
pub(crate) fn send(
    interface: &str,
    mut templates: impl Iterator<Item = Result<Vec<u8>, BenchError>>,
    frames: u64,
    rate: u32,
) -> Result<u64, BenchError> {
    let (umem, mut pool) = Umem::new(&UmemConfig { frame_count: 2048, huge_pages: false })
        .map_err(BenchError::failed("the sender's memory"))?;
    let interface = Interface::open(interface).map_err(BenchError::failed("the sender"))?;
    let mut queue = Queue::bind(&umem, &interface, 0, &QueueConfig::default())
        .map_err(BenchError::failed("the sender's socket"))?;
    let mut batch: Vec<Frame> = Vec::with_capacity(BATCH_LEN_MAX);
    let interval = Duration::from_secs_f64(BATCH_LEN_MAX as f64 / f64::from(rate));
    let mut next = Instant::now();
    let mut sent = 0;
    while sent < frames {
        // A batch that is late is not made up for: that would be another, higher rate.
        while Instant::now() < next {
            std::hint::spin_loop();
        }
        next = (next + interval).max(Instant::now());
        let want = usize::try_from(frames - sent).unwrap_or(BATCH_LEN_MAX).min(BATCH_LEN_MAX);
        while batch.len() < want {
            let (Some(mut frame), Some(template)) = (pool.take(), templates.next()) else { break };
            if !frame.copy_from(&template?) {
                return Err(BenchError::Failed("a frame does not fit into a frame".into()));
            }
            batch.push(frame);
        }
        sent += queue.send(&mut batch) as u64;
        queue.kick().map_err(BenchError::failed("sending"))?;
        queue.complete(&mut pool);
    }
    queue.close(&mut pool);
    Ok(sent)
}

/// Counts and drops all that arrives at an interface.
pub(crate) struct Sink {
    gate: Option<Gate>,
    namespace: Namespace,
}

impl Sink {
    pub(crate) fn attach(
        namespace: &Namespace,
        interface: &str,
        pin_dir: &Path,
    ) -> Result<Self, BenchError> {
        let gate = namespace.run(|| {
            let interface = Interface::open(interface).map_err(BenchError::failed("the sink"))?;
            let config = GateConfig {
                pin_dir: pin_dir.to_owned(),
                role: GateRole::Steer,
                fallback: Fallback::Drop,
                mode: None,
                node_addresses: Vec::new(),
                chains: false,
            };
            Gate::attach(&interface, &config).map_err(BenchError::failed("the sink's gate"))
        })??;
        Ok(Self { gate: Some(gate), namespace: namespace.clone() })
    }

    /// Frames that have arrived.
    pub(crate) fn count(&self) -> Result<u64, BenchError> {
        let gate = self.gate.as_ref().ok_or(BenchError::Failed("the sink is closed".into()))?;
        let counters = gate.counters().map_err(BenchError::failed("the sink's counters"))?;
        Ok(counters.fallback_dropped)
    }

    /// Frames a second that arrive during `time`.
    pub(crate) fn rate(&self, time: Duration) -> Result<f64, BenchError> {
        let (start, before) = (Instant::now(), self.count()?);
        std::thread::sleep(time);
        let after = self.count()?;
        Ok((after - before) as f64 / start.elapsed().as_secs_f64())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            let _ = self.namespace.run(|| gate.detach());
        }
    }
}
