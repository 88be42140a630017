//! Captures of dropped frames, from a fake daemon behind the real API.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is how a failure is reported"
)]

mod common;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::fake::{DATAGRAM, Fake, MOMENT};
use common::{Run, sluicectl};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use serde_json::json;
use sluice_api::server::{Api, Listen, bind};
use tempfile::TempDir;

struct Daemon {
    directory: TempDir,
    runtime: tokio::runtime::Runtime,
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
        Self { directory, runtime }
    }

    /// A file's path, where nothing is yet.
    fn file(&self) -> PathBuf {
        self.directory.path().join("drops.pcapng")
    }

    fn words<'a>(&self, arguments: &[&'a str], socket: &'a str) -> Vec<&'a str> {
        [&["capture", "--socket", socket], arguments].concat()
    }

    fn socket(&self) -> String {
        self.directory.path().join("control.sock").to_str().unwrap().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Run {
        sluicectl(&self.words(arguments, &self.socket()), "")
    }

    /// Starts a capture that does not end by itself, and waits until two frames are in the file.
    fn watch(&self) -> Child {
        let file = self.file();
        let arguments = ["--drops", "--port", "slow", "-w", file.to_str().unwrap()];
        let mut child = Command::new(assert_cmd::cargo::cargo_bin!("sluicectl"))
            .args(self.words(&arguments, &self.socket()))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let patience = Instant::now() + Duration::from_secs(10);
        while packets(&std::fs::read(&file).unwrap_or_default()).len() < 2 {
            assert!(Instant::now() < patience, "waited in vain for two frames");
            assert!(child.try_wait().unwrap().is_none(), "it has ended");
            std::thread::sleep(Duration::from_millis(2));
        }
        child
    }
}

/// Length, bytes and comment of each packet.
fn packets(bytes: &[u8]) -> Vec<(u32, Vec<u8>, String)> {
    let mut packets = Vec::new();
    let Ok(mut reader) = PcapNgReader::new(bytes) else { return packets };
    while let Some(block) = reader.next_block() {
        let Block::EnhancedPacket(packet) = block.unwrap() else { continue };
        assert_eq!(packet.timestamp, MOMENT);
        let [EnhancedPacketOption::Comment(comment)] = packet.options.as_slice() else {
            panic!("{packet:?}");
        };
        packets.push((packet.original_len, packet.data.to_vec(), comment.to_string()));
    }
    packets
}

fn text_of(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn each_frame_is_a_line_and_no_name_steers_the_terminal() {
    let daemon = Daemon::start();
    let run = daemon.run(&["--drops", "--count", "2"]);
    assert_eq!(run.status, 0, "{run:?}");
    assert_eq!(
        run.stdout,
        "2023-11-14T22:13:20.123456789Z eth1 ingress_denied: UDP 10.0.0.1:4096 > 10.0.0.2:53, \
         42 bytes\n\
         2023-11-14T22:13:20.123456789Z v1\\u{1b}[2J\\u{a}health:    ok \
         v1\\u{1b}[2J\\u{a}health:    ok: UDP 10.0.0.1:4096 > 10.0.0.2:53, 9000 bytes\n"
    );
    assert_eq!(
        run.stderr,
        "capturing 2 dropped frames, for 60 s at most\n\
         2 frames captured, 5 missed; narrow it with --port or --reason\n"
    );
}

#[test]
fn each_frame_is_a_value_for_programs() {
    let daemon = Daemon::start();
    let run = daemon.run(&["--drops", "-c", "3", "-o", "json"]);
    assert_eq!(run.status, 0);
    let values = run.json_lines();
    assert_eq!(values.len(), 3);
    let data: String = DATAGRAM.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        values[0],
        json!({
            "time": "2023-11-14T22:13:20.123456789Z", "port": "eth1", "reason": "ingress_denied",
            "worker": 1, "len": 42, "data": data,
        })
    );
}

#[test]
fn a_file_holds_every_frame_and_replaces_the_one_before() {
    let daemon = Daemon::start();
    let file = daemon.file();
    std::fs::write(&file, "old").unwrap();
    let arguments = ["--drops", "-c", "150", "-s", "20", "-w", text_of(&file), "-o", "json"];
    let run = daemon.run(&arguments);
    assert_eq!(run.status, 0, "{run:?}");
    assert_eq!(run.json(), json!({"captured": 150, "missed": 5}));
    let packets = packets(&std::fs::read(&file).unwrap());
    assert_eq!(packets.len(), 150);
    assert_eq!(packets[0], (42, DATAGRAM[..20].to_vec(), "ingress_denied".to_owned()));
    assert_eq!(packets[1].2, "v1\\u{1b}[2J\\u{a}health:    ok");
}

#[test]
fn standard_output_takes_the_file_too() {
    let daemon = Daemon::start();
    let output = Command::new(assert_cmd::cargo::cargo_bin!("sluicectl"))
        .args(daemon.words(&["--drops", "-c", "4", "-w", "-"], &daemon.socket()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(packets(&output.stdout).len(), 4);
}

#[test]
fn what_the_daemon_refuses_leaves_the_file_alone() {
    let daemon = Daemon::start();
    let file = daemon.file();
    std::fs::write(&file, "old").unwrap();
    let run = daemon.run(&["--drops", "--port", "gone", "-w", text_of(&file)]);
    assert_eq!((run.status, run.stdout.as_str()), (1, ""));
    assert_eq!(run.stderr, "port gone: there is none of that name\n");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(std::fs::read_dir(daemon.directory.path()).unwrap().count(), 2, "and the socket");
}

#[test]
fn ctrl_c_ends_a_capture_and_its_file_is_whole() {
    let daemon = Daemon::start();
    for signal in ["INT", "TERM"] {
        let mut child = daemon.watch();
        let kill = format!("kill -{signal} {}", child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.contains("\n2 frames captured, 5 missed"), "{said}");
        assert_eq!(packets(&std::fs::read(daemon.file()).unwrap()).len(), 2);
        std::fs::remove_file(daemon.file()).unwrap();
    }
}

#[test]
fn a_daemon_that_dies_is_told_of_and_the_file_is_whole() {
    let daemon = Daemon::start();
    let mut child = daemon.watch();
    let Daemon { directory, runtime } = daemon;
    drop(runtime);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let lines: Vec<String> =
        BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap).collect();
    assert!(lines[1].starts_with("2 frames captured"), "{lines:?}");
    assert!(lines[2].contains("was lost"), "{lines:?}");
    let file = directory.path().join("drops.pcapng");
    assert_eq!(packets(&std::fs::read(file).unwrap()).len(), 2);
}

#[test]
fn captures_that_mean_nothing_have_status_2() {
    for (arguments, says) in [
        (&[][..], "error: only dropped frames can be captured; say so with --drops\n"),
        (&["--drops", "-w", "-", "-o", "json"], "error: -w - and -o json both want standard"),
        (&["--drops", "--reason", "denied"], "\"denied\" is no drop reason; want one of malform"),
        (&["--drops", "--count", "0"], "0 is not in 1..=1000000"),
        (&["--drops", "--count", "1000001"], "1000001 is not in 1..=1000000"),
        (&["--drops", "--snap-len", "65536"], "65536 is not in 1..=65535"),
        (&["--drops", "--duration", "3601"], "3601 is not in 1..=3600"),
    ] {
        let run = sluicectl(&[&["capture"], arguments].concat(), "");
        assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{arguments:?}: {run:?}");
        assert!(run.stderr.contains(says), "{arguments:?}: {run:?}");
    }
}
