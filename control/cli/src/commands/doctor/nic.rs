//! An interface: whether frames come in whole, on every queue, and the fast way.

use std::borrow::Cow;
use std::collections::BTreeSet;

use sluice_xdp::{
    CHUNK_MTU_MAX, Channels, Driver, GateMode, Interrupt, Link, MTU_MAX, Offloads, PIECES_MAX,
    QUEUES_MAX, RingSizes, RssTable, XdpFeatures, XdpSocket, shell_word,
};

use super::drivers::{expected, halves_queues};
use super::finding::{Finding, list};
use super::kernel::MULTI_BUFFER_SOCKETS;
use super::machine::{Machine, Port, Role};
use super::polling::Deferral;
use super::{offloads, place, polling};

/// What to do where a driver has too many queues and no way to set their number.
const FEWER: &str = "a parameter of the driver's module, or another NIC";

/// More descriptors in a ring than this get no frames to fill them, without copies.
const RING_SIZE_USEFUL: u32 = 2_048;

/// What is known of an interface. What its driver or the kernel do not tell is `None`.
#[derive(Debug, Clone, Default)]
pub(super) struct Nic {
    pub(super) link: Link,
    pub(super) driver: Driver,
    pub(super) link_detected: Option<bool>,
    pub(super) offloads: Option<Offloads>,
    pub(super) rings: Option<RingSizes>,
    pub(super) channels: Option<Channels>,
    /// Receive queues, as the kernel counts them where the driver tells of no channels.
    pub(super) rx_queues: Option<u32>,
    pub(super) rss: Option<RssTable>,
    pub(super) features: Option<XdpFeatures>,
    pub(super) programs: Vec<Program>,
    /// The AF_XDP sockets that are bound to it.
    pub(super) sockets: Option<Vec<XdpSocket>>,
    pub(super) node: Option<u32>,
    pub(super) interrupts: Vec<Interrupt>,
    /// How long interrupts give way to polls.
    pub(super) deferral: Option<Deferral>,
}

/// An XDP program that the interface runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) id: u32,
    /// Empty where this process may not ask.
    pub(super) name: String,
    pub(super) mode: Option<GateMode>,
    pub(super) owner: Owner,
}

/// Whose program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Sluice,
    Other,
    Unknown,
}

impl Nic {
    /// Its name, as a word of a command.
    pub(super) fn word(&self) -> Cow<'_, str> {
        shell_word(&self.link.name)
    }

    /// True for the device of a bus, and not one that the kernel made up.
    pub(super) fn is_physical(&self) -> bool {
        self.link.kind.is_empty() && self.link.ethernet
    }

    pub(super) fn rx_queue_count(&self) -> u32 {
        let told = self.channels.map(|it| it.rx_queue_count()).filter(|count| *count > 0);
        told.or(self.rx_queues).unwrap_or(1)
    }

    /// True if a gate runs, or would run, in the kernel's stack; `None` if that cannot be known.
    pub(super) fn generic(&self) -> Option<bool> {
        let running = self.programs.iter().find_map(|program| program.mode);
        let able = || self.features.map(|features| features.native);
        let known = || expected(&self.driver.name).map(|it| it.native.is_some());
        match running {
            Some(mode) => Some(mode == GateMode::Generic),
            None => able().or_else(known).map(|native| !native),
        }
    }
}

/// Everything about an interface.
pub(super) fn check(nic: &Nic, machine: &Machine) -> Vec<Finding> {
    let port = machine.port(&nic.link.name);
    let mut findings = vec![state(nic, port)];
    findings.extend(port.map(open));
    findings.push(modes(nic, machine));
    findings.extend(programs(nic, machine));
    findings.extend(match port {
        Some(port) => port.waiting.is_none().then(|| sockets_of_port(nic, port)),
        None => sockets(nic),
    });
    findings.push(mtu(nic, machine));
    findings.push(queues(nic, machine));
    findings.extend(rss(nic));
    findings.extend(rings(nic));
    findings.extend(offloads::check(nic, port));
    findings.extend(promiscuity(nic, port));
    findings.extend(place::check(nic, machine));
    findings.extend(polling::check(nic, port));
    findings
}

