//! What another table would change: which verdicts of policies, which access lists, and which pods
//! come and go.
//!
//! Each verdict is one call of [`Table::decide`] on either table. Parties that both tables treat
//! alike (same identities, same blocks, same node) are judged once for all, and ports once for
//! each stretch within which neither table can change its mind. So the answer covers every port,
//! every pod that both tables have, every node and every address outside; of a stretch of
//! addresses that begins with thousands of pods, the strangers behind them are passed over.

mod parties;
mod ports;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use sluice_core::table::{AccessList, Table};

use self::parties::Parties;
use self::ports::Stretches;
use crate::explain::Verdict;

/// What differs between two tables. Access lists speak of single addresses, protocols and ports
/// for everybody, so they are not judged pair by pair: which of them differ is told, and the
/// verdicts are those of the policies behind them. Serialises to the JSON that `sluicectl` prints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// The first of the verdicts that differ, sorted by source, destination, protocol and port.
    pub verdicts: Vec<VerdictChange>,
    /// How many there are, those that are not listed among them. Of very many, those that differ
    /// for IPv4 and IPv6 alike count twice.
    pub verdicts_total: u64,
    /// Pods, `namespace/name`, that only the second table has. They are not among the verdicts.
    pub pods_added: Vec<String>,
    /// Pods that only the first table has.
    pub pods_removed: Vec<String>,
    /// Access lists that are new, gone or different.
    pub access_lists: Vec<String>,
}

/// Ports of one destination that one source may reach in one table only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct VerdictChange {
    /// Who connects: `namespace/pod`, `node name`, or addresses outside the cluster.
    pub from: String,
    /// Who is asked, in the same form.
    pub to: String,
    /// `TCP`, `UDP`, `SCTP`, `other` for protocols without ports such as ICMP, or `any` for all
    /// of these.
    pub protocol: String,
    /// The first and the last destination port; `None` where the protocol has no ports, and for
    /// `any`.
    pub ports: Option<(u16, u16)>,
    /// What is said now.
    pub before: Verdict,
    /// What would be said.
    pub after: Verdict,
    /// `IPv4`, `IPv6`, or `both`.
    pub family: String,
}

/// Compares two tables. At most `verdicts_max` verdicts are listed; all are counted.
///
/// `go_on` is told after each step how many of how many are done, and says whether to. The cost
/// is the square of the number of parties that are not alike.
///
/// # Errors
///
/// [`Stopped`], if it is told to stop.
pub fn diff(
    before: &Table,
    after: &Table,
    verdicts_max: usize,
    mut go_on: impl FnMut(usize, usize) -> bool,
) -> Result<Diff, Stopped> {
    let parties = Parties::of(before, after);
    let mut stretches = Stretches::new(before, after);
    let mut verdicts = Vec::new();
    let mut verdicts_total = 0;
    let classes = parties.classes();
    for (done, source) in classes.iter().enumerate() {
        for destination in classes {
            if !source.is_judged_with(destination) {
                continue;
            }
            let Some((one, other)) = source.pair_with(destination) else { continue };
            let changes = stretches.changes(one, other);
            if changes.is_empty() {
                continue;
            }
            verdicts_total += source.pairs_len(destination) * changes.len() as u64;
            // In the order of the list, so more of them would be cut anyway.
            for (from, to) in source.pairs_with(destination).take(verdicts_max) {
                verdicts.extend(changes.iter().map(|change| change.between(from, to)));
            }
            if verdicts.len() > KEPT_MAX.max(2 * verdicts_max) {
                keep_first(&mut verdicts, verdicts_max);
            }
        }
        if !go_on(done + 1, classes.len()) {
            return Err(Stopped);
        }
    }
    let is_whole = verdicts.len() as u64 == verdicts_total;
    keep_first(&mut verdicts, usize::MAX);
    if is_whole {
        verdicts_total = verdicts.len() as u64;
    }
    verdicts.truncate(verdicts_max);
    let (pods_added, pods_removed) = parties.into_added_and_removed();
    let access_lists = changed_lists(before, after);
    Ok(Diff { verdicts, verdicts_total, pods_added, pods_removed, access_lists })
}

/// The access lists that the two tables do not share, sorted by name.
fn changed_lists(before: &Table, after: &Table) -> Vec<String> {
    fn by_name(table: &Table) -> BTreeMap<&str, &Arc<AccessList>> {
        table.access_lists().iter().map(|list| (&*list.name, list)).collect()
    }
    let (before, after) = (by_name(before), by_name(after));
    let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    let is_same = |name: &str| match (before.get(name), after.get(name)) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
        _ => false,
    };
    names.into_iter().filter(|name| !is_same(name)).map(str::to_owned).collect()
}

/// The comparison was told to stop before it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the comparison was stopped before it was done")]
pub struct Stopped;

/// How many verdicts are gathered before the list is sorted and cut.
const KEPT_MAX: usize = 65_536;

/// Keeps the first `len` in order, and makes one of what is the same for both IP versions.
fn keep_first(verdicts: &mut Vec<VerdictChange>, len: usize) {
    verdicts.sort_unstable();
    verdicts.dedup_by(|next, kept| {
        let is_same = VerdictChange { family: next.family.clone(), ..kept.clone() } == *next;
        if is_same && next.family != kept.family {
            "both".clone_into(&mut kept.family);
        }
        is_same
    });
    verdicts.truncate(len);
}

#[cfg(test)]
mod tests;
