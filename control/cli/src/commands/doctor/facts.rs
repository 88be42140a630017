//! Looks at the machine and its interfaces. Changes nothing, and binds nothing.

use std::fs;
use std::path::{Path, PathBuf};

use sluice_api::backend::{PortKind, PortState};
use sluice_xdp::{
    Driver, Ethtool, Interface, Link, Topology, XdpProgram, XdpSocket, check_privileges, is_bpffs,
    pinned_program, xdp_features, xdp_program_name,
};

use super::machine::{Bpffs, Daemon, HugePages, Machine, Port, Rights, Role, Sockets};
use super::nic::{Nic, Owner, Program};
use super::polling::Deferral;
use crate::args::Connection;
use crate::failure::Failure;

const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_ADMIN: u32 = 21;

/// What is known of the machine.
pub(super) fn machine(connection: &Connection, pin_dir: &Path) -> Result<Machine, Failure> {
    let core_nodes = Topology::default().core_nodes();
    Ok(Machine {
        release: text("/proc/sys/kernel/osrelease").trim().to_owned(),
        sockets: sockets(),
        rights: rights(&text("/proc/self/status")),
        bpffs: bpffs(pin_dir),
        memlock: memlock(&text("/proc/self/limits")),
        huge_pages: huge_pages(&text("/proc/meminfo")),
        jit: jit(&text("/proc/sys/net/core/bpf_jit_enable")),
        irqbalance: runs("irqbalance"),
        core_count: core_count(core_nodes.len()),
        core_nodes,
        daemon: daemon(connection)?,
    })
}

/// What is known of an interface of this network namespace.
pub(super) fn nic(link: &Link, machine: &Machine) -> Nic {
    let Ok(ethtool) = Ethtool::open(&link.name) else {
        return Nic { link: link.clone(), ..Nic::default() };
    };
    let driver = ethtool.driver().unwrap_or_default();
    let Driver { bus_address, .. } = &driver;
    let topology = Topology::default();
    let mine = |sockets: Vec<XdpSocket>| {
        sockets.into_iter().filter(|it| it.interface_index == link.index).collect()
    };
    Nic {
        link: link.clone(),
        link_detected: ethtool.link_detected().ok(),
        offloads: ethtool.offloads().ok(),
        rings: ethtool.ring_sizes().ok(),
        channels: ethtool.channels().ok(),
        rx_queues: Interface::open(&link.name).ok().map(|it| it.rx_queue_count()),
        rss: ethtool.rss_table().ok(),
        features: xdp_features(link.index).ok(),
        programs: link.programs.iter().map(|it| program(*it, link, machine)).collect(),
        sockets: XdpSocket::all().ok().map(mine),
        node: topology.device_node(bus_address),
        interrupts: topology.interrupts(bus_address),
        deferral: deferral(link),
        driver,
    }
}

fn program(program: XdpProgram, link: &Link, machine: &Machine) -> Program {
    let XdpProgram { id, mode } = program;
    let name = xdp_program_name(id);
    let pinned = pinned_program(&machine.bpffs.pin_dir, &link.name);
    let owner = match pinned {
        Ok(Some(pinned)) if pinned == id => Owner::Sluice,
        // Of another pin_dir. The one for long frames has a longer name, which the kernel cuts off.
        _ if name.starts_with("sluice_gate") => Owner::Sluice,
        _ if name.is_empty() && machine.port(&link.name).is_some() => Owner::Sluice,
        Err(_) if name.is_empty() => Owner::Unknown,
        _ => Owner::Other,
    };
    Program { id, name, mode, owner }
}

fn daemon(connection: &Connection) -> Result<Result<Daemon, String>, Failure> {
    let asked = crate::daemon::Daemon::connect(connection)
        .and_then(|daemon| Ok((daemon.ports()?, daemon.status()?)));
    let (ports, status) = match asked {
        Ok(answers) => answers,
        // The daemon is no condition: what can be seen without it is told.
        Err(Failure::Refused(lines)) => return Ok(Err(lines.join("; "))),
        Err(failure) => return Err(failure),
    };
    let ports = ports.into_iter().map(port);
    let cores = status.workers.iter().map(|worker| worker.core).collect();
    Ok(Ok(Daemon { ports: ports.collect(), cores }))
}

