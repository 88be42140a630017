//! Where a NIC is: its NUMA node, its interrupts, and the cores that these go to.
//!
//! Read from the PCI (or platform) bus of /sys and from /proc/interrupts, which are the same in every
//! network namespace. What a file does not tell is left out: a container may see neither.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The machine, as files tell of it.
#[derive(Debug, Clone)]
pub struct Topology {
    root: PathBuf,
}

/// An interrupt of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interrupt {
    /// The kernel's number for it.
    pub number: u32,
    /// Its name in /proc/interrupts, such as `i40e-eth0-TxRx-0`; empty while nobody uses it.
    pub name: String,
    /// The receive queue that it serves, as far as the name tells.
    pub rx_queue: Option<u32>,
    /// The cores that it may go to.
    pub allowed_cores: Vec<u32>,
    /// The cores that it does go to: one of the above, where the kernel tells.
    pub effective_cores: Vec<u32>,
}

impl Default for Topology {
    fn default() -> Self {
        Self::below("/")
    }
}

impl Topology {
    /// A machine whose /sys and /proc are below `root`, which is `/` for this one.
    #[must_use]
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The NUMA node of the device at a bus address; none for a device that belongs to no node.
    #[must_use]
    pub fn device_node(&self, bus_address: &str) -> Option<u32> {
        number(&self.device(bus_address)?.join("numa_node"))
    }

    /// The interrupts of the device at a bus address, by number; none if it has or tells none.
    #[must_use]
    pub fn interrupts(&self, bus_address: &str) -> Vec<Interrupt> {
        let Some(device) = self.device(bus_address) else { return Vec::new() };
        let mut numbers: Vec<u32> = entries(&device.join("msi_irqs"), "");
        numbers.sort_unstable();
        let table = text(&self.root.join("proc/interrupts")).unwrap_or_default();
        let names = interrupt_names(&table);
        let interrupt = |number: u32| {
            let directory = self.root.join(format!("proc/irq/{number}"));
            let cores = |file| text(&directory.join(file)).map_or(Vec::new(), |it| core_list(&it));
            let name = names.get(&number).copied().unwrap_or_default();
            Interrupt {
                number,
                name: name.to_owned(),
                rx_queue: rx_queue(name),
                allowed_cores: cores("smp_affinity_list"),
                effective_cores: cores("effective_affinity_list"),
            }
        };
        numbers.into_iter().map(interrupt).collect()
    }

    /// The NUMA node of every core; empty on a kernel that knows of no nodes.
    #[must_use]
    pub fn core_nodes(&self) -> BTreeMap<u32, u32> {
        let directory = self.root.join("sys/devices/system/node");
        let mut nodes = BTreeMap::new();
        for node in entries(&directory, "node") {
            let list = text(&directory.join(format!("node{node}/cpulist"))).unwrap_or_default();
            nodes.extend(core_list(&list).into_iter().map(|core| (core, node)));
        }
        nodes
    }

    fn device(&self, bus_address: &str) -> Option<PathBuf> {
        // An address comes from a driver; it names one directory, and none above.
        if matches!(bus_address, "" | "." | "..") || bus_address.contains('/') {
            return None;
        }
        let on = |bus| self.root.join(format!("sys/bus/{bus}/devices")).join(bus_address);
        ["pci", "platform"].into_iter().map(on).find(|device| device.is_dir())
    }
}

/// The last cores that a list may name; a longer one is a mistake.
const CORE_MAX: u32 = 1 << 16;

/// `0-3,8` as numbers. What is no number is left out.
fn core_list(text: &str) -> Vec<u32> {
    let mut cores = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) {
            cores.extend(first..=last.min(CORE_MAX));
        }
    }
    cores
}

/// Names by number. A line is a number, a count for each core, what the chip calls it, and names.
fn interrupt_names(table: &str) -> BTreeMap<u32, &str> {
    table.lines().filter_map(interrupt_name).collect()
}

fn interrupt_name(line: &str) -> Option<(u32, &str)> {
    let (number, rest) = line.trim_start().split_once(':')?;
    Some((number.parse().ok()?, rest.split_whitespace().next_back()?))
}

/// The receive queue whose interrupt has that name.
///
/// `eth0-TxRx-0` and `eth0-rx-0` (igb, igc, ixgbe, i40e, ice, bnxt), `eth0-Tx-Rx-0` (ena), `eth0:rx-0`
/// (stmmac), `virtio3-input.0`, and `mlx5_comp0@pci:0000:3b:00.0`.
fn rx_queue(name: &str) -> Option<u32> {
    let number = match name.strip_prefix("mlx5_comp") {
        Some(rest) => rest.split('@').next(),
        None => ["-TxRx-", "-Tx-Rx-", "-rx-", ":rx-", "-input."]
            .into_iter()
            .find_map(|mark| name.rsplit_once(mark).map(|(_, number)| number)),
    };
    number?.parse().ok()
}

