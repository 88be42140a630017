//! The sink: bpf/sink.bpf.c at the end of the cable.

use std::ops::Sub;
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray};
use aya::programs::{ProgramError, Xdp, XdpMode};
use sluice_lab::Namespace;

use super::times::{BUCKETS, Times};
use crate::rig::BenchError;

static PROGRAM: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sink.bpf.o"));

/// Counts and drops all that arrives at an interface; dropping it lets the interface go.
pub(crate) struct Sink {
    _program: Ebpf,
    seen: PerCpuArray<MapData, [u64; BUCKETS + 2]>,
}

/// What has arrived of the load.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    /// Of stamped frames, which paced ones are.
    pub(crate) times: Times,
}

impl Sink {
    pub(crate) fn attach(namespace: &Namespace, interface: &str) -> Result<Self, BenchError> {
        let missing = || BenchError::Failed("the sink's program lacks a part".into());
        let mut bpf = Ebpf::load(PROGRAM).map_err(BenchError::failed("the sink's program"))?;
        let program: &mut Xdp = bpf
            .program_mut("sluice_sink")
            .ok_or_else(missing)?
            .try_into()
            .map_err(BenchError::failed::<ProgramError>("the sink's program"))?;
        namespace
            .run(|| {
                program.load()?;
                program.attach(interface, XdpMode::Driver).map(drop)
            })?
            .map_err(BenchError::failed::<ProgramError>("the sink's program"))?;
        let seen = bpf.take_map("seen").ok_or_else(missing)?;
        let seen = seen.try_into().map_err(BenchError::failed("the sink's map"))?;
        Ok(Self { _program: bpf, seen })
    }

    /// All that has arrived so far.
    pub(crate) fn seen(&self) -> Result<Seen, BenchError> {
        let values = self.seen.get(&0, 0).map_err(BenchError::failed("the sink's map"))?;
        let mut seen = Seen::default();
        for [frames, bytes, times @ ..] in values.iter() {
            seen.frames += frames;
            seen.bytes += bytes;
            seen.times.add(times);
        }
        Ok(seen)
    }

    /// Frames that have arrived.
    pub(crate) fn count(&self) -> Result<u64, BenchError> {
        Ok(self.seen()?.frames)
    }

    /// Frames a second that arrive during `time`.
    pub(crate) fn rate(&self, time: Duration) -> Result<f64, BenchError> {
        let (start, before) = (Instant::now(), self.count()?);
        std::thread::sleep(time);
        let after = self.count()?;
        Ok((after - before) as f64 / start.elapsed().as_secs_f64())
    }
}

impl Sub for Seen {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            frames: self.frames - earlier.frames,
            bytes: self.bytes - earlier.bytes,
            times: self.times - earlier.times,
        }
    }
}
