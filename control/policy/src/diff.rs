//! What another table would change: which verdicts, and so which connections.

use serde::Serialize;

use crate::explain::Verdict;

/// The verdicts that differ between two tables. Serialises to the JSON that `sluicectl` prints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// The first of them, sorted by source, destination, protocol and port.
    pub verdicts: Vec<VerdictChange>,
    /// How many there are, those that are not listed among them.
    pub verdicts_total: u64,
}

/// Ports of one destination that one source may reach in one table only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct VerdictChange {
    /// Who connects: `namespace/pod`, `node name`, or an address block outside the cluster.
    pub from: String,
    /// Who is asked, in the same form.
    pub to: String,
    /// `TCP`, `UDP`, `SCTP`, `ICMP` or `other`.
    pub protocol: String,
    /// The first and the last destination port; `None` where the protocol has no ports.
    pub ports: Option<(u16, u16)>,
    /// What is said now.
    pub before: Verdict,
    /// What would be said.
    pub after: Verdict,
}
