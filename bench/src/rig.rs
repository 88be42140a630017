//! The rig: senders, a forwarder and sinks, each in a namespace of its own.
//!
//! ```text
//!  gen: gen0 ---- dut0 :dut: dut1 ---- sink0 :sink      a cable; a rig may have two
//! ```
//!
//! The forwarder is Sluice, the kernel with nftables, testpmd or Open vSwitch, on the same veths,
//! under the same load. On a veth the receiving side runs on the core that sends: the kernel
//! forwards there, and for Sluice the gate runs there while its worker has the other core. The
//! load itself costs a tenth of a forwarder. A core of its own for the kernel's receive side
//! (threaded NAPI) was tried and made the kernel slower, so it is measured without.

mod cable;
mod kernel;
mod setup;
mod sluice;

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub(crate) use cable::Cable;
pub(crate) use kernel::Kernel;
pub(crate) use setup::{Setup, rule_set};
pub(crate) use sluice::Sluice;
use sluice_lab::{Lab, Namespace};

use crate::traffic::{Load, Seen};

/// The core that forwards.
pub(crate) const FORWARD_CORE: usize = 0;
/// The core that sends.
pub(crate) const SEND_CORE: usize = 1;

/// Cables at most.
const CABLES_MAX: u8 = 2;
/// For frames that are under way when the sender stops.
const LATE: Duration = Duration::from_millis(100);

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
    pub(crate) forwarder: Namespace,
    cables: Vec<Cable>,
}

/// A forwarder at work; dropping it ends it.
pub(crate) trait Forwarder {
    /// The MAC that the frames of a cable's sender go to.
    fn next_hop(&self, cable: &Cable) -> [u8; 6];

    /// What it says it has done, in a line, where it says so.
    fn account(&self) -> String {
        "it keeps no account".to_owned()
    }
}

/// What became of a load.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// Frames that the sender sent.
    pub(crate) sent: u64,
    /// Frames that were due while the sender was kept from sending, and were never sent.
    pub(crate) missed: u64,
    /// What the sink saw of them.
    pub(crate) seen: Seen,
    /// From the first frame to the last, in seconds.
    pub(crate) seconds: f64,
}

impl Rig {
    /// One with one cable.
    pub(crate) fn new() -> Result<Self, BenchError> {
        Self::with_cables(1)
    }

    pub(crate) fn with_cables(count: u8) -> Result<Self, BenchError> {
        let lab = Lab::new("bench")?;
        let forwarder = quiet(&lab, "dut")?;
        let cables = (0..count.min(CABLES_MAX)).map(|number| Cable::lay(&lab, &forwarder, number));
        let cables = cables.collect::<Result<_, _>>()?;
        Ok(Self { lab, forwarder, cables })
    }

    /// The first cable, which is always there.
    pub(crate) fn cable(&self) -> Result<&Cable, BenchError> {
        self.cables.first().ok_or_else(|| BenchError::Failed("a rig without a cable".into()))
    }

    pub(crate) fn cables(&self) -> &[Cable] {
        &self.cables
    }

    fn bpffs(&self) -> Result<PathBuf, BenchError> {
        Ok(self.lab.bpffs()?)
    }

    /// Frames a second that reach the sink while the sender sends all that it can.
    pub(crate) fn throughput(
        &self,
        forwarder: &dyn Forwarder,
        load: &Load,
        time: Duration,
    ) -> Result<f64, BenchError> {
        let cable = self.cable()?;
        let sender = cable.start(forwarder, load, SEND_CORE)?;
        // Connections are opened and caches filled before the clock starts.
        cable.sink.rate(time / 4)?;
        let rate = cable.sink.rate(time)?;
        let (sent, _) = sender.finish()?;
        if rate == 0.0 {
            let text = format!("of {sent} frames none was forwarded: {}", forwarder.account());
            return Err(BenchError::Failed(text));
        }
        Ok(rate)
    }

