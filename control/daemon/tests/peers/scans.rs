//! nmap's scans: nothing gets through that policy denies, by nmap's own report, by what arrives at
//! the victim, and by what the daemon counts.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use sluice_core::drop::DropReason;
use sluice_demo::stage::Seat;
use sluice_lab::{Namespace, serve};

use crate::capture::tcp_of;
use crate::programs::{ready_or_skip, run};
use crate::watch::{Watch, describe, moved};
use crate::{ATTACKER, EGRESS_LAST, OPEN, SERVER, enforce, seat, stage, turn};

/// Where the victim listens. The attacker may have [`OPEN`] alone.
const PORTS: [u16; 6] = [22, OPEN, 443, 3306, 8080, 8443];

/// A kind of scan.
struct Scan {
    option: &'static str,
    /// What nmap makes of the port that policy allows.
    open: &'static str,
    /// What it makes of all others.
    denied: &'static str,
    /// Why each frame drops that does: to [`OPEN`], to what the victim's policy denies, and to
    /// what the attacker's own policy denies.
    reasons: [Option<DropReason>; 3],
}

const SCANS: [Scan; 5] = [
    // The one frame of a connection that may come unasked.
    Scan {
        option: "-sS",
        open: "open",
        denied: "filtered",
        reasons: [None, Some(DropReason::IngressDenied), Some(DropReason::EgressDenied)],
    },
    Scan {
        option: "-sF",
        open: "open|filtered",
        denied: "open|filtered",
        reasons: [Some(DropReason::InvalidTcpFlags); 3],
    },
    Scan {
        option: "-sN",
        open: "open|filtered",
        denied: "open|filtered",
        reasons: [Some(DropReason::InvalidTcpFlags); 3],
    },
    Scan {
        option: "-sX",
        open: "open|filtered",
        denied: "open|filtered",
        reasons: [Some(DropReason::InvalidTcpFlags); 3],
    },
    // A reset would come back from a port that nothing filters, open or closed.
    Scan {
        option: "-sA",
        open: "filtered",
        denied: "filtered",
        reasons: [Some(DropReason::NoConnection); 3],
    },
];

#[test]
fn nmap_finds_the_allowed_port_and_nothing_else() {
    if !ready_or_skip(&["nmap"]) {
        return;
    }
    let _turn = turn();
    let stage = stage();
    let (attacker, victim) = (seat(&stage, ATTACKER), seat(&stage, SERVER));
    let sockets = victim.addresses.iter().flat_map(|address| {
        PORTS.map(|port| serve::tcp_echo(&victim.namespace, SocketAddr::new(*address, port)))
    });
    let _servers: Vec<_> = sockets.map(Result::unwrap).collect();

    // Were a port closed, or nmap blind, all that follows would be right for a wrong reason.
    let found = nmap_both(attacker, victim, "-sS");
    assert!(found.iter().all(|(_, state)| state == "open"), "without policies: {found:?}");

    enforce(&stage);
    let mut watch = Watch::start(&stage, victim);
    for scan in &SCANS {
        let before = watch.drops(&attacker.interface);
        let seen_before = watch.capture.frames().len();
        for (to, state) in nmap_both(attacker, victim, scan.option) {
            let expected = if to.port() == OPEN { scan.open } else { scan.denied };
            assert_eq!(state, expected, "{} of {to}", scan.option);
        }
        watch.settle(&attacker.namespace);
        let after = watch.drops(&attacker.interface);
        let arrived = watch.capture.frames()[seen_before..].iter();
        let segments: Vec<_> = arrived.filter_map(|frame| tcp_of(frame)).collect();
        assert_nothing_else_arrives(scan, &segments);
        for (reason, frames) in scan.least_drops(victim.addresses.len()) {
            let (got, all) = (moved(&before, &after, Some(reason)), describe(&before, &after));
            assert!(got >= frames, "{}: {frames} or more {reason}, got {all}", scan.option);
        }
    }
}

/// Only an honest connection attempt to the open port, and the end of it.
fn assert_nothing_else_arrives(scan: &Scan, segments: &[(u16, u8)]) {
    const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    let fits = |&(port, flags): &(u16, u8)| {
        scan.open == "open" && port == OPEN && matches!(flags, SYN | RST)
    };
    let option = scan.option;
    assert!(segments.iter().all(fits), "{option}: port and flags at the victim: {segments:x?}");
    assert_eq!(segments.is_empty(), scan.open != "open", "{option}: what is open is seen");
}

impl Scan {
    /// Each port of each address is asked once at least.
    fn least_drops(&self, addresses: usize) -> BTreeMap<DropReason, u64> {
        let mut drops = BTreeMap::new();
        for port in PORTS {
            let [open, ingress, egress] = self.reasons;
            let reason = match port {
                OPEN => open,
                port if port <= EGRESS_LAST => ingress,
                _ => egress,
            };
            if let Some(reason) = reason {
                *drops.entry(reason).or_default() += addresses as u64;
            }
        }
        drops
    }
}

/// The state of each port of both addresses as nmap sees it.
fn nmap_both(attacker: &Seat, victim: &Seat, option: &str) -> Vec<(SocketAddr, String)> {
    // At once, since most of a scan is waiting for what does not come.
    std::thread::scope(|scope| {
        let scan = |address| nmap(&attacker.namespace, option, address);
        let scans = victim.addresses.map(|address| scope.spawn(move || scan(address)));
        scans.into_iter().flat_map(|scan| scan.join().unwrap()).collect()
    })
}

fn nmap(from: &Namespace, option: &str, address: IpAddr) -> Vec<(SocketAddr, String)> {
    let ports = PORTS.map(|port| port.to_string()).join(",");
    let to = address.to_string();
    let mut arguments =
        vec![option, "-n", "-Pn", "-T4", "--max-retries", "1", "--host-timeout", "20s"];
    arguments.extend(["-p", &ports, "-oG", "-"]);
    arguments.extend(address.is_ipv6().then_some("-6"));
    arguments.push(&to);
    let (code, text) = run(from, "nmap", &arguments);
    assert_eq!(code, 0, "{text}");
    // Host: 10.5.0.12 ()	Ports: 22/filtered/tcp//ssh///, 80/open/tcp//http///
    let listed = text.lines().find_map(|line| line.split_once("Ports: ")).map(|(_, ports)| ports);
    let states: Vec<_> = listed
        .unwrap_or_else(|| panic!("{text}"))
        .split(", ")
        .map(|port| {
            let mut fields = port.split('/');
            let number = fields.next().unwrap().parse().unwrap();
            (SocketAddr::new(address, number), fields.next().unwrap().to_owned())
        })
        .collect();
    assert_eq!(states.len(), PORTS.len(), "{text}");
    states
}
