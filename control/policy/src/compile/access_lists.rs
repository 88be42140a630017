//! Access lists, brought to their next state rule by rule.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_core::classifier::{PortRange, Rule};
use sluice_core::table;

use crate::model::{AccessAction, AccessList, AccessRule};
use crate::validate::canonical_net;

/// The compiled lists, by name: in the order in which they are asked.
#[derive(Debug, Default)]
pub(super) struct AccessLists(BTreeMap<String, Arc<table::AccessList>>);

impl AccessLists {
    /// Puts a list in the place of the one before it, and keeps what is the same.
    pub(super) fn set(
        &mut self,
        name: &str,
        before: Option<&AccessList>,
        now: Option<&AccessList>,
    ) {
        let Some(now) = now else {
            self.0.remove(name);
            return;
        };
        let compiled = match (before, self.0.get(name)) {
            (Some(before), Some(compiled)) => {
                let mut compiled = table::AccessList::clone(compiled);
                edit(&mut compiled, &before.rules, &now.rules);
                compiled
            }
            _ => {
                let rules: Vec<_> = now.rules.iter().map(lowered).collect();
                table::AccessList::new(name, rules.iter().map(|(place, rule)| (*place, rule)))
            }
        };
        self.0.insert(name.to_owned(), Arc::new(compiled));
    }

    /// Takes out rules of a list, then puts others in.
    pub(super) fn change(&mut self, name: &str, gone: &[AccessRule], new: &[AccessRule]) {
        let Some(compiled) = self.0.get_mut(name) else { return };
        let compiled = Arc::make_mut(compiled);
        for (place, rule) in gone.iter().map(lowered) {
            compiled.remove(place, &rule);
        }
        for (place, rule) in new.iter().map(lowered) {
            compiled.insert(place, &rule);
        }
    }

    /// All lists as the table has them.
    pub(super) fn compiled(&self) -> Vec<Arc<table::AccessList>> {
        self.0.values().map(Arc::clone).collect()
    }
}

/// Both lists of rules rise in priority, so that one walk meets what differs.
fn edit(compiled: &mut table::AccessList, before: &[AccessRule], now: &[AccessRule]) {
    let (mut old, mut new) = (before.iter().peekable(), now.iter().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(a), Some(b)) if a == b => {
                old.next();
                new.next();
            }
            (Some(a), b) if b.is_none_or(|b| a.priority <= b.priority) => {
                let (place, rule) = lowered(a);
                compiled.remove(place, &rule);
                old.next();
            }
            (_, Some(b)) => {
                let (place, rule) = lowered(b);
                compiled.insert(place, &rule);
                new.next();
            }
            (Some(_), None) => {
                old.next();
            }
        }
    }
}

fn lowered(rule: &AccessRule) -> (table::AccessRule, Rule) {
    let denies = rule.action == AccessAction::Deny;
    let range = |(first, last)| PortRange { first, last };
    let lowered = Rule {
        source: rule.source.map(canonical_net),
        destination: rule.destination.map(canonical_net),
        source_ports: rule.source_ports.map(range),
        destination_ports: rule.destination_ports.map(range),
        protocol: rule.protocol,
    };
    (table::AccessRule { priority: rule.priority, denies }, lowered)
}
