//! `ports`: list what is attached to the daemon, attach, take away.

use std::io;

use serde::Serialize;
use sluice_api::backend::{Fallback, GateMode, PortKind, PortSpec, PortState};
use sluice_core::address::NetworkId;

use crate::args::{Connection, FallbackArg, PortKindArg, Ports, PortsAction, PortsAdd};
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
    ports: &Ports,
    connection: &Connection,
    output: &mut Output,
) -> Result<(), Failure> {
    match &ports.action {
        None | Some(PortsAction::List) => {
            let ports = Daemon::connect(connection)?.ports()?;
            if output.is_json() {
                output.json(&List { ports })?;
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
    output.table(&HEADINGS, &rows)
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
    let zero_copy = port.zero_copy.iter().filter(|it| **it).count();
    vec![
        port.spec.interface.clone(),
        port.spec.kind.name().to_owned(),
        pod,
        mac,
        networks.join(", "),
        port.mtu.to_string(),
        port.driver.clone(),
        gate.to_owned(),
        format!("{zero_copy} of {}", port.zero_copy.len()),
        fallback.to_owned(),
    ]
}
