//! The machine: its kernel, what this process may do, and what Sluice wants of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sluice_xdp::{Link, shell_word};

use super::finding::{Finding, Subject, list};
use super::kernel::{GAINS, MAPS_WITHOUT_MEMLOCK, OLDEST, Version};
use crate::text::count;

/// Packet memory as configured by default, in KiB: 16,384 frames of 4 KiB.
const PACKET_MEMORY_KIB: u64 = 64 * 1024;

/// What is known of the machine.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    /// The kernel's release, `6.1.0-32-amd64`.
    pub(super) release: String,
    pub(super) sockets: Sockets,
    pub(super) rights: Rights,
    pub(super) bpffs: Bpffs,
    /// RLIMIT_MEMLOCK in bytes; none if there is no limit.
    pub(super) memlock: Option<u64>,
    pub(super) huge_pages: Option<HugePages>,
    /// Whether BPF programs are compiled; none if the kernel does not tell.
    pub(super) jit: Option<bool>,
    /// Whether irqbalance runs.
    pub(super) irqbalance: bool,
    /// The NUMA node of each core.
    pub(super) core_nodes: BTreeMap<u32, u32>,
    pub(super) core_count: u32,
    /// The daemon, or why it was not asked.
    pub(super) daemon: Result<Daemon, String>,
}

/// What the running daemon tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Daemon {
    /// Its ports, by interface.
    pub(super) ports: BTreeMap<String, Port>,
    /// The cores of its workers.
    pub(super) cores: Vec<u32>,
}

/// A port of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) role: Role,
    /// Whether any of its networks is told by a VLAN tag.
    pub(super) tagged: bool,
    /// Why it is not open.
    pub(super) waiting: Option<String>,
    /// Why its gate runs in generic mode, where that was not asked for.
    pub(super) why_generic: Option<String>,
    /// Its sockets, by queue: why they copy, where that was not asked for.
    pub(super) sockets: BTreeMap<u32, Option<String>>,
    /// Those that are to be polled, by queue: whether polls do receive and send.
    pub(super) polled: BTreeMap<u32, bool>,
}

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Pod,
    Uplink,
    Host,
}

/// Whether AF_XDP sockets are to be had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Sockets {
    #[default]
    Yes,
    /// The kernel was built without.
    NotBuilt,
    /// This process may not try.
    Forbidden,
    Failed(String),
}

/// What this process may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rights {
    pub(super) root: bool,
    /// Capabilities that Sluice needs and this process lacks.
    pub(super) missing: Vec<&'static str>,
    /// Whether it may mount (CAP_SYS_ADMIN).
    pub(super) may_mount: bool,
    /// Whether its memory is not counted against RLIMIT_MEMLOCK (CAP_IPC_LOCK).
    pub(super) may_lock: bool,
}

/// The BPF file system for the gates' pins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bpffs {
    pub(super) pin_dir: PathBuf,
    pub(super) mounted: bool,
    /// Whether the kernel has such a file system; none if it does not tell.
    pub(super) known_to_kernel: Option<bool>,
}

/// Huge pages of the default size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HugePages {
    pub(super) total: u64,
    pub(super) free: u64,
    pub(super) size_kib: u64,
}

impl Machine {
    pub(super) fn version(&self) -> Option<Version> {
        Version::read(&self.release)
    }

    /// The daemon's port on an interface, if it has one there.
    pub(super) fn port(&self, interface: &str) -> Option<&Port> {
        self.daemon.as_ref().ok()?.ports.get(interface)
    }

    /// The cores of the daemon's workers; none where it was not asked.
    pub(super) fn worker_cores(&self) -> &[u32] {
        self.daemon.as_ref().map_or(&[], |daemon| &daemon.cores)
    }
}

/// Everything about the machine.
pub(super) fn check(machine: &Machine) -> Vec<Finding> {
    let mut findings = vec![
        kernel(machine),
        sockets(&machine.sockets),
        capabilities(&machine.rights),
        bpffs(&machine.bpffs, &machine.rights),
        memlock(machine),
    ];
    findings.extend(jit(machine.jit));
    findings.extend(machine.huge_pages.map(|pages| huge_pages(pages, machine.daemon.is_ok())));
    findings.extend(irqbalance(machine));
    findings.push(daemon(&machine.daemon));
    findings
}

