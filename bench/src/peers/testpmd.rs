//! DPDK's testpmd as a forwarder: whatever one AF_XDP socket receives, the other sends. It looks at
//! nothing, so that what Sluice is below it is what judging costs.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::installed;
use crate::rig::{BenchError, Cable, FORWARD_CORE, Forwarder, Rig, SEND_CORE};

/// What it prints when packets flow.
const READY: &str = "Press enter to exit";
/// Processor seconds that it may take until it is killed.
const SECONDS_MAX: u32 = 60;
/// To let go of its sockets.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running testpmd; dropping it ends it.
pub(crate) struct Testpmd {
    child: Child,
    /// What it has to say when it ends, and would not end well without saying.
    stdout: Option<BufReader<ChildStdout>>,
    _directory: TempDir,
}

impl Testpmd {
    pub(crate) fn start(rig: &Rig) -> Result<Self, BenchError> {
        installed("dpdk-testpmd", "dpdk-dev")?;
        installed("prlimit", "util-linux")?;
        let directory = TempDir::new().map_err(BenchError::failed("a directory for testpmd"))?;
        let mut command = Command::new("prlimit");
        command
            .arg(format!("--cpu={SECONDS_MAX}"))
            // Otherwise its lines wait in its buffer.
            .args(["stdbuf", "-oL", "dpdk-testpmd"])
            // The first lcore does nothing but wait.
            .arg(format!("--lcores=0@{SEND_CORE},1@{FORWARD_CORE}"))
            .args(["--no-huge", "--no-pci", "--no-shconf", "--no-telemetry", "-m", "512"])
            .args(["--vdev=net_af_xdp0,iface=dut0", "--vdev=net_af_xdp1,iface=dut1"])
            .args(["--", "--forward-mode=io", "--no-mlockall", "--total-num-mbufs=16384"])
            .env("RUNTIME_DIRECTORY", directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = rig.forwarder.child(command)?;
        let stdout = child.stdout.take().map(BufReader::new);
        let mut peer = Self { child, stdout, _directory: directory };
        let mut last = String::new();
        for line in peer.stdout.iter_mut().flat_map(BufRead::lines) {
            last = line.map_err(BenchError::failed("testpmd"))?;
            if last.contains(READY) {
                return Ok(peer);
            }
        }
        Err(BenchError::Missing(format!("testpmd does not forward here: {last}")))
    }
}

impl Forwarder for Testpmd {
    fn next_hop(&self, cable: &Cable) -> [u8; 6] {
        cable.sink_mac()
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        let asked = self.child.stdin.take().map(|mut stdin| stdin.write_all(b"\n"));
        if !matches!(asked, Some(Ok(()))) || !self.ends() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

impl Testpmd {
    fn ends(&mut self) -> bool {
        sluice_lab::wait_until(PATIENCE, || matches!(self.child.try_wait(), Ok(Some(_))))
    }
}
