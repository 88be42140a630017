//! Who reaches whom: the verdict of every pair of pods, for some ports.
//!
//! Rows are sources, columns are destinations, `.` allows and `X` drops. A pod without an
//! address of the IP version asked for can neither send nor receive with it: its row and its
//! column are `X`, with itself too. A pod in its node's network stands in the matrix and is
//! judged as that node. Each cell is one call of [`Table::decide`].

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;
use sluice_core::address::NetworkId;
use sluice_core::policy::{Attempt, DYNAMIC_PORT};
use sluice_core::table::{Endpoint, Table};

use crate::explain::common_family;
use crate::model::Protocol;

/// The IP version that a connection uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The verdicts of all pairs of pods. Serialises to the JSON that `sluicectl` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// The pods, `namespace/name`, sorted; rows and columns count through them.
    pub pods: Vec<String>,
    /// One entry for each port asked about, in that order.
    pub ports: Vec<PortReach>,
}

/// The verdicts for one port. Each string is a source's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortReach {
    /// The destination port.
    pub port: u16,
    /// The protocol, such as `TCP`.
    pub protocol: String,
    /// What the sources' ends say.
    pub egress: Vec<String>,
    /// What the destinations' ends say.
    pub ingress: Vec<String>,
    /// What access lists and both ends come to.
    pub verdict: Vec<String>,
}

/// Judges every pair of pods of `table` for each of `ports`.
///
/// Without a `family` each pair is judged by the first address of the source that has a
/// counterpart of its IP version. The cost is pods x pods x ports decisions; `progress` is told
/// after each row how many of how many are done.
#[must_use]
pub fn reach(
    table: &Table,
    ports: &[(Protocol, u16)],
    family: Option<Family>,
    mut progress: impl FnMut(usize, usize),
) -> Reach {
    let mut pods: Vec<(&Endpoint, Vec<IpAddr>)> = table
        .endpoints()
        .map(|(_, endpoint)| endpoint)
        .filter(|endpoint| endpoint.network == NetworkId::DEFAULT)
        .map(|endpoint| (endpoint, addresses(endpoint, family)))
        .collect();
    pods.sort_by_key(|(endpoint, _)| endpoint.name.split_once('/'));
    Reach {
        pods: pods.iter().map(|(endpoint, _)| endpoint.name.to_string()).collect(),
        ports: ports
            .iter()
            .enumerate()
            .map(|(place, &(protocol, port))| {
                let told = |row| progress(place * pods.len() + row, ports.len() * pods.len());
                matrix(table, &pods, protocol, port, told)
            })
            .collect(),
    }
}

impl Family {
    fn holds(self, address: &IpAddr) -> bool {
        match self {
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// For people: one square for each port, with numbered rows and columns.
impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.pods.iter().map(String::len).max().unwrap_or(0);
        let digits = self.pods.len().to_string().len();
        for (place, entry) in self.ports.iter().enumerate() {
            if place > 0 {
                writeln!(f)?;
            }
            writeln!(
                f,
                "{} {}   . allow   X drop   row: from   column: to",
                entry.protocol, entry.port
            )?;
            write!(f, "{:>digits$} {:width$}", "", "")?;
            for column in 0..self.pods.len() {
                write!(f, " {column:>digits$}")?;
            }
            writeln!(f)?;
            for (row, (pod, cells)) in self.pods.iter().zip(&entry.verdict).enumerate() {
                write!(f, "{row:>digits$} {pod:width$}")?;
                for cell in cells.chars() {
                    write!(f, " {cell:>digits$}")?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

fn addresses(endpoint: &Endpoint, family: Option<Family>) -> Vec<IpAddr> {
    let wanted = |address: &IpAddr| family.is_none_or(|family| family.holds(address));
    endpoint.addresses.iter().copied().filter(wanted).collect()
}

fn matrix(
    table: &Table,
    pods: &[(&Endpoint, Vec<IpAddr>)],
    protocol: Protocol,
    port: u16,
    mut told: impl FnMut(usize),
) -> PortReach {
    let mut entry = PortReach {
        port,
        protocol: protocol.to_string(),
        egress: Vec::with_capacity(pods.len()),
        ingress: Vec::with_capacity(pods.len()),
        verdict: Vec::with_capacity(pods.len()),
    };
    for (row, (_, sources)) in pods.iter().enumerate() {
        let mut rows = [const { String::new() }; 3];
        for (_, destinations) in pods {
            let allowed =
                common_family(sources, destinations).map_or([false; 3], |(source, destination)| {
                    let decision = table.decide(&Attempt {
                        network: NetworkId::DEFAULT,
                        source,
                        destination,
                        protocol: protocol.number(),
                        source_port: Some(DYNAMIC_PORT),
                        port: Some(port),
                    });
                    [decision.egress.allows(), decision.ingress.allows(), decision.allows()]
                });
            for (row, allowed) in rows.iter_mut().zip(allowed) {
                row.push(if allowed { '.' } else { 'X' });
            }
        }
        let [egress, ingress, verdict] = rows;
        entry.egress.push(egress);
        entry.ingress.push(ingress);
        entry.verdict.push(verdict);
        told(row + 1);
    }
    entry
}

#[cfg(test)]
mod tests;
