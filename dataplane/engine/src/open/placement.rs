//! Which worker owns which queue of a NIC.
//!
//! A frame is cheapest where it is in the cache already: on the core that handles its queue's
//! interrupt, if a worker has that core, else on a core of the NIC's own NUMA node. What the machine
//! does not tell is left to the engine, which goes round its workers.

use std::collections::BTreeMap;

use sluice_xdp::{Ethtool, Interface, Topology};

/// What a NIC is near to, as far as the machine tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Nearness {
    /// The core that handles the interrupt of each queue.
    pub(super) interrupt_cores: BTreeMap<usize, usize>,
    /// The cores of its NUMA node; empty if it belongs to none.
    pub(super) node_cores: Vec<usize>,
}

impl Nearness {
    pub(super) fn of(interface: &Interface, topology: &Topology) -> Self {
        let driver = Ethtool::open(interface.name()).and_then(|ethtool| ethtool.driver());
        let Ok(driver) = driver else { return Self::default() };
        let mut near = Self::default();
        for interrupt in topology.interrupts(&driver.bus_address) {
            // Several cores are as good as none: it may be another one with each packet.
            if let (Some(queue), [core]) = (interrupt.rx_queue, &interrupt.effective_cores[..]) {
                near.interrupt_cores.insert(queue as usize, *core as usize);
            }
        }
        if let Some(node) = topology.device_node(&driver.bus_address) {
            let nodes = topology.core_nodes().into_iter();
            let on_node = nodes.filter(|(_, of)| *of == node).map(|(core, _)| core as usize);
            near.node_cores = on_node.collect();
        }
        near
    }
}

/// The worker of each queue, by its index among `cores`, and why; `None` for whose turn it is.
pub(super) fn place(
    queue_count: usize,
    cores: &[usize],
    near: &Nearness,
) -> Vec<(Option<usize>, &'static str)> {
    let on_node: Vec<usize> = (0..cores.len())
        .filter(|worker| cores.get(*worker).is_some_and(|core| near.node_cores.contains(core)))
        .collect();
    let worker_on = |core: &usize| cores.iter().position(|own| own == core);
    // If interrupts crowd on few of the workers' cores, to follow them would leave others idle.
    let by_interrupt: Vec<Option<usize>> = (0..queue_count)
        .map(|queue| near.interrupt_cores.get(&queue).and_then(worker_on))
        .collect();
    let fair = queue_count.div_ceil(cores.len().max(1));
    let is_fair = (0..cores.len())
        .all(|worker| by_interrupt.iter().filter(|it| **it == Some(worker)).count() <= fair);
    let placed = |queue: usize| match by_interrupt.get(queue).copied().flatten() {
        Some(worker) if is_fair => (Some(worker), "its interrupt goes to that core"),
        _ if !on_node.is_empty() && on_node.len() < cores.len() => (
            on_node.get(queue % on_node.len()).copied(),
            "that core is on the NUMA node of the NIC",
        ),
        _ => (None, "no worker is nearer than another"),
    };
    (0..queue_count).map(placed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(queue_count: usize, cores: &[usize], near: &Nearness) -> Vec<Option<usize>> {
        place(queue_count, cores, near).into_iter().map(|(worker, _)| worker).collect()
    }

    #[test]
    fn a_queue_goes_where_its_interrupt_goes() {
        let interrupt_cores = BTreeMap::from([(0, 6), (1, 4), (2, 9)]);
        let near = Nearness { interrupt_cores, node_cores: vec![4, 5, 6] };
        // Core 9 has no worker, and nothing is known of queue 3: the node decides.
        assert_eq!(workers(4, &[4, 5, 6, 1], &near), [Some(2), Some(0), Some(2), Some(0)]);
    }

    #[test]
    fn interrupts_that_all_go_to_one_core_are_not_followed() {
        let interrupt_cores = (0..4).map(|queue| (queue, 4)).collect();
        let near = Nearness { interrupt_cores, node_cores: Vec::new() };
        assert_eq!(workers(4, &[4, 5], &near), [None; 4]);
        assert_eq!(workers(4, &[4], &near), [Some(0); 4], "there is nobody else");
    }

    #[test]
    fn workers_on_the_nic_s_node_come_before_others() {
        let near = Nearness { node_cores: vec![0, 2], ..Nearness::default() };
        assert_eq!(workers(3, &[1, 2, 0], &near), [Some(1), Some(2), Some(1)]);
        assert_eq!(workers(2, &[1, 3], &near), [None, None], "no worker is near");
        assert_eq!(workers(2, &[0, 2], &near), [None, None], "all are");
    }
}
