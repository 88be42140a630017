//! Offloads that change frames before Sluice sees them.

use super::finding::Finding;
use super::machine::Port;
use super::nic::Nic;

/// VLAN tags, packets that are merged or not split yet, checksums.
pub(super) fn check(nic: &Nic, port: Option<&Port>) -> Vec<Finding> {
    let Some(offloads) = nic.offloads else {
        return vec![Finding::unknown("offloads", "the driver does not tell", None)];
    };
    let mut findings = vec![vlan(nic, offloads.rx_vlan_stripping, port), lro(nic, offloads.lro)];
    findings.extend(unsplit(nic));
    if matches!(nic.driver.name.as_str(), "veth" | "tun" | "virtio_net") {
        let found = "may come unfinished from this driver; Sluice completes them";
        findings.push(Finding::ok("checksums", found));
    }
    findings
}

fn vlan(nic: &Nic, stripped: bool, port: Option<&Port>) -> Finding {
    let check = "VLAN tags";
    match (nic.link.kind.as_str(), stripped) {
        // What decides is a setting of its peer, which is in another namespace.
        ("veth", _) => match port {
            Some(port) if port.tagged => Finding::warning(
                check,
                "not seen unless its peer writes them into the frame, and without one a frame is of the \
                 untagged network",
                "in the namespace of its peer: ethtool -K PEER txvlan off",
            ),
            Some(_) => {
                let found = "not seen unless its peer writes them; no network of its port has one";
                Finding::ok(check, found)
            }
            None => Finding::ok(
                check,
                "not seen unless its peer writes them (there: ethtool -K PEER txvlan off)",
            ),
        },
        (_, false) => Finding::ok(check, "stay in the frame"),
        (_, true) => Finding::fault(
            check,
            "are taken out of frames before Sluice sees them",
            format!("ethtool -K {} rxvlan off", nic.word()),
        ),
    }
}

fn lro(nic: &Nic, on: bool) -> Finding {
    let check = "LRO";
    match on {
        false => Finding::ok(check, "off"),
        true => Finding::fault(
            check,
            "on: drivers refuse an XDP program beside it, or merge TCP segments beyond the MTU",
            format!("ethtool -K {} lro off", nic.word()),
        ),
    }
}

/// Packets beyond the MTU. In the driver a veth has its peer split them; in generic mode it does not.
///
/// What the kernel itself merges (GRO) it no longer does where a program runs in generic mode.
fn unsplit(nic: &Nic) -> Option<Finding> {
    if nic.link.kind != "veth" || nic.generic() != Some(true) {
        return None;
    }
    let found = "in generic mode, what its peer leaves unsplit is longer than the MTU, and drops";
    let remedy = "in the namespace of its peer: ethtool -K PEER tso off gso off";
    Some(Finding::warning("TSO", found, remedy))
}
