//! What a client wants in force, both ways: a whole rule set, or what differs.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use sluice_policy::model::{AccessListChange, Change, Kind, Object, ObjectKey};

use super::report::{Path, Report};
use super::{access_list, rules, to_wire};
use crate::backend::Content;
use crate::wire;
use crate::wire::commit_request::Content as Sent;

/// The object that faults of the request itself are told of.
const REQUEST: &str = "request";

pub(super) fn content(
    report: &mut Report,
    sent: Option<Sent>,
    base_revision: Option<u64>,
) -> Option<Content> {
    match sent {
        Some(Sent::Snapshot(it)) => Some(Content::Snapshot(rules::rule_set(report, it))),
        Some(Sent::Delta(it)) => {
            if base_revision.is_none() {
                report.fault::<()>(
                    &Path::Top("baseRevision"),
                    "it is absent; a delta says what differs from one certain rule set, so name \
                     the revision that it builds on",
                );
            }
            delta(report, it).map(Content::Delta)
        }
        None => report.fault(
            &Path::Top("content"),
            "it is absent; want a snapshot, an empty one if the rule set shall be empty, or a delta",
        ),
    }
}

pub(super) fn content_to_wire(content: &Content) -> Sent {
    match content {
        Content::Snapshot(rules) => Sent::Snapshot(to_wire::rule_set(rules)),
        Content::Delta(change) => Sent::Delta(delta_to_wire(change)),
    }
}

pub(crate) fn delta_to_wire(change: &Change) -> wire::Delta {
    wire::Delta {
        upserts: Some(to_wire::objects(&change.upserts)),
        removals: change.removals.iter().map(key_to_wire).collect(),
        access_lists: change.access_lists.iter().map(access_list::change_to_wire).collect(),
    }
}

/// Upserts and removals come out sorted, whatever order they were sent in.
pub(crate) fn delta(report: &mut Report, delta: wire::Delta) -> Option<Change> {
    let at = Path::Top("delta");
    let removals = removals(report, &at.field("removals"), delta.removals);
    let upserts = match delta.upserts {
        Some(it) => Some(upserts(report, it)),
        None => report.fault(
            &at.field("upserts"),
            "it is absent; want the objects that are new or differ, which may be none",
        ),
    };
    let access_lists = access_lists(report, delta.access_lists);
    let (upserts, removals, access_lists) = (upserts?, removals?, access_lists?);
    for key in removals.iter().filter(|key| upserts.contains_key(key)) {
        report.turn_to(key.to_string());
        report.fault::<()>(&Path::Top("removals"), "it is among the upserts too; want it in one");
    }
    for key in access_lists.keys() {
        if upserts.contains_key(key) || removals.contains(key) {
            report.turn_to(key.to_string());
            let problem = "it is among the upserts or removals too; want it in one";
            report.fault::<()>(&Path::Top("accessLists"), problem);
        }
    }
    Some(Change {
        upserts: upserts.into_values().collect(),
        removals: removals.into_iter().collect(),
        access_lists: access_lists.into_values().collect(),
    })
}

fn access_lists(
    report: &mut Report,
    lists: Vec<wire::AccessListChange>,
) -> Option<BTreeMap<ObjectKey, AccessListChange>> {
    let mut changes = Some(BTreeMap::new());
    for it in lists {
        let key = ObjectKey { kind: Kind::AccessList, namespace: None, name: it.name.clone() };
        report.turn_to(key.to_string());
        match (access_list::change(report, it), &mut changes) {
            (Some(_), Some(list)) if list.contains_key(&key) => twice(report, &key, "accessLists"),
            (Some(change), Some(list)) => {
                list.insert(key, change);
            }
            _ => changes = None,
        }
    }
    report.turn_to(REQUEST.to_owned());
    changes
}

