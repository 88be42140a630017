//! What the daemon tells, through `sluicectl`, and what the kernel tells of its NICs.

use std::process::Command;

use serde_json::Value;
use sluice_lab::Namespace;

use crate::stage::socket;

/// `sluicectl ARGUMENTS -o json`.
pub(crate) fn ask(arguments: &[&str]) -> Value {
    let output = Command::new("sluicectl")
        .args(arguments)
        .args(["-o", "json", "--socket"])
        .arg(socket())
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "sluicectl {arguments:?}: {complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A port as `sluicectl ports` shows it.
pub(crate) fn port(name: &str) -> Value {
    let all = ask(&["ports"]);
    let found = all["ports"].as_array().unwrap().iter().find(|port| port["interface"] == name);
    found.unwrap_or_else(|| panic!("no port {name} in {all}")).clone()
}

/// All counters at one moment.
pub(crate) struct Counters(Value);

impl Counters {
    pub(crate) fn now() -> Self {
        Self(ask(&["counters"]))
    }

    /// Frames that a port received.
    pub(crate) fn rx(&self, port: &str) -> u64 {
        number(&self.port(port)["total"]["rx_frames"])
    }

    /// Frames that a port sent.
    pub(crate) fn tx(&self, port: &str) -> u64 {
        number(&self.port(port)["total"]["tx_frames"])
    }

    /// Frames that a worker received from a port.
    pub(crate) fn worker_rx(&self, port: &str, worker: u64) -> u64 {
        let workers = self.port(port)["workers"].as_array().unwrap();
        let of_worker = workers.iter().filter(|it| it["worker"] == worker);
        of_worker.map(|it| number(&it["rx_frames"])).sum()
    }

    /// Frames from a port that were dropped for a reason.
    pub(crate) fn dropped(&self, port: &str, reason: &str) -> u64 {
        of_reason(&self.port(port)["total"], reason)
    }

    /// A number that a port's gate has counted.
    pub(crate) fn gate(&self, port: &str, what: &str) -> u64 {
        number(&self.port(port)["gate"][what])
    }

    /// Asserts that every frame that came, or was copied, has left or was dropped for a reason.
    pub(crate) fn assert_sums(&self) {
        let total = &self.0["total"];
        let drops: u64 =
            total["drops"].as_array().unwrap().iter().map(|it| number(&it["frames"])).sum();
        let come = number(&total["rx_frames"]) + number(&total["flood_copies"]);
        assert_eq!(come, number(&total["tx_frames"]) + drops, "{total:#}");
    }

    fn port(&self, name: &str) -> &Value {
        let all = self.0["ports"].as_array().unwrap();
        all.iter().find(|it| it["port"] == name).unwrap_or_else(|| panic!("no counters of {name}"))
    }
}

/// Frames that the kernel has handed to an interface's driver and frames that the driver did not send.
pub(crate) fn sent_by(namespace: &Namespace, interface: &str) -> (u64, u64) {
    let text =
        namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/dev")).unwrap().unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'));
    let fields: Vec<u64> = line.unwrap().split_whitespace().map(|it| it.parse().unwrap()).collect();
    (fields[9], fields[10] + fields[11])
}

/// Frames that each receive queue of an interface has had, by its driver.
pub(crate) fn queue_frames(namespace: &Namespace, interface: &str, queues: usize) -> Vec<u64> {
    let output = namespace.command("ethtool", &["-S", interface]).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let of_queue = |queue: usize| {
        // virtio-net's newer and older name for what its gate saw, and igb's for all.
        let names = [
            format!("rx{queue}_xdp_packets"),
            format!("rx_queue_{queue}_xdp_packets"),
            format!("rx_queue_{queue}_packets"),
        ];
        let lines = || text.lines().filter_map(|line| line.trim().split_once(": "));
        let value = names.iter().find_map(|name| {
            lines().find(|(it, _)| it == name).map(|(_, value)| value.parse().unwrap())
        });
        value.unwrap_or_else(|| panic!("no frames of queue {queue} in:\n{text}"))
    };
    (0..queues).map(of_queue).collect()
}

fn of_reason(traffic: &Value, reason: &str) -> u64 {
    let drops = traffic["drops"].as_array().unwrap();
    drops.iter().filter(|it| it["reason"] == reason).map(|it| number(&it["frames"])).sum()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}
