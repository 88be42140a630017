//! What a client's content would change, and whether it may. Nothing is compiled here.

use sluice_api::backend::{Content, ObjectCounts, Refused};
use sluice_policy::compile::Compiler;
use sluice_policy::model::{Change, Fault, Kind, Object, ObjectKey, RuleSet};
use sluice_policy::validate::validate_access_list_change;

/// Rule sets with fewer objects than this may shrink, short of vanishing: their owner sees them
/// whole.
const SHRINK_GUARD_FROM: u64 = 20;

/// The change that leads from the running rule set to what `content` asks for.
///
/// # Errors
/// [`Refused`], if it builds on another revision or removes what is not there.
pub(crate) fn change_of(
    running: &Compiler,
    base_revision: Option<u64>,
    content: Content,
) -> Result<Change, Refused> {
    let revision = running.table().revision();
    if let Some(base) = base_revision.filter(|base| *base != revision) {
        return Err(Refused::wrong_base(base, revision));
    }
    let change = match content {
        Content::Snapshot(rules) => return Ok(running.rules().change_to(&rules)),
        Content::Delta(change) => change,
    };
    let is_missing = |key: &&ObjectKey| !running.rules().contains(key);
    let missing: Vec<ObjectKey> = change.removals.iter().filter(is_missing).cloned().collect();
    if !missing.is_empty() {
        return Err(Refused::missing(missing, revision));
    }
    let lists = change.access_lists.iter();
    let faults: Vec<Fault> =
        lists.flat_map(|it| validate_access_list_change(running.rules(), it)).collect();
    if faults.is_empty() { Ok(change) } else { Err(Refused { faults, running_revision: revision }) }
}

/// Refuses a change by which so much is lost that its source may have lost its data.
///
/// # Errors
/// [`Refused`].
pub(crate) fn refuse_shrunk(running: &Compiler, change: &Change) -> Result<(), Refused> {
    let rules = running.rules();
    let revision = running.table().revision();
    let new = change.upserts.iter().map(|object| object.key());
    let new: Vec<ObjectKey> = new.filter(|key| !rules.contains(key)).collect();
    let after = |before: u64, is_meant: &dyn Fn(Kind) -> bool| {
        let count =
            |keys: &[ObjectKey]| keys.iter().filter(|key| is_meant(key.kind)).count() as u64;
        (before + count(&new)).saturating_sub(count(&change.removals))
    };
    let before = ObjectCounts::of(rules);
    let total = after(before.total(), &|_| true);
    if shrinks(before.total(), total) {
        return Err(Refused::shrinks(before.total(), total, revision));
    }
    // Policies on their own too: pods that lose theirs are open, whatever else is still there.
    let policies = [
        ("NetworkPolicies", before.network_policies, Kind::NetworkPolicy),
        ("ClusterNetworkPolicies", before.cluster_network_policies, Kind::ClusterNetworkPolicy),
        ("AccessLists", before.access_lists, Kind::AccessList),
    ];
    for (name, before, kind) in policies {
        let after = after(before, &|it| it == kind);
        if shrinks(before, after) {
            let problem = format!(
                "the rule set would shrink from {before} {name} to {after}; if that is meant, \
                 allow it"
            );
            return Err(Refused::request("allowShrink", problem, revision));
        }
    }
    let (before, after) = access_rules(rules, change);
    if shrinks(before, after) {
        let problem = format!(
            "the access lists would shrink from {before} rules to {after}; if that is meant, allow it"
        );
        return Err(Refused::request("allowShrink", problem, revision));
    }
    Ok(())
}

/// How many rules all access lists have, before a change and after it. A list that has lost its
/// rules is still there, and denies nothing.
fn access_rules(rules: &RuleSet, change: &Change) -> (u64, u64) {
    let len_now = |name: &str| rules.access_list(name).map_or(0, |list| list.rules.len() as u64);
    let before: u64 = rules.access_lists().map(|list| list.rules.len() as u64).sum();
    let removed = change.removals.iter().filter(|key| key.kind == Kind::AccessList);
    let mut gone: u64 = removed.map(|key| len_now(&key.name)).sum();
    let mut new = 0;
    for object in &change.upserts {
        if let Object::AccessList(list) = object {
            gone += len_now(&list.name);
            new += list.rules.len() as u64;
        }
    }
    for list in &change.access_lists {
        let replaced = list.upserts.iter().filter(|rule| {
            rules.access_list(&list.name).is_some_and(|it| it.rule(rule.priority).is_some())
        });
        gone += (list.removals.len() + replaced.count()) as u64;
        new += list.upserts.len() as u64;
    }
    (before, (before + new).saturating_sub(gone))
}

