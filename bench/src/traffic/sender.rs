//! The sender: bpf/load.bpf.c on a core of its own.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{Array, MapData};
use aya::programs::{ProgramError, TestRun, TestRunAttrs, TestRunOptions, Xdp};
use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::Signal;
use sluice_lab::Namespace;
use sluice_xdp::Interface;

use super::shape::{Ends, LISTED_FLOWS_MAX, Plan, RECORD_LEN, Shape};
use crate::nice::renice;
use crate::rig::BenchError;

/// What to send, and how fast.
#[derive(Debug, Clone, Default)]
pub(crate) struct Load {
    pub(crate) shape: Shape,
    /// Frames a second; without it as many as the next veth takes.
    pub(crate) rate: Option<u32>,
    /// To send in all; without it until stopped.
    pub(crate) frames: Option<u64>,
    /// The flow whose turn is first.
    pub(crate) first_flow: u32,
    /// The sender's priority among those of its core, 0 to 19, the last: with 5 whoever shares it
    /// gets three quarters, with 19 all that they want.
    pub(crate) nice: i8,
    /// The flows by number, in place of all in turn; at most [`LISTED_FLOWS_MAX`].
    pub(crate) listed: Vec<u32>,
}

/// A sender at work; dropping it stops it.
pub(crate) struct Sender {
    progress: Array<MapData, [u8; PROGRESS_LEN]>,
    frames: u64,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicBool>,
    thread: Option<Thread>,
}

/// Stays until it is released, so that it can be sent a signal until it has said that it is done.
struct Thread {
    id: Pthread,
    handle: JoinHandle<Result<(), BenchError>>,
    release: mpsc::Sender<()>,
}

static PROGRAM: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/load.bpf.o"));

/// Runs of one system call. It sets itself up for some 20 ms, so there should be few.
const RUNS: u32 = 1 << 30;
/// Runs between which the kernel does what else is to be done on the core. Frames of a batch leave
/// together, so paced ones, whose time counts, come in small batches.
const BATCH: u32 = 64;
const PACED_BATCH: u32 = 8;

/// `struct progress` of the program.
const PROGRESS_LEN: usize = 32;
const SENT_AT: usize = 8;
const MISSED_AT: usize = 16;
const FLOW_AT: usize = 24;

const TICK: Duration = Duration::from_millis(1);

impl Sender {
    /// Starts sending from `interface` of `namespace`, on `core`.
    pub(crate) fn start(
        namespace: &Namespace,
        interface: &str,
        ends: &Ends,
        core: usize,
        load: &Load,
    ) -> Result<Self, BenchError> {
        let mut bpf = Ebpf::load(PROGRAM).map_err(BenchError::failed("the load program"))?;
        let frames = load.frames.unwrap_or(u64::MAX);
        let listed = u32::try_from(load.listed.len()).unwrap_or(u32::MAX);
        let plan = Plan {
            interval_ns: load.rate.map_or(0, |rate| 1_000_000_000 / u64::from(rate.max(1))),
            frames,
            flows: if listed == 0 { load.shape.flows } else { listed },
            listed,
        };
        let (template, record) = load.shape.record(ends, &plan)?;
        configure(&mut bpf, &record, &load.listed)?;
        begin_with(&mut bpf, load.first_flow)?;
        let progress = bpf.take_map("progress").ok_or_else(missing)?;
        let progress = progress.try_into().map_err(BenchError::failed("the load's progress"))?;
        install_signal()?;

        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (stopped, says_done) = (Arc::clone(&stop), Arc::clone(&done));
        let batch = if load.rate.is_some() { PACED_BATCH } else { BATCH };
        let (interface, nice) = (interface.to_owned(), load.nice);
        let ((tell_id, id), (release, released)) = (mpsc::channel(), mpsc::channel());
        let handle = namespace.spawn(move || {
            core_affinity::set_for_current(core_affinity::CoreId { id: core });
            if nice != 0 {
                renice(nice);
            }
            let _ = tell_id.send(pthread_self());
            let result = run(&mut bpf, &interface, &template, batch, &stopped);
            says_done.store(true, Relaxed);
            // Fails when the other end goes, which is what it waits for.
            let _: Result<(), _> = released.recv();
            result
        })?;
        let id = id.recv().map_err(BenchError::failed("the sender"))?;
        let thread = Some(Thread { id, handle, release });
        let sender = Self { progress, frames, stop, done, thread };
        // So that no clock runs while the kernel sets itself up.
        sender.wait_for(1)?;
        Ok(sender)
    }

    /// Frames that it has sent.
    fn sent(&self) -> Result<u64, BenchError> {
        self.counter(SENT_AT)
    }

    /// Frames of a paced load that were due while it was kept from sending, and were never sent.
    fn missed(&self) -> Result<u64, BenchError> {
        self.counter(MISSED_AT)
    }

    fn counter(&self, at: usize) -> Result<u64, BenchError> {
        let progress = self.progress.get(&0, 0).map_err(BenchError::failed("the progress"))?;
        let bytes = progress.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        Ok(bytes.map(u64::from_ne_bytes).unwrap_or_default())
    }

