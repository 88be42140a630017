//! `top`, from a fake daemon behind the real API: as text, as JSON, and on a terminal.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is how a failure is reported"
)]

mod common;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::fake::Fake;
use common::{Run, sluicectl};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::{Termios, tcgetattr};
use serde_json::json;
use sluice_api::server::{Api, Listen, bind};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

struct Daemon {
    directory: TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Daemon {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listen = Listen::Unix(directory.path().join("control.sock"));
        let bound = runtime.block_on(bind(&listen)).unwrap();
        runtime.spawn(async move {
            let api = Api::new(Arc::new(Fake::default())).await;
            api.serve(bound, std::future::pending()).await.unwrap();
        });
        Self { directory, _runtime: runtime }
    }

    fn words<'a>(&self, arguments: &[&'a str], socket: &'a str) -> Vec<&'a str> {
        [&["top", "--interval", "0.1", "--socket", socket], arguments].concat()
    }

    fn socket(&self) -> String {
        self.directory.path().join("control.sock").to_str().unwrap().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Run {
        sluicectl(&self.words(arguments, &self.socket()), "")
    }
}

#[test]
fn without_a_terminal_each_report_is_printed_below_the_last() {
    let run = Daemon::start().run(&["-n", "2"]);
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));
    let expected = "\
revision 0, 24 connections, over 2.00 s, health: ok

WORKER  CORE  BUSY  RX/S  RX BIT/S  TX/S  TX BIT/S  DROPS/S  FRAMES/TURN  CONNECTIONS  REVISION
0          2    0%     0         0     0         0        0            -           12         0
1          3   25%     0         0     0         0        0            5           12         0

CYCLES/FRAME  PARSE  V1\\u{1b}[2J\\u{a}HEALTH:    OK  ALL  MEASURED FRAMES
worker 1        100                             20  120                4
all workers     100                             20  120                4

DROPPED FOR     DROPS/S
ingress_denied     1.50

PORT       RX/S  RX BIT/S  TX/S  TX BIT/S  DROPS/S
all ports     5     4.00k  3.50     2.80k     1.50
eth1          5     4.00k  3.50     2.80k     1.50

";
    assert_eq!(run.stdout, expected.repeat(2));
}

#[test]
fn json_has_an_object_a_line_for_each_report() {
    let run = Daemon::start().run(&["-n", "3", "-o", "json"]);
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));
    let lines = run.json_lines();
    assert_eq!(lines.len(), 3);
    for report in lines {
        assert!(report["time"].as_str().unwrap().ends_with('Z'), "{report}");
        assert_eq!((&report["seconds"], &report["cycle_unit"]), (&json!(2.0), &json!("cycles")));
        let (rx, tx) = (&report["rx_frames_per_second"], &report["tx_bits_per_second"]);
        assert_eq!((rx, tx), (&json!(5.0), &json!(2800.0)));
        let drops = json!([{"reason": "ingress_denied", "frames_per_second": 1.5}]);
        assert_eq!(report["drops"], drops);
        let worker = &report["workers"][1];
        assert_eq!((&worker["core"], &worker["busy"]), (&json!(3), &json!(0.25)));
        let stage = json!({"stage": "parse", "frames": 4, "cycles_per_frame": 100.0,
            "cycles_each": 100.0});
        assert_eq!(worker["stages"][0], stage);
        assert_eq!(report["ports"][0]["port"], "eth1");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let run = sluicectl(&["top", "-n", "0"], "");
    assert_eq!(run.status, 2, "{run:?}");
    assert!(run.stderr.contains("0 is not in 1.."), "{run:?}");
    let run = sluicectl(&["top", "--interval", "0"], "");
    assert_eq!(run.status, 2, "{run:?}");
    assert!(run.stderr.contains("want 0.1 to 3600"), "{run:?}");
    let run = sluicectl(&["top", "--socket", "/nonexistent"], "");
    assert_eq!((run.status, run.stdout.as_str()), (1, ""), "{run:?}");
}

/// `sluicectl` on a terminal of its own.
struct Terminal {
    master: File,
    slave: File,
    before: Termios,
    child: Child,
    shown: Vec<u8>,
    chunks: Receiver<Vec<u8>>,
}

impl Terminal {
    fn start(arguments: &[&str]) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 60, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
        let (master, slave) = (File::from(master), File::from(slave));
        let before = tcgetattr(&slave).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        // The terminal is to be the one that it belongs to, not the one that the test runs on.
        let child = Command::new("setsid")
            .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_sluicectl")])
            .args(arguments)
            .env("TERM", "xterm")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let (sender, chunks) = channel();
        let mut reader = master.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { master, slave, before, child, shown: Vec::new(), chunks }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown).into_owned()
    }

    /// Waits until this has been shown.
    fn await_text(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.shown().contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.chunks.recv_timeout(left) {
                Ok(chunk) => self.shown.extend(chunk),
                Err(_) => panic!("want {text:?} in {:?}", self.shown()),
            }
        }
    }

    /// Waits for the end, and checks that the terminal is as it was.
    fn await_end(mut self) {
        self.await_text(LEAVE);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {:?}", self.shown());
        let after = tcgetattr(&self.slave).unwrap();
        assert_eq!(after.local_flags, self.before.local_flags, "echo and lines");
        assert_eq!(after.input_flags, self.before.input_flags);
        assert_eq!(after.output_flags, self.before.output_flags);
        let shown = self.shown();
        let last = |text: &str| shown.rfind(text).unwrap_or_else(|| panic!("{text:?}: {shown:?}"));
        assert!(last(SHOW_CURSOR) > last(HIDE_CURSOR), "{shown:?}");
        assert!(last(LEAVE) > last(ENTER), "{shown:?}");
        assert!(last(WRAP) > last(ENTER), "{shown:?}");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";
const HIDE_CURSOR: &str = "\u{1b}[?25l";
const SHOW_CURSOR: &str = "\u{1b}[?25h";
const WRAP: &str = "\u{1b}[?7h";

#[test]
fn whatever_ends_it_the_terminal_is_left_as_it_was() {
    let daemon = Daemon::start();
    let socket = daemon.socket();
    for key in [b"q", b"\x03", b"\x1b"] {
        let mut terminal = Terminal::start(&daemon.words(&[], &socket));
        terminal.await_text("all workers");
        terminal.master.write_all(key).unwrap();
        terminal.await_end();
    }
    Terminal::start(&daemon.words(&["-n", "2"], &socket)).await_end();
}

#[test]
fn a_line_is_no_longer_than_the_terminal_is_wide() {
    let daemon = Daemon::start();
    let socket = daemon.socket();
    let mut terminal = Terminal::start(&daemon.words(&[], &socket));
    terminal.await_text("all ports");
    assert!(terminal.shown().contains("TX BIT/S"), "{}", terminal.shown());
    assert!(!terminal.shown().contains("REVISION"), "{}", terminal.shown());
    terminal.master.write_all(b"q").unwrap();
    terminal.await_end();
}