/// A rule set after a change.
pub(crate) fn rules_after(mut rules: RuleSet, change: Change) -> RuleSet {
    rules.apply(change);
    rules
}

/// Whether objects vanish altogether, or most of many do.
fn shrinks(before: u64, after: u64) -> bool {
    (before > 0 && after == 0) || (before >= SHRINK_GUARD_FROM && after < before / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_policy::compile::CompileOptions;
    use sluice_policy::model::{
        AccessAction, AccessList, AccessListChange, AccessRule, ClusterNetworkPolicy,
        LabelSelector, Namespace, NamespacedPods, NetworkPolicy, Node, Pod, Tier,
    };

    fn namespaces(count: usize) -> RuleSet {
        let mut rules = RuleSet::default();
        for n in 0..count {
            rules.insert(Namespace::new(format!("n{n}"))).unwrap();
        }
        rules
    }

    fn running(rules: RuleSet) -> Compiler {
        Compiler::with(rules, &CompileOptions::default(), 3).unwrap()
    }

    fn shrunk(before: RuleSet, after: &RuleSet) -> Result<(), Refused> {
        let running = running(before);
        refuse_shrunk(&running, &running.rules().change_to(after))
    }

    fn policy() -> Object {
        NetworkPolicy::new("n1", "p", LabelSelector::everything(), &[], None, None).into()
    }

    fn cluster_policy() -> Object {
        ClusterNetworkPolicy {
            name: "c".into(),
            tier: Tier::Admin,
            priority: 0,
            subject: NamespacedPods::default(),
            ingress: Vec::new(),
            egress: Vec::new(),
        }
        .into()
    }

    #[test]
    fn a_rule_set_that_vanishes_is_noticed() {
        for (before, after, refused) in [
            (0, 0, false),
            (1, 0, true),
            (3, 1, false),
            (19, 1, false),
            (20, 10, false),
            (20, 9, true),
            (30, 0, true),
        ] {
            let result = shrunk(namespaces(before), &namespaces(after));
            assert_eq!(result.is_err(), refused, "{before} to {after}");
        }
    }

    #[test]
    fn policies_that_vanish_are_noticed_though_pods_are_still_there() {
        for (policy, expected) in [
            (policy(), "from 1 NetworkPolicies to 0"),
            (cluster_policy(), "from 1 ClusterNetworkPolicies to 0"),
        ] {
            let mut with_policy = namespaces(50);
            with_policy.insert(policy).unwrap();
            let refused = shrunk(with_policy, &namespaces(50)).unwrap_err();
            assert!(refused.faults[0].problem.contains(expected), "{refused}");
        }
    }

    #[test]
    fn rules_that_vanish_from_access_lists_are_noticed_though_the_lists_are_still_there() {
        let with_rules = |count| {
            let rule = |priority| AccessRule {
                priority,
                action: AccessAction::Deny,
                source: None,
                destination: None,
                protocol: None,
                source_ports: None,
                destination_ports: None,
            };
            let rules = (0..count).map(rule).collect();
            let mut all = namespaces(50);
            all.insert(AccessList { name: "edge".into(), rules }).unwrap();
            all.insert(AccessList { name: "other".into(), rules: vec![] }).unwrap();
            all
        };
        for (before, after, refused) in [
            (0, 0, false),
            (0, 5, false),
            (1, 0, true),
            (19, 1, false),
            (20, 10, false),
            (20, 9, true),
        ] {
            let result = shrunk(with_rules(before), &with_rules(after));
            assert_eq!(result.is_err(), refused, "{before} to {after}");
        }
        // Rule by rule too.
        let change = with_rules(30).change_to(&with_rules(20));
        assert_eq!((change.upserts.len(), change.access_lists[0].removals.len()), (0, 10));
        let removals = (0..21).collect();
        let lists = vec![AccessListChange { name: "edge".into(), removals, ..Default::default() }];
        let change = Change { access_lists: lists, ..Change::default() };
        assert!(refuse_shrunk(&running(with_rules(30)), &change).is_err());
        let problem = shrunk(with_rules(30), &with_rules(3)).unwrap_err().faults[0].problem.clone();
        assert!(problem.contains("from 30 rules to 3"), "{problem}");
    }

    #[test]
    fn a_change_of_a_list_that_is_not_there_or_has_no_such_rule_is_refused_by_name() {
        let mut rules = namespaces(1);
        rules.insert(AccessList { name: "edge".into(), rules: vec![] }).unwrap();
        for (name, expected) in [
            ("other", "AccessList other: metadata.name: its rules are to change, but"),
            ("edge", "AccessList edge: removals[0]: the list has no rule of priority 7"),
        ] {
            let lists = vec![AccessListChange {
                name: name.into(),
                removals: vec![7],
                ..AccessListChange::default()
            }];
            let content = Content::Delta(Change { access_lists: lists, ..Change::default() });
            let refused = change_of(&running(rules.clone()), Some(3), content).unwrap_err();
            assert_eq!(refused.running_revision, 3);
            assert!(refused.faults[0].to_string().starts_with(expected), "{refused}");
        }
    }

    #[test]
    fn policies_that_a_delta_takes_are_noticed_too() {
        let mut rules = namespaces(50);
        rules.insert(policy()).unwrap();
        let running = running(rules);
        let change = Change { removals: vec![policy().key()], ..Change::default() };
        let change = change_of(&running, Some(3), Content::Delta(change)).unwrap();
        assert!(refuse_shrunk(&running, &change).is_err());
    }

    #[test]
    fn a_wrong_base_is_refused_and_told_the_running_revision() {
        for content in [Content::default(), Content::Delta(Change::default())] {
            let of = |base| change_of(&running(namespaces(1)), base, content.clone());
            assert!(of(Some(3)).is_ok() && of(None).is_ok());
            assert_eq!(of(Some(2)).unwrap_err(), Refused::wrong_base(2, 3));
        }
    }

    #[test]
    fn a_delta_comes_to_the_same_as_the_whole() {
        let mut before = namespaces(2);
        before.insert(Pod::new("n1", "moved")).unwrap();
        before.insert(Node { name: "gone".into(), ..Node::default() }).unwrap();
        let mut after = namespaces(3);
        after.insert(Pod::new("n1", "moved").with_label("a", "b")).unwrap();
        after.insert(policy()).unwrap();
        after.insert(cluster_policy()).unwrap();

        let there = before.change_to(&after);
        let back = after.change_to(&before);
        for (from, change, to) in [(&before, there, &after), (&after, back, &before)] {
            let running = running(from.clone());
            let delta = change_of(&running, Some(3), Content::Delta(change)).unwrap();
            let whole = change_of(&running, Some(3), Content::Snapshot(to.clone())).unwrap();
            assert_eq!(delta, whole);
            assert_eq!(rules_after(from.clone(), delta), *to);
        }
    }

    #[test]
    fn what_is_not_there_cannot_be_removed_and_each_is_named() {
        let removals = [Pod::new("n1", "a").into(), Namespace::new("n0").into(), policy()];
        let removals: Vec<ObjectKey> = removals.iter().map(Object::key).collect();
        let upserts = vec![Pod::new("n1", "b").into()];
        let content = Content::Delta(Change { upserts, removals, ..Change::default() });
        let refused = change_of(&running(namespaces(1)), Some(3), content).unwrap_err();
        assert_eq!(refused.running_revision, 3);
        let faults: Vec<String> = refused.faults.iter().map(ToString::to_string).collect();
        let problem =
            "removals: it is not in the rule set of revision 3; remove only what is there";
        assert_eq!(
            faults,
            [format!("Pod n1/a: {problem}"), format!("NetworkPolicy n1/p: {problem}")]
        );
    }
}