    /// Waits until as many frames as were asked for have been sent.
    pub(crate) fn wait(&self) -> Result<(), BenchError> {
        self.wait_for(self.frames)
    }

    fn wait_for(&self, frames: u64) -> Result<(), BenchError> {
        while self.sent()? < frames && !self.done.load(Relaxed) {
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    /// Stops it. Returns the frames that it has sent, and those that it missed.
    pub(crate) fn finish(mut self) -> Result<(u64, u64), BenchError> {
        self.halt()?;
        Ok((self.sent()?, self.missed()?))
    }

    fn halt(&mut self) -> Result<(), BenchError> {
        let Some(Thread { id, handle, release }) = self.thread.take() else { return Ok(()) };
        self.stop.store(true, Relaxed);
        // One that comes just before the system call is lost on it.
        while !self.done.load(Relaxed) && !handle.is_finished() {
            let _ = pthread_kill(id, Signal::SIGUSR1);
            std::thread::sleep(TICK);
        }
        drop(release);
        handle.join().map_err(|_| BenchError::Failed("the sender panicked".into()))?
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.halt();
    }
}

/// A signal that is caught interrupts the system call, and does nothing else.
fn install_signal() -> Result<(), BenchError> {
    static ONCE: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    let caught = ONCE.get_or_init(|| {
        let nothing = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGUSR1, nothing).is_ok()
    });
    if *caught { Ok(()) } else { Err(BenchError::Failed("SIGUSR1 cannot be caught".into())) }
}

fn missing() -> BenchError {
    BenchError::Failed("the load program lacks a part".into())
}

fn configure(bpf: &mut Ebpf, record: &[u8; RECORD_LEN], listed: &[u32]) -> Result<(), BenchError> {
    let failed = BenchError::failed::<aya::maps::MapError>("the load program's map");
    let mut map: Array<_, [u8; RECORD_LEN]> =
        bpf.map_mut("load").ok_or_else(missing)?.try_into().map_err(&failed)?;
    map.set(0, record, 0).map_err(&failed)?;
    let mut map: Array<_, u32> =
        bpf.map_mut("flows").ok_or_else(missing)?.try_into().map_err(&failed)?;
    for (place, flow) in (0..).zip(listed.iter().take(LISTED_FLOWS_MAX)) {
        map.set(place, flow, 0).map_err(&failed)?;
    }
    program(bpf)?.load().map_err(BenchError::failed("the load program"))
}

fn begin_with(bpf: &mut Ebpf, flow: u32) -> Result<(), BenchError> {
    let failed = BenchError::failed::<aya::maps::MapError>("the load's progress");
    let mut map: Array<_, [u8; PROGRESS_LEN]> =
        bpf.map_mut("progress").ok_or_else(missing)?.try_into().map_err(&failed)?;
    let mut progress = [0; PROGRESS_LEN];
    for (place, byte) in progress.iter_mut().skip(FLOW_AT).zip(flow.to_ne_bytes()) {
        *place = byte;
    }
    map.set(0, progress, 0).map_err(failed)
}

fn program(bpf: &mut Ebpf) -> Result<&mut Xdp, BenchError> {
    let program = bpf.program_mut("sluice_load").ok_or_else(missing)?;
    program.try_into().map_err(BenchError::failed::<ProgramError>("the load program"))
}

/// Has the kernel send until stopped.
fn run(
    bpf: &mut Ebpf,
    interface: &str,
    template: &[u8],
    batch: u32,
    stop: &AtomicBool,
) -> Result<(), BenchError> {
    let program = program(bpf)?;
    let interface = Interface::open(interface).map_err(BenchError::failed("the sender"))?;
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let end = u32::try_from(template.len()).unwrap_or(u32::MAX);
    let context: Vec<u8> =
        [0, end, 0, interface.index(), 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
    while !stop.load(Relaxed) {
        let options = TestRunOptions {
            data_in: Some(template),
            ctx_in: Some(&context),
            repeat: RUNS,
            attrs: TestRunAttrs::new().xdp_live_frames(batch),
            ..TestRunOptions::new()
        };
        match program.test_run(options) {
            Ok(_) => {}
            Err(ProgramError::SyscallError(error))
                if error.io_error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(BenchError::failed("running the load program")(error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;
    use crate::traffic::{Family, Sizes};

    const FLOWS: u32 = 70_000;

    fn ends(family: Family) -> Ends {
        let (source, destination) = match family {
            Family::V4 => (Ipv4Addr::new(10, 1, 0, 1).into(), Ipv4Addr::new(10, 2, 0, 1).into()),
            Family::V6 => {
                let address = |net| IpAddr::from(Ipv6Addr::new(0xfd00, net, 0, 0, 0, 0, 0, 1));
                (address(1), address(2))
            }
        };
        Ends { source_mac: [2; 6], destination_mac: [4; 6], source, destination }
    }

    /// Frames as the program writes them, over what receivers may have left in a page.
    fn frames(family: Family, sizes: Sizes, count: usize) -> Vec<Vec<u8>> {
        let mut bpf = Ebpf::load(PROGRAM).unwrap();
        let shape = Shape { family, sizes, flows: FLOWS };
        let plan = Plan { interval_ns: 0, frames: u64::MAX, flows: FLOWS, listed: 0 };
        let (mut template, record) = shape.record(&ends(family), &plan).unwrap();
        template[..54].fill(0xee);
        configure(&mut bpf, &record, &[]).unwrap();
        let program = program(&mut bpf).unwrap();
        let run = |_| {
            let mut out = vec![0; 2048];
            let options = TestRunOptions {
                data_in: Some(&template),
                data_out: Some(&mut out),
                repeat: 1,
                ..TestRunOptions::new()
            };
            let result = program.test_run(options).unwrap();
            assert_eq!(result.return_value, 3, "XDP_TX");
            out.truncate(result.data_size_out as usize);
            out
        };
        (0..count).map(run).collect()
    }

    #[test]
    fn frames_have_the_sizes_asked_for_and_right_checksums() {
        if !sluice_lab::root_or_skip() {
            return;
        }
        for family in [Family::V4, Family::V6] {
            for sizes in [Sizes::Of(64), Sizes::Of(128), Sizes::Of(1518), Sizes::Imix] {
                let frames = frames(family, sizes, 48);
                let mut bytes = 0;
                for frame in &frames {
                    bytes += frame.len();
                    is_whole(frame);
                }
                let shortest = if family == Family::V4 { 60 } else { 74 };
                let expected = match sizes {
                    Sizes::Of(64) => 48 * shortest,
                    Sizes::Of(size) => 48 * (usize::from(size) - 4),
                    Sizes::Imix => 4 * (7 * shortest + 4 * 566 + 1514),
                };
                assert_eq!(bytes, expected, "{family:?} {sizes:?}");
            }
        }
    }

    fn is_whole(frame: &[u8]) {
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let Some(TransportSlice::Udp(udp)) = packet.transport else { panic!("{packet:?}") };
        let header = udp.to_header();
        let expected = match packet.net.unwrap() {
            NetSlice::Ipv4(ip) => {
                let ip = ip.header().to_header();
                assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                header.calc_checksum_ipv4(&ip, udp.payload())
            }
            NetSlice::Ipv6(ip) => {
                header.calc_checksum_ipv6(&ip.header().to_header(), udp.payload())
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(header.checksum, expected.unwrap());
        assert_eq!(udp.payload().len() + 8, usize::from(header.length));
    }

    #[test]
    fn flows_take_turns_and_a_new_source_comes_when_ports_are_used_up() {
        if !sluice_lab::root_or_skip() {
            return;
        }
        let mut bpf = Ebpf::load(PROGRAM).unwrap();
        let plan = Plan { interval_ns: 0, frames: 4, flows: 32_769, listed: 0 };
        let (template, record) = Shape::default().record(&ends(Family::V4), &plan).unwrap();
        configure(&mut bpf, &record, &[]).unwrap();
        begin_with(&mut bpf, 32_766).unwrap();
        let program = program(&mut bpf).unwrap();
        let run = || {
            let mut out = vec![0; 2048];
            let options = TestRunOptions {
                data_in: Some(&template),
                data_out: Some(&mut out),
                repeat: 1,
                ..TestRunOptions::new()
            };
            let verdict = program.test_run(options).unwrap().return_value;
            (verdict, out[28..30].to_vec(), u16::from_be_bytes([out[34], out[35]]))
        };
        assert_eq!(run(), (3, vec![0, 1], 0xfffe));
        assert_eq!(run(), (3, vec![0, 1], 0xffff));
        assert_eq!(run(), (3, vec![0, 2], 0x8000));
        assert_eq!(run(), (3, vec![0, 1], 0x8000));
        assert_eq!(run().0, 1, "all have been sent: XDP_DROP");
    }

    #[test]
    fn a_stamped_frame_has_a_right_checksum() {
        if !sluice_lab::root_or_skip() {
            return;
        }
        let mut bpf = Ebpf::load(PROGRAM).unwrap();
        let plan = Plan { interval_ns: 7, frames: 1000, flows: 9, listed: 0 };
        let (template, record) = Shape::default().record(&ends(Family::V4), &plan).unwrap();
        configure(&mut bpf, &record, &[]).unwrap();
        let program = program(&mut bpf).unwrap();
        for _ in 0..100 {
            let mut out = vec![0; 2048];
            let options = TestRunOptions {
                data_in: Some(&template),
                data_out: Some(&mut out),
                repeat: 1,
                ..TestRunOptions::new()
            };
            let result = program.test_run(options).unwrap();
            assert_eq!(result.return_value, 3);
            out.truncate(result.data_size_out as usize);
            assert_ne!(out[42..50], [0; 8]);
            is_whole(&out);
        }
    }
}
