//! DPDK's libraries as peers: peers/dpdk.c, compiled when it is wanted and run as a process of its
//! own, which answers a line with a line. It takes ordinary memory and no device.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use super::installed;
use crate::rig::BenchError;

/// Not `dpdk`, which it calls its own directory.
const EXECUTABLE: &str = "peer";
static SOURCE: &str = include_str!("../../peers/dpdk.c");

/// Processor seconds that a peer may take until it is killed.
const SECONDS_MAX: u32 = 600;

/// The compiled program, and what it is to read.
pub(crate) struct Program(TempDir);

/// A running peer.
pub(crate) struct Dpdk {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    bytes: f64,
    _program: Program,
}

impl Program {
    pub(crate) fn compile() -> Result<Self, BenchError> {
        for (program, package) in
            [("cc", "gcc"), ("pkg-config", "pkg-config"), ("prlimit", "util-linux")]
        {
            installed(program, package)?;
        }
        let directory = TempDir::new().map_err(BenchError::failed("a directory for DPDK"))?;
        let program = Self(directory);
        let source = program.file("dpdk.c", SOURCE.as_bytes())?;
        let flags = |what| {
            let output = Command::new("pkg-config").args([what, "libdpdk"]).output();
            let output = output.map_err(BenchError::failed("pkg-config"))?;
            if !output.status.success() {
                let missing = "there is no libdpdk: install dpdk-dev";
                return Err(BenchError::Missing(missing.to_owned()));
            }
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            Ok(text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        };
        let output = Command::new("cc")
            .args(["-O3", "-march=native", "-w"])
            .args(flags("--cflags")?)
            .arg(source)
            .arg("-o")
            .arg(program.0.path().join(EXECUTABLE))
            .args(flags("--libs")?)
            .output()
            .map_err(BenchError::failed("cc"))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(BenchError::Missing(format!("DPDK's peer does not compile: {text}")));
        }
        Ok(program)
    }

    /// Writes a file for the program to read.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, BenchError> {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).map_err(BenchError::failed("a file for DPDK"))?;
        Ok(path)
    }

    /// Starts it with so much memory, and waits until its table is built.
    pub(crate) fn start(
        self,
        mib: u32,
        kind: &str,
        arguments: [&str; 2],
    ) -> Result<Dpdk, BenchError> {
        let core =
            if std::thread::available_parallelism().map_or(1, usize::from) > 1 { "1" } else { "0" };
        let mut child = Command::new("prlimit")
            .arg(format!("--cpu={SECONDS_MAX}"))
            .arg(self.0.path().join(EXECUTABLE))
            .args(["--no-huge", "--no-pci", "--no-shconf", "--no-telemetry"])
            .args(["--log-level=error", "--force-max-simd-bitwidth=512", "-l", core])
            .args(["-m", &mib.to_string(), "--", kind])
            .args(arguments)
            // Where it would keep its files, which would otherwise be the system's /var/run.
            .env("RUNTIME_DIRECTORY", self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(BenchError::failed("DPDK's peer"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stdout = stdout.ok_or_else(|| BenchError::Failed("DPDK's peer is mute".to_owned()))?;
        let stdout = BufReader::new(stdout);
        let mut peer = Dpdk { child, stdin, stdout, bytes: 0.0, _program: self };
        let line = peer.line()?;
        peer.bytes = built(&line)?.1;
        Ok(peer)
    }
}

impl Dpdk {
    /// Has the table built once more. Returns the milliseconds that it took.
    pub(crate) fn build(&mut self) -> Result<f64, BenchError> {
        built(&self.ask("build")?).map(|(took, _)| took)
    }

    /// The mebibytes that the table takes of DPDK's memory.
    pub(crate) fn mib(&self) -> f64 {
        self.bytes / f64::from(1 << 20)
    }

    /// Runs so many slices. Returns the nanoseconds that an item took, and the digest of the
    /// answers.
    pub(crate) fn run(&mut self, slices: usize) -> Result<(f64, u64), BenchError> {
        let line = self.ask(&slices.to_string())?;
        let (took, digest) = line.split_once(' ').unwrap_or((&line, ""));
        Ok((number(took)?, digest.trim().parse().map_err(BenchError::failed("DPDK's digest"))?))
    }

    fn ask(&mut self, question: &str) -> Result<String, BenchError> {
        let mut text = String::new();
        let _ = writeln!(text, "{question}");
        let stdin = self.stdin.as_mut();
        let stdin = stdin.ok_or_else(|| BenchError::Failed("DPDK's peer is deaf".to_owned()))?;
        let sent = stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush());
        sent.map_err(BenchError::failed("asking DPDK's peer"))?;
        self.line()
    }

    fn line(&mut self) -> Result<String, BenchError> {
        let mut line = String::new();
        let len = self.stdout.read_line(&mut line);
        match len.map_err(BenchError::failed("DPDK's peer"))? {
            0 => Err(BenchError::Failed("DPDK's peer has ended: see above".to_owned())),
            _ => Ok(line.trim().to_owned()),
        }
    }
}

impl Drop for Dpdk {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The milliseconds that a table took to build, and its bytes.
fn built(line: &str) -> Result<(f64, f64), BenchError> {
    let (took, bytes) = line.split_once(' ').unwrap_or((line, ""));
    Ok((number(took)?, number(bytes)?))
}

fn number(text: &str) -> Result<f64, BenchError> {
    text.parse().map_err(BenchError::failed("what DPDK's peer says"))
}
