//! What makes an access list valid.

use sluice_core::ports::{SCTP, TCP, UDP};
use sluice_core::table;

use super::{Report, canonical_net, check_text, syntax};
use crate::model::{AccessList, AccessListChange, AccessRule};

const PRIORITY_MAX: u32 = table::AccessRule::PRIORITY_MAX;

pub(super) fn check_access_list(report: &mut Report<'_>, list: &AccessList) {
    check_text(report, "metadata.name", &list.name, syntax::dns_subdomain);
    let mut last = None;
    for (place, rule) in list.rules.iter().enumerate() {
        let at = format!("spec.rules[{place}]");
        check_priority(report, &at, rule.priority, last);
        last = last.max(Some(rule.priority));
        check_rule(report, &at, rule);
    }
}

/// Checks a change of a list's rules.
pub(super) fn check_access_list_change(
    report: &mut Report<'_>,
    list: &AccessList,
    change: &AccessListChange,
) {
    let mut last = None;
    for (place, rule) in change.upserts.iter().enumerate() {
        let at = format!("upserts[{place}]");
        check_priority(report, &at, rule.priority, last);
        last = last.max(Some(rule.priority));
        check_rule(report, &at, rule);
    }
    let mut last = None;
    for (place, &priority) in change.removals.iter().enumerate() {
        let is_upsert =
            || change.upserts.binary_search_by_key(&priority, |rule| rule.priority).is_ok();
        let problem = if let Some(last) = last.filter(|last| *last >= priority) {
            format!("{priority} stands behind {last}; want rising priorities, each once")
        } else if list.rule(priority).is_none() {
            format!("the list has no rule of priority {priority}; remove only what is there")
        } else if is_upsert() {
            format!("{priority} is among the upserts too; want it in one")
        } else {
            last = Some(priority);
            continue;
        };
        report(format!("removals[{place}]"), problem);
    }
}

fn check_priority(report: &mut Report<'_>, at: &str, priority: u32, last: Option<u32>) {
    let problem = match last {
        _ if priority > PRIORITY_MAX => {
            format!("{priority} is no priority; want 0 to {PRIORITY_MAX}")
        }
        Some(last) if last >= priority => format!(
            "{priority} stands behind {last}; want rules by rising priority, each priority once"
        ),
        _ => return,
    };
    report(format!("{at}.priority"), problem);
}

fn check_rule(report: &mut Report<'_>, at: &str, rule: &AccessRule) {
    // As they are enforced: IPv4 written as IPv6 is IPv4.
    let [source, destination] = [rule.source, rule.destination].map(|it| it.map(canonical_net));
    if let (Some(source), Some(destination)) = (source, destination)
        && source.addr().is_ipv4() != destination.addr().is_ipv4()
    {
        report(
            format!("{at}.destination"),
            format!("{destination} is not of the IP version of source {source}; want one version"),
        );
    }
    for (field, range) in
        [("sourcePorts", rule.source_ports), ("destinationPorts", rule.destination_ports)]
    {
        let Some((first, last)) = range else { continue };
        if last < first {
            report(
                format!("{at}.{field}"),
                format!("last {last} is below first {first}; want a last port of {first} or above"),
            );
        }
        if let Some(protocol) = rule.protocol.filter(|it| ![TCP, UDP, SCTP].contains(it)) {
            report(
                format!("{at}.{field}"),
                format!("protocol {protocol} has no ports; want TCP, UDP or SCTP, or no ports"),
            );
        }
    }
}

#[cfg(test)]
mod tests;
