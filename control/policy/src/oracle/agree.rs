//! Whether a table and the oracle say the same, and for the same reasons.

use std::net::IpAddr;

use sluice_core::address::NetworkId;
use sluice_core::policy::{Attempt, Reason};
use sluice_core::table::{self, Table};

use super::{Answer, By, End};
use crate::model::Tier;

/// Whether the table says of an attempt what the oracle says, and for the same reasons.
#[must_use]
pub fn agree(table: &Table, attempt: &Attempt, expected: &Answer) -> bool {
    use table::Direction::{Egress, Ingress};
    let found = table.decide(attempt);
    let access = found.access.and_then(|denied| {
        let list = table.access_lists().get(denied.list as usize)?;
        Some((list.name.to_string(), denied.priority))
    });
    access == expected.access
        && agree_at(table, (Egress, attempt.source), found.egress, &expected.egress)
        && agree_at(table, (Ingress, attempt.destination), found.ingress, &expected.ingress)
}

fn agree_at(
    table: &Table,
    (direction, subject): (table::Direction, IpAddr),
    found: Reason,
    expected: &End,
) -> bool {
    let name_of = |id| table.policy(id).map(|policy| (policy.kind, &*policy.name));
    let same = match (found, &expected.by) {
        (Reason::SamePod, By::SamePod)
        | (Reason::OwnNode, By::OwnNode)
        | (Reason::NotAPod, By::NotAPod)
        | (Reason::Undecided, By::Default) => true,
        (Reason::Accepted(table::Tier::NetworkPolicy, rule), By::Rules(admitting)) => {
            admitting.iter().any(|(name, place)| {
                name_of(rule.policy) == Some(("NetworkPolicy", &*name.to_string()))
                    && u32::try_from(*place) == Ok(rule.index)
            })
        }
        (
            Reason::Accepted(in_tier, found) | Reason::Denied(in_tier, found),
            By::ClusterRule { tier, policy, rule },
        ) => {
            let expected_tier = match tier {
                Tier::Admin => table::Tier::Admin,
                Tier::Baseline => table::Tier::Baseline,
            };
            in_tier == expected_tier
                && name_of(found.policy) == Some(("ClusterNetworkPolicy", policy))
                && u32::try_from(*rule) == Ok(found.index)
        }
        (Reason::NoRule, By::NoRule(selecting)) => {
            let party = table.party(NetworkId::DEFAULT, subject);
            let identity = table.identity_of(party);
            let set = identity.and_then(|it| it.set(direction, table::Tier::NetworkPolicy));
            let policies = set.into_iter().flat_map(table::PolicySet::policies);
            let found = policies.filter_map(name_of).map(|(_, name)| name);
            found.eq(selecting.iter().map(ToString::to_string))
        }
        _ => false,
    };
    same && found.allows() == expected.allows
}
