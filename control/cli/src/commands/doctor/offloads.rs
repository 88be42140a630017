//! Offloads that change frames before Sluice sees them.

use super::finding::Finding;
use super::nic::Nic;

/// VLAN tags, merged packets, checksums.
pub(super) fn check(nic: &Nic) -> Vec<Finding> {
    let Some(offloads) = nic.offloads else {
        return vec![Finding::unknown("offloads", "the driver does not tell", None)];
    };
    let veth = nic.link.kind == "veth";
    let mut findings = vec![vlan(nic, offloads.rx_vlan_stripping), lro(nic, offloads.lro)];
    findings.extend(merged(nic, offloads.gro, veth));
    if veth || matches!(nic.driver.name.as_str(), "tun" | "virtio_net") {
        let found = "may come unfinished from this driver; Sluice completes them";
        findings.push(Finding::ok("checksums", found));
    }
    findings
}

fn vlan(nic: &Nic, stripped: bool) -> Finding {
    let check = "VLAN tags";
    if !stripped {
        return Finding::ok(check, "stay in the frame");
    }
    match nic.link.kind.as_str() {
        // The peer would have to be asked, which is in another namespace.
        "veth" => Finding::ok(
            check,
            "stay in the frame unless its peer offloads them (there: ethtool -K PEER txvlan off)",
        ),
        _ => Finding::fault(
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
            "on: the NIC merges TCP segments into frames that XDP does not take",
            format!("ethtool -K {} lro off", nic.word()),
        ),
    }
}

/// Packets beyond the MTU, which only a gate in the kernel's stack gets to see.
fn merged(nic: &Nic, gro: bool, veth: bool) -> Option<Finding> {
    let check = "GRO";
    if nic.generic()? && veth {
        let found =
            "in generic mode, what its peer leaves unsplit (TSO, GSO) is too long and drops";
        let remedy = "in the namespace of its peer: ethtool -K PEER tso off gso off";
        return Some(Finding::warning(check, found, remedy));
    }
    if nic.generic()? && gro {
        let found = "on, in generic mode: the kernel merges TCP segments, which are too long then \
                     and drop";
        let remedy = format!("ethtool -K {} gro off", nic.word());
        return Some(Finding::fault(check, found, remedy));
    }
    None
}
