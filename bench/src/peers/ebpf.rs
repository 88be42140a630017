//! The kernel's BPF maps as a peer: the programs of bpf/peers.bpf.c, run over and over by
//! BPF_PROG_TEST_RUN. What a run costs without its look-ups is measured beside it and subtracted.

use std::net::Ipv4Addr;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData, MapError};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};

use crate::rig::BenchError;
use crate::stopwatch::Stopwatch;

static PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/peers.bpf.o"));

/// Entries of each map at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) connections: u32,
    pub(crate) prefixes: u32,
    pub(crate) policy: u32,
    /// A power of two.
    pub(crate) addresses: u32,
}

/// What a program draws from, and what it has found: `struct run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// The state of [`Numbers`](crate::numbers::Numbers), which is its seed at first.
    pub(crate) seed: u64,
    /// All answers, each times 31 to the number of those behind it.
    pub(crate) digest: u64,
    /// The next number of those that count on.
    pub(crate) next: u32,
    /// Connections, or pods and blocks together.
    pub(crate) count: u32,
    pub(crate) identities: u32,
}

const RUN_LEN: usize = 32;
const ALLOWED_LEN: usize = 12;

/// Loaded programs and their maps.
pub(crate) struct Programs {
    bpf: Ebpf,
    mask: u32,
}

impl Sizes {
    /// A map of one entry each.
    pub(crate) const NONE: Self = Self { connections: 1, prefixes: 1, policy: 1, addresses: 1 };
}

impl Run {
    /// The first of so many.
    pub(crate) fn of(count: u32) -> Self {
        Self { seed: 1, digest: 0, next: 0, count, identities: 1 }
    }
}

impl Programs {
    pub(crate) fn load(sizes: &Sizes) -> Result<Self, BenchError> {
        let mut loader = EbpfLoader::new();
        loader
            .map_max_entries("connections", sizes.connections)
            .map_max_entries("prefixes", sizes.prefixes)
            .map_max_entries("policy", sizes.policy)
            .map_max_entries("addresses", sizes.addresses);
        let mut bpf = loader.load(PROGRAMS).map_err(BenchError::failed("the eBPF programs"))?;
        for (name, program) in bpf.programs_mut() {
            let failed = |error| BenchError::Failed(format!("the eBPF program {name}: {error}"));
            let program: &mut Xdp = program.try_into().map_err(failed)?;
            program.load().map_err(failed)?;
        }
        Ok(Self { bpf, mask: sizes.addresses - 1 })
    }

    /// Opens the connections of the numbers below `count`.
    pub(crate) fn open(&mut self, count: u32) -> Result<(), BenchError> {
        self.set(Run::of(count))?;
        self.run("insert", count).map(drop)
    }

    pub(crate) fn set_prefixes(
        &mut self,
        prefixes: impl Iterator<Item = (Ipv4Addr, u8, u32)>,
    ) -> Result<(), BenchError> {
        let map = self.bpf.map_mut("prefixes").ok_or_else(no_map)?;
        let mut map: LpmTrie<&mut MapData, [u8; 4], u32> = map.try_into().map_err(map_failed)?;
        for (address, len, value) in prefixes {
            let key = Key::new(len.into(), address.octets());
            map.insert(&key, value, 0).map_err(map_failed)?;
        }
        Ok(())
    }

    /// Allows a source's identity to reach a destination's, by a protocol and port.
    pub(crate) fn set_policy(
        &mut self,
        allowed: impl Iterator<Item = (u32, u32, u8, u16)>,
    ) -> Result<(), BenchError> {
        let map = self.bpf.map_mut("policy").ok_or_else(no_map)?;
        let mut map: HashMap<&mut MapData, [u8; ALLOWED_LEN], u32> =
            map.try_into().map_err(map_failed)?;
        for (source, destination, protocol, port) in allowed {
            let mut key = [0; ALLOWED_LEN];
            let port = u32::from(protocol) << 16 | u32::from(port);
            fill(&mut key, [source, destination, port].into_iter().flat_map(u32::to_ne_bytes));
            map.insert(key, 1, 0).map_err(map_failed)?;
        }
        Ok(())
    }

    pub(crate) fn set_addresses(&mut self, addresses: &[Ipv4Addr]) -> Result<(), BenchError> {
        let map = self.bpf.map_mut("addresses").ok_or_else(no_map)?;
        let mut map: Array<&mut MapData, u32> = map.try_into().map_err(map_failed)?;
        for (place, address) in (0..).zip(addresses) {
            map.set(place, u32::from(*address), 0).map_err(map_failed)?;
        }
        Ok(())
    }

    pub(crate) fn set(&mut self, run: Run) -> Result<(), BenchError> {
        let mut record = [0; RUN_LEN];
        let numbers = [run.next, run.count, run.identities, self.mask];
        let head = [run.seed, run.digest].into_iter().flat_map(u64::to_ne_bytes);
        fill(&mut record, head.chain(numbers.into_iter().flat_map(u32::to_ne_bytes)));
        self.record()?.set(0, record, 0).map_err(map_failed)
    }

    /// All answers since the last [`Self::set`].
    pub(crate) fn digest(&mut self) -> Result<u64, BenchError> {
        let record = self.record()?.get(&0, 0).map_err(map_failed)?;
        let digest = record.get(8..16).and_then(|bytes| bytes.try_into().ok());
        Ok(digest.map(u64::from_ne_bytes).unwrap_or_default())
    }

    /// What `program` takes for a run above what `floor` takes, in nanoseconds: the mean of
    /// `repeat` runs.
    pub(crate) fn nanoseconds(
        &mut self,
        program: &str,
        floor: &str,
        repeat: u32,
    ) -> Result<f64, BenchError> {
        let floor = self.run(floor, repeat)?;
        let all = self.run(program, repeat)?;
        Ok((all - floor) * 1e9 / f64::from(repeat))
    }

    /// Runs a program so many times. Returns the seconds that it took.
    pub(crate) fn run(&mut self, program: &str, repeat: u32) -> Result<f64, BenchError> {
        let missing = || BenchError::Failed(format!("there is no eBPF program {program}"));
        let program: &mut Xdp = self
            .bpf
            .program_mut(program)
            .ok_or_else(missing)?
            .try_into()
            .map_err(BenchError::failed::<aya::programs::ProgramError>("an eBPF program"))?;
        // The shortest Ethernet frame, which no program reads.
        let frame = [0; 60];
        let options = TestRunOptions { data_in: Some(&frame), repeat, ..TestRunOptions::new() };
        let start = Stopwatch::start()?;
        program.test_run(options).map_err(BenchError::failed("running an eBPF program"))?;
        start.seconds()
    }

    fn record(&mut self) -> Result<Array<&mut MapData, [u8; RUN_LEN]>, BenchError> {
        self.bpf.map_mut("run").ok_or_else(no_map)?.try_into().map_err(map_failed)
    }
}

fn fill(record: &mut [u8], bytes: impl Iterator<Item = u8>) {
    for (byte, value) in record.iter_mut().zip(bytes) {
        *byte = value;
    }
}

fn no_map() -> BenchError {
    BenchError::Failed("the eBPF programs lack a map".to_owned())
}

fn map_failed(error: MapError) -> BenchError {
    BenchError::Failed(format!("an eBPF map: {error}"))
}
