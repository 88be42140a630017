//! What turns one rule set into another.

use std::collections::BTreeMap;

use super::{AccessList, AccessListChange, Object, ObjectKey, RuleSet};

/// Objects to put in, objects to take out, and access lists to change. No object is named twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Objects that are new, or take the place of those with the same kind and name.
    pub upserts: Vec<Object>,
    /// Objects that go; each must be there.
    pub removals: Vec<ObjectKey>,
    /// Access lists of which single rules come and go; each must be there.
    pub access_lists: Vec<AccessListChange>,
}

impl Change {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.upserts.is_empty() && self.removals.is_empty() && self.access_lists.is_empty()
    }
}

impl RuleSet {
    /// The change that turns this rule set into `target`; objects that are equal are not in it.
    #[must_use]
    pub fn change_to(&self, target: &Self) -> Change {
        let mut change = Change::default();
        compare(&mut change, &self.namespaces, &target.namespaces);
        compare(&mut change, &self.nodes, &target.nodes);
        compare(&mut change, &self.pods, &target.pods);
        compare(&mut change, &self.network_policies, &target.network_policies);
        let (before, after) = (&self.cluster_network_policies, &target.cluster_network_policies);
        compare(&mut change, before, after);
        let mut lists = Change::default();
        compare(&mut lists, &self.access_lists, &target.access_lists);
        for object in lists.upserts {
            match self.rule_by_rule(&object) {
                Some(rules) => change.access_lists.push(rules),
                None => change.upserts.push(object),
            }
        }
        change.removals.extend(lists.removals);
        change
    }

    /// What turns the list that is there into another, if most of its rules stay.
    fn rule_by_rule(&self, object: &Object) -> Option<AccessListChange> {
        let Object::AccessList(after) = object else { return None };
        let before: &AccessList = self.access_lists.get(&after.name)?;
        let change = AccessListChange::between(before, after);
        (change.len() <= after.rules.len() / 2).then_some(change)
    }

    /// Carries out a change that has no faults.
    pub fn apply(&mut self, change: Change) {
        for key in &change.removals {
            self.remove(key);
        }
        for object in change.upserts {
            self.replace(object);
        }
        for rules in change.access_lists {
            self.change_access_list(rules);
        }
    }
}

fn compare<K: Ord, T: Clone + PartialEq + Into<Object>>(
    change: &mut Change,
    before: &BTreeMap<K, T>,
    after: &BTreeMap<K, T>,
) {
    let gone = before.iter().filter(|(key, _)| !after.contains_key(key));
    change.removals.extend(gone.map(|(_, object)| object.clone().into().key()));
    let new = after.iter().filter(|(key, object)| before.get(key) != Some(object));
    change.upserts.extend(new.map(|(_, object)| object.clone().into()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Namespace, Node, Pod};

    #[test]
    fn a_change_names_what_differs_and_nothing_else() {
        let mut before = RuleSet::default();
        let mut after = RuleSet::default();
        for rules in [&mut before, &mut after] {
            rules.insert(Namespace::new("same")).unwrap();
            rules.insert(Pod::new("same", "same")).unwrap();
        }
        before.insert(Node { name: "gone".to_owned(), ..Node::default() }).unwrap();
        before.insert(Pod::new("same", "moved")).unwrap();
        let moved = Pod::new("same", "moved").with_label("a", "b");
        after.insert(moved.clone()).unwrap();
        after.insert(Namespace::new("new")).unwrap();

        let change = before.change_to(&after);
        assert_eq!(change.upserts, [Namespace::new("new").into(), moved.into()]);
        assert_eq!(
            change.removals.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["Node gone"]
        );
        assert!(after.change_to(&after).is_empty());
    }
}
