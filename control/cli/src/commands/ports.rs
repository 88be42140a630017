//! `ports`: list what is attached to the daemon, attach, take away.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;
use sluice_api::backend::{
    Fallback, GateMode, PortKind, PortMode, PortSpec, PortState, QueueState, QueueStatistics,
};
use sluice_core::address::NetworkId;

use crate::args::{Connection, FallbackArg, ModeArg, PortKindArg, Ports, PortsAction, PortsAdd};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::output::Output;
use crate::text::printable;

/// What JSON shows of the list.
#[derive(Serialize)]
struct List {
    ports: Vec<PortState>,
}

/// What JSON shows of a change.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Changed<'a> {
    Added(&'a str),
    Removed(&'a str),
}

pub(crate) fn run(
    arguments: &Ports,
    connection: &Connection,
    output: &mut Output,
) -> Result<(), Failure> {
    match &arguments.action {
        None | Some(PortsAction::List) => {
            let ports = Daemon::connect(connection)?.ports()?;
            if output.is_json() {
                output.json(&List { ports })?;
            } else if arguments.queues {
                print_queues(&ports, output)?;
            } else {
                print(&ports, output)?;
            }
        }
        Some(PortsAction::Add(add)) => {
            let spec = spec(add)?;
            Daemon::connect(connection)?.add_port(spec)?;
            changed(&Changed::Added(&add.interface), output)?;
        }
        Some(PortsAction::Remove { name }) => {
            Daemon::connect(connection)?.remove_port(name)?;
            changed(&Changed::Removed(name), output)?;
        }
    }
    Ok(())
}

/// What clap cannot say of options that belong to one kind of port.
fn spec(add: &PortsAdd) -> Result<PortSpec, Failure> {
    let foreign = |option: &str, kind: &str| {
        Err(Failure::Usage(format!("{option} belongs to --kind {kind}; leave it out")))
    };
    let kind = match (add.kind, &add.pod, add.mac) {
        (PortKindArg::Pod, Some(pod), Some(mac)) => PortKind::Pod { pod: pod.0.clone(), mac },
        (PortKindArg::Pod, ..) => {
            return Err(Failure::Usage("--kind pod needs --pod and --mac".to_owned()));
        }
        (_, Some(_), _) => return foreign("--pod", "pod"),
        (_, _, Some(_)) => return foreign("--mac", "pod"),
        (PortKindArg::Uplink, None, None) => PortKind::Uplink,
        (PortKindArg::Host, None, None) => PortKind::Host,
    };
    if kind != PortKind::Uplink && !add.node_addresses.is_empty() {
        return foreign("--node-address", "uplink");
    }
    Ok(PortSpec {
        interface: add.interface.clone(),
        kind,
        networks: [(NetworkId::DEFAULT, add.vlan)].into(),
        fallback: match add.fallback {
            FallbackArg::Drop => Fallback::Drop,
            FallbackArg::Pass => Fallback::Pass,
        },
        node_addresses: add.node_addresses.clone(),
        mode: match add.mode {
            ModeArg::Auto => PortMode::Auto,
            ModeArg::ZeroCopy => PortMode::ZeroCopy,
            ModeArg::Copy => PortMode::Copy,
            ModeArg::Generic => PortMode::Generic,
        },
        workers: add.workers.clone(),
        priority_tags: add.priority_tags,
    })
}

fn changed(change: &Changed<'_>, output: &mut Output) -> io::Result<()> {
    if output.is_json() {
        return output.json(change);
    }
    let (word, name) = match change {
        Changed::Added(name) => ("added", name),
        Changed::Removed(name) => ("removed", name),
    };
    output.line(format!("{word} port {}", printable(name)))
}

const HEADINGS: [&str; 10] =
    ["NAME", "KIND", "POD", "MAC", "NETWORKS", "MTU", "DRIVER", "GATE", "ZERO-COPY", "FALLBACK"];

fn print(ports: &[PortState], output: &mut Output) -> io::Result<()> {
    if ports.is_empty() {
        return output.line("no ports");
    }
    let rows: Vec<Vec<String>> = ports.iter().map(row).collect();
    output.table(&HEADINGS, &rows)?;
    ports.iter().flat_map(remarks).try_for_each(|remark| output.line(remark))
}

/// What is not as one would wish it.
fn remarks(port: &PortState) -> Vec<String> {
    let name = printable(&port.spec.interface);
    let mut remarks = Vec::new();
    if let Some(why) = &port.waiting {
        remarks.push(format!("{name} is not open, its frames are dropped: {}", printable(why)));
    }
    if let Some(why) = &port.why_generic {
        remarks.push(format!("{name} runs its gate in generic mode: {}", printable(why)));
    }
    let mut copied: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for queue in &port.queues {
        if let Some(why) = &queue.why_copied {
            copied.entry(why).or_default().push(queue.queue.to_string());
        }
    }
    for (why, queues) in copied {
        let word = if queues.len() == 1 { "queue" } else { "queues" };
        let queues = queues.join(", ");
        remarks.push(format!("{name} copies the frames of {word} {queues}: {}", printable(why)));
    }
    remarks
}

const QUEUE_HEADINGS: [&str; 10] = [
    "PORT",
    "QUEUE",
    "WORKER",
    "ZERO-COPY",
    "RX-RING-FULL",
    "FILL-RING-EMPTY",
    "RX-DROPPED",
    "RX-INVALID",
    "TX-INVALID",
    "FOREIGN",
];

fn print_queues(ports: &[PortState], output: &mut Output) -> io::Result<()> {
    let row = |port: &PortState, queue: &QueueState| {
        let count = |of: fn(&QueueStatistics) -> u64| {
            queue.statistics.as_ref().map_or_else(|| "?".to_owned(), |it| of(it).to_string())
        };
        vec![
            port.spec.interface.clone(),
            queue.queue.to_string(),
            queue.worker.to_string(),
            if queue.zero_copy { "yes" } else { "no" }.to_owned(),
            count(|it| it.rx_ring_full),
            count(|it| it.rx_fill_ring_empty),
            count(|it| it.rx_dropped),
            count(|it| it.rx_invalid_descriptors),
            count(|it| it.tx_invalid_descriptors),
            count(|it| it.foreign_descriptors),
        ]
    };
    let rows: Vec<Vec<String>> = ports
        .iter()
        .flat_map(|port| port.queues.iter().map(move |queue| row(port, queue)))
        .collect();
    if rows.is_empty() {
        return output.line("no queues");
    }
    output.table(&QUEUE_HEADINGS, &rows)
}

fn row(port: &PortState) -> Vec<String> {
    let (pod, mac) = match &port.spec.kind {
        PortKind::Pod { pod, mac } => (pod.to_string(), mac.to_string()),
        PortKind::Uplink | PortKind::Host => ("-".to_owned(), "-".to_owned()),
    };
    let network = |(id, vlan): (&NetworkId, &Option<u16>)| match vlan {
        Some(vlan) => format!("{} on VLAN {vlan}", id.0),
        None => format!("{} untagged", id.0),
    };
    let networks: Vec<String> = port.spec.networks.iter().map(network).collect();
    let gate = match port.gate_mode {
        GateMode::Native => "native",
        GateMode::Generic => "generic",
    };
    let fallback = match port.spec.fallback {
        Fallback::Drop => "drop",
        Fallback::Pass => "pass",
    };
    let zero_copy = port.queues.iter().filter(|queue| queue.zero_copy).count();
    vec![
        port.spec.interface.clone(),
        port.spec.kind.name().to_owned(),
        pod,
        mac,
        networks.join(", "),
        port.mtu.to_string(),
        port.driver.clone(),
        gate.to_owned(),
        format!("{zero_copy} of {}", port.queues.len()),
        fallback.to_owned(),
    ]
}