fn upserts(report: &mut Report, rules: wire::RuleSet) -> BTreeMap<ObjectKey, Object> {
    let mut upserts = BTreeMap::new();
    rules::objects(report, rules, |report, object| match upserts.entry(object.key()) {
        Entry::Vacant(place) => {
            place.insert(object);
        }
        Entry::Occupied(place) => twice(report, place.key(), "upserts"),
    });
    upserts
}

fn removals(
    report: &mut Report,
    at: &Path<'_>,
    keys: Vec<wire::ObjectKey>,
) -> Option<BTreeSet<ObjectKey>> {
    let mut removals = Some(BTreeSet::new());
    for (place, it) in keys.into_iter().enumerate() {
        match (key(report, &at.item(place), it), &mut removals) {
            (Some(key), Some(list)) if list.contains(&key) => {
                twice(report, &key, "removals");
                report.turn_to(REQUEST.to_owned());
            }
            (Some(key), Some(list)) => {
                list.insert(key);
            }
            // The others are read all the same, so that all faults are found.
            _ => removals = None,
        }
    }
    removals
}

fn twice(report: &mut Report, key: &ObjectKey, list: &str) {
    report.turn_to(key.to_string());
    report.fault::<()>(&Path::Top(list), "the delta names it there twice; want it once");
}

fn key(report: &mut Report, at: &Path<'_>, key: wire::ObjectKey) -> Option<ObjectKey> {
    let kind = kind(report, &at.field("kind"), key.kind);
    let name = if key.name.is_empty() {
        report.fault(&at.field("name"), "it is empty; want the name of the object that goes")
    } else {
        Some(key.name)
    };
    let kind = kind?;
    let field = at.field("namespace");
    let namespace = match (is_namespaced(kind), key.namespace) {
        (true, Some(namespace)) if !namespace.is_empty() => Some(Some(namespace)),
        (true, _) => report.fault(&field, format!("it is absent; want the one of the {kind}")),
        (false, Some(_)) => report.fault(&field, format!("a {kind} lives in none; leave it out")),
        (false, None) => Some(None),
    };
    Some(ObjectKey { kind, namespace: namespace?, name: name? })
}

fn kind(report: &mut Report, at: &Path<'_>, number: i32) -> Option<Kind> {
    const WANTED: &str = "Namespace, Pod, Node, NetworkPolicy, ClusterNetworkPolicy or AccessList";
    match wire::Kind::try_from(number) {
        Ok(wire::Kind::Namespace) => Some(Kind::Namespace),
        Ok(wire::Kind::Pod) => Some(Kind::Pod),
        Ok(wire::Kind::Node) => Some(Kind::Node),
        Ok(wire::Kind::NetworkPolicy) => Some(Kind::NetworkPolicy),
        Ok(wire::Kind::ClusterNetworkPolicy) => Some(Kind::ClusterNetworkPolicy),
        Ok(wire::Kind::AccessList) => Some(Kind::AccessList),
        Ok(wire::Kind::Unspecified) => report.unspecified(at, WANTED),
        Err(_) => report.unknown(at, number, WANTED),
    }
}

fn is_namespaced(kind: Kind) -> bool {
    match kind {
        Kind::Pod | Kind::NetworkPolicy => true,
        Kind::Namespace | Kind::Node | Kind::ClusterNetworkPolicy | Kind::AccessList => false,
    }
}

fn key_to_wire(key: &ObjectKey) -> wire::ObjectKey {
    let kind = match key.kind {
        Kind::Namespace => wire::Kind::Namespace,
        Kind::Pod => wire::Kind::Pod,
        Kind::Node => wire::Kind::Node,
        Kind::NetworkPolicy => wire::Kind::NetworkPolicy,
        Kind::ClusterNetworkPolicy => wire::Kind::ClusterNetworkPolicy,
        Kind::AccessList => wire::Kind::AccessList,
    };
    wire::ObjectKey { kind: kind.into(), namespace: key.namespace.clone(), name: key.name.clone() }
}
