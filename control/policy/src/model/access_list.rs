//! Access lists: ordered five-tuple rules for the whole node.

use ipnet::IpNet;

/// An access list. Of its rules the first that matches denies a connection, or ends the list;
/// what follows, other lists and then policies, is asked as if the list were not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessList {
    /// The list's name. Lists are asked in the order of their names.
    pub name: String,
    /// Its rules, by rising priority.
    pub rules: Vec<AccessRule>,
}

/// Rules of an access list that come and go. The others stay, so that one rule of very many is
/// changed without naming them all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessListChange {
    /// The list's name.
    pub name: String,
    /// Rules that are new, or take the place of those with the same priority; by rising priority.
    pub upserts: Vec<AccessRule>,
    /// The priorities of rules that go, rising; each must be there.
    pub removals: Vec<u32>,
}

/// A rule of an access list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRule {
    /// Its place in the list, the lowest first; no other rule of the list has it.
    pub priority: u32,
    /// What it does with what it matches.
    pub action: AccessAction,
    /// The sender's prefix; `None` for every address.
    pub source: Option<IpNet>,
    /// The receiver's prefix; `None` for every address.
    pub destination: Option<IpNet>,
    /// The number of the IP protocol; `None` for all.
    pub protocol: Option<u8>,
    /// The first and the last of the sender's ports; `None` for every packet, with ports or
    /// without.
    pub source_ports: Option<(u16, u16)>,
    /// The first and the last of the receiver's ports; `None` for every packet, with ports or
    /// without.
    pub destination_ports: Option<(u16, u16)>,
}

/// What a rule of an access list does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccessAction {
    /// The list has no more to say.
    Allow,
    /// The connection is dropped.
    Deny,
}

/// Changes of fewer rules than this move the rules behind each; more are merged in one walk.
const MERGED_FROM: usize = 16;

impl AccessList {
    /// The rule of a priority.
    #[must_use]
    pub fn rule(&self, priority: u32) -> Option<&AccessRule> {
        self.rules.get(self.find(priority).ok()?)
    }

    fn find(&self, priority: u32) -> Result<usize, usize> {
        self.rules.binary_search_by_key(&priority, |rule| rule.priority)
    }

    /// Carries out a change without faults. Gives the rules that have gone or been replaced.
    pub(crate) fn apply(&mut self, change: AccessListChange) -> Vec<AccessRule> {
        let AccessListChange { upserts, removals, .. } = change;
        if upserts.len() + removals.len() >= MERGED_FROM {
            return self.merge(upserts, &removals);
        }
        let mut gone = Vec::new();
        for priority in removals {
            gone.extend(self.find(priority).ok().map(|at| self.rules.remove(at)));
        }
        for rule in upserts {
            match self.find(rule.priority) {
                Ok(at) => gone.extend(self.rules.splice(at..=at, [rule])),
                Err(at) => self.rules.insert(at, rule),
            }
        }
        gone
    }

    fn merge(&mut self, upserts: Vec<AccessRule>, removals: &[u32]) -> Vec<AccessRule> {
        let mut gone = Vec::new();
        let mut merged = Vec::with_capacity(self.rules.len() + upserts.len());
        let mut upserts = upserts.into_iter().peekable();
        for rule in std::mem::take(&mut self.rules) {
            while let Some(new) = upserts.next_if(|new| new.priority < rule.priority) {
                merged.push(new);
            }
            if let Some(new) = upserts.next_if(|new| new.priority == rule.priority) {
                merged.push(new);
                gone.push(rule);
            } else if removals.binary_search(&rule.priority).is_ok() {
                gone.push(rule);
            } else {
                merged.push(rule);
            }
        }
        merged.extend(upserts);
        self.rules = merged;
        gone
    }
}

impl AccessListChange {
    /// What turns one list into another of the same name.
    #[must_use]
    pub fn between(before: &AccessList, after: &AccessList) -> Self {
        let mut change = Self { name: after.name.clone(), ..Self::default() };
        let mut old = before.rules.iter().peekable();
        for rule in &after.rules {
            while let Some(gone) = old.next_if(|old| old.priority < rule.priority) {
                change.removals.push(gone.priority);
            }
            if old.next_if(|old| old.priority == rule.priority) != Some(rule) {
                change.upserts.push(rule.clone());
            }
        }
        change.removals.extend(old.map(|gone| gone.priority));
        change
    }

    /// How many rules come or go.
    #[must_use]
    pub fn len(&self) -> usize {
        self.upserts.len() + self.removals.len()
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(priorities: impl IntoIterator<Item = (u32, u8)>) -> AccessList {
        let rule = |(priority, protocol)| AccessRule {
            priority,
            action: AccessAction::Deny,
            source: None,
            destination: None,
            protocol: Some(protocol),
            source_ports: None,
            destination_ports: None,
        };
        AccessList { name: "edge".to_owned(), rules: priorities.into_iter().map(rule).collect() }
    }

    #[test]
    fn the_change_between_two_lists_leads_from_one_to_the_other() {
        let few =
            [list([]), list([(2, 1)]), list([(1, 1), (3, 1)]), list([(1, 2), (2, 1), (9, 9)])];
        let many = [
            list((0..100).map(|priority| (priority, 1))),
            list((50..150).map(|priority| (priority, 2 - u8::from(priority < 60)))),
        ];
        let all: Vec<AccessList> = few.into_iter().chain(many).collect();
        for before in &all {
            for after in &all {
                let change = AccessListChange::between(before, after);
                assert_eq!(change.is_empty(), before == after);
                let kept = |rule: &&AccessRule| after.rule(rule.priority) != Some(*rule);
                let expected: Vec<u32> =
                    before.rules.iter().filter(kept).map(|rule| rule.priority).collect();
                let mut changed = before.clone();
                let mut gone: Vec<u32> =
                    changed.apply(change).iter().map(|rule| rule.priority).collect();
                gone.sort_unstable();
                assert_eq!(&changed, after);
                assert_eq!(gone, expected);
            }
        }
    }
}