/// A port, by its interface.
fn port(state: PortState) -> (String, Port) {
    let role = match state.spec.kind {
        PortKind::Pod { .. } => Role::Pod,
        PortKind::Uplink => Role::Uplink,
        PortKind::Host => Role::Host,
    };
    let polled = state.queues.iter().filter(|queue| queue.busy_poll_us > 0);
    let polled = polled.map(|queue| (queue.queue, queue.polled)).collect();
    let sockets = state.queues.into_iter().map(|queue| (queue.queue, queue.why_copied));
    let port = Port {
        role,
        tagged: state.spec.networks.values().any(Option::is_some),
        waiting: state.waiting,
        why_generic: state.why_generic,
        sockets: sockets.collect(),
        polled,
    };
    (state.spec.interface, port)
}

/// From sysfs, if that shows this network namespace.
fn deferral(link: &Link) -> Option<Deferral> {
    let place = Path::new("/sys/class/net").join(&link.name);
    let number = |file: &str| fs::read_to_string(place.join(file)).ok()?.trim().parse::<u64>().ok();
    number("ifindex").filter(|index| *index == u64::from(link.index))?;
    let polls = u32::try_from(number("napi_defer_hard_irqs")?).ok()?;
    Some(Deferral { polls, nanoseconds: number("gro_flush_timeout")? })
}

fn sockets() -> Sockets {
    let error = match XdpSocket::probe() {
        Ok(()) => return Sockets::Yes,
        Err(error) => error,
    };
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => Sockets::Forbidden,
        _ if error.raw_os_error() == Some(EAFNOSUPPORT) => Sockets::NotBuilt,
        _ => Sockets::Failed(error.to_string()),
    }
}

/// asm-generic/errno.h: address family not supported.
const EAFNOSUPPORT: i32 = 97;

/// From /proc/self/status.
fn rights(status: &str) -> Rights {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let effective = field("CapEff:").and_then(|it| u64::from_str_radix(it.trim(), 16).ok());
    let has = |bit: u32| effective.is_some_and(|it| it & (1 << bit) != 0);
    // Real, effective, saved, file system.
    let user = field("Uid:").and_then(|it| it.split_whitespace().nth(1));
    Rights {
        root: user == Some("0"),
        missing: check_privileges().err().map_or(Vec::new(), |error| error.missing().to_vec()),
        may_mount: has(CAP_SYS_ADMIN),
        may_lock: has(CAP_IPC_LOCK),
    }
}

fn bpffs(pin_dir: &Path) -> Bpffs {
    let kinds = fs::read_to_string("/proc/filesystems").ok();
    let known = |kinds: String| kinds.lines().any(|line| line.split('\t').nth(1) == Some("bpf"));
    Bpffs {
        pin_dir: pin_dir.to_owned(),
        mounted: is_bpffs(pin_dir).unwrap_or(false),
        known_to_kernel: kinds.map(known),
    }
}

/// The soft limit in bytes, from /proc/self/limits; `None` where there is none.
fn memlock(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// From /proc/meminfo.
fn huge_pages(meminfo: &str) -> Option<HugePages> {
    let number = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.strip_prefix(':')?.split_whitespace().next()?.parse().ok()
    };
    Some(HugePages {
        total: number("HugePages_Total")?,
        free: number("HugePages_Free")?,
        size_kib: number("Hugepagesize")?,
    })
}

fn jit(value: &str) -> Option<bool> {
    value.trim().parse::<u32>().ok().map(|value| value != 0)
}

fn core_count(seen: usize) -> u32 {
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(if seen == 0 { available() } else { seen }).unwrap_or(u32::MAX)
}

/// True if some process has that name.
fn runs(name: &str) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let comm = |process: PathBuf| fs::read_to_string(process.join("comm")).unwrap_or_default();
    processes
        .filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit))
        .any(|entry| comm(entry.path()).trim_end() == name)
}

/// What a file says; nothing if it is not to be read.
fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max locked memory         8388608              unlimited            bytes     \n";
        assert_eq!(memlock(limits), Some(8 << 20));
        assert_eq!(memlock(&limits.replace("8388608", "unlimited")), None);
        let meminfo = "HugePages_Total:      64\nHugePages_Free:       32\nHugePages_Rsvd:        0\n\
                       Hugepagesize:       2048 kB\n";
        let expected = HugePages { total: 64, free: 32, size_kib: 2048 };
        assert_eq!(huge_pages(meminfo), Some(expected));
        assert_eq!(huge_pages("MemTotal: 1 kB\n"), None);
        assert_eq!((jit("1\n"), jit("0"), jit("")), (Some(true), Some(false), None));
    }

    #[test]
    fn rights_are_those_of_the_effective_user() {
        let user = rights("Uid:\t0\t1000\t0\t0\nCapEff:\t0000000000004000\n");
        assert_eq!((user.root, user.may_mount, user.may_lock), (false, false, true));
        let root = rights("Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n");
        assert_eq!((root.root, root.may_mount, root.may_lock), (true, true, true));
    }
}
