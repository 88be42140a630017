//! NICs that change while Sluice runs on them.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use serde_json::Value;
use sluice_lab::probe::tcp_connect;
use sluice_lab::{Namespace, serve, wait_until};

use super::driver::{Mode, SILENCE, every_frame_is_counted, opens, policies_hold, runs_in};
use crate::daemon::{ask, port};
use crate::stage::{IGB, Nic, PATIENCE, Setup, Stage, WEB, address};
use crate::traffic::Sink;

/// `ethtool -L` under a running daemon: noticed, every queue has its socket, and what policy denies never passes.
pub(crate) fn queues_that_are_added_get_sockets() {
    let mut stage = Stage::build(&Setup::on(IGB));
    ethtool(&stage.node, &["-L", "up0", "combined", "1"]);
    stage.start_daemon();
    runs_in(&port("up0"), IGB, 1, Mode::ZeroCopy);
    policies_hold(&stage);

    let denied = Sink::listen(&stage.web, address(WEB[0], 54));
    let knocking = Knocking::at(&stage.outside, &denied);
    ethtool(&stage.node, &["-L", "up0", "combined", "2"]);
    let healed = || {
        let uplink = port("up0");
        uplink["waiting"].is_null() && uplink["queues"].as_array().is_some_and(|it| it.len() == 2)
    };
    assert!(wait_until(PATIENCE, healed), "{:#}", port("up0"));
    stage.wait_for_carrier();
    knocking.stop();
    runs_in(&port("up0"), IGB, 2, Mode::ZeroCopy);
    assert_eq!(denied.received(), 0, "what is denied came through");
    drop(denied);
    policies_hold(&stage);
    every_frame_is_counted(&stage, 2);
}

/// An administrator who takes the link down is told of in the daemon's health, and the port works when it is up again.
pub(crate) fn a_link_that_was_down_carries_again(nic: Nic) {
    let stage = Stage::start(&Setup::on(nic));
    policies_hold(&stage);
    assert_eq!(health(), "ok");
    for _ in 0..2 {
        stage.node.down("up0").unwrap();
        assert!(wait_until(PATIENCE, || health().contains("up0")), "{}", health());
        println!("{}", health());
        let _server = serve::tcp_echo(&stage.web, address("::", 443)).unwrap();
        let seen = stage.outside.run(|| tcp_connect(address(WEB[0], 443), SILENCE)).unwrap();
        assert!(!seen.is_open(), "{seen:?}");
        stage.node.up("up0").unwrap();
        stage.wait_for_carrier();
        assert!(wait_until(PATIENCE, || health() == "ok"), "{}", health());
        opens(&stage.outside, "TCP 443", WEB[0], || tcp_connect(address(WEB[0], 443), SILENCE));
    }
    policies_hold(&stage);
    every_frame_is_counted(&stage, port("up0")["queues"].as_array().unwrap().len());
}

fn health() -> String {
    match &ask(&["status"])["health"] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub(crate) fn ethtool(namespace: &Namespace, arguments: &[&str]) {
    let output = namespace.command("ethtool", arguments).unwrap();
    assert!(output.status.success(), "ethtool {arguments:?}: {output:?}");
}

/// Datagrams to a denied port, one a millisecond, until it is stopped.
struct Knocking {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Knocking {
    fn at(from: &Namespace, sink: &Sink) -> Self {
        let to = sink.address();
        let stop = Arc::<AtomicBool>::default();
        let until = Arc::clone(&stop);
        let thread = from.spawn(move || {
            let socket = UdpSocket::bind("198.18.1.1:0").unwrap();
            let mut sent = 0;
            while !until.load(Relaxed) {
                // While the link is being reset the kernel may refuse.
                sent += u64::from(socket.send_to(b"knock", to).is_ok());
                sleep(Duration::from_millis(1));
            }
            sent
        });
        Self { stop, thread: thread.unwrap() }
    }

    fn stop(self) {
        self.stop.store(true, Relaxed);
        let sent = self.thread.join().unwrap();
        assert!(sent > 100, "only {sent} knocks");
    }
}
