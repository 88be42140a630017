//! How advice is put.

use sluice_core::table::{Action, Direction};

use super::policies::Policy;
use super::survey::Rule;

/// How many things of a kind are named; the others are counted.
const NAMED_MAX: usize = 3;

/// `a`, `a and b`, `a, b, c and 4 more`.
pub(super) fn list<I: IntoIterator<Item = S>, S: ToString>(items: I) -> String {
    let mut named: Vec<String> = Vec::new();
    let mut more = 0usize;
    for item in items {
        if named.len() < NAMED_MAX { named.push(item.to_string()) } else { more += 1 }
    }
    if more > 0 {
        named.push(format!("{more} more"));
    }
    match named.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

/// `ingress` or `egress`.
pub(super) fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Egress => "egress",
        Direction::Ingress => "ingress",
    }
}

/// The field of a direction's peers within a rule.
pub(super) fn peers(direction: Direction) -> &'static str {
    match direction {
        Direction::Egress => "to",
        Direction::Ingress => "from",
    }
}

pub(super) fn action(action: Action) -> &'static str {
    match action {
        Action::Accept => "Accept",
        Action::Deny => "Deny",
        Action::Pass => "Pass",
    }
}

/// The field of a rule, such as `spec.ingress[0]`.
pub(super) fn field(rule: &Rule<'_>) -> String {
    format!("spec.{}[{}]", direction(rule.direction), rule.index)
}

/// What to call a rule where `here` is spoken of: `rule 0 "dns" of ClusterNetworkPolicy guard`.
pub(super) fn rule(rule: &Rule<'_>, here: &Policy<'_>) -> String {
    let name = match rule.policy.rule_name(rule.direction, rule.index) {
        "" => String::new(),
        name => format!(" \"{name}\""),
    };
    format!("rule {}{name} of {}", rule.index, policy(rule.policy, here))
}

/// What to call a policy where `here` is spoken of.
pub(super) fn policy<'a>(policy: &'a Policy<'_>, here: &Policy<'_>) -> &'a str {
    if policy.place == here.place { "this policy" } else { &policy.object }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut_short() {
        assert_eq!(list([] as [&str; 0]), "");
        assert_eq!(list(["a"]), "a");
        assert_eq!(list(["a", "b", "c"]), "a, b and c");
        assert_eq!(list(["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
    }
}