/// The numbers of a directory's entries `<prefix><number>`.
fn entries(directory: &Path, prefix: &str) -> Vec<u32> {
    let number =
        |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix(prefix)?.parse::<u32>().ok();
    fs::read_dir(directory).into_iter().flatten().flatten().filter_map(number).collect()
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// A file's number; none for -1, by which the kernel says "no node".
fn number(path: &Path) -> Option<u32> {
    text(path)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NIC: &str = "0000:3b:00.0";

    /// Two nodes of two cores, and a NIC on the second with two queues.
    fn machine(name: &str) -> (Tree, Topology) {
        let tree = Tree::new(name);
        tree.file("sys/devices/system/node/node0/cpulist", "0,2\n");
        tree.file("sys/devices/system/node/node1/cpulist", "1,3\n");
        tree.file("sys/devices/system/node/online", "0-1\n");
        let device = format!("sys/bus/pci/devices/{NIC}");
        tree.file(&format!("{device}/numa_node"), "1\n");
        for number in [26, 9, 25] {
            tree.file(&format!("{device}/msi_irqs/{number}"), "msix\n");
        }
        let table = "           CPU0       CPU1       CPU2       CPU3\n\
             \x20  9:          0          0          0          0  PCI-MSI-0000:3b:00.0   0-edge      i40e-0000:3b:00.0:misc\n\
             \x20 25:          7          0          0          0  PCI-MSI-0000:3b:00.0   1-edge      i40e-eth0-TxRx-0\n\
             \x20 40:          7          0          0          0  PCI-MSI-0000:5e:00.0   1-edge      i40e-eth1-TxRx-0\n\
             NMI:          0          0          0          0   Non-maskable interrupts\n";
        tree.file("proc/interrupts", table);
        tree.file("proc/irq/25/smp_affinity_list", "0-3\n");
        tree.file("proc/irq/25/effective_affinity_list", "2\n");
        let topology = Topology::below(&tree.0);
        (tree, topology)
    }

    #[test]
    fn a_nic_is_found_with_its_node_and_its_interrupts() {
        let (_tree, machine) = machine("nic");
        assert_eq!(machine.device_node(NIC), Some(1));
        let nodes: Vec<_> = machine.core_nodes().into_iter().collect();
        assert_eq!(nodes, [(0, 0), (1, 1), (2, 0), (3, 1)]);
        let [misc, first, second] = machine.interrupts(NIC).try_into().unwrap();
        assert_eq!((misc.number, misc.name.as_str()), (9, "i40e-0000:3b:00.0:misc"));
        assert_eq!((misc.rx_queue, misc.allowed_cores), (None, vec![]));
        let expected = Interrupt {
            number: 25,
            name: "i40e-eth0-TxRx-0".to_owned(),
            rx_queue: Some(0),
            allowed_cores: vec![0, 1, 2, 3],
            effective_cores: vec![2],
        };
        assert_eq!(first, expected);
        assert_eq!((second.number, second.name.as_str()), (26, ""), "nobody uses it");
    }

    #[test]
    fn what_files_do_not_tell_is_left_out() {
        let (tree, machine) = machine("gaps");
        for address in ["", ".", "..", "0000:00:00.0", "../pci/devices/0000:3b:00.0"] {
            assert_eq!(machine.device_node(address), None, "{address}");
            assert_eq!(machine.interrupts(address), [], "{address}");
        }
        tree.file("sys/bus/platform/devices/5040000.ethernet/numa_node", "-1\n");
        assert_eq!(machine.device_node("5040000.ethernet"), None, "-1 is no node");
        assert!(Topology::below(tree.0.join("nowhere")).core_nodes().is_empty());
    }

    #[test]
    fn names_of_interrupts_tell_the_receive_queue() {
        for (name, queue) in [
            ("eth0-TxRx-0", Some(0)),
            ("eth0-rx-3", Some(3)),
            ("eth0-tx-3", None),
            ("eth0", None),
            ("ice-ens1f0np0-TxRx-17", Some(17)),
            ("ens5-Tx-Rx-2", Some(2)),
            ("eth0:rx-1", Some(1)),
            ("virtio3-input.1", Some(1)),
            ("virtio3-output.1", None),
            ("virtio3-config", None),
            ("mlx5_comp12@pci:0000:3b:00.0", Some(12)),
            ("mlx5_async0@pci:0000:3b:00.0", None),
        ] {
            assert_eq!(rx_queue(name), queue, "{name}");
        }
    }

    #[test]
    fn lists_of_cores() {
        for (text, cores) in
            [("0-2,5\n", vec![0, 1, 2, 5]), ("7", vec![7]), ("\n", vec![]), ("3-1", vec![])]
        {
            assert_eq!(core_list(text), cores, "{text:?}");
        }
        assert_eq!(core_list("0-4294967295").len(), CORE_MAX as usize + 1);
    }

    /// A directory of made-up files, which goes away with it.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let directory = format!("sluice-topology-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(directory))
        }

        fn file(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