fn state(nic: &Nic, port: Option<&Port>) -> Finding {
    let (check, name) = ("link", nic.word());
    if !nic.link.up {
        return Finding::fault(check, "down", format!("ip link set dev {name} up"));
    }
    if nic.link_detected != Some(false) {
        return Finding::ok(check, "up");
    }
    let found = "up, but there is nobody at the other end";
    let remedy = match nic.link.kind.as_str() {
        "veth" => "in the namespace of its peer: ip link set dev PEER up".to_owned(),
        _ => format!("check cable and switch: ip link show dev {name}"),
    };
    match port {
        Some(_) => Finding::fault(check, found, remedy),
        // A NIC that nobody uses is nothing to complain of.
        None => Finding::warning(check, found, remedy),
    }
}

/// Whether the daemon has its port open.
fn open(port: &Port) -> Finding {
    let role = match port.role {
        Role::Pod => "a pod's port",
        Role::Uplink => "an uplink",
        Role::Host => "a host port",
    };
    let check = "port";
    match (&port.waiting, &port.why_generic) {
        (Some(why), _) => {
            let found = format!("{role} that is not open, its frames drop: {why}");
            Finding::fault(check, found, "mend that; sluiced then opens it by itself")
        }
        (None, Some(why)) => {
            let found = format!("{role}, open in generic mode, slower: {why}");
            Finding::warning(check, found, "sluicectl ports")
        }
        (None, None) => Finding::ok(check, format!("{role}, open")),
    }
}

/// Whether the driver runs the gate itself, and without copies.
fn modes(nic: &Nic, machine: &Machine) -> Finding {
    let (check, driver) = ("driver", &nic.driver.name);
    let known = expected(driver);
    let driver = if driver.is_empty() { "a driver without a name" } else { driver };
    let Some(version) = machine.version() else {
        return Finding::unknown(check, driver, None);
    };
    let zero_copy_since = known.and_then(|it| it.zero_copy);
    let (native, zero_copy, says) = match (nic.features, known) {
        (Some(features), _) => (features.native, features.zero_copy, ""),
        (None, Some(known)) => {
            let since = |feature: Option<_>| feature.is_some_and(|since| since <= version);
            (since(known.native), since(known.zero_copy), " (expected; this kernel does not tell)")
        }
        (None, None) => {
            let found = format!("{driver}: not known here, and this kernel does not tell");
            return Finding::unknown(check, found, None);
        }
    };
    if !native {
        let found =
            format!("{driver}: no XDP of its own{says}; the gate runs in generic mode, slower");
        let remedy = match known.and_then(|it| it.native).filter(|since| *since > version) {
            Some(since) => format!("boot Linux {since} or newer"),
            None => "use a NIC whose driver has XDP: docs/nics.md".to_owned(),
        };
        return Finding::warning(check, found, remedy);
    }
    if zero_copy {
        return Finding::ok(check, format!("{driver}: native, zero-copy{says}"));
    }
    let found = format!("{driver}: native, with copies{says}");
    match zero_copy_since {
        Some(since) if since > version => {
            Finding::warning(check, found, format!("for zero-copy boot Linux {since} or newer"))
        }
        Some(since) => Finding::warning(
            check,
            format!("{found}, although the driver has zero-copy since Linux {since}"),
            format!("look for what the driver says of it: dmesg | grep {}", nic.driver.name),
        ),
        None => Finding::ok(check, format!("{found}, as this driver is")),
    }
}

fn programs(nic: &Nic, machine: &Machine) -> Vec<Finding> {
    let one = |program: &Program| {
        let mode = program.mode.map_or("offloaded", GateMode::name);
        let Program { id, name, owner, .. } = program;
        let named = if name.is_empty() { String::new() } else { format!("`{name}`, ") };
        let which = format!("{named}id {id}, {mode}");
        match owner {
            Owner::Sluice if machine.daemon.is_err() => Finding::warning(
                "program",
                format!(
                    "Sluice's gate ({which}), and no daemon answers: frames take its fallback (drop, if not pass)"
                ),
                "start sluiced, or take all gates away: sluiced --detach",
            ),
            Owner::Sluice => Finding::ok("program", format!("Sluice's gate ({which})")),
            Owner::Other => Finding::fault(
                "program",
                format!(
                    "an XDP program of somebody else ({which}); Sluice does not take its place"
                ),
                format!(
                    "stop its owner, or: ip link set dev {} xdp off (if a link holds it: bpftool link detach)",
                    nic.word()
                ),
            ),
            Owner::Unknown => Finding::unknown(
                "program",
                format!("an XDP program ({which}); whose it is only root may see"),
                Some("sudo sluicectl doctor"),
            ),
        }
    };
    nic.programs.iter().map(one).collect()
}