/// The daemon's ports whose interface is not there.
pub(super) fn lost_ports(machine: &Machine, links: &[Link]) -> Vec<Subject> {
    let ports = || machine.daemon.iter().flat_map(|daemon| daemon.ports.keys());
    let is_here = |port: &String| links.iter().any(|link| link.name == *port);
    let none_is_here = !ports().any(is_here);
    let finding = |port: &str| {
        let found = "a port of the daemon, and no interface of this network namespace";
        if none_is_here {
            // It would be wrong to have anything done to ports that may be open.
            let found =
                format!("{found}, in which the daemon may not run: none of its ports is here");
            let remedy = "nsenter --net --target \"$(pidof sluiced)\" sluicectl doctor";
            return Finding::unknown("link", found, Some(remedy));
        }
        // A name that begins with a dash would be read as an option.
        let dashes = if port.starts_with('-') { "-- " } else { "" };
        let remedy = format!(
            "bring the interface back, and sluiced opens it by itself; if it is not to come back: \
             sluicectl ports remove {dashes}{}",
            shell_word(port)
        );
        Finding::fault("link", found, remedy)
    };
    ports()
        .filter(|port| !is_here(port))
        .map(|port| Subject { name: port.clone(), findings: vec![finding(port)] })
        .collect()
}

fn kernel(machine: &Machine) -> Finding {
    let release = &machine.release;
    let Some(version) = machine.version() else {
        return Finding::unknown("kernel", format!("release \"{release}\" is no version"), None);
    };
    if version < OLDEST {
        let remedy = format!("boot Linux {OLDEST} or newer");
        return Finding::fault("kernel", format!("{release} is too old"), remedy);
    }
    let gains: Vec<String> = GAINS
        .iter()
        .filter(|(since, _)| version < *since)
        .map(|(since, gain)| format!("{since} brings {gain}"))
        .collect();
    match gains.is_empty() {
        true => Finding::ok("kernel", release),
        false => Finding::ok("kernel", format!("{release}; {}", gains.join(", "))),
    }
}

fn sockets(sockets: &Sockets) -> Finding {
    let check = "AF_XDP";
    match sockets {
        Sockets::Yes => Finding::ok(check, "sockets can be opened"),
        Sockets::NotBuilt => Finding::fault(
            check,
            "this kernel was built without AF_XDP sockets",
            "boot a kernel that has them: grep CONFIG_XDP_SOCKETS=y /boot/config-*",
        ),
        Sockets::Forbidden => {
            let found = "not tried: a socket needs CAP_NET_RAW";
            Finding::unknown(check, found, Some("sudo sluicectl doctor"))
        }
        Sockets::Failed(error) => {
            let found = format!("a socket cannot be opened: {error}");
            Finding::fault(check, found, "dmesg | tail")
        }
    }
}

fn capabilities(rights: &Rights) -> Finding {
    let check = "capabilities";
    if rights.missing.is_empty() {
        return Finding::ok(check, "all that sluiced needs");
    }
    let missing = rights.missing.join(", ");
    if rights.root {
        let found = format!("root lacks {missing} here; sluiced needs them");
        let remedy = format!("grant them to the container: capabilities.add: [{missing}]");
        return Finding::fault(check, found, remedy.replace("CAP_", ""));
    }
    let found = format!("this process lacks {missing}: what sluiced has is not seen from here");
    Finding::unknown(check, found, Some("sudo sluicectl doctor"))
}