    /// Sends for so long, and waits for what is under way then.
    pub(crate) fn offer(
        &self,
        forwarder: &dyn Forwarder,
        load: &Load,
        time: Duration,
    ) -> Result<Outcome, BenchError> {
        let cable = self.cable()?;
        let before = cable.sink.seen()?;
        let sender = cable.start(forwarder, load, SEND_CORE)?;
        let start = Instant::now();
        if load.frames.is_some() {
            sender.wait()?
        } else {
            std::thread::sleep(time)
        }
        let seconds = start.elapsed().as_secs_f64();
        let (sent, missed) = sender.finish()?;
        // Duplicates, if there are any, come right behind.
        std::thread::sleep(LATE);
        Ok(Outcome { sent, missed, seen: cable.sink.seen()? - before, seconds })
    }
}

/// A namespace in which nobody but the sender has anything to say, so that counts are exact.
fn quiet(lab: &Lab, name: &str) -> Result<Namespace, BenchError> {
    let namespace = lab.namespace(name)?;
    for scope in ["all", "default"] {
        namespace.sysctl(&format!("net.ipv6.conf.{scope}.disable_ipv6"), "1")?;
    }
    Ok(namespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::{Family, Shape, Sizes};

    /// Fewer than a ring holds, so that none is lost however busy the machine is.
    const FRAMES: u64 = 240;
    const FLOWS: u32 = 32_770;

    fn all_arrive(rig: &Rig, forwarder: &dyn Forwarder) {
        for (family, shortest) in [(Family::V4, 60), (Family::V6, 74)] {
            let shape = Shape { family, sizes: Sizes::Imix, flows: FLOWS };
            // From the last flows of the first source on to the second.
            let load = Load {
                shape,
                rate: Some(20_000),
                frames: Some(FRAMES),
                first_flow: FLOWS - 10,
                ..Load::default()
            };
            let outcome = rig.offer(forwarder, &load, Duration::ZERO).unwrap();
            assert_eq!((outcome.sent, outcome.seen.frames), (FRAMES, FRAMES), "{family:?}");
            let cycle = 7 * shortest + 4 * 566 + 1514;
            assert_eq!(outcome.seen.bytes, FRAMES / 12 * cycle, "{family:?}");
            assert_eq!(outcome.seen.times.count(), FRAMES, "every frame has its time");
        }
    }

    #[test]
    fn a_load_passes_sluice_and_its_sink_counts_it() {
        if !sluice_lab::root_or_skip() {
            return;
        }
        let rig = Rig::new().unwrap();
        let setup = Setup { flows: FLOWS, ..Setup::default() };
        let sluice = Sluice::start(&rig, &setup).unwrap();
        all_arrive(&rig, &sluice);
        assert_eq!(sluice.arrived().unwrap(), 2 * FRAMES);
    }

    #[test]
    fn a_load_passes_the_kernel() {
        if !sluice_lab::root_or_skip() {
            return;
        }
        let rig = Rig::new().unwrap();
        match Kernel::start(&rig, &Setup { flows: FLOWS, ..Setup::default() }) {
            Ok(kernel) => all_arrive(&rig, &kernel),
            Err(BenchError::Missing(why)) => eprintln!("skipped: {why}"),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn what_no_policy_admits_does_not_arrive() {
        if !sluice_lab::root_or_skip() {
            return;
        }
        let rig = Rig::new().unwrap();
        // Room for one source in the rules, and a load from the second.
        let sluice = Sluice::start(&rig, &Setup::default()).unwrap();
        let shape = Shape { flows: FLOWS, ..Shape::default() };
        let load = Load {
            shape,
            rate: Some(20_000),
            frames: Some(2),
            first_flow: FLOWS - 2,
            ..Load::default()
        };
        let outcome = rig.offer(&sluice, &load, Duration::ZERO).unwrap();
        assert_eq!((outcome.sent, outcome.seen.frames), (2, 0), "{}", sluice.account());
    }
}