/// Whether every queue of a port has a socket, and why any copies.
fn sockets_of_port(nic: &Nic, port: &Port) -> Finding {
    let (check, count) = ("sockets", nic.rx_queue_count());
    let bare: Vec<u32> = (0..count).filter(|queue| !port.sockets.contains_key(queue)).collect();
    if !bare.is_empty() {
        // While queue 0 has one, the gate lets nothing pass elsewhere either.
        let fate = if bare.contains(&0) { "takes the port's fallback" } else { "drops" };
        let found = format!("none on queues {}: what comes there {fate}", list(bare));
        return Finding::fault(check, found, "sluicectl status; sluicectl ports");
    }
    let queues = |why: &str| {
        let these = port.sockets.iter().filter(|(_, its)| its.as_deref() == Some(why));
        list(these.map(|(queue, _)| *queue))
    };
    let reasons: BTreeSet<&str> = port.sockets.values().flatten().map(String::as_str).collect();
    let reasons: Vec<String> =
        reasons.into_iter().map(|why| format!("queues {}: {why}", queues(why))).collect();
    if reasons.is_empty() {
        return Finding::ok(check, format!("one on each of {count} queues"));
    }
    let found = format!("one on each of {count} queues, with copies on {}", reasons.join("; "));
    // Where the driver has none, there is nothing to mend.
    if nic.features.is_some_and(|features| !features.zero_copy) {
        return Finding::ok(check, found);
    }
    Finding::warning(check, found, "see docs/nics.md for the driver's zero-copy")
}

/// What sockets there are where no daemon answers for them.
fn sockets(nic: &Nic) -> Option<Finding> {
    let sockets = nic.sockets.as_ref()?;
    let queues: BTreeSet<u32> = sockets.iter().map(|it| it.queue_id).collect();
    if queues.is_empty() {
        return None;
    }
    let copying = sockets.iter().filter(|socket| !socket.zero_copy).count();
    let found = format!("AF_XDP sockets on queues {}, {copying} of them with copies", list(queues));
    Some(Finding::warning("sockets", found, "to see whose they are: ss --xdp -p"))
}

fn mtu(nic: &Nic, machine: &Machine) -> Finding {
    let (check, mtu, name) = ("MTU", nic.link.mtu, nic.word());
    if mtu <= CHUNK_MTU_MAX {
        return Finding::ok(check, format!("{mtu}"));
    }
    if mtu > MTU_MAX {
        let found = format!("{mtu}; Sluice takes {MTU_MAX} at most");
        return Finding::fault(check, found, format!("ip link set dev {name} mtu {MTU_MAX}"));
    }
    let smaller = format!("ip link set dev {name} mtu {CHUNK_MTU_MAX}");
    let found = format!("{mtu}: frames of several chunks");
    if machine.version().is_some_and(|version| version < MULTI_BUFFER_SOCKETS) {
        let found = format!("{found}, which need Linux {MULTI_BUFFER_SOCKETS}");
        return Finding::fault(check, found, smaller);
    }
    match nic.features {
        None => Finding::unknown(
            check,
            format!("{found}; this kernel does not tell whether the driver has them"),
            None,
        ),
        Some(features) if !features.multi_buffer => {
            let found = format!(
                "{found}, which the driver does not have: the gate runs in generic mode, slower"
            );
            Finding::warning(check, found, smaller)
        }
        // What is sent on may lie in that many, and what a driver has no room for it loses.
        Some(XdpFeatures { zero_copy: true, zero_copy_segments_max: most, .. })
            if (most as usize) < PIECES_MAX =>
        {
            let found = format!(
                "{found}, up to {PIECES_MAX}, and without copies the driver has {most} at most"
            );
            Finding::warning(check, found, smaller)
        }
        Some(_) => Finding::ok(check, found),
    }
}