fn bpffs(bpffs: &Bpffs, rights: &Rights) -> Finding {
    let (check, directory) = ("pins", bpffs.pin_dir.display());
    let path = bpffs.pin_dir.to_string_lossy();
    let word = shell_word(&path);
    let mount = format!("mkdir -p {word} && mount -t bpf bpf {word}");
    if bpffs.mounted {
        return Finding::ok(check, format!("{directory} is on a BPF file system"));
    }
    if bpffs.known_to_kernel == Some(false) {
        let found = "this kernel has no BPF file system: gates cannot outlive the daemon";
        let remedy = "boot a kernel that has it: grep CONFIG_BPF_SYSCALL=y /boot/config-*";
        return Finding::fault(check, found, remedy);
    }
    let found = format!("no BPF file system is seen at {directory}");
    if rights.may_mount {
        return Finding::ok(check, format!("{found}; sluiced mounts one when it starts"));
    }
    if !rights.root {
        return Finding::unknown(check, found, Some("sudo sluicectl doctor"));
    }
    let found = format!("{found}; without CAP_SYS_ADMIN sluiced cannot mount one");
    Finding::warning(check, found, mount)
}

fn memlock(machine: &Machine) -> Finding {
    let check = "memlock";
    let Some(limit) = machine.memlock else { return Finding::ok(check, "no limit") };
    let kib = limit / 1024;
    let rights = &machine.rights;
    if rights.may_lock {
        return Finding::ok(check, format!("{kib} KiB, which does not bind root"));
    }
    if !rights.root {
        let found = format!("{kib} KiB for this process; sluiced's limit is not seen from here");
        return Finding::unknown(check, found, Some("sudo sluicectl doctor"));
    }
    // Sockets still count what they register; maps have a budget of their own since.
    let counted = match machine.version() {
        Some(version) if version < MAPS_WITHOUT_MEMLOCK => {
            "packet memory (for each queue) and maps"
        }
        _ => "packet memory (for each queue)",
    };
    let found = format!("{kib} KiB; without CAP_IPC_LOCK {counted} must fit in");
    Finding::warning(check, found, "for sluiced, in its systemd unit: LimitMEMLOCK=infinity")
}

fn jit(jit: Option<bool>) -> Option<Finding> {
    Some(match jit? {
        true => Finding::ok("BPF JIT", "on"),
        false => Finding::warning(
            "BPF JIT",
            "off: the gate is interpreted, for each frame",
            "sysctl -w net.core.bpf_jit_enable=1",
        ),
    })
}

fn huge_pages(pages: HugePages, daemon_runs: bool) -> Finding {
    let check = "huge pages";
    let HugePages { total, free, size_kib } = pages;
    let wanted = PACKET_MEMORY_KIB.div_ceil(size_kib.max(1));
    let found = format!("{free} of {total} free, {size_kib} KiB each");
    // A daemon that runs has taken its own.
    if free >= wanted || (daemon_runs && total >= wanted) {
        return Finding::ok(check, found);
    }
    let found =
        format!("{found}; packet memory of the default size takes {wanted}, or small pages");
    Finding::warning(
        check,
        found,
        format!("sysctl -w vm.nr_hugepages={}", total - free.min(total) + wanted),
    )
}

fn irqbalance(machine: &Machine) -> Option<Finding> {
    if !machine.irqbalance {
        return None;
    }
    let cores = match machine.worker_cores() {
        // Nobody knows which to write down.
        [] => {
            let found = "runs, and may move interrupts of other devices to the workers' cores";
            let remedy = "systemctl disable --now irqbalance, or start sluiced and ask again";
            return Some(Finding::warning("irqbalance", found, remedy));
        }
        cores => list(cores.iter().copied()),
    };
    let remedy = format!(
        "echo IRQBALANCE_BANNED_CPULIST={cores} >> /etc/default/irqbalance && systemctl restart irqbalance"
    );
    let found = format!("runs, and may move interrupts of other devices to cores {cores}");
    Some(Finding::warning("irqbalance", found, remedy))
}

fn daemon(daemon: &Result<Daemon, String>) -> Finding {
    match daemon {
        Ok(daemon) => {
            let found = format!(
                "answers: {}, workers on cores {}",
                count(daemon.ports.len() as u64, "port", "ports"),
                list(daemon.cores.iter().copied())
            );
            Finding::ok("daemon", found)
        }
        Err(error) => Finding::unknown("daemon", format!("does not answer: {error}"), None),
    }
}

#[cfg(test)]
mod tests;
