//! Which worker owns which queue of a NIC.
//!
//! A frame is cheapest where it is in the cache already: on the core that handles its queue's
//! interrupt, if a worker has that core, else near the NIC's own NUMA node. What the machine
//! does not tell is left to the engine, which goes round its workers.

use std::collections::BTreeMap;
use std::ops::Range;

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
///
/// No worker gets more than its share, however near it is: the others would be idle.
pub(super) fn place(
    queues: Range<usize>,
    cores: &[usize],
    near: &Nearness,
) -> Vec<(Option<usize>, &'static str)> {
    let share = queues.len().div_ceil(cores.len().max(1));
    let mut left = vec![share; cores.len()];
    let mut take = |worker: usize| match left.get_mut(worker) {
        Some(left) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    };
    let by_interrupt: Vec<Option<usize>> = queues
        .map(|queue| {
            let core = near.interrupt_cores.get(&queue)?;
            cores.iter().position(|own| own == core).filter(|worker| take(*worker))
        })
        .collect();
    let is_on_node = |core: &usize| near.node_cores.contains(core);
    let node_decides = cores.iter().any(is_on_node) && !cores.iter().all(is_on_node);
    // The near ones first, and round them, so that few queues do not crowd on one.
    let mut by_nearness: Vec<usize> = (0..cores.len()).collect();
    by_nearness.sort_by_key(|worker| !cores.get(*worker).is_some_and(is_on_node));
    let near_len = cores.iter().filter(|core| is_on_node(core)).count();
    let mut turn = 0;
    let mut nearest_with_room = || {
        for _ in 0..near_len {
            let worker = by_nearness.get(turn % near_len).copied()?;
            turn += 1;
            if take(worker) {
                return Some(worker);
            }
        }
        by_nearness.iter().copied().find(|worker| take(*worker))
    };
    let placed = |by_interrupt: Option<usize>| match by_interrupt {
        Some(worker) => (Some(worker), "its interrupt goes to that core"),
        None if node_decides => {
            (nearest_with_room(), "the nearest to the NUMA node of the NIC with room")
        }
        None => (None, "no worker is nearer than another"),
    };
    by_interrupt.into_iter().map(placed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(queue_count: usize, cores: &[usize], near: &Nearness) -> Vec<Option<usize>> {
        place(0..queue_count, cores, near).into_iter().map(|(worker, _)| worker).collect()
    }

    #[test]
    fn a_queue_goes_where_its_interrupt_goes() {
        let interrupt_cores = BTreeMap::from([(0, 6), (1, 4), (2, 9)]);
        let near = Nearness { interrupt_cores, node_cores: vec![4, 5, 6] };
        // Core 9 has no worker, and nothing is known of queue 3: the node decides.
        assert_eq!(workers(4, &[4, 5, 6, 1], &near), [Some(2), Some(0), Some(1), Some(3)]);
        assert_eq!(workers(4, &[4, 5, 6], &near), [Some(2), Some(0), None, None]);
    }

    #[test]
    fn no_worker_has_more_than_its_share() {
        let interrupt_cores: BTreeMap<usize, usize> = (0..4).map(|queue| (queue, 4)).collect();
        let crowded = Nearness { interrupt_cores, node_cores: Vec::new() };
        assert_eq!(workers(4, &[4, 5], &crowded), [Some(0), Some(0), None, None]);
        assert_eq!(workers(4, &[4], &crowded), [Some(0); 4], "there is nobody else");
        let lonely = Nearness { node_cores: vec![7], ..Nearness::default() };
        let placed = workers(8, &[5, 6, 7, 8], &lonely);
        for worker in 0..4 {
            assert_eq!(placed.iter().filter(|it| **it == Some(worker)).count(), 2, "{placed:?}");
        }
        assert_eq!(placed.first(), Some(&Some(2)), "the near one first");
    }

    #[test]
    fn workers_on_the_nic_s_node_come_before_others() {
        let near = Nearness { node_cores: vec![0, 2], ..Nearness::default() };
        assert_eq!(workers(3, &[1, 2, 0], &near), [Some(1), Some(2), Some(0)]);
        assert_eq!(workers(2, &[1, 2, 0], &near), [Some(1), Some(2)]);
        assert_eq!(workers(2, &[1, 3], &near), [None, None], "no worker is near");
        assert_eq!(workers(2, &[0, 2], &near), [None, None], "all are");
    }
}
