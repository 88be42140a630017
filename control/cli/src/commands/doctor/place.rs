//! Where a NIC is in the machine: its NUMA node, and the cores that its interrupts go to.

use std::collections::{BTreeMap, BTreeSet};

use sluice_xdp::Interrupt;

use super::finding::{Finding, list};
use super::machine::Machine;
use super::nic::Nic;

/// NUMA node and interrupts against cores.
pub(super) fn check(nic: &Nic, machine: &Machine) -> Vec<Finding> {
    if nic.driver.bus_address.is_empty() {
        return Vec::new();
    }
    numa(nic, machine).into_iter().chain(interrupts(nic, machine)).collect()
}

/// The cores of a NUMA node.
fn cores_of(node: u32, machine: &Machine) -> Vec<u32> {
    let cores = machine.core_nodes.iter();
    cores.filter(|(_, its_node)| **its_node == node).map(|(core, _)| *core).collect()
}

fn numa(nic: &Nic, machine: &Machine) -> Option<Finding> {
    let check = "NUMA";
    let nodes: BTreeSet<u32> = machine.core_nodes.values().copied().collect();
    if nodes.len() < 2 {
        return None;
    }
    let Some(node) = nic.node else {
        return Some(Finding::unknown(check, "the device tells no node", None));
    };
    let near = cores_of(node, machine);
    let workers = machine.worker_cores();
    let far: Vec<u32> = workers.iter().copied().filter(|core| !near.contains(core)).collect();
    let at = format!("node {node}, with cores {}", list(near.iter().copied()));
    if far.is_empty() {
        return Some(Finding::ok(check, at));
    }
    let wanted: Vec<u32> = near.into_iter().take(workers.len()).collect();
    let found = format!("{at}; workers on cores {} are on another", list(far));
    let remedy = format!("in sluice.toml, [engine]: cores = {wanted:?}");
    Some(Finding::warning(check, found, remedy))
}

/// Whether receive interrupts are spread, and near.
fn interrupts(nic: &Nic, machine: &Machine) -> Option<Finding> {
    let check = "interrupts";
    let receiving: Vec<&Interrupt> =
        nic.interrupts.iter().filter(|it| it.rx_queue.is_some()).collect();
    if receiving.is_empty() {
        return nic.is_physical().then(|| {
            Finding::unknown(check, "their names do not tell which queue they serve", None)
        });
    }
    let cores: BTreeSet<u32> = receiving.iter().flat_map(|it| it.effective_cores.clone()).collect();
    if cores.is_empty() {
        let found = format!("{} for receiving; their cores are not seen", receiving.len());
        return Some(Finding::unknown(check, found, None));
    }
    let of_node = nic.node.map(|node| cores_of(node, machine)).unwrap_or_default();
    // Where no node is known, every core is as near as any other.
    let near = |core: &u32| of_node.is_empty() || of_node.contains(core);
    let found =
        format!("{} for receiving, on cores {}", receiving.len(), list(cores.iter().copied()));
    let all: Vec<u32> = match of_node.is_empty() {
        true => (0..machine.core_count).collect(),
        false => of_node.clone(),
    };
    if !cores.iter().all(near) {
        let found = format!("{found}: not all on the NIC's own node");
        return Some(Finding::warning(check, found, spread(&receiving, &all)));
    }
    if receiving.len() > 1 && cores.len() == 1 && all.len() > 1 {
        let found = format!("{found}: one core takes them all");
        return Some(Finding::warning(check, found, spread(&receiving, &all)));
    }
    Some(Finding::ok(check, found))
}

/// Commands that give each interrupt a core, in turn.
fn spread(interrupts: &[&Interrupt], cores: &[u32]) -> String {
    let pairs: BTreeMap<u32, u32> =
        interrupts.iter().map(|it| it.number).zip(cores.iter().copied().cycle()).collect();
    let commands = pairs
        .iter()
        .map(|(number, core)| format!("echo {core} > /proc/irq/{number}/smp_affinity_list"));
    commands.collect::<Vec<_>>().join("; ")
}