fn queues(nic: &Nic, machine: &Machine) -> Finding {
    let (check, count) = ("queues", nic.rx_queue_count());
    let Some(channels) = nic.channels else {
        let found = format!("{count}; the driver tells nothing of them");
        return match count > QUEUES_MAX {
            true => Finding::fault(check, format!("{found}; a gate serves {QUEUES_MAX}"), FEWER),
            false => Finding::ok(check, found),
        };
    };
    let (word, most) = match channels.combined_max {
        0 => ("rx", channels.rx_max),
        most => ("combined", most),
    };
    let set = |count| format!("ethtool -L {} {word} {count}", nic.word());
    if count > QUEUES_MAX {
        let found = format!("{count}; a gate serves {QUEUES_MAX}");
        return Finding::fault(check, found, set(QUEUES_MAX));
    }
    let usable = if halves_queues(&nic.driver.name) { (most / 2).max(1) } else { most };
    if count > usable && usable < most {
        let remedy = match channels.combined_max {
            0 => format!("ethtool -L {} rx {usable} tx {usable}", nic.word()),
            _ => set(usable),
        };
        let driver = &nic.driver.name;
        let found = format!("{count} of at most {most}; {driver} has no XDP above {usable}");
        return Finding::warning(check, found, remedy);
    }
    let wanted = usable.min(machine.core_count).min(QUEUES_MAX);
    if nic.is_physical() && count == 1 && wanted > 1 {
        let found = format!("1 of at most {most}: one core does all of the work");
        return Finding::warning(check, found, set(wanted));
    }
    Finding::ok(check, format!("{count} of at most {}", most.max(count)))
}

/// Whether flows spread over all queues.
fn rss(nic: &Nic) -> Option<Finding> {
    let (check, count) = ("RSS", nic.rx_queue_count());
    if count < 2 || !nic.is_physical() {
        return None;
    }
    let Some(table) = &nic.rss else {
        let found = "the driver does not tell how flows spread over queues";
        return Some(Finding::unknown(check, found, None));
    };
    let idle: Vec<u32> = (0..count).filter(|queue| !table.contains_key(queue)).collect();
    if idle.is_empty() {
        return Some(Finding::ok(check, format!("flows spread over {count} queues")));
    }
    let found = format!("no flows come to queues {}", list(idle));
    Some(Finding::warning(check, found, format!("ethtool -X {} equal {count}", nic.word())))
}

fn rings(nic: &Nic) -> Option<Finding> {
    let (check, rings) = ("rings", nic.rings?);
    let RingSizes { rx, rx_max, tx, tx_max } = rings;
    let found = format!("rx {rx} of {rx_max}, tx {tx} of {tx_max}");
    let (rx_wanted, tx_wanted) = (rx_max.min(RING_SIZE_USEFUL), tx_max.min(RING_SIZE_USEFUL));
    if rx >= rx_wanted && tx >= tx_wanted {
        return Some(Finding::ok(check, found));
    }
    let name = nic.word();
    let (rx, tx) = (rx.max(rx_wanted), tx.max(tx_wanted));
    let remedy = format!("ethtool -G {name} rx {rx} tx {tx}");
    Some(Finding::warning(check, format!("{found}: a burst may overflow them"), remedy))
}

/// Whether frames for the MACs of pods get past the filter of an uplink's NIC.
fn promiscuity(nic: &Nic, port: Option<&Port>) -> Option<Finding> {
    let asked = |port: &Port| port.role == Role::Uplink && port.waiting.is_none();
    if !nic.is_physical() || !port.is_some_and(asked) {
        return None;
    }
    let check = "promiscuous";
    if nic.link.promiscuity > 0 {
        return Some(Finding::ok(check, "on"));
    }
    let found = "off: the NIC may keep back what is for pods' MAC addresses";
    Some(Finding::fault(check, found, format!("ip link set dev {} promisc on", nic.word())))
}

#[cfg(test)]
mod tests;
